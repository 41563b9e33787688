//! Walks that end without a leaf: output sizes, reserved descriptors, tables that cannot be read.

use super::*;

#[test]
fn addresses_beyond_the_output_size_fault_at_their_level() {
    use FaultKind::AddressSize;
    // PS of 36 bits.
    let narrow = KIB4 & !(7 << 16) | 1 << 16;
    let wide = 1 << 36;
    for (shifts, last, level) in [
        (&[30][..], RAM | wide, Level::L1),
        (&[30], TABLE | wide, Level::L1),
        (&[30, 21], RAM | wide, Level::L2),
        (&[30, 21], TABLE | wide, Level::L2),
        (&[30, 21, 12], PAGE | wide, Level::L3),
        // Before the access flag and the permission.
        (&[30, 21, 12], TABLE | wide, Level::L3),
    ] {
        let memory = Sparse::new(MEMORY);
        chain(&memory, 0, shifts, 9, last);
        assert_eq!(read(narrow, &memory, 0), fault(AddressSize, level));
        if level != Level::L1 || last & 2 == 0 {
            assert_ne!(read(KIB4, &memory, 0), fault(AddressSize, level));
        }
    }
    let memory = Sparse::new(MEMORY);
    let registers = StageTwoRegisters {
        vttbr: Vttbr(wide | ROOT),
        ..registers(narrow)
    };
    let result = walker(&registers, &rich()).translate(&memory, L2Ipa(0), Access::Read);
    assert_eq!(result, fault(AddressSize, Level::L0));
    assert_eq!(memory.reads.get(), 0);
}

#[test]
fn the_output_size_is_no_wider_than_what_is_advertised() {
    let memory = Sparse::new(MEMORY);
    chain(&memory, 0, &[30], 9, RAM | 1 << 40);
    for ps in 0..8 {
        let registers = registers(KIB4 & !(7 << 16) | ps << 16);
        let result = walker(&registers, &plain()).translate(&memory, L2Ipa(0), Access::Read);
        assert_eq!(result, fault(FaultKind::AddressSize, Level::L1), "PS {ps}");
    }
}

#[test]
fn at_64_kib_wide_addresses_are_addresses_or_faults() {
    let mut wide = rich();
    wide.ids.mmfr0 = wide.ids.mmfr0 & !15 | 6;
    wide.ipa_bits = IpaBits::MAX;
    let memory = Sparse::new(MEMORY);
    memory.set(ROOT, PAGE & !2 | 1 << 12);
    let read = |ps: u64, advertised: &Advertised| {
        let registers = registers(vtcr(1, 1, 24) & !(7 << 16) | ps << 16);
        walker(&registers, advertised).translate(&memory, L2Ipa(0), Access::Read)
    };
    assert_eq!(read(6, &wide).map(|leaf| leaf.output), Ok(L1Ipa(1 << 48)));
    assert_eq!(read(5, &wide), fault(FaultKind::AddressSize, Level::L2));
    assert_eq!(
        read(5, &rich()).map(|leaf| leaf.output),
        Ok(L1Ipa(0)),
        "RES0 and ignored"
    );
    // A block of 4 TiB at level 1.
    memory.set(ROOT, RAM);
    let registers = registers(vtcr(1, 2, 12) & !(7 << 16) | 6 << 16);
    let leaf = walker(&registers, &wide).translate(&memory, L2Ipa(0), Access::Read);
    assert_eq!(
        leaf.map(|leaf| (leaf.bytes, leaf.level)),
        Ok((4 << 40, Level::L1))
    );
}

#[test]
fn reserved_descriptors_end_a_walk() {
    let memory = Sparse::new(MEMORY);
    for last in [0, 2, PAGE & !1, 0xffff_ffff_ffff_fffe] {
        for shifts in [&[30][..], &[30, 21], &[30, 21, 12]] {
            chain(&memory, 0, shifts, 9, last);
            let level = Level::ALL[shifts.len() + 1];
            assert_eq!(read(KIB4, &memory, 0), fault(FaultKind::Translation, level));
        }
    }
    // A block at level 3, and where the granule has none.
    chain(&memory, 0, &[30, 21, 12], 9, RAM);
    assert_eq!(
        read(KIB4, &memory, 0),
        fault(FaultKind::Translation, Level::L3)
    );
    memory.set(ROOT, RAM);
    for value in [vtcr(0, 2, 16), vtcr(2, 2, 20), vtcr(1, 2, 20)] {
        let level = if Vtcr(value).granule() == Some(droste_arm64::Granule::Kib4) {
            Level::L0
        } else {
            Level::L1
        };
        assert_eq!(
            read(value, &memory, 0),
            fault(FaultKind::Translation, level)
        );
    }
}

#[test]
fn tables_outside_memory_abort_at_their_level() {
    let memory = Sparse::new(ROOT + 0x2000);
    memory.set(ROOT, TABLE | (ROOT + 0x1000));
    memory.set(ROOT + 0x1000, TABLE | (ROOT + 0x2000));
    memory.set(ROOT + 8, TABLE | 0xff_ffff_f000);
    assert_eq!(
        read(KIB4, &memory, 0),
        fault(FaultKind::ExternalAbort, Level::L3)
    );
    assert_eq!(
        read(KIB4, &memory, 1 << 30),
        fault(FaultKind::ExternalAbort, Level::L2)
    );
    let empty = Sparse::new(0);
    assert_eq!(
        read(KIB4, &empty, 0),
        fault(FaultKind::ExternalAbort, Level::L1)
    );
}

#[test]
fn a_table_that_leads_to_itself_ends_at_level_3() {
    let memory = Sparse::new(MEMORY);
    memory.set(ROOT, PAGE | ROOT);
    let leaf = read(vtcr(0, 2, 16), &memory, 0xabc).expect("its own page");
    assert_eq!((leaf.output, leaf.level), (L1Ipa(ROOT), Level::L3));
    assert_eq!(memory.reads.get(), 4);
}
