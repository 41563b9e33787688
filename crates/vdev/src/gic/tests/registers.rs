//! Registers as the guest reads and writes them.

use super::machine::{ICFGR, IPRIORITYR, IROUTER, ISENABLER, Machine};
use crate::gic::{ConfigError, Frame, Gic, GicConfig};
use alloc::vec::Vec;
use droste_arm64::esr::AccessSize::{self, Byte, Doubleword, Halfword, Word};

const SIZES: [AccessSize; 4] = [Byte, Halfword, Word, Doubleword];

#[test]
fn the_distributor_says_what_it_is() {
    let machine = Machine::new(2, 96, 4);
    assert_eq!(machine.read(0x0), 0x53, "both groups, ARE, DS");
    assert_eq!(machine.read(0x4), 0x0248_0003, "128 INTIDs, 10 bits, No1N");
    assert_eq!(machine.read(0xffe8) >> 4, 3, "GICv3");
    assert_eq!(machine.read(0x8), 0x4400_0000);
    assert_eq!(Machine::new(1, 988, 4).read(0x4) & 0x1f, 31);
    assert_eq!(Machine::new(1, 0, 4).read(0x4) & 0x1f, 0);
}

#[test]
fn affinity_routing_and_the_single_security_state_cannot_be_turned_off() {
    let mut machine = Machine::new(1, 32, 4);
    machine.write(0, 0, 0);
    assert_eq!(machine.read(0), 0x50);
    machine.write(0, 0, u32::MAX);
    assert_eq!(machine.read(0), 0x53);
}

#[test]
fn each_redistributor_names_its_affinity_and_the_last_one_says_so() {
    let machine = Machine::new(18, 0, 4);
    let read = |vcpu: u64, offset, size| {
        machine
            .gic
            .read(Frame::Redistributors, vcpu << 17 | offset, size)
    };
    assert_eq!(read(0, 8, Doubleword), 0);
    assert_eq!(read(16, 8, Doubleword), 0x0000_0100_0000_1000);
    assert_eq!(read(17, 8, Doubleword), 0x0000_0101_0000_1110);
    assert_eq!(read(17, 12, Word), 0x0000_0101);
    assert_eq!(read(17, 8, Word), 0x0000_1110);
    assert_eq!(read(17, 0xffe8, Word) >> 4, 3);
    assert_eq!(read(18, 8, Doubleword), 0, "none there");
}

#[test]
fn children_sleep_as_the_processor_does() {
    let mut gic = small();
    let waker = |gic: &Gic| gic.read(Frame::Redistributors, 0x14, Word);
    assert_eq!(waker(&gic), 6, "asleep after reset");
    let _ = gic.write(0, Frame::Redistributors, 0x14, Word, 0);
    assert_eq!(waker(&gic), 0);
    let _ = gic.write(0, Frame::Redistributors, 0x14, Word, u64::MAX);
    assert_eq!(waker(&gic), 6);
}

#[test]
fn routes_keep_three_affinity_fields_and_read_back_in_halves() {
    let mut gic = small();
    let at = IROUTER + 8 * 40;
    let _ = gic.write(0, Frame::Distributor, at, Doubleword, u64::MAX);
    assert_eq!(gic.read(Frame::Distributor, at, Doubleword), 0xff_ffff);
    assert_eq!(gic.read(Frame::Distributor, at, Word), 0xff_ffff);
    assert_eq!(gic.read(Frame::Distributor, at + 4, Word), 0);
    let _ = gic.write(0, Frame::Distributor, at + 4, Word, 1);
    assert_eq!(gic.read(Frame::Distributor, at, Doubleword), 0xff_ffff);
    for absent in [IROUTER + 8 * 31, IROUTER + 8 * 64, IROUTER + 8 * 1019] {
        let _ = gic.write(0, Frame::Distributor, absent, Doubleword, 1);
        assert_eq!(gic.read(Frame::Distributor, absent, Doubleword), 0);
    }
}

#[test]
fn priorities_take_bytes_and_words_and_nothing_else() {
    let mut gic = small();
    let at = IPRIORITYR + 40;
    let _ = gic.write(0, Frame::Distributor, at, Word, 0x4030_2010);
    let _ = gic.write(0, Frame::Distributor, at + 1, Byte, 0xff);
    assert_eq!(gic.read(Frame::Distributor, at, Word), 0x4030_f810);
    assert_eq!(gic.read(Frame::Distributor, at + 3, Byte), 0x40);
    let _ = gic.write(0, Frame::Distributor, at, Halfword, 0);
    let _ = gic.write(0, Frame::Distributor, at, Doubleword, 0);
    assert_eq!(gic.read(Frame::Distributor, at, Word), 0x4030_f810);
    assert_eq!(gic.read(Frame::Distributor, at, Halfword), 0);
    assert_eq!(gic.read(Frame::Distributor, at, Doubleword), 0);
}

#[test]
fn the_distributor_does_not_show_private_interrupts() {
    let mut machine = Machine::new(1, 32, 4);
    for offset in (0x80..0x1000).step_by(0x80) {
        machine.write(0, offset, u32::MAX);
        if offset != 0xc00 && !(0x400..0x800).contains(&offset) {
            assert_eq!(machine.read(offset), 0, "{offset:#x}");
        }
    }
    machine.write(0, IPRIORITYR, u32::MAX);
    assert_eq!(machine.read(IPRIORITYR), 0);
    assert_eq!(machine.read(ICFGR), 0);
}

#[test]
fn sgis_are_edges_for_good_and_ppis_can_be_chosen() {
    let mut machine = Machine::new(1, 0, 4);
    machine.write_private(0, ICFGR, 0);
    assert_eq!(machine.read_private(0, ICFGR), 0xaaaa_aaaa);
    assert_eq!(machine.read_private(0, ICFGR + 4), 0);
    machine.write_private(0, ICFGR + 4, u32::MAX);
    assert_eq!(machine.read_private(0, ICFGR + 4), 0xaaaa_aaaa);
}

#[test]
fn banks_of_different_vcpus_are_apart() {
    let mut machine = Machine::new(2, 0, 4);
    machine.write_private(0, 0x180, u32::MAX);
    assert_eq!(machine.read_private(0, ISENABLER), 0);
    assert_eq!(machine.read_private(1, ISENABLER), u32::MAX);
}

#[test]
fn any_access_anywhere_is_taken_and_reserved_ones_do_nothing() {
    let mut gic = small();
    let mut known: Vec<u64> = Vec::new();
    for offset in 0..0x1_0000 {
        for size in SIZES {
            let _ = gic.write(0, Frame::Distributor, offset, size, u64::MAX);
            let value = gic.read(Frame::Distributor, offset, size);
            assert_eq!(value & !size.mask(), 0);
            if value != 0 && known.last() != Some(&offset) {
                known.push(offset);
            }
        }
    }
    let unaligned_words = known.iter().filter(|&&offset| offset & 3 != 0);
    assert!(
        unaligned_words
            .into_iter()
            .all(|offset| (0x400..0x800).contains(offset)),
        "only priorities have bytes"
    );
    for offset in (0..0x6_0000).chain(u64::MAX - 16..=u64::MAX) {
        for size in SIZES {
            let _ = gic.write(1, Frame::Redistributors, offset, size, u64::MAX);
            let value = gic.read(Frame::Redistributors, offset, size);
            assert!(offset < 0x4_0000 || value == 0);
            let _ = gic.needs_fold(Frame::Redistributors, offset);
        }
    }
}

#[test]
fn sizes_out_of_range_are_refused() {
    let build = |vcpus, spis, list_registers| {
        Gic::new(GicConfig {
            vcpus,
            spis,
            list_registers,
        })
        .err()
    };
    assert_eq!(build(64, 988, 16), None);
    assert_eq!(build(0, 0, 4), Some(ConfigError::Vcpus(0)));
    assert_eq!(build(65, 0, 4), Some(ConfigError::Vcpus(65)));
    assert_eq!(build(1, 989, 4), Some(ConfigError::Spis(989)));
    assert_eq!(build(1, 0, 0), Some(ConfigError::ListRegisters(0)));
    assert_eq!(build(1, 0, 17), Some(ConfigError::ListRegisters(17)));
}

/// Two vCPUs and 32 SPIs as after a reset.
fn small() -> Gic {
    Gic::new(GicConfig {
        vcpus: 2,
        spis: 32,
        list_registers: 4,
    })
    .expect("a good size")
}
