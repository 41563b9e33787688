//! Exceptions: which vector, and the interrupted registers, which a handler may change.

use crate::{cpu, el2, println, psci};
use core::panic::PanicInfo;

/// The interrupted state; `start.s` stores and loads it in this layout.
#[repr(C)]
pub struct Frame {
    /// x0 to x30.
    pub x: [u64; 31],
    /// Where execution goes on.
    pub elr: u64,
    /// With which state.
    pub spsr: u64,
    reserved: u64,
}

const _: () = assert!(size_of::<Frame>() == 272);

/// Which of the sixteen vectors was taken (DDI 0487, D1, "Exception vectors").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vector(u64);

/// What kind of exception a vector is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Synchronous: ESR_EL1 says why.
    Synchronous,
    /// An interrupt.
    Irq,
    /// A fast interrupt, which group 0 raises.
    Fiq,
    /// An error that came late.
    SError,
}

impl Kind {
    /// Of the vector with this number.
    pub fn of(vector: u64) -> Self {
        match vector & 3 {
            0 => Self::Synchronous,
            1 => Self::Irq,
            2 => Self::Fiq,
            _ => Self::SError,
        }
    }
}

impl Vector {
    /// What kind of exception it was.
    pub fn kind(self) -> Kind {
        Kind::of(self.0)
    }
}

unsafe extern "Rust" {
    // `guest!` defines it with this signature.
    safe fn droste_guest_exception(vector: Vector, frame: &mut Frame);
}

#[unsafe(no_mangle)]
extern "C" fn droste_guest_trap(frame: &mut Frame, vector: u64) {
    droste_guest_exception(Vector(vector), frame);
}

/// Reports an exception that the guest has no use for, and switches off.
pub fn unexpected(vector: Vector, frame: &Frame) -> ! {
    let (esr, far) = if cpu::is_el2() {
        (el2::esr(), el2::far())
    } else {
        (cpu::esr(), cpu::far())
    };
    println!(
        "guest: failed: unexpected {:?} exception, vector {}, ESR {esr:#x}, FAR {far:#x}, ELR {:#x}, SPSR {:#x}",
        vector.kind(),
        vector.0,
        frame.elr,
        frame.spsr
    );
    psci::system_off();
}

/// [`unexpected`] as the handler of a guest that expects nothing.
pub fn unexpected_always(vector: Vector, frame: &mut Frame) {
    unexpected(vector, frame);
}

/// A guest's own mistake, or a failure it found.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    crate::console::reset();
    println!("guest: failed: {info}");
    psci::system_off();
}
