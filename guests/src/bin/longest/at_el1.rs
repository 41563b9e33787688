//! What a guest without EL2 can ask for: of the interrupt controller for all of its vCPUs and all interrupts, of
//! the firmware, of memory, and of the console.

use core::arch::asm;

use crate::section::section;
use droste_guests::mmio::{Device, GICD, UART};
use droste_guests::tree::Machine;
use droste_guests::{BLOCK, console, cpu, gic, map, programs, psci, smp};

const PAGE: u64 = 0x1000;
/// Words of a register with a bit for each of the shared interrupts, the first word left out.
const SPI_WORDS: core::ops::Range<usize> = 1..32;
pub(crate) const GICD_CTLR: usize = 0;
const GICD_ROUTERS: usize = 0x6000;
const PRIORITIES: usize = 0x400;
const GROUPS: usize = 0x80;
pub(crate) const SET_ENABLE: usize = 0x100;
const CLEAR_ENABLE: usize = 0x180;
pub(crate) const SET_PENDING: usize = 0x200;
pub(crate) const CLEAR_PENDING: usize = 0x280;
const SET_ACTIVE: usize = 0x300;
const CLEAR_ACTIVE: usize = 0x380;
/// From here on a redistributor's registers of SGIs and PPIs.
pub(crate) const SGI_FRAME: usize = 0x1_0000;
/// Left in memory before the reset.
const BEFORE: u64 = 0x1055_e57d;

/// All of it.
pub(crate) fn all(machine: &Machine) {
    start_all(machine);
    interrupts(machine);
    memory(machine);
    output();
}

/// Asks for a reset with all vCPUs on and memory mapped by blocks and by pages; comes back after it.
pub(crate) fn restart(machine: &Machine) {
    let witness = (machine.ram_end() - PAGE) as *mut u64;
    // SAFETY: the last page of RAM is nobody's.
    if unsafe { witness.read_volatile() } == BEFORE {
        // SAFETY: as above.
        unsafe { witness.write_volatile(0) };
        return;
    }
    start_all(machine);
    touch(machine.unused(), BLOCK, machine.ram_end());
    touch(machine.ram_end() & !(BLOCK - 1), PAGE, machine.ram_end());
    // SAFETY: as above.
    unsafe { witness.write_volatile(BEFORE) };
    psci::call(psci::SYSTEM_RESET, [0; 3]);
}

/// Every other vCPU, for it to wait for interrupts.
fn start_all(machine: &Machine) {
    section("CPU_ON of all", || {
        for n in 1..machine.vcpus {
            let answer = psci::call(psci::CPU_ON, [smp::affinity(n), programs::serve(), 0]);
            assert!(answer == psci::SUCCESS, "CPU_ON of {n}: {answer:#x}");
        }
    });
    section("AFFINITY_INFO of all", || {
        for n in 0..machine.vcpus {
            psci::call(psci::AFFINITY_INFO, [smp::affinity(n), 0, 0]);
        }
    });
}

fn interrupts(machine: &Machine) {
    for vcpu in 0..machine.vcpus {
        gic::silence_cpu(vcpu);
        Device::gicr(vcpu).write(SGI_FRAME + GROUPS, u32::MAX);
    }
    gic::silence_spis();
    for word in SPI_WORDS {
        GICD.write(GROUPS + 4 * word, u32::MAX);
    }
    gic::enable_distributor();
    gic::enable_cpu(0, u32::MAX);
    section("GICD: all enabled", || spis(SET_ENABLE));
    section("GICD: all pending", || spis(SET_PENDING));
    section("GICD: priorities", || {
        for word in 8..255 {
            GICD.write(PRIORITIES + 4 * word, 0x8040_2010);
        }
    });
    section("GICD: routes", || {
        for spi in 32..1020 {
            let target = smp::affinity(spi % machine.vcpus);
            GICD.write(GICD_ROUTERS + 8 * spi, target as u32);
        }
    });
    section("GICD: to any, and back", || {
        for spi in 32..1020 {
            GICD.write(GICD_ROUTERS + 8 * spi, 1 << 31);
        }
        for spi in 32..1020 {
            GICD.write(GICD_ROUTERS + 8 * spi, 0);
        }
    });
    section("GICD: off and on", || {
        GICD.write(GICD_CTLR, 0);
        gic::enable_distributor();
    });
    section("GICD: all active", || spis(SET_ACTIVE));
    section("GICD: none active", || spis(CLEAR_ACTIVE));
    section("interrupts taken, one by one", || {
        while let Some(intid) = gic::take() {
            gic::end(intid);
        }
    });
    section("GICD: all disabled, none pending", || {
        spis(CLEAR_PENDING);
        spis(CLEAR_ENABLE);
    });
    section("GICR of all, enabled and pending", || {
        for vcpu in 0..machine.vcpus {
            let gicr = Device::gicr(vcpu);
            for register in [
                SET_ENABLE,
                SET_PENDING,
                SET_ACTIVE,
                CLEAR_ACTIVE,
                CLEAR_PENDING,
            ] {
                gicr.write(SGI_FRAME + register, u32::MAX);
            }
        }
    });
    section("SGIs to all others", || {
        for intid in 0..16 {
            cpu::send_sgi(intid << 24 | 1 << 40);
        }
    });
    section("SGIs to lists of 16", || {
        for intid in 0..16 {
            for cluster in 0..4 {
                cpu::send_sgi(intid << 24 | cluster << 16 | 0xffff);
            }
        }
    });
    section("time slices of all", || {
        for _ in 0..4 {
            cpu::wfe();
        }
    });
    gic::silence_cpu(0);
}

fn memory(machine: &Machine) {
    section("first touches of blocks", || {
        touch(machine.unused(), BLOCK, machine.ram_end());
    });
    section("first touches of pages", || {
        touch(machine.ram_end() & !(BLOCK - 1), PAGE, machine.ram_end());
    });
    section("caches by set and way", || {
        for operand in (0..64_u64).map(|set| set << 6) {
            // SAFETY: writes caches back, and changes no byte of memory.
            unsafe {
                asm!("dc isw, {0}", "dc csw, {0}", "dc cisw, {0}", in(reg) operand, options(nostack, preserves_flags));
            }
        }
    });
    section("caches where nothing is", || {
        let nothing = map::open(map::Window::Normal, 1 << 38);
        for page in 0..64 {
            // SAFETY: as above; nothing is there.
            unsafe {
                asm!("dc cvac, {0}", "dc civac, {0}", in(reg) nothing + page * PAGE, options(nostack, preserves_flags));
            }
        }
    });
}

/// Lines of every kind, whatever the FIFO says.
fn output() {
    section("UART: a long line", || {
        for n in 0..2000_u32 {
            UART.write(console::DATA, if n % 1000 == 999 { 10 } else { 46 });
        }
    });
    section("UART: empty lines", || {
        for _ in 0..200 {
            UART.write(console::DATA, 10);
        }
    });
}

/// Writes all ones to a register of each word of shared interrupts.
pub(crate) fn spis(register: usize) {
    for word in SPI_WORDS {
        GICD.write(register + 4 * word, u32::MAX);
    }
}

pub(crate) fn touch(from: u64, stride: u64, end: u64) {
    let mut at = from;
    while at < end {
        // SAFETY: image and stacks lie in the lower half of RAM, and this is in the upper one.
        unsafe { (at as *mut u64).write_volatile(at) };
        at += stride;
    }
}
