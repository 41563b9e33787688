//! A map from addresses to values that holds for ranges: naive, and so easy to believe.

use std::collections::BTreeMap;
use std::ops::Range;

/// Values by address. Neighbours with equal values are not joined.
#[derive(Clone, Debug)]
pub(crate) struct Ranges<T>(BTreeMap<u64, (u64, T)>);

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Copy> Ranges<T> {
    /// The value at an address.
    pub(crate) fn get(&self, at: u64) -> Option<T> {
        let (_, &(end, value)) = self.0.range(..=at).next_back()?;
        (at < end).then_some(value)
    }

    /// Gives a range a value, or none.
    pub(crate) fn set(&mut self, range: Range<u64>, value: Option<T>) {
        self.cut(range.start);
        self.cut(range.end);
        while let Some((&start, _)) = self.0.range(range.clone()).next() {
            self.0.remove(&start);
        }
        if let (Some(value), false) = (value, range.is_empty()) {
            self.0.insert(range.start, (range.end, value));
        }
    }

    /// Changes the values of a range, where there are any.
    pub(crate) fn change(&mut self, range: Range<u64>, change: impl Fn(&mut T)) {
        self.cut(range.start);
        self.cut(range.end);
        for (_, (_, value)) in self.0.range_mut(range) {
            change(value);
        }
    }

    /// The parts of a range that have a value, in order, clipped to it.
    pub(crate) fn parts(&self, range: Range<u64>) -> impl Iterator<Item = (Range<u64>, T)> + '_ {
        let before = self.0.range(..range.start).next_back();
        before
            .into_iter()
            .chain(self.0.range(range.clone()))
            .filter(move |(_, (end, _))| *end > range.start)
            .map(move |(&start, &(end, value))| (start.max(range.start)..end.min(range.end), value))
            .filter(|(part, _)| !part.is_empty())
    }

    /// Lets no part reach over `at`.
    fn cut(&mut self, at: u64) {
        let Some((&start, &(end, value))) = self.0.range(..at).next_back() else {
            return;
        };
        if end > at {
            self.0.insert(start, (at, value));
            self.0.insert(at, (end, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Choices;

    #[test]
    fn ranges_agree_with_an_array() {
        for seed in 0..200 {
            let mut choices = Choices::seeded(seed);
            let (mut ranges, mut array) = (Ranges::default(), [None; 40]);
            for number in 0..40 {
                let start = choices.below(40);
                let range = start..start + choices.below(41 - start);
                let cells = &mut array[range.start as usize..range.end as usize];
                match choices.below(3) {
                    0 => {
                        ranges.set(range, Some(number));
                        cells.fill(Some(number));
                    }
                    1 => {
                        ranges.set(range, None);
                        cells.fill(None);
                    }
                    _ => {
                        ranges.change(range, |value| *value += 100);
                        cells.iter_mut().flatten().for_each(|value| *value += 100);
                    }
                }
                let found: Vec<_> = (0..40).map(|at| ranges.get(at)).collect();
                assert_eq!(found, array, "seed {seed}");
            }
            let mut parts = [None; 40];
            for (part, value) in ranges.parts(5..35) {
                parts[part.start as usize..part.end as usize].fill(Some(value));
            }
            assert_eq!(parts[5..35], array[5..35]);
            assert!(parts[..5].iter().chain(&parts[35..]).all(Option::is_none));
        }
    }
}
