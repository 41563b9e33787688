//! Debian's QEMU for a guest: the program and the libraries that it is linked with, as they are in the archive.
//!
//! The packages are unpacked and never installed, and of their files only those are kept that the program's loader will
//! look for: no firmware, no modules, nothing of a desktop.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{DT_NEEDED, FileHeader64};
use object::read::elf::{Dyn as _, FileHeader as _};

use super::apt::Apt;
use super::cache::Cache;
use crate::error::{Context, Error, Result};
use crate::{files, progress};

/// The package that guests get the emulator from.
pub const EMULATOR_PACKAGE: &str = "qemu-system-arm";
/// The program of that package.
const PROGRAM: &str = "qemu-system-aarch64";

/// A directory with the program and its libraries, fetched unless the cache has it.
///
/// # Errors
/// If the packages cannot be fetched, or lack a library that the program needs.
pub fn emulator(cache: &Cache) -> Result<PathBuf> {
    cache.get_or_make(&entry(), |dir| {
        let _step = progress::step(&format!("fetching the guest's QEMU ({EMULATOR_PACKAGE})"));
        let apt = Apt::open(&dir.join("apt"), &["stable"], Some("arm64"))?;
        let unpacked = dir.join("unpacked");
        apt.unpack_with_dependencies(EMULATOR_PACKAGE, &unpacked)?;
        keep(&unpacked, &dir.join("kept"))
    })
}

/// The directory if the cache has it.
pub fn cached_emulator(cache: &Cache) -> Option<PathBuf> {
    cache.get(&entry())
}

fn entry() -> String {
    format!("debian/{EMULATOR_PACKAGE}")
}

/// Copies the program and all libraries that it needs to `kept`.
fn keep(unpacked: &Path, kept: &Path) -> Result<PathBuf> {
    files::make_dir(kept)?;
    let found = by_name(unpacked)?;
    let mut wanted = vec![PROGRAM.to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let path = found
            .get(&name)
            .ok_or_else(|| Error::new(format!("the packages of {EMULATOR_PACKAGE} lack {name}")))?;
        let bytes = files::read(path)?;
        files::write(&kept.join(&name), &bytes)?;
        wanted.extend(needed(&bytes).context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(kept.to_owned())
}

/// Every file below a directory by its name; of several with one name, the one with the shortest path, which is where a
/// loader looks first.
fn by_name(root: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        let describe = || format!("cannot list {}", dir.display());
        for entry in fs::read_dir(&dir).context(describe)? {
            let entry = entry.context(describe)?;
            let path = entry.path();
            if entry.file_type().context(describe)?.is_dir() {
                open.push(path);
                continue;
            }
            // A link counts as what it leads to, if that is a file.
            if !path.is_file() {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let rank = |path: &Path| (path.components().count(), path.to_owned());
            if found
                .get(&name)
                .is_none_or(|other| rank(&path) < rank(other))
            {
                found.insert(name, path);
            }
        }
    }
    Ok(found)
}

/// The libraries that an ELF file is linked with.
fn needed(elf: &[u8]) -> object::Result<Vec<String>> {
    let header = FileHeader64::<Endianness>::parse(elf)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, elf)?;
    let Some((entries, strings)) = sections.dynamic(endian, elf)? else {
        return Ok(Vec::new());
    };
    let strings = sections.strings(endian, elf, strings)?;
    entries
        .iter()
        .filter(|entry| entry.tag(endian) == DT_NEEDED)
        .map(|entry| Ok(String::from_utf8_lossy(entry.string(endian, strings)?).into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file that is linked with these libraries, of sections alone: their names, and the table that points to them.
    fn linked_with(libraries: &[&str]) -> Vec<u8> {
        let mut names = vec![0];
        let mut table = Vec::new();
        for library in libraries {
            // DT_NEEDED, and where its name starts.
            table.extend([1, names.len() as u64].map(u64::to_le_bytes).concat());
            names.extend(library.bytes().chain([0]));
        }
        table.extend([0; 16]);
        let (names_at, table_at) = (64, 64 + names.len() as u64);
        let sections_at = table_at + table.len() as u64;
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\xb7\0\x01\0\0\0".to_vec();
        for field in [0, 0, sections_at] {
            file.extend(u64::to_le_bytes(field));
        }
        file.extend(0_u32.to_le_bytes());
        for field in [64_u16, 56, 0, 64, 3, 1] {
            file.extend(field.to_le_bytes());
        }
        file.extend(&names);
        file.extend(&table);
        file.extend([0; 64]);
        // SHT_STRTAB, and SHT_DYNAMIC with section 1 as its strings: kind, place, length, strings, size of an entry.
        for (kind, at, len, strings, entry) in [
            (3_u32, names_at, names.len() as u64, 0_u32, 0_u64),
            (6, table_at, table.len() as u64, 1, 16),
        ] {
            file.extend([0, kind].map(u32::to_le_bytes).concat());
            file.extend([0, 0, at, len].map(u64::to_le_bytes).concat());
            file.extend([strings, 0].map(u32::to_le_bytes).concat());
            file.extend([1, entry].map(u64::to_le_bytes).concat());
        }
        file
    }

    fn kept(files: &[(&str, Vec<u8>)]) -> Result<Vec<String>> {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, bytes) in files {
            let path = dir.path().join("unpacked").join(path);
            files::make_dir(path.parent().expect("below")).expect("made");
            files::write(&path, bytes).expect("written");
        }
        let libraries = dir.path().join("unpacked/usr/lib");
        std::os::unix::fs::symlink("libz.so.1.3", libraries.join("libz.so.1")).expect("linked");
        let kept = keep(&dir.path().join("unpacked"), &dir.path().join("kept"))?;
        let mut names: Vec<String> = fs::read_dir(kept)
            .expect("listed")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        Ok(names)
    }

    #[test]
    fn the_program_is_kept_with_all_that_its_libraries_need() {
        let names = kept(&[
            (
                "usr/bin/qemu-system-aarch64",
                linked_with(&["libz.so.1", "libc.so.6"]),
            ),
            ("usr/bin/qemu-system-arm", linked_with(&["libc.so.6"])),
            ("usr/lib/libz.so.1.3", linked_with(&["libc.so.6"])),
            ("usr/lib/libc.so.6", linked_with(&["ld-linux-aarch64.so.1"])),
            ("usr/lib/ld-linux-aarch64.so.1", linked_with(&[])),
            ("usr/lib/libgtk.so.3", linked_with(&[])),
        ]);
        let expected = [
            "ld-linux-aarch64.so.1",
            "libc.so.6",
            "libz.so.1",
            "qemu-system-aarch64",
        ];
        assert_eq!(names, Ok(expected.map(String::from).into()));
    }

    #[test]
    fn a_library_that_no_package_has_is_named() {
        let error = kept(&[
            ("usr/bin/qemu-system-aarch64", linked_with(&["libz.so.1"])),
            ("usr/lib/libz.so.1.3", linked_with(&["libnone.so.2"])),
        ]);
        let expected = "the packages of qemu-system-arm lack libnone.so.2";
        assert_eq!(
            error.map_err(|error| error.to_string()),
            Err(expected.into())
        );
    }

    #[test]
    fn of_two_libraries_the_one_where_loaders_look_first_is_taken() {
        let dir = tempfile::tempdir().expect("a directory");
        for path in [
            "usr/lib/a/b/libx.so",
            "usr/lib/libx.so",
            "usr/lib/z/libx.so",
        ] {
            let path = dir.path().join(path);
            files::make_dir(path.parent().expect("below")).expect("made");
            files::write(&path, b"").expect("written");
        }
        let found = by_name(dir.path()).expect("listed");
        assert_eq!(found["libx.so"], dir.path().join("usr/lib/libx.so"));
    }
}
