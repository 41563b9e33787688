//! What L1's invalidations come to: which contexts each is for, and how much is done before an interrupt goes first.

use droste_arm64::Vmid;
use droste_nested::pool::Place;
use droste_nested::tlbi::{Invalidation, Regime, StageOne};
use droste_stage2::Context;

use super::{AT_ONCE, NestedContexts, PlacedShadow, SHADOWS, SHADOWS_PER_VCPU, host};
use crate::arch::locks::RwLock;
use crate::arch::{self, MAX_CPUS, el2};
use crate::memory::guest_memory::GuestMemory;
use crate::memory::pages::Late;

/// Places that a virtual machine has at most.
const MOST_PLACES: usize = SHADOWS + SHADOWS_PER_VCPU * droste_image::VCPUS_MAX as usize;

/// Whether an invalidation is complete.
#[must_use = "what was interrupted is not complete, and L1 has to ask again"]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completion {
    /// It is.
    Done,
    /// An interrupt is pending, which goes first. Shadows that are empty cost nothing the next time, and those of which a
    /// range was taken neither, as long as nothing is filled.
    Interrupted,
}

impl NestedContexts {
    /// Carries out an invalidation by L1, but for one of virtual EL2's own stage 1.
    ///
    /// The pools' lock is held to find the contexts, not longer: one that is another's by the time its turn comes loses
    /// what can be had again, and one that becomes this VMID's meanwhile has nothing from before.
    pub(crate) fn invalidate(&self, memory: &GuestMemory, what: &Invalidation) -> Completion {
        match *what {
            Invalidation::Nothing
            | Invalidation::Stage1 {
                regime: Regime::VirtualEl2,
                ..
            } => Completion::Done,
            Invalidation::Everything => self.invalidate_everything(memory),
            Invalidation::Vmid(vmid) => {
                self.of_vmid(memory, (vmid, Some(StageOne::All)), |shadow| {
                    self.clear(shadow)
                })
            }
            Invalidation::Stage2 { vmid, range } => self.of_vmid(memory, (vmid, None), |shadow| {
                let mut shadow = shadow.write();
                let effort = if shadow.has_taken(&range) { 0 } else { AT_ONCE };
                let mut pages = Late::new(&self.pages);
                let done = shadow.invalidate(&mut host(&mut pages), &range);
                done.expect("no leaf is cut, so nothing can fail");
                effort
            }),
            Invalidation::Stage1 {
                regime: Regime::Vmid(vmid),
                of,
            } => self.of_vmid(memory, (vmid, Some(of)), |shadow| {
                Self::forget_stage1(memory, shadow.read().context(), of);
                0
            }),
        }
    }

    /// Acts on the shadows of one VMID, and forgets stage 1 in its contexts that have no table. Mostly there is one of
    /// either.
    #[inline]
    fn of_vmid(
        &self,
        memory: &GuestMemory,
        (vmid, of): (Vmid, Option<StageOne>),
        mut act: impl FnMut(&RwLock<PlacedShadow>) -> usize,
    ) -> Completion {
        let (shadow, other, are_more) = {
            let pools = self.pools.lock();
            let mut shadows = pools.with_table.with_vmid(vmid);
            let shadow = shadows.next();
            let mut are_more = shadow.is_some() && shadows.next().is_some();
            let mut other = None;
            if of.is_some() {
                let mut others = pools.without_table.with_vmid(vmid);
                other = others.next();
                are_more |= other.is_some() && others.next().is_some();
            }
            (shadow, other, are_more)
        };
        if are_more {
            return self.of_vmid_with_many(memory, (vmid, of), &mut act);
        }
        if let (Some(place), Some(of)) = (other, of) {
            Self::forget_stage1(memory, memory.context(1 + place.index()), of);
        }
        if let Some(place) = shadow {
            act(&self.shadows[place.index()]);
        }
        Completion::Done
    }

    /// The same where there are many.
    #[cold]
    #[inline(never)]
    fn of_vmid_with_many(
        &self,
        memory: &GuestMemory,
        (vmid, of): (Vmid, Option<StageOne>),
        act: &mut dyn FnMut(&RwLock<PlacedShadow>) -> usize,
    ) -> Completion {
        let (shadows, others) = {
            let pools = self.pools.lock();
            (
                Set::new(pools.with_table.with_vmid(vmid)),
                Set::new(pools.without_table.with_vmid(vmid)),
            )
        };
        if let Some(of) = of {
            for place in others.iter() {
                Self::forget_stage1(memory, memory.context(1 + place), of);
            }
        }
        self.each_of(&mut shadows.iter(), act)
    }

    fn invalidate_everything(&self, memory: &GuestMemory) -> Completion {
        let (shadows, without_table) = {
            let pools = self.pools.lock();
            (pools.with_table.places(), pools.without_table.places())
        };
        for place in without_table {
            let context = memory.context(1 + place.index());
            Self::forget_stage1(memory, context, StageOne::All);
        }
        let mut places = shadows.map(Place::index);
        self.each_of(&mut places, |shadow| self.clear(shadow))
    }

    /// Acts on shadows, and gives way to an interrupt once that was as much as may be done at once. `act` says what it
    /// was.
    fn each_of(
        &self,
        places: &mut dyn Iterator<Item = usize>,
        mut act: impl FnMut(&RwLock<PlacedShadow>) -> usize,
    ) -> Completion {
        let mut effort = 0;
        for place in places {
            if effort >= AT_ONCE {
                if arch::is_interrupt_pending() {
                    return Completion::Interrupted;
                }
                effort = 0;
            }
            effort += act(&self.shadows[place]);
        }
        Completion::Done
    }

    fn forget_stage1(memory: &GuestMemory, context: &Context<MAX_CPUS>, of: StageOne) {
        Self::under(memory, context, || el2::invalidate_stage1(of));
    }
}

/// A set of places.
struct Set([u64; MOST_PLACES.div_ceil(64)]);

impl Set {
    #[inline(never)]
    fn new(places: impl Iterator<Item = Place>) -> Self {
        let mut words = [0; MOST_PLACES.div_ceil(64)];
        for place in places {
            words[place.index() / 64] |= 1 << (place.index() % 64);
        }
        Self(words)
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let is_in = |place: &usize| self.0[place / 64] >> (place % 64) & 1 != 0;
        (0..MOST_PLACES).filter(is_in)
    }
}
