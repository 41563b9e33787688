//! A virtual machine: what it owns, how it is built, started, stopped and started anew.
//!
//! Its end: whoever stops it sets the phase and kicks every physical CPU that hosts one of its virtual CPUs. Each CPU
//! lets its members leave ([`retire_one`](Vm::retire_one)); the last to leave finds the VM at rest and either starts
//! it anew or counts it out. The other VMs go on meanwhile.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use droste_arm64::{Ipa, hcr};
use droste_devtree::{Device, Guest, GuestDom0, GuestEl2, GuestInterrupts, Interrupt, Trigger};
use droste_image::{Console, El2, OnReboot, VmImage};
use droste_vdev::Affinity;
use droste_vdev::gic::{self as vgic_model, Gic, GicConfig, Intid};
use droste_vdev::psci::Firmware;
use spin::Once;
use spin::mutex::TicketMutex;

use crate::arch::id::IdRegisters;
use crate::arch::memory::{Region, Use};
use crate::arch::traps::Traps;
use crate::arch::vcpu::{Control, Fixed, VcpuState, VectorTable};
use crate::arch::{self, gic, timer};
use crate::complaints::Complaints;
use crate::cpu::Cpu;
use crate::exit::{
    GUEST_GIC_MAINTENANCE, GUEST_HYP_PHYSICAL_TIMER, GUEST_HYP_VIRTUAL_TIMER, GUEST_PHYSICAL_TIMER,
    GUEST_SECURE_TIMER, GUEST_VIRTUAL_TIMER,
};
use crate::guest_memory::{GuestMemory, Stage2Stats};
use crate::guest_uart::GuestUart;
use crate::loader::{self, LoadError};
use crate::machine::machine;
use crate::nested::contexts::{Contexts, ShadowStats};
use crate::nested::{self, Nested};
use crate::vcpu::{Phase, Vcpu};
use crate::{console, mmio, power, vgic};

pub(crate) use crate::guest_memory::Resolution;
pub(crate) use crate::outcome::Outcome;

/// A reset this soon after the start is a quick one, milliseconds; after some in a row the VM stays off.
const QUICK_MS: u64 = 1000;
const QUICK_RESETS_MAX: u32 = 4;
/// Shared interrupts begin here; those below are a CPU's own.
const FIRST_SPI: u32 = 32;

/// Why a VM could not be built.
pub(crate) struct BuildError(pub(crate) String);

/// A virtual machine.
pub(crate) struct Vm {
    /// Index among the machine's VMs.
    pub(crate) id: usize,
    /// Its part of the boot image.
    pub(crate) image: VmImage<'static>,
    /// Its RAM.
    pub(crate) ram: Region,
    /// Where its RAM begins for the guest.
    pub(crate) ram_ipa: u64,
    /// What its CPUs read as identification.
    pub(crate) ids: IdRegisters,
    /// Its stage 2.
    pub(crate) memory: GuestMemory,
    /// What it has as a hypervisor.
    nested: Option<Nested>,
    /// Its interrupt controller.
    pub(crate) gic: TicketMutex<Gic>,
    /// Its console.
    pub(crate) uart: TicketMutex<GuestUart>,
    /// Power states of its CPUs.
    pub(crate) psci: TicketMutex<Firmware>,
    /// Platform devices that it drives.
    devices: Vec<Device>,
    gic_config: GicConfig,
    vcpus: Once<Vec<&'static Vcpu>>,
    /// [`Outcome`] once it is ending; `Running` before.
    ending: AtomicU8,
    outcome: AtomicU8,
    retired: AtomicUsize,
    /// When it last started, or was reset, in ticks.
    started: AtomicU64,
    /// Resets in a row that came within [`QUICK_MS`].
    quick_resets: AtomicU32,
    complaints: Complaints,
}

/// What a VM is built from.
pub(crate) struct Parts {
    /// Index among the machine's VMs.
    pub(crate) id: usize,
    /// Its part of the boot image.
    pub(crate) image: VmImage<'static>,
    /// Its RAM.
    pub(crate) ram: Region,
    /// Where its RAM begins for the guest.
    pub(crate) ram_ipa: u64,
    /// Platform devices that it drives.
    pub(crate) devices: Vec<Device>,
    /// What its CPUs read as identification.
    pub(crate) ids: IdRegisters,
    /// Its stage 2.
    pub(crate) memory: GuestMemory,
    /// What it has as a hypervisor.
    pub(crate) nested: Option<Nested>,
}

impl Vm {
    /// Builds a VM, whose virtual CPUs will run on `cpus` in turn.
    pub(crate) fn build(
        parts: Parts,
        mut cpus: impl Iterator<Item = &'static Cpu>,
    ) -> Result<&'static Self, BuildError> {
        let vcpus = parts.image.vcpus as usize;
        let intids = parts
            .devices
            .iter()
            .flat_map(|d| &d.interrupts)
            .map(|i| i.intid);
        let last = intids
            .max()
            .unwrap_or(mmio::UART_INTID)
            .max(mmio::UART_INTID);
        let gic_config = GicConfig {
            vcpus,
            spis: (last as usize + 1 - 32)
                .next_multiple_of(32)
                .min(vgic_model::MAX_SPIS),
            list_registers: gic::list_registers(),
        };
        let gic = Gic::new(gic_config).map_err(|e| BuildError(format!("{e}")))?;
        let vm: &'static Self = Box::leak(Box::new(Self {
            id: parts.id,
            image: parts.image,
            ram: parts.ram,
            ram_ipa: parts.ram_ipa,
            ids: parts.ids,
            memory: parts.memory,
            nested: parts.nested,
            gic: TicketMutex::new(gic),
            uart: TicketMutex::new(GuestUart::new()),
            psci: TicketMutex::new(Firmware::new(vcpus, power::workarounds())),
            devices: parts.devices,
            gic_config,
            vcpus: Once::new(),
            ending: AtomicU8::new(Outcome::Running as u8),
            outcome: AtomicU8::new(Outcome::Running as u8),
            retired: AtomicUsize::new(0),
            started: AtomicU64::new(0),
            quick_resets: AtomicU32::new(0),
            complaints: Complaints::default(),
        }));
        vm.vcpus.call_once(|| {
            let mut next = || cpus.next().expect("the caller's CPUs come round and round");
            (0..vcpus)
                .map(|index| &*Box::leak(Box::new(Vcpu::new(index, vm, next()))))
                .collect()
        });
        Ok(vm)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.image.name
    }

    /// Its virtual CPUs.
    #[inline]
    pub(crate) fn vcpus(&self) -> &[&'static Vcpu] {
        self.vcpus.get().map_or(&[], Vec::as_slice)
    }

    /// The emulated device at `ipa`.
    #[inline]
    pub(crate) fn device_at(&self, ipa: Ipa) -> Option<mmio::Device> {
        mmio::device_at(ipa, self.image.console, self.gic_config.vcpus)
    }

    /// Whether code can be fetched at `ipa`.
    pub(crate) fn is_ram(&self, ipa: Ipa) -> bool {
        ipa.0
            .checked_sub(self.ram_ipa)
            .is_some_and(|offset| offset < self.image.memory)
    }

    /// Makes the hardware translate for the virtual CPU that is being loaded, by the context chosen for it.
    pub(crate) fn enter_context(&self, state: &VcpuState) {
        match &state.el2 {
            Some(el2) => nested::enter_context(state, el2),
            None => self.memory.enter(0, state.cpu.index, state.vcpu.index),
        }
    }

    /// The contexts of its guests; it has EL2.
    pub(crate) fn contexts(&self) -> &Contexts {
        let nested = self.nested.as_ref();
        &nested
            .expect("a virtual CPU has EL2 where its machine has")
            .contexts
    }

    /// What its stage 2 did so far.
    pub(crate) fn stage2(&self) -> Stage2Stats {
        self.memory.stats()
    }

    /// What its guests hold; `None` if it has no EL2.
    pub(crate) fn shadows(&self) -> Option<ShadowStats> {
        Some(self.nested.as_ref()?.contexts.stats())
    }

    /// Its tree, with the RAM disk at `initrd`, and what a hypervisor is to start.
    pub(crate) fn device_tree(
        &self,
        initrd: Option<Range<u64>>,
        dom0: Option<GuestDom0<'_>>,
    ) -> Vec<u8> {
        let cpus: Vec<u64> = (0..self.vcpus().len())
            .map(|n| Affinity::of_vcpu(n).fields())
            .collect();
        let level = |intid| Interrupt {
            intid,
            trigger: Trigger::Level,
        };
        let el2 = (self.image.el2 != El2::None).then(|| GuestEl2 {
            hyp_virtual_timer: (self.image.el2 == El2::Vhe).then(|| level(GUEST_HYP_VIRTUAL_TIMER)),
            gic_maintenance: level(GUEST_GIC_MAINTENANCE),
        });
        let redistributors = vgic_model::REDISTRIBUTOR_BYTES * cpus.len() as u64;
        let uart = (self.image.console == Console::Uart)
            .then_some(mmio::UART..mmio::UART + mmio::UART_BYTES);
        Guest {
            name: self.name(),
            cpus: &cpus,
            memory: self.ram_ipa..self.ram_ipa + self.image.memory,
            initrd,
            dom0,
            bootargs: self.image.bootargs,
            gic_distributor: mmio::DISTRIBUTOR..mmio::DISTRIBUTOR + vgic_model::DISTRIBUTOR_BYTES,
            gic_redistributors: mmio::REDISTRIBUTORS..mmio::REDISTRIBUTORS + redistributors,
            uart,
            interrupts: GuestInterrupts {
                secure_timer: level(GUEST_SECURE_TIMER),
                physical_timer: level(GUEST_PHYSICAL_TIMER),
                virtual_timer: level(GUEST_VIRTUAL_TIMER),
                hyp_physical_timer: level(GUEST_HYP_PHYSICAL_TIMER),
                uart: level(mmio::UART_INTID),
            },
            el2,
            devices: &self.devices,
        }
        .to_bytes()
    }

    /// Loads the image, into memory that was used so, and powers on virtual CPU 0. No other one runs.
    pub(crate) fn start(&'static self, memory: Use) -> Result<(), LoadError> {
        let entry = loader::load(self, memory)?;
        self.connect_devices();
        self.vcpus()[0].power_on(self.new_state(0, entry.pc, entry.device_tree));
        Ok(())
    }

    /// Registers of virtual CPU `index` as it comes on at `pc`, with `argument` in x0.
    pub(crate) fn new_state(&'static self, index: usize, pc: u64, argument: u64) -> Box<VcpuState> {
        const GUEST: u64 = hcr::VM
            | hcr::SWIO
            | hcr::PTW
            | hcr::FMO
            | hcr::IMO
            | hcr::AMO
            | hcr::BSU_INNER
            | hcr::TID3
            | hcr::TSC
            | hcr::TIDCP
            | hcr::TACR
            | hcr::RW
            | hcr::TLOR
            | hcr::TERR
            | hcr::API
            | hcr::APK;
        let vcpu = self.vcpus()[index];
        let shared = if vcpu.cpu.is_shared() {
            hcr::TWI | hcr::TWE
        } else {
            0
        };
        let control = Control {
            hcr: GUEST | shared | self.memory.hcr(),
            mpidr: Affinity::of_vcpu(index).mpidr(),
            midr: arch::id::midr(),
            cntvoff: 0,
            traps: Traps::own(),
        };
        let fixed = Fixed {
            vtcr: self.memory.vtcr(),
            vncr: None,
            vectors: VectorTable::Plain,
        };
        let (el2, registers) = match &self.nested {
            Some(nested) => {
                let (el2, registers) = nested.reset(index, &self.ids, (fixed, control));
                (Some(el2), registers)
            }
            None => (None, (fixed, control)),
        };
        VcpuState::new(vcpu, vcpu.cpu, registers, el2, (pc, argument))
    }

    /// Whether it is ending.
    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        self.ending.load(Ordering::Acquire) != Outcome::Running as u8
    }

    /// How it ended.
    pub(crate) fn outcome(&self) -> Outcome {
        Outcome::from_bits(self.outcome.load(Ordering::Acquire))
    }

    /// Ends it, as `outcome`. The first reason counts.
    pub(crate) fn stop(&self, outcome: Outcome) {
        let running = Outcome::Running as u8;
        if self
            .ending
            .compare_exchange(running, outcome as u8, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            self.vcpus().iter().for_each(|vcpu| vcpu.cpu.kick());
        }
    }

    /// One of its virtual CPUs has left; the last one puts the VM to rest, or starts it anew.
    pub(crate) fn retire_one(&'static self) {
        if self.retired.fetch_add(1, Ordering::AcqRel) + 1 < self.vcpus().len() {
            return;
        }
        let how = Outcome::from_bits(self.ending.load(Ordering::Acquire));
        self.reset_devices();
        let may_restart =
            self.image.on_reboot == OnReboot::Restart && !machine().is_reboot_forbidden;
        if how == Outcome::Reset && may_restart {
            if self.restarts_too_often() {
                log::error!("{}: resets itself over and over; it stays off", self.name());
            } else {
                match self.restart() {
                    Ok(()) => return,
                    Err(error) => log::error!("{}: cannot start anew: {error}", self.name()),
                }
            }
        }
        self.outcome.store(how as u8, Ordering::Release);
        power::vm_ended(self);
    }

    /// Whether this reset is one of several in a row that came right after a start. Each costs the CPU a copy of the
    /// image, which others would have to wait for.
    fn restarts_too_often(&self) -> bool {
        let now = timer::now();
        let ran = now.saturating_sub(self.started.swap(now, Ordering::Relaxed));
        if ran > QUICK_MS * (timer::frequency() / 1000) {
            self.quick_resets.store(0, Ordering::Relaxed);
        }
        self.quick_resets.fetch_add(1, Ordering::Relaxed) >= QUICK_RESETS_MAX
    }

    /// Starts it again from its image, with devices and stage 2 as new.
    fn restart(&'static self) -> Result<(), LoadError> {
        log::info!("{}: restarts", self.name());
        self.memory.clear();
        if let Some(nested) = &self.nested {
            nested.contexts.clear_all();
        }
        *self.gic.lock() =
            Gic::new(self.gic_config).expect("this configuration was accepted before");
        *self.uart.lock() = GuestUart::new();
        console::tell_room(self);
        *self.psci.lock() = Firmware::new(self.vcpus().len(), power::workarounds());
        self.retired.store(0, Ordering::Release);
        // No longer ending before any of them is no longer retired: else a scheduler would retire it once more.
        self.ending.store(Outcome::Running as u8, Ordering::Release);
        self.vcpus()
            .iter()
            .for_each(|vcpu| vcpu.set_phase(Phase::Off));
        self.start(Use::Used)
    }

    /// Lets its devices interrupt, at the CPU of its first virtual one.
    fn connect_devices(&self) {
        let mut distributor = machine().distributor.lock();
        for interrupt in self.shared_interrupts() {
            let trigger = match interrupt.trigger {
                Trigger::Edge => gic::Trigger::Edge,
                Trigger::Level => gic::Trigger::Level,
            };
            distributor.enable(interrupt.intid, trigger, self.vcpus()[0].cpu.affinity);
        }
    }

    /// Silences its devices, so that none writes to memory or interrupts on behalf of a guest that is gone.
    fn reset_devices(&self) {
        for device in self
            .devices
            .iter()
            .filter(|d| d.is_compatible("virtio,mmio"))
        {
            for range in &device.registers {
                arch::memory::reset_virtio(range.start);
            }
        }
        let mut distributor = machine().distributor.lock();
        for interrupt in self.shared_interrupts() {
            distributor.disable(interrupt.intid);
        }
    }

    /// Interrupts of its devices.
    pub(crate) fn shared_interrupts(&self) -> impl Iterator<Item = &Interrupt> {
        self.devices
            .iter()
            .flat_map(|d| &d.interrupts)
            .filter(|i| i.intid >= FIRST_SPI)
    }

    /// Physical interrupt `intid`, acknowledged, of one of its devices.
    pub(crate) fn shared_interrupt(&self, intid: u32) {
        let Some(id) = Intid::new(intid) else { return };
        if self.outcome() != Outcome::Running || self.is_stopping() {
            return gic::deactivate(intid);
        }
        let kicks = self.gic.lock().inject_hardware(0, id, id);
        vgic::kick(self, kicks);
    }

    /// Says what odd thing the guest did, unless it has done a lot of them lately.
    pub(crate) fn complain(&self, what: fmt::Arguments<'_>) {
        self.complaints.add(self.name(), what);
    }
}
