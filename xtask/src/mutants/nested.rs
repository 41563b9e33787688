//! The mutants of `droste-nested`: each takes away one safeguard of what L2 may see.

mod reading;

use super::table::{Mutant, mutant};

pub(super) use reading::MUTANTS as OF_READING;

pub(super) const MUTANTS: &[Mutant] = &[
    // Tickets, and the order of a fill.
    mutant(
        "fill-checks-no-ticket",
        "shadow.rs",
        "        if ticket != self.ticket(changes) {\n            return Ok(Filled::Void);",
        "        if ticket != self.ticket(changes) && self.largest == 0 {\n            return Ok(Filled::Void);",
    ),
    mutant(
        "fill-of-a-hole-checks-no-ticket",
        "shadow.rs",
        "        if ticket != self.ticket(changes) {\n            return Ok(Some(Filled::Void));",
        "        if ticket != self.ticket(changes) && self.largest == 0 {\n            return Ok(Some(Filled::Void));",
    ),
    mutant(
        "ticket-knows-no-invalidation",
        "shadow/ticket.rs",
        "            invalidations: self.invalidations.load(Ordering::Acquire),\n",
        "            invalidations: 0,\n",
    ),
    mutant(
        "ticket-knows-no-change",
        "shadow/ticket.rs",
        "        self.0.fetch_add(1, Ordering::AcqRel);",
        "        self.0.fetch_add(0, Ordering::AcqRel);",
    ),
    mutant(
        "invalidate-voids-no-ticket",
        "shadow.rs",
        "        self.front.borrow().note();\n        if self.has_taken",
        "        if self.has_taken",
    ),
    mutant(
        "clear-voids-no-ticket",
        "shadow.rs",
        "        self.front.borrow().note();\n        if self.is_empty()",
        "        if self.is_empty()",
    ),
    mutant(
        "clear-thinks-that-nothing-is-there",
        "shadow.rs",
        "        self.filled == Extents::NONE\n",
        "        self.in_pieces == Extents::NONE\n",
    ),
    // Fills.
    mutant(
        "fill-at-the-wrong-offset",
        "shadow.rs",
        "            Pa(composed.output.0 | offset),",
        "            composed.output,",
    ),
    mutant(
        "fill-of-the-whole-guest-leaf",
        "shadow.rs",
        "        let bytes = composed.bytes.min(self.largest_of(attributes));",
        "        let bytes = composed.guest_bytes.min(self.largest_of(attributes));",
    ),
    mutant(
        "fill-cleans-without-bound",
        "shadow.rs",
        "Memory::AsDevice(_) => MAX_CLEAN,",
        "Memory::AsDevice(_) => self.largest,",
    ),
    mutant(
        "fill-knows-no-pieces",
        "shadow.rs",
        "        if result.is_err() || mapped < composed.guest_bytes {",
        "        if result.is_err() {",
    ),
    mutant(
        "fill-remembers-no-leaf",
        "shadow.rs",
        "        self.filled.add(composed.mark);\n        let owed",
        "        let owed",
    ),
    mutant(
        "fill-of-a-hole-remembers-no-leaf",
        "shadow.rs",
        "        self.filled.add(composed.mark);\n        if",
        "        if",
    ),
    mutant(
        "fill-of-a-hole-knows-no-pieces",
        "shadow.rs",
        "        if mapping.bytes < composed.guest_bytes {",
        "        if mapping.bytes < composed.bytes {",
    ),
    mutant(
        "fill-notes-no-split",
        "shadow.rs",
        "        self.note_split(host.machine, mapping.ipa, mapping.bytes);\n",
        "",
    ),
    mutant(
        "aged-leaf-stays",
        "shadow.rs",
        "            self.drop_unaccessed(host, fault.ipa)?;\n",
        "",
    ),
    // Invalidations of a shadow.
    mutant(
        "no-hint-takes-one-page",
        "shadow.rs",
        "            None => Some(self.in_pieces.largest(self.guest).unwrap_or(1)),",
        "            None => Some(1),",
    ),
    mutant(
        "hint-takes-one-page",
        "shadow.rs",
        "            Some(level) => self.filled.at(level).largest(self.guest),",
        "            Some(level) => self.filled.at(level).largest(self.guest).map(|_| 1),",
    ),
    mutant(
        "invalidation-ends-a-page-early",
        "shadow.rs",
        "        let end = range.from.0.saturating_add(range.bytes);",
        "        let end = range.from.0.saturating_add(range.bytes.saturating_sub(0x1000).max(1));",
    ),
    mutant(
        "invalidation-does-not-round-up",
        "shadow.rs",
        "        let last = Ipa(end.min(limit) - 1).align_down(unit);",
        "        let last = Ipa((end.min(limit) - 1).max(unit) - unit).align_down(unit).max(first);",
    ),
    mutant(
        "take-cuts-the-first-leaf",
        "shadow.rs",
        "        let (start, _) = self.leaf(host.machine, first);",
        "        let start = first;",
    ),
    mutant(
        "take-cuts-the-last-leaf",
        "shadow.rs",
        "        let end = (end.0 + bytes).min(limit);",
        "        let end = (end.0 + bytes.min(unit)).min(limit);",
    ),
    mutant(
        "runs-count-as-single-leaves",
        "shadow/extents.rs",
        "            Extent::Run => level_bit(mark.level) << 4,",
        "            Extent::Run => level_bit(mark.level),",
    ),
    mutant(
        "hint-knows-no-runs",
        "shadow/extents.rs",
        "        Self(self.0 & (bit | bit << 4))",
        "        Self(self.0 & bit)",
    ),
    mutant(
        "smallest-extent-decides",
        "shadow/extents.rs",
        "        sizes.flatten().max()",
        "        sizes.flatten().min()",
    ),
    mutant(
        "clear-keeps-the-table",
        "shadow.rs",
        "        let owed = self.table.free(host.machine);\n        settle(owed, host, self.front.borrow().context())",
        "        let _ = host.machine.vtcr();\n        Ok(())",
    ),
    mutant(
        "protection-left-out",
        "shadow.rs",
        "        let owed = self.table.write_protect(host.machine, ipa.ipa(), bytes);",
        "        let owed = self.table.write_protect(host.machine, ipa.ipa(), bytes.min(1));",
    ),
    // The reverse map.
    mutant(
        "record-not-linked",
        "reverse_map.rs",
        "            number => self.link(number, chain, &region),",
        "            number => self.count(region.size, i32::from(number == NONE)),",
    ),
    mutant(
        "records-of-another-shadow-count",
        "reverse_map.rs",
        "        self.place == region.place\n            && self.size",
        "        self.size",
    ),
    mutant(
        "records-of-another-address-count",
        "reverse_map.rs",
        "            && self.ipa.0 == region.ipa.0",
        "",
    ),
    mutant(
        "untracked-is-not-said",
        "reverse_map.rs",
        "                self.owner_mut(place.0).is_tracked = false;",
        "",
    ),
    mutant(
        "untracked-is-not-shown",
        "reverse_map.rs",
        "            if !owner.is_tracked {",
        "            if !owner.is_tracked && number == NONE {",
    ),
    mutant(
        "forget-keeps-records",
        "reverse_map.rs",
        "                number => self.unlink(number),\n            }\n        }\n        self.owner_mut(place.0).is_tracked = true;",
        "                _ => break,\n            }\n        }\n        self.owner_mut(place.0).is_tracked = true;",
    ),
    mutant(
        "forgotten-stays-untracked",
        "reverse_map.rs",
        "        self.owner_mut(place.0).is_tracked = true;",
        "",
    ),
    mutant(
        "search-ends-early",
        "reverse_map/search.rs",
        "        let last = from.0.saturating_add(bytes.saturating_sub(1)) >> size;",
        "        let last = from.0.saturating_add(bytes.saturating_sub(1)).saturating_sub(1 << size) >> size;",
    ),
    mutant(
        "search-sees-first-of-chain",
        "reverse_map/search.rs",
        "        self.next = map.record(number).next;",
        "        self.next = NONE;",
    ),
    mutant(
        "search-mixes-sizes",
        "reverse_map/search.rs",
        "record.place != NONE && record.size == self.size && wanted",
        "record.place != NONE && wanted",
    ),
    // The short way of a hypercall.
    mutant(
        "hypercall-though-disabled",
        "forward.rs",
        "    matches!(level, Level::El1) && hcr & hcr::HCD == 0",
        "    matches!(level, Level::El1) && hcr & hcr::HCD != hcr",
    ),
    mutant(
        "hypercall-of-el0",
        "forward.rs",
        "    matches!(level, Level::El1) && hcr & hcr::HCD == 0",
        "    hcr & hcr::HCD == 0",
    ),
    // The layout of the hardware's own registers.
    mutant(
        "physical-timer-of-the-other-layout",
        "forward.rs",
        "    let shift = layout.physical_timer_shift();",
        "    let shift = Layout::E2h0.physical_timer_shift();",
    ),
    mutant(
        "vectors-of-the-other-layout",
        "forward.rs",
        "            layout.with_vectors_trapped(cptr)",
        "            Layout::E2h0.with_vectors_trapped(cptr)",
    ),
    // What the guest of a vCPU runs under.
    mutant(
        "context-that-was-given-up-stays",
        "current.rs",
        "        self.held.is_some() && changed == 0",
        "        changed == 0",
    ),
    mutant(
        "another-vmids-context-stays",
        "current.rs",
        "            | was.vttbr.0 ^ now.vttbr.0;",
        "            | 0;",
    ),
    mutant(
        "context-of-another-shape-stays",
        "current.rs",
        "            | was.vtcr.0 ^ now.vtcr.0\n",
        "",
    ),
    mutant(
        "context-of-another-byte-order-stays",
        "current.rs",
        "            | was.sctlr ^ now.sctlr\n",
        "",
    ),
    mutant(
        "context-of-other-controls-stays",
        "current.rs",
        "        let changed = was.hcr ^ now.hcr\n            |",
        "        let changed =",
    ),
    mutant(
        "another-table-is-read-as-the-last",
        "current.rs",
        "        if self.registers != *registers {\n            self.walker = None;\n        }\n",
        "",
    ),
    // The pool of contexts.
    mutant(
        "key-without-table",
        "pool.rs",
        "        let vttbr = Vttbr(registers.vttbr.0 & !CNP);",
        "        let vttbr = Vttbr(0);",
    ),
    mutant(
        "key-without-shape",
        "pool.rs",
        "        let table = (vttbr, registers.vtcr, controls(registers, advertised));",
        "        let table = (vttbr, Vtcr(0), controls(registers, advertised));",
    ),
    mutant(
        "key-with-cnp",
        "pool.rs",
        "const CNP: u64 = 1;",
        "const CNP: u64 = 0;",
    ),
    mutant(
        "key-ignores-stage-2-off",
        "pool.rs",
        "            table: registers.is_on().then_some(table),",
        "            table: Some(table),",
    ),
    mutant(
        "place-in-use-is-reused",
        "pool.rs",
        "            if self.entry(place.0).users == 0 {\n                self.unlink_idle(place.0);\n            }\n",
        "",
    ),
    mutant(
        "released-while-others-use-it",
        "pool.rs",
        "        if entry.users == 0 {\n            self.link_newest(place.0);\n        }",
        "        self.link_newest(place.0);",
    ),
    mutant(
        "reused-place-keeps-its-chain",
        "pool.rs",
        "        self.unchain(number);\n        Some(Grant::Reused {",
        "        Some(Grant::Reused {",
    ),
    mutant(
        "one-context-of-a-vmid",
        "pool.rs",
        "            .filter(move |&number| self.entry(number).key.vmid == vmid)",
        "            .filter(move |&number| self.entry(number).key.vmid == vmid)\n            .take(1)",
    ),
    mutant(
        "newest-goes-first",
        "pool.rs",
        "        let number = self.oldest;",
        "        let number = self.newest;",
    ),
    // Composition.
    mutant(
        "guest-may-write-what-is-protected",
        "compose.rs",
        "        guest.can_write() && canonical.can_write(),",
        "        guest.can_write(),",
    ),
    mutant(
        "l2-may-write-what-l1-protects",
        "compose.rs",
        "        guest.can_write() && canonical.can_write(),",
        "        canonical.can_write(),",
    ),
    mutant(
        "l2-may-read-what-l1-protects",
        "compose.rs",
        "        guest.can_read() && canonical.can_read(),",
        "        canonical.can_read(),",
    ),
    mutant(
        "execution-by-guest-alone",
        "compose.rs",
        "        (Xn::Everywhere, other) | (other, Xn::Everywhere) => other,",
        "        (Xn::Everywhere, _) | (_, Xn::Everywhere) => guest,",
    ),
    mutant(
        "execution-by-canonical-alone",
        "compose.rs",
        "        (Xn::Everywhere, other) | (other, Xn::Everywhere) => other,",
        "        (Xn::Everywhere, _) | (_, Xn::Everywhere) => canonical,",
    ),
    mutant(
        "execution-levels-add-up",
        "compose.rs",
        "        (Xn::OnlyEl1, Xn::OnlyEl1) => Xn::OnlyEl1,\n        _ => Xn::Nowhere,",
        "        (Xn::OnlyEl1, Xn::OnlyEl1) => Xn::OnlyEl1,\n        (Xn::OnlyEl1, Xn::OnlyEl0) => Xn::OnlyEl1,\n        _ => Xn::Nowhere,",
    ),
    mutant(
        "larger-of-two-sizes",
        "compose.rs",
        "    let bytes = guest.bytes.min(canonical.bytes);",
        "    let bytes = guest.bytes.max(canonical.bytes);",
    ),
    mutant(
        "guest-size-alone",
        "compose.rs",
        "    let bytes = guest.bytes.min(canonical.bytes);",
        "    let bytes = guest.bytes;",
    ),
    mutant(
        "composition-forgets-the-offset",
        "compose.rs",
        "        output: Pa(canonical.output.0 | via.0 & (canonical.bytes - 1)),",
        "        output: canonical.output,",
    ),
    mutant(
        "composition-forces-device-memory",
        "compose.rs",
        "            MemoryType::ForceWriteBack
            | MemoryType::StageOne
            | MemoryType::Normal {",
        "            MemoryType::ForceWriteBack
            | MemoryType::Device(_)
            | MemoryType::StageOne
            | MemoryType::Normal {",
    ),
    mutant(
        "composition-forces-non-cacheable-memory",
        "compose.rs",
        "            MemoryType::ForceWriteBack
            | MemoryType::StageOne
            | MemoryType::Normal {",
        "            MemoryType::ForceWriteBack
            | MemoryType::NonCacheable
            | MemoryType::StageOne
            | MemoryType::Normal {",
    ),
    mutant(
        "composition-leaves-device-memory-in-caches",
        "compose.rs",
        "            MemoryType::Device(device) if self.is_memory => Memory::AsDevice(device),\n",
        "",
    ),
    mutant(
        "composition-takes-devices-for-memory",
        "compose.rs",
        "        is_memory: !matches!(canonical_memory, MemoryType::Device(_)),",
        "        is_memory: true,",
    ),
    mutant(
        "composition-of-another-leaf",
        "compose.rs",
        "    if !canonical.holds(via) {\n        return None;\n    }\n",
        "",
    ),
    mutant(
        "mark-of-another-level",
        "compose.rs",
        "            level: guest.level,",
        "            level: Level::L3,",
    ),
    // Faults.
    mutant(
        "canonical-permission-not-asked",
        "fault.rs",
        "                    .filter(permits)\n",
        "",
    ),
    mutant(
        "fault-of-the-guest-at-level-3",
        "fault.rs",
        "            Level::L2 => first + 2,",
        "            Level::L2 => first + 3,",
    ),
    mutant(
        "fault-address-not-shifted",
        "fault.rs",
        "    (ipa.0 >> 12 & 0xfff_ffff_ffff) << 4",
        "    (ipa.0 & 0xfff_ffff_ffff) << 4",
    ),
    mutant(
        "permission-fault-told-as-translation",
        "fault.rs",
        "            FaultKind::Permission => (0b00_1100, 0b00_1100),",
        "            FaultKind::Permission => (0b00_0100, 0b00_1100),",
    ),
    mutant(
        "slots-not-asked",
        "fault.rs",
        "            Decision::Refuse(Answer::Inject(reason)) => Verdict::External(reason),",
        "            Decision::Refuse(Answer::Inject(_)) => Verdict::Retry,",
    ),
    mutant(
        "tables-read-otherwise-are-the-same",
        "pool.rs",
        "    registers.hcr & (hcr::PTW | fwb) | registers.sctlr & EE",
        "    (registers.hcr & (hcr::PTW | fwb) | registers.sctlr & EE) & 1",
    ),
    mutant(
        "walk-into-device-memory-writes",
        "fault.rs",
        "        if (is_device || is_forbidden) && abort.esr.is_s1_walk() {",
        "        if is_device && abort.esr.is_s1_walk() {",
    ),
    mutant(
        "misaligned-fetch",
        "fault.rs",
        "        (Ec::DATA_ABORT_LOWER, FaultStatus::Alignment) =>",
        "        (_, FaultStatus::Alignment) =>",
    ),
    mutant(
        "misaligned-with-all-of-the-syndrome",
        "fault.rs",
        "            esr: Esr(esr.0 & (EC_AND_IL | INSTRUCTION | CM | S1PTW | WNR) | ALIGNMENT),",
        "            esr: Esr(esr.0 | ALIGNMENT),",
    ),
    mutant(
        "walks-and-maintenance-only-write",
        "fault.rs",
        "        if fault.is_either() {\n            match self",
        "        if fault.is_either() && abort.far == 0 {\n            match self",
    ),
    mutant(
        "shadow-that-lacks-is-to-blame",
        "fault.rs",
        "            (false, _) if can_read => Access::Read,\n",
        "",
    ),
];
