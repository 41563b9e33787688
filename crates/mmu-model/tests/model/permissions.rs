//! Permissions, the access flag and dirty marks.

use droste_arm64::barrier::Dsb;
use droste_arm64::{Pa, Va};
use droste_mmu_model::{
    Access, AccessKind, Allowed, Config, Effect, FaultKind, Features, Missing, Model, Rule, Vcpu,
};

use crate::rig::*;

fn write_protected() -> Model {
    let mut model = running(config());
    model.write(0, Pa(T3), page(MEMORY) & !WRITABLE);
    model.dsb(0, Dsb::Ish);
    model
}

#[test]
fn a_write_protection_holds_after_its_invalidation() {
    let mut model = write_protected();
    flush(&mut model, 0);
    write_faults(&mut model, 1, 0);
    reads(&mut model, 1, 0, MEMORY);
    kept(&model);
}

#[test]
fn a_write_through_what_was_writable_is_reported() {
    let mut model = write_protected();
    write_faults(&mut model, 1, 0);
    broken(&model, Rule::WiderPermission);
}

#[test]
fn a_write_through_a_combined_entry_is_reported() {
    let mut model = write_protected();
    by_ipa(&mut model, 0);
    model.dsb(0, Dsb::Ish);
    write_faults(&mut model, 1, 0);
    broken(&model, Rule::WiderPermission);
}

#[test]
fn a_relaxed_entry_may_still_fault_before_its_invalidation() {
    let relaxed = || {
        let mut model = write_protected();
        flush(&mut model, 0);
        model.write(0, Pa(T3), page(MEMORY));
        model.dsb(0, Dsb::Ish);
        model
    };
    let mut model = relaxed();
    let write = Access::new(Va(0), AccessKind::Write);
    model.expect(1, write, Allowed::Either(Pa(MEMORY)));
    flush(&mut model, 0);
    writes(&mut model, 1, 0, MEMORY);
    kept(&model);

    let mut model = relaxed();
    writes(&mut model, 1, 0, MEMORY);
    broken(&model, Rule::StaleTranslation(Missing::Tlbi));
}

#[test]
fn a_table_that_permits_too_much_is_reported() {
    let mut model = running(config());
    write_faults(&mut model, 1, 0);
    broken(&model, Rule::WrongTranslation);
}

#[test]
fn a_table_that_leads_elsewhere_is_reported() {
    let mut model = running(config());
    reads(&mut model, 1, 0, MEMORY + PAGE);
    broken(&model, Rule::WrongTranslation);
}

#[test]
fn a_table_that_lacks_a_mapping_is_reported() {
    let mut model = running(config());
    reads(&mut model, 1, 5 * PAGE, MEMORY);
    broken(&model, Rule::WrongTranslation);
}

#[test]
fn an_address_outside_the_space_faults() {
    let mut model = running(config());
    read_faults(&mut model, 1, 1 << 39);
    read_faults(&mut model, 1, u64::MAX);
    kept(&model);
}

#[test]
fn a_table_beyond_the_output_size_is_no_table() {
    for (at, cause) in [
        (1 << 40, FaultKind::AddressSize),
        (1 << 39, FaultKind::External),
    ] {
        let mut model = built(config());
        model.set_vtcr(1, VTCR & !(7 << 16) | 2 << 16);
        model.write(0, Pa(T2), table(at));
        model.dsb(0, Dsb::Ish);
        model.enter(1, Vcpu::new(1));
        let outcomes = model.access(1, Access::new(Va(0), AccessKind::Read));
        let fault = Effect::Fault {
            kind: cause,
            level: 2,
        };
        assert!(outcomes.has(fault), "{outcomes:?}");
    }
}

#[test]
fn without_hardware_help_a_clear_access_flag_faults() {
    let mut model = running(config());
    model.write(0, Pa(T3 + 5 * 8), page(MEMORY) & !ACCESSED);
    model.dsb(0, Dsb::Ishst);
    let outcomes = model.access(1, Access::new(Va(5 * PAGE), AccessKind::Read));
    assert!(outcomes.has(Effect::Fault {
        kind: FaultKind::AccessFlag,
        level: 3
    }));
    assert_eq!(outcomes.iter().count(), 1);
}

#[test]
fn an_entry_without_its_access_flag_is_not_cached() {
    let mut model = built(config());
    model.write(0, Pa(T3), page(MEMORY) & !ACCESSED);
    model.dsb(0, Dsb::Ishst);
    model.enter(1, Vcpu::new(1));
    model.write(0, Pa(T3), page(MEMORY));
    model.dsb(0, Dsb::Ishst);
    reads(&mut model, 1, 0, MEMORY);
    kept(&model);
}

fn with_hardware(vtcr: u64) -> Model {
    let config = Config {
        features: config().features | Features::HARDWARE_AF | Features::HARDWARE_DIRTY,
        ..config()
    };
    let mut model = built(config);
    for cpu in 0..4 {
        model.set_vtcr(cpu, VTCR | vtcr);
    }
    model
}

#[test]
fn hardware_sets_the_access_flag() {
    let mut model = with_hardware(HW_AF);
    model.write(0, Pa(T3), page(MEMORY) & !ACCESSED);
    model.dsb(0, Dsb::Ishst);
    model.enter(1, Vcpu::new(1));
    reads(&mut model, 1, 0, MEMORY);
    assert_eq!(model.read(0, Pa(T3)), page(MEMORY));
    kept(&model);
}

#[test]
fn hardware_may_set_the_access_flag_ahead_of_any_access() {
    let mut model = with_hardware(HW_AF);
    model.write(0, Pa(T3), page(MEMORY) & !ACCESSED);
    model.dsb(0, Dsb::Ishst);
    model.enter(1, Vcpu::new(1));
    model.speculate(1, Va(0));
    assert_eq!(model.read(0, Pa(T3)), page(MEMORY));
    model.speculate(1, Va(5 * PAGE));
    assert_eq!(model.read(0, Pa(T3 + 5 * 8)), 0);
    kept(&model);
}

const CLEAN: u64 = page(MEMORY) & !WRITABLE | DBM;

fn tracked(model: &mut Model) {
    model.expect(
        1,
        Access::new(Va(0), AccessKind::Write),
        Allowed::Tracked(Pa(MEMORY)),
    );
}

#[test]
fn hardware_marks_what_is_written() {
    let mut model = with_hardware(HW_AF | HW_DIRTY);
    model.write(0, Pa(T3), CLEAN);
    model.dsb(0, Dsb::Ishst);
    model.enter(1, Vcpu::new(1));
    reads(&mut model, 1, 0, MEMORY);
    assert_eq!(model.read(0, Pa(T3)), CLEAN);
    tracked(&mut model);
    assert_eq!(model.read(0, Pa(T3)), CLEAN | WRITABLE);
    kept(&model);
}

#[test]
fn a_write_through_an_entry_that_was_dirty_leaves_no_mark() {
    let cleaned = || {
        let mut model = with_hardware(HW_AF | HW_DIRTY);
        model.write(0, Pa(T3), CLEAN | WRITABLE);
        model.dsb(0, Dsb::Ishst);
        model.enter(1, Vcpu::new(1));
        model.write(0, Pa(T3), CLEAN);
        model.dsb(0, Dsb::Ish);
        model
    };
    let mut model = cleaned();
    flush(&mut model, 0);
    tracked(&mut model);
    kept(&model);

    let mut model = cleaned();
    tracked(&mut model);
    broken(&model, Rule::DirtyMarkLost);
}

#[test]
fn execution_at_el1_and_el0_is_told_apart_with_xnx() {
    let config = Config {
        features: config().features | Features::XNX,
        ..config()
    };
    let mut model = running(config);
    model.write(0, Pa(T3 + 5 * 8), page(MEMORY) | 1 << 53);
    model.dsb(0, Dsb::Ishst);
    let at = Va(5 * PAGE);
    model.expect(
        1,
        Access::new(at, AccessKind::ExecuteEl0),
        Allowed::Access(Pa(MEMORY)),
    );
    model.expect(1, Access::new(at, AccessKind::ExecuteEl1), Allowed::Fault);
    kept(&model);
}

#[test]
fn at_level_2_a_conflict_abort_is_an_outcome_until_the_invalidation() {
    let config = Config {
        bbm: droste_mmu_model::Bbm::Level2,
        ..config()
    };
    let mut model = running(config);
    for index in 0..512 {
        model.write(
            0,
            Pa(SPARE + index * 8),
            page(MEMORY + BLOCK + index * PAGE),
        );
    }
    model.dsb(0, Dsb::Ishst);
    model.write(0, Pa(T2 + 8), table(SPARE));
    model.dsb(0, Dsb::Ish);
    let access = Access::new(Va(BLOCK), AccessKind::Read);
    assert!(model.access(1, access).has(Effect::Conflict));
    flush(&mut model, BLOCK);
    assert!(!model.access(1, access).has(Effect::Conflict));
    kept(&model);
}
