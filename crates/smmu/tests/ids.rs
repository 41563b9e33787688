//! What an SMMU must have: each condition alone keeps it from use, and says its name.

use droste_arm64::{Bbm, Granule, PaRange, Vmid, Vtcr};
use droste_smmu::{Ids, Leaves, Manner, Missing, Ranges, manner_of};

/// Everything that is needed, and range invalidation, BBM level 2, 44 bits, all granules, VMIDs of 16 bits.
const GOOD: Ids = Ids {
    idr0: 1 | 2 << 2 | 1 << 4 | 1 << 18 | 2 << 21 | 1 << 24 | 1 << 27,
    idr1: 16 | 19 << 16 | 19 << 21,
    idr3: 1 << 10 | 2 << 11,
    idr5: 4 | 7 << 4,
    iidr: 0,
    aidr: 1,
};

#[test]
fn an_smmu_with_all_that_is_needed_says_how_far_it_goes() {
    let able = GOOD.decode().expect("nothing is missing");
    assert_eq!((able.ranges, able.bbm), (Ranges::Yes, Bbm::Level2));
    assert_eq!(
        (able.stream_bits, able.commands_log2, able.events_log2),
        (16, 19, 19)
    );
    assert_eq!(able.output(), PaRange::Bits44);
    for (bits, bbm) in [(0, Bbm::Level0), (1, Bbm::Level1), (2, Bbm::Level2)] {
        let ids = Ids {
            idr3: bits << 11,
            ..GOOD
        };
        let able = ids.decode().expect("nothing of IDR3 is needed");
        assert_eq!((able.bbm, able.ranges), (bbm, Ranges::No));
    }
}

#[test]
fn each_thing_that_is_missing_is_named() {
    let idr0 = |idr0| Ids { idr0, ..GOOD };
    let cases = [
        (Ids { aidr: 0, ..GOOD }, "AIDR"),
        (Ids { aidr: 0x11, ..GOOD }, "AIDR"),
        (idr0(GOOD.idr0 & !1), "IDR0.S2P"),
        (idr0(GOOD.idr0 & !(3 << 2) | 1 << 2), "IDR0.TTF"),
        (idr0(GOOD.idr0 | 3 << 21), "IDR0.TTENDIAN"),
        (idr0(GOOD.idr0 & !(3 << 21) | 1 << 21), "IDR0.TTENDIAN"),
        (idr0(GOOD.idr0 & !(1 << 4)), "IDR0.COHACC"),
        (idr0(GOOD.idr0 & !(3 << 24) | 2 << 24), "IDR0.STALL_MODEL"),
        (idr0(GOOD.idr0 & !(3 << 27)), "IDR0.ST_LEVEL"),
        (
            Ids {
                idr1: GOOD.idr1 | 1 << 29,
                ..GOOD
            },
            "IDR1.QUEUES_PRESET",
        ),
        (
            Ids {
                idr1: GOOD.idr1 | 1 << 30,
                ..GOOD
            },
            "IDR1.QUEUES_PRESET",
        ),
    ];
    for (ids, name) in cases {
        let missing = ids.decode().expect_err(name);
        assert!(missing.to_string().contains(name), "{missing}");
    }
}

/// 39 bits from level 1, `ps`, `tg0`.
const fn vtcr(ps: u64, tg0: u64) -> Vtcr {
    Vtcr(1 << 31 | ps << 16 | tg0 << 14 | 3 << 12 | 1 << 10 | 1 << 8 | 1 << 6 | 0x19)
}

#[test]
fn a_table_that_the_smmu_cannot_walk_is_refused_by_name() {
    let able = GOOD.decode().expect("nothing is missing");
    let plain = Leaves::Combined;
    assert_eq!(able.check(vtcr(4, 0), plain, Vmid(0xffff)), Ok(()));
    let width = Missing::Width {
        table: 48,
        smmu: 44,
    };
    assert_eq!(able.check(vtcr(5, 0), plain, Vmid(1)), Err(width));
    let wide = Vtcr(vtcr(4, 0).0 | 1 << 32);
    assert_eq!(able.check(wide, plain, Vmid(1)), Err(Missing::WideTable));
    assert_eq!(
        able.check(vtcr(6, 1), plain, Vmid(1)),
        Err(Missing::WideTable)
    );
    assert_eq!(
        able.check(vtcr(4, 0), Leaves::Forced, Vmid(1)),
        Err(Missing::ForcedWriteBack)
    );
    let granules = [
        (0, 4, Granule::Kib4),
        (2, 5, Granule::Kib16),
        (1, 6, Granule::Kib64),
    ];
    for (tg0, bit, granule) in granules {
        let ids = Ids {
            idr5: GOOD.idr5 & !(1 << bit),
            ..GOOD
        };
        let able = ids.decode().expect("a granule is the table's matter");
        assert_eq!(
            able.check(vtcr(4, tg0), plain, Vmid(1)),
            Err(Missing::Granule(granule))
        );
    }
    let narrow = Ids {
        idr0: GOOD.idr0 & !(1 << 18),
        idr3: 1 << 8,
        ..GOOD
    };
    let able = narrow.decode().expect("8 bits will do");
    assert_eq!(able.check(vtcr(4, 0), Leaves::Forced, Vmid(255)), Ok(()));
    assert_eq!(
        able.check(vtcr(4, 0), plain, Vmid(256)),
        Err(Missing::WideVmid)
    );
}

#[test]
fn a_part_with_an_erratum_is_told_by_its_product_and_not_by_its_revision() {
    for revision in [0, 0x1000, 0x1_0000, 0xf_f000] {
        let (manner, erratum) = manner_of(0x4870_043b | revision);
        assert_eq!(manner, Manner::SyncEach);
        assert_eq!(erratum.map(|erratum| erratum.name), Some("2812531"));
    }
    for other in [0, 0x4830_043b, 0x4980_043b, 0x4870_0123] {
        assert_eq!(manner_of(other), (Manner::Batched, None));
    }
}
