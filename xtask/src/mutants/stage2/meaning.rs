//! Those of what tables mean: edges, permissions, logs and slots; and of contexts and VMIDs.

use crate::mutants::table::{Mutant, mutant};

pub(in crate::mutants) const MUTANTS: &[Mutant] = &[
    // Edges.
    mutant(
        "unmap-no-first-cut",
        "split.rs",
        "= self.cut(machine, supply, span.start, debt)?;",
        "= self.descend_hidden(machine, span.start);",
    ),
    mutant(
        "unmap-no-last-cut",
        "split.rs",
        "            self.cut(machine, supply, span.end, debt)?;",
        "",
    ),
    Mutant {
        harmless: Some(
            "the entry found for the address past the top begins at that address, so nothing is cut",
        ),
        ..mutant(
            "unmap-cuts-at-the-top",
            "split.rs",
            "        if !is_alone && span.end.0 < self.geometry.ipa_bits().bytes() {",
            "        if !is_alone && span.end.0 != 0 {",
        )
    },
    mutant(
        "collapse-over-hole",
        "split.rs",
        "            is_within(raw, expected)\n",
        "            raw == RawDescriptor::EMPTY || is_within(raw, expected)\n",
    ),
    mutant(
        "collapse-misaligned",
        "split.rs",
        "        if !output.is_aligned(geometry.entry_bytes(level)) {",
        "        if !output.is_aligned(geometry.page_bytes()) {",
    ),
    mutant(
        "collapse-beyond-range",
        "split.rs",
        "                && self.span.covers(span)\n",
        "",
    ),
    mutant(
        "protect-part-of-a-run",
        "protect.rs",
        "            let span = self.with_whole_runs(machine, span);\n",
        "",
    ),
    mutant(
        "relax-one-of-a-run",
        "fault.rs",
        "        for index in 0..self.geometry.run_entries(position.level) {\n            let entry = first.entry + index * 8;\n            Self::update",
        "        for index in 0..1 {\n            let entry = first.entry + index * 8;\n            Self::update",
    ),
    mutant(
        "map-leaves-past-the-range",
        "map.rs",
        "            end: end.align_down(bytes),",
        "            end: Ipa(end.0 + (bytes - 1)).align_down(bytes),",
    ),
    mutant(
        "map-leaves-before-the-range",
        "map.rs",
        "            start: Ipa(start.0 + (bytes - 1)).align_down(bytes),",
        "            start: start.align_down(bytes),",
    ),
    mutant(
        "map-leaves-larger-than-allowed",
        "map.rs",
        "        let fits = level >= self.mapping.largest\n            && geometry",
        "        let fits = geometry",
    ),
    mutant(
        "map-fills-past-the-table",
        "map.rs",
        "                next = leaves.span.end.min(end);",
        "                next = leaves.span.end;",
    ),
    mutant(
        "map-builds-over-what-a-page-held",
        "map.rs",
        "leaves.span.covers(whole));",
        "leaves.span.holds(first));",
    ),
    mutant(
        "hole-past-the-last-address",
        "hole.rs",
        "        if mapping.ipa.0 >= geometry.ipa_bits().bytes() {",
        "        if mapping.ipa.0 == u64::MAX {",
    ),
    mutant(
        "hole-to-past-the-last-output",
        "hole.rs",
        "            && mapping.pa.0.saturating_add(mapping.bytes) <= geometry.output_limit()\n",
        "",
    ),
    mutant(
        "hole-permits-what-hardware-does-not-know",
        "hole.rs",
        "is_some()\n            && self.check_execute(mapping.attributes).is_ok();",
        "is_some();",
    ),
    mutant(
        "hole-over-what-is-there",
        "hole.rs",
        "raw == RawDescriptor::EMPTY\n            && mapping.ipa",
        "raw != RawDescriptor(1)\n            && mapping.ipa",
    ),
    mutant(
        "map-unfolds-no-edge",
        "map.rs",
        "        self.unfold_edges()?;\n",
        "",
    ),
    mutant(
        "run-over-what-is-there",
        "map.rs",
        "        if fits && (0..entries).all(is_empty) {",
        "        if fits && ((0..entries).all(is_empty) || fits) {",
    ),
    // Permissions, the log, slots.
    mutant(
        "read-only-slot-marked-by-hardware",
        "sizing.rs",
        "    let leaf = if leaf.can_write() && ids.has_hardware_dirty() {",
        "    let leaf = if ids.has_hardware_dirty() {",
    ),
    mutant(
        "neighbours-are-written",
        "sizing.rs",
        "            others: unwritten,",
        "            others: written,",
    ),
    mutant(
        "logged-block",
        "sizing.rs",
        "    if slot.log == DirtyLog::On {\n        return Level::L3;\n    }\n",
        "",
    ),
    mutant(
        "logged-write-keeps-block",
        "fault.rs",
        "        if is_several && (is_logged || is_long || !is_within) {",
        "        if is_several && (is_long || !is_within) {",
    ),
    mutant(
        "relax-beyond-slot",
        "fault.rs",
        "        if is_several && (is_logged || is_long || !is_within) {",
        "        if is_several && (is_logged || is_long) {",
    ),
    mutant(
        "window-beyond-slot",
        "sizing.rs",
        "            let end = (fault.ipa.align_down(around) + around).min(slot.end());",
        "            let end = fault.ipa.align_down(around) + around;",
    ),
    mutant(
        "any-output-is-answered",
        "fault.rs",
        "        if raw.output(self.geometry.format(), position.level) != slot.output(position.ipa) {",
        "        if slot.output(position.ipa) == raw.output(self.geometry.format(), position.level) && ipa.0 == 1 {",
    ),
    mutant(
        "sequence-not-checked",
        "fault.rs",
        "        if proposal.sequence != sequence {",
        "        if proposal.sequence != sequence && proposal.fault.ipa.0 == 1 {",
    ),
    mutant(
        "slot-permissions-not-checked",
        "fault.rs",
        "        if fault.is_content_with_any() || slot.attributes.permits(access) {",
        "        if slot.attributes.permits(access) || access == Access::Write {",
    ),
    mutant(
        "dirty-says-nothing",
        "protect.rs",
        "                report(first + index * bytes, bytes);\n                changed.add(index);\n            }\n        }\n",
        "                let _ = &report;\n                changed.add(index);\n            }\n        }\n",
    ),
    mutant(
        "age-wakes-locked-entries",
        "protect.rs",
        "                let is_young_leaf = raw.is_valid() && raw.is_accessed();",
        "                let is_young_leaf = raw.is_accessed();",
    ),
    // Contexts and VMIDs.
    mutant(
        "last-vcpu-not-checked",
        "context.rs",
        "        if before != u64::from(vcpu.0) {",
        "        if before == NOBODY {",
    ),
    mutant(
        "last-vcpu-not-noted",
        "context.rs",
        "            last.store(u64::from(vcpu.0), Ordering::Relaxed);\n",
        "",
    ),
    mutant(
        "private-entries-stay",
        "context.rs",
        "        machine.tlbi(Tlbi::Vmalle1);\n",
        "",
    ),
    mutant(
        "private-no-isb-first",
        "context.rs",
        "        machine.isb();\n        machine.tlbi(Tlbi::Vmalle1);",
        "        machine.tlbi(Tlbi::Vmalle1);",
    ),
    mutant(
        "rollover-invalidates-nothing",
        "vmid.rs",
        "        machine.tlbi(Tlbi::Alle1is);\n",
        "",
    ),
    mutant(
        "rollover-no-dsb-after",
        "vmid.rs",
        "        machine.tlbi(Tlbi::Alle1is);\n        machine.dsb(Dsb::Ish);",
        "        machine.tlbi(Tlbi::Alle1is);",
    ),
    mutant(
        "rollover-reserves-nothing",
        "vmid.rs",
        "        numbers.mark_reserved();\n",
        "",
    ),
    mutant(
        "reserved-not-renewed",
        "vmid.rs",
        "            if numbers.renew_reserved(stale, renewed) {",
        "            if numbers.renew_reserved(stale, renewed) && stale == 1 {",
    ),
    mutant(
        "vmid-0-given-out",
        "vmid.rs",
        "        self.taken[0] = 1;\n        self.next = 1;",
        "        self.next = 0;",
    ),
    mutant(
        "generation-not-checked",
        "vmid.rs",
        "            && self.is_current(wanted)\n",
        "            && wanted != NONE\n",
    ),
    mutant(
        "stale-tag-counts-as-live",
        "vmid.rs",
        "        (self.is_current(found) || numbers.reserved.contains(&found))",
        "        (found != NONE || numbers.reserved.contains(&found))",
    ),
    mutant(
        "reserved-is-not-live",
        "vmid.rs",
        "        (self.is_current(found) || numbers.reserved.contains(&found))",
        "        (self.is_current(found) && !numbers.reserved.contains(&found))",
    ),
    // What the last looks at the crate found.
    mutant(
        "first-mark-is-zero",
        "context.rs",
        "static NEXT: Counter = Counter::new(1);",
        "static NEXT: Counter = Counter::new(0);",
    ),
    mutant(
        "context-named-twice",
        "invalidate.rs",
        "            marks == table.contexts,",
        "            marks == table.contexts || contexts.all.len() > 1,",
    ),
    mutant(
        "execution-cleans-without-bound",
        "fault.rs",
        "is_execute && maintenance.is_by_size() && unit.bytes() > MAX_CLEAN",
        "is_execute && maintenance.is_by_size() && unit.bytes() > MAX_CLEAN && unit.bytes() == 0",
    ),
    mutant(
        "collapse-widens-at-once",
        "split.rs",
        "                switch = Switch::ByBreak;",
        "                switch = Switch::Direct;",
    ),
    mutant(
        "protected-from-faults-alone",
        "protect.rs",
        "                        protected.not_dirty_managed()",
        "                        protected",
    ),
    mutant(
        "runs-marked-by-hardware",
        "protect.rs",
        "is_by_hardware && !protected.is_contiguous()",
        "is_by_hardware",
    ),
];
