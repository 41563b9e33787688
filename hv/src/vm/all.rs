//! Which VMs there are, and what of the machine is whose: fixed once all are built.

use alloc::vec;
use alloc::vec::Vec;

use spin::Once;

use super::{Vcpu, Vm};
use crate::arch::MAX_CPUS;
use crate::machine::cpu::{self, Cpu};

/// INTIDs below this may belong to a device.
const INTIDS: usize = 1020;

static VMS: Once<Vec<&'static Vm>> = Once::new();
/// By INTID: the VM that drives the device.
static OWNERS: Once<Vec<Option<&'static Vm>>> = Once::new();
/// By physical CPU: the virtual ones that run there and nowhere else.
static MEMBERS: [Once<Vec<&'static Vcpu>>; MAX_CPUS] = [const { Once::new() }; MAX_CPUS];

/// Records all virtual machines. Called once, before any lives.
pub(crate) fn init(vms: Vec<&'static Vm>) {
    for (cpu, members) in cpu::all().iter().zip(&MEMBERS) {
        let all = vms.iter().flat_map(|vm| vm.vcpus()).copied();
        let here: Vec<_> = all.filter(|vcpu| vcpu.cpu.index == cpu.index).collect();
        for (position, vcpu) in here.iter().enumerate() {
            vcpu.set_position(position);
        }
        cpu.set_vcpus(here.len());
        members.call_once(|| here);
    }
    let mut owners = vec![None; INTIDS];
    for vm in &vms {
        for interrupt in vm.shared_interrupts() {
            owners[interrupt.intid as usize] = Some(*vm);
        }
    }
    OWNERS.call_once(|| owners);
    VMS.call_once(|| vms);
}

/// All virtual machines.
pub(crate) fn vms() -> &'static [&'static Vm] {
    VMS.get().map_or(&[], Vec::as_slice)
}

/// The VM that drives the device behind shared interrupt `intid`.
pub(crate) fn owner_of(intid: u32) -> Option<&'static Vm> {
    OWNERS.get()?.get(intid as usize).copied().flatten()
}

/// The vCPUs that run on `cpu`.
#[inline]
pub(crate) fn members(cpu: &Cpu) -> &'static [&'static Vcpu] {
    let members = MEMBERS[cpu.index].get();
    members.map_or(&[], Vec::as_slice)
}
