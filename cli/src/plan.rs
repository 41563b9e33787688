//! From descriptions to a boot image and a machine that runs it.

use std::iter::zip;
use std::path::{Path, PathBuf};

use droste_image::{DevicePaths, Dom0, VmImage};

use crate::description::{
    Description, Diagnostic, Disk, Located, Overrides, Part, inspect, little_memory, load, report,
};
use crate::error::{Context, Result};
use crate::files;
use crate::qemu::{Device, DeviceKind, DiskImage, Network, TRANSPORTS_PER_VM};
use crate::setup::Setup;
use crate::setup::cache::Cache;
use crate::setup::monitor::Provisions;

mod limits;
mod locate;
mod summary;
mod wiring;
mod words;

use locate::{fetch, find};
use wiring::Wiring;

pub use summary::summary;
pub use words::{Terminal, Words};

/// A virtual machine whose parts are all there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedVm {
    description: Description,
    kernel: PathBuf,
    initrd: Option<PathBuf>,
    dom0: [Option<PathBuf>; 2],
    /// What runs on it.
    inner: Option<Plan>,
    devices: Vec<Device>,
    /// What its guest is told of others on its switches.
    hosts: Option<String>,
}

impl PlannedVm {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.description.name.value
    }

    /// The files that it and what runs on it are made of, with what each is.
    pub fn files(&self) -> Vec<(&'static str, &Path)> {
        let [dom0_kernel, dom0_initrd] = &self.dom0;
        let parts = [
            ("kernel", Some(&self.kernel)),
            ("RAM disk", self.initrd.as_ref()),
            ("dom0", dom0_kernel.as_ref()),
            ("dom0's", dom0_initrd.as_ref()),
        ];
        let parts = parts
            .into_iter()
            .filter_map(|(what, file)| Some((what, file?)));
        let disks = self.devices.iter().filter_map(|device| match &device.kind {
            DeviceKind::Disk(disk) => Some(("disk", &disk.file)),
            DeviceKind::Net(_) => None,
        });
        let own = parts
            .chain(disks)
            .map(|(what, file)| (what, file.as_path()));
        let inner = self.inner.iter().flat_map(|inner| &inner.vms);
        own.chain(inner.flat_map(Self::files)).collect()
    }
}

/// What a virtual machine's files and words hold, which the boot image refers to.
struct Contents {
    kernel: Vec<u8>,
    initrd: Option<Vec<u8>>,
    bootargs: String,
    /// Kernel, initial RAM disk and command line.
    dom0: Option<(Vec<u8>, Option<Vec<u8>>, String)>,
    /// Device-tree paths, each ended by a NUL.
    passthrough: String,
}

impl Contents {
    fn read(vm: &PlannedVm, words: &Words) -> Result<Self> {
        let read = |file: &Option<PathBuf>| file.as_deref().map(files::read).transpose();
        let (bootargs, of_dom0) = words::bootargs(&vm.description, words, vm.hosts.as_deref());
        let [kernel, initrd] = [read(&vm.dom0[0])?, read(&vm.dom0[1])?];
        Ok(Self {
            kernel: files::read(&vm.kernel)?,
            initrd: match &vm.inner {
                Some(inner) => Some(inner.image(words)?),
                None => read(&vm.initrd)?,
            },
            bootargs,
            dom0: kernel.map(|kernel| (kernel, initrd, of_dom0)),
            passthrough: vm
                .devices
                .iter()
                .map(|device| device.node_path() + "\0")
                .collect(),
        })
    }

    fn image<'a>(&'a self, vm: &'a Description) -> VmImage<'a> {
        VmImage {
            name: &vm.name.value,
            vcpus: vm.vcpus.value,
            memory: vm.memory.value,
            kernel: &self.kernel,
            initrd: self.initrd.as_deref(),
            bootargs: &self.bootargs,
            console: vm.console,
            on_reboot: vm.on_reboot,
            el2: vm.el2,
            passthrough: DevicePaths(&self.passthrough),
            dom0: self.dom0.as_ref().map(|(kernel, initrd, bootargs)| Dom0 {
                kernel,
                initrd: initrd.as_deref(),
                bootargs,
            }),
        }
    }
}

/// Virtual machines that are ready to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    vms: Vec<PlannedVm>,
    warnings: Vec<String>,
}

/// What descriptions are found to be, with what is there of their parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Examined {
    /// The virtual machines.
    pub vms: Vec<Description>,
    /// All that is wrong.
    pub diagnostics: Vec<Diagnostic>,
    /// What may be too little.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Reads descriptions, fetches what they need, and judges them.
    ///
    /// # Errors
    /// All that is wrong with the descriptions, or what could not be fetched.
    pub fn prepare(setup: &Setup, files: &[PathBuf], overrides: &Overrides) -> Result<Self> {
        let (descriptions, diagnostics) = load(files, overrides);
        report(&diagnostics)?;
        let mut located: Vec<_> = descriptions
            .into_iter()
            .map(|vm| Ok((vm.clone(), fetch(setup, &vm)?)))
            .collect::<Result<_>>()?;
        report(&found(&located))?;
        for (vm, located) in &mut located {
            located.monitors = monitors(setup, vm, located.kernel.as_deref())?;
        }
        Ok(Self::new(located))
    }

    /// Reads descriptions and judges them with what is there already; fetches nothing.
    pub fn examine(cache: Option<&Cache>, files: &[PathBuf], overrides: &Overrides) -> Examined {
        let (vms, mut diagnostics) = load(files, overrides);
        let located: Vec<_> = vms.iter().map(|vm| (vm.clone(), find(cache, vm))).collect();
        diagnostics.extend(found(&located));
        let mut warnings = warnings(&located);
        warnings.extend(turns(vms.iter(), None));
        Examined {
            vms,
            diagnostics,
            warnings,
        }
    }

    /// The virtual machines.
    pub fn vms(&self) -> &[PlannedVm] {
        &self.vms
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.vms.iter().map(PlannedVm::name)
    }

    /// All files that they are made of.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.vms
            .iter()
            .flat_map(PlannedVm::files)
            .map(|(_, file)| file)
    }

    /// What may be too little for them to start.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Which have more vCPUs than their machine has processors, where so many were `asked` for.
    pub fn turns(&self, asked: Option<u32>) -> Vec<String> {
        turns(self.vms.iter().map(|vm| &vm.description), asked)
    }

    fn new(located: Vec<(Description, Located)>) -> Self {
        let warnings = warnings(&located);
        let wiring = Wiring::of(located.iter().map(|(vm, _)| vm));
        let hosts: Vec<_> = located.iter().map(|(vm, _)| wiring.hosts(vm)).collect();
        let networks = wiring.networks().to_vec();
        let mut first_transport = 0;
        let mut vms = Vec::new();
        for ((description, located), (networks, hosts)) in zip(located, zip(networks, hosts)) {
            let devices = devices(&description, &located.monitors, networks, first_transport);
            if !devices.is_empty() {
                first_transport += TRANSPORTS_PER_VM;
            }
            let kernel = located.kernel.expect("a fetched description has a kernel");
            let inner: Vec<_> = zip(description.vms.iter().cloned(), located.vms).collect();
            vms.push(PlannedVm {
                description,
                kernel,
                initrd: located.initrd,
                dom0: located.dom0,
                inner: (!inner.is_empty()).then(|| Self::new(inner)),
                devices,
                hosts,
            });
        }
        Self { vms, warnings }
    }

    /// The boot image.
    ///
    /// # Errors
    /// If a file cannot be read, or a command line has become too long.
    pub fn image(&self, words: &Words) -> Result<Vec<u8>> {
        let contents = self.vms.iter().map(|vm| Contents::read(vm, words));
        let contents: Vec<Contents> = contents.collect::<Result<_>>()?;
        let images: Vec<VmImage<'_>> = zip(&self.vms, &contents)
            .map(|(vm, contents)| contents.image(&vm.description))
            .collect();
        droste_image::write(&images).context(|| "cannot write the boot image".into())
    }

    /// The memory that a machine needs to run them, in MiB, with a boot image of this many bytes.
    pub fn machine_memory_mib(&self, image_len: usize) -> u64 {
        limits::memory_mib(self.vms.iter().map(|vm| &vm.description), image_len)
    }

    /// The processors that a machine should have: as many as the largest virtual machine, as far as the `host` has them,
    /// and at least two. Emulated processors that wait for each other's turn on the host come to nothing, where vCPUs
    /// that take turns on one do.
    pub fn machine_cpus(&self, host: u32) -> u32 {
        limits::cpus(self.vms.iter().map(|vm| &vm.description), host)
    }

    /// The devices of all, on their transports.
    pub fn devices(&self) -> Vec<Device> {
        self.vms
            .iter()
            .flat_map(|vm| vm.devices.iter().cloned())
            .collect()
    }
}

/// All that is wrong with descriptions whose parts are there.
fn found(located: &[(Description, Located)]) -> Vec<Diagnostic> {
    let mut found = inspect(located);
    let with_inner = located
        .iter()
        .flat_map(|(vm, _)| [vm].into_iter().chain(&vm.vms));
    let wiring = Wiring::of(located.iter().map(|(vm, _)| vm));
    found.extend(with_inner.filter_map(|vm| words::too_long(vm, wiring.hosts(vm).as_deref())));
    found
}

/// What may be too little, or too much.
fn warnings(located: &[(Description, Located)]) -> Vec<String> {
    let little = located
        .iter()
        .filter_map(|(vm, located)| little_memory(vm, located));
    let vms: Vec<&Description> = located.iter().map(|(vm, _)| vm).collect();
    let bare = vms.iter().filter_map(|vm| without_modules(vm));
    let wiring = Wiring::of(vms.iter().copied());
    little
        .chain(bare)
        .chain(wiring.warnings())
        .chain(limits::too_much_memory(&vms, &limits::Host::own()))
        .collect()
}

fn turns<'a>(vms: impl Iterator<Item = &'a Description>, asked: Option<u32>) -> Vec<String> {
    limits::turns(&vms.collect::<Vec<_>>(), &limits::Host::own(), asked)
}

/// What is to be said of a kernel that has devices, and a RAM disk without modules for them.
fn without_modules(vm: &Description) -> Option<String> {
    let is_own = matches!(vm.kernel.value, Part::File(_));
    let initrd = vm.initrd.as_ref().map(|initrd| &initrd.value);
    let is_ours = matches!(initrd, Some(Part::Debian(_)));
    (is_own && is_ours && vm.modules.is_none() && vm.device_count() > 0).then(|| {
        format!(
            "{} has devices, and its RAM disk has no modules for a kernel that is a file: it finds them if virtio_mmio, \
             virtio_blk and virtio_net are built in, or with modules = \"DIR\", its lib/modules/RELEASE",
            vm.name.value
        )
    })
}

/// The disks for guests of its own, whose kernel is this one as well.
fn monitors(setup: &Setup, vm: &Description, kernel: Option<&Path>) -> Result<Vec<PathBuf>> {
    let mut disks = Vec::new();
    for disk in &vm.disks {
        if let (Disk::Monitor(monitor), Some(kernel)) = (&disk.value, kernel) {
            disks.push(Provisions::new(*monitor, kernel).disk(setup)?);
        }
    }
    Ok(disks)
}

/// The devices of a description, from this transport on; `monitors` are the disks that are no files of the user's, and
/// `networks` what its adapters are plugged into.
fn devices(
    vm: &Description,
    monitors: &[PathBuf],
    networks: Vec<Network>,
    first_transport: u32,
) -> Vec<Device> {
    let mut monitors = monitors.iter();
    let disks = vm.disks.iter().map(|disk| match &disk.value {
        Disk::File(image) => DeviceKind::Disk(DiskImage {
            file: absolute(&image.file),
            ..image.clone()
        }),
        Disk::Monitor(_) => {
            let file = monitors
                .next()
                .expect("a fetched description has its disks");
            DeviceKind::Disk(DiskImage::read_only(file))
        }
    });
    let nets = networks.into_iter().map(DeviceKind::Net);
    (first_transport..)
        .zip(disks.chain(nets))
        .map(|(transport, kind)| Device { kind, transport })
        .collect()
}

fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::Port;
    use droste_image::{BootImage, El2};

    /// A plan of virtual machines with these lines added to their descriptions.
    fn plan(dir: &tempfile::TempDir, additions: &[&str]) -> Plan {
        let mut kernel = vec![0; 4096];
        kernel[16..24].copy_from_slice(&4096_u64.to_le_bytes());
        kernel[56..60].copy_from_slice(b"ARM\x64");
        let put = |name: &str, bytes: &[u8]| {
            files::write(&dir.path().join(name), bytes).expect("written");
        };
        put("Image", &kernel);
        put("disk", &[0; 512]);
        let mut names = Vec::new();
        for (index, more) in additions.iter().enumerate() {
            let text =
                format!("name = \"vm{index}\"\nkernel = \"Image\"\ncmdline = \"quiet\"\n{more}");
            put(&format!("{index}.toml"), text.as_bytes());
            names.push(dir.path().join(format!("{index}.toml")));
        }
        let cache = Cache::at(&dir.path().join("cache")).expect("made");
        Plan::prepare(&Setup::with_cache(cache), &names, &Overrides::default()).expect("planned")
    }

    #[test]
    fn each_machine_with_devices_gets_a_page_of_transports() {
        let dir = tempfile::tempdir().expect("a directory");
        let plan = plan(
            &dir,
            &["disk = \"disk\"\nnet = \"user\"", "", "net = \"user\""],
        );
        let transports: Vec<u32> = plan
            .devices()
            .iter()
            .map(|device| device.transport)
            .collect();
        assert_eq!(transports, [0, 1, 8]);
        let file = plan.image(&Words::default()).expect("written");
        let image = BootImage::parse(&file).expect("parsed");
        let paths: Vec<Vec<&str>> = image
            .vms()
            .map(|vm| vm.expect("sound").passthrough.iter().collect())
            .collect();
        assert_eq!(
            paths,
            [
                vec!["/virtio_mmio@a000000", "/virtio_mmio@a000200"],
                vec![],
                vec!["/virtio_mmio@a001000"]
            ]
        );
    }

    #[test]
    fn machines_on_one_switch_are_on_one_hub_and_know_each_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let more = "net = { switch = \"lan\" }\ninitrd = \"disk\"";
        let plan = plan(&dir, &[more, more]);
        let ports: Vec<_> = plan
            .devices()
            .iter()
            .map(|device| (device.transport, device.kind.clone()))
            .collect();
        let port = |number| DeviceKind::Net(Network::Switch(Port { switch: 0, number }));
        assert_eq!(ports, [(0, port(1)), (8, port(2))]);
        assert_eq!(
            plan.vms[0].hosts.as_deref(),
            Some("droste.hosts=10.0.3.2/vm1")
        );
        assert_eq!(plan.warnings(), [] as [String; 0]);
    }

    #[test]
    fn the_guest_is_told_what_it_has_and_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let plan = plan(&dir, &["net = \"user\"", ""]);
        let words = Words {
            self_report: true,
            append: Some("debug".into()),
            ..Words::default()
        };
        let file = plan.image(&words).expect("written");
        let image = BootImage::parse(&file).expect("parsed");
        let lines: Vec<&str> = image.vms().map(|vm| vm.expect("sound").bootargs).collect();
        assert_eq!(
            lines,
            [
                "quiet droste.virtio droste.self-report debug",
                "quiet droste.self-report debug"
            ]
        );
        let file = plan.image(&Words::default()).expect("written");
        let image = BootImage::parse(&file).expect("parsed");
        let lines: Vec<&str> = image.vms().map(|vm| vm.expect("sound").bootargs).collect();
        assert_eq!(lines, ["quiet droste.virtio", "quiet"]);
    }

    #[test]
    fn each_guest_has_the_el2_of_its_description() {
        let dir = tempfile::tempdir().expect("a directory");
        let plan = plan(&dir, &["el2 = \"vhe\"", "", "el2 = \"nvhe\""]);
        let file = plan.image(&Words::default()).expect("written");
        let image = BootImage::parse(&file).expect("parsed");
        let kinds: Vec<El2> = image.vms().map(|vm| vm.expect("sound").el2).collect();
        assert_eq!(kinds, [El2::Vhe, El2::None, El2::Nvhe]);
    }

    #[test]
    fn what_a_hypervisor_starts_is_told_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        files::write(&dir.path().join("dom0"), b"a kernel").expect("written");
        let plan = plan(
            &dir,
            &[
                "el2 = \"nvhe\"\nnet = \"user\"\n[dom0]\nkernel = \"dom0\"\ncmdline = \"console=hvc0\"\n",
            ],
        );
        let words = Words {
            self_report: true,
            append: Some("debug".into()),
            ..Words::default()
        };
        let file = plan.image(&words).expect("written");
        let image = BootImage::parse(&file).expect("parsed");
        let vm = image.vms().next().expect("one").expect("sound");
        assert_eq!(vm.bootargs, "quiet debug");
        let dom0 = Dom0 {
            kernel: b"a kernel",
            initrd: None,
            bootargs: "console=hvc0 droste.virtio droste.self-report",
        };
        assert_eq!(vm.dom0, Some(dom0));
    }

    #[test]
    fn what_runs_on_droste_is_its_boot_image() {
        let dir = tempfile::tempdir().expect("a directory");
        let inner = "memory = \"256M\"\n[[vm]]\nname = \"inner\"\nkernel = \"Image\"\ncmdline = \"quiet\"\nmemory = \"64M\"\n";
        let file = dir.path().join("vm.toml");
        let text = format!(
            "name = \"outer\"\nkernel = \"droste:hypervisor\"\ncmdline = \"droste.stats=9\"\n{inner}"
        );
        files::write(&file, text.as_bytes()).expect("written");
        files::write(&dir.path().join("Image"), b"a kernel").expect("written");
        let (vms, _) = load(&[file], &Overrides::default());
        let kernel = Some(dir.path().join("Image"));
        let located = Located {
            kernel: kernel.clone(),
            vms: vec![Located {
                kernel,
                ..Located::default()
            }],
            ..Located::default()
        };
        let plan = Plan::new(vms.into_iter().map(|vm| (vm, located.clone())).collect());
        let words = Words {
            self_report: true,
            append: Some("debug".into()),
            ..Words::default()
        };
        let file = plan.image(&words).expect("written");
        let image = BootImage::parse(&file).expect("parsed");
        let outer = image.vms().next().expect("one").expect("sound");
        assert_eq!(
            outer.bootargs,
            "droste.stats=9 droste.no-reboot droste.on-failure=reset"
        );
        let image = BootImage::parse(outer.initrd.expect("one")).expect("parsed");
        let inner = image.vms().next().expect("one").expect("sound");
        assert_eq!(
            (inner.name, inner.bootargs),
            ("inner", "quiet droste.self-report debug")
        );
    }

    #[test]
    fn a_guest_with_a_monitor_is_told_to_use_it_when_it_examines_itself() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("vm.toml");
        let text =
            "name = \"vm\"\nkernel = \"Image\"\ndisk = [\"disk\", \"debian:qemu-system-arm\"]\n";
        files::write(&file, text.as_bytes()).expect("written");
        let (vms, _) = load(&[file], &Overrides::default());
        let located = Located {
            kernel: Some("Image".into()),
            monitors: vec!["monitor.img".into()],
            ..Located::default()
        };
        let plan = Plan::new(vms.into_iter().map(|vm| (vm, located.clone())).collect());
        let told = |self_report| {
            let words = Words {
                self_report,
                append: Some("droste.l2=vmm".into()),
                ..Words::default()
            };
            words::bootargs(&plan.vms[0].description, &words, None).0
        };
        assert_eq!(
            told(true),
            "droste.virtio droste.self-report droste.l2=qemu droste.l2=vmm"
        );
        assert_eq!(told(false), "droste.virtio droste.l2=vmm");
        let disk = DeviceKind::Disk(DiskImage::read_only("monitor.img"));
        assert_eq!(plan.devices()[1].kind, disk);
    }

    #[test]
    fn a_kernel_that_may_not_find_its_devices_is_told_of() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("vm.toml");
        let told = |keys: &str| {
            let text = format!("name = \"vm\"\nkernel = \"Image\"\n{keys}\n");
            files::write(&file, text.as_bytes()).expect("written");
            let (vms, found) = load(std::slice::from_ref(&file), &Overrides::default());
            assert_eq!(found, []);
            without_modules(&vms[0])
        };
        let ours = "initrd = \"debian:busybox-static\"\nnet = \"user\"";
        assert!(told(ours).is_some_and(|told| told.starts_with("vm has devices")));
        assert_eq!(told(&format!("{ours}\nmodules = \"6.12\"")), None);
        assert_eq!(told("initrd = \"own\"\nnet = \"user\""), None);
        assert_eq!(told("initrd = \"debian:busybox-static\""), None);
    }

    #[test]
    fn a_command_line_that_has_become_too_long_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let words = Words {
            append: Some("x".repeat(2048)),
            ..Words::default()
        };
        let error = plan(&dir, &[""]).image(&words).expect_err("too long");
        assert!(
            error
                .to_string()
                .contains("the command line has 2054 bytes"),
            "{error}"
        );
    }

    #[test]
    fn the_machine_holds_all_of_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let plan = plan(&dir, &["memory = \"512M\"\nvcpus = 4", "memory = \"256M\""]);
        assert_eq!(
            plan.machine_memory_mib(33 << 20),
            1024,
            "768 + 33 + 160 rounded up"
        );
        assert_eq!(
            [2, 3, 4, 5].map(|host| plan.machine_cpus(host)),
            [2, 3, 4, 4]
        );
    }

    #[test]
    fn a_machine_has_no_more_processors_than_its_host_or_the_hypervisor_drives() {
        let dir = tempfile::tempdir().expect("a directory");
        let plan = plan(&dir, &["vcpus = 64"]);
        assert_eq!([1, 8, 128].map(|host| plan.machine_cpus(host)), [2, 8, 32]);
    }

    #[test]
    fn a_small_machine_has_two_processors() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(plan(&dir, &[""]).machine_cpus(8), 2);
    }
}
