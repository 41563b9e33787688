//! What a program saw, told or made into a number.

use crate::known::{self, KNOWN};
use crate::sight::Sight;
use droste_guests::println;

/// The account of one program after another.
pub(crate) struct Seen {
    /// Whether all is printed.
    pub(crate) is_told: bool,
    hash: u64,
    times: [u64; KNOWN.len()],
}

impl Seen {
    pub(crate) const fn new() -> Self {
        Self {
            is_told: false,
            hash: 0,
            times: [0; KNOWN.len()],
        }
    }

    /// Begins a program.
    pub(crate) fn begin(&mut self) {
        self.hash = 0;
    }

    /// What it comes to.
    pub(crate) fn end(&self) -> u16 {
        (self.hash >> 48) as u16
    }

    /// Takes note of something, without the bits that are known to differ.
    pub(crate) fn saw(&mut self, sight: Sight<'_>) {
        let ignored = known::ignored(&sight, &mut self.times);
        let value = sight.value & !ignored;
        self.hash = (self.hash ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash ^= self.hash >> 29;
        if self.is_told {
            let Sight {
                what, phase, slot, ..
            } = sight;
            println!("differ: {phase}.{slot} {what:?} {value:#x}");
        }
    }

    /// Says how often each known difference was met.
    pub(crate) fn tell_known(&self) {
        for (known, times) in KNOWN.iter().zip(self.times) {
            println!("differ: known {}: {times}", known.name);
        }
    }
}
