//! What a guest sees of the clock.

use super::*;
use AccessSize::{Byte, Doubleword, Halfword, Word};
use alloc::vec::Vec;
use proptest::prelude::*;

/// A day of 2026.
const NOW: u64 = 1_790_000_000;

fn store(rtc: &mut Pl031, offset: u64, value: u64, seconds: u64) {
    rtc.write(offset, Word, value, seconds);
}

fn load(rtc: &mut Pl031, offset: u64, seconds: u64) -> u64 {
    rtc.read(offset, Word, seconds)
}

/// A clock with its interrupt unmasked.
fn open() -> Pl031 {
    let mut rtc = Pl031::new();
    store(&mut rtc, IMSC, 1, NOW);
    rtc
}

#[test]
fn linux_finds_an_arm_pl031() {
    let mut rtc = Pl031::new();
    let mut id =
        |base: u64| (0..4).fold(0, |id, n| id | load(&mut rtc, base + 4 * n, NOW) << (8 * n));
    // Its driver takes 0x00041031 under the mask 0x000fffff.
    assert_eq!(id(0xfe0) & 0xf_ffff, 0x4_1031);
    assert_eq!(id(0xff0), 0xb105_f00d);
    assert_eq!(rtc.read(0xfe1, Byte, NOW), 0);
}

#[test]
fn it_shows_the_machines_time_and_runs() {
    let mut rtc = Pl031::new();
    for seconds in [NOW, NOW + 1, NOW + 1000] {
        assert_eq!(load(&mut rtc, DR, seconds), seconds);
    }
    store(&mut rtc, CR, 0, NOW + 1000);
    assert_eq!(load(&mut rtc, CR, NOW + 1000), 1, "it cannot be stopped");
    store(&mut rtc, DR, 7, NOW + 1000);
    assert_eq!(load(&mut rtc, DR, NOW + 1001), NOW + 1001, "read-only");
}

#[test]
fn a_time_that_is_set_goes_on_from_there() {
    let mut rtc = Pl031::new();
    for set in [0, 5, NOW - 1, NOW + 1, u32::MAX.into()] {
        store(&mut rtc, LR, set, NOW);
        assert_eq!(load(&mut rtc, LR, NOW), set);
        assert_eq!(load(&mut rtc, DR, NOW), set);
        assert_eq!(load(&mut rtc, DR, NOW + 3), (set + 3) % ROUND);
    }
}

#[test]
fn an_alarm_comes_at_its_second_and_once() {
    let mut rtc = open();
    store(&mut rtc, MR, NOW + 10, NOW);
    assert_eq!(rtc.deadline(), Some(NOW + 10));
    rtc.advance(NOW + 9);
    assert_eq!(rtc.line(), Line::Low);
    rtc.advance(NOW + 10);
    assert_eq!((rtc.line(), rtc.deadline()), (Line::High, None));
    assert_eq!(load(&mut rtc, MIS, NOW + 10), 1);
    store(&mut rtc, ICR, 1, NOW + 10);
    assert_eq!(rtc.line(), Line::Low, "though the counter is still there");
    assert_eq!(rtc.deadline(), Some(NOW + 10 + ROUND), "136 years on");
}

#[test]
fn an_alarm_that_nobody_looked_at_is_found_at_the_next_access() {
    for late in [0, 1, 5000, 7 * ROUND] {
        let mut rtc = open();
        store(&mut rtc, MR, NOW + 10, NOW);
        assert_eq!(load(&mut rtc, RIS, NOW + 10 + late), 1);
        assert_eq!(rtc.line(), Line::High);
    }
}

#[test]
fn an_alarm_behind_a_mask_waits_for_it() {
    let mut rtc = Pl031::new();
    store(&mut rtc, MR, NOW + 10, NOW);
    assert_eq!(rtc.deadline(), None, "nobody would hear it");
    rtc.advance(NOW + 20);
    assert_eq!(rtc.line(), Line::Low);
    assert_eq!(load(&mut rtc, RIS, NOW + 20), 1);
    assert_eq!(load(&mut rtc, MIS, NOW + 20), 0);
    store(&mut rtc, IMSC, u64::MAX, NOW + 20);
    assert_eq!(load(&mut rtc, IMSC, NOW + 20), 1, "there is one interrupt");
    assert_eq!(rtc.line(), Line::High);
}

#[test]
fn an_alarm_for_now_comes_now() {
    let mut rtc = open();
    store(&mut rtc, MR, NOW, NOW);
    assert_eq!(rtc.line(), Line::High);
    let mut rtc = open();
    store(&mut rtc, MR, 77, NOW);
    assert_eq!(rtc.line(), Line::Low);
    store(&mut rtc, LR, 77, NOW);
    assert_eq!(rtc.line(), Line::High, "the clock was set to it");
}

#[test]
fn a_clock_that_is_set_moves_its_alarm() {
    let mut rtc = open();
    store(&mut rtc, MR, 100, NOW);
    store(&mut rtc, LR, 40, NOW);
    assert_eq!(rtc.deadline(), Some(NOW + 60));
    store(&mut rtc, LR, 101, NOW);
    assert_eq!(rtc.deadline(), Some(NOW + ROUND - 1), "round again");
}

#[test]
fn a_reset_keeps_the_time_and_drops_the_alarm() {
    let mut rtc = open();
    store(&mut rtc, LR, 1000, NOW);
    store(&mut rtc, MR, 1000, NOW);
    assert_eq!(rtc.line(), Line::High);
    rtc.reset(NOW + 5);
    assert_eq!((rtc.line(), rtc.deadline()), (Line::Low, None));
    for register in [MR, LR, IMSC, RIS] {
        assert_eq!(load(&mut rtc, register, NOW + 5), 0, "{register:#x}");
    }
    assert_eq!(load(&mut rtc, DR, NOW + 7), 1007);
    store(&mut rtc, IMSC, 1, NOW + 7);
    assert_eq!(rtc.deadline(), Some(NOW + ROUND - 1000), "at RTCMR's 0");
}

#[test]
fn an_access_of_another_width_is_cut_or_widened() {
    let mut rtc = Pl031::new();
    store(&mut rtc, LR, 0x1234_5678, NOW);
    for (size, seen) in [
        (Byte, 0x78),
        (Halfword, 0x5678),
        (Word, 0x1234_5678),
        (Doubleword, 0x1234_5678),
    ] {
        assert_eq!(rtc.read(DR, size, NOW), seen);
    }
    rtc.write(LR, Byte, 0xffff_ff42, NOW);
    assert_eq!(load(&mut rtc, LR, NOW), 0x42);
    rtc.write(LR, Doubleword, u64::MAX, NOW);
    assert_eq!(load(&mut rtc, LR, NOW), 0xffff_ffff);
    rtc.write(LR + 2, Word, 9, NOW);
    assert_eq!(load(&mut rtc, LR, NOW), 0xffff_ffff, "no register is there");
    assert_eq!(rtc.read(DR + 1, Word, NOW), 0);
}

/// What a guest may do, and then so many seconds that pass.
#[derive(Clone, Debug)]
enum Step {
    Store(u64, u64),
    Load(u64),
    Advance,
}

fn steps() -> impl Strategy<Value = Vec<(Step, u64)>> {
    let offset = prop_oneof![
        8 => (0_u64..8).prop_map(|n| 4 * n),
        1 => 0_u64..0x1000,
    ];
    // Times near each other, so that they meet, and any.
    let value = prop_oneof![
        4 => 0_u64..40,
        4 => NOW..NOW + 40,
        1 => 0xffff_fff0_u64..0x1_0000_0010,
        1 => any::<u64>(),
    ];
    let step = prop_oneof![
        (offset.clone(), value).prop_map(|(offset, value)| Step::Store(offset, value)),
        offset.prop_map(Step::Load),
        Just(Step::Advance),
    ];
    let passes = prop_oneof![8 => 0_u64..6, 1 => 0_u64..ROUND];
    prop::collection::vec((step, passes), 1..60)
}

/// A clock that goes second by second, as the hardware does.
struct Plain {
    counter: u32,
    matched: u32,
    mask: bool,
    raw: bool,
}

impl Plain {
    /// So many seconds pass. A long time is its last round at most: more would raise nothing else.
    fn pass(&mut self, seconds: u64) {
        if seconds > 100 {
            let distance = u64::from(self.matched.wrapping_sub(self.counter).wrapping_sub(1));
            self.raw |= distance < seconds;
            self.counter = self.counter.wrapping_add(seconds as u32);
            return;
        }
        for _ in 0..seconds {
            self.counter = self.counter.wrapping_add(1);
            self.raw |= self.counter == self.matched;
        }
    }

    fn store(&mut self, offset: u64, value: u64) {
        match offset {
            MR => self.matched = value as u32,
            LR => self.counter = value as u32,
            IMSC => self.mask = value & 1 != 0,
            ICR => self.raw &= value & 1 == 0,
            _ => {}
        }
        self.raw |= matches!(offset, MR | LR) && self.counter == self.matched;
    }
}

proptest! {
    /// Whatever a guest does, it is a clock that goes second by second, and its line rises when it said that it would.
    #[test]
    fn it_is_a_clock_that_counts(steps in steps()) {
        let (mut now, mut rtc) = (NOW, Pl031::new());
        let mut plain = Plain { counter: NOW as u32, matched: 0, mask: false, raw: false };
        for (step, passes) in steps {
            match step {
                Step::Store(offset, value) => {
                    store(&mut rtc, offset, value, now);
                    plain.store(offset, value);
                }
                Step::Load(offset) => {
                    let seen = load(&mut rtc, offset, now);
                    match offset {
                        DR => prop_assert_eq!(seen, plain.counter.into()),
                        RIS => prop_assert_eq!(seen, plain.raw.into()),
                        MIS => prop_assert_eq!(seen, (plain.raw && plain.mask).into()),
                        _ => {}
                    }
                }
                Step::Advance => rtc.advance(now),
            }
            let is_high = plain.raw && plain.mask;
            prop_assert_eq!(rtc.line().is_high(), is_high);
            let deadline = rtc.deadline();
            prop_assert_eq!(deadline.is_some(), plain.mask && !plain.raw);
            now += passes;
            plain.pass(passes);
            if let Some(deadline) = deadline {
                prop_assert_eq!(deadline <= now, plain.raw);
            }
        }
    }

    #[test]
    fn a_second_begins_at_the_tick_that_it_is_said_to(
        seconds in any::<u32>(),
        ticks in 0_u64..1 << 40,
        frequency in 1_u64..2_000_000_000,
        ahead in 0_u64..1 << 20,
    ) {
        let clock = Clock::new(seconds, ticks, frequency);
        let second = u64::from(seconds) + ahead;
        let begin = clock.ticks(second);
        prop_assert_eq!(clock.seconds(begin), second);
        prop_assert_eq!(clock.seconds(begin + frequency - 1), second);
        if ahead > 0 {
            prop_assert_eq!(clock.seconds(begin - 1), second - 1);
        }
    }
}

#[test]
fn no_time_overflows_the_clock() {
    let clock = Clock::new(u32::MAX, u64::MAX, 0);
    assert_eq!(clock.seconds(0), u32::MAX.into());
    assert_eq!(Clock::new(u32::MAX, 0, 1).seconds(u64::MAX), u64::MAX);
    assert_eq!(clock.ticks(u64::MAX), u64::MAX);
    let clock = Clock::new(0, 0, u64::MAX);
    assert_eq!(clock.ticks(2), u64::MAX);
    let mut rtc = open();
    rtc.advance(u64::MAX);
    assert_eq!(rtc.line(), Line::High);
    assert_eq!(Clock::new(0, 0, 0).seconds(7), 7, "one tick a second");
}
