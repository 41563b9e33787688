//! Guests that start anew, and their neighbours: a life of a virtual machine must end for all its vCPUs before the next
//! one begins, and no neighbour may feel it. A word on the command line says which one this is.
//!
//! Each prints `lives: ok` in the end when nothing was wrong. The number of the life is kept in memory that no image
//! covers.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod guest {
    use core::sync::atomic::{AtomicU64, Ordering};
    use droste_guests::el2::{self, World, hcr, mode};
    use droste_guests::stage2::{self, Tables};
    use droste_guests::time::{self, Timer, now};
    use droste_guests::trap::Kind;
    use droste_guests::tree::Machine;
    use droste_guests::{RAM_BASE, cpu, gic, println, programs, psci, smp, trap};

    droste_guests::guest!(main: main, secondary: secondary, exception: trap::unexpected_always);

    type Role = (&'static str, fn());

    const ROLES: [Role; 6] = [
        ("traps-vectors", traps_vectors),
        ("resets", resets),
        ("resets-now-and-then", resets_now_and_then),
        ("resets-on-time", resets_on_time),
        ("leaves-one-behind", leaves_one_behind),
        ("leaves-a-guest-behind", leaves_a_guest_behind),
    ];

    /// Where the number of the life is, and whether a vCPU has seen another than its own: past the image, in memory that
    /// is nobody's.
    const LIFE: u64 = RAM_BASE + 0x700_0000;
    const SEEN: u64 = LIFE + 8;
    /// What stands above the number of a life.
    const MARK: u64 = 0x6c69_6665 << 32;

    /// Nanoseconds of a millisecond.
    const MS: u64 = 1_000_000;
    /// How often each begins.
    const LIVES: u64 = 5;
    /// How often one begins that must not get there, and how long each fourth of its lives lasts, milliseconds.
    const TOO_MANY: u64 = 24;
    const SLOW_MS: u64 = 1100;
    /// How long a vCPU runs under a trap of its vector registers, milliseconds.
    const TRAPPED_MS: u64 = 5000;
    /// How long a life lasts for a neighbour to have a time slice, milliseconds.
    const LIFE_MS: u64 = 100;
    /// All lives that are timed end at multiples of this, milliseconds, the second one's a little later: while the first
    /// one's image is copied.
    const PERIOD_MS: u64 = 1300;
    const LATER_MS: u64 = 4;
    /// No sooner than this after the begin, milliseconds.
    const SOONEST_MS: u64 = 400;

    fn main(machine: Machine) {
        let role = ROLES.iter().find(|(word, _)| machine.has_argument(word));
        let (_, act) = role.expect("the command line names a role");
        act();
    }

    /// Runs at EL1 for a while, with vector registers that trap to EL2.
    fn traps_vectors() {
        assert!(cpu::is_el2(), "this role is a hypervisor's");
        el2::prepare(1 << gic::HYPERVISOR_TIMER);
        el2::set_cptr(0);
        Timer::Hypervisor.arm_in(TRAPPED_MS * MS);
        let routed = hcr::IMO | hcr::FMO | hcr::AMO;
        let mut world = World::new(programs::spin(), mode::EL1H, routed);
        world.run();
        assert!(world.kind() == Kind::Irq, "the timer ends it");
        println!("lives: ok");
    }

    /// Starts anew some times.
    fn resets() {
        begin();
        time::spin(LIFE_MS * MS);
        end();
    }

    /// Starts anew far too often: three times at once, and once after a second, over and over.
    fn resets_now_and_then() {
        begin();
        let life = word(LIFE).load(Ordering::Acquire) - MARK;
        if life.is_multiple_of(4) {
            time::spin(SLOW_MS * MS);
        }
        if life < TOO_MANY {
            psci::call(psci::SYSTEM_RESET, [0; 3]);
        }
        println!("lives: {life} of them");
    }

    /// As `resets`, at an appointed time.
    fn resets_on_time() {
        begin();
        wait_for_appointment(0);
        end();
    }

    /// The same with a second vCPU that runs.
    fn leaves_one_behind() {
        begin();
        smp::start(1);
        wait_for_appointment(LATER_MS);
        assert!(
            word(SEEN).load(Ordering::Acquire) == 0,
            "a vCPU has outlived its life"
        );
        end();
    }

    /// The same with a second vCPU that is a hypervisor and runs its guest.
    fn leaves_a_guest_behind() {
        leaves_one_behind();
    }

    fn secondary(_: usize) -> ! {
        let mine = word(LIFE).load(Ordering::Acquire);
        if cpu::is_el2() {
            run_guest();
        }
        loop {
            if word(LIFE).load(Ordering::Acquire) != mine {
                word(SEEN).store(1, Ordering::Release);
            }
        }
    }

    /// Runs a guest that does nothing, under a stage 2.
    fn run_guest() {
        let mut tables = Tables::take();
        let root = tables.root();
        let block = stage2::Size::Block;
        tables.map_all(
            root,
            RAM_BASE,
            RAM_BASE,
            LIFE - RAM_BASE,
            block,
            stage2::Leaf::Memory,
        );
        el2::open();
        el2::reset_el1();
        el2::set_vtcr(stage2::vtcr());
        el2::set_vttbr(root.vttbr(1));
        World::new(programs::spin(), mode::EL1H, hcr::VM).run();
    }

    /// Counts this life.
    fn begin() {
        let before = word(LIFE).load(Ordering::Acquire);
        let life = if before & !0xffff == MARK {
            before + 1
        } else {
            MARK + 1
        };
        if life == MARK + 1 {
            word(SEEN).store(0, Ordering::Release);
        }
        word(LIFE).store(life, Ordering::Release);
        println!("lives: {}", life - MARK);
    }

    /// Starts anew, unless this was the last life.
    fn end() {
        if word(LIFE).load(Ordering::Acquire) - MARK < LIVES {
            psci::call(psci::SYSTEM_RESET, [0; 3]);
        }
        println!("lives: ok");
    }

    /// A word of memory that outlives the image.
    fn word(at: u64) -> &'static AtomicU64 {
        // SAFETY: `LIFE` or `SEEN`: aligned, RAM of this machine that the map covers and no Rust object lies in.
        unsafe { AtomicU64::from_ptr(at as *mut u64) }
    }

    fn wait_for_appointment(later_ms: u64) {
        let soonest = now() + ticks(SOONEST_MS);
        let at = soonest.next_multiple_of(ticks(PERIOD_MS)) + ticks(later_ms);
        while now() < at {}
    }

    fn ticks(ms: u64) -> u64 {
        time::ticks(ms * MS)
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
