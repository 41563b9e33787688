//! Guests that share CPUs: some spoil what a hypervisor hands from one guest to the next, or what it owes them in turn;
//! others do their work and look whether they feel it. A word on the command line says which one this is.
//!
//! A watchful one prints `neighbours: ok` when nothing was wrong. One that spoils says what it does, if anything; it
//! ends by itself some seconds after its victim has seen enough.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod guest {
    use core::hint::black_box;
    use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use droste_guests::time::{self, Timer, now};
    use droste_guests::trap::{self, Frame, Kind, Vector};
    use droste_guests::tree::Machine;
    use droste_guests::{cpu, gic, lines, println, psci, smp};

    droste_guests::guest!(main: main, secondary: secondary, exception: exception);

    type Role = (&'static str, fn());

    const ROLES: [Role; 15] = [
        ("steady", steady),
        ("sleepy", sleepy),
        ("off-with-pending", off_with_pending),
        ("ends-unlisted", ends_unlisted),
        ("deactivates", deactivates),
        ("handler", handler),
        ("listens-to-one-group", listens_to_one_group),
        ("spins-past-deadline", spins_past_deadline),
        ("writes-disr", writes_disr),
        ("reads-disr", reads_disr),
        ("kicks-the-sleeping", kicks_the_sleeping),
        ("resets", resets),
        ("watches-the-first", || watches(0)),
        ("watches-the-second", || watches(1)),
        ("lines", lines),
    ];

    /// Nanoseconds of a millisecond.
    const MS: u64 = 1_000_000;
    /// When the spoilers begin, milliseconds after the start: the steady one has seen by then how fast it can be.
    const SPOIL_FROM_MS: u64 = 1000;
    /// When they stop.
    const SPOIL_UNTIL_MS: u64 = 5000;
    /// From when on the steady one counts, until when, and until when it keeps its CPU busy.
    const COUNT_FROM_MS: u64 = 1500;
    const COUNT_UNTIL_MS: u64 = 4500;
    const STEADY_UNTIL_MS: u64 = 6000;
    /// Steps of one round of work.
    const ROUND_STEPS: u64 = 20_000;
    /// What a neighbour must leave of a CPU that two share, percent: far below a fair half, since a busy host takes its
    /// part of either.
    const SHARE_MIN: u64 = 10;
    /// How long an interrupt is handled, or another guest's time slice is waited for, milliseconds: longer than one.
    const LONG_MS: u64 = 30;
    /// How many interrupts are handled.
    const HANDLED: u32 = 60;
    /// How often lines rise and fall.
    const LINES: u32 = 100;
    /// The SGI that is handled, or sent.
    const SGI: u32 = 3;
    /// A deferred SError with an implementation's own syndrome (DDI 0487, "DISR_EL1").
    const SERROR: u64 = 0x8123_4567;

    /// How often a word that is watched is read.
    const READS: u64 = 40;
    /// MDSCR_EL1: MDE, KDE. DBGWCR_EL1: E, PAC EL1 and EL0, LSC loads and stores, BAS of eight bytes.
    const DEBUG_ON: u64 = 1 << 15 | 1 << 13;
    const WATCHED: u64 = 1 | 3 << 1 | 3 << 3 | 0xff << 5;

    /// Words that neighbours watch, at the same address in each.
    static WORDS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
    /// How often a watchpoint matched.
    static MATCHES: AtomicU64 = AtomicU64::new(0);
    /// Whether the second vCPU ran.
    static IS_AWAKE: AtomicBool = AtomicBool::new(false);
    /// Whether an instruction was undefined.
    static IS_UNDEFINED: AtomicBool = AtomicBool::new(false);

    fn main(machine: Machine) {
        let role = ROLES.iter().find(|(word, _)| machine.has_argument(word));
        let (_, act) = role.expect("the command line names a role");
        act();
    }

    /// Works, and must get its share of the CPU.
    fn steady() {
        let start = now();
        let (mut fastest, mut rounds) = (u64::MAX, 0);
        while now() < start + ticks(STEADY_UNTIL_MS) {
            let begin = now();
            (0..ROUND_STEPS).for_each(|n| _ = black_box(n));
            fastest = fastest.min(now() - begin);
            let counted = start + ticks(COUNT_FROM_MS)..start + ticks(COUNT_UNTIL_MS);
            rounds += u64::from(counted.contains(&begin));
        }
        let share = rounds * fastest * 100 / ticks(COUNT_UNTIL_MS - COUNT_FROM_MS);
        println!("neighbours: {share} % of the CPU for steady work");
        assert!(share >= SHARE_MIN, "a neighbour left {share} % of the CPU");
        println!("neighbours: ok");
    }

    /// Sleeps from one timer interrupt to the next, until long after the spoilers began.
    fn sleepy() {
        gic::enable_distributor();
        gic::enable_cpu(0, 1 << gic::VIRTUAL_TIMER);
        let end = now() + ticks(SPOIL_FROM_MS * 3);
        while now() < end {
            Timer::Virtual.arm_in(LONG_MS * 4 * MS);
            cpu::wfi();
            let intid = take_soon();
            Timer::Virtual.disarm();
            gic::end(intid);
        }
        println!("neighbours: ok");
    }

    /// Raises and lowers its timers' lines, again and again.
    fn lines() {
        gic::enable_distributor();
        for timer in (0..LINES).flat_map(|_| [Timer::Virtual, Timer::Physical]) {
            lines::check(timer, |what, found, wanted| {
                assert_eq!(found, wanted, "{timer:?}: {what}");
            });
        }
        println!("neighbours: ok");
    }

    /// Leaves more interrupts pending than list registers hold (IHI 0069, 12.4, "ICH_VTR_EL2": 16 at most, 4 usually),
    /// and switches its only vCPU off.
    fn off_with_pending() {
        const ALL_SGIS: u32 = 0xffff;
        gic::enable_distributor();
        gic::enable_cpu(0, ALL_SGIS);
        spin(SPOIL_FROM_MS);
        gic::make_pending(0, ALL_SGIS);
        println!("neighbours: off with all SGIs pending");
        psci::call(psci::CPU_OFF, [0; 3]);
    }

    /// Ends interrupts that are no longer active, so that no list register holds them, which the hardware counts
    /// (IHI 0069, 12.4, "ICH_HCR_EL2", EOIcount).
    fn ends_unlisted() {
        gic::enable_distributor();
        gic::enable_cpu(0, 1 << SGI);
        let end = now() + ticks(SPOIL_UNTIL_MS);
        while now() < end {
            gic::make_pending(0, 1 << SGI);
            let intid = take_soon();
            gic::make_inactive(0, 1 << intid);
            gic::end(intid);
            spin(LONG_MS / 2);
        }
    }

    /// Deactivates interrupts by name, of which more are active than list registers hold; its ends drop priorities alone. What
    /// it does not name stays active (IHI 0069, 12.2, "ICC_DIR_EL1").
    fn deactivates() {
        const SPLIT_ENDS: u64 = 1 << 1;
        const ALL_SGIS: u32 = 0xffff;
        let expect_active = |what: &str, wanted: u32| {
            let found = gic::active(0);
            assert!(
                found == wanted,
                "{what}: {found:#x} active, not {wanted:#x}"
            );
        };
        gic::enable_distributor();
        gic::enable_cpu(0, ALL_SGIS);
        cpu::set_icc_ctlr(SPLIT_ENDS);
        cpu::deactivate_interrupt(gic::VIRTUAL_TIMER.into());
        gic::make_active(0, 0x41);
        expect_active("one that was not active, deactivated", 0x41);
        gic::make_inactive(0, ALL_SGIS);
        let mut active = ALL_SGIS & !(1 << SGI);
        gic::make_active(0, active);
        for _ in 0..2 {
            gic::send(SGI, 0);
            let intid = take_soon();
            gic::end(intid);
            active |= 1 << intid;
            expect_active("an end that drops its priority", active);
            cpu::deactivate_interrupt(intid.into());
            active &= !(1 << intid);
            expect_active("the end of that", active);
        }
        for intid in [9, 2, 15, 15, 0, 1, 14, 12, 4] {
            cpu::deactivate_interrupt(intid);
            active &= !(1 << intid);
            expect_active("one of many, deactivated", active);
        }
        cpu::set_icc_ctlr(0);
        cpu::deactivate_interrupt(5);
        expect_active("a deactivation where ends deactivate", active);
        gic::silence_cpu(0);
        println!("neighbours: ok");
    }

    /// Handles interrupts for longer than a time slice; what it handles must stay active.
    fn handler() {
        gic::enable_distributor();
        gic::enable_cpu(0, 1 << SGI);
        let handle = |_: &u32| {
            gic::send(SGI, 0);
            let intid = take_soon();
            spin(LONG_MS);
            let is_active = gic::active(0) >> intid & 1 != 0;
            gic::end(intid);
            !is_active
        };
        let lost = (0..HANDLED).filter(handle).count();
        assert!(
            lost == 0,
            "{lost} of {HANDLED} interrupts became inactive while they were handled"
        );
        println!("neighbours: ok");
    }

    /// Waits again and again while its timer's time is past and the interrupt of it never ends.
    fn spins_past_deadline() {
        gic::enable_distributor();
        gic::enable_cpu(0, 1 << gic::VIRTUAL_TIMER);
        let start = now();
        Timer::Virtual.arm_in(SPOIL_FROM_MS * MS);
        while gic::take().is_none() {
            cpu::wfi();
        }
        while now() < start + ticks(SPOIL_UNTIL_MS) {
            spin(8);
            cpu::wfi();
        }
    }

    /// Says that an SError was deferred.
    fn writes_disr() {
        let end = now() + ticks(SPOIL_UNTIL_MS);
        while now() < end {
            cpu::set_disr(SERROR);
            spin(1);
        }
    }

    /// Asks whether an SError was deferred, which none was.
    fn reads_disr() {
        let end = now() + ticks(SPOIL_UNTIL_MS / 2);
        while now() < end {
            let disr = cpu::disr();
            if IS_UNDEFINED.load(Ordering::Relaxed) {
                println!("neighbours: there is no DISR_EL1");
                break;
            }
            assert!(disr == 0, "DISR_EL1 is {disr:#x}, which a neighbour wrote");
            spin(1);
        }
        println!("neighbours: ok");
    }

    /// Has more interrupts pending than any list registers hold, of a group that it does not listen to, while it listens to
    /// the other.
    fn listens_to_one_group() {
        gic::enable_groups(0b11);
        gic::enable_cpu(0, u32::from(u16::MAX));
        cpu::set_group0_enable(1);
        cpu::set_group1_enable(0);
        gic::make_pending(0, u32::from(u16::MAX));
        spin(SPOIL_UNTIL_MS);
        println!("neighbours: ok");
    }

    /// Sends an SGI to a vCPU that is off, and switches it on when that was long ago.
    fn kicks_the_sleeping() {
        gic::enable_distributor();
        gic::enable_cpu(1, 1 << SGI);
        gic::send(SGI, 1);
        spin(LONG_MS * 10);
        smp::start(1);
        time::wait_until("vCPU 1, which is on,", || IS_AWAKE.load(Ordering::Acquire));
        println!("neighbours: ok");
    }

    fn secondary(_: usize) -> ! {
        IS_AWAKE.store(true, Ordering::Release);
        loop {
            cpu::wfi();
        }
    }

    /// Resets itself at once.
    fn resets() {
        psci::call(psci::SYSTEM_RESET, [0; 3]);
    }

    /// Watches one word, and reads both after each time slice of others: it must hear of each read of its own, and of no other.
    fn watches(own: usize) {
        let address = core::ptr::from_ref(&WORDS[own]) as u64;
        cpu::set_os_lock(0);
        cpu::set_watchpoint_address(address);
        cpu::set_watchpoint_control(WATCHED);
        cpu::set_mdscr(DEBUG_ON);
        cpu::unmask_debug();
        for round in 0..READS {
            spin(LONG_MS / 2);
            WORDS[1 - own].load(Ordering::SeqCst);
            let seen = MATCHES.load(Ordering::SeqCst);
            assert!(seen == round, "{seen} matches after {round} reads");
            WORDS[own].load(Ordering::SeqCst);
            let seen = MATCHES.load(Ordering::SeqCst);
            assert!(seen == round + 1, "a read that was watched: {seen} matches");
        }
        cpu::set_mdscr(0);
        println!("neighbours: ok");
    }

    /// Acknowledges an interrupt that is on its way.
    fn take_soon() -> u32 {
        let mut taken = None;
        time::wait_until("an interrupt", || {
            taken = gic::take();
            taken.is_some()
        });
        taken.expect("it was waited for")
    }

    fn ticks(ms: u64) -> u64 {
        time::ticks(ms * MS)
    }

    /// Keeps the CPU for so many milliseconds.
    fn spin(ms: u64) {
        time::spin(ms * MS);
    }

    /// Passes over undefined instructions, and accesses that are watched.
    fn exception(vector: Vector, frame: &mut Frame) {
        const UNKNOWN: u64 = 0;
        const WATCHPOINT: u64 = 0x35;
        match (vector.kind(), cpu::esr() >> 26) {
            (Kind::Synchronous, UNKNOWN) => IS_UNDEFINED.store(true, Ordering::Relaxed),
            (Kind::Synchronous, WATCHPOINT) => _ = MATCHES.fetch_add(1, Ordering::SeqCst),
            _ => trap::unexpected(vector, frame),
        }
        frame.elr += 4;
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
