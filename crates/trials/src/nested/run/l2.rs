//! What L2 does: accesses, and the faults that they take.

use droste_arm64::barrier::Dsb;
use droste_arm64::esr::Esr;
use droste_arm64::{Ipa, Pa, Va};
use droste_mmu_model::{Access, AccessKind, Effect, Outcome};
use droste_nested::{Abort, Filled, L2Ipa, StageTwo};
use droste_stage2::Privilege;

use crate::failure::Problem;
use crate::nested::run::faults::{Answered, wrong};
use crate::nested::run::hypervisor::{Holder, Inside, Run};
use crate::nested::run::judge::canonical;
use crate::nested::tlbi::L1Tlbi;
use crate::nested::world::World;
use crate::syndrome::{CONFLICT, abort, esr};

/// An access that is made again more often makes no progress.
const MAX_TRIES: usize = 24;

/// What hardware makes of an access where it has a choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mood {
    /// Anything.
    Open,
    /// A fault, if there can be one.
    Hostile,
}

impl Run<'_> {
    /// An access until it succeeds or is refused.
    pub(super) fn access(&mut self, cpu: usize, va: Va, kind: AccessKind) -> Result<(), Problem> {
        let inside = self.ensure_inside(cpu);
        self.report.operations += 1;
        let mut mood = Mood::Open;
        for _ in 0..MAX_TRIES {
            let effect = self.outcome(cpu, inside, va, kind, mood)?.effect;
            mood = Mood::Hostile;
            let syndrome = match effect {
                Effect::Access { .. } => return Ok(()),
                Effect::Fault { kind: cause, level } => esr(kind, cause, level),
                Effect::Conflict => Some(abort(kind, CONFLICT)),
            };
            self.violation_found()?;
            let syndrome = syndrome.ok_or_else(|| {
                wrong(
                    "a shadow is well formed",
                    format!("{kind:?} of {va} is {effect:?}"),
                )
            })?;
            if let Answered::Refused = self.fault(cpu, inside, va, kind, syndrome)? {
                return Ok(());
            }
        }
        Err(wrong(
            "an access that both tables permit succeeds in the end",
            format!("{kind:?} of {va} in {inside:?} on CPU {cpu} still faults"),
        ))
    }

    /// An invalidation that hardware executes for L2: the real one under the VMID of L2's context, and L1's under that
    /// which L1 gave it. With L1's stage 2 off that one is not said to have any.
    pub(super) fn guest_tlbi(&mut self, cpu: usize, tlbi: L1Tlbi) {
        if !tlbi.is_of_el1() {
            return;
        }
        let inside = self.ensure_inside(cpu);
        self.report.operations += 1;
        let mut host = self.host.borrow_mut();
        host.guest_tlbi(cpu, tlbi.instruction());
        host.guest_dsb(cpu, Dsb::Ish);
        drop(host);
        let registers = self.registers(inside.space);
        if registers.is_on() && self.has_vmid_alone(inside) {
            self.hardware
                .guest_tlbi(&registers, self.virtual_vcpu(inside), tlbi);
        }
    }

    /// One of the things that hardware could make of an access, all of which must be allowed.
    fn outcome(
        &mut self,
        cpu: usize,
        inside: Inside,
        va: Va,
        kind: AccessKind,
        mood: Mood,
    ) -> Result<Outcome, Problem> {
        self.report.accesses += 1;
        self.look_up(inside, va);
        let outcomes = self.host.borrow_mut().access(cpu, Access::new(va, kind));
        let is_access = |outcome: &&Outcome| matches!(outcome.effect, Effect::Access { .. });
        let allowed = if outcomes.iter().any(|outcome| is_access(&outcome)) {
            self.allowed(inside, va, kind)
        } else {
            Vec::new()
        };
        let leads = |outcome: &Outcome| match outcome.effect {
            Effect::Access { pa, .. } => Some(pa),
            _ => None,
        };
        let is_wrong = |pa: &Pa| !allowed.iter().any(|(_, right)| right == pa);
        if let Some(outcome) = outcomes
            .iter()
            .find(|outcome| leads(outcome).is_some_and(|pa| is_wrong(&pa)))
        {
            return Err(wrong(
                "L2 sees what both tables say, and no more",
                format!(
                    "{kind:?} of {va} in {inside:?} on CPU {cpu} could be {outcome:?}; allowed {allowed:x?}"
                ),
            ));
        }
        // What is left of another stage 1 is judged, and not gone on with: it can be anybody's page.
        let own = || {
            outcomes
                .iter()
                .filter(|outcome| !outcome.source.is_of_another_stage1())
        };
        let fault = || own().find(|outcome| !is_access(outcome));
        let which = self.luck.below(own().count() as u64) as usize;
        let chosen = match mood {
            Mood::Open => own().nth(which),
            Mood::Hostile => fault().or_else(|| own().next()),
        };
        let chosen = *chosen.expect("memory always says something");
        if let (Some(pa), AccessKind::Write) = (leads(&chosen), kind)
            && let Some((via, _)) = allowed.iter().find(|(_, right)| *right == pa)
        {
            self.written.insert(via & !0xfff);
        }
        Ok(chosen)
    }

    /// Where an access may lead: through L1's table as L1's hardware could see it, and the canonical one as it is.
    fn allowed(&mut self, inside: Inside, va: Va, kind: AccessKind) -> Vec<(u64, Pa)> {
        let (looker, root) = (self.world.looker(), World::root(None));
        let vias = self.vias(inside, va, kind);
        let lead = |via| Some((via, canonical(self.host, looker, root, via, kind)?));
        vias.into_iter().filter_map(lead).collect()
    }

    /// What L1's stage 2 could make of an access.
    pub(super) fn effects(&self, inside: Inside, ipa: Ipa, kind: AccessKind) -> Vec<Effect> {
        let registers = self.registers(inside.space);
        match StageTwo::new(&registers, &self.advertised) {
            StageTwo::On(_) => self.hardware.look(&registers, ipa, kind),
            StageTwo::Off => vec![Effect::Access {
                pa: Pa(ipa.0),
                level: 0,
            }],
        }
    }

    /// Where in L1's memory an access could lead.
    fn vias(&self, inside: Inside, va: Va, kind: AccessKind) -> Vec<u64> {
        let registers = self.registers(inside.space);
        if !registers.is_on() {
            return vec![va.0];
        }
        let vcpu = self.virtual_vcpu(inside);
        self.run_all_virtually();
        let outcomes = self.hardware.access(&registers, vcpu, va, kind);
        let via = |outcome: &Outcome| match outcome.effect {
            Effect::Access { pa, .. } => Some(pa.0),
            _ => None,
        };
        outcomes.iter().filter_map(via).collect()
    }

    fn fault(
        &mut self,
        cpu: usize,
        inside: Inside,
        va: Va,
        kind: AccessKind,
        esr: Esr,
    ) -> Result<Answered, Problem> {
        self.report.faults += 1;
        let abort = reported(va, self.look_up(inside, va), kind, esr);
        self.at_el2(cpu, |run, hands| match run.places[inside.place.index()] {
            Holder::Canonical(_) => run.canonical_fault(hands, &abort, kind),
            _ => run.shadow_fault(hands, inside, &abort, kind),
        })
    }

    /// L2 takes a fault here if it can, and it is judged.
    pub(super) fn resolve(&mut self, cpu: usize, va: Va, kind: AccessKind) -> Result<(), Problem> {
        let inside = self.ensure_inside(cpu);
        self.report.operations += 1;
        self.cpus[cpu].pending = None;
        let Effect::Fault { kind: cause, level } =
            self.outcome(cpu, inside, va, kind, Mood::Hostile)?.effect
        else {
            return Ok(());
        };
        let (Some(esr), Holder::Shadow(_)) =
            (esr(kind, cause, level), &self.places[inside.place.index()])
        else {
            return Ok(());
        };
        let abort = reported(va, self.look_up(inside, va), kind, esr);
        let judged = self.at_el2(cpu, |run, hands| run.judge(hands, inside, &abort, kind))?;
        if let Ok(pending) = judged {
            // Either order of this and a change in between is one that can be.
            if self.luck.once_in(2) {
                self.reverse_insert(inside, &pending);
            }
            self.cpus[cpu].pending = Some(pending);
        }
        Ok(())
    }

    /// The fill that was decided is done.
    pub(super) fn install(&mut self, cpu: usize) -> Result<(), Problem> {
        let (Some(inside), Some(pending)) = (self.cpus[cpu].inside, self.cpus[cpu].pending.take())
        else {
            return Ok(());
        };
        self.report.operations += 1;
        self.report.faults += 1;
        let filled = self.at_el2(cpu, |run, hands| {
            run.reverse_insert(inside, &pending);
            run.fill(hands, inside, &pending)
        });
        if filled == Filled::Void && pending.changes == self.taken {
            return Err(wrong(
                "a fill is void only after a change",
                format!("{pending:x?}"),
            ));
        }
        Ok(())
    }

    /// An access that L2 could make: judged, and of no further consequence.
    pub(super) fn probe(&mut self, cpu: usize, va: Va, kind: AccessKind) -> Result<(), Problem> {
        let Some(inside) = self.cpus[cpu].inside else {
            return Ok(());
        };
        let written = self.written.clone();
        let judged = self.outcome(cpu, inside, va, kind, Mood::Hostile);
        self.written = written;
        judged.map(|_| ())
    }
}

/// An abort as hardware reports it.
fn reported(va: Va, ipa: Ipa, kind: AccessKind, esr: Esr) -> Abort {
    Abort {
        esr,
        far: va.0,
        ipa: L2Ipa(ipa.0),
        privilege: match kind {
            AccessKind::ExecuteEl0 => Privilege::El0,
            _ => Privilege::El1,
        },
    }
}
