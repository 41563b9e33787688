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

/// Every encoding there is.
fn encodings() -> impl Iterator<Item = SysReg> {
    (0..=u16::MAX).map(|bits| {
        let field = |shift: u16, mask: u16| (bits >> shift & mask) as u8;
        SysReg::new(
            field(14, 3),
            field(11, 7),
            field(7, 15),
            field(3, 15),
            field(0, 7),
        )
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
    for register in encodings() {
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
            let expected = if u64::from(n) < shown {
                Action::Zero
            } else {
                Action::Undefined
            };
            let register = SysReg::new(2, 0, 0, n, op2);
            assert_eq!(of(register, Read), expected, "{register}");
            assert_eq!(of(register, Write), expected, "{register}");
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

#[test]
fn what_no_row_names_is_undefined() {
    for register in encodings() {
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
        let first = encodings().find(|&register| row.pattern.matches(register));
        let register = first.expect("a row means something");
        let reached = rows().iter().position(|row| row.pattern.matches(register));
        assert_eq!(reached, Some(n), "{} is hidden by another", row.name);
    }
}
