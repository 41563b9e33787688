use std::vec::Vec;

use droste_arm64::{IdRegisters, IpaBits};
use proptest::prelude::*;

use super::*;
use crate::advertised::tests::{plain, rich};
use crate::memory::tests::Sparse;

const VTCR_HA: u64 = 1 << 21;
const VTCR_HD: u64 = 1 << 22;
const VTCR_DS: u64 = 1 << 32;
const VTCR_SL2: u64 = 1 << 33;

const MEMORY: u64 = 1 << 40;
const ROOT: u64 = 0x8000_0000;
/// Valid, AF, S2AP read and write, Normal Write-Back, Inner Shareable.
const RAM: u64 = 1 | 1 << 10 | 3 << 8 | 3 << 6 | 0b1111 << 2;
const PAGE: u64 = RAM | 2;
const TABLE: u64 = 3;
const NO_AF: u64 = PAGE & !(1 << 10);

/// TG0, SL0 and T0SZ, with PS of 48 bits.
const fn vtcr(tg0: u64, sl0: u64, t0sz: u64) -> u64 {
    5 << 16 | tg0 << 14 | sl0 << 6 | t0sz
}

/// The 4 KiB granule, 40 bits in two tables at level 1.
const KIB4: u64 = vtcr(0, 1, 24);

fn registers(vtcr: u64) -> StageTwoRegisters {
    StageTwoRegisters {
        hcr: hcr::VM,
        sctlr: 0,
        vtcr: Vtcr(vtcr),
        vttbr: Vttbr(7 << 48 | ROOT | 1),
    }
}

fn walker(registers: &StageTwoRegisters, advertised: &Advertised) -> Walker {
    match StageTwo::new(registers, advertised) {
        StageTwo::On(walker) => walker,
        StageTwo::Off => panic!("HCR_EL2.VM is set"),
    }
}

fn read(vtcr: u64, memory: &Sparse, ipa: u64) -> Result<GuestLeaf, Stop> {
    walker(&registers(vtcr), &rich()).translate(memory, L2Ipa(ipa), Access::Read)
}

fn fault(kind: FaultKind, level: Level) -> Result<GuestLeaf, Stop> {
    Err(Stop::Fault(WalkFault { kind, level }))
}

/// Writes tables for `ipa`, by start shift and bits a level, down to a descriptor at `depth` lookups. Returns where it
/// is.
fn chain(memory: &Sparse, ipa: u64, shifts: &[u32], index_bits: u32, last: u64) -> u64 {
    let mut table = ROOT;
    for (number, shift) in shifts.iter().enumerate() {
        let mask = if number == 0 {
            u64::MAX
        } else {
            (1 << index_bits) - 1
        };
        let at = table + (ipa >> shift & mask) * 8;
        if number + 1 == shifts.len() {
            memory.set(at, last);
            return at;
        }
        table = ROOT + (number as u64 + 1) * 0x100_0000;
        memory.set(at, table | TABLE);
    }
    unreachable!("a walk has a lookup")
}

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

#[test]
fn a_clear_access_flag_faults_or_is_set() {
    let memory = Sparse::new(MEMORY);
    let at = chain(&memory, 0, &[30, 21, 12], 9, NO_AF);
    assert_eq!(
        read(KIB4, &memory, 0),
        fault(FaultKind::AccessFlag, Level::L3)
    );
    assert_eq!(memory.get(at), NO_AF);
    assert!(read(KIB4 | VTCR_HA, &memory, 0).is_ok());
    assert_eq!(memory.get(at), PAGE);
    // HA is RES0 where not advertised.
    memory.set(at, NO_AF);
    let without = walker(&registers(KIB4 | VTCR_HA | VTCR_HD), &plain());
    assert_eq!(
        without.translate(&memory, L2Ipa(0), Access::Read),
        fault(FaultKind::AccessFlag, Level::L3)
    );
}

#[test]
fn a_flag_that_cannot_be_written_is_an_external_abort() {
    struct ReadOnly(Sparse);
    impl GuestMemory for ReadOnly {
        fn read(&self, at: L1Ipa) -> Result<u64, ExternalAbort> {
            self.0.read(at)
        }
        fn compare_exchange(&self, _: L1Ipa, _: u64, _: u64) -> Result<Exchange, ExternalAbort> {
            Err(ExternalAbort)
        }
    }
    let memory = ReadOnly(Sparse::new(MEMORY));
    chain(&memory.0, 0, &[30, 21, 12], 9, NO_AF);
    let walker = walker(&registers(KIB4 | VTCR_HA), &rich());
    assert_eq!(
        walker.translate(&memory, L2Ipa(0), Access::Read),
        fault(FaultKind::ExternalAbort, Level::L3)
    );
}

#[test]
fn a_descriptor_that_changes_under_its_update_is_raced_not_overwritten() {
    let memory = Sparse::new(MEMORY);
    let at = chain(&memory, 0, &[30, 21, 12], 9, NO_AF);
    memory.interference.set(Some((at, NO_AF | 0x5000)));
    assert_eq!(read(KIB4 | VTCR_HA, &memory, 0), Err(Stop::Raced));
    assert_eq!(memory.get(at), NO_AF | 0x5000);
}

#[test]
fn a_descriptor_is_old_or_new_but_never_both() {
    let memory = Sparse::new(MEMORY);
    let at = chain(&memory, 0, &[30, 21, 12], 9, PAGE | 0x5000);
    memory.interference.set(Some((at, 0)));
    let leaf = read(KIB4, &memory, 0);
    assert_eq!(leaf.map(|leaf| leaf.output), Ok(L1Ipa(0x5000)));
    assert_eq!(
        read(KIB4, &memory, 0),
        fault(FaultKind::Translation, Level::L3)
    );
}

#[test]
fn a_look_finds_the_leaf_of_a_walk_and_changes_nothing() {
    let old = NO_AF & !(2 << 6) | 1 << 51;
    let memory = Sparse::new(MEMORY);
    let at = chain(&memory, 0x1000, &[30, 21, 12], 9, old | 0x5000);
    let managed = walker(&registers(KIB4 | VTCR_HA | VTCR_HD), &rich());
    let look = |walker: &Walker| walker.look(&memory, L2Ipa(0x1000), Access::Write);
    let seen = look(&managed).expect("mapped");
    assert_eq!(memory.get(at), old | 0x5000);
    let plain = look(&walker(&registers(KIB4), &rich()));
    assert_eq!(plain, Err(WalkFault::new(FaultKind::AccessFlag, Level::L3)));
    let walked = managed.translate(&memory, L2Ipa(0x1000), Access::Write);
    assert_eq!(walked, Ok(seen));
    assert_ne!(memory.get(at), old | 0x5000);
}

#[test]
fn dirty_state_is_hardwares_where_l1_lets_it() {
    const DBM: u64 = 1 << 51;
    let memory = Sparse::new(MEMORY);
    let clean = PAGE & !(2 << 6) | DBM;
    let at = chain(&memory, 0, &[30, 21, 12], 9, clean);
    let access =
        |vtcr, access| walker(&registers(vtcr), &rich()).translate(&memory, L2Ipa(0), access);
    let managed = KIB4 | VTCR_HA | VTCR_HD;
    for vtcr in [KIB4, KIB4 | VTCR_HA, KIB4 | VTCR_HD] {
        assert_eq!(
            access(vtcr, Access::Write),
            fault(FaultKind::Permission, Level::L3)
        );
    }
    let leaf = access(managed, Access::Read).expect("readable");
    assert_eq!((leaf.access, leaf.is_dirty_managed), (S2ap::ReadOnly, true));
    assert_eq!(memory.get(at), clean);
    let leaf = access(managed, Access::Write).expect("made writable");
    assert_eq!(leaf.access, S2ap::ReadWrite);
    assert_eq!(memory.get(at), clean | 2 << 6);
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

/// Memory that holds what a hash of the address and of the number of the read says: every read finds something else.
struct Noise {
    seed: u64,
    dense: u64,
    reads: std::cell::RefCell<Vec<L1Ipa>>,
}

impl GuestMemory for Noise {
    fn read(&self, at: L1Ipa) -> Result<u64, ExternalAbort> {
        assert!(at.is_aligned(8) && at.0 < 1 << 53);
        self.reads.borrow_mut().push(at);
        let turn = self.reads.borrow().len() as u64;
        let noise = (at.0 ^ self.seed ^ turn << 57).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let noise = (noise ^ noise >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        if noise >> 60 == 0 {
            return Err(ExternalAbort);
        }
        Ok(noise ^ noise >> 32 | self.dense)
    }

    fn compare_exchange(&self, at: L1Ipa, _: u64, _: u64) -> Result<Exchange, ExternalAbort> {
        match (at.0 ^ self.seed) >> 3 & 3 {
            0 => Err(ExternalAbort),
            1 => Ok(Exchange::Differs),
            _ => Ok(Exchange::Done),
        }
    }
}

fn any_access() -> impl Strategy<Value = Access> {
    prop_oneof![
        Just(Access::Read),
        Just(Access::Write),
        Just(Access::Execute(Privilege::El0)),
        Just(Access::Execute(Privilege::El1)),
    ]
}

/// Values near those that mean something, and any others.
fn any_vtcr() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0..4u64, 0..4u64, 12..50u64, 0..8u64, 0..16u64).prop_map(|(tg0, sl0, t0sz, ps, high)| {
            vtcr(tg0, sl0, t0sz) & !(7 << 16) | ps << 16 | (high & 3) << 32 | (high >> 2) << 21
        }),
        any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6_000))]

    #[test]
    fn any_memory_and_any_registers_give_a_sound_leaf_or_a_fault(
        seed: u64,
        dense in prop_oneof![Just(0), Just(3), Just(1), Just(0x401), Just(0x403)],
        vtcr in any_vtcr(),
        ids in (any::<u64>(), any::<u64>(), any::<u64>()),
        ipa_bits in 32..=52u32,
        hcr: u64,
        (sctlr, vttbr, ipa, narrow) in (any::<u64>(), any::<u64>(), any::<u64>(), 0..64u32),
        access in any_access(),
    ) {
        let advertised = Advertised {
            ids: IdRegisters { mmfr0: ids.0, mmfr1: ids.1, mmfr2: ids.2, ..IdRegisters::default() },
            isar1: 0,
            ipa_bits: IpaBits::new(ipa_bits).expect("in range"),
        };
        let registers = StageTwoRegisters { hcr: hcr | hcr::VM, sctlr, vtcr: Vtcr(vtcr), vttbr: Vttbr(vttbr) };
        let noise = Noise { seed, dense, reads: std::cell::RefCell::default() };
        let ipa = L2Ipa(ipa >> narrow);
        let result = walker(&registers, &advertised).translate(&noise, ipa, access);
        prop_assert!(noise.reads.borrow().len() <= 5);
        let limit = 1 << advertised.physical_bits();
        match result {
            Ok(leaf) => {
                prop_assert!(leaf.bytes.is_power_of_two() && leaf.bytes >= 4096);
                prop_assert!(leaf.ipa.is_aligned(leaf.bytes) && leaf.output.is_aligned(leaf.bytes));
                prop_assert!(leaf.ipa <= ipa && ipa.0 - leaf.ipa.0 < leaf.bytes);
                prop_assert!(leaf.output.0 + leaf.bytes <= limit);
                prop_assert!(leaf.ipa.0 + leaf.bytes <= limit);
                prop_assert!(!matches!(leaf.memory, MemoryType::Reserved(_)));
            }
            Err(Stop::Fault(WalkFault { kind: FaultKind::ExternalAbort, .. }) | Stop::Raced) => {
                prop_assert!(!noise.reads.borrow().is_empty());
            }
            Err(_) => {}
        }
    }
}
