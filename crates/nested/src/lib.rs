//! Virtual EL2: what a guest that is itself a hypervisor needs.
//!
//! Three levels take part. *L0* is the real hypervisor. *L1* is its guest, a hypervisor that runs at virtual EL2. *L2*
//! is L1's guest. This crate decides and touches nothing: registers come in as values, L1's memory is behind
//! [`GuestMemory`], and tables are changed through `droste-stage2`.
//!
//! # Memory
//! L1 writes a stage-2 table for L2, the *guest's* table. It translates [`L2Ipa`] to [`L1Ipa`], and hardware never uses
//! it. L0 has the *canonical* table, which translates [`L1Ipa`] to physical addresses. Hardware runs L2 by a *shadow*,
//! the composition of the two.
//!
//! - [`walk`] reads the guest's table, which may hold anything at all.
//! - [`compose`](mod@compose) says what a shadow entry may be.
//! - [`fault`] says who has to handle a fault of L2.
//! - [`tlbi`] says what an invalidation by L1 asks for.
//! - [`pool`] keeps track of L2's contexts, and [`Current`] of the one that a vCPU holds. [`shadow`] fills a shadow and
//!   empties it, and [`reverse_map`] finds the shadows that map a given range of L1's memory.
//!
//! ```
//! # use std::{cell::RefCell, collections::HashMap};
//! use droste_arm64::esr::{Ec, Esr, FaultStatus};
//! use droste_arm64::sysreg::SysReg;
//! use droste_arm64::{hcr, Granule, IdRegisters, Ipa, IpaBits, Pa, PaRange, Vtcr, Vttbr};
//! use droste_mmu_model::{Config, Cpu, Model};
//! use droste_nested::pool::{Entry, Grant};
//! use droste_nested::reverse_map::{Owner, Record};
//! use droste_nested::*;
//! use droste_stage2::*;
//! # struct Pages(Vec<Pa>);
//! # impl PageSupply for Pages {
//! #     fn take(&mut self) -> Option<Pa> { self.0.pop() }
//! #     fn give(&mut self, page: Pa) { self.0.push(page) }
//! # }
//! # static VMIDS: VmidAllocator<4> = VmidAllocator::new();
//! // A CPU of the model, with 64 pages for tables. The first two tables have two of them each for their roots.
//! let model = RefCell::new(Model::new(Config::new(Pa(0x8000_0000), 64)));
//! let cpu = Cpu::new(&model, 0);
//! let mut pages = Pages((4..64).map(|n| Pa(0x8000_0000 + n * 0x1000)).collect());
//!
//! /// L1's memory, where its table for L2 is.
//! struct Memory(RefCell<HashMap<u64, u64>>);
//! impl GuestMemory for Memory {
//!     fn read(&self, at: L1Ipa) -> Result<u64, ExternalAbort> {
//!         self.0.borrow().get(&at.0).copied().ok_or(ExternalAbort)
//!     }
//!     fn compare_exchange(&self, at: L1Ipa, old: u64, new: u64) -> Result<Exchange, ExternalAbort> {
//!         if self.read(at)? != old {
//!             return Ok(Exchange::Differs);
//!         }
//!         self.0.borrow_mut().insert(at.0, new);
//!         Ok(Exchange::Done)
//!     }
//! }
//!
//! // A virtual machine with 16 MiB, mapped by its canonical table.
//! let ids = IdRegisters::new(PaRange::Bits48);
//! let ipa_bits = IpaBits::new(40).unwrap();
//! let geometry = Geometry::new(Granule::Kib4, ipa_bits, &ids)?;
//! let mut slots = Slots::new(geometry);
//! slots.add(Slot::new(Ipa(0x4000_0000), Pa(0x9000_0000), 0x100_0000, Attributes::RAM))?;
//! let mut canonical = Table::new(&cpu, Pa(0x8000_0000), geometry, &ids)?;
//! let of_l1 = Context::<4>::new(&mut canonical);
//! let contexts = Contexts { vmids: &VMIDS, all: &[&of_l1], smmus: &[] };
//! let all = Mapping::new(Ipa(0x4000_0000), Pa(0x9000_0000), 0x100_0000, Attributes::RAM);
//! canonical.exclusive(&cpu, &mut pages, &contexts).map(&all)?;
//!
//! // L1 made a table for L2 with a block of 1 GiB, and enters it.
//! let memory = Memory(RefCell::new([(0x4000_0000, 0x4000_07fd)].into()));
//! let advertised = Advertised { ids, isar1: 0, ipa_bits };
//! let registers = StageTwoRegisters {
//!     hcr: hcr::VM, sctlr: 0, vtcr: Vtcr(5 << 16 | 1 << 6 | 24), vttbr: Vttbr(7 << 48 | 0x4000_0000),
//! };
//! let StageTwo::On(walker) = StageTwo::new(&registers, &advertised) else { unreachable!() };
//! let mut contexts = Pool::new(vec![Entry::UNUSED; 8]);
//! let Some(Grant::New(place)) = contexts.acquire(Key::new(&registers, &advertised)) else { unreachable!() };
//! let mut shadow = Shadow::<4>::new(&cpu, Pa(0x8000_2000), geometry, &ids, walker.format())?;
//! let mut reverse_map = ReverseMap::new(vec![Record::UNUSED; 64], vec![Owner::UNUSED; 8]);
//! let changes = Changes::new();
//!
//! // L2 stores to 0x12_3456 and faults. L1's table has it, and so has the canonical one: the shadow is to blame.
//! let ticket = shadow.ticket(&changes);
//! let status = FaultStatus::Translation { level: 1 };
//! let esr = Esr::new(Ec::DATA_ABORT_LOWER).with_fault_status(status).with_write();
//! let abort = Abort {
//!     esr, far: 0x12_3456, ipa: L2Ipa(0x12_3456), privilege: Privilege::El1,
//! };
//! let l1 = L1 { walker: &walker, memory: &memory, slots: &slots, scheme: scheme(&ids) };
//! let look = |at: L1Ipa| CanonicalLeaf::new(canonical.walk(&cpu, at.ipa()), geometry);
//! let permitted = || shadow.permits(&cpu, abort.ipa);
//! let Some(Verdict::Fill { fault, composed }) = l1.judge(&abort, permitted, look) else { unreachable!() };
//! reverse_map.insert(place, &composed);
//! let mut host = Host { machine: &cpu, supply: &mut pages, vmids: &VMIDS };
//! assert_eq!(shadow.fill(&mut host, (ticket, &changes), &fault, &composed)?, Filled::Mapped);
//! let is_mapped = |shadow: &Shadow<4>, ipa| matches!(shadow.table().walk(&cpu, ipa), Walk::Leaf { .. });
//! assert!(is_mapped(&shadow, Ipa(0x1f_ffff))); // 2 MiB: the smaller of the two sizes
//!
//! // L1 invalidates one address of its 1 GiB, without a level: TLBI IPAS2E1IS.
//! let ipas2e1is = SysReg::new(1, 4, 8, 0, 1);
//! let tlbi = Instruction::decode(ipas2e1is, VirtualLevel::El2, &advertised).unwrap();
//! let Invalidation::Stage2 { vmid, range } =
//!     tlbi.invalidation(0x2_0000, VirtualLevel::El2, &registers, &advertised) else { unreachable!() };
//! assert_eq!((contexts.with_vmid(vmid).next(), range.from), (Some(place), L2Ipa(0x2000_0000)));
//! shadow.invalidate(&mut host, &range)?;
//! assert!(!is_mapped(&shadow, Ipa(0x12_3456)));
//! # Ok::<(), Error>(())
//! ```
//!
//! # Registers
//! Hardware runs virtual EL2 at EL1 with FEAT_NV2: some of EL2's registers are in memory, some are in EL1 registers,
//! and accesses to some trap.
//!
//! - [`registers`] says which of these a register is and what it keeps of a write, and reads and writes a register
//!   wherever it is.
//! - [`exception`] takes exceptions to virtual EL2, [`eret`] returns from it; [`exception::Running`] is what the
//!   hardware has to be set up for.
//! - [`forward`] says which traps of L1's EL1 and EL0 and of L2 go to virtual EL2, and what hardware must trap for
//!   that.
//! - [`id`] says what L1 reads in its identification registers, and [`at`] what its AT instructions give.
//!
//! Section numbers of `DDI 0487` in these modules are those of issue M.a.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod address;
mod advertised;
pub mod at;
pub mod compose;
mod current;
pub mod eret;
pub mod exception;
pub mod fault;
pub mod forward;
pub mod id;
mod memory;
pub mod pool;
pub mod registers;
pub mod reverse_map;
pub mod shadow;
pub mod tlbi;
pub mod walk;

pub use address::{L1Ipa, L2Ipa};
pub use advertised::Advertised;
#[doc(inline)]
pub use compose::{CanonicalLeaf, Composed, Mark, compose};
pub use current::Current;
#[doc(inline)]
pub use fault::{Abort, L1, Syndrome, Verdict};
pub use memory::{Exchange, ExternalAbort, GuestMemory};
#[doc(inline)]
pub use pool::{Grant, Held, Key, Place, Pool};
#[doc(inline)]
pub use reverse_map::{Concerned, ReverseMap};
#[doc(inline)]
pub use shadow::{Ahead, Changes, Filled, Front, Host, Shadow, Ticket};
#[doc(inline)]
pub use tlbi::{Instruction, Invalidation, Range, VirtualLevel, guest_vmid};
#[doc(inline)]
pub use walk::{
    Extent, FaultKind, GuestLeaf, StageTwo, StageTwoRegisters, Stop, WalkFault, Walker,
};
