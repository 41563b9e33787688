//! The runs of QEMU that the figures come from.

use super::trace::{self, Trace};
use crate::workspace::{self, Failure};
use droste::qemu::{El2, Machine, SELF, run_with_deadline};
use droste::record::{Filter, Nonce};
use droste::setup::Setup;
use droste::setup::guest::KERNEL_PACKAGE;
use droste_devtree::{Guest, GuestInterrupts};
use droste_image::{DevicePaths, VmImage, write};
use droste_platform::{Interrupt, Trigger};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The processor of all figures: FEAT_NV2 and what else there is, without what only costs emulation.
const CPU: &str = "max,pauth=off,sve=off,sme=off,lpa2=off";
/// With these, and one CPU, a run repeats bit for bit. Time passes with instructions, not with the host's clock.
const DETERMINISTIC: [&str; 6] = [
    "-icount",
    "shift=0,sleep=off",
    "-seed",
    "1",
    "-rtc",
    "base=2026-01-01,clock=vm",
];
/// What Droste is told besides: seeds would make each guest's start another.
const SAME_EACH_TIME: &str = "droste.no-seeds";
/// Memory of the virtual machine, in MiB, and of the machine around it, which has what the virtual machine has in whole
/// GiB more. A hypervisor has more: a Linux with less than 512 MiB to itself gives its guests no huge pages.
const GUEST_MIB: u64 = 512;
pub(crate) const HYPERVISOR_MIB: u64 = 1024;
const HOST_MIB: u64 = 1024;
/// What the guest of exits has more: an end of RAM that no 2 MiB block fits, so that it is mapped by 4 KiB pages.
const PAGED_BYTES: u64 = (2 << 20) - (64 << 10);
/// Where RAM starts, in the virtual machine as in QEMU's `virt`.
const RAM_BASE: u64 = 0x4000_0000;
/// The guest's command line: its own self-tests and random placement would only add to both sides.
const LINUX_ARGUMENTS: &str = "console=ttyAMA0 cryptomgr.notests nokaslr droste.self-report";
/// The command line of one that is a hypervisor, without its console: that of `examples/hypervisor.toml`, without random
/// placement.
pub(crate) const HYPERVISOR_WORDS: &str = "loglevel=5 cryptomgr.notests panic=5 nokaslr";
/// The serial port of Droste's virtual machines and of QEMU's `virt`.
pub(crate) const CONSOLE: &str = "console=ttyAMA0";
/// A run that takes longer than this hangs.
const LIMIT: Duration = Duration::from_mins(10);

/// Everything that the runs need, brought or built once.
pub(crate) struct Parts {
    qemu: PathBuf,
    plugin: PathBuf,
    hypervisor: PathBuf,
    setup: Setup,
    /// What the plugin is told besides where to write.
    words: &'static str,
    /// Where boot images and traces are written.
    folder: PathBuf,
}

/// Debian's kernel, and the RAM disk that goes with it.
pub(crate) struct Linux {
    /// An arm64 `Image`.
    pub(crate) kernel: PathBuf,
    initrd: PathBuf,
}

/// How long a run of QEMU took, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seconds {
    /// By the clock on the wall.
    pub(crate) wall: f64,
    /// Of the host's processors, which other programs do not lengthen much.
    pub(crate) processor: f64,
}

/// Counting on one emulated machine.
#[derive(Debug)]
pub(crate) struct Run {
    /// What the console showed, records taken out.
    pub(crate) console: String,
    /// What was counted.
    pub(crate) trace: Trace,
    /// The hypervisor's final record.
    pub(crate) record: Value,
}

impl Linux {
    /// Brings the kernel and builds its initial RAM disk.
    ///
    /// # Errors
    /// If one cannot be had.
    pub(crate) fn gather() -> Result<Self, Failure> {
        let setup = Setup::new()?;
        let kernel = setup.kernel(KERNEL_PACKAGE)?;
        Ok(Self {
            initrd: setup.initrd(Some(&kernel))?,
            kernel: kernel.image(),
        })
    }
}

impl Parts {
    /// Builds plugin and hypervisor, and brings QEMU (or takes `qemu`).
    ///
    /// # Errors
    /// If one cannot be had.
    pub(crate) fn gather(qemu: Option<&Path>) -> Result<Self, Failure> {
        let folder = workspace::target_folder()?.join("bench");
        droste::files::make_dir(&folder)?;
        let setup = Setup::new()?;
        Ok(Self {
            qemu: setup.qemu(qemu)?,
            plugin: trace::build(&folder)?,
            hypervisor: setup.hypervisor()?,
            folder,
            setup,
            words: "",
        })
    }

    /// The same, whose runs have profiles.
    pub(crate) fn profiling(self) -> Self {
        Self {
            words: ",profile=on",
            ..self
        }
    }

    /// The guest that does each kind of exit many times, with one or two vCPUs. One CPU counts exactly; two cannot,
    /// since QEMU's instruction clock, its plugins and several CPUs do not go together.
    ///
    /// # Errors
    /// If the guest does not come to its end.
    pub(crate) fn exits(&self, vcpus: u32) -> Result<Run, Failure> {
        let kernel = droste::files::read(&self.setup.guest("exits")?)?;
        let vm = VmImage {
            vcpus,
            memory: (GUEST_MIB << 20) + PAGED_BYTES,
            ..vm("exits", &kernel)
        };
        self.on_droste(&format!("exits-{vcpus}"), &vm, "exits: done")
    }

    /// The guest that is a hypervisor, with this kind of EL2 and one CPU.
    ///
    /// # Errors
    /// If it does not say that all came out right.
    pub(crate) fn nested(&self, el2: droste_image::El2) -> Result<Run, Failure> {
        let kernel = droste::files::read(&self.setup.guest("nested")?)?;
        let vm = VmImage {
            el2,
            ..vm("nested", &kernel)
        };
        self.on_droste(&format!("nested-{}", el2.as_str()), &vm, "nested: ok")
    }

    /// A bare-metal guest whose vCPUs have a CPU each, as `vm` says but for its kernel, until it has said `marker`.
    /// What is counted differs from run to run.
    ///
    /// # Errors
    /// If it does not come to its end.
    pub(crate) fn parallel_guest(
        &self,
        vm: &VmImage<'_>,
        guest: &str,
        marker: &str,
    ) -> Result<Run, Failure> {
        self.with_guest(vm, guest, |vm| self.on_droste(vm.name, vm, marker))
    }

    /// A bare-metal guest on one CPU, as `vm` says but for its kernel, until it has said `marker`. `words` are more for
    /// Droste's own command line.
    ///
    /// # Errors
    /// If it does not come to its end.
    pub(crate) fn guest(
        &self,
        vm: &VmImage<'_>,
        guest: &str,
        words: &str,
        marker: &str,
    ) -> Result<Run, Failure> {
        let machine = self.with_guest(vm, guest, |vm| self.droste(vm.name, vm))?;
        let machine = Machine {
            cpus: 1,
            append: format!(
                "droste.report={} {SAME_EACH_TIME} {words} {}",
                nonce(),
                workspace::droste_words()
            ),
            ..machine
        };
        self.run(vm.name, machine, marker)
    }

    /// Does something with `vm` whose kernel is this bare-metal guest.
    fn with_guest<R>(
        &self,
        vm: &VmImage<'_>,
        guest: &str,
        act: impl FnOnce(&VmImage<'_>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let kernel = droste::files::read(&self.setup.guest(guest)?)?;
        act(&VmImage {
            kernel: &kernel,
            ..*vm
        })
    }

    /// The hypervisor as it was linked, with its symbols.
    pub(crate) fn linked(&self) -> PathBuf {
        self.hypervisor.with_extension("")
    }

    /// Debian's kernel as a hypervisor at virtual EL2 with VHE, with one vCPU and this RAM disk, until its power-off.
    ///
    /// # Errors
    /// If it does not say at its end that it went through all its stages.
    pub(crate) fn hypervisor(&self, linux: &Linux, initrd: &[u8]) -> Result<Run, Failure> {
        let kernel = droste::files::read(&linux.kernel)?;
        let arguments = format!("{CONSOLE} {HYPERVISOR_WORDS}");
        let vm = hypervisor(&kernel, initrd, &arguments);
        self.on_droste("hypervisor", &vm, "nested: off")
    }

    /// The machine on which Droste starts such a hypervisor with these arguments, for [`time`] and
    /// [`count`](Self::count).
    ///
    /// # Errors
    /// If a part cannot be read or written.
    pub(crate) fn droste_with_hypervisor(
        &self,
        linux: &Linux,
        initrd: &[u8],
        arguments: &str,
    ) -> Result<Machine, Failure> {
        let kernel = droste::files::read(&linux.kernel)?;
        self.droste("beside-kvm", &hypervisor(&kernel, initrd, arguments))
    }

    /// The same machine with another Linux as the host, which finds what it starts in its RAM disk.
    ///
    /// # Errors
    /// If the RAM disk cannot be written.
    pub(crate) fn linux_with_hypervisor(
        &self,
        kernel: &Path,
        initrd: &[u8],
        arguments: &str,
    ) -> Result<Machine, Failure> {
        let initrd_file = self.folder.join("kvm.cpio");
        droste::files::write(&initrd_file, initrd)?;
        Ok(Machine {
            initrd: Some(initrd_file),
            append: arguments.to_owned(),
            memory_mib: HOST_MIB + HYPERVISOR_MIB,
            ..self.machine(kernel, 1)
        })
    }

    /// Debian's kernel and busybox from the first instruction to power-off, on Droste with one vCPU.
    ///
    /// # Errors
    /// If the guest does not report that all is well.
    pub(crate) fn linux(&self, linux: &Linux) -> Result<Run, Failure> {
        let (kernel, initrd) = (
            droste::files::read(&linux.kernel)?,
            droste::files::read(&linux.initrd)?,
        );
        let vm = VmImage {
            initrd: Some(&initrd),
            bootargs: LINUX_ARGUMENTS,
            ..vm("linux", &kernel)
        };
        self.on_droste("linux", &vm, "guest: self-report ok")
    }

    /// The same without EL2: the same kernel, RAM disk, command line, memory, processor, and the device tree that
    /// Droste's virtual machine has, so that the kernel finds the same devices and no others.
    ///
    /// # Errors
    /// If the kernel does not report that all is well.
    pub(crate) fn bare_linux(&self, linux: &Linux) -> Result<Run, Failure> {
        let tree_file = self.folder.join("bare-linux.dtb");
        droste::files::write(&tree_file, &bare_tree())?;
        let machine = Machine {
            el2: El2::Absent,
            memory_mib: GUEST_MIB,
            initrd: Some(linux.initrd.clone()),
            append: LINUX_ARGUMENTS.to_owned(),
            extra: vec!["-dtb".into(), tree_file.into()],
            ..self.machine(&linux.kernel, 1)
        };
        let (console, trace) = self.count("bare-linux", machine, "guest: self-report ok")?;
        Ok(Run {
            console,
            trace,
            record: Value::Null,
        })
    }

    fn on_droste(&self, name: &str, vm: &VmImage<'_>, marker: &str) -> Result<Run, Failure> {
        let machine = self.droste(name, vm)?;
        self.run(name, machine, marker)
    }

    fn run(&self, name: &str, machine: Machine, marker: &str) -> Result<Run, Failure> {
        let (output, trace) = self.count(name, machine, marker)?;
        let mut filter = Filter::new(&nonce());
        let mut shown = Vec::new();
        filter.push(output.as_bytes(), &mut shown);
        let record = filter
            .into_record()
            .ok_or_else(|| Failure::new(format!("{name}: no final record of the run")))?;
        record.verdict()?;
        let record = serde_json::from_str(&record.to_json())
            .map_err(|e| Failure::new(format!("{name}: the final record is no JSON: {e}")))?;
        Ok(Run {
            console: String::from_utf8_lossy(&shown).into_owned(),
            trace,
            record,
        })
    }

    /// The machine on which Droste starts this virtual machine.
    fn droste(&self, name: &str, vm: &VmImage<'_>) -> Result<Machine, Failure> {
        let image =
            write(&[*vm]).map_err(|e| Failure::new(format!("no boot image for {name}: {e}")))?;
        let image_file = self.folder.join(format!("{name}.vms.img"));
        droste::files::write(&image_file, &image)?;
        Ok(Machine {
            initrd: Some(image_file),
            append: format!(
                "droste.report={} {SAME_EACH_TIME} droste.no-reboot {}",
                nonce(),
                workspace::droste_words()
            ),
            memory_mib: HOST_MIB + (vm.memory >> 30 << 10),
            ..self.machine(&self.hypervisor, vm.vcpus)
        })
    }

    fn machine(&self, kernel: &Path, cpus: u32) -> Machine {
        Machine {
            cpu: CPU.to_owned(),
            cpus,
            memory_mib: HOST_MIB,
            ..Machine::new(&self.qemu, kernel)
        }
    }

    /// Runs a machine with the plugin until it switches itself off, having said `marker`; its output and the counts.
    ///
    /// # Errors
    /// If it does not end well, or counts nothing.
    pub(crate) fn count(
        &self,
        name: &str,
        mut machine: Machine,
        marker: &str,
    ) -> Result<(String, Trace), Failure> {
        let trace_file = self.folder.join(format!("{name}.jsonl"));
        let is_deterministic = machine.cpus == 1;
        machine.extra.extend(
            is_deterministic
                .then_some(DETERMINISTIC)
                .into_iter()
                .flatten()
                .map(Into::into),
        );
        let plugin = format!(
            "{},out={}{}",
            self.plugin.display(),
            trace_file.display(),
            self.words
        );
        machine.extra.extend(["-plugin".into(), plugin.into()]);
        let _step = droste::progress::step(&format!("counting {name}"));
        let output = run_with_deadline(machine.command(SELF), &[marker], LIMIT)?;
        Ok((output, Trace::parse(&workspace::read(&trace_file)?)?))
    }
}

/// The device tree of a virtual machine with one vCPU; QEMU's `virt` has the same devices at the same places. QEMU adds
/// the RAM disk and the command line.
fn bare_tree() -> Vec<u8> {
    let level = |intid| Interrupt {
        intid,
        trigger: Trigger::Level,
    };
    Guest {
        name: "linux",
        cpus: &[0],
        memory: RAM_BASE..RAM_BASE + (GUEST_MIB << 20),
        initrd: None,
        dom0: None,
        bootargs: LINUX_ARGUMENTS,
        has_seeds: false,
        gic_distributor: 0x0800_0000..0x0801_0000,
        gic_redistributors: 0x080a_0000..0x080c_0000,
        uart: Some(0x0900_0000..0x0900_1000),
        rtc: Some(0x0901_0000..0x0901_1000),
        interrupts: GuestInterrupts {
            secure_timer: level(29),
            physical_timer: level(30),
            virtual_timer: level(27),
            hyp_physical_timer: level(26),
            uart: level(33),
            rtc: level(34),
        },
        el2: None,
        devices: &[],
    }
    .to_bytes()
}

/// Runs a machine with one CPU, as [`Parts::count`] does but without the plugin; how long that takes.
///
/// # Errors
/// If it does not end well, having said `marker`.
pub(crate) fn time(name: &str, mut machine: Machine, marker: &str) -> Result<Seconds, Failure> {
    machine.extra.extend(DETERMINISTIC.map(Into::into));
    let _step = droste::progress::step(&format!("timing {name}"));
    let (start, before) = (Instant::now(), children_seconds()?);
    run_with_deadline(machine.command(SELF), &[marker], LIMIT)?;
    Ok(Seconds {
        wall: start.elapsed().as_secs_f64(),
        processor: children_seconds()? - before,
    })
}

/// Runs a machine with one CPU, as [`Parts::count`] does but without the plugin; what it says.
///
/// # Errors
/// If it does not end well, having said `marker`.
pub(crate) fn listen(name: &str, mut machine: Machine, marker: &str) -> Result<String, Failure> {
    machine.extra.extend(DETERMINISTIC.map(Into::into));
    let _step = droste::progress::step(&format!("running {name}"));
    Ok(run_with_deadline(machine.command(SELF), &[marker], LIMIT)?)
}

/// Seconds of the host's processors that this program's children have used and been waited for (`proc_pid_stat(5)`).
fn children_seconds() -> Result<f64, Failure> {
    /// USER_HZ, the same on all of Linux's architectures that the project is built on.
    const TICKS: f64 = 100.0;
    let stat = workspace::read("/proc/self/stat")?;
    // The program's name, in parentheses, may hold blanks. Behind it, cutime and cstime are the 14th and 15th words.
    let words = stat.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> = words
        .split_whitespace()
        .skip(13)
        .take(2)
        .filter_map(|word| word.parse().ok())
        .collect();
    match ticks[..] {
        [user, system] => Ok((user + system) / TICKS),
        _ => Err(Failure::new(format!(
            "/proc/self/stat has no times: {stat}"
        ))),
    }
}

/// What marks Droste's records. A count must not depend on a random word.
fn nonce() -> Nonce {
    Nonce::new(0xd705_7e00_d705_7e00)
}

/// A virtual machine that is a hypervisor.
fn hypervisor<'a>(kernel: &'a [u8], initrd: &'a [u8], arguments: &'a str) -> VmImage<'a> {
    VmImage {
        initrd: Some(initrd),
        bootargs: arguments,
        el2: droste_image::El2::Vhe,
        memory: HYPERVISOR_MIB << 20,
        ..vm("hypervisor", kernel)
    }
}

/// A virtual machine with one vCPU and nothing but its kernel.
pub(crate) fn vm<'a>(name: &'a str, kernel: &'a [u8]) -> VmImage<'a> {
    VmImage {
        name,
        vcpus: 1,
        memory: GUEST_MIB << 20,
        kernel,
        initrd: None,
        bootargs: "",
        console: droste_image::Console::Uart,
        on_reboot: droste_image::OnReboot::Stop,
        el2: droste_image::El2::None,
        passthrough: DevicePaths::default(),
        dom0: None,
    }
}
