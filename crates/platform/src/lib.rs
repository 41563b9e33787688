//! What a machine has, as its firmware describes it.
//!
//! [`Platform`] is what Droste needs of a machine. `droste-devtree` reads it from a device tree, `droste-acpi` from ACPI's
//! tables; nobody who uses it can tell which. What is loaded beside, and where RAM is, the boot loader says: [`Boot`].
//! Nothing here knows a particular board.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod boot;
mod device;
mod dma;
mod uart;

pub use boot::{Boot, option};
pub use device::{Device, Interrupt, SPI, Trigger};
pub use dma::{IdMap, Its, Node, RootComplex, Smmu};
pub use uart::{Uart, UartModel};

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// The first address that EL2 cannot map: 48 bits, as without FEAT_LPA2 (DDI 0487, D8.1).
const ADDRESS_END: u64 = 1 << 48;

/// The interrupt controller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gic {
    /// Registers of the distributor.
    pub distributor: Range<u64>,
    /// Regions of redistributors.
    pub redistributors: Vec<Range<u64>>,
    /// The private interrupt by which the virtual CPU interface asks for maintenance.
    pub maintenance: Interrupt,
}

/// Private interrupts of the generic timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timer {
    /// The non-secure physical timer of EL1.
    pub physical: Interrupt,
    /// The virtual timer of EL1.
    pub virt: Interrupt,
    /// The physical timer of EL2.
    pub hypervisor: Interrupt,
}

/// The parts of the machine that Droste uses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Platform {
    /// RAM, and what is loaded there.
    pub boot: Boot,
    /// MPIDR affinities of the CPUs, in the description's order.
    pub cpus: Vec<u64>,
    /// The interrupt controller.
    pub gic: Gic,
    /// The timer's interrupts.
    pub timer: Timer,
    /// The UART that the description names as console, or the first one.
    pub uart: Uart,
    /// The interrupt of [`uart`](Self::uart).
    pub uart_interrupt: Interrupt,
    /// Interrupt Translation Services.
    pub its: Vec<Its>,
    /// SMMUs.
    pub smmus: Vec<Smmu>,
    /// PCI.
    pub root_complexes: Vec<RootComplex>,
    /// Which CPUs are near to which memory.
    pub nodes: Vec<Node>,
    /// Devices that have a name; ACPI's tables name none.
    pub devices: Vec<Device>,
}

impl Platform {
    /// The first PL031 that EL2 can map, if there is one.
    pub fn rtc(&self) -> Option<&Device> {
        let is_pl031 = |d: &&Device| {
            d.is_compatible("arm,pl031") && d.registers.first().is_some_and(are_registers)
        };
        self.devices.iter().find(is_pl031)
    }

    /// The device at `path`.
    pub fn device(&self, path: &str) -> Option<&Device> {
        self.devices.iter().find(|d| d.path == path)
    }

    /// The value of the option `name=value` on the command line; empty if the word stands alone.
    pub fn option(&self, name: &str) -> Option<&str> {
        option(&self.boot.arguments, name)
    }

    /// Whether what it names can be: interrupts of their devices' kinds, and addresses that EL2 can map.
    ///
    /// # Errors
    ///
    /// The first flaw that is found.
    pub fn check(&self) -> Result<(), Flaw> {
        let timer = [self.timer.physical, self.timer.virt, self.timer.hypervisor];
        let private = timer.map(|interrupt| ("timer", interrupt));
        for (whose, Interrupt { intid, .. }) in private
            .into_iter()
            .chain([("GICv3's maintenance", self.gic.maintenance)])
        {
            if intid >= SPI {
                return Err(Flaw::Interrupt(whose, intid));
            }
        }
        let intid = self.uart_interrupt.intid;
        if intid < SPI {
            return Err(Flaw::Interrupt("console's UART", intid));
        }
        match self.boot.memory.iter().map(|range| range.end).max() {
            Some(end) if end > ADDRESS_END => Err(Flaw::Address(end - 1)),
            _ => Ok(()),
        }
    }
}

/// What cannot be of a description, whatever its language. Displays as what the description does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// An interrupt is private to a CPU where the device needs a shared one, or the other way round; carries the device
    /// and the INTID.
    Interrupt(&'static str, u32),
    /// RAM ends beyond the 48 address bits that Droste maps; carries its last address.
    Address(u64),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupt(whose, intid) => write!(
                f,
                "gives the {whose} interrupt {intid}, of another kind than it has; correct it there"
            ),
            Self::Address(address) => write!(
                f,
                "has RAM up to {address:#x}, beyond the 48 bits of address that Droste maps"
            ),
        }
    }
}

impl core::error::Error for Flaw {}

/// Whether registers can be there: somewhere, and where EL2 can map them.
pub fn are_registers(range: &Range<u64>) -> bool {
    range.start != 0 && !range.is_empty() && range.end <= ADDRESS_END
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform() -> Platform {
        let level = |intid| Interrupt {
            intid,
            trigger: Trigger::Level,
        };
        Platform {
            boot: Boot {
                memory: alloc::vec![0x4000_0000..0x8000_0000],
                ..Boot::default()
            },
            cpus: alloc::vec![0],
            gic: Gic {
                distributor: 0x800_0000..0x801_0000,
                redistributors: Vec::new(),
                maintenance: level(25),
            },
            timer: Timer {
                physical: level(30),
                virt: level(27),
                hypervisor: level(26),
            },
            uart: Uart {
                model: UartModel::Pl011,
                registers: 0x900_0000..0x900_1000,
            },
            uart_interrupt: level(33),
            its: Vec::new(),
            smmus: Vec::new(),
            root_complexes: Vec::new(),
            nodes: Vec::new(),
            devices: Vec::new(),
        }
    }

    #[test]
    fn an_interrupt_of_another_kind_is_a_flaw() {
        assert_eq!(platform().check(), Ok(()));
        let spoilt = |spoil: fn(&mut Platform)| {
            let mut platform = platform();
            spoil(&mut platform);
            platform.check()
        };
        let timer = |intid| Err(Flaw::Interrupt("timer", intid));
        assert_eq!(spoilt(|p| p.timer.physical.intid = 32), timer(32));
        assert_eq!(spoilt(|p| p.timer.virt.intid = 33), timer(33));
        assert_eq!(spoilt(|p| p.timer.hypervisor.intid = 34), timer(34));
        let maintenance = Err(Flaw::Interrupt("GICv3's maintenance", 40));
        assert_eq!(spoilt(|p| p.gic.maintenance.intid = 40), maintenance);
        let uart = Err(Flaw::Interrupt("console's UART", 31));
        assert_eq!(spoilt(|p| p.uart_interrupt.intid = 31), uart);
    }

    #[test]
    fn memory_beyond_48_bits_is_a_flaw() {
        let mut p = platform();
        p.boot.memory.push((1 << 48) - 1..1 << 48);
        assert_eq!(p.check(), Ok(()));
        p.boot.memory.push(1 << 48..(1 << 48) + 1);
        assert_eq!(p.check(), Err(Flaw::Address(1 << 48)));
    }

    #[test]
    fn registers_are_somewhere_and_can_be_mapped() {
        for (range, are) in [
            (0..0x1000, false),
            (0x1000..0x1000, false),
            (0x1000..1 << 48, true),
            (0x1000..(1 << 48) + 1, false),
        ] {
            assert_eq!(are_registers(&range), are, "{range:x?}");
        }
    }
}
