//! Devices, and the interrupts by which they ask for a CPU.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

/// The first interrupt that CPUs share (IHI 0069, 2.2.1).
pub const SPI: u32 = 32;

/// How an interrupt line signals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// By a rising edge.
    Edge,
    /// By a high level.
    Level,
}

/// An interrupt of the GIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupt {
    /// INTID: 16–31 private to a CPU, 32 and up shared.
    pub intid: u32,
    /// How its line signals.
    pub trigger: Trigger,
}

/// A device node, with registers and interrupts as the CPU sees them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// The full path, such as `/soc/serial@9000000`.
    pub path: String,
    /// `compatible`, the most specific first.
    pub compatible: Vec<String>,
    /// Register ranges, physical addresses.
    pub registers: Vec<Range<u64>>,
    /// The interrupts that go to the GIC, in the node's order.
    pub interrupts: Vec<Interrupt>,
    /// Whether the device's memory accesses are coherent with the CPUs' caches.
    pub is_dma_coherent: bool,
}

impl Device {
    /// The last part of the path, such as `serial@9000000`.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Whether `compatible` lists `name`.
    pub fn is_compatible(&self, name: &str) -> bool {
        self.compatible.iter().any(|c| c == name)
    }
}
