//! Answers the faults of L2, as a hypervisor does, and judges each verdict by what L1's hardware could do.

use droste_arm64::Ipa;
use droste_mmu_model::{AccessKind, Effect, FaultKind};
use droste_nested::{
    Abort, Ahead, CanonicalLeaf, Filled, Host, L1, L1Ipa, StageTwo, Syndrome, Verdict,
};
use droste_stage2::{
    Answer, Contexts, Error, Fault, PageCache, Proposal, Slots, Table, handle, scheme,
};

use crate::failure::Problem;
use crate::nested::run::Lapse;
use crate::nested::run::hypervisor::{Hands, Holder, Inside, Pending, Run};
use crate::nested::run::judge::{L1Memory, has_flags};
use crate::stage2::oracle::Rights;
use crate::stage2::world::MAX_CPUS;

/// How a fault came out.
pub(super) enum Answered {
    /// L2 goes on, and makes the access again.
    Again,
    /// L1 is told, or it is no memory.
    Refused,
}

pub(super) fn wrong(rule: &'static str, detail: String) -> Problem {
    Problem::Oracle { rule, detail }
}

impl<'m> Run<'m> {
    /// L1's stage 2 is off.
    pub(super) fn canonical_fault(
        &mut self,
        hands: &Hands<'m>,
        abort: &Abort,
        kind: AccessKind,
    ) -> Result<Answered, Problem> {
        let ipa = Ipa(abort.ipa.0);
        let fault = Fault::new(abort.esr, ipa, abort.privilege).expect("it is one for the table");
        let answer = self.with_canonical(|table, pages, slots, contexts| {
            handle(hands, table, pages, contexts, slots, &fault)
        });
        match answer {
            Err(Error::NoTablePage { .. }) => {
                self.drop_memory_at(hands)?;
                Ok(Answered::Again)
            }
            Ok(Answer::Mapped | Answer::Relaxed | Answer::Retry) => Ok(Answered::Again),
            Ok(Answer::Mmio(_) | Answer::Inject(_)) if !self.slot_permits(ipa.0, kind) => {
                Ok(Answered::Refused)
            }
            other => Err(wrong(
                "a fault is answered as the slots say",
                format!("{kind:?} of {ipa} became {other:?}"),
            )),
        }
    }

    fn with_canonical<R>(
        &mut self,
        answer: impl FnOnce(&Table, &mut PageCache, &Slots, &Contexts<'_, MAX_CPUS>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut pages = PageCache::new();
        self.canonical.with_contexts(
            &self.places,
            &self.vmids,
            |table, supply, slots, contexts| {
                let answer = pages
                    .fill(supply, Ipa(0))
                    .and_then(|()| answer(table, &mut pages, slots, contexts));
                pages.drain(supply);
                answer
            },
        )
    }

    fn slot_permits(&self, at: u64, kind: AccessKind) -> bool {
        let slot = self.canonical.slots.find(Ipa(at));
        slot.is_some_and(|slot| Rights::of(slot.attributes).has(Rights::to(kind)))
    }

    pub(super) fn shadow_fault(
        &mut self,
        hands: &Hands<'m>,
        inside: Inside,
        abort: &Abort,
        kind: AccessKind,
    ) -> Result<Answered, Problem> {
        let pending = match self.judge(hands, inside, abort, kind)? {
            Ok(pending) => pending,
            Err(answered) => return Ok(answered),
        };
        self.reverse_insert(inside, &pending);
        match self.fill(hands, inside, &pending) {
            Filled::Mapped => Ok(Answered::Again),
            // The pages that it had to make room for were its own.
            Filled::Void if pending.changes != self.taken => Ok(Answered::Again),
            Filled::Void => Err(wrong(
                "a fill is void only after a change",
                format!("{kind:?} of {} was void", abort.ipa),
            )),
        }
    }

    pub(super) fn reverse_insert(&mut self, inside: Inside, pending: &Pending) {
        if !self.lapses(Lapse::Insert) {
            self.reverse_map.insert(inside.place, &pending.composed);
        }
    }

    /// Judges a fault, up to a fill that is to be done.
    pub(super) fn judge(
        &mut self,
        hands: &Hands<'m>,
        inside: Inside,
        abort: &Abort,
        kind: AccessKind,
    ) -> Result<Result<Pending, Answered>, Problem> {
        let registers = self.registers(inside.space);
        let StageTwo::On(walker) = StageTwo::new(&registers, &self.advertised) else {
            return Ok(Err(Answered::Again));
        };
        let Holder::Shadow(shadow) = &self.places[inside.place.index()] else {
            return Ok(Err(Answered::Again));
        };
        let (ticket, changes) = (shadow.ticket(&self.changes), self.taken);
        let memory = L1Memory {
            hardware: &self.hardware,
            vtcr: registers.vtcr.0,
            kind,
        };
        let l1 = L1 {
            walker: &walker,
            memory: &memory,
            slots: &self.canonical.slots,
            scheme: scheme(&self.ids),
        };
        let look = |at: L1Ipa| {
            CanonicalLeaf::new(self.canonical.table.walk(hands, at.ipa()), self.geometry)
        };
        let permitted = || shadow.permits(hands, abort.ipa);
        let verdict = l1.judge(abort, permitted, look);
        if let Some(Verdict::Fill { .. }) = verdict {
            let leaf = self.hardware.leaf(&registers, Ipa(abort.ipa.0));
            if !leaf.is_some_and(|leaf| has_flags(leaf, kind)) {
                return Err(wrong(
                    "a walk leaves the flags in L1's table that hardware leaves",
                    format!("{kind:?} of {} left {leaf:x?}", abort.ipa),
                ));
            }
        }
        // A walk was made, whatever comes of it.
        let effects = self.effects(inside, Ipa(abort.ipa.0), kind);
        let is_right = self.is_right(verdict, &effects, abort, kind, registers.vtcr.input_bits());
        if !is_right {
            return Err(wrong(
                "a fault of L2 is whose L1's hardware would make it",
                format!(
                    "{kind:?} of {}: {verdict:x?}; L1's hardware: {effects:x?}",
                    abort.ipa
                ),
            ));
        }
        Ok(match verdict {
            Some(Verdict::Fill { fault, composed }) => Ok(Pending {
                ticket,
                fault,
                composed,
                changes,
            }),
            Some(Verdict::Canonical(proposal)) => {
                self.install_canonical(hands, &proposal)?;
                Err(Answered::Again)
            }
            Some(Verdict::Forget) => {
                if let Holder::Shadow(shadow) = &self.places[inside.place.index()] {
                    shadow.table().resolve_conflict(hands);
                }
                Err(Answered::Again)
            }
            Some(Verdict::Retry) => Err(Answered::Again),
            _ => Err(Answered::Refused),
        })
    }

    /// Whether a verdict is one that follows from what L1's hardware could do.
    fn is_right(
        &self,
        verdict: Option<Verdict>,
        effects: &[Effect],
        abort: &Abort,
        kind: AccessKind,
        input_bits: u32,
    ) -> bool {
        let leads = |to: u64| {
            effects
                .iter()
                .any(|effect| matches!(effect, Effect::Access { pa, .. } if pa.0 == to))
        };
        let is_execute = matches!(kind, AccessKind::ExecuteEl1 | AccessKind::ExecuteEl0);
        match verdict {
            None => false,
            Some(Verdict::Forget | Verdict::Retry) => true,
            Some(Verdict::Device { at, .. }) => {
                leads(at.0) && !is_execute && self.canonical.slots.find(at.ipa()).is_none()
            }
            Some(Verdict::External(_)) => effects.iter().any(|effect| match effect {
                Effect::Access { pa, .. } => !self.slot_permits(pa.0, kind),
                _ => false,
            }),
            Some(Verdict::Canonical(_)) => effects
                .iter()
                .any(|effect| matches!(effect, Effect::Access { pa, .. } if self.slot_permits(pa.0, kind))),
            Some(Verdict::Fill { composed, .. }) => {
                leads(composed.via.0 | abort.ipa.0 & (composed.bytes - 1))
            }
            Some(Verdict::Guest(fault)) => {
                let syndrome = abort.for_guest(fault);
                let is_outside = abort.ipa.0 >> input_bits != 0;
                let class = 0x3f << 26 | 1 << 6;
                syndrome.esr.0 & class == abort.esr.0 & class
                    && syndrome.hpfar == abort.ipa.0 >> 12 << 4
                    && syndrome.far == abort.far
                    && effects.iter().any(|effect| tells(&syndrome, effect, is_outside))
            }
        }
    }

    fn install_canonical(&mut self, hands: &Hands<'m>, proposal: &Proposal) -> Result<(), Problem> {
        let answer = self.with_canonical(|table, pages, slots, contexts| {
            table.install(hands, pages, contexts, proposal, slots.sequence())
        });
        match answer {
            Ok(Answer::Mapped | Answer::Relaxed | Answer::Retry) => Ok(()),
            Err(Error::NoTablePage { .. }) => self.drop_memory_at(hands),
            other => Err(wrong(
                "the canonical table takes what slots say",
                format!("{other:?}"),
            )),
        }
    }

    /// Does a fill, in the pages that there are: when they run out, shadows are emptied, its own last.
    pub(super) fn fill(&mut self, hands: &Hands<'m>, inside: Inside, pending: &Pending) -> Filled {
        let own = inside.place.index();
        if let Some(filled) = self.fill_hole(hands, own, pending) {
            return filled;
        }
        let mut cache = PageCache::new();
        let others = self.contexts.places().filter(|place| place.index() != own);
        let mut victims: Vec<_> = others.chain([inside.place]).collect();
        victims.reverse();
        while cache.fill(&mut self.supply, pending.fault.ipa).is_err() {
            let victim = victims.pop().expect("a fill needs no more than there are");
            self.empty(hands, victim);
        }
        let is_late = self.lapses(Lapse::Ticket);
        let Holder::Shadow(shadow) = &mut self.places[own] else {
            return Filled::Void;
        };
        let mut supply = Ahead {
            cache: &mut cache,
            supply: &mut self.supply,
        };
        let mut host = Host {
            machine: hands,
            supply: &mut supply,
            vmids: &self.vmids,
        };
        let ticket = if is_late {
            shadow.ticket(&self.changes)
        } else {
            pending.ticket
        };
        let filled = shadow.fill(
            &mut host,
            (ticket, &self.changes),
            &pending.fault,
            &pending.composed,
        );
        cache.drain(&mut self.supply);
        filled.expect("there are pages for a fill, and nothing is advertised that hardware lacks")
    }

    /// The short way of a fill, which is not taken each time: the long one must do without it.
    fn fill_hole(&mut self, hands: &Hands<'m>, own: usize, pending: &Pending) -> Option<Filled> {
        let (is_late, is_tried) = (self.lapses(Lapse::Ticket), !self.luck.once_in(3));
        let Holder::Shadow(shadow) = &mut self.places[own] else {
            return None;
        };
        let ticket = if is_late {
            shadow.ticket(&self.changes)
        } else {
            pending.ticket
        };
        let tickets = (ticket, &self.changes);
        let filled = is_tried
            .then(|| shadow.fill_hole(hands, tickets, &pending.fault, &pending.composed))?;
        filled.expect("nothing is advertised that hardware lacks")
    }
}

/// Whether what L1 is told of a fault is an effect. An access outside the address space faults at level 0 (DDI 0487,
/// J1.1, AArch64.S2Translate), where the model names the start level; a table outside memory at the level of its
/// lookup, where the model names that of the descriptor before.
fn tells(syndrome: &Syndrome, effect: &Effect, is_outside: bool) -> bool {
    let Effect::Fault { kind, level } = *effect else {
        return false;
    };
    let status = syndrome.esr.0 & 0x3f;
    let told = match kind {
        FaultKind::AddressSize => 0b00_0000,
        FaultKind::Translation => 0b00_0100,
        FaultKind::AccessFlag => 0b00_1000,
        FaultKind::Permission => 0b00_1100,
        FaultKind::External => 0b01_0100,
        FaultKind::Stage1 => return false,
    };
    let level = match kind {
        FaultKind::Translation if is_outside => 0,
        FaultKind::External => level + 1,
        _ => level,
    };
    status == told | u64::from(level.unsigned_abs())
}
