//! Every bit that the table names forwards something; with all of them idle, nothing is.

use std::collections::HashSet;
use std::vec::Vec;

use super::*;
use droste_arm64::sysreg::{
    CNTP_CTL_EL0, CNTV_CVAL_EL0, CPACR_EL1, ICC_SGI1R_EL1, ID_AA64PFR0_EL1, SCTLR_EL1, VBAR_EL1,
};

const KINDS: [VirtualEl2; 2] = [VirtualEl2::Vhe, VirtualEl2::Nvhe];
const INSTRUCTIONS: [Instruction; 10] = [
    Instruction::Wfi,
    Instruction::Wfe,
    Instruction::Hvc,
    Instruction::Smc,
    Instruction::FloatingPoint,
    Instruction::PointerAuthentication,
    Instruction::Debug,
    Instruction::Sve,
    Instruction::Sme,
    Instruction::Eret,
];
const CONTROLS: [Control; 5] = [
    Control::Hcr,
    Control::Cptr,
    Control::Mdcr,
    Control::Cnthctl,
    Control::IchHcr,
];

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

fn traps() -> impl Iterator<Item = Trap> {
    let of_rows = rows().iter().flat_map(|row| row.traps);
    let of_instructions = INSTRUCTIONS.into_iter().flat_map(instructions);
    of_rows.chain(of_instructions).copied()
}

/// The bits of `control` that trap in this sense.
fn bits(control: Control, el2: VirtualEl2, sense: Sense) -> u64 {
    traps()
        .filter(|trap| trap.control == control && trap.sense == sense)
        .filter_map(|trap| trap.bit(el2))
        .fold(0, |bits, bit| bits | 1 << bit)
}

/// Controls with every bit that traps when clear set, and nothing else but what the kind of EL2 has.
fn idle(el2: VirtualEl2) -> Controls {
    let clear = |control| bits(control, el2, Sense::Clear);
    let e2h = if el2 == VirtualEl2::Vhe { hcr::E2H } else { 0 };
    Controls {
        el2,
        hcr: clear(Control::Hcr) | hcr::RW | e2h,
        cptr: clear(Control::Cptr),
        mdcr: 0,
        cnthctl: clear(Control::Cnthctl),
        ich_hcr: 0,
    }
}

/// `controls` with one bit turned over.
fn flipped(mut controls: Controls, control: Control, bit: u8) -> Controls {
    let register = match control {
        Control::Hcr => &mut controls.hcr,
        Control::Cptr => &mut controls.cptr,
        Control::Mdcr => &mut controls.mdcr,
        Control::Cnthctl => &mut controls.cnthctl,
        Control::IchHcr => &mut controls.ich_hcr,
    };
    *register ^= 1 << bit;
    controls
}

fn access(register: SysReg, direction: Direction) -> Event {
    Event::System(SysRegAccess {
        register,
        direction,
        rt: 0,
    })
}

/// One register of each row, in both directions, and each instruction.
fn events() -> Vec<Event> {
    let directions = [Direction::Read, Direction::Write];
    let firsts = rows().iter().map(|row| {
        let first = encodings().find(|&register| row.matches(register));
        first.expect("a row means something")
    });
    let accesses = firsts.flat_map(|register| directions.map(|d| access(register, d)));
    accesses
        .chain(INSTRUCTIONS.map(Event::Instruction))
        .collect()
}

fn is_forwarded(event: Event, level: Level, controls: &Controls) -> bool {
    evaluate(event, level, controls) == Verdict::Forward
}

#[test]
fn no_encoding_is_in_two_rows() {
    for register in encodings() {
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
            for register in encodings() {
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

#[test]
fn hvc_goes_to_el2_unless_it_is_disabled() {
    let hvc = Event::Instruction(Instruction::Hvc);
    let mut controls = idle(VirtualEl2::Vhe);
    controls.hcr &= !hcr::HCD;
    assert!(is_forwarded(hvc, Level::El1, &controls));
    assert!(!is_forwarded(hvc, Level::El0, &controls), "UNDEFINED there");
    controls.hcr |= hcr::HCD;
    assert!(!is_forwarded(hvc, Level::El1, &controls));
}

#[test]
fn a_syndrome_decodes_to_what_trapped() {
    let event = |class: u64, iss: u64| Event::decode(Esr(class << 26 | 1 << 25 | iss));
    for (class, iss, instruction) in [
        (0x01, 0, Instruction::Wfi),
        (0x01, 1, Instruction::Wfe),
        (0x01, 2, Instruction::Wfi),
        (0x01, 3, Instruction::Wfe),
        (0x07, 0, Instruction::FloatingPoint),
        (0x09, 0, Instruction::PointerAuthentication),
        (0x16, 0, Instruction::Hvc),
        (0x17, 0, Instruction::Smc),
        (0x19, 0, Instruction::Sve),
        (0x1a, 0, Instruction::Eret),
        (0x1d, 0, Instruction::Sme),
        (0x30, 0, Instruction::Debug),
        (0x3c, 0, Instruction::Debug),
    ] {
        assert_eq!(event(class, iss), Some(Event::Instruction(instruction)));
    }
    let sgi = event(0x18, 3 << 20 | 5 << 17 | 12 << 10 | 11 << 1);
    assert_eq!(sgi, Some(access(ICC_SGI1R_EL1, Direction::Write)));
    for class in [0x00, 0x15, 0x20, 0x24, 0x2f, 0x3f] {
        assert_eq!(event(class, 0), None);
    }
}

#[test]
fn what_forwards_traps_in_hardware() {
    for el2 in KINDS {
        let set = |control| bits(control, el2, Sense::Set);
        let routing = hcr::IMO | hcr::FMO | hcr::TGE;
        assert_eq!(set(Control::Hcr) & !routing, HCR_SET);
        assert_eq!(bits(Control::Hcr, el2, Sense::Clear) & !hcr::HCD, HCR_CLEAR);
        assert_eq!(set(Control::Mdcr), MDCR_SET);
        assert_eq!(set(Control::IchHcr), ICH_HCR_SET);
        assert_eq!(set(Control::Cnthctl), CNTHCTL_SET);
        let none = Hardware {
            hcr: HCR_CLEAR | hcr::VM,
            cptr: 0,
            mdcr: 0,
            cnthctl: CNTHCTL_CLEAR,
            ich_hcr: 0,
        };
        assert_eq!(
            hardware(none, &idle(el2)),
            none,
            "L1 traps nothing: L0's own remain"
        );
        for trap in traps().filter(|trap| !matches!(trap.at, At::Host)) {
            let is_routing = ["IMO", "FMO", "TGE", "HCD"].contains(&trap.name);
            let Some(bit) = trap.bit(el2).filter(|_| !is_routing) else {
                continue;
            };
            let merged = hardware(none, &flipped(idle(el2), trap.control, bit));
            let as_nvhe = Controls {
                el2: VirtualEl2::Nvhe,
                hcr: merged.hcr,
                cptr: merged.cptr,
                mdcr: merged.mdcr,
                cnthctl: merged.cnthctl,
                ich_hcr: merged.ich_hcr,
            };
            let twin = if trap.name == "FPEN<0>" {
                instructions(Instruction::FloatingPoint)[2]
            } else {
                trap
            };
            assert!(twin.is_on(&as_nvhe), "{trap:?}");
            assert_ne!(merged, none, "{trap:?}");
        }
    }
}

#[test]
fn l0_s_own_traps_stay_whatever_l1_writes() {
    let own = Hardware {
        hcr: hcr::VM | hcr::TID3 | hcr::TSC,
        cptr: 0x33ff,
        mdcr: 0xf00,
        cnthctl: 0,
        ich_hcr: 1 << 14 | 1,
    };
    for el2 in KINDS {
        for value in [0, u64::MAX] {
            let l1 = Controls {
                el2,
                hcr: value,
                cptr: value,
                mdcr: value,
                cnthctl: value,
                ich_hcr: value,
            };
            let merged = hardware(own, &l1);
            assert_eq!(merged.hcr & own.hcr, own.hcr);
            assert_eq!(merged.hcr & (hcr::NV | hcr::E2H | hcr::API), 0);
            assert_eq!(merged.cptr & own.cptr, own.cptr);
            assert_eq!(merged.mdcr, 0xf00);
            assert_eq!(merged.cnthctl & 3, 0, "the physical timer stays L0's");
            assert_eq!(merged.ich_hcr & own.ich_hcr, own.ich_hcr);
        }
    }
}

#[test]
fn el0_reaches_only_what_is_el0_s_or_implementation_defined() {
    let all = Controls {
        el2: VirtualEl2::Vhe,
        hcr: hcr::E2H | HCR_SET,
        cptr: 1 << 31,
        mdcr: MDCR_SET,
        cnthctl: CNTHCTL_SET,
        ich_hcr: ICH_HCR_SET,
    };
    for row in rows() {
        let register = encodings().find(|&register| row.matches(register));
        let register = register.expect("a row means something");
        for direction in [Direction::Read, Direction::Write] {
            let event = access(register, direction);
            let is_el0_s = register.op1() == 3 || row.name.starts_with("IMPLEMENTATION_DEFINED");
            assert!(
                is_el0_s || !is_forwarded(event, Level::El0, &all),
                "{}",
                row.name
            );
        }
    }
    // IC IVAU, CTR_EL0, a register of the CPU model's own.
    for register in [
        SysReg::new(1, 3, 7, 5, 1),
        SysReg::new(3, 3, 0, 0, 1),
        SysReg::new(3, 0, 15, 1, 0),
    ] {
        assert!(is_forwarded(
            access(register, Direction::Write),
            Level::El0,
            &all
        ));
    }
}

#[test]
fn some_registers_as_they_are() {
    let with = |hcr: u64| Controls {
        hcr: idle(VirtualEl2::Vhe).hcr | hcr,
        ..idle(VirtualEl2::Vhe)
    };
    let read = |register| access(register, Direction::Read);
    assert!(is_forwarded(
        read(ID_AA64PFR0_EL1),
        Level::El1,
        &with(hcr::TID3)
    ));
    assert!(!is_forwarded(
        read(ID_AA64PFR0_EL1),
        Level::El1,
        &with(hcr::TID1)
    ));
    let sgi = access(ICC_SGI1R_EL1, Direction::Write);
    assert!(is_forwarded(sgi, Level::El1, &with(hcr::IMO)));
    assert!(is_forwarded(sgi, Level::El1, &with(hcr::FMO)));
    assert!(!is_forwarded(sgi, Level::El1, &with(hcr::AMO)));
    let cpacr = flipped(idle(VirtualEl2::Nvhe), Control::Cptr, 31);
    assert!(is_forwarded(read(CPACR_EL1), Level::El1, &cpacr));
    // TLBI VMALLE1IS, VMALLE1, RVAE1OS.
    for (crm, op2, bit, others) in [
        (3, 0, hcr::TTLBIS, hcr::TTLBOS),
        (7, 0, hcr::TTLB, hcr::TTLBIS | hcr::TTLBOS),
        (5, 1, hcr::TTLBOS, hcr::TTLBIS),
    ] {
        let tlbi = access(SysReg::new(1, 0, 8, crm, op2), Direction::Write);
        assert!(is_forwarded(tlbi, Level::El1, &with(bit)));
        assert!(is_forwarded(tlbi, Level::El1, &with(hcr::TTLB)));
        assert!(!is_forwarded(tlbi, Level::El1, &with(others)));
    }
}

fn is_routed(event: Event, level: Level, controls: &Controls, sctlr: u64) -> bool {
    routed(event, level, controls, sctlr) == Verdict::Forward
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
    for register in encodings().filter(|register| matches!(register.crn(), 11 | 15)) {
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
    for register in encodings() {
        let hits = of_el1().iter().filter(|row| row.matches(register)).count();
        assert!(hits <= 1, "{register}");
        // FEAT_IDST alone is for what EL0 has not.
        let is_el0_s = register.op1() == 3 || register.op0() == 0;
        let is_identification = register.op0() == 3 && register.crn() == 0 && register.crm() < 8;
        assert!(hits == 0 || is_el0_s || is_identification, "{register}");
    }
}
