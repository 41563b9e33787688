//! The life of virtual machines and of their vCPUs, and which of these has a physical CPU's time slice: as logic,
//! with nothing but atomics and a lock.
//!
//! # The machine
//! A virtual machine is built, running, stopping, resting or gone ([`Phase`]). Whoever stops it makes it stopping and
//! tells the physical CPUs of all its virtual ones. Each of those lets its own leave. The last to leave puts it to rest,
//! and tells the physical CPU of its first vCPU, its *home*. The home makes it ready in steps, in that vCPU's
//! time slices, and begins its next life, or ends it.
//!
//! A vCPU is off, ready, running, idle, waiting or has left ([`Stand`]). It belongs to one physical CPU for ever,
//! which alone moves it, with one exception: whoever runs in the same virtual machine may switch it on while it is off.
//!
//! # What holds
//! - A vCPU leaves once a life, and its registers are out of the hardware and given up before it counts as having
//!   left ([`Lives::leave`]).
//! - A life begins when all have left the one before ([`Lives::begin`]). So none of an old life runs in a new one, and
//!   nothing of a virtual machine is loaded anywhere while it is made ready.
//! - While a physical CPU makes one ready, nothing at all is loaded there ([`schedule`]).
//! - Who switches another on, or off itself, has not left: the life that it acts on is its own.
//! - A kick is never lost: who is kicked looks at its interrupts before it waits again, or is no more.
//!
//! [`schedule`] is the loop of a physical CPU. What it does with hardware are the verbs of [`Cpu`].
//!
//! With `--cfg droste_shuttle` atomics and lock are those of shuttle: `tests/shuttle` tries physical CPUs as threads, in
//! every order that a scheduler finds.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod kick;
mod lives;
mod outcome;
mod sched;
mod seat;
mod sync;
mod word;

pub use kick::Kick;
pub use lives::{Leaving, Lives, MAX_VCPUS};
pub use outcome::Outcome;
pub use sched::{Cpu, Member, schedule, switch_off};
pub use seat::Stand;
pub use word::Phase;
