//! One leaf into one empty entry: what shadows map most, without the price of looking at anything else.

use droste_arm64::desc::RawDescriptor;

use crate::cache::Maintenance;
use crate::map::Mapping;
use crate::{Dsb, Error, Machine, Runs, Table, scheme};

/// What became of a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hole {
    /// It is mapped.
    Filled,
    /// The range is more or less than one empty entry of a table that is there: nothing has changed.
    Other,
}

impl Table {
    /// Maps a range that is one entry of a table, and empty: all that [`map`](Self::map) would do for it, which owes
    /// nothing and takes no page.
    ///
    /// # Errors
    /// As [`map`](Self::map), but for [`Error::NoTablePage`].
    pub fn map_hole<M: Machine>(&mut self, machine: &M, mapping: &Mapping) -> Result<Hole, Error> {
        self.check_mapping(mapping)?;
        // A locked entry ends the walk, and is not empty.
        let (place, raw) = self.descend(machine, mapping.ipa);
        let geometry = self.geometry;
        let is_one = mapping.bytes == geometry.entry_bytes(place.level)
            && mapping.ipa == place.ipa
            && mapping.pa.is_aligned(mapping.bytes)
            && mapping.runs == Runs::Single
            && place.level >= mapping.largest
            && geometry.format().leaf_at(place.level).is_some();
        if !is_one || raw != RawDescriptor::EMPTY {
            return Ok(Hole::Other);
        }
        let attributes = mapping.attributes;
        Maintenance::of(&self.ids, attributes).run(machine, mapping.pa, mapping.bytes);
        let leaf = attributes.leaf(scheme(&self.ids));
        machine.write(place.entry, self.leaf(place.level, mapping.pa, leaf));
        machine.dsb(Dsb::Ishst);
        Ok(Hole::Filled)
    }
}
