//! Contiguous runs.

use droste_arm64::Pa;
use droste_arm64::barrier::Dsb;
use droste_mmu_model::{Bbm, Config, Malformed, Missing, Model, Rule, Vcpu};

use crate::rig::*;

/// Pages 16 to 31 as one run.
const FIRST: u64 = 16;
const OUTPUT: u64 = MEMORY + FIRST * PAGE;

fn at(index: u64) -> Pa {
    Pa(T3 + (FIRST + index) * 8)
}

fn member(index: u64) -> u64 {
    page(OUTPUT + index * PAGE) | CONTIGUOUS
}

fn ipa(index: u64) -> u64 {
    (FIRST + index) * PAGE
}

fn with_run(config: Config) -> Model {
    let mut model = running(config);
    for index in 0..16 {
        model.write(0, at(index), member(index));
    }
    model.dsb(0, Dsb::Ishst);
    model
}

#[test]
fn a_run_is_made_entry_by_entry() {
    let mut model = with_run(config());
    for index in 0..16 {
        reads(&mut model, 1, ipa(index), OUTPUT + index * PAGE);
    }
    kept(&model);
}

#[test]
fn an_entry_that_leads_elsewhere_than_its_run_is_reported() {
    let mut model = with_run(config());
    model.write(0, Pa(T3 + 32 * 8), page(MEMORY + 33 * PAGE) | CONTIGUOUS);
    broken(&model, Rule::Descriptor(Malformed::ContiguousRun));
}

#[test]
fn a_run_of_two_outputs_is_reported() {
    let mut model = running(config());
    model.write(0, at(0), member(0));
    model.write(0, at(1), page(OUTPUT + 3 * PAGE) | CONTIGUOUS);
    broken(&model, Rule::Descriptor(Malformed::ContiguousRun));
}

#[test]
fn a_run_with_an_entry_that_lacks_the_bit_is_reported() {
    let mut model = running(config());
    model.write(0, at(0), member(0));
    model.write(0, at(1), member(1) & !CONTIGUOUS);
    broken(&model, Rule::Descriptor(Malformed::ContiguousRun));
}

#[test]
fn permissions_of_a_run_may_change_one_by_one() {
    let mut model = with_run(config());
    for index in 0..16 {
        model.write(0, at(index), member(index) & !WRITABLE);
    }
    model.dsb(0, Dsb::Ish);
    for index in 0..16 {
        by_ipa(&mut model, ipa(index));
    }
    model.dsb(0, Dsb::Ish);
    combined(&mut model);
    model.dsb(0, Dsb::Ish);
    for index in 0..16 {
        write_faults(&mut model, 1, ipa(index));
    }
    kept(&model);
}

#[test]
fn a_protection_of_one_entry_is_none_while_its_neighbours_are_writable() {
    let mut model = with_run(config());
    model.write(0, at(3), member(3) & !WRITABLE);
    flush(&mut model, ipa(3));
    write_faults(&mut model, 1, ipa(3));
    broken(&model, Rule::WiderPermission);
}

#[test]
fn an_entry_taken_out_of_a_run_is_still_translated_by_its_neighbours() {
    let mut model = with_run(config());
    model.write(0, at(3), 0);
    flush(&mut model, ipa(3));
    read_faults(&mut model, 1, ipa(3));
    broken(&model, Rule::WrongTranslation);
}

#[test]
fn a_run_that_was_made_before_its_table_was_linked_is_one_as_well() {
    let mut model = Model::new(config());
    for index in 0..16 {
        model.write(0, at(index), member(index));
    }
    model.dsb(0, Dsb::Ishst);
    model.write(0, Pa(T2), table(T3));
    model.write(0, Pa(ROOT), table(T2));
    model.dsb(0, Dsb::Ishst);
    model.set_vtcr(1, VTCR);
    model.set_vttbr(1, vttbr(1, ROOT));
    model.enter(1, Vcpu::new(1));
    model.write(0, at(3), 0);
    flush(&mut model, ipa(3));
    read_faults(&mut model, 1, ipa(3));
    broken(&model, Rule::WrongTranslation);
}

/// Takes the run out and invalidates these of its pages.
fn broken_up(invalidated: core::ops::Range<u64>) -> Model {
    let mut model = with_run(config());
    for index in 0..16 {
        model.write(0, at(index), 0);
    }
    model.dsb(0, Dsb::Ish);
    for index in invalidated {
        by_ipa(&mut model, ipa(index));
    }
    model.dsb(0, Dsb::Ish);
    combined(&mut model);
    model.dsb(0, Dsb::Ish);
    model
}

#[test]
fn a_run_is_taken_out_whole() {
    let mut model = broken_up(0..16);
    for index in 0..16 {
        read_faults(&mut model, 1, ipa(index));
        model.write(0, at(index), page(MEMORY + 99 * PAGE));
    }
    kept(&model);
}

#[test]
fn hardware_may_cache_a_run_page_by_page() {
    let mut model = broken_up(0..15);
    read_faults(&mut model, 1, ipa(14));
    kept(&model);
    read_faults(&mut model, 1, ipa(15));
    broken(&model, Rule::StaleTranslation(Missing::Tlbi));
}

#[test]
fn contiguity_changes_by_break_before_make_below_level_2() {
    for bbm in [Bbm::Level0, Bbm::Level1] {
        let mut model = with_run(Config { bbm, ..config() });
        model.write(0, at(0), member(0) & !CONTIGUOUS);
        broken(&model, Rule::BreakBeforeMake(Missing::Break));
    }
    let mut model = with_run(Config {
        bbm: Bbm::Level2,
        ..config()
    });
    for index in 0..16 {
        model.write(0, at(index), member(index) & !CONTIGUOUS);
    }
    model.dsb(0, Dsb::Ishst);
    reads(&mut model, 1, ipa(5), OUTPUT + 5 * PAGE);
    kept(&model);
}
