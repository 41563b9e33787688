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
