//! Arm's SMMUv3 as data and decisions: devices reach the memory of their own virtual machine and nothing else.
//!
//! The SMMU's stage 2 walks the table that the CPUs walk. It is one more TLB, which hears commands alone.
//!
//! - [`Ids`]: what the SMMU can do, and [`Missing`]: why it is of no use.
//! - [`Ste`] and [`StreamTable`]: what becomes of each device's transactions.
//! - [`Command`] and [`Cover`]: what makes an SMMU forget.
//! - [`Event`]: what it tells, as sentences.
//! - [`Smmu`]: one that is taken over from the firmware, commanded and heard, on a [`Board`].
//! - [`errata`]: what some of them do wrong.
//!
//! Sources: IHI 0070, the architecture of SMMUv3.
//!
//! # An example
//! What a stream's entry and an invalidation are, as the SMMU reads them:
//!
//! ```
//! use droste_arm64::smmu::Scope;
//! use droste_arm64::{Granule, Ipa, Level, Pa, Vmid, Vtcr};
//! use droste_smmu::{Command, Cover, Leaves, Ranges, Stage2, Ste};
//!
//! let table = Stage2 {
//!     vmid: Vmid(7),
//!     vtcr: Vtcr(0x8005_3559), // 39 bits, walks from level 1, 48 bits out
//!     root: Pa(0x8000_0000),
//!     leaves: Leaves::Combined,
//! };
//! let entry = Ste::stage2(&table);
//! assert_eq!(entry.0[0], 0b1101); // V, Config = stage 2
//! assert_eq!(entry.0[3], 0x8000_0000);
//!
//! // 2 MiB and a page, of tables and leaves of several levels: two commands with ranges.
//! let scope = Scope::Range {
//!     from: Ipa(0x4000_0000),
//!     pages: 513,
//!     granule: Granule::Kib4,
//!     leaf: None,
//! };
//! let commands: Vec<Command> = Cover::new(Vmid(7), scope, Ranges::Yes).collect();
//! assert_eq!(commands.len(), 2);
//! ```

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod board;
pub mod command;
pub mod errata;
pub mod event;
pub mod id;
pub mod registers;
mod ring;
pub mod ste;
pub mod streams;
pub mod unit;

pub use board::{Board, Patience};
#[doc(inline)]
pub use command::{Command, Cover};
#[doc(inline)]
pub use errata::{Manner, manner_of};
#[doc(inline)]
pub use event::{Event, Told};
#[doc(inline)]
pub use id::{Capabilities, Ids, Leaves, Missing, Ranges};
#[doc(inline)]
pub use registers::Register;
#[doc(inline)]
pub use ste::{Stage2, Ste};
#[doc(inline)]
pub use streams::{StreamId, StreamTable};
#[doc(inline)]
pub use unit::{CommandError, Error, Smmu};
