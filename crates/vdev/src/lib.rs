//! The devices of one virtual machine as pure logic: an event comes in, actions go out.
//!
//! Nothing here reads a register, a clock or memory, so every module runs and is tested on any host. The hypervisor
//! passes in the event (a trapped access, an interrupt, the time) and carries out the actions that come back. Whatever
//! a guest writes, nothing here panics: where no register takes an access, a read gives zero and a write has no effect.
//!
//! Memory is allocated only while a virtual machine is built.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod affinity;
mod bits;
pub mod gic;
pub mod id;
mod line;
pub mod pl011;
pub mod pl031;
pub mod psci;
pub mod sysreg;
pub mod timer;

pub use affinity::{Affinity, MAX_VCPUS};
pub use line::Line;
