//! Judges descriptions together and against the files that they name.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use droste_image::{El2, VCPUS_IN_ALL, VMS_MAX};

use super::{Description, Diagnostic, Disk, Location, Net, Part};
use crate::files::Identity;
use crate::qemu::{Access, Protocol, TRANSPORTS_PER_VM, VMS_WITH_DEVICES_MAX};
use crate::setup::guest::is_xen_package;

mod parts;

pub(super) use parts::header;

/// Memory that Droste takes of a machine for itself, its boot image and its machines' tables aside, with what is lost
/// between aligned pieces.
const INNER_EXTRA: u64 = 32 << 20;

/// Where a description's parts are; `None` for a package that is not fetched yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Located {
    /// The kernel's file.
    pub kernel: Option<PathBuf>,
    /// The initial RAM disk's file.
    pub initrd: Option<PathBuf>,
    /// The same two of what a guest hypervisor starts.
    pub dom0: [Option<PathBuf>; 2],
    /// Those of what runs on it, in their order.
    pub vms: Vec<Located>,
    /// The images of those disks that are no files of the user's, in their order.
    pub monitors: Vec<PathBuf>,
}

/// All that is wrong with descriptions, each given with the locations of its parts.
pub fn inspect(vms: &[(Description, Located)]) -> Vec<Diagnostic> {
    let mut inspection = Inspection::default();
    inspection.numbers(vms);
    for (vm, located) in vms {
        inspection.name(vm);
        inspection.files(vm, located);
        inspection.hypervisor(vm);
        inspection.inner(vm, located);
        inspection.disks(vm);
        inspection.network(vm);
        inspection.modules(vm);
    }
    inspection.diagnostics
}

#[derive(Default)]
struct Inspection<'a> {
    diagnostics: Vec<Diagnostic>,
    names: HashMap<&'a str, &'a Location>,
    disks: HashMap<Identity, (&'a Location, Access)>,
    ports: HashMap<(Protocol, u16), &'a Location>,
}

impl<'a> Inspection<'a> {
    fn numbers(&mut self, vms: &[(Description, Located)]) {
        if let Some((vm, _)) = vms.get(VMS_MAX) {
            let message = format!("{} virtual machines are too many", vms.len());
            self.find(
                &vm.name.location,
                message,
                format!("describe at most {VMS_MAX} at a time"),
            );
        }
        let counted = |(vm, _): &(Description, Located)| vm.el2.vcpu_weight() * vm.vcpus.value;
        let mut sum = 0;
        let beyond = vms.iter().find(|vm| {
            sum += counted(vm);
            sum > VCPUS_IN_ALL
        });
        if let Some((vm, _)) = beyond {
            let all: u32 = vms.iter().map(counted).sum();
            let message = format!(
                "{all} vCPUs are too many in all, where those of a guest with EL2 count twice"
            );
            let help = format!("take some away until there are {VCPUS_IN_ALL}");
            self.find(&vm.vcpus.location, message, help);
        }
        let with_devices = vms.iter().filter(|(vm, _)| vm.device_count() > 0);
        if let Some((vm, _)) = with_devices.clone().nth(VMS_WITH_DEVICES_MAX as usize) {
            let message = format!("{} virtual machines have devices", with_devices.count());
            let help = format!(
                "take disk and net out of all but {VMS_WITH_DEVICES_MAX}: eight transports share a page"
            );
            self.find(&vm.name.location, message, help);
        }
        for (vm, _) in vms {
            let count = vm.device_count();
            if count > TRANSPORTS_PER_VM as usize {
                let message = format!("{count} devices are too many for one virtual machine");
                self.find(
                    &vm.name.location,
                    message,
                    format!("keep at most {TRANSPORTS_PER_VM}"),
                );
            }
        }
    }

    fn name(&mut self, vm: &'a Description) {
        let name = vm.name.value.as_str();
        if name.is_empty() {
            return;
        }
        match self.names.get(name) {
            Some(&first) => {
                let message = format!("the name {name:?} is taken by {first}");
                self.find(
                    &vm.name.location,
                    message,
                    "give each virtual machine a name of its own".into(),
                );
            }
            None => {
                self.names.insert(name, &vm.name.location);
            }
        }
    }

    fn hypervisor(&mut self, vm: &Description) {
        let is_xen = matches!(&vm.kernel.value, Part::Debian(package) if is_xen_package(package));
        let is_droste = vm.kernel.value == Part::Hypervisor;
        // What a hypervisor starts stands in a table, of which there is an example.
        let known = match (is_xen, is_droste) {
            (true, _) => Some(("Xen", vm.dom0.is_some(), "[dom0]", "xen")),
            (_, true) => Some(("Droste", !vm.vms.is_empty(), "[[vm]]", "droste")),
            _ => None,
        };
        if let Some((name, starts, table, example)) = known {
            let kind = if is_droste {
                "of its own"
            } else {
                "without VHE"
            };
            let has_it = vm.el2 == El2::Nvhe || is_droste && vm.el2 == El2::Vhe;
            if !has_it {
                let message = format!("{name} needs an EL2 {kind}");
                let help = "say el2 = \"nvhe\"".into();
                self.find(&vm.kernel.location, message, help);
            }
            if !starts {
                let message = format!("{name} has nothing to start");
                let help = format!("add a table {table} at the end, as in examples/{example}.toml");
                self.find(&vm.kernel.location, message, help);
            }
        }
        if let (false, Some(inner)) = (is_droste, vm.vms.first()) {
            let message = "a table [[vm]] is for what Droste runs, and it is not the kernel";
            let help = "say kernel = \"droste:hypervisor\" above it";
            self.find(&inner.name.location, message.into(), help.into());
        }
        if let (true, Some(initrd)) = (is_droste, &vm.initrd) {
            let message = "the RAM disk would go to Droste, whose place for it has the boot image";
            let help = "name it in a table [[vm]]";
            self.find(&initrd.location, message.into(), help.into());
        }
        if let (true, Some(dom0)) = (is_droste, &vm.dom0) {
            let message = "dom0 is for another hypervisor: what Droste runs stands in [[vm]]";
            self.find(&dom0.location, message.into(), "take it out".into());
        } else if let Some(dom0) = vm.dom0.as_ref().filter(|_| !is_xen && vm.el2 == El2::None) {
            let message = "dom0 is for a hypervisor, and this machine has no EL2";
            self.find(
                &dom0.location,
                message.into(),
                "say el2 = \"nvhe\" above it".into(),
            );
        }
        if let (Some(_), Some(initrd)) = (&vm.dom0, &vm.initrd) {
            let message = "the RAM disk would go to dom0, which has its own";
            self.find(
                &initrd.location,
                message.into(),
                "name it in the table [dom0]".into(),
            );
        }
    }

    /// What runs on the machine, judged as the machines of one run are.
    fn inner(&mut self, vm: &Description, located: &Located) {
        let vms: Vec<_> = vm
            .vms
            .iter()
            .cloned()
            .zip(located.vms.iter().cloned())
            .collect();
        self.diagnostics.extend(inspect(&vms));
        let memory: u64 = vm.vms.iter().map(|inner| inner.memory.value).sum();
        let needed = memory + INNER_EXTRA + inner_bytes(located);
        if !vms.is_empty() && needed > vm.memory.value {
            let mib = |bytes: u64| bytes.div_ceil(1 << 20);
            let message = format!(
                "{} MiB of memory, and what runs on it takes {}",
                mib(vm.memory.value),
                mib(needed)
            );
            let help = format!("say memory = \"{}M\"", mib(needed));
            self.find(&vm.memory.location, message, help);
        }
    }

    fn disks(&mut self, vm: &'a Description) {
        for disk in &vm.disks {
            let Disk::File(image) = &disk.value else {
                if vm.dom0.is_some() {
                    let message = "the disk is for a Linux with KVM, and dom0 has no EL2";
                    self.find(&disk.location, message.into(), "take it out".into());
                } else if vm.el2 == El2::None {
                    let message = "the disk is for a hypervisor, and this machine has no EL2";
                    self.find(&disk.location, message.into(), "add el2 = \"vhe\"".into());
                }
                continue;
            };
            self.image(image, &disk.location);
        }
    }

    fn network(&mut self, vm: &'a Description) {
        let forwards = vm.nets.iter().flat_map(|net| match &net.value {
            Net::User(forwards) => forwards
                .iter()
                .map(|forward| (forward, &net.location))
                .collect(),
            Net::Switch(_) => Vec::new(),
        });
        for (forward, location) in forwards {
            let port = (forward.protocol, forward.host);
            if let Some(first) = self.ports.insert(port, location) {
                let message = format!("the host's port {} is taken by {first}", forward.host);
                self.find(location, message, "name another port of the host".into());
            }
        }
    }

    fn modules(&mut self, vm: &Description) {
        let Some(modules) = &vm.modules else { return };
        let is_own = matches!(vm.kernel.value, Part::File(_));
        let initrd = vm.initrd.as_ref().map(|initrd| &initrd.value);
        let is_ours = matches!(initrd, Some(Part::Debian(_)));
        if !is_own || !is_ours {
            let message =
                "modules are for a kernel that is a file, with the RAM disk debian:busybox-static";
            let help = "take it out: packages bring their modules, and a RAM disk of one's own has them in it";
            self.find(&modules.location, message.into(), help.into());
        } else if !modules.value.is_dir() {
            let message = format!("there is no directory {}", modules.value.display());
            let help = "name the one with the kernel's release, as make modules_install makes it";
            self.find(&modules.location, message, help.into());
        }
    }

    fn find(&mut self, location: &Location, message: String, help: String) {
        self.diagnostics.push(Diagnostic {
            location: location.clone(),
            message,
            help,
        });
    }
}

/// Bytes of the boot image for what runs on a machine, as far as its parts are there.
fn inner_bytes(located: &Located) -> u64 {
    let files = located.vms.iter().flat_map(|vm| [&vm.kernel, &vm.initrd]);
    let files = files.flatten().filter_map(|file| fs::metadata(file).ok());
    files.map(|data| data.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::super::{Overrides, load};
    use super::*;

    /// A directory with a good kernel in it, `Image`, which needs 8 MiB.
    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        let mut kernel = vec![0; 4096];
        kernel[16..24].copy_from_slice(&(6_u64 << 20).to_le_bytes());
        kernel[56..60].copy_from_slice(b"ARM\x64");
        put(&dir, "Image", &kernel);
        dir
    }

    fn put(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) {
        fs::write(dir.path().join(name), bytes).expect("written");
    }

    /// Where the parts of a description are that are files.
    fn locate(vm: &Description) -> Located {
        let file = |part: &Part| match part {
            Part::File(file) => Some(file.clone()),
            Part::Debian(_) | Part::Hypervisor => None,
        };
        Located {
            kernel: file(&vm.kernel.value),
            initrd: vm.initrd.as_ref().and_then(|initrd| file(&initrd.value)),
            dom0: vm.dom0.as_ref().map_or([None, None], |dom0| {
                let initrd = dom0.initrd.as_ref();
                [
                    file(&dom0.kernel.value),
                    initrd.and_then(|initrd| file(&initrd.value)),
                ]
            }),
            vms: vm.vms.iter().map(locate).collect(),
            monitors: Vec::new(),
        }
    }

    /// The findings about these descriptions, without the directory's name.
    fn findings(dir: &tempfile::TempDir, texts: &[&str]) -> Vec<String> {
        let mut files = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            put(dir, &format!("{index}.toml"), text.as_bytes());
            files.push(dir.path().join(format!("{index}.toml")));
        }
        let (vms, diagnostics) = load(&files, &Overrides::default());
        assert_eq!(diagnostics, []);
        let vms: Vec<_> = vms
            .into_iter()
            .map(|vm| (vm.clone(), locate(&vm)))
            .collect();
        let prefix = format!("{}/", dir.path().display());
        inspect(&vms)
            .iter()
            .map(|found| found.to_string().replace(&prefix, ""))
            .collect()
    }

    fn one(dir: &tempfile::TempDir, text: &str) -> String {
        let found = findings(dir, &[text]);
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().expect("one")
    }

    #[test]
    fn a_good_description_has_no_findings() {
        let dir = directory();
        put(&dir, "initrd", b"x");
        put(&dir, "disk", &[0; 1024]);
        let text = "name = \"a\"\nkernel = \"Image\"\ninitrd = \"initrd\"\ndisk = \"disk\"\n";
        assert_eq!(findings(&dir, &[text]), [] as [String; 0]);
    }

    #[test]
    fn virtual_cpus_are_counted_in_all() {
        let dir = directory();
        let vm = |name: &str, more: &str| {
            format!("name = \"{name}\"\nkernel = \"Image\"\nvcpus = 64\n{more}")
        };
        let [a, b, c] = [vm("a", ""), vm("b", ""), vm("c", "")];
        assert_eq!(findings(&dir, &[&a, &b, &c]), [] as [String; 0]);
        let found = findings(&dir, &[&a, &vm("b", "el2 = \"vhe\"\n"), &c]);
        assert_eq!(
            found,
            [
                "2.toml:3:9: 256 vCPUs are too many in all, where those of a guest with EL2 count twice\n  help: take \
                 some away until there are 192"
            ]
        );
    }

    #[test]
    fn a_disk_for_a_hypervisor_needs_an_el2() {
        let dir = directory();
        let text = "name = \"a\"\nkernel = \"Image\"\ndisk = \"droste:vmm\"\n";
        let found = one(&dir, text);
        assert!(
            found.contains("0.toml:3:8: the disk is for a hypervisor"),
            "{found}"
        );
        let text = format!("{text}el2 = \"nvhe\"\n");
        assert_eq!(findings(&dir, &[&text]), [] as [String; 0]);
    }

    #[test]
    fn what_a_hypervisor_starts_needs_an_el2_a_file_and_room() {
        let dir = directory();
        put(&dir, "dom0", &vec![1; 10 << 20]);
        let xen = |more: &str| {
            format!(
                "name = \"a\"\nkernel = \"Image\"\nmemory = \"32M\"\n{more}[dom0]\nkernel = \"dom0\"\n"
            )
        };
        assert!(one(&dir, &xen("")).contains("dom0 is for a hypervisor"));
        let text = xen("el2 = \"nvhe\"\n");
        assert_eq!(findings(&dir, &[&text]), [] as [String; 0]);
        let initrd = format!("{text}initrd = \"none\"\n");
        assert!(one(&dir, &initrd).contains("0.toml:7:10: cannot read none"));
        let own = xen("el2 = \"nvhe\"\ninitrd = \"dom0\"\n");
        assert!(one(&dir, &own).contains("0.toml:5:10: the RAM disk would go to dom0"));
        let disk = xen("el2 = \"nvhe\"\ndisk = \"droste:vmm\"\n");
        assert!(one(&dir, &disk).contains("0.toml:5:8: the disk is for a Linux with KVM"));
        assert!(one(&dir, &text.replace("32M", "16M")).contains("0.toml:3:10"));
        assert!(
            one(&dir, &text.replace("\"dom0\"", "\"missing\""))
                .contains("0.toml:6:10: cannot read missing")
        );
    }

    #[test]
    fn droste_as_a_kernel_needs_an_el2_and_something_to_run() {
        let dir = directory();
        let head = "name = \"a\"\nkernel = \"droste:hypervisor\"\nmemory = \"128M\"\n";
        let inner = "[[vm]]\nname = \"b\"\nkernel = \"Image\"\nmemory = \"64M\"\n";
        let found = |more: &str| findings(&dir, &[&format!("{head}{more}")]).join("\n");
        let el2 = format!("el2 = \"nvhe\"\n{inner}");
        assert_eq!(found(&el2), "");
        assert_eq!(found(&el2.replace("nvhe", "vhe")), "");
        assert!(found(inner).starts_with("0.toml:2:10: Droste needs an EL2 of its own"));
        let nothing = found("el2 = \"nvhe\"\n");
        assert!(nothing.starts_with("0.toml:2:10: Droste has nothing to start"));
        assert!(nothing.contains("examples/droste.toml"), "{nothing}");
        let initrd = found(&format!("initrd = \"Image\"\n{el2}"));
        assert!(initrd.starts_with("0.toml:4:10: the RAM disk would go to Droste"));
        let dom0 = found(&format!("{el2}[dom0]\nkernel = \"Image\"\n"));
        assert!(
            dom0.contains("9:1: dom0 is for another hypervisor"),
            "{dom0}"
        );
        let other = findings(
            &dir,
            &[&format!("name = \"a\"\nkernel = \"Image\"\n{inner}")],
        );
        assert!(other[0].starts_with("0.toml:4:8: a table [[vm]] is for what Droste runs"));
    }

    #[test]
    fn what_runs_on_droste_is_judged_like_the_rest() {
        let dir = directory();
        let found = |inner: &str| {
            let head =
                "name = \"a\"\nkernel = \"droste:hypervisor\"\nmemory = \"256M\"\nel2 = \"nvhe\"\n";
            findings(&dir, &[&format!("{head}{inner}")]).join("\n")
        };
        let vm = "[[vm]]\nname = \"b\"\nkernel = \"Image\"\nmemory = \"64M\"\n";
        assert!(found(&format!("{vm}{vm}")).contains("0.toml:10:8: the name \"b\" is taken"));
        assert!(found(&vm.replace("Image", "none")).contains("0.toml:7:10: cannot read none"));
        let much = found(&vm.replace("64M", "256M"));
        assert!(
            much.starts_with("0.toml:3:10: 256 MiB of memory, and what runs on it takes 289"),
            "{much}"
        );
        assert!(much.contains("say memory = \"289M\""), "{much}");
    }

    #[test]
    fn xen_needs_its_kind_of_el2_and_a_dom0() {
        let dir = directory();
        put(&dir, "dom0", b"x");
        let found = |el2: &str, dom0: &str| {
            let text = format!("name = \"a\"\nkernel = \"debian:xen-system-arm64\"\n{el2}{dom0}");
            findings(&dir, &[&text])
        };
        let (nvhe, dom0) = ("el2 = \"nvhe\"\n", "[dom0]\nkernel = \"dom0\"\n");
        assert_eq!(found(nvhe, dom0), [] as [String; 0]);
        for el2 in ["", "el2 = \"vhe\"\n"] {
            let found = found(el2, dom0);
            assert!(
                found.len() == 1 && found[0].contains("0.toml:2:10: Xen needs an EL2 without VHE"),
                "{found:?}"
            );
        }
        let found = found(nvhe, "");
        assert!(
            found.len() == 1 && found[0].contains("0.toml:2:10: Xen has nothing to start"),
            "{found:?}"
        );
    }

    #[test]
    fn a_package_that_is_not_fetched_yet_is_no_finding() {
        let text = "name = \"a\"\nkernel = \"debian:linux-image-cloud-arm64\"\n";
        assert_eq!(findings(&directory(), &[text]), [] as [String; 0]);
    }

    #[test]
    fn a_wrong_value_does_not_hide_what_is_wrong_with_the_files() {
        let dir = directory();
        put(&dir, "vm.toml", b"memory = 1\nkernel = \"nothing\"\n");
        let (vms, mut found) = load(&[dir.path().join("vm.toml")], &Overrides::default());
        let located = Located {
            kernel: Some(dir.path().join("nothing")),
            ..Located::default()
        };
        let vms: Vec<_> = vms.into_iter().map(|vm| (vm, located.clone())).collect();
        found.extend(inspect(&vms));
        let messages: Vec<&str> = found.iter().map(|found| found.message.as_str()).collect();
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(messages[2].starts_with("cannot read"), "{messages:?}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let found = one(&directory(), "name = \"a\"\nkernel = \"nothing\"\n");
        assert!(
            found.starts_with("0.toml:2:10: cannot read nothing: No such file"),
            "{found}"
        );
        assert!(found.contains("help: check the path"), "{found}");
    }

    #[test]
    fn a_directory_and_an_empty_file_are_told() {
        let dir = directory();
        put(&dir, "empty", b"");
        assert!(one(&dir, "name = \"a\"\nkernel = \".\"\n").contains("is a directory"));
        let found = one(
            &dir,
            "name = \"a\"\nkernel = \"Image\"\ninitrd = \"empty\"\n",
        );
        assert!(found.starts_with("0.toml:3:10: empty is empty"), "{found}");
    }

    #[test]
    fn a_compressed_kernel_says_what_to_do() {
        let dir = directory();
        put(&dir, "vmlinuz", b"\x1f\x8b and so on");
        let found = one(&dir, "name = \"a\"\nkernel = \"vmlinuz\"\n");
        assert_eq!(
            found,
            "0.toml:2:10: vmlinuz: the kernel is compressed with gzip\n  help: unpack it, or take arch/arm64/boot/Image"
        );
    }

    #[test]
    fn too_little_memory_is_told_at_its_line() {
        let dir = directory();
        put(&dir, "initrd", &vec![1; 10 << 20]);
        let text = "name = \"a\"\nkernel = \"Image\"\ninitrd = \"initrd\"\nmemory = \"16M\"\n";
        let found = one(&dir, text);
        assert!(
            found
                .starts_with("0.toml:4:10: Image: kernel, device tree and other files need 18 MiB"),
            "{found}"
        );
        assert!(found.ends_with("help: give it more memory"), "{found}");
    }

    #[test]
    fn a_name_that_is_taken_names_both_places() {
        let text = "name = \"a\"\nkernel = \"Image\"\n";
        let found = findings(&directory(), &[text, text]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("1.toml:1:8: the name \"a\" is taken by 0.toml:1:8\n"),
            "{found:?}"
        );
    }

    #[test]
    fn a_disk_that_is_used_twice_names_both_places() {
        let dir = directory();
        put(&dir, "disk", &[0; 512]);
        let text = |name| format!("name = \"{name}\"\nkernel = \"Image\"\ndisk = \"./disk\"\n");
        let found = findings(&dir, &[&text("a"), &text("b")]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("is in use already: 0.toml:3:8"),
            "{found:?}"
        );
    }

    #[test]
    fn a_hard_link_of_a_disk_is_the_same_disk() {
        let dir = directory();
        put(&dir, "disk", &[0; 512]);
        fs::hard_link(dir.path().join("disk"), dir.path().join("other")).expect("linked");
        let text =
            |name, disk| format!("name = \"{name}\"\nkernel = \"Image\"\ndisk = \"{disk}\"\n");
        let found = findings(&dir, &[&text("a", "disk"), &text("b", "other")]);
        assert!(
            found.len() == 1 && found[0].contains("other is in use already: 0.toml:3:8"),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_no_file_is_told_and_not_read() {
        let dir = directory();
        let made = std::process::Command::new("mkfifo")
            .arg(dir.path().join("pipe"))
            .status();
        assert!(made.expect("started").success());
        let good = "name = \"a\"\nkernel = \"Image\"\n";
        for (text, location) in [
            ("name = \"a\"\nkernel = \"pipe\"\n".to_owned(), "2:10"),
            (format!("{good}initrd = \"pipe\"\n"), "3:10"),
            (format!("{good}disk = \"pipe\"\n"), "3:8"),
        ] {
            let expected = format!("0.toml:{location}: pipe is a pipe\n  help: name a file");
            assert_eq!(one(&dir, &text), expected);
        }
        let text = format!("{good}initrd = \"/dev/zero\"\n");
        assert!(one(&dir, &text).contains("/dev/zero is a device"));
    }

    #[test]
    fn a_disk_that_qemu_would_misread_is_told() {
        let dir = directory();
        put(&dir, "disk", b"QFI\xfb and so on");
        let text = "name = \"a\"\nkernel = \"Image\"\ndisk = \"disk\"\n";
        assert!(
            one(&dir, text)
                .contains("is a qcow2 image, not a raw one\n  help: say disk = { file = \"")
        );
        put(&dir, "disk", &[0; 513]);
        assert!(one(&dir, text).contains(
            "513 bytes, which is no multiple of 512\n  help: round it up: truncate -s 1024"
        ));
    }

    #[test]
    fn a_disk_is_what_its_description_says() {
        let dir = directory();
        put(&dir, "disk", b"QFI\xfb and so on");
        let vm = |name: &str, disk: &str| {
            format!("name = \"{name}\"\nkernel = \"Image\"\ndisk = {{ file = \"disk\"{disk} }}\n")
        };
        let qcow2 = ", format = \"qcow2\"";
        assert_eq!(findings(&dir, &[&vm("a", qcow2)]), [] as [String; 0]);
        let read_only = format!("{qcow2}, readonly = true");
        let both = [vm("a", &read_only), vm("b", &read_only)];
        assert_eq!(findings(&dir, &[&both[0], &both[1]]), [] as [String; 0]);
        let found = findings(&dir, &[&both[0], &vm("b", qcow2)]);
        assert!(
            found.len() == 1
                && found[0].contains("1.toml:3:8: the disk disk is in use already: 0.toml:3:8"),
            "{found:?}"
        );
        put(&dir, "disk", b"VMDK");
        assert!(one(&dir, &vm("a", qcow2)).contains("the disk disk is no qcow2 image"));
    }

    #[test]
    fn a_port_of_the_host_leads_to_one_guest() {
        let vm = |name: &str, port: &str| {
            format!(
                "name = \"{name}\"\nkernel = \"Image\"\nnet = {{ user = true, forward = [\"{port}\"] }}\n"
            )
        };
        let dir = directory();
        let (a, b) = (vm("a", "2222:22"), vm("b", "2223:22"));
        assert_eq!(findings(&dir, &[&a, &b]), [] as [String; 0]);
        let found = findings(&dir, &[&a, &vm("b", "2222:80")]);
        assert!(
            found.len() == 1
                && found[0].starts_with("1.toml:3:7: the host's port 2222 is taken by 0.toml:3:7"),
            "{found:?}"
        );
    }

    #[test]
    fn modules_are_for_a_kernel_of_ones_own_on_our_ram_disk() {
        let dir = directory();
        fs::create_dir(dir.path().join("6.12")).expect("made");
        let vm = |initrd: &str, modules: &str| {
            format!(
                "name = \"a\"\nkernel = \"Image\"\ninitrd = \"{initrd}\"\nmodules = \"{modules}\"\n"
            )
        };
        let ours = "debian:busybox-static";
        assert_eq!(findings(&dir, &[&vm(ours, "6.12")]), [] as [String; 0]);
        assert!(one(&dir, &vm(ours, "6.13")).contains("0.toml:4:11: there is no directory 6.13"));
        put(&dir, "own", b"x");
        assert!(one(&dir, &vm("own", "6.12")).contains("0.toml:4:11: modules are for a kernel"));
    }

    #[test]
    fn too_many_machines_or_devices_are_told() {
        let dir = directory();
        let plain: Vec<String> = (0..17)
            .map(|n| format!("name = \"vm{n}\"\nkernel = \"Image\"\n"))
            .collect();
        let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
        assert_eq!(findings(&dir, &plain[..16]), [] as [String; 0]);
        assert!(findings(&dir, &plain)[0].contains("17 virtual machines are too many"));
        let with_net: Vec<String> = plain[..5]
            .iter()
            .map(|text| format!("{text}net = \"user\"\n"))
            .collect();
        let with_net: Vec<&str> = with_net.iter().map(String::as_str).collect();
        assert_eq!(findings(&dir, &with_net[..4]), [] as [String; 0]);
        assert!(
            findings(&dir, &with_net)[0].starts_with("4.toml:1:8: 5 virtual machines have devices")
        );
        let disks: Vec<String> = (0..9).map(|n| format!("disk{n}")).collect();
        for disk in &disks {
            put(&dir, disk, &[0; 512]);
        }
        let text = format!("name = \"a\"\nkernel = \"Image\"\ndisk = {disks:?}\n");
        assert!(one(&dir, &text).contains("9 devices are too many"));
    }
}
