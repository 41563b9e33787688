//! Register by register.

use super::*;
use crate::id;
use Direction::{Read, Write};
use droste_arm64::PaRange;
use droste_arm64::sysreg::{
    ACTLR_EL1, DC_CISW, DC_CSW, DC_ISW, ICC_ASGI1R_EL1, ICC_SGI0R_EL1, ICC_SGI1R_EL1, ICC_SRE_EL1,
    ID_AA64DFR0_EL1, MDSCR_EL1, OSDLR_EL1, OSLAR_EL1, OSLSR_EL1,
};

fn of(register: SysReg, direction: Direction) -> Action {
    action(SysRegAccess {
        register,
        direction,
        rt: 0,
    })
}

#[test]
fn each_sgi_register_is_written_only() {
    for (register, sgi) in [
        (ICC_SGI1R_EL1, SgiRegister::Sgi1),
        (ICC_SGI0R_EL1, SgiRegister::Sgi0),
        (ICC_ASGI1R_EL1, SgiRegister::AliasedSgi1),
    ] {
        assert_eq!(of(register, Write), Action::SendSgi(sgi));
        assert_eq!(of(register, Read), Action::Undefined);
    }
}

#[test]
fn the_identification_group_is_read_only() {
    for register in SysReg::all() {
        let is_id = id::is_identification(register);
        assert_eq!(
            of(register, Read) == Action::Identification,
            is_id,
            "{register}"
        );
        if is_id {
            assert_eq!(of(register, Write), Action::Undefined);
        }
    }
}

#[test]
fn set_way_maintenance_is_named() {
    for register in [DC_ISW, DC_CSW, DC_CISW] {
        assert_eq!(of(register, Write), Action::SetWay);
    }
}

#[test]
fn registers_without_meaning_read_zero_or_a_constant() {
    for direction in [Read, Write] {
        assert_eq!(of(ACTLR_EL1, direction), Action::Zero);
        assert_eq!(of(OSDLR_EL1, direction), Action::Zero);
        assert_eq!(of(ICC_SRE_EL1, direction), Action::Constant(7));
    }
}

#[test]
fn as_many_breakpoints_exist_as_the_identification_shows() {
    let dfr0 = id::value(ID_AA64DFR0_EL1, 0, PaRange::Bits40);
    let (breakpoints, watchpoints) = ((dfr0 >> 12 & 15) + 1, (dfr0 >> 20 & 15) + 1);
    for n in 0..16 {
        for op2 in 4..8 {
            let shown = if op2 < 6 { breakpoints } else { watchpoints };
            let register = SysReg::new(2, 0, 0, n, op2);
            for direction in [Read, Write] {
                let is_there = matches!(of(register, direction), Action::Debug(_));
                assert_eq!(is_there, u64::from(n) < shown, "{register}");
            }
        }
    }
}

#[test]
fn the_os_lock_is_what_the_guest_made_it() {
    let mut debug = DebugRegisters::new();
    assert_eq!(of(OSLAR_EL1, Write), Action::Debug(DebugRegister::Oslar));
    assert_eq!(of(OSLSR_EL1, Read), Action::Debug(DebugRegister::Oslsr));
    assert_eq!(of(OSLSR_EL1, Write), Action::Undefined);
    assert_eq!(of(OSLAR_EL1, Read), Action::Undefined);
    assert_eq!(debug.read(DebugRegister::Oslsr), 0xa);
    debug.write(DebugRegister::Oslar, 2);
    assert_eq!(debug.read(DebugRegister::Oslsr), 0x8, "bit 0 counts");
    debug.write(DebugRegister::Oslar, u64::MAX);
    assert_eq!(debug.read(DebugRegister::Oslsr), 0xa);
    debug.write(DebugRegister::Oslsr, 0);
    assert_eq!(debug.read(DebugRegister::Oslsr), 0xa);
    assert_eq!(debug.read(DebugRegister::Oslar), 0);
}

#[test]
fn software_step_reaches_hardware_unless_the_os_lock_is_locked() {
    let mut debug = DebugRegisters::new();
    assert_eq!(of(MDSCR_EL1, Write), Action::Debug(DebugRegister::Mdscr));
    debug.write(DebugRegister::Mdscr, u64::MAX);
    assert_eq!(debug.read(DebugRegister::Mdscr), 0xb001);
    assert_eq!(debug.hardware_mdscr(), 0x1000);
    debug.write(DebugRegister::Oslar, 0);
    assert_eq!(debug.hardware_mdscr(), 0x3001);
}

/// The registers of breakpoints and watchpoints, by the names that guests use, with what each keeps of all ones.
const POINTS: [(u8, u8, u64); 8] = [
    (0, 4, u64::MAX),
    (1, 4, u64::MAX),
    (0, 5, 0x00ff_e1e7),
    (1, 5, 0x00ff_e1e7),
    (0, 6, !3),
    (1, 6, !3),
    (0, 7, 0x1f1f_ffff),
    (1, 7, 0x1f1f_ffff),
];
const BCR: u64 = 0x1e7;
const WCR: u64 = 0x1fff;

fn point(crm: u8, op2: u8) -> DebugRegister {
    match of(SysReg::new(2, 0, 0, crm, op2), Write) {
        Action::Debug(register) => register,
        other => panic!("{other:?}"),
    }
}

/// With the OS lock open, and MDE as told.
fn with_points(mdscr: u64, written: &[(u8, u8, u64)]) -> Option<Points> {
    let mut debug = DebugRegisters::new();
    debug.write(DebugRegister::Oslar, 0);
    debug.write(DebugRegister::Mdscr, mdscr);
    for (crm, op2, value) in written {
        debug.write(point(*crm, *op2), *value);
    }
    let (mde, points) = debug.hardware_points(6)?;
    assert_eq!(mde, 1 << 15);
    Some(points)
}

#[test]
fn breakpoints_and_watchpoints_keep_what_is_written_each_for_itself() {
    for (n, (crm, op2, kept)) in POINTS.into_iter().enumerate() {
        let mut debug = DebugRegisters::new();
        debug.write(point(crm, op2), u64::MAX);
        for (other, (crm, op2, _)) in POINTS.into_iter().enumerate() {
            // BAS of a breakpoint is RES1 without AArch32.
            let res1 = if op2 == 5 { 0x1e0 } else { 0 };
            let wanted = if n == other { kept } else { res1 };
            assert_eq!(debug.read(point(crm, op2)), wanted, "{op2} {crm}");
        }
    }
}

#[test]
fn hardware_matches_while_the_guest_has_a_point_on() {
    const MDE: u64 = 1 << 15;
    let on = [(0, 4, 0x1000), (0, 5, BCR)];
    let points = with_points(MDE, &on).expect("on");
    let only = Point {
        value: 0x1000,
        control: BCR,
    };
    assert_eq!(points.breakpoints, [only, Point::default()]);
    assert_eq!(points.watchpoints, [Point::default(); BREAKPOINTS]);
    assert_eq!(with_points(0, &on), None, "MDE is 0");
    assert_eq!(with_points(MDE, &[(0, 5, BCR & !1)]), None, "none is on");
    let mut locked = DebugRegisters::new();
    locked.write(DebugRegister::Mdscr, MDE);
    locked.write(point(0, 5), BCR);
    assert_eq!(locked.hardware_points(6), None, "the OS lock is locked");
}

#[test]
fn what_would_match_above_el1_or_by_a_vmid_never_matches() {
    const MDE: u64 = 1 << 15;
    let hostile_breakpoint = |control: u64| [(1, 5, control | 1), (0, 7, WCR)];
    for bit in 13..16 {
        let points = with_points(MDE, &hostile_breakpoint(BCR | 1 << bit)).expect("one is on");
        assert_eq!(points.breakpoints[1], Point::default(), "bit {bit}");
    }
    for kind in 0..16 {
        for n in [0, 1] {
            let control = BCR | kind << 20 | 1 << 16;
            let points = with_points(MDE, &[(n, 5, control)]).expect("on");
            let is_on = points.breakpoints[usize::from(n)] != Point::default();
            let is_known = kind < if n == 0 { 2 } else { 4 };
            assert_eq!(is_on, is_known, "breakpoint {n} of type {kind}");
        }
    }
    let points = with_points(MDE, &[(1, 5, 1)]).expect("on");
    assert_eq!(points.breakpoints[1], Point::default(), "no level");
    for control in [WCR | 1 << 13, WCR | 2 << 14, WCR & !6] {
        let points = with_points(MDE, &[(0, 7, control)]).expect("on");
        assert_eq!(points.watchpoints[0], Point::default(), "{control:#x}");
    }
}

#[test]
fn links_lead_to_the_breakpoint_that_knows_contexts() {
    const MDE: u64 = 1 << 15;
    let linked = |to: u64| {
        [
            (0, 5, BCR | 1 << 20 | to << 16),
            (1, 7, WCR | 1 << 20 | to << 16),
        ]
    };
    let points = with_points(MDE, &linked(1)).expect("on");
    assert_eq!(points.breakpoints[0].control, BCR | 1 << 20 | 5 << 16);
    assert_eq!(points.watchpoints[1].control, WCR | 1 << 20 | 5 << 16);
    for to in [0, 2, 15] {
        let points = with_points(MDE, &linked(to)).expect("on");
        assert_eq!(points.breakpoints[0], Point::default());
        assert_eq!(points.watchpoints[1], Point::default());
    }
    let unlinked = with_points(MDE, &[(0, 5, BCR | 7 << 16), (0, 7, WCR | 7 << 16)]);
    let unlinked = unlinked.expect("on");
    assert_eq!(unlinked.breakpoints[0].control, BCR);
    assert_eq!(unlinked.watchpoints[0].control, WCR);
}

#[test]
fn what_no_row_names_is_undefined() {
    for register in SysReg::all() {
        if !rows().iter().any(|row| row.pattern.matches(register)) {
            assert_eq!(of(register, Read), Action::Undefined);
            assert_eq!(of(register, Write), Action::Undefined);
        }
    }
    // PMCR_EL0, ZCR_EL1, ERRIDR_EL1, and a register that no manual has.
    for register in [
        SysReg::new(3, 3, 9, 12, 0),
        SysReg::new(3, 0, 1, 2, 0),
        SysReg::new(3, 0, 5, 3, 0),
        SysReg::new(3, 7, 15, 15, 7),
    ] {
        assert_eq!(of(register, Read), Action::Undefined);
    }
}

#[test]
fn every_row_is_reached_and_says_why() {
    for (n, row) in rows().iter().enumerate() {
        assert!(!row.why.is_empty());
        let first = SysReg::all().find(|&register| row.pattern.matches(register));
        let register = first.expect("a row means something");
        let reached = rows().iter().position(|row| row.pattern.matches(register));
        assert_eq!(reached, Some(n), "{} is hidden by another", row.name);
    }
}
