//! Where decisions come from: a seed, or bytes that a fuzzer chose.

/// A stream of decisions.
///
/// ```
/// use droste_trials::Choices;
/// let (mut one, mut other) = (Choices::seeded(7), Choices::seeded(7));
/// assert_eq!(one.below(1000), other.below(1000));
/// ```
#[derive(Clone, Debug)]
pub struct Choices<'a>(Source<'a>);

#[derive(Clone, Debug)]
enum Source<'a> {
    /// The state of a SplitMix64 generator (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
    /// OOPSLA 2014).
    Seeded(u64),
    /// What is left of the bytes.
    Bytes(&'a [u8]),
}

impl Choices<'static> {
    /// Pseudo-random decisions.
    pub const fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(seed))
    }
}

impl<'a> Choices<'a> {
    /// Decisions read from bytes; past their end each is the first possibility.
    pub const fn bytes(bytes: &'a [u8]) -> Self {
        Self(Source::Bytes(bytes))
    }

    /// Whether the bytes are used up. Never, with a seed.
    pub const fn is_exhausted(&self) -> bool {
        matches!(self.0, Source::Bytes([]))
    }

    /// The next 64 bits of a seed, or as many bytes as are left.
    pub fn word(&mut self) -> u64 {
        match &mut self.0 {
            Source::Seeded(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut word = *state;
                word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                word ^ word >> 31
            }
            Source::Bytes(bytes) => {
                let (now, rest) = bytes.split_at(bytes.len().min(8));
                *bytes = rest;
                now.iter()
                    .fold(0, |word, &byte| word << 8 | u64::from(byte))
            }
        }
    }

    /// A number below `limit`; 0 where that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        let number = match &mut self.0 {
            Source::Seeded(_) => self.word(),
            Source::Bytes(bytes) => {
                let width = if limit <= 256 { 1 } else { 2 };
                let (now, rest) = bytes.split_at(bytes.len().min(width));
                *bytes = rest;
                now.iter()
                    .fold(0, |word, &byte| word << 8 | u64::from(byte))
            }
        };
        number.checked_rem(limit).unwrap_or(0)
    }

    /// True once in `times` decisions.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == times - 1
    }

    /// One of several.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_decide_and_their_end_decides_for_the_first() {
        let mut choices = Choices::bytes(&[3, 200]);
        assert_eq!(choices.pick(&[10, 20, 30, 40]), 40);
        assert_eq!(choices.below(256), 200);
        assert!(choices.is_exhausted());
        assert_eq!(choices.pick(&[10, 20]), 10);
        assert!(!choices.once_in(2));
    }

    #[test]
    fn seeds_reach_every_number() {
        let mut choices = Choices::seeded(0);
        let mut seen = [0; 7];
        for _ in 0..700 {
            seen[choices.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
        assert_eq!(choices.below(0), 0);
    }
}
