//! What a hypervisor does first.

use super::{is_vhe, reset_el1, set_icc_sre};
use crate::tree::Machine;
use crate::{cpu, gic, println};

unsafe extern "C" {
    // `el2.s`: keeps every register but x1 and x2.
    fn el2_leave_vhe();
}

/// What a guest that is a hypervisor does first: it goes to E2H = 0 if it shall show what one without VHE needs, and
/// says which it has.
///
/// # Panics
/// If it does not run at EL2.
pub fn begin(guest: &str, machine: &Machine) {
    assert!(cpu::is_el2(), "this guest is a hypervisor: it wants EL2");
    if machine.has_argument("nvhe") && is_vhe() {
        // SAFETY: the map stays the identity, and the routine touches no memory while it is off.
        unsafe { el2_leave_vhe() };
    }
    println!("{guest}: E2H = {}", u8::from(is_vhe()));
}

/// Makes ready for what runs at EL1: the GIC goes by system registers, this vCPU takes the SGIs and PPIs set in `enabled`
/// (a bit per INTID), and EL1 is as after a reset.
pub fn prepare(enabled: u32) {
    gic::enable_distributor();
    prepare_on(0, enabled);
}

/// The same on the vCPU of this number, with the distributor as it is.
pub fn prepare_on(vcpu: usize, enabled: u32) {
    set_icc_sre(0xf);
    gic::enable_cpu(vcpu, enabled);
    reset_el1();
}
