//! What vCPUs make each other wait for: all of them ask at once, again and again, for what one lock of the
//! hypervisor guards.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::at_el1::{CLEAR_PENDING, GICD_CTLR, SET_ENABLE, SET_PENDING, SGI_FRAME, spis, touch};
use crate::at_el2::{self, Lab, PAGES_AT, ROOTS, fill};
use crate::section::section;
use droste_guests::mmio::{Device, GICD, UART};
use droste_guests::tree::Machine;
use droste_guests::{BLOCK, console, cpu, el2, gic, psci, smp};

/// Who asks, and what is there to be asked for.
struct Task {
    vcpu: usize,
    vcpus: usize,
    /// Roots of stage-2 tables that map the same.
    roots: [u64; ROOTS],
    /// Memory that nobody has touched, a part for each.
    fresh: u64,
    end: u64,
}

type Part = (&'static str, fn(&Task));

const AT_EL1: [Part; 7] = [
    ("SGIs to all others", sgis),
    ("GICD: off and on", distributor),
    ("GICD: all pending, none pending", pending),
    ("GICR of all", redistributors),
    ("AFFINITY_INFO, CPU_ON", firmware),
    ("UART bytes", bytes),
    ("first touches", touches),
];

const AT_EL2: [Part; 6] = [
    ("SGIs to all others", sgis),
    ("a shadow entered, filled and invalidated", one_shadow),
    ("many shadows of one VMID", many_shadows),
    ("contexts beyond the pool", many_contexts),
    ("full shadows taken for other contexts", full_shadows),
    ("more than the quota of pages", quota),
];

/// How often each asks for what takes little, and for what takes more: often enough for CPUs that the host lets run by
/// turns to meet.
const ROUNDS: usize = 5_000;
const LONG_ROUNDS: usize = 200;
/// VMIDs that each uses by itself.
const VMIDS: u64 = 24;

/// How many parts have begun, and who has ended the last one.
static BEGUN: AtomicUsize = AtomicUsize::new(0);
static ENDED: AtomicUsize = AtomicUsize::new(0);
static VCPUS: AtomicUsize = AtomicUsize::new(0);
static FRESH: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);
static ROOTS_OF_ALL: [AtomicU64; ROOTS] = [const { AtomicU64::new(0) }; ROOTS];

/// All of it.
pub(crate) fn all(machine: &Machine) {
    if cpu::is_el2() {
        el2::begin("longest", machine);
        at_el2::begin_on(0);
        let lab = Lab::new(machine);
        for (slot, root) in ROOTS_OF_ALL.iter().zip(lab.roots) {
            slot.store(root.vttbr(0), Ordering::Relaxed);
        }
    }
    gic::enable_distributor();
    VCPUS.store(machine.vcpus, Ordering::Relaxed);
    FRESH.store(machine.unused(), Ordering::Relaxed);
    END.store(machine.ram_end(), Ordering::Relaxed);
    (1..machine.vcpus).for_each(smp::start);
    let task = Task::of(0);
    wait_for_all(&task);
    for (n, (name, act)) in parts().iter().enumerate() {
        section(name, || {
            ENDED.store(0, Ordering::Relaxed);
            BEGUN.store(n + 1, Ordering::Release);
            act(&task);
            wait_for_all(&task);
        });
    }
}

/// The others.
pub(crate) fn secondary(vcpu: usize) -> ! {
    if cpu::is_el2() {
        at_el2::begin_on(vcpu);
    }
    let task = Task::of(vcpu);
    ENDED.fetch_add(1, Ordering::Release);
    for (n, (_, act)) in parts().iter().enumerate() {
        while BEGUN.load(Ordering::Acquire) <= n {
            spin_loop();
        }
        act(&task);
        ENDED.fetch_add(1, Ordering::Release);
    }
    loop {
        cpu::wfi();
    }
}

fn parts() -> &'static [Part] {
    if cpu::is_el2() { &AT_EL2 } else { &AT_EL1 }
}

/// Waits until all others have done their part.
fn wait_for_all(task: &Task) {
    while ENDED.load(Ordering::Acquire) + 1 < task.vcpus {
        spin_loop();
    }
}

impl Task {
    fn of(vcpu: usize) -> Self {
        let vcpus = VCPUS.load(Ordering::Relaxed);
        let (start, end) = (FRESH.load(Ordering::Relaxed), END.load(Ordering::Relaxed));
        let share = (end - start) / vcpus as u64 / BLOCK * BLOCK;
        let fresh = start + share * vcpu as u64;
        Self {
            vcpu,
            vcpus,
            roots: core::array::from_fn(|n| ROOTS_OF_ALL[n].load(Ordering::Relaxed)),
            fresh,
            end: fresh + share,
        }
    }

    /// VTTBR_EL2 of one root under a VMID.
    fn vttbr(&self, root: usize, vmid: u64) -> u64 {
        self.roots[root] | vmid << 48
    }
}

fn sgis(_: &Task) {
    for n in 0..ROUNDS as u64 {
        cpu::send_sgi((n % 16) << 24 | 1 << 40);
    }
}

fn distributor(_: &Task) {
    for _ in 0..ROUNDS {
        GICD.write(GICD_CTLR, 0);
        gic::enable_distributor();
    }
}

fn pending(_: &Task) {
    for _ in 0..LONG_ROUNDS {
        spis(SET_ENABLE);
        spis(SET_PENDING);
        spis(CLEAR_PENDING);
    }
}

fn redistributors(task: &Task) {
    for n in 0..ROUNDS / 4 {
        let gicr = Device::gicr(n % task.vcpus);
        gicr.write(SGI_FRAME + SET_ENABLE, 0xffff);
        gicr.write(SGI_FRAME + SET_PENDING, 0xffff);
        gicr.read(SGI_FRAME + SET_PENDING);
        gicr.write(SGI_FRAME + CLEAR_PENDING, 0xffff);
    }
}

fn firmware(task: &Task) {
    for n in 0..ROUNDS {
        let target = smp::affinity(n % task.vcpus);
        psci::call(psci::AFFINITY_INFO, [target, 0, 0]);
        psci::call(psci::CPU_ON, [target, 0, 0]);
    }
}

fn bytes(_: &Task) {
    for _ in 0..4 * LONG_ROUNDS {
        UART.write(console::DATA, 10);
    }
}

fn touches(task: &Task) {
    touch(task.fresh, BLOCK, task.end);
}

/// The first one invalidates what the others enter and fill.
fn one_shadow(task: &Task) {
    let vttbr = task.vttbr(0, 1);
    for n in 0..LONG_ROUNDS {
        if task.vcpu > 0 {
            fill(vttbr, 4);
            continue;
        }
        el2::set_vttbr(vttbr);
        if n % 2 == 0 {
            el2::tlbi_vmalls12e1is();
        } else {
            // Half a GiB and more, cut at both ends.
            el2::tlbi_ripas2e1is((PAGES_AT + BLOCK / 2) >> 12 | 15 << 39 | 3 << 44 | 1 << 46);
        }
    }
}

/// Each has shadows of its own, all under the VMID that each invalidates.
fn many_shadows(task: &Task) {
    for n in 0..LONG_ROUNDS {
        let root = task.vcpu + n % 2 * task.vcpus;
        fill(task.vttbr(root, 2), 4);
        if n % 8 == 7 {
            el2::tlbi_vmalls12e1is();
        }
    }
}

fn many_contexts(task: &Task) {
    for n in 0..LONG_ROUNDS as u64 {
        let vmid = 16 + task.vcpu as u64 * VMIDS + n % VMIDS;
        fill(task.vttbr(0, vmid), 2);
    }
}

fn full_shadows(task: &Task) {
    for round in 0..2 {
        fill(task.vttbr(task.vcpu, 3 + task.vcpu as u64), 200);
        for n in 0..VMIDS {
            let vmid = 16 + (round % 2 * 4 + task.vcpu as u64) * VMIDS + n;
            fill(task.vttbr(0, vmid), 1);
        }
    }
}

fn quota(task: &Task) {
    for _ in 0..2 {
        fill(task.vttbr(task.vcpu, 3 + task.vcpu as u64), 512);
    }
}
