//! The VMs of the boot image: each gets its devices, its RAM and its tables.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use droste_arm64::vhe::Layout;
use droste_arm64::{Pa, PaRange};
use droste_image::{BootImage, VCPUS_IN_ALL, VmImage};
use droste_nested::registers::VirtualEl2;
use droste_platform::{Device, Platform};
use droste_stage2::Attributes;
use droste_vdev::id;

use crate::arch;
use crate::arch::id::IdRegisters;
use crate::arch::image::layout;
use crate::arch::layout::layout as registers_layout;
use crate::arch::memory::Region;
use crate::arch::mmu::{self, Access};
use crate::machine::error::BuildError;
use crate::machine::{cpu, machine};
use crate::memory::GuestMemory;
use crate::memory::contexts::without_table;
use crate::memory::ram::Ram;
use crate::vm::layout as guest;
use crate::vm::virtual_el2::{self, Nested};
use crate::vm::{Parts, Vm, all};

const GIB: u64 = 1 << 30;
const BLOCK: u64 = 2 << 20;
const PAGE: u64 = 4096;

/// Builds all VMs of the boot image. None runs yet.
pub(super) fn build(platform: &Platform, device_tree: Pa) -> Result<(), BuildError> {
    let range = platform.boot.image.clone().ok_or_else(|| {
        BuildError(
            "no boot image: pass one made by `droste image` as the boot loader's initrd".into(),
        )
    })?;
    let image = BootImage::parse(arch::memory::read_only(range.clone()))
        .map_err(|error| BuildError(format!("the boot image is unusable: {error}")))?;
    let tree = device_tree.0..device_tree.0 + platform.boot.tree_bytes;
    let mut builder = Builder {
        platform,
        ram: Ram::new(platform, &[layout().all(), range, tree]),
        taken: Vec::new(),
        next_cpu: 0,
        counted: 0,
        next_id: 0,
    };
    let mut vms = Vec::new();
    for vm in image.vms() {
        let image =
            vm.map_err(|error| BuildError(format!("the boot image is unusable: {error}")))?;
        let name = image.name;
        vms.push(
            builder
                .build(image)
                .map_err(|BuildError(why)| BuildError(format!("{name}: {why}")))?,
        );
    }
    if vms.is_empty() {
        return Err(BuildError("the boot image holds no virtual machine".into()));
    }
    all::init(vms);
    Ok(())
}

struct Builder<'a> {
    platform: &'a Platform,
    ram: Ram,
    /// Pages of devices that earlier VMs drive.
    taken: Vec<Range<u64>>,
    next_cpu: usize,
    /// vCPUs so far, as [`VCPUS_IN_ALL`] counts them.
    counted: u32,
    next_id: usize,
}

impl Builder<'_> {
    fn build(&mut self, image: VmImage<'static>) -> Result<&'static Vm, BuildError> {
        let devices = self.devices(&image)?;
        let (ram, ram_ipa) = self.ram(&image, &devices)?;
        let pages = devices
            .iter()
            .flat_map(|d| d.registers.iter().map(pages_of));
        let mut slots: Vec<(u64, Range<u64>, Attributes)> = pages
            .map(|range| (range.start, range, Attributes::DEVICE))
            .collect();
        slots.sort_by_key(|slot| slot.0);
        slots.dedup_by(|a, b| a.1 == b.1);
        slots.push((ram_ipa, ram.range(), Attributes::RAM));
        let vcpus = image.vcpus as usize;
        let el2 = virtual_el2::kind_of(image.el2)?;
        if el2 == Some(VirtualEl2::Nvhe) && registers_layout() == Layout::E2h1 {
            log::warn!(
                "{}: its EL2 is without VHE and Droste's is not, so HCR_EL2.TGE has no effect there",
                image.name
            );
        }
        self.counted += image.el2.vcpu_weight() * image.vcpus;
        if self.counted > VCPUS_IN_ALL {
            let why = format!(
                "with its {vcpus} vCPUs there are more than {VCPUS_IN_ALL} in all, where those with EL2 count twice"
            );
            return Err(BuildError(why));
        }
        let contexts = 1 + el2.map_or(0, |_| without_table(vcpus));
        let memory = GuestMemory::build(&slots, (vcpus, contexts), &mut self.ram)?;
        let ids = identification(memory.pa_range(), el2);
        let nested = el2
            .map(|kind| Nested::build(kind, &memory, &ids, (image.memory, vcpus), &mut self.ram))
            .transpose()?;
        let first = self.next_cpu;
        self.next_cpu += image.vcpus as usize;
        if image.vcpus as usize > cpu::online().count() {
            log::warn!(
                "{}: more vCPUs ({}) than CPUs ({}): they take turns",
                image.name,
                image.vcpus,
                cpu::online().count()
            );
        }
        let id = self.next_id;
        self.next_id += 1;
        Vm::build(
            Parts {
                id,
                image,
                ram,
                ram_ipa,
                devices,
                ids,
                memory,
                nested,
            },
            cpu::online()
                .collect::<Vec<_>>()
                .into_iter()
                .cycle()
                .skip(first),
        )
    }

    /// The platform's devices that the VM is to drive.
    fn devices(&mut self, image: &VmImage<'static>) -> Result<Vec<Device>, BuildError> {
        let mut devices = Vec::new();
        let mut pages = Vec::new();
        for path in image.passthrough.iter() {
            let device = self.platform.device(path);
            let device =
                device.ok_or_else(|| BuildError(format!("the platform has no device {path}")))?;
            for range in &device.registers {
                let range = pages_of(range);
                if self.is_taken(&range) {
                    return Err(BuildError(format!(
                        "{path} shares the page at {:#x} with a device of Droste or of another VM; give all devices of one \
                         page to one VM",
                        range.start
                    )));
                }
                pages.push(range);
            }
            let of_clock = machine().clock.as_ref().map(|_| guest::RTC_INTID);
            let own = |intid: u32| intid == guest::UART_INTID || Some(intid) == of_clock;
            if let Some(clash) = device.interrupts.iter().find(|i| own(i.intid)) {
                let intid = clash.intid;
                return Err(BuildError(format!(
                    "{path} has interrupt {intid}, which a device has that every VM has; it cannot be passed through"
                )));
            }
            for range in &device.registers {
                mmu::add(range.clone(), Access::Device)
                    .map_err(|error| BuildError(format!("{path}: {error}")))?;
            }
            devices.push(device.clone());
        }
        self.taken.extend(pages);
        Ok(devices)
    }

    fn is_taken(&self, range: &Range<u64>) -> bool {
        let p = self.platform;
        let ours = core::iter::once(&p.gic.distributor)
            .chain(&p.gic.redistributors)
            .chain([&p.uart.registers])
            .chain(p.rtc().into_iter().flat_map(|rtc| &rtc.registers));
        ours.chain(&guest::taken())
            .chain(&self.taken)
            .any(|r| range.start < r.end && r.start < range.end)
    }

    /// RAM for the VM, and where it begins for the guest. Devices that write to memory do so by physical address until
    /// an SMMU is driven, so a VM with such sees its RAM where it is.
    fn ram(
        &mut self,
        image: &VmImage<'static>,
        devices: &[Device],
    ) -> Result<(Region, u64), BuildError> {
        let bytes = image.memory;
        let gib = (bytes >= GIB)
            .then(|| self.ram.take(bytes, GIB, guest::RAM))
            .flatten();
        let ram = gib
            .or_else(|| self.ram.take(bytes, BLOCK, guest::RAM))
            .ok_or_else(|| {
                let free = self.ram.free() >> 20;
                BuildError(format!(
                    "no {} MiB of RAM in one piece; {free} MiB are free in all",
                    bytes >> 20
                ))
            })?;
        if devices.is_empty() {
            return Ok((ram, guest::RAM));
        }
        let list: Vec<&str> = devices.iter().map(|d| d.path.as_str()).collect();
        let list: String = list.join(", ");
        log::info!(
            "{}: drives {list} itself, so its RAM is where it is, at {:#x}",
            image.name,
            ram.range().start
        );
        log::warn!(
            "{}: its devices reach all of the machine's RAM: no SMMU is driven",
            image.name
        );
        let start = ram.range().start;
        Ok((ram, start))
    }
}

/// What the CPUs of a virtual machine read as identification.
fn identification(pa_range: PaRange, el2: Option<VirtualEl2>) -> IdRegisters {
    machine().ids.map(|register, host| {
        let without = id::value(register, host, pa_range);
        match el2 {
            Some(el2) => virtual_el2::identification(register, (host, without), el2),
            None => without,
        }
    })
}

fn pages_of(range: &Range<u64>) -> Range<u64> {
    range.start & !(PAGE - 1)..(range.end + PAGE - 1) & !(PAGE - 1)
}
