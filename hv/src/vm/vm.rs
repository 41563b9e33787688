//! A virtual machine: what it owns, how it is built and stopped. Its lives are `droste-life`'s; how one follows another is
//! in [`life`](crate::life).

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use droste_arm64::Ipa;
use droste_devtree::{Guest, GuestDom0, GuestEl2, GuestInterrupts};
use droste_image::{Console, El2, VmImage};
use droste_life::{Lives, Phase};
use droste_platform::{Device, Interrupt, Trigger};
use droste_resources::Complaints;
use droste_resources::report::Lock;
use droste_vdev::Affinity;
use droste_vdev::gic::{self as vgic_model, ConfigError, Gic, GicConfig, Kicks};
use droste_vdev::psci::Firmware;
use spin::Once;
use spin::mutex::SpinMutex;

use super::rest::Rest;
use super::rtc::GuestRtc;
use super::uart::GuestUart;
use super::virtual_el2::Nested;
use super::{Vcpu, VcpuState, layout};
use crate::arch::gic;
use crate::arch::id::IdRegisters;
use crate::arch::locks::{Mutex, waits};
use crate::arch::memory::Region;
use crate::machine::cpu::Cpu;
use crate::machine::error::BuildError;
use crate::machine::{machine, workarounds};
use crate::memory::contexts::NestedContexts;
use crate::memory::guest_memory::GuestMemory;

pub(crate) use droste_life::RunState;

/// Shared interrupts begin here; those below are a CPU's own.
const FIRST_SPI: u32 = 32;

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
    pub(crate) nested: Option<Nested>,
    /// Its interrupt controller.
    pub(crate) gic: Mutex<Gic>,
    /// Its console.
    pub(crate) uart: Mutex<GuestUart>,
    /// Its clock.
    pub(crate) rtc: Mutex<GuestRtc>,
    /// Power states of its CPUs.
    pub(crate) psci: Mutex<Firmware>,
    /// Platform devices that it drives.
    pub(crate) devices: Vec<Device>,
    gic_config: GicConfig,
    vcpus: Once<Vec<&'static Vcpu>>,
    /// What it and its vCPUs do.
    pub(crate) lives: Lives<Box<VcpuState>>,
    /// What its home does while it rests; nothing before it was opened.
    pub(crate) rest: Once<SpinMutex<Rest>>,
    /// How much it gave reason to complain lately.
    pub(crate) complaints: Complaints,
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
    /// Builds a VM, whose vCPUs will run on `cpus` in turn.
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
            .unwrap_or(layout::RTC_INTID)
            .max(layout::RTC_INTID);
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
            gic: Mutex::new(gic),
            uart: Mutex::new(GuestUart::new()),
            rtc: Mutex::new(GuestRtc::new()),
            psci: Mutex::new(Firmware::new(vcpus, workarounds())),
            devices: parts.devices,
            gic_config,
            vcpus: Once::new(),
            lives: Lives::new(vcpus),
            rest: Once::new(),
            complaints: Complaints::new(),
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

    /// Its vCPUs.
    #[inline]
    pub(crate) fn vcpus(&self) -> &[&'static Vcpu] {
        self.vcpus.get().map_or(&[], Vec::as_slice)
    }

    /// The emulated device at `ipa`.
    #[inline]
    pub(crate) fn device_at(&self, ipa: Ipa) -> Option<layout::Device> {
        layout::device_at(ipa, self.image.console, self.gic_config.vcpus)
    }

    /// Whether code can be fetched at `ipa`.
    pub(crate) fn is_ram(&self, ipa: Ipa) -> bool {
        ipa.0
            .checked_sub(self.ram_ipa)
            .is_some_and(|offset| offset < self.image.memory)
    }

    /// The contexts of its guests; it has EL2.
    pub(crate) fn contexts(&self) -> &NestedContexts {
        let nested = self.nested.as_ref();
        &nested
            .expect("a vCPU has EL2 where its machine has")
            .contexts
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
            hyp_virtual_timer: (self.image.el2 == El2::Vhe)
                .then(|| level(layout::HYP_VIRTUAL_TIMER)),
            gic_maintenance: level(layout::GIC_MAINTENANCE),
        });
        let uart = (self.image.console == Console::Uart).then_some(layout::UART);
        Guest {
            name: self.name(),
            cpus: &cpus,
            memory: self.ram_ipa..self.ram_ipa + self.image.memory,
            initrd,
            dom0,
            bootargs: self.image.bootargs,
            has_seeds: machine().entropy.is_some(),
            gic_distributor: layout::DISTRIBUTOR,
            gic_redistributors: layout::redistributors(cpus.len()),
            uart,
            rtc: machine().clock.map(|_| layout::RTC),
            interrupts: GuestInterrupts {
                secure_timer: level(layout::SECURE_TIMER),
                physical_timer: level(layout::PHYSICAL_TIMER),
                virtual_timer: level(layout::VIRTUAL_TIMER),
                hyp_physical_timer: level(layout::HYP_PHYSICAL_TIMER),
                uart: level(layout::UART_INTID),
                rtc: level(layout::RTC_INTID),
            },
            el2,
            devices: &self.devices,
        }
        .to_bytes()
    }

    /// The physical CPU that makes it ready for its lives, in time slices of its first vCPU.
    pub(crate) fn home(&self) -> &'static Cpu {
        self.vcpus()[0].cpu
    }

    /// Whether it is ending.
    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        self.lives.phase() == Phase::Stopping
    }

    /// How it ended.
    pub(crate) fn run_state(&self) -> RunState {
        self.lives.run_state()
    }

    /// Ends its life, as `run_state`. The first reason counts.
    pub(crate) fn stop(&self, run_state: RunState) {
        if self.lives.stop(run_state) {
            self.tell_cpus();
        }
    }

    /// Makes the CPUs of all its virtual ones see that it was stopped.
    pub(crate) fn tell_cpus(&self) {
        self.vcpus().iter().for_each(|vcpu| vcpu.cpu.kick());
    }

    /// Empties some shadows of its guests, from number `first` on, while it rests; at which one to go on.
    pub(crate) fn clear_shadows(&self, first: usize) -> Option<usize> {
        self.nested.as_ref()?.contexts.clear_some(first)
    }

    /// Takes some tables apart that were emptied; whether there may be more.
    pub(crate) fn reclaim_tables(&self) -> bool {
        let nested = self.nested.as_ref();
        self.memory.reclaim() || nested.is_some_and(|nested| nested.contexts.reclaim())
    }

    /// Makes its interrupts, its console and its firmware new, while it rests.
    pub(crate) fn renew(&self) -> Result<(), ConfigError> {
        // The devices first: one whose line is low raises none in the new GIC.
        *self.uart.lock() = GuestUart::new();
        self.rtc.lock().renew();
        *self.gic.lock() = Gic::new(self.gic_config)?;
        *self.psci.lock() = Firmware::new(self.vcpus().len(), workarounds());
        Ok(())
    }

    /// How often its vCPUs waited for each other because of a lock.
    pub(crate) fn waits(&self, lock: Lock) -> u64 {
        match lock {
            Lock::Gic => waits(&self.gic),
            Lock::Uart => waits(&self.uart),
            Lock::Firmware => waits(&self.psci),
            Lock::Table | Lock::Pages => self.memory.waits(lock),
            Lock::Contexts | Lock::Shadows | Lock::ShadowPages => {
                let nested = self.nested.as_ref();
                nested.map_or(0, |nested| nested.contexts.waits(lock))
            }
        }
    }

    /// Interrupts of its devices.
    pub(crate) fn shared_interrupts(&self) -> impl Iterator<Item = &Interrupt> {
        self.devices
            .iter()
            .flat_map(|d| &d.interrupts)
            .filter(|i| i.intid >= FIRST_SPI)
    }

    /// Makes each of `kicks` look at its interrupts: vCPUs of which none is loaded on this CPU, or whose own time
    /// slice comes with the kick.
    #[inline]
    pub(crate) fn kick(&self, kicks: Kicks) {
        for index in kicks.iter() {
            self.vcpus()[index].kick();
        }
    }
}
