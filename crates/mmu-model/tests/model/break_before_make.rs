//! Break-before-make, part by part and by the levels of FEAT_BBM.

use droste_arm64::Pa;
use droste_arm64::barrier::Dsb;
use droste_mmu_model::{Bbm, Config, Missing, Rule};

use crate::rig::*;

const OTHER: u64 = 0x2_0000_0000;

fn level(bbm: Bbm) -> Config {
    Config { bbm, ..config() }
}

#[test]
fn the_whole_sequence_lets_an_entry_be_replaced() {
    let mut model = running(config());
    reads(&mut model, 1, 0, MEMORY);
    model.write(0, Pa(T3), 0);
    flush(&mut model, 0);
    read_faults(&mut model, 1, 0);
    model.write(0, Pa(T3), page(OTHER));
    model.dsb(0, Dsb::Ishst);
    reads(&mut model, 1, 0, OTHER);
    reads(&mut model, 1, PAGE, MEMORY + PAGE);
    kept(&model);
}

#[test]
fn a_new_output_over_a_valid_entry_is_reported() {
    let mut model = running(config());
    model.write(0, Pa(T3), page(OTHER));
    broken(&model, Rule::BreakBeforeMake(Missing::Break));
}

#[test]
fn a_new_output_over_a_valid_entry_is_reported_whatever_the_access_flag() {
    for (old, new) in [(0, 0), (0, ACCESSED), (ACCESSED, 0)] {
        let mut model = built(config());
        model.write(0, Pa(T3), page(MEMORY) & !ACCESSED | old);
        model.dsb(0, Dsb::Ishst);
        model.enter(1, droste_mmu_model::Vcpu::new(1));
        model.write(0, Pa(T3), page(OTHER) & !ACCESSED | new);
        broken(&model, Rule::BreakBeforeMake(Missing::Break));
    }
}

#[test]
fn a_new_memory_type_over_a_valid_entry_is_reported() {
    let mut model = running(config());
    model.write(0, Pa(T3), page(MEMORY) & !0x3c);
    broken(&model, Rule::BreakBeforeMake(Missing::Break));
}

#[test]
fn a_new_shareability_over_a_valid_entry_is_reported() {
    let mut model = running(config());
    model.write(0, Pa(T3), page(MEMORY) & !0x100);
    broken(&model, Rule::BreakBeforeMake(Missing::Break));
}

#[test]
fn permissions_and_software_bits_may_change_in_place() {
    let mut model = running(config());
    model.write(0, Pa(T3), page(MEMORY) & !WRITABLE | 1 << 55 | 1 << 54);
    model.dsb(0, Dsb::Ishst);
    reads(&mut model, 1, 0, MEMORY);
    kept(&model);
}

#[test]
fn nothing_is_owed_for_a_table_that_no_cpu_has_entered() {
    let mut model = built(config());
    model.write(0, Pa(T3), page(OTHER));
    model.dsb(0, Dsb::Ishst);
    model.enter(1, droste_mmu_model::Vcpu::new(1));
    reads(&mut model, 1, 0, OTHER);
    kept(&model);
}

#[test]
fn a_replacement_without_a_dsb_before_the_tlbi_is_reported() {
    let mut model = running(config());
    model.write(0, Pa(T3), 0);
    by_ipa(&mut model, 0);
    model.dsb(0, Dsb::Ish);
    combined(&mut model);
    model.dsb(0, Dsb::Ish);
    model.write(0, Pa(T3), page(OTHER));
    broken(&model, Rule::BreakBeforeMake(Missing::BarrierBeforeTlbi));
}

#[test]
fn a_replacement_without_any_dsb_is_reported() {
    let mut model = running(config());
    model.write(0, Pa(T3), 0);
    by_ipa(&mut model, 0);
    model.write(0, Pa(T3), page(OTHER));
    broken(&model, Rule::BreakBeforeMake(Missing::BarrierBeforeTlbi));
}

#[test]
fn a_replacement_without_a_tlbi_is_reported() {
    let mut model = running(config());
    model.write(0, Pa(T3), 0);
    model.dsb(0, Dsb::Ish);
    combined(&mut model);
    model.dsb(0, Dsb::Ish);
    model.write(0, Pa(T3), page(OTHER));
    broken(&model, Rule::BreakBeforeMake(Missing::Tlbi));
}

#[test]
fn a_replacement_without_a_dsb_after_the_tlbi_is_reported() {
    let mut model = running(config());
    model.write(0, Pa(T3), 0);
    model.dsb(0, Dsb::Ish);
    by_ipa(&mut model, 0);
    model.write(0, Pa(T3), page(OTHER));
    broken(&model, Rule::BreakBeforeMake(Missing::BarrierAfterTlbi));
}

#[test]
fn a_dsb_of_stores_does_not_complete_a_tlbi() {
    let mut model = running(config());
    model.write(0, Pa(T3), 0);
    model.dsb(0, Dsb::Ish);
    by_ipa(&mut model, 0);
    model.dsb(0, Dsb::Ishst);
    model.write(0, Pa(T3), page(OTHER));
    broken(&model, Rule::BreakBeforeMake(Missing::BarrierAfterTlbi));
}

#[test]
fn a_replacement_without_the_invalidation_of_combined_entries_is_reported() {
    let mut model = running(config());
    model.write(0, Pa(T3), 0);
    model.dsb(0, Dsb::Ish);
    by_ipa(&mut model, 0);
    model.dsb(0, Dsb::Ish);
    model.write(0, Pa(T3), page(OTHER));
    broken(&model, Rule::BreakBeforeMake(Missing::CombinedTlbi));
}

#[test]
fn combined_entries_come_back_while_those_of_stage_2_are_not_gone() {
    let mut model = running(config());
    model.write(0, Pa(T3), 0);
    model.dsb(0, Dsb::Ish);
    by_ipa(&mut model, 0);
    combined(&mut model);
    model.dsb(0, Dsb::Ish);
    model.write(0, Pa(T3), page(OTHER));
    broken(&model, Rule::BreakBeforeMake(Missing::CombinedTlbi));
}

#[test]
fn a_replacement_before_the_last_dsb_is_reported() {
    let mut model = running(config());
    model.write(0, Pa(T3), 0);
    model.dsb(0, Dsb::Ish);
    by_ipa(&mut model, 0);
    model.dsb(0, Dsb::Ish);
    combined(&mut model);
    model.write(0, Pa(T3), page(OTHER));
    broken(
        &model,
        Rule::BreakBeforeMake(Missing::BarrierAfterCombinedTlbi),
    );
}

#[test]
fn the_same_translation_may_come_back_without_an_invalidation() {
    let mut model = running(config());
    model.write(0, Pa(T3), 0);
    model.write(0, Pa(T3), page(MEMORY));
    model.dsb(0, Dsb::Ishst);
    reads(&mut model, 1, 0, MEMORY);
    kept(&model);
}

/// Writes a table of pages with the outputs of the block at 2 MiB, and makes it visible.
fn fill_spare(model: &mut droste_mmu_model::Model) {
    for index in 0..512 {
        model.write(
            0,
            Pa(SPARE + index * 8),
            page(MEMORY + BLOCK + index * PAGE),
        );
    }
    model.dsb(0, Dsb::Ishst);
}

#[test]
fn a_block_becomes_a_table_by_break_before_make() {
    for bbm in [Bbm::Level0, Bbm::Level1, Bbm::Level2] {
        let mut model = running(level(bbm));
        fill_spare(&mut model);
        model.write(0, Pa(T2 + 8), 1 << 55);
        flush(&mut model, BLOCK);
        model.write(0, Pa(T2 + 8), table(SPARE));
        model.dsb(0, Dsb::Ishst);
        reads(&mut model, 1, BLOCK + PAGE, MEMORY + BLOCK + PAGE);
        kept(&model);
    }
}

#[test]
fn a_block_becomes_a_table_directly_at_level_2_only() {
    for bbm in [Bbm::Level0, Bbm::Level1] {
        let mut model = running(level(bbm));
        fill_spare(&mut model);
        model.write(0, Pa(T2 + 8), table(SPARE));
        broken(&model, Rule::BreakBeforeMake(Missing::Break));
    }
    let mut model = running(level(Bbm::Level2));
    fill_spare(&mut model);
    model.write(0, Pa(T2 + 8), table(SPARE));
    flush(&mut model, BLOCK);
    reads(&mut model, 1, BLOCK + PAGE, MEMORY + BLOCK + PAGE);
    kept(&model);
}

#[test]
fn level_2_does_not_excuse_another_output() {
    let mut model = running(level(Bbm::Level2));
    fill_spare(&mut model);
    model.write(0, Pa(SPARE + 8), page(OTHER));
    model.dsb(0, Dsb::Ishst);
    model.write(0, Pa(T2 + 8), table(SPARE));
    broken(&model, Rule::BreakBeforeMake(Missing::Break));
}

#[test]
fn at_level_1_nt_bridges_a_change_of_size() {
    let mut model = running(level(Bbm::Level1));
    fill_spare(&mut model);
    model.write(0, Pa(T2 + 8), block(MEMORY + BLOCK) | NT);
    flush(&mut model, BLOCK);
    model.write(0, Pa(T2 + 8), table(SPARE));
    model.dsb(0, Dsb::Ishst);
    reads(&mut model, 1, BLOCK, MEMORY + BLOCK);
    kept(&model);
}

#[test]
fn nt_bridges_nothing_while_the_block_without_it_is_cached() {
    let mut model = running(level(Bbm::Level1));
    fill_spare(&mut model);
    model.write(0, Pa(T2 + 8), block(MEMORY + BLOCK) | NT);
    model.dsb(0, Dsb::Ish);
    model.write(0, Pa(T2 + 8), table(SPARE));
    broken(&model, Rule::BreakBeforeMake(Missing::Tlbi));
}

#[test]
fn a_table_becomes_a_block_by_break_before_make() {
    let mut model = running(config());
    model.write(0, Pa(T2), 0);
    model.dsb(0, Dsb::Ish);
    for index in 0..4 {
        by_ipa(&mut model, index * PAGE);
    }
    model.dsb(0, Dsb::Ish);
    combined(&mut model);
    model.dsb(0, Dsb::Ish);
    model.write(0, Pa(T2), block(MEMORY));
    model.dsb(0, Dsb::Ishst);
    reads(&mut model, 1, 3 * PAGE, MEMORY + 3 * PAGE);
    kept(&model);
}

#[test]
fn every_page_of_a_table_must_go_before_a_block_comes() {
    let mut model = running(config());
    model.write(0, Pa(T2), 0);
    model.dsb(0, Dsb::Ish);
    for index in [0, 1, 3] {
        by_ipa(&mut model, index * PAGE);
    }
    model.dsb(0, Dsb::Ish);
    combined(&mut model);
    model.dsb(0, Dsb::Ish);
    model.write(0, Pa(T2), block(MEMORY));
    broken(&model, Rule::BreakBeforeMake(Missing::Tlbi));
}

#[test]
fn another_table_over_a_table_is_reported() {
    for bbm in [Bbm::Level0, Bbm::Level2] {
        let mut model = running(level(bbm));
        model.write(0, Pa(T2), table(SPARE));
        broken(&model, Rule::BreakBeforeMake(Missing::Break));
    }
}

#[test]
fn a_violation_names_rule_entry_and_steps() {
    let mut model = running(config());
    model.write(0, Pa(T3), 0);
    let breaking = model.steps();
    model.dsb(0, Dsb::Ish);
    model.write(0, Pa(T3), page(OTHER));
    let violation = *model.violation().unwrap();
    assert_eq!(
        (violation.step, violation.earlier),
        (model.steps(), Some(breaking))
    );
    assert_eq!((violation.cpu, violation.vmid), (0, Some(1)));
    let text = violation.to_string();
    for part in [
        "no TLBI",
        "0x40002000",
        "IPA 0x0+0x1000",
        "0x1000007ff",
        "VMID 1",
        "level 3",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}
