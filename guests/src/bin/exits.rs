//! The cost of each way out of a guest and back: every section does one thing a thousand times after a warm-up,
//! between two marks that an instruction-counting tool sees. Sections with two vCPUs are left out where there is one.
//!
//! A section prints `exits: section MARK NAME TIMES` when it is over, so that a tool can name what it counted and
//! divide by the right number; nothing is printed between the marks. The guest ends with `exits: done`.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod guest {
    use core::sync::atomic::{AtomicU32, Ordering};
    use droste_guests::mmio::{GICD, UART};
    use droste_guests::time::{self, Timer};
    use droste_guests::trap::{self, Frame, Kind, Vector};
    use droste_guests::tree::Machine;
    use droste_guests::{console, cpu, gic, println, psci, smp};

    droste_guests::guest!(main: main, secondary: secondary, exception: exception);

    /// How often a section repeats what it measures.
    const TIMES: u32 = 1000;
    /// How often it does so before, uncounted.
    const WARM_UP: u32 = 100;
    /// The SGI that vCPU 0 sends to vCPU 1.
    const SGI: u32 = 1;
    /// Spacing of the coarse demand faults: a level 2 block with 4 KiB granules.
    const BLOCK_BYTES: u64 = 0x20_0000;
    /// Spacing of the fine ones: the pages that one fault maps at most.
    const WINDOW_BYTES: u64 = 0x1_0000;

    /// How many SGIs vCPU 1 has taken.
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    /// What vCPU 1 does between interrupts, as a [`Rest`].
    static REST: AtomicU32 = AtomicU32::new(Rest::Spin as u32);
    /// Set by vCPU 1 before it rests.
    static IS_RESTING: AtomicU32 = AtomicU32::new(0);

    #[derive(Clone, Copy)]
    enum Rest {
        Spin = 0,
        Wfi = 1,
    }

    fn main(machine: Machine) {
        gic::enable_distributor();
        gic::enable_cpu(0, 1 << gic::VIRTUAL_TIMER | 1 << SGI);
        section::<1>("hypercall", TIMES, || {
            psci::call(psci::VERSION, [0; 3]);
        });
        section::<2>("vgic-read", TIMES, || {
            GICD.read(gic::GICD_ISENABLER1);
        });
        section::<3>("uart-read", TIMES, || {
            UART.read(console::FLAGS);
        });
        section::<4>("id-register", TIMES, || {
            cpu::id_aa64pfr0();
        });
        section::<5>("timer-wfi", TIMES, wait_for_timer);
        let mut written = 0;
        section::<6>("uart-write", TIMES, || {
            written += 1;
            UART.write(
                console::DATA,
                if written % 100 == 0 { b'\n' } else { b'.' }.into(),
            );
        });
        demand_faults(&machine);
        if machine.vcpus > 1 {
            interrupts_between_vcpus();
        }
        println!("exits: done");
    }

    /// Does `what` uncounted, then `times` times between mark `MARK` and the end of the section.
    fn section<const MARK: u32>(name: &str, times: u32, mut what: impl FnMut()) {
        for _ in 0..WARM_UP {
            what();
        }
        counted::<MARK>(name, times, what);
    }

    fn counted<const MARK: u32>(name: &str, times: u32, mut what: impl FnMut()) {
        cpu::between_marks::<MARK>(|| {
            for _ in 0..times {
                what();
            }
        });
        println!("exits: section {MARK} {name} {times}");
    }

    /// Sleeps for a microsecond or so of the counter, wakes by the virtual timer, takes its interrupt. Interrupts
    /// are masked, so that the wake-up is WFI's and not an exception's.
    fn wait_for_timer() {
        Timer::Virtual.arm_in(1000);
        let intid = loop {
            cpu::wfi();
            if let Some(intid) = gic::take() {
                break intid;
            }
        };
        Timer::Virtual.disarm();
        gic::end(intid);
        assert!(intid == gic::VIRTUAL_TIMER, "woken by interrupt {intid}");
    }

    /// Touches RAM that nothing has touched: one word in each of many blocks, then in each window of pages at the end
    /// of RAM that no block fits, where there is such. No warm-up: the first touch is the thing measured. But the
    /// first page of all brings its table, and is left out.
    fn demand_faults(machine: &Machine) {
        let fresh = droste_guests::RAM_BASE + (machine.ram_bytes / 2).next_multiple_of(BLOCK_BYTES);
        let blocks = ((machine.ram_end() - fresh) / BLOCK_BYTES).min(32) as u32;
        assert!(blocks > 0, "too little RAM for demand faults");
        let mut next = fresh;
        counted::<7>("fault-2m", blocks, || {
            touch(next);
            next += BLOCK_BYTES;
        });
        let end = machine.ram_end();
        let mut next = end - end % BLOCK_BYTES;
        let windows = (end - next) / WINDOW_BYTES;
        if windows > 1 {
            touch(next);
            counted::<8>("fault-4k", windows as u32 - 1, || {
                next += WINDOW_BYTES;
                touch(next);
            });
        }
    }

    /// Writes one word of unused RAM.
    fn touch(address: u64) {
        // SAFETY: the upper half of RAM is no one's: image and stacks lie in the lower, the device tree is done with.
        unsafe { core::ptr::write_volatile(address as *mut u64, address) };
    }

    fn interrupts_between_vcpus() {
        smp::start(1);
        wait_until_resting();
        section::<9>("ipi-spin", TIMES, interrupt_the_other);
        REST.store(Rest::Wfi as u32, Ordering::Release);
        section::<10>("ipi-wfi", TIMES, || {
            wait_until_resting();
            interrupt_the_other();
        });
    }

    /// Sends the SGI and spins until vCPU 1's handler has counted it.
    fn interrupt_the_other() {
        let before = TAKEN.load(Ordering::Acquire);
        IS_RESTING.store(0, Ordering::Release);
        gic::send(SGI, 1);
        while TAKEN.load(Ordering::Acquire) == before {
            core::hint::spin_loop();
        }
    }

    /// Gives vCPU 1 the time to reach its rest: it says so just before, and then has a while to get there. If it is not
    /// there in time, what is measured is another way to the same end.
    fn wait_until_resting() {
        time::wait_until("vCPU 1's rest", || IS_RESTING.load(Ordering::Acquire) != 0);
        time::spin(50_000);
    }

    fn secondary(vcpu: usize) -> ! {
        gic::enable_cpu(vcpu, 1 << SGI);
        cpu::unmask_interrupts();
        loop {
            if REST.load(Ordering::Acquire) == Rest::Spin as u32 {
                IS_RESTING.store(1, Ordering::Release);
                continue;
            }
            // Masked, so that an SGI that comes before the WFI ends it, and is not taken just before it.
            cpu::mask_interrupts();
            IS_RESTING.store(1, Ordering::Release);
            cpu::wfi();
            cpu::unmask_interrupts();
            cpu::isb();
        }
    }

    fn exception(vector: Vector, frame: &mut Frame) {
        if vector.kind() != Kind::Irq {
            trap::unexpected(vector, frame);
        }
        if let Some(intid) = gic::take() {
            gic::end(intid);
            TAKEN.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
