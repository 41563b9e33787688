//! A context: one thing that TLBs can tell apart, a stage-2 root under a VMID.
//!
//! A table can have several contexts. Where a guest's two translation regimes must not mix although they use the
//! same stage-2 table (a guest hypervisor's own and its guest's, say), each has a context of its own.
//!
//! Rule: on one physical CPU, the entries that a VMID's last vCPU left are gone before another vCPU
//! runs under it. The guest believes that each of its CPUs has a TLB of its own: two of them may use one ASID for
//! different tables. The physical TLB tags entries by VMID and ASID, not by vCPU, so the context notes per
//! physical CPU who ran last. That is a fact of the VMID, hence of the context and not of the virtual machine.
//!
//! The other half of the rule is HCR_EL2.FB. A guest's *local* invalidation must also reach the physical CPU that
//! the virtual one left, whose note still names it: with FB set it is broadcast. A hypervisor that moves vCPUs
//! sets FB, and BSU to Inner Shareable for the barriers that complete it.

use droste_arm64::tlbi::Tlbi;
use droste_arm64::{Baddr, Pa, Vttbr};

use core::sync::atomic::AtomicU64 as Counter;

use crate::sync::{AtomicU64, Ordering};
use crate::vmid::Tag;
use crate::{Dsb, Ic, Machine, Table, VmidAllocator};

/// A vCPU's number, unique among those that run under one context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VcpuId(pub u32);

/// No vCPU has this number.
const NOBODY: u64 = u64::MAX;

/// The number of the next context. Not zero, whose mark is zero: a sum does not tell whether that is in it. No order of
/// CPUs matters to it.
static NEXT: Counter = Counter::new(1);

/// A mark that no other context has. Sums of marks tell sets of contexts apart: to name one twice is no way to leave
/// another out.
pub(crate) fn mark() -> u64 {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // The finalizer of MurmurHash3: a bijection, so marks are distinct. It leaves zero as it is.
    let mixed = (number ^ number >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ mixed >> 33
}

/// A stage-2 root under a VMID, on a machine of at most `CPUS` CPUs.
///
/// It holds no VTCR_EL2: that describes the virtual hardware and is a constant of the virtual machine.
#[derive(Debug)]
pub struct Context<const CPUS: usize> {
    root: Pa,
    baddr: Baddr,
    pub(crate) mark: u64,
    tag: Tag,
    /// Who ran here last, by physical CPU. Each entry is touched by its own CPU only.
    last_vcpu: [AtomicU64; CPUS],
    private_invalidations: AtomicU64,
}

impl<const CPUS: usize> Context<CPUS> {
    /// A context of `table`, without a VMID until it is first entered.
    ///
    /// # Panics
    /// Never: a table's root is one that its geometry can hold.
    pub fn new(table: &mut Table) -> Self {
        let mark = mark();
        table.contexts = table.contexts.wrapping_add(mark);
        Self {
            mark,
            root: table.root,
            baddr: table
                .geometry
                .baddr(table.root)
                .expect("a table's root is aligned and within its format"),
            tag: Tag::new(),
            last_vcpu: [const { AtomicU64::new(NOBODY) }; CPUS],
            private_invalidations: AtomicU64::new(0),
        }
    }

    /// Ends the context. No CPU may run under it any more.
    ///
    /// Its VMID stays taken until a rollover at least, so entries that TLBs still hold harm nobody. But table walks
    /// cached there refer to the table: retire the last context of a table after [`Table::free`] is discharged.
    ///
    /// # Panics
    /// If `table` is not the one that it was made for.
    pub fn retire(self, table: &mut Table) {
        assert!(self.root == table.root, "a context of another table");
        table.contexts = table.contexts.wrapping_sub(self.mark);
    }

    /// The table's root.
    pub const fn root(&self) -> Pa {
        self.root
    }

    /// The number of times that a CPU had to invalidate what another vCPU had left.
    pub fn private_invalidations(&self) -> u64 {
        self.private_invalidations.load(Ordering::Relaxed)
    }

    /// Loads the context on this CPU, number `cpu`, for a vCPU that is about to run, and returns what is in
    /// VTTBR_EL2 now. The exception return into the guest is its context synchronization.
    ///
    /// Call it whenever this CPU is to run another context or another vCPU than before. Going back into the guest that
    /// it came from needs no call: through any number of rollovers the VMID stays the context's. Takes no lock while
    /// the VMID's generation is current. VTCR_EL2 of the virtual machine is loaded before: a root is never live under
    /// another machine's shape. The outgoing one is, for a moment at EL2, where nothing translates by it.
    ///
    /// If another vCPU ran here last: `TLBI VMALLE1`, which takes stage-1 and combined entries of this VMID on
    /// this CPU; those of stage 2 alone are the same for all. And `IC IALLU`: with its stage 1 off a vCPU may
    /// fetch from the Point of Coherency into the instruction cache, where another one must not find it.
    ///
    /// # Panics
    /// If `cpu` is not below `CPUS`.
    #[inline]
    pub fn enter<M: Machine>(
        &self,
        machine: &M,
        vmids: &VmidAllocator<CPUS>,
        cpu: usize,
        vcpu: VcpuId,
    ) -> Vttbr {
        let vmid = vmids.activate(machine, &self.tag, cpu);
        let vttbr = Vttbr::new(vmid, self.baddr);
        if machine.vttbr() != vttbr {
            machine.set_vttbr(vttbr);
        }
        let last = &self.last_vcpu[cpu];
        let before = last.load(Ordering::Relaxed);
        if before != u64::from(vcpu.0) {
            last.store(u64::from(vcpu.0), Ordering::Relaxed);
            if before != NOBODY {
                self.invalidate_private(machine);
            }
        }
        vttbr
    }

    /// Takes from this CPU what the previous vCPU left. VTTBR_EL2 is written but not yet synchronized.
    #[cold]
    fn invalidate_private<M: Machine>(&self, machine: &M) {
        self.private_invalidations.fetch_add(1, Ordering::Relaxed);
        machine.isb();
        machine.tlbi(Tlbi::Vmalle1);
        machine.ic(Ic::Iallu);
        machine.dsb(Dsb::Nsh);
        machine.isb();
    }
}

impl<const CPUS: usize> VmidAllocator<CPUS> {
    /// What VTTBR_EL2 holds for maintenance of a context: `None` if no TLB has an entry of it, because it never had a
    /// VMID or a rollover took it.
    ///
    /// A rollover right after the answer is harmless: the context's entries are gone then, and maintenance under a
    /// number that has become another's takes entries that come back.
    pub fn live(&self, context: &Context<CPUS>) -> Option<Vttbr> {
        let vmid = self.live_vmid(&context.tag)?;
        Some(Vttbr::new(vmid, context.baddr))
    }
}
