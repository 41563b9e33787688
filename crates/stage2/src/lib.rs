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
//!   ([`Users`]), makes valid what waited for the TLBs, and gives the pages of removed tables back.
//! - [`Slots`] and [`Fault`]: what the guest's memory is, and how a fault becomes a mapping.
//! - [`PageSupply`]: where pages for tables come from; a [`PageCache`] has a fault's at hand.
//!
//! # The seam
//! [`Machine`]'s verbs are instructions: a load, a store, a `DSB`, a `TLBI`. At EL2 each is one `asm!` with the
//! operand that it is given, inlined to the bare instruction. On a host a recorder or a model stands in:
//!
//! ```
//! # extern crate std;
//! use std::{cell::{Cell, RefCell}, collections::HashMap};
//! use droste_arm64::desc::RawDescriptor;
//! use droste_arm64::esr::Esr;
//! use droste_arm64::tlbi::Tlbi;
//! use droste_arm64::{Granule, IdRegisters, Ipa, IpaBits, Level, Pa, Vtcr, Vttbr};
//! use droste_stage2::*;
//!
//! #[derive(Default)]
//! struct Host { memory: RefCell<HashMap<u64, u64>>, vttbr: Cell<u64>, vtcr: Cell<u64> }
//!
//! impl Machine for Host {
//!     fn read(&self, at: Pa) -> RawDescriptor {
//!         RawDescriptor(self.memory.borrow().get(&at.0).copied().unwrap_or(0))
//!     }
//!     fn write(&self, at: Pa, value: RawDescriptor) {
//!         self.memory.borrow_mut().insert(at.0, value.0);
//!     }
//!     fn compare_exchange(
//!         &self, at: Pa, expected: RawDescriptor, new: RawDescriptor,
//!     ) -> Result<(), RawDescriptor> {
//!         let found = self.read(at);
//!         if found == expected { self.write(at, new); Ok(()) } else { Err(found) }
//!     }
//!     fn zero(&self, page: Pa, bytes: u64) {
//!         self.memory.borrow_mut().retain(|&at, _| !(page.0..page.0 + bytes).contains(&at));
//!     }
//!     fn dsb(&self, _: Dsb) {}
//!     fn isb(&self) {}
//!     fn tlbi(&self, _: Tlbi) {}
//!     fn ic(&self, _: Ic) {}
//!     fn clean_invalidate_data(&self, _: Pa, _: u64) {}
//!     fn vttbr(&self) -> Vttbr { Vttbr(self.vttbr.get()) }
//!     fn set_vttbr(&self, value: Vttbr) { self.vttbr.set(value.0) }
//!     fn vtcr(&self) -> Vtcr { Vtcr(self.vtcr.get()) }
//!     fn set_vtcr(&self, value: Vtcr) { self.vtcr.set(value.0) }
//! }
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
//! let machine = Host::default();
//! let ids = IdRegisters { mmfr0: 5, ..IdRegisters::default() }; // read from the CPU at EL2
//! let mut pool = Pool((1..8).map(|n| Pa(0x8000_0000 + n * 0x1000)).collect());
//!
//! // A virtual machine: its shape, its memory, its table, one context.
//! let geometry = Geometry::new(Granule::Kib4, IpaBits::new(39).unwrap(), &ids)?;
//! let mut slots = Slots::new(geometry);
//! slots.add(Slot::new(Ipa(0x4000_0000), Pa(0x10_0000_0000), 0x1000_0000, Attributes::RAM))?;
//! let mut table = Table::new(&machine, Pa(0x8000_0000), geometry, &ids)?;
//! let context = Context::<4>::new(&mut table);
//! let users = Users { vmids: &VMIDS, contexts: &[&context] };
//!
//! // A virtual CPU enters the guest on physical CPU 0: VTCR_EL2 first, then the context.
//! machine.set_vtcr(geometry.vtcr(&ids));
//! let vttbr = context.enter(&machine, &VMIDS, 0, VcpuId(0));
//! assert_eq!(vttbr.0, 0x0001_0000_8000_0000);
//!
//! // It stores to 0x4012_3000 and faults: the largest block around the address is mapped.
//! let store_translation_fault = Esr(0x24 << 26 | 1 << 6 | 0x06);
//! let mut pages = PageCache::new();
//! let ipa = Ipa(0x4012_3000);
//! pages.fill(&mut pool, ipa)?;
//! let fault = Fault::new(store_translation_fault, ipa, Privilege::El1).unwrap();
//! let outcome = handle(&machine, &table, &mut pages, &users, &slots, &fault)?;
//! assert_eq!(outcome, Outcome::Mapped);
//! assert!(matches!(
//!     table.walk(&machine, Ipa(0x4000_0000)),
//!     Walk::Leaf { level: Level::L2, leaf, .. } if leaf.output == Pa(0x10_0000_0000)
//! ));
//!
//! // An address without a slot is a device's, or nobody's.
//! let fault = Fault::new(store_translation_fault, Ipa(0x900_0000), Privilege::El1).unwrap();
//! let outcome = handle(&machine, &table, &mut pages, &users, &slots, &fault)?;
//! assert_eq!(outcome, Outcome::Mmio(None)); // the syndrome describes no single register
//!
//! // Which pages does the guest write from here on? The block loses its permission to write, the slot logs stores, and
//! // the next one makes pages of the block, one of which can be written.
//! slots.set_log(ipa, DirtyLog::On)?;
//! table.write_protect(&machine, Ipa(0x4000_0000), 0x1000_0000).discharge(&machine, &mut pool, &users)?;
//! let store_permission_fault = Esr(store_translation_fault.0 | 0x08);
//! pages.fill(&mut pool, ipa)?;
//! let fault = Fault::new(store_permission_fault, ipa, Privilege::El1).unwrap();
//! assert_eq!(handle(&machine, &table, &mut pages, &users, &slots, &fault)?, Outcome::Relaxed);
//! let mut written = Vec::new();
//! table
//!     .dirty(&machine, Ipa(0x4000_0000), 0x1000_0000, |ipa, bytes| written.push((ipa, bytes)))
//!     .discharge(&machine, &mut pool, &users)?;
//! assert_eq!(written, [(ipa, 0x1000)]);
//!
//! // One page goes, and every context must forget it.
//! table.unmap(&machine, &mut pool, ipa, 0x1000).discharge(&machine, &mut pool, &users)?;
//! assert!(matches!(table.walk(&machine, ipa), Walk::Hole { .. }));
//! assert!(matches!(table.walk(&machine, Ipa(0x4012_4000)), Walk::Leaf { .. }));
//!
//! // The end.
//! table.free(&machine).discharge(&machine, &mut pool, &users)?;
//! context.retire(&mut table);
//! pages.drain(&mut pool);
//! assert_eq!(pool.0.len(), 7);
//! # Ok::<(), Error>(())
//! ```
//!
//! # Locks
//! A table is behind one reader-writer lock of its virtual machine's: shared for what takes `&Table`, faults above all,
//! which change single entries by compare-exchange; exclusive for what takes `&mut Table`. An [`Owed`] keeps the table
//! borrowed and the lock thereby held until it is discharged. [`table`] tells more. Slots can be read without that lock,
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
//! [`Force`]: droste_arm64::desc::AttributeScheme::Force

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod attributes;
mod cache;
pub mod context;
mod entry;
mod error;
pub mod fault;
mod geometry;
pub mod invalidate;
mod machine;
mod map;
mod owed;
pub mod pages;
pub mod protect;
mod sizing;
pub mod slots;
mod split;
pub mod table;
mod unmap;
pub mod vmid;

pub use attributes::{Access, Attributes, Memory, Privilege, scheme};
pub use context::{Context, VcpuId};
pub use error::Error;
pub use fault::{Cause, Decision, Fault, Origin, Outcome, Proposal, Reason, handle};
pub use geometry::Geometry;
pub use invalidate::Users;
pub use machine::{Dsb, Ic, Machine, Regime, under};
pub use map::{Mapping, Runs};
pub use owed::Owed;
pub use pages::{PageCache, PageSupply, Quota};
pub use sizing::FAULT_AROUND;
pub use slots::{DirtyLog, MAX_SLOTS, Sequence, Slot, Slots};
pub use table::{Counters, Leaves, Table, Walk};
pub use vmid::VmidAllocator;
