//! How the machine ends: it goes off, or it is reset where whoever started it learns by that how things went. A Droste that is
//! a guest has no other way to tell.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::arch::firmware;

pub(crate) use droste_resources::report::Went;

/// Whether a machine on which things went badly is reset.
static RESETS: AtomicBool = AtomicBool::new(false);

/// Takes the value of `droste.on-failure`.
pub(crate) fn on_failure(word: Option<&str>) {
    RESETS.store(word == Some("reset"), Ordering::Relaxed);
}

/// Whether somebody waits for the machine's end, to learn how things went.
pub(crate) fn is_told() -> bool {
    RESETS.load(Ordering::Relaxed)
}

/// Powers the machine off, or resets it. Returns only where the firmware cannot.
pub(crate) fn end(went: Went) {
    if went == Went::Badly && is_told() {
        firmware::system_reset();
    }
    firmware::system_off();
}
