//! The registers of L1's EL1 and EL0 that change places with virtual EL2's.

use droste_arm64::sysreg::{
    AFSR0_EL1, AFSR1_EL1, AMAIR_EL1, CNTP_CTL_EL0, CNTP_CVAL_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0,
    CONTEXTIDR_EL1, CPACR_EL1, ELR_EL1, ESR_EL1, FAR_EL1, MAIR_EL1, SCTLR_EL1, SP_EL1, SPSR_EL1,
    SysReg, TCR_EL1, TTBR0_EL1, TTBR1_EL1, VBAR_EL1,
};
use droste_arm64::vncr::{Nv1, Slot, slot};

/// A register of L1's EL1 or EL0 that is in the page while virtual EL2 runs, and in the hardware's register of the same
/// name while it does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestRegister {
    /// The register.
    pub register: SysReg,
    /// Its place in the page.
    pub slot: Slot,
}

const fn in_page(register: SysReg) -> GuestRegister {
    match slot(register, Nv1::Set) {
        Some(slot) => GuestRegister { register, slot },
        None => panic!("a register of L1's EL1 is not in the page"),
    }
}

/// All of them, except those of features that L1 is not shown.
pub const fn guest_registers() -> &'static [GuestRegister] {
    &GUEST_REGISTERS
}

/// The number of these registers.
pub(super) const GUEST_COUNT: usize = GUEST_REGISTERS.len();

pub(super) static GUEST_REGISTERS: [GuestRegister; 20] = [
    in_page(CPACR_EL1),
    in_page(CONTEXTIDR_EL1),
    in_page(SCTLR_EL1),
    in_page(TCR_EL1),
    in_page(AFSR0_EL1),
    in_page(AFSR1_EL1),
    in_page(ESR_EL1),
    in_page(MAIR_EL1),
    in_page(AMAIR_EL1),
    in_page(SPSR_EL1),
    in_page(CNTV_CVAL_EL0),
    in_page(CNTV_CTL_EL0),
    in_page(CNTP_CVAL_EL0),
    in_page(CNTP_CTL_EL0),
    in_page(TTBR0_EL1),
    in_page(TTBR1_EL1),
    in_page(FAR_EL1),
    in_page(ELR_EL1),
    in_page(SP_EL1),
    in_page(VBAR_EL1),
];
