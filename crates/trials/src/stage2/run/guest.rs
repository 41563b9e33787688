//! Guests: accesses with the faults that they take, and what guests do to their own stage 1.

use droste_arm64::esr::Esr;
use droste_arm64::{Ipa, Va};
use droste_mmu_model::{
    Access, AccessKind, Effect, Form, Outcome, Scope, Stage1Entry, Tagging, Tlbi,
};
use droste_stage2::{Answer, Decision, Dsb, Error, Fault, Privilege, Reason, handle};

use crate::failure::Problem;
use crate::stage2::operation::GuestTlbi;
use crate::stage2::oracle::Expected;
use crate::stage2::run::machine::{Decided, Inside, Run};
use crate::syndrome::{CONFLICT, abort, esr};

/// An access that is made again more often makes no progress.
const MAX_TRIES: usize = 24;
const PAGE: u64 = 4096;

/// What hardware makes of an access where it has a choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mood {
    /// Anything.
    Open,
    /// A fault, if there can be one.
    Hostile,
}

/// How a fault came out.
enum Answered {
    /// The guest goes on, and makes the access again.
    Again,
    /// It is not for the table.
    Refused,
}

fn wrong(rule: &'static str, detail: String) -> Problem {
    Problem::Oracle { rule, detail }
}

impl Run<'_> {
    /// Where a vCPU finds an IPA: its own map is flat but for what [`stage1`](Self::stage1) changed.
    fn ipa_of(&mut self, inside: Inside, va: Ipa) -> Ipa {
        let Some(space) = self.space(inside) else {
            return va;
        };
        let page = va.0 & !(PAGE - 1);
        let to = *self.stage1.entry((space, page)).or_insert_with(|| {
            let entry = Stage1Entry {
                ipa: Ipa(page),
                tagging: Tagging::PerAsid,
            };
            self.model.borrow_mut().stage1_map(space, Va(page), entry);
            page
        });
        Ipa(to | va.0 & (PAGE - 1))
    }

    /// An access until it succeeds or is refused.
    pub(super) fn access(
        &mut self,
        cpu: usize,
        vm: usize,
        va: Ipa,
        kind: AccessKind,
    ) -> Result<(), Problem> {
        let inside = self.ensure_inside(cpu, vm);
        let ipa = self.ipa_of(inside, va);
        let mut mood = Mood::Open;
        for _ in 0..MAX_TRIES {
            let outcome = self.outcome(cpu, vm, (va, ipa), kind, mood);
            mood = Mood::Hostile;
            let fault = match outcome.effect {
                Effect::Access { .. } => {
                    self.wrote_if(vm, ipa, kind);
                    return Ok(());
                }
                Effect::Fault { kind: cause, level } => esr(kind, cause, level),
                Effect::Conflict => Some(abort(kind, CONFLICT)),
            };
            let Some(esr) = fault else {
                // What a broken rule led to; the model has said so.
                return Ok(());
            };
            if let Answered::Refused = self.fault(cpu, inside, ipa, kind, esr)? {
                return Ok(());
            }
            if self.model.borrow().violation().is_some() {
                return Ok(());
            }
        }
        Err(wrong(
            "an access that is permitted succeeds in the end",
            format!("{kind:?} of {ipa} by {inside:?} on CPU {cpu} still faults"),
        ))
    }

    /// One of the things that hardware could make of an access, all of which must be allowed.
    fn outcome(
        &mut self,
        cpu: usize,
        vm: usize,
        (va, ipa): (Ipa, Ipa),
        kind: AccessKind,
        mood: Mood,
    ) -> Outcome {
        self.report.accesses += 1;
        let allowed = self.vms[vm].oracle.allowed(ipa, kind);
        let access = Access::new(Va(va.0), kind);
        let mut model = self.model.borrow_mut();
        model.expect(cpu, access, allowed);
        let outcomes = model.access(cpu, access);
        let faults = || {
            let is_access = |outcome: &&Outcome| matches!(outcome.effect, Effect::Access { .. });
            outcomes.iter().find(|outcome| !is_access(outcome))
        };
        let which = self.luck.below(outcomes.iter().count() as u64) as usize;
        let outcome = match mood {
            Mood::Open => outcomes.iter().nth(which),
            Mood::Hostile => faults().or_else(|| outcomes.iter().next()),
        };
        *outcome.expect("memory always says something")
    }

    /// Answers a fault, and judges the answer.
    fn fault(
        &mut self,
        cpu: usize,
        inside: Inside,
        ipa: Ipa,
        kind: AccessKind,
        esr: Esr,
    ) -> Result<Answered, Problem> {
        self.report.operations += 1;
        self.report.faults += 1;
        let fault = fault_of(kind, ipa, esr)?;
        let answer = self.at_el2(cpu, |run, hands| {
            let Run { vms, vmids, .. } = run;
            let vm = &mut vms[inside.vm];
            // Short of pages it is answered with those that there are.
            let _ = vm.caches[cpu].fill(&mut vm.supply, ipa);
            let mut cache = std::mem::take(&mut vm.caches[cpu]);
            let slots = vm.slots.clone();
            let answer = vm.with_contexts(vmids, |table, _, contexts| {
                handle(hands, table, &mut cache, contexts, &slots, &fault)
            });
            let is_full = cache.is_full();
            vm.caches[cpu] = cache;
            answer.map_err(|error| (error, is_full))
        });
        self.judge(inside, ipa, kind, answer)
    }

    fn judge(
        &mut self,
        inside: Inside,
        ipa: Ipa,
        kind: AccessKind,
        answer: Result<Answer, (Error, bool)>,
    ) -> Result<Answered, Problem> {
        let vm = &mut self.vms[inside.vm];
        let expected = vm.oracle.expected(ipa, kind);
        let attributes = vm.oracle.slot(ipa).map(|slot| slot.attributes);
        let is_beyond = attributes.is_some_and(|attributes| self.is_beyond_hardware(attributes));
        let oracle = &mut self.vms[inside.vm].oracle;
        let is_execute = matches!(kind, AccessKind::ExecuteEl1 | AccessKind::ExecuteEl0);
        match (expected, answer) {
            (Expected::Succeeds, Ok(Answer::Mapped | Answer::Relaxed)) => {
                oracle.relaxed(ipa, kind);
                Ok(Answered::Again)
            }
            (_, Ok(Answer::Retry)) => Ok(Answered::Again),
            (Expected::Succeeds, Err((Error::NoTablePage { .. }, false)))
            | (Expected::InTheWay, Err((Error::AlreadyMapped { .. }, _))) => Ok(Answered::Refused),
            (Expected::Succeeds | Expected::InTheWay, Err((Error::XnxUnsupported(_), _)))
                if is_beyond =>
            {
                Ok(Answered::Refused)
            }
            (Expected::Nobody, Ok(Answer::Mmio(None))) if !is_execute => Ok(Answered::Refused),
            (Expected::Nobody, Ok(Answer::Inject(Reason::NotExecutable))) if is_execute => {
                Ok(Answered::Refused)
            }
            (Expected::Refused, Ok(Answer::Inject(reason))) if is_reason(reason, kind) => {
                Ok(Answered::Refused)
            }
            _ => Err(wrong(
                "a fault is answered as the slots say",
                format!("{kind:?} of {ipa}: {expected:?} became {answer:?}"),
            )),
        }
    }

    /// Decides what a fault needs, if there is one, and keeps that for later.
    pub(super) fn resolve(
        &mut self,
        cpu: usize,
        vm: usize,
        va: Ipa,
        kind: AccessKind,
    ) -> Result<(), Problem> {
        let inside = self.ensure_inside(cpu, vm);
        let ipa = self.ipa_of(inside, va);
        let Effect::Fault { kind: cause, level } =
            self.outcome(cpu, vm, (va, ipa), kind, Mood::Open).effect
        else {
            self.wrote_if(vm, ipa, kind);
            return Ok(());
        };
        let Some(esr) = esr(kind, cause, level) else {
            return Ok(());
        };
        let fault = fault_of(kind, ipa, esr)?;
        let machine = &mut self.vms[vm];
        if let Decision::Install(proposal) = machine.slots.resolve(&fault) {
            let changes = machine.changes;
            self.pending[cpu] = Some(Decided {
                inside,
                proposal,
                changes,
                ipa,
                kind,
            });
        }
        Ok(())
    }

    fn wrote_if(&mut self, vm: usize, ipa: Ipa, kind: AccessKind) {
        if kind == AccessKind::Write {
            self.vms[vm].oracle.wrote(ipa);
        }
    }

    /// Does what was decided: nothing, if slots have changed since.
    pub(super) fn install(&mut self, cpu: usize) -> Result<(), Problem> {
        let Some(decided) = self.pending[cpu].take() else {
            return Ok(());
        };
        if self.places[cpu] != Some(decided.inside) {
            return Ok(());
        }
        self.report.operations += 1;
        self.report.faults += 1;
        let Decided {
            inside,
            proposal,
            changes,
            ipa,
            kind,
        } = decided;
        let answer = self.at_el2(cpu, |run, hands| {
            let Run { vms, vmids, .. } = run;
            let vm = &mut vms[inside.vm];
            let _ = vm.caches[cpu].fill(&mut vm.supply, ipa);
            let mut cache = std::mem::take(&mut vm.caches[cpu]);
            let sequence = vm.slots.sequence();
            let answer = vm.with_contexts(vmids, |table, _, contexts| {
                table.install(hands, &mut cache, contexts, &proposal, sequence)
            });
            let is_full = cache.is_full();
            vm.caches[cpu] = cache;
            answer.map_err(|error| (error, is_full))
        });
        if changes == self.vms[inside.vm].changes {
            return self.judge(inside, ipa, kind, answer).map(|_| ());
        }
        if matches!(answer, Ok(Answer::Retry)) {
            return Ok(());
        }
        Err(wrong(
            "what was decided before slots changed is not done",
            format!("{kind:?} of {ipa} became {answer:?}"),
        ))
    }

    /// The guest makes one of its pages lead elsewhere and invalidates what it changed, as it should.
    pub(super) fn stage1(&mut self, cpu: usize, vm: usize, va: Ipa, to: Ipa, tlbi: GuestTlbi) {
        let inside = self.ensure_inside(cpu, vm);
        let Some(space) = self.space(inside) else {
            return;
        };
        self.report.operations += 1;
        let (page, to) = (va.0 & !(PAGE - 1), to.0 & !(PAGE - 1));
        let (form, scope, operand) = match tlbi {
            GuestTlbi::LocalAddress => (Form::Vae1, Scope::Local, page >> 12 | 1 << 48),
            GuestTlbi::Address => (Form::Vaae1, Scope::Inner, page >> 12),
            GuestTlbi::Asid => (Form::Aside1, Scope::Inner, 1 << 48),
            GuestTlbi::All => (Form::Vmalle1, Scope::Local, 0),
        };
        let entry = Stage1Entry {
            ipa: Ipa(to),
            tagging: Tagging::PerAsid,
        };
        self.stage1.insert((space, page), to);
        let mut model = self.model.borrow_mut();
        model.stage1_map(space, Va(page), entry);
        model.guest_tlbi(cpu, Tlbi::new(form, scope, operand));
        model.guest_dsb(cpu, Dsb::Nsh);
    }

    /// An access that a guest could make: judged, and of no further consequence.
    pub(super) fn probe(&mut self, cpu: usize, va: Ipa, kind: AccessKind) {
        let Some(inside) = self.places[cpu] else {
            return;
        };
        let ipa = self.ipa_of(inside, va);
        let oracle = &mut self.vms[inside.vm].oracle;
        let allowed = oracle.allowed(ipa, kind);
        let may_mark = kind == AccessKind::Write && oracle.is_logged(ipa);
        let kind = if may_mark { AccessKind::Read } else { kind };
        let allowed = if may_mark {
            oracle.allowed(ipa, kind)
        } else {
            allowed
        };
        self.report.accesses += 1;
        self.model
            .borrow_mut()
            .expect(cpu, Access::new(Va(va.0), kind), allowed);
    }
}

fn fault_of(kind: AccessKind, ipa: Ipa, esr: Esr) -> Result<Fault, Problem> {
    let privilege = match kind {
        AccessKind::ExecuteEl0 => Privilege::El0,
        _ => Privilege::El1,
    };
    Fault::new(esr, ipa, privilege).ok_or_else(|| {
        wrong(
            "a fault of stage 2 is one for the table",
            format!("ESR {:#x}", esr.0),
        )
    })
}

const fn is_reason(reason: Reason, kind: AccessKind) -> bool {
    matches!(
        (reason, kind),
        (Reason::ReadOnly, AccessKind::Write)
            | (Reason::NotReadable, AccessKind::Read)
            | (
                Reason::NotExecutable,
                AccessKind::ExecuteEl1 | AccessKind::ExecuteEl0
            )
    )
}
