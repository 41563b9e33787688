//! The devices of a tree as a flat list, with addresses and interrupts resolved.

use alloc::string::String;
use alloc::vec::Vec;

use droste_platform::{Device, Interrupt, SPI, Trigger};
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};

use crate::cells::cells;

/// Nesting that no real tree reaches; deeper nodes are ignored.
const MAX_DEPTH: usize = 16;
/// Cells of an interrupt specifier of the GIC.
const GIC_CELLS: usize = 3;
/// Flags of a specifier that mean an edge, rising or falling.
const EDGE: u32 = 0b11;
const INTID_PPI: u32 = 16;

/// Decodes a specifier of the `arm,gic-v3` binding: type, number, flags.
fn from_cells(cells: &[u32]) -> Option<Interrupt> {
    let &[kind, number, flags, ..] = cells else {
        return None;
    };
    let base = match kind {
        0 if number < 988 => SPI,
        1 if number < 16 => INTID_PPI,
        _ => return None,
    };
    let trigger = if flags & EDGE == 0 {
        Trigger::Level
    } else {
        Trigger::Edge
    };
    Some(Interrupt {
        intid: base + number,
        trigger,
    })
}

/// The specifier of the `arm,gic-v3` binding.
pub(crate) fn to_cells(interrupt: Interrupt) -> [u32; GIC_CELLS] {
    let (kind, base) = if interrupt.intid < SPI {
        (1, INTID_PPI)
    } else {
        (0, SPI)
    };
    [
        kind,
        interrupt.intid - base,
        if interrupt.trigger == Trigger::Edge {
            1
        } else {
            4
        },
    ]
}

/// What a node inherits from those above it.
#[derive(Clone)]
struct Inherited {
    interrupt_parent: Option<u32>,
    /// Translations from the bus's addresses to the parent's, innermost last; `None` where a bus has no `ranges`.
    windows: Vec<Option<Vec<Window>>>,
}

/// One entry of `ranges`; an empty list is the identity.
#[derive(Clone)]
struct Window {
    child: u64,
    parent: u64,
    bytes: u64,
}

/// All nodes of `fdt`, parents before children. Nodes that are not `okay` are left out with all below them.
pub(crate) fn all(fdt: Fdt<'_>) -> Vec<Device> {
    let gic = gic_phandle(fdt.root(), 0);
    let mut devices = Vec::new();
    let interrupt_parent = Properties::of(fdt.root()).interrupt_parent;
    collect(
        fdt.root(),
        "",
        &Inherited {
            interrupt_parent,
            windows: Vec::new(),
        },
        gic,
        &mut devices,
    );
    devices
}

fn gic_phandle(node: FdtNode<'_>, depth: usize) -> Option<u32> {
    if node.is_compatible("arm,gic-v3") {
        return node.phandle().ok().flatten();
    }
    if depth == MAX_DEPTH {
        return None;
    }
    node.children()
        .find_map(|child| gic_phandle(child, depth + 1))
}

/// The properties of a node that matter here, found in one pass: a lookup by name is a pass of its own.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each stands for one property of the tree"
)]
struct Properties {
    interrupt_parent: Option<u32>,
    interrupts: Vec<Interrupt>,
    compatible: Vec<String>,
    is_okay: bool,
    has_registers: bool,
    has_ranges: bool,
    is_dma_coherent: bool,
}

impl Properties {
    fn of(node: FdtNode<'_>) -> Self {
        let mut found = Self {
            interrupt_parent: None,
            interrupts: Vec::new(),
            compatible: Vec::new(),
            is_okay: true,
            has_registers: false,
            has_ranges: false,
            is_dma_coherent: false,
        };
        for property in node.properties() {
            match property.name() {
                "interrupt-parent" => found.interrupt_parent = property.value_as().ok(),
                "interrupts" => found.interrupts = specifiers(property.value()),
                "compatible" => found.compatible = strings(property.value()),
                "status" => found.is_okay = matches!(property.value(), b"okay\0" | b"ok\0"),
                "reg" => found.has_registers = true,
                "ranges" => found.has_ranges = true,
                "dma-coherent" => found.is_dma_coherent = true,
                _ => {}
            }
        }
        found
    }
}

fn strings(value: &[u8]) -> Vec<String> {
    let names = value
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    names
        .filter_map(|name| core::str::from_utf8(name).ok())
        .map(String::from)
        .collect()
}

fn collect(
    node: FdtNode<'_>,
    path: &str,
    above: &Inherited,
    gic: Option<u32>,
    devices: &mut Vec<Device>,
) {
    for child in node.children() {
        let properties = Properties::of(child);
        if !properties.is_okay {
            continue;
        }
        let mut child_path = String::from(path);
        child_path.push('/');
        child_path.push_str(child.name());
        let mut below = above.clone();
        below.interrupt_parent = properties.interrupt_parent.or(above.interrupt_parent);
        let ranges = if properties.has_ranges {
            windows(child)
        } else {
            None
        };
        devices.push(device(child, child_path.clone(), properties, &below, gic));
        if below.windows.len() < MAX_DEPTH {
            below.windows.push(ranges);
            collect(child, &child_path, &below, gic, devices);
        }
    }
}

/// `below` holds what the node's own properties pass on, and the windows above it.
fn device(
    node: FdtNode<'_>,
    path: String,
    properties: Properties,
    below: &Inherited,
    gic: Option<u32>,
) -> Device {
    let registers = if properties.has_registers {
        node.reg().ok().flatten()
    } else {
        None
    };
    let registers = registers.into_iter().flatten().filter_map(|reg| {
        let (address, bytes) = (reg.address::<u64>().ok()?, reg.size::<u64>().ok()?);
        let start = translate(address, &below.windows)?;
        Some(start..start.checked_add(bytes)?)
    });
    let mut device = Device {
        path,
        compatible: properties.compatible,
        registers: registers.collect(),
        interrupts: properties.interrupts,
        is_dma_coherent: properties.is_dma_coherent,
    };
    let is_gics =
        gic.is_some() && below.interrupt_parent == gic || device.is_compatible("arm,gic-v3");
    if !is_gics {
        device.interrupts.clear();
    }
    device
}

/// The interrupt of the specifier number `at` of a property `interrupts`.
pub(crate) fn specifier(value: &[u8], at: usize) -> Option<Interrupt> {
    from_cells(cells(value).chunks(GIC_CELLS).nth(at)?)
}

fn specifiers(value: &[u8]) -> Vec<Interrupt> {
    let cells = cells(value);
    let specifiers = cells.chunks(GIC_CELLS);
    specifiers.filter_map(from_cells).collect()
}

/// A bus's `ranges`; `None` where it has none, so that its addresses are not the CPU's.
fn windows(node: FdtNode<'_>) -> Option<Vec<Window>> {
    let ranges = node.ranges().ok().flatten()?;
    ranges
        .map(|r| {
            Some(Window {
                child: r.child_bus_address().ok()?,
                parent: r.parent_bus_address().ok()?,
                bytes: r.length().ok()?,
            })
        })
        .collect()
}

fn translate(address: u64, windows: &[Option<Vec<Window>>]) -> Option<u64> {
    windows.iter().rev().try_fold(address, |address, bus| {
        let bus = bus.as_ref()?;
        if bus.is_empty() {
            return Some(address);
        }
        let window = bus.iter().find(|w| {
            address
                .checked_sub(w.child)
                .is_some_and(|offset| offset < w.bytes)
        })?;
        window.parent.checked_add(address - window.child)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupt_specifiers_survive_a_round_trip() {
        for intid in 16..1020 {
            for trigger in [Trigger::Edge, Trigger::Level] {
                let interrupt = Interrupt { intid, trigger };
                assert_eq!(from_cells(&to_cells(interrupt)), Some(interrupt));
            }
        }
        assert_eq!(from_cells(&[1, 16, 4]), None, "there are 16 PPIs");
        assert_eq!(from_cells(&[2, 0, 4]), None, "extended ranges are not ours");
    }

    #[test]
    fn addresses_pass_through_each_bus() {
        let outer = Some(alloc::vec![Window {
            child: 0,
            parent: 0x1_0000_0000,
            bytes: 0x1000_0000
        }]);
        let inner = Some(alloc::vec![Window {
            child: 0x100,
            parent: 0x2000,
            bytes: 0x100
        }]);
        assert_eq!(
            translate(0x110, &[outer.clone(), inner.clone()]),
            Some(0x1_0000_2010)
        );
        assert_eq!(
            translate(0x200, &[outer.clone(), inner]),
            None,
            "outside the inner window"
        );
        assert_eq!(
            translate(0x110, &[outer, Some(Vec::new())]),
            Some(0x1_0000_0110),
            "empty ranges: identity"
        );
        assert_eq!(
            translate(0x110, &[None]),
            None,
            "no ranges: not the CPU's address"
        );
    }
}
