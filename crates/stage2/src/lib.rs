//! Stage 2 of the 64-bit Arm MMU: tables, contexts, VMIDs, and the TLB maintenance that they owe.
//!
//! With stage 2 a hypervisor gives a virtual machine memory: every address that the guest takes for physical (an
//! *IPA*) goes through a table of the hypervisor's. This crate builds those tables and keeps the machine's TLBs true
//! to them. It decides everything and touches nothing: the machine is behind one trait, [`Machine`].
//!
//! # The parts
//! - [`Geometry`]: how a table is shaped, and the VTCR_EL2 that says so.
//! - [`Table`]: maps, unmaps, splits and collapses, widens and narrows permissions, ages, walks. It owns its root and
//!   the pages below.
//! - [`Context`]: what TLBs can tell apart, a table's root under a VMID. Several can share one table.
//! - [`VmidAllocator`]: lends VMIDs to contexts, thousands if need be.
//! - [`Owed`]: what a change of the table leaves to do. Only its discharge, against every context of the table
//!   ([`Contexts`]), makes valid what waited for the TLBs, and gives the pages of removed tables back.
//! - [`Slots`] and [`Fault`]: what the guest's memory is, and how a fault becomes a mapping.
//! - [`PageSupply`]: where pages for tables come from; a [`PageCache`] has a fault's at hand.
//!
//! # What a context is
//! A TLB entry of a guest is tagged with a VMID and knows nothing of tables. So there are three things, not one: the
//! *table*, which is walked and changed; the *context*, a table's root under a VMID, which is what TLBs can tell apart;
//! and the *virtual machine*, which has as many of both as it needs. A plain one has one of each. A guest that is a
//! hypervisor has more: its own translation regime and its guest's must not mix in the TLBs even where they use the same
//! table, so that table has two contexts, and each table that it writes for a guest has a shadow with a context of its
//! own. State stands where it belongs: the VMID and who ran last on which CPU with the context, the root and its pages
//! with the table, VTCR_EL2 with the virtual machine.
//!
//! # What is owed
//! When an entry is taken away or narrowed, CPUs may go on using it until every TLB has forgotten it. Until then its
//! memory is not free, a page of tables below it is not free, and nothing else may stand in its place. The types say so:
//!
//! 1. An operation that takes `&mut Table` returns an [`Owed`], which keeps the table borrowed.
//! 2. [`Owed::discharge`] invalidates, in every context, all that the operation changed with one sequence of barriers;
//!    then makes valid what waited for that; then gives pages back to their supply. It returns how the operation went.
//! 3. There is no other way to those pages, and the table cannot be used in between.
//!
//! [`Table::exclusive`] has the short form of one change: `t.unmap(ipa, bytes)?` with its discharge.
//!
//! Operations that take `&Table` owe nothing that outlives the call, and run beside each other on many CPUs.
//!
//! # Behind the seam
//! To use the crate, implement [`Machine`] once; `droste-mmu-model` has it done for its CPUs. At EL2 each verb is one instruction, inlined:
//!
//! | verb | at EL2 |
//! |---|---|
//! | [`read`](Machine::read), [`write`](Machine::write) | `LDR`, `STR` of 64 bits at the table's address in EL2's own map, volatile |
//! | [`compare_exchange`](Machine::compare_exchange) | `CAS`, or `LDXR` and `STXR`; relaxed |
//! | [`zero`](Machine::zero) | `DC ZVA` or stores over the page |
//! | [`dsb`](Machine::dsb), [`isb`](Machine::isb), [`tlbi`](Machine::tlbi), [`ic`](Machine::ic) | the instruction, with the operand that comes with it |
//! | [`clean_invalidate_data`](Machine::clean_invalidate_data) | `DC CIVAC` for each line |
//! | [`vttbr`](Machine::vttbr), [`vtcr`](Machine::vtcr) and their setters | `MRS`, `MSR` |
//!
//! No verb may hide a barrier, and none may be left out: what the crate asks for is what the architecture asks for.
//! Then, for each virtual machine: a [`Geometry`], [`Slots`], a [`Table`] in a reader-writer lock, a [`Context`]; for each
//! vCPU a [`PageCache`]; for the machine one [`VmidAllocator`].
//!
//! # An example, judged
//! This one runs on `droste-mmu-model`, an MMU that holds whatever TLBs may hold, as adversely as the architecture
//! permits, and objects when it could do harm.
//!
//! ```
//! use std::cell::RefCell;
//! use droste_arm64::desc::RawDescriptor;
//! use droste_arm64::esr::{Ec, Esr, FaultStatus};
//! use droste_arm64::{Granule, IdRegisters, Ipa, IpaBits, Pa, PaRange, Va};
//! use droste_mmu_model::{self as model, AccessKind, Allowed, Cpu, Effect, FaultKind, Model, Vcpu};
//! use droste_stage2::*;
//!
//! /// Pages for tables, from a pool of the virtual machine's own.
//! struct Pool(Vec<Pa>);
//! impl PageSupply for Pool {
//!     fn take(&mut self) -> Option<Pa> { self.0.pop() }
//!     fn give(&mut self, page: Pa) { self.0.push(page) }
//! }
//!
//! static VMIDS: VmidAllocator<4> = VmidAllocator::new();
//!
//! let model = RefCell::new(Model::new(model::Config::new(Pa(0x8000_0000), 16)));
//! let cpu = Cpu::new(&model, 0);
//! let ids = IdRegisters::new(PaRange::Bits48); // read from the CPU at EL2
//! let mut pool = Pool((1..16).map(|n| Pa(0x8000_0000 + n * 0x1000)).collect());
//!
//! // A virtual machine: its shape, its memory, its table, one context.
//! let geometry = Geometry::new(Granule::Kib4, IpaBits::new(39).unwrap(), &ids)?;
//! let ram = Slot::new(Ipa(0x4000_0000), Pa(0x10_0000_0000), 0x1000_0000, Attributes::RAM);
//! let mut slots = Slots::new(geometry);
//! slots.add(ram)?;
//! let mut table = Table::new(&cpu, Pa(0x8000_0000), geometry, &ids)?;
//! let context = Context::<4>::new(&mut table);
//! let contexts = Contexts { vmids: &VMIDS, all: &[&context] };
//!
//! // A vCPU enters the guest: VTCR_EL2 first, then the context. It stores to 0x4012_3000, and faults.
//! cpu.set_vtcr(geometry.vtcr(&ids));
//! context.enter(&cpu, &VMIDS, 0, VcpuId(0));
//! let ipa = Ipa(0x4012_3000);
//! let store = model::Access::new(Va(ipa.0), AccessKind::Write); // its stage 1 is off
//! let run = || {
//!     cpu.enter(Vcpu::new(0));
//!     let outcomes = cpu.access(store);
//!     cpu.exit();
//!     outcomes.iter().next().unwrap().effect
//! };
//! assert!(matches!(run(), Effect::Fault { kind: FaultKind::Translation, .. }));
//!
//! // ESR_EL2 says what it was, HPFAR_EL2 where. The largest block around the address is mapped.
//! let mut pages = PageCache::new();
//! let abort = Esr::new(Ec::DATA_ABORT_LOWER).with_write();
//! let esr = abort.with_fault_status(FaultStatus::Translation { level: 1 });
//! let fault = Fault::new(esr, ipa, Privilege::El1).unwrap();
//! pages.fill(&mut pool, ipa)?;
//! let answer = handle(&cpu, &table, &mut pages, &contexts, &slots, &fault)?;
//! assert_eq!(answer, Answer::Mapped);
//! assert_eq!(run(), Effect::Access { pa: Pa(0x10_0012_3000), level: 2 });
//!
//! // Which pages does the guest write from here on? The slot logs stores, the block can no longer be written, and the
//! // next store makes pages of it, one of which can.
//! slots.set_log(ipa, DirtyLog::On)?;
//! table.exclusive(&cpu, &mut pool, &contexts).write_protect(ram.ipa, ram.bytes)?;
//! assert!(matches!(run(), Effect::Fault { kind: FaultKind::Permission, .. }));
//! let esr = abort.with_fault_status(FaultStatus::Permission { level: 2 });
//! let fault = Fault::new(esr, ipa, Privilege::El1).unwrap();
//! pages.fill(&mut pool, ipa)?;
//! let answer = handle(&cpu, &table, &mut pages, &contexts, &slots, &fault)?;
//! assert_eq!(answer, Answer::Relaxed);
//! assert_eq!(run(), Effect::Access { pa: Pa(0x10_0012_3000), level: 3 });
//! let mut written = Vec::new();
//! let mut t = table.exclusive(&cpu, &mut pool, &contexts);
//! t.dirty(ram.ipa, ram.bytes, |ipa, bytes| written.push((ipa, bytes)))?;
//! assert_eq!(written, [(ipa, 0x1000)]);
//!
//! // One page goes. No CPU can reach it any more, whatever it had in its TLB.
//! slots.remove(ipa);
//! t.unmap(ipa, 0x1000)?;
//! cpu.enter(Vcpu::new(0));
//! assert_eq!(cpu.expect(store, Allowed::Fault), None);
//! cpu.exit();
//!
//! // The end: all pages come back.
//! table.exclusive(&cpu, &mut pool, &contexts).free()?;
//! context.retire(&mut table);
//! pages.drain(&mut pool);
//! assert_eq!(pool.0.len(), 15);
//!
//! // Had someone taken an entry away by hand and forgotten the TLBs, the model would have said so.
//! # cpu.write(Pa(0x8000_0000 + 8), RawDescriptor(0x0000_0010_4000_07fd));
//! # cpu.dsb(Dsb::Ish);
//! # cpu.enter(Vcpu::new(0));
//! # cpu.exit();
//! cpu.write(Pa(0x8000_0000 + 8), RawDescriptor::EMPTY);
//! cpu.dsb(Dsb::Ish);
//! cpu.enter(Vcpu::new(0));
//! let violation = cpu.expect(store, Allowed::Fault).unwrap();
//! assert_eq!(violation.rule, model::Rule::StaleTranslation(model::Missing::Tlbi));
//! # Ok::<(), Error>(())
//! ```
//!
//! # Locks
//! A table is behind one reader-writer lock of its virtual machine's: shared for what takes `&Table`, faults above all,
//! which change single entries by compare-exchange; exclusive for what takes `&mut Table`. An [`Owed`] keeps the table
//! borrowed, and so the lock held, until it is discharged. [`table`] tells more. Slots can be read without that lock,
//! see [`slots`]; a fault's pages are taken before it, see [`pages`]. [`Context::enter`] takes no lock but the
//! allocator's, on a slow path.
//!
//! # Caches
//! What mapping memory does to caches, and when it need not, is told in the source of the private module `cache`:
//! without FEAT_S2FWB memory is cleaned and invalidated to the Point of Coherency before the guest sees it, because a
//! guest with its caches off looks there; executable memory has the instruction caches invalidated unless
//! CTR_EL0.DIC makes that needless.
//!
//! # Registers
//! The crate assumes that guests run with HCR_EL2.FWB set where [`scheme`] says [`Force`], and clear otherwise; with
//! HCR_EL2.FB and BSU as [`context`] asks; and on every CPU with the VTCR_EL2 that [`Geometry::vtcr`] gives.
//!
//! # Panics
//! No value of a guest's makes the crate panic: not an address, a syndrome or an attribute, nor the order and timing of
//! its faults. What asserts remain state the caller's duties: every context named in [`Contexts`], no [`Owed`] dropped, a
//! supply that gives what [`PageSupply`] says. That is checked by tests with overflow checks on, over hostile addresses,
//! syndromes and programs.
//!
//! [`Force`]: droste_arm64::desc::AttributeScheme::Force

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod attributes;
mod cache;
pub mod context;
mod counters;
mod entry;
mod error;
mod exclusive;
pub mod fault;
mod geometry;
mod hole;
pub mod invalidate;
mod map;
mod owed;
pub mod pages;
pub mod protect;
#[cfg(doc)]
#[doc = include_str!("../PROTOCOLS.md")]
pub mod protocols {}
mod sizing;
pub mod slots;
mod split;
mod sync;
pub mod table;
mod trees;
mod unmap;
pub mod vmid;

#[doc(inline)]
pub use droste_arm64::barrier::{Dsb, Ic};
#[doc(inline)]
pub use droste_arm64::machine::{Machine, Regime, under};

pub use attributes::{Access, Attributes, Memory, Privilege, scheme};
#[doc(inline)]
pub use context::{Context, VcpuId};
pub use counters::Counters;
pub use error::Error;
pub use exclusive::Exclusive;
#[doc(inline)]
pub use fault::{Answer, Cause, Decision, Fault, Origin, Proposal, Reason, handle};
pub use geometry::Geometry;
pub use hole::Hole;
#[doc(inline)]
pub use invalidate::Contexts;
pub use map::{Mapping, Runs};
pub use owed::Owed;
#[doc(inline)]
pub use pages::{PageCache, PageSupply, Quota};
pub use sizing::FAULT_AROUND;
#[doc(inline)]
pub use slots::{DirtyLog, MAX_SLOTS, Sequence, Slot, Slots};
#[doc(inline)]
pub use table::{Leaves, Table, Walk};
pub use trees::Trees;
#[doc(inline)]
pub use vmid::VmidAllocator;
