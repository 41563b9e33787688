//! What EL0 raises, and what EL1's controls trap of EL0, while HCR_EL2.TGE is 1.

use super::*;

fn is_routed(event: Event, level: Level, controls: &Controls, sctlr: u64) -> bool {
    routed(event, level, controls, sctlr) == Route::VirtualEl2
}

/// E2H = 0 and TGE = 1.
fn under_tge() -> Controls {
    let controls = idle(VirtualEl2::Nvhe);
    Controls {
        hcr: controls.hcr | hcr::TGE,
        ..controls
    }
}

#[test]
fn what_el1_s_controls_trap_of_el0_is_el2_s_with_tge() {
    for (op0, op1, crn, crm, op2) in [
        (3, 3, 0, 0, 1),  // CTR_EL0
        (3, 3, 4, 2, 1),  // DAIF
        (0, 3, 4, 15, 6), // DAIFSet
        (0, 3, 4, 0, 7),  // DAIFClr
        (1, 3, 7, 4, 1),  // DC ZVA
        (1, 3, 7, 5, 1),  // IC IVAU
        (1, 3, 7, 10, 1), // DC CVAC
        (1, 3, 7, 11, 1), // DC CVAU
        (1, 3, 7, 12, 1), // DC CVAP
        (1, 3, 7, 13, 1), // DC CVADP
        (1, 3, 7, 14, 1), // DC CIVAC
        (3, 3, 14, 0, 0), // CNTFRQ_EL0
        (3, 3, 14, 0, 1), // CNTPCT_EL0
        (3, 3, 14, 0, 2), // CNTVCT_EL0
        (3, 3, 14, 0, 5), // CNTPCTSS_EL0
        (3, 3, 14, 0, 6), // CNTVCTSS_EL0
        (3, 3, 14, 2, 0), // CNTP_TVAL_EL0
        (3, 3, 14, 2, 1), // CNTP_CTL_EL0
        (3, 3, 14, 3, 2), // CNTV_CVAL_EL0
        (3, 0, 0, 0, 0),  // MIDR_EL1
        (3, 0, 0, 4, 0),  // ID_AA64PFR0_EL1
        (3, 1, 0, 0, 1),  // CLIDR_EL1
    ] {
        let event = access(SysReg::new(op0, op1, crn, crm, op2), Direction::Read);
        assert!(is_routed(event, Level::El0, &under_tge(), 0), "{event:?}");
        assert!(!is_routed(event, Level::El1, &under_tge(), 0), "{event:?}");
        for el2 in KINDS {
            assert!(!is_routed(event, Level::El0, &idle(el2), 0), "{event:?}");
        }
        let mut host = idle(VirtualEl2::Vhe);
        host.hcr |= hcr::TGE;
        assert!(!is_routed(event, Level::El0, &host, 0), "EL2's own EL0");
    }
}

#[test]
fn what_l0_s_own_traps_take_of_el0_is_undefined_with_tge() {
    for (op0, op1, crn, crm, op2) in [
        (3, 3, 9, 12, 0),  // PMCR_EL0
        (3, 3, 9, 13, 0),  // PMCCNTR_EL0
        (3, 3, 9, 14, 0),  // PMUSERENR_EL0
        (3, 3, 14, 8, 0),  // PMEVCNTR0_EL0
        (3, 3, 14, 15, 7), // PMCCFILTR_EL0
        (3, 3, 13, 2, 3),  // AMUSERENR_EL0
        (3, 3, 13, 4, 0),  // AMEVCNTR00_EL0
        (3, 3, 13, 0, 5),  // TPIDR2_EL0
        (3, 3, 13, 0, 7),  // SCXTNUM_EL0
        (3, 3, 10, 2, 4),  // POR_EL0
        (3, 3, 4, 4, 2),   // FPMR
        (3, 3, 2, 5, 1),   // GCSPR_EL0
        (1, 3, 7, 3, 4),   // CFP RCTX
        (1, 3, 7, 4, 3),   // DC GVA
        (2, 3, 9, 12, 0),  // SPMCR_EL0
        (2, 1, 0, 1, 0),   // TRCPRGCTLR
        (3, 0, 1, 0, 1),   // ACTLR_EL1
        (3, 0, 12, 11, 5), // ICC_SGI1R_EL1
    ] {
        for direction in [Direction::Read, Direction::Write] {
            let event = access(SysReg::new(op0, op1, crn, crm, op2), direction);
            assert!(!is_routed(event, Level::El0, &under_tge(), 0), "{event:?}");
        }
    }
}

#[test]
fn what_both_may_have_trapped_is_told_by_sctlr_el1() {
    for register in SysReg::all().filter(|register| matches!(register.crn(), 11 | 15)) {
        let is_there = matches!(register.op0(), 1 | 3);
        let event = access(register, Direction::Read);
        assert!(!is_routed(event, Level::El0, &under_tge(), !SCTLR_TIDCP));
        assert_eq!(
            is_routed(event, Level::El0, &under_tge(), SCTLR_TIDCP),
            is_there,
            "{register}"
        );
    }
    for (instruction, bit) in [
        (Instruction::Wfi, SCTLR_NTWI),
        (Instruction::Wfe, SCTLR_NTWE),
    ] {
        let event = Event::Instruction(instruction);
        assert!(is_routed(event, Level::El0, &under_tge(), !bit));
        assert!(!is_routed(event, Level::El0, &under_tge(), bit));
        assert!(!is_routed(event, Level::El1, &under_tge(), 0));
        assert!(!is_routed(event, Level::El0, &idle(VirtualEl2::Nvhe), 0));
    }
    for instruction in INSTRUCTIONS {
        let event = Event::Instruction(instruction);
        let is_wait = matches!(instruction, Instruction::Wfi | Instruction::Wfe);
        let is_hit = is_routed(event, Level::El0, &under_tge(), 0);
        assert_eq!(is_hit, is_wait, "{instruction:?}");
    }
}

#[test]
fn beside_identification_el1_s_controls_are_for_what_el0_has() {
    for register in SysReg::all() {
        let hits = of_el1().iter().filter(|row| row.matches(register)).count();
        assert!(hits <= 1, "{register}");
        // FEAT_IDST alone is for what EL0 has not.
        let is_el0_s = register.op1() == 3 || register.op0() == 0;
        let is_identification = register.op0() == 3 && register.crn() == 0 && register.crm() < 8;
        assert!(hits == 0 || is_el0_s || is_identification, "{register}");
    }
}

#[test]
fn what_traps_for_a_feature_that_is_hidden_is_not_raised() {
    // SVC, UNDEFINED, an abort of either kind.
    for class in [0x15, 0x00, 0x20, 0x24] {
        assert!(is_raised(Ec(class)), "{class:#x}");
    }
    // Traps: AArch32's, of FEAT_LS64, FEAT_SYSREG128, FEAT_TME, FEAT_MOPS, FEAT_GCS and FEAT_RME, and what no level below EL2
    // raises.
    for class in [
        0x03, 0x06, 0x08, 0x0a, 0x0c, 0x14, 0x1b, 0x1e, 0x21, 0x25, 0x27, 0x2d,
    ] {
        assert!(!is_raised(Ec(class)), "{class:#x}");
    }
    // What a trap control makes is judged by that.
    for class in 0..64 {
        let event = Event::decode(Esr(u64::from(class) << 26));
        assert!(event.is_none() || !is_raised(Ec(class)), "{class:#x}");
    }
}
