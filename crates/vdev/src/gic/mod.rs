//! A virtual GICv3: one virtual machine's distributor and redistributors, and the choice of what its vCPUs'
//! list registers hold (IHI 0069).
//!
//! # What it is
//! One security state (GICD_CTLR.DS = 1), affinity routing always on, SGIs, PPIs and SPIs in groups 0 and 1. No LPIs,
//! no message-based SPIs, no 1-of-N routing. The CPU interface is the hardware's; only its SGI registers trap.
//!
//! # The protocol
//! While a vCPU runs, its list registers alone have the state of the interrupts they hold. [`fold`](Gic::fold) takes
//! that state back, and [`fill`](Gic::fill) chooses anew what they hold; the two come as a pair around whatever happens
//! between two runs. A vCPU that is in no [`Kicks`] and that raised no maintenance interrupt may skip both. One that is
//! [quiet](Gic::is_quiet) need not even lock the [`Gic`].
//!
//! An event for an interrupt that a list register holds is recorded beside it and merged at the next fold, so events
//! that race with the guest are never lost. A register that shows the pending or active state reads as of the last
//! fold: [`needs_fold`](Gic::needs_fold) says which vCPUs must fold first where the guest must see the present state.
//!
//! A level-sensitive interrupt is pending while its line is high. The hypervisor reports the lines of devices and
//! timers that it emulates by [`set_line`](Gic::set_line). It does not see the line of a physical interrupt fall, so it
//! [looks at the levels](Gic::look_at_levels) between each fold and fill, and before the guest reads the pending state.
//! If a line falls while a list register holds the interrupt, the look after the next fold withdraws the interrupt,
//! unless the guest has acknowledged it by then.
//!
//! A physical interrupt that is handed to the guest ([`inject_hardware`](Gic::inject_hardware)) was acknowledged by the
//! hypervisor and stays active until the guest deactivates it, which hardware does by itself through the list register.
//! Where the guest ends it another way, [`take_deactivation`](Gic::take_deactivation) gives what the hypervisor must
//! deactivate.

mod bank;
mod bare;
mod config;
mod direct;
mod distributor;
mod ends;
mod ich;
mod kicks;
mod levels;
mod lists;
mod lr;
mod nested;
mod quiet;
mod redistributor;
mod sgi;
mod signal;
mod state;
mod timers;

#[cfg(test)]
mod tests;

use crate::bits::{ones, ones32};
use crate::line::Line;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bank::{Bank, Enables};
use droste_arm64::esr::AccessSize;
use state::{At, Shared, Vcpu};

pub use bare::Bare;
pub use config::{ConfigError, GicConfig, Intid, MAX_SPIS};
pub use direct::GroupRegister;
pub use ends::unlisted_ends;
pub use ich::{Ich, Interface, MAX_ACTIVE_PRIORITIES, Vtr};
pub use kicks::Kicks;
pub use lists::Fill;
pub use lr::{MAX_LIST_REGISTERS, Vmcr};
pub use nested::undisputed;
pub use sgi::SgiRegister;
pub use signal::Signal;
pub use timers::TimerSwitch;

/// Which region of the guest's memory an access hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame {
    /// The distributor: 64 KiB.
    Distributor,
    /// All redistributors, [`REDISTRIBUTOR_BYTES`] for each vCPU in order.
    Redistributors,
}

/// Bytes of the distributor's frame (IHI 0069, 12.8).
pub const DISTRIBUTOR_BYTES: u64 = 0x1_0000;

/// Bytes of one redistributor: the frames RD_base and SGI_base (IHI 0069, 12.10).
pub const REDISTRIBUTOR_BYTES: u64 = 0x2_0000;

/// The virtual GIC of one virtual machine.
///
/// vCPUs are numbered from 0; a method that takes a number panics if it is not below
/// [`GicConfig::vcpus`]. An INTID that the machine does not have is ignored.
///
/// ```
/// use droste_arm64::esr::AccessSize::Word;
/// use droste_vdev::gic::{Frame::Distributor, Gic, GicConfig, Intid, Vmcr};
///
/// let mut gic = Gic::new(GicConfig { vcpus: 2, spis: 32, list_registers: 4 })?;
/// // The guest: group 1 on, interrupt 40 in group 1, enabled, to vCPU 1.
/// for (offset, value) in [(0x000, 0b10), (0x084, 1 << 8), (0x104, 1 << 8), (0x6140, 1)] {
///     let _ = gic.write(0, Distributor, offset, Word, value);
/// }
/// let spi = Intid::new(40).expect("below 1020");
/// assert!(gic.pend(0, spi).iter().eq([1]));
/// let mut lrs = [0; 16];
/// assert_eq!(gic.fill(1, Vmcr(0xf800_0002), &mut lrs).used, 1);
/// assert_eq!(lrs[0], 0x5000_0000_0000_0028);
/// # Ok::<(), droste_vdev::gic::ConfigError>(())
/// ```
pub struct Gic {
    enables: Enables,
    vcpus: Box<[Vcpu]>,
    shared: Box<[Shared]>,
    list_registers: usize,
}

impl Gic {
    /// A virtual GIC as after a reset: nothing enabled, pending or active, all routes to vCPU 0.
    ///
    /// # Errors
    /// [`ConfigError`] with the number in `config` that is out of its range.
    pub fn new(config: GicConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let words = config.spis.div_ceil(32);
        Ok(Self {
            enables: Enables::default(),
            vcpus: (0..config.vcpus).map(|_| Vcpu::new()).collect(),
            shared: (0..words)
                .map(|word| Shared::new(config.spis - word * 32))
                .collect::<Vec<_>>()
                .into(),
            list_registers: config.list_registers,
        })
    }

    /// Whether the virtual machine has interrupt `intid`.
    pub fn has(&self, intid: Intid) -> bool {
        self.locate(0, intid).is_some()
    }

    /// A guest's load of `size` at `offset` in `frame`; 0 where no register takes it.
    pub fn read(&self, frame: Frame, offset: u64, size: AccessSize) -> u64 {
        match frame {
            Frame::Distributor => self.read_distributor(offset, size),
            Frame::Redistributors => self.read_redistributor(offset, size),
        }
    }

    /// A store by vCPU `vcpu`; no effect where no register takes it.
    ///
    /// GICD_CTLR.RWP and GICR_CTLR.RWP always read as 0: to make that exact, hold `vcpu` back until the kicked vCPUs
    /// have folded.
    pub fn write(
        &mut self,
        vcpu: usize,
        frame: Frame,
        offset: u64,
        size: AccessSize,
        value: u64,
    ) -> Kicks {
        match frame {
            Frame::Distributor => self.write_distributor(vcpu, offset, size, value),
            Frame::Redistributors => self.write_redistributor(offset, size, value),
        }
    }

    /// A device drives the line of `intid`; for a PPI, that of `vcpu`.
    pub fn set_line(&mut self, vcpu: usize, intid: Intid, line: Line) -> Kicks {
        self.touch(vcpu, intid, |bank, mask| {
            bank.set_line(mask, line.is_high())
        })
    }

    /// An event makes `intid` pending, once; for an SGI or PPI, that of `vcpu`.
    pub fn pend(&mut self, vcpu: usize, intid: Intid) -> Kicks {
        self.touch(vcpu, intid, Bank::pend)
    }

    /// Hands physical interrupt `physical`, which was acknowledged and whose priority was dropped, to the guest as
    /// `intid`; for a PPI, that of `vcpu`. `physical` must not be an SGI's number.
    ///
    /// If the guest has `intid` as edge-triggered, it stays pending until the guest takes it, disabled or not.
    /// Otherwise it is pending as long as its line is high: [`look_at_levels`](Self::look_at_levels). The physical side
    /// of a PPI is on the CPU where `vcpu` is loaded: see [`physical_ppis`](Self::physical_ppis).
    pub fn inject_hardware(&mut self, vcpu: usize, intid: Intid, physical: Intid) -> Kicks {
        let physical = physical.number() as u16;
        self.touch(vcpu, intid, |bank, mask| {
            bank.pend_physical(mask.trailing_zeros() as usize, physical)
        })
    }

    /// `vcpu` deactivates `intid`, after it folded.
    pub(crate) fn deactivate(&mut self, vcpu: usize, intid: Intid) -> Kicks {
        self.touch(vcpu, intid, Bank::clear_active)
    }

    /// PPIs of `vcpu`, bit `n` for INTID `n`, behind which a physical interrupt is active.
    ///
    /// A PPI is active on one CPU. When `vcpu` leaves a CPU, these physical interrupts must be made inactive there
    /// (with their source masked or moved), and active on the next CPU before `vcpu` runs there.
    pub fn physical_ppis(&self, vcpu: usize) -> u32 {
        self.vcpus[vcpu].private.physical_active()
    }

    /// Whether an interrupt waits that should end a WFI of `vcpu`: one that is pending and enabled, and that the CPU
    /// interface lets through by its group and priority. Exact after a fold.
    ///
    /// While the redistributor is asleep (GICR_WAKER), the CPU interface does not count: any deliverable interrupt then
    /// requests a wakeup (IHI 0069, 11.1).
    pub fn has_pending(&self, vcpu: usize, vmcr: Vmcr) -> bool {
        let state = &self.vcpus[vcpu];
        ones32(state.summary).any(|word| {
            let bank = self.bank(At::of(vcpu, word << 5));
            let wanted = state.wanted[word] & bank.deliverable(self.enables) & !bank.active;
            if state.is_asleep {
                return wanted != 0;
            }
            ones32(wanted).any(|bit| {
                vmcr.is_group_enabled(bank.group1() >> bit & 1 != 0)
                    && bank.priority(bit) < vmcr.priority_mask()
            })
        })
    }

    /// Whether `vcpu` was kicked, or folded, since its last fill.
    pub fn is_stale(&self, vcpu: usize) -> bool {
        self.vcpus[vcpu].is_stale
    }

    /// A physical interrupt that must be deactivated (ICC_DIR_EL1) on the CPU where `vcpu` is loaded, since the guest
    /// ended it in a way that hardware does not see. Call this until it gives `None` after each [`fill`](Self::fill)
    /// whose [`Fill::has_deactivations`] is set.
    #[inline]
    pub fn take_deactivation(&mut self, vcpu: usize) -> Option<Intid> {
        let state = &mut self.vcpus[vcpu];
        if state.owed_summary == 0 {
            return None;
        }
        let word = state.owed_summary.trailing_zeros();
        let bits = &mut state.owed[word as usize];
        let bit = bits.trailing_zeros();
        *bits &= bits.wrapping_sub(1);
        if *bits == 0 {
            state.owed_summary &= !(1 << word);
        }
        Intid::new(word << 5 | bit)
    }

    /// All vCPUs, a bit each.
    fn everyone(&self) -> u64 {
        u64::MAX >> (64 - self.vcpus.len())
    }

    /// An SGI that vCPU `from` sends by writing `value` to `register`.
    pub fn send_sgi(&mut self, from: usize, register: SgiRegister, value: u64) -> Kicks {
        let request = sgi::Request::decode(value);
        let mask = 1 << request.intid;
        let mut kicks = Kicks::NONE;
        for vcpu in ones(request.targets(from) & self.everyone()) {
            let bank = &mut self.vcpus[vcpu].private;
            if register.can_signal(bank.group1() & mask != 0) {
                let touched = bank.pend(mask);
                kicks |= self.follow_up(At::Private(vcpu), vcpu, touched);
            }
        }
        kicks
    }
}
