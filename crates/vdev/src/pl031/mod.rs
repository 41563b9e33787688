//! A PL031 real time clock (DDI 0224), revision r1p3.
//!
//! It counts seconds in 32 bits and wraps around in 2106. The machine's own seconds (of a [`Clock`]) come in with each
//! access, and a time that the guest sets is kept as an offset from them. So the clock goes on while its guest does not
//! run, and needs no work in between: what has become due is found at the next access, or at the second that
//! [`deadline`](Pl031::deadline) names.
//!
//! It runs from the start, as firmware leaves it, and cannot be stopped. A new time takes effect at once, not at the
//! next second's edge.

mod clock;
#[cfg(test)]
mod tests;

use crate::Line;
use droste_arm64::esr::AccessSize;

pub use clock::Clock;

// DDI 0224, 3.2: the registers' offsets.
const DR: u64 = 0x000;
const MR: u64 = 0x004;
const LR: u64 = 0x008;
const CR: u64 = 0x00c;
const IMSC: u64 = 0x010;
const RIS: u64 = 0x014;
const MIS: u64 = 0x018;
const ICR: u64 = 0x01c;
const PERIPH_ID: u64 = 0xfe0;
const PERIPH_ID_END: u64 = 0x1000;

/// RTCPeriphID0 to 3, then RTCPCellID0 to 3: part 0x031, designer 0x41, revision 1 (DDI 0224, 3.3.9 and 3.3.10).
const IDENTIFICATION: [u8; 8] = [0x31, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// RTCCR: the clock runs.
const RUNS: u32 = 1;
/// The only interrupt, alike in RTCIMSC, RTCRIS, RTCMIS and RTCICR.
const INTERRUPT: u32 = 1;
/// Seconds until the counter has the same value again.
const ROUND: u64 = 1 << 32;

/// One real time clock.
///
/// Any call may change [`line`](Self::line) and [`deadline`](Self::deadline). The seconds that the methods take are a
/// [`Clock`]'s and never go back.
///
/// ```
/// use droste_arm64::esr::AccessSize::Word;
/// use droste_vdev::pl031::Pl031;
/// let mut rtc = Pl031::new();
/// assert_eq!(rtc.read(0x000, Word, 1_800_000_000), 1_800_000_000, "the machine's time");
/// rtc.write(0x008, Word, 5, 1_800_000_000);
/// assert_eq!(rtc.read(0x000, Word, 1_800_000_010), 15, "ten seconds after it was set");
/// ```
#[derive(Clone, Debug)]
pub struct Pl031 {
    /// How far the counter is ahead of the machine's seconds, modulo 2^32.
    ahead: u32,
    matched: u32,
    load: u32,
    mask: u32,
    raw: u32,
    /// The machine's second at which the counter reaches RTCMR next.
    due: u64,
}

impl Default for Pl031 {
    fn default() -> Self {
        Self::new()
    }
}

impl Pl031 {
    /// A clock that shows the machine's time. No alarm is set.
    pub const fn new() -> Self {
        Self {
            ahead: 0,
            matched: 0,
            load: 0,
            mask: 0,
            raw: 0,
            due: ROUND,
        }
    }

    /// A bus reset: clears the alarm and the interrupt; the time goes on.
    pub fn reset(&mut self, seconds: u64) {
        *self = Self {
            ahead: self.ahead,
            ..Self::new()
        };
        self.due = self.next(seconds);
    }

    /// A load of `size` at `offset`; 0 where no register starts.
    pub fn read(&mut self, offset: u64, size: AccessSize, seconds: u64) -> u64 {
        self.advance(seconds);
        let value = match offset {
            DR => self.count(seconds),
            MR => self.matched,
            LR => self.load,
            CR => RUNS,
            IMSC => self.mask,
            RIS => self.raw,
            MIS => self.raw & self.mask,
            PERIPH_ID..PERIPH_ID_END if offset.is_multiple_of(4) => {
                IDENTIFICATION[(offset >> 2 & 7) as usize].into()
            }
            _ => 0,
        };
        u64::from(value) & size.mask()
    }

    /// A store of `size` at `offset`; no effect where no writable register starts. A narrow store writes zeros to the
    /// register's upper bits.
    pub fn write(&mut self, offset: u64, size: AccessSize, value: u64, seconds: u64) {
        self.advance(seconds);
        let value = (value & size.mask()) as u32;
        match offset {
            MR => {
                self.matched = value;
                self.compare(seconds);
            }
            LR => {
                self.load = value;
                // Both count seconds modulo 2^32.
                self.ahead = value.wrapping_sub(seconds as u32);
                self.compare(seconds);
            }
            IMSC => self.mask = value & INTERRUPT,
            ICR => self.raw &= !value,
            _ => {}
        }
    }

    /// Goes on to `seconds`: raises the interrupt if the alarm has become due.
    pub fn advance(&mut self, seconds: u64) {
        if seconds >= self.due {
            self.raw = INTERRUPT;
            self.due = self.next(seconds);
        }
    }

    /// The interrupt line: RTCINTR.
    pub fn line(&self) -> Line {
        Line::from_asserted(self.raw & self.mask != 0)
    }

    /// The machine's second at which the line rises by itself: call [`advance`](Self::advance) then.
    pub fn deadline(&self) -> Option<u64> {
        (self.raw == 0 && self.mask != 0).then_some(self.due)
    }

    /// RTCDR.
    fn count(&self, seconds: u64) -> u32 {
        (seconds as u32).wrapping_add(self.ahead)
    }

    /// RTCMR or the counter was changed: they may be equal at once.
    fn compare(&mut self, seconds: u64) {
        if self.count(seconds) == self.matched {
            self.raw = INTERRUPT;
        }
        self.due = self.next(seconds);
    }

    /// When the counter reaches RTCMR, after `seconds`.
    fn next(&self, seconds: u64) -> u64 {
        let distance = match self.matched.wrapping_sub(self.count(seconds)) {
            0 => ROUND,
            distance => distance.into(),
        };
        seconds.saturating_add(distance)
    }
}
