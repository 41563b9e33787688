use std::format;
use std::string::String;
use std::vec::Vec;

use droste_arm64::desc::Format as Layout;
use droste_arm64::tlbi::{IpaOperand, RangeCover, RangeOperand, Tlbi};
use droste_arm64::{IdRegisters, Ipa, IpaBits, Vtcr, Vttbr};
use proptest::prelude::*;

use super::*;
use crate::advertised::tests::{plain, rich};

/// Every TLBI that C5.5 gives EL1 and EL2, FEAT_TLBIW aside: its name and op1, CRm and op2.
const NAMES: [(&str, u8, u8, u8); 63] = [
    ("VMALLE1OS", 0, 1, 0),
    ("VAE1OS", 0, 1, 1),
    ("ASIDE1OS", 0, 1, 2),
    ("VAAE1OS", 0, 1, 3),
    ("VALE1OS", 0, 1, 5),
    ("VAALE1OS", 0, 1, 7),
    ("RVAE1IS", 0, 2, 1),
    ("RVAAE1IS", 0, 2, 3),
    ("RVALE1IS", 0, 2, 5),
    ("RVAALE1IS", 0, 2, 7),
    ("VMALLE1IS", 0, 3, 0),
    ("VAE1IS", 0, 3, 1),
    ("ASIDE1IS", 0, 3, 2),
    ("VAAE1IS", 0, 3, 3),
    ("VALE1IS", 0, 3, 5),
    ("VAALE1IS", 0, 3, 7),
    ("RVAE1OS", 0, 5, 1),
    ("RVAAE1OS", 0, 5, 3),
    ("RVALE1OS", 0, 5, 5),
    ("RVAALE1OS", 0, 5, 7),
    ("RVAE1", 0, 6, 1),
    ("RVAAE1", 0, 6, 3),
    ("RVALE1", 0, 6, 5),
    ("RVAALE1", 0, 6, 7),
    ("VMALLE1", 0, 7, 0),
    ("VAE1", 0, 7, 1),
    ("ASIDE1", 0, 7, 2),
    ("VAAE1", 0, 7, 3),
    ("VALE1", 0, 7, 5),
    ("VAALE1", 0, 7, 7),
    ("IPAS2E1IS", 4, 0, 1),
    ("RIPAS2E1IS", 4, 0, 2),
    ("IPAS2LE1IS", 4, 0, 5),
    ("RIPAS2LE1IS", 4, 0, 6),
    ("ALLE2OS", 4, 1, 0),
    ("VAE2OS", 4, 1, 1),
    ("ALLE1OS", 4, 1, 4),
    ("VALE2OS", 4, 1, 5),
    ("VMALLS12E1OS", 4, 1, 6),
    ("RVAE2IS", 4, 2, 1),
    ("RVALE2IS", 4, 2, 5),
    ("ALLE2IS", 4, 3, 0),
    ("VAE2IS", 4, 3, 1),
    ("ALLE1IS", 4, 3, 4),
    ("VALE2IS", 4, 3, 5),
    ("VMALLS12E1IS", 4, 3, 6),
    ("IPAS2E1OS", 4, 4, 0),
    ("IPAS2E1", 4, 4, 1),
    ("RIPAS2E1", 4, 4, 2),
    ("RIPAS2E1OS", 4, 4, 3),
    ("IPAS2LE1OS", 4, 4, 4),
    ("IPAS2LE1", 4, 4, 5),
    ("RIPAS2LE1", 4, 4, 6),
    ("RIPAS2LE1OS", 4, 4, 7),
    ("RVAE2OS", 4, 5, 1),
    ("RVALE2OS", 4, 5, 5),
    ("RVAE2", 4, 6, 1),
    ("RVALE2", 4, 6, 5),
    ("ALLE2", 4, 7, 0),
    ("VAE2", 4, 7, 1),
    ("ALLE1", 4, 7, 4),
    ("VALE2", 4, 7, 5),
    ("VMALLS12E1", 4, 7, 6),
];

fn name(instruction: Instruction) -> String {
    let last = |entries| if entries == Entries::Last { "L" } else { "" };
    let all = |asids| if asids == Asids::All { "A" } else { "" };
    let form = match instruction.form {
        Form::Vmalle1 => "VMALLE1".into(),
        Form::Aside1 => "ASIDE1".into(),
        Form::Va1(entries, asids) => format!("VA{}{}E1", all(asids), last(entries)),
        Form::Rva1(entries, asids) => format!("RVA{}{}E1", all(asids), last(entries)),
        Form::Alle2 => "ALLE2".into(),
        Form::Va2(entries) => format!("VA{}E2", last(entries)),
        Form::Rva2(entries) => format!("RVA{}E2", last(entries)),
        Form::Alle1 => "ALLE1".into(),
        Form::Vmalls12e1 => "VMALLS12E1".into(),
        Form::Ipas2(entries) => format!("IPAS2{}E1", last(entries)),
        Form::Ripas2(entries) => format!("RIPAS2{}E1", last(entries)),
    };
    let scope = match instruction.scope {
        Scope::Local => "",
        Scope::Inner => "IS",
        Scope::Outer => "OS",
    };
    form + scope
}

fn expected(encoding: SysReg) -> Option<&'static str> {
    let place = (encoding.op1(), encoding.crm(), encoding.op2());
    NAMES
        .into_iter()
        .find(|&(_, op1, crm, op2)| (op1, crm, op2) == place)
        .map(|(name, ..)| name)
}

#[test]
fn every_encoding_is_the_instruction_of_the_manual_or_none() {
    let mut count = 0;
    for encoding in SysReg::all() {
        let is_tlbi = encoding.op0() == 1 && matches!(encoding.crn(), 8 | 9);
        let wanted = expected(encoding).filter(|_| is_tlbi);
        let found = Instruction::decode(encoding, VirtualLevel::El2, &rich());
        assert_eq!(found.map(name).as_deref(), wanted, "{encoding}");
        if let Some(found) = found {
            count += 1;
            let is_nxs = found.completion == Completion::ExceptXs;
            assert_eq!(is_nxs, encoding.crn() == 9);
        }
    }
    assert_eq!(count, 2 * NAMES.len());
}

#[test]
fn what_is_not_advertised_is_undefined() {
    let mut outer_only = plain();
    outer_only.ids.isar0 = 1 << 56;
    let mut nxs = plain();
    nxs.isar1 = 1 << 56;
    for encoding in SysReg::all() {
        let decode =
            |advertised: &Advertised| Instruction::decode(encoding, VirtualLevel::El2, advertised);
        let Some(all) = decode(&rich()) else {
            assert_eq!(decode(&plain()), None);
            continue;
        };
        let is_nxs = all.completion == Completion::ExceptXs;
        let is_outer = all.scope == Scope::Outer;
        let is_range = name(all).starts_with('R');
        assert_eq!(
            decode(&plain()).is_some(),
            !is_nxs && !is_outer && !is_range
        );
        assert_eq!(decode(&outer_only).is_some(), !is_nxs && !is_range);
        assert_eq!(decode(&nxs).is_some(), !is_outer && !is_range);
    }
}

#[test]
fn el1_has_the_forms_of_its_own_regime() {
    for encoding in SysReg::all() {
        let at = |level| Instruction::decode(encoding, level, &rich());
        let expected = at(VirtualLevel::El2).filter(|_| encoding.op1() == 0);
        assert_eq!(at(VirtualLevel::El1), expected);
    }
}

fn registers(hcr: u64, vtcr: u64) -> StageTwoRegisters {
    StageTwoRegisters {
        hcr,
        sctlr: 0,
        vtcr: Vtcr(vtcr),
        vttbr: Vttbr(0x1207 << 48 | 0x8000_0000),
    }
}

const VS: u64 = 1 << 19;
/// 40 bits from level 1, PS of 48 bits.
const KIB4: u64 = 5 << 16 | 1 << 6 | 0x18;
const HOST: u64 = hcr::E2H | hcr::TGE;

fn meaning(
    named: &str,
    operand: u64,
    level: VirtualLevel,
    registers: &StageTwoRegisters,
) -> Invalidation {
    let encoding = SysReg::all()
        .filter(|encoding| encoding.op0() == 1 && encoding.crn() == 8)
        .find(|&encoding| expected(encoding) == Some(named))
        .expect("a name of the list");
    Instruction::decode(encoding, level, &rich())
        .expect("advertised")
        .invalidation(operand, level, registers, &rich())
}

#[test]
fn every_instruction_means_what_its_name_says_whoever_issues_it() {
    let vmid = Vmid(0x07);
    let operand = 0xabcd << 48 | 0x8_0123;
    for (named, op1, ..) in NAMES {
        for level in [VirtualLevel::El1, VirtualLevel::El2] {
            if op1 == 4 && level == VirtualLevel::El1 {
                continue;
            }
            for hcr in [0, hcr::TGE, hcr::E2H, HOST] {
                let found = meaning(named, operand, level, &registers(hcr, KIB4));
                let name = named.trim_end_matches("IS").trim_end_matches("OS");
                let is_host = level == VirtualLevel::El2 && hcr == HOST || name.ends_with("E2");
                match found {
                    Invalidation::Everything => assert_eq!(name, "ALLE1"),
                    Invalidation::Vmid(found) => {
                        assert_eq!((name, found), ("VMALLS12E1", vmid));
                    }
                    Invalidation::Nothing => assert!(name.starts_with("RIPAS2"), "TG is 0"),
                    Invalidation::Stage2 { vmid: found, range } => {
                        assert!(name.starts_with("IPAS2") && found == vmid);
                        assert_eq!(range.from, L2Ipa(0x8012_3000));
                    }
                    Invalidation::Stage1 { regime, of } => {
                        let wanted = if is_host {
                            Regime::VirtualEl2
                        } else {
                            Regime::Vmid(vmid)
                        };
                        assert_eq!(regime, wanted, "{named}");
                        assert_eq!(of, stage_1(name, hcr, operand), "{named}");
                    }
                }
            }
        }
    }
}

/// The entries that a name without its scope asks for.
fn stage_1(name: &str, hcr: u64, operand: u64) -> StageOne {
    let entries = if name.contains("LE") {
        Entries::Last
    } else {
        Entries::Any
    };
    let is_any_asid = name.contains("VAA") || name.ends_with("E2") && hcr & hcr::E2H == 0;
    let asids = if is_any_asid { Asids::All } else { Asids::One };
    match name {
        "VMALLE1" | "ALLE2" => StageOne::All,
        "ASIDE1" => StageOne::Asid { operand },
        _ if name.starts_with("RVA") => StageOne::Range {
            entries,
            asids,
            operand,
        },
        _ if name.starts_with("VA") => StageOne::Address {
            entries,
            asids,
            operand,
        },
        _ => panic!("{name} is none of stage 1"),
    }
}

#[test]
fn a_vmid_is_as_wide_as_l1_asks_and_may_ask() {
    let narrow = registers(0, KIB4);
    let wide = registers(0, KIB4 | VS);
    assert_eq!(guest_vmid(&narrow, &rich()), Vmid(0x07));
    assert_eq!(guest_vmid(&wide, &rich()), Vmid(0x1207));
    assert_eq!(guest_vmid(&wide, &plain()), Vmid(0x07));
}

/// VTCR_EL2 of 40 bits for each format, at TG0 and SL0, with DS.
const FORMATS: [(Layout, u64); 5] = [
    (Layout::narrow(Granule::Kib4), KIB4),
    (Layout::narrow(Granule::Kib16), KIB4 | 2 << 14),
    (Layout::narrow(Granule::Kib64), KIB4 | 1 << 14),
    (Layout::wide(Granule::Kib4), KIB4 | 1 << 32),
    (Layout::wide(Granule::Kib16), KIB4 | 2 << 14 | 1 << 32),
];

fn advertised(layout: Layout) -> Advertised {
    if layout.output() == OutputFormat::Bits48 {
        return rich();
    }
    Advertised {
        ids: IdRegisters {
            mmfr0: 6 | 2 << 20 | 1 << 28,
            ..rich().ids
        },
        ipa_bits: IpaBits::MAX,
        ..rich()
    }
}

fn stage_2(form: Form, operand: u64, vtcr: u64, advertised: &Advertised) -> Option<Range> {
    let instruction = Instruction {
        form,
        scope: Scope::Inner,
        completion: Completion::Full,
    };
    let registers = registers(0, vtcr);
    match instruction.invalidation(operand, VirtualLevel::El2, &registers, advertised) {
        Invalidation::Stage2 { range, .. } => Some(range),
        Invalidation::Nothing => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_address_comes_back_with_its_level() {
    for (layout, vtcr) in FORMATS {
        for level in [None].into_iter().chain(Level::ALL.map(Some)) {
            let ipa = Ipa(0x12_3456_7000);
            let IpaOperand(operand) = IpaOperand::new(ipa, layout, level);
            let found = stage_2(
                Form::Ipas2(Entries::Any),
                operand,
                vtcr,
                &advertised(layout),
            );
            let found = found.expect("an address");
            assert_eq!((found.from, found.bytes), (L2Ipa(ipa.0), 4096));
            let has_leaf = |level: &Level| layout.leaf_at(*level).is_some();
            assert_eq!(found.level, level.filter(has_leaf), "{layout:?}");
        }
    }
}

#[test]
fn a_hint_that_does_not_fit_the_table_is_none() {
    // Level 2 of 16 KiB, over a table of 4 KiB.
    let operand = 0b1010 << 44 | 0x100;
    let at = |vtcr, advertised: &Advertised| {
        stage_2(Form::Ipas2(Entries::Any), operand, vtcr, advertised).and_then(|found| found.level)
    };
    assert_eq!(at(KIB4, &rich()), None);
    assert_eq!(at(KIB4 | 2 << 14, &rich()), Some(Level::L2));
    let mut without = rich();
    without.ids.mmfr2 &= !(15 << 48);
    assert_eq!(at(KIB4 | 2 << 14, &without), None);
    // Level 0 and, at 16 KiB, level 1 have leaves in wide formats alone.
    for (ttl, vtcr) in [
        (0b0100, KIB4),
        (0b1001, KIB4 | 2 << 14),
        (0b1100, KIB4 | 1 << 14),
    ] {
        let found = stage_2(Form::Ipas2(Entries::Any), ttl << 44, vtcr, &rich());
        assert_eq!(found.and_then(|found| found.level), None);
    }
}

#[test]
fn the_reserved_granule_of_a_range_names_nothing() {
    let operand = 31 << 39 | 3 << 44 | 0x1234;
    assert_eq!(
        stage_2(Form::Ripas2(Entries::Any), operand, KIB4, &rich()),
        None
    );
}

#[test]
fn reserved_bits_leave_an_address_the_same() {
    // NS at [63], what is RES0, and IPA[51:48] on a machine of 48 bits.
    let operand = 1 << 63 | 0x7fff << 48 | 0xf << 40 | 0xf << 36 | 0x100;
    let found = stage_2(Form::Ipas2(Entries::Any), operand, KIB4, &rich()).expect("an address");
    assert_eq!((found.from, found.level), (L2Ipa(0x10_0000), None));
}

proptest! {
    #[test]
    fn a_cover_of_ranges_comes_back_without_gap_or_excess(
        (layout, vtcr) in prop::sample::select(FORMATS.to_vec()),
        page in 0..1u64 << 20,
        pages in 1..1u64 << 22,
        level in prop::option::of(prop::sample::select(Level::ALL.to_vec())),
    ) {
        let shift = layout.granule().page_shift();
        let hinted = level.filter(|&level| {
            let bytes = layout.granule().entry_bytes(level).unwrap_or(0);
            layout.leaf_at(level).is_some() && bytes <= 1 << 30
        });
        let align = hinted.and_then(|level| layout.granule().entry_bytes(level)).unwrap_or(1 << shift);
        let from = (page << shift) & !(align - 1);
        let bytes = (pages << shift).next_multiple_of(align);
        let mut next = from;
        let operations: Vec<Tlbi> =
            RangeCover::new(Ipa(from), bytes >> shift, layout, hinted).collect();
        for operation in operations {
            let (form, operand, unit) = match operation {
                Tlbi::Ripas2e1is(RangeOperand(raw)) => (Form::Ripas2(Entries::Any), raw, 1),
                Tlbi::Ipas2e1is(IpaOperand(raw)) => (Form::Ipas2(Entries::Any), raw, 1 << (shift - 12)),
                other => panic!("{other:?}"),
            };
            let found = stage_2(form, operand, vtcr, &advertised(layout)).expect("a range");
            prop_assert_eq!(found.from.0, next);
            prop_assert_eq!(found.level, hinted);
            next += found.bytes * unit;
        }
        prop_assert_eq!(next, from + bytes);
    }

    #[test]
    fn any_operand_over_any_registers_names_a_range_or_nothing(
        operand: u64,
        vtcr: u64,
        hcr: u64,
        form in prop_oneof![Just(Form::Ipas2(Entries::Any)), Just(Form::Ripas2(Entries::Last))],
    ) {
        let instruction = Instruction { form, scope: Scope::Local, completion: Completion::Full };
        for advertised in [rich(), plain()] {
            let registers = registers(hcr, vtcr);
            match instruction.invalidation(operand, VirtualLevel::El2, &registers, &advertised) {
                Invalidation::Stage2 { range, .. } => {
                    prop_assert!(range.from.is_aligned(4096) && range.bytes >= 4096);
                    prop_assert!(range.from.checked_add(range.bytes).is_some());
                }
                other => prop_assert_eq!(other, Invalidation::Nothing),
            }
        }
    }
}
