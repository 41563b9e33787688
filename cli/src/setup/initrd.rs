//! The guest's initial RAM disk: busybox, the kernel modules, and scripts that either start a shell or examine the
//! machine, report and switch off.
//!
//! The same inputs give the same bytes: entries are sorted, times are zero, inodes are numbered.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use cpio::newc::{self, ModeFileType};

use super::cache::Cache;
use super::guest::{self, Kernel};
use crate::error::{Context, Result};
use crate::files;

/// The first process.
const INIT: &str = include_str!("initrd/init.sh");
/// What that process keeps running.
const INITTAB: &str = include_str!("initrd/inittab");
/// What `droste.self-report` on the command line starts.
const SELF_REPORT: &str = include_str!("initrd/self-report.sh");
/// What reads the words of the command line, for the others.
const WORDS: &str = include_str!("initrd/words.sh");
/// What starts a guest's own guest.
const L2: &str = include_str!("initrd/l2.sh");
/// What knows how much memory that takes.
const ENOUGH: &str = include_str!("initrd/enough.sh");
/// What `droste.l2` on the command line starts.
pub(super) const NESTED_REPORT: &str = include_str!("initrd/nested-report.sh");
/// What fills memory and looks at it later.
const PATTERN: &str = include_str!("initrd/pattern.sh");
/// What asks a terminal for its size.
const RESIZE: &str = include_str!("initrd/resize.sh");
/// What configures a network adapter with the lease that a DHCP server gave.
const LEASE: &str = include_str!("initrd/lease.sh");

/// One entry of the archive.
enum Entry<'a> {
    Dir,
    /// A file that can be run.
    Program(&'a [u8]),
    File(&'a [u8]),
    /// A symbolic link to this path.
    Link(&'a str),
    /// A character device with this major and minor number.
    Device(u32, u32),
}

/// The RAM disk for a kernel of the archive, or for another one (then without modules), from the cache or built.
///
/// # Errors
/// If busybox cannot be fetched or a file cannot be read or written.
pub fn initrd(cache: &Cache, kernel: Option<&Kernel>) -> Result<PathBuf> {
    let archive = content(&guest::busybox(cache)?, kernel)?;
    cache.get_or_make_version(&entry(&archive), |dir| {
        let path = dir.join("initrd.cpio");
        files::write(&path, &archive)?;
        Ok(path)
    })
}

/// The RAM disk if the cache has it.
pub fn cached(cache: &Cache, kernel: Option<&Kernel>) -> Option<PathBuf> {
    let archive = content(&guest::cached_busybox(cache)?, kernel).ok()?;
    cache.get(&entry(&archive))
}

fn content(busybox: &Path, kernel: Option<&Kernel>) -> Result<Vec<u8>> {
    let modules = kernel.map(Kernel::modules).transpose()?.unwrap_or_default();
    archive(&files::read(busybox)?, &modules)
        .context(|| "cannot build the guest's initial RAM disk".into())
}

/// Named after the content: another kernel or another version of the scripts is another entry.
fn entry(archive: &[u8]) -> String {
    format!("initrd/{:08x}.cpio", crc32fast::hash(archive))
}

/// The bytes of the RAM disk.
fn archive(busybox: &[u8], modules: &[(String, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut entries: BTreeMap<String, Entry<'_>> = BTreeMap::new();
    for dir in [
        "bin",
        "dev",
        "etc",
        "lib",
        "lib/modules",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        "mnt",
    ] {
        entries.insert(dir.into(), Entry::Dir);
    }
    for (path, entry) in [
        ("bin/busybox", Entry::Program(busybox)),
        ("bin/enough", Entry::Program(ENOUGH.as_bytes())),
        ("bin/l2", Entry::Program(L2.as_bytes())),
        ("bin/pattern", Entry::Program(PATTERN.as_bytes())),
        ("bin/resize", Entry::Program(RESIZE.as_bytes())),
        ("bin/sh", Entry::Link("busybox")),
        ("dev/console", Entry::Device(5, 1)),
        ("dev/null", Entry::Device(1, 3)),
        ("etc/group", Entry::File(b"root:x:0:\n")),
        ("etc/inittab", Entry::File(INITTAB.as_bytes())),
        ("etc/lease", Entry::Program(LEASE.as_bytes())),
        (
            "etc/nested-report",
            Entry::Program(NESTED_REPORT.as_bytes()),
        ),
        ("etc/passwd", Entry::File(b"root::0:0:root:/root:/bin/sh\n")),
        (
            "etc/profile",
            Entry::File(b"cd /root\nexport PS1=\"$(hostname):\\w# \"\n"),
        ),
        ("etc/self-report", Entry::Program(SELF_REPORT.as_bytes())),
        ("etc/words", Entry::File(WORDS.as_bytes())),
        ("init", Entry::Program(INIT.as_bytes())),
    ] {
        entries.insert(path.into(), entry);
    }
    for (name, bytes) in modules {
        entries.insert(format!("lib/modules/{name}"), Entry::File(bytes));
    }
    write(&entries)
}

/// A RAM disk with more programs: behind `initrd`, an archive with them, each as its path and bytes. A path that the RAM
/// disk has already is replaced; its folder must be there.
///
/// # Errors
/// If a program is larger than 4 GiB.
pub fn with_programs(initrd: &[u8], programs: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let mut out = initrd.to_vec();
    // The kernel looks for the next archive at a multiple of 4.
    out.resize(out.len().next_multiple_of(4), 0);
    let programs = programs.iter();
    let entries = programs.map(|(path, bytes)| ((*path).to_owned(), Entry::Program(bytes)));
    out.extend(write(&entries.collect())?);
    Ok(out)
}

fn write(entries: &BTreeMap<String, Entry<'_>>) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for (inode, (path, entry)) in (1..).zip(entries) {
        append(&mut out, inode, path, entry)?;
    }
    newc::trailer(&mut out)?;
    Ok(out)
}

fn append(out: &mut Vec<u8>, inode: u32, path: &str, entry: &Entry<'_>) -> io::Result<()> {
    let builder = newc::Builder::new(path).ino(inode);
    let (builder, kind, bytes) = match *entry {
        Entry::Dir => (
            builder.mode(0o755).nlink(2),
            ModeFileType::Directory,
            &b""[..],
        ),
        Entry::Program(bytes) => (builder.mode(0o755), ModeFileType::Regular, bytes),
        Entry::File(bytes) => (builder.mode(0o644), ModeFileType::Regular, bytes),
        Entry::Link(target) => (
            builder.mode(0o777),
            ModeFileType::Symlink,
            target.as_bytes(),
        ),
        Entry::Device(major, minor) => (
            builder.mode(0o600).rdev_major(major).rdev_minor(minor),
            ModeFileType::Char,
            &b""[..],
        ),
    };
    let size = u32::try_from(bytes.len())
        .map_err(|_| io::Error::other(format!("{path} is larger than 4 GiB")))?;
    let mut writer = builder.set_mode_file_type(kind).write(&mut *out, size);
    io::Write::write_all(&mut writer, bytes)?;
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        loop {
            let mut reader = newc::Reader::new(bytes).expect("an entry");
            if reader.entry().is_trailer() {
                return entries;
            }
            let mut content = Vec::new();
            io::Read::read_to_end(&mut reader, &mut content).expect("its bytes");
            entries.push((
                reader.entry().name().to_owned(),
                reader.entry().mode(),
                content,
            ));
            bytes = reader.finish().expect("the next one");
        }
    }

    #[test]
    fn the_archive_holds_what_the_kernel_starts() {
        let archive =
            archive(b"ELF", &[("00-virtio.ko".into(), b"module".to_vec())]).expect("built");
        let entries = listing(&archive);
        let find = |path: &str| {
            entries
                .iter()
                .find(|(name, ..)| name == path)
                .expect("there")
        };
        assert_eq!(
            find("init"),
            &("init".into(), 0o100_755, INIT.as_bytes().to_vec())
        );
        assert_eq!(
            find("bin/busybox"),
            &("bin/busybox".into(), 0o100_755, b"ELF".to_vec())
        );
        assert_eq!(
            find("bin/sh"),
            &("bin/sh".into(), 0o120_777, b"busybox".to_vec())
        );
        assert_eq!(find("dev/console").1, 0o020_600);
        assert_eq!(find("lib/modules/00-virtio.ko").2, b"module");
    }

    #[test]
    fn more_programs_stand_behind_a_ram_disk_of_any_length() {
        for length in 0..5 {
            let before = vec![7; length];
            let both = with_programs(&before, &[("init", b"other")]).expect("built");
            assert_eq!(both[..length], before);
            let behind = listing(&both[length.next_multiple_of(4)..]);
            assert_eq!(behind, [("init".into(), 0o100_755, b"other".to_vec())]);
        }
    }

    #[test]
    fn a_directory_comes_before_what_it_holds() {
        let names: Vec<String> = listing(&archive(b"", &[]).expect("built"))
            .into_iter()
            .map(|(n, ..)| n)
            .collect();
        assert!(names.is_sorted());
        for name in &names {
            if let Some((dir, _)) = name.rsplit_once('/') {
                assert!(
                    names.iter().position(|n| n == dir) < names.iter().position(|n| n == name),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        assert_eq!(
            archive(b"x", &[]).expect("built"),
            archive(b"x", &[]).expect("built")
        );
    }

    #[test]
    fn the_scripts_name_the_shell_that_the_archive_holds() {
        for script in [INIT, SELF_REPORT, LEASE, L2, NESTED_REPORT, PATTERN, RESIZE] {
            assert!(script.starts_with("#!/bin/sh\n"));
        }
    }
}
