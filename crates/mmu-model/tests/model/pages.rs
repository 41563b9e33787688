//! Pages of tables: reachable by memory, by walks that are cached, by writes that are not visible.

use droste_arm64::Pa;
use droste_arm64::barrier::Dsb;
use droste_mmu_model::{Form, Malformed, Misuse, Model, Rule, Scope, Tlbi, Vcpu};

use crate::rig::*;

/// Takes the table of the first 2 MiB out, with the given TLBIs for its four pages.
fn unlinked(tlbi: impl Fn(u64) -> Option<Tlbi>) -> Model {
    let mut model = running(config());
    model.write(0, Pa(T2), 0);
    model.dsb(0, Dsb::Ish);
    for index in 0..4 {
        if let Some(tlbi) = tlbi(index) {
            model.tlbi(0, tlbi);
        }
    }
    model.dsb(0, Dsb::Ish);
    combined(&mut model);
    model.dsb(0, Dsb::Ish);
    model
}

#[test]
fn a_page_comes_free_when_no_walk_can_reach_it() {
    let mut model = unlinked(|index| Some(Tlbi::new(Form::Ipas2e1, Scope::Inner, index)));
    model.release(Pa(T3), PAGE);
    model.claim(Pa(T3), PAGE);
    model.zero(0, Pa(T3), PAGE);
    model.dsb(0, Dsb::Ishst);
    model.write(0, Pa(T2 + 16), table(T3));
    model.dsb(0, Dsb::Ishst);
    read_faults(&mut model, 1, 2 * BLOCK);
    read_faults(&mut model, 1, 0);
    kept(&model);
}

#[test]
fn a_linked_page_must_not_be_released() {
    let mut model = running(config());
    model.release(Pa(T3), PAGE);
    broken(&model, Rule::PageReachable);
}

#[test]
fn a_linked_page_must_not_be_claimed() {
    let mut model = running(config());
    model.claim(Pa(T3), PAGE);
    broken(&model, Rule::PageReachable);
}

#[test]
fn an_unlinked_page_is_reachable_by_a_cached_walk_without_a_tlbi() {
    let mut model = unlinked(|_| None);
    model.release(Pa(T3), PAGE);
    broken(&model, Rule::PageReachable);
}

#[test]
fn an_invalidation_of_the_last_level_leaves_cached_walks() {
    let mut model = unlinked(|index| Some(Tlbi::new(Form::Ipas2le1, Scope::Inner, index)));
    model.release(Pa(T3), PAGE);
    broken(&model, Rule::PageReachable);
}

#[test]
fn an_invalidation_with_a_leafs_level_leaves_cached_walks() {
    let mut model =
        unlinked(|index| Some(Tlbi::new(Form::Ipas2e1, Scope::Inner, 0b0111 << 44 | index)));
    model.release(Pa(T3), PAGE);
    broken(&model, Rule::PageReachable);
}

#[test]
fn a_leaf_taken_before_the_walk_to_it_is_found_again() {
    let mut model = unlinked(|index| {
        let form = if index == 3 {
            Form::Ipas2e1
        } else {
            Form::Ipas2le1
        };
        Some(Tlbi::new(form, Scope::Inner, index))
    });
    model.release(Pa(T3), PAGE);
    kept(&model);
    read_faults(&mut model, 1, 3 * PAGE);
    kept(&model);
    read_faults(&mut model, 1, 0);
    broken(
        &model,
        Rule::StaleTranslation(droste_mmu_model::Missing::Tlbi),
    );
}

#[test]
fn a_walk_goes_by_one_address_whatever_walks_below_it_do() {
    let mut model = built(config());
    model.write(0, Pa(SPARE), page(MEMORY + BLOCK));
    model.write(0, Pa(T2 + 8), 0);
    model.dsb(0, Dsb::Ishst);
    model.write(0, Pa(T2 + 8), table(SPARE));
    model.dsb(0, Dsb::Ishst);
    model.enter(1, Vcpu::new(1));
    model.write(0, Pa(ROOT), 0);
    model.dsb(0, Dsb::Ish);
    for index in [0, 1, 2, 3, 512] {
        by_ipa(&mut model, index * PAGE);
    }
    model.dsb(0, Dsb::Ish);
    combined(&mut model);
    model.dsb(0, Dsb::Ish);
    for released in [T2, T3, SPARE] {
        model.release(Pa(released), PAGE);
    }
    for ipa in [0, 3 * PAGE, BLOCK] {
        read_faults(&mut model, 1, ipa);
    }
    kept(&model);
}

#[test]
fn a_page_is_reachable_while_its_unlinking_is_not_visible() {
    let mut model = running(config());
    model.write(0, Pa(T2), 0);
    model.release(Pa(T3), PAGE);
    broken(&model, Rule::PageReachable);
}

#[test]
fn a_page_below_an_unlinked_table_is_reachable_too() {
    let mut model = running(config());
    model.write(0, Pa(ROOT), 0);
    model.dsb(0, Dsb::Ish);
    model.release(Pa(T3), PAGE);
    broken(&model, Rule::PageReachable);
}

#[test]
fn what_is_written_into_a_page_that_a_cached_walk_reaches_is_a_translation() {
    let mut model = running(config());
    model.write(0, Pa(T2), 0);
    model.dsb(0, Dsb::Ish);
    model.write(0, Pa(T3 + 8 * 8), page(MEMORY));
    model.write(0, Pa(T3 + 8 * 8), 0);
    model.dsb(0, Dsb::Ish);
    flush(&mut model, 0);
    // The walk is gone; what it found at page 8 in between is not.
    read_faults(&mut model, 1, 8 * PAGE);
    broken(
        &model,
        Rule::StaleTranslation(droste_mmu_model::Missing::Tlbi),
    );
}

#[test]
fn a_page_linked_elsewhere_while_a_cached_walk_reaches_it_is_reported() {
    let mut model = running(config());
    model.write(0, Pa(T2), 0);
    model.dsb(0, Dsb::Ish);
    model.write(0, Pa(T2 + 16), table(T3));
    broken(&model, Rule::PageReachable);
}

#[test]
fn a_page_may_be_linked_again_where_it_was() {
    let mut model = running(config());
    model.write(0, Pa(T2), 0);
    model.write(0, Pa(T2), table(T3));
    model.dsb(0, Dsb::Ishst);
    reads(&mut model, 1, 0, MEMORY);
    kept(&model);
}

#[test]
fn a_released_page_must_not_be_linked() {
    let mut model = running(config());
    model.release(Pa(SPARE), PAGE);
    model.write(0, Pa(T2 + 16), table(SPARE));
    broken(&model, Rule::PageReleased);
}

#[test]
fn a_root_comes_free_when_no_tlb_has_entries_of_it() {
    let mut model = running(config());
    model.exit(1);
    model.dsb(0, Dsb::Ish);
    model.tlbi(0, Tlbi::new(Form::Vmalls12e1, Scope::Inner, 0));
    model.dsb(0, Dsb::Ish);
    model.release(Pa(ROOT), PAGE);
    model.release(Pa(T2), PAGE);
    model.release(Pa(T3), PAGE);
    kept(&model);
}

#[test]
fn a_root_whose_vmid_still_has_entries_is_reachable() {
    let mut model = running(config());
    model.exit(1);
    model.release(Pa(ROOT), PAGE);
    broken(&model, Rule::PageReachable);
}

#[test]
fn a_root_that_a_cpu_entered_again_since_the_tlbi_is_reachable() {
    let mut model = running(config());
    model.exit(1);
    model.tlbi(0, Tlbi::new(Form::Vmalls12e1, Scope::Inner, 0));
    model.enter(1, Vcpu::new(1));
    model.exit(1);
    model.dsb(0, Dsb::Ish);
    model.release(Pa(ROOT), PAGE);
    broken(&model, Rule::PageReachable);
}

#[test]
fn a_prefilled_subtree_may_be_linked_at_once() {
    let mut model = running(config());
    let lower = SPARE + PAGE;
    model.write(0, Pa(SPARE), table(lower));
    model.write(0, Pa(lower), page(MEMORY));
    model.dsb(0, Dsb::Ishst);
    model.write(0, Pa(ROOT + 8), table(SPARE));
    model.dsb(0, Dsb::Ishst);
    reads(&mut model, 1, 1 << 30, MEMORY);
    model.write(0, Pa(lower), 0);
    flush(&mut model, 1 << 30);
    read_faults(&mut model, 1, 1 << 30);
    kept(&model);
}

#[test]
fn a_change_below_a_prefilled_subtree_owes_its_invalidation() {
    let mut model = running(config());
    let lower = SPARE + PAGE;
    model.write(0, Pa(SPARE), table(lower));
    model.write(0, Pa(lower), page(MEMORY));
    model.dsb(0, Dsb::Ishst);
    model.write(0, Pa(ROOT + 8), table(SPARE));
    model.dsb(0, Dsb::Ishst);
    model.write(0, Pa(lower), 0);
    model.dsb(0, Dsb::Ishst);
    read_faults(&mut model, 1, 1 << 30);
    broken(
        &model,
        Rule::StaleTranslation(droste_mmu_model::Missing::Tlbi),
    );
}

#[test]
fn malformed_descriptors_are_reported_where_walks_reach_them() {
    let cases = [
        (T3 + 64, page(MEMORY) & !2, Malformed::Kind),
        (T2 + 64, block(MEMORY + PAGE), Malformed::AddressBits),
        (
            T3 + 64,
            page(MEMORY) & !0x3c | 4 << 2,
            Malformed::MemoryType,
        ),
        (T2 + 64, table(0x10_0000), Malformed::TableOutside),
        (T2 + 64, table(ROOT), Malformed::TableLoop),
        (T2 + 64, table(T2), Malformed::TableLoop),
    ];
    for (at, raw, malformed) in cases {
        let mut model = running(config());
        model.write(0, Pa(at), raw);
        broken(&model, Rule::Descriptor(malformed));
        // Where nothing walks, anything may be written.
        let mut model = running(config());
        model.write(0, Pa(SPARE), raw);
        kept(&model);
    }
}

#[test]
fn malformed_descriptors_of_a_prefilled_table_are_reported_when_it_is_linked() {
    let mut model = running(config());
    model.write(0, Pa(SPARE + 8), page(MEMORY) & !2);
    model.dsb(0, Dsb::Ishst);
    kept(&model);
    model.write(0, Pa(T2 + 16), table(SPARE));
    broken(&model, Rule::Descriptor(Malformed::Kind));
}

#[test]
fn memory_ends_where_the_config_says() {
    for at in [BASE - 8, BASE + 64 * PAGE, BASE + 4] {
        let mut model = Model::new(config());
        model.write(0, Pa(at), 1);
        broken(&model, Rule::Misuse(Misuse::Address));
    }
    let mut model = Model::new(config());
    model.zero(0, Pa(BASE + 63 * PAGE), 2 * PAGE);
    broken(&model, Rule::Misuse(Misuse::Address));
}
