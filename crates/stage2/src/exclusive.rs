//! The short form of exclusive changes: each is discharged at once.

use droste_arm64::{Ipa, Level};

use crate::{Attributes, Contexts, Error, Machine, Mapping, PageSupply, Table};

/// A table that nobody else uses meanwhile, with all that its changes need. No change leaves anything owed.
///
/// For several changes at once, the [`Owed`](crate::Owed) of the table's own operations costs less: a discharge is two
/// barriers and two invalidations a context at least, and what is done before it can go on without it.
#[derive(Debug)]
pub struct Exclusive<'a, M, S, const CPUS: usize> {
    table: &'a mut Table,
    machine: &'a M,
    supply: &'a mut S,
    contexts: &'a Contexts<'a, CPUS>,
}

impl Table {
    /// For changes in their short form. Pages come from `supply` and go back there; `contexts` names all contexts of the
    /// table.
    ///
    /// ```
    /// # use std::cell::RefCell;
    /// # use droste_arm64::{Granule, IdRegisters, Ipa, IpaBits, Pa, PaRange};
    /// # use droste_mmu_model::{Config, Cpu, Model};
    /// # use droste_stage2::*;
    /// # struct Pool(Vec<Pa>);
    /// # impl PageSupply for Pool {
    /// #     fn take(&mut self) -> Option<Pa> { self.0.pop() }
    /// #     fn give(&mut self, page: Pa) { self.0.push(page) }
    /// # }
    /// # static VMIDS: VmidAllocator<4> = VmidAllocator::new();
    /// # let model = RefCell::new(Model::new(Config::new(Pa(0x8000_0000), 16)));
    /// # let cpu = Cpu::new(&model, 0);
    /// # let ids = IdRegisters::new(PaRange::Bits48);
    /// # let mut pool = Pool((1..16).map(|n| Pa(0x8000_0000 + n * 0x1000)).collect());
    /// # let geometry = Geometry::new(Granule::Kib4, IpaBits::new(39).unwrap(), &ids)?;
    /// # let mut table = Table::new(&cpu, Pa(0x8000_0000), geometry, &ids)?;
    /// # let context = Context::<4>::new(&mut table);
    /// let contexts = Contexts { vmids: &VMIDS, all: &[&context], smmus: &[] };
    /// let mut t = table.exclusive(&cpu, &mut pool, &contexts);
    /// let ram = Mapping::new(Ipa(0x4000_0000), Pa(0x10_0000_0000), 0x20_0000, Attributes::RAM);
    /// t.map(&ram)?;
    /// t.unmap(Ipa(0x4000_3000), 0x1000)?;
    /// t.free()?;
    /// # assert_eq!(pool.0.len(), 15);
    /// # Ok::<(), Error>(())
    /// ```
    pub const fn exclusive<'a, M: Machine, S: PageSupply, const CPUS: usize>(
        &'a mut self,
        machine: &'a M,
        supply: &'a mut S,
        contexts: &'a Contexts<'a, CPUS>,
    ) -> Exclusive<'a, M, S, CPUS> {
        Exclusive {
            table: self,
            machine,
            supply,
            contexts,
        }
    }
}

impl<M: Machine, S: PageSupply, const CPUS: usize> Exclusive<'_, M, S, CPUS> {
    /// [`Table::map`].
    ///
    /// # Errors
    /// As there.
    pub fn map(&mut self, mapping: &Mapping) -> Result<(), Error> {
        let owed = self.table.map(self.machine, self.supply, mapping);
        owed.discharge(self.machine, self.supply, self.contexts)
    }

    /// [`Table::unmap`].
    ///
    /// # Errors
    /// As there.
    pub fn unmap(&mut self, ipa: Ipa, bytes: u64) -> Result<(), Error> {
        let owed = self.table.unmap(self.machine, self.supply, ipa, bytes);
        owed.discharge(self.machine, self.supply, self.contexts)
    }

    /// [`Table::split`].
    ///
    /// # Errors
    /// As there.
    pub fn split(&mut self, ipa: Ipa, bytes: u64, to: Level) -> Result<(), Error> {
        let owed = self.table.split(self.machine, self.supply, ipa, bytes, to);
        owed.discharge(self.machine, self.supply, self.contexts)
    }

    /// [`Table::collapse`].
    ///
    /// # Errors
    /// As there.
    pub fn collapse(
        &mut self,
        ipa: Ipa,
        bytes: u64,
        largest: Level,
        attributes: Attributes,
    ) -> Result<(), Error> {
        let owed = (self.table).collapse(self.machine, ipa, bytes, largest, attributes);
        owed.discharge(self.machine, self.supply, self.contexts)
    }

    /// [`Table::write_protect`].
    ///
    /// # Errors
    /// As there.
    pub fn write_protect(&mut self, ipa: Ipa, bytes: u64) -> Result<(), Error> {
        let owed = self.table.write_protect(self.machine, ipa, bytes);
        owed.discharge(self.machine, self.supply, self.contexts)
    }

    /// [`Table::dirty`].
    ///
    /// # Errors
    /// As there.
    pub fn dirty(
        &mut self,
        ipa: Ipa,
        bytes: u64,
        report: impl FnMut(Ipa, u64),
    ) -> Result<(), Error> {
        let owed = self.table.dirty(self.machine, ipa, bytes, report);
        owed.discharge(self.machine, self.supply, self.contexts)
    }

    /// [`Table::free`].
    ///
    /// # Errors
    /// None.
    pub fn free(&mut self) -> Result<(), Error> {
        let owed = self.table.free(self.machine);
        owed.discharge(self.machine, self.supply, self.contexts)
    }
}
