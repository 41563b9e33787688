//! Level-sensitive physical interrupts whose line falls before the guest has taken them, or is still high when it has
//! (IHI 0069, 4.1.2 and 4.5).

use super::bank::Bank;
use super::distributor::{Banks, Register};
use super::state::At;
use super::{Frame, Gic, Intid, Kicks};
use crate::bits::ones32;
use crate::line::Line;

impl Gic {
    /// Withdraws those pending interrupts of `vcpu` that a physical interrupt made pending whose line is low by now.
    /// Call it after a [`fold`](Self::fold) or [`fold_lent`](Self::fold_lent): it leaves alone what list registers
    /// hold. `line` gives the level of a physical interrupt that is active, and says high where it does not know.
    ///
    /// From then on the guest reads a private interrupt that is active as pending too, if its line is high.
    #[inline]
    pub fn look_at_levels(&mut self, vcpu: usize, line: impl Fn(Intid) -> Line) -> Kicks {
        let state = &self.vcpus[vcpu];
        let shared = state.summary & !1;
        let mut kicks = Kicks::NONE;
        if state.private.has_physical_lines() {
            kicks |= self.look(At::Private(vcpu), vcpu, &line);
        }
        for word in ones32(shared) {
            let mine = self.vcpus[vcpu].wanted[word];
            kicks |= self.retract(At::of(vcpu, word << 5), vcpu, mine, &line);
        }
        kicks
    }

    /// Does the same for all interrupts whose pending state a read by `vcpu` at `offset` in `frame` shows, active ones
    /// among them, if `frame` is the distributor. The lines of private interrupts are seen only by the CPU that has the
    /// timers: [`needs_fold`](Self::needs_fold) names the vCPU that is to look there.
    pub fn look_before_read(
        &mut self,
        vcpu: usize,
        frame: Frame,
        offset: u64,
        line: impl Fn(Intid) -> Line,
    ) -> Kicks {
        match (frame, Register::decode(offset)) {
            (Frame::Distributor, Some(Register::Bank(register, word)))
                if register.is_pending_state() =>
            {
                self.bank_at(Banks::Shared, word)
                    .map_or(Kicks::NONE, |at| self.look(at, vcpu, &line))
            }
            _ => Kicks::NONE,
        }
    }

    /// Of all interrupts of a bank, active ones among them; `by` is who deactivates what is left to deactivate.
    fn look(&mut self, at: At, by: usize, line: &impl Fn(Intid) -> Line) -> Kicks {
        let bank = self.bank_mut(at);
        let active = bank.active_by_level();
        bank.note_high(active & !bank.low(active, line));
        self.retract(at, by, u32::MAX, line)
    }

    /// Of interrupts `among` of a bank; `by` is who deactivates what is left to deactivate.
    fn retract(&mut self, at: At, by: usize, among: u32, line: &impl Fn(Intid) -> Line) -> Kicks {
        let bank = self.bank_mut(at);
        let low = bank.low(bank.fired & among, line);
        if low == 0 {
            return Kicks::NONE;
        }
        let touched = bank.retract(low);
        self.follow_up(at, by, touched)
    }
}

impl Bank {
    /// Those of `bits` whose physical line is low.
    fn low(&self, bits: u32, line: &impl Fn(Intid) -> Line) -> u32 {
        let is_low = |bit: usize| {
            let physical = Intid::new(self.physical(bit).into());
            physical.is_some_and(|physical| !line(physical).is_high())
        };
        ones32(bits)
            .filter(|&bit| is_low(bit))
            .fold(0, |low, bit| low | 1 << bit)
    }
}
