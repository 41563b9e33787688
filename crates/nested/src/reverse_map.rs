//! From an address of L1 to the shadow entries that lead there.
//!
//! When memory of L1 is unmapped, write-protected or aged, the same has to be done to the shadows that map it, and
//! these can be searched only by L2's addresses. So each fill leaves a record of the region that it may map.
//!
//! # Protocol
//! 1. A fill [inserts](ReverseMap::insert) its record *before* it takes the shadow's lock, and checks its
//!    [`Ticket`](crate::Ticket) under that lock.
//! 2. Whoever changes memory of L1 changes the canonical table first, then [notes](crate::Changes::note) the change,
//!    and then goes through the records.
//! 3. The records to look for are those of everything that lost permissions: write protection acts on whole leaves, so
//!    it looks for the leaves that [`Table::dirty`](droste_stage2::Table::dirty) reports. Then a shadow is writable
//!    only where the canonical table is, and so the canonical table's dirty log also holds what is stored through the
//!    shadow.
//! 4. Whoever clears a shadow and forgets it keeps the map locked from the one to the other. A fill that begins in
//!    between would otherwise lose its record and keep its mapping.
//!
//! So a fill that looked at the canonical table before the change either has its record in the map in time, and the
//! shadow's lock makes the change wait for it, or it finds its ticket void. The lock of the reverse map is taken before
//! that of a shadow.
//!
//! # What a record may be
//! A record may be stale: an invalidation by L1 does not remove it, so it can outlive what it stands for, and acting on
//! it costs a refill at worst. A region that is filled again finds its old record. The memory that is given bounds the
//! number of records. Once it is used up, the shadow that needs one more becomes *untracked*: its records are removed,
//! and each change acts on the whole of it, until it is cleared and [forgotten](ReverseMap::forget).
//!
//! # The structure
//! A hash table keyed by a region's size and its address of L1. Regions are aligned and their sizes are powers of two,
//! so an address is in one region of each size, and few sizes occur: a fill costs one probe, an unmapped page one per
//! size. A range with more regions of a size than there are records is searched record by record instead. Refused: a
//! list head per page of L1 (memory in proportion to L1's, not to its shadows'), a balanced tree of intervals (a dozen
//! dependent loads for each fill, the path that counts), and a search of all shadows (no memory at all, but every
//! unmapped page would cost as much as all of them).

use core::ops::DerefMut;

use crate::compose::Composed;
use crate::{L1Ipa, L2Ipa, Place};

mod search;

use search::Search;

/// The end of a list.
const NONE: u32 = u32::MAX;

/// The map's memory for one record.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    via: L1Ipa,
    ipa: L2Ipa,
    place: u32,
    /// log2 of the region's bytes.
    size: u8,
    /// The next of the same chain, or the next free one.
    next: u32,
    /// Neighbours among the records of one shadow.
    left: u32,
    right: u32,
    /// The first of the chain that has this number: as many chains as records.
    chain: u32,
}

impl Record {
    /// A record that stands for nothing.
    pub const UNUSED: Self = Self {
        via: L1Ipa(0),
        ipa: L2Ipa(0),
        place: NONE,
        size: 0,
        next: NONE,
        left: NONE,
        right: NONE,
        chain: NONE,
    };

    const fn bytes(&self) -> u64 {
        1 << self.size
    }

    const fn is_of(&self, region: &Region) -> bool {
        self.place == region.place
            && self.size == region.size
            && self.via.0 == region.via.0
            && self.ipa.0 == region.ipa.0
    }
}

/// The map's memory for one place.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// The first of its records.
    first: u32,
    is_tracked: bool,
}

impl Owner {
    /// A place without records.
    pub const UNUSED: Self = Self {
        first: NONE,
        is_tracked: true,
    };
}

/// What is to be inserted.
struct Region {
    place: u32,
    via: L1Ipa,
    ipa: L2Ipa,
    size: u8,
}

/// What a change of L1's memory concerns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Concerned {
    /// A region of one shadow.
    Region {
        /// The shadow's place.
        place: Place,
        /// First address, a multiple of `bytes`.
        ipa: L2Ipa,
        /// Size in bytes, a power of two.
        bytes: u64,
    },
    /// The whole of a shadow that is not tracked.
    Whole(Place),
}

/// The reverse map of one virtual machine.
///
/// ```
/// # use droste_arm64::desc::*;
/// # use droste_arm64::{hcr, IdRegisters, IpaBits, Level, Pa, Vtcr, Vttbr};
/// # use droste_nested::pool::{Entry, Key, Pool};
/// # use droste_nested::{Advertised, Composed, Extent, Mark, StageTwoRegisters};
/// use droste_nested::reverse_map::{Concerned, Owner, Record, ReverseMap};
/// use droste_nested::{L1Ipa, L2Ipa};
/// # let advertised = Advertised { ids: IdRegisters::default(), isar1: 0, ipa_bits: IpaBits::MIN };
/// # let registers = StageTwoRegisters { hcr: hcr::VM, sctlr: 0, vtcr: Vtcr(0), vttbr: Vttbr(0) };
/// # let mut pool = Pool::new(vec![Entry::UNUSED; 1]);
/// # let place = pool.acquire(Key::new(&registers, &advertised)).unwrap().place();
/// # let filled = Composed {
/// #     ipa: L2Ipa(0x5000), via: L1Ipa(0x8000_3000), output: Pa(0), bytes: 4096, guest_bytes: 4096, is_memory: true,
/// #     access: S2ap::ReadWrite, execute: Xn::Nowhere, memory: MemoryType::ForceWriteBack,
/// #     mark: Mark { level: Level::L3, extent: Extent::Leaf },
/// # };
/// let mut reverse_map = ReverseMap::new(vec![Record::UNUSED; 64], vec![Owner::UNUSED; 1]);
/// reverse_map.insert(place, &filled); // L2's page 0x5000 is L1's page 0x8000_3000
/// let mut found = Vec::new();
/// reverse_map.visit(L1Ipa(0x8000_0000), 0x10000, |concerned| found.push(concerned));
/// assert_eq!(found, [Concerned::Region { place, ipa: L2Ipa(0x5000), bytes: 4096 }]);
/// ```
#[derive(Debug)]
pub struct ReverseMap<R, O> {
    records: R,
    owners: O,
    /// The first free record.
    free: u32,
    /// How many records there are of each size.
    sizes: [u32; 64],
    used: u32,
}

impl<R, O> ReverseMap<R, O>
where
    R: DerefMut<Target = [Record]>,
    O: DerefMut<Target = [Owner]>,
{
    /// A map of at most as many records as `records`, up to 2^32 − 1, for as many places as `owners`. What they hold is
    /// lost.
    pub fn new(mut records: R, mut owners: O) -> Self {
        records.fill(Record::UNUSED);
        owners.fill(Owner::UNUSED);
        let count = u32::try_from(records.len()).unwrap_or(NONE);
        for (record, number) in records.iter_mut().zip(1..=count) {
            record.next = if number == count { NONE } else { number };
        }
        Self {
            free: if count == 0 { NONE } else { 0 },
            records,
            owners,
            sizes: [0; 64],
            used: 0,
        }
    }

    /// Records that the shadow at `place` is about to map what was composed.
    ///
    /// # Panics
    /// If the map was made for fewer places.
    pub fn insert(&mut self, place: Place, composed: &Composed) {
        if !self.owner(place.0).is_tracked {
            return;
        }
        let region = Region {
            place: place.0,
            via: composed.via,
            ipa: composed.ipa,
            size: composed.bytes.trailing_zeros() as u8 & 63,
        };
        let chain = self.chain(region.size, region.via);
        if self.chained(chain).any(|at| self.record(at).is_of(&region)) {
            return;
        }
        match self.free {
            NONE => {
                self.forget(place);
                self.owner_mut(place.0).is_tracked = false;
            }
            number => self.link(number, chain, &region),
        }
    }

    /// Shows the regions of tracked shadows, and the untracked shadows, that may map part of a range of L1's memory:
    /// for a change that leaves the range mapped, such as write protection or ageing.
    pub fn visit(&self, from: L1Ipa, bytes: u64, mut show: impl FnMut(Concerned)) {
        for size in self.sizes_there() {
            let mut at = Search::new(self, from, bytes, size);
            while let Some(number) = at.next(self) {
                show(self.concerned(number));
            }
        }
        self.show_untracked(&mut show);
    }

    /// As [`visit`](Self::visit), but also removes the records, for a change that unmaps the range. What is shown is to
    /// be unmapped whole. Shadows that are not tracked stay so until they are [forgotten](Self::forget).
    pub fn take(&mut self, from: L1Ipa, bytes: u64, mut show: impl FnMut(Concerned)) {
        for size in self.sizes_there() {
            let mut at = Search::new(self, from, bytes, size);
            while let Some(number) = at.next(self) {
                show(self.concerned(number));
                self.unlink(number);
            }
        }
        self.show_untracked(&mut show);
    }

    /// Removes the records of a shadow that maps nothing any more, because it was cleared or ends. It is tracked from
    /// then on.
    ///
    /// # Panics
    /// If the map was made for fewer places.
    pub fn forget(&mut self, place: Place) {
        loop {
            match self.owner(place.0).first {
                NONE => break,
                number => self.unlink(number),
            }
        }
        self.owner_mut(place.0).is_tracked = true;
    }

    /// The number of records in use.
    pub const fn used(&self) -> u32 {
        self.used
    }

    fn concerned(&self, number: u32) -> Concerned {
        let record = self.record(number);
        Concerned::Region {
            place: Place(record.place),
            ipa: record.ipa,
            bytes: record.bytes(),
        }
    }

    fn show_untracked(&self, show: &mut impl FnMut(Concerned)) {
        for (owner, number) in self.owners.iter().zip(0..) {
            if !owner.is_tracked {
                show(Concerned::Whole(Place(number)));
            }
        }
    }

    fn sizes_there(&self) -> impl Iterator<Item = u8> + use<R, O> {
        let sizes = self.sizes;
        (0..64).filter(move |&size| sizes[usize::from(size)] != 0)
    }

    /// The chain of a region. There is at least one record, or no chain is followed.
    fn chain(&self, size: u8, via: L1Ipa) -> u32 {
        let number = (via.0 >> size) ^ u64::from(size) << 56;
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let count = self.records.len().min(NONE as usize) as u64;
        // Both factors are below 2^32.
        ((mixed * count) >> 32) as u32
    }

    fn chained(&self, chain: u32) -> impl Iterator<Item = u32> + '_ {
        let first = self.records.get(chain as usize);
        let number = |number: u32| (number != NONE).then_some(number);
        let first = first.and_then(|record| number(record.chain));
        core::iter::successors(first, move |&at| number(self.record(at).next))
    }

    /// Makes the first free record this region's.
    fn link(&mut self, number: u32, chain: u32, region: &Region) {
        let first = self.record(chain).chain;
        let right = self.owner(region.place).first;
        let record = self.record_mut(number);
        let free = record.next;
        *record = Record {
            via: region.via,
            ipa: region.ipa,
            place: region.place,
            size: region.size,
            next: first,
            left: NONE,
            right,
            chain: record.chain,
        };
        self.free = free;
        self.record_mut(chain).chain = number;
        if right != NONE {
            self.record_mut(right).left = number;
        }
        self.owner_mut(region.place).first = number;
        self.count(region.size, 1);
    }

    /// Frees a record.
    fn unlink(&mut self, number: u32) {
        let record = *self.record(number);
        self.unchain(number, &record);
        match record.left {
            NONE => self.owner_mut(record.place).first = record.right,
            left => self.record_mut(left).right = record.right,
        }
        if record.right != NONE {
            self.record_mut(record.right).left = record.left;
        }
        let free = self.free;
        *self.record_mut(number) = Record {
            next: free,
            chain: self.record(number).chain,
            ..Record::UNUSED
        };
        self.free = number;
        self.count(record.size, -1);
    }

    fn unchain(&mut self, number: u32, record: &Record) {
        let chain = self.chain(record.size, record.via);
        if self.record(chain).chain == number {
            self.record_mut(chain).chain = record.next;
            return;
        }
        let before = self
            .chained(chain)
            .find(|&at| self.record(at).next == number)
            .expect("a record in use is in its chain");
        self.record_mut(before).next = record.next;
    }

    fn count(&mut self, size: u8, change: i32) {
        let count = &mut self.sizes[usize::from(size & 63)];
        *count = count.wrapping_add_signed(change);
        self.used = self.used.wrapping_add_signed(change);
    }

    fn record(&self, number: u32) -> &Record {
        let record = self.records.get(number as usize);
        record.expect("lists hold numbers of records")
    }

    fn record_mut(&mut self, number: u32) -> &mut Record {
        let record = self.records.get_mut(number as usize);
        record.expect("lists hold numbers of records")
    }

    fn owner(&self, place: u32) -> &Owner {
        let owner = self.owners.get(place as usize);
        owner.expect("the map was made for all places of the pool")
    }

    fn owner_mut(&mut self, place: u32) -> &mut Owner {
        let owner = self.owners.get_mut(place as usize);
        owner.expect("the map was made for all places of the pool")
    }
}

#[cfg(test)]
mod tests;
