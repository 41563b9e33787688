//! Disks for guests that are hypervisors: a virtual machine monitor, and a kernel with its RAM disk for it to start.

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use super::Setup;
use super::fat::{self, Content};
use crate::error::{Context, Result};

/// A virtual machine monitor that guests run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Monitor {
    /// The project's own, `droste-vmm`.
    Vmm,
    /// Debian's QEMU, with the project's own beside it.
    Qemu,
}

/// What a guest that is a hypervisor finds on its disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provisions {
    /// The monitor.
    pub monitor: Monitor,
    /// The kernel of its guests.
    pub kernel: PathBuf,
    /// More files, each with the name that it gets: kernels that need no RAM disk.
    pub more: Vec<(String, PathBuf)>,
}

impl Provisions {
    /// The monitor, and a kernel for it to start.
    pub fn new(monitor: Monitor, kernel: impl Into<PathBuf>) -> Self {
        Self {
            monitor,
            kernel: kernel.into(),
            more: Vec::new(),
        }
    }

    /// A disk image with all of it, from the cache or made; what it needs is fetched or built. Nobody may write to it.
    ///
    /// # Errors
    /// If a part cannot be fetched, built or read, or the image cannot be written.
    pub fn disk(&self, setup: &Setup) -> Result<PathBuf> {
        let files = self.files(setup)?;
        let describe = || "cannot make the disk with the guest's own guest".into();
        let name = name(&files).context(describe)?;
        setup.cache().get_or_make(&name, |dir| {
            let path = dir.join("disk.img");
            let file = fs::File::create(&path).context(describe)?;
            let mut out = BufWriter::new(file);
            fat::write(&mut out, &files).context(describe)?;
            out.into_inner()
                .map_err(std::io::IntoInnerError::into_error)
                .context(describe)?;
            Ok(path)
        })
    }

    fn files(&self, setup: &Setup) -> Result<Vec<(String, Content)>> {
        let mut files = vec![
            ("droste-vmm".into(), Content::File(setup.monitor()?)),
            ("initrd".into(), Content::File(setup.initrd(None)?)),
            ("kernel".into(), Content::File(self.kernel.clone())),
        ];
        if self.monitor == Monitor::Qemu {
            files.extend(below(&setup.emulator()?)?);
        }
        let more = self.more.iter();
        files.extend(more.map(|(name, path)| (name.clone(), Content::File(path.clone()))));
        Ok(files)
    }
}

/// The files of a directory.
fn below(dir: &Path) -> Result<Vec<(String, Content)>> {
    let describe = || format!("cannot list {}", dir.display());
    let file = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.context(describe)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        Ok((name, Content::File(entry.path())))
    };
    fs::read_dir(dir).context(describe)?.map(file).collect()
}

/// Named after the content: another kernel or another monitor is another disk.
fn name(files: &[(String, Content)]) -> std::io::Result<String> {
    Ok(format!("disk/{:08x}.img", fat::fingerprint(files)?))
}
