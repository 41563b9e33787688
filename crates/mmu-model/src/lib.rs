//! A hostile, executable model of the 64-bit Arm MMU and its TLBs, which judges stage-2 code on any host.
//!
//! Bugs in code that manages stage-2 tables rarely show in tests on hardware: a missing invalidation does harm only if
//! some TLB still holds the entry when it matters. So this model does not imitate a TLB. **It holds the set of
//! everything that the TLBs are permitted to hold**, and each access is checked against all of it: whatever any CPU
//! could have cached since the last completed invalidation is a candidate beside the walk of memory, and a check passes
//! only if *every* candidate is acceptable. So a mistake is found in every run, not by luck: at the first access that
//! could go wrong, or at the write that lets two conflicting translations meet.
//!
//! # How to use it
//! A *driver* performs the operations of the architecture on a [`Model`]: it writes descriptors, executes DSB, ISB and
//! TLBI with raw operands, and writes VTTBR_EL2; it enters and leaves guests, makes their accesses, and says which
//! outcomes it allows ([`Model::expect`]). Code that is written for the trait [`Machine`](droste_arm64::Machine), as
//! `droste-stage2`, needs no driver for the verbs: it runs on a [`Cpu`] of the model. [`Model::violation`] returns the
//! first [`Rule`] that was broken, with the step that broke it, the entry, and the earlier step that set it up. With
//! [`Recording::On`] the run is a [`Trace`], text that can be [replayed](replay) and [cut down](shrink) to what is
//! needed.
//!
//! ```
//! use droste_arm64::barrier::Dsb;
//! use droste_arm64::{Pa, Va};
//! use droste_mmu_model::*;
//!
//! // 16 pages of memory for tables, a root with one level-2 table below it that maps 2 MiB.
//! let mut model = Model::new(Config::new(Pa(0x4000_0000), 16));
//! model.write(0, Pa(0x4000_0000), 0x4000_1003);
//! model.write(0, Pa(0x4000_1000), 0x8000_07fd);
//! model.dsb(0, Dsb::Ishst);
//!
//! // CPU 1 runs a guest under VMID 1: 4 KiB granule, 39-bit addresses.
//! for cpu in 0..2 {
//!     model.set_vtcr(cpu, 1 << 31 | 5 << 16 | 1 << 6 | 0x19);
//!     model.set_vttbr(cpu, 1 << 48 | 0x4000_0000);
//!     model.isb(cpu);
//! }
//! model.enter(1, Vcpu::new(0));
//! let read = Access::new(Va(0x1234), AccessKind::Read);
//! model.expect(1, read, Allowed::Access(Pa(0x8000_1234)));
//! assert!(model.violation().is_none());
//!
//! // The block moves: it is made invalid, its stage-2 entries go, and it is made again.
//! model.write(0, Pa(0x4000_1000), 0);
//! model.dsb(0, Dsb::Ish);
//! model.tlbi(0, Tlbi::new(Form::Ipas2e1, Scope::Inner, 0));
//! model.dsb(0, Dsb::Ish);
//! model.write(0, Pa(0x4000_1000), 0x9000_07fd);
//!
//! // But entries that combine stage 1 and stage 2 do not go by IPA: VMALLE1IS was forgotten.
//! let violation = model.violation().expect("this is caught at the write");
//! assert_eq!(violation.rule, Rule::BreakBeforeMake(Missing::CombinedTlbi));
//! assert_eq!(violation.step, model.steps());
//! ```
//!
//! Code that cannot be driven is judged by its recorded operations: a [`Watch`] takes them from a recorder, continues
//! after a violation, and needs nobody to say what is allowed.
//!
//! Six such mistakes are examples, `examples/forgotten_*.rs`: each prints what the model reports. With the forgotten
//! step in place, the model reports nothing.
//!
//! # How it works
//! What memory holds now is always a candidate, and costs nothing to keep. When a descriptor that some walk can read
//! changes, its old value becomes a *ghost* under each VMID whose tree holds it, on each CPU that was in the guest
//! since the value was written. A table descriptor's ghost is a cached walk: it goes on in that table *as it is now*;
//! all translations below it become ghosts with it. A ghost has a stage-2 part and a combined part, and ends when the
//! architecture makes it (DDI 0487, D8 "TLB maintenance"):
//! - the change is visible: the writer has executed a DSB; until then walks see old or new, each location for itself;
//! - then a TLBI takes it: this VMID, this address, this level, this scope. Those by IPA take stage-2 parts, walks
//!   included unless of the last level only; VMALLE1 takes combined parts, if the stage-2 part and every cached walk
//!   to it were gone already (from those it could be made again); VMALLS12E1 and ALLE1 take both;
//! - then the CPU that issued it executes a DSB that waits for it.
//!
//! Everything else is kept as lazily: which CPUs may hold anything of a VMID and a root, which vCPUs left stage-1
//! entries where, which writes are not visible yet.
//!
//! # What is exact, and what is more hostile than hardware
//! Correct code is never reported, because whatever the model assumes in a TLB, a TLB is permitted to hold. In these
//! places, on sequences that no sound code relies on, it assumes more than hardware would hold:
//! - an invalidation by address that is issued *before* a change does not keep the old value from being held, even if
//!   no CPU was in the guest in between; one of the whole VMID does;
//! - where the architecture says of a TLBI operand that hardware need not act on it (a hint of another level or
//!   granule, a range with a hint that does not begin on such a leaf), it does not act;
//! - a hint of a leaf's level keeps cached walks of other levels alive, and what a cached walk still leads to is
//!   not taken: the walk finds it again (of the last level first and of all levels then is the wrong order);
//! - a Contiguous entry may be held page by page and as the whole run at once;
//! - nXS invalidations leave everything whose accesses may have the XS attribute.
//!
//! Events happen in the order of the calls; locks of the driver are assumed to order what one CPU does before another.
//!
//! # What is left out
//! - Stage-1 tables in guest memory: a guest's stage 1 is a map ([`Model::stage1_map`]), or with [`Stage1::Unknown`]
//!   whatever would be worst. The stage-2 accesses of its walks are not made. TTBRn_EL1.CnP, with which a guest vouches
//!   that CPUs may share entries of its stage 1, is taken to be clear; of entries that combine both stages, to be set.
//! - Data: only table memory has contents. Caches, and cache maintenance.
//! - Races of a plain write with hardware that marks an entry at the same moment; such updates happen between calls.
//! - Security states, EL2's own regime (its TLBIs are accepted and take nothing here), 128-bit descriptors.
//!
//! The model shares no decoder with the code that it judges: of `droste-arm64` it takes addresses, barriers, and the trait
//! [`Machine`](droste_arm64::Machine), whose operands and descriptors are bits to it.

#![forbid(unsafe_code)]

mod access;
mod bbm;
mod bridge;
mod candidates;
mod change;
mod config;
mod cpu;
mod descriptor;
mod follow;
mod ghost;
mod ghosts;
mod guest;
mod live;
mod maintenance;
mod memory;
mod model;
mod operand;
mod outcome;
mod regime;
mod replay;
mod snapshot;
mod stage1;
mod tag;
mod text;
mod tlbi;
mod trace;
mod tree;
mod violation;
mod walk;
mod watch;

pub use bridge::{Cpu, Share};
pub use config::{Bbm, Config, Features, MAX_CPUS, Recording, Space, Speculation, Stage1};
pub use cpu::Vcpu;
pub use descriptor::{AccessKind, Malformed};
pub use model::Model;
pub use outcome::{Access, Allowed, Effect, FaultKind, Outcome, Outcomes, Source};
pub use regime::RegisterFault;
pub use replay::{replay, shrink};
pub use snapshot::{Leads, Row};
pub use stage1::{Stage1Entry, Tagging};
pub use tlbi::{Completion, Form, OperandFault, Scope, Tlbi};
pub use trace::{ParseError, Trace};
pub use violation::{Entry, Missing, Misuse, Rule, Violation};
pub use watch::{Finding, Watch};
