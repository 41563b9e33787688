//! What walks see of writes before a DSB.

use droste_arm64::Pa;
use droste_arm64::barrier::Dsb;
use droste_mmu_model::{Access, AccessKind, Effect, FaultKind, Missing, Rule, Vcpu};

use crate::rig::*;

#[test]
fn a_new_mapping_is_seen_after_a_dsb() {
    for domain in [Dsb::Ish, Dsb::Ishst] {
        let mut model = running(config());
        model.write(0, Pa(T3 + 4 * 8), page(MEMORY + 4 * PAGE));
        model.dsb(0, domain);
        reads(&mut model, 1, 4 * PAGE, MEMORY + 4 * PAGE);
        kept(&model);
    }
}

#[test]
fn a_new_mapping_without_a_dsb_may_not_be_seen() {
    let mut model = running(config());
    model.write(0, Pa(T3 + 4 * 8), page(MEMORY + 4 * PAGE));
    reads(&mut model, 1, 4 * PAGE, MEMORY + 4 * PAGE);
    broken(&model, Rule::NotVisible);
}

#[test]
fn a_dsb_of_one_cpu_shows_a_mapping_to_its_own_walks_only() {
    let add = || {
        let mut model = running(config());
        model.write(0, Pa(T3 + 4 * 8), page(MEMORY + 4 * PAGE));
        model.dsb(0, Dsb::Nsh);
        model
    };
    let mut model = add();
    model.enter(0, Vcpu::new(0));
    reads(&mut model, 0, 4 * PAGE, MEMORY + 4 * PAGE);
    kept(&model);
    let mut model = add();
    reads(&mut model, 1, 4 * PAGE, MEMORY + 4 * PAGE);
    broken(&model, Rule::NotVisible);
}

#[test]
fn a_dsb_of_another_cpu_does_not_count() {
    let mut model = running(config());
    model.write(0, Pa(T3 + 4 * 8), page(MEMORY + 4 * PAGE));
    model.dsb(2, Dsb::Ish);
    reads(&mut model, 1, 4 * PAGE, MEMORY + 4 * PAGE);
    broken(&model, Rule::NotVisible);
}

#[test]
fn both_values_are_outcomes_until_a_dsb() {
    let mut model = running(config());
    model
        .compare_exchange(0, Pa(T3 + 4 * 8), 0, page(MEMORY))
        .unwrap();
    let outcomes = model.access(1, Access::new(droste_arm64::Va(4 * PAGE), AccessKind::Read));
    assert!(outcomes.has(Effect::Access {
        pa: Pa(MEMORY),
        level: 3
    }));
    assert!(outcomes.has(Effect::Fault {
        kind: FaultKind::Translation,
        level: 3
    }));
    assert_eq!(outcomes.iter().count(), 2);
}

#[test]
fn a_lost_compare_exchange_writes_nothing() {
    let mut model = running(config());
    assert_eq!(model.compare_exchange(0, Pa(T3), 0, 1), Err(page(MEMORY)));
    assert_eq!(model.read(0, Pa(T3)), page(MEMORY));
    kept(&model);
}

/// A page that held a mapping is emptied and linked for the third 2 MiB.
fn link_reused_page(between: Option<Dsb>) -> droste_mmu_model::Model {
    let mut model = built(config());
    model.write(0, Pa(SPARE), page(0x7_0000_0000));
    model.dsb(0, Dsb::Ish);
    model.enter(1, Vcpu::new(1));
    model.zero(0, Pa(SPARE), 4096);
    if let Some(domain) = between {
        model.dsb(0, domain);
    }
    model.write(0, Pa(T2 + 16), table(SPARE));
    model.dsb(0, Dsb::Ishst);
    model
}

#[test]
fn a_page_that_is_emptied_and_visible_may_be_linked() {
    let mut model = link_reused_page(Some(Dsb::Ishst));
    read_faults(&mut model, 1, 2 * BLOCK);
    kept(&model);
}

#[test]
fn a_page_linked_before_its_zeroes_are_visible_is_reported() {
    broken(&link_reused_page(None), Rule::ContentsNotVisible);
}

#[test]
fn an_end_that_is_not_visible_can_be_walked_by_a_cpu_that_enters() {
    let mut model = built(config());
    model.enter(1, Vcpu::new(1));
    model.exit(1);
    model.write(0, Pa(T3), 0);
    model.enter(2, Vcpu::new(2));
    read_faults(&mut model, 2, 0);
    broken(&model, Rule::StaleTranslation(Missing::BarrierBeforeTlbi));
}

#[test]
fn an_end_that_is_visible_is_seen_by_a_cpu_that_enters() {
    let mut model = built(config());
    model.write(0, Pa(T3), 0);
    model.dsb(0, Dsb::Ish);
    model.enter(2, Vcpu::new(2));
    read_faults(&mut model, 2, 0);
    kept(&model);
}

#[test]
fn a_stale_translation_is_found_at_the_first_access_that_could_use_it() {
    let mut model = running(config());
    model.write(0, Pa(T3), 0);
    model.dsb(0, Dsb::Ish);
    reads(&mut model, 1, PAGE, MEMORY + PAGE);
    kept(&model);
    read_faults(&mut model, 1, 0);
    broken(&model, Rule::StaleTranslation(Missing::Tlbi));
}

#[test]
fn while_a_change_is_under_way_both_ends_are_allowed_and_nothing_else() {
    let mut model = running(config());
    model.write(0, Pa(T3), 0);
    model.dsb(0, Dsb::Ish);
    let access = Access::new(droste_arm64::Va(0), AccessKind::Read);
    model.expect(1, access, droste_mmu_model::Allowed::Either(Pa(MEMORY)));
    model.expect(
        1,
        access,
        droste_mmu_model::Allowed::OneOf(Pa(0), Pa(MEMORY)),
    );
    kept(&model);
    model.expect(1, access, droste_mmu_model::Allowed::Either(Pa(0)));
    broken(&model, Rule::StaleTranslation(Missing::Tlbi));
}

#[test]
fn a_dsb_shows_what_another_cpu_wrote_to_the_same_place_before() {
    let mut model = running(config());
    model.write(2, Pa(T3), page(MEMORY) & !ACCESSED);
    model.write(0, Pa(T3), 0);
    flush(&mut model, 0);
    model.write(0, Pa(T3), page(MEMORY + 8 * PAGE));
    model.dsb(0, Dsb::Ishst);
    reads(&mut model, 1, 0, MEMORY + 8 * PAGE);
    kept(&model);
}

#[test]
fn a_dsb_shows_nothing_of_what_another_cpu_wrote_to_the_same_place_later() {
    let mut model = running(config());
    model.write(0, Pa(T3), page(MEMORY) & !WRITABLE);
    model.write(2, Pa(T3), 0);
    flush(&mut model, 0);
    read_faults(&mut model, 1, 0);
    broken(&model, Rule::StaleTranslation(Missing::BarrierBeforeTlbi));
}
