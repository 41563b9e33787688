//! Each bit of the table, alone and beside the others.

use super::*;

#[test]
fn no_encoding_is_in_two_rows() {
    for register in SysReg::all() {
        let hits: Vec<_> = rows().iter().filter(|row| row.matches(register)).collect();
        assert!(hits.len() <= 1, "{register} {hits:?}");
    }
}

#[test]
fn with_every_bit_idle_nothing_is_forwarded() {
    for el2 in KINDS {
        for tge in [0, hcr::TGE] {
            let mut controls = idle(el2);
            controls.hcr |= tge;
            for register in SysReg::all() {
                let row = rows().iter().find(|row| row.matches(register));
                if row.is_none() {
                    let event = access(register, Direction::Write);
                    assert!(!is_forwarded(event, Level::El0, &controls), "{register}");
                    continue;
                }
                // With TGE debug is EL2's.
                let is_debug = row.is_some_and(|row| row.op0 == 2);
                for direction in [Direction::Read, Direction::Write] {
                    for level in [Level::El0, Level::El1, Level::El2] {
                        let event = access(register, direction);
                        let is_there = match level {
                            Level::El0 => register.op1() == 3,
                            Level::El1 => true,
                            Level::El2 => false,
                        };
                        let expected = tge != 0 && is_debug && is_there;
                        assert_eq!(
                            is_forwarded(event, level, &controls),
                            expected,
                            "{register}"
                        );
                    }
                }
            }
        }
        for instruction in INSTRUCTIONS {
            // HVC is idle with HCD set, where it is UNDEFINED.
            let event = Event::Instruction(instruction);
            assert!(!is_forwarded(event, Level::El1, &idle(el2)));
        }
    }
}

#[test]
fn every_bit_that_the_table_names_forwards_something_and_nothing_that_does_not_name_it() {
    let events = events();
    for el2 in KINDS {
        let mut seen = HashSet::new();
        for trap in traps() {
            let Some(bit) = trap.bit(el2) else { continue };
            if !seen.insert((trap.control, bit)) {
                continue;
            }
            for tge in [0, hcr::TGE] {
                let mut controls = flipped(idle(el2), trap.control, bit);
                if trap.name != "TGE" {
                    controls.hcr |= tge;
                }
                let mut count = 0;
                for &event in &events {
                    let traps = match event {
                        Event::System(access) => {
                            let mut rows = rows().iter();
                            rows.find(|row| row.matches(access.register))
                                .map_or(&[][..], |row| row.traps)
                        }
                        Event::Instruction(instruction) => instructions(instruction),
                    };
                    let is_named = traps
                        .iter()
                        .any(|named| (named.control, named.bit(el2)) == (trap.control, Some(bit)));
                    let is_tge = traps.iter().any(|named| named.name == "TGE");
                    for level in [Level::El0, Level::El1] {
                        let is_hit = is_forwarded(event, level, &controls);
                        count += usize::from(is_hit && is_named);
                        assert!(
                            !is_hit || is_named || is_tge && tge != 0,
                            "{event:?} {trap:?}"
                        );
                    }
                }
                let is_in_host = el2 == VirtualEl2::Vhe && tge != 0;
                if trap.at == At::Any || (trap.at == At::Host) == is_in_host && tge == 0 {
                    assert!(count > 0, "{trap:?} {el2:?}");
                }
                if trap.at == At::Host && is_in_host {
                    assert!(count > 0, "{trap:?} {el2:?}");
                }
            }
        }
        assert!(seen.len() > 35, "{el2:?}");
    }
}

#[test]
fn a_bit_lies_where_its_register_keeps_it() {
    use crate::registers::rule;
    use droste_arm64::sysreg::{CNTHCTL_EL2, CPTR_EL2, HCR_EL2, ICH_HCR_EL2, MDCR_EL2};
    let registers = [HCR_EL2, CPTR_EL2, MDCR_EL2, CNTHCTL_EL2, ICH_HCR_EL2];
    for el2 in KINDS {
        for trap in traps() {
            let n = CONTROLS.iter().position(|&control| control == trap.control);
            let rule = rule(registers[n.expect("one of five")]).expect("a register");
            if let Some(bit) = trap.bit(el2) {
                assert_eq!(rule.layout(el2).writable >> bit & 1, 1, "{trap:?}");
            }
        }
    }
}

#[test]
fn two_bits_of_one_name_are_one_bit() {
    let all: Vec<_> = traps().collect();
    for one in &all {
        for other in &all {
            for el2 in KINDS {
                let is_same = one.bit(el2).is_some()
                    && (one.control, one.bit(el2)) == (other.control, other.bit(el2));
                assert!(!is_same || one == other, "{one:?} {other:?}");
            }
        }
    }
}

#[test]
fn stage_1_registers_trap_one_way_by_one_bit() {
    for (bit, direction, other) in [
        (hcr::TVM, Direction::Write, Direction::Read),
        (hcr::TRVM, Direction::Read, Direction::Write),
    ] {
        let mut controls = idle(VirtualEl2::Vhe);
        controls.hcr |= bit;
        assert!(is_forwarded(
            access(SCTLR_EL1, direction),
            Level::El1,
            &controls
        ));
        assert!(!is_forwarded(
            access(SCTLR_EL1, other),
            Level::El1,
            &controls
        ));
        assert!(!is_forwarded(
            access(VBAR_EL1, direction),
            Level::El1,
            &controls
        ));
    }
}

#[test]
fn el0_of_el2_is_trapped_by_its_own_bits_alone() {
    let mut controls = idle(VirtualEl2::Vhe);
    controls.hcr |= hcr::TGE | hcr::TWI | hcr::TID2 | hcr::TDZ;
    let wfi = Event::Instruction(Instruction::Wfi);
    assert!(!is_forwarded(wfi, Level::El0, &controls));
    controls.cnthctl &= !(1 << 11 | 1 << 10);
    assert!(!is_forwarded(
        access(CNTP_CTL_EL0, Direction::Read),
        Level::El0,
        &controls
    ));
    controls.cnthctl &= !(1 << 9 | 1 << 8);
    assert!(is_forwarded(
        access(CNTP_CTL_EL0, Direction::Read),
        Level::El0,
        &controls
    ));
    assert!(is_forwarded(
        access(CNTV_CVAL_EL0, Direction::Write),
        Level::El0,
        &controls
    ));
    controls.hcr &= !hcr::TGE;
    assert!(is_forwarded(wfi, Level::El0, &controls));
}

#[test]
fn floating_point_follows_fpen_or_tfp() {
    let fp = Event::Instruction(Instruction::FloatingPoint);
    for fpen in 0..4 {
        let mut controls = idle(VirtualEl2::Vhe);
        controls.cptr = fpen << 20;
        let all = fpen & 1 == 0;
        assert_eq!(is_forwarded(fp, Level::El1, &controls), all);
        assert_eq!(is_forwarded(fp, Level::El0, &controls), all);
        controls.hcr |= hcr::TGE;
        assert_eq!(is_forwarded(fp, Level::El0, &controls), fpen != 3, "{fpen}");
    }
    let mut controls = idle(VirtualEl2::Nvhe);
    assert!(!is_forwarded(fp, Level::El0, &controls));
    controls.cptr |= 1 << 10;
    assert!(is_forwarded(fp, Level::El0, &controls));
}

#[test]
fn both_layouts_of_cnthctl_mean_the_same() {
    let read = access(CNTP_CTL_EL0, Direction::Read);
    for (el2, bit) in [(VirtualEl2::Vhe, 11), (VirtualEl2::Nvhe, 1)] {
        let controls = flipped(idle(el2), Control::Cnthctl, bit);
        assert!(is_forwarded(read, Level::El1, &controls));
        assert!(is_forwarded(read, Level::El0, &controls));
    }
}
