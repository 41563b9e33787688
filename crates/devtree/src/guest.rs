//! The device tree that a guest boots from.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use droste_platform::{Device, Interrupt};
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node, Property, ToPropertyValue};

use crate::device::to_cells;

const GIC_PHANDLE: u32 = 1;
/// The value of a property that only exists.
const FLAG: &[u8] = &[];
const CLOCK_PHANDLE: u32 = 2;
/// The devices' reference clock as QEMU's and Arm's boards have it: 24 MHz. No real line depends on it.
const CLOCK_HZ: u32 = 24_000_000;

/// Interrupts of a guest's own devices. The binding identifies timers by their places in a list, and some programs
/// expect the first four on any machine, as QEMU's `virt` lists them whatever its CPUs have.
#[derive(Clone, Copy, Debug)]
pub struct GuestInterrupts {
    /// Secure EL1's physical timer: only an entry of the list, since no guest has it.
    pub secure_timer: Interrupt,
    /// Physical timer.
    pub physical_timer: Interrupt,
    /// Virtual timer.
    pub virtual_timer: Interrupt,
    /// EL2's physical timer: only an entry of the list for a guest without EL2.
    pub hyp_physical_timer: Interrupt,
    /// UART.
    pub uart: Interrupt,
    /// Real time clock.
    pub rtc: Interrupt,
}

/// Interrupts of a guest with EL2.
#[derive(Clone, Copy, Debug)]
pub struct GuestEl2 {
    /// EL2's virtual timer, which comes with the Virtualization Host Extensions.
    pub hyp_virtual_timer: Option<Interrupt>,
    /// Maintenance interrupt of the GIC's virtual CPU interface.
    pub gic_maintenance: Interrupt,
}

/// What a guest hypervisor starts first, in its memory: modules in the binding of Xen's
/// `docs/misc/arm/device-tree/booting.txt`.
#[derive(Clone, Debug)]
pub struct GuestDom0<'a> {
    /// The kernel.
    pub kernel: Range<u64>,
    /// The initial RAM disk, where there is one.
    pub initrd: Option<Range<u64>>,
    /// The kernel's command line.
    pub bootargs: &'a str,
}

/// The machine that a guest's device tree describes. Addresses are guest physical addresses.
#[derive(Clone, Debug)]
pub struct Guest<'a> {
    /// The VM's name, shown as its model.
    pub name: &'a str,
    /// The MPIDR affinities of its CPUs.
    pub cpus: &'a [u64],
    /// RAM.
    pub memory: Range<u64>,
    /// The initial RAM disk, where there is one.
    pub initrd: Option<Range<u64>>,
    /// What it starts first, where it is a hypervisor that asks for that.
    pub dom0: Option<GuestDom0<'a>>,
    /// The kernel's command line.
    pub bootargs: &'a str,
    /// Whether its tree has [`seeds`].
    pub has_seeds: bool,
    /// Distributor of its GICv3.
    pub gic_distributor: Range<u64>,
    /// Redistributors of its GICv3.
    pub gic_redistributors: Range<u64>,
    /// PL011, where it has a console.
    pub uart: Option<Range<u64>>,
    /// PL031, where it has a clock.
    pub rtc: Option<Range<u64>>,
    /// Interrupts of the devices above.
    pub interrupts: GuestInterrupts,
    /// What it has in addition, if it has EL2.
    pub el2: Option<GuestEl2>,
    /// Devices of the platform that it drives, at their physical addresses.
    pub devices: &'a [Device],
}

/// Randomness that a kernel takes from `/chosen`, with the bytes of each: for its random numbers, and for where it lies.
const SEEDS: [(&str, usize); 2] = [("rng-seed", 32), ("kaslr-seed", 8)];

/// The ranges of a flattened tree that hold its seeds, if it has any. In a guest's tree they are zeros, to be filled
/// for each of its lives; in the machine's tree they are to be wiped once they are read.
pub fn seeds(tree: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let fdt = Fdt::new(tree).ok();
    let chosen = fdt.and_then(|fdt| fdt.find_node("/chosen"));
    SEEDS.into_iter().filter_map(move |(name, _)| {
        let seed = chosen?.property(name)?;
        let value = seed.value();
        let start = (value.as_ptr() as usize).checked_sub(tree.as_ptr() as usize)?;
        Some(start..start + value.len())
    })
}

fn property(name: &str, value: impl ToPropertyValue) -> DeviceTreeProperty {
    DeviceTreeProperty::new(name, value)
        .expect("property names here are literals that the specification allows")
}

fn node(name: &str, properties: impl IntoIterator<Item = DeviceTreeProperty>) -> DeviceTreeNode {
    let mut node =
        DeviceTreeNode::new(name).expect("node names here are literals or come from a device tree");
    for p in properties {
        node.add_property(p);
    }
    node
}

/// `reg` with two cells each for address and size.
fn reg(ranges: &[Range<u64>]) -> Vec<u8> {
    ranges
        .iter()
        .flat_map(|r| [r.start, r.end - r.start])
        .flat_map(u64::to_be_bytes)
        .collect()
}

fn interrupts(list: &[Interrupt]) -> Vec<u8> {
    list.iter()
        .flat_map(|i| to_cells(*i))
        .flat_map(u32::to_be_bytes)
        .collect()
}

/// A file for the kernel, which is a hypervisor.
fn module(kind: &str, range: &Range<u64>) -> DeviceTreeNode {
    let at = reg(core::slice::from_ref(range));
    node(
        &format!("module@{:x}", range.start),
        [
            property("compatible", [kind, "multiboot,module"].as_slice()),
            property("reg", at.as_slice()),
        ],
    )
}

impl Guest<'_> {
    /// The flattened device tree.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut tree = DeviceTree::new();
        let root = &mut tree.root;
        root.add_property(property("#address-cells", 2u32));
        root.add_property(property("#size-cells", 2u32));
        root.add_property(property("compatible", ["linux,dummy-virt"].as_slice()));
        root.add_property(property("model", format!("droste,{}", self.name).as_str()));
        root.add_property(property("interrupt-parent", GIC_PHANDLE));
        for child in [
            self.chosen(),
            self.memory(),
            self.cpus(),
            self.psci(),
            self.timer(),
            self.gic(),
            clock(),
        ] {
            root.add_child(child);
        }
        if let Some(uart) = &self.uart {
            root.add_child(self.serial(uart));
        }
        if let Some(rtc) = &self.rtc {
            root.add_child(self.real_time_clock(rtc));
        }
        for device in self.devices {
            root.add_child(passed_through(device));
        }
        tree.to_dtb()
    }

    fn serial_name(uart: &Range<u64>) -> String {
        format!("pl011@{:x}", uart.start)
    }

    fn chosen(&self) -> DeviceTreeNode {
        let mut chosen = node("chosen", [property("bootargs", self.bootargs)]);
        if self.has_seeds {
            for (name, bytes) in SEEDS {
                chosen.add_property(property(name, vec![0_u8; bytes].as_slice()));
            }
        }
        if let Some(initrd) = &self.initrd {
            chosen.add_property(property("linux,initrd-start", initrd.start));
            chosen.add_property(property("linux,initrd-end", initrd.end));
        }
        if let Some(dom0) = &self.dom0 {
            chosen.add_property(property("#address-cells", 2u32));
            chosen.add_property(property("#size-cells", 2u32));
            // Of a module's own command line Xen takes 1,024 bytes, and an empty one for none.
            chosen.add_property(property("xen,xen-bootargs", self.bootargs));
            chosen.add_property(property("xen,dom0-bootargs", dom0.bootargs));
            chosen.add_child(module("multiboot,kernel", &dom0.kernel));
            if let Some(initrd) = &dom0.initrd {
                chosen.add_child(module("multiboot,ramdisk", initrd));
            }
        }
        if let Some(uart) = &self.uart {
            chosen.add_property(property(
                "stdout-path",
                format!("/{}", Self::serial_name(uart)).as_str(),
            ));
        }
        chosen
    }

    fn memory(&self) -> DeviceTreeNode {
        let name = format!("memory@{:x}", self.memory.start);
        let range = reg(core::slice::from_ref(&self.memory));
        node(
            &name,
            [
                property("device_type", "memory"),
                property("reg", range.as_slice()),
            ],
        )
    }

    fn cpus(&self) -> DeviceTreeNode {
        let mut cpus = node(
            "cpus",
            [
                property("#address-cells", 2u32),
                property("#size-cells", 0u32),
            ],
        );
        for mpidr in self.cpus {
            cpus.add_child(node(
                &format!("cpu@{mpidr:x}"),
                [
                    property("device_type", "cpu"),
                    property("compatible", "arm,armv8"),
                    property("reg", *mpidr),
                    property("enable-method", "psci"),
                ],
            ));
        }
        cpus
    }

    fn timer(&self) -> DeviceTreeNode {
        let GuestInterrupts {
            secure_timer,
            physical_timer,
            virtual_timer,
            hyp_physical_timer,
            ..
        } = self.interrupts;
        // In the binding's order.
        let mut list = Vec::from([
            secure_timer,
            physical_timer,
            virtual_timer,
            hyp_physical_timer,
        ]);
        list.extend(self.el2.and_then(|el2| el2.hyp_virtual_timer));
        let list = interrupts(&list);
        node(
            "timer",
            [
                property("compatible", "arm,armv8-timer"),
                property("interrupts", list.as_slice()),
                property("always-on", FLAG),
            ],
        )
    }

    fn gic(&self) -> DeviceTreeNode {
        let ranges = reg(&[
            self.gic_distributor.clone(),
            self.gic_redistributors.clone(),
        ]);
        let mut gic = node(
            &format!("intc@{:x}", self.gic_distributor.start),
            [
                property("compatible", "arm,gic-v3"),
                property("interrupt-controller", FLAG),
                property("#interrupt-cells", 3u32),
                property("reg", ranges.as_slice()),
                property("phandle", GIC_PHANDLE),
            ],
        );
        if let Some(el2) = self.el2 {
            gic.add_property(property(
                "interrupts",
                interrupts(&[el2.gic_maintenance]).as_slice(),
            ));
        }
        gic
    }

    /// The firmware (DEN0022). A guest with EL2 calls it by SMC: its HVC calls its own EL2.
    fn psci(&self) -> DeviceTreeNode {
        let compatible = ["arm,psci-1.0", "arm,psci-0.2"].as_slice();
        let method = if self.el2.is_some() { "smc" } else { "hvc" };
        node(
            "psci",
            [
                property("compatible", compatible),
                property("method", method),
            ],
        )
    }

    fn serial(&self, uart: &Range<u64>) -> DeviceTreeNode {
        node(
            &Self::serial_name(uart),
            [
                property("compatible", ["arm,pl011", "arm,primecell"].as_slice()),
                property("reg", reg(core::slice::from_ref(uart)).as_slice()),
                property("interrupts", interrupts(&[self.interrupts.uart]).as_slice()),
                property("clocks", [CLOCK_PHANDLE; 2].as_slice()),
                property("clock-names", ["uartclk", "apb_pclk"].as_slice()),
            ],
        )
    }

    fn real_time_clock(&self, rtc: &Range<u64>) -> DeviceTreeNode {
        node(
            &format!("pl031@{:x}", rtc.start),
            [
                property("compatible", ["arm,pl031", "arm,primecell"].as_slice()),
                property("reg", reg(core::slice::from_ref(rtc)).as_slice()),
                property("interrupts", interrupts(&[self.interrupts.rtc]).as_slice()),
                property("clocks", CLOCK_PHANDLE),
                property("clock-names", "apb_pclk"),
            ],
        )
    }
}

fn clock() -> DeviceTreeNode {
    node(
        "apb-pclk",
        [
            property("compatible", "fixed-clock"),
            property("#clock-cells", 0u32),
            property("clock-frequency", CLOCK_HZ),
            property("phandle", CLOCK_PHANDLE),
        ],
    )
}

fn passed_through(device: &Device) -> DeviceTreeNode {
    let compatible: Vec<&str> = device.compatible.iter().map(String::as_str).collect();
    let mut node = node(
        device.name(),
        [
            property("compatible", compatible),
            property("reg", reg(&device.registers).as_slice()),
            property("interrupts", interrupts(&device.interrupts).as_slice()),
        ],
    );
    if device.is_dma_coherent {
        node.add_property(property("dma-coherent", FLAG));
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tree;
    use droste_platform::Trigger;
    use dtoolkit::standard::NodeStandard;

    fn level(intid: u32) -> Interrupt {
        Interrupt {
            intid,
            trigger: Trigger::Level,
        }
    }

    fn guest(devices: &[Device]) -> Guest<'_> {
        Guest {
            name: "linux",
            cpus: &[0, 1],
            memory: 0x4000_0000..0x6000_0000,
            initrd: Some(0x5000_0000..0x5010_0000),
            dom0: None,
            bootargs: "console=ttyAMA0",
            has_seeds: false,
            gic_distributor: 0x0800_0000..0x0801_0000,
            gic_redistributors: 0x080a_0000..0x080e_0000,
            uart: Some(0x0900_0000..0x0900_1000),
            rtc: Some(0x0901_0000..0x0901_1000),
            interrupts: GuestInterrupts {
                secure_timer: level(29),
                physical_timer: level(30),
                virtual_timer: level(27),
                hyp_physical_timer: level(26),
                uart: level(33),
                rtc: level(34),
            },
            el2: None,
            devices,
        }
    }

    #[test]
    fn seeds_are_found_in_the_tree_and_nowhere_else() {
        assert_eq!(seeds(&guest(&[]).to_bytes()).count(), 0);
        assert_eq!(seeds(&[1; 64]).count(), 0);
        // A guest with EL2, so that a Droste can read it as its machine's.
        let guest = Guest {
            has_seeds: true,
            el2: Some(GuestEl2 {
                hyp_virtual_timer: None,
                gic_maintenance: level(25),
            }),
            ..guest(&[])
        };
        let mut tree = guest.to_bytes();
        let places: Vec<Range<usize>> = seeds(&tree).collect();
        assert!(
            places
                .iter()
                .all(|place| tree[place.clone()].iter().all(|byte| *byte == 0))
        );
        for (n, place) in (1..).zip(places) {
            tree[place].fill(n);
        }
        let chosen = Fdt::new(&tree).expect("still a tree");
        let chosen = chosen.find_node("/chosen").expect("chosen");
        let value = |name| {
            let property = chosen.property(name).expect("there");
            property.value().to_vec()
        };
        assert_eq!(value("rng-seed"), [1; 32]);
        assert_eq!(value("kaslr-seed"), [2; 8]);
        assert_eq!(value("bootargs"), b"console=ttyAMA0\0");
        let platform = Tree::read(&tree).and_then(Tree::platform);
        assert_eq!(platform.expect("a Droste's").boot.seed, [1; 32]);
    }

    #[test]
    fn a_guest_finds_what_it_was_given() {
        let disk = Device {
            path: "/virtio_mmio@a000000".into(),
            compatible: alloc::vec!["virtio,mmio".into()],
            registers: alloc::vec![0x0a00_0000..0x0a00_0200],
            interrupts: alloc::vec![Interrupt {
                intid: 48,
                trigger: Trigger::Edge
            }],
            is_dma_coherent: true,
        };
        let bytes = guest(core::slice::from_ref(&disk)).to_bytes();
        let fdt = Fdt::new(&bytes).expect("our own tree parses");
        let found = crate::device::all(fdt);
        assert!(
            found.contains(&disk),
            "the device is there with all its properties: {found:?}"
        );
        let uart = found
            .iter()
            .find(|d| d.is_compatible("arm,pl011"))
            .expect("a UART");
        assert_eq!(
            (uart.registers[0].start, uart.interrupts[0]),
            (0x0900_0000, level(33))
        );
        let rtc = found
            .iter()
            .find(|d| d.is_compatible("arm,pl031") && d.is_compatible("arm,primecell"))
            .expect("a clock");
        assert_eq!(
            (rtc.registers[0].start, rtc.interrupts[0]),
            (0x0901_0000, level(34))
        );
        let chosen = fdt.find_node("/chosen").expect("chosen");
        let start = chosen.property("linux,initrd-start").expect("an initrd");
        assert_eq!(start.value(), 0x5000_0000u64.to_be_bytes());
        let cpus = fdt.find_node("/cpus").expect("cpus").children().count();
        assert_eq!(cpus, 2);
        assert!(
            fdt.find_node("/psci")
                .expect("psci")
                .is_compatible("arm,psci-1.0")
        );
    }

    #[test]
    fn what_a_guest_lacks_is_not_in_its_tree() {
        let mut g = guest(&[]);
        (g.uart, g.initrd) = (None, None);
        let bytes = g.to_bytes();
        let fdt = Fdt::new(&bytes).expect("our own tree parses");
        assert!(
            !crate::device::all(fdt)
                .iter()
                .any(|d| d.is_compatible("arm,pl011"))
        );
        let chosen = fdt.find_node("/chosen").expect("chosen");
        assert!(
            chosen.property("linux,initrd-start").is_none()
                && chosen.property("stdout-path").is_none()
        );
    }

    #[test]
    fn what_a_hypervisor_starts_is_in_modules() {
        let mut g = guest(&[]);
        g.dom0 = Some(GuestDom0 {
            kernel: 0x4800_0000..0x4a00_0000,
            initrd: Some(0x4a00_0000..0x4a10_0000),
            bootargs: "",
        });
        let bytes = g.to_bytes();
        let fdt = Fdt::new(&bytes).expect("our own tree parses");
        let chosen = fdt.find_node("/chosen").expect("chosen");
        let modules: Vec<_> = chosen.children().collect();
        let [kernel, initrd] = modules.as_slice() else {
            panic!("{} modules", modules.len());
        };
        assert_eq!(kernel.name(), "module@48000000");
        assert!(
            kernel.is_compatible("multiboot,kernel") && kernel.is_compatible("multiboot,module")
        );
        let at = [0x4800_0000u64, 0x200_0000].map(u64::to_be_bytes).concat();
        assert_eq!(kernel.property("reg").expect("a place").value(), at);
        for (name, value) in [
            ("bootargs", "console=ttyAMA0\0"),
            ("xen,xen-bootargs", "console=ttyAMA0\0"),
            ("xen,dom0-bootargs", "\0"),
        ] {
            let found = chosen.property(name).expect("a command line");
            assert_eq!(found.value(), value.as_bytes());
        }
        assert!(initrd.is_compatible("multiboot,ramdisk"));
    }

    fn with_el2(hyp_virtual_timer: Option<Interrupt>) -> Vec<u8> {
        let mut g = guest(&[]);
        g.el2 = Some(GuestEl2 {
            hyp_virtual_timer,
            gic_maintenance: level(25),
        });
        g.to_bytes()
    }

    /// The numbers of the interrupts of the one node of this kind.
    fn intids(tree: &[u8], compatible: &str) -> Vec<u32> {
        let found = crate::device::all(Fdt::new(tree).expect("a tree that parses"));
        let node = found.iter().find(|d| d.is_compatible(compatible));
        let interrupts = &node.expect("a node").interrupts;
        assert!(interrupts.iter().all(|i| i.trigger == Trigger::Level));
        interrupts.iter().map(|i| i.intid).collect()
    }

    #[test]
    fn a_guest_with_el2_finds_what_a_hypervisor_needs() {
        for hyp_virtual_timer in [None, Some(level(28))] {
            let bytes = with_el2(hyp_virtual_timer);
            let p = Tree::read(&bytes)
                .and_then(Tree::platform)
                .expect("a platform for a hypervisor");
            assert_eq!(p.gic.maintenance, level(25));
            assert_eq!(
                (p.timer.physical, p.timer.virt, p.timer.hypervisor),
                (level(30), level(27), level(26))
            );
        }
        let bytes = guest(&[]).to_bytes();
        assert!(Tree::read(&bytes).and_then(Tree::platform).is_err());
    }

    #[test]
    fn interrupts_of_el2_are_listed_as_on_the_virt_board() {
        let virt = include_bytes!("../tests/virt.dtb");
        let vhe = with_el2(Some(level(28)));
        for compatible in ["arm,armv8-timer", "arm,gic-v3"] {
            assert_eq!(intids(&vhe, compatible), intids(virt, compatible));
        }
        assert_eq!(intids(&vhe, "arm,armv8-timer"), [29, 30, 27, 26, 28]);
        assert_eq!(intids(&with_el2(None), "arm,armv8-timer"), [29, 30, 27, 26]);
    }

    #[test]
    fn a_guest_without_el2_calls_firmware_by_hvc_and_has_the_timers_of_the_virt_board() {
        let method = |bytes: &[u8]| {
            let psci = Fdt::new(bytes).expect("parses").find_node("/psci");
            let method = psci.expect("psci").property("method").expect("a method");
            method.value().to_vec()
        };
        let bytes = guest(&[]).to_bytes();
        assert_eq!(method(&bytes), b"hvc\0");
        assert_eq!(method(&with_el2(None)), b"smc\0");
        assert_eq!(intids(&bytes, "arm,armv8-timer"), [29, 30, 27, 26]);
        assert_eq!(intids(&bytes, "arm,gic-v3"), []);
    }
}
