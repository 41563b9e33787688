//! Where a stage-2 walk may start.
//!
//! Software chooses the level through VTCR_EL2.SL0 and SL2, within what the width of the input leaves: one entry must
//! not map everything, and at most 16 tables of the level may stand side by side (DDI 0487, D8.2.2 "Concatenated
//! translation tables", R_HRSBS and R_JKZFY). A walk that breaks one of these rules ends in a level 0 translation
//! fault.

use core::fmt;

use crate::desc::{Format, OutputFormat};
use crate::granule::{Granule, Level};
use crate::size::PaRange;

/// log2 of how many tables of the start level may be concatenated.
const CONCATENATION_BITS: u32 = 4;

/// Why a stage-2 walk cannot start at a level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartFault {
    /// SL0 and SL2 have no encoding for it (DDI 0487, D24.2, VTCR_EL2).
    NoEncoding,
    /// CPUs with fewer physical address bits do not implement the start level (DDI 0487, J1.1, AArch64.S2InvalidSL).
    PhysicalTooNarrow {
        /// Physical address bits that it takes.
        needed: u32,
    },
    /// One entry of the level maps the whole input space.
    InputTooNarrow {
        /// The fewest input address bits.
        least: u32,
    },
    /// Sixteen tables of the level do not map the input space.
    InputTooWide {
        /// The most input address bits.
        most: u32,
    },
}

/// The rule that is broken, as a clause without an end.
impl fmt::Display for StartFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoEncoding => write!(f, "VTCR_EL2.SL0 and SL2 have no encoding for it"),
            Self::PhysicalTooNarrow { needed } => {
                write!(f, "it takes {needed} physical address bits")
            }
            Self::InputTooNarrow { least } => {
                write!(f, "it takes an input of at least {least} bits")
            }
            Self::InputTooWide { most } => {
                write!(f, "16 concatenated tables map {most} bits")
            }
        }
    }
}

impl Format {
    /// Checks that a stage-2 walk of an input of `input_bits` bits may start at `start` on a CPU with these physical
    /// addresses. VTCR_EL2.T0SZ by itself is not checked. FEAT_TTST, which a start at level 3 needs with the 4 KiB
    /// granule, is assumed: such walks map 25 bits at most.
    ///
    /// ```
    /// use droste_arm64::desc::Format;
    /// use droste_arm64::{Granule, Level, PaRange, StartFault};
    /// let format = Format::wide(Granule::Kib4);
    /// let check = |start, bits| format.check_start(start, bits, PaRange::Bits52);
    /// assert_eq!(check(Level::Minus1, 52), Ok(())); // 16 entries
    /// assert_eq!(check(Level::L0, 52), Ok(())); // 16 tables
    /// assert_eq!(check(Level::L1, 52), Err(StartFault::InputTooWide { most: 43 }));
    /// assert_eq!(check(Level::Minus1, 48), Err(StartFault::InputTooNarrow { least: 49 }));
    /// ```
    ///
    /// # Errors
    /// The first rule that is broken, in the order of [`StartFault`]'s variants.
    pub const fn check_start(
        self,
        start: Level,
        input_bits: u32,
        physical: PaRange,
    ) -> Result<(), StartFault> {
        if start_encoding(self, start).is_none() {
            return Err(StartFault::NoEncoding);
        }
        let needed = match (self.granule(), start) {
            (Granule::Kib4, Level::L0) | (Granule::Kib64, Level::L1) => 44,
            (Granule::Kib16, Level::L1) => 42,
            _ => 0,
        };
        if physical.bits() < needed {
            return Err(StartFault::PhysicalTooNarrow { needed });
        }
        let least = self.granule().entry_shift(start) + 1;
        if input_bits < least {
            return Err(StartFault::InputTooNarrow { least });
        }
        let most = self.start_reach(start);
        if input_bits > most {
            return Err(StartFault::InputTooWide { most });
        }
        Ok(())
    }

    /// The deepest level whose tables, at most 16 concatenated, map `input_bits` bits: the shortest walk.
    pub const fn deepest_start(self, input_bits: u32) -> Level {
        let mut start = Level::L3;
        loop {
            start = match Level::new(start.number() - 1) {
                Some(above) if input_bits > self.start_reach(start) => above,
                _ => return start,
            };
        }
    }

    /// Input address bits that 16 concatenated tables of a level map.
    const fn start_reach(self, start: Level) -> u32 {
        let granule = self.granule();
        granule.entry_shift(start) + granule.index_bits() + CONCATENATION_BITS
    }
}

/// SL2 and SL0, as `(sl2, sl0)`; `None` where they cannot say it.
pub(crate) const fn start_encoding(format: Format, start: Level) -> Option<(u64, u64)> {
    Some(match (format.granule(), format.output(), start) {
        (Granule::Kib4, OutputFormat::Lpa2, Level::Minus1) => (1, 0),
        (Granule::Kib4, _, Level::L2) | (Granule::Kib16 | Granule::Kib64, _, Level::L3) => (0, 0),
        (Granule::Kib4, _, Level::L1) | (Granule::Kib16 | Granule::Kib64, _, Level::L2) => (0, 1),
        (Granule::Kib4, _, Level::L0) | (Granule::Kib16 | Granule::Kib64, _, Level::L1) => (0, 2),
        // Level 3 with FEAT_TTST.
        (Granule::Kib4, _, Level::L3) | (Granule::Kib16, OutputFormat::Lpa2, Level::L0) => (0, 3),
        _ => return None,
    })
}

/// The level that SL2 and SL0 select; `None` for reserved encodings. SL2 counts only where the format has it.
pub(crate) const fn start_decoding(format: Format, sl2: u64, sl0: u64) -> Option<Level> {
    let sl2 = match (format.granule(), format.output()) {
        (Granule::Kib4, OutputFormat::Lpa2) => sl2,
        _ => 0,
    };
    let mut next = Some(Level::Minus1);
    while let Some(level) = next {
        if let Some((has_sl2, has_sl0)) = start_encoding(format, level)
            && has_sl2 == sl2
            && has_sl0 == sl0
        {
            return Some(level);
        }
        next = level.next();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SL2 and SL0.
    type Encoding = Option<(u64, u64)>;

    /// Of each start level, −1 to 3: the table of D24.2, VTCR_EL2.SL0, one row per format.
    const ENCODINGS: [(Format, [Encoding; 5]); 6] = [
        (
            Format::narrow(Granule::Kib4),
            [None, Some((0, 2)), Some((0, 1)), Some((0, 0)), Some((0, 3))],
        ),
        (
            Format::narrow(Granule::Kib16),
            [None, None, Some((0, 2)), Some((0, 1)), Some((0, 0))],
        ),
        (
            Format::narrow(Granule::Kib64),
            [None, None, Some((0, 2)), Some((0, 1)), Some((0, 0))],
        ),
        (
            Format::wide(Granule::Kib4),
            [
                Some((1, 0)),
                Some((0, 2)),
                Some((0, 1)),
                Some((0, 0)),
                Some((0, 3)),
            ],
        ),
        (
            Format::wide(Granule::Kib16),
            [None, Some((0, 3)), Some((0, 2)), Some((0, 1)), Some((0, 0))],
        ),
        (
            Format::wide(Granule::Kib64),
            [None, None, Some((0, 2)), Some((0, 1)), Some((0, 0))],
        ),
    ];

    #[test]
    fn every_start_level_has_the_encoding_of_the_manual_or_none() {
        for (format, row) in ENCODINGS {
            for (level, expected) in Level::ALL.into_iter().zip(row) {
                assert_eq!(start_encoding(format, level), expected, "{format:?}");
                if let Some((sl2, sl0)) = expected {
                    assert_eq!(start_decoding(format, sl2, sl0), Some(level));
                } else {
                    let fault = format.check_start(level, 48, PaRange::Bits52);
                    assert_eq!(fault, Err(StartFault::NoEncoding));
                }
            }
        }
    }

    #[test]
    fn every_encoding_that_no_level_has_is_reserved() {
        for (format, row) in ENCODINGS {
            let has_sl2 = format == Format::wide(Granule::Kib4);
            for (sl2, sl0) in (0..8).map(|bits| (bits >> 2, bits & 3)) {
                let effective = if has_sl2 { sl2 } else { 0 };
                let level = row
                    .iter()
                    .position(|&found| found == Some((effective, sl0)));
                let expected = level.map(|index| Level::ALL[index]);
                assert_eq!(start_decoding(format, sl2, sl0), expected, "{format:?}");
            }
        }
    }

    /// How many bits a walk resolves, counted table by table.
    fn one_entry_bits(granule_bits: u32, start: i8) -> u32 {
        (start..3).fold(granule_bits, |bits, _| bits + granule_bits - 3)
    }

    #[test]
    fn a_start_is_right_between_two_entries_and_sixteen_tables() {
        for format in Format::ALL {
            let granule_bits = format.granule().page_bytes().trailing_zeros();
            for level in Level::ALL {
                let entry = one_entry_bits(granule_bits, level.number());
                for bits in 1..=64 {
                    let result = format.check_start(level, bits, PaRange::Bits52);
                    let is_encoded = start_encoding(format, level).is_some();
                    let has_two_entries = bits > entry;
                    let has_sixteen_tables_at_most = bits <= entry + granule_bits - 3 + 4;
                    assert_eq!(
                        result.is_ok(),
                        is_encoded && has_two_entries && has_sixteen_tables_at_most,
                        "{format:?} {level:?} {bits}: {result:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn high_start_levels_take_wide_physical_addresses() {
        for (granule, start, bits, needed) in [
            (Granule::Kib4, Level::L0, 40, 44),
            (Granule::Kib16, Level::L1, 40, 42),
            (Granule::Kib64, Level::L1, 43, 44),
        ] {
            for physical in PaRange::ALL {
                let result = Format::narrow(granule).check_start(start, bits, physical);
                if physical.bits() >= needed {
                    assert_eq!(result, Ok(()));
                } else {
                    assert_eq!(result, Err(StartFault::PhysicalTooNarrow { needed }));
                }
            }
        }
    }

    #[test]
    fn the_deepest_start_is_right_and_the_level_below_is_not() {
        for format in Format::ALL {
            for bits in 32..=format.address_bits() {
                let start = format.deepest_start(bits);
                assert_eq!(format.check_start(start, bits, PaRange::Bits52), Ok(()));
                if let Some(below) = start.next() {
                    let fault = format.check_start(below, bits, PaRange::Bits52);
                    assert!(matches!(fault, Err(StartFault::InputTooWide { .. })));
                }
            }
        }
    }

    #[test]
    fn the_widest_input_starts_where_worked_out_by_hand() {
        // R_DXBSH: 48 bits at 16 KiB start at level 1 with two tables, for want of a level 0.
        let narrow = Format::narrow(Granule::Kib16);
        assert_eq!(narrow.deepest_start(48), Level::L1);
        assert_eq!(
            narrow.check_start(Level::L0, 48, PaRange::Bits48),
            Err(StartFault::NoEncoding)
        );
        let wide = Format::wide;
        assert_eq!(wide(Granule::Kib4).deepest_start(52), Level::L0);
        assert_eq!(wide(Granule::Kib16).deepest_start(51), Level::L1);
        assert_eq!(wide(Granule::Kib16).deepest_start(52), Level::L0);
        assert_eq!(wide(Granule::Kib64).deepest_start(52), Level::L1);
    }
}
