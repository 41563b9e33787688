//! Exceptions that a guest takes in return for what it did.

use droste_arm64::exception::Injection;

use crate::nested::deliver;
use crate::vm::VcpuState;

/// Makes the loaded guest take an exception, as if its own instruction had caused it.
#[inline(never)]
pub(super) fn inject(state: &mut VcpuState, what: Injection) {
    if state.el2.is_some() {
        deliver::inject(state, what);
    } else {
        deliver::to_el1(state, what);
    }
}
