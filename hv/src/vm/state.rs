//! A vCPU as its physical CPU holds it.

use alloc::boxed::Box;

use droste_nested::exception::{Running, level, virtual_pstate};
use droste_nested::registers::Loaded;
use droste_vdev::gic::MAX_LIST_REGISTERS;
use droste_vdev::sysreg::DebugRegisters;

use super::Vcpu;
use super::virtual_el2::El2;
use crate::arch::vcpu::{Control, Fixed, Registers, Resident};
use crate::arch::{debug, isb};
use crate::machine::cpu::Cpu;

/// A vCPU as its physical CPU holds it while it runs, and as it lies parked in between.
#[repr(C)]
pub(crate) struct VcpuState {
    /// First, for `vectors.s` finds them by the address of the whole.
    pub(crate) registers: Registers,
    /// Whose registers these are.
    pub(crate) vcpu: &'static Vcpu,
    /// The physical CPU.
    pub(crate) cpu: &'static Cpu,
    /// How many list registers may hold something.
    pub(crate) lists_used: usize,
    /// What those held when they were read or written last.
    pub(crate) lists: [u64; MAX_LIST_REGISTERS],
    /// Its debug registers, all of which trap.
    pub(crate) debug: DebugRegisters,
    /// Its EL2, if it has one.
    pub(crate) el2: Option<Box<El2>>,
    /// What is in the hardware while it is loaded.
    pub(crate) resident: Resident,
}

impl VcpuState {
    /// A vCPU as it comes out of reset, which `vcpu` will run on `cpu`: at `pc` in its highest exception level
    /// with the MMU off, interrupts masked, and `argument` in x0.
    pub(crate) fn new(
        vcpu: &'static Vcpu,
        cpu: &'static Cpu,
        (fixed, control): (Fixed, Control),
        mut el2: Option<Box<El2>>,
        (pc, argument): (u64, u64),
    ) -> Box<Self> {
        // Virtual EL2 is EL1 to the hardware.
        const EL1H_MASKED: u64 = 0x3c5;
        // Whoever powers it on may be a CPU of another model.
        let control = control.on(cpu.model());
        if let Some(el2) = &mut el2 {
            el2.bind_to(cpu);
        }
        Box::new(Self {
            registers: Registers::new(pc, EL1H_MASKED, argument),
            vcpu,
            cpu,
            lists_used: 0,
            lists: [0; MAX_LIST_REGISTERS],
            debug: DebugRegisters::new(),
            el2,
            resident: Resident::new(fixed, control),
        })
    }

    /// Puts the guest's registers into the hardware. Its stage 2 and its list registers come separately.
    pub(crate) fn load(&self) {
        self.resident.load();
        self.load_debug();
        isb();
    }

    /// Whether the hardware's list registers are those of its EL2's guest.
    #[inline]
    pub(crate) fn has_guests_lists(&self) -> bool {
        self.el2.as_ref().is_some_and(|el2| el2.has_guests_lists())
    }

    /// Makes the hardware translate for it, by the context chosen for it: it is being put on its CPU, or its EL2 has changed
    /// worlds.
    pub(crate) fn enter_context(&self) {
        let (vm, cpu, me) = (self.vcpu.vm, self.cpu.index, self.vcpu.index);
        match self.el2.as_ref().and_then(|el2| el2.context()) {
            Some(held) => vm.contexts().enter(&vm.memory, held, cpu, me),
            None => vm.memory.enter(0, cpu, me),
        }
    }

    /// Gives the hardware what it needs of the guest's debug registers. Breakpoints and watchpoints of one with EL2 never
    /// match: virtual EL2 and what is under it are one level to the hardware, and a change of worlds does not look at them.
    pub(crate) fn load_debug(&self) {
        if self.el2.is_none() {
            debug::load(&self.debug);
        } else {
            debug::load_without_points(&self.debug);
        }
    }
}

/// A vCPU's EL2, where it is known to have one.
#[inline]
pub(crate) fn el2(state: &mut VcpuState) -> &mut El2 {
    state
        .el2
        .as_deref_mut()
        .expect("only what happens to a vCPU with EL2 comes here")
}

/// What runs, and its virtual PSTATE.
pub(crate) fn running(state: &mut VcpuState) -> (Running, u64) {
    let hardware = state.registers.pstate;
    let el2 = el2(state);
    if el2.loaded == Loaded::El1 {
        return (Running::Guest, hardware);
    }
    let pstate = virtual_pstate(hardware, Running::VirtualEl2);
    (Running::at(level(pstate), el2.hcr()), pstate)
}
