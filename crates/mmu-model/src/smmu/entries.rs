//! The stream table: what can be held of it, and how it may change (IHI 0070, 3.21 and 5).

use droste_arm64::Pa;

use crate::smmu::command::{Ends, Issued};
use crate::smmu::{ALIVE, Part, Record, STRTAB_BASE, STRTAB_BASE_CFG, Smmu, SmmuRule, Version};

impl Smmu {
    /// A command about streams is complete: no fetch goes by their old entries.
    pub(super) fn end(&mut self, issued: &Issued) {
        let Some(Ends::Streams(first, last)) = issued.ends else {
            return;
        };
        for index in 0..self.records.len() {
            let record = self.records[index];
            let is_of = (first..=last).contains(&record.stream) && record.until == ALIVE;
            let is_gone = self.entry_of(record.stream).is_none_or(|at| {
                let versions = self.words.get(&at);
                let mut own = versions
                    .into_iter()
                    .flatten()
                    .filter(|v| v.from == record.from);
                own.all(|version| version.until <= issued.step)
            });
            if is_of && is_gone {
                self.records[index].until = issued.step;
            }
        }
    }

    /// The address of a stream's entry.
    pub(super) fn entry_of(&self, stream: u32) -> Option<u64> {
        let part = self
            .parts
            .iter()
            .find(|part| stream >= part.first && stream - part.first < part.count)?;
        Some(part.base + u64::from(stream - part.first) * 64)
    }

    fn stream_at(&self, at: u64) -> Option<(u32, u64)> {
        let part = self
            .parts
            .iter()
            .find(|part| (part.base..part.base + u64::from(part.count) * 64).contains(&at))?;
        Some((
            part.first + ((at - part.base) / 64) as u32,
            (at - part.base) % 64,
        ))
    }

    /// Whether what a stream's first word says can be used, by this version of it.
    fn is_usable(&self, stream: u32, version: &Version) -> bool {
        !self.done.iter().any(|done| match done.ends {
            Some(Ends::Streams(first, last)) => {
                (first..=last).contains(&stream) && done.step >= version.until
            }
            _ => false,
        })
    }

    pub(super) fn usable(&self, stream: u32, at: u64) -> Vec<Version> {
        let versions = self.words.get(&at).map_or(&[][..], Vec::as_slice);
        let is_usable = |version: &&Version| self.is_usable(stream, version);
        versions.iter().filter(is_usable).copied().collect()
    }

    /// The rules of stream table entries: another word than the first changes only while no fetch can take the entry for
    /// valid, and the first becomes valid only when the others are settled, and no other valid one can be held.
    pub(super) fn check_entry(&mut self, at: u64, value: u64) {
        let Some((stream, offset)) = self.stream_at(at) else {
            return;
        };
        let entry = at - offset;
        let is_valid = |version: &Version| version.value & 1 == 1;
        let is_held = self.usable(stream, entry).iter().any(is_valid);
        let is_settled = (1..8).all(|word| self.visible(entry + word * 8).is_some());
        if is_held && !(offset == 0 && value & 1 == 0)
            || offset == 0 && value & 1 == 1 && !is_settled
        {
            self.report(SmmuRule::EntryTorn, Some(stream), at);
        }
    }

    /// Follows what was written into the stream table.
    pub(super) fn note_table(&mut self, at: u64, value: u64) {
        let base = self.get(STRTAB_BASE) & 0x000f_ffff_ffff_ffc0;
        let config = self.get(STRTAB_BASE_CFG);
        let (bits, split) = (config & 0x3f, config >> 6 & 0x1f);
        let entries = 1 << bits.saturating_sub(split);
        if base != 0 && (base..base + entries * 8).contains(&at) {
            let span = value & 0x1f;
            if span > 0 {
                self.parts.push(Part {
                    first: (((at - base) / 8) << split) as u32,
                    count: 1 << (span - 1),
                    base: value & 0x000f_ffff_ffff_ffc0,
                });
            }
            return;
        }
        let Some((stream, 0)) = self.stream_at(at) else {
            return;
        };
        if value & 1 == 1 && value >> 1 & 7 == 6 {
            let word = |offset| self.read(Pa(at + offset));
            self.records.push(Record {
                stream,
                vmid: word(16) as u16,
                vtcr: 1 << 31 | word(16) >> 32 & 0x7_ffff,
                ignores_access_flag: word(16) >> 53 & 1 == 1,
                root: word(24) & 0x000f_ffff_ffff_fff0,
                from: self.step,
                until: ALIVE,
            });
        }
    }
}
