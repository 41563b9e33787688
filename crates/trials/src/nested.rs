//! Trials of [`droste_nested`]: a hypervisor as a guest, its guests, and what happens to the memory of both.
//!
//! A [`Program`] is a world (a machine, what L1 is shown of it, L1's tables and guests) and a list of operations: L1
//! writes its tables and invalidates, or forgets to; its guests enter on several CPUs and make accesses; L0 unmaps,
//! write-protects and ages L1's memory, changes its slots, evicts contexts when places or pages run out. [`run`]
//! executes it: the crate's code, joined as a hypervisor joins it, on the model's CPUs.
//!
//! # The judge
//! Whether L2 may see what it sees is decided by a *second model*, which plays the hardware that L1 believes to run on.
//! L1's tables are its memory, L1's barriers and invalidations are executed on it with their raw operands. For an access
//! of L2 it says everything that this hardware could make of it: by the table as it is, and by whatever its TLBs may still
//! hold because L1 has not invalidated, or not enough, or with a hint that lets hardware pass it over. Then:
//!
//! - what any TLB of the real machine could give L2 must be one of these, through the canonical table as it is now;
//! - a fault that L1 is told of must be one of these;
//! - an access that comes to nothing else must succeed in the end.
//!
//! The second model keeps what L1's tables mean, and L1's memory shows that in the order that SCTLR_EL2.EE gives them.
//! Where L1 turns the order, each descriptor becomes another one, as if L1 had written it.
//!
//! So there is no rule here about TLBIs, sizes or hints to be wrong twice. The canonical table is read by a small
//! walker of this crate's own.
//!
//! The second model has one CPU for all of L1's, because a shadow serves them all. Where L1 leaves one of its CPUs
//! with stale entries and no broadcast, others may find them too; `droste_nested::tlbi` says so.
//!
//! # VMIDs
//! Hardware's VMIDs run out in many programs: another virtual machine takes all but a few, on the CPU that looks, while
//! L1's guests stay inside or come back. What L2 invalidates of its own goes by the VMID that its context has then.
//!
//! # Stage 1 of L2
//! Where a world has `stage1`, L2's is on, but in guests for which L1's stage 2 is off. Each guest has a map from pages
//! to IPAs, an ASID, and entries of it in TLBs; both models know them. What L2 changes there, L2 or L1 invalidates, or
//! nobody. Elsewhere its virtual addresses are those that L1's tables translate, and no vCPU may enter where
//! another's entries are left.
//!
//! # What is left out
//! L2's tables of stage 1 are not in its memory, so its walks make no accesses and take no faults. What a stale entry of
//! stage 1 leads to is judged, and not gone on with: no fault is answered that has its IPA from one.
//!
//! # What else is judged
//! The first model looks for its own rules: break-before-make, VMIDs, pages reused while reachable. A page that L2
//! stored to is in the next harvest of the canonical table. At the end all pages come back, and never are more out
//! than the quota.
//!
//! ```
//! use droste_trials::nested::{Lapse, Sabotage, generate, run, run_with};
//! use droste_trials::{Choices, shrink};
//!
//! let program = generate(&mut Choices::seeded(1), 200);
//! run(&program).unwrap();
//!
//! // A hypervisor that does not emulate L1's invalidations is found out.
//! let broken = Sabotage::Hypervisor(Lapse::Tlbi);
//! let failure = (1..).find_map(|seed| run_with(&generate(&mut Choices::seeded(seed), 200), broken).err()).unwrap();
//! let small = shrink(&failure, |program| run_with(program, broken));
//! assert!(small.program.steps.len() < 12, "{small}");
//! ```

mod generate;
mod layout;
mod operation;
mod program;
mod run;
mod tlbi;
mod world;

pub use generate::generate;
pub use layout::TableShape;
pub use operation::{Operation, Order, Step, Write};
pub use program::{Failure, Program};
pub use run::{Lapse, Sabotage, run, run_with};
pub use tlbi::L1Tlbi;
pub use world::{Space, Updates, World};
