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
