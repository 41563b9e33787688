//! What L0 does to L1's memory, and to the numbers that contexts run under.

use droste_arm64::desc::{S2ap, Xn};
use droste_arm64::{Ipa, Level, Pa};
use droste_stage2::{Attributes, DirtyLog, Slot};

use super::{Author, ODD, RAM, ROM, SLOTS};
use crate::nested::operation::Operation;
use crate::stage2::operation::{Area, Operation as OfMemory};
use crate::stage2::world::Feature;

impl Author<'_, '_, '_> {
    /// All VMIDs but a few go to others, so that they run out here or soon, and who enters gets a number that somebody
    /// had.
    pub(super) fn use_up(&mut self) {
        let count = self.choices.pick(&[252, 250, 253, 254, 255, 20]);
        self.push(0, Operation::Memory(OfMemory::Pressure(count)));
    }

    /// L0 does something to L1's memory.
    pub(super) fn disturb(&mut self) {
        let cpu = self.cpu();
        let slot = self.choices.pick(&[RAM, RAM, RAM, ODD, ROM]);
        let few = self
            .choices
            .pick(&[0, 1, 2, 3, 5, 0x10, 0x1ff, 0x200, 0x3f0, 0x1fff]);
        let bytes = self
            .choices
            .pick(&[0x1000, 0x1000, 0x3000, 0x20_0000, 0x40_0000]);
        let limit = if slot == RAM { 0x4000_0000 } else { 0x40_0000 };
        let ipa =
            Ipa((slot + few * 0x1000 % limit) & !(if bytes > 0x3000 { bytes - 1 } else { 0xfff }));
        let of = Area { ipa, bytes };
        let operation = match self.choices.below(16) {
            0..=4 => OfMemory::Unmap(of),
            5..=8 => OfMemory::Dirty(of),
            9..=10 => OfMemory::Age(of),
            11 => OfMemory::Split(of, Level::L3),
            12 => OfMemory::Collapse(
                Area {
                    ipa: ipa.align_down(0x20_0000),
                    bytes: 0x20_0000,
                },
                Level::L2,
            ),
            13 => return self.change_slot(cpu, ipa),
            14 => OfMemory::SetLog(ipa, self.choices.pick(&[DirtyLog::On, DirtyLog::Off])),
            _ => OfMemory::SetAttributes(ipa, self.attributes()),
        };
        self.push(cpu, Operation::Memory(operation));
    }

    fn attributes(&mut self) -> Attributes {
        let executes: &[Xn] = if self.world.machine.has(Feature::Xnx) {
            &[Xn::Everywhere, Xn::Nowhere, Xn::OnlyEl0, Xn::OnlyEl1]
        } else {
            &[Xn::Everywhere, Xn::Nowhere]
        };
        Attributes {
            access: self
                .choices
                .pick(&[S2ap::ReadWrite, S2ap::ReadOnly, S2ap::ReadWrite]),
            execute: self.choices.pick(executes),
            ..Attributes::RAM
        }
    }

    /// A slot goes, and comes back with other memory behind it.
    fn change_slot(&mut self, cpu: u8, ipa: Ipa) {
        let slot = SLOTS.into_iter().rev().find(|slot| slot.ipa <= ipa);
        let slot = slot.expect("all addresses are above the first slot's");
        self.push(cpu, Operation::Memory(OfMemory::RemoveSlot(ipa)));
        self.access();
        let pa = Pa(slot.pa.0 ^ self.choices.below(2) << 36);
        self.push(
            cpu,
            Operation::Memory(OfMemory::AddSlot(Slot { pa, ..slot })),
        );
    }
}
