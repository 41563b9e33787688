//! ICH_LR&lt;n&gt;_EL2, ICH_VMCR_EL2 and ICH_HCR_EL2: the bits of the virtual CPU interface that the logic reads and
//! writes (IHI 0069, 12.4).

/// The most list registers that a virtual CPU interface has (IHI 0069, ICH_VTR_EL2.ListRegs).
pub const MAX_LIST_REGISTERS: usize = 16;

/// One list register. State 0 means that it is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Lr(pub(super) u64);

impl Lr {
    pub(super) const PENDING: u64 = 1 << 62;
    pub(super) const ACTIVE: u64 = 1 << 63;
    const HW: u64 = 1 << 61;
    const GROUP1: u64 = 1 << 60;
    const PRIORITY: u64 = 0xff << 48;
    /// pINTID with `HW`, else `EOI` and reserved bits.
    const PHYSICAL: u64 = 0x1fff << 32;
    const EOI: u64 = 1 << 41;
    /// 16 of the 32 bits of vINTID: what every interface has, and what guests are told of.
    const INTID: u64 = 0xffff;
    const STATE: u64 = Self::PENDING | Self::ACTIVE;

    /// An interrupt of the virtual machine's own; still without state.
    pub(super) fn new(intid: usize, priority: u8) -> Self {
        Self(u64::from(priority) << 48 | intid as u64)
    }

    /// Deactivating it deactivates physical interrupt `physical` too.
    pub(super) fn with_physical(self, physical: u16) -> Self {
        Self(self.0 | Self::HW | u64::from(physical) << 32)
    }

    /// A maintenance interrupt follows its deactivation. Only for a register without a physical interrupt, which
    /// uses the same bit for its number.
    pub(super) fn with_eoi_maintenance(self) -> Self {
        Self(self.0 | Self::EOI)
    }

    pub(super) fn in_group1(self) -> Self {
        Self(self.0 | Self::GROUP1)
    }

    pub(super) fn with_state(self, state: u64) -> Self {
        Self(self.0 | state)
    }

    /// Without a physical interrupt or a maintenance interrupt, and without bits that no list register has.
    pub(super) fn plain(self) -> Self {
        Self(self.0 & (Self::STATE | Self::GROUP1 | Self::PRIORITY | Self::INTID))
    }

    /// Without bits that no list register has; for one that names no physical interrupt.
    pub(super) fn sanitized(self) -> Self {
        Self(self.plain().0 | self.0 & Self::EOI)
    }

    /// The virtual interrupt.
    pub(super) fn intid(self) -> u64 {
        self.0 & Self::INTID
    }

    /// The physical interrupt's number, as written: a claim. `None` where there is none behind it.
    pub(super) fn physical(self) -> Option<u32> {
        (self.0 & Self::HW != 0).then_some(((self.0 & Self::PHYSICAL) >> 32) as u32)
    }

    pub(super) fn state(self) -> u64 {
        self.0 & Self::STATE
    }

    /// This with the state of `other`, which is all that hardware changes.
    pub(super) fn in_state_of(self, other: Self) -> Self {
        Self(self.0 & !Self::STATE | other.state())
    }

    /// Without state, and without the bit that may ask for a maintenance interrupt: there is nothing to see.
    pub(super) const fn is_idle(self) -> bool {
        self.0 & (Self::STATE | Self::EOI) == 0
    }

    /// Free, and no physical interrupt was behind it: only then its end may have
    /// [asked](Self::asks_maintenance) for a maintenance interrupt.
    pub(super) fn is_free_without_link(self) -> bool {
        self.0 & (Self::STATE | Self::HW) == 0
    }

    /// A maintenance interrupt follows its deactivation, if no physical interrupt is behind it.
    pub(super) fn asks_maintenance(self) -> bool {
        self.0 & Self::EOI != 0
    }

    pub(super) fn is_pending(self) -> bool {
        self.0 & Self::PENDING != 0
    }

    pub(super) fn is_active(self) -> bool {
        self.0 & Self::ACTIVE != 0
    }
}

/// ICH_VMCR_EL2: what the guest set in its CPU interface. The logic uses the group enables, the priority mask, the
/// binary points and the EOI mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Vmcr(pub u64);

impl Vmcr {
    /// Whether the guest's CPU interface signals interrupts of group 1 (VENG1), or else of group 0 (VENG0).
    pub(super) const fn is_group_enabled(self, is_group1: bool) -> bool {
        self.0 >> is_group1 as u32 & 1 != 0
    }

    /// VPMR: an interrupt is signalled if its priority value is lower than this.
    pub(super) const fn priority_mask(self) -> u8 {
        (self.0 >> 24) as u8
    }
}

/// The bits of ICH_HCR_EL2.
pub(super) mod hcr {
    /// The virtual CPU interface is on.
    pub(in super::super) const EN: u64 = 1 << 0;
    /// None or one list register in use raises the maintenance interrupt.
    pub(in super::super) const UIE: u64 = 1 << 1;
    /// An end of interrupt that found no list register raises the maintenance interrupt.
    pub(in super::super) const LRENPIE: u64 = 1 << 2;
    /// No list register left in the pending state raises it.
    pub(in super::super) const NPIE: u64 = 1 << 3;
    /// VGrp0EIE and VGrp0DIE.
    pub(in super::super) const GROUP0_CHANGES: u64 = 0b11 << 4;
    /// VGrp1EIE and VGrp1DIE.
    pub(in super::super) const GROUP1_CHANGES: u64 = 0b11 << 6;
    /// All four.
    pub(in super::super) const GROUP_CHANGES: u64 = GROUP0_CHANGES | GROUP1_CHANGES;
    /// All that ask for maintenance interrupts.
    pub(in super::super) const REQUESTS: u64 = UIE | LRENPIE | NPIE | GROUP_CHANGES;
    /// Accesses to registers of group 0 trap.
    pub(in super::super) const TALL0: u64 = 1 << 11;
    /// Accesses to registers of group 1 trap.
    pub(in super::super) const TALL1: u64 = 1 << 12;
    /// ICC_DIR_EL1 writes trap.
    pub(in super::super) const TDIR: u64 = 1 << 14;
    /// TC, TALL0, TALL1 and TDIR: accesses that trap. TSEI is none of them: the interface raises no SErrors.
    pub(in super::super) const TRAPS: u64 = 1 << 10 | TALL0 | TALL1 | TDIR;
    /// EOIcount.
    pub(in super::super) const EOI_COUNT: u64 = 0x1f << 27;

    /// The guest's next change of a group's enable raises it: VGrp&lt;n&gt;DIE if the group is on, VGrp&lt;n&gt;EIE if
    /// it is off.
    pub(in super::super) const fn on_group_change(vmcr: super::Vmcr) -> u64 {
        (if vmcr.is_group_enabled(false) {
            1 << 5
        } else {
            1 << 4
        }) | (if vmcr.is_group_enabled(true) {
            1 << 7
        } else {
            1 << 6
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_register_has_the_fields_where_the_manual_has_them() {
        let lr = Lr::new(27, 0xa0)
            .with_physical(30)
            .in_group1()
            .with_state(Lr::PENDING);
        assert_eq!(lr.0, 0x70a0_001e_0000_001b);
        assert!(lr.is_pending() && !lr.is_active());
        let lr = Lr::new(33, 0)
            .with_eoi_maintenance()
            .with_state(Lr::ACTIVE | Lr::PENDING);
        assert_eq!(lr.0, 0xc000_0200_0000_0021);
    }

    #[test]
    fn a_change_of_a_group_enable_is_asked_for_in_the_other_direction() {
        assert_eq!(hcr::on_group_change(Vmcr(0b00)), 0b0101_0000);
        assert_eq!(hcr::on_group_change(Vmcr(0b10)), 0b1001_0000);
        assert_eq!(hcr::on_group_change(Vmcr(0b11)), 0b1010_0000);
    }
}
