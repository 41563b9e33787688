//! A virtual CPU as everyone but its physical CPU sees it.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use spin::mutex::SpinMutex;

use crate::arch::vcpu::VcpuState;
use crate::cpu::Cpu;
use crate::nested;
use crate::stats::Counters;
use crate::vm::Vm;

/// What a virtual CPU wants of its physical one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Nothing: it is powered off.
    Off,
    /// To run.
    Ready,
    /// To run once an interrupt is pending or its timer is due.
    Waiting,
    /// Nothing ever again, until its VM restarts: it has left for the VM's end.
    Retired,
}

/// A virtual CPU.
///
/// `phase` and `parked` are written by its physical CPU alone, but for the power-on of one that is `Off`.
pub(crate) struct Vcpu {
    /// Index in its VM.
    pub(crate) index: usize,
    /// Its VM.
    pub(crate) vm: &'static Vm,
    /// The physical CPU it runs on.
    pub(crate) cpu: &'static Cpu,
    /// Its registers while it does not run; `None` while it does, or is off.
    pub(crate) parked: SpinMutex<Option<Box<VcpuState>>>,
    /// What it did so far.
    pub(crate) counters: Counters,
    phase: AtomicU8,
    is_kicked: AtomicBool,
    deadline: AtomicU64,
}

impl Vcpu {
    /// A virtual CPU that is off.
    pub(crate) fn new(index: usize, vm: &'static Vm, cpu: &'static Cpu) -> Self {
        Self {
            index,
            vm,
            cpu,
            parked: SpinMutex::new(None),
            counters: Counters::default(),
            phase: AtomicU8::new(Phase::Off as u8),
            is_kicked: AtomicBool::new(false),
            deadline: AtomicU64::new(u64::MAX),
        }
    }

    /// What it wants.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Off,
            1 => Phase::Ready,
            2 => Phase::Waiting,
            _ => Phase::Retired,
        }
    }

    /// Says what it wants.
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
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
        if !self.is_kicked.swap(true, Ordering::AcqRel) {
            self.cpu.kick();
        }
    }

    /// Whether it was kicked since the last call.
    #[inline]
    pub(crate) fn take_kick(&self) -> bool {
        self.is_kicked.swap(false, Ordering::AcqRel)
    }

    /// Whether a kick waits to be taken.
    pub(crate) fn is_kicked(&self) -> bool {
        self.is_kicked.load(Ordering::Acquire)
    }

    /// Powers it on with `state`, and tells its CPU; nothing where it is not off, because its VM is ending.
    pub(crate) fn power_on(&self, state: Box<VcpuState>) {
        let mut parked = self.parked.lock();
        if self.phase() == Phase::Off {
            *parked = Some(state);
            self.set_phase(Phase::Ready);
            drop(parked);
            // Not `kick`: a flag that was set while it was off would hide this from its CPU.
            self.cpu.kick();
        }
    }

    /// Makes it leave for the end of its VM, parked or off. Its own CPU calls this, once.
    pub(crate) fn retire(&self) {
        // Under the lock, so that no other CPU powers it on meanwhile.
        let mut parked = self.parked.lock();
        if let Some(mut state) = parked.take() {
            nested::leave(&mut state);
        }
        self.set_phase(Phase::Retired);
        self.take_kick();
    }
}
