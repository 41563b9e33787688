//! What is fixed once the machine has booted: its interrupts, identification, options and virtual machines.

use alloc::string::String;
use alloc::vec::Vec;

use droste_devtree::{Gic, Platform, Timer};
use spin::{Once, mutex::TicketMutex};

use crate::arch::gic::Distributor;
use crate::arch::id::IdRegisters;
use crate::vm::Vm;

/// The longest time between two reports, seconds: a day.
const MAX_STATS_SECONDS: u64 = 86_400;

/// The machine as `main` found it.
pub(crate) struct Machine {
    /// Interrupts of the generic timer.
    pub(crate) timer: Timer,
    /// The interrupt controller.
    pub(crate) gic: Gic,
    /// The distributor.
    pub(crate) distributor: TicketMutex<Distributor>,
    /// INTID of the console's UART.
    pub(crate) uart_intid: u32,
    /// The boot CPU's identification.
    pub(crate) ids: IdRegisters,
    /// The word that marks records for the tool that started the machine (`droste.report=`).
    pub(crate) nonce: Option<String>,
    /// Whether a VM that asks for a reset stops instead (`droste.no-reboot`).
    pub(crate) is_reboot_forbidden: bool,
    /// Seconds between two reports on the way (`droste.stats=`).
    pub(crate) stats_interval: Option<u64>,
    /// The virtual machines of the boot image.
    pub(crate) vms: Once<Vec<&'static Vm>>,
    /// By INTID: the VM that drives the device.
    pub(crate) owners: Once<Vec<Option<&'static Vm>>>,
}

static MACHINE: Once<Machine> = Once::new();

/// Records the machine. Called once.
pub(crate) fn init(platform: &Platform, distributor: Distributor, uart_intid: u32) {
    MACHINE.call_once(|| Machine {
        timer: platform.timer,
        gic: platform.gic.clone(),
        distributor: TicketMutex::new(distributor),
        uart_intid,
        ids: IdRegisters::read(),
        nonce: platform
            .option("droste.report")
            .filter(|n| !n.is_empty())
            .map(String::from),
        is_reboot_forbidden: platform.option("droste.no-reboot").is_some(),
        stats_interval: platform
            .option("droste.stats")
            .and_then(|s| s.parse().ok())
            .filter(|s| (1..=MAX_STATS_SECONDS).contains(s)),
        vms: Once::new(),
        owners: Once::new(),
    });
}

/// The machine. `main` records it before anything asks.
#[inline]
pub(crate) fn machine() -> &'static Machine {
    MACHINE
        .get()
        .expect("main records the machine before it starts a CPU or a VM")
}

/// The machine, for those who may come too early.
pub(crate) fn try_machine() -> Option<&'static Machine> {
    MACHINE.get()
}

impl Machine {
    /// All virtual machines.
    pub(crate) fn vms(&self) -> &[&'static Vm] {
        self.vms.get().map_or(&[], Vec::as_slice)
    }

    /// The VM that drives the device behind shared interrupt `intid`.
    pub(crate) fn owner_of(&self, intid: u32) -> Option<&'static Vm> {
        self.owners.get()?.get(intid as usize).copied().flatten()
    }
}
