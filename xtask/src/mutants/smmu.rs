//! The mutants of `droste-smmu`, and those of what `droste-stage2` owes to SMMUs.

use super::table::{Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    // Taking over.
    mutant(
        "smmu-opens-the-gate",
        "unit.rs",
        "        self.board.write(Register::GBPA, gbpa::ABORT | gbpa::UPDATE);\n",
        "        self.board.write(Register::GBPA, gbpa::UPDATE);\n",
    ),
    mutant(
        "smmu-does-not-wait-for-the-gate",
        "unit.rs",
        "        self.board.write(Register::GBPA, gbpa::ABORT | gbpa::UPDATE);
        self.wait(is_idle, Error::NoAnswer(Register::GBPA))?;\n",
        "        self.board.write(Register::GBPA, gbpa::ABORT | gbpa::UPDATE);\n",
    ),
    mutant("smmu-stays-on", "unit.rs", "        self.switch(0)?;\n", ""),
    mutant(
        "smmu-keeps-the-firmwares-entries",
        "unit.rs",
        "        self.give(Command::CfgiAll)?;\n",
        "",
    ),
    mutant(
        "smmu-keeps-the-firmwares-translations",
        "unit.rs",
        "        self.give(Command::TlbiNsnhAll)?;\n",
        "",
    ),
    mutant(
        "smmu-hears-broadcasts",
        "unit.rs",
        "cr2::PTM | cr2::RECINVSID",
        "cr2::RECINVSID",
    ),
    // Commands.
    mutant(
        "smmu-publishes-without-a-barrier",
        "unit.rs",
        "            self.board.dsb();
            self.board.write(Register::CMDQ_PROD, self.producer);",
        "            self.board.write(Register::CMDQ_PROD, self.producer);",
    ),
    mutant(
        "smmu-does-not-wait-for-the-sync",
        "unit.rs",
        "        self.wait_for_consumer(|smmu, consumer| consumer == smmu.producer)\n",
        "        Ok(())\n",
    ),
    mutant(
        "smmu-gives-no-sync",
        "unit.rs",
        "        self.put(Command::Sync)?;
        self.publish();",
        "        self.publish();",
    ),
    mutant(
        "smmu-fills-the-queue-past-its-end",
        "unit.rs",
        "smmu.commands.between(consumer, smmu.producer) == smmu.commands.places()",
        "smmu.commands.between(consumer, smmu.producer) > smmu.commands.places()",
    ),
    mutant(
        "smmu-forgets-the-wrap",
        "ring.rs",
        "register & ((2 << self.log2) - 1)",
        "register & ((1 << self.log2) - 1)",
    ),
    mutant(
        "smmu-drops-an-illegal-command",
        "unit.rs",
        "                self.write_command(index, wider);\n",
        "                self.write_command(index, Command::Sync);\n",
    ),
    mutant(
        "smmu-acknowledges-all-errors",
        "unit.rs",
        ".write(Register::GERRORN, acknowledged ^ gerror::CMDQ_ERR);",
        ".write(Register::GERRORN, !acknowledged);",
    ),
    mutant(
        "smmu-tries-for-ever",
        "unit.rs",
        "        if errors > MAX_ERRORS {",
        "        if errors > MAX_ERRORS << 20 {",
    ),
    mutant(
        "smmu-gives-once-what-goes-twice",
        "unit.rs",
        "                    self.put(Command::Sync)?;
                    self.put(command)?;",
        "                    self.put(Command::Sync)?;",
    ),
    mutant(
        "smmu-names-no-vmid",
        "command.rs",
        "TLBI_S2_IPA | u64::from(vmid.0) << VMID_SHIFT | first",
        "TLBI_S2_IPA | first",
    ),
    mutant(
        "smmu-counts-a-range-from-one",
        "command.rs",
        "u64::from(range.num - 1) << NUM_SHIFT",
        "u64::from(range.num) << NUM_SHIFT",
    ),
    mutant(
        "smmu-says-a-reserved-range",
        "command.rs",
        "(num << scale, (!is_one).then_some(range))",
        "(num << scale, Some(range).filter(|_| !is_one || num == 1))",
    ),
    mutant(
        "smmu-hints-at-any-level",
        "command.rs",
        "        self.leaf.filter(|&level| level >= first)",
        "        self.leaf.filter(|&level| level >= first || level < first)",
    ),
    // Stream table entries.
    mutant(
        "smmu-changes-a-valid-entry",
        "unit.rs",
        "        if Ste::is_valid(self.board.load(at)) {",
        "        if !Ste::is_valid(self.board.load(at)) {",
    ),
    mutant(
        "smmu-makes-an-entry-valid-too-early",
        "unit.rs",
        "        self.board.dsb();
        self.board.store(at, ste.0[0]);",
        "        self.board.store(at, ste.0[0]);",
    ),
    mutant(
        "smmu-does-not-forget-an-entry",
        "unit.rs",
        "        self.give(Command::CfgiSte(stream))?;\n",
        "",
    ),
    mutant(
        "smmu-stalls",
        "ste.rs",
        "const S2R: u64 = 1 << 58;",
        "const S2R: u64 = 1 << 58 | 1 << 57;",
    ),
    mutant("smmu-looks-at-the-access-flag", "ste.rs", " | S2AFFD", ""),
    // Events.
    mutant(
        "smmu-frees-an-event-it-did-not-read",
        "unit.rs",
        "            let next = self.events.next(consumer);",
        "            let next = self.events.next(self.events.next(consumer));",
    ),
    mutant(
        "smmu-acknowledges-an-overflow-with-an-event",
        "unit.rs",
        "next | flag);",
        "next | producer & OVERFLOW);",
    ),
];

pub(super) const OF_STAGE_2: &[Mutant] = &[
    mutant(
        "devices-are-not-told",
        "devices.rs",
        "            smmu.tlb.invalidate(self.devices.vmid, scope);\n",
        "",
    ),
    mutant(
        "devices-are-not-waited-for",
        "devices.rs",
        "            result = result.and(smmu.tlb.sync());\n",
        "",
    ),
    mutant(
        "devices-may-be-forgotten",
        "devices.rs",
        "            marks == self.devices.marks,\n",
        "            marks == self.devices.marks || marks != self.devices.marks,\n",
    ),
    mutant(
        "devices-that-are-stuck-free-pages",
        "owed.rs",
        "        if settled.is_err() {
            return Err(Error::SmmuStuck);
        }
",
        "        let _ = settled;\n",
    ),
    mutant(
        "devices-keep-what-a-retired-smmu-held",
        "devices.rs",
        "        tlb.invalidate(vmid, Scope::All);\n",
        "",
    ),
    mutant(
        "devices-of-two-vmids",
        "devices.rs",
        "devices.are_attached() && devices.vmid != vmid",
        "!devices.are_attached() && devices.vmid != vmid",
    ),
    mutant(
        "devices-are-broken-under",
        "devices.rs",
        "        if self.devices.are_attached() {
            return Err(Error::DevicesAttached { ipa });
        }
",
        "        let _ = ipa;\n",
    ),
    mutant(
        "devices-are-resized-under-by-the-cpus-level-alone",
        "invalidate.rs",
        " && self.devices.permit_resizing()",
        "",
    ),
    mutant(
        "devices-are-not-told-what-a-fault-widened",
        "fault.rs",
        "        if self.devices.are_attached() {",
        "        if false {",
    ),
    mutant(
        "devices-are-write-protected",
        "protect.rs",
        "            self.check_break(ipa)?;\n",
        "",
    ),
    mutant(
        "devices-are-narrowed",
        "map.rs",
        "        if !(is_in_place && permits_as_much(found, new)) {",
        "        if !is_in_place {",
    ),
    mutant(
        "devices-lose-a-run",
        "split.rs",
        "        self.check_break(position.ipa)?;
        while self.unfold",
        "        while self.unfold",
    ),
    mutant(
        "devices-lose-a-block-to-a-fault",
        "fault.rs",
        "            self.check_resize(position.ipa)?;\n",
        "",
    ),
];
