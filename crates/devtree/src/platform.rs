//! The machine, as the boot loader's device tree describes it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use droste_platform::{
    Boot, Device, Flaw, Gic, Interrupt, Node as NumaNode, Platform, Timer, Uart, UartModel,
    are_registers, option,
};
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

use crate::cells::integer;
use crate::{device, dma};

/// Why Droste cannot run on the machine of a device tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlatformError {
    /// The bytes are not a device tree.
    Malformed,
    /// A part that Droste needs is missing; carries its name.
    Missing(&'static str),
    /// PSCI is called by an instruction other than SMC, so there is a hypervisor below; carries the method.
    Conduit(String),
    /// What it says cannot be.
    Flaw(Flaw),
}

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => write!(
                f,
                "the boot loader's device tree is malformed; pass an intact one in x0"
            ),
            Self::Missing(what) => write!(f, "the device tree has no {what}, which Droste needs"),
            Self::Conduit(method) => {
                write!(
                    f,
                    "PSCI is called by `{method}`: Droste must run on the firmware itself, by `smc`"
                )
            }
            Self::Flaw(flaw) => write!(f, "the device tree {flaw}"),
        }
    }
}

impl core::error::Error for PlatformError {}

impl PlatformError {
    /// Whether the firmware can still be called, to switch the machine off.
    pub fn has_firmware(&self) -> bool {
        match self {
            Self::Malformed | Self::Conduit(_) => false,
            Self::Missing(what) => !what.starts_with("/psci"),
            Self::Flaw(_) => true,
        }
    }
}

/// A device tree whose devices were read once, since searching a flattened tree is slow.
///
/// ```no_run
/// # let bytes: &[u8] = &[];
/// let tree = droste_devtree::Tree::read(bytes)?;
/// let console = tree.console();
/// let platform = tree.platform()?;
/// # Ok::<(), droste_devtree::PlatformError>(())
/// ```
#[derive(Debug)]
pub struct Tree<'a> {
    fdt: Fdt<'a>,
    /// `/chosen`, looked for once: that is a walk over the tree.
    chosen: Option<FdtNode<'a>>,
    devices: Vec<Device>,
}

impl<'a> Tree<'a> {
    /// Reads a flattened device tree.
    ///
    /// # Errors
    ///
    /// If the bytes are not a device tree.
    pub fn read(bytes: &'a [u8]) -> Result<Self, PlatformError> {
        let fdt = Fdt::new(bytes).map_err(|_| PlatformError::Malformed)?;
        let devices = device::all(fdt);
        Ok(Self {
            fdt,
            chosen: fdt.find_node("/chosen"),
            devices,
        })
    }

    /// The PL011, even if the rest of the tree is unusable, its interrupt controller included: the error can be printed
    /// there.
    pub fn console(&self) -> Option<Uart> {
        let stdout = self.chosen("stdout-path");
        pl011(self.fdt, &self.devices, stdout, |_| true).map(uart_of)
    }

    /// The parts of the machine that Droste uses.
    ///
    /// # Errors
    ///
    /// The part that is missing or unusable: RAM, CPUs, PSCI by SMC, a GICv3, the generic timer, a PL011.
    pub fn platform(self) -> Result<Platform, PlatformError> {
        check_psci(self.fdt)?;
        let number = |name: &str| integer(self.chosen?.property(name)?.value());
        let stdout = self.chosen("stdout-path");
        let Self {
            fdt, ref devices, ..
        } = self;
        let memory = memory(fdt)?;
        let cpus = cpus(fdt)?;
        // What else is missing may be for want of it.
        let gic = gic(devices)?;
        let timer = timer(devices)?;
        let (uart, uart_interrupt) = uart(fdt, devices, stdout)?;
        let boot = Boot {
            memory,
            reserved: reserved(fdt, devices),
            image: number("linux,initrd-start")
                .zip(number("linux,initrd-end"))
                .map(|(s, e)| s..e),
            arguments: self.chosen("bootargs").unwrap_or_default().into(),
            seed: self
                .chosen
                .and_then(|chosen| chosen.property("rng-seed"))
                .map_or_else(Vec::new, |seed| seed.value().into()),
            tree_bytes: fdt.data().len() as u64,
        };
        let dma = dma::read(fdt, devices);
        let platform = Platform {
            boot,
            cpus,
            gic,
            timer,
            uart,
            uart_interrupt,
            its: dma.its,
            smmus: dma.smmus,
            root_complexes: dma.root_complexes,
            nodes: nodes(fdt),
            devices: self.devices,
        };
        platform.check().map_err(PlatformError::Flaw)?;
        Ok(platform)
    }

    /// An option of the command line, as [`Platform::option`] finds it, even if the rest of the tree is unusable.
    pub fn option(&self, name: &str) -> Option<&'a str> {
        option(self.chosen("bootargs")?, name)
    }

    /// A string of `/chosen`.
    fn chosen(&self, name: &str) -> Option<&'a str> {
        self.chosen?.property(name)?.value_as::<&str>().ok()
    }
}

/// The nodes `memory` of the root, each with its ranges.
fn memory_nodes(fdt: Fdt<'_>) -> impl Iterator<Item = (FdtNode<'_>, Vec<Range<u64>>)> {
    let nodes = fdt.root().children();
    nodes
        .filter(|n| n.name_without_address() == "memory")
        .map(|node| {
            let ranges = node.reg().ok().flatten().into_iter().flatten();
            let ranges = ranges.filter_map(|reg| {
                let start = reg.address::<u64>().ok()?;
                Some(start..start.checked_add(reg.size::<u64>().ok()?)?)
            });
            (node, ranges.filter(|r| !r.is_empty()).collect())
        })
}

fn memory(fdt: Fdt<'_>) -> Result<Vec<Range<u64>>, PlatformError> {
    let mut ranges: Vec<_> = memory_nodes(fdt).flat_map(|(_, ranges)| ranges).collect();
    ranges.sort_by_key(|r| r.start);
    if ranges.is_empty() {
        Err(PlatformError::Missing("memory node"))
    } else {
        Ok(ranges)
    }
}

/// What `numa-node-id` says of CPUs and memory.
fn nodes(fdt: Fdt<'_>) -> Vec<NumaNode> {
    let number = |node: FdtNode<'_>| {
        let number = integer(node.property("numa-node-id")?.value())?;
        u32::try_from(number).ok()
    };
    let mut nodes = Vec::new();
    for (node, ranges) in memory_nodes(fdt) {
        if let Some(number) = number(node) {
            NumaNode::of(&mut nodes, number).memory.extend(ranges);
        }
    }
    for (node, mpidr) in fdt.find_node("/cpus").into_iter().flat_map(cpu_nodes) {
        if let Some(number) = number(node) {
            NumaNode::of(&mut nodes, number).cpus.push(mpidr);
        }
    }
    for node in &mut nodes {
        node.memory.sort_by_key(|range| range.start);
    }
    nodes
}

fn reserved(fdt: Fdt<'_>, devices: &[Device]) -> Vec<Range<u64>> {
    let listed = fdt
        .memory_reservations()
        .map(|r| r.address()..r.address().saturating_add(r.size()));
    let nodes = devices
        .iter()
        .filter(|d| d.path.starts_with("/reserved-memory/"));
    listed
        .chain(nodes.flat_map(|d| d.registers.iter().cloned()))
        .collect()
}

fn cpus(fdt: Fdt<'_>) -> Result<Vec<u64>, PlatformError> {
    let nodes = fdt
        .find_node("/cpus")
        .ok_or(PlatformError::Missing("/cpus node"))?;
    let ids = cpu_nodes(nodes).map(|(_, mpidr)| mpidr);
    let ids: Vec<u64> = ids.collect();
    if ids.is_empty() {
        Err(PlatformError::Missing("cpu node"))
    } else {
        Ok(ids)
    }
}

/// The CPUs below `/cpus` that can be used, each with its MPIDR.
fn cpu_nodes(cpus: FdtNode<'_>) -> impl Iterator<Item = (FdtNode<'_>, u64)> {
    cpus.children()
        .filter(|n| n.name_without_address() == "cpu")
        .filter_map(|n| {
            let usable = n.property("status").is_none_or(|s| s.value() != b"fail\0");
            let mpidr = usable.then(|| n.property("reg").and_then(|p| integer(p.value())))??;
            Some((n, mpidr))
        })
}

fn check_psci(fdt: Fdt<'_>) -> Result<(), PlatformError> {
    let node = fdt
        .find_node("/psci")
        .ok_or(PlatformError::Missing("/psci node"))?;
    let method = node
        .property("method")
        .ok_or(PlatformError::Missing("/psci method"))?;
    match method.value_as::<&str>() {
        Ok("smc") => Ok(()),
        other => Err(PlatformError::Conduit(other.unwrap_or("?").into())),
    }
}

fn gic(devices: &[Device]) -> Result<Gic, PlatformError> {
    let node = devices
        .iter()
        .find(|d| d.is_compatible("arm,gic-v3"))
        .ok_or(PlatformError::Missing("GICv3"))?;
    let [distributor, redistributors @ ..] = node.registers.as_slice() else {
        return Err(PlatformError::Missing("GICv3 register ranges"));
    };
    if !are_registers(distributor) {
        return Err(PlatformError::Missing("registers of a GICv3"));
    }
    // With `#redistributor-regions` absent there is one; what follows the redistributors is GICC, GICH and GICV.
    Ok(Gic {
        distributor: distributor.clone(),
        redistributors: redistributors
            .iter()
            .filter(|r| are_registers(r) && r.end - r.start >= 0x2_0000)
            .cloned()
            .collect(),
        maintenance: *node
            .interrupts
            .first()
            .ok_or(PlatformError::Missing("GICv3 maintenance interrupt"))?,
    })
}

fn timer(devices: &[Device]) -> Result<Timer, PlatformError> {
    let node = devices.iter().find(|d| d.is_compatible("arm,armv8-timer"));
    let interrupts = node
        .map(|n| n.interrupts.as_slice())
        .ok_or(PlatformError::Missing("arm,armv8-timer node"))?;
    let &[_secure, physical, virt, hypervisor, ..] = interrupts else {
        return Err(PlatformError::Missing("interrupt of the EL2 timer"));
    };
    Ok(Timer {
        physical,
        virt,
        hypervisor,
    })
}

fn uart(
    fdt: Fdt<'_>,
    devices: &[Device],
    stdout: Option<&str>,
) -> Result<(Uart, Interrupt), PlatformError> {
    let found = pl011(fdt, devices, stdout, |device| !device.interrupts.is_empty());
    let found = found.ok_or(PlatformError::Missing("PL011 UART with an interrupt"))?;
    Ok((uart_of(found), found.interrupts[0]))
}

fn uart_of(device: &Device) -> Uart {
    Uart {
        model: UartModel::Pl011,
        registers: device.registers[0].clone(),
    }
}

/// The console: `stdout-path` may be a path or an alias, with options after a colon.
fn pl011<'a>(
    fdt: Fdt<'_>,
    devices: &'a [Device],
    stdout: Option<&str>,
    is_wanted: impl Fn(&Device) -> bool,
) -> Option<&'a Device> {
    let is_pl011 = |d: &&Device| {
        d.is_compatible("arm,pl011")
            && d.registers.first().is_some_and(are_registers)
            && is_wanted(d)
    };
    let named = stdout.and_then(|path| {
        let path = path.split(':').next()?;
        if path.starts_with('/') {
            return devices.iter().find(|d| d.path == path);
        }
        let alias = fdt.find_node("/aliases")?.property(path)?;
        let target = alias.value_as::<&str>().ok()?;
        devices.iter().find(|d| d.path == target)
    });
    named
        .filter(|d| is_pl011(d))
        .or_else(|| devices.iter().find(is_pl011))
}

#[cfg(test)]
mod tests {
    use super::*;
    use droste_platform::Trigger;

    /// QEMU's `virt` board: 2 CPUs, 1 GiB, EL2, GICv3 (`-machine virt,virtualization=on,gic-version=3,dumpdtb=…`),
    /// with an initrd and a command line.
    const VIRT: &[u8] = include_bytes!("../tests/virt.dtb");

    fn parse(tree: &[u8]) -> Result<Platform, PlatformError> {
        Tree::read(tree)?.platform()
    }

    #[test]
    fn the_virt_board_is_understood() {
        let p = parse(VIRT).expect("a complete tree");
        assert_eq!(p.boot.memory, [0x4000_0000..0x8000_0000]);
        assert_eq!(p.cpus, [0, 1]);
        assert_eq!(p.gic.distributor, 0x0800_0000..0x0801_0000);
        assert_eq!(p.gic.redistributors, [0x080a_0000..0x0900_0000]);
        assert_eq!(
            p.gic.maintenance,
            Interrupt {
                intid: 25,
                trigger: Trigger::Level
            }
        );
        assert_eq!(
            (
                p.timer.physical.intid,
                p.timer.virt.intid,
                p.timer.hypervisor.intid
            ),
            (30, 27, 26)
        );
        assert_eq!(p.uart.registers, 0x0900_0000..0x0900_1000);
        assert_eq!(
            p.uart_interrupt,
            Interrupt {
                intid: 33,
                trigger: Trigger::Level
            }
        );
        let rtc = p.rtc().expect("a clock");
        assert_eq!(rtc.registers, [0x0901_0000..0x0901_1000]);
        assert_eq!(p.option("droste.report"), Some("0123"));
        assert_eq!(p.option("droste.no-reboot"), Some(""));
        assert_eq!(p.option("droste.rep"), None);
    }

    #[test]
    fn a_device_is_found_by_its_path() {
        let p = parse(VIRT).expect("a complete tree");
        let device = p
            .device("/virtio_mmio@a000200")
            .expect("the board has 32 transports");
        assert_eq!(device.registers, [0x0a00_0200..0x0a00_0400]);
        assert_eq!(
            device.interrupts,
            [Interrupt {
                intid: 49,
                trigger: Trigger::Edge
            }]
        );
        assert!(device.is_dma_coherent && device.is_compatible("virtio,mmio"));
        assert_eq!(p.device("/virtio_mmio@1"), None);
    }

    #[test]
    fn garbage_is_malformed_and_an_empty_tree_says_what_it_lacks() {
        assert_eq!(parse(&[0; 64]).err(), Some(PlatformError::Malformed));
        let empty = dtoolkit::model::DeviceTree::new().to_dtb();
        assert_eq!(
            parse(&empty).err(),
            Some(PlatformError::Missing("/psci node"))
        );
    }

    /// The board with something of its tree overwritten by as many bytes.
    fn spoilt(what: &[u8], by: &[u8]) -> Vec<u8> {
        assert_eq!(what.len(), by.len());
        let mut tree = VIRT.to_vec();
        let at = tree.windows(what.len()).position(|bytes| bytes == what);
        let at = at.expect("the board has it");
        tree[at..at + by.len()].copy_from_slice(by);
        tree
    }

    fn console(tree: &[u8]) -> Option<Uart> {
        Tree::read(tree).ok()?.console()
    }

    #[test]
    fn a_tree_that_lacks_something_else_has_its_console() {
        for (what, by, firmware) in [
            (&b"arm,gic-v3"[..], &b"arm,gic-v9"[..], true),
            (b"arm,armv8-timer", b"arm,armv9-timer", true),
            (b"smc\0", b"hvc\0", false),
        ] {
            let tree = spoilt(what, by);
            let error = parse(&tree).expect_err("it lacks something");
            assert_eq!(error.has_firmware(), firmware, "{error}");
            let console = console(&tree).expect("a console");
            assert_eq!(console.registers, 0x0900_0000..0x0900_1000);
        }
        assert_eq!(console(&[0; 64]), None);
        assert_eq!(console(&spoilt(b"arm,pl011", b"arm,pl012")), None);
        assert!(!PlatformError::Malformed.has_firmware());
    }

    /// The bytes of 32-bit cells.
    fn cells(cells: &[u32]) -> Vec<u8> {
        cells.iter().flat_map(|cell| cell.to_be_bytes()).collect()
    }

    #[test]
    fn an_interrupt_of_another_kind_than_its_devices_is_told() {
        const LEVEL: u32 = 4;
        for (of, to, whose) in [
            ([1, 14, LEVEL], [0, 14, LEVEL], "timer"),
            ([1, 11, LEVEL], [0, 11, LEVEL], "timer"),
            ([1, 10, LEVEL], [0, 10, LEVEL], "timer"),
            ([1, 9, LEVEL], [0, 9, LEVEL], "GICv3's maintenance"),
            ([0, 1, LEVEL], [1, 1, LEVEL], "console's UART"),
        ] {
            let tree = spoilt(&cells(&of), &cells(&to));
            let error = parse(&tree).expect_err("it is no such interrupt");
            assert!(
                matches!(error, PlatformError::Flaw(Flaw::Interrupt(found, _)) if found == whose)
                    && error.has_firmware(),
                "{error}"
            );
        }
    }

    #[test]
    fn registers_that_cannot_be_there_are_none() {
        let reg = |address: u64, bytes: u64| {
            cells(&[(address >> 32) as u32, address as u32, 0, bytes as u32])
        };
        for (address, bytes) in [(0, 0x1000), (0x900_0000, 0), (1 << 48, 0x1000)] {
            let tree = spoilt(&reg(0x900_0000, 0x1000), &reg(address, bytes));
            assert_eq!(console(&tree), None);
        }
        let tree = spoilt(&reg(0x800_0000, 0x1_0000), &reg(0, 0x1_0000));
        let missing = PlatformError::Missing("registers of a GICv3");
        assert_eq!(parse(&tree).err(), Some(missing));
        let tree = spoilt(&reg(0x4000_0000, 0x4000_0000), &reg(1 << 48, 0x4000_0000));
        let far = PlatformError::Flaw(Flaw::Address((1 << 48) + 0x3fff_ffff));
        assert_eq!(parse(&tree).err(), Some(far));
    }

    #[test]
    fn a_machine_needs_no_clock_and_one_that_cannot_be_is_none() {
        let p = parse(&spoilt(b"arm,pl031", b"arm,pl039")).expect("complete without");
        assert_eq!(p.rtc(), None);
        let at = cells(&[0, 0x901_0000, 0, 0x1000]);
        let p = parse(&spoilt(&at, &cells(&[0, 0, 0, 0x1000]))).expect("complete without");
        assert_eq!(p.rtc(), None);
    }

    #[test]
    fn an_option_is_found_in_a_tree_that_lacks_all_else() {
        let tree = spoilt(b"arm,gic-v3", b"arm,gic-v9");
        let tree = Tree::read(&tree).expect("a tree");
        assert_eq!(tree.option("droste.report"), Some("0123"));
        assert_eq!(tree.option("droste.rep"), None);
    }

    #[test]
    fn every_truncation_is_an_error_and_no_panic() {
        for end in (0..VIRT.len()).step_by(61) {
            assert!(parse(&VIRT[..end]).is_err(), "cut at {end}");
        }
    }
}
