//! Tables built and answers worked out by hand.

use std::collections::HashMap;

use super::*;

/// 40-bit addresses, and everything that a walk knows.
pub(super) const FULL: Shown = Shown {
    physical_bits: 40,
    has_4k: true,
    has_16k: true,
    has_64k: true,
    hafdbs: 2,
    hpds: true,
    pan: 3,
    small_tables: true,
    lva: true,
    e0pd: true,
    xs: true,
};

const ROOT: u64 = 0x4000_0000;
/// Valid, AF, Inner Shareable, of the memory type 1.
const BLOCK: u64 = 0x705;
const PAGE: u64 = BLOCK | 2;
/// Type 1 is Normal Write-Back, type 0 Device-nGnRE.
const MAIR: u64 = 0xff04;

/// Sizes of 39 bits.
const T0SZ_39: u64 = 64 - 39;
const T1SZ_39: u64 = T0SZ_39 << 16;

const S1E1R: (u8, u8, u8) = (0, 8, 0);
const S1E1W: (u8, u8, u8) = (0, 8, 1);
const S1E0R: (u8, u8, u8) = (0, 8, 2);
const S1E2R: (u8, u8, u8) = (4, 8, 0);
const S12E1R: (u8, u8, u8) = (4, 8, 4);
const S12E1W: (u8, u8, u8) = (4, 8, 5);

/// S1E1R of L1's EL1 with E2H = 1 and stage 2 off: 4 KiB and 39 bits in both halves, 40-bit outputs.
fn plain(va: u64) -> Question {
    Question {
        at: S1E1R,
        va,
        e2h: true,
        tge: false,
        dc: false,
        vm: false,
        ptw: false,
        pan: false,
        sctlr: 1 | 1 << 2,
        tcr: 2 << 32 | 2 << 30 | T1SZ_39 | T0SZ_39,
        ttbr0: ROOT,
        ttbr1: ROOT,
        mair: MAIR,
    }
}

/// Tables as they are built, in 64 MiB from 0x4000_0000 on.
#[derive(Default)]
struct Built(HashMap<u64, u64>);

impl Built {
    /// A chain of tables to a leaf of `va`, by the lookups' shifts.
    fn chain(va: u64, width: u32, shifts: &[u32], leaf: u64) -> Self {
        let mut words = HashMap::new();
        let mut high = width;
        let mut table = ROOT;
        for (number, &shift) in shifts.iter().enumerate() {
            let at = table + (va >> shift) % (1 << (high - shift)) * 8;
            table += 0x10_0000;
            let is_last = number + 1 == shifts.len();
            words.insert(at, if is_last { leaf } else { table | 3 });
            high = shift;
        }
        Self(words)
    }

    fn set(mut self, at: u64, value: u64) -> Self {
        self.0.insert(at, value);
        self
    }

    fn par(&self, q: &Question) -> u64 {
        self.par_where(q, &FULL)
    }

    fn par_where(&self, q: &Question, shown: &Shown) -> u64 {
        match self.ask(q, shown) {
            Translated::Par(par) => par,
            Translated::Exception(exception) => panic!("{exception:x?}"),
        }
    }

    fn ask(&self, q: &Question, shown: &Shown) -> Translated {
        self.execute(q, &registers(q), shown)
    }

    fn execute(&self, q: &Question, registers: &Registers, shown: &Shown) -> Translated {
        let memory = |at| {
            let is_memory = (ROOT..ROOT + 0x400_0000).contains(&at)
                || (STAGE_2_ROOT..STAGE_2_ROOT + 4096).contains(&at);
            is_memory.then(|| self.0.get(&at).copied().unwrap_or(0))
        };
        execute(
            instruction(q),
            q.va,
            registers,
            &advertised(shown),
            &Image(memory),
        )
    }
}

/// PAR_EL1 of Normal memory that is Write-Back and Inner Shareable.
const fn page(at: u64) -> u64 {
    0xff << 56 | at | 1 << 11 | 3 << 7
}

/// PAR_EL1 of a fault by its FST; stage 2's have bits 9 and, on a walk, 8.
const fn fault(fst: u64) -> u64 {
    1 << 11 | fst << 1 | 1
}
const STAGE_2: u64 = 1 << 9;
const ON_WALK: u64 = 3 << 8;

const LEVEL_0: u64 = 0x04;

#[test]
fn every_granule_width_and_leaf_maps_in_both_halves() {
    // TG0, TG1, width, shifts of the lookups.
    let cases: [(u64, u64, u32, &[u32]); 15] = [
        (0, 2, 48, &[39, 30, 21, 12]),
        (0, 2, 40, &[39, 30, 21]),
        (0, 2, 39, &[30, 21, 12]),
        (0, 2, 39, &[30]),
        (0, 2, 25, &[21, 12]),
        (0, 2, 16, &[12]),
        (2, 1, 48, &[47, 36, 25, 14]),
        (2, 1, 47, &[36, 25, 14]),
        (2, 1, 36, &[25]),
        (2, 1, 16, &[14]),
        (1, 3, 52, &[42, 29, 16]),
        (1, 3, 48, &[42, 29]),
        (1, 3, 42, &[29, 16]),
        (1, 3, 29, &[16]),
        (1, 3, 17, &[16]),
    ];
    for (tg0, tg1, width, shifts) in cases {
        let last = shifts[shifts.len() - 1];
        let leaf = if last <= 16 { PAGE } else { BLOCK };
        let size = u64::from(64 - width);
        let tcr = 2 << 32 | tg1 << 30 | size << 16 | tg0 << 14 | size;
        let output = 0x41u64 << 32 & !((1 << last) - 1);
        for upper in [0, !0 << width] {
            // Bits in each lookup, an odd page, and an offset.
            let va = upper | (0x9_2492_4924_9249 << last | 0xabc) & ((1 << width) - 1);
            let q = Question { tcr, ..plain(va) };
            let expected = page(output | va & ((1 << last) - 1) & !0xfff);
            let built = Built::chain(va, width, shifts, leaf | output);
            assert_eq!(built.par(&q), expected, "{width} {shifts:?} {va:x}");
            // The Contiguous bit and nT change nothing.
            let hints = 1 << 52 | if last > 16 { 1 << 16 } else { 0 };
            let built = Built::chain(va, width, shifts, leaf | output | hints);
            assert_eq!(built.par(&q), expected, "{width} {shifts:?} {va:x}");
        }
    }
}

#[test]
fn widths_that_are_not_advertised_cannot_start() {
    let par = |tg0: u64, width: u32, shifts: &[u32], shown: &Shown| {
        let tcr = 2 << 32 | tg0 << 14 | u64::from(64 - width);
        let q = Question {
            tcr,
            ..plain(0x1000)
        };
        Built::chain(0x1000, width, shifts, PAGE).par_where(&q, shown)
    };
    let no_lva = Shown { lva: false, ..FULL };
    let no_small = Shown {
        small_tables: false,
        ..FULL
    };
    assert_eq!(par(1, 52, &[42, 29, 16], &no_lva), fault(LEVEL_0));
    assert_eq!(par(1, 53, &[42, 29, 16], &FULL), fault(LEVEL_0));
    assert_eq!(par(0, 49, &[39, 30, 21, 12], &FULL), fault(LEVEL_0));
    assert_eq!(par(0, 24, &[21, 12], &no_small), fault(LEVEL_0));
    assert_eq!(par(0, 15, &[12], &FULL), fault(LEVEL_0));
    assert_eq!(par(1, 16, &[16], &FULL), fault(LEVEL_0));
}

#[test]
fn the_top_byte_counts_unless_tcr_says_otherwise() {
    let va = 0x12_3000;
    let built = Built::chain(va, 39, &[30, 21, 12], PAGE);
    let ask = |e2h, at, va, tcr: u64| {
        let base = if e2h {
            2 << 30 | T1SZ_39 | T0SZ_39
        } else {
            T0SZ_39
        };
        let q = Question {
            at,
            e2h,
            tcr: tcr | base,
            ..plain(va)
        };
        built.par(&q)
    };
    let tagged = 0xab << 56;
    let upper = 0xffff_ff80_0000_0000;
    for (e2h, tbi0, ps) in [(true, 1 << 37, 2 << 32), (false, 1 << 20, 2 << 16)] {
        assert_eq!(ask(e2h, S1E2R, va | tagged, ps), fault(LEVEL_0));
        assert_eq!(ask(e2h, S1E2R, va | tagged, ps | tbi0), page(0));
        assert_eq!(ask(e2h, S1E2R, va | 1 << 39, ps | tbi0), fault(LEVEL_0));
    }
    // TBI1 is the upper half's, which EL2 with E2H = 0 has not got.
    let tbi1 = 1 << 38 | 2 << 32;
    assert_eq!(ask(true, S1E2R, upper | va, tbi1), page(0));
    assert_eq!(ask(true, S1E2R, upper & !(1 << 60) | va, tbi1), page(0));
    let without = upper & !(1 << 60) | va;
    assert_eq!(ask(true, S1E2R, without, 2 << 32), fault(LEVEL_0));
    for tbi in [0, 1 << 20] {
        let ask = ask(false, S1E2R, upper | va, 2 << 16 | tbi);
        assert_eq!(ask, fault(LEVEL_0));
    }
}

#[test]
fn a_half_can_be_closed() {
    for (upper, epd, e0pd) in [(0, 7, 55), (!0 << 39, 23, 56)] {
        let va = upper | 0x12_3000;
        let built = Built::chain(va, 39, &[30, 21, 12], PAGE | 1 << 6);
        let ask = |at, bit: u32, shown| {
            let tcr = plain(0).tcr | 1 << bit;
            let q = Question {
                at,
                tcr,
                ..plain(va)
            };
            built.par_where(&q, shown)
        };
        assert_eq!(ask(S1E1R, epd, &FULL), fault(LEVEL_0));
        assert_eq!(ask(S1E0R, e0pd, &FULL), fault(LEVEL_0));
        assert_eq!(ask(S1E1R, e0pd, &FULL), page(0));
        let hidden = Shown {
            e0pd: false,
            ..FULL
        };
        assert_eq!(ask(S1E0R, e0pd, &hidden), page(0));
    }
}

#[test]
fn without_stage_1_the_address_is_the_output() {
    let nothing = Built::default();
    let off = |q: Question| nothing.par(&Question { sctlr: 0, ..q });
    let device = |at: u64| at | 1 << 11 | 2 << 7;
    let va = 0xff_1234_5678;
    for q in [
        plain(va),
        Question {
            at: S1E2R,
            ..plain(va)
        },
    ] {
        assert_eq!(off(q), device(0xff_1234_5000));
    }
    // Wider than the machine: an address size fault at level 0.
    assert_eq!(off(plain(1 << 40)), fault(0));
    let tagged = plain(va | 0xab << 56);
    assert_eq!(off(tagged), fault(0));
    let tcr = tagged.tcr | 1 << 37;
    assert_eq!(off(Question { tcr, ..tagged }), device(0xff_1234_5000));
    // HCR_EL2.DC: Write-Back, Non-shareable. TGE switches EL1's stage 1 off as well.
    let dc = Question {
        dc: true,
        ..plain(va)
    };
    assert_eq!(nothing.par(&dc), 0xff << 56 | 0xff_1234_5000 | 1 << 11);
    let tge = Question {
        e2h: false,
        tge: true,
        ..plain(va)
    };
    assert_eq!(nothing.par(&tge), device(0xff_1234_5000));
}

#[test]
fn faults_are_of_the_level_of_their_descriptor() {
    const SHIFTS: [u32; 4] = [39, 30, 21, 12];
    let va = 0x12_3000;
    let q = Question {
        tcr: 2 << 32 | 16,
        ..plain(va)
    };
    for level in 0..4 {
        let at = level as u64;
        let ends = |last| Built::chain(va, 48, &SHIFTS[..=level], last);
        assert_eq!(ends(0).par(&q), fault(0x04 + at));
        assert_eq!(ends(PAGE & !1).par(&q), fault(0x04 + at));
        // A block is reserved at levels 0 and 3.
        if level == 0 || level == 3 {
            assert_eq!(ends(BLOCK).par(&q), fault(0x04 + at));
        } else {
            assert_eq!(ends(BLOCK & !(1 << 10)).par(&q), fault(0x08 + at));
        }
        // A table or an output beyond 40 bits.
        assert_eq!(ends(PAGE | 1 << 40).par(&q), fault(at));
        // A table outside memory, for which there is no PAR_EL1.
        if level < 3 {
            let outcome = ends(0x8000_0003).ask(&q, &FULL);
            assert_is(outcome, Answer::Abort(0x15 + at));
        }
    }
    let far = Question {
        ttbr0: 1 << 40,
        ..q
    };
    assert_eq!(Built::default().par(&far), fault(0));
    let outside = Question {
        ttbr0: 0x8000_0000,
        ..q
    };
    assert_is(Built::default().ask(&outside, &FULL), Answer::Abort(0x14));
}

#[test]
fn outputs_are_no_wider_than_ps_says() {
    let built = Built::chain(0, 39, &[30], BLOCK | 0x1_0000_0000);
    let ps = |ps: u64| {
        let tcr = plain(0).tcr & !(7 << 32) | ps << 32;
        built.par(&Question { tcr, ..plain(0) })
    };
    assert_eq!(ps(0), fault(0x01));
    for wider in 1..8 {
        assert_eq!(ps(wider), page(0x1_0000_0000));
    }
}

#[test]
fn a_table_that_points_to_itself_ends_at_level_3() {
    let q = plain(0);
    let ends = Built::default().set(ROOT, ROOT | PAGE).par(&q);
    assert_eq!(ends, page(ROOT));
    let ends = Built::default().set(ROOT, ROOT | 3).par(&q);
    assert_eq!(ends, fault(0x0b));
}

#[test]
fn big_endian_tables_are_read_so() {
    let built = Built::default().set(ROOT, (BLOCK | 0x4000_0000).swap_bytes());
    let sctlr = plain(0).sctlr | 1 << 25;
    let q = Question {
        sctlr,
        ..plain(0x1000)
    };
    assert_eq!(built.par(&q), page(0x4000_1000));
}

#[test]
fn flags_that_hardware_may_set_do_not_fault_and_are_not_set() {
    // AF clear; and read-only with DBM. Memory refuses all writes.
    const HA: u64 = 1 << 39;
    const HD: u64 = 1 << 40;
    let ask = |leaf, at, tcr, hafdbs| {
        let tcr = plain(0).tcr | tcr;
        let built = Built::default().set(ROOT, leaf);
        let shown = Shown { hafdbs, ..FULL };
        built.par_where(
            &Question {
                at,
                tcr,
                ..plain(0)
            },
            &shown,
        )
    };
    let old = BLOCK & !(1 << 10);
    assert_eq!(ask(old, S1E1R, 0, 2), fault(0x09));
    assert_eq!(ask(old, S1E1R, HA, 2), page(0));
    assert_eq!(ask(old, S1E1R, HA, 0), fault(0x09));
    let clean = BLOCK | 1 << 7 | 1 << 51;
    assert_eq!(ask(clean, S1E1W, HA, 2), fault(0x0d));
    assert_eq!(ask(clean, S1E1W, HD, 2), fault(0x0d));
    assert_eq!(ask(clean, S1E1W, HA | HD, 1), fault(0x0d));
    assert_eq!(ask(clean, S1E1W, HA | HD, 2), page(0));
}

#[test]
fn memory_types_are_mair_s_where_they_mean_something() {
    const CACHED: u64 = 5;
    let ask = |attr: u64, sh: u64, sctlr, xs| {
        let leaf = 0x401 | 5 << 2 | sh << 8;
        let mair = attr << 40;
        let q = Question {
            sctlr,
            mair,
            ..plain(0)
        };
        let par = Built::default().set(ROOT, leaf);
        let par = par.par_where(&q, &Shown { xs, ..FULL });
        (par >> 56, par >> 7 & 3)
    };
    for (attr, sh, expected) in [
        (0xff, 0, (0xff, 0)),
        (0xff, 2, (0xff, 2)),
        (0xbb, 3, (0xbb, 3)),
        (0x4f, 0, (0x4f, 0)),
        (0x44, 0, (0x44, 2)),
        (0x00, 0, (0x00, 2)),
        (0x0c, 3, (0x0c, 2)),
        // Reserved ones stand for the strictest of their kind.
        (0x06, 0, (0x04, 2)),
        (0x80, 0, (0x44, 2)),
        (0xf0, 3, (0x44, 2)),
    ] {
        assert_eq!(ask(attr, sh, CACHED, true), expected, "{attr:#x}");
    }
    for attr in [0x01, 0x0d, 0x40, 0xa0] {
        assert_eq!(ask(attr, 3, CACHED, true).0, attr);
    }
    assert_eq!(ask(0x0d, 0, CACHED, false), (0x0c, 2));
    assert_eq!(ask(0xa0, 0, CACHED, false), (0x44, 2));
    // Without caches.
    assert_eq!(ask(0xff, 3, 1, true), (0x44, 2));
    assert_eq!(ask(0x04, 3, 1, true), (0x04, 2));
}

/// A block of stage 2 with AF, Write-Back: in place of 1 GiB, S2AP as given.
const fn block(output: u64, s2ap: u64) -> u64 {
    output | 1 << 10 | s2ap << 6 | 0xf << 2 | 1
}

#[test]
fn el1_s_tables_are_behind_stage_2() {
    // EL1's root is at 3 GiB, which stage 2 leads to 1 GiB; its leaf at 2 GiB, which leads to 4 GiB.
    let built = |root, leaf| {
        Built::default()
            .set(ROOT, BLOCK | 0x8000_0000)
            .set(STAGE_2_ROOT + 3 * 8, root)
            .set(STAGE_2_ROOT + 2 * 8, leaf)
    };
    let q = Question {
        vm: true,
        ttbr0: 0xc000_0000,
        ..plain(0x1234)
    };
    let both = Question { at: S12E1R, ..q };
    let write = Question { at: S12E1W, ..q };
    let good = built(block(ROOT, 1), block(0x1_0000_0000, 1));
    assert_eq!(good.par(&q), page(0x8000_1000));
    assert_eq!(good.par(&both), page(0x1_0000_1000));
    assert_eq!(good.par(&write), fault(0x0d) | STAGE_2);
    // The host's EL0 is EL2's, which has no stage 2.
    let host = Question {
        tge: true,
        ttbr0: ROOT,
        ..q
    };
    assert_eq!(good.par(&host), page(0x8000_1000));

    let hole = built(0, block(0, 3));
    assert_eq!(hole.par(&q), fault(0x05) | ON_WALK);
    assert_eq!(hole.par(&both), fault(0x05) | ON_WALK);
    assert_eq!(built(block(ROOT, 1), 0).par(&both), fault(0x05) | STAGE_2);
    assert_eq!(built(block(ROOT, 1), 0).par(&q), page(0x8000_1000));
    let write_only = built(block(ROOT, 2), block(0, 3));
    assert_eq!(write_only.par(&both), fault(0x0d) | ON_WALK);
    let old = built(block(ROOT, 3) & !(1 << 10), block(0, 3));
    assert_eq!(old.par(&both), fault(0x09) | ON_WALK);
    let nowhere = built(block(0x8000_0000, 3), block(0, 3));
    assert_is(nowhere.ask(&both, &FULL), Answer::Abort(0x15));
}

#[test]
fn a_store_that_stage_2_would_make_dirty_is_permitted_and_does_not() {
    let clean = block(0, 1) | 1 << 51;
    let q = Question {
        at: S12E1W,
        vm: true,
        sctlr: 0,
        ..plain(0x8000_1000)
    };
    let built = Built::default().set(STAGE_2_ROOT + 2 * 8, clean & !(1 << 10));
    for (updates, expected) in [
        (0, fault(0x09) | STAGE_2),
        (1 << 21, fault(0x0d) | STAGE_2),
        (3 << 21, 0x1000 | 1 << 11 | 2 << 7),
    ] {
        let mut registers = registers(&q);
        registers.stage_two.vtcr.0 |= updates;
        let outcome = built.execute(&q, &registers, &FULL);
        assert_eq!(outcome, Translated::Par(expected));
    }
}

#[test]
fn ptw_forbids_tables_in_device_memory() {
    let device = block(ROOT, 3) & !(0xf << 2);
    let built = Built::default()
        .set(ROOT, BLOCK)
        .set(STAGE_2_ROOT + 3 * 8, device);
    for (ptw, expected) in [(false, page(0)), (true, fault(0x0d) | ON_WALK)] {
        let q = Question {
            vm: true,
            ptw,
            ttbr0: 0xc000_0000,
            ..plain(0)
        };
        assert_eq!(built.par(&q), expected);
    }
}
