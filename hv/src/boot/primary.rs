//! From the first line of Rust under stage 1 to the first guest.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::Ordering;

use droste_arm64::{Pa, PaRange};
use droste_devtree::{Device, Platform, PlatformError, Tree};
use droste_image::{BootImage, VmImage};
use droste_nested::registers::VirtualEl2;
use droste_stage2::Attributes;
use droste_vdev::id;

use crate::arch::boot::{has_e2h0, secondary_start};
use crate::arch::gic::Distributor;
use crate::arch::id::{IdRegisters, Model};
use crate::arch::image::layout;
use crate::arch::memory::Region;
use crate::arch::mmu::{self, Access, OutOfTables};
use crate::arch::{self, firmware, gic, timer};
use crate::console::{logger, report, terminal};
use crate::exit::handlers;
use crate::life::{lifecycle, sched};
use crate::machine::bug;
use crate::machine::cpu::{self, Cpu};
use crate::machine::end::{self, Went};
use crate::machine::error::BuildError;
use crate::machine::{self, machine};
use crate::memory::contexts::without_table;
use crate::memory::guest_memory::GuestMemory;
use crate::memory::ram::{self, Ram};
use crate::vm::hcr;
use crate::vm::layout as guest;
use crate::vm::virtual_el2::{self, Nested};
use crate::vm::{Outcome, Parts, Vm, alarm, all};

arch::boot::entries!(primary, secondary);

/// How long a CPU may take from PSCI CPU_ON until it is ready, milliseconds.
const SECONDARY_MS: u64 = 1000;
/// Most virtual CPUs of all VMs together, where those with EL2 count twice. Each takes up to 4 KiB of the heap, of 1 MiB in
/// all.
const MAX_VCPUS: usize = 192;
const GIB: u64 = 1 << 30;
const BLOCK: u64 = 2 << 20;
const PAGE: u64 = 4096;

/// The boot CPU, under a stage 1 of the image and the device tree alone.
fn primary(device_tree: Pa) -> ! {
    let tree =
        Tree::read(ram::device_tree(device_tree)).unwrap_or_else(|error| refuse(&error, None));
    open_console(&tree);
    end::on_failure(tree.option("droste.on-failure"));
    let nonce = tree.option("droste.report");
    let platform = tree
        .platform()
        .unwrap_or_else(|error| refuse(&error, nonce));
    if let Err(error) = map_platform(&platform) {
        give_up(format_args!("{error}"));
    }
    cpu::init(&platform.cpus);
    log::info!(
        "Droste {} on {} CPUs",
        env!("CARGO_PKG_VERSION"),
        cpu::all().len()
    );
    judge_cpu(&platform);
    let distributor =
        Distributor::open(Pa(platform.gic.distributor.start)).expect("a platform's GIC is above 0");
    machine::init(&platform, distributor, platform.uart.interrupts[0].intid);
    find_redistributors();
    let cpu = &cpu::all()[0];
    init_cpu(cpu);
    start_secondaries();
    if let Err(BuildError(why)) = build_vms(&platform, device_tree) {
        give_up(format_args!("{why}"));
    }
    let uart = machine().uart_intid;
    machine()
        .distributor
        .lock()
        .enable(uart, gic::Trigger::Level, cpu.affinity);
    terminal::enable_interrupts();
    alarm::start_reports();
    alarm::arm(cpu, None);
    for vm in all::vms() {
        if let Err(error) = lifecycle::open(vm) {
            log::error!("{}: {error}", vm.name());
            vm.lives.end(Some(Outcome::Failed));
            lifecycle::vm_ended(vm);
        }
    }
    bug::provoke(platform.option("droste.bug"));
    handlers::enter(sched::schedule(cpu, None))
}

/// Opens the console that the tree names, before anything can fail: whatever is wrong is said there.
fn open_console(tree: &Tree<'_>) {
    if let Some(uart) = tree.console() {
        let registers = &uart.registers[0];
        if mmu::add(registers.clone(), Access::Device).is_ok() {
            terminal::open(&uart);
            logger::init();
        }
    }
}

/// The end on a machine whose tree Droste cannot run with. Without firmware that could switch it off it stays on, and the
/// tool that marks records by `nonce` learns of the end by one.
fn refuse(error: &PlatformError, nonce: Option<&str>) -> ! {
    if error.has_firmware() {
        give_up(format_args!("{error}"));
    }
    log::error!("{error}");
    log::error!("there is no firmware to switch the machine off: it stays on, and does nothing");
    report::failed(nonce, format_args!("{error}"));
    terminal::flush();
    arch::halt()
}

/// The end on a machine that Droste cannot run on, or with nothing to run.
fn give_up(why: fmt::Arguments<'_>) -> ! {
    log::error!("{why}");
    lifecycle::machine_off(Went::Badly)
}

/// Whether Droste can run on this CPU; says which of the machine's it leaves alone.
fn judge_cpu(platform: &Platform) {
    let (all, used) = (platform.cpus.len(), cpu::all().len());
    if all > used {
        log::warn!("the machine has {all} CPUs: Droste drives {used}, the others stay off");
    }
    if !has_e2h0() {
        give_up(format_args!(
            "this CPU has no EL2 without the Virtualization Host Extensions (FEAT_E2H0), which Droste needs"
        ));
    }
    if !gic::has_cpu_interface() {
        give_up(format_args!(
            "this CPU has no interface to a GICv3, which the device tree says that the machine has"
        ));
    }
    if timer::frequency() == 0 {
        give_up(format_args!(
            "the firmware has not set the frequency of the counter (CNTFRQ_EL0 is 0)"
        ));
    }
}

/// Looks for every CPU's redistributor; this one's must be there.
fn find_redistributors() {
    for cpu in cpu::all() {
        if let Some(found) = gic::redistributor_of(&machine().gic.redistributors, cpu.affinity) {
            cpu.redistributor.call_once(|| found);
        } else if cpu.index == 0 {
            give_up(format_args!(
                "the GICv3 has no redistributor for this CPU, {:#x}, in the regions of the device tree",
                cpu.affinity
            ));
        }
    }
}

/// A secondary CPU, under the shared stage 1.
fn secondary(index: usize) -> ! {
    let cpu = &cpu::all()[index];
    init_cpu(cpu);
    handlers::enter(sched::schedule(cpu, None))
}

/// Brings up what each CPU has of its own.
fn init_cpu(cpu: &'static Cpu) {
    arch::traps::init_cpu(hcr::WITHOUT_GUEST);
    let m = machine();
    let timers = [m.timer.virt, m.timer.physical, m.timer.hypervisor].map(|timer| timer.intid);
    let redistributor = cpu.redistributor.get();
    let redistributor = redistributor.expect("a CPU without a redistributor is not started");
    gic::init_cpu(*redistributor, &timers, m.gic.maintenance.intid);
    cpu.model.call_once(Model::read);
    cpu.is_online.store(true, Ordering::Release);
}

/// Starts the other CPUs and waits for them. One that does not come gets no virtual CPUs.
fn start_secondaries() {
    for cpu in cpu::all().iter().skip(1) {
        if cpu.redistributor.get().is_none() {
            log::warn!(
                "CPU {:#x} has no redistributor in the regions of the device tree: it stays off",
                cpu.affinity
            );
            continue;
        }
        let (entry, context) = secondary_start(cpu.index);
        if let Err(error) = firmware::cpu_on(cpu.affinity, entry, context) {
            log::warn!("CPU {:#x} does not start: {error}", cpu.affinity);
            continue;
        }
        let deadline = timer::now() + timer::frequency() / 1000 * SECONDARY_MS;
        while !cpu.is_online.load(Ordering::Acquire) {
            if timer::now() > deadline {
                log::warn!("CPU {:#x} was started and does not answer", cpu.affinity);
                break;
            }
            core::hint::spin_loop();
        }
    }
}

/// Maps what the platform has: RAM but for the image, whose pages have their own permissions, and its interrupt controller.
/// The console is mapped by now.
fn map_platform(platform: &Platform) -> Result<(), OutOfTables> {
    let image = layout().all();
    for ram in &platform.memory {
        for piece in [
            ram.start..ram.end.min(image.start),
            ram.start.max(image.end)..ram.end,
        ] {
            if piece.start < piece.end {
                mmu::add(piece, Access::Write)?;
            }
        }
    }
    let gic = core::iter::once(&platform.gic.distributor).chain(&platform.gic.redistributors);
    for device in gic {
        mmu::add(device.clone(), Access::Device)?;
    }
    Ok(())
}

/// Builds all VMs of the boot image. None runs yet.
fn build_vms(platform: &Platform, device_tree: Pa) -> Result<(), BuildError> {
    let range = platform.boot_image.clone().ok_or_else(|| {
        BuildError(
            "no boot image: pass one made by `droste image` as the boot loader's initrd".into(),
        )
    })?;
    let image = BootImage::parse(arch::memory::read_only(range.clone()))
        .map_err(|error| BuildError(format!("the boot image is unusable: {error}")))?;
    let tree = device_tree.0..device_tree.0 + platform.tree_bytes;
    let mut builder = Builder {
        platform,
        ram: Ram::new(platform, &[layout().all(), range, tree]),
        taken: Vec::new(),
        next_cpu: 0,
        counted: 0,
        next_id: 0,
    };
    let mut vms = Vec::new();
    for vm in image.vms() {
        let image =
            vm.map_err(|error| BuildError(format!("the boot image is unusable: {error}")))?;
        let name = image.name;
        vms.push(
            builder
                .build(image)
                .map_err(|BuildError(why)| BuildError(format!("{name}: {why}")))?,
        );
    }
    if vms.is_empty() {
        return Err(BuildError("the boot image holds no virtual machine".into()));
    }
    all::init(vms);
    Ok(())
}

struct Builder<'a> {
    platform: &'a Platform,
    ram: Ram,
    /// Pages of devices that earlier VMs drive.
    taken: Vec<Range<u64>>,
    next_cpu: usize,
    /// Virtual CPUs so far, as [`MAX_VCPUS`] counts them.
    counted: usize,
    next_id: usize,
}

impl Builder<'_> {
    fn build(&mut self, image: VmImage<'static>) -> Result<&'static Vm, BuildError> {
        let devices = self.devices(&image)?;
        let (ram, ram_ipa) = self.ram(&image, &devices)?;
        let pages = devices
            .iter()
            .flat_map(|d| d.registers.iter().map(pages_of));
        let mut slots: Vec<(u64, Range<u64>, Attributes)> = pages
            .map(|range| (range.start, range, Attributes::DEVICE))
            .collect();
        slots.sort_by_key(|slot| slot.0);
        slots.dedup_by(|a, b| a.1 == b.1);
        slots.push((ram_ipa, ram.range(), Attributes::RAM));
        let vcpus = image.vcpus as usize;
        let el2 = virtual_el2::kind_of(image.el2)?;
        self.counted += if el2.is_some() { 2 * vcpus } else { vcpus };
        if self.counted > MAX_VCPUS {
            let why = format!(
                "with its {vcpus} virtual CPUs there are more than {MAX_VCPUS} in all, where those with EL2 count twice"
            );
            return Err(BuildError(why));
        }
        let contexts = 1 + el2.map_or(0, |_| without_table(vcpus));
        let memory = GuestMemory::build(&slots, (vcpus, contexts), &mut self.ram)?;
        let ids = identification(memory.pa_range(), el2);
        let nested = el2
            .map(|kind| Nested::build(kind, &memory, &ids, (image.memory, vcpus), &mut self.ram))
            .transpose()?;
        let first = self.next_cpu;
        self.next_cpu += image.vcpus as usize;
        if image.vcpus as usize > cpu::online().count() {
            log::warn!(
                "{}: {} virtual CPUs share {} physical ones",
                image.name,
                image.vcpus,
                cpu::online().count()
            );
        }
        let id = self.next_id;
        self.next_id += 1;
        Vm::build(
            Parts {
                id,
                image,
                ram,
                ram_ipa,
                devices,
                ids,
                memory,
                nested,
            },
            cpu::online()
                .collect::<Vec<_>>()
                .into_iter()
                .cycle()
                .skip(first),
        )
    }

    /// The platform's devices that the VM is to drive.
    fn devices(&mut self, image: &VmImage<'static>) -> Result<Vec<Device>, BuildError> {
        let mut devices = Vec::new();
        let mut pages = Vec::new();
        for path in image.passthrough() {
            let device = self.platform.device(path);
            let device =
                device.ok_or_else(|| BuildError(format!("the platform has no device {path}")))?;
            for range in &device.registers {
                let range = pages_of(range);
                if self.is_taken(&range) {
                    return Err(BuildError(format!(
                        "{path} shares the page at {:#x} with a device of Droste or of another VM; give all devices of one \
                         page to one VM",
                        range.start
                    )));
                }
                pages.push(range);
            }
            for range in &device.registers {
                mmu::add(range.clone(), Access::Device)
                    .map_err(|error| BuildError(format!("{path}: {error}")))?;
            }
            devices.push(device.clone());
        }
        self.taken.extend(pages);
        Ok(devices)
    }

    fn is_taken(&self, range: &Range<u64>) -> bool {
        let p = self.platform;
        let ours = core::iter::once(&p.gic.distributor)
            .chain(&p.gic.redistributors)
            .chain(&p.uart.registers);
        ours.chain(&guest::taken())
            .chain(&self.taken)
            .any(|r| range.start < r.end && r.start < range.end)
    }

    /// RAM for the VM, and where it begins for the guest. Devices that write to memory do so by physical address until
    /// an SMMU is driven, so a VM with such sees its RAM where it is.
    fn ram(
        &mut self,
        image: &VmImage<'static>,
        devices: &[Device],
    ) -> Result<(Region, u64), BuildError> {
        let bytes = image.memory;
        let gib = (bytes >= GIB)
            .then(|| self.ram.take(bytes, GIB, guest::RAM))
            .flatten();
        let ram = gib
            .or_else(|| self.ram.take(bytes, BLOCK, guest::RAM))
            .ok_or_else(|| {
                let free = self.ram.free() >> 20;
                BuildError(format!(
                    "no {} MiB of RAM in one piece; {free} MiB are free in all",
                    bytes >> 20
                ))
            })?;
        if devices.is_empty() {
            return Ok((ram, guest::RAM));
        }
        let list: Vec<&str> = devices.iter().map(|d| d.path.as_str()).collect();
        let list: String = list.join(", ");
        log::info!(
            "{}: drives {list} itself, so its RAM is where it is, at {:#x}",
            image.name,
            ram.range().start
        );
        log::warn!(
            "{}: its devices reach all of the machine's RAM: no SMMU is driven",
            image.name
        );
        let start = ram.range().start;
        Ok((ram, start))
    }
}

/// What the CPUs of a virtual machine read as identification.
fn identification(pa_range: PaRange, el2: Option<VirtualEl2>) -> IdRegisters {
    machine().ids.map(|register, host| {
        let without = id::value(register, host, pa_range);
        match el2 {
            Some(el2) => virtual_el2::identification(register, (host, without), el2),
            None => without,
        }
    })
}

fn pages_of(range: &Range<u64>) -> Range<u64> {
    range.start & !(PAGE - 1)..(range.end + PAGE - 1) & !(PAGE - 1)
}
