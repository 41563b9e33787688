//! Every walk that the SMMU's fetches and caches permit.

use core::ops::Range;

use droste_arm64::Pa;

use crate::descriptor::{ACCESSED, AccessKind, Meaning, permits};
use crate::regime::{Shape, effective};
use crate::smmu::command::Ends;
use crate::smmu::{ALIVE, Reach, Record, Smmu, Version};

/// An entry on a walk: where it stands, what it translates, and since when its table could be read.
#[derive(Clone, Copy)]
struct Stop {
    entry: u64,
    level: i8,
    first: u64,
    since: u64,
}

impl Smmu {
    /// What an access of a stream comes to by an entry that leads to a table, through all that is cached under the VMID.
    pub(super) fn translate(
        &self,
        entry: &Version,
        stream: u32,
        access: (u64, AccessKind),
        all: &mut Vec<Reach>,
    ) {
        let is_of = |record: &&Record| record.stream == stream && record.from == entry.from;
        let Some(own) = self.records.iter().find(is_of) else {
            return;
        };
        for record in self.records.iter().filter(|record| record.vmid == own.vmid) {
            let Some(shape) = self.shape(record) else {
                continue;
            };
            if !shape.has_input(access.0) {
                all.push(Reach::Abort);
                continue;
            }
            self.walk(record, &shape, top(record, &shape, access.0), access, all);
        }
    }

    fn shape(&self, record: &Record) -> Option<Shape> {
        Shape::decode(effective(record.vtcr, self.config.features), &self.config).ok()
    }

    /// Whether a value of an entry can be used, given who leads there.
    fn is_held(
        &self,
        record: &Record,
        stop: &Stop,
        bytes: u64,
        version: &Version,
        is_leaf: bool,
    ) -> bool {
        let until = version.until.min(record.until);
        let end = stop.first + bytes;
        version.until > stop.since
            && version.from < record.until
            && !self.done.iter().any(|done| match done.ends {
                Some(Ends::Translations { vmid, range, level }) => {
                    done.step >= until
                        && vmid.is_none_or(|vmid| vmid == record.vmid)
                        && range.is_none_or(|(from, to)| from < end && stop.first < to)
                        && level.is_none_or(|level| is_leaf && level == stop.level)
                }
                _ => false,
            })
    }

    fn walk(
        &self,
        record: &Record,
        shape: &Shape,
        stop: Stop,
        access: (u64, AccessKind),
        all: &mut Vec<Reach>,
    ) {
        let bytes = shape.entry_bytes(stop.level);
        let zero = [Version {
            value: 0,
            from: 0,
            until: ALIVE,
            by: None,
        }];
        let versions = self.words.get(&stop.entry).map_or(&zero[..], Vec::as_slice);
        for version in versions {
            let meaning = shape.meaning(version.value, stop.level);
            let is_leaf = matches!(meaning, Meaning::Leaf(_));
            if !self.is_held(record, &stop, bytes, version, is_leaf) {
                continue;
            }
            match meaning {
                // What faults is not cached.
                Meaning::Invalid if version.until == ALIVE && record.until == ALIVE => {
                    all.push(Reach::Abort);
                }
                Meaning::Invalid => {}
                Meaning::Leaf(output) => {
                    let is_young = version.value & ACCESSED != 0 || record.ignores_access_flag;
                    all.push(
                        if is_young && permits(version.value, access.1, &self.config) {
                            Reach::Memory(Pa(output + (access.0 & (bytes - 1))))
                        } else {
                            Reach::Abort
                        },
                    );
                }
                Meaning::Table(table) => {
                    let level = stop.level + 1;
                    let bytes = shape.entry_bytes(level);
                    let next = Stop {
                        entry: table + shape.index(level, access.0) * 8,
                        level,
                        first: access.0 & !(bytes - 1),
                        since: stop.since.max(version.from),
                    };
                    self.walk(record, shape, next, access, all);
                }
            }
        }
    }

    /// A stream some walk of which can read in this memory.
    pub(super) fn reaches(&self, page: Range<u64>) -> Option<u32> {
        let is_reached = |record: &&Record| {
            self.shape(record).is_some_and(|shape| {
                let root = record.root..record.root + shape.root_bytes();
                self.is_in_tree(record, &shape, (root, shape.start, 0, record.from), &page)
            })
        };
        self.records
            .iter()
            .find(is_reached)
            .map(|record| record.stream)
    }

    /// Whether a table, or one below it, is in this memory. The root itself is not asked about: it is its owner's.
    fn is_in_tree(
        &self,
        record: &Record,
        shape: &Shape,
        (table, level, first, since): (Range<u64>, i8, u64, u64),
        page: &Range<u64>,
    ) -> bool {
        let bytes = shape.entry_bytes(level);
        let base = table.start;
        self.words.range(table).any(|(&entry, versions)| {
            let stop = Stop {
                entry,
                level,
                first: first + (entry - base) / 8 * bytes,
                since,
            };
            versions.iter().any(|version| {
                let Meaning::Table(next) = shape.meaning(version.value, level) else {
                    return false;
                };
                if !self.is_held(record, &stop, bytes, version, false) {
                    return false;
                }
                let below = next..next + shape.table_bytes();
                if below.start < page.end && page.start < below.end {
                    return true;
                }
                let since = since.max(version.from);
                self.is_in_tree(record, shape, (below, level + 1, stop.first, since), page)
            })
        })
    }
}

fn top(record: &Record, shape: &Shape, address: u64) -> Stop {
    let level = shape.start;
    Stop {
        entry: record.root + shape.index(level, address) * 8,
        level,
        first: address & !(shape.entry_bytes(level) - 1),
        since: record.from,
    }
}
