//! Which contexts of L2 a virtual machine has, and which one is replaced when another is needed.
//!
//! A context is identified by what L1 put into its registers, its [`Key`]. The pool decides only *where* each context
//! is: it hands out [`Place`]s, numbers below a quota. Whoever holds the contexts keeps them in an array by that
//! number, each behind a lock of its own. So a context never moves, and the pool's lock is held only for a lookup.
//!
//! Rules:
//! - A context that a vCPU uses is not taken from it: a place counts its users, and only idle places are reused. So a
//!   quota of at least the number of vCPUs never runs out.
//! - Of the idle places, the least recently used one is reused first. Finding it takes no search.
//! - Memory follows use: a place that was never granted has no table yet.
//!
//! Contexts are hashed by L1's VMID alone. So all contexts of one VMID, on which an invalidation by VMID acts, are in
//! one chain. The chain is short too, because a hypervisor gives its guests different VMIDs. A hypervisor that does not
//! has to wait for a search of its own contexts, at most as many as its quota.

use core::ops::DerefMut;

use droste_arm64::{Vmid, Vtcr, Vttbr, hcr};

use crate::tlbi::guest_vmid;
use crate::walk::EE;
use crate::{Advertised, StageTwoRegisters};

/// What identifies a context of L2: the values of L1's registers that ask for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    vmid: Vmid,
    /// VTTBR_EL2 without CnP, VTCR_EL2, and the [`controls`]; `None` with stage 2 off, where none of them has a meaning.
    table: Option<(Vttbr, Vtcr, u64)>,
}

const CNP: u64 = 1;

/// What else says how a table is read: SCTLR_EL2.EE, its byte order; HCR_EL2.FWB, where that is advertised, what its
/// memory types mean; and HCR_EL2.PTW, where stage-1 walks may not go. Each vCPU has its own.
#[inline]
fn controls(registers: &StageTwoRegisters, advertised: &Advertised) -> u64 {
    let fwb = if advertised.ids.has_fwb() {
        hcr::FWB
    } else {
        0
    };
    registers.hcr & (hcr::PTW | fwb) | registers.sctlr & EE
}

impl Key {
    /// The key of the context that L2 runs under with these registers.
    #[inline]
    pub fn new(registers: &StageTwoRegisters, advertised: &Advertised) -> Self {
        let vmid = guest_vmid(registers, advertised);
        let vttbr = Vttbr(registers.vttbr.0 & !CNP);
        let table = (vttbr, registers.vtcr, controls(registers, advertised));
        Self {
            vmid,
            table: registers.is_on().then_some(table),
        }
    }

    /// L1's VMID.
    pub const fn vmid(&self) -> Vmid {
        self.vmid
    }

    /// Whether L1 translates L2's addresses by a table, of which hardware then uses a shadow. If not, L2 runs by the
    /// canonical table, under a context of its own.
    pub const fn has_table(&self) -> bool {
        self.table.is_some()
    }
}

/// The number of a context in its virtual machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Place(pub(crate) u32);

impl Place {
    /// The number, below the pool's quota.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A context in use: its key and its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Its key.
    pub key: Key,
    /// Its place.
    pub place: Place,
}

/// The place that a key was granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grant {
    /// The place that the key had already.
    Known(Place),
    /// A place that was never granted before: the context is yet to be made.
    New(Place),
    /// A place that another key had. First that key's shadow is to be [cleared](crate::Shadow::clear) and forgotten by
    /// the [reverse map](crate::ReverseMap::forget), or its context of the canonical table retired.
    Reused {
        /// The place.
        place: Place,
        /// The key that had it.
        before: Key,
    },
}

impl Grant {
    /// The place.
    pub const fn place(self) -> Place {
        match self {
            Self::Known(place) | Self::New(place) | Self::Reused { place, .. } => place,
        }
    }
}

/// The end of a list.
const NONE: u32 = u32::MAX;

/// The pool's memory for one place.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    key: Key,
    users: u32,
    /// Neighbours among the idle ones, by last use.
    older: u32,
    newer: u32,
    /// The next of the same chain.
    next: u32,
    /// The first of the chain that has this number: as many chains as places.
    chain: u32,
}

impl Entry {
    /// An entry before its first use.
    pub const UNUSED: Self = Self {
        key: Key {
            vmid: Vmid(0),
            table: None,
        },
        users: 0,
        older: NONE,
        newer: NONE,
        next: NONE,
        chain: NONE,
    };
}

/// The contexts of one virtual machine.
///
/// ```
/// use droste_arm64::{hcr, IdRegisters, IpaBits, Vtcr, Vttbr};
/// use droste_nested::pool::{Entry, Grant, Key, Pool};
/// use droste_nested::{Advertised, StageTwoRegisters};
/// let advertised = Advertised { ids: IdRegisters::default(), isar1: 0, ipa_bits: IpaBits::MIN };
/// let key = |vmid: u64| {
///     let vttbr = Vttbr(vmid << 48 | 0x8000_0000);
///     Key::new(&StageTwoRegisters { hcr: hcr::VM, sctlr: 0, vtcr: Vtcr(0), vttbr }, &advertised)
/// };
/// let mut pool = Pool::new([Entry::UNUSED; 2].to_vec());
/// let first = pool.acquire(key(1)).unwrap().place();
/// let second = pool.acquire(key(2)).unwrap().place();
/// assert_eq!(pool.acquire(key(3)), None); // both are in use
/// pool.release(second);
/// pool.release(first);
/// assert_eq!(pool.acquire(key(3)), Some(Grant::Reused { place: second, before: key(2) }));
/// assert_eq!(pool.acquire(key(1)), Some(Grant::Known(first)));
/// ```
#[derive(Debug)]
pub struct Pool<S> {
    entries: S,
    /// Places granted so far, from the first on.
    granted: u32,
    /// The ends of the list of idle ones.
    oldest: u32,
    newest: u32,
}

impl<S: DerefMut<Target = [Entry]>> Pool<S> {
    /// A pool whose quota is the number of `entries`, at most 2^32 − 1 of which count. What they hold is lost.
    pub fn new(mut entries: S) -> Self {
        entries.fill(Entry::UNUSED);
        Self {
            entries,
            granted: 0,
            oldest: NONE,
            newest: NONE,
        }
    }

    /// Grants a place to this key and counts one more user of it. `None` if the key has no place and all places below
    /// the quota are in use.
    pub fn acquire(&mut self, key: Key) -> Option<Grant> {
        if let Some(place) = self.find(key) {
            if self.entry(place.0).users == 0 {
                self.unlink_idle(place.0);
            }
            self.entry_mut(place.0).users += 1;
            return Some(Grant::Known(place));
        }
        let grant = self.vacate()?;
        let number = grant.place().0;
        let chain = self.chain(key.vmid);
        let first = self.entry(chain).chain;
        let entry = self.entry_mut(number);
        entry.key = key;
        entry.users = 1;
        entry.next = first;
        self.entry_mut(chain).chain = number;
        Some(grant)
    }

    /// Ends one use that [`acquire`](Self::acquire) began.
    ///
    /// # Panics
    /// If the place has no user.
    pub fn release(&mut self, place: Place) {
        let entry = self.entry_mut(place.0);
        let users = entry.users.checked_sub(1);
        entry.users = users.expect("a place is released as often as it was acquired");
        if entry.users == 0 {
            self.link_newest(place.0);
        }
    }

    /// The place of a key, if it has one.
    pub fn find(&self, key: Key) -> Option<Place> {
        self.chained(key.vmid)
            .find(|&number| self.entry(number).key == key)
            .map(Place)
    }

    /// The key that a place was last granted to; `None` if it was never granted.
    pub fn key(&self, place: Place) -> Option<Key> {
        (place.0 < self.granted).then(|| self.entry(place.0).key)
    }

    /// The places whose keys have this VMID of L1's: an invalidation by VMID acts on these.
    pub fn with_vmid(&self, vmid: Vmid) -> impl Iterator<Item = Place> + '_ {
        self.chained(vmid)
            .filter(move |&number| self.entry(number).key.vmid == vmid)
            .map(Place)
    }

    /// All places that have a key.
    pub fn places(&self) -> impl Iterator<Item = Place> + use<S> {
        (0..self.granted).map(Place)
    }

    /// How many places have a user.
    pub fn in_use(&self) -> usize {
        self.entries.iter().filter(|entry| entry.users > 0).count()
    }

    /// A place without a key: one never granted, or else the one idle for longest.
    fn vacate(&mut self) -> Option<Grant> {
        let quota = u32::try_from(self.entries.len()).unwrap_or(NONE);
        if self.granted < quota {
            let place = Place(self.granted);
            self.granted += 1;
            return Some(Grant::New(place));
        }
        let number = self.oldest;
        if number == NONE {
            return None;
        }
        self.unlink_idle(number);
        self.unchain(number);
        Some(Grant::Reused {
            place: Place(number),
            before: self.entry(number).key,
        })
    }

    fn chained(&self, vmid: Vmid) -> impl Iterator<Item = u32> + '_ {
        let first = match self.entries.len() {
            0 => NONE,
            _ => self.entry(self.chain(vmid)).chain,
        };
        let number = |number: u32| (number != NONE).then_some(number);
        core::iter::successors(number(first), move |&at| number(self.entry(at).next))
    }

    /// The chain of a VMID. There is at least one entry.
    fn chain(&self, Vmid(vmid): Vmid) -> u32 {
        // VMIDs are handed out one after the other: they need no mixing.
        let count = u32::try_from(self.entries.len()).unwrap_or(NONE);
        u32::from(vmid) % count
    }

    fn unchain(&mut self, number: u32) {
        let Entry { key, next, .. } = *self.entry(number);
        let chain = self.chain(key.vmid);
        if self.entry(chain).chain == number {
            self.entry_mut(chain).chain = next;
            return;
        }
        let before = self
            .chained(key.vmid)
            .find(|&at| self.entry(at).next == number)
            .expect("a granted place is in the chain of its VMID");
        self.entry_mut(before).next = next;
    }

    fn link_newest(&mut self, number: u32) {
        let before = self.newest;
        let entry = self.entry_mut(number);
        entry.older = before;
        entry.newer = NONE;
        self.newest = number;
        match before {
            NONE => self.oldest = number,
            before => self.entry_mut(before).newer = number,
        }
    }

    fn unlink_idle(&mut self, number: u32) {
        let Entry { older, newer, .. } = *self.entry(number);
        match older {
            NONE => self.oldest = newer,
            older => self.entry_mut(older).newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.entry_mut(newer).older = older,
        }
    }

    fn entry(&self, number: u32) -> &Entry {
        let entry = self.entries.get(number as usize);
        entry.expect("a place's number is below the quota")
    }

    fn entry_mut(&mut self, number: u32) -> &mut Entry {
        let entry = self.entries.get_mut(number as usize);
        entry.expect("a place's number is below the quota")
    }
}

#[cfg(test)]
mod tests;
