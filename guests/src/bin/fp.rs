//! Floating-point state survives: two vCPUs fill V0 to V31, FPCR and FPSR with patterns of their own, then spin and
//! sleep under timer interrupts and each other's SGIs, and look whether anything changed.
//!
//! With one vCPU it sends the SGIs to itself. Prints `fp: ok` or what differed.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod guest {
    use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
    use droste_guests::fpu::{self, State};
    use droste_guests::time::{self, Timer};
    use droste_guests::trap::{self, Frame, Kind, Vector};
    use droste_guests::tree::Machine;
    use droste_guests::{cpu, gic, println, smp};

    droste_guests::guest!(main: main, secondary: secondary, exception: exception);

    /// How many patterns a vCPU holds, one after the other.
    const PATTERNS: u64 = 200;
    /// How often each pattern is looked at.
    const ROUNDS: u32 = 10;
    /// The SGI between the vCPUs.
    const SGI: u32 = 2;
    /// When a timer's interrupt comes that a vCPU asks for, in nanoseconds.
    const TICK_NS: u64 = 100_000;

    /// How many vCPUs take part.
    static VCPUS: AtomicUsize = AtomicUsize::new(1);
    /// Interrupts taken by each vCPU, timer's and SGIs.
    static TICKS: [AtomicU32; smp::MAX] = [const { AtomicU32::new(0) }; smp::MAX];
    static SGIS: [AtomicU32; smp::MAX] = [const { AtomicU32::new(0) }; smp::MAX];
    /// What each vCPU found: the register that differed plus one; 0 is nothing.
    static DIFFERED: [AtomicU32; smp::MAX] = [const { AtomicU32::new(0) }; smp::MAX];
    /// How many vCPUs take interrupts.
    static READY: AtomicUsize = AtomicUsize::new(0);
    static IS_DONE: [AtomicBool; smp::MAX] = [const { AtomicBool::new(false) }; smp::MAX];

    fn main(machine: Machine) {
        let vcpus = machine.vcpus.min(2);
        VCPUS.store(vcpus, Ordering::Release);
        gic::enable_distributor();
        (1..vcpus).for_each(smp::start);
        work(0);
        time::wait_until("the other vCPU's end", || {
            IS_DONE[..vcpus].iter().all(|d| d.load(Ordering::Acquire))
        });
        let all_took = || SGIS[..vcpus].iter().all(|n| n.load(Ordering::Acquire) != 0);
        time::wait_until("an SGI for each vCPU", all_took);
        cpu::mask_interrupts();
        report(vcpus);
    }

    fn secondary(vcpu: usize) -> ! {
        work(vcpu);
        loop {
            cpu::wfi();
        }
    }

    /// Holds one pattern after the other; stops at the first difference.
    fn work(vcpu: usize) {
        fpu::enable();
        gic::enable_cpu(vcpu, 1 << gic::VIRTUAL_TIMER | 1 << SGI);
        cpu::unmask_interrupts();
        READY.fetch_add(1, Ordering::AcqRel);
        let vcpus = VCPUS.load(Ordering::Acquire);
        time::wait_until("each vCPU", || READY.load(Ordering::Acquire) == vcpus);
        let changed = (0..PATTERNS).find_map(|n| hold(vcpu, &State::pattern(n << 8 | vcpu as u64)));
        DIFFERED[vcpu].store(
            changed.map_or(0, |register| register + 1),
            Ordering::Relaxed,
        );
        IS_DONE[vcpu].store(true, Ordering::Release);
    }

    /// Keeps `pattern` in the registers while interrupts of both kinds come; tells which register changed. The timer is
    /// armed anew for each interrupt, so that none follows the last before anything else is done.
    fn hold(vcpu: usize, pattern: &State) -> Option<u32> {
        let peer = (vcpu + 1) % VCPUS.load(Ordering::Acquire);
        pattern.load();
        for round in 0..ROUNDS {
            let before = TICKS[vcpu].load(Ordering::Acquire);
            let is_over = || TICKS[vcpu].load(Ordering::Acquire) != before;
            gic::send(SGI, peer);
            Timer::Virtual.arm_in(TICK_NS);
            if round % 2 == 0 {
                time::sleep_until("the timer's interrupt", is_over);
            } else {
                time::wait_until("the timer's interrupt", is_over);
            }
            let changed = State::current().difference(pattern);
            if changed.is_some() {
                return changed;
            }
        }
        None
    }

    fn report(vcpus: usize) {
        let mut is_ok = true;
        for vcpu in 0..vcpus {
            let (ticks, sgis) = (
                TICKS[vcpu].load(Ordering::Relaxed),
                SGIS[vcpu].load(Ordering::Relaxed),
            );
            println!("fp: vCPU {vcpu} took {ticks} timer interrupts and {sgis} SGIs");
            match DIFFERED[vcpu].load(Ordering::Relaxed) {
                0 => continue,
                33 => println!("fp: failed: FPCR of vCPU {vcpu} changed"),
                34 => println!("fp: failed: FPSR of vCPU {vcpu} changed"),
                n => println!("fp: failed: V{} of vCPU {vcpu} changed", n - 1),
            }
            is_ok = false;
        }
        if is_ok {
            println!("fp: ok");
        }
    }

    fn exception(vector: Vector, frame: &mut Frame) {
        if vector.kind() != Kind::Irq {
            trap::unexpected(vector, frame);
        }
        let Some(intid) = gic::take() else { return };
        let vcpu = smp::current();
        let count = if intid == gic::VIRTUAL_TIMER {
            Timer::Virtual.disarm();
            &TICKS[vcpu]
        } else {
            &SGIS[vcpu]
        };
        gic::end(intid);
        count.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
