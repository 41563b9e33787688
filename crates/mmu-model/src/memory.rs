//! The memory that holds tables, and for each 4 KiB of it where walks meet it.

use droste_arm64::Pa;

/// Descriptors in a frame, the model's unit of memory: 4 KiB.
pub(crate) const FRAME_WORDS: usize = 512;
pub(crate) const FRAME_BYTES: u64 = 4096;

/// A part of a frame that a tree's walk can read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TablePart {
    /// The tree's number.
    pub(crate) tree: usize,
    pub(crate) level: i8,
    /// First descriptor of the frame that belongs to the table.
    pub(crate) first: u16,
    /// First that does not.
    pub(crate) end: u16,
    /// First address that `first` translates.
    pub(crate) ipa: u64,
    /// The step that linked it.
    pub(crate) since: u64,
}

/// What a page supply says of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Ownership {
    /// Nothing.
    #[default]
    Unknown,
    Claimed,
    Released,
}

/// 4 KiB of table memory.
#[derive(Clone, Default, Debug)]
pub(crate) struct Frame {
    /// Where trees hold it, by memory as it is.
    pub(crate) parts: Vec<TablePart>,
    /// Trees whose root begins in it.
    pub(crate) roots: Vec<usize>,
    /// How many walk-cache ghosts lead to it.
    pub(crate) walkers: u32,
    /// How many writes to it are not yet visible to all.
    pub(crate) pending: u32,
    pub(crate) ownership: Ownership,
    /// Whether a Contiguous descriptor may be in it.
    pub(crate) has_runs: bool,
}

impl Frame {
    /// Whether some walk may read it.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        !self.parts.is_empty() || self.walkers != 0
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Memory {
    base: u64,
    words: Vec<u64>,
    /// The step that wrote each word.
    since: Vec<u64>,
    pub(crate) frames: Vec<Frame>,
}

impl Memory {
    pub(crate) fn new(base: u64, pages: usize) -> Self {
        Self {
            base,
            words: vec![0; pages * FRAME_WORDS],
            since: vec![0; pages * FRAME_WORDS],
            frames: vec![Frame::default(); pages],
        }
    }

    /// The number of the descriptor at `at`.
    #[inline]
    pub(crate) fn word(&self, at: u64) -> Option<usize> {
        let offset = at.wrapping_sub(self.base);
        let word = (offset / 8) as usize;
        (offset.is_multiple_of(8) && word < self.words.len()).then_some(word)
    }

    /// The first descriptor of a table of `bytes` at `at`, if all of it is here.
    pub(crate) fn table(&self, at: u64, bytes: u64) -> Option<usize> {
        let first = self.word(at)?;
        let end = first.checked_add((bytes / 8) as usize)?;
        (end <= self.words.len()).then_some(first)
    }

    /// The address of a descriptor.
    pub(crate) fn address(&self, word: usize) -> Pa {
        Pa(self.base + word as u64 * 8)
    }

    #[inline]
    pub(crate) fn get(&self, word: usize) -> u64 {
        self.words[word]
    }

    #[inline]
    pub(crate) fn since(&self, word: usize) -> u64 {
        self.since[word]
    }

    #[inline]
    pub(crate) fn set(&mut self, word: usize, value: u64, step: u64) {
        self.words[word] = value;
        self.since[word] = step;
    }

    #[inline]
    pub(crate) fn frame(&self, word: usize) -> &Frame {
        &self.frames[word / FRAME_WORDS]
    }

    #[inline]
    pub(crate) fn frame_mut(&mut self, word: usize) -> &mut Frame {
        &mut self.frames[word / FRAME_WORDS]
    }

    /// The frames that `bytes` from `at` touch, as far as they are here.
    pub(crate) fn frames_of(&self, at: u64, bytes: u64) -> core::ops::Range<usize> {
        let Some(first) = at.checked_sub(self.base) else {
            return 0..0;
        };
        let end = first.saturating_add(bytes).div_ceil(FRAME_BYTES);
        let first = first / FRAME_BYTES;
        let count = self.frames.len() as u64;
        first.min(count) as usize..end.min(count) as usize
    }
}

/// The parts of a table, frame by frame: the descriptors of each, and the address that the first translates.
#[derive(Clone, Debug)]
pub(crate) struct Pieces {
    word: usize,
    end: usize,
    ipa: u64,
    entry_shift: u32,
}

impl Pieces {
    /// Of the table of `entries` descriptors from `word` on, which translates from `ipa` on.
    pub(crate) const fn new(word: usize, entries: u64, ipa: u64, entry_shift: u32) -> Self {
        Self {
            word,
            end: word + entries as usize,
            ipa,
            entry_shift,
        }
    }
}

impl Iterator for Pieces {
    /// First descriptor, descriptor after the last, first address.
    type Item = (usize, usize, u64);

    fn next(&mut self) -> Option<Self::Item> {
        if self.word >= self.end {
            return None;
        }
        let end = self.end.min((self.word / FRAME_WORDS + 1) * FRAME_WORDS);
        let piece = (self.word, end, self.ipa);
        self.ipa += ((end - self.word) as u64) << self.entry_shift;
        self.word = end;
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_aligned_addresses_inside_are_descriptors() {
        let memory = Memory::new(0x1000, 2);
        assert_eq!(memory.word(0x1000), Some(0));
        assert_eq!(memory.word(0x2ff8), Some(1023));
        for wrong in [0x3000, 0xff8, 0x1004, u64::MAX, 0] {
            assert_eq!(memory.word(wrong), None);
        }
        assert_eq!(memory.table(0x2000, 0x1000), Some(512));
        assert_eq!(memory.table(0x2000, 0x2000), None);
    }

    #[test]
    fn a_large_table_comes_in_one_piece_per_frame() {
        let pieces: Vec<_> = Pieces::new(500, 536, 0x10_0000, 12).collect();
        assert_eq!(
            pieces,
            [
                (500, 512, 0x10_0000),
                (512, 1024, 0x10_0000 + (12 << 12)),
                (1024, 1036, 0x10_0000 + (524 << 12))
            ]
        );
    }
}
