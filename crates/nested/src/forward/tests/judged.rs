//! What traps, at which level, and what is to trap in hardware.

use super::*;

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
fn the_short_way_of_an_hvc_is_that_of_all_traps() {
    let hvc = Event::Instruction(Instruction::Hvc);
    for el2 in [VirtualEl2::Vhe, VirtualEl2::Nvhe] {
        for level in [Level::El0, Level::El1] {
            for hcr in (0..64).map(|bit| 1 << bit).chain([0, u64::MAX]) {
                let controls = Controls { hcr, ..idle(el2) };
                let expected = is_forwarded(hvc, level, &controls);
                assert_eq!(is_hvc_taken(level, hcr), expected, "{level:?} {hcr:#x}");
            }
        }
    }
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
fn what_traps_traps_in_either_layout_of_the_hardware() {
    const PHYSICAL: u64 = 3;
    let in_layout = |layout: Layout| Hardware {
        hcr: layout.hcr() | hcr::VM,
        cptr: layout.cptr(0x33ff & !(1 << 10)),
        mdcr: 0xf00,
        cnthctl: PHYSICAL << layout.physical_timer_shift(),
        ich_hcr: 0,
    };
    for el2 in KINDS {
        for (cptr, cnthctl) in (0..64).map(|bits| {
            let bit = |n: u64, at: u32| (bits >> n & 1) << at;
            let cptr = bit(0, 10) | bit(1, 20) | bit(1, 21) | bit(2, 31);
            let physical = bit(3, 0) | bit(4, 1) | bit(3, 10) | bit(4, 11);
            (cptr, physical | bit(5, 13))
        }) {
            let l1 = Controls {
                cptr,
                cnthctl,
                ..idle(el2)
            };
            let with = |layout| hardware(in_layout(layout), &l1);
            let (e2h0, e2h1) = (with(Layout::E2h0), with(Layout::E2h1));
            assert_eq!(e2h1.cptr, Layout::E2h1.cptr(e2h0.cptr), "{l1:?}");
            let moved = (e2h0.cnthctl & PHYSICAL) << 10 | e2h0.cnthctl & !PHYSICAL;
            assert_eq!(e2h1.cnthctl, moved, "{l1:?}");
            assert_eq!(e2h1.hcr, e2h0.hcr | hcr::E2H);
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
        let register = SysReg::all().find(|&register| row.matches(register));
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
