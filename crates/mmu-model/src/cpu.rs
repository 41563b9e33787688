//! What the model keeps for each CPU.

use crate::config::{CpuSet, Space};

/// A vCPU that enters, as TLB entries of its stage 1 are tagged.
///
/// ```
/// use droste_mmu_model::Vcpu;
/// let vcpu = Vcpu::new(3);
/// assert_eq!((vcpu.number, vcpu.asid, vcpu.space), (3, 0, None));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vcpu {
    /// Unique among those that share a VMID.
    pub number: u32,
    /// The ASID in its TTBR.
    pub asid: u16,
    /// Its stage-1 map; `None` with stage 1 off, where a virtual address is the IPA.
    pub space: Option<Space>,
}

impl Vcpu {
    /// A vCPU with stage 1 off.
    pub const fn new(number: u32) -> Self {
        Self {
            number,
            asid: 0,
            space: None,
        }
    }
}

/// Whether what a CPU has written is seen before what it writes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    None,
    BeforeTheNext,
}

/// A write that walks need not see yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) word: usize,
    pub(crate) old: u64,
    /// The step that wrote.
    pub(crate) step: u64,
    pub(crate) order: Order,
}

/// What an invalidation without address takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extent {
    Everything,
    Combined,
}

/// An invalidation without address that awaits its DSB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wide {
    /// The tag's number; `None` for all.
    pub(crate) tag: Option<usize>,
    pub(crate) extent: Extent,
    pub(crate) cpus: CpuSet,
    pub(crate) issued: u64,
}

/// The context that a CPU's walks use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Occupied {
    pub(crate) tag: usize,
    pub(crate) tree: usize,
}

/// What the model keeps of one CPU.
#[derive(Clone, Default, Debug)]
pub(crate) struct CpuState {
    pub(crate) vtcr: u64,
    pub(crate) vttbr: u64,
    /// Whether the VMID, or how operands are read, was written since the last context synchronization.
    pub(crate) is_unsynchronized: bool,
    pub(crate) hcr: u64,
    pub(crate) occupied: Option<Occupied>,
    pub(crate) guest: Option<Vcpu>,
    /// Writes since its last DSB of the Inner Shareable domain.
    pub(crate) pending: Vec<Pending>,
    /// How many of them its own walks see.
    pub(crate) own_seen: usize,
    /// Tags with ghosts that wait for its DSB.
    pub(crate) touched: Vec<usize>,
    pub(crate) wide: Vec<Wide>,
}

impl CpuState {
    /// Drops writes of `word` before `step`: a later one is visible by now.
    pub(crate) fn forget_writes(&mut self, word: usize, step: u64) -> u32 {
        let before = self.pending.len();
        let is_old = |pending: &Pending| pending.word == word && pending.step < step;
        let seen = self
            .pending
            .iter()
            .take(self.own_seen)
            .filter(|p| is_old(p));
        self.own_seen -= seen.count();
        self.pending.retain(|pending| !is_old(pending));
        (before - self.pending.len()) as u32
    }

    pub(crate) fn touch(&mut self, tag: usize) {
        if !self.touched.contains(&tag) {
            self.touched.push(tag);
        }
    }

    /// HCR_EL2.FB: local invalidations of the guest are broadcast.
    pub(crate) const fn forces_broadcast(&self) -> bool {
        self.hcr >> 9 & 1 != 0
    }

    /// HCR_EL2.BSU: barriers of the guest reach at least the Inner Shareable domain.
    pub(crate) const fn upgrades_barriers(&self) -> bool {
        self.hcr >> 10 & 3 != 0
    }

    /// HCR_EL2.{E2H,TGE} is {1,1}.
    pub(crate) const fn is_host(&self) -> bool {
        self.hcr >> 34 & 1 != 0 && self.hcr >> 27 & 1 != 0
    }
}
