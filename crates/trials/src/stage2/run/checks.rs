//! What must hold after each step, and at the end.

use std::ops::Range;

use droste_arm64::desc::{Cacheability, LeafAttributes, MemoryType};
use droste_arm64::{Ipa, Level};
use droste_mmu_model::AccessKind;
use droste_stage2::{Attributes, Memory, scheme};

use crate::failure::{Problem, Report};
use crate::stage2::operation::Step;
use crate::stage2::oracle::{Known, Rights};
use crate::stage2::run::machine::Run;

/// As many pages of a range are looked at, from its beginning and before its end.
const PAGES: u64 = 20;
/// Once in so many steps all of a table is looked at.
const WHOLE: u64 = 50;
const KINDS: [AccessKind; 4] = [
    AccessKind::Read,
    AccessKind::Write,
    AccessKind::ExecuteEl1,
    AccessKind::ExecuteEl0,
];

fn wrong(rule: &'static str, detail: String) -> Problem {
    Problem::Oracle { rule, detail }
}

/// What a leaf permits; a page whose writes hardware marks counts as writable.
fn rights(leaf: LeafAttributes) -> Rights {
    let all = Rights::of(Attributes {
        access: leaf.access,
        execute: leaf.execute,
        ..Attributes::RAM
    });
    if leaf.is_dirty_managed {
        all.and(Rights::WRITE)
    } else {
        all
    }
}

impl Run<'_> {
    fn violation(&self) -> Result<(), Problem> {
        match self.model.borrow().violation() {
            None => Ok(()),
            Some(violation) => Err(Problem::Violation(*violation)),
        }
    }

    pub(super) fn check(&mut self, step: &Step) -> Result<(), Problem> {
        self.violation()?;
        let vm = usize::from(step.vm) % self.vms.len();
        if let Some(area) = step.operation.area() {
            let space = self.vms[vm].oracle.space();
            let start = area.ipa.0.min(space.end - 1);
            let end = start.saturating_add(area.bytes.max(1)).min(space.end);
            self.check_ends(vm, start..end)?;
            self.probe_around(start..end);
        }
        if self.luck.once_in(WHOLE) {
            let space = self.vms[vm].oracle.space();
            self.check_table(vm, space)?;
        }
        self.violation()
    }

    /// Whoever is inside makes accesses at the ends of a range.
    fn probe_around(&mut self, range: Range<u64>) {
        for cpu in 0..self.places.len() {
            if self.places[cpu].is_none() {
                continue;
            }
            let middle = range.start + self.luck.below(range.end - range.start);
            let at = self.luck.pick(&[
                range.start,
                range.end - 1,
                middle,
                range.end,
                range.start.wrapping_sub(1),
            ]);
            let kind = self.luck.pick(&KINDS);
            self.probe(cpu, Ipa(at & (u64::MAX >> 12)), kind);
        }
    }

    /// The table says what the oracle does, at both ends of a range.
    fn check_ends(&mut self, vm: usize, range: Range<u64>) -> Result<(), Problem> {
        let bytes = self.vms[vm].geometry.page_bytes() * PAGES;
        let head = range.start..range.start.saturating_add(bytes).min(range.end);
        let tail = range.end.saturating_sub(bytes).max(head.end)..range.end;
        self.check_table(vm, head)?;
        self.check_table(vm, tail)
    }

    /// The table says what the oracle does.
    fn check_table(&mut self, vm: usize, range: Range<u64>) -> Result<(), Problem> {
        if range.is_empty() {
            return Ok(());
        }
        self.at_el2(0, |run, hands| {
            let machine = &run.vms[vm];
            let mut covered = range.start;
            let leaves = machine
                .table
                .leaves(hands, Ipa(range.start), range.end - range.start);
            for (ipa, level, leaf) in leaves {
                run.check_hole(vm, covered..ipa.0)?;
                run.check_leaf(vm, (ipa, level), leaf.output.0, leaf.attributes, &range)?;
                covered = ipa.0 + machine.geometry.entry_bytes(level);
            }
            run.check_hole(vm, covered..range.end)
        })
    }

    fn check_hole(&self, vm: usize, hole: Range<u64>) -> Result<(), Problem> {
        if hole.start >= hole.end {
            return Ok(());
        }
        let mut parts = self.vms[vm].oracle.known.parts(hole);
        match parts.find(|(_, known)| known.granted != Rights::NONE) {
            None => Ok(()),
            Some((part, known)) => Err(wrong(
                "what was mapped stays mapped",
                format!("{part:x?} should be {known:?} and is a hole"),
            )),
        }
    }

    fn check_leaf(
        &self,
        vm: usize,
        (ipa, level): (Ipa, Level),
        output: u64,
        leaf: LeafAttributes,
        within: &Range<u64>,
    ) -> Result<(), Problem> {
        let machine = &self.vms[vm];
        let end = ipa.0 + machine.geometry.entry_bytes(level);
        let seen = ipa.0.max(within.start)..end.min(within.end);
        let mut next = seen.start;
        for (part, known) in machine.oracle.known.parts(seen.clone()) {
            if part.start != next {
                break;
            }
            next = part.end;
            let at = output + (part.start - ipa.0);
            if let Some(detail) = self.disagreement(&known, part.start, at, leaf) {
                return Err(wrong(
                    "a leaf says what was asked for",
                    format!(
                        "level {} leaf of {part:x?} {detail}; {known:?}",
                        level.number()
                    ),
                ));
            }
        }
        if next == seen.end {
            return Ok(());
        }
        Err(wrong(
            "nothing is mapped that was not asked for",
            format!("a level {} leaf maps {next:#x}", level.number()),
        ))
    }

    fn disagreement(
        &self,
        known: &Known,
        ipa: u64,
        output: u64,
        leaf: LeafAttributes,
    ) -> Option<String> {
        let has = rights(leaf);
        let memory = match leaf.memory.decode(scheme(&self.ids)) {
            MemoryType::Device(device) => Some(Memory::Device(device)),
            MemoryType::Normal {
                inner: Cacheability::WriteBack,
                outer: Cacheability::WriteBack,
            }
            | MemoryType::ForceWriteBack => Some(Memory::WriteBack),
            MemoryType::Normal {
                inner: Cacheability::NonCacheable,
                outer: Cacheability::NonCacheable,
            }
            | MemoryType::NonCacheable => Some(Memory::NonCacheable),
            _ => None,
        };
        if output != known.output(ipa).0 {
            Some(format!("leads to {output:#x}, not {}", known.output(ipa)))
        } else if !known.limit.has(has) {
            Some(format!("permits too much, {has:?}"))
        } else if !has.has(known.granted) {
            Some(format!("permits too little, {has:?}"))
        } else if memory != Some(known.memory) {
            Some(format!("has memory type {memory:?}"))
        } else if leaf.software != known.software {
            Some(format!("has software bits {}", leaf.software))
        } else {
            None
        }
    }

    /// Everybody leaves, everything is freed.
    pub(super) fn finish(mut self) -> Result<Report, Problem> {
        for vm in 0..self.vms.len() {
            let space = self.vms[vm].oracle.space();
            self.check_table(vm, space)?;
            self.free(vm % self.places.len(), vm)?;
            for cpu in 0..self.places.len() {
                self.probe_around(cpu as u64 * 4096..1 << 30);
            }
            self.violation()?;
        }
        for cpu in 0..self.places.len() {
            self.leave(cpu);
        }
        for vm in 0..self.vms.len() {
            (0..self.vms[vm].contexts.len()).for_each(|context| self.forget(vm, context));
        }
        let vms = std::mem::take(&mut self.vms);
        for mut vm in vms {
            for cache in &mut vm.caches {
                cache.drain(&mut vm.supply);
            }
            let left = vm.supply.left();
            let taken = vm.table.counters().table_pages - vm.supply.taken_apart();
            if left != vm.quota || taken != 0 {
                return Err(wrong(
                    "all pages come back",
                    format!(
                        "{left} of {} pages are there, {taken} counted as taken",
                        vm.quota
                    ),
                ));
            }
            let (root, bytes) = (vm.table.root(), vm.geometry.root_bytes());
            for context in vm.contexts {
                context.retire(&mut vm.table);
            }
            self.model.borrow_mut().release(root, bytes);
        }
        self.violation()?;
        self.report.rollovers = self.vmids.rollovers();
        self.report.verbs = self.model.borrow().steps();
        Ok(self.report)
    }
}
