//! Those of the real time clock.

use crate::mutants::table::{Mutant, mutant};

pub(in crate::mutants) const MUTANTS: &[Mutant] = &[
    mutant(
        "rtc-alarm-never-found",
        "pl031/mod.rs",
        "        if seconds >= self.due {",
        "        if seconds >= self.due && self.due == 0 {",
    ),
    mutant(
        "rtc-alarm-a-second-late",
        "pl031/mod.rs",
        "        if seconds >= self.due {",
        "        if seconds > self.due {",
    ),
    mutant(
        "rtc-alarm-over-and-over",
        "pl031/mod.rs",
        "            self.raw = INTERRUPT;\n            self.due = self.next(seconds);\n        }\n    }\n\n    /// The interrupt line",
        "            self.raw = INTERRUPT;\n        }\n    }\n\n    /// The interrupt line",
    ),
    mutant(
        "rtc-read-without-a-look",
        "pl031/mod.rs",
        "seconds: u64) -> u64 {\n        self.advance(seconds);",
        "seconds: u64) -> u64 {",
    ),
    mutant(
        "rtc-write-without-a-look",
        "pl031/mod.rs",
        "value: u64, seconds: u64) {\n        self.advance(seconds);",
        "value: u64, seconds: u64) {",
    ),
    mutant(
        "rtc-line-past-its-mask",
        "pl031/mod.rs",
        "Line::from_asserted(self.raw & self.mask != 0)",
        "Line::from_asserted(self.raw != 0)",
    ),
    mutant(
        "rtc-deadline-behind-a-mask",
        "pl031/mod.rs",
        "(self.raw == 0 && self.mask != 0).then_some(self.due)",
        "(self.raw == 0).then_some(self.due)",
    ),
    mutant(
        "rtc-deadline-under-a-high-line",
        "pl031/mod.rs",
        "(self.raw == 0 && self.mask != 0).then_some(self.due)",
        "(self.mask != 0).then_some(self.due)",
    ),
    mutant(
        "rtc-time-set-in-vain",
        "pl031/mod.rs",
        "                self.ahead = value.wrapping_sub(seconds as u32);",
        "                self.ahead = value.wrapping_sub(value);",
    ),
    mutant(
        "rtc-alarm-stays-as-the-time-is-set",
        "pl031/mod.rs",
        "                self.ahead = value.wrapping_sub(seconds as u32);\n                self.compare(seconds);",
        "                self.ahead = value.wrapping_sub(seconds as u32);",
    ),
    mutant(
        "rtc-alarm-not-for-now",
        "pl031/mod.rs",
        "        if self.count(seconds) == self.matched {\n            self.raw = INTERRUPT;\n        }\n",
        "",
    ),
    mutant(
        "rtc-alarm-at-once-each-round",
        "pl031/mod.rs",
        "            0 => ROUND,",
        "            0 => 0,",
    ),
    mutant(
        "rtc-any-store-ends-the-interrupt",
        "pl031/mod.rs",
        "            ICR => self.raw &= !value,",
        "            ICR => self.raw = 0,",
    ),
    mutant(
        "rtc-reset-of-the-time",
        "pl031/mod.rs",
        "            ahead: self.ahead,",
        "            ahead: 0,",
    ),
    mutant(
        "rtc-reset-keeps-the-alarm",
        "pl031/mod.rs",
        "            ahead: self.ahead,\n",
        "            ahead: self.ahead,\n            mask: self.mask,\n",
    ),
    mutant(
        "rtc-reset-without-a-next-round",
        "pl031/mod.rs",
        "        };\n        self.due = self.next(seconds);\n",
        "        };\n",
    ),
    mutant(
        "rtc-wide-mask",
        "pl031/mod.rs",
        "            IMSC => self.mask = value & INTERRUPT,",
        "            IMSC => self.mask = value,",
    ),
    mutant(
        "rtc-narrow-store-is-wide",
        "pl031/mod.rs",
        "        let value = (value & size.mask()) as u32;",
        "        let value = value as u32;",
    ),
    mutant(
        "rtc-narrow-load-is-wide",
        "pl031/mod.rs",
        "        u64::from(value) & size.mask()",
        "        u64::from(value)",
    ),
    mutant(
        "rtc-seconds-begin-late",
        "pl031/clock.rs",
        "        let ahead = seconds.saturating_sub(self.seconds);",
        "        let ahead = seconds.saturating_sub(self.seconds) + 1;",
    ),
    mutant(
        "rtc-time-before-the-clock-was-read",
        "pl031/clock.rs",
        "ticks.saturating_sub(self.ticks) / self.frequency",
        "ticks.wrapping_sub(self.ticks) / self.frequency",
    ),
];
