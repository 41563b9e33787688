//! Kernel modules: which ones the wanted ones need, and in which order they load.
//!
//! A distribution makes the list of dependencies when a package is installed; here the package is only unpacked, so
//! the dependencies are read from the modules themselves.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{FileHeader64, SHT_PROGBITS};
use object::read::elf::{FileHeader as _, SectionHeader as _};

use crate::error::{Context, Error, Result};
use crate::files;

/// A kernel module, unpacked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Module {
    /// Its name as the kernel writes it, with underscores.
    pub name: String,
    /// The ELF file.
    pub bytes: Vec<u8>,
}

/// The modules of an unpacked kernel package.
#[derive(Debug)]
pub struct Modules {
    files: HashMap<String, PathBuf>,
}

impl Modules {
    /// Those below a directory such as `lib/modules/<release>`.
    ///
    /// # Errors
    /// Names the directory that cannot be listed.
    pub fn below(root: &Path) -> Result<Self> {
        let mut files = HashMap::new();
        let mut open = vec![root.to_owned()];
        while let Some(dir) = open.pop() {
            let describe = || format!("cannot list {}", dir.display());
            for entry in fs::read_dir(&dir).context(describe)? {
                let entry = entry.context(describe)?;
                if entry.file_type().context(describe)?.is_dir() {
                    open.push(entry.path());
                } else if let Some(name) = module_name(&entry.path()) {
                    files.insert(name, entry.path());
                }
            }
        }
        Ok(Self { files })
    }

    /// The wanted modules and all that they need, each after what it needs. A wanted name without a module is left
    /// out: the kernel has it built in, or not at all.
    ///
    /// # Errors
    /// A module that cannot be read, or one whose dependencies form a circle.
    pub fn load_order(&self, wanted: &[&str]) -> Result<Vec<Module>> {
        let mut order = Vec::new();
        for name in wanted {
            self.visit(name, &mut Vec::new(), &mut order)?;
        }
        Ok(order)
    }

    fn visit(&self, name: &str, above: &mut Vec<String>, order: &mut Vec<Module>) -> Result<()> {
        if order.iter().any(|module| module.name == name) {
            return Ok(());
        }
        let Some(path) = self.files.get(name) else {
            return Ok(());
        };
        if above.iter().any(|other| other == name) {
            return Err(Error::new(format!(
                "the kernel module {name} needs itself: {}",
                above.join(", ")
            )));
        }
        let bytes = unpack(path)?;
        above.push(name.to_owned());
        for needed in dependencies(&bytes).context(|| format!("cannot read {}", path.display()))? {
            self.visit(&needed, above, order)?;
        }
        above.pop();
        order.push(Module {
            name: name.to_owned(),
            bytes,
        });
        Ok(())
    }
}

/// The module's name, if the file is one: `virtio-rng.ko.xz` is `virtio_rng`.
fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let stem = file
        .strip_suffix(".ko.xz")
        .or_else(|| file.strip_suffix(".ko"))?;
    Some(stem.replace('-', "_"))
}

fn unpack(path: &Path) -> Result<Vec<u8>> {
    let packed = files::read(path)?;
    if path.extension().is_none_or(|extension| extension != "xz") {
        return Ok(packed);
    }
    let mut bytes = Vec::new();
    lzma_rust2::XzReader::new(packed.as_slice(), false)
        .read_to_end(&mut bytes)
        .context(|| format!("cannot unpack {}", path.display()))?;
    Ok(bytes)
}

/// The names in `depends=` of the section `.modinfo`, which holds `key=value` strings, each with a terminator.
fn dependencies(elf: &[u8]) -> object::Result<Vec<String>> {
    let header = FileHeader64::<Endianness>::parse(elf)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, elf)?;
    let Some((_, section)) = sections.section_by_name(endian, b".modinfo") else {
        return Ok(Vec::new());
    };
    if section.sh_type(endian) != SHT_PROGBITS {
        return Ok(Vec::new());
    }
    let info = section.data(endian, elf)?;
    let list = info
        .split(|&byte| byte == 0)
        .find_map(|entry| entry.strip_prefix(b"depends="));
    let list = String::from_utf8_lossy(list.unwrap_or_default());
    Ok(list
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with this section `.modinfo`, as a kernel module has.
    fn module(info: &[u8]) -> Vec<u8> {
        const NAMES: &[u8] = b"\0.modinfo\0.shstrtab\0";
        let (info_at, names_at) = (64, 64 + info.len());
        let sections_at = names_at + NAMES.len();
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\xb7\0\x01\0\0\0".to_vec();
        for field in [0, 0, sections_at as u64] {
            file.extend(field.to_le_bytes());
        }
        file.extend(0_u32.to_le_bytes());
        for field in [64_u16, 0, 0, 64, 3, 2] {
            file.extend(field.to_le_bytes());
        }
        file.extend_from_slice(info);
        file.extend_from_slice(NAMES);
        file.extend([0; 64]);
        for (name, kind, at, len) in [
            (1_u32, 1_u32, info_at, info.len()),
            (10, 3, names_at, NAMES.len()),
        ] {
            file.extend(name.to_le_bytes());
            file.extend(kind.to_le_bytes());
            for field in [0, 0, at as u64, len as u64, 0, 1, 0] {
                file.extend(field.to_le_bytes());
            }
        }
        file
    }

    fn modules(files: &[(&str, &str)]) -> (tempfile::TempDir, Modules) {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, depends) in files {
            let path = dir.path().join(path);
            files::make_dir(path.parent().expect("below the directory")).expect("made");
            let info = format!("license=GPL\0depends={depends}\0name=x\0");
            files::write(&path, &module(info.as_bytes())).expect("written");
        }
        let modules = Modules::below(dir.path()).expect("listed");
        (dir, modules)
    }

    fn names(order: &[Module]) -> Vec<&str> {
        order.iter().map(|module| module.name.as_str()).collect()
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let (_dir, modules) = modules(&[
            ("drivers/net/virtio_net.ko", "net_failover,failover"),
            ("net/net-failover.ko", "failover"),
            ("net/failover.ko", ""),
            ("unused.ko", ""),
        ]);
        let order = modules
            .load_order(&["virtio_net", "failover"])
            .expect("ordered");
        assert_eq!(names(&order), ["failover", "net_failover", "virtio_net"]);
    }

    #[test]
    fn what_is_built_in_is_left_out() {
        let (_dir, modules) = modules(&[("a.ko", "virtio_ring")]);
        assert_eq!(
            names(&modules.load_order(&["virtio_mmio", "a"]).expect("ordered")),
            ["a"]
        );
    }

    #[test]
    fn a_circle_is_an_error() {
        let (_dir, modules) = modules(&[("a.ko", "b"), ("b.ko", "a")]);
        let error = modules.load_order(&["a"]).expect_err("a circle");
        assert_eq!(error.to_string(), "the kernel module a needs itself: a, b");
    }

    #[test]
    fn a_compressed_module_is_unpacked() {
        // "hello\n", packed by xz.
        const PACKED: &[u8] = &[
            0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x01, 0x69, 0x22, 0xde, 0x36, 0x02, 0x00,
            0x21, 0x01, 0x1c, 0x00, 0x00, 0x00, 0x10, 0xcf, 0x58, 0xcc, 0x01, 0x00, 0x05, 0x68,
            0x65, 0x6c, 0x6c, 0x6f, 0x0a, 0x00, 0x00, 0x00, 0x20, 0x30, 0x3a, 0x36, 0x00, 0x01,
            0x1a, 0x06, 0xc5, 0xea, 0xc8, 0x79, 0x90, 0x42, 0x99, 0x0d, 0x01, 0x00, 0x00, 0x00,
            0x00, 0x01, 0x59, 0x5a,
        ];
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.ko.xz");
        files::write(&path, PACKED).expect("written");
        assert_eq!(unpack(&path), Ok(b"hello\n".to_vec()));
        files::write(&path, b"no archive").expect("written");
        assert!(unpack(&path).is_err_and(|error| error.to_string().starts_with("cannot unpack")));
    }

    #[test]
    fn a_file_that_is_no_module_is_an_error() {
        let (dir, _) = modules(&[]);
        files::write(&dir.path().join("a.ko"), b"text").expect("written");
        let modules = Modules::below(dir.path()).expect("listed");
        assert!(modules.load_order(&["a"]).is_err());
    }
}
