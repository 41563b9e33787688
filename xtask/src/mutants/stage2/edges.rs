//! Those of a range's ends, and of what is taken the short way because it has none inside.

use crate::mutants::table::{Mutant, mutant};

pub(in crate::mutants) const MUTANTS: &[Mutant] = &[
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
        "        for index in 0..self.geometry.run_entries(place.level) {\n            let entry = first.entry + index * 8;\n            Self::update",
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
        "        self.unfold_edges();\n",
        "",
    ),
    mutant(
        "run-over-what-is-there",
        "map.rs",
        "        if fits && (0..entries).all(is_empty) {",
        "        if fits && ((0..entries).all(is_empty) || fits) {",
    ),
];
