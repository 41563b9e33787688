//! A disk image with files on it, for a guest to read: FAT16 with long names, files in one piece in the root directory.
//!
//! Why FAT: every kernel reads it, the guest's RAM disk has its driver for disks from elsewhere, and it takes few lines to
//! write, where an archive on a disk would have to be unpacked into the guest's memory first. The layout is that of
//! Microsoft's "FAT: General Overview of On-Disk Format" (version 1.03). The same files give the same bytes: they are
//! sorted, and times are fixed.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

const SECTOR: u64 = 512;
/// Bytes of a directory entry.
const ENTRY: usize = 32;
/// Entries of the root directory.
const ROOT_ENTRIES: usize = 1024;
/// The smallest cluster: a page of the guest.
const CLUSTER_MIN: u64 = 4096;
/// The largest cluster that every reader takes.
const CLUSTER_MAX: u64 = 32 << 10;
/// Fewer clusters than this would make it FAT12, more FAT32.
const CLUSTERS_MIN: u64 = 4085;
const CLUSTERS_MAX: u64 = 65524;
/// The number of the first cluster.
const FIRST_CLUSTER: u64 = 2;
/// In the table: the last cluster of a file, and entry 0, which repeats the medium's kind.
const LAST: u16 = 0xffff;
const MEDIUM: u8 = 0xf8;
/// Characters of a long name in one entry.
const NAME_PIECE: usize = 13;
/// The longest name, in characters.
const NAME_MAX: usize = 255;
/// 1 January 1980, the first day there is.
const DAY: u16 = 1 << 5 | 1;

/// Where the bytes of a file come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// A file of this machine.
    File(PathBuf),
    /// These.
    Bytes(Vec<u8>),
}

impl Content {
    fn len(&self) -> io::Result<u64> {
        match self {
            Self::File(path) => Ok(path.metadata()?.len()),
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// Passes the bytes on; there must be `len` of them.
    fn copy_to(&self, out: &mut dyn Write, len: u64) -> io::Result<()> {
        let copied = match self {
            Self::File(path) => io::copy(&mut File::open(path)?, out)?,
            Self::Bytes(bytes) => io::copy(&mut bytes.as_slice(), out)?,
        };
        if copied == len {
            Ok(())
        } else {
            Err(io::Error::other("a file changed while it was copied"))
        }
    }
}

/// A number that tells files apart by their names and contents, in whatever order they come.
///
/// # Errors
/// If one cannot be read.
pub fn fingerprint(files: &[(String, Content)]) -> io::Result<u32> {
    let mut files: Vec<_> = files.iter().collect();
    files.sort_by_key(|(name, _)| name);
    let mut sum = Sum(crc32fast::Hasher::new());
    for (name, content) in files {
        let len = content.len()?;
        sum.0.update(&len.to_le_bytes());
        sum.0.update(name.as_bytes());
        sum.0.update(&[0]);
        content.copy_to(&mut sum, len)?;
    }
    Ok(sum.0.finalize())
}

/// Takes bytes into a checksum.
struct Sum(crc32fast::Hasher);

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes an image that holds these files, each with its name.
///
/// # Errors
/// If a name is not plain or two differ by case alone, the files are too large or too many, one cannot be read, or the
/// output fails.
pub fn write(out: &mut dyn Write, files: &[(String, Content)]) -> io::Result<()> {
    let mut files: Vec<(&str, &Content, u64)> = files
        .iter()
        .map(|(name, content)| Ok((name.as_str(), content, content.len()?)))
        .collect::<io::Result<_>>()?;
    files.sort_by_key(|(name, ..)| *name);
    check_names(&files)?;
    let shape = Shape::of(&files)?;
    out.write_all(&shape.boot_sector())?;
    out.write_all(&shape.table(&files))?;
    out.write_all(&shape.root(&files)?)?;
    for (_, content, len) in &files {
        content.copy_to(out, *len)?;
        pad(out, shape.clusters(*len) * shape.cluster - len)?;
    }
    pad(out, shape.free * shape.cluster)
}

fn check_names(files: &[(&str, &Content, u64)]) -> io::Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    let mut seen: Vec<String> = Vec::new();
    for (name, ..) in files {
        let lower = name.to_ascii_lowercase();
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_plain) {
            return Err(io::Error::other(format!(
                "{name:?} is no name for a file on a disk image"
            )));
        }
        if seen.contains(&lower) {
            return Err(io::Error::other(format!("two files have the name {name}")));
        }
        seen.push(lower);
    }
    Ok(())
}

/// How large the parts of an image are.
struct Shape {
    /// Bytes of a cluster.
    cluster: u64,
    /// Clusters behind the files.
    free: u64,
    /// All clusters.
    count: u64,
}

impl Shape {
    fn of(files: &[(&str, &Content, u64)]) -> io::Result<Self> {
        let mut cluster = CLUSTER_MIN;
        loop {
            let used: u64 = files.iter().map(|(.., len)| len.div_ceil(cluster)).sum();
            if used <= CLUSTERS_MAX {
                let count = used.max(CLUSTERS_MIN);
                return Ok(Self {
                    cluster,
                    free: count - used,
                    count,
                });
            }
            if cluster == CLUSTER_MAX {
                return Err(io::Error::other(
                    "the files are too large for one disk image",
                ));
            }
            cluster *= 2;
        }
    }

    fn clusters(&self, len: u64) -> u64 {
        len.div_ceil(self.cluster)
    }

    /// Sectors of the table, so many that the data starts at a page.
    fn table_sectors(&self) -> u64 {
        let page = CLUSTER_MIN / SECTOR;
        let entries = FIRST_CLUSTER + self.count;
        // The boot sector shares the first page.
        (1 + (2 * entries).div_ceil(SECTOR)).next_multiple_of(page) - 1
    }

    fn boot_sector(&self) -> Vec<u8> {
        let root_sectors = (ROOT_ENTRIES * ENTRY) as u64 / SECTOR;
        let sectors =
            1 + self.table_sectors() + root_sectors + self.count * (self.cluster / SECTOR);
        let mut sector = Vec::with_capacity(SECTOR as usize);
        sector.extend(b"\xeb\x3c\x90DROSTE  ");
        sector.extend((SECTOR as u16).to_le_bytes());
        sector.push((self.cluster / SECTOR) as u8);
        // One sector before the table, and one table.
        sector.extend([1, 0, 1]);
        sector.extend((ROOT_ENTRIES as u16).to_le_bytes());
        // The number of sectors stands further on, where it has 32 bits.
        sector.extend([0, 0, MEDIUM]);
        sector.extend((self.table_sectors() as u16).to_le_bytes());
        // Sectors of a track, heads, sectors before this one: a disk has no such things any more.
        sector.extend([0; 8]);
        sector.extend((sectors as u32).to_le_bytes());
        // A fixed disk, with the fields that follow.
        sector.extend([0x80, 0, 0x29]);
        sector.extend([0; 4]);
        sector.extend(b"DROSTE     FAT16   ");
        sector.resize(SECTOR as usize - 2, 0);
        sector.extend([0x55, 0xaa]);
        sector
    }

    fn table(&self, files: &[(&str, &Content, u64)]) -> Vec<u8> {
        let mut entries = vec![0xff00 | u16::from(MEDIUM), LAST];
        for (.., len) in files {
            let next = entries.len() as u16 + 1;
            let count = self.clusters(*len) as u16;
            entries.extend((0..count).map(|i| if i + 1 == count { LAST } else { next + i }));
        }
        let mut table: Vec<u8> = entries
            .iter()
            .flat_map(|entry| entry.to_le_bytes())
            .collect();
        table.resize((self.table_sectors() * SECTOR) as usize, 0);
        table
    }

    fn root(&self, files: &[(&str, &Content, u64)]) -> io::Result<Vec<u8>> {
        let mut root = Vec::new();
        let mut cluster = FIRST_CLUSTER;
        for (number, (name, _, len)) in files.iter().enumerate() {
            let size = u32::try_from(*len)
                .map_err(|_| io::Error::other(format!("{name} is larger than 4 GiB")))?;
            let short = format!("F{number:07}   ");
            let first = if size == 0 { 0 } else { cluster as u16 };
            long_name(&mut root, name, checksum(short.as_bytes()));
            root.extend(short.as_bytes());
            // To be archived.
            root.extend([0x20, 0, 0]);
            // Time and day of creation, day of the last access; the cluster's upper half, which FAT16 has not; time and
            // day of the last change; the cluster.
            for field in [0, DAY, DAY, 0, 0, DAY, first] {
                root.extend(field.to_le_bytes());
            }
            root.extend(size.to_le_bytes());
            cluster += self.clusters(*len);
        }
        if root.len() > ROOT_ENTRIES * ENTRY {
            return Err(io::Error::other(
                "there are too many files for one disk image",
            ));
        }
        root.resize(ROOT_ENTRIES * ENTRY, 0);
        Ok(root)
    }
}

/// Adds the entries of a long name: its pieces, the last one first, each with the checksum of the short name behind them.
fn long_name(root: &mut Vec<u8>, name: &str, checksum: u8) {
    let mut units: Vec<u16> = name.encode_utf16().collect();
    let pieces = units.len().div_ceil(NAME_PIECE);
    if units.len() < pieces * NAME_PIECE {
        units.push(0);
    }
    units.resize(pieces * NAME_PIECE, 0xffff);
    let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    for (index, piece) in bytes.chunks(2 * NAME_PIECE).enumerate().rev() {
        let is_last = index + 1 == pieces;
        root.push((index as u8 + 1) | if is_last { 0x40 } else { 0 });
        root.extend(&piece[..10]);
        root.extend([0x0f, 0, checksum]);
        root.extend(&piece[10..22]);
        root.extend([0, 0]);
        root.extend(&piece[22..]);
    }
}

/// What ties a long name to its short one.
fn checksum(short: &[u8]) -> u8 {
    short
        .iter()
        .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

fn pad(out: &mut dyn Write, len: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), len), out).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(content: &[u8]) -> Content {
        Content::Bytes(content.to_vec())
    }

    fn image(files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
        let files: Vec<_> = files
            .iter()
            .map(|(name, content)| ((*name).to_owned(), bytes(content)))
            .collect();
        let mut out = Vec::new();
        write(&mut out, &files)?;
        Ok(out)
    }

    fn u16_at(bytes: &[u8], at: usize) -> usize {
        usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
    }

    fn u32_at(bytes: &[u8], at: usize) -> usize {
        u16_at(bytes, at) | u16_at(bytes, at + 2) << 16
    }

    /// The files of an image, read by what its boot sector says.
    fn files(image: &[u8]) -> Vec<(String, Vec<u8>)> {
        let sector = u16_at(image, 11);
        let cluster = sector * usize::from(image[13]);
        let table = sector * u16_at(image, 14);
        let root = table + sector * usize::from(image[16]) * u16_at(image, 22);
        let data = root + 32 * u16_at(image, 17);
        assert_eq!(
            image.len(),
            sector * u32_at(image, 32),
            "the number of sectors"
        );
        let clusters = (image.len() - data) / cluster;
        assert!(
            (4085..65525).contains(&clusters),
            "{clusters} make no FAT16"
        );
        let mut found = Vec::new();
        let mut name = Vec::new();
        for entry in image[root..data]
            .chunks(32)
            .take_while(|entry| entry[0] != 0)
        {
            if entry[11] == 0x0f {
                let piece = [&entry[1..11], &entry[14..26], &entry[28..32]].concat();
                name.splice(0..0, piece);
                continue;
            }
            let mut content = Vec::new();
            let mut next = u16_at(entry, 26);
            while (2..0xfff8).contains(&next) {
                let at = data + (next - 2) * cluster;
                content.extend(&image[at..at + cluster]);
                next = u16_at(image, table + 2 * next);
            }
            let size = u32_at(entry, 28);
            assert_eq!(
                content.len(),
                size.next_multiple_of(cluster),
                "the chain's length"
            );
            content.truncate(size);
            let units: Vec<u16> = name.chunks(2).map(|u| u16_at(u, 0) as u16).collect();
            let end = units
                .iter()
                .position(|unit| *unit == 0)
                .unwrap_or(units.len());
            found.push((String::from_utf16_lossy(&units[..end]), content));
            name.clear();
        }
        found
    }

    #[test]
    fn what_is_written_is_read_back() {
        let large = vec![7; 3 * 4096 + 1];
        let image = image(&[
            ("libz.so.1", b"z"),
            ("empty", b""),
            ("Image", &large),
            ("thirteen-char", b"13"),
            ("ld-linux-aarch64.so.1", b"ld"),
        ])
        .expect("written");
        let expected: [(String, Vec<u8>); 5] = [
            ("Image".into(), large),
            ("empty".into(), b"".into()),
            ("ld-linux-aarch64.so.1".into(), b"ld".into()),
            ("libz.so.1".into(), b"z".into()),
            ("thirteen-char".into(), b"13".into()),
        ];
        assert_eq!(files(&image), expected);
    }

    #[test]
    fn files_start_at_pages() {
        let image = image(&[("a", b"one"), ("b", b"two")]).expect("written");
        let starts: Vec<usize> = (0..image.len())
            .step_by(4096)
            .filter(|&at| image[at..].starts_with(b"one") || image[at..].starts_with(b"two"))
            .collect();
        assert_eq!(starts.len(), 2);
    }

    #[test]
    fn many_bytes_get_larger_clusters() {
        let shape = |len: u64| {
            let content = bytes(b"");
            Shape::of(&[("a", &content, len)]).map(|shape| shape.cluster)
        };
        assert_eq!(shape(65524 * 4096).ok(), Some(4096));
        assert_eq!(shape(65524 * 4096 + 1).ok(), Some(8192));
        assert!(shape(65524 * 32768 + 1).is_err());
    }

    #[test]
    fn names_that_cannot_be_told_apart_are_refused() {
        assert!(image(&[("a", b""), ("A", b"")]).is_err());
        assert!(image(&[("a/b", b"")]).is_err());
        assert!(image(&[("", b"")]).is_err());
        assert!(image(&[("a", b""), ("b", b"")]).is_ok());
    }

    #[test]
    fn too_many_files_are_refused() {
        let names: Vec<String> = (0..600).map(|number| format!("file-{number}")).collect();
        let of = |count: usize| {
            let files: Vec<(&str, &[u8])> = names
                .iter()
                .take(count)
                .map(|n| (n.as_str(), &b""[..]))
                .collect();
            image(&files)
        };
        assert!(of(512).is_ok());
        assert!(of(513).is_err());
    }

    #[test]
    fn a_file_is_read_from_where_it_lies() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x");
        std::fs::write(&path, b"content").expect("written");
        let mut out = Vec::new();
        write(&mut out, &[("x".into(), Content::File(path))]).expect("written");
        assert_eq!(files(&out), [("x".into(), b"content".to_vec())]);
    }

    #[test]
    fn a_fingerprint_tells_names_and_contents_apart() {
        let of = |files: &[(&str, &[u8])]| {
            let owned = |(name, content): &(&str, &[u8])| ((*name).to_owned(), bytes(content));
            let files: Vec<_> = files.iter().map(owned).collect();
            fingerprint(&files).expect("read")
        };
        let one = of(&[("a", b"1"), ("b", b"2")]);
        assert_eq!(one, of(&[("b", b"2"), ("a", b"1")]));
        assert_ne!(one, of(&[("a", b"2"), ("b", b"1")]));
        assert_ne!(one, of(&[("a", b"1"), ("c", b"2")]));
        assert_ne!(one, of(&[("a", b"1b"), ("", b"2")]));
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let one = image(&[("a", b"1"), ("b", b"2")]).expect("written");
        assert_eq!(one, image(&[("b", b"2"), ("a", b"1")]).expect("written"));
    }
}
