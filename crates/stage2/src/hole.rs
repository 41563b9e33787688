//! One leaf into one empty entry: what shadows map most, without the price of looking at anything else.

use droste_arm64::desc::RawDescriptor;

use crate::cache::Maintenance;
use crate::entry::Position;
use crate::map::Mapping;
use crate::{Dsb, Error, Machine, Runs, Table, scheme};

/// What mapping one leaf came to.
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
        let Some(position) = self.hole_of(machine, mapping) else {
            self.check_mapping(mapping)?;
            return Ok(Hole::Other);
        };
        let attributes = mapping.attributes;
        Maintenance::of(&self.ids, attributes).run(machine, mapping.pa, mapping.bytes);
        let leaf = attributes.leaf(scheme(&self.ids));
        machine.write(position.entry, self.leaf(position.level, mapping.pa, leaf));
        machine.dsb(Dsb::Ishst);
        Ok(Hole::Filled)
    }

    /// The empty entry that such a range is, if it is one that can be mapped.
    fn hole_of<M: Machine>(&self, machine: &M, mapping: &Mapping) -> Option<Position> {
        self.expect_settled();
        let geometry = self.geometry;
        if mapping.ipa.0 >= geometry.ipa_bits().bytes() {
            return None;
        }
        // A locked entry ends the walk, and is not empty.
        let (position, raw) = self.descend(machine, mapping.ipa);
        let fits = raw == RawDescriptor::EMPTY
            && mapping.ipa == position.ipa
            && mapping.bytes == geometry.entry_bytes(position.level)
            && mapping.pa.is_aligned(mapping.bytes)
            && mapping.pa.0.saturating_add(mapping.bytes) <= geometry.output_limit()
            && mapping.runs == Runs::Single
            && position.level >= mapping.largest
            && geometry.format().leaf_at(position.level).is_some()
            && self.check_execute(mapping.attributes).is_ok();
        fits.then_some(position)
    }
}
