//! Every leaf under every table, for every instruction: who may load and store, as the manual's tables say.

use super::*;

const ROOT: u64 = 0x8000_0000;
const TABLE: u64 = 0x8000_1000;

/// All that has a say.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of a register"
)]
#[derive(Clone, Copy, Debug)]
struct Case {
    at: (u8, u8, u8),
    e2h: bool,
    /// AP\[2:1\], APTable\[1:0\].
    ap: u64,
    ap_table: u64,
    uxn: bool,
    uxn_table: bool,
    /// PSTATE.PAN, SCTLR.EPAN, HPD, DBM.
    pan: bool,
    epan: bool,
    hpd: bool,
    dbm: bool,
}

impl Case {
    fn all() -> impl Iterator<Item = Self> {
        // Stage 1 alone, for EL1, EL0 and EL2.
        let forms = FORMS.into_iter().filter(|at| at.0 == 0 || at.2 < 2);
        forms.flat_map(|at| {
            (0..1u64 << 11).map(move |n| Self {
                at,
                e2h: n & 1 != 0,
                ap: n >> 1 & 3,
                ap_table: n >> 3 & 3,
                uxn: n & 1 << 5 != 0,
                uxn_table: n & 1 << 6 != 0,
                pan: n & 1 << 7 != 0,
                epan: n & 1 << 8 != 0,
                hpd: n & 1 << 9 != 0,
                dbm: n & 1 << 10 != 0,
            })
        })
    }

    fn is_alone(&self) -> bool {
        self.at.0 == 4 && !self.e2h
    }

    fn is_store(&self) -> bool {
        self.at.2 & 1 != 0
    }

    /// What the instruction finds, where DBM counts.
    fn given(&self) -> bool {
        let alone = self.is_alone();
        let flag = |is_set: bool, shift: u32| u64::from(is_set) << shift;
        // 4 KiB, 30 bits from level 2 on, 32-bit outputs; HD and HA.
        let tcr = (64 - 30)
            | if alone {
                3 << 21 | flag(self.hpd, 24)
            } else {
                3 << 39 | flag(self.hpd, 41)
            };
        let q = Question {
            at: self.at,
            va: 0x1234,
            e2h: self.e2h,
            tge: false,
            dc: false,
            vm: false,
            ptw: false,
            pan: self.pan,
            sctlr: 1 | flag(self.epan, 57),
            tcr,
            ttbr0: ROOT,
            ttbr1: 0,
            mair: 0,
        };
        let table = TABLE | 3 | self.ap_table << 61 | flag(self.uxn_table, 60);
        let leaf = 0x9000_0403 | self.ap << 6 | flag(self.uxn, 54) | flag(self.dbm, 51);
        let outcome = given(&q, &by_hand::FULL, |at| match at {
            ROOT => Some(table),
            0x8000_1008 => Some(leaf),
            _ => None,
        });
        match outcome {
            Translated::Par(par) if par & 1 == 0 => true,
            Translated::Par(par) => {
                assert_eq!(par >> 1 & 0x3f, 0xf, "a permission fault at level 3");
                false
            }
            Translated::Exception(_) => panic!("{self:?}"),
        }
    }

    /// What the tables of D8.4 say.
    fn expected(&self) -> bool {
        let ap_table = if self.hpd { 0 } else { self.ap_table };
        let uxn = self.uxn || self.uxn_table && !self.hpd;
        let may_store = matches!(self.ap, 0 | 1) || self.dbm;
        let may_store = may_store && matches!(ap_table, 0 | 1);
        let permits = may_store || !self.is_store();
        if self.is_alone() {
            return permits;
        }
        let of_el0 = matches!(self.ap, 1 | 3) && matches!(ap_table, 0 | 2);
        match self.at {
            (0, 8, 2 | 3) => permits && of_el0,
            (0, 9, _) if self.pan => permits && !of_el0 && (uxn || !self.epan),
            _ => permits,
        }
    }
}

#[test]
fn a_leaf_permits_what_the_manual_s_tables_say() {
    for case in Case::all() {
        assert_eq!(case.given(), case.expected(), "{case:?}");
    }
}
