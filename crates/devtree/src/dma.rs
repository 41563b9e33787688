//! How what devices write gets to memory: ITSs, SMMUs and PCI in a tree, by the bindings `arm,gic-v3-its`, `arm,smmu-v3`
//! and `pci-host-ecam-generic`.

use alloc::vec::Vec;

use droste_platform::{Device, IdMap, Its, RootComplex, SmmuUnit, are_registers};
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

use crate::cells::{cells, integer};
use crate::device;

/// Bytes of configuration space of a bus.
const BUS_BYTES: u64 = 1 << 20;
/// All bits of a requester ID.
const ALL_BITS: u64 = 0xffff;

/// Units of a kind, each with the phandle by which others name it.
struct Units<T> {
    units: Vec<T>,
    phandles: Vec<Option<u32>>,
}

/// What a tree has.
pub(crate) struct Dma {
    pub(crate) its: Vec<Its>,
    pub(crate) smmus: Vec<SmmuUnit>,
    pub(crate) root_complexes: Vec<RootComplex>,
}

pub(crate) fn read(fdt: Fdt<'_>, devices: &[Device]) -> Dma {
    let its = units(fdt, devices, "arm,gic-v3-its", |device, _| Its {
        registers: device.registers[0].clone(),
    });
    let smmus = units(fdt, devices, "arm,smmu-v3", smmu);
    let root_complexes = usable(devices, "pci-host-ecam-generic").filter_map(|device| {
        let node = fdt.find_node(&device.path)?;
        root_complex(device, node, &smmus.phandles, &its.phandles)
    });
    Dma {
        root_complexes: root_complexes.collect(),
        its: its.units,
        smmus: smmus.units,
    }
}

/// The devices of a kind that have registers.
fn usable<'a>(devices: &'a [Device], kind: &'a str) -> impl Iterator<Item = &'a Device> {
    devices.iter().filter(move |device| {
        device.is_compatible(kind) && device.registers.first().is_some_and(are_registers)
    })
}

fn units<T>(
    fdt: Fdt<'_>,
    devices: &[Device],
    kind: &str,
    read: impl Fn(&Device, FdtNode<'_>) -> T,
) -> Units<T> {
    let mut found = Units {
        units: Vec::new(),
        phandles: Vec::new(),
    };
    for device in usable(devices, kind) {
        if let Some(node) = fdt.find_node(&device.path) {
            found.units.push(read(device, node));
            found.phandles.push(number(node, "phandle"));
        }
    }
    found
}

fn number(node: FdtNode<'_>, name: &str) -> Option<u32> {
    u32::try_from(integer(node.property(name)?.value())?).ok()
}

fn smmu(device: &Device, node: FdtNode<'_>) -> SmmuUnit {
    let names = node.property("interrupt-names");
    let names = names.as_ref().map_or(&[][..], |names| names.value());
    let interrupt = |wanted: &str| {
        let mut names = names.split(|byte| *byte == 0);
        let at = names.position(|name| name == wanted.as_bytes())?;
        // By its place among all that are named: `device.interrupts` has those of the GIC alone.
        let own = device::specifier(node.property("interrupts")?.value(), at)?;
        device.interrupts.contains(&own).then_some(own)
    };
    SmmuUnit {
        registers: device.registers[0].clone(),
        event: interrupt("eventq"),
        page_request: interrupt("priq"),
        sync: interrupt("cmdq-sync"),
        error: interrupt("gerror"),
        is_coherent: device.is_dma_coherent,
    }
}

/// `None` where its requester IDs are masked before they are looked up, which no run of numbers can say.
fn root_complex(
    device: &Device,
    node: FdtNode<'_>,
    smmus: &[Option<u32>],
    its: &[Option<u32>],
) -> Option<RootComplex> {
    let has_mask = |name| {
        let mask = node.property(name).and_then(|mask| integer(mask.value()));
        mask.is_some_and(|mask| mask & ALL_BITS != ALL_BITS)
    };
    if has_mask("iommu-map-mask") || has_mask("msi-map-mask") {
        return None;
    }
    let ecam = device.registers[0].clone();
    let buses = match node.property("bus-range") {
        Some(range) => match cells(range.value())[..] {
            [first, last] if first <= last && last <= 0xff => first..last + 1,
            _ => return None,
        },
        None => 0..((ecam.end - ecam.start) / BUS_BYTES).min(0x100) as u32,
    };
    let bytes = (u64::from(buses.end) - u64::from(buses.start)) * BUS_BYTES;
    if bytes > ecam.end - ecam.start {
        return None;
    }
    Some(RootComplex {
        segment: number(node, "linux,pci-domain").unwrap_or(0),
        buses,
        ecam,
        streams: maps(node, "iommu-map", smmus),
        messages: maps(node, "msi-map", its),
    })
}

/// Runs of four cells: first input, phandle of the unit, first output, how many.
fn maps(node: FdtNode<'_>, name: &str, units: &[Option<u32>]) -> Vec<IdMap> {
    let cells = node.property(name).map(|map| cells(map.value()));
    let cells = cells.unwrap_or_default();
    let runs = cells.as_chunks().0.iter();
    let run = |&[input, phandle, output, count]: &[u32; 4]| {
        Some(IdMap {
            input: input..input.checked_add(count)?,
            output,
            unit: units.iter().position(|unit| *unit == Some(phandle))?,
        })
    };
    runs.filter_map(run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use droste_platform::{Interrupt, Node as NumaNode, Platform, Trigger};

    /// QEMU's `virt` board with an ITS, an SMMU and two nodes of two CPUs and 512 MiB.
    const NODES: &[u8] = include_bytes!("../tests/nodes.dtb");

    fn parse(tree: &[u8]) -> Platform {
        let tree = crate::Tree::read(tree).expect("a tree");
        tree.platform().expect("a complete tree")
    }

    #[test]
    fn the_way_of_pcis_writes_is_understood() {
        let p = parse(NODES);
        assert_eq!(p.its[0].registers, 0x808_0000..0x80a_0000);
        let edge = |intid| {
            Some(Interrupt {
                intid,
                trigger: Trigger::Edge,
            })
        };
        let smmu = SmmuUnit {
            registers: 0x905_0000..0x907_0000,
            event: edge(106),
            page_request: edge(107),
            sync: edge(108),
            error: edge(109),
            is_coherent: true,
        };
        assert_eq!(p.smmus, [smmu]);
        let all = |unit| IdMap {
            input: 0..0x1_0000,
            output: 0,
            unit,
        };
        let pci = RootComplex {
            segment: 0,
            buses: 0..0x100,
            ecam: 0x40_1000_0000..0x40_2000_0000,
            streams: Vec::from([all(0)]),
            messages: Vec::from([all(0)]),
        };
        assert_eq!(p.root_complexes, [pci]);
    }

    #[test]
    fn nodes_have_their_cpus_and_their_memory() {
        let node = |number: u32, cpus: [u64; 2], memory| NumaNode {
            number,
            cpus: cpus.into(),
            memory: Vec::from([memory]),
        };
        let expected = [
            node(0, [0, 1], 0x4000_0000..0x6000_0000),
            node(1, [2, 3], 0x6000_0000..0x8000_0000),
        ];
        assert_eq!(parse(NODES).nodes, expected);
    }

    /// The board with each `what` of its tree overwritten by as many bytes.
    fn spoilt(what: &[u8], by: &[u8]) -> Vec<u8> {
        assert_eq!(what.len(), by.len());
        let mut tree = NODES.to_vec();
        let mut found = 0;
        for at in 0..tree.len() - what.len() {
            if &tree[at..at + what.len()] == what {
                tree[at..at + what.len()].copy_from_slice(by);
                found += 1;
            }
        }
        assert!(found > 0, "the board has it");
        tree
    }

    #[test]
    fn a_map_to_a_unit_that_is_none_leads_nowhere() {
        let p = parse(&spoilt(b"arm,smmu-v3", b"arm,smmu-v9"));
        assert_eq!(p.smmus, []);
        assert_eq!(p.root_complexes[0].streams, []);
        assert_eq!(p.root_complexes[0].messages.len(), 1);
    }

    #[test]
    fn ids_that_are_masked_and_buses_that_cannot_be_leave_no_root_complex() {
        // A name is an offset into the strings, so another one serves as well, if its value is a number.
        let p = parse(&spoilt(b"linux,pci-domain\0", b"iommu-map-mask\0\0\0"));
        assert_eq!(p.root_complexes, [], "a mask of 0");
        let range = |first: u32, last: u32| [first.to_be_bytes(), last.to_be_bytes()].concat();
        let p = parse(&spoilt(&range(0, 0xff), &range(0, 0x100)));
        assert_eq!(p.root_complexes, []);
    }
}
