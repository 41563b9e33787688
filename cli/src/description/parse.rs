//! From TOML to a description.

use std::path::Path;

use droste_image::{Console, MEMORY_MAX, check_bootargs, check_memory, check_name, check_vcpus};
use toml::Spanned;
use toml::de::DeTable;

use super::value::{
    Item, boolean, disks, el2, format, forwards, named, nets, number, reboot, size, string, switch,
    table, tables, yes,
};
use super::{Description, Diagnostic, Disk, Dom0, Net, Part, Placed};
use crate::qemu::{Access, DiskImage, Format};
use crate::setup::guest::{BUSYBOX_PACKAGE, KERNEL_PACKAGE, is_kernel_package, is_linux_package};
use crate::setup::monitor::Monitor;

mod reader;

use reader::{Key, Reader};

/// Every key.
const KEYS: [Key; 14] = [
    ("name", "\"linux\""),
    ("vcpus", "2"),
    ("memory", "\"512M\""),
    ("kernel", "\"debian:linux-image-cloud-arm64\""),
    ("initrd", "\"debian:busybox-static\""),
    ("modules", "\"lib/modules/6.12\""),
    ("cmdline", "\"console=ttyAMA0\""),
    ("disk", "\"disk.img\""),
    ("net", "\"user\""),
    ("console", "true"),
    ("on_reboot", "\"restart\""),
    ("el2", "\"vhe\""),
    ("dom0", "{ kernel = \"debian:linux-image-cloud-arm64\" }"),
    (
        "vm",
        "[{ name = \"inner\", kernel = \"debian:linux-image-cloud-arm64\" }]",
    ),
];

/// Those of the table `dom0`.
const DOM0_KEYS: [Key; 3] = [
    ("kernel", "\"debian:linux-image-cloud-arm64\""),
    ("initrd", "\"debian:busybox-static\""),
    ("cmdline", "\"console=hvc0\""),
];

/// Those of a table `vm`: a machine that runs on another has no EL2, and no devices.
const INNER_KEYS: [Key; 8] = [
    ("name", "\"inner\""),
    ("vcpus", "2"),
    ("memory", "\"256M\""),
    ("kernel", "\"debian:linux-image-cloud-arm64\""),
    ("initrd", "\"debian:busybox-static\""),
    ("cmdline", "\"console=ttyAMA0\""),
    ("console", "true"),
    ("on_reboot", "\"restart\""),
];

/// Those of a disk's table.
const DISK_KEYS: [Key; 3] = [
    ("file", "\"disk.img\""),
    ("format", "\"qcow2\""),
    ("readonly", "true"),
];

/// Those of a network adapter's table.
const NET_KEYS: [Key; 3] = [
    ("user", "true"),
    ("forward", "[\"2222:22\"]"),
    ("switch", "\"lan\""),
];

/// Packages that a kernel can be taken from.
const KERNELS: &str =
    "write droste:hypervisor, or name linux-image-cloud-arm64 or xen-system-arm64";
const LINUX_KERNELS: &str = "name a Linux, such as linux-image-cloud-arm64";

/// The kernel that is Droste itself.
const HYPERVISOR: &str = "droste:hypervisor";

/// Disks that are no files.
const MONITORS: [(&str, Monitor); 2] = [
    ("droste:vmm", Monitor::Vmm),
    ("debian:qemu-system-arm", Monitor::Qemu),
];

/// Memory and processors of a description that does not say.
const DEFAULT_MEMORY: u64 = 256 << 20;
const DEFAULT_VCPUS: u32 = 1;

/// Reads a description. In place of what is missing or wrong, of which the findings tell, it has values that can be
/// looked at further.
pub(super) fn parse(file: &Path, text: &str) -> (Description, Vec<Diagnostic>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        file,
        text,
        table: table.get_ref(),
        start: 0..0,
        keys: &KEYS,
        diagnostics: Vec::new(),
    };
    reader.unknown_keys();
    let description = reader.description();
    // What cannot be read as TOML is not known: all else that could be said of it follows from the first mistake.
    let first = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    if let Some(error) = errors.iter().min_by_key(|error| first(error)) {
        reader.diagnostics.clear();
        reader.find(
            &error.span().unwrap_or(0..0),
            error.message().to_owned(),
            "write it as TOML: key = value, with text in quotes".into(),
        );
    }
    (description, reader.diagnostics)
}

impl<'a> Reader<'a> {
    fn description(&mut self) -> Description {
        let name = self.required("name", string);
        let name = self.checked(name, |name| check_name(name));
        let vcpus = self.or_default("vcpus", number, DEFAULT_VCPUS);
        let vcpus = self.checked(vcpus, |&vcpus| check_vcpus(vcpus));
        let memory = self.or_default("memory", size, DEFAULT_MEMORY);
        let memory = self.checked(memory, |&memory| check_memory(memory));
        let kernel = if self.is_inner() {
            self.kernel(is_linux_package, LINUX_KERNELS)
        } else {
            self.machine_kernel()
        };
        let initrd = self.initrd();
        let modules = self.optional("modules", named);
        let modules = modules.map(|modules| Placed {
            value: self.beside(&modules.value),
            location: modules.location,
        });
        let cmdline = self.cmdline();
        let disks = self
            .optional("disk", disks)
            .map_or_else(Vec::new, |disks| disks.value);
        let nets = self
            .optional("net", nets)
            .map_or_else(Vec::new, |nets| nets.value);
        let console = self
            .optional("console", boolean)
            .is_none_or(|console| console.value);
        let on_reboot = self
            .optional("on_reboot", reboot)
            .map(|on_reboot| on_reboot.value);
        let el2 = self.optional("el2", el2).map(|el2| el2.value);
        Description {
            name: self.or_stand_in(name, String::new()),
            vcpus: self.or_stand_in(vcpus, DEFAULT_VCPUS),
            memory: self.or_stand_in(memory, MEMORY_MAX),
            kernel,
            initrd,
            modules,
            cmdline,
            disks: disks.iter().filter_map(|disk| self.disk(disk)).collect(),
            nets: nets.iter().filter_map(|net| self.net(net)).collect(),
            console: if console {
                Console::Uart
            } else {
                Console::None
            },
            on_reboot: on_reboot.unwrap_or_default(),
            el2: el2.unwrap_or_default(),
            dom0: self.dom0(),
            vms: self.vms(),
        }
    }

    /// Whether the table is that of a machine that runs on another.
    fn is_inner(&self) -> bool {
        self.keys == INNER_KEYS
    }

    fn machine_kernel(&mut self) -> Placed<Part> {
        let source = self.table.get("kernel");
        let source = source.and_then(|source| Some((source.span(), source.get_ref().as_str()?)));
        match source {
            Some((span, HYPERVISOR)) => Placed {
                value: Part::Hypervisor,
                location: self.location(&span),
            },
            _ => self.kernel(is_kernel_package, KERNELS),
        }
    }

    fn kernel(&mut self, is_known: fn(&str) -> bool, known: &str) -> Placed<Part> {
        let kernel = self.required("kernel", named);
        let kernel = kernel.and_then(|kernel| self.part(kernel, "kernel", is_known, known));
        self.or_stand_in(kernel, Part::Debian(KERNEL_PACKAGE.into()))
    }

    fn initrd(&mut self) -> Option<Placed<Part>> {
        let initrd = self.optional("initrd", named)?;
        let is_known = |package: &str| package == BUSYBOX_PACKAGE;
        self.part(initrd, "initrd", is_known, "use debian:busybox-static")
    }

    fn cmdline(&mut self) -> Placed<String> {
        let cmdline = self.or_default("cmdline", string, String::new());
        let cmdline = self.checked(cmdline, |cmdline| check_bootargs(cmdline));
        self.or_stand_in(cmdline, String::new())
    }

    fn dom0(&mut self) -> Option<Dom0> {
        let Placed { value, location } = self.optional("dom0", table)?;
        let start = self.table.get("dom0")?.span();
        let dom0 = self.inside(value, start, &DOM0_KEYS, |reader| Dom0 {
            location,
            kernel: reader.kernel(is_linux_package, LINUX_KERNELS),
            initrd: reader.initrd(),
            cmdline: reader.cmdline(),
        });
        Some(dom0)
    }

    fn vms(&mut self) -> Vec<Description> {
        let Some(found) = self.optional("vm", tables) else {
            return Vec::new();
        };
        let vms = found.value.into_iter().map(|vm| {
            let span = vm.span();
            self.inside(vm.into_inner(), span, &INNER_KEYS, Self::description)
        });
        vms.collect()
    }

    fn part(
        &mut self,
        value: Placed<String>,
        key: &str,
        is_known: impl Fn(&str) -> bool,
        known: &str,
    ) -> Option<Placed<Part>> {
        let Placed { value, location } = value;
        if value.starts_with("droste:") {
            self.diagnostics.push(Diagnostic {
                location,
                message: format!("there is no {key} {value:?}"),
                help: format!("{known}, or a file"),
            });
            return None;
        }
        let Some(package) = value.strip_prefix("debian:") else {
            return Some(Placed {
                value: Part::File(self.beside(&value)),
                location,
            });
        };
        if is_known(package) {
            return Some(Placed {
                value: Part::Debian(package.to_owned()),
                location,
            });
        }
        self.diagnostics.push(Diagnostic {
            location,
            message: format!("no {key} can be taken from the package {package:?}"),
            help: format!("{known}, or a file"),
        });
        None
    }

    fn disk(&mut self, item: &Spanned<Item<'a>>) -> Option<Placed<Disk>> {
        let (name, format, access) = match item.get_ref() {
            Item::Text(name) => ((*name).to_owned(), Format::Raw, Access::ReadWrite),
            Item::Table(table) => self.inside(table, item.span(), &DISK_KEYS, |reader| {
                let file = reader.required("file", named);
                let format = reader.optional("format", format);
                let access = match reader.optional("readonly", boolean) {
                    Some(Placed { value: true, .. }) => Access::ReadOnly,
                    _ => Access::ReadWrite,
                };
                Some((
                    file?.value,
                    format.map_or(Format::Raw, |format| format.value),
                    access,
                ))
            })?,
        };
        let named = MONITORS.iter().find(|(known, _)| *known == name);
        if named.is_none() && (name.starts_with("debian:") || name.starts_with("droste:")) {
            let known = MONITORS.map(|(known, _)| known).join(" or ");
            let message = format!("there is no disk {name:?}");
            self.find(&item.span(), message, format!("use {known}, or a file"));
            return None;
        }
        let disk = match named {
            Some((_, monitor)) => Disk::Monitor(*monitor),
            None => Disk::File(DiskImage {
                file: self.beside(&name),
                format,
                access,
            }),
        };
        Some(self.placed(item, disk))
    }

    fn net(&mut self, item: &Spanned<Item<'a>>) -> Option<Placed<Net>> {
        let Item::Table(table) = item.get_ref() else {
            return Some(self.placed(item, Net::User(Vec::new())));
        };
        let span = item.span();
        let net = self.inside(table, span.clone(), &NET_KEYS, |reader| {
            let user = reader.optional("user", yes).map(|_| Vec::new());
            let forwards = reader.optional("forward", forwards);
            let router = forwards.map(|forwards| forwards.value).or(user);
            let switch = reader.optional("switch", switch);
            let message = match (router, switch) {
                (Some(forwards), None) => return Some(Net::User(forwards)),
                (None, Some(switch)) => return Some(Net::Switch(switch.value)),
                (Some(_), Some(_)) => "the adapter has a router of its own and is on a switch",
                (None, None) => "the adapter has no network",
            };
            // One that could not be read has a finding.
            if reader.diagnostics.is_empty() {
                let help = "say { user = true } or { switch = \"NAME\" }, or both in a list";
                reader.find(&span, message.into(), help.into());
            }
            None
        })?;
        Some(self.placed(item, net))
    }
}

#[cfg(test)]
mod tests {
    use crate::description::Net;
    use droste_image::{El2, OnReboot};

    use super::*;

    const GOOD: &str = r#"
name = "linux"
vcpus = 2
memory = "512M"
kernel = "debian:linux-image-cloud-arm64"
initrd = "sub/initrd.gz"
cmdline = "console=ttyAMA0"
disk = ["a.img", "/b.img"]
net = "user"
console = false
on_reboot = "stop"
el2 = "nvhe"
"#;

    fn read(text: &str) -> (Description, Vec<String>) {
        let (description, diagnostics) = parse(Path::new("dir/vm.toml"), text);
        (
            description,
            diagnostics.iter().map(ToString::to_string).collect(),
        )
    }

    /// The one finding about a text that is good but for a replaced line.
    fn finding(line: &str, replacement: &str) -> String {
        assert!(GOOD.contains(line), "{line}");
        let (_, findings) = read(&GOOD.replace(line, replacement));
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.into_iter().next().expect("one")
    }

    #[test]
    fn every_key_is_read() {
        let (vm, findings) = read(GOOD);
        assert_eq!(findings, [] as [String; 0]);
        assert_eq!(
            (vm.name.value.as_str(), vm.vcpus.value, vm.memory.value),
            ("linux", 2, 512 << 20)
        );
        assert_eq!(
            vm.kernel.value,
            Part::Debian("linux-image-cloud-arm64".into())
        );
        assert_eq!(
            vm.initrd.expect("one").value,
            Part::File("dir/sub/initrd.gz".into())
        );
        assert_eq!(vm.cmdline.value, "console=ttyAMA0");
        let disks: Vec<_> = vm
            .disks
            .iter()
            .map(|disk| (disk.value.clone(), disk.location.to_string()))
            .collect();
        assert_eq!(
            disks,
            [
                (
                    Disk::File(DiskImage::raw("dir/a.img")),
                    "dir/vm.toml:8:9".into()
                ),
                (
                    Disk::File(DiskImage::raw("/b.img")),
                    "dir/vm.toml:8:18".into()
                )
            ]
        );
        assert!(matches!(vm.nets.as_slice(), [net] if net.value == Net::User(Vec::new())));
        assert_eq!((vm.console, vm.on_reboot), (Console::None, OnReboot::Stop));
        assert_eq!(vm.el2, El2::Nvhe);
        assert_eq!(vm.memory.location.to_string(), "dir/vm.toml:4:10");
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let (vm, findings) = read("name = \"a\"\nkernel = \"Image\"\n");
        assert_eq!(findings, [] as [String; 0]);
        assert_eq!((vm.vcpus.value, vm.memory.value), (1, 256 << 20));
        assert_eq!((vm.initrd, vm.disks, vm.nets), (None, vec![], vec![]));
        assert_eq!(
            (vm.console, vm.on_reboot, vm.el2),
            (Console::Uart, OnReboot::Restart, El2::None)
        );
    }

    #[test]
    fn no_el2_can_be_said_or_left_out() {
        for line in ["el2 = \"none\"", ""] {
            let (vm, findings) = read(&GOOD.replace("el2 = \"nvhe\"", line));
            assert_eq!((vm.el2, findings), (El2::None, vec![]), "{line:?}");
        }
    }

    #[test]
    fn a_misspelt_key_gets_a_suggestion() {
        let found = finding("vcpus = 2", "vcpu = 2");
        assert_eq!(
            found,
            "dir/vm.toml:3:1: there is no key \"vcpu\"\n  help: did you mean vcpus? as in vcpus = 2"
        );
        assert!(finding("net = \"user\"", "network = \"user\"").contains("did you mean net?"));
        assert!(finding("el2 = \"nvhe\"", "nested = true").contains("did you mean el2?"));
        assert!(
            finding("net = \"user\"", "colour = \"red\"").contains("the keys are name, vcpus,")
        );
    }

    #[test]
    fn a_wrong_type_gets_an_example() {
        let found = finding("memory = \"512M\"", "memory = 512");
        assert_eq!(
            found,
            "dir/vm.toml:4:10: memory must be a size in quotes, a whole number with the unit K, M or G\n  \
             help: write it as in memory = \"512M\""
        );
        assert!(
            finding("vcpus = 2", "vcpus = \"2\"")
                .contains("3:9: vcpus must be a whole number, without quotes")
        );
        assert!(finding("vcpus = 2", "vcpus = -1").contains("a number from 1 to 64"));
        assert!(
            finding("vcpus = 2", "vcpus = 1.5").contains("3:9: vcpus must be a whole number\n")
        );
        for (line, key) in [
            ("kernel = \"debian:linux-image-cloud-arm64\"", "kernel"),
            ("initrd = \"sub/initrd.gz\"", "initrd"),
        ] {
            let found = finding(line, &format!("{key} = \"\""));
            let expected = format!(
                "{key} must be a name, not empty text\n  help: write it as in {key} = \"debian:"
            );
            assert!(found.contains(&expected), "{found}");
        }
        assert!(
            finding("console = false", "console = \"no\"")
                .contains("10:11: console must be true or false")
        );
        assert!(
            finding("on_reboot = \"stop\"", "on_reboot = \"halt\"")
                .contains("\"restart\" or \"stop\"")
        );
        assert_eq!(
            finding("el2 = \"nvhe\"", "el2 = true"),
            "dir/vm.toml:12:7: el2 must be \"vhe\", \"nvhe\" or \"none\"\n  help: write it as in el2 = \"vhe\""
        );
        assert!(finding("el2 = \"nvhe\"", "el2 = \"VHE\"").contains("12:7: el2 must be"));
        assert!(finding("net = \"user\"", "net = true").contains("net must be \"user\""));
        assert!(finding("\"a.img\"", "1").contains("8:8: disk must be the name of a file"));
        assert!(
            finding("name = \"linux\"", "name = 1").contains("2:8: name must be text in quotes")
        );
    }

    #[test]
    fn an_adapter_is_on_a_router_or_on_a_switch_or_there_are_several() {
        let nets = |net: &str| {
            let text = format!("name = \"a\"\nkernel = \"k\"\nnet = {net}\n");
            let (vm, found) = parse(Path::new("vm.toml"), &text);
            found.is_empty().then(|| {
                let nets = vm.nets.into_iter().map(|net| net.value);
                nets.collect::<Vec<_>>()
            })
        };
        let switch = |name: &str| Net::Switch(name.into());
        let user = || Net::User(Vec::new());
        assert_eq!(nets("{ switch = \"lan\" }"), Some(vec![switch("lan")]));
        assert_eq!(
            nets("[\"user\", { switch = \"a\" }, { switch = \"b\" }, { user = true }]"),
            Some(vec![user(), switch("a"), switch("b"), user()])
        );
        assert_eq!(nets("[]"), Some(vec![]));
        for wrong in [
            "{}",
            "{ switch = \"\" }",
            "{ switch = \"a b\" }",
            "{ switch = 1 }",
            "{ switch = \"a\", user = true }",
            "{ switch = \"a\", forward = [\"1:2\"] }",
            "{ hub = \"a\" }",
            "[[\"user\"]]",
        ] {
            assert_eq!(nets(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_value_out_of_its_limits_says_what_is_possible() {
        let found = finding("vcpus = 2", "vcpus = 65");
        assert_eq!(
            found,
            "dir/vm.toml:3:9: 65 vCPUs are not possible\n  help: give 1 to 64"
        );
        assert!(finding("vcpus = 2", "vcpus = 0").contains("give 1 to 64"));
        assert!(
            finding("\"512M\"", "\"3M\"")
                .contains("4:10: 3145728 bytes of memory are not possible")
        );
        assert!(finding("\"512M\"", "\"17000K\"").contains("help: round to 17M"));
        assert!(finding("\"linux\"", "\"Linux!\"").contains("help: use a-z, 0-9 and '-'"));
        assert!(
            finding("\"console=ttyAMA0\"", "\"a\\tb\"")
                .contains("7:11: '\\t' cannot stand in a command line")
        );
    }

    #[test]
    fn a_missing_key_is_named_with_an_example() {
        let found = finding("name = \"linux\"\n", "");
        assert_eq!(
            found,
            "dir/vm.toml:1:1: the key \"name\" is missing\n  help: add a line such as name = \"linux\""
        );
    }

    #[test]
    fn a_package_that_cannot_be_a_kernel_is_refused() {
        let found = finding("debian:linux-image-cloud-arm64", "debian:bash");
        assert!(
            found.contains("5:10: no kernel can be taken from the package \"bash\""),
            "{found}"
        );
        let found = finding("sub/initrd.gz", "debian:bash");
        assert!(
            found.contains("use debian:busybox-static, or a file"),
            "{found}"
        );
    }

    #[test]
    fn droste_runs_machines_of_its_own() {
        let text = "name = \"a\"\nkernel = \"droste:hypervisor\"\nel2 = \"nvhe\"\n[[vm]]\nname = \"b\"\nkernel = \"b.img\"\n\
                    vcpus = 3\n[[vm]]\nname = \"c\"\nkernel = \"debian:linux-image-cloud-arm64\"\n";
        let (vm, found) = read(text);
        assert_eq!(found, [] as [String; 0]);
        assert_eq!(vm.kernel.value, Part::Hypervisor);
        let inner: Vec<_> = vm
            .vms
            .iter()
            .map(|vm| (vm.name.value.as_str(), vm.vcpus.value))
            .collect();
        assert_eq!(inner, [("b", 3), ("c", 1)]);
        assert_eq!(vm.vms[0].kernel.value, Part::File("dir/b.img".into()));

        let (_, found) = read(&format!("{text}el2 = \"vhe\"\nvcpus = 0\n"));
        assert_eq!(
            found,
            [
                "dir/vm.toml:11:1: there is no key \"el2\"\n  help: it is one of the machine's: move it above the table",
                "dir/vm.toml:12:9: 0 vCPUs are not possible\n  help: give 1 to 64"
            ]
        );
        let (_, found) = read(&text.replace("b.img", "droste:hypervisor"));
        assert!(
            found[0].starts_with("dir/vm.toml:6:10: there is no kernel"),
            "{found:?}"
        );
        let (_, found) = read(&text.replace("droste:hypervisor", "droste:hv"));
        assert!(found[0].contains("write droste:hypervisor"), "{found:?}");
        let (_, found) = read("name = \"a\"\nkernel = \"b\"\nvm = 1\n");
        assert!(
            found[0].contains("vm must be a list of tables"),
            "{found:?}"
        );
    }

    #[test]
    fn a_hypervisor_has_a_dom0() {
        let xen = "name = \"xen\"\nkernel = \"debian:xen-system-arm64\"\nel2 = \"nvhe\"\n[dom0]\n\
                   kernel = \"debian:linux-image-cloud-arm64\"\ninitrd = \"a\"\ncmdline = \"quiet\"\n";
        let (vm, findings) = read(xen);
        assert_eq!(findings, [] as [String; 0]);
        let dom0 = vm.dom0.expect("one");
        assert_eq!(dom0.kernel.value, Part::Debian(KERNEL_PACKAGE.into()));
        assert_eq!(dom0.initrd.expect("one").value, Part::File("dir/a".into()));
        assert_eq!((vm.initrd, dom0.cmdline.value), (None, "quiet".to_owned()));
        for (right, wrong, expected) in [
            (
                "debian:linux-image-cloud",
                "debian:xen-system",
                "5:10: no kernel can be taken from the package \"xen-system-arm64\"\n  help: name a Linux",
            ),
            (
                "debian:xen-system",
                "debian:xen-hypervisor-4.20",
                "2:10: no kernel can be taken from the package \"xen-hypervisor-4.20-arm64\"\n  help: write \
                 droste:hypervisor, or name linux-image-cloud-arm64 or xen-system-arm64, or a file",
            ),
            (
                "cmdline",
                "memory",
                "7:1: there is no key \"memory\"\n  help: it is one of the machine's: move it above",
            ),
            (
                "cmdline",
                "bootargs",
                "help: did you mean cmdline? as in cmdline = \"console=hvc0\"",
            ),
            ("quiet", "\\t", "7:11: '\\t' cannot stand"),
        ] {
            let (_, findings) = read(&xen.replacen(right, wrong, 1));
            assert!(
                findings.len() == 1 && findings[0].contains(expected),
                "{findings:?}"
            );
        }
        let (_, findings) = read("name = \"xen\"\nkernel = \"a\"\ndom0 = \"a\"\n");
        assert!(
            findings[0].contains("3:8: dom0 must be a table"),
            "{findings:?}"
        );
        let (_, findings) = read("name = \"xen\"\nkernel = \"a\"\ndom0 = {}\n");
        assert!(
            findings[0].contains("3:8: the key \"kernel\" is missing"),
            "{findings:?}"
        );
    }

    #[test]
    fn a_disk_can_be_a_monitor() {
        let monitors = "[\"droste:vmm\", \"debian:qemu-system-arm\"]";
        let (vm, findings) = read(&GOOD.replace("[\"a.img\", \"/b.img\"]", monitors));
        assert_eq!(findings, [] as [String; 0]);
        let disks: Vec<_> = vm.disks.iter().map(|disk| &disk.value).collect();
        assert_eq!(
            disks,
            [&Disk::Monitor(Monitor::Vmm), &Disk::Monitor(Monitor::Qemu)]
        );
        let found = finding("\"a.img\"", "\"debian:bash\"");
        assert_eq!(
            found,
            "dir/vm.toml:8:9: there is no disk \"debian:bash\"\n  \
             help: use droste:vmm or debian:qemu-system-arm, or a file"
        );
    }

    #[test]
    fn what_is_wrong_in_the_table_of_a_device_is_told_at_its_place() {
        let disk = "disk = [\"a.img\", \"/b.img\"]";
        for (line, wrong, expected) in [
            (
                disk,
                "disk = { path = \"a\" }",
                "8:10: there is no key \"path\"\n  help: the keys are file, format, readonly",
            ),
            (
                disk,
                "disk = { file = \"a\", read_only = true }",
                "8:22: there is no key \"read_only\"\n  help: did you mean readonly?",
            ),
            (
                disk,
                "disk = [{ format = \"raw\" }]",
                "8:9: the key \"file\" is missing\n  help: add a line such as file = ",
            ),
            (
                disk,
                "disk = { file = \"a\", format = \"vmdk\" }",
                "8:31: format must be \"raw\" or \"qcow2\"\n  help: write it as in format = ",
            ),
            (
                disk,
                "disk = { file = \"a\", readonly = 1 }",
                "8:33: readonly must be true or false",
            ),
            (
                disk,
                "disk = { file = \"\" }",
                "8:17: file must be a name, not empty text",
            ),
            (
                "net = \"user\"",
                "net = { hub = \"a\" }",
                "9:9: there is no key \"hub\"\n  help: the keys are user, forward, switch",
            ),
            (
                "net = \"user\"",
                "net = { forward = [\"22\"] }",
                "9:19: forward must be a list of ports",
            ),
            (
                "net = \"user\"",
                "net = { switch = \"a b\" }",
                "9:18: switch must be a name of 1 to 31 characters",
            ),
            (
                "net = \"user\"",
                "net = {}",
                "9:7: the adapter has no network\n  help: say { user = true } or",
            ),
            (
                "net = \"user\"",
                "net = { user = true, switch = \"a\" }",
                "9:7: the adapter has a router of its own and is on a switch",
            ),
        ] {
            let (_, found) = read(&GOOD.replace(line, wrong));
            assert!(
                found.iter().any(|found| found.contains(expected)),
                "{wrong}: {found:?}"
            );
        }
    }

    #[test]
    fn all_findings_come_at_once() {
        let (_, findings) = read("nam = 1\nvcpus = 0\nmemory = \"x\"\nkernel = 2\n");
        assert_eq!(findings.len(), 5, "{findings:#?}");
    }

    #[test]
    fn broken_toml_names_the_line() {
        let (_, findings) = read("name = \"a\"\nkernel = \nvcpus = 1\n");
        assert!(
            findings.len() == 1 && findings[0].starts_with("dir/vm.toml:2:"),
            "{findings:?}"
        );
        let (_, findings) = read(&"%PNG = \0 ] no key\n".repeat(80));
        assert!(
            findings.len() == 1 && findings[0].starts_with("dir/vm.toml:1:"),
            "{findings:?}"
        );
        let (_, findings) = read("name = \"a\"\nname = \"b\"\nkernel = \"k\"\n");
        assert!(
            findings
                .iter()
                .any(|found| found.starts_with("dir/vm.toml:2:1: duplicate key")),
            "{findings:?}"
        );
    }
}
