//! The state of 32 interrupts, one bit of each word per interrupt.
//!
//! An interrupt is *listed* while a list register of some vCPU holds it. Then the list register, not this state, says
//! whether it is pending or active, and what the guest or a device does meanwhile is kept apart until the list register
//! is folded: a new pending event goes to `latch`, a request to clear or set goes to `drop_latch`, `set_active` or
//! `clear_active`. So nothing is lost, however the two race.

use super::lr::Lr;

/// Priority bits that a virtual CPU interface surely has: the upper five (IHI 0069, ICH_VTR_EL2.PRIbits).
const PRIORITY_BITS: u8 = 0xf8;

/// Which groups the distributor forwards, spread over a word each (GICD_CTLR.EnableGrp0 and EnableGrp1).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Enables {
    pub(super) group0: u32,
    pub(super) group1: u32,
}

impl Enables {
    pub(super) const BOTH: Self = Self {
        group0: u32::MAX,
        group1: u32::MAX,
    };
}

/// A register with a field for each interrupt of a bank. Distributor and redistributor place them alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BankRegister {
    Group,
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
    /// Half of the bank: interrupts 0 to 15 or 16 to 31.
    Config {
        is_upper: bool,
    },
}

pub(super) struct Bank {
    /// Interrupts that exist; the bits of others stay 0 in every word.
    implemented: u32,
    /// Interrupts whose trigger the guest cannot change (SGIs).
    fixed_config: u32,
    pub(super) enabled: u32,
    group1: u32,
    /// Edge-triggered; the others are level-sensitive.
    pub(super) edge: u32,
    /// A pending event that no list register holds: an edge, an SGI, GICD_ISPENDR.
    pub(super) latch: u32,
    /// Pending by a level-sensitive physical interrupt that stands active for it, while no list register holds it: gone
    /// if the physical line falls before the guest takes it.
    pub(super) fired: u32,
    /// The level of the input line.
    pub(super) line: u32,
    /// Active by a level-sensitive physical interrupt whose line was high when it was looked at last. It fires again by
    /// itself once it is deactivated, so that until then this is for the guest to read and no more.
    high: u32,
    pub(super) active: u32,
    /// Of those the ones that a write of GICR_ISACTIVER0 or GICD_ISACTIVER made active: nobody acknowledged them, so they
    /// are in no order of ends.
    pub(super) declared: u32,
    pub(super) listed: u32,
    /// Listed, and pending there by an event rather than only by the line.
    lr_latch: u32,
    /// Listed, and pending there by a level-sensitive physical interrupt.
    lr_fired: u32,
    /// Listed with the number of a physical interrupt, which hardware deactivates.
    lr_hw: u32,
    /// A physical interrupt stands active behind it, for this state to deactivate.
    pub(super) hw: u32,
    drop_latch: u32,
    /// Wins over `clear_active`, which takes it back.
    set_active: u32,
    clear_active: u32,
    priority: [u8; 32],
    pub(super) physical: [u16; 32],
}

impl Bank {
    pub(super) fn new(implemented: u32, fixed_edge: u32) -> Self {
        Self {
            implemented,
            fixed_config: fixed_edge,
            enabled: 0,
            group1: 0,
            edge: fixed_edge,
            latch: 0,
            fired: 0,
            line: 0,
            high: 0,
            active: 0,
            declared: 0,
            listed: 0,
            lr_latch: 0,
            lr_fired: 0,
            lr_hw: 0,
            hw: 0,
            drop_latch: 0,
            set_active: 0,
            clear_active: 0,
            priority: [0; 32],
            physical: [0; 32],
        }
    }

    pub(super) fn implemented(&self) -> u32 {
        self.implemented
    }

    /// Pending, as the guest reads it: an event, or the line of a level-sensitive one.
    fn pending(&self) -> u32 {
        let listed = (self.lr_latch | self.lr_fired) & !self.drop_latch;
        self.latch | self.fired | listed | self.line & !self.edge
    }

    /// Pending and let through by the enables of the interrupt and of its group.
    pub(super) fn deliverable(&self, enables: Enables) -> u32 {
        self.pending() & self.enabled & self.forwarded(enables)
    }

    /// Of a group that the distributor forwards.
    pub(super) fn forwarded(&self, enables: Enables) -> u32 {
        self.group1 & enables.group1 | !self.group1 & enables.group0
    }

    /// What a list register should hold: all that is deliverable or active, and all that one holds already.
    pub(super) fn wanted(&self, enables: Enables) -> u32 {
        self.deliverable(enables) | self.active | self.listed
    }

    pub(super) fn group1(&self) -> u32 {
        self.group1
    }

    pub(super) fn priority(&self, bit: usize) -> u8 {
        self.priority[bit & 31]
    }

    /// `bytes` priority fields from interrupt `first` on, the first lowest. Interrupts that do not exist read as 0.
    pub(super) fn read_priorities(&self, first: usize, bytes: usize) -> u64 {
        let fields = self.priority.iter().skip(first).take(bytes);
        fields.rev().fold(0, |word, &p| word << 8 | u64::from(p))
    }

    /// Sets `bytes` priority fields; gives the interrupts whose priority changed.
    pub(super) fn write_priorities(&mut self, first: usize, bytes: usize, value: u64) -> u32 {
        let mut changed = 0;
        let fields = self.priority.iter_mut().enumerate();
        for ((bit, field), byte) in fields.skip(first).take(bytes).zip(value.to_le_bytes()) {
            let new = byte & PRIORITY_BITS;
            if self.implemented >> bit & 1 != 0 && *field != new {
                *field = new;
                changed |= 1 << bit;
            }
        }
        changed
    }

    pub(super) fn read(&self, register: BankRegister) -> u32 {
        match register {
            BankRegister::Group => self.group1,
            BankRegister::SetEnable | BankRegister::ClearEnable => self.enabled,
            BankRegister::SetPending | BankRegister::ClearPending => {
                self.pending() | self.high & self.active_by_level()
            }
            BankRegister::SetActive | BankRegister::ClearActive => {
                self.active & !self.clear_active | self.set_active
            }
            BankRegister::Config { is_upper } => spread(self.edge >> if is_upper { 16 } else { 0 }),
        }
    }

    /// Writes a register; gives the interrupts whose state may have changed.
    pub(super) fn write(&mut self, register: BankRegister, value: u32) -> u32 {
        let bits = value & self.implemented;
        match register {
            BankRegister::Group => {
                let changed = self.group1 ^ bits;
                self.group1 = bits;
                changed
            }
            BankRegister::SetEnable => {
                let changed = bits & !self.enabled;
                self.enabled |= bits;
                changed
            }
            BankRegister::ClearEnable => {
                let changed = bits & self.enabled;
                self.enabled &= !bits;
                changed
            }
            BankRegister::SetPending => self.pend(bits),
            BankRegister::ClearPending => self.clear_pending(bits),
            BankRegister::SetActive => self.set_active(bits),
            BankRegister::ClearActive => self.clear_active(bits),
            BankRegister::Config { is_upper } => self.set_config(value, is_upper),
        }
    }

    fn set_config(&mut self, value: u32, is_upper: bool) -> u32 {
        let shift = if is_upper { 16 } else { 0 };
        let writable = 0xffff << shift & self.implemented & !self.fixed_config;
        let edge = gather(value) << shift & writable | self.edge & !writable;
        let changed = self.edge ^ edge;
        self.edge = edge;
        self.latch |= self.fired & edge;
        self.fired &= !edge;
        changed
    }

    /// An event makes `bits` pending; gives those that were not.
    pub(super) fn pend(&mut self, bits: u32) -> u32 {
        let new = bits & !self.latch;
        self.latch |= bits;
        new
    }

    /// Forgets pending events. A level that is still high stays pending.
    pub(super) fn clear_pending(&mut self, bits: u32) -> u32 {
        let changed = bits & (self.latch | self.fired | self.listed & !self.drop_latch);
        self.latch &= !bits;
        self.fired &= !bits;
        self.drop_latch |= bits & self.listed;
        changed
    }

    fn set_active(&mut self, bits: u32) -> u32 {
        self.set_active |= bits & self.listed;
        let changed = bits & (self.listed | !self.active);
        let new = bits & !self.listed & !self.active;
        self.declared |= new;
        self.active |= new;
        changed
    }

    pub(super) fn clear_active(&mut self, bits: u32) -> u32 {
        self.clear_active |= bits & self.listed;
        self.set_active &= !bits;
        let changed = bits & (self.listed | self.active);
        self.active &= !(bits & !self.listed);
        self.declared &= self.active;
        changed
    }

    /// Interrupts `bits`, which no list register holds, are acknowledged: pending events are taken, and a level stays. Gives
    /// them.
    pub(super) fn acknowledge(&mut self, bits: u32) -> u32 {
        self.active |= bits;
        self.latch &= !bits;
        self.fired &= !bits;
        bits
    }

    /// Drives the input lines `bits`; gives those that changed. A rising line is an event for an edge-triggered one.
    pub(super) fn set_line(&mut self, bits: u32, is_high: bool) -> u32 {
        let changed = if is_high {
            bits & !self.line
        } else {
            bits & self.line
        };
        self.line ^= changed;
        if is_high {
            self.latch |= changed & self.edge;
        }
        changed
    }

    /// Physical interrupt `physical` became active on behalf of interrupt `bit`.
    pub(super) fn pend_physical(&mut self, bit: usize, physical: u16) -> u32 {
        let mask = 1 << bit;
        self.physical[bit & 31] = physical;
        self.hw |= mask;
        self.latch |= mask & self.edge;
        self.fired |= mask & !self.edge;
        mask
    }

    /// The physical line behind interrupts `bits` is low: those that it alone made pending no longer are. Gives them. What
    /// a list register holds is not known here and stays.
    pub(super) fn retract(&mut self, bits: u32) -> u32 {
        let gone = bits & self.fired;
        self.fired &= !gone;
        gone
    }

    /// Active, with a level-sensitive physical interrupt that stands active behind it.
    pub(super) fn active_by_level(&self) -> u32 {
        self.active & self.physical_active() & !self.edge
    }

    /// Whether a line of a physical interrupt tells something.
    pub(super) fn has_physical_lines(&self) -> bool {
        self.fired | self.active_by_level() != 0
    }

    /// Of the interrupts that are active by a level these have their lines high, and the others low.
    pub(super) fn note_high(&mut self, high: u32) {
        self.high = high;
    }

    /// Takes out those of `bits` behind which a physical interrupt stands active with nothing left to come of it:
    /// it must be deactivated, or it never fires again.
    pub(super) fn release(&mut self, bits: u32) -> u32 {
        let done = bits & self.hw & !(self.listed | self.active | self.latch | self.fired);
        self.hw &= !done;
        done
    }

    /// Interrupts behind which a physical one stands active.
    pub(super) fn physical_active(&self) -> u32 {
        self.hw | self.lr_hw
    }

    pub(super) fn physical(&self, bit: usize) -> u16 {
        self.physical[bit & 31]
    }

    /// Moves interrupt `bit` to a list register. `intid` is its number.
    pub(super) fn list(&mut self, bit: usize, intid: usize, enables: Enables) -> Lr {
        let mask = 1 << bit;
        let is_active = self.active & mask != 0;
        // A level that stays high over its own handling becomes pending again when it is deactivated: the maintenance
        // interrupt that follows is where that is seen. If the line rises only later, that is an event of its own.
        let high = self.line & !self.edge;
        let by_line = high & !self.active;
        let events = self.latch | self.fired;
        let can_deliver = self.deliverable(enables) & (events | by_line) & mask != 0;
        let mut lr = Lr::new(intid, self.priority(bit));
        if self.group1 & mask != 0 {
            lr = lr.in_group1();
        }
        if is_active {
            lr = lr.with_state(Lr::ACTIVE);
        }
        // Active and pending is no state of a list register with a physical interrupt (IHI 0069, ICH_LR<n>_EL2.HW):
        // then this state keeps the physical one and releases it at the end. Disabled or not: what is pending may be
        // the physical one, and what is active an event of the guest's own.
        let is_twice = is_active && events & mask != 0;
        if self.hw & mask != 0 && !is_twice {
            lr = lr.with_physical(self.physical(bit));
            self.hw &= !mask;
            self.lr_hw |= mask;
        } else if (high | self.hw) & mask != 0 {
            lr = lr.with_eoi_maintenance();
        }
        if can_deliver {
            lr = lr.with_state(Lr::PENDING);
            self.lr_latch |= self.latch & mask;
            self.lr_fired |= self.fired & mask;
            self.latch &= !mask;
            self.fired &= !mask;
        }
        self.listed |= mask;
        lr
    }

    /// Lends the physical interrupt behind interrupt `bit`, which the guest has active, to a list register of the
    /// guest's own guest: gives its number. Until [`unlist`](Self::unlist) that list register knows the state.
    ///
    /// `None` if there is none, or if it may belong to an event that the guest has yet to take.
    pub(super) fn lend(&mut self, bit: usize) -> Option<u16> {
        let mask = 1 << bit;
        if self.active & self.hw & !self.latch & !self.fired & !self.listed & mask == 0 {
            return None;
        }
        self.listed |= mask;
        self.hw &= !mask;
        self.lr_hw |= mask;
        Some(self.physical(bit))
    }

    /// Whether the active state of interrupt `bit`, which is listed, was changed meanwhile.
    pub(super) fn has_request(&self, bit: usize) -> bool {
        (self.set_active | self.clear_active) >> bit & 1 != 0
    }

    /// Takes interrupt `bit` back from the list register `lr`.
    pub(super) fn unlist(&mut self, bit: usize, lr: Lr) {
        let mask: u32 = 1 << bit;
        if lr.is_pending() {
            self.latch |= self.lr_latch & mask & !self.drop_latch;
            self.fired |= self.lr_fired & mask & !self.drop_latch;
        }
        if lr.is_pending() || lr.is_active() {
            self.hw |= self.lr_hw & mask;
        }
        let lr_active = if lr.is_active() { mask } else { 0 };
        let active = lr_active & !self.clear_active | self.set_active & mask;
        self.active = self.active & !mask | active;
        self.declared = self.declared & !mask | active & (self.declared | !lr_active);
        for word in [
            &mut self.listed,
            &mut self.lr_latch,
            &mut self.lr_fired,
            &mut self.lr_hw,
            &mut self.drop_latch,
            &mut self.set_active,
            &mut self.clear_active,
        ] {
            *word &= !mask;
        }
    }
}

/// The lower 16 bits, each moved to the upper bit of its own pair (IHI 0069, GICD_ICFGR&lt;n&gt;).
fn spread(half: u32) -> u32 {
    let mut bits = half & 0xffff;
    bits = (bits | bits << 8) & 0x00ff_00ff;
    bits = (bits | bits << 4) & 0x0f0f_0f0f;
    bits = (bits | bits << 2) & 0x3333_3333;
    bits = (bits | bits << 1) & 0x5555_5555;
    bits << 1
}

/// The upper bit of each of 16 pairs, moved together: the reverse of [`spread`].
fn gather(pairs: u32) -> u32 {
    let mut bits = pairs >> 1 & 0x5555_5555;
    bits = (bits | bits >> 1) & 0x3333_3333;
    bits = (bits | bits >> 2) & 0x0f0f_0f0f;
    bits = (bits | bits >> 4) & 0x00ff_00ff;
    (bits | bits >> 8) & 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreading_and_gathering_undo_each_other() {
        for half in 0..=0xffff {
            let pairs = spread(half);
            assert_eq!(pairs & 0x5555_5555, 0);
            assert_eq!(gather(pairs | 0x5555_5555), half);
        }
        assert_eq!(spread(0x8001), 0x8000_0002);
    }

    #[test]
    fn interrupts_that_do_not_exist_take_no_write() {
        let mut bank = Bank::new(0x0fff_ffff, 0);
        for register in [
            BankRegister::Group,
            BankRegister::SetEnable,
            BankRegister::SetPending,
            BankRegister::SetActive,
            BankRegister::Config { is_upper: true },
        ] {
            let _ = bank.write(register, u32::MAX);
        }
        assert_eq!(bank.write_priorities(28, 4, u64::MAX), 0);
        for register in [
            BankRegister::Group,
            BankRegister::SetEnable,
            BankRegister::SetPending,
            BankRegister::SetActive,
        ] {
            assert_eq!(bank.read(register), 0x0fff_ffff, "{register:?}");
        }
        assert_eq!(
            bank.read(BankRegister::Config { is_upper: true }),
            0x00aa_aaaa
        );
        assert_eq!(bank.read_priorities(28, 4), 0);
    }

    #[test]
    fn only_five_priority_bits_are_kept() {
        let mut bank = Bank::new(u32::MAX, 0);
        assert_eq!(bank.write_priorities(4, 4, 0xff07_a880), 0b1011 << 4);
        assert_eq!(bank.read_priorities(4, 4), 0xf800_a880);
        assert_eq!(bank.read_priorities(5, 1), 0xa8);
    }
}
