//! What a walk reads from a leaf.

use super::*;

#[test]
fn every_granule_level_and_run_maps_what_the_manual_says() {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    type Case<'a> = (u64, &'a [u32], u32, u64, u64);
    // VTCR_EL2, the lookups' shifts, bits a lookup, bytes of the leaf, bytes of the run.
    let cases: [Case; 9] = [
        (vtcr(0, 2, 16), &[39, 30, 21, 12], 9, 4 * KIB, 64 * KIB),
        (vtcr(0, 1, 24), &[30, 21, 12], 9, 4 * KIB, 64 * KIB),
        (vtcr(0, 1, 24), &[30, 21], 9, 2 * MIB, 32 * MIB),
        (vtcr(0, 1, 24), &[30], 9, GIB, 16 * GIB),
        (vtcr(0, 3, 44), &[12], 9, 4 * KIB, 64 * KIB),
        (vtcr(2, 1, 24), &[25, 14], 11, 16 * KIB, 2 * MIB),
        (vtcr(2, 1, 24), &[25], 11, 32 * MIB, GIB),
        (vtcr(1, 1, 24), &[29, 16], 13, 64 * KIB, 2 * MIB),
        (vtcr(1, 1, 24), &[29], 13, 512 * MIB, 16 * GIB),
    ];
    for (vtcr, shifts, index_bits, bytes, run) in cases {
        let is_page = shifts.last().is_some_and(|&shift| shift <= 16);
        let leaf = if is_page { PAGE } else { RAM };
        let memory = Sparse::new(MEMORY);
        // The third leaf of a run, both in and out.
        let ipa = if shifts == [12] {
            2 * bytes
        } else {
            run + 2 * bytes
        };
        let output = 3 * run + 2 * bytes;
        let at = chain(&memory, ipa, shifts, index_bits, leaf | output);
        let found = read(vtcr, &memory, ipa + 0x123).expect("mapped");
        assert_eq!(
            (found.ipa, found.output, found.bytes),
            (L2Ipa(ipa), L1Ipa(output), bytes)
        );
        assert_eq!(found.extent, Extent::Leaf);
        assert_eq!(found.output_of(L2Ipa(ipa + 0x123)), L1Ipa(output + 0x123));
        assert_eq!(memory.reads.get() as usize, shifts.len());

        memory.set(at, leaf | output | 1 << 52);
        let found = read(vtcr, &memory, ipa + 0x123).expect("mapped");
        assert_eq!((found.extent, found.bytes), (Extent::Run, run));
        assert_eq!(
            (found.ipa, found.output),
            (L2Ipa(ipa & !(run - 1)), L1Ipa(3 * run))
        );
        assert_eq!(found.output_of(L2Ipa(ipa + 0x123)), L1Ipa(output + 0x123));
    }
}

#[test]
fn a_run_that_cannot_be_one_is_its_leaf() {
    let memory = Sparse::new(MEMORY);
    // Another offset in the run than the input has.
    chain(&memory, 0x3000, &[30, 21, 12], 9, PAGE | 1 << 52 | 0x5_4000);
    let found = read(KIB4, &memory, 0x3000).expect("mapped");
    assert_eq!((found.extent, found.bytes), (Extent::Leaf, 0x1000));
    // A run larger than the input.
    let memory = Sparse::new(MEMORY);
    chain(&memory, 0, &[12], 9, PAGE | 1 << 52);
    let small = vtcr(0, 3, 48 - 1);
    let found = read(vtcr(0, 3, 44), &memory, 0).expect("mapped");
    assert_eq!(found.bytes, 0x1_0000);
    let narrow = vtcr(1, 0, 47);
    assert_eq!(read(small, &memory, 0).map(|leaf| leaf.bytes), Ok(0x1_0000));
    assert_eq!(
        read(narrow, &memory, 0).map(|leaf| leaf.bytes),
        Ok(0x1_0000)
    );
}

#[test]
fn bits_without_meaning_are_ignored() {
    let memory = Sparse::new(MEMORY);
    // Attributes in table descriptors; PBHA, software bits, bit 11 and nT in leaves.
    memory.set(ROOT, TABLE | 0xfff0_0000_0000_0ffc | (ROOT + 0x1000));
    memory.set(ROOT + 0x1000, RAM | 0xff80_0000_0001_f800 | 0x20_0000);
    let leaf = read(KIB4, &memory, 0x1000).expect("mapped");
    assert_eq!((leaf.output, leaf.bytes), (L1Ipa(0x20_0000), 2 << 20));
    // A root off its alignment, under CnP.
    let registers = StageTwoRegisters {
        vttbr: Vttbr(ROOT | 0x1fff),
        ..registers(KIB4)
    };
    let other = walker(&registers, &rich()).translate(&memory, L2Ipa(0x1000), Access::Read);
    assert_eq!(other, Ok(leaf));
}

#[test]
fn permissions_are_those_of_the_fields() {
    let accesses = [
        Access::Read,
        Access::Write,
        Access::Execute(Privilege::El0),
        Access::Execute(Privilege::El1),
    ];
    let mut without = rich();
    without.ids.mmfr1 &= !(15 << 28);
    for (s2ap, xn) in (0..16).map(|n| (n & 3, n >> 2)) {
        let memory = Sparse::new(MEMORY);
        let leaf = PAGE & !(3 << 6) | s2ap << 6 | xn << 53;
        let at = chain(&memory, 0, &[30, 21, 12], 9, leaf & !(1 << 10));
        let data = [s2ap & 1 != 0, s2ap & 2 != 0];
        // DDI 0487, D8, XN[1:0] of 0b00, 0b01, 0b10, 0b11.
        let fetch = [(true, true), (true, false), (false, false), (false, true)][xn as usize];
        let fetch_without =
            [(true, true), (true, true), (false, false), (false, false)][xn as usize];
        for (advertised, (el0, el1)) in [(rich(), fetch), (without, fetch_without)] {
            let walker = walker(&registers(KIB4 | VTCR_HA), &advertised);
            for (access, is_permitted) in accesses.into_iter().zip([data[0], data[1], el0, el1]) {
                let result = walker.translate(&memory, L2Ipa(0), access);
                if is_permitted {
                    assert!(result.is_ok());
                    memory.set(at, leaf & !(1 << 10));
                } else {
                    assert_eq!(result, fault(FaultKind::Permission, Level::L3));
                    assert_eq!(memory.get(at), leaf & !(1 << 10), "flags stay");
                }
            }
        }
    }
}

#[test]
fn big_endian_tables_are_read_and_written_as_such() {
    let memory = Sparse::new(MEMORY);
    memory.set(ROOT, (TABLE | (ROOT + 0x4000)).swap_bytes());
    memory.set(ROOT + 0x4000, (RAM & !(1 << 10) | 0x4000_0000).swap_bytes());
    let big = StageTwoRegisters {
        sctlr: EE,
        ..registers(KIB4 | VTCR_HA)
    };
    let leaf = walker(&big, &rich()).translate(&memory, L2Ipa(0), Access::Read);
    assert_eq!(leaf.map(|leaf| leaf.output), Ok(L1Ipa(0x4000_0000)));
    assert_eq!(memory.get(ROOT + 0x4000), (RAM | 0x4000_0000).swap_bytes());
    assert!(
        read(KIB4, &memory, 0).is_err(),
        "as little-endian it is none"
    );
}

#[test]
fn memory_types_follow_l1s_scheme() {
    let normal = |inner, outer| MemoryType::Normal { inner, outer };
    let memory = Sparse::new(MEMORY);
    let with = |bits: u64, hcr: u64, advertised: &Advertised| {
        chain(&memory, 0, &[30], 9, RAM & !(15 << 2) | bits << 2);
        let registers = StageTwoRegisters {
            hcr,
            ..registers(KIB4)
        };
        let leaf = walker(&registers, advertised).translate(&memory, L2Ipa(0), Access::Read);
        leaf.expect("mapped").memory
    };
    let force = hcr::VM | hcr::FWB;
    for bits in 0..16 {
        let combined = with(bits, hcr::VM, &rich());
        assert_eq!(with(bits, force, &plain()), combined, "FWB is RES0");
        let caches = [
            None,
            Some(Cacheability::NonCacheable),
            Some(Cacheability::WriteThrough),
            Some(Cacheability::WriteBack),
        ];
        let nc = Cacheability::NonCacheable;
        let (outer, inner) = (caches[bits as usize >> 2], caches[bits as usize & 3]);
        match (outer, inner) {
            (None, _) => {
                assert!(matches!(combined, MemoryType::Device(kind) if kind as u64 == bits));
            }
            (Some(_), None) => assert_eq!(combined, normal(nc, nc)),
            (Some(outer), Some(inner)) => assert_eq!(combined, normal(inner, outer)),
        }
        let forced = with(bits, force, &rich());
        match bits & 7 {
            0..=3 => assert!(matches!(forced, MemoryType::Device(kind) if kind as u64 == bits & 3)),
            4 | 5 => assert_eq!(forced, MemoryType::NonCacheable),
            6 => assert_eq!(forced, MemoryType::ForceWriteBack),
            _ => assert_eq!(forced, MemoryType::StageOne),
        }
    }
}

#[test]
fn shareability_is_definite() {
    let memory = Sparse::new(MEMORY);
    let expected = [
        Shareability::Non,
        Shareability::Outer,
        Shareability::Outer,
        Shareability::Inner,
    ];
    for (bits, shareability) in (0u64..).zip(expected) {
        chain(&memory, 0, &[30], 9, RAM & !(3 << 8) | bits << 8);
        let leaf = read(KIB4, &memory, 0).expect("mapped");
        assert_eq!(leaf.shareability, shareability);
    }
}
