//! A vCPU as everyone but its physical CPU sees it.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use droste_life::Kick;
use droste_resources::Counters;

use super::{VcpuState, Vm};
use crate::machine::cpu::Cpu;

/// A vCPU. What it wants, and its registers while it is not loaded, are in its VM's `lives`.
pub(crate) struct Vcpu {
    /// Index in its VM.
    pub(crate) index: usize,
    /// Its VM.
    pub(crate) vm: &'static Vm,
    /// The physical CPU it runs on.
    pub(crate) cpu: &'static Cpu,
    /// What it did so far.
    pub(crate) counters: Counters,
    /// Its kicks.
    pub(crate) kicks: Kick,
    /// Its position among that one's members.
    position: AtomicUsize,
    deadline: AtomicU64,
}

impl Vcpu {
    /// A vCPU of a VM that is being built.
    pub(crate) fn new(index: usize, vm: &'static Vm, cpu: &'static Cpu) -> Self {
        Self {
            index,
            vm,
            cpu,
            counters: Counters::default(),
            kicks: Kick::new(),
            position: AtomicUsize::new(0),
            deadline: AtomicU64::new(u64::MAX),
        }
    }

    /// Its position among its physical CPU's members.
    pub(crate) fn position(&self) -> usize {
        self.position.load(Ordering::Relaxed)
    }

    /// Sets that, once, before its VM begins to live.
    pub(crate) fn set_position(&self, position: usize) {
        self.position.store(position, Ordering::Relaxed);
    }

    /// When it wants to be woken, in ticks; it is parked and waiting.
    pub(crate) fn deadline(&self) -> u64 {
        self.deadline.load(Ordering::Relaxed)
    }

    /// Sets when it wants to be woken.
    pub(crate) fn set_deadline(&self, ticks: Option<u64>) {
        self.deadline
            .store(ticks.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Makes it look at its interrupts, whatever it does now. Its CPU is told only once for several kicks.
    #[inline]
    pub(crate) fn kick(&self) {
        if self.kicks.give() {
            self.cpu.kick();
        }
    }

    /// Whether it was kicked since the last call.
    #[inline]
    pub(crate) fn take_kick(&self) -> bool {
        self.kicks.take()
    }

    /// Whether a kick waits to be taken.
    #[inline]
    pub(crate) fn is_kicked(&self) -> bool {
        self.kicks.is_given()
    }

    /// Powers it on with `state`, and tells its CPU; nothing where it is not off, because its VM is ending.
    pub(crate) fn power_on(&self, state: Box<VcpuState>) {
        if self.vm.lives.on(self.index, state) {
            // Not `kick`: a flag that was set while it was off would hide this from its CPU.
            self.cpu.kick();
        }
    }
}
