//! Timers of EL2 and of the EL1 under it: their interrupts come to EL2, whoever runs, and not early; CNTVOFF_EL2 shifts
//! EL1's virtual time.
//!
//! Left out: EL1's timers that fire while EL2 runs, which [`parked`](crate::parked) has.

use crate::lab::{IRQ_FROM_BELOW, Lab, Where};
use crate::names::{
    CNTHP_CTL_EL2, CNTHP_CVAL_EL2, CNTHV_CTL_EL2, CNTHV_CVAL_EL2, CNTP_CTL_EL0, CNTP_CVAL_EL0,
    CNTPCT_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVCT_EL0,
};
use droste_guests::encode::Name;
use droste_guests::{cpu, el2, gic};

/// `B .`.
const SPIN: u32 = 0x14000000;
/// How long a timer runs, in nanoseconds.
const SHORT_NS: u64 = 20_000;
/// What the virtual counter may run on between two looks at it, in ticks.
const SLACK: u64 = 1 << 32;
const PHYSICAL_TIMER: u32 = 30;
/// CNT*_CTL: ENABLE, ISTATUS.
const ENABLE: u64 = 1;
const FIRED: u64 = 1 << 2;

/// One timer, as EL2 reaches it.
struct Timer {
    what: &'static str,
    intid: u32,
    control: Name,
    compare: Name,
    /// Whether it follows CNTVOFF_EL2.
    is_virtual: bool,
    /// Where it interrupts.
    levels: &'static [Where],
}

/// All of it.
pub(crate) fn check(lab: &mut Lab) {
    for timer in timers() {
        interrupts(lab, &timer);
    }
    offset(lab);
    el1_arms_its_own(lab);
}

fn timers() -> impl Iterator<Item = Timer> {
    let is_vhe = el2::is_vhe();
    let under = move |name: Name| {
        if is_vhe {
            Name { op1: 5, ..name }
        } else {
            name
        }
    };
    let all = [
        Some(Timer {
            what: "EL2's physical timer",
            intid: gic::HYPERVISOR_TIMER,
            control: CNTHP_CTL_EL2,
            compare: CNTHP_CVAL_EL2,
            is_virtual: false,
            levels: &[Where::El1, Where::El2],
        }),
        is_vhe.then_some(Timer {
            what: "EL2's virtual timer",
            intid: gic::HYPERVISOR_VIRTUAL_TIMER,
            control: CNTHV_CTL_EL2,
            compare: CNTHV_CVAL_EL2,
            is_virtual: false,
            levels: &[Where::El1, Where::El2],
        }),
        Some(Timer {
            what: "EL1's physical timer",
            intid: PHYSICAL_TIMER,
            control: under(CNTP_CTL_EL0),
            compare: under(CNTP_CVAL_EL0),
            is_virtual: false,
            levels: &[Where::El1],
        }),
        Some(Timer {
            what: "EL1's virtual timer",
            intid: gic::VIRTUAL_TIMER,
            control: under(CNTV_CTL_EL0),
            compare: under(CNTV_CVAL_EL0),
            is_virtual: true,
            levels: &[Where::El1],
        }),
    ];
    all.into_iter().flatten()
}

/// The timer ends an EL1 that spins, or an EL2.
fn interrupts(lab: &mut Lab, timer: &Timer) {
    const OFFSET: u64 = 1 << 40;
    let what = timer.what;
    gic::enable_cpu(0, 1 << timer.intid);
    for offset in [0, OFFSET] {
        el2::set_cntvoff(offset);
        for level in timer.levels.iter().copied() {
            let deadline = now() + cpu::counter_frequency() * SHORT_NS / 1_000_000_000 + 1;
            let own = if timer.is_virtual { offset } else { 0 };
            lab.write(Where::El2, timer.compare, deadline.wrapping_sub(own));
            lab.write(Where::El2, timer.control, ENABLE);
            let mut world = lab.world(level, &[SPIN]);
            if level == Where::El2 {
                // Unmasked. EL1 is interrupted whatever its masks.
                world.pstate &= !0x80;
            }
            world.run();
            let vector = if level == Where::El2 {
                5
            } else {
                IRQ_FROM_BELOW
            };
            lab.expect(
                format_args!("{what} at {level:?}: vector"),
                world.vector(),
                vector,
            );
            let is_early = u64::from(now() < deadline);
            lab.expect(format_args!("{what} at {level:?}: early"), is_early, 0);
            let control = lab.read(Where::El2, timer.control);
            lab.expect(format_args!("{what}: control"), control, ENABLE | FIRED);
            lab.interrupted(what, timer.intid, timer.control);
        }
    }
    el2::set_cntvoff(0);
    gic::enable_cpu(0, 0);
}

/// EL1 sees the physical counter less CNTVOFF_EL2.
fn offset(lab: &mut Lab) {
    for offset in [0, 1 << 33, 0u64.wrapping_sub(1 << 45)] {
        el2::set_cntvoff(offset);
        let before = now();
        let seen = lab.read(Where::El1, CNTVCT_EL0);
        let physical = lab.read(Where::El1, CNTPCT_EL0);
        let passed = seen.wrapping_add(offset).wrapping_sub(before);
        lab.expect(
            format_args!("virtual time at {offset:#x}"),
            u64::from(passed < SLACK),
            1,
        );
        let passed = physical.wrapping_sub(before);
        lab.expect("physical time of EL1", u64::from(passed < SLACK), 1);
        let own = lab.read(Where::El2, CNTPCT_EL0).wrapping_sub(before);
        lab.expect("physical time of EL2", u64::from(own < SLACK), 1);
    }
    el2::set_cntvoff(0);
}

/// EL1 arms its virtual timer by itself and spins.
fn el1_arms_its_own(lab: &mut Lab) {
    gic::enable_cpu(0, 1 << gic::VIRTUAL_TIMER);
    let deadline = now() + cpu::counter_frequency() * SHORT_NS / 1_000_000_000;
    let code = [CNTV_CVAL_EL0.write(0), CNTV_CTL_EL0.write(1), SPIN];
    let world = lab.run(Where::El1, &code, [deadline, ENABLE, 0, 0]);
    lab.expect("EL1's own: vector", world.vector(), IRQ_FROM_BELOW);
    lab.expect("EL1's own: control", el2::cntv_ctl(), ENABLE | FIRED);
    lab.expect("EL1's own: compare", el2::cntv_cval(), deadline);
    let intid = gic::take().unwrap_or(gic::SPURIOUS);
    lab.expect("EL1's own: INTID", intid.into(), gic::VIRTUAL_TIMER.into());
    el2::set_cntv_ctl(0);
    if intid != gic::SPURIOUS {
        gic::end(intid);
    }
    gic::enable_cpu(0, 0);
}

/// The physical counter.
fn now() -> u64 {
    cpu::isb();
    cpu::physical_counter()
}
