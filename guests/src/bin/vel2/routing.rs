//! One of IRQ and FIQ is EL2's and the other EL1's, by HCR_EL2.{IMO, FMO}: EL1 has virtual interrupts of the one group, from
//! list registers, and physical ones of the other (DDI 0487, D1.3; IHI 0069, 12.2 and 12.3).

use crate::lab::{IRQ_FROM_BELOW, Lab, Where};
use crate::names::{
    CNTV_CTL_EL0, ICC_AP0R0_EL1, ICC_AP1R0_EL1, ICC_BPR0_EL1, ICC_BPR1_EL1, ICC_EOIR0_EL1,
    ICC_EOIR1_EL1, ICC_HPPIR0_EL1, ICC_HPPIR1_EL1, ICC_IAR0_EL1, ICC_IAR1_EL1, ICC_IGRPEN0_EL1,
    ICC_IGRPEN1_EL1, ICH_AP1R0_EL2, ICH_HCR_EL2, ICH_LR0_EL2, ICH_LR1_EL2, ICH_VMCR_EL2, ISB,
};
use core::fmt::Display;
use droste_guests::el2::{World, hcr, mode};
use droste_guests::encode::Name;
use droste_guests::gic;
use droste_guests::time::Timer;

const WFI: u32 = 0xd503207f;
/// PSTATE: A, I and F.
const AIF: u64 = 0x1c0;
const I: u64 = 1 << 7;
const F: u64 = 1 << 6;
/// What `gic` gives interrupts, by its level of 5 bits, and one that is more urgent.
const LEVEL: u64 = 0x80 >> 3;
const URGENT: u8 = 0x40;
/// ICH_HCR_EL2.En; ICH_VMCR_EL2 with both groups on and the mask open.
const EN: u64 = 1;
const OPEN: u64 = 0xff << 24 | 0b11;
/// A virtual interrupt, pending with priority 0xa0.
const VIRTUAL: u64 = 40;
const LISTED: u64 = 1 << 62 | 0xa0 << 48 | VIRTUAL;
const GROUP_1: u64 = 1 << 60;
/// SGIs of group 0 and of group 1.
const SGI_0: u32 = 3;
const SGI_1: u32 = 4;

/// The registers and interrupts of a group.
#[derive(Clone, Copy)]
struct Group {
    what: &'static str,
    /// What routes it to EL2, and makes a virtual one pending there.
    routed: u64,
    shown: u64,
    /// Where EL1 takes it, and EL2 from below.
    vector: u64,
    from_below: u64,
    mask: u64,
    /// An SGI that is of it.
    sgi: u32,
    listed: u64,
    acknowledge: Name,
    end: Name,
    highest: Name,
    point: Name,
    active: Name,
    enable: Name,
}

const GROUP0: Group = Group {
    what: "FIQ",
    routed: hcr::FMO,
    shown: hcr::VF,
    vector: 6,
    from_below: IRQ_FROM_BELOW + 1,
    mask: F,
    sgi: SGI_0,
    listed: LISTED,
    acknowledge: ICC_IAR0_EL1,
    end: ICC_EOIR0_EL1,
    highest: ICC_HPPIR0_EL1,
    point: ICC_BPR0_EL1,
    active: ICC_AP0R0_EL1,
    enable: ICC_IGRPEN0_EL1,
};

const GROUP1: Group = Group {
    what: "IRQ",
    routed: hcr::IMO,
    shown: hcr::VI,
    vector: 5,
    from_below: IRQ_FROM_BELOW,
    mask: I,
    sgi: SGI_1,
    listed: LISTED | GROUP_1,
    acknowledge: ICC_IAR1_EL1,
    end: ICC_EOIR1_EL1,
    highest: ICC_HPPIR1_EL1,
    point: ICC_BPR1_EL1,
    active: ICC_AP1R0_EL1,
    enable: ICC_IGRPEN1_EL1,
};

/// All of it.
pub(crate) fn check(lab: &mut Lab) {
    let base = lab.hcr;
    for (left, routed) in [(GROUP0, GROUP1), (GROUP1, GROUP0)] {
        lab.hcr = base & !(hcr::IMO | hcr::FMO) | routed.routed;
        set_up(lab, left, 0);
        is_taken(lab, left);
        is_handled(lab, left);
        runs(lab, left);
        is_off(lab, left);
        binary_point(lab, left);
        nothing_virtual(lab, left);
        the_other(lab, left, routed);
        both(lab, left, routed);
        listed(lab, left, routed);
        timer(lab, left);
    }
    lab.write(Where::El2, ICC_IGRPEN0_EL1, 0);
    lab.write(Where::El2, ICH_HCR_EL2, 0);
    gic::enable_distributor();
    gic::enable_cpu(0, 0);
    lab.hcr = base;
}

/// The SGI of each group on, with both groups on, and no list register in use. EL1's timer is of group `left`.
fn set_up(lab: &mut Lab, left: Group, listed: u64) {
    let timer = 1 << gic::VIRTUAL_TIMER;
    gic::enable_groups(0b11);
    gic::enable_cpu(0, 1 << SGI_0 | 1 << SGI_1 | timer);
    let group0 = 1 << SGI_0 | if left.sgi == SGI_0 { timer } else { 0 };
    gic::set_group1(0, !group0);
    for (name, value) in [
        (ICC_IGRPEN0_EL1, 1),
        (ICC_AP0R0_EL1, 0),
        (ICC_AP1R0_EL1, 0),
        (ICH_VMCR_EL2, OPEN),
        (ICH_AP1R0_EL2, 0),
        (ICH_LR0_EL2, listed),
        (ICH_LR1_EL2, 0),
        (ICH_HCR_EL2, EN),
    ] {
        lab.write(Where::El2, name, value);
    }
}

/// EL1 that does little, with none masked but `masked`.
fn unmasked(lab: &mut Lab, masked: u64) -> World {
    let mut world = lab.world(Where::El1, &[ISB, ISB]);
    world.pstate = mode::EL1H & !AIF | masked;
    world
}

/// EL1 runs `code` with all masked.
fn masked(lab: &mut Lab, what: impl Display, code: &[u32], x: [u64; 4]) -> World {
    let world = lab.run(Where::El1, code, x);
    lab.ended(what, Where::El1, &world);
    world
}

fn taken(lab: &mut Lab, what: impl Display, group: Group) {
    let mut world = unmasked(lab, 0);
    world.run();
    lab.at_el1(what, &world, group.vector, 0);
}

fn not_taken(lab: &mut Lab, what: impl Display) {
    let mut world = unmasked(lab, 0);
    world.run();
    lab.ended(what, Where::El1, &world);
}

/// It interrupts EL1, where that does not mask it, and ends its WFI.
fn is_taken(lab: &mut Lab, left: Group) {
    let what = left.what;
    not_taken(lab, format_args!("no {what}"));
    gic::make_pending(0, 1 << left.sgi);
    masked(lab, format_args!("{what} masked"), &[ISB, WFI], [0; 4]);
    taken(lab, format_args!("{what} left to EL1"), left);
}

/// EL1 acknowledges and ends it.
fn is_handled(lab: &mut Lab, left: Group) {
    let what = left.what;
    let code = [
        left.highest.read(3),
        left.acknowledge.read(1),
        ISB,
        left.acknowledge.read(2),
        left.end.write(1),
        ISB,
        left.highest.read(0),
    ];
    let world = masked(lab, format_args!("{what} handled"), &code, [0; 4]);
    let [none, taken, twice, first] = [0, 1, 2, 3].map(|n| world.x[n]);
    let spurious = u64::from(gic::SPURIOUS);
    for (step, found, wanted) in [
        ("highest", first, left.sgi.into()),
        ("acknowledged", taken, left.sgi.into()),
        ("acknowledged again", twice, spurious),
        ("highest after it", none, spurious),
    ] {
        lab.expect(format_args!("{what}: {step}"), found, wanted);
    }
    states(lab, left, format_args!("{what} handled"), (0, 0));
    not_taken(lab, format_args!("{what} handled"));
}

/// What the distributor has of it: pending, active.
fn states(lab: &mut Lab, group: Group, what: impl Display, wanted: (u32, u32)) {
    let of = |word: u32| word >> group.sgi & 1;
    let (pending, active) = (of(gic::pending(0)), of(gic::active(0)));
    lab.expect(
        format_args!("{what}: pending"),
        pending.into(),
        wanted.0.into(),
    );
    lab.expect(
        format_args!("{what}: active"),
        active.into(),
        wanted.1.into(),
    );
}

/// While it runs it holds back its like, which EL2 sees in its own interface.
fn runs(lab: &mut Lab, left: Group) {
    let what = left.what;
    gic::make_pending(0, 1 << left.sgi);
    let code = [left.acknowledge.read(1), ISB];
    masked(lab, format_args!("{what} acknowledged"), &code, [0; 4]);
    gic::make_pending(0, 1 << left.sgi);
    states(lab, left, format_args!("{what} twice"), (1, 1));
    let active = lab.read(Where::El2, left.active);
    lab.expect(format_args!("{what}: active at EL2"), active, 1 << LEVEL);
    let world = masked(
        lab,
        format_args!("{what}: active at EL1"),
        &[left.active.read(1)],
        [0; 4],
    );
    lab.expect(
        format_args!("{what}: active at EL1"),
        world.x[1],
        1 << LEVEL,
    );
    not_taken(lab, format_args!("{what} while it runs"));
    let sgi = [0, left.sgi.into(), 0, 0];
    masked(
        lab,
        format_args!("{what} ended"),
        &[left.end.write(1), ISB],
        sgi,
    );
    states(lab, left, format_args!("{what} ended"), (1, 0));
    taken(lab, format_args!("{what} again"), left);
    is_handled(lab, left);
}

/// EL1 turns its group off, and on.
fn is_off(lab: &mut Lab, left: Group) {
    let what = left.what;
    gic::make_pending(0, 1 << left.sgi);
    for is_on in [0, 1] {
        let code = [left.enable.write(1), ISB, left.enable.read(2)];
        let x = [0, is_on, 0, 0];
        let world = masked(lab, format_args!("{what}: group {is_on}"), &code, x);
        lab.expect(format_args!("{what}: group at EL1"), world.x[2], is_on);
        let at_el2 = lab.read(Where::El2, left.enable);
        lab.expect(format_args!("{what}: group at EL2"), at_el2, is_on);
        if is_on == 0 {
            not_taken(lab, format_args!("{what} off"));
        } else {
            taken(lab, format_args!("{what} on"), left);
        }
    }
    is_handled(lab, left);
    let vmcr = lab.read(Where::El2, ICH_VMCR_EL2);
    lab.expect(format_args!("{what}: ICH_VMCR_EL2"), vmcr & OPEN, OPEN);
}

/// EL1's binary point of it is EL2's, and has a least.
fn binary_point(lab: &mut Lab, left: Group) {
    let what = left.what;
    for point in [5, 0] {
        let code = [left.point.write(1), ISB, left.point.read(2)];
        let world = masked(lab, format_args!("{what}: point"), &code, [0, point, 0, 0]);
        let at_el2 = lab.read(Where::El2, left.point);
        lab.expect(format_args!("{what}: point at EL1"), world.x[2], at_el2);
        let is_kept = point == 0 && at_el2 != 0 || at_el2 == point;
        lab.expect(format_args!("{what}: point"), is_kept.into(), 1);
    }
}

/// HCR_EL2.VI and VF count where they are routed, and so do list registers (DDI 0487, D24.2).
fn nothing_virtual(lab: &mut Lab, left: Group) {
    let what = left.what;
    let base = lab.hcr;
    lab.hcr |= left.shown;
    not_taken(lab, format_args!("{what} that HCR_EL2 shows"));
    lab.hcr = base;
    lab.write(Where::El2, ICH_LR0_EL2, left.listed);
    not_taken(lab, format_args!("{what} that is listed"));
    lab.write(Where::El2, ICH_LR0_EL2, 0);
}

/// What is routed interrupts EL2.
fn the_other(lab: &mut Lab, left: Group, routed: Group) {
    gic::make_pending(0, 1 << routed.sgi);
    goes_to_el2(lab, left, routed);
}

fn goes_to_el2(lab: &mut Lab, left: Group, routed: Group) {
    let what = format_args!("{} beside {} of EL1's", routed.what, left.what);
    let mut world = lab.waiting(Where::El1, &[]);
    world.run();
    lab.expect(
        format_args!("{what}: vector"),
        world.vector(),
        routed.from_below,
    );
    let intid = lab.read(Where::El2, routed.acknowledge);
    lab.expect(format_args!("{what}: INTID"), intid, routed.sgi.into());
    lab.write(Where::El2, routed.end, intid);
}

/// The more urgent of both first, and the other as soon as that is done.
fn both(lab: &mut Lab, left: Group, routed: Group) {
    let what = format_args!("{} and {}", left.what, routed.what);
    let pend = || gic::make_pending(0, 1 << left.sgi | 1 << routed.sgi);
    gic::set_priority(0, routed.sgi, URGENT);
    pend();
    goes_to_el2(lab, left, routed);
    taken(lab, format_args!("{what}: less urgent"), left);
    is_handled(lab, left);
    gic::set_priority(0, routed.sgi, 0x80);
    gic::set_priority(0, left.sgi, URGENT);
    pend();
    // One is signalled at a time, and EL1 masks it.
    masked(lab, what, &[ISB, ISB], [0; 4]);
    taken(lab, format_args!("{what}: more urgent"), left);
    let code = [left.acknowledge.read(1), ISB, left.end.write(1), ISB];
    let mut world = lab.waiting(Where::El1, &code);
    world.run();
    lab.expect(what, world.x[1], left.sgi.into());
    lab.expect(
        format_args!("{what}: vector"),
        world.vector(),
        routed.from_below,
    );
    goes_to_el2(lab, left, routed);
    gic::set_priority(0, left.sgi, 0x80);
}

/// What EL2 lists of the routed group is EL1's beside what is left to it.
fn listed(lab: &mut Lab, left: Group, routed: Group) {
    let what = format_args!("{} of EL1's and a virtual {}", left.what, routed.what);
    set_up(lab, left, routed.listed);
    gic::make_pending(0, 1 << left.sgi);
    let mut world = unmasked(lab, left.mask);
    world.run();
    lab.at_el1(what, &world, routed.vector, 0);
    let mut world = unmasked(lab, routed.mask);
    world.run();
    lab.at_el1(what, &world, left.vector, 0);
    let code = [
        routed.acknowledge.read(1),
        left.acknowledge.read(2),
        ISB,
        routed.end.write(1),
        left.end.write(2),
        ISB,
        routed.acknowledge.read(3),
    ];
    let world = masked(lab, what, &code, [0; 4]);
    lab.expect(format_args!("{what}: virtual"), world.x[1], VIRTUAL);
    lab.expect(format_args!("{what}: EL1's"), world.x[2], left.sgi.into());
    lab.expect(
        format_args!("{what}: virtual, again"),
        world.x[3],
        gic::SPURIOUS.into(),
    );
    states(lab, left, what, (0, 0));
    not_taken(lab, what);
}

/// EL1 handles its own timer, by its level, with a physical interrupt behind it.
fn timer(lab: &mut Lab, left: Group) {
    // What CNTV_CTL_EL0 becomes: x2, which says on, and 0.
    const KEPT: u32 = 2;
    const OFF: u32 = 31;
    let what = format_args!("{} of EL1's timer", left.what);
    let intid = u64::from(gic::VIRTUAL_TIMER);
    Timer::Below.make_due();
    let handles = |control| {
        [
            left.acknowledge.read(1),
            ISB,
            CNTV_CTL_EL0.write(control),
            ISB,
            left.end.write(1),
            ISB,
        ]
    };
    for control in [KEPT, KEPT, OFF] {
        let mut world = lab.waiting(Where::El1, &[]);
        world.pstate = mode::EL1H & !AIF;
        world.run();
        lab.at_el1(what, &world, left.vector, 0);
        let world = masked(lab, what, &handles(control), [0, 0, 1, 0]);
        lab.expect(format_args!("{what}: INTID"), world.x[1], intid);
    }
    not_taken(lab, format_args!("{what}, off"));
    let active = gic::active(0) >> intid & 1;
    lab.expect(format_args!("{what}: active"), active.into(), 0);
}
