//! The mutants of `droste-stage2`: each takes one safeguard away.

mod meaning;

use super::table::{Mutant, mutant};

pub(super) use meaning::MUTANTS as OF_MEANING;

/// Of the seam to the machine, in `droste-arm64`.
pub(super) const OF_THE_SEAM: &[Mutant] = &[
    mutant(
        "under-no-isb",
        "machine.rs",
        "        machine.set_vttbr(to.vttbr);\n    }\n    machine.isb();",
        "        machine.set_vttbr(to.vttbr);\n    }",
    ),
    mutant(
        "under-keeps-vtcr",
        "machine.rs",
        "        machine.set_vtcr(to.vtcr);",
        "",
    ),
    mutant(
        "a-name-that-is-not-redirected",
        "vhe.rs",
        "                | (4, 0, 0 | 1)     // SPSR, ELR",
        "                | (4, 0, 0)         // SPSR",
    ),
    mutant(
        "sme-open-with-e2h",
        "vhe.rs",
        "                    | open(e2h0, TSM, 24)",
        "                    | 3 << 24",
    ),
];

pub(super) const MUTANTS: &[Mutant] = &[
    // Caches.
    mutant(
        "memory-used-as-a-device-stays-in-caches",
        "cache.rs",
        "        let is_device = matches!(attributes.memory, Memory::Device(_));",
        "        let is_device = attributes.is_device();",
    ),
    // Barriers.
    mutant(
        "settle-no-first-dsb",
        "invalidate.rs",
        "        machine.dsb(Dsb::Ish);\n        let plan = Plan",
        "        let plan = Plan",
    ),
    mutant(
        "plan-no-dsb-before-combined",
        "invalidate.rs",
        "        machine.dsb(Dsb::Ish);\n        issue(machine, Tlbi::Vmalle1is, counts);",
        "        issue(machine, Tlbi::Vmalle1is, counts);",
    ),
    mutant(
        "plan-no-dsb-after-combined",
        "invalidate.rs",
        "issue(machine, Tlbi::Vmalle1is, counts);\n        machine.dsb(Dsb::Ish);",
        "issue(machine, Tlbi::Vmalle1is, counts);",
    ),
    mutant(
        "plan-no-dsb-after-vmid",
        "invalidate.rs",
        "issue(machine, Tlbi::Vmalls12e1is, counts);\n                machine.dsb(Dsb::Ish);",
        "issue(machine, Tlbi::Vmalls12e1is, counts);",
    ),
    mutant(
        "settle-no-isb",
        "invalidate.rs",
        "        machine.isb();\n        if self.locks",
        "        if self.locks",
    ),
    mutant(
        "unlock-no-dsb",
        "invalidate.rs",
        "            unlock(table, machine, top, self.span);\n            machine.dsb(Dsb::Ishst);",
        "            unlock(table, machine, top, self.span);",
    ),
    mutant(
        "forget-no-dsb-between",
        "invalidate.rs",
        "        machine.dsb(Dsb::Nsh);\n        machine.tlbi(Tlbi::Vmalle1);",
        "        machine.tlbi(Tlbi::Vmalle1);",
    ),
    mutant(
        "forget-no-dsb-after",
        "invalidate.rs",
        "        machine.tlbi(Tlbi::Vmalle1);\n        machine.dsb(Dsb::Nsh);",
        "        machine.tlbi(Tlbi::Vmalle1);",
    ),
    mutant(
        "map-no-dsb",
        "map.rs",
        "            machine.dsb(Dsb::Ishst);\n            result",
        "            result",
    ),
    mutant(
        "map-links-without-dsb",
        "map.rs",
        "            self.machine.dsb(Dsb::Ishst);\n            self.machine\n                .write(position.entry, self.table.link(position.level, child));",
        "            self.machine\n                .write(position.entry, self.table.link(position.level, child));",
    ),
    mutant(
        "fault-links-without-dsb",
        "fault.rs",
        "            machine.zero(table, self.geometry.page_bytes());\n            machine.dsb(Dsb::Ishst);",
        "            machine.zero(table, self.geometry.page_bytes());",
    ),
    mutant(
        "fault-no-dsb",
        "fault.rs",
        "        window.fill_others(machine, self, at);\n        machine.dsb(Dsb::Ishst);",
        "        window.fill_others(machine, self, at);",
    ),
    mutant(
        "split-links-without-dsb",
        "split.rs",
        "            self.fill_from(machine, child, position.level, raw);\n            machine.dsb(Dsb::Ishst);",
        "            self.fill_from(machine, child, position.level, raw);",
    ),
    mutant(
        "root-no-dsb",
        "table.rs",
        "        machine.zero(root, align);\n        machine.dsb(Dsb::Ishst);",
        "        machine.zero(root, align);",
    ),
    mutant(
        "root-not-zeroed",
        "table.rs",
        "        machine.zero(root, align);\n",
        "",
    ),
    mutant(
        "fault-table-not-zeroed",
        "fault.rs",
        "            machine.zero(table, self.geometry.page_bytes());\n",
        "",
    ),
    // TLB invalidations.
    mutant(
        "plan-no-combined",
        "invalidate.rs",
        "        issue(machine, Tlbi::Vmalle1is, counts);\n",
        "",
    ),
    mutant(
        "plan-no-vmid",
        "invalidate.rs",
        "                issue(machine, Tlbi::Vmalls12e1is, counts);\n",
        "",
    ),
    mutant(
        "plan-no-address",
        "invalidate.rs",
        "                    issue(machine, Tlbi::Ipas2e1is(operand), counts);",
        "                    let _ = operand;",
    ),
    mutant(
        "plan-one-address-less",
        "invalidate.rs",
        "for index in 0..*count {",
        "for index in 1..*count {",
    ),
    mutant(
        "plan-wrong-stride",
        "invalidate.rs",
        "        let shift = granule.entry_shift(leaf.unwrap_or(Level::L3));",
        "        let shift = granule.entry_shift(leaf.unwrap_or(Level::L2));",
    ),
    mutant(
        "plan-first-address-for-all",
        "invalidate.rs",
        "            count,\n            format,\n            hint,\n        }\n    }",
        "            count: count.min(1),\n            format,\n            hint,\n        }\n    }",
    ),
    mutant(
        "settle-under-the-loaded-shape",
        "invalidate.rs",
        "        let vtcr = table.vtcr;",
        "        let vtcr = machine.vtcr();",
    ),
    mutant(
        "plan-hint-for-tables",
        "invalidate.rs",
        "let hint = leaf.filter(|_| table.ids.has_ttl());",
        "let hint = leaf.or(Some(Level::L3)).filter(|_| table.ids.has_ttl());",
    ),
    mutant(
        "plan-hint-without-ttl",
        "invalidate.rs",
        "let hint = leaf.filter(|_| table.ids.has_ttl());",
        "let hint = leaf;",
    ),
    mutant(
        "plan-range-too-long",
        "invalidate.rs",
        "if pages > RangeCover::MAX_PAGES {",
        "if pages > u64::MAX - 1 {",
    ),
    mutant(
        "forget-no-stage2",
        "invalidate.rs",
        "        machine.tlbi(Tlbi::Ipas2e1(operand));\n",
        "        let _ = operand;\n",
    ),
    mutant(
        "forget-no-combined",
        "invalidate.rs",
        "        machine.tlbi(Tlbi::Vmalle1);\n",
        "",
    ),
    mutant(
        "conflict-not-forgotten",
        "invalidate.rs",
        "        machine.tlbi(Tlbi::Vmalls12e1);\n",
        "",
    ),
    mutant(
        "only-the-first-context",
        "invalidate.rs",
        "for context in contexts.all {",
        "for context in contexts.all.iter().take(1) {",
    ),
    // What owes an invalidation.
    mutant(
        "unmap-owes-nothing",
        "unmap.rs",
        "        cleared.owe(debt, first, 1 << shift, level);",
        "        let _ = cleared;",
    ),
    mutant(
        "unmap-one-leaf-owes-nothing",
        "unmap.rs",
        "                    debt.add_leaves(hole, leaf.level);",
        "",
    ),
    mutant(
        "unmap-one-leaf-leaves-its-table-empty",
        "unmap.rs",
        "Some(leaf) if self.has_neighbour(machine, leaf) => {",
        "Some(leaf) => {",
    ),
    mutant(
        "unmap-takes-a-block-for-its-first-part",
        "split.rs",
        "is_leaf && position.span(self.geometry) == span;",
        "is_leaf && position.span(self.geometry).covers(span);",
    ),
    mutant(
        "unmap-takes-one-leaf-out-of-a-run",
        "split.rs",
        "is_one && !unlocked(raw).is_contiguous();",
        "is_one;",
    ),
    mutant(
        "unmap-owes-what-nobody-has-seen",
        "split.rs",
        "(is_one && sight == Sight::Live)",
        "(is_one && sight != Sight::Hidden || is_one)",
    ),
    mutant(
        "unmap-table-owes-nothing",
        "unmap.rs",
        "        debt.add_table(Span {",
        "        debt.add_leaves(Span {\n            start: hole.start, end: hole.end }, Level::L3);\n        let _ = (Span {",
    ),
    mutant(
        "protect-owes-nothing",
        "protect.rs",
        "        changed.owe(debt, first, bytes, Level::L3);",
        "        let _ = changed;",
    ),
    mutant(
        "split-owes-nothing",
        "split.rs",
        "        debt.add_leaves(position.span(self.geometry), position.level);\n        Change::Done",
        "        Change::Done",
    ),
    mutant(
        "unfold-owes-nothing",
        "split.rs",
        "        debt.add_leaves(position.run(self.geometry), position.level);\n        Change::Done",
        "        Change::Done",
    ),
    mutant(
        "collapse-owes-one-level",
        "split.rs",
        "        debt.add_table(position.span(self.table.geometry));",
        "        debt.add_leaves(position.span(self.table.geometry), position.level);",
    ),
    mutant(
        "map-over-owes-nothing",
        "map.rs",
        "        self.debt\n            .add_leaves(position.span(geometry), position.level);",
        "",
    ),
    // The break.
    mutant(
        "map-without-break",
        "map.rs",
        "                .write(position.entry, locked(new.not_contiguous()));",
        "                .write(position.entry, new.not_contiguous());",
    ),
    mutant(
        "map-over-table-without-break",
        "map.rs",
        "                self.machine.write(position.entry, locked(leaf));",
        "                self.machine.write(position.entry, leaf);",
    ),
    mutant(
        "map-output-in-place",
        "map.rs",
        "        let is_in_place = raw.is_valid() && differs_in_permissions(found, new);",
        "        let is_in_place = raw.is_valid();",
    ),
    mutant(
        "split-without-break",
        "split.rs",
        "            machine.write(position.entry, locked(link));",
        "            machine.write(position.entry, link);",
    ),
    mutant(
        "unfold-without-break",
        "split.rs",
        "is_of_run.then(|| locked(leaf.not_contiguous()))",
        "is_of_run.then(|| leaf.not_contiguous())",
    ),
    mutant(
        "collapse-without-break",
        "split.rs",
        "            self.machine.write(position.entry, locked(block));",
        "            self.machine.write(position.entry, block);",
    ),
    mutant(
        "resize-live-at-level-1",
        "invalidate.rs",
        "        matches!(self.ids.bbm(), Bbm::Level2)",
        "        !matches!(self.ids.bbm(), Bbm::Level0)",
    ),
    mutant(
        "never-unlocked",
        "invalidate.rs",
        "            machine.write(entry, found);",
        "            let _ = found;",
    ),
    mutant(
        "unlocked-after-the-link",
        "invalidate.rs",
        "        if let (true, Some(below)) = (found.is_table(level), level.next()) {",
        "        if is_locked(raw) {\n            machine.write(entry, found);\n        }\n        \
         if let (true, Some(below)) = (found.is_table(level), level.next()) {",
    ),
    // Page reuse.
    mutant(
        "pages-before-invalidation",
        "owed.rs",
        "        let settled = debt.settle(table, machine, contexts);\n",
        "        if supply.trees().is_none() {\n            table.give_pages(machine, supply, &mut debt.trees);\n        \
         }\n        let settled = debt.settle(table, machine, contexts);\n",
    ),
    mutant(
        "trees-without-invalidation",
        "owed.rs",
        "        let settled = debt.settle(table, machine, contexts);\n",
        "        let settled = if supply.trees().is_none() {\n            debt.settle(table, machine, contexts)\n        \
         } else {\n            Ok(())\n        };\n",
    ),
    mutant(
        "tree-loses-what-its-first-entry-leads-to",
        "trees.rs",
        "                .and_then(|below| child(machine.read(table), format, (level, below)));",
        "                .and_then(|below| child(RawDescriptor::EMPTY, format, (level, below)));",
    ),
    mutant(
        "tree-loses-what-its-second-entry-leads-to",
        "trees.rs",
        "(table.0 + 8..table.0",
        "(table.0 + 16..table.0",
    ),
    mutant(
        "tree-loses-what-is-two-levels-below",
        "trees.rs",
        "            if below == 1 {",
        "            if below >= 1 {",
    ),
    mutant(
        "tree-forgets-its-level",
        "trees.rs",
        "RawDescriptor(table.0 | u64::from(level.below()) << BELOW_SHIFT)",
        "RawDescriptor(table.0)",
    ),
    mutant(
        "trees-lose-those-from-before",
        "trees.rs",
        "            machine.write(last, self.head);\n",
        "",
    ),
    mutant(
        "race-loses-page",
        "fault.rs",
        "                self.give_page(pages, table);\n                return Ok(None);",
        "                return Ok(None);",
    ),
];
