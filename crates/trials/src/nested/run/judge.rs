//! What L2 may see: by the model of the hardware that L1 believes to run on, and by the canonical table.

use std::cell::RefCell;
use std::collections::BTreeSet;

use droste_arm64::barrier::Dsb;
use droste_arm64::{Ipa, Pa, Va};
use droste_mmu_model::{
    Access, AccessKind, Effect, Model, Outcomes, Space, Stage1Entry, Tagging, Vcpu,
};
use droste_nested::{Exchange, ExternalAbort, GuestMemory, L1Ipa, StageTwoRegisters};

use crate::nested::operation::Order;
use crate::nested::tlbi::L1Tlbi;

const ACCESSED: u64 = 1 << 10;
const DBM: u64 = 1 << 51;
const CAN_WRITE: u64 = 1 << 7;
const CAN_READ: u64 = 1 << 6;
/// VTCR_EL2.HA and HD.
const HA: u64 = 1 << 21;
const HD: u64 = 1 << 22;
/// The only CPU.
const CPU: usize = 0;
/// The number and the space of who looks at stage 2; the space is flat.
const FLAT: Space = u32::MAX;

/// The hardware that L1 believes to run on, and L1's memory for tables with it.
pub(super) struct VirtualHardware<'m> {
    /// Its memory holds what descriptors mean: the model is little-endian.
    model: &'m RefCell<Model>,
    order: Order,
    /// Where L1 wrote.
    written: BTreeSet<u64>,
}

impl<'m> VirtualHardware<'m> {
    pub(super) const fn new(model: &'m RefCell<Model>) -> Self {
        Self {
            model,
            order: Order::Little,
            written: BTreeSet::new(),
        }
    }

    /// L1 writes a descriptor, and waits until walks see it.
    pub(super) fn write(&mut self, at: u64, value: u64) {
        self.written.insert(at);
        self.store(at, value);
    }

    fn store(&self, at: u64, value: u64) {
        let mut model = self.model.borrow_mut();
        model.write(CPU, Pa(at), value);
        model.dsb(CPU, Dsb::Ish);
    }

    /// The order that tables are read in.
    pub(super) const fn order(&self) -> Order {
        self.order
    }

    /// L1 sets that order. Leaves come first: nothing is walked meanwhile, and what TLBs may hold of a table is what
    /// was in it before.
    pub(super) fn set_order(&mut self, order: Order) {
        if order == self.order {
            return;
        }
        self.order = order;
        for &at in self.written.iter().rev() {
            let value = self.model.borrow_mut().read(CPU, Pa(at));
            self.store(at, value.swap_bytes());
        }
    }

    /// L1 invalidates, and waits.
    pub(super) fn tlbi(&self, registers: &StageTwoRegisters, tlbi: L1Tlbi) {
        self.load(registers);
        let mut model = self.model.borrow_mut();
        model.tlbi(CPU, tlbi.instruction());
        model.dsb(CPU, Dsb::Ish);
    }

    /// L2 runs, and may leave entries.
    pub(super) fn run(&self, registers: &StageTwoRegisters, vcpu: Vcpu) {
        self.load(registers);
        let mut model = self.model.borrow_mut();
        model.enter(CPU, vcpu);
        model.exit(CPU);
    }

    /// L2 has a page of its stage 1 lead elsewhere, and waits.
    pub(super) fn stage1(&self, space: Space, va: Va, entry: Stage1Entry) {
        self.model.borrow_mut().stage1_map(space, va, entry);
    }

    /// L2 invalidates, and waits.
    pub(super) fn guest_tlbi(&self, registers: &StageTwoRegisters, vcpu: Vcpu, tlbi: L1Tlbi) {
        self.load(registers);
        let mut model = self.model.borrow_mut();
        model.enter(CPU, vcpu);
        model.guest_tlbi(CPU, tlbi.instruction());
        model.guest_dsb(CPU, Dsb::Ish);
        model.exit(CPU);
    }

    fn load(&self, registers: &StageTwoRegisters) {
        let mut model = self.model.borrow_mut();
        model.set_vtcr(CPU, registers.vtcr.0);
        model.set_vttbr(CPU, registers.vttbr.0);
        model.isb(CPU);
    }

    /// Everything that its stage 2, which is on, could make of an access.
    pub(super) fn look(
        &self,
        registers: &StageTwoRegisters,
        ipa: Ipa,
        kind: AccessKind,
    ) -> Vec<Effect> {
        let entry = Stage1Entry {
            ipa: ipa.align_down(0x1000),
            tagging: Tagging::PerAsid,
        };
        let onlooker = Vcpu {
            number: FLAT,
            asid: u16::MAX,
            space: Some(FLAT),
        };
        self.stage1(FLAT, Va(ipa.0), entry);
        let outcomes = self.access(registers, onlooker, Va(ipa.0), kind);
        // What others left in stage 1 matches any ASID where it is global, and has no say.
        let own = outcomes
            .iter()
            .filter(|outcome| !outcome.source.is_of_another_stage1());
        own.map(|outcome| outcome.effect).collect()
    }

    /// Everything that it could make of an access of L2, with stage 2 on.
    pub(super) fn access(
        &self,
        registers: &StageTwoRegisters,
        vcpu: Vcpu,
        va: Va,
        kind: AccessKind,
    ) -> Outcomes {
        self.load(registers);
        let mut model = self.model.borrow_mut();
        model.enter(CPU, vcpu);
        let outcomes = model.access(CPU, Access::new(va, kind));
        model.exit(CPU);
        outcomes
    }

    fn has(&self, at: u64) -> bool {
        let model = self.model.borrow();
        let config = model.config();
        (config.base.0..config.base.0 + (config.pages << 12)).contains(&at)
    }

    fn get(&self, at: u64) -> Option<u64> {
        self.has(at)
            .then(|| self.model.borrow_mut().read(CPU, Pa(at)))
    }

    /// The leaf that translates an address now.
    pub(super) fn leaf(&self, registers: &StageTwoRegisters, ipa: Ipa) -> Option<u64> {
        let vtcr = registers.vtcr.0;
        let page_shift = match vtcr >> 14 & 3 {
            0 => 12,
            1 => 16,
            _ => 14,
        };
        let sl0 = (vtcr >> 6 & 3) as u32;
        let start = if page_shift == 12 { 2 - sl0 } else { 3 - sl0 };
        let root = registers.vttbr.0 & 0xffff_ffff_fffe;
        let found = walk((page_shift, start), root, ipa.0, |at| self.get(at))?;
        Some(found.raw)
    }
}

/// L1's memory as the crate sees it, while it walks for one access.
pub(super) struct L1Memory<'a, 'm> {
    pub(super) hardware: &'a VirtualHardware<'m>,
    pub(super) vtcr: u64,
    pub(super) kind: AccessKind,
}

impl GuestMemory for L1Memory<'_, '_> {
    fn read(&self, at: L1Ipa) -> Result<u64, ExternalAbort> {
        let value = self.hardware.get(at.0).ok_or(ExternalAbort)?;
        Ok(self.hardware.order.in_memory(value))
    }

    /// # Panics
    /// If hardware would not write that.
    fn compare_exchange(&self, at: L1Ipa, old: u64, new: u64) -> Result<Exchange, ExternalAbort> {
        let found = self.hardware.get(at.0).ok_or(ExternalAbort)?;
        let order = self.hardware.order;
        let (old, new) = (order.in_memory(old), order.in_memory(new));
        let may_mark = self.vtcr & HD != 0 && old & DBM != 0 && self.kind == AccessKind::Write;
        let allowed =
            (if self.vtcr & HA != 0 { ACCESSED } else { 0 }) | if may_mark { CAN_WRITE } else { 0 };
        let is_hardware_like = old & 1 != 0 && new & !allowed == old & !allowed && new & old == old;
        assert!(
            is_hardware_like,
            "no hardware makes {new:#x} of L1's {old:#x}"
        );
        if found != old {
            return Ok(Exchange::Differs);
        }
        self.hardware.store(at.0, new);
        Ok(Exchange::Done)
    }
}

/// Whether a leaf of L1's has the flags that hardware leaves there for an access.
pub(super) const fn has_flags(leaf: u64, kind: AccessKind) -> bool {
    let is_marked = leaf & CAN_WRITE != 0 || !matches!(kind, AccessKind::Write);
    leaf & ACCESSED != 0 && is_marked
}

/// A leaf, and where in it the address is.
struct Found {
    raw: u64,
    output: u64,
}

/// Walks a table of 48-bit descriptors, of this page size and start level (DDI 0487, D8 "Translation process").
fn walk(
    (page_shift, start): (u32, u32),
    root: u64,
    ipa: u64,
    read: impl Fn(u64) -> Option<u64>,
) -> Option<Found> {
    let mut table = root;
    for level in start..=3 {
        let shift = page_shift + (page_shift - 3) * (3 - level);
        let number = ipa >> shift;
        let index = if level == start {
            number
        } else {
            number & ((1 << (page_shift - 3)) - 1)
        };
        let raw = read(table + index * 8)?;
        let address = raw & 0xffff_ffff_ffff & !((1 << page_shift) - 1);
        match (raw & 3, level) {
            (1, 0..=2) | (3, 3) => {
                let inside = (1 << shift) - 1;
                return Some(Found {
                    raw,
                    output: address & !inside | ipa & inside,
                });
            }
            (3, _) => table = address,
            _ => return None,
        }
    }
    None
}

/// Where the canonical table leads an access of this kind, if it permits it. It has 4 KiB pages and starts at level 1.
pub(super) fn canonical(
    model: &RefCell<Model>,
    looker: usize,
    root: Pa,
    via: u64,
    kind: AccessKind,
) -> Option<Pa> {
    let read = |at| Some(model.borrow_mut().read(looker, Pa(at)));
    let found = walk((12, 1), root.0, via, read)?;
    let xn = found.raw >> 53 & 3;
    let is_permitted = match kind {
        AccessKind::Read => found.raw & CAN_READ != 0,
        AccessKind::Write => found.raw & CAN_WRITE != 0,
        AccessKind::ExecuteEl1 => matches!(xn, 0 | 3),
        AccessKind::ExecuteEl0 => matches!(xn, 0 | 1),
    };
    is_permitted.then_some(Pa(found.output))
}
