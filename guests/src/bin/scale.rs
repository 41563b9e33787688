//! A hypervisor with several vCPUs that do the same beside each other, and nothing with each other but the last: what
//! one does must not cost more because others do it too.
//!
//! All run one guest: one stage-2 table under one VMID. An instruction-counting tool sees mark 1 at the begin of each part, 14
//! when all have done theirs, and then 15. Afterwards the first vCPU prints `scale: section NAME TIMES`, with the
//! times of all together: the n-th line belongs to the n-th mark 1. In the end it says `scale: ok`.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod guest {
    use core::hint::spin_loop;
    use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use droste_guests::stage2::{self, Leaf, Size, Tables};
    use droste_guests::tree::Machine;
    use droste_guests::{BLOCK, cpu, el2, gic, println, programs, smp, trap};
    use el2::{World, class, hcr, mode};

    droste_guests::guest!(main: main, secondary: secondary, exception: trap::unexpected_always);

    /// How often each does a part; and that for which it takes a lock that all others want, so that it waits for the host to
    /// run them.
    const ROUNDS: u64 = 400;
    const ROUNDS_AMONG_OTHERS: u64 = 40;
    const PAGE: u64 = 0x1000;
    /// IPA of a block that is mapped by pages, of which each has its own, and one that nothing is mapped at.
    const PAGES_AT: u64 = 0x2_0000_0000;
    const NOTHING_AT: u64 = 0x2_8000_0000;
    /// Pages of each.
    const PAGES: u64 = BLOCK / PAGE / smp::MAX as u64;

    type Part = (&'static str, u64, fn(vcpu: u64));

    const PARTS: [Part; 4] = [
        ("change of worlds, and back", ROUNDS, switches),
        ("abort delivered", ROUNDS, aborts),
        ("page filled and invalidated", ROUNDS_AMONG_OTHERS, pages),
        ("SGI to all others", ROUNDS, sgis),
    ];

    /// How many parts have begun, and how many have ended the last one.
    static BEGUN: AtomicUsize = AtomicUsize::new(0);
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    static VTTBR: AtomicU64 = AtomicU64::new(0);

    fn main(machine: Machine) {
        el2::begin("scale", &machine);
        gic::enable_distributor();
        let mut tables = Tables::take();
        let root = tables.root();
        tables.map_own(root, &machine);
        let fresh = machine.unused();
        tables.map_all(root, PAGES_AT, fresh, BLOCK, Size::Page, Leaf::Memory);
        VTTBR.store(root.vttbr(1), Ordering::Relaxed);
        let others = machine.vcpus.min(smp::MAX) - 1;
        prepare(0);
        (1..=others).for_each(smp::start);
        wait_for(others);
        for (n, (name, rounds, act)) in PARTS.iter().enumerate() {
            ENDED.store(0, Ordering::Relaxed);
            cpu::between_marks::<1>(|| {
                BEGUN.store(n + 1, Ordering::Release);
                act(0);
                wait_for(others);
            });
            println!("scale: section {name} {}", rounds * (others as u64 + 1));
        }
        println!("scale: ok");
    }

    fn secondary(vcpu: usize) -> ! {
        prepare(vcpu);
        ENDED.fetch_add(1, Ordering::Release);
        for (n, (_, _, act)) in PARTS.iter().enumerate() {
            while BEGUN.load(Ordering::Acquire) <= n {
                spin_loop();
            }
            act(vcpu as u64);
            ENDED.fetch_add(1, Ordering::Release);
        }
        loop {
            cpu::wfi();
        }
    }

    fn prepare(vcpu: usize) {
        el2::prepare_on(vcpu, 0);
        el2::open();
        el2::set_vtcr(stage2::vtcr());
        el2::set_vttbr(VTTBR.load(Ordering::Relaxed));
        // Loaded, and all that it needs is mapped.
        World::touch(PAGES_AT + vcpu as u64 * PAGES * PAGE, PAGE, 1);
        switch();
    }

    /// Waits until so many others have done their part.
    fn wait_for(others: usize) {
        while ENDED.load(Ordering::Acquire) < others {
            spin_loop();
        }
    }

    /// The guest calls, and comes back.
    fn switch() {
        let mut world = World::new(programs::hvc(), mode::EL1H, hcr::GUEST);
        world.run();
        assert!(world.class() == class::HVC, "ESR_EL2 {:#x}", world.esr);
    }

    fn switches(_: u64) {
        let mut world = World::new(programs::hvc(), mode::EL1H, hcr::GUEST);
        let pc = world.pc;
        for _ in 0..ROUNDS {
            world.run();
            world.pc = pc;
        }
        assert!(world.class() == class::HVC, "ESR_EL2 {:#x}", world.esr);
    }

    fn aborts(_: u64) {
        let mut world = World::new(programs::load(), mode::EL1H, hcr::GUEST);
        world.x[0] = NOTHING_AT;
        for _ in 0..ROUNDS {
            world.run();
        }
        assert!(
            world.class() == class::DATA_LOWER,
            "ESR_EL2 {:#x}",
            world.esr
        );
    }

    fn pages(vcpu: u64) {
        for n in 0..ROUNDS_AMONG_OTHERS {
            let ipa = PAGES_AT + (vcpu * PAGES + n % PAGES) * PAGE;
            World::touch(ipa, PAGE, 1);
            el2::tlbi_ipas2e1is(ipa >> 12);
            cpu::dsb();
        }
    }

    /// They stay pending: nobody has interrupts enabled.
    fn sgis(_: u64) {
        for n in 0..ROUNDS {
            cpu::send_sgi((n % 16) << 24 | 1 << 40);
        }
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
