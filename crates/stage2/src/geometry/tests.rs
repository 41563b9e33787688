use droste_arm64::StartFault;

use super::*;

/// All three granules, with FEAT_LPA2 where physical addresses have 52 bits, as the architecture has it.
fn hardware(pa_range: u64) -> IdRegisters {
    let tgran = if pa_range >= 6 {
        2 << 20 | 1 << 28
    } else {
        1 << 20
    };
    IdRegisters {
        mmfr0: pa_range | tgran,
        ..IdRegisters::default()
    }
}

fn width(bits: u32) -> IpaBits {
    IpaBits::new(bits).expect("32 to 52")
}

fn geometry(granule: Granule, bits: u32) -> Geometry {
    Geometry::new(granule, width(bits), &hardware(6)).expect("52 bits suffice")
}

/// Width, start level, concatenated tables, SL0: from the tables of DDI 0487, D8 "Concatenated translation tables"
/// and the encodings of VTCR_EL2.SL0, one line per width. Beyond 48 bits VTCR_EL2.DS is 1 but for 64 KiB.
type Row = (u32, i8, u64, u64);

const KIB4: [Row; 21] = [
    (32, 2, 4, 0),
    (33, 2, 8, 0),
    (34, 2, 16, 0),
    (35, 1, 1, 1),
    (36, 1, 1, 1),
    (37, 1, 1, 1),
    (38, 1, 1, 1),
    (39, 1, 1, 1),
    (40, 1, 2, 1),
    (41, 1, 4, 1),
    (42, 1, 8, 1),
    (43, 1, 16, 1),
    (44, 0, 1, 2),
    (45, 0, 1, 2),
    (46, 0, 1, 2),
    (47, 0, 1, 2),
    (48, 0, 1, 2),
    (49, 0, 2, 2),
    (50, 0, 4, 2),
    (51, 0, 8, 2),
    (52, 0, 16, 2),
];
const KIB16: [Row; 21] = [
    (32, 2, 1, 1),
    (33, 2, 1, 1),
    (34, 2, 1, 1),
    (35, 2, 1, 1),
    (36, 2, 1, 1),
    (37, 2, 2, 1),
    (38, 2, 4, 1),
    (39, 2, 8, 1),
    (40, 2, 16, 1),
    (41, 1, 1, 2),
    (42, 1, 1, 2),
    (43, 1, 1, 2),
    (44, 1, 1, 2),
    (45, 1, 1, 2),
    (46, 1, 1, 2),
    (47, 1, 1, 2),
    (48, 1, 2, 2),
    (49, 1, 4, 2),
    (50, 1, 8, 2),
    (51, 1, 16, 2),
    (52, 0, 1, 3),
];
const KIB64: [Row; 21] = [
    (32, 3, 8, 0),
    (33, 3, 16, 0),
    (34, 2, 1, 1),
    (35, 2, 1, 1),
    (36, 2, 1, 1),
    (37, 2, 1, 1),
    (38, 2, 1, 1),
    (39, 2, 1, 1),
    (40, 2, 1, 1),
    (41, 2, 1, 1),
    (42, 2, 1, 1),
    (43, 2, 2, 1),
    (44, 2, 4, 1),
    (45, 2, 8, 1),
    (46, 2, 16, 1),
    (47, 1, 1, 2),
    (48, 1, 1, 2),
    (49, 1, 1, 2),
    (50, 1, 1, 2),
    (51, 1, 1, 2),
    (52, 1, 1, 2),
];

const ALL: [(Granule, u64, [Row; 21]); 3] = [
    (Granule::Kib4, 4096, KIB4),
    (Granule::Kib16, 16384, KIB16),
    (Granule::Kib64, 65536, KIB64),
];

#[test]
fn every_width_starts_where_the_manual_allows_and_no_higher() {
    for (granule, page, table) in ALL {
        for (bits, start, tables, sl0) in table {
            let geometry = geometry(granule, bits);
            assert_eq!(geometry.start().number(), start, "{granule:?} {bits}");
            assert_eq!(geometry.root_bytes(), tables * page, "{granule:?} {bits}");
            let vtcr = geometry.vtcr(&hardware(6)).0;
            let is_lpa2 = bits > 48 && granule != Granule::Kib64;
            assert_eq!(vtcr >> 32, u64::from(is_lpa2), "SL2 and DS");
            assert_eq!(vtcr >> 6 & 3, sl0, "{granule:?} {bits}");
            assert_eq!(vtcr & 0x3f, 64 - u64::from(bits));
        }
    }
}

/// The consistency rule of the manual's pseudocode (DDI 0487, J1.1, AArch64.S2InconsistentSL): the width is at least
/// one bit more than the levels below the root resolve and at most a full table and four bits of concatenation.
#[test]
fn width_and_start_level_are_consistent() {
    for (granule, page, table) in ALL {
        let granule_bits = page.trailing_zeros();
        let stride = granule_bits - 3;
        for (bits, ..) in table {
            let start = geometry(granule, bits).start().number();
            let levels_below = u32::try_from(3 - start).expect("at most level 3");
            let least = levels_below * stride + granule_bits + 1;
            assert!((least..=least + stride - 1 + 4).contains(&bits));
        }
    }
}

/// Bits that one entry of `level` maps, counted lookup by lookup.
fn entry_bits(granule: Granule, level: i8) -> u32 {
    let granule_bits = granule.page_bytes().trailing_zeros();
    (level..3).fold(granule_bits, |bits, _| bits + granule_bits - 3)
}

#[test]
fn every_shape_maps_its_space_exactly() {
    for (granule, ..) in ALL {
        for bits in 32..=52 {
            let lowest = geometry(granule, bits);
            for start in Level::ALL {
                let Ok(shape) = lowest.starting_at(start, &hardware(6)) else {
                    continue;
                };
                let entry = 1u64 << entry_bits(granule, start.number());
                assert_eq!(shape.root_entries() * entry, 1 << bits, "{shape:?}");
                assert!(shape.root_entries() >= 2, "{shape:?}");
                assert!(shape.root_entries() <= 16 * granule.entries(), "{shape:?}");
                let bytes = (shape.root_entries() * 8).max(granule.page_bytes());
                assert_eq!(shape.root_bytes(), bytes, "{shape:?}");
                assert_eq!(shape.vtcr(&hardware(6)).start(), Some(start));
                let walked = Level::ALL.into_iter().filter(|&level| level >= start);
                for level in walked {
                    let bytes = 1u64 << entry_bits(granule, level.number());
                    assert_eq!(shape.entry_bytes(level), bytes);
                    let is_root = level == start;
                    let entries = if is_root {
                        shape.root_entries()
                    } else {
                        granule.entries()
                    };
                    assert_eq!(shape.entries(level), entries);
                }
            }
        }
    }
}

/// A descriptor's place found the slow way: by counting entries from the start of the space.
#[test]
fn a_walk_reaches_the_entries_that_counting_reaches() {
    for (granule, ..) in ALL {
        for bits in 32..=52 {
            let lowest = geometry(granule, bits);
            for start in Level::ALL {
                let Ok(shape) = lowest.starting_at(start, &hardware(6)) else {
                    continue;
                };
                let top = 1u64 << bits;
                for ipa in [0, top / 2 - 1, top / 2, top - 1, top / 3] {
                    let (mut from, mut level) = (0, start);
                    loop {
                        let size = 1u64 << entry_bits(granule, level.number());
                        let number = (ipa - from) / size;
                        let entry = shape.entry(Pa(0x10_0000), level, Ipa(ipa));
                        assert_eq!(entry, Pa(0x10_0000 + number * 8), "{shape:?} {level:?}");
                        from += number * size;
                        let Some(below) = level.next() else {
                            break;
                        };
                        level = below;
                    }
                }
            }
        }
    }
}

/// The start levels that a width may have, from the tables of D8.2.7 to D8.2.9: those between two entries and
/// sixteen tables.
#[test]
fn a_start_level_can_be_chosen_among_those_that_the_manual_permits() {
    let starts = |granule, bits| {
        let shape = geometry(granule, bits);
        let permitted = |&level: &Level| shape.starting_at(level, &hardware(6)).is_ok();
        let levels = Level::ALL.into_iter().filter(permitted);
        levels.map(Level::number).collect::<std::vec::Vec<_>>()
    };
    for (bits, expected) in [
        (32, &[1, 2][..]),
        (34, &[1, 2]),
        (35, &[1]),
        (39, &[1]),
        (40, &[0, 1]),
        (43, &[0, 1]),
        (44, &[0]),
        (48, &[0]),
        (49, &[-1, 0]),
        (52, &[-1, 0]),
    ] {
        assert_eq!(starts(Granule::Kib4, bits), expected, "{bits}");
    }
    for (bits, expected) in [
        (36, &[2][..]),
        (37, &[1, 2]),
        (40, &[1, 2]),
        (41, &[1]),
        (47, &[1]),
        // Without FEAT_LPA2's format there is no level 0 (R_DXBSH).
        (48, &[1]),
        (49, &[0, 1]),
        (51, &[0, 1]),
        (52, &[0]),
    ] {
        assert_eq!(starts(Granule::Kib16, bits), expected, "{bits}");
    }
    for (bits, expected) in [
        (32, &[2, 3][..]),
        (33, &[2, 3]),
        (34, &[2]),
        (42, &[2]),
        (43, &[1, 2]),
        (46, &[1, 2]),
        (47, &[1]),
        (52, &[1]),
    ] {
        assert_eq!(starts(Granule::Kib64, bits), expected, "{bits}");
    }
}

#[test]
fn a_start_level_that_breaks_a_rule_is_refused_with_the_rule() {
    let refused =
        |geometry: Geometry, start, ids: &IdRegisters| match geometry.starting_at(start, ids) {
            Err(Error::StartLevel { fault, .. }) => fault,
            other => panic!("{other:?}"),
        };
    let wide = geometry(Granule::Kib4, 52);
    let fault = refused(wide, Level::L1, &hardware(6));
    assert_eq!(fault, StartFault::InputTooWide { most: 43 });
    let narrow = geometry(Granule::Kib4, 40);
    let fault = refused(narrow, Level::Minus1, &hardware(6));
    assert_eq!(fault, StartFault::NoEncoding);
    let fault = refused(narrow, Level::L3, &hardware(6));
    assert_eq!(fault, StartFault::InputTooWide { most: 25 });
    let small = geometry(Granule::Kib4, 36);
    let fault = refused(small, Level::L0, &hardware(6));
    assert_eq!(fault, StartFault::InputTooNarrow { least: 40 });
    let fault = refused(narrow, Level::L0, &hardware(2));
    assert_eq!(fault, StartFault::PhysicalTooNarrow { needed: 44 });
}

#[test]
fn a_start_level_that_the_machine_lacks_is_never_chosen() {
    for pa_range in 0..8 {
        let ids = hardware(pa_range);
        for granule in Granule::ALL {
            for bits in 32..=ids.pa_range().bits().min(52) {
                let shape = Geometry::new(granule, width(bits), &ids).expect("within the machine");
                assert_eq!(shape.starting_at(shape.start(), &ids), Ok(shape));
            }
        }
    }
}

#[test]
fn a_space_wider_than_the_machine_is_refused() {
    for pa_range in 0..8 {
        let ids = hardware(pa_range);
        let pa_bits = ids.pa_range().bits().min(52);
        for granule in Granule::ALL {
            for bits in 32..=52 {
                let ipa_bits = width(bits);
                let result = Geometry::new(granule, ipa_bits, &ids);
                if bits <= pa_bits {
                    assert!(result.is_ok());
                } else {
                    assert_eq!(result, Err(Error::IpaTooWide { ipa_bits, pa_bits }));
                }
            }
        }
    }
}

#[test]
fn a_granule_that_stage_2_lacks_is_refused() {
    let bare = IdRegisters {
        mmfr0: 5 | 15 << 24 | 15 << 28,
        ..IdRegisters::default()
    };
    for granule in Granule::ALL {
        assert_eq!(
            Geometry::new(granule, IpaBits::MIN, &bare),
            Err(Error::GranuleUnsupported(granule))
        );
    }
}

#[test]
fn wide_addresses_without_lpa2_are_refused_but_for_64_kib() {
    // 52 physical address bits, all granules, no FEAT_LPA2.
    let ids = IdRegisters {
        mmfr0: 6 | 1 << 20,
        ..IdRegisters::default()
    };
    for granule in [Granule::Kib4, Granule::Kib16] {
        assert!(Geometry::new(granule, width(48), &ids).is_ok());
        let refused = Err(Error::WideUnsupported(granule));
        assert_eq!(Geometry::new(granule, width(49), &ids), refused);
        let wide = Geometry::with_output(granule, width(40), PaRange::Bits52, &ids);
        assert_eq!(wide, refused);
    }
    assert!(Geometry::new(Granule::Kib64, width(52), &ids).is_ok());
}

#[test]
fn the_format_is_the_narrow_one_where_it_serves() {
    for granule in Granule::ALL {
        for bits in 32..=52 {
            let shape = geometry(granule, bits);
            let is_wide = bits > 48;
            let expected = if is_wide {
                Format::wide(granule)
            } else {
                Format::narrow(granule)
            };
            assert_eq!(shape.format(), expected);
            assert_eq!(shape.vtcr(&hardware(6)).format(), Some(expected));
            let limit = if is_wide { 52 } else { 48 };
            assert_eq!(shape.output_limit(), 1 << limit);
        }
    }
}

#[test]
fn outputs_are_as_wide_as_asked_and_no_wider_than_the_machine() {
    for pa_range in 0..8 {
        let ids = hardware(pa_range);
        let pa_bits = ids.pa_range().bits().min(52);
        for granule in Granule::ALL {
            for output in PaRange::ALL {
                let result = Geometry::with_output(granule, IpaBits::MIN, output, &ids);
                if output.bits() > pa_bits {
                    assert_eq!(result, Err(Error::OutputTooWide { output, pa_bits }));
                    continue;
                }
                let shape = result.expect("within the machine");
                assert_eq!(shape.output_limit(), 1 << output.bits());
                assert_eq!(shape.vtcr(&ids).output(), output);
                let is_wide = output == PaRange::Bits52;
                let expected = if is_wide {
                    Format::wide(granule)
                } else {
                    Format::narrow(granule)
                };
                assert_eq!(shape.format(), expected);
            }
        }
    }
}

#[test]
fn output_width_is_the_machines_up_to_48_bits() {
    // PS is VTCR_EL2[18:16].
    for (pa_range, ps) in [
        (0, 0),
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
        (5, 5),
        (6, 5),
        (7, 5),
    ] {
        let ids = hardware(pa_range);
        let geometry = Geometry::new(Granule::Kib4, IpaBits::MIN, &ids).expect("32 bits");
        assert_eq!(geometry.vtcr(&ids).0 >> 16 & 7, ps);
        assert_eq!(geometry.output_limit(), 1 << ids.pa_range().bits().min(48));
    }
}

#[test]
fn vtcr_follows_the_features_of_the_machine() {
    let geometry = geometry(Granule::Kib4, 48);
    let with = |mmfr1| IdRegisters {
        mmfr1,
        ..hardware(5)
    };
    assert_eq!(geometry.vtcr(&with(0)).0, 0x8005_3590);
    // HA, with HAFDBS 1.
    assert_eq!(geometry.vtcr(&with(0x01)).0, 0x8025_3590);
    // VS as well, with VMIDBits 16.
    assert_eq!(geometry.vtcr(&with(0x21)).0, 0x802d_3590);
    // HD as well, with HAFDBS 2.
    assert_eq!(geometry.vtcr(&with(0x22)).0, 0x806d_3590);
}

#[test]
fn values_of_vtcr_match_those_worked_out_by_hand() {
    // RES1 | SH0=3<<12 | ORGN0=1<<10 | IRGN0=1<<8 = 0x8000_3500 in each; TG0 at [15:14], PS at [18:16].
    let ids = hardware(6);
    for (granule, bits, value) in [
        (Granule::Kib4, 32, 0x8005_3520),
        (Granule::Kib4, 39, 0x8005_3559),
        (Granule::Kib4, 44, 0x8005_3594),
        (Granule::Kib4, 49, 0x1_8006_358f),
        (Granule::Kib4, 52, 0x1_8006_358c),
        (Granule::Kib16, 36, 0x8005_b55c),
        (Granule::Kib16, 48, 0x8005_b590),
        (Granule::Kib16, 51, 0x1_8006_b58d),
        (Granule::Kib16, 52, 0x1_8006_b5cc),
        (Granule::Kib64, 33, 0x8005_751f),
        (Granule::Kib64, 42, 0x8005_7556),
        (Granule::Kib64, 48, 0x8005_7590),
        (Granule::Kib64, 52, 0x8006_758c),
    ] {
        let found = geometry(granule, bits).vtcr(&ids).0;
        assert_eq!(found, value, "{granule:?} {bits}: {found:#x}");
    }
    let high = geometry(Granule::Kib4, 52).starting_at(Level::Minus1, &ids);
    assert_eq!(high.map(|shape| shape.vtcr(&ids).0), Ok(0x3_8006_350c));
}

#[test]
fn a_root_is_packed_as_its_format_has_it() {
    let narrow = geometry(Granule::Kib4, 40);
    let root = Pa(0x8_0000_4000_0000);
    assert_eq!(narrow.baddr(root), None);
    let bits = |shape: Geometry| shape.baddr(root).map(Baddr::bits);
    assert_eq!(bits(geometry(Granule::Kib4, 52)), Some(0x4000_0020));
    assert_eq!(bits(geometry(Granule::Kib64, 52)), Some(0x4000_0020));
}

#[test]
fn levels_that_no_walk_has_do_not_panic() {
    for (granule, ..) in ALL {
        let shape = geometry(granule, 40);
        for level in Level::ALL {
            let _ = shape.entry_bytes(level);
            let _ = shape.entries(level);
            let _ = shape.entry(Pa(0), level, Ipa(u64::MAX));
        }
    }
}

#[test]
fn entries_of_concatenated_roots_stand_in_one_row() {
    let geometry = geometry(Granule::Kib4, 40);
    let root = Pa(0x10_0000);
    let last = Ipa((1 << 40) - 1);
    assert_eq!(geometry.root_entries(), 1024);
    assert_eq!(
        geometry.entry(root, Level::L1, last),
        Pa(0x10_0000 + 1023 * 8)
    );
    assert_eq!(
        geometry.entry(root, Level::L2, last),
        Pa(0x10_0000 + 511 * 8)
    );
    assert_eq!(
        geometry.entry(root, Level::L1, Ipa(513 << 30)),
        Pa(0x10_0000 + 513 * 8)
    );
}

#[test]
fn ranges_end_where_the_space_ends() {
    let geometry = geometry(Granule::Kib4, 40);
    let top = 1u64 << 40;
    assert_eq!(geometry.check(Ipa(top - 0x1000), 0x1000), Ok(()));
    for (ipa, bytes) in [(top, 0x1000), (top - 0x1000, 0x2000), (!0xfff, 0x1000)] {
        let ipa = Ipa(ipa);
        let expected = Err(Error::OutsideIpaSpace { ipa, bytes });
        assert_eq!(geometry.check(ipa, bytes), expected);
    }
    for (ipa, bytes) in [(0, 0), (0x800, 0x1000), (0, 0x800)] {
        assert!(matches!(
            geometry.check(Ipa(ipa), bytes),
            Err(Error::Misaligned { .. })
        ));
    }
    let out = |pa| geometry.check_output(Ipa(0), Pa(pa), 0x1000);
    assert_eq!(out((1 << 48) - 0x1000), Ok(()));
    assert!(matches!(out(1 << 48), Err(Error::OutsidePaSpace { .. })));
    assert!(matches!(out(!0xfff), Err(Error::OutsidePaSpace { .. })));
    assert!(matches!(out(0x10), Err(Error::Misaligned { .. })));
    let wide = Geometry::new(Granule::Kib4, width(52), &hardware(6)).expect("52 bits suffice");
    let out = |pa| wide.check_output(Ipa(0), Pa(pa), 0x1000);
    assert_eq!(out((1 << 52) - 0x1000), Ok(()));
    assert!(matches!(out(1 << 52), Err(Error::OutsidePaSpace { .. })));
    assert_eq!(wide.check(Ipa((1 << 52) - 0x1000), 0x1000), Ok(()));
}
