//! A machine whose hypervisor has much to do: Linux with KVM, whose monitor changes the memory of its guests in all ways that
//! there are while they run. For `droste judge --stress`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files;
use crate::qemu::{Device, DeviceKind, DiskImage, Machine};
use crate::setup::Setup;
use crate::setup::monitor::{Monitor, Provisions};

/// Memory of the host, in MiB.
const MEMORY_MIB: u64 = 1024;
/// What stands before the name of a package.
const PACKAGE: &str = "debian:";
/// What is said at a good end.
const OK: &str = "guest: stress ok";

/// What is to be stressed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stress {
    /// A kernel, as a description has it.
    pub(crate) kernel: String,
    /// More words for its command line.
    pub(crate) append: String,
    /// CPUs of the machine.
    pub(crate) cpus: u32,
    /// How often something is done to a guest.
    pub(crate) rounds: u32,
    /// Guests, and vCPUs of each.
    pub(crate) vms: u32,
    pub(crate) vcpus: u32,
}

impl Stress {
    /// The command line of its QEMU, whose console is kept at `log` as well; what it needs is fetched or built.
    ///
    /// # Errors
    /// If a part cannot be fetched, built or read.
    pub(crate) fn command(&self, log: &Path) -> Result<Vec<OsString>> {
        let setup = Setup::new()?;
        let (kernel, initrd) = match self.kernel.strip_prefix(PACKAGE) {
            Some(package) => {
                let kernel = setup.kernel(package)?;
                (kernel.image(), setup.initrd(Some(&kernel))?)
            }
            None => (PathBuf::from(&self.kernel), setup.initrd(None)?),
        };
        let disk = Provisions::new(Monitor::Vmm, &kernel).disk(&setup)?;
        let mut machine = Machine::new(setup.qemu(None)?, kernel);
        machine.initrd = Some(initrd);
        machine.cpus = self.cpus;
        machine.memory_mib = MEMORY_MIB;
        machine.append = self.words();
        machine.devices = vec![Device {
            kind: DeviceKind::Disk(DiskImage::read_only(disk)),
            transport: 0,
        }];
        Ok(words(&machine, log))
    }

    fn words(&self) -> String {
        let Self {
            append,
            rounds,
            vms,
            vcpus,
            ..
        } = self;
        let own = format!("droste.virtio droste.stress={rounds},{vms},{vcpus}");
        let plain = "console=ttyAMA0 loglevel=5 cryptomgr.notests panic=5 nokaslr";
        format!("{plain} {own} {append}").trim_end().to_owned()
    }
}

/// Whether all ended well, by what the console said.
///
/// # Errors
/// If it did not, or the log cannot be read.
pub(crate) fn ended_well(log: &Path) -> Result<()> {
    let said = files::read(log)?;
    if String::from_utf8_lossy(&said).contains(OK) {
        return Ok(());
    }
    Err(Error::new("the stress program did not come to a good end")
        .help("look at what was said; the kernel needs KVM, and virtio-mmio and vfat as the package has them"))
}

fn words(machine: &Machine, log: &Path) -> Vec<OsString> {
    let mut words = vec![machine.qemu.clone().into_os_string()];
    // The console is what it was, but for what it leaves behind.
    words.extend(machine.arguments().into_iter().map(|word| {
        if word == "mon:stdio" {
            "chardev:console".into()
        } else {
            word
        }
    }));
    let log = log.display().to_string().replace(',', ",,");
    let console = format!("stdio,id=console,mux=on,signal=off,logfile={log}");
    words.extend(["-chardev".into(), console.into()]);
    words.extend(["-mon", "chardev=console"].map(OsString::from));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRESS: Stress = Stress {
        kernel: String::new(),
        append: String::new(),
        cpus: 2,
        rounds: 7,
        vms: 2,
        vcpus: 3,
    };

    #[test]
    fn the_machine_is_told_how_much_and_more() {
        let append = "kvm-arm.mode=nvhe".into();
        let said = Stress { append, ..STRESS }.words();
        assert!(
            said.ends_with(" droste.stress=7,2,3 kvm-arm.mode=nvhe"),
            "{said}"
        );
        assert!(STRESS.words().ends_with("=7,2,3"));
    }

    #[test]
    fn the_console_is_kept() {
        let machine = Machine::new("qemu", "k");
        let line = words(&machine, Path::new("/a,b")).join(" ".as_ref());
        let line = line.to_string_lossy();
        assert!(line.contains("-serial chardev:console "), "{line}");
        let end = "-chardev stdio,id=console,mux=on,signal=off,logfile=/a,,b -mon chardev=console";
        assert!(line.ends_with(end), "{line}");
    }

    #[test]
    fn a_good_end_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        for (said, is_good) in [
            ("x\nguest: stress ok\r\n", true),
            ("guest: stress failed\n", false),
        ] {
            std::fs::write(&log, said).expect("written");
            assert_eq!(ended_well(&log).is_ok(), is_good, "{said}");
        }
    }
}
