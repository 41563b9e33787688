//! The guest's device tree.

use crate::Failure;
use crate::arguments::Level;
use crate::layout::{
    GICD, GICD_BYTES, GICR, GICR_BYTES, MAINTENANCE_PPI, RAM, SERIAL, SERIAL_BYTES, SERIAL_SPI,
};
use vm_fdt::{Error, FdtWriter};

/// The interrupt controller's phandle.
const GIC: u32 = 1;
/// First cell of an interrupt: a shared peripheral interrupt, or a private one.
const SPI: u32 = 0;
const PPI: u32 = 1;
/// Third cell: on the rising edge, or while the level is high.
const EDGE_RISING: u32 = 1;
const LEVEL_HIGH: u32 = 4;
/// The timers' private interrupts, counted from the first one: secure and non-secure physical, virtual, hypervisor's.
const TIMERS: [u32; 4] = [13, 14, 11, 10];
/// What the serial port divides to get its rate, in Hz. Nothing depends on it.
const SERIAL_CLOCK: u32 = 1_843_200;

/// What the tree tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts<'a> {
    /// Each vCPU's affinity, bits 39:32 and 23:0 of its MPIDR_EL1.
    pub affinities: &'a [u64],
    /// Bytes of RAM.
    pub memory: u64,
    /// The guest's command line.
    pub cmdline: &'a str,
    /// The exception level that the guest starts at.
    pub level: Level,
    /// The RAM disk's address and length in bytes.
    pub initrd: Option<(u64, u64)>,
}

/// Writes the flattened tree.
///
/// # Errors
/// If a value cannot be written.
pub fn write(facts: &Facts<'_>) -> Result<Vec<u8>, Failure> {
    build(facts).map_err(|error| Failure::new(format!("cannot write the device tree: {error}")))
}

fn build(facts: &Facts<'_>) -> Result<Vec<u8>, Error> {
    let mut tree = FdtWriter::new()?;
    let root = tree.begin_node("")?;
    tree.property_string("compatible", "linux,dummy-virt")?;
    tree.property_u32("#address-cells", 2)?;
    tree.property_u32("#size-cells", 2)?;
    tree.property_u32("interrupt-parent", GIC)?;
    chosen(&mut tree, facts)?;
    memory(&mut tree, facts.memory)?;
    cpus(&mut tree, facts.affinities)?;
    psci(&mut tree, facts.level)?;
    timer(&mut tree)?;
    gic(&mut tree, facts)?;
    serial(&mut tree)?;
    tree.end_node(root)?;
    tree.finish()
}

fn chosen(tree: &mut FdtWriter, facts: &Facts<'_>) -> Result<(), Error> {
    let node = tree.begin_node("chosen")?;
    tree.property_string("bootargs", facts.cmdline)?;
    tree.property_string("stdout-path", &serial_path())?;
    if let Some((start, bytes)) = facts.initrd {
        tree.property_u64("linux,initrd-start", start)?;
        tree.property_u64("linux,initrd-end", start + bytes)?;
    }
    tree.end_node(node)
}

fn memory(tree: &mut FdtWriter, bytes: u64) -> Result<(), Error> {
    let node = tree.begin_node(&format!("memory@{RAM:x}"))?;
    tree.property_string("device_type", "memory")?;
    tree.property_array_u64("reg", &[RAM, bytes])?;
    tree.end_node(node)
}

fn cpus(tree: &mut FdtWriter, affinities: &[u64]) -> Result<(), Error> {
    let node = tree.begin_node("cpus")?;
    tree.property_u32("#address-cells", 2)?;
    tree.property_u32("#size-cells", 0)?;
    for affinity in affinities {
        let cpu = tree.begin_node(&format!("cpu@{affinity:x}"))?;
        tree.property_string("device_type", "cpu")?;
        tree.property_string("compatible", "arm,armv8")?;
        tree.property_string("enable-method", "psci")?;
        tree.property_u64("reg", *affinity)?;
        tree.end_node(cpu)?;
    }
    tree.end_node(node)
}

/// At EL2 an HVC is the guest's own call to itself, so its firmware is called by SMC.
fn psci(tree: &mut FdtWriter, level: Level) -> Result<(), Error> {
    let node = tree.begin_node("psci")?;
    let compatible = ["arm,psci-1.0", "arm,psci-0.2"].map(String::from);
    tree.property_string_list("compatible", compatible.into())?;
    let method = match level {
        Level::El1 => "hvc",
        Level::El2 => "smc",
    };
    tree.property_string("method", method)?;
    tree.end_node(node)
}

fn timer(tree: &mut FdtWriter) -> Result<(), Error> {
    let node = tree.begin_node("timer")?;
    tree.property_string("compatible", "arm,armv8-timer")?;
    tree.property_null("always-on")?;
    let interrupts: Vec<u32> = TIMERS
        .iter()
        .flat_map(|&number| [PPI, number, LEVEL_HIGH])
        .collect();
    tree.property_array_u32("interrupts", &interrupts)?;
    tree.end_node(node)
}

fn gic(tree: &mut FdtWriter, facts: &Facts<'_>) -> Result<(), Error> {
    let vcpus = facts.affinities.len() as u64;
    let node = tree.begin_node(&format!("interrupt-controller@{GICD:x}"))?;
    tree.property_string("compatible", "arm,gic-v3")?;
    tree.property_null("interrupt-controller")?;
    tree.property_u32("#interrupt-cells", 3)?;
    tree.property_array_u64("reg", &[GICD, GICD_BYTES, GICR, GICR_BYTES * vcpus])?;
    if facts.level == Level::El2 {
        tree.property_array_u32("interrupts", &[PPI, MAINTENANCE_PPI, LEVEL_HIGH])?;
    }
    tree.property_phandle(GIC)?;
    tree.end_node(node)
}

fn serial(tree: &mut FdtWriter) -> Result<(), Error> {
    let node = tree.begin_node(&serial_path()[1..])?;
    tree.property_string("compatible", "ns16550a")?;
    tree.property_array_u64("reg", &[SERIAL, SERIAL_BYTES])?;
    tree.property_u32("clock-frequency", SERIAL_CLOCK)?;
    tree.property_array_u32("interrupts", &[SPI, SERIAL_SPI, EDGE_RISING])?;
    tree.end_node(node)
}

fn serial_path() -> String {
    format!("/serial@{SERIAL:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(tree: &[u8], bytes: &[u8]) -> bool {
        tree.windows(bytes.len()).any(|window| window == bytes)
    }

    fn tree(initrd: Option<(u64, u64)>) -> Vec<u8> {
        tree_at(Level::El1, initrd)
    }

    fn tree_at(level: Level, initrd: Option<(u64, u64)>) -> Vec<u8> {
        write(&Facts {
            level,
            affinities: &[0, 1, 0x100],
            memory: 64 << 20,
            cmdline: "console=ttyS0 quiet",
            initrd,
        })
        .expect("written")
    }

    #[test]
    fn the_tree_names_every_cpu_and_the_console() {
        let tree = tree(None);
        assert!(tree.starts_with(&0xd00d_feed_u32.to_be_bytes()));
        for text in [
            "cpu@0\0",
            "cpu@1\0",
            "cpu@100\0",
            "/serial@9001000\0",
            "console=ttyS0 quiet\0",
            "memory@40000000\0",
        ] {
            assert!(holds(&tree, text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn a_ram_disk_is_named_by_its_ends() {
        let ends = [0x4200_0000_u64.to_be_bytes(), 0x4200_1234_u64.to_be_bytes()];
        let with = tree(Some((0x4200_0000, 0x1234)));
        assert!(ends.iter().all(|end| holds(&with, end)));
        assert!(!holds(&tree(None), b"linux,initrd-start"));
    }

    #[test]
    fn a_guest_at_el2_calls_by_smc_and_has_the_gics_interrupt() {
        let interrupt = [PPI, MAINTENANCE_PPI, LEVEL_HIGH].map(u32::to_be_bytes);
        for (level, method, has_interrupt) in
            [(Level::El1, b"hvc\0", false), (Level::El2, b"smc\0", true)]
        {
            let tree = tree_at(level, None);
            assert!(holds(&tree, method));
            assert_eq!(holds(&tree, &interrupt.concat()), has_interrupt);
        }
    }

    #[test]
    fn the_redistributors_cover_every_cpu() {
        let reg = [GICR, GICR_BYTES * 3].map(u64::to_be_bytes).concat();
        assert!(holds(&tree(None), &reg));
    }
}
