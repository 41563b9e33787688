//! What is fixed once the machine has booted: its interrupts, identification, options and firmware.

use alloc::string::String;
use alloc::vec::Vec;

use droste_arm64::Pa;
use droste_platform::{Gic, Platform, Timer};
use droste_resources::Entropy;
use droste_vdev::gic::Intid;
use droste_vdev::pl031::Clock;
use droste_vdev::psci::{Workaround, Workarounds};
use spin::{Once, mutex::TicketMutex};

use crate::arch::gic::Distributor;
use crate::arch::id::IdRegisters;
use crate::arch::{firmware, random, rtc, timer};

/// The longest time between two reports, seconds: a day.
const MAX_STATS_SECONDS: u64 = 86_400;

/// The machine as `main` found it.
pub(crate) struct Machine {
    /// Interrupts of the generic timer.
    pub(crate) timer: Timer,
    /// Those of its physical and its virtual timer, which are guests'.
    pub(crate) guests_timers: [Intid; 2],
    /// The interrupt controller.
    pub(crate) gic: Gic,
    /// The distributor.
    pub(crate) distributor: TicketMutex<Distributor>,
    /// INTID of the console's UART.
    pub(crate) uart_intid: u32,
    /// Randomness for guests, where the machine has any and nobody forbids it (`droste.no-seeds`).
    pub(crate) entropy: Option<TicketMutex<Entropy>>,
    /// The time of day, where the machine has a clock.
    pub(crate) clock: Option<Clock>,
    /// The boot CPU's identification.
    pub(crate) ids: IdRegisters,
    /// The word that marks records for the tool that started the machine (`droste.report=`).
    pub(crate) nonce: Option<String>,
    /// Whether a VM that asks for a reset stops instead (`droste.no-reboot`).
    pub(crate) is_reboot_forbidden: bool,
    /// Seconds between two reports on the way (`droste.stats=`).
    pub(crate) stats_interval: Option<u64>,
}

static MACHINE: Once<Machine> = Once::new();

/// Records the machine. Called once.
pub(crate) fn init(platform: &Platform, distributor: Distributor, uart_intid: u32) {
    MACHINE.call_once(|| Machine {
        timer: platform.timer,
        guests_timers: [platform.timer.physical, platform.timer.virt].map(|interrupt| {
            Intid::new(interrupt.intid).expect("the device tree's interrupts are below 1020")
        }),
        gic: platform.gic.clone(),
        distributor: TicketMutex::new(distributor),
        uart_intid,
        entropy: entropy(platform),
        clock: clock(platform),
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
    });
}

/// What the platform's clock says, unless it is forbidden to ask: some are gated, or Secure without a word in the tree.
fn clock(platform: &Platform) -> Option<Clock> {
    if platform.option("droste.no-clock").is_some() {
        return None;
    }
    let device = platform.rtc()?;
    let seconds = rtc::seconds(Pa(device.registers[0].start));
    Some(Clock::new(seconds, timer::now(), timer::frequency()))
}

/// What the boot loader and the CPU give.
fn entropy(platform: &Platform) -> Option<TicketMutex<Entropy>> {
    if platform.option("droste.no-seeds").is_some() {
        return None;
    }
    let words = random::words().into_iter().flatten();
    let words: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    Entropy::of(&[&platform.boot.seed, &words]).map(TicketMutex::new)
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

/// What the machine's firmware offers guests against speculation.
pub(crate) fn workarounds() -> Workarounds {
    const WORKAROUND_1: u32 = 0x8000_8000;
    const WORKAROUND_3: u32 = 0x8000_3fff;
    let answer = |function| Workaround::from_firmware(firmware::arch_features(function));
    Workarounds {
        workaround_1: answer(WORKAROUND_1),
        // Its setting is a CPU's, and guests take turns: not offered.
        workaround_2: Workaround::Unknown,
        workaround_3: answer(WORKAROUND_3),
    }
}
