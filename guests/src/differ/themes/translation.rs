//! Translations: of EL1 under both stages, of EL2's own, by accesses and by AT.

use super::{FLAGS, SCTLR_M, SCTLR_ODD, UAO_PAN, access, under};
use crate::differ::generate::{Maker, TGE, UNDER};
use crate::differ::instructions::{
    AT, AT_S1E2R, DSB, MAINTENANCE_OF_EL2, RAISING, TLBI_ALLE1IS, TLBI_IPAS2E1IS, TLBI_VMALLE1IS,
    TLBI_VMALLS12E1IS,
};
use crate::differ::program::{DATA, DATA_BYTES, Level, Operand};
use crate::differ::registers::TCR_EL1;

/// Both stages, of any shape: accesses of EL1 and EL0, and what AT says of the same.
pub(super) fn translation(maker: &mut Maker) {
    maker.looks = maker.once_in(2);
    let stage2 = maker.stage2();
    let stage1 = maker.stage1(stage2.data, stage2.table);
    maker.host_phase();
    let m = if maker.once_in(6) { 0 } else { SCTLR_M };
    let sctlr = (m | 1 << 2) ^ maker.few_of(SCTLR_ODD);
    maker.turn_on(&stage1, &stage2, sctlr);
    let level = under(maker);
    maker.phase(level, UNDER | stage2.hcr);
    // PTW, DC, CD, ID.
    let more = maker.few_of(1 << 2 | 1 << 12 | 3 << 32);
    maker.last().more_hcr = more;
    let pstate = maker.few_of(UAO_PAN);
    maker.last().pstate = pstate;
    for _ in 0..3 + maker.random.below(6) {
        let data = if m == 0 { stage2.data } else { stage1.data };
        let address = maker.random.one_of(&data);
        if maker.looks && maker.once_in(4) {
            let at = maker.random.one_of(&AT);
            maker.translate(at, address);
        } else {
            access(maker, address);
        }
    }
    if !maker.looks {
        return;
    }
    // EL1's tables from EL2, with EL1's HCR_EL2.
    maker.phase(Level::El2, UNDER | stage2.hcr);
    maker.last().more_hcr = more;
    for _ in 0..=maker.random.below(3) {
        let data = if m == 0 { stage2.data } else { stage1.data };
        let address = maker.random.one_of(&data);
        let of_el1 = maker.random.one_of(&AT);
        let at = match maker.at_both(&stage2) {
            Some(at) if maker.once_in(2) => at,
            _ => of_el1,
        };
        maker.translate(at, address);
    }
}

/// Accesses before and after EL2 changes stage 2 by break-before-make, with each TLBI that suffices.
pub(super) fn invalidation(maker: &mut Maker) {
    let stage2 = maker.stage2();
    let stage1 = maker.stage1(stage2.data, None);
    maker.host_phase();
    let m = u64::from(!maker.once_in(3)) * SCTLR_M;
    maker.turn_on(&stage1, &stage2, m | 1 << 2);
    let level = under(maker);
    let data = if m == 0 { stage2.data } else { stage1.data };
    let accesses = |maker: &mut Maker| {
        maker.phase(level, UNDER | stage2.hcr);
        for _ in 0..2 + maker.random.below(4) {
            let address = maker.random.one_of(&data);
            access(maker, address);
        }
    };
    accesses(maker);
    // TLBI of EL1's means EL1's while TGE is 0.
    maker.phase(Level::El2, UNDER | stage2.hcr);
    let changed = stage2.leaves.iter().zip(stage2.data);
    for ((at, leaf), ipa) in changed.filter_map(|(leaf, ipa)| leaf.map(|leaf| (leaf, ipa))) {
        maker.store(at, 0);
        match maker.random.below(4) {
            0 => maker.fixed(TLBI_ALLE1IS),
            1 => maker.fixed(TLBI_VMALLS12E1IS),
            _ => {
                maker.fixed_with(TLBI_IPAS2E1IS, ipa >> 12);
                maker.fixed(DSB);
                maker.fixed(TLBI_VMALLE1IS);
            }
        }
        maker.fixed(DSB);
        // Nothing, to read only, to write only, old, another page.
        let other = if leaf & 3 == 3 && stage2.page < DATA_BYTES {
            stage2.page
        } else {
            0
        };
        let change = maker
            .random
            .one_of(&[leaf, 1 << 7, 1 << 6, 1 << 10, other, other]);
        maker.store(at, leaf ^ change);
    }
    accesses(maker);
}

/// AT with registers that hardly make sense, from each of EL2's two views.
pub(super) fn at(maker: &mut Maker) {
    maker.looks = true;
    let stage2 = maker.stage2();
    // Without stage 2 its IPAs are addresses where one machine has a device and another nothing.
    let has_stage2 = !maker.once_in(4);
    let stage1 = maker.stage1(stage2.data, stage2.table.filter(|_| has_stage2));
    maker.host_phase();
    let sctlr = (SCTLR_M | 1 << 2) ^ maker.few_of(SCTLR_ODD);
    maker.turn_on(&stage1, &stage2, sctlr);
    if maker.once_in(2) {
        let odd = match maker.random.below(4) {
            0 => maker.random.next() & TCR_EL1.bits,
            1 => 0x5_8099_3519 ^ 1 << maker.random.below(43),
            2 => maker.random.below(64) << 16 | 0x5_8080_3519,
            _ => maker.random.below(8) << 32 | 0x80b9_3519,
        };
        // With 64 KiB no level 1, whose blocks there are with FEAT_LPA alone, which is hidden.
        let lower = if odd >> 14 & 3 == 1 { 24 } else { 0 };
        let upper = if odd >> 30 & 3 == 3 { 24 << 16 } else { 0 };
        let odd = odd | lower | upper;
        // Outputs of 40 bits at most, which every machine has.
        let outputs = maker.random.below(3) << 32;
        maker.set(TCR_EL1, odd & !(7 << 32) | outputs);
    }
    for _ in 0..2 {
        let host = maker.shape.is_vhe() && maker.once_in(3);
        maker.phase(Level::El2, if host { TGE } else { 0 } | UNDER | stage2.hcr);
        // VM, PTW, DC, CD, ID.
        let more = maker.few_of(1 << 2 | 1 << 12 | 3 << 32);
        maker.last().more_hcr = more;
        let pstate = maker.few_of(UAO_PAN);
        maker.last().pstate = pstate;
        if !has_stage2 {
            // And without PTW: QEMU 10.0.2 looks at it all the same.
            maker.last().hcr &= !1;
            maker.last().more_hcr &= !(1 << 2);
        }
        for _ in 0..2 + maker.random.below(4) {
            let [one, other] = stage1.data;
            let odd = maker.random.next();
            let mut address = maker.random.one_of(&[one, one, other, other, DATA, odd]);
            if maker.once_in(6) {
                address ^= 1 << maker.random.below(64);
            }
            if more & 1 << 12 != 0 {
                // DC turns stage 1 off.
                address = physical(address);
            }
            let of_el1 = maker.random.one_of(&AT);
            let at = match maker.at_both(&stage2) {
                Some(at) if maker.once_in(3) => at,
                _ => of_el1,
            };
            maker.translate(at, address);
        }
    }
}

/// The address, or another that no machine has, if some machines have it: how many bits physical addresses have is the
/// machine's, from 40 on.
fn physical(address: u64) -> u64 {
    if address >> 40 == 0 {
        address
    } else {
        address | 1 << 54
    }
}

/// EL2's own translations, from EL2 and from its EL0.
pub(super) fn own(maker: &mut Maker) {
    const HOLE: u64 = 500 << 30;
    for _ in 0..2 {
        let levels: &[Level] = if maker.shape.is_vhe() {
            &[Level::El2, Level::El2t, Level::HostEl0]
        } else {
            &[Level::El2, Level::El2t]
        };
        let level = maker.random.one_of(levels);
        let hcr = if maker.shape.is_vhe() { TGE } else { 7 << 3 };
        maker.phase(level, hcr);
        let pstate = maker.few_of(UAO_PAN | FLAGS);
        maker.last().pstate = pstate;
        for _ in 0..3 + maker.random.below(6) {
            let alias = crate::differ::program::EL0_ALIAS;
            let page = DATA + 0x1000 * maker.random.below(16);
            let address = match maker.random.below(8) {
                0 => HOLE,
                1 => maker.random.next(),
                2 | 3 => page,
                _ if maker.shape.is_vhe() => page + alias,
                _ => page,
            };
            match maker.random.below(6) {
                0 => {
                    let at = maker.random.one_of(&[AT[0], AT[1], AT[2], AT[3], AT_S1E2R]);
                    // Stage 1 of EL1 is off.
                    maker.translate(at, physical(address));
                }
                1 => {
                    let raising = maker.random.one_of(&RAISING);
                    maker.push(raising, Operand::Kept);
                }
                2 if level != Level::HostEl0 => {
                    let instruction = maker.random.one_of(&MAINTENANCE_OF_EL2);
                    maker.push(instruction, Operand::Value(0));
                }
                _ => access(maker, address),
            }
        }
    }
}
