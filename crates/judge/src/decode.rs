//! Which instructions matter to stage 2, by their encodings (DDI 0487, C4.1 and C5.5).

use droste_mmu_model::{Completion, Form, Tlbi};

/// An instruction, by what it does to translations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// DSB, with its CRm; with the nXS qualifier too.
    Dsb(u8),
    /// DMB, with its CRm.
    Dmb(u8),
    /// ISB.
    Isb,
    /// TLBI of any kind.
    Tlbi,
    /// MSR VTTBR_EL2.
    Vttbr,
    /// MSR VTCR_EL2.
    Vtcr,
    /// MSR HCR_EL2.
    Hcr,
    /// DC ZVA.
    DcZva,
    /// It may store: plainly, or as a release.
    Store(Order),
    /// Nothing of interest.
    Other,
}

/// What a store is ordered after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Nothing.
    Plain,
    /// What its CPU wrote before.
    Release,
}

/// The register that an instruction with one register operand names; 31 is XZR.
pub const fn register(word: u32) -> u32 {
    word & 31
}

/// What an instruction does.
pub const fn op(word: u32) -> Op {
    let crm = (word >> 8 & 15) as u8;
    match word {
        _ if word & 0xffff_f0ff == 0xd503_309f => Op::Dsb(crm),
        // DSB nXS: CRm\[3:2\] is the domain, and it waits for all accesses.
        _ if word & 0xffff_f3ff == 0xd503_323f => Op::Dsb(crm | 3),
        _ if word & 0xffff_f0ff == 0xd503_30bf => Op::Dmb(crm),
        _ if word & 0xffff_f0ff == 0xd503_30df => Op::Isb,
        _ if word & 0xffff_ffe0 == 0xd50b_7420 => Op::DcZva,
        _ if word & 0xfff8_0000 == 0xd508_0000 && matches!(word >> 12 & 15, 8 | 9) => Op::Tlbi,
        _ if word & 0xffff_ffe0 == 0xd51c_2100 => Op::Vttbr,
        _ if word & 0xffff_ffe0 == 0xd51c_2140 => Op::Vtcr,
        _ if word & 0xffff_ffe0 == 0xd51c_1100 => Op::Hcr,
        // Loads and stores. By the stack pointer no table is written.
        _ if word & 0x0a00_0000 == 0x0800_0000 && word >> 5 & 31 != 31 => Op::Store(order(word)),
        _ => Op::Other,
    }
}

/// Whether a load or store is a store-release: of the exclusive and ordered ones, of the atomic ones, or STLUR.
const fn order(word: u32) -> Order {
    let is_ordered = word & 0x3f00_8000 == 0x0800_8000;
    let is_atomic = word & 0x3f60_0c00 == 0x3860_0000;
    let is_unscaled = word & 0x3fe0_0c00 == 0x1900_0000;
    if is_ordered || is_atomic || is_unscaled {
        Order::Release
    } else {
        Order::Plain
    }
}

/// The invalidation that an instruction is; `None` for what concerns the regimes of EL2 or EL3 only.
pub fn tlbi(word: u32, operand: u64) -> Option<Tlbi> {
    let field = |shift: u32, mask: u32| (word >> shift & mask) as u8;
    let (form, scope) = Form::decode((field(16, 7), field(8, 15), field(5, 7)))?;
    if matches!(form, Form::Alle2 | Form::Vae2 | Form::Vale2) {
        return None;
    }
    Some(Tlbi {
        form,
        scope,
        completion: if field(12, 15) == 9 {
            Completion::ExceptXs
        } else {
            Completion::Full
        },
        operand: if form.takes_operand() { operand } else { 0 },
    })
}

/// Whether it is one that EL1 has as well, and that acts on EL2's own regime where HCR_EL2.{E2H,TGE} is {1,1}.
pub const fn is_stage1(word: u32) -> bool {
    matches!(word >> 16 & 7, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_told_apart() {
        let cases = [
            (0xd503_3f9f, Op::Dsb(15)),
            (0xd503_3b9f, Op::Dsb(11)),
            (0xd503_3a9f, Op::Dsb(10)),
            (0xd503_379f, Op::Dsb(7)),
            (0xd503_3a3f, Op::Dsb(11)),
            (0xd503_3abf, Op::Dmb(10)),
            (0xd503_3fdf, Op::Isb),
            (0xd50b_7423, Op::DcZva),
            (0xd51c_2101, Op::Vttbr),
            (0xd51c_2142, Op::Vtcr),
            (0xd51c_1103, Op::Hcr),
            (0xd50c_83df, Op::Tlbi),
            // str x1, [x0]; stp; stlr; stlxr; cas; casl; swpl; swp; stlur.
            (0xf900_0001, Op::Store(Order::Plain)),
            (0xa900_0801, Op::Store(Order::Plain)),
            (0xc89f_fc01, Op::Store(Order::Release)),
            (0xc802_fc01, Op::Store(Order::Release)),
            (0xc8a1_7c02, Op::Store(Order::Plain)),
            (0xc8a1_fc02, Op::Store(Order::Release)),
            (0xf861_8002, Op::Store(Order::Release)),
            (0xf821_8002, Op::Store(Order::Plain)),
            (0xd900_0001, Op::Store(Order::Release)),
            // By the stack pointer, and what is no store: add, b, mrs.
            (0xf900_03e1, Op::Other),
            (0x8b04_0042, Op::Other),
            (0x1400_0001, Op::Other),
            (0xd53c_2101, Op::Other),
        ];
        for (word, is) in cases {
            assert_eq!(op(word), is, "{word:#x}");
        }
    }

    #[test]
    fn invalidations_are_read_with_scope_and_operand() {
        let cases = [
            (0xd508_871f, "vmalle1 local 0x0"),
            (0xd508_831f, "vmalle1 is 0x0"),
            (0xd508_811f, "vmalle1 os 0x0"),
            (0xd508_8321, "vae1 is 0x9"),
            (0xd508_8621, "rvae1 local 0x9"),
            (0xd508_8221, "rvae1 is 0x9"),
            (0xd50c_8021, "ipas2e1 is 0x9"),
            (0xd50c_80a1, "ipas2le1 is 0x9"),
            (0xd50c_8421, "ipas2e1 local 0x9"),
            (0xd50c_8041, "ripas2e1 is 0x9"),
            (0xd50c_83df, "vmalls12e1 is 0x0"),
            (0xd50c_87df, "vmalls12e1 local 0x0"),
            (0xd50c_839f, "alle1 is 0x0"),
            (0xd50c_9021, "ipas2e1nxs is 0x9"),
        ];
        for (word, is) in cases {
            assert_eq!(op(word), Op::Tlbi, "{word:#x}");
            assert_eq!(tlbi(word, 9).unwrap().to_string(), is, "{word:#x}");
        }
        // ALLE2IS and VAE2IS.
        for word in [0xd50c_831f, 0xd50c_8321] {
            assert_eq!(tlbi(word, 9), None, "{word:#x}");
        }
    }
}
