//! A vCPU's registers, in memory and in the hardware, and the way into and out of the guest.
//!
//! What else a CPU holds of a vCPU is its caller's, who hands in the [handlers].
//!
//! EL2 uses none of EL1's registers and none of the vector registers, so a guest's stay in the hardware across its
//! exits: only the general registers are saved there. The rest moves when another vCPU takes the physical one, and
//! some of it when a guest hypervisor's worlds change.

use droste_arm64::hcr;
use droste_vdev::gic::Interface;

use super::id::Model;
use super::registers::{El1, Keys, Timers};
use super::simd::Vectors;
use super::traps::Traps;
use super::{exception, gic, has_ras, mrs, msr, timer};

core::arch::global_asm!(include_str!("vectors.s"));

unsafe extern "C" {
    /// Enters the guest with these registers on the CPU of this index, whose stack starts anew.
    pub(crate) fn enter_first_guest(state: *mut Registers, cpu: u64) -> !;
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
};

impl Registers {
    /// Those of a guest that begins at `pc` with `pstate`, and with `argument` in x0.
    pub(crate) fn new(pc: u64, pstate: u64, argument: u64) -> Self {
        let mut registers = Self {
            x: [0; 31],
            pc,
            pstate,
        };
        registers.set(0, argument);
        registers
    }

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

/// Registers of a vCPU that are in the hardware while it is loaded, and stay there across its exits.
pub(crate) struct Resident {
    fixed: Fixed,
    control: Control,
    /// A physical SError became a virtual one for it, which was pending when it was last asked.
    has_serror: bool,
    el1: El1,
    timers: Timers,
    /// Of the GIC, but its list registers, which are folded into the VM's GIC instead.
    interface: Interface,
    vectors: Vectors,
    keys: Keys,
}

/// Control registers of EL2 that differ from one vCPU to another.
#[derive(Clone, Copy)]
pub(crate) struct Fixed {
    /// VTCR_EL2, of the VM.
    pub(crate) vtcr: u64,
    /// VNCR_EL2, of a vCPU with EL2.
    pub(crate) vncr: Option<u64>,
    /// Where its exits go.
    pub(crate) vectors: VectorTable,
}

/// Control registers of EL2 that differ from one of a vCPU's exception levels to another as well.
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

impl Resident {
    /// Out of reset, with the MMU off, under these controls.
    #[inline]
    pub(crate) fn new(fixed: Fixed, control: Control) -> Self {
        const SCTLR_RES1: u64 = 0x30d0_0800;
        Self {
            fixed,
            control,
            has_serror: false,
            el1: El1 {
                sctlr: SCTLR_RES1,
                ..El1::default()
            },
            timers: Timers::default(),
            interface: Interface::RESET,
            vectors: Vectors::default(),
            keys: Keys::default(),
        }
    }

    /// When the earlier of its enabled timers is due, in ticks of the physical counter. Right while it is parked.
    pub(crate) fn timer_deadline(&self) -> Option<u64> {
        self.timers.deadline(self.control.cntvoff, timer::now())
    }

    /// Takes them out of the hardware. Says whether a virtual SError is pending, which ends a WFI.
    #[must_use]
    pub(crate) fn save(&mut self) -> bool {
        // A virtual SError that the guest has not taken yet.
        self.control.hcr = self.control.hcr & !hcr::VSE | mrs!("hcr_el2") & hcr::VSE;
        if exception::drain_serror() {
            self.control.hcr |= hcr::VSE;
            self.has_serror = true;
        }
        self.el1.save();
        self.timers.save();
        gic::read_interface(&mut self.interface);
        self.vectors.save();
        self.keys.save();
        self.control.hcr & hcr::VSE != 0
    }

    /// Puts them into the hardware. An ISB is the caller's.
    pub(crate) fn load(&self) {
        self.vectors.load();
        self.keys.load();
        self.fixed.load();
        self.control.load();
        self.el1.load();
        self.timers.load();
        gic::write_interface(&self.interface);
    }

    /// Makes a virtual SError pending for the guest, which is loaded: a physical one came.
    pub(crate) fn pend_serror(&mut self) {
        self.has_serror = true;
        self.control.hcr |= hcr::VSE;
        self.control.load();
    }

    /// Whether a physical SError is pending for the guest, which is loaded, and no longer once this has said so.
    #[inline]
    pub(crate) fn unpend_serror(&mut self) -> bool {
        core::mem::take(&mut self.has_serror) && loaded_serror() != 0
    }

    /// Replaces the control registers of the guest, which is loaded. A virtual SError that it has not taken yet is left
    /// out: `control` says whether there is one.
    #[inline]
    pub(crate) fn set_control(&mut self, control: &Control) {
        let Control {
            hcr,
            mpidr,
            midr,
            cntvoff,
            traps,
        } = control;
        // Field by field: as a whole it is a call.
        self.control.hcr = *hcr;
        self.control.mpidr = *mpidr;
        self.control.midr = *midr;
        self.control.cntvoff = *cntvoff;
        self.control.traps = *traps;
        control.load();
    }

    /// Makes a virtual interrupt pending for the guest, which is loaded, or not: `bit` is HCR_EL2.VI or VF.
    pub(crate) fn set_pending(&mut self, bit: u64, is_pending: bool) {
        let bits = if is_pending { bit } else { 0 };
        self.control.hcr = self.control.hcr & !bit | bits;
        // A virtual SError that it has taken meanwhile is not pending again.
        let hcr = self.control.hcr & !hcr::VSE | loaded_serror();
        // SAFETY: HCR_EL2 as it is, but for a virtual interrupt.
        unsafe { msr!("hcr_el2", hcr) }
    }

    /// Replaces the traps of the guest, which is loaded, and nothing else.
    pub(crate) fn set_traps(&mut self, traps: Traps) {
        self.control.traps = traps;
        traps.load();
    }
}

/// HCR_EL2.VSE of the loaded guest: whether a virtual SError is pending.
pub(crate) fn loaded_serror() -> u64 {
    mrs!("hcr_el2") & hcr::VSE
}

impl Fixed {
    fn load(&self) {
        // SAFETY: values that the caller composed: the guest stays at EL1 and EL0 under stage 2.
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
    /// The same for a vCPU that runs on a CPU of this model.
    pub(crate) fn on(self, model: Model) -> Self {
        Self {
            midr: model.midr,
            traps: self.traps.on(model),
            ..self
        }
    }

    #[inline]
    fn load(&self) {
        // SAFETY: values that the caller composed: the guest stays at EL1 and EL0 under stage 2, its
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

/// Defines what `vectors.s` calls when a guest is left, and `enter`, the way into the first one.
/// `$state` is what a CPU holds of a vCPU, and its first field are the [`Registers`].
macro_rules! handlers {
    ($state:ty { $($(#[$doc:meta])* $name:ident => $function:path;)* }) => {
        // vectors.s finds the registers at the address in TPIDR_EL2.
        const _: () = assert!(core::mem::offset_of!($state, registers) == 0);
        const _: fn(&$state) -> &$crate::arch::vcpu::Registers = |state| &state.registers;

        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            extern "C" fn $name(state: *mut $state) -> *mut $state {
                // SAFETY: `state` is the box that was entered last; the guest ran in between and nobody else.
                let state = unsafe { alloc::boxed::Box::from_raw(state) };
                alloc::boxed::Box::into_raw($function(state))
            }
        )*

        /// Enters a guest on this CPU for the first time; its later exits come to the handlers.
        pub(crate) fn enter(state: alloc::boxed::Box<$state>) -> ! {
            let cpu = state.cpu.index as u64;
            let state = alloc::boxed::Box::into_raw(state);
            // SAFETY: `state` stays valid until an exit's handler takes it back; the stack above is abandoned for good.
            unsafe { $crate::arch::vcpu::enter_first_guest(state.cast(), cpu) }
        }
    };
}

pub(crate) use handlers;
