//! A virtual CPU's registers, in memory and in the hardware, and the way into and out of the guest.
//!
//! EL2 uses none of EL1's registers and none of the vector registers, so a guest's stay in the hardware across its
//! exits: only the general registers are saved there. The rest moves when another virtual CPU takes the physical one, and
//! some of it when a guest hypervisor's worlds change.

use alloc::boxed::Box;

use droste_arm64::hcr;
use droste_vdev::gic::{Interface, MAX_LIST_REGISTERS};
use droste_vdev::sysreg::DebugRegisters;

use super::registers::{El1, Keys, Timers};
use super::simd::Vectors;
use super::traps::Traps;
use super::{debug, exception, gic, has_ras, isb, mrs, msr, timer};
use crate::cpu::Cpu;
use crate::exit;
use crate::nested::El2;
use crate::vm::Vcpu;

core::arch::global_asm!(include_str!("vectors.s"));

unsafe extern "C" {
    fn enter_first_guest(state: *mut Registers, cpu: u64) -> !;
}

/// The tables of `vectors.s`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum VectorTable {
    /// For any guest.
    Plain,
    /// For a guest that has EL2 with VHE: what its kernel does most often is done at once.
    Vhe,
}

impl VectorTable {
    /// Makes it this CPU's.
    pub(crate) fn load(self) {
        macro_rules! load {
            ($table:literal) => {
                core::arch::asm!(
                    concat!("adrp {v}, ", $table),
                    concat!("add {v}, {v}, :lo12:", $table),
                    "msr vbar_el2, {v}",
                    "isb",
                    v = out(reg) _, options(nostack, preserves_flags)
                )
            };
        }
        // SAFETY: both are tables of vectors.s, 2 KiB-aligned, in text that is never unmapped.
        unsafe {
            match self {
                Self::Plain => load!("vectors"),
                Self::Vhe => load!("vectors_el2"),
            }
        }
    }
}

/// What `vectors.s` saves and restores at each exit; it knows the offsets.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Registers {
    x: [u64; 31],
    /// Where the guest goes on.
    pub(crate) pc: u64,
    /// Its PSTATE, as SPSR_EL2 holds it; and [`STEPPED`], which that has no such bit for.
    pub(crate) pstate: u64,
}

/// It stepped over an instruction that was emulated, and has not been told. `vectors.s` sees to it at the next entry.
const STEPPED: u64 = 1 << 63;

// What vectors.s was written for.
const _: () = {
    use core::mem::offset_of;
    assert!(
        offset_of!(Registers, x) == 0
            && offset_of!(Registers, pc) == 248
            && offset_of!(Registers, pstate) == 256
    );
    assert!(offset_of!(VcpuState, registers) == 0);
};

impl Registers {
    /// General register `n` as an instruction names it: 31 reads as zero.
    #[inline]
    pub(crate) fn get(&self, n: u8) -> u64 {
        self.x.get(usize::from(n)).copied().unwrap_or(0)
    }

    /// Sets general register `n`; 31 discards.
    #[inline]
    pub(crate) fn set(&mut self, n: u8, value: u64) {
        if let Some(x) = self.x.get_mut(usize::from(n)) {
            *x = value;
        }
    }

    /// Steps over the instruction that was emulated.
    #[inline]
    pub(crate) fn skip(&mut self, bytes: u64) {
        const BTYPE: u64 = 3 << 10;
        const SINGLE_STEP: u64 = 1 << 21;
        self.pc = self.pc.wrapping_add(bytes);
        if self.pstate & SINGLE_STEP != 0 {
            self.pstate |= STEPPED;
        }
        self.pstate &= !(BTYPE | SINGLE_STEP);
    }

    /// Forgets that it [stepped over](Self::skip) an instruction while it was to make one step.
    pub(crate) fn forget_step(&mut self) {
        self.pstate &= !STEPPED;
    }
}

/// A virtual CPU as its physical CPU holds it while it runs, and as it lies parked in between.
#[repr(C)]
pub(crate) struct VcpuState {
    /// First, for `vectors.s` finds them at the address in TPIDR_EL2.
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
    fixed: Fixed,
    control: Control,
    el1: El1,
    timers: Timers,
    /// Of the GIC, but its list registers, which are folded into the VM's GIC instead.
    interface: Interface,
    vectors: Vectors,
    keys: Keys,
}

/// Control registers of EL2 that differ from one virtual CPU to another.
#[derive(Clone, Copy)]
pub(crate) struct Fixed {
    /// VTCR_EL2, of the VM.
    pub(crate) vtcr: u64,
    /// VNCR_EL2, of a virtual CPU with EL2.
    pub(crate) vncr: Option<u64>,
    /// Where its exits go.
    pub(crate) vectors: VectorTable,
}

/// Control registers of EL2 that differ from one of a virtual CPU's exception levels to another as well.
#[derive(Clone, Copy)]
pub(crate) struct Control {
    /// HCR_EL2.
    pub(crate) hcr: u64,
    /// VMPIDR_EL2.
    pub(crate) mpidr: u64,
    /// VPIDR_EL2.
    pub(crate) midr: u64,
    /// CNTVOFF_EL2.
    pub(crate) cntvoff: u64,
    /// CPTR_EL2, MDCR_EL2 and CNTHCTL_EL2.
    pub(crate) traps: Traps,
}

impl VcpuState {
    /// A virtual CPU as it comes out of reset, which `vcpu` will run on `cpu`: at `pc` in its highest exception level
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
        const SCTLR_RES1: u64 = 0x30d0_0800;
        // Whoever powers it on may be a CPU of another model.
        let control = control.on(cpu);
        if let Some(el2) = &mut el2 {
            el2.settle_on(cpu);
        }
        let mut registers = Registers {
            pc,
            pstate: EL1H_MASKED,
            ..Registers::default()
        };
        registers.set(0, argument);
        Box::new(Self {
            registers,
            vcpu,
            cpu,
            lists_used: 0,
            lists: [0; MAX_LIST_REGISTERS],
            debug: DebugRegisters::new(),
            el2,
            fixed,
            control,
            el1: El1 {
                sctlr: SCTLR_RES1,
                ..El1::default()
            },
            timers: Timers::default(),
            interface: Interface::RESET,
            vectors: Vectors::default(),
            keys: Keys::default(),
        })
    }

    /// When the earlier of its enabled timers is due, in ticks of the physical counter. Right while it is parked.
    pub(crate) fn timer_deadline(&self) -> Option<u64> {
        self.timers.deadline(self.control.cntvoff, timer::now())
    }

    /// Takes the guest's registers out of the hardware. Its list registers are folded already.
    pub(crate) fn save(&mut self) {
        // A virtual SError that the guest has not taken yet.
        self.control.hcr = self.control.hcr & !hcr::VSE | mrs!("hcr_el2") & hcr::VSE;
        if exception::take_serror() {
            self.control.hcr |= hcr::VSE;
        }
        self.el1.save();
        self.timers.save();
        self.interface = gic::read_interface();
        self.vectors.save();
        self.keys.save();
    }

    /// Puts the guest's registers into the hardware. Its stage 2 and its list registers come separately.
    pub(crate) fn load(&self) {
        self.vectors.load();
        self.keys.load();
        self.fixed.load();
        self.control.load();
        self.el1.load();
        self.timers.load();
        gic::write_interface(&self.interface);
        self.load_debug();
        isb();
    }

    /// Makes a virtual SError pending for the guest, which is loaded.
    pub(crate) fn pend_serror(&mut self) {
        self.control.hcr |= hcr::VSE;
        self.control.load();
    }

    /// Replaces the control registers of the guest, which is loaded. A virtual SError that it has not taken yet is left
    /// out: `control` says whether there is one.
    pub(crate) fn set_control(&mut self, control: Control) {
        self.control = control;
        self.control.load();
    }

    /// Makes a virtual interrupt pending for the guest, which is loaded, or not: `bit` is HCR_EL2.VI or VF.
    pub(crate) fn set_pending(&mut self, bit: u64, is_pending: bool) {
        let bits = if is_pending { bit } else { 0 };
        self.control.hcr = self.control.hcr & !bit | bits;
        // A virtual SError that it has taken meanwhile is not pending again.
        let hcr = self.control.hcr & !hcr::VSE | Self::loaded_serror();
        // SAFETY: HCR_EL2 as it is, but for a virtual interrupt.
        unsafe { msr!("hcr_el2", hcr) }
    }

    /// Replaces the traps of the guest, which is loaded, and nothing else.
    pub(crate) fn set_traps(&mut self, traps: Traps) {
        self.control.traps = traps;
        traps.load();
    }

    /// HCR_EL2.VSE of the loaded guest: whether a virtual SError is pending.
    pub(crate) fn loaded_serror() -> u64 {
        mrs!("hcr_el2") & hcr::VSE
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

impl Fixed {
    fn load(&self) {
        // SAFETY: values that `Vm` or `El2::reset` composed: the guest stays at EL1 and EL0 under stage 2.
        unsafe {
            msr!("vtcr_el2", self.vtcr);
            if let Some(page) = self.vncr {
                msr!("S3_4_C2_C2_0", page); // VNCR_EL2
            }
        }
        self.vectors.load();
    }
}

impl Control {
    /// The same for a virtual CPU that runs on `cpu`.
    pub(crate) fn on(self, cpu: &Cpu) -> Self {
        let model = cpu.model.get();
        let model = *model.expect("virtual CPUs run on CPUs that are online");
        Self {
            midr: model.midr,
            traps: self.traps.on(model),
            ..self
        }
    }

    #[inline]
    fn load(&self) {
        // SAFETY: values that `Vm` or `El2::of_guest` composed: the guest stays at EL1 and EL0 under stage 2, its
        // interrupts virtual.
        unsafe {
            msr!("hcr_el2", self.hcr);
            msr!("vmpidr_el2", self.mpidr);
            msr!("vpidr_el2", self.midr);
            msr!("cntvoff_el2", self.cntvoff);
            if has_ras() {
                // Hidden, but with HCR_EL2.AMO a guest reaches VDISR_EL2 by the name of DISR_EL1 all the same.
                msr!("S3_4_C12_C1_1", 0u64);
            }
        }
        self.traps.load();
    }
}

/// Enters a guest on this CPU for the first time; its later exits come to the handlers below.
pub(crate) fn enter(state: Box<VcpuState>) -> ! {
    let cpu = state.cpu.index as u64;
    // SAFETY: `state` stays valid until an exit's handler takes it back; the stack above is abandoned for good.
    unsafe { enter_first_guest(Box::into_raw(state).cast(), cpu) }
}

macro_rules! handler {
    ($(#[$doc:meta])* $name:ident => $function:path) => {
        $(#[$doc])*
        #[unsafe(no_mangle)]
        extern "C" fn $name(state: *mut VcpuState) -> *mut VcpuState {
            // SAFETY: `state` is the box that was entered last; the guest ran in between and nobody else.
            let state = unsafe { Box::from_raw(state) };
            Box::into_raw($function(state))
        }
    };
}

handler!(
    /// A synchronous exception from a guest.
    handle_sync => exit::synchronous
);
handler!(
    /// An interrupt while a guest ran.
    handle_irq => exit::interrupt
);
handler!(
    /// An SError while a guest ran.
    handle_serror => exit::serror
);
handler!(
    /// Any of these, of a guest in AArch32: comes before them, and in place of the first.
    handle_aarch32 => exit::leave_aarch32
);
handler!(
    /// A guest that is to be entered, and to be told of a step over an instruction.
    handle_stepped => exit::stepped
);
