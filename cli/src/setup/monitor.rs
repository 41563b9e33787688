//! Disks for guests that are hypervisors: a virtual machine monitor, and a kernel with its RAM disk for it to start.

use std::fmt;
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

impl Monitor {
    /// Its name on a guest's command line.
    fn word(self) -> &'static str {
        match self {
            Self::Vmm => "vmm",
            Self::Qemu => "qemu",
        }
    }
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
        setup.cache().get_or_make_version(&name, |dir| {
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

/// What a guest that is a hypervisor is to do when it examines its machine: start guests of its own, called L2, and have
/// each examine itself. [`Display`](fmt::Display) gives the words for its command line, which stand beside
/// `droste.self-report`.
///
/// It ends with the line `guest: nested ok`, and switches off, if each L2 came to a good end.
///
/// ```
/// use droste::setup::monitor::{L2, Monitor};
///
/// let mut l2 = L2::new(&[Monitor::Vmm]);
/// assert_eq!(l2.to_string(), "droste.l2=vmm");
/// l2.vcpus = 2;
/// l2.parallel = 2;
/// assert_eq!(l2.to_string(), "droste.l2=vmm droste.l2.vcpus=2 droste.l2.parallel=2");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct L2 {
    /// What starts them, in turn.
    pub monitors: Vec<Monitor>,
    /// vCPUs of each.
    pub vcpus: u32,
    /// Memory of each, in MiB; 0 is what its kernel needs.
    pub memory_mib: u32,
    /// A kernel of the disk that needs no RAM disk, in place of Linux: one of the bare-metal test guests, whose own name
    /// begins the line with its good end.
    pub kernel: Option<String>,
    /// How many there are beside each other.
    pub parallel: u32,
    /// How often that is done.
    pub count: u32,
    /// How much of their memory is swapped out each second, in MiB, and all of it at the end; 0 is none. The host needs a
    /// disk for it.
    pub reclaim_mib: u32,
}

impl L2 {
    /// One Linux, as small as it is started unless somebody says.
    pub fn new(monitors: &[Monitor]) -> Self {
        Self {
            monitors: monitors.to_vec(),
            vcpus: 1,
            memory_mib: 0,
            kernel: None,
            parallel: 1,
            count: 1,
            reclaim_mib: 0,
        }
    }
}

impl fmt::Display for L2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let monitors: Vec<_> = self.monitors.iter().map(|monitor| monitor.word()).collect();
        write!(f, "droste.l2={}", monitors.join(","))?;
        if let Some(kernel) = &self.kernel {
            write!(f, " droste.l2.kernel={kernel}")?;
        }
        for (name, value, default) in [
            ("vcpus", self.vcpus, 1),
            ("memory", self.memory_mib, 0),
            ("parallel", self.parallel, 1),
            ("count", self.count, 1),
            ("reclaim", self.reclaim_mib, 0),
        ] {
            if value != default {
                write!(f, " droste.l2.{name}={value}")?;
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::initrd;

    #[test]
    fn the_guest_knows_every_word() {
        let l2 = L2 {
            monitors: vec![Monitor::Qemu, Monitor::Vmm],
            vcpus: 2,
            memory_mib: 64,
            kernel: Some("fp".into()),
            parallel: 3,
            count: 4,
            reclaim_mib: 5,
        };
        let words = l2.to_string();
        assert_eq!(words.split(' ').count(), 7, "{words}");
        for word in words.split(' ') {
            let (name, _) = word.split_once('=').expect("a name and a value");
            let asked = format!("$(value {name}");
            assert!(
                initrd::NESTED_REPORT.contains(&asked),
                "{name} means nothing"
            );
        }
    }

    #[test]
    fn what_is_not_said_is_what_the_guest_does_anyway() {
        for (name, value) in [("vcpus", 1), ("parallel", 1), ("count", 1)] {
            let default = format!("$(value droste.l2.{name} {value})");
            assert!(initrd::NESTED_REPORT.contains(&default), "{default}");
        }
    }
}
