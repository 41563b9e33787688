//! VMIDs: few numbers for many contexts.
//!
//! A context's *tag* is a generation and a VMID. While its generation is the current one, the VMID is the context's and
//! nobody else's. When the numbers run out, a *rollover* begins a new generation: every tag is stale at once, all TLB
//! entries of all guests are invalidated by one broadcast, and contexts get new numbers when they are next entered.
//! Contexts that CPUs run at that moment are excepted: their numbers are *reserved*, stay with them, and are renewed
//! into the new generation at the next entry.
//!
//! Two rules keep this right without a lock on entry:
//! - `active[cpu]` holds the tag that CPU entered with. A rollover swaps it for zero and so learns what to reserve.
//!   Entry replaces it by compare-exchange and takes the lock where it finds zero: either the rollover saw the new
//!   tag and reserved it, or entry sees the rollover. Only the owning CPU puts a tag there.
//! - After a context gets a new tag, a `DSB ISH` stands before its first walk. An unmapping writes the invalid
//!   descriptor, then a `DSB ISH`, then reads the tag. So either it sees the tag and invalidates, or the walk sees
//!   the descriptor.
//!
//! Within a generation no number is given out twice, so a context that ends needs no invalidation.
//!
//! Left out: instruction caches tagged by VMID (VPIPT), which the architecture has dropped.

use droste_arm64::tlbi::Tlbi;
use droste_arm64::{Vmid, VmidBits};

use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::{Dsb, Machine};

/// Tags are the VMID in the low bits and the generation above.
const GENERATION: u64 = 1 << 16;
/// No tag: generations begin at one.
const NONE: u64 = 0;
const WORDS: usize = VmidBits::Sixteen.count() as usize / 64;

/// A context's generation and VMID.
#[derive(Debug)]
pub(crate) struct Tag(AtomicU64);

impl Tag {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(NONE))
    }
}

/// One CPU's tag on a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Active(AtomicU64);

/// Gives VMIDs to contexts, on a machine of at most `CPUS` CPUs, of which there must be fewer than 255.
///
/// There is one per machine; it is large (8 KiB and some) and made to be a `static`. VMID 0 goes to no context: it
/// belongs to the hypervisor itself.
///
/// ```
/// use droste_stage2::VmidAllocator;
/// static VMIDS: VmidAllocator<8> = VmidAllocator::new();
/// ```
#[derive(Debug)]
pub struct VmidAllocator<const CPUS: usize> {
    /// The current generation, a multiple of [`GENERATION`]. Written under the lock.
    generation: AtomicU64,
    active: [Active; CPUS],
    numbers: Mutex<Numbers<CPUS>>,
    rollovers: AtomicU64,
}

/// Which numbers of the current generation are taken.
#[derive(Debug)]
struct Numbers<const CPUS: usize> {
    bits: VmidBits,
    /// One bit per VMID.
    taken: [u64; WORDS],
    /// All below are taken.
    next: usize,
    /// Tags that CPUs ran at the last rollover.
    reserved: [u64; CPUS],
}

const fn vmid(tag: u64) -> Vmid {
    Vmid(tag as u16)
}

impl<const CPUS: usize> VmidAllocator<CPUS> {
    /// An allocator of 8-bit VMIDs, which every CPU supports; see [`widen`](Self::widen).
    pub const fn new() -> Self {
        const {
            assert!(
                CPUS < 255,
                "after a rollover every CPU may keep a VMID, and one must be left"
            );
        }
        Self {
            generation: AtomicU64::new(GENERATION),
            active: [const { Active(AtomicU64::new(NONE)) }; CPUS],
            numbers: Mutex::new(Numbers::new()),
            rollovers: AtomicU64::new(0),
        }
    }

    /// Uses 16-bit VMIDs from now on where `bits` says so. All CPUs have VTCR_EL2.VS set by then.
    pub fn widen(&self, bits: VmidBits) {
        let mut numbers = self.numbers.lock();
        numbers.bits = numbers.bits.max(bits);
    }

    /// How often the numbers ran out.
    pub fn rollovers(&self) -> u64 {
        self.rollovers.load(Ordering::Relaxed)
    }

    /// The VMID under which TLBs may hold entries of the context of this tag.
    pub(crate) fn live_vmid(&self, tag: &Tag) -> Option<Vmid> {
        let found = tag.0.load(Ordering::Acquire);
        if found == NONE {
            return None;
        }
        if self.is_current(found) {
            return Some(vmid(found));
        }
        let numbers = self.numbers.lock();
        let found = tag.0.load(Ordering::Acquire);
        (self.is_current(found) || numbers.reserved.contains(&found)).then(|| vmid(found))
    }

    fn is_current(&self, tag: u64) -> bool {
        tag / GENERATION == self.generation.load(Ordering::Acquire) / GENERATION
    }

    /// The VMID under which `cpu` runs the context of this tag from now on.
    #[inline]
    pub(crate) fn activate<M: Machine>(&self, machine: &M, tag: &Tag, cpu: usize) -> Vmid {
        let wanted = tag.0.load(Ordering::Acquire);
        let active = &self.active[cpu].0;
        let before = active.load(Ordering::Acquire);
        if before != NONE
            && self.is_current(wanted)
            && active
                .compare_exchange(before, wanted, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            return vmid(wanted);
        }
        self.activate_slow(machine, tag, cpu)
    }

    #[cold]
    fn activate_slow<M: Machine>(&self, machine: &M, tag: &Tag, cpu: usize) -> Vmid {
        let mut numbers = self.numbers.lock();
        let mut current = tag.0.load(Ordering::Acquire);
        if !self.is_current(current) {
            current = self.renew(machine, &mut numbers, current);
            tag.0.store(current, Ordering::Release);
        }
        self.active[cpu].0.store(current, Ordering::Release);
        drop(numbers);
        machine.dsb(Dsb::Ish);
        vmid(current)
    }

    /// A tag of the current generation for a context whose tag is stale, or [`NONE`].
    fn renew<M: Machine>(&self, machine: &M, numbers: &mut Numbers<CPUS>, stale: u64) -> u64 {
        let generation = self.generation.load(Ordering::Acquire);
        if stale != NONE {
            let renewed = generation | u64::from(vmid(stale).0);
            if numbers.renew_reserved(stale, renewed) {
                return renewed;
            }
        }
        if let Some(vmid) = numbers.take() {
            return generation | u64::from(vmid.0);
        }
        let generation = self.roll_over(machine, numbers);
        let vmid = numbers.take().expect("there are fewer CPUs than VMIDs");
        generation | u64::from(vmid.0)
    }

    /// Begins a new generation, in which the numbers that CPUs use are theirs already.
    fn roll_over<M: Machine>(&self, machine: &M, numbers: &mut Numbers<CPUS>) -> u64 {
        let generation = self.generation.fetch_add(GENERATION, Ordering::AcqRel) + GENERATION;
        numbers.clear();
        for (active, reserved) in self.active.iter().zip(&mut numbers.reserved) {
            // Zero: this CPU has not entered a guest since the last rollover, and may still be inside since then.
            let tag = active.0.swap(NONE, Ordering::AcqRel);
            if tag != NONE {
                *reserved = tag;
            }
        }
        numbers.mark_reserved();
        machine.dsb(Dsb::Ish);
        machine.tlbi(Tlbi::Alle1is);
        machine.dsb(Dsb::Ish);
        machine.isb();
        self.rollovers.fetch_add(1, Ordering::Relaxed);
        generation
    }
}

impl<const CPUS: usize> Default for VmidAllocator<CPUS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const CPUS: usize> Numbers<CPUS> {
    const fn new() -> Self {
        let mut taken = [0; WORDS];
        taken[0] = 1;
        Self {
            bits: VmidBits::Eight,
            taken,
            next: 1,
            reserved: [NONE; CPUS],
        }
    }

    fn clear(&mut self) {
        self.taken.fill(0);
        self.taken[0] = 1;
        self.next = 1;
    }

    fn mark_reserved(&mut self) {
        for &tag in &self.reserved {
            let number = usize::from(vmid(tag).0);
            self.taken[number / 64] |= 1 << (number % 64);
        }
    }

    /// Renews a tag wherever it is reserved: several CPUs may run the context.
    fn renew_reserved(&mut self, stale: u64, renewed: u64) -> bool {
        let mut is_reserved = false;
        for tag in &mut self.reserved {
            if *tag == stale {
                *tag = renewed;
                is_reserved = true;
            }
        }
        is_reserved
    }

    /// The next free number; `None` when they have run out.
    fn take(&mut self) -> Option<Vmid> {
        while self.next < self.bits.count() as usize {
            let (word, bit) = (self.next / 64, self.next % 64);
            let free = !self.taken[word] >> bit;
            if free == 0 {
                self.next = (word + 1) * 64;
                continue;
            }
            let number = self.next + free.trailing_zeros() as usize;
            self.taken[number / 64] |= 1 << (number % 64);
            self.next = number + 1;
            return Some(Vmid(number as u16));
        }
        None
    }
}
