//! The end on a machine that Droste cannot run on.

use core::fmt;

use droste_devtree::PlatformError;

use crate::arch;
use crate::console::{report, terminal};
use crate::life::lifecycle;
use crate::machine::end::Went;

/// The end on a machine whose tree Droste cannot run with. Without firmware that could switch it off it stays on, and the
/// tool that marks records by `nonce` learns of the end by one.
pub(super) fn refuse(error: &PlatformError, nonce: Option<&str>) -> ! {
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
pub(super) fn give_up(why: fmt::Arguments<'_>) -> ! {
    log::error!("{why}");
    lifecycle::machine_off(Went::Badly)
}
