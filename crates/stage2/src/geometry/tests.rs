use super::*;

fn hardware(pa_range: u64) -> IdRegisters {
    IdRegisters {
        // All three granules.
        mmfr0: pa_range | 1 << 20,
        ..IdRegisters::default()
    }
}

fn geometry(granule: Granule, bits: u32) -> Geometry {
    let bits = IpaBits::new(bits).expect("32 to 48");
    Geometry::new(granule, bits, &hardware(5)).expect("48 bits suffice")
}

/// Width, start level, concatenated tables, SL0: from the tables of DDI 0487, D8 "Concatenated translation tables"
/// and the encodings of VTCR_EL2.SL0, one line per width.
type Row = (u32, i8, u64, u64);

const KIB4: [Row; 17] = [
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
];
const KIB16: [Row; 17] = [
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
];
const KIB64: [Row; 17] = [
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
];

const ALL: [(Granule, u64, [Row; 17]); 3] = [
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
            let vtcr = geometry.vtcr(&hardware(5)).0;
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

/// The limits of AArch64.S2InvalidSL: level 0 at 4 KiB and level 1 at 64 KiB need 44 physical address bits, level 1
/// at 16 KiB needs 42.
#[test]
fn start_levels_that_small_machines_lack_are_never_chosen() {
    for pa_range in 0..6 {
        let ids = hardware(pa_range);
        let pa_bits = ids.pa_range().bits().min(48);
        for granule in Granule::ALL {
            for bits in 32..=pa_bits {
                let bits = IpaBits::new(bits).expect("32 to 48");
                let geometry = Geometry::new(granule, bits, &ids).expect("within the machine");
                let needed = match (granule, geometry.start()) {
                    (Granule::Kib4, Level::L0) | (Granule::Kib64, Level::L1) => 44,
                    (Granule::Kib16, Level::L1) => 42,
                    _ => 32,
                };
                assert!(pa_bits >= needed);
            }
        }
    }
}

#[test]
fn a_space_wider_than_the_machine_is_refused() {
    for pa_range in 0..8 {
        let ids = hardware(pa_range);
        let pa_bits = ids.pa_range().bits().min(48);
        for granule in Granule::ALL {
            for bits in 32..=52 {
                let ipa_bits = IpaBits::new(bits).expect("32 to 48");
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
    let ids = IdRegisters {
        // VMIDBits 16, HAFDBS.
        mmfr1: 0x21,
        ..hardware(5)
    };
    let geometry =
        Geometry::new(Granule::Kib4, IpaBits::new(48).expect("48"), &ids).expect("48 bits");
    assert_eq!(geometry.vtcr(&ids).0, 0x802d_3590);
    assert_eq!(geometry.vtcr(&hardware(5)).0, 0x8005_3590);
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
}
