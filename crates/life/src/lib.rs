//! The life cycle of virtual machines and of their vCPUs, and which vCPU has a physical CPU's time slice: pure logic on
//! atomics and one lock.
//!
//! # The machine
//! A virtual machine is built, running, stopping, resting or gone ([`Phase`]). Whoever stops it makes it stopping and
//! tells the physical CPUs of all its vCPUs. Each of those lets its own vCPUs leave. The last to leave puts the virtual
//! machine to rest, and tells the physical CPU of its first vCPU, its *home*. The home makes it ready in steps, in that
//! vCPU's time slices, and begins its next life, or ends it.
//!
//! A vCPU is off, ready, running, idle, waiting or has left ([`Stand`]). It belongs to one physical CPU for ever, which
//! alone changes its state, with one exception: another vCPU of the same virtual machine may switch it on while it is
//! off.
//!
//! # What holds
//! - A vCPU leaves once in each life. Before it counts as having left, its registers are out of the hardware and given
//!   up ([`Lives::leave`]).
//! - A life begins only after all vCPUs have left the one before ([`Lives::begin`]). So no vCPU of an old life runs in
//!   a new one, and nothing of a virtual machine is loaded anywhere while it is made ready.
//! - While a physical CPU makes a virtual machine ready, nothing is loaded on it ([`schedule`]).
//! - A vCPU that switches another on, or itself off, has not left, so it acts on its own life.
//! - A kick is never lost: a kicked vCPU looks at its interrupts before it waits again, or its life is over.
//!
//! [`schedule`] is the loop of a physical CPU. It acts on hardware by the methods of [`Cpu`] alone.
//!
//! With `--cfg droste_shuttle` atomics and lock are those of shuttle: `tests/shuttle` runs physical CPUs as threads, in
//! the interleavings that its schedulers find.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod kick;
mod lives;
mod run_state;
mod sched;
mod seat;
mod sync;
mod word;

pub use kick::Kick;
pub use lives::{Leaving, Lives, MAX_VCPUS};
pub use run_state::RunState;
pub use sched::{Cpu, Member, schedule, switch_off};
pub use seat::Stand;
pub use word::Phase;
