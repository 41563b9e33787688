//! Walks compared with an oracle, for any registers and any memory; and by hand, what the oracle might have wrong in
//! the same way.

mod by_hand;
mod oracle;
mod permissions;

use std::collections::BTreeSet;

use droste_arm64::esr::{Ec, FaultStatus};
use droste_arm64::sysreg::SysReg;
use droste_arm64::{IdRegisters, IpaBits, Vtcr, Vttbr, hcr};
use proptest::prelude::*;

use crate::at::{At, Registers, StageOneRegisters, Translated, execute};
use crate::exception::{Exception, pstate};
use crate::{Advertised, Exchange, ExternalAbort, GuestMemory, L1Ipa, StageTwoRegisters};

use oracle::{Answer, Question, Shown, answer};

/// Addresses below this are memory.
const MEMORY: u64 = 1 << 34;
/// The table of stage 2.
const STAGE_2_ROOT: u64 = 0x1_0000_0000;

/// Memory that is what a function says, and is never written.
struct Image<F>(F);

impl<F: Fn(u64) -> Option<u64>> GuestMemory for Image<F> {
    fn read(&self, at: L1Ipa) -> Result<u64, ExternalAbort> {
        assert!(at.is_aligned(8), "{at}");
        (self.0)(at.0).ok_or(ExternalAbort)
    }
    fn compare_exchange(&self, _: L1Ipa, _: u64, _: u64) -> Result<Exchange, ExternalAbort> {
        panic!("AT writes no table")
    }
}

/// The encodings of AT, as op1, CRm and op2.
const FORMS: [(u8, u8, u8); 12] = [
    (0, 8, 0),
    (0, 8, 1),
    (0, 8, 2),
    (0, 8, 3),
    (0, 9, 0),
    (0, 9, 1),
    (4, 8, 0),
    (4, 8, 1),
    (4, 8, 4),
    (4, 8, 5),
    (4, 8, 6),
    (4, 8, 7),
];

fn advertised(shown: &Shown) -> Advertised {
    let flag = |is_set: bool, shift: u32| u64::from(is_set) << shift;
    let no = |is_absent: bool, shift: u32| if is_absent { 15 << shift } else { 0 };
    let bits = shown.physical_bits;
    let parange = [32, 36, 40, 42, 44, 48].iter().position(|&b| b == bits);
    Advertised {
        ids: IdRegisters {
            mmfr0: parange.expect("a width") as u64
                | flag(shown.has_16k, 20)
                | no(!shown.has_64k, 24)
                | no(!shown.has_4k, 28)
                // Stage 2 has 4 KiB, whatever stage 1.
                | 2 << 40,
            mmfr1: shown.hafdbs | flag(shown.hpds, 12) | shown.pan << 20,
            mmfr2: flag(shown.lva, 16) | flag(shown.small_tables, 28) | flag(shown.e0pd, 60),
            ..IdRegisters::default()
        },
        isar1: flag(shown.xs, 56),
        ipa_bits: IpaBits::new(48).expect("a width"),
    }
}

fn registers(q: &Question) -> Registers {
    let flag = |is_set: bool, mask: u64| if is_set { mask } else { 0 };
    Registers {
        stage_one: StageOneRegisters {
            sctlr: q.sctlr,
            tcr: q.tcr,
            ttbr0: q.ttbr0,
            ttbr1: q.ttbr1,
            mair: q.mair,
        },
        stage_two: StageTwoRegisters {
            hcr: flag(q.e2h, hcr::E2H)
                | flag(q.tge, hcr::TGE)
                | flag(q.dc, hcr::DC)
                | flag(q.vm, hcr::VM)
                | flag(q.ptw, hcr::PTW),
            sctlr: 0,
            // 4 KiB, 40-bit outputs, 39-bit inputs from level 1.
            vtcr: Vtcr(2 << 16 | 1 << 6 | (64 - 39)),
            vttbr: Vttbr(STAGE_2_ROOT),
        },
        pstate: flag(q.pan, pstate::PAN),
    }
}

fn instruction(q: &Question) -> At {
    let (op1, crm, op2) = q.at;
    At::decode(SysReg::new(1, op1, 7, crm, op2)).expect("an AT")
}

fn given(q: &Question, shown: &Shown, memory: impl Fn(u64) -> Option<u64>) -> Translated {
    execute(
        instruction(q),
        q.va,
        &registers(q),
        &advertised(shown),
        &Image(memory),
    )
}

fn assert_is(outcome: Translated, expected: Answer) {
    match (outcome, expected) {
        (Translated::Par(par), Answer::Fault(code)) => {
            assert_eq!(par, code << 1 | 1 << 11 | 1, "{par:#x} {expected:x?}");
        }
        (Translated::Par(par), Answer::Page(page, attributes)) => {
            assert_eq!(par & 0x00ff_ffff_ffff_fe7f, page | 1 << 11, "{par:#x}");
            if let Some((attr, sh)) = attributes {
                assert_eq!((par >> 56, par >> 7 & 3), (attr.into(), sh.into()));
            }
        }
        (Translated::Exception(Exception::Synchronous { esr, .. }), Answer::Abort(code)) => {
            assert_eq!((esr.ec(), esr.0 & 0x3f), (Ec::DATA_ABORT_SAME, code));
            let level = (code & 3) as i8;
            assert_eq!(esr.fault_status(), FaultStatus::ExternalOnWalk { level });
        }
        _ => panic!("{outcome:x?}, not {expected:x?}"),
    }
}

/// Splits noise into what it is used for.
struct Noise(u64);

impl Noise {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }
    fn word(&mut self) -> u64 {
        self.below(1 << 32) << 32 | self.below(1 << 32)
    }
    fn often(&mut self) -> bool {
        self.below(8) != 0
    }
    fn seldom(&mut self) -> bool {
        !self.often()
    }
}

/// A descriptor that leads on more often than not.
fn descriptor(noise: &mut Noise, is_big_endian: bool) -> u64 {
    let kind = [3, 3, 3, 3, 1, 1, 1, 0][noise.below(8) as usize];
    let permissions = noise.word() & (0xff0f_0000_0000_0bfc);
    // The bits of an output that lie beyond 34 are seldom set.
    let output = noise.word() & 0x3_ffff_f000;
    let beyond = if noise.seldom() {
        1 << (34 + noise.below(14))
    } else {
        0
    };
    let accessed = u64::from(noise.often()) << 10;
    let mut value = permissions | output | beyond | accessed | kind;
    if noise.often() {
        // Tables that take nothing away.
        value &= !(0x1f << 59);
    }
    if is_big_endian {
        value.swap_bytes()
    } else {
        value
    }
}

/// A block of stage 2 that mostly permits and leads into memory.
fn block(noise: &mut Noise) -> u64 {
    let kind = if noise.often() { 1 } else { noise.below(3) };
    let access = if noise.often() { 3 } else { noise.below(4) };
    let device = if noise.often() { 0xf } else { 0 };
    let output = noise.below(16) << 30;
    output | u64::from(noise.often()) << 10 | access << 6 | device << 2 | kind
}

fn memory_of(q: Question, seed: u64) -> impl Fn(u64) -> Option<u64> {
    move |at| {
        if at >= MEMORY {
            return None;
        }
        let mut noise = Noise(seed ^ at.rotate_left(17));
        Some(if (STAGE_2_ROOT..STAGE_2_ROOT + 4096).contains(&at) {
            block(&mut noise)
        } else {
            descriptor(&mut noise, q.sctlr >> 25 & 1 != 0)
        })
    }
}

/// TCR whose fields mostly let a walk start.
fn tcr(noise: &mut Noise, is_alone: bool) -> u64 {
    let mut tcr = noise.word();
    if noise.often() {
        let size = |noise: &mut Noise| 16 + noise.below(24);
        let fixed = 0x3f | 1 << 7 | 0x3f << 16 | 1 << 23 | 7 << 32 | 3 << 55;
        let ps = 1 + noise.below(5);
        tcr = tcr & !fixed | size(noise);
        tcr |= if is_alone {
            ps << 16
        } else {
            size(noise) << 16 | ps << 32
        };
    }
    tcr
}

fn question(noise: &mut Noise) -> Question {
    let at = FORMS[noise.below(12) as usize];
    let e2h = noise.below(2) == 0;
    let va = match noise.below(8) {
        0 => noise.word(),
        1 | 2 => !0 << 36 | noise.word() >> 28,
        3 => noise.below(256) << 56 | noise.word() >> 28,
        4 => !0 << (24 + noise.below(32)),
        _ => noise.word() >> (28 + noise.below(20)),
    };
    Question {
        at,
        va,
        e2h,
        tge: noise.seldom(),
        dc: noise.seldom(),
        vm: noise.below(2) == 0,
        ptw: noise.below(2) == 0,
        pan: noise.below(2) == 0,
        sctlr: noise.word() & !1 | u64::from(noise.often()),
        tcr: tcr(noise, !e2h && at.0 == 4 && at.2 < 2),
        ttbr0: noise.word() & 0xffff_0003_ffff_ffff,
        ttbr1: noise.word() & 0xffff_0003_ffff_ffff,
        mair: noise.word(),
    }
}

fn shown(noise: &mut Noise) -> Shown {
    Shown {
        physical_bits: [32, 36, 40, 42, 44, 48][noise.below(6) as usize],
        has_4k: noise.often(),
        has_16k: noise.often(),
        has_64k: noise.often(),
        hafdbs: noise.below(3),
        hpds: noise.often(),
        pan: 2 + noise.below(2),
        small_tables: noise.often(),
        lva: noise.often(),
        e0pd: noise.often(),
        xs: noise.often(),
    }
}

/// The question and what L1 is shown. Stage 2 has 39-bit inputs, which fewer bits would forbid: its own tests judge that.
fn anything(noise: &mut Noise) -> (Question, Shown) {
    let q = question(noise);
    let mut shown = shown(noise);
    if q.vm || q.dc {
        shown.physical_bits = shown.physical_bits.max(40);
    }
    (q, shown)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_registers_and_memory_give_what_the_oracle_says(seed in any::<u64>()) {
        let mut noise = Noise(seed);
        for _ in 0..16 {
            let (q, shown) = anything(&mut noise);
            let memory = memory_of(q, noise.word());
            let expected = answer(&q, &shown, STAGE_2_ROOT, &memory);
            assert_is(given(&q, &shown, memory), expected);
        }
    }
}

#[test]
fn the_random_questions_reach_every_answer() {
    let mut noise = Noise(1);
    let mut faults = BTreeSet::new();
    let mut pages = BTreeSet::new();
    for _ in 0..60_000 {
        let (q, shown) = anything(&mut noise);
        let memory = memory_of(q, noise.word());
        match answer(&q, &shown, STAGE_2_ROOT, &memory) {
            Answer::Fault(code) => faults.insert(code),
            Answer::Abort(code) => faults.insert(code | 0x1000),
            Answer::Page(..) => pages.insert((q.at, q.e2h, q.va >> 55 & 1, q.sctlr & 1)),
        };
    }
    let of_stage_1 = (0x00..=0x0f).filter(|&code| code != 0x08 && code != 0x0c);
    let of_stage_2 = [0x105, 0x109, 0x10d, 0x185, 0x189, 0x18d];
    for code in of_stage_1.chain(of_stage_2).chain([0x1015, 0x1016, 0x1017]) {
        assert!(faults.contains(&code), "{code:#x}");
    }
    for at in FORMS {
        for e2h in [false, true] {
            assert!(pages.contains(&(at, e2h, 0, 1)) && pages.contains(&(at, e2h, 0, 0)));
            // The upper half is of those that EL0 shares.
            let has_upper = e2h || at.0 == 0 || at.2 >= 4;
            assert_eq!(pages.contains(&(at, e2h, 1, 1)), has_upper);
            assert!(!pages.contains(&(at, e2h, 1, 0)));
        }
    }
}
