//! Those of what L1 asks for and of its tables.

use crate::mutants::table::{Mutant, mutant};

pub(in crate::mutants) const MUTANTS: &[Mutant] = &[
    mutant(
        "fill-keeps-what-was-taken",
        "shadow.rs",
        "        self.taken = None;\n        let mapping",
        "        let mapping",
    ),
    mutant(
        "fill-of-a-hole-keeps-what-was-taken",
        "shadow.rs",
        "        self.taken = None;\n        self.filled",
        "        self.filled",
    ),
    mutant(
        "range-of-another-was-taken",
        "shadow.rs",
        "self.taken == Some(*range)",
        "self.taken.is_some()",
    ),
    mutant(
        "hidden-feature-is-raised",
        "forward.rs",
        "0x00 | 0x0d | 0x0e",
        "0x00 | 0x0a | 0x0d | 0x0e",
    ),
    mutant(
        "address-size-of-either-stage",
        "at.rs",
        "par & (F | PTW | S) == F",
        "par & (F | PTW) == F",
    ),
    // What an invalidation asks for.
    mutant(
        "address-not-shifted",
        "tlbi.rs",
        "        from: L2Ipa((operand & pages) << 12),",
        "        from: L2Ipa(operand & pages),",
    ),
    mutant(
        "range-of-one-page",
        "tlbi.rs",
        "        bytes: pages << granule.page_shift(),",
        "        bytes: 1 << granule.page_shift(),",
    ),
    mutant(
        "range-scale-ignored",
        "tlbi.rs",
        "    let pages = units << (5 * scale + 1);",
        "    let pages = units << (5 * (scale & 2) + 1);",
    ),
    mutant(
        "range-num-off-by-one",
        "tlbi.rs",
        "    let units = (operand >> 39 & 31) + 1;",
        "    let units = (operand >> 39 & 31).max(1);",
    ),
    mutant(
        "range-base-in-4-kib",
        "tlbi.rs",
        "    let base_shift = if is_coarse { 16 } else { granule.page_shift() };",
        "    let base_shift = if is_coarse { 16 } else { 12 };",
    ),
    mutant(
        "hint-of-another-granule",
        "tlbi.rs",
        "        (granule == format.granule()).then_some(format)",
        "        (granule.page_shift() != 0).then_some(format)",
    ),
    mutant(
        "hint-that-is-not-advertised",
        "tlbi.rs",
        "    let format = format.filter(|_| advertised.ids.has_ttl())?;",
        "    let format = format?;",
    ),
    mutant(
        "range-without-hint-is-level-0",
        "tlbi.rs",
        "    let is_hint = level != 0 && format",
        "    let is_hint = format",
    ),
    mutant(
        "vmid-of-16-bits-always",
        "tlbi.rs",
        "        VmidBits::Eight => Vmid(vmid & 0xff),",
        "        VmidBits::Eight => Vmid(vmid),",
    ),
    mutant(
        "vmid-of-8-bits-always",
        "tlbi.rs",
        "        VmidBits::Sixteen => Vmid(vmid),",
        "        VmidBits::Sixteen => Vmid(vmid & 0xff),",
    ),
    mutant(
        "vmalls12-takes-stage-1",
        "tlbi.rs",
        "            Form::Vmalls12e1 => Invalidation::Vmid(vmid),",
        "            Form::Vmalls12e1 => stage1(el1, StageOne::All),",
    ),
    mutant(
        "alle1-takes-one-vmid",
        "tlbi.rs",
        "            Form::Alle1 => Invalidation::Everything,",
        "            Form::Alle1 => Invalidation::Vmid(vmid),",
    ),
    mutant(
        "last-level-forms-missing",
        "tlbi/encoding.rs",
        "        (0, 5) => Some((Form::Ipas2(Entries::Last), Scope::Inner)),\n",
        "",
    ),
    mutant(
        "local-form-missing",
        "tlbi/encoding.rs",
        "        (4, 1) => Some((Form::Ipas2(Entries::Any), Scope::Local)),\n",
        "",
    ),
    mutant(
        "alle1-is-alle2",
        "tlbi/encoding.rs",
        "        (_, 4) => all_scoped(Form::Alle1, crm),",
        "        (_, 4) => all_scoped(Form::Alle2, crm),",
    ),
    mutant(
        "nxs-forms-missing",
        "tlbi.rs",
        "            (1, CRN_NXS) if advertised.has_nxs_tlbi() => Completion::ExceptXs,\n",
        "",
    ),
    // The walk of L1's table.
    mutant(
        "walk-checks-no-input",
        "walk.rs",
        "        if exceeds(ipa.0, shape.input_bits) {\n            return Err(no_start);\n        }\n",
        "",
    ),
    mutant(
        "walk-is-little-endian",
        "walk.rs",
        "            is_big_endian: registers.sctlr & EE != 0,",
        "            is_big_endian: registers.sctlr & EE != 0 && registers.hcr == 0,",
    ),
    mutant(
        "flags-in-another-order",
        "walk.rs",
        "        let new = self.in_table_order(found.used.0);",
        "        let new = found.used.0;",
    ),
    mutant(
        "walk-checks-no-output",
        "walk.rs",
        "        if exceeds(raw.output(shape.format, level).0, shape.output_bits) {\n            return Err(WalkFault::new(FaultKind::AddressSize, level));\n        }\n",
        "",
    ),
    mutant(
        "walk-asks-no-permission",
        "walk.rs",
        "        if access.is_some_and(|access| !self.permits(used, access)) {",
        "        if access.is_some_and(|access| !self.permits(used, access)) && level.number() > 3 {",
    ),
    mutant(
        "walk-asks-no-access-flag",
        "walk.rs",
        "        if !raw.is_accessed() && self.updates == HardwareUpdates::Nothing {",
        "        if !raw.is_accessed() && level.number() > 3 {",
    ),
    mutant(
        "walk-leaves-flags",
        "walk.rs",
        "                if found.used != found.raw {\n                    self.update(memory, found)?;\n                }\n",
        "",
    ),
    mutant(
        "walk-marks-without-dbm",
        "walk.rs",
        "        self.updates == HardwareUpdates::AccessFlagAndDirty && raw.is_dirty_managed()",
        "        self.updates == HardwareUpdates::AccessFlagAndDirty || raw.is_dirty_managed()",
    ),
    mutant(
        "walk-knows-xnx-always",
        "walk.rs",
        "            Xn::OnlyEl1 if !self.has_xnx => Xn::Nowhere,\n",
        "",
    ),
    mutant(
        "walk-fault-at-level-0",
        "walk.rs",
        "                _ => return Err(WalkFault::new(FaultKind::Translation, level)),",
        "                _ => return Err(no_start),",
    ),
    mutant(
        "walk-masks-the-root-index",
        "walk/shape.rs",
        "        let index = if level.number() == self.start.number() {\n            number\n        } else {",
        "        let index = if level.number() == self.start.number() && number < 2 {\n            number\n        } else {",
    ),
    mutant(
        "run-of-another-offset",
        "walk/shape.rs",
        "run > bytes && has_offset && fits",
        "run > bytes && fits",
    ),
    mutant(
        "every-leaf-is-a-run",
        "walk/shape.rs",
        "        if raw.is_contiguous() && run",
        "        if run",
    ),
    mutant(
        "hardware-updates-that-are-not-advertised",
        "walk/shape.rs",
        "    if !ids.has_hardware_af() {\n        raw &= !VTCR_HA;\n    }\n",
        "",
    ),
];
