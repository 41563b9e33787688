//! The vocabulary of the 64-bit Arm architecture as data.
//!
//! Addresses, granules, levels, descriptors, syndromes and register layouts, as types that convert from and to
//! the raw bits. Nothing here touches a register or memory: the crate runs on any host, and every claim about the
//! architecture names its place in the *Arm Architecture Reference Manual for A-profile* (`DDI 0487`).
//!
//! Raw bits and decoded meaning are two types, and only the codecs of this crate convert between them.
//!
//! Memory management acts on a machine through the trait [`Machine`], which has one method per instruction.

#![no_std]
#![forbid(unsafe_code)]

mod addr;
pub mod barrier;
pub mod desc;
pub mod esr;
pub mod exception;
mod granule;
pub mod hcr;
mod id;
pub mod machine;
mod size;
pub mod smmu;
mod start;
pub mod sysreg;
pub mod tlbi;
pub mod vhe;
pub mod vncr;
mod vtcr;
mod vttbr;

pub use addr::{Ipa, Pa, Va};
pub use granule::{Granule, LeafKind, Level};
pub use id::{Bbm, IdRegisters};
#[doc(inline)]
pub use machine::Machine;
pub use size::{IpaBits, PaRange};
pub use start::StartFault;
pub use vtcr::{HardwareUpdates, Vtcr, VtcrFields};
pub use vttbr::{Baddr, Vmid, VmidBits, Vttbr};
