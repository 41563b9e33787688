//! Device trees: reading the machine's, writing a guest's.
//!
//! [`Tree`] reads the tree that the boot loader hands to EL2, and makes a
//! [`Platform`](droste_platform::Platform) of what Droste needs of it, with
//! addresses translated to the CPU's view. [`Guest`] writes the tree that a virtual machine boots from. Nothing here
//! knows a particular board: if something is missing in the tree, an error says so.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod cells;
mod device;
mod dma;
mod early;
mod guest;
mod platform;

pub use early::boot_option;
pub use guest::{Guest, GuestDom0, GuestEl2, GuestInterrupts, seeds};
pub use platform::{PlatformError, Tree};
