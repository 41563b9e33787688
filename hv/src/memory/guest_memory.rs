//! A VM's stage 2: its table under a lock that faults share, the pages for it, its slots, and the contexts that
//! translate by it.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use droste_arm64::desc::AttributeScheme;
use droste_arm64::esr::Esr;
use droste_arm64::{Granule, IdRegisters, Ipa, IpaBits, Pa, PaRange, Vtcr, sysreg};
use droste_resources::report;
use droste_stage2::{
    Answer, Attributes, Context, Contexts, Error, Fault, Geometry, PageCache, Privilege, Proposal,
    Slot, Slots, Table, VcpuId, VmidAllocator, Walk, handle, scheme,
};
use spin::mutex::SpinMutex;

use super::pages::{PAGE, Pages, tables_for};
use super::ram::Ram;
use crate::arch::locks::{Mutex, RwLock, waits, waits_of_shared};
use crate::arch::stage2::Hardware;
use crate::arch::{self, MAX_CPUS};
use crate::machine::error::BuildError;
use crate::machine::machine;

/// Address bits of a virtual machine with guests of its own, at least: KVM gives a guest that asks for nothing else 40.
const FOR_GUESTS: u32 = 40;

/// Numbers that tell the contexts of all VMs apart in the TLBs.
pub(crate) static VMIDS: VmidAllocator<MAX_CPUS> = VmidAllocator::new();

/// What a fault comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Resolution {
    /// The guest tries again.
    Retry,
    /// There is nothing there, or not for such an access: the guest gets an external abort.
    Outside,
}

/// A VM's stage 2.
pub(crate) struct GuestMemory {
    table: RwLock<Table>,
    pages: Mutex<Pages>,
    /// By vCPU, which alone locks its own: pages taken ahead, so that faults share nothing but the table.
    caches: Vec<SpinMutex<PageCache>>,
    /// Who translates by the table: first what every guest runs under, then those that a guest hypervisor's EL1 has
    /// while stage 2 is off there.
    contexts: Vec<&'static Context<MAX_CPUS>>,
    pub(crate) slots: Slots,
    pub(crate) geometry: Geometry,
    /// VTCR_EL2: a constant of the VM.
    pub(crate) vtcr: Vtcr,
    pub(crate) ids: IdRegisters,
    pa_range: PaRange,
    table_bytes: u64,
}

/// How often VMIDs ran out, for the report.
pub(crate) fn rollovers() -> u64 {
    VMIDS.rollovers()
}

/// The identification that stage 2 goes by.
fn identification() -> IdRegisters {
    let ids = &machine().ids;
    let (ctr, clidr) = arch::id::caches();
    IdRegisters {
        isar0: ids.get(sysreg::ID_AA64ISAR0_EL1),
        mmfr0: ids.get(sysreg::ID_AA64MMFR0_EL1),
        mmfr1: ids.get(sysreg::ID_AA64MMFR1_EL1),
        mmfr2: ids.get(sysreg::ID_AA64MMFR2_EL1),
        ctr,
        clidr,
    }
}

impl GuestMemory {
    /// A stage 2 for `slots`: guest address, physical range, attributes. Takes the memory for its tables from
    /// `ram`: enough to map all of it by pages, so that the guest cannot run it out of tables. `contexts` is how many
    /// translate by it.
    pub(crate) fn build(
        slots: &[(u64, Range<u64>, Attributes)],
        (vcpus, contexts): (usize, usize),
        ram: &mut Ram,
    ) -> Result<Self, BuildError> {
        let ids = identification();
        VMIDS.widen(ids.vmid_bits());
        let end = slots
            .iter()
            .map(|(ipa, range, _)| ipa + (range.end - range.start))
            .max()
            .unwrap_or(0);
        // As wide as a value of PARange that covers it all, for that is what the guest reads.
        let needed = 64 - end.saturating_sub(1).leading_zeros();
        let needed = if contexts > 1 {
            needed.max(FOR_GUESTS.min(ids.pa_range().bits()))
        } else {
            needed
        };
        let pa_range = PaRange::ALL
            .into_iter()
            .find(|range| range.bits() >= needed);
        let too_wide = || {
            BuildError(format!(
                "its addresses end at {end:#x}, past what stage 2 translates"
            ))
        };
        let pa_range = pa_range.ok_or_else(too_wide)?;
        let bits = IpaBits::new(pa_range.bits()).ok_or_else(too_wide)?;
        let describe = |error: Error| BuildError(format!("stage 2: {error}"));
        let geometry = Geometry::new(Granule::Kib4, bits, &ids).map_err(describe)?;
        let mut known = Slots::new(geometry);
        for (ipa, range, attributes) in slots {
            known
                .add(Slot::new(
                    Ipa(*ipa),
                    Pa(range.start),
                    range.end - range.start,
                    *attributes,
                ))
                .map_err(describe)?;
        }
        let pages: u64 = slots
            .iter()
            .map(|(_, range, _)| tables_for(range.end - range.start))
            .chain([(vcpus * PageCache::CAPACITY) as u64])
            .sum();
        let root_bytes = geometry.root_bytes();
        let table_bytes = root_bytes + pages * PAGE;
        let area = ram.take(table_bytes, root_bytes.max(PAGE), 0);
        let area = area.ok_or_else(|| {
            BuildError(format!(
                "no {} KiB of RAM for its tables",
                table_bytes >> 10
            ))
        })?;
        let Range { start, end } = area.range();
        let mut table = Table::new(&Hardware, Pa(start), geometry, &ids).map_err(describe)?;
        let contexts = (0..contexts).map(|_| &*Box::leak(Box::new(Context::new(&mut table))));
        let contexts = contexts.collect();
        let pages = Pages::new(area, start + root_bytes..end, geometry);
        let caches = (0..vcpus).map(|_| SpinMutex::new(PageCache::new()));
        Ok(Self {
            table: RwLock::new(table),
            pages: Mutex::new(pages),
            caches: caches.collect(),
            contexts,
            slots: known,
            geometry,
            vtcr: geometry.vtcr(&ids),
            ids,
            pa_range,
            table_bytes,
        })
    }

    /// Who decides on memory types: stage 2, or both stages.
    pub(crate) fn scheme(&self) -> AttributeScheme {
        scheme(&self.ids)
    }

    /// The physical address range that the guest is shown.
    pub(crate) fn pa_range(&self) -> PaRange {
        self.pa_range
    }

    /// Answers a fault at `ipa` of vCPU `vcpu`, which is loaded on this CPU.
    ///
    /// # Errors
    /// Those of stage 2, none of which a guest should be able to bring about: its tables have all the pages they need.
    pub(crate) fn resolve(
        &self,
        vcpu: usize,
        ipa: Ipa,
        esr: Esr,
        privilege: Privilege,
    ) -> Result<Resolution, Error> {
        let Some(fault) = Fault::new(esr, ipa, privilege) else {
            return Ok(Resolution::Outside);
        };
        self.answer(vcpu, ipa, |table, pages, contexts| {
            let answer = handle(&Hardware, table, pages, contexts, &self.slots, &fault)?;
            Ok(match answer {
                Answer::Mapped | Answer::Relaxed | Answer::Retry => Resolution::Retry,
                Answer::Mmio(_) | Answer::Inject(_) => Resolution::Outside,
            })
        })
    }

    /// Brings the table to what `proposal` says, for vCPU `vcpu`, whose guest faulted because of `ipa`.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub(crate) fn install(
        &self,
        vcpu: usize,
        ipa: Ipa,
        proposal: &Proposal,
    ) -> Result<Answer, Error> {
        self.answer(vcpu, ipa, |table, pages, contexts| {
            table.install(&Hardware, pages, contexts, proposal, self.slots.sequence())
        })
    }

    /// Answers a fault with pages taken ahead, beside others.
    #[inline]
    fn answer<R>(
        &self,
        vcpu: usize,
        ipa: Ipa,
        by: impl FnOnce(&Table, &mut PageCache, &Contexts<'_, MAX_CPUS>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let cache = self.caches.get(vcpu);
        let cache = cache.expect("a vCPU's number is below the VM's count");
        let mut cache = cache.lock();
        if !cache.is_full() {
            cache.fill(&mut *self.pages.lock(), ipa)?;
        }
        by(&self.table.read(), &mut cache, &self.contexts())
    }

    fn contexts(&self) -> Contexts<'_, MAX_CPUS> {
        Contexts {
            vmids: &VMIDS,
            all: &self.contexts,
            smmus: &[],
        }
    }

    /// The leaf of the table that maps `ipa`.
    pub(crate) fn walk(&self, ipa: Ipa) -> Walk {
        self.table.read().walk(&Hardware, ipa)
    }

    /// Answers a TLB conflict abort on this CPU.
    pub(crate) fn resolve_conflict(&self) {
        self.table.read().resolve_conflict(&Hardware);
    }

    /// Context `n` of the table, the first of which is every guest's.
    pub(crate) fn context(&self, n: usize) -> &'static Context<MAX_CPUS> {
        self.contexts[n]
    }

    /// Loads context `n` on physical CPU `cpu` for vCPU `vcpu`.
    pub(crate) fn enter(&self, n: usize, cpu: usize, vcpu: usize) {
        self.contexts[n].enter(&Hardware, &VMIDS, cpu, VcpuId(vcpu as u32));
    }

    /// Unmaps everything; the VM's CPUs are all at rest.
    pub(crate) fn clear(&self) {
        let mut table = self.table.write();
        let owed = table.free(&Hardware);
        let done = owed.discharge(&Hardware, &mut *self.pages.lock(), &self.contexts());
        done.expect("nothing can fail in freeing a table");
    }

    /// Takes some tables apart that were [cleared](Self::clear); whether there may be more.
    pub(crate) fn reclaim(&self) -> bool {
        self.pages.lock().reclaim()
    }

    /// How often a vCPU waited for others because of one of its two locks.
    pub(crate) fn waits(&self, lock: report::Lock) -> u64 {
        match lock {
            report::Lock::Table => waits_of_shared(&self.table),
            _ => waits(&self.pages),
        }
    }

    /// What happened so far.
    pub(crate) fn stats(&self) -> report::Stage2 {
        // In this order: what is taken out of trees in between was counted before.
        let taken_apart = self.pages.lock().taken_apart();
        let table = self.table.read().counters();
        report::Stage2 {
            faults: table.faults,
            table_pages: table.table_pages.saturating_sub(taken_apart),
            table_bytes: self.table_bytes,
            by_address: table.tlbi_address,
            by_range: table.tlbi_range,
            combined: table.tlbi_combined,
            by_vmid: table.tlbi_vmid,
            private: self
                .contexts
                .iter()
                .map(|context| context.private_invalidations())
                .sum(),
        }
    }
}
