//! The report of a bug in Droste itself: one CPU tells, all stop.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use droste_resources::report::last_record;

use super::end::{self, Went};
use super::{cpu, try_machine};
use crate::arch;
use crate::arch::bug::LastWords;

arch::bug::handlers!(report);

static REPORTED: AtomicBool = AtomicBool::new(false);

/// Prints `what` and what `details` adds, stops all other CPUs, and then this one: ends the machine where
/// somebody waits for the outcome, halts otherwise so that the report stays on the screen.
///
/// A second bug, on another CPU or in the report itself, only stops its CPU.
pub(crate) fn report(
    what: fmt::Arguments<'_>,
    details: impl FnOnce(&mut LastWords) -> fmt::Result,
) -> ! {
    if REPORTED.swap(true, Ordering::Relaxed) {
        arch::halt();
    }
    cpu::stop_others();
    let mut out = LastWords;
    let version = env!("CARGO_PKG_VERSION");
    let me = arch::id::affinity();
    let _ = writeln!(
        out,
        "\ndroste: BUG on CPU {me:#x}: {what}\n  Droste {version}; all CPUs are stopped"
    );
    let _ = details(&mut out);
    let nonce = try_machine().and_then(|m| m.nonce.as_ref());
    if let Some(nonce) = nonce {
        let _ = last_record(&mut out, nonce, "bug", what);
        let _ = writeln!(out);
    }
    if nonce.is_some() || end::is_told() {
        end::end(Went::Badly);
    }
    arch::halt()
}

/// Whether a CPU has reported a bug, so that this one must stop.
#[inline]
pub(crate) fn is_reported() -> bool {
    REPORTED.load(Ordering::Relaxed)
}

/// Makes the bug that the command line asks for (`droste.bug=`), so that its report can be seen and tested: `panic`, or
/// `stack` for a stack that overflows.
pub(crate) fn provoke(kind: Option<&str>) {
    match kind {
        Some("panic") => panic!("asked for by droste.bug=panic"),
        Some("stack") => {
            overflow(1);
        }
        _ => {}
    }
}

#[expect(unconditional_recursion, reason = "that is the bug")]
#[inline(never)]
fn overflow(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 32]);
    overflow(depth + 1) + frame[0]
}
