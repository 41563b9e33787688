//! Finding the records that hold part of a range.

use core::ops::DerefMut;

use super::{NONE, Owner, Record, ReverseMap};
use crate::L1Ipa;

/// A search for the records of one size that hold part of a range. What it gave last may be unlinked before it goes on.
pub(super) struct Search {
    size: u8,
    /// Regions that are left, by number: address over size.
    region: u64,
    last: u64,
    /// The next record to look at.
    next: u32,
    by: By,
}

/// How records are found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// Region by region, each in its chain.
    Chain,
    /// Record by record: there are fewer of them.
    Record,
}

impl Search {
    pub(super) fn new<R, O>(map: &ReverseMap<R, O>, from: L1Ipa, bytes: u64, size: u8) -> Self
    where
        R: DerefMut<Target = [Record]>,
        O: DerefMut<Target = [Owner]>,
    {
        let region = from.0 >> size;
        let last = from.0.saturating_add(bytes.saturating_sub(1)) >> size;
        let is_short = last - region < map.records.len() as u64;
        let by = if is_short { By::Chain } else { By::Record };
        Self {
            size,
            region,
            last,
            next: match by {
                By::Chain => first_of(map, size, region),
                By::Record => 0,
            },
            by,
        }
    }

    /// The next record that holds part of the range.
    pub(super) fn next<R, O>(&mut self, map: &ReverseMap<R, O>) -> Option<u32>
    where
        R: DerefMut<Target = [Record]>,
        O: DerefMut<Target = [Owner]>,
    {
        loop {
            let number = match self.by {
                By::Chain => self.next_chained(map)?,
                By::Record => self.next_record(map)?,
            };
            let record = map.record(number);
            let region = record.via.0 >> self.size;
            let wanted = match self.by {
                By::Chain => self.region..=self.region,
                By::Record => self.region..=self.last,
            };
            if record.place != NONE && record.size == self.size && wanted.contains(&region) {
                return Some(number);
            }
        }
    }

    fn next_chained<R, O>(&mut self, map: &ReverseMap<R, O>) -> Option<u32>
    where
        R: DerefMut<Target = [Record]>,
        O: DerefMut<Target = [Owner]>,
    {
        while self.next == NONE {
            if self.region == self.last {
                return None;
            }
            self.region += 1;
            self.next = first_of(map, self.size, self.region);
        }
        let number = self.next;
        self.next = map.record(number).next;
        Some(number)
    }

    fn next_record<R, O>(&mut self, map: &ReverseMap<R, O>) -> Option<u32>
    where
        R: DerefMut<Target = [Record]>,
        O: DerefMut<Target = [Owner]>,
    {
        let number = self.next;
        self.next = number.checked_add(1)?;
        ((number as usize) < map.records.len()).then_some(number)
    }
}

/// The first record of a region's chain.
fn first_of<R, O>(map: &ReverseMap<R, O>, size: u8, region: u64) -> u32
where
    R: DerefMut<Target = [Record]>,
    O: DerefMut<Target = [Owner]>,
{
    let chain = map.chain(size, L1Ipa(region << size));
    map.chained(chain).next().unwrap_or(NONE)
}
