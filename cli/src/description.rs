//! Descriptions of virtual machines: a TOML file each, read with the location of every value, judged against the limits and
//! the files that they name.
//!
//! All that is wrong is found in one go, and each finding names the file, the line and the remedy.

mod diagnostic;
mod inspect;
mod parse;
mod room;
mod value;

use std::path::PathBuf;

use droste_image::{Console, El2, OnReboot};

use crate::files;
use crate::qemu::{DiskImage, Forward};
use crate::setup::monitor::Monitor;

pub use diagnostic::{Diagnostic, Location, Placed, report};
pub use inspect::{Located, inspect};
pub use room::little_memory;
pub use value::parse_size;

/// Where a kernel or an initial RAM disk comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// A Debian package for arm64, written `debian:<package>`.
    Debian(String),
    /// A file.
    File(PathBuf),
    /// Droste itself, a kernel written `droste:hypervisor`.
    Hypervisor,
}

/// What is on a disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Disk {
    /// A file.
    File(DiskImage),
    /// What a guest that is a hypervisor needs for guests of its own: this monitor, and the machine's own kernel. Written
    /// `droste:vmm` or `debian:qemu-system-arm`.
    Monitor(Monitor),
}

impl Disk {
    /// The monitor on it, if there is one.
    pub fn monitor(&self) -> Option<Monitor> {
        match self {
            Self::File(_) => None,
            Self::Monitor(monitor) => Some(*monitor),
        }
    }
}

/// What a network adapter is plugged into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Net {
    /// QEMU's own router, with ports of the host that lead to the guest's.
    User(Vec<Forward>),
    /// The switch of this name, with all of the same run that name it as well.
    Switch(String),
}

/// One virtual machine as its file describes it; every value is within its limits, but for a name that is missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// Its name, `[a-z0-9-]{1,31}`.
    pub name: Placed<String>,
    /// vCPUs.
    pub vcpus: Placed<u32>,
    /// Memory in bytes.
    pub memory: Placed<u64>,
    /// The kernel.
    pub kernel: Placed<Part>,
    /// The initial RAM disk.
    pub initrd: Option<Placed<Part>>,
    /// Where the modules of a kernel that is a file are, for Debian's RAM disk.
    pub modules: Option<Placed<PathBuf>>,
    /// The guest's command line.
    pub cmdline: Placed<String>,
    /// Disks.
    pub disks: Vec<Placed<Disk>>,
    /// Its network adapters.
    pub nets: Vec<Placed<Net>>,
    /// Whether it has a console.
    pub console: Console,
    /// What a reset does.
    pub on_reboot: OnReboot,
    /// Which EL2 the guest has.
    pub el2: El2,
    /// What the guest starts first, where it is a hypervisor that asks for that, such as Xen.
    pub dom0: Option<Dom0>,
    /// What runs on it, where its kernel is Droste.
    pub vms: Vec<Description>,
}

/// What a guest hypervisor starts first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dom0 {
    /// The kernel.
    pub kernel: Placed<Part>,
    /// The initial RAM disk.
    pub initrd: Option<Placed<Part>>,
    /// The kernel's command line.
    pub cmdline: Placed<String>,
    /// Where it is described.
    pub location: Location,
}

impl Description {
    /// How many devices it has.
    pub fn device_count(&self) -> usize {
        self.disks.len() + self.nets.len()
    }
}

/// What the command line says in place of the descriptions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overrides {
    /// The kernel of every virtual machine.
    pub kernel: Option<PathBuf>,
    /// The initial RAM disk of every virtual machine.
    pub initrd: Option<PathBuf>,
}

impl Overrides {
    fn apply(&self, description: &mut Description) {
        let from_flag = |flag: &str, file: &PathBuf| Placed {
            value: Part::File(file.clone()),
            location: Location::whole(flag),
        };
        if let Some(file) = &self.kernel {
            description.kernel = from_flag("--kernel", file);
        }
        if let Some(file) = &self.initrd {
            description.initrd = Some(from_flag("--initrd", file));
        }
    }
}

/// Reads descriptions; what can be read is returned along with all that is wrong. Only if nothing is wrong do the
/// descriptions hold what their files say.
pub fn load(files: &[PathBuf], overrides: &Overrides) -> (Vec<Description>, Vec<Diagnostic>) {
    let mut descriptions = Vec::new();
    let mut diagnostics = Vec::new();
    for file in files {
        let text = match files::text(file) {
            Ok(text) => text,
            Err(error) => {
                diagnostics.push(Diagnostic {
                    location: Location::whole(&file.display().to_string()),
                    message: format!("cannot be read: {error}"),
                    help: "name a description of a virtual machine, such as examples/linux.toml"
                        .into(),
                });
                continue;
            }
        };
        let (mut description, found) = parse::parse(file, &text);
        overrides.apply(&mut description);
        diagnostics.extend(found);
        descriptions.push(description);
    }
    (descriptions, diagnostics)
}
