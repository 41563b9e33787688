//! Entries, commands and covers beside a reading of IHI 0070 that shares nothing with the crate's.

use droste_arm64::smmu::Scope;
use droste_arm64::{Granule, Ipa, Level, Pa, Vmid, Vtcr};
use droste_smmu::command::Range;
use droste_smmu::{Command, Cover, Leaves, Ranges, Stage2, Ste, StreamId, streams};
use proptest::prelude::*;

/// Bits of a structure, counted over its words as the manual does: from bit 0 of the first one.
fn field(words: &[u64], low: u32, width: u32) -> u64 {
    let (word, shift) = ((low / 64) as usize, low % 64);
    let value = words[word] >> shift;
    assert!(shift + width <= 64, "no field crosses a word here");
    if width == 64 {
        value
    } else {
        value & ((1 << width) - 1)
    }
}

#[test]
fn a_stage_2_entry_has_each_field_where_the_manual_draws_it() {
    // T0SZ 25, SL0 1, IRGN0 1, ORGN0 1, SH0 3, PS 5, and everything else of VTCR_EL2 that an entry has not.
    for (tg0, granule) in [(0, Granule::Kib4), (2, Granule::Kib16), (1, Granule::Kib64)] {
        let vtcr =
            Vtcr(0x8068_0000 | 5 << 16 | tg0 << 14 | 3 << 12 | 1 << 10 | 1 << 8 | 1 << 6 | 0x19);
        assert_eq!(vtcr.granule(), Some(granule));
        for leaves in [Leaves::Combined, Leaves::Forced] {
            let ste = Ste::stage2(&Stage2 {
                vmid: Vmid(0xabcd),
                vtcr,
                root: Pa(0xfedc_ba98_7000),
                leaves,
            });
            let expected = [
                ("V", 0, 1, 1),
                ("Config", 1, 3, 6),
                ("S1ContextPtr", 6, 50, 0),
                ("S2FWB", 89, 1, u64::from(leaves == Leaves::Forced)),
                ("EATS", 92, 2, 0),
                ("STRW", 94, 2, 0),
                ("MTCFG", 100, 1, 0),
                ("SHCFG", 108, 2, 1),
                ("S2VMID", 128, 16, 0xabcd),
                ("S2T0SZ", 160, 6, 25),
                ("S2SL0", 166, 2, 1),
                ("S2IR0", 168, 2, 1),
                ("S2OR0", 170, 2, 1),
                ("S2SH0", 172, 2, 3),
                ("S2TG", 174, 2, tg0),
                ("S2PS", 176, 3, 5),
                ("S2AA64", 179, 1, 1),
                ("S2ENDI", 180, 1, 0),
                ("S2AFFD", 181, 1, 1),
                ("S2PTW", 182, 1, 0),
                ("S2HD", 183, 1, 0),
                ("S2HA", 184, 1, 0),
                ("S2S", 185, 1, 0),
                ("S2R", 186, 1, 1),
                ("S2TTB", 196, 48, 0xfedc_ba98_7000 >> 4),
            ];
            let mut rest = ste.0;
            for (name, low, width, value) in expected {
                assert_eq!(field(&ste.0, low, width), value, "{name}");
                rest[(low / 64) as usize] &= !(value << (low % 64));
            }
            assert_eq!(rest, [0; 8], "every bit belongs to a field");
        }
    }
}

#[test]
fn entries_without_a_table_terminate_or_pass() {
    assert_eq!(Ste::INVALID.0, [0; 8]);
    assert_eq!(
        (field(&Ste::ABORT.0, 0, 1), field(&Ste::ABORT.0, 1, 3)),
        (1, 0)
    );
    assert_eq!(Ste::ABORT.0[1..], [0; 7]);
    assert_eq!(
        (field(&Ste::BYPASS.0, 0, 1), field(&Ste::BYPASS.0, 1, 3)),
        (1, 4)
    );
    assert_eq!(field(&Ste::BYPASS.0, 108, 2), 1);
}

#[test]
fn a_link_of_the_first_level_spans_64_entries() {
    let link = streams::link(Pa(0x12_3456_7000));
    assert_eq!(link & 0x1f, 7);
    assert_eq!(link & !0x1f, 0x12_3456_7000);
    assert_eq!(streams::SPLIT, 6);
}

#[test]
fn each_command_is_as_the_manual_draws_it() {
    let stream = StreamId(0xdead_beef);
    let range = Range {
        num: 32,
        scale: 21,
        granule: Granule::Kib64,
        leaf: Some(Level::L2),
    };
    let ipa = Ipa(0xf_1234_5678_9000);
    let vmid = Vmid(0x8421);
    for (command, first, second) in [
        (Command::CfgiSte(stream), 0xdead_beef_0000_0003, 0),
        (
            Command::CfgiSteRange {
                first: StreamId(0x40),
                log2: 6,
            },
            0x40_0000_0004,
            5,
        ),
        (Command::CfgiAll, 0x04, 31),
        (Command::TlbiS12Vmall(vmid), 0x8421_0000_0028, 0),
        (
            Command::TlbiS2Ipa {
                vmid,
                ipa,
                range: None,
            },
            0x8421_0000_002a,
            0xf_1234_5678_9000,
        ),
        (
            Command::TlbiS2Ipa {
                vmid,
                ipa,
                range: Some(range),
            },
            0x8421_0000_002a | 31 << 12 | 21 << 20,
            0xf_1234_5678_9000 | 2 << 8 | 3 << 10,
        ),
        (Command::TlbiNsnhAll, 0x30, 0),
        (Command::TlbiEl2All, 0x20, 0),
        (Command::Sync, 0x46, 0),
    ] {
        assert_eq!(command.encode(), [first, second], "{command:?}");
    }
}

/// First page and number of pages of a CMD_TLBI_S2_IPA, by the manual's picture; checks what is reserved.
fn read(words: [u64; 2], shift: u32, leaf_pages: u64) -> (u64, u64) {
    assert_eq!(words[0] & 0xff, 0x2a);
    assert_eq!(words[1] & 1, 0, "Leaf: what leads there goes as well");
    let (num, scale) = (field(&words, 12, 5), field(&words, 20, 5));
    let (ttl, tg) = (field(&words, 72, 2), field(&words, 74, 2));
    let page = field(&words, 64, 52) >> 12 << 12 >> shift;
    if tg == 0 {
        assert_eq!(
            (num, scale, ttl),
            (0, 0, 0),
            "fields without a range are zero"
        );
        return (page, leaf_pages);
    }
    assert_eq!(
        tg,
        match shift {
            12 => 1,
            14 => 2,
            _ => 3,
        }
    );
    assert!(
        (num, scale, ttl) != (0, 0, 0),
        "reserved: one page of any level"
    );
    assert!(
        tg != 2 || ttl != 1,
        "reserved: no block of 16 KiB granules is at level 1"
    );
    if ttl != 0 {
        let pages = 1 << ((3 - ttl) * u64::from(shift - 3));
        assert_eq!(page % pages, 0, "a level's range begins on a leaf");
        assert_eq!(((num + 1) << scale) % pages, 0, "and ends on one");
    }
    (page, (num + 1) << scale)
}

const GRANULES: [(Granule, u32); 3] = [
    (Granule::Kib4, 12),
    (Granule::Kib16, 14),
    (Granule::Kib64, 16),
];

fn check(
    granule: (Granule, u32),
    first: u64,
    pages: u64,
    leaf: Option<Level>,
    ranges: Ranges,
) -> usize {
    let (granule, shift) = granule;
    let scope = Scope::Range {
        from: Ipa(first << shift),
        pages,
        granule,
        leaf,
    };
    let commands: Vec<_> = Cover::new(Vmid(3), scope, ranges).collect();
    if commands == [Command::TlbiS12Vmall(Vmid(3))] {
        return 1;
    }
    let single = leaf.map_or(1, |level| {
        1 << (u64::from(3 - level.number().unsigned_abs()) * u64::from(shift - 3))
    });
    let mut next = first;
    for command in &commands {
        let words = command.encode();
        let of_one = if ranges == Ranges::No { single } else { 1 };
        let (page, count) = read(words, shift, of_one);
        assert_eq!(page, next, "no gap, nothing twice");
        assert_eq!(field(&words, 32, 16), 3);
        next += count;
    }
    assert_eq!(next, first + pages, "to the end and no further");
    commands.len()
}

#[test]
fn small_ranges_are_covered_exactly_in_every_way() {
    for granule in GRANULES {
        for ranges in [Ranges::No, Ranges::Yes] {
            for pages in 1..=1100 {
                let count = check(granule, 0x8_0000 - 3, pages, None, ranges);
                assert!(count <= if ranges == Ranges::Yes { 3 } else { 64 });
            }
            for level in [Level::L1, Level::L2, Level::L3] {
                let leaf = 1_u64
                    << (u64::from(3 - level.number().unsigned_abs()) * u64::from(granule.1 - 3));
                for leaves in 1..=66 {
                    check(granule, 5 * leaf, leaves * leaf, Some(level), ranges);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_range_is_covered_exactly_by_few_commands(
        which in 0_usize..3, first in 0_u64..1 << 34, pages in 1_u64..1 << 35,
    ) {
        let count = check(GRANULES[which], first, pages, None, Ranges::Yes);
        prop_assert!(count <= 8, "{count} commands");
        check(GRANULES[which], first, pages, None, Ranges::No);
    }
}

#[test]
fn past_the_threshold_the_whole_vmid_goes() {
    let scope = |pages| Scope::Range {
        from: Ipa(0),
        pages,
        granule: Granule::Kib4,
        leaf: None,
    };
    assert_eq!(Cover::new(Vmid(1), scope(64), Ranges::No).count(), 64);
    let all = [Command::TlbiS12Vmall(Vmid(1))];
    assert!(Cover::new(Vmid(1), scope(65), Ranges::No).eq(all));
    assert!(Cover::new(Vmid(1), Scope::All, Ranges::Yes).eq(all));
}
