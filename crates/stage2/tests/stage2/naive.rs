//! What a table should hold, as a list of ranges.

/// A range of guest addresses, where it leads and with what attribute bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Segment {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) output: u64,
    pub(crate) bits: u64,
}

impl Segment {
    fn part(self, start: u64, end: u64) -> Option<Self> {
        let (start, end) = (start.max(self.start), end.min(self.end));
        (start < end).then(|| Self {
            start,
            end,
            output: self.output + (start - self.start),
            bits: self.bits,
        })
    }

    fn continues(self, before: Self) -> bool {
        let length = before.end - before.start;
        self.start == before.end
            && self.output == before.output + length
            && self.bits == before.bits
    }
}

/// Joins what is contiguous in both addresses; sorted before and after.
pub(crate) fn merged(segments: impl IntoIterator<Item = Segment>) -> Vec<Segment> {
    let mut result: Vec<Segment> = Vec::new();
    for segment in segments {
        match result.last_mut() {
            Some(last) if segment.continues(*last) => last.end = segment.end,
            _ => result.push(segment),
        }
    }
    result
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Naive {
    /// Disjoint and sorted.
    segments: Vec<Segment>,
}

impl Naive {
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(crate) fn unmap(&mut self, start: u64, end: u64) {
        let old = std::mem::take(&mut self.segments);
        for segment in old {
            self.segments.extend(segment.part(0, start));
            self.segments.extend(segment.part(end, u64::MAX));
        }
        self.tidy();
    }

    /// The first address at which mapping `new` meets something different.
    pub(crate) fn conflict(&self, new: Segment) -> Option<u64> {
        let differs = |old: &&Segment| {
            let common = old.part(new.start, new.end);
            common.is_some_and(|c| new.part(c.start, c.end) != Some(c))
        };
        let first = self.segments.iter().find(differs)?;
        Some(first.start.max(new.start))
    }

    /// Adds `new`, which has no conflict.
    pub(crate) fn map(&mut self, new: Segment) {
        self.unmap(new.start, new.end);
        self.segments.push(new);
        self.tidy();
    }

    fn tidy(&mut self) {
        self.segments.sort_unstable();
        self.segments = merged(self.segments.drain(..));
    }
}
