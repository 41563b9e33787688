//! Every encoding, every fault, every pair of memory types, compared with an oracle that knows types, not bits.

use std::vec;
use std::vec::Vec;

use super::*;
use droste_arm64::Level;
use droste_arm64::desc::{Cacheability, Device};
use droste_arm64::esr::FaultStatus;

const HOST: u64 = hcr::E2H | hcr::TGE;
const LEVELS: [Level; 5] = [Level::Minus1, Level::L0, Level::L1, Level::L2, Level::L3];
const WB_INNER: Attributes = Attributes {
    memory: 0xff,
    shareability: Shareability::Inner,
};

/// Walks that answer as they are told and note what they are asked.
struct Told {
    one: Result<StageOneLeaf, StageOneStop>,
    two: Result<Option<StageTwoLeaf>, WalkFault>,
    asked: Vec<StageOneRequest>,
    asked_two: Vec<(L2Ipa, Direction)>,
}

impl Walks for Told {
    fn stage_one(&mut self, request: &StageOneRequest) -> Result<StageOneLeaf, StageOneStop> {
        self.asked.push(*request);
        self.one
    }
    fn stage_two(
        &mut self,
        ipa: L2Ipa,
        direction: Direction,
    ) -> Result<Option<StageTwoLeaf>, WalkFault> {
        self.asked_two.push((ipa, direction));
        self.two
    }
}

fn told(
    one: Result<StageOneLeaf, StageOneStop>,
    two: Result<Option<StageTwoLeaf>, WalkFault>,
) -> Told {
    Told {
        one,
        two,
        asked: vec![],
        asked_two: vec![],
    }
}

const ONE: StageOneLeaf = StageOneLeaf {
    output: 0x4000_1234,
    attributes: WB_INNER,
};
const TWO: StageTwoLeaf = StageTwoLeaf {
    output: L1Ipa(0x8000_1234),
    memory: MemoryType::Normal {
        inner: Cacheability::NonCacheable,
        outer: Cacheability::NonCacheable,
    },
    shareability: Shareability::Non,
};

fn at(op1: u8, crm: u8, op2: u8) -> At {
    At::decode(SysReg::new(1, op1, 7, crm, op2)).expect("an AT")
}

#[test]
fn twelve_encodings_are_at_and_no_other() {
    let mut found = Vec::new();
    for bits in 0..=u16::MAX {
        let field = |shift: u16, mask: u16| (bits >> shift & mask) as u8;
        let register = SysReg::new(
            field(14, 3),
            field(11, 7),
            field(7, 15),
            field(3, 15),
            field(0, 7),
        );
        if let Some(at) = At::decode(register) {
            assert!(!found.contains(&at));
            assert_eq!(at.direction == Direction::Write, register.op2() & 1 != 0);
            found.push(at);
        }
    }
    assert_eq!(found.len(), 12);
    assert_eq!(at(0, 9, 1).pan, Pan::Honoured);
    assert_eq!(at(0, 8, 3).level, For::El0);
    assert_eq!(at(4, 8, 0).level, For::El2);
}

#[test]
fn the_regime_is_el2_s_where_el0_is() {
    for (at, regime, in_host) in [
        (at(0, 8, 0), Regime::El1, Regime::El2),
        (at(0, 8, 2), Regime::El1, Regime::El2),
        (at(0, 9, 0), Regime::El1, Regime::El2),
        (at(4, 8, 0), Regime::El2, Regime::El2),
        (at(4, 8, 4), Regime::El1, Regime::El2),
        (at(4, 8, 5), Regime::El1, Regime::El2),
        (at(4, 8, 6), Regime::El1, Regime::El2),
        (at(4, 8, 7), Regime::El1, Regime::El2),
    ] {
        for hcr in [0, hcr::E2H, hcr::TGE] {
            assert_eq!(at.regime(hcr), regime);
        }
        assert_eq!(at.regime(HOST), in_host);
    }
}

#[test]
fn what_is_asked_of_stage_1_is_what_the_instruction_says() {
    let mut walks = told(Ok(ONE), Ok(None));
    translate(at(0, 9, 1), 0xabc, hcr::E2H, &mut walks);
    translate(at(4, 8, 6), 0xdef, hcr::E2H, &mut walks);
    let first = StageOneRequest {
        regime: Regime::El1,
        va: 0xabc,
        privilege: Privilege::Privileged,
        direction: Direction::Write,
        pan: Pan::Honoured,
    };
    let second = StageOneRequest {
        va: 0xdef,
        privilege: Privilege::User,
        direction: Direction::Read,
        pan: Pan::Ignored,
        ..first
    };
    assert_eq!(walks.asked, [first, second]);
    assert_eq!(walks.asked_two, [(L2Ipa(0x4000_1234), Direction::Read)]);
}

#[test]
fn stage_1_alone_never_asks_stage_2() {
    for op2 in 0..4 {
        let mut walks = told(Ok(ONE), Ok(Some(TWO)));
        let outcome = translate(at(0, 8, op2), 0, 0, &mut walks);
        // ATTR 0xff, the page, RES1, Inner Shareable.
        assert_eq!(
            outcome,
            Translated::Par(0xff << 56 | 0x4000_1000 | 1 << 11 | 3 << 7)
        );
        assert!(walks.asked_two.is_empty());
    }
}

#[test]
fn both_stages_report_the_last_output_and_what_both_make_of_memory() {
    let mut walks = told(Ok(ONE), Ok(Some(TWO)));
    let outcome = translate(at(4, 8, 5), 0, hcr::E2H, &mut walks);
    // Non-cacheable is Outer Shareable.
    let par = 0x44 << 56 | 0x8000_1000 | 1 << 11 | 2 << 7;
    assert_eq!(outcome, Translated::Par(par));
    assert_eq!(walks.asked_two, [(L2Ipa(0x4000_1234), Direction::Write)]);
}

#[test]
fn with_cd_what_both_stages_make_normal_is_uncached() {
    let write_back = StageTwoLeaf {
        memory: MemoryType::ForceWriteBack,
        ..TWO
    };
    let device = StageTwoLeaf {
        memory: MemoryType::Device(Device::NGnRE),
        ..TWO
    };
    let memory = |two, hcr| {
        let outcome = translate(at(4, 8, 4), 0, hcr, &mut told(Ok(ONE), Ok(two)));
        let Translated::Par(par) = outcome else {
            panic!("{outcome:?}");
        };
        (par >> 56, par >> 7 & 3)
    };
    assert_eq!(memory(Some(write_back), 0), (0xff, 3));
    assert_eq!(memory(Some(write_back), hcr::CD), (0x44, 2));
    assert_eq!(memory(Some(device), hcr::CD), (4, 2));
    // Without stage 2 it has no effect.
    assert_eq!(memory(None, hcr::CD), (0xff, 3));
}

#[test]
fn where_stage_2_is_off_both_stages_are_stage_1() {
    let par = Translated::Par(0xff << 56 | 0x4000_1000 | 1 << 11 | 3 << 7);
    let mut off = told(Ok(ONE), Ok(None));
    assert_eq!(translate(at(4, 8, 4), 0, 0, &mut off), par);
    let mut host = told(Ok(ONE), Ok(Some(TWO)));
    assert_eq!(translate(at(4, 8, 4), 0, HOST, &mut host), par);
    assert!(host.asked_two.is_empty());
}

#[test]
fn an_address_outside_par_s_field_is_cut() {
    let wild = StageOneLeaf {
        output: u64::MAX,
        ..ONE
    };
    let outcome = translate(at(0, 8, 0), 0, 0, &mut told(Ok(wild), Ok(None)));
    let par = 0xff << 56 | 0x00ff_ffff_ffff_f000 | 1 << 11 | 3 << 7;
    assert_eq!(outcome, Translated::Par(par));
}

#[test]
fn each_fault_is_reported_where_it_arose() {
    for kind in [
        FaultKind::AddressSize,
        FaultKind::Translation,
        FaultKind::AccessFlag,
        FaultKind::Permission,
    ] {
        for level in LEVELS {
            let fault = WalkFault { kind, level };
            let has_level = level != Level::Minus1
                || matches!(kind, FaultKind::AddressSize | FaultKind::Translation);
            for (walks, place) in [
                (told(Err(StageOneStop::Fault(fault)), Ok(None)), 0b00),
                (told(Err(StageOneStop::OnStageTwo(fault)), Ok(None)), 0b11),
                (told(Ok(ONE), Err(fault)), 0b10),
            ] {
                let mut walks = walks;
                let Translated::Par(par) = translate(at(4, 8, 4), 0x123, 0, &mut walks) else {
                    panic!("{fault:?}");
                };
                assert_eq!(par & 1, 1);
                assert_eq!(par >> 8 & 3, place);
                assert_eq!(par >> 10, 2, "RES1 at bit 11, and nothing above");
                assert_eq!(par >> 7 & 1, 0);
                let number = level.number();
                let expected = match kind {
                    FaultKind::AddressSize => FaultStatus::AddressSize { level: number },
                    FaultKind::Translation => FaultStatus::Translation { level: number },
                    FaultKind::AccessFlag => FaultStatus::AccessFlag { level: number },
                    _ => FaultStatus::Permission { level: number },
                };
                if has_level {
                    assert_eq!(FaultStatus::decode((par >> 1) as u8 & 0x3f), expected);
                }
            }
        }
    }
}

#[test]
fn an_external_abort_is_taken_and_not_reported() {
    for level in LEVELS {
        let fault = WalkFault {
            kind: FaultKind::ExternalAbort,
            level,
        };
        for (walks, on_walk) in [
            (told(Err(StageOneStop::Fault(fault)), Ok(None)), false),
            (told(Err(StageOneStop::OnStageTwo(fault)), Ok(None)), true),
            (told(Ok(ONE), Err(fault)), false),
        ] {
            let mut walks = walks;
            let outcome = translate(at(4, 8, 4), 0x1234, 0, &mut walks);
            let Translated::Exception(Exception::Synchronous { esr, far, hpfar }) = outcome else {
                panic!("{outcome:?}");
            };
            assert_eq!(
                (esr.ec(), far, hpfar),
                (Ec::DATA_ABORT_SAME, Some(0x1234), None)
            );
            assert!(esr.is_cache_maintenance() && esr.is_write());
            assert_eq!(esr.0 >> 7 & 1 != 0, on_walk);
            let expected = FaultStatus::ExternalOnWalk {
                level: level.number(),
            };
            assert_eq!(esr.fault_status(), expected);
        }
    }
}

/// Memory as the manual's pseudocode has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Device(u8),
    Normal(Half, Half),
}
/// Cacheability, with transience and allocation hints where it is cached.
type Half = (Cacheability, Option<(bool, u8)>);

fn half(bits: u8) -> Half {
    let hints = bits & 3;
    match bits >> 2 {
        0 | 1 if hints == 0 => (Cacheability::NonCacheable, None),
        0 => (Cacheability::WriteThrough, Some((true, hints))),
        1 => (Cacheability::WriteBack, Some((true, hints))),
        2 => (Cacheability::WriteThrough, Some((false, hints))),
        _ => (Cacheability::WriteBack, Some((false, hints))),
    }
}

fn kind(memory: u8) -> Kind {
    match memory {
        0x40 => kind(0x44),
        0xa0 => kind(0xaa),
        0xf0 => kind(0xff),
        0..=0x0f => Kind::Device(memory >> 2),
        _ => Kind::Normal(half(memory >> 4), half(memory & 0xf)),
    }
}

fn weaker_half((one, hints): Half, two: Cacheability) -> Half {
    let weaker = if (two as u8) < one as u8 { two } else { one };
    let is_cached = weaker != Cacheability::NonCacheable;
    (weaker, hints.filter(|_| is_cached))
}

fn oracle(one: u8, two: MemoryType) -> Kind {
    const NC: Half = (Cacheability::NonCacheable, None);
    let forced = |(_, hints): Half| {
        let hints = hints.unwrap_or((false, 3));
        (Cacheability::WriteBack, Some(hints))
    };
    match (kind(one), two) {
        (Kind::Device(one), MemoryType::Device(two)) => Kind::Device(one.min(two as u8)),
        (Kind::Normal(..), MemoryType::Device(two)) => Kind::Device(two as u8),
        (Kind::Device(_), MemoryType::ForceWriteBack) => {
            let all = (Cacheability::WriteBack, Some((false, 3)));
            Kind::Normal(all, all)
        }
        (Kind::Normal(outer, inner), MemoryType::ForceWriteBack) => {
            Kind::Normal(forced(outer), forced(inner))
        }
        (one, MemoryType::StageOne) | (one @ Kind::Device(_), _) => one,
        (Kind::Normal(..), MemoryType::NonCacheable | MemoryType::Reserved(_)) => {
            Kind::Normal(NC, NC)
        }
        (Kind::Normal(outer, inner), MemoryType::Normal { inner: i, outer: o }) => {
            Kind::Normal(weaker_half(outer, o), weaker_half(inner, i))
        }
    }
}

fn all_stage_two() -> Vec<MemoryType> {
    let cacheabilities = [
        Cacheability::NonCacheable,
        Cacheability::WriteThrough,
        Cacheability::WriteBack,
    ];
    let mut all = vec![
        MemoryType::NonCacheable,
        MemoryType::ForceWriteBack,
        MemoryType::StageOne,
        MemoryType::Reserved(4),
    ];
    all.extend([Device::NGnRnE, Device::NGnRE, Device::NGRE, Device::GRE].map(MemoryType::Device));
    for inner in cacheabilities {
        for outer in cacheabilities {
            all.push(MemoryType::Normal { inner, outer });
        }
    }
    all
}

#[test]
fn memory_is_what_the_oracle_makes_of_both_stages() {
    for one in 0..=u8::MAX {
        for two in all_stage_two() {
            let attributes = Attributes {
                memory: one,
                shareability: Shareability::Non,
            };
            let both = combine(attributes, two, Shareability::Non);
            assert_eq!(kind(both.memory), oracle(one, two), "{one:#x} {two:?}");
        }
    }
}

#[test]
fn the_wider_shareability_counts_and_uncached_memory_is_outer() {
    use Shareability::{Inner, Non, Outer, Reserved};
    let write_back = MemoryType::Normal {
        inner: Cacheability::WriteBack,
        outer: Cacheability::WriteBack,
    };
    let report = |memory, one, two| {
        let attributes = Attributes {
            memory,
            shareability: one,
        };
        combine(attributes, write_back, two).reported_shareability()
    };
    for (one, two, expected) in [
        (Non, Non, 0),
        (Non, Inner, 3),
        (Inner, Non, 3),
        (Inner, Outer, 2),
        (Outer, Non, 2),
        (Reserved, Non, 2),
    ] {
        assert_eq!(report(0xff, one, two), expected);
        for uncached in [0x00, 0x04, 0x0c, 0x40, 0x44] {
            assert_eq!(report(uncached, one, two), 2);
        }
        // Cached at one level is cached.
        assert_eq!(report(0x4f, one, two), expected);
    }
}

#[test]
fn an_address_size_fault_is_stage_1s_where_par_blames_nobody_else() {
    const FAILED: u64 = 1;
    const OF_WALK: u64 = 1 << 8;
    const OF_STAGE2: u64 = 1 << 9;
    for status in 0..0x40u8 {
        let par = u64::from(status) << 1 | FAILED;
        let expected = match FaultStatus::decode(status) {
            FaultStatus::AddressSize { level } => Some(level),
            _ => None,
        };
        assert_eq!(Translated::Par(par).address_size(), expected);
        for other in [
            par & !FAILED,
            par | OF_WALK,
            par | OF_STAGE2,
            par | OF_WALK | OF_STAGE2,
        ] {
            assert_eq!(Translated::Par(other).address_size(), None, "{other:#x}");
        }
    }
}
