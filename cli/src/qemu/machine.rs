//! The command line of a QEMU that emulates one Arm machine.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;

use super::device::Device;
use crate::child::tied;

/// The processor, with the features that cost emulation much and guests little switched off: pointer authentication by
/// QEMU's fast algorithm, no scalable vectors, no 52-bit addresses.
pub const CPU: &str = "max,pauth-impdef=on,sve=off,sme=off,lpa2=off";

/// Whether the machine has EL2, which a hypervisor needs and a plain guest does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum El2 {
    /// The software starts at EL2.
    Present,
    /// It starts at EL1.
    Absent,
}

/// One emulated machine: QEMU's `virt` with a GICv3, a serial port on stdin and stdout, and nothing that it was not
/// given. A reset ends QEMU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// The program.
    pub qemu: PathBuf,
    /// Whether it has EL2.
    pub el2: El2,
    /// QEMU's `-cpu`.
    pub cpu: String,
    /// Processors.
    pub cpus: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// What is started: a file with the header of an arm64 `Image`.
    pub kernel: PathBuf,
    /// What is loaded beside it.
    pub initrd: Option<PathBuf>,
    /// The command line of what is started.
    pub append: String,
    /// The devices.
    pub devices: Vec<Device>,
    /// Whether its device tree has seeds of randomness, so that no two starts are alike.
    pub has_seeds: bool,
    /// More arguments, for what only one caller needs.
    pub extra: Vec<OsString>,
}

impl Machine {
    /// Two processors, 512 MiB, EL2, and this kernel; no devices, no seeds.
    pub fn new(qemu: impl Into<PathBuf>, kernel: impl Into<PathBuf>) -> Self {
        Self {
            qemu: qemu.into(),
            el2: El2::Present,
            cpu: CPU.into(),
            cpus: 2,
            memory_mib: 512,
            kernel: kernel.into(),
            initrd: None,
            append: String::new(),
            devices: Vec::new(),
            has_seeds: false,
            extra: Vec::new(),
        }
    }

    /// The arguments, without the program.
    pub fn arguments(&self) -> Vec<OsString> {
        let virtualization = if self.el2 == El2::Present {
            "virtualization=on,"
        } else {
            ""
        };
        let seeds = if self.has_seeds { "on" } else { "off" };
        let mut arguments: Vec<OsString> = vec![
            "-machine".into(),
            format!("virt,{virtualization}gic-version=3,dtb-randomness={seeds}").into(),
            "-cpu".into(),
            self.cpu.clone().into(),
            "-smp".into(),
            self.cpus.to_string().into(),
            "-m".into(),
            format!("{}M", self.memory_mib).into(),
        ];
        arguments.extend(
            [
                "-display",
                "none",
                "-serial",
                "mon:stdio",
                "-no-reboot",
                "-nic",
                "none",
            ]
            .map(OsString::from),
        );
        arguments.extend(["-global", "virtio-mmio.force-legacy=false"].map(OsString::from));
        arguments.extend(["-kernel".into(), self.kernel.clone().into_os_string()]);
        if let Some(initrd) = &self.initrd {
            arguments.extend(["-initrd".into(), initrd.clone().into_os_string()]);
        }
        if !self.append.is_empty() {
            arguments.extend(["-append".into(), self.append.clone().into()]);
        }
        arguments.extend(self.devices.iter().flat_map(Device::arguments));
        arguments.extend(self.extra.iter().cloned());
        arguments
    }

    /// The command, ready to be started, and [`tied`] by `program` to the process that does.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(&self.qemu);
        command.args(self.arguments());
        tied(&command, program)
    }

    /// The command as a line that can be pasted into a shell.
    pub fn shell_line(&self) -> String {
        let mut words = vec![quoted(self.qemu.as_os_str())];
        words.extend(self.arguments().iter().map(|word| quoted(word)));
        words.join(" ")
    }
}

/// A word as a shell reads it back.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=,./:@+%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::{DeviceKind, DiskImage, Network, Port};

    fn words(machine: &Machine) -> String {
        machine.shell_line()
    }

    #[test]
    fn a_machine_for_a_hypervisor_has_el2() {
        let mut machine = Machine::new("qemu", "droste.img");
        machine.initrd = Some("vms.img".into());
        machine.append = "droste.report=0123456789abcdef".into();
        assert_eq!(
            words(&machine),
            "qemu -machine virt,virtualization=on,gic-version=3,dtb-randomness=off \
             -cpu max,pauth-impdef=on,sve=off,sme=off,lpa2=off -smp 2 -m 512M -display none -serial mon:stdio \
             -no-reboot -nic none -global virtio-mmio.force-legacy=false -kernel droste.img -initrd vms.img \
             -append droste.report=0123456789abcdef"
        );
    }

    #[test]
    fn a_machine_for_a_plain_guest_has_none() {
        let mut machine = Machine::new("qemu", "Image");
        machine.el2 = El2::Absent;
        assert!(words(&machine).contains("-machine virt,gic-version=3,dtb-randomness=off "));
        machine.has_seeds = true;
        assert!(words(&machine).contains("-machine virt,gic-version=3,dtb-randomness=on "));
    }

    #[test]
    fn devices_sit_on_their_transports() {
        let mut machine = Machine::new("qemu", "k");
        machine.devices = vec![
            Device {
                kind: DeviceKind::Disk(DiskImage::raw("a,b.img")),
                transport: 8,
            },
            Device {
                kind: DeviceKind::Net(Network::User(Vec::new())),
                transport: 9,
            },
            Device {
                kind: DeviceKind::Disk(DiskImage::read_only("c.img")),
                transport: 10,
            },
            Device {
                kind: DeviceKind::Net(Network::Switch(Port {
                    switch: 0,
                    number: 2,
                })),
                transport: 16,
            },
        ];
        assert!(words(&machine).ends_with(
            "-drive if=none,format=raw,id=disk8,file=a,,b.img -device virtio-blk-device,drive=disk8,bus=virtio-mmio-bus.8 \
             -netdev user,id=net9 -device virtio-net-device,netdev=net9,bus=virtio-mmio-bus.9 \
             -drive if=none,format=raw,readonly=on,id=disk10,file=c.img \
             -device virtio-blk-device,drive=disk10,bus=virtio-mmio-bus.10 \
             -netdev hubport,id=net16,hubid=0 \
             -device virtio-net-device,netdev=net16,mac=52:54:0a:00:03:02,bus=virtio-mmio-bus.16"
        ));
    }

    #[test]
    fn a_shell_reads_back_what_was_written() {
        assert_eq!(quoted("a b".as_ref()), "'a b'");
        assert_eq!(quoted("it's".as_ref()), r"'it'\''s'");
        assert_eq!(quoted("".as_ref()), "''");
        assert_eq!(quoted("-cpu".as_ref()), "-cpu");
    }
}
