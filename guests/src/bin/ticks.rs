//! A timer of 10 ms at EL1: how late its interrupts are, and whether one is lost.
//!
//! Deadlines are 10 ms apart whatever comes when, so lateness does not add up. One is lost when the next has passed before
//! its interrupt was taken. As an operating system does, the handler sets the next deadline before it ends the interrupt.
//! Says `ticks: DEADLINES of 10 ms: mean MEAN, longest LONGEST, lost LOST`, in nanoseconds, and in the end `ticks: ok`.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod guest {
    use droste_guests::time::{self, Timer};
    use droste_guests::tree::Machine;
    use droste_guests::{cpu, gic, println, smp, trap};

    droste_guests::guest!(main: main, secondary: smp::none, exception: trap::unexpected_always);

    const DEADLINES: u64 = 2400;
    const PERIOD_NS: u64 = 10_000_000;

    fn main(_: Machine) {
        gic::enable_distributor();
        gic::enable_cpu(0, 1 << gic::VIRTUAL_TIMER);
        let period = time::ticks(PERIOD_NS);
        let (mut over, mut taken, mut lost) = (0, 0, 0);
        let (mut sum, mut longest) = (0, 0);
        let mut deadline = time::now() + period;
        Timer::Virtual.arm_at(deadline);
        while over < DEADLINES {
            let intid = wait();
            let late = time::now() - deadline;
            let missed = late / period;
            (sum, longest) = (sum + late, late.max(longest));
            (over, taken, lost) = (over + 1 + missed, taken + 1, lost + missed);
            deadline += (1 + missed) * period;
            Timer::Virtual.arm_at(deadline);
            gic::end(intid);
            assert!(intid == gic::VIRTUAL_TIMER, "woken by interrupt {intid}");
        }
        Timer::Virtual.disarm();
        println!(
            "ticks: {over} of 10 ms: mean {}, longest {}, lost {lost}",
            time::nanoseconds(sum / taken),
            time::nanoseconds(longest)
        );
        println!("ticks: ok");
    }

    /// Sleeps until an interrupt is there. They are masked, so that the wake-up is WFI's and not an exception's.
    fn wait() -> u32 {
        loop {
            cpu::wfi();
            if let Some(intid) = gic::take() {
                return intid;
            }
        }
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
