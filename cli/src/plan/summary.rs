//! What a description asks for, for people.

use droste_image::Console;

use crate::description::{Description, Disk, Net, Part};
use crate::qemu::{Access, Format};
use crate::setup::monitor::Monitor;

/// What a description asks for, in a few lines.
pub fn summary(vm: &Description) -> String {
    let part = |part: &Part| match part {
        Part::Debian(package) => format!("Debian's {package}"),
        Part::File(file) => file.display().to_string(),
        Part::Hypervisor => "Droste".to_owned(),
    };
    let cpus = match vm.vcpus.value {
        1 => "1 vCPU".to_owned(),
        n => format!("{n} vCPUs"),
    };
    let mut lines = vec![
        format!("{}: {cpus}, {} MiB", vm.name.value, vm.memory.value >> 20),
        format!("  kernel        {}", part(&vm.kernel.value)),
    ];
    lines.extend(
        vm.initrd
            .iter()
            .map(|initrd| format!("  RAM disk      {}", part(&initrd.value))),
    );
    lines.extend(
        vm.modules
            .iter()
            .map(|modules| format!("  modules       {}", modules.value.display())),
    );
    lines.extend(words("command line", &vm.cmdline.value));
    if let Some(dom0) = &vm.dom0 {
        let initrd = dom0.initrd.as_ref();
        let initrd = initrd.map_or(String::new(), |initrd| {
            format!(" with {}", part(&initrd.value))
        });
        lines.push(format!(
            "  dom0          {}{initrd}",
            part(&dom0.kernel.value)
        ));
        lines.extend(words("dom0's words", &dom0.cmdline.value));
    }
    lines.extend(
        vm.disks
            .iter()
            .map(|disk| format!("  disk          {}", shown(&disk.value))),
    );
    lines.extend(
        vm.nets
            .iter()
            .map(|net| format!("  network       {}", plugged(&net.value))),
    );
    let console = if vm.console == Console::Uart {
        "on the terminal"
    } else {
        "none"
    };
    lines.push(format!("  console       {console}"));
    lines.push(format!("  on reboot     {}", vm.on_reboot.as_str()));
    lines.push(format!("  EL2           {}", vm.el2.as_str()));
    lines.extend(vm.vms.iter().map(|inner| {
        let lines = summary(inner).replace('\n', "\n  ");
        format!("  on it         {lines}")
    }));
    lines.join("\n")
}

fn plugged(net: &Net) -> String {
    match net {
        Net::User(forwards) => {
            let ports = forwards.iter().map(|forward| {
                format!(
                    "; {}:{} leads to its port {}",
                    forward.address, forward.host, forward.guest
                )
            });
            format!("behind QEMU's own router{}", ports.collect::<String>())
        }
        Net::Switch(name) => format!("on the switch {name}"),
    }
}

/// A line for a command line, unless that is empty.
fn words(title: &str, line: &str) -> Option<String> {
    (!line.is_empty()).then(|| format!("  {title}  {line}"))
}

fn shown(disk: &Disk) -> String {
    match disk {
        Disk::File(image) => {
            let format = match image.format {
                Format::Raw => "",
                Format::Qcow2 => ", qcow2",
            };
            let access = match image.access {
                Access::ReadWrite => "",
                Access::ReadOnly => ", read-only",
            };
            format!("{}{format}{access}", image.file.display())
        }
        Disk::Monitor(Monitor::Vmm) => "a guest of its own, with the project's monitor".into(),
        Disk::Monitor(Monitor::Qemu) => "a guest of its own, with Debian's QEMU".into(),
    }
}
