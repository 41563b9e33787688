//! The SMMU of the model: each rule kept, and each broken.

use droste_arm64::Pa;
use droste_mmu_model::{AccessKind, Config, Reach, Smmu, SmmuRule};

const QUEUE: u64 = 0x10_0000;
const STREAMS: u64 = 0x20_0000;
const PART: u64 = 0x30_0000;
const ROOT: u64 = 0x40_0000;
const LEVEL3: u64 = 0x40_1000;
const IPA: u64 = 0x1000;
const OUTPUT: u64 = 0x8000_1000;
const STREAM: u32 = 3;

/// The words of an entry for stage 2: VMID 1, 4 KiB granule, 30 bits from level 2, 40 bits out.
const ENTRY: [u64; 4] = [0xd, 0, 1 | (2 << 16 | 0x22) << 32 | 1 << 51 | 1 << 53, ROOT];

/// A driver that does each thing by hand.
struct Driver {
    smmu: Smmu,
    producer: u64,
}

impl Driver {
    /// One that has taken the SMMU over, with a page mapped for its device.
    fn new() -> Self {
        let mut driver = Self::at_the_beginning();
        driver.stop();
        driver.place();
        driver.command(0x04, 31);
        driver.command(0x30, 0);
        driver.sync();
        driver.set(0x20, 9);
        driver.set_entry();
        driver
    }

    fn at_the_beginning() -> Self {
        let mut driver = Self {
            smmu: Smmu::new(Config::new(Pa(ROOT), 16), 2),
            producer: 0,
        };
        driver.store(ROOT, LEVEL3 | 3);
        driver.store(LEVEL3 + 8, OUTPUT | 0x7ff);
        driver.smmu.dsb(0);
        driver
    }

    fn stop(&mut self) {
        self.set(0x44, 1 << 31 | 1 << 20);
        while self.smmu.register(0x44) >> 31 == 1 {}
        self.set(0x20, 0);
        while self.smmu.register(0x24) != 0 {}
    }

    fn place(&mut self) {
        self.set(0x80, STREAMS);
        self.set(0x88, 1 << 16 | 6 << 6 | 8);
        self.set(0x90, QUEUE | 4);
        self.set(0x98, 0);
        self.set(0x9c, 0);
        self.set(0x20, 8);
        while self.smmu.register(0x24) != 8 {}
    }

    fn set(&mut self, register: u32, value: u64) {
        self.smmu.set_register(register, value);
        if register == 0x20 {
            while u64::from(self.smmu.register(0x24)) != value {}
        }
    }

    fn store(&mut self, at: u64, value: u64) {
        self.smmu.write(0, Pa(at), value);
    }

    fn put(&mut self, first: u64, second: u64) {
        let at = QUEUE + self.producer % 16 * 16;
        self.store(at, first);
        self.store(at + 8, second);
        self.producer = (self.producer + 1) % 32;
    }

    /// Publishes a command, with its DSB.
    fn command(&mut self, first: u64, second: u64) {
        self.put(first, second);
        self.smmu.dsb(0);
        self.set(0x98, self.producer);
    }

    /// CMD_SYNC, waited for.
    fn sync(&mut self) {
        self.command(0x46, 0);
        for _ in 0..8 {
            self.smmu.register(0x9c);
        }
    }

    /// The steps for an entry that no fetch takes for valid.
    fn set_entry(&mut self) {
        self.store(STREAMS, PART | 7);
        for (word, value) in (0..).zip(ENTRY).skip(1) {
            self.store(PART + 64 * u64::from(STREAM) + word * 8, value);
        }
        self.smmu.dsb(0);
        self.store(PART + 64 * u64::from(STREAM), ENTRY[0]);
        self.smmu.dsb(0);
        self.command(0x03 | u64::from(STREAM) << 32, 0);
        self.sync();
    }

    fn expect(&mut self, allowed: Reach) {
        self.smmu
            .expect(STREAM, IPA + 8, AccessKind::Write, allowed);
    }

    fn rule(&self) -> Option<SmmuRule> {
        self.smmu.violation().map(|violation| violation.rule)
    }
}

const THERE: Reach = Reach::Memory(Pa(OUTPUT + 8));

#[test]
fn a_driver_that_keeps_all_rules_is_not_objected_to() {
    let mut driver = Driver::new();
    driver.expect(THERE);
    driver.store(LEVEL3 + 8, 0);
    driver.smmu.dsb(0);
    driver.command(0x2a | 1 << 32, IPA);
    driver.sync();
    driver.expect(Reach::Abort);
    driver.store(ROOT, 0);
    driver.smmu.dsb(0);
    driver.command(0x28 | 1 << 32, 0);
    driver.sync();
    driver.smmu.release(Pa(LEVEL3), 0x1000);
    let entry = PART + 64 * u64::from(STREAM);
    driver.store(entry, 0);
    driver.smmu.dsb(0);
    driver.command(0x03 | u64::from(STREAM) << 32, 0);
    driver.sync();
    driver.store(entry + 24, ROOT + 0x2000);
    driver.expect(Reach::Abort);
    assert_eq!(driver.rule(), None);
}

#[test]
fn a_translation_lives_until_a_command_that_covers_it_has_its_sync() {
    let covers = [
        (0x2a | 1 << 32, IPA, None),
        (0x28 | 1 << 32, 0, None),
        (0x30, 0, None),
        // The range of two pages from the one before, by level and without.
        (0x2a | 1 << 32 | 1 << 12, 1 << 10, None),
        (0x2a | 1 << 32 | 1 << 12, 1 << 10 | 3 << 8, None),
        // Another address, VMID, level, range.
        (
            0x2a | 1 << 32,
            IPA + 0x1000,
            Some(SmmuRule::StaleTranslation),
        ),
        (0x2a | 2 << 32, IPA, Some(SmmuRule::StaleTranslation)),
        (0x28 | 2 << 32, 0, Some(SmmuRule::StaleTranslation)),
        (
            0x2a | 1 << 32,
            IPA | 1 << 10 | 2 << 8,
            Some(SmmuRule::StaleTranslation),
        ),
        (
            0x2a | 1 << 32 | 1 << 12,
            0x2000 | 1 << 10,
            Some(SmmuRule::StaleTranslation),
        ),
    ];
    for (first, second, rule) in covers {
        let mut driver = Driver::new();
        driver.store(LEVEL3 + 8, 0);
        driver.smmu.dsb(0);
        driver.command(first, second);
        driver.sync();
        driver.expect(Reach::Abort);
        assert_eq!(driver.rule(), rule, "{first:#x} {second:#x}");
    }
}

#[test]
fn consumed_is_not_complete() {
    let mut driver = Driver::new();
    driver.store(LEVEL3 + 8, 0);
    driver.smmu.dsb(0);
    driver.command(0x28 | 1 << 32, 0);
    for _ in 0..8 {
        driver.smmu.register(0x9c);
    }
    assert_eq!(u64::from(driver.smmu.register(0x9c)), driver.producer);
    driver.expect(Reach::Abort);
    assert_eq!(driver.rule(), Some(SmmuRule::StaleTranslation));
}

#[test]
fn a_command_before_the_change_or_its_barrier_ends_nothing() {
    for is_before in [true, false] {
        let mut driver = Driver::new();
        if !is_before {
            // Another CPU's store, without its DSB.
            driver.smmu.write(1, Pa(LEVEL3 + 8), 0);
        }
        driver.command(0x28 | 1 << 32, 0);
        driver.sync();
        driver.smmu.write(1, Pa(LEVEL3 + 8), 0);
        driver.smmu.dsb(1);
        driver.expect(Reach::Abort);
        assert_eq!(driver.rule(), Some(SmmuRule::StaleTranslation));
    }
}

#[test]
fn a_table_page_is_reachable_until_its_walk_is_forgotten() {
    let mut driver = Driver::new();
    driver.store(ROOT, 0);
    driver.smmu.dsb(0);
    driver.smmu.release(Pa(LEVEL3), 0x1000);
    assert_eq!(driver.rule(), Some(SmmuRule::PageReachable));
}

#[test]
fn an_entry_changes_only_while_nobody_can_hold_it_as_valid() {
    let entry = PART + 64 * u64::from(STREAM);
    // A word of a valid one; the first to another valid one; made invalid, and not forgotten.
    let mut driver = Driver::new();
    driver.store(entry + 24, ROOT + 0x2000);
    assert_eq!(driver.rule(), Some(SmmuRule::EntryTorn));
    let mut driver = Driver::new();
    driver.store(entry, 0x9);
    assert_eq!(driver.rule(), Some(SmmuRule::EntryTorn));
    let mut driver = Driver::new();
    driver.store(entry, 0);
    driver.smmu.dsb(0);
    driver.store(entry + 24, ROOT + 0x2000);
    assert_eq!(driver.rule(), Some(SmmuRule::EntryTorn));
    // Valid before the other words are visible.
    let mut driver = Driver::new();
    driver.store(entry + 64 + 24, ROOT);
    driver.store(entry + 64, ENTRY[0]);
    assert_eq!(driver.rule(), Some(SmmuRule::EntryTorn));
}

#[test]
fn a_command_is_visible_and_legal_when_it_is_published() {
    let mut driver = Driver::new();
    driver.put(0x28 | 1 << 32, 0);
    driver.set(0x98, driver.producer);
    assert_eq!(driver.rule(), Some(SmmuRule::CommandNotVisible));
    for (first, second) in [
        (0x99, 0),
        // A range of one page at any level, and a range without a granule.
        (0x2a | 1 << 32, IPA | 1 << 10),
        (0x2a | 1 << 32 | 1 << 12, IPA),
    ] {
        let mut driver = Driver::new();
        driver.command(first, second);
        assert_eq!(driver.rule(), Some(SmmuRule::IllegalCommand));
    }
}

#[test]
fn what_the_firmware_left_is_shut_off_stopped_and_emptied() {
    let mut driver = Driver::at_the_beginning();
    driver.set(0x20, 0);
    assert_eq!(driver.rule(), Some(SmmuRule::OpenGate));
    let mut driver = Driver::at_the_beginning();
    driver.set(0x80, STREAMS);
    assert_eq!(driver.rule(), Some(SmmuRule::TableWhileOn));
    for commands in [&[][..], &[(0x04, 31)], &[(0x30, 0)]] {
        let mut driver = Driver::at_the_beginning();
        driver.stop();
        driver.place();
        for &(first, second) in commands {
            driver.command(first, second);
        }
        driver.sync();
        driver.set(0x20, 9);
        assert_eq!(driver.rule(), Some(SmmuRule::Leftovers));
    }
}

#[test]
fn what_a_device_may_and_what_it_can_are_told_apart() {
    let mut driver = Driver::new();
    driver.expect(Reach::Memory(Pa(0x1000)));
    assert_eq!(driver.rule(), Some(SmmuRule::WrongTranslation));
    // A leaf that is broken to be made again cuts the device off.
    let mut driver = Driver::new();
    driver.store(LEVEL3 + 8, 0);
    driver.expect(THERE);
    assert_eq!(driver.rule(), Some(SmmuRule::Cut));
    // A stream that has no entry is terminated.
    let mut driver = Driver::new();
    driver.smmu.expect(77, IPA, AccessKind::Read, Reach::Abort);
    assert_eq!(driver.rule(), None);
}
