//! The vCPUs: the first one's way into `main`, and how it starts the others.

use crate::tree::Machine;
use crate::{cpu, map, psci, tree};
use core::cell::UnsafeCell;

/// Most vCPUs that a guest starts.
pub const MAX: usize = 8;
const STACK_BYTES: usize = 0x4000;

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK_BYTES]>);

// SAFETY: Rust never reads a stack through this type; each is one vCPU's alone.
unsafe impl Sync for Stack {}

static STACKS: [Stack; MAX] = [const { Stack(UnsafeCell::new([0; STACK_BYTES])) }; MAX];

unsafe extern "Rust" {
    // `guest!` defines both with these signatures.
    safe fn droste_guest_main(machine: Machine);
    safe fn droste_guest_on_secondary(vcpu: usize) -> !;
}
unsafe extern "C" {
    // `start.s`: turns the MMU on and takes its argument as the stack's top.
    fn secondary_start();
}

#[unsafe(no_mangle)]
extern "C" fn droste_guest_primary(device_tree: u64) -> ! {
    // SAFETY: the boot protocol's x0, before anything else could use that memory.
    let machine = unsafe { tree::read(device_tree) };
    droste_guest_main(machine);
    psci::system_off();
}

#[unsafe(no_mangle)]
extern "C" fn droste_guest_secondary() -> ! {
    droste_guest_on_secondary(current());
}

/// Number of the vCPU that asks: Aff0 of a machine with at most 16.
pub fn current() -> usize {
    (cpu::mpidr() & 0xff) as usize
}

/// Affinity of a vCPU, as the firmware and the distributor take it: 16 to a cluster.
pub const fn affinity(vcpu: usize) -> u64 {
    let vcpu = vcpu as u64;
    ((vcpu / 16) << 8) | (vcpu % 16)
}

/// Guest physical address of the code that a vCPU starts with.
pub fn entry() -> u64 {
    map::address_of(secondary_start as *const ())
}

/// Starts vCPU `vcpu` (1 to `MAX - 1`) in the guest's `secondary`.
///
/// # Panics
/// If PSCI refuses.
pub fn start(vcpu: usize) {
    let stack = map::address_of(STACKS[vcpu].0.get()) + STACK_BYTES as u64;
    let result = psci::call(psci::CPU_ON, [vcpu as u64, entry(), stack]);
    assert!(
        result == psci::SUCCESS,
        "PSCI CPU_ON of vCPU {vcpu} answers {result:#x}"
    );
}

/// The `secondary` of a guest with one vCPU.
///
/// # Panics
/// Always: nobody started a second one.
pub fn none(vcpu: usize) -> ! {
    panic!("vCPU {vcpu} runs, but nobody started it");
}
