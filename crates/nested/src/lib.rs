//! Virtual EL2: what a guest that is itself a hypervisor needs.
//!
//! Three hypervisor levels take part. *L0* is the real one. *L1* is its guest, and runs a hypervisor at virtual EL2.
//! *L2* is L1's guest. This crate decides and touches nothing: registers come in as values, L1's memory is behind
//! [`GuestMemory`], and what changes tables goes through `droste-stage2`.
//!
//! # Memory
//! L1 writes a stage-2 table for L2, the *guest's*, which leads from [`L2Ipa`] to [`L1Ipa`] and which hardware never
//! uses. L0 has the *canonical* table, which leads from [`L1Ipa`] to memory. Hardware runs L2 by a *shadow*, the
//! composition of the two.
//!
//! - [`walk`] reads the guest's table, which may hold anything at all.
//! - [`compose`](mod@compose) says what a shadow entry may be.
//! - [`fault`] says whose a fault of L2 is.
//! - [`tlbi`] says what an invalidation by L1 asks for.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod address;
mod advertised;
pub mod compose;
pub mod eret;
pub mod exception;
pub mod fault;
pub mod forward;
pub mod id;
mod memory;
pub mod pool;
pub mod reverse;
pub mod shadow;
pub mod registers;
pub mod tlbi;
pub mod walk;

pub use address::{L1Ipa, L2Ipa};
pub use advertised::Advertised;
pub use compose::{CanonicalLeaf, Composed, Mark, compose};
pub use fault::{Abort, L1, Syndrome, Verdict};
pub use memory::{Exchange, ExternalAbort, GuestMemory};
pub use pool::{Grant, Key, Place, Pool};
pub use reverse::{Concerned, Reverse};
pub use shadow::{Changes, Filled, Host, Shadow, Ticket};
pub use tlbi::{Instruction, Invalidation, Range, VirtualLevel, guest_vmid};
pub use walk::{Extent, FaultKind, GuestLeaf, StageTwo, StageTwoRegisters, Stop, WalkFault, Walker};
