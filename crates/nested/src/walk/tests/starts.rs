//! Where a walk starts, and with which registers none does.

use super::*;

#[test]
fn stage_2_is_on_with_vm_or_dc() {
    for (hcr, is_on) in [
        (0, false),
        (hcr::VM, true),
        (hcr::DC, true),
        (hcr::TGE, false),
    ] {
        let registers = StageTwoRegisters {
            hcr,
            ..registers(KIB4)
        };
        let stage = StageTwo::new(&registers, &rich());
        assert_eq!(matches!(stage, StageTwo::On(_)), is_on);
    }
}

#[test]
fn sixteen_tables_side_by_side_are_one_root() {
    // 43 bits from level 1: the last descriptor of the sixteenth table.
    let memory = Sparse::new(MEMORY);
    let ipa = (1 << 43) - (1 << 30);
    memory.set(ROOT + 16 * 4096 - 8, RAM | 0x4000_0000);
    let found = read(vtcr(0, 1, 21), &memory, ipa).expect("mapped");
    assert_eq!(found.output, L1Ipa(0x4000_0000));
    assert_eq!(
        read(vtcr(0, 1, 20), &memory, ipa),
        fault(FaultKind::Translation, Level::L0),
        "44 bits are too many"
    );
}

#[test]
fn registers_that_no_walk_starts_by_fault_at_level_0() {
    let memory = Sparse::new(MEMORY);
    let bad = [
        vtcr(0, 1, 40 + 9), // T0SZ past 48
        vtcr(0, 1, 15),     // 49 bits on a 48-bit machine
        vtcr(0, 0, 16),     // 48 bits from level 2
        vtcr(0, 2, 30),     // 34 bits from level 0
        vtcr(2, 3, 24),     // reserved SL0
        vtcr(1, 3, 24),     // reserved SL0
        vtcr(1, 0, 48),     // T0SZ past 47 at 64 KiB
    ];
    for vtcr in bad {
        assert_eq!(
            read(vtcr, &memory, 0),
            fault(FaultKind::Translation, Level::L0),
            "{vtcr:#x}"
        );
    }
    assert_eq!(memory.reads.get(), 0);
}

#[test]
fn every_start_is_right_or_wrong_as_counted_by_hand() {
    let memory = Sparse::new(MEMORY);
    for (tg0, page) in [(0, 12), (1, 16), (2, 14)] {
        for sl0 in 0..4 {
            for t0sz in 0..64 {
                let bits = 64 - t0sz;
                let level: Option<u64> = match (tg0, sl0) {
                    (0, 3) => Some(3),
                    (0, sl0) => Some(2 - sl0),
                    (_, 3) => None,
                    (_, sl0) => Some(3 - sl0),
                };
                let is_right = level.is_some_and(|level| {
                    let entry = page + (3 - level) * (page - 3);
                    (entry + 1..=entry + page - 3 + 4).contains(&bits)
                }) && bits <= 48
                    && t0sz <= if tg0 == 1 { 47 } else { 48 };
                let result = read(vtcr(tg0, sl0, t0sz), &memory, 0);
                let first = level.filter(|_| is_right).unwrap_or(0);
                let expected = fault(FaultKind::Translation, Level::ALL[first as usize + 1]);
                assert_eq!(result, expected, "{tg0} {sl0} {t0sz}");
                let has_read = memory.reads.take() != 0;
                assert_eq!(has_read, is_right, "{tg0} {sl0} {t0sz}");
            }
        }
    }
}

#[test]
fn narrow_inputs_and_level_3_starts_take_small_tables() {
    let mut without = rich();
    without.ids.mmfr2 &= !(15 << 28);
    let memory = Sparse::new(MEMORY);
    memory.set(ROOT, PAGE);
    let start = |vtcr, advertised: &Advertised| {
        walker(&registers(vtcr), advertised).translate(&memory, L2Ipa(0), Access::Read)
    };
    for vtcr in [vtcr(0, 3, 44), vtcr(0, 3, 39), vtcr(1, 0, 40)] {
        assert!(start(vtcr, &rich()).is_ok(), "{vtcr:#x}");
        assert!(start(vtcr, &without).is_err(), "{vtcr:#x}");
    }
    assert!(start(vtcr(1, 0, 39), &without).is_ok());
}

#[test]
fn the_input_is_no_wider_than_the_machine() {
    let advertised = Advertised {
        ipa_bits: IpaBits::new(39).expect("a width"),
        ..plain()
    };
    let memory = Sparse::new(MEMORY);
    memory.set(ROOT, RAM);
    let read = |t0sz: u64, ipa: u64| {
        let registers = registers(vtcr(0, 1, t0sz));
        walker(&registers, &advertised).translate(&memory, L2Ipa(ipa), Access::Read)
    };
    assert!(read(25, 0).is_ok());
    assert_eq!(read(24, 0), fault(FaultKind::Translation, Level::L0));
    // And no input beyond T0SZ is translated.
    assert_eq!(read(25, 1 << 39), fault(FaultKind::Translation, Level::L0));
    assert_eq!(read(25, u64::MAX), fault(FaultKind::Translation, Level::L0));
}

#[test]
fn a_granule_that_is_not_there_walks_as_one_that_is() {
    let memory = Sparse::new(MEMORY);
    memory.set(ROOT + 8, RAM | 0x8000_0000);
    for tg0 in 0..4 {
        let registers = registers(vtcr(tg0, 1, 24));
        let leaf = walker(&registers, &plain()).translate(&memory, L2Ipa(1 << 30), Access::Read);
        assert_eq!(leaf.map(|leaf| leaf.bytes), Ok(1 << 30), "as 4 KiB");
    }
    let mut none = plain();
    none.ids.mmfr0 |= 15 << 28;
    let none = walker(&registers(KIB4), &none);
    assert_eq!(none.format(), None);
    assert_eq!(
        none.translate(&memory, L2Ipa(0), Access::Read),
        fault(FaultKind::Translation, Level::L0)
    );
}

#[test]
fn wide_formats_start_at_level_minus_1_if_advertised() {
    let lpa2 = Advertised {
        ids: IdRegisters {
            mmfr0: 6 | 2 << 20 | 1 << 28,
            ..rich().ids
        },
        ipa_bits: IpaBits::MAX,
        ..rich()
    };
    let memory = Sparse::new(1 << 52);
    memory.set(ROOT, TABLE | (ROOT + 0x1000));
    // Level 0: a block of 512 GiB at the top of 52 bits, SH0 instead of SH.
    memory.set(ROOT + 0x1000, RAM | 1 << 49);
    let value = vtcr(0, 0, 12) & !(7 << 16) | 6 << 16 | VTCR_DS | VTCR_SL2 | 2 << 12;
    let registers = StageTwoRegisters {
        vttbr: Vttbr(ROOT),
        ..registers(value)
    };
    let leaf = walker(&registers, &lpa2).translate(&memory, L2Ipa(0), Access::Read);
    let leaf = leaf.expect("mapped");
    assert_eq!(
        (leaf.level, leaf.bytes, leaf.extent),
        (Level::L0, 512 << 30, Extent::Leaf)
    );
    assert_eq!(
        (leaf.output, leaf.shareability),
        (L1Ipa(3 << 50 | 1 << 49), Shareability::Outer)
    );
    // Without FEAT_LPA2 DS and SL2 are RES0: 52 bits are too many.
    let leaf = walker(&registers, &rich()).translate(&memory, L2Ipa(0), Access::Read);
    assert_eq!(leaf, fault(FaultKind::Translation, Level::L0));
}

#[test]
fn a_root_of_two_descriptors_may_stand_at_any_16_bytes() {
    // 31 bits from level 1: two descriptors.
    let memory = Sparse::new(MEMORY);
    memory.set(ROOT + 0x38, RAM | 0x4000_0000);
    let registers = StageTwoRegisters {
        vttbr: Vttbr(ROOT + 0x30),
        ..registers(vtcr(0, 1, 33))
    };
    let leaf = walker(&registers, &rich()).translate(&memory, L2Ipa(1 << 30), Access::Read);
    assert_eq!(leaf.map(|leaf| leaf.output), Ok(L1Ipa(0x4000_0000)));
}
