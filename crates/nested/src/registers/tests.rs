//! Every encoding has one way, every register one rule, and a view reads what was written wherever it is.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use std::vec::Vec;

use super::*;
use core::sync::atomic::AtomicU64;
use droste_arm64::hcr;
use droste_arm64::sysreg::{
    CNTHCTL_EL2, CNTHP_CTL_EL2, CNTKCTL_EL1, CNTP_CTL_EL0, CNTP_CVAL_EL0, CNTV_CTL_EL0,
    CNTV_CVAL_EL0, CPACR_EL1, CPTR_EL2, ESR_EL2, HCR_EL2, ICH_VTR_EL2, SCTLR_EL1, SCTLR_EL2,
    TTBR1_EL2, VBAR_EL2, VMPIDR_EL2, VPIDR_EL2,
};
use droste_arm64::vncr::{RegisterPage, SLOTS, slot};

const KINDS: [VirtualEl2; 2] = [VirtualEl2::Vhe, VirtualEl2::Nvhe];

/// The way of every encoding, found once.
fn ways(el2: VirtualEl2) -> &'static [(SysReg, Way)] {
    static WAYS: LazyLock<[Vec<(SysReg, Way)>; 2]> =
        LazyLock::new(|| KINDS.map(|el2| SysReg::all().map(|r| (r, way(r, el2))).collect()));
    &WAYS[usize::from(el2 == VirtualEl2::Nvhe)]
}

#[test]
fn no_encoding_is_in_two_rows_and_every_row_says_why() {
    for register in SysReg::all() {
        let hits: Vec<_> = rows().iter().filter(|row| row.matches(register)).collect();
        assert!(hits.len() <= 1, "{register} {hits:?}");
    }
    for row in rows() {
        assert!(!row.why.is_empty());
        let position = usize::from(position(row.first));
        assert!(row.count >= 1 && position + usize::from(row.count) <= 128);
    }
}

#[test]
fn every_encoding_of_el2_has_a_way_and_the_rest_is_as_at_el1() {
    for el2 in KINDS {
        for &(register, way) in ways(el2) {
            let in_row = rows().iter().any(|row| row.matches(register));
            match (in_row, is_el2_space(register)) {
                (false, true) => assert_eq!(way, Way::Undefined, "{register}"),
                (false, false) => assert_eq!(way, Way::AsAtEl1, "{register}"),
                (true, true) => assert_ne!(way, Way::AsAtEl1, "{register}"),
                (true, false) => assert_ne!(way, Way::Undefined, "{register}"),
            }
        }
    }
}

#[test]
fn what_is_in_memory_is_where_the_register_page_has_it() {
    for el2 in KINDS {
        let mut used = HashSet::new();
        for &(register, way) in ways(el2) {
            if let Way::InMemory(place) = way {
                assert_eq!(slot(register, el2.nv1()), Some(place), "{register}");
                assert!(used.insert(place), "{register}");
            }
        }
        assert!(used.len() > 50);
    }
}

#[test]
fn what_the_page_has_is_in_memory_or_belongs_to_a_hidden_feature() {
    for el2 in KINDS {
        for row in droste_arm64::vncr::rows() {
            let name = match el2 {
                VirtualEl2::Vhe => row.alias,
                VirtualEl2::Nvhe => row.register,
            };
            let way = way(name, el2);
            let is_hidden = matches!(way, Way::Undefined | Way::AsAtEl1);
            // ACTLR_EL1 is trapped by HCR_EL2.TACR before the page is reached, and so is MDSCR_EL1 where it is.
            let is_trapped_first = ["ACTLR_EL1", "MDSCR_EL1", "VNCR_EL2"].contains(&row.name);
            match row.feature {
                None | Some("GICv3 CPU interface") if !is_trapped_first => {
                    assert_eq!(way, Way::InMemory(row.slot), "{}", row.name);
                }
                _ => assert!(is_hidden, "{} {way:?}", row.name),
            }
        }
    }
}

#[test]
fn the_index_finds_the_row_of_every_encoding_that_has_one() {
    for register in SysReg::all() {
        let searched = rows().iter().find(|row| row.matches(register));
        let found = table::find(register);
        if register.op0() == 2 {
            // Not in the index, since what it would say goes without saying.
            for el2 in [VirtualEl2::Vhe, VirtualEl2::Nvhe] {
                assert!(searched.is_none() || way(register, el2) == Way::Undefined);
            }
            continue;
        }
        assert_eq!(
            found.map(|row| row.name),
            searched.map(|row| row.name),
            "{register}"
        );
    }
}

#[test]
fn redirection_is_as_the_architecture_has_it() {
    // D8.14.6.1, TFSR_EL2 aside, which is MTE's.
    let mut found: Vec<_> = ways(VirtualEl2::Vhe)
        .iter()
        .filter_map(|&(register, way)| match way {
            Way::Redirected(to) => Some((register, to)),
            _ => None,
        })
        .collect();
    found.sort_unstable();
    let el2_to_el1 = |crn, crm, op2| {
        (
            SysReg::new(3, 4, crn, crm, op2),
            SysReg::new(3, 0, crn, crm, op2),
        )
    };
    assert_eq!(
        found,
        [
            el2_to_el1(4, 0, 0),
            el2_to_el1(4, 0, 1),
            el2_to_el1(5, 2, 0),
            el2_to_el1(6, 0, 0)
        ]
    );
}

#[test]
fn without_vhe_there_are_no_aliases_and_no_second_table() {
    for register in SysReg::all().filter(|register| register.op0() >= 2 && register.op1() == 5) {
        assert_eq!(
            way(register, VirtualEl2::Nvhe),
            Way::Undefined,
            "{register}"
        );
    }
    assert_eq!(way(TTBR1_EL2, VirtualEl2::Nvhe), Way::Undefined);
    assert_eq!(
        way(SCTLR_EL1, VirtualEl2::Vhe),
        Way::Twin(Known::new(SCTLR_EL2))
    );
    assert!(matches!(way(SCTLR_EL1, VirtualEl2::Nvhe), Way::InMemory(s) if s.offset() == 0x110));
}

#[test]
fn every_register_that_a_way_names_has_a_rule_of_this_kind() {
    for el2 in KINDS {
        for &(register, way) in ways(el2) {
            let named = match way {
                Way::Trapped(named) | Way::Twin(named) => named.register(),
                Way::Redirected(_) => register,
                _ => continue,
            };
            let rule = rule(named).expect("a register that is reached has a rule");
            let home = rule.layout(el2).home;
            assert_ne!(home, Home::Absent, "{register}");
            if let Way::Redirected(to) = way {
                assert_eq!(home, Home::Twin(to));
            }
            if let Way::Twin(_) = way {
                let is_twin = home == Home::Twin(register)
                    || matches!(home, Home::Split { twin, .. } if twin == register);
                assert!(is_twin, "{register}");
            }
        }
    }
}

#[test]
fn every_rule_is_reached_and_keeps_nothing_of_bits_that_are_fixed() {
    for el2 in KINDS {
        let ways: Vec<_> = ways(el2)
            .iter()
            .filter(|(_, way)| !matches!(way, Way::Undefined | Way::AsAtEl1))
            .collect();
        for rule in rules() {
            let layout = rule.layout(el2);
            assert!(
                !rule.why.is_empty() && !rule.affects.is_empty(),
                "{}",
                rule.name
            );
            assert_eq!(layout.writable & layout.ones, 0, "{}", rule.name);
            // SP_EL2 has no name at EL2.
            if layout.home == Home::Absent || rule.name == "SP_EL2" {
                continue;
            }
            let is_reached = ways.iter().any(|&&(register, way)| match way {
                Way::Trapped(named) | Way::Twin(named) => named.register() == rule.register,
                _ => place_in(rule.register, rule.count, register).is_some(),
            });
            assert!(is_reached, "{}", rule.name);
        }
    }
}

#[test]
fn no_register_is_in_two_rules() {
    for register in SysReg::all() {
        let hits = rules()
            .iter()
            .filter(|rule| place_in(rule.register, rule.count, register).is_some());
        assert!(hits.count() <= 1, "{register}");
    }
}

#[test]
fn hcr_has_the_e2h_of_its_kind_whatever_is_written() {
    let rule = rule(HCR_EL2).expect("a register");
    for value in [0, u64::MAX] {
        assert_eq!(rule.vhe.keep(value) & hcr::E2H, hcr::E2H);
        assert_eq!(rule.nvhe.keep(value) & hcr::E2H, 0);
        for layout in [rule.vhe, rule.nvhe] {
            let kept = layout.keep(value);
            assert_eq!(kept & (hcr::NV | hcr::NV1 | hcr::NV2 | hcr::AT), 0);
            assert_eq!(kept & hcr::RW, hcr::RW);
        }
    }
}

#[derive(Default)]
struct Hardware(HashMap<SysReg, u64>);

impl Twins for Hardware {
    fn get(&self, register: SysReg) -> u64 {
        self.0.get(&register).copied().unwrap_or(0)
    }
    fn set(&mut self, register: SysReg, value: u64) {
        self.0.insert(register, value);
    }
}

/// Runs `test` on a vCPU out of reset, at virtual EL2.
fn with_view(el2: VirtualEl2, test: impl FnOnce(&mut View<'_, Hardware>)) {
    let memory = [const { AtomicU64::new(0) }; SLOTS];
    let page = RegisterPage::new(&memory);
    let mut file = File::reset(el2, page, 0x410f_d0f0, 0x8000_0003);
    let mut twins = Hardware::default();
    let mut view = View {
        el2,
        loaded: Loaded::El1,
        page,
        file: &mut file,
        twins: &mut twins,
    };
    view.load();
    test(&mut view);
}

#[test]
fn after_reset_registers_are_what_their_rules_say() {
    for el2 in KINDS {
        with_view(el2, |view| {
            assert_eq!(view.read(VPIDR_EL2), Some(0x410f_d0f0));
            assert_eq!(view.read(VMPIDR_EL2), Some(0x8000_0003));
            assert_eq!(view.read(SCTLR_EL2), Some(0x30c5_0830));
            let e2h = if el2 == VirtualEl2::Vhe { hcr::E2H } else { 0 };
            assert_eq!(view.read(HCR_EL2), Some(hcr::RW | e2h));
            assert_eq!(view.read(ICH_VTR_EL2), None, "the virtual GIC's");
        });
    }
}

#[test]
fn a_write_is_read_back_wherever_the_register_is_and_survives_the_change() {
    for el2 in KINDS {
        with_view(el2, |view| {
            for (n, rule) in rules().iter().enumerate() {
                let value = 0x0123_4567_89ab_cdef_u64.rotate_left(n as u32);
                let kept = rule.layout(el2).keep(value);
                let written = view.write(rule.register, value);
                if rule.layout(el2).home == Home::Absent {
                    assert_eq!((written, view.read(rule.register)), (None, None));
                    continue;
                }
                assert_eq!(written, Some(rule.affects));
                assert_eq!(view.read(rule.register), Some(kept), "{}", rule.name);
            }
            let before: Vec<_> = rules()
                .iter()
                .map(|rule| view.read(rule.register))
                .collect();
            view.park();
            let parked: Vec<_> = rules()
                .iter()
                .map(|rule| view.read(rule.register))
                .collect();
            assert_eq!(before, parked);
            // L1's EL1 uses the hardware's registers for itself; CNTKCTL_EL1 is its own.
            let own = view.read(CNTKCTL_EL1);
            for value in view.twins.0.values_mut() {
                *value = !*value;
            }
            view.twins.set(CNTKCTL_EL1, own.unwrap_or(0));
            view.load();
            let loaded: Vec<_> = rules()
                .iter()
                .map(|rule| view.read(rule.register))
                .collect();
            assert_eq!(before, loaded);
        });
    }
}

#[test]
fn l1_s_el1_is_in_the_page_while_el2_runs_and_in_the_hardware_while_it_does_not() {
    for el2 in KINDS {
        with_view(el2, |view| {
            for (n, guest) in (1..).zip(guest_registers()) {
                view.page.write(guest.slot, n << 8);
                view.twins.set(guest.register, 0xe2);
            }
            view.park();
            for (n, guest) in (1..).zip(guest_registers()) {
                assert_eq!(view.twins.get(guest.register), n << 8, "{}", guest.register);
                view.twins.set(guest.register, n << 16);
            }
            view.load();
            for (n, guest) in (1..).zip(guest_registers()) {
                assert_eq!(view.page.read(guest.slot), n << 16, "{}", guest.register);
            }
        });
    }
}

#[test]
fn every_name_of_l1_s_el1_that_is_in_memory_is_switched() {
    // With NV1 these are the EL1 and EL0 names that go to the page; SP_EL1 has one name for both.
    for &(register, way) in ways(VirtualEl2::Nvhe) {
        if let Way::InMemory(slot) = way {
            let is_el1 = register.op1() != 4 || register == droste_arm64::sysreg::SP_EL1;
            let mut guests = guest_registers().iter();
            let switched = guests.find(|guest| guest.register == register);
            assert_eq!(switched.map(|guest| guest.slot), is_el1.then_some(slot));
        }
    }
}

#[test]
fn changing_twice_in_a_row_is_changing_once() {
    with_view(VirtualEl2::Vhe, |view| {
        view.write(SCTLR_EL2, 0x1234);
        view.load();
        assert_eq!(view.twins.get(SCTLR_EL1), 0x1234);
        view.park();
        view.twins.set(SCTLR_EL1, 0x5678);
        view.park();
        assert_eq!(view.twins.get(SCTLR_EL1), 0x5678);
        view.load();
        assert_eq!(view.read(SCTLR_EL2), Some(0x1234));
    });
}

#[test]
fn a_write_while_el1_is_loaded_does_not_touch_the_hardware() {
    with_view(VirtualEl2::Vhe, |view| {
        view.park();
        view.twins.set(SCTLR_EL1, 0x1111);
        view.write(SCTLR_EL2, 0x2222);
        view.write(CPTR_EL2, 3 << 20);
        assert_eq!(view.twins.get(SCTLR_EL1), 0x1111);
        view.load();
        assert_eq!(view.twins.get(SCTLR_EL1), 0x2222);
        assert_eq!(view.twins.get(CPACR_EL1), 3 << 20);
    });
}

#[test]
fn what_l1_writes_by_the_twin_s_name_is_read_by_the_register_s() {
    with_view(VirtualEl2::Vhe, |view| {
        view.write(CPTR_EL2, 1 << 31);
        view.twins.set(CPACR_EL1, 1 << 20);
        assert_eq!(view.read(CPTR_EL2), Some(1 << 31 | 1 << 20));
        view.write(CNTHCTL_EL2, 1 << 11);
        view.twins.set(CNTKCTL_EL1, 1 << 2);
        assert_eq!(view.read(CNTHCTL_EL2), Some(1 << 11 | 1 << 2));
        view.twins.set(CNTP_CTL_EL0, 7);
        assert_eq!(
            view.read(CNTHP_CTL_EL2),
            Some(7),
            "ISTATUS as the hardware has it"
        );
        view.park();
        assert_eq!(
            view.read(CNTHP_CTL_EL2),
            Some(3),
            "and not once it is parked"
        );
    });
}

#[test]
fn what_l1_writes_into_the_page_is_masked_when_it_is_read() {
    with_view(VirtualEl2::Vhe, |view| {
        let place = slot(HCR_EL2, Nv1::Clear).expect("in the page");
        view.page.write(place, u64::MAX);
        let kept = view.read(HCR_EL2).expect("a register");
        assert_eq!(kept & (hcr::NV | hcr::NV2 | hcr::TERR), 0);
        view.page.write(place, 0);
        assert_eq!(view.read(HCR_EL2), Some(hcr::RW | hcr::E2H));
    });
}

#[test]
fn the_exception_registers_are_the_hardware_s_while_el2_runs() {
    with_view(VirtualEl2::Nvhe, |view| {
        view.twins.set(droste_arm64::sysreg::ESR_EL1, 0x5600_0000);
        assert_eq!(view.read(ESR_EL2), Some(0x5600_0000));
        view.write(VBAR_EL2, 0xffff_0000_0000_0fff);
        assert_eq!(view.read(VBAR_EL2), Some(0xffff_0000_0000_0800));
    });
}

#[test]
fn timer_values_count_down_to_the_compare_value_and_past_it() {
    for (compare, count, value) in [
        (100, 40, 60),
        (100, 100, 0),
        (100, 101, 0xffff_ffff),
        (1 << 40, 0, 0),
    ] {
        assert_eq!(timer_value(compare, count), value);
    }
    assert_eq!(timer_compare(60, 40), 100);
    assert_eq!(timer_compare(u64::from(u32::MAX), 40), 39);
    assert_eq!(
        timer_compare(0xdead_0000_0005, u64::MAX),
        4,
        "it wraps, and upper bits do not count"
    );
    for value in [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        assert_eq!(timer_value(timer_compare(value, 77), 77), value);
    }
}

/// Hardware that objects to a timer that runs with a compare value that is not its own.
#[derive(Default)]
struct Timers(Hardware);

impl Twins for Timers {
    fn get(&self, register: SysReg) -> u64 {
        self.0.get(register)
    }
    fn set(&mut self, register: SysReg, value: u64) {
        let control = match register {
            CNTP_CVAL_EL0 => CNTP_CTL_EL0,
            CNTV_CVAL_EL0 => CNTV_CTL_EL0,
            _ => return self.0.set(register, value),
        };
        assert_eq!(
            self.get(control) & 1,
            0,
            "{register} under a timer that is on"
        );
        self.0.set(register, value);
    }
}

#[test]
fn no_timer_is_on_with_the_compare_value_of_another() {
    for el2 in KINDS {
        let memory = [const { AtomicU64::new(0) }; SLOTS];
        let page = RegisterPage::new(&memory);
        let mut file = File::reset(el2, page, 0, 0);
        for register in [CNTP_CTL_EL0, CNTP_CVAL_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0] {
            page.write(slot(register, Nv1::Set).expect("in the page"), 1);
        }
        let mut twins = Timers::default();
        for register in [CNTP_CVAL_EL0, CNTP_CTL_EL0, CNTV_CVAL_EL0, CNTV_CTL_EL0] {
            twins.set(register, 1);
        }
        let mut view = View {
            el2,
            loaded: Loaded::El2,
            page,
            file: &mut file,
            twins: &mut twins,
        };
        for _ in 0..2 {
            view.park();
            assert_eq!(view.twins.get(CNTV_CTL_EL0), 1, "EL1's are on again");
            view.load();
            let is_on = el2 == VirtualEl2::Vhe;
            assert_eq!(view.twins.get(CNTV_CTL_EL0) & 1, u64::from(is_on));
        }
    }
}
