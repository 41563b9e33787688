//! Stage-2 faults: from a syndrome to a mapping.
//!
//! In two steps, because the first needs no lock on the table: [`Slots::resolve`] decides, [`Table::install`]
//! carries out what was decided if it still holds. [`handle`] does both.

use droste_arm64::desc::{Descriptor, LeafAttributes};
use droste_arm64::esr::{Ec, Esr, FaultStatus};
use droste_arm64::{Ipa, Level};

use crate::attributes::leaf_permits;
use crate::cache::Maintenance;
use crate::slots::{Block, Sequence, Slots};
use crate::table::Position;
use crate::{Access, Attributes, Dsb, Error, Machine, Mapping, PageSupply, Table};

/// The most that one fault cleans from data caches, in bytes; where memory has to be cleaned, no larger block is
/// mapped by a fault. Cleaning takes time in proportion, with the guest waiting.
const MAX_CLEAN: u64 = 2 << 20;

/// Who made the access that faulted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The guest's program.
    Program,
    /// A stage-1 table walk on its behalf.
    TableWalk,
}

/// A stage-2 fault that mapping memory may answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The faulting guest address. Its offset in the page is not used.
    pub ipa: Ipa,
    /// What is needed there.
    pub access: Access,
    /// Who needs it.
    pub origin: Origin,
}

impl Fault {
    /// The fault that a syndrome describes. `None` for anything but a translation or permission fault of a lower
    /// exception level: those no mapping answers.
    ///
    /// `ipa` comes from HPFAR_EL2 or, where [`Esr::is_hpfar_valid`] denies that, from translating FAR_EL2.
    ///
    /// Two kinds of access are not what the syndrome's WnR says (DDI 0487, D24.2, ESR_EL2 for data aborts):
    /// a stage-1 walk reads, and writes only to update a descriptor, which shows as a permission fault; and cache
    /// maintenance counts as a write, but needs no more than a mapping unless permission is what it lacks.
    pub fn new(esr: Esr, ipa: Ipa) -> Option<Self> {
        let is_permission = match esr.fault_status() {
            FaultStatus::Translation { .. } => false,
            FaultStatus::Permission { .. } => true,
            _ => return None,
        };
        let origin = if esr.is_s1_walk() {
            Origin::TableWalk
        } else {
            Origin::Program
        };
        let access = match (esr.ec(), origin) {
            (Ec::DATA_ABORT_LOWER | Ec::INSTRUCTION_ABORT_LOWER, Origin::TableWalk) => {
                if is_permission {
                    Access::Write
                } else {
                    Access::Read
                }
            }
            (Ec::INSTRUCTION_ABORT_LOWER, Origin::Program) => Access::Execute,
            (Ec::DATA_ABORT_LOWER, Origin::Program) => {
                let is_mere_maintenance = esr.is_cache_maintenance() && !is_permission;
                if esr.is_write() && !is_mere_maintenance {
                    Access::Write
                } else {
                    Access::Read
                }
            }
            _ => return None,
        };
        Some(Self {
            ipa,
            access,
            origin,
        })
    }
}

/// What became of a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is mapped now: enter the guest again.
    Mapped,
    /// Nothing to do, or no longer the same fault: enter the guest again.
    Retry,
    /// The guest wrote where it may only read.
    ReadOnlyWrite,
    /// The guest fetched instructions where it may not.
    NotExecutable,
    /// No slot: a device to emulate, or nothing. Or a table walk in a slot that is a device: no tables are there.
    NotMemory,
}

/// What to do about a fault, as the slots were at some time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Install this.
    Map(Proposal),
    /// The fault is not for the table: never [`Outcome::Mapped`] or [`Outcome::Retry`].
    Refuse(Outcome),
}

/// A mapping that answers a fault, if the slots have not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proposal {
    fault: Fault,
    block: Block,
    sequence: Sequence,
}

impl Slots {
    /// Decides what a fault needs. Reads nothing but the slots.
    ///
    /// A stage-1 walk gets no device: with HCR_EL2.PTW set it would take a permission fault at the finished mapping,
    /// for ever; without, it would read device registers.
    pub fn resolve(&self, fault: &Fault) -> Decision {
        let sequence = self.sequence();
        let Some(block) = self.fault(fault.ipa) else {
            return Decision::Refuse(Outcome::NotMemory);
        };
        if fault.origin == Origin::TableWalk && block.attributes == Attributes::Device {
            return Decision::Refuse(Outcome::NotMemory);
        }
        if block.attributes.permits(fault.access) {
            return Decision::Map(Proposal {
                fault: *fault,
                block,
                sequence,
            });
        }
        Decision::Refuse(match fault.access {
            Access::Execute => Outcome::NotExecutable,
            Access::Read | Access::Write => Outcome::ReadOnlyWrite,
        })
    }
}

impl Table {
    /// Installs what [`Slots::resolve`] proposed. `sequence` is that of the slots now, read under the lock that
    /// protects this table.
    ///
    /// The block shrinks to what fits: around the address only pages of it may be unmapped, or cleaning the caches
    /// for all of it would take too long. Where another CPU was faster, [`Outcome::Retry`].
    ///
    /// # Errors
    /// [`Error::NoTablePage`]. [`Error::AlreadyMapped`] where the table holds a mapping, made otherwise, that denies
    /// what the slot permits: the fault would repeat for ever.
    pub fn install<M: Machine>(
        &mut self,
        machine: &M,
        supply: &mut impl PageSupply,
        proposal: &Proposal,
        sequence: Sequence,
    ) -> Result<Outcome, Error> {
        self.expect_settled();
        if proposal.sequence != sequence {
            return Ok(Outcome::Retry);
        }
        let ipa = proposal.fault.ipa;
        let at = self.descend(machine, ipa);
        if let Descriptor::Block(leaf) | Descriptor::Page(leaf) = at.found {
            return found_leaf(leaf.attributes, proposal);
        }
        let maintenance = Maintenance::of(&self.ids, proposal.block.attributes);
        let level = self.fitting_level(&at, &proposal.block, maintenance);
        let mapping = self.within(&proposal.block, level, ipa);
        maintenance.run(machine, mapping.pa, mapping.bytes);
        let result = self.install_leaf(machine, supply, at, level, &mapping);
        machine.dsb(Dsb::Ishst);
        match result {
            Ok(()) => {
                self.counters.faults += 1;
                Ok(Outcome::Mapped)
            }
            Err(Error::Raced { .. }) => Ok(Outcome::Retry),
            Err(error) => Err(error),
        }
    }

    /// The first level that neither replaces a table nor cleans too much.
    fn fitting_level(&self, at: &Position, block: &Block, maintenance: Maintenance) -> Level {
        let mut level = at.level.max(block.level);
        while maintenance.is_by_size() && self.geometry.entry_bytes(level) > MAX_CLEAN {
            match level.next() {
                Some(below) => level = below,
                None => break,
            }
        }
        level
    }

    /// The part of a block that a leaf of `level` around `ipa` maps. As aligned as the leaf, because the block is
    /// more so.
    fn within(&self, block: &Block, level: Level, ipa: Ipa) -> Mapping {
        let bytes = self.geometry.entry_bytes(level);
        let start = ipa.align_down(bytes);
        Mapping {
            ipa: start,
            pa: block.pa + (start - block.ipa),
            bytes,
            attributes: block.attributes,
        }
    }
}

/// The address is mapped: by another CPU's fault if the leaf permits the access.
fn found_leaf(leaf: LeafAttributes, proposal: &Proposal) -> Result<Outcome, Error> {
    if leaf_permits(leaf, proposal.fault.access) {
        Ok(Outcome::Retry)
    } else {
        let ipa = proposal.fault.ipa;
        Err(Error::AlreadyMapped { ipa })
    }
}

/// Answers a fault, for a caller that holds slots and table at once.
///
/// # Errors
/// As [`Table::install`].
pub fn handle<M: Machine>(
    machine: &M,
    table: &mut Table,
    supply: &mut impl PageSupply,
    slots: &Slots,
    fault: &Fault,
) -> Result<Outcome, Error> {
    match slots.resolve(fault) {
        Decision::Map(proposal) => table.install(machine, supply, &proposal, slots.sequence()),
        Decision::Refuse(outcome) => Ok(outcome),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSLATION: u64 = 0x07;
    const PERMISSION: u64 = 0x0f;
    const WNR: u64 = 1 << 6;
    const S1PTW: u64 = 1 << 7;
    const CM: u64 = 1 << 8;
    const DATA: u64 = 0x24 << 26;
    const INSTRUCTION: u64 = 0x20 << 26;

    fn access(esr: u64) -> Option<Access> {
        Fault::new(Esr(esr), Ipa(0x4000_0000)).map(|fault| fault.access)
    }

    #[test]
    fn syndromes_say_what_the_guest_needs() {
        use Access::{Execute, Read, Write};
        for (esr, expected) in [
            (DATA | TRANSLATION, Read),
            (DATA | TRANSLATION | WNR, Write),
            (DATA | PERMISSION, Read),
            (DATA | PERMISSION | WNR, Write),
            (INSTRUCTION | TRANSLATION, Execute),
            (INSTRUCTION | PERMISSION, Execute),
            (DATA | TRANSLATION | S1PTW, Read),
            (DATA | TRANSLATION | S1PTW | WNR, Read),
            (DATA | PERMISSION | S1PTW, Write),
            (INSTRUCTION | TRANSLATION | S1PTW, Read),
            (INSTRUCTION | PERMISSION | S1PTW, Write),
            (DATA | TRANSLATION | CM | WNR, Read),
            (DATA | PERMISSION | CM | WNR, Write),
        ] {
            assert_eq!(access(esr), Some(expected), "{esr:#x}");
        }
    }

    #[test]
    fn a_table_walk_is_told_from_the_program() {
        let origin = |esr| Fault::new(Esr(esr), Ipa(0)).map(|fault| fault.origin);
        assert_eq!(origin(DATA | TRANSLATION), Some(Origin::Program));
        assert_eq!(origin(INSTRUCTION | TRANSLATION), Some(Origin::Program));
        assert_eq!(origin(DATA | TRANSLATION | S1PTW), Some(Origin::TableWalk));
        assert_eq!(
            origin(INSTRUCTION | PERMISSION | S1PTW),
            Some(Origin::TableWalk)
        );
    }

    #[test]
    fn faults_that_no_mapping_answers_are_not_ours() {
        // Address size, access flag, external, external on walk, alignment, TLB conflict.
        for fsc in [0x00, 0x09, 0x10, 0x15, 0x21, 0x30] {
            assert_eq!(access(DATA | fsc), None, "{fsc:#x}");
        }
        // HVC, and aborts without a change of exception level.
        for ec in [0x16, 0x21, 0x25] {
            assert_eq!(access(ec << 26 | TRANSLATION), None);
        }
    }
}
