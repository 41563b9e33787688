//! Physical CPUs: who they are, and how to reach them.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use droste_arm64::Pa;
use droste_resources::Alarm;
use spin::Once;

use crate::arch::id::Model;
use crate::arch::{self, MAX_CPUS, gic};

/// The SGI that makes a CPU look at what others left for it.
pub(crate) const KICK_SGI: u32 = 0;

/// One physical CPU.
pub(crate) struct Cpu {
    /// Index, below [`MAX_CPUS`].
    pub(crate) index: usize,
    /// MPIDR affinity.
    pub(crate) affinity: u64,
    /// Whether it has reached the scheduler.
    pub(crate) is_online: AtomicBool,
    /// What it is, once it is online.
    pub(crate) model: Once<Model>,
    /// Its redistributor.
    pub(crate) redistributor: Once<Pa>,
    /// How many vCPUs run here and nowhere else.
    vcpus: AtomicUsize,
    /// Position among its vCPUs of the one that ran last.
    pub(crate) last: AtomicUsize,
    /// What its EL2 timer is set for, the end of the time slice among it.
    pub(crate) alarm: Alarm,
}

static CPUS: Once<Vec<Cpu>> = Once::new();

/// Records the machine's CPUs, the boot CPU first. Called once; those past [`MAX_CPUS`] stay off.
pub(crate) fn init(affinities: &[u64]) {
    let boot = arch::id::affinity();
    let others = affinities.iter().copied().filter(|a| *a != boot);
    let cpus = core::iter::once(boot)
        .chain(others)
        .take(MAX_CPUS)
        .enumerate()
        .map(|(index, affinity)| Cpu {
            index,
            affinity,
            is_online: AtomicBool::new(false),
            model: Once::new(),
            redistributor: Once::new(),
            vcpus: AtomicUsize::new(0),
            last: AtomicUsize::new(0),
            alarm: Alarm::new(),
        });
    CPUS.call_once(|| cpus.collect());
}

/// All CPUs, the boot CPU first; empty before [`init`].
pub(crate) fn all() -> &'static [Cpu] {
    CPUS.get().map_or(&[], Vec::as_slice)
}

/// The running ones.
pub(crate) fn online() -> impl Iterator<Item = &'static Cpu> {
    all()
        .iter()
        .filter(|cpu| cpu.is_online.load(Ordering::Acquire))
}

impl Cpu {
    /// Sets how many vCPUs run here, once, before any does.
    pub(crate) fn set_vcpus(&self, count: usize) {
        self.vcpus.store(count, Ordering::Relaxed);
    }

    /// Whether more than one vCPU shares this one.
    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        self.vcpus.load(Ordering::Relaxed) > 1
    }

    /// What it is; it is online.
    pub(crate) fn model(&self) -> Model {
        let model = self.model.get();
        *model.expect("vCPUs run on CPUs that are online")
    }

    /// Makes this CPU leave its guest, or its sleep, and look at what others left for it.
    pub(crate) fn kick(&self) {
        gic::send_sgi(self.affinity, KICK_SGI);
    }
}

/// Makes all CPUs but this one stop; they see [`bug::is_reported`](crate::machine::bug::is_reported) when they leave their
/// guests.
pub(crate) fn stop_others() {
    let me = arch::id::affinity();
    online()
        .filter(|cpu| cpu.affinity != me)
        .for_each(Cpu::kick);
}
