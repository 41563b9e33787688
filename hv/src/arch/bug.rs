//! What is left to do when Droste itself is wrong: say where, and stop every CPU.

use core::fmt::{self, Write};

use super::{image, mrs, uart};

const PAGE: u64 = 4096;
/// Return addresses that a trace prints: a stack that overflowed holds hundreds.
const TRACE_MAX: usize = 24;

/// Registers that `vectors.s` saves when EL2 takes an exception from itself.
#[repr(C)]
pub(crate) struct BugFrame {
    x: [u64; 31],
    sp: u64,
}

impl BugFrame {
    /// Prints the registers and the stack.
    pub(crate) fn print(&self, out: &mut LastWords) -> fmt::Result {
        let layout = image::layout();
        let base = layout.text.start;
        let (elr, esr, far) = (mrs!("elr_el2"), mrs!("esr_el2"), mrs!("far_el2"));
        writeln!(
            out,
            "  esr {esr:#010x}  far {far:#x}  pc {elr:#x} (image + {:#x})",
            elr.wrapping_sub(base)
        )?;
        if image::is_stack_guard(far) {
            writeln!(
                out,
                "  far is in a stack's guard page: the stack overflowed"
            )?;
        }
        for (row, x) in self.x.chunks(4).enumerate() {
            for (i, value) in x.iter().enumerate() {
                write!(out, "  x{:<2} {value:016x}", row * 4 + i)?;
            }
            writeln!(out)?;
        }
        writeln!(out, "  sp  {:016x}", self.sp)?;
        trace(out, self.sp)
    }
}

const _: () = assert!(core::mem::offset_of!(BugFrame, sp) == 248);

/// Prints the words of the stack at `sp` that lie in the text: return addresses, innermost first.
pub(crate) fn trace(out: &mut LastWords, sp: u64) -> fmt::Result {
    let layout = image::layout();
    // One that overflowed points into the guard page below the stack.
    let sp = if image::is_stack_guard(sp) {
        sp.next_multiple_of(PAGE)
    } else {
        sp
    };
    let Some(end) = image::stack_end(sp) else {
        return writeln!(out, "  sp is in no stack");
    };
    write!(out, "  stack, image +")?;
    let words = (sp & !7..end)
        .step_by(8)
        .map(|at| super::memory::read_u64(droste_arm64::Pa(at)));
    for word in words
        .filter(|word| layout.text.contains(word))
        .take(TRACE_MAX)
    {
        write!(out, " {:#x}", word - layout.text.start)?;
    }
    writeln!(out)
}

/// This CPU's stack pointer.
pub(crate) fn stack_pointer() -> u64 {
    let sp: u64;
    // SAFETY: copies a register.
    unsafe { core::arch::asm!("mov {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags)) }
    sp
}

/// The UART, past every lock.
pub(crate) struct LastWords;

impl Write for LastWords {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                uart::emergency_write(b'\r');
            }
            uart::emergency_write(byte);
        }
        Ok(())
    }
}

/// The kind of exception that comes by `vector`, which counts the eight that EL2 can take from itself.
pub(crate) fn kind(vector: u64) -> &'static str {
    const KINDS: [&str; 4] = ["synchronous exception", "IRQ", "FIQ", "SError"];
    KINDS[vector as usize % 4]
}

/// Defines what is called when EL2 takes an exception from itself, and when it panics. `$report` is told what it was, and
/// what prints more of it.
macro_rules! handlers {
    ($report:path) => {
        /// An exception from EL2 itself.
        #[unsafe(no_mangle)]
        extern "C" fn handle_el2_bug(vector: u64, frame: &$crate::arch::bug::BugFrame) -> ! {
            let kind = $crate::arch::bug::kind(vector);
            $report(format_args!("unexpected {kind} in EL2"), |out| {
                frame.print(out)
            })
        }

        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            let sp = $crate::arch::bug::stack_pointer();
            $report(format_args!("{info}"), |out| {
                $crate::arch::bug::trace(out, sp)
            })
        }
    };
}

pub(crate) use handlers;
