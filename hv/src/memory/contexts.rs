//! The stage-2 contexts of a guest hypervisor's guests: where each is, and what its faults and invalidations come to.
//!
//! L1's RAM stays where it is while L1 runs, so no shadow has to follow a change of the canonical table: what the
//! library's reverse map is for does not happen here. When L1 restarts, every shadow is emptied.
//!
//! What L1 asks for never takes long at a time. To empty a shadow is to take the tables out of its root; they are taken
//! apart when their pages are wanted. An invalidation that is for many shadows looks for interrupts as it goes along:
//! where one is pending, L1 executes the instruction again afterwards, and what is empty by then, or has lost the range, is
//! passed over. When pages run out, one shadow is emptied, and the fault comes again.
//!
//! Locks are taken in this order: a vCPU's pages taken ahead; the pools'; a shadow's; then the canonical table's,
//! or that of the pages for shadows; last the VMID numbers'.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use droste_arm64::Pa;
use droste_nested::pool::{Entry, Grant, Held, Key, Place, Pool};
use droste_nested::shadow::Ahead;
use droste_nested::tlbi::StageOne;
use droste_nested::{
    Abort, Advertised, CanonicalLeaf, Changes, Composed, Current, Front, Host, L1, L1Ipa, Shadow,
    StageTwo, StageTwoRegisters, Ticket, Verdict, WalkFault, Walker,
};
use droste_resources::report::{Lock, Shadows};
use droste_stage2::{Context, Error, Fault, PageCache, PageSupply, VcpuId, scheme, under};
use spin::mutex::SpinMutex;

use super::guest_memory::{GuestMemory, VMIDS};
use super::l1_memory::L1Memory;
use super::pages::{Late, PAGE, Pages, tables_for};
use super::ram::Ram;
use crate::arch::locks::{Mutex, RwLock, queue_to_write, waits, waits_of_shared};
use crate::arch::stage2::Hardware;
use crate::arch::{MAX_CPUS, el2};
use crate::machine::error::BuildError;

mod invalidation;

pub(crate) use invalidation::Completion;

/// Contexts of the canonical table for L1's EL1 with stage 2 off: a vCPU holds one at most, and never waits for one.
pub(crate) const fn without_table(vcpus: usize) -> usize {
    vcpus + 2
}

/// Shadows that a virtual machine has at least, and more for each vCPU.
const SHADOWS: usize = 8;
const SHADOWS_PER_VCPU: usize = 4;
/// How often a fault of L2 is judged in one exit: the canonical table may have to be brought on first, and may be
/// changed by others at once.
const JUDGEMENTS: u32 = 3;

/// Shadows that are emptied before interrupts are looked for: each costs a look at its root and an invalidation.
const AT_ONCE: usize = 8;

/// A shadow whose front is reached without its lock.
type PlacedShadow = Shadow<MAX_CPUS, &'static Front<MAX_CPUS>>;

/// What a stage-2 fault of L2 comes to.
pub(crate) enum Answer {
    /// L2 tries again.
    Retry,
    /// It is L1's.
    Guest(WalkFault),
    /// It leads to this address of L1's, where no memory is: a device, by a load or store.
    Device(L1Ipa),
    /// It gets an external abort.
    External,
    /// No table answers it.
    Other,
}

/// Where each context is.
struct Pools {
    /// Those with a table of L1's: shadows.
    with_table: Pool<Vec<Entry>>,
    /// Those without: contexts of the canonical table, from its second one on.
    without_table: Pool<Vec<Entry>>,
}

impl Pools {
    fn of(&mut self, key: Key) -> &mut Pool<Vec<Entry>> {
        if key.has_table() {
            &mut self.with_table
        } else {
            &mut self.without_table
        }
    }
}

/// The contexts of one virtual machine's guests.
pub(crate) struct NestedContexts {
    /// What L1 is shown.
    pub(crate) advertised: Advertised,
    /// Waits for it are bounded: L1 can have its vCPUs contend at will.
    pools: Mutex<Pools>,
    shadows: Vec<RwLock<PlacedShadow>>,
    /// The fronts of the shadows.
    fronts: Vec<&'static Front<MAX_CPUS>>,
    /// Bits of an address of L1's.
    physical_bits: u32,
    changes: Changes,
    pages: Mutex<Pages>,
    /// By vCPU: pages taken ahead.
    caches: Vec<SpinMutex<PageCache>>,
    /// Whose turn it is to be emptied when pages run out.
    victim: AtomicUsize,
}

impl NestedContexts {
    /// Contexts over `memory`, of a virtual machine with this many bytes of RAM and vCPUs. Takes memory for the
    /// shadows' tables from `ram`: enough to hold all of L1's memory once by pages and the roots. Where more is wanted,
    /// shadows are emptied.
    pub(crate) fn build(
        memory: &GuestMemory,
        advertised: Advertised,
        (bytes, vcpus): (u64, usize),
        ram: &mut Ram,
    ) -> Result<Self, BuildError> {
        let count = SHADOWS + SHADOWS_PER_VCPU * vcpus;
        let root_bytes = memory.geometry.root_bytes();
        let roots = root_bytes * count as u64;
        let pages = tables_for(bytes) + (count + vcpus * PageCache::CAPACITY) as u64;
        let total = roots + pages * PAGE;
        let area = ram.take(total, root_bytes.max(PAGE), 0);
        let area = area.ok_or_else(|| {
            BuildError(format!("no {} KiB of RAM for shadow tables", total >> 10))
        })?;
        let range = area.range();
        let shadow = |n: usize| {
            let root = Pa(range.start + n as u64 * root_bytes);
            let place = |front| &*Box::leak(Box::new(front));
            Shadow::with_front(&Hardware, (root, memory.geometry), &memory.ids, None, place)
        };
        let shadows = (0..count).map(shadow).collect::<Result<Vec<_>, _>>();
        let shadows = shadows.map_err(|error| BuildError(format!("shadow tables: {error}")))?;
        Ok(Self {
            advertised,
            pools: Mutex::new(Pools {
                with_table: Pool::new(vec![Entry::UNUSED; count]),
                without_table: Pool::new(vec![Entry::UNUSED; without_table(vcpus)]),
            }),
            fronts: shadows.iter().map(|shadow| *shadow.place()).collect(),
            physical_bits: advertised.physical_bits(),
            shadows: shadows.into_iter().map(RwLock::new).collect(),
            changes: Changes::new(),
            pages: Mutex::new(Pages::new(
                area,
                range.start + roots..range.end,
                memory.geometry,
            )),
            caches: (0..vcpus)
                .map(|_| SpinMutex::new(PageCache::new()))
                .collect(),
            victim: AtomicUsize::new(0),
        })
    }

    /// Makes `current` that of `registers`, whose context has one more user then. What it held is released where it is
    /// another's.
    #[inline(never)]
    pub(crate) fn switch(
        &self,
        memory: &GuestMemory,
        current: &mut Current,
        registers: &StageTwoRegisters,
    ) {
        let key = Key::new(registers, &self.advertised);
        let held = match current.give_up() {
            Some(held) if held.key == key => held,
            before => {
                if let Some(before) = before {
                    self.release(before);
                }
                self.acquire(memory, key, registers)
            }
        };
        current.become_of(registers, held);
    }

    fn acquire(&self, memory: &GuestMemory, key: Key, registers: &StageTwoRegisters) -> Held {
        let mut pools = self.pools.lock();
        // There are more than vCPUs, and one that goes off or leaves has given its own up (`droste-life`).
        let grant = pools.of(key).acquire(key);
        let grant = grant.expect("a vCPU holds one at most, and has just released it");
        let place = grant.place();
        // Nobody else finds the place while the pools are locked.
        match (grant, registers.is_on()) {
            (Grant::New(_) | Grant::Reused { .. }, true) => {
                // Whoever finds it from here on comes after this turn, and then it is what its key says. So nobody waits
                // for the pools while it is emptied, which takes long.
                let turn = queue_to_write(&self.shadows[place.index()]);
                drop(pools);
                let mut shadow = turn.wait();
                self.empty(&mut shadow);
                let format = match StageTwo::new(registers, &self.advertised) {
                    StageTwo::On(walker) => walker.format(),
                    StageTwo::Off => None,
                };
                shadow.rededicate(format);
            }
            (Grant::Reused { .. }, false) => {
                Self::under(memory, memory.context(1 + place.index()), || {
                    el2::invalidate_stage1(StageOne::All);
                    el2::complete_invalidation();
                });
            }
            (Grant::Known(_), true) => {
                // Whoever had it emptied may be at that still.
                drop(pools);
                drop(self.shadows[place.index()].read());
            }
            (Grant::Known(_) | Grant::New(_), false) => {}
        }
        Held { key, place }
    }

    /// Ends a use.
    pub(crate) fn release(&self, held: Held) {
        self.pools.lock().of(held.key).release(held.place);
    }

    /// Loads a context on physical CPU `cpu` for vCPU `vcpu`. It takes no lock: whoever holds a context has seen its
    /// shadow emptied of what another had there.
    #[inline]
    pub(crate) fn enter(&self, memory: &GuestMemory, held: &Held, cpu: usize, vcpu: usize) {
        if held.key.has_table() {
            let id = VcpuId(vcpu as u32);
            let front = self.fronts[held.place.index()];
            front.context().enter(&Hardware, &VMIDS, cpu, id);
        } else {
            memory.enter(1 + held.place.index(), cpu, vcpu);
        }
    }

    /// Whether an address of L1's, which L2 takes for physical, is wider than such addresses are.
    #[inline]
    pub(crate) fn exceeds_physical(&self, address: u64) -> bool {
        address >> self.physical_bits != 0
    }

    /// Answers a stage-2 fault of L2, which vCPU `vcpu` runs by the shadow at `place`, of the table that
    /// `walker` reads.
    pub(crate) fn resolve(
        &self,
        memory: &GuestMemory,
        (place, vcpu): (Place, usize),
        walker: &Walker,
        abort: &Abort,
    ) -> Result<Answer, Error> {
        let l1 = L1 {
            walker,
            memory: &L1Memory::new(memory),
            slots: &memory.slots,
            scheme: scheme(&memory.ids),
        };
        let shadow = &self.shadows[place.index()];
        for _ in 0..JUDGEMENTS {
            let ticket = self.fronts[place.index()].ticket(&self.changes);
            let mut at = L1Ipa(0);
            let look = |of_l1: L1Ipa| {
                at = of_l1;
                CanonicalLeaf::new(memory.walk(of_l1.ipa()), memory.geometry)
            };
            let permitted = || shadow.read().permits(&Hardware, abort.ipa);
            match l1.judge(abort, permitted, look) {
                None => return Ok(Answer::Other),
                Some(Verdict::Guest(fault)) => return Ok(Answer::Guest(fault)),
                Some(Verdict::Device { at, .. }) => return Ok(Answer::Device(at)),
                Some(Verdict::External(_)) => return Ok(Answer::External),
                Some(Verdict::Canonical(proposal)) => {
                    memory.install(vcpu, at.ipa(), &proposal)?;
                }
                Some(Verdict::Fill { fault, composed }) => {
                    self.fill(shadow, vcpu, ticket, &fault, &composed)?;
                    return Ok(Answer::Retry);
                }
                Some(Verdict::Forget) => {
                    shadow.read().table().resolve_conflict(&Hardware);
                    return Ok(Answer::Retry);
                }
                Some(Verdict::Retry) => return Ok(Answer::Retry),
            }
        }
        Ok(Answer::Retry)
    }

    fn fill(
        &self,
        shadow: &RwLock<PlacedShadow>,
        vcpu: usize,
        ticket: Ticket,
        fault: &Fault,
        composed: &Composed,
    ) -> Result<(), Error> {
        let now = (ticket, &self.changes);
        if shadow
            .write()
            .fill_hole(&Hardware, now, fault, composed)?
            .is_some()
        {
            return Ok(());
        }
        let mut cache = self.caches[vcpu].lock();
        if !cache.is_full() && cache.fill(&mut *self.pages.lock(), fault.ipa).is_err() {
            // The quota is used up. What a shadow holds can be had again, and the fault comes again as well.
            self.evict();
            return Ok(());
        }
        let mut shadow = shadow.write();
        let mut supply = Ahead {
            cache: &mut cache,
            supply: &mut Late::new(&self.pages),
        };
        let mut host = host(&mut supply);
        shadow.fill(&mut host, now, fault, composed)?;
        Ok(())
    }

    /// Empties some shadows of a virtual machine that rests, from number `first` on; at which one to go on. Each is there
    /// still.
    pub(crate) fn clear_some(&self, first: usize) -> Option<usize> {
        let end = self.shadows.len().min(first + AT_ONCE);
        for shadow in &self.shadows[first..end] {
            self.clear(shadow);
        }
        (end < self.shadows.len()).then_some(end)
    }

    /// Takes some tables apart that were in shadows; whether there may be more.
    pub(crate) fn reclaim(&self) -> bool {
        self.pages.lock().reclaim()
    }

    /// Empties one shadow that holds something, each in its turn: pages are wanted. One that another CPU has is passed by: to
    /// wait for each of them would be to wait as often as there are shadows. If there is no other, nothing is emptied, and
    /// the fault comes again.
    #[cold]
    fn evict(&self) {
        let count = self.shadows.len();
        let first = self.victim.load(Ordering::Relaxed);
        let turn = (0..count).map(|n| (first + n) % count);
        for place in turn {
            let shadow = self.shadows[place].try_write();
            if shadow.is_some_and(|mut shadow| self.empty(&mut shadow) > 0) {
                self.victim.store(place + 1, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Empties a shadow, and says what that was of [`AT_ONCE`].
    fn clear(&self, shadow: &RwLock<PlacedShadow>) -> usize {
        self.empty(&mut shadow.write())
    }

    fn empty(&self, shadow: &mut PlacedShadow) -> usize {
        let effort = usize::from(!shadow.is_empty());
        let done = shadow.clear(&mut host(&mut Late::new(&self.pages)));
        done.expect("nothing can fail in emptying a table");
        effort
    }

    /// How often a vCPU waited for others because of such a lock.
    pub(crate) fn waits(&self, lock: Lock) -> u64 {
        match lock {
            Lock::Contexts => waits(&self.pools),
            Lock::Shadows => self.shadows.iter().map(waits_of_shared).sum(),
            _ => waits(&self.pages),
        }
    }

    /// What is held now.
    pub(crate) fn stats(&self) -> Shadows {
        let in_use = self.pools.lock().with_table.in_use();
        let pages = self.pages.lock();
        Shadows {
            in_use,
            count: self.shadows.len(),
            table_pages: pages.taken(),
            table_bytes: pages.area_bytes(),
        }
    }

    /// Runs `body` under a context's VMID; not at all where no TLB can hold any of it.
    fn under(memory: &GuestMemory, context: &Context<MAX_CPUS>, body: impl FnOnce()) {
        if let Some(vttbr) = VMIDS.live(context) {
            let vtcr = memory.vtcr;
            under(&Hardware, droste_stage2::Regime { vtcr, vttbr }, body);
        }
    }
}

/// The machine, with pages from `supply`.
fn host<S: PageSupply>(supply: &mut S) -> Host<'_, Hardware, S, MAX_CPUS> {
    Host {
        machine: &Hardware,
        supply,
        vmids: &VMIDS,
    }
}
