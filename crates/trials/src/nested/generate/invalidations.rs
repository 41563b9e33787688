//! How L1 invalidates: every form, scope and hint.

use droste_arm64::{Ipa, Va};
use droste_mmu_model::{Form, Scope, Tagging};

use super::{At, Author};
use crate::nested::operation::Operation;
use crate::nested::tlbi::{L1Tlbi, NAMES, OF_EL1};
use crate::nested::world::World;
use crate::stage2::world::Feature;

impl Author<'_, '_, '_> {
    fn scope(&mut self) -> Scope {
        if self.world.shows(Feature::TlbiRange) {
            self.choices
                .pick(&[Scope::Inner, Scope::Inner, Scope::Outer, Scope::Local])
        } else {
            self.choices
                .pick(&[Scope::Inner, Scope::Inner, Scope::Local])
        }
    }

    fn space_of(&mut self, table: u8) -> u8 {
        let tables = self.world.tables.len() as u8;
        let spaces = self.world.spaces.iter().zip(0..);
        let its: Vec<u8> = spaces
            .filter(|(space, _)| space.table.is_some_and(|of| of % tables == table))
            .map(|(_, number)| number)
            .collect();
        if its.is_empty() {
            0
        } else {
            self.choices.pick(&its)
        }
    }

    fn tlbi(&mut self, cpu: u8, space: u8, form: Form, operand: u64) {
        let scope = self.scope();
        let is_nxs = self.choices.once_in(8);
        let tlbi = L1Tlbi {
            form,
            scope,
            is_nxs,
            operand,
        };
        self.push(cpu, Operation::Tlbi(space, tlbi));
    }

    /// An invalidation that takes what was at a place, in one of the ways that there are; for one of its spaces, and
    /// now and then for all.
    pub(super) fn invalidate(&mut self, cpu: u8, at: At) {
        let space = self.space_of(at.table);
        match self.choices.below(10) {
            0 => self.tlbi(cpu, space, Form::Vmalls12e1, 0),
            1 => return self.tlbi(cpu, space, Form::Alle1, 0),
            2..=3 if self.world.shows(Feature::TlbiRange) => {
                let form = self.choices.pick(&[Form::Ripas2e1, Form::Ripas2le1]);
                let operand = self.range_operand(at);
                self.tlbi(cpu, space, form, operand);
            }
            _ => {
                let form = self
                    .choices
                    .pick(&[Form::Ipas2e1, Form::Ipas2e1, Form::Ipas2le1]);
                let count = if self.choices.once_in(2) {
                    1
                } else {
                    u64::from(at.count.min(4))
                };
                for n in 0..count {
                    let operand = self.address_operand(at, n);
                    self.tlbi(cpu, space, form, operand);
                }
            }
        }
        if !self.choices.once_in(4) {
            self.tlbi(cpu, space, Form::Vmalle1, 0);
        }
    }

    /// An invalidation of all tables, or of one guest's.
    pub(super) fn invalidate_all(&mut self, cpu: u8) {
        let space = self.choices.below(self.world.spaces.len() as u64) as u8;
        let form = self.choices.pick(&[Form::Alle1, Form::Vmalls12e1]);
        self.tlbi(cpu, space, form, 0);
    }

    /// L2 invalidates what stands for one of its addresses, or all.
    fn invalidate_as_l2(&mut self, cpu: u8) {
        let form = self.choices.pick(&OF_EL1);
        let at = self.spot(cpu);
        self.invalidate_stage1_as_l2(cpu, form, at);
        self.access();
    }

    fn invalidate_stage1_as_l2(&mut self, cpu: u8, form: Form, at: Va) {
        let space = self.spaces[usize::from(cpu) % 4];
        let tlbi = L1Tlbi {
            form,
            scope: self.choices.pick(&[Scope::Inner, Scope::Local]),
            is_nxs: false,
            operand: stage1_operand(form, space, at),
        };
        self.push(cpu, Operation::GuestTlbi(tlbi));
    }

    /// L2 changes its stage 1, and mostly entries of what was there are taken: by itself, or by L1. Or L1 takes all.
    pub(super) fn change_stage1(&mut self) {
        let cpu = self.cpu();
        let space = self.spaces[usize::from(cpu) % 4];
        let (at, to) = (self.spot(cpu), self.spot(cpu));
        let tagging = self
            .choices
            .pick(&[Tagging::PerAsid, Tagging::PerAsid, Tagging::Global]);
        if self.choices.once_in(2) {
            let kind = self.kind();
            self.push(cpu, Operation::Access(at, kind));
        }
        self.push(cpu, Operation::Stage1(at, Ipa(to.0), tagging));
        let form = self.choices.pick(&OF_EL1);
        match self.choices.below(8) {
            0..=2 => self.invalidate_stage1_as_l2(cpu, form, at),
            3..=5 => {
                let ranges = [Form::Rvae1, Form::Rvaae1, Form::Rvale1, Form::Rvaale1];
                let form = match form {
                    Form::Vae1 if self.world.shows(Feature::TlbiRange) => {
                        self.choices.pick(&ranges)
                    }
                    other => other,
                };
                self.tlbi(cpu, space, form, stage1_operand(form, space, at));
            }
            6 => self.invalidate_all(cpu),
            _ => {}
        }
        let by = if self.choices.once_in(2) {
            self.cpu()
        } else {
            cpu
        };
        let kind = self.kind();
        self.push(by, Operation::Access(at, kind));
    }

    /// TG of the table's granule.
    fn tg(&self, at: At) -> u64 {
        match self.world.tables[usize::from(at.table)].page_shift {
            12 => 1,
            14 => 2,
            _ => 3,
        }
    }

    /// IPA\[51:12\] and TTL: the level, another one, or none.
    fn address_operand(&mut self, at: At, number: u64) -> u64 {
        let inside = if self.choices.once_in(2) {
            0
        } else {
            self.choices.below(at.bytes >> 12)
        };
        let level = self.choices.pick(&[at.level, at.level, at.level, 2, 3]);
        // Of another granule it is no hint.
        let tg = if self.choices.once_in(6) {
            1 + self.choices.below(3)
        } else {
            self.tg(at)
        };
        let ttl = if self.world.shows(Feature::Ttl) && self.choices.once_in(2) {
            tg << 2 | u64::from(level)
        } else {
            0
        };
        ttl << 44 | (((at.ipa + number * at.bytes) >> 12) + inside)
    }

    /// TG, SCALE, NUM, TTL and BaseADDR of the place and more: what follows it, or what is before it.
    fn range_operand(&mut self, at: At) -> u64 {
        let shape = self.world.tables[usize::from(at.table)];
        let pages = (at.bytes * u64::from(at.count)) >> shape.page_shift;
        let mut scale = 0;
        while pages > 32 << (5 * scale + 1) && scale < 3 {
            scale += 1;
        }
        let num = (pages.div_ceil(1 << (5 * scale + 1)) - 1 + self.choices.below(2)).min(31);
        let level = if self.choices.once_in(3) {
            u64::from(at.level)
        } else {
            0
        };
        let more = ((num + 1) << (5 * scale + 1)).saturating_sub(pages);
        let before = if self.choices.once_in(2) { more } else { 0 };
        let first = (at.ipa >> shape.page_shift).saturating_sub(before);
        self.tg(at) << 46 | scale << 44 | num << 39 | level << 37 | first
    }

    pub(super) fn invalidate_anything(&mut self) {
        let cpu = self.cpu();
        if self.choices.once_in(3) {
            return self.invalidate_as_l2(cpu);
        }
        let at = self.place(cpu);
        let (form, _) = self.choices.pick(&NAMES);
        let space = self.choices.below(self.world.spaces.len() as u64) as u8;
        let operand = match form {
            Form::Ripas2e1 | Form::Ripas2le1 => self.range_operand(at),
            Form::Ipas2e1 | Form::Ipas2le1 => self.address_operand(at, 0),
            _ => stage1_operand(form, space, Va(at.ipa)),
        };
        self.tlbi(cpu, space, form, operand);
    }
}

/// The operand that names a guest's page, or its ASID, or nothing.
const fn stage1_operand(form: Form, space: u8, at: Va) -> u64 {
    let asid = (World::asid(space as usize) as u64) << 48;
    let page = at.0 >> 12;
    // The page and the one after it: 4 KiB, and nothing of SCALE, NUM and TTL.
    let range = 1 << 46 | page;
    match form {
        Form::Vae1 | Form::Vale1 => asid | page,
        Form::Vaae1 | Form::Vaale1 => page,
        Form::Rvae1 | Form::Rvale1 => asid | range,
        Form::Rvaae1 | Form::Rvaale1 => range,
        Form::Aside1 => asid,
        _ => 0,
    }
}
