//! What each TLB invalidation takes, and what not.

use droste_arm64::Pa;
use droste_arm64::barrier::Dsb;
use droste_mmu_model::{
    Completion, Config, Features, Form, Missing, Model, OperandFault, Rule, Scope, Tlbi, Vcpu,
};

use crate::rig::*;

/// The page at `ipa` is unmapped, the given TLBIs run one after another with a DSB after each, and CPU 1 reads.
fn after(config: Config, ipa: u64, tlbis: &[Tlbi]) -> Model {
    let mut model = running(config);
    model.write(0, Pa(T3 + ipa / PAGE * 8), 0);
    model.dsb(0, Dsb::Ish);
    for &tlbi in tlbis {
        model.tlbi(0, tlbi);
        model.dsb(0, Dsb::Ish);
    }
    read_faults(&mut model, 1, ipa);
    model
}

const COMBINED: Tlbi = Tlbi::new(Form::Vmalle1, Scope::Inner, 0);

const fn inner(form: Form, operand: u64) -> Tlbi {
    Tlbi::new(form, Scope::Inner, operand)
}

const fn range(tg: u64, scale: u64, num: u64, ttl: u64, base: u64) -> u64 {
    tg << 46 | scale << 44 | num << 39 | ttl << 37 | base
}

#[test]
fn enough_is_enough() {
    let enough: [&[Tlbi]; 9] = [
        &[inner(Form::Ipas2e1, 2), COMBINED],
        &[inner(Form::Ipas2le1, 2), COMBINED],
        &[inner(Form::Ipas2e1, 0b0111 << 44 | 2), COMBINED],
        &[inner(Form::Ripas2e1, range(1, 0, 0, 0, 2)), COMBINED],
        &[inner(Form::Ripas2e1, range(1, 0, 1, 3, 0)), COMBINED],
        &[inner(Form::Ripas2le1, range(1, 3, 31, 3, 0)), COMBINED],
        &[inner(Form::Vmalls12e1, 0)],
        &[inner(Form::Alle1, 0)],
        &[inner(Form::Vmalle1, 0), inner(Form::Ipas2e1, 2), COMBINED],
    ];
    for tlbis in enough {
        kept(&after(config(), 2 * PAGE, tlbis));
    }
}

#[test]
fn what_takes_less_is_reported() {
    let (stage2, combined) = (Missing::Tlbi, Missing::CombinedTlbi);
    let too_little: [(&[Tlbi], Missing); 14] = [
        (&[], stage2),
        (&[COMBINED], stage2),
        (&[inner(Form::Ipas2e1, 2)], combined),
        (&[COMBINED, inner(Form::Ipas2e1, 2)], combined),
        // Another address, and one that is not shifted.
        (&[inner(Form::Ipas2e1, 3), COMBINED], stage2),
        (&[inner(Form::Ipas2e1, 2 * PAGE), COMBINED], stage2),
        // A hint of another level, and of another granule.
        (&[inner(Form::Ipas2e1, 0b0110 << 44 | 2), COMBINED], stage2),
        (&[inner(Form::Ipas2e1, 0b1111 << 44 | 2), COMBINED], stage2),
        // Ranges that end before, begin after, name another granule or level, or begin off the hinted leaf.
        (
            &[inner(Form::Ripas2e1, range(1, 0, 0, 0, 0)), COMBINED],
            stage2,
        ),
        (
            &[inner(Form::Ripas2e1, range(1, 0, 31, 0, 3)), COMBINED],
            stage2,
        ),
        (
            &[inner(Form::Ripas2e1, range(3, 0, 0, 0, 0)), COMBINED],
            stage2,
        ),
        (
            &[inner(Form::Ripas2e1, range(1, 1, 31, 2, 0)), COMBINED],
            stage2,
        ),
        // Those of stage 1 by address.
        (&[inner(Form::Vaae1, 2), COMBINED], stage2),
        (&[inner(Form::Alle2, 0), inner(Form::Vae2, 2)], stage2),
    ];
    for (tlbis, missing) in too_little {
        broken(
            &after(config(), 2 * PAGE, tlbis),
            Rule::StaleTranslation(missing),
        );
    }
}

#[test]
fn stage_1_invalidations_by_address_take_no_combined_entry_for_sure() {
    for form in [Form::Vae1, Form::Vaae1, Form::Aside1] {
        let model = after(config(), 0, &[inner(Form::Ipas2e1, 0), inner(form, 0)]);
        broken(&model, Rule::StaleTranslation(Missing::CombinedTlbi));
    }
}

#[test]
fn a_local_invalidation_leaves_other_cpus() {
    let local = |form, operand| Tlbi::new(form, Scope::Local, operand);
    let model = after(
        config(),
        0,
        &[local(Form::Ipas2e1, 0), local(Form::Vmalle1, 0)],
    );
    broken(&model, Rule::StaleTranslation(Missing::Tlbi));
    let model = after(config(), 0, &[local(Form::Vmalls12e1, 0)]);
    broken(&model, Rule::StaleTranslation(Missing::Tlbi));
}

#[test]
fn a_local_invalidation_serves_the_cpu_that_makes_it() {
    let mut model = built(config());
    model.enter(0, Vcpu::new(0));
    model.exit(0);
    model.write(0, Pa(T3), 0);
    model.dsb(0, Dsb::Nsh);
    model.tlbi(0, Tlbi::new(Form::Vmalls12e1, Scope::Local, 0));
    model.dsb(0, Dsb::Nsh);
    model.enter(0, Vcpu::new(0));
    read_faults(&mut model, 0, 0);
    kept(&model);
}

#[test]
fn a_dsb_of_one_cpu_completes_a_broadcast_there_only() {
    let start = || {
        let mut model = running(config());
        model.enter(0, Vcpu::new(0));
        model.exit(0);
        model.write(0, Pa(T3), 0);
        model.dsb(0, Dsb::Ish);
        model.tlbi(0, Tlbi::new(Form::Vmalls12e1, Scope::Inner, 0));
        model.dsb(0, Dsb::Nsh);
        model
    };
    let mut model = start();
    model.enter(0, Vcpu::new(0));
    read_faults(&mut model, 0, 0);
    kept(&model);
    let mut model = start();
    read_faults(&mut model, 1, 0);
    broken(&model, Rule::StaleTranslation(Missing::BarrierAfterTlbi));
}

#[test]
fn a_dsb_of_another_cpu_does_not_complete_an_invalidation() {
    let mut model = running(config());
    model.write(0, Pa(T3), 0);
    model.dsb(0, Dsb::Ish);
    model.tlbi(0, Tlbi::new(Form::Vmalls12e1, Scope::Inner, 0));
    model.dsb(2, Dsb::Ish);
    read_faults(&mut model, 1, 0);
    broken(&model, Rule::StaleTranslation(Missing::BarrierAfterTlbi));
}

#[test]
fn two_cpus_may_invalidate_the_same_at_once() {
    let mut model = running(config());
    model.write(0, Pa(T3), 0);
    model.dsb(0, Dsb::Ish);
    for cpu in [0, 2] {
        model.tlbi(cpu, Tlbi::new(Form::Vmalls12e1, Scope::Inner, 0));
    }
    model.dsb(0, Dsb::Ish);
    read_faults(&mut model, 1, 0);
    kept(&model);
}

#[test]
fn another_vmid_takes_nothing() {
    let mut model = running(config());
    model.write(0, Pa(T3), 0);
    model.set_vttbr(0, vttbr(2, ROOT));
    model.isb(0);
    flush(&mut model, 0);
    read_faults(&mut model, 1, 0);
    broken(&model, Rule::StaleTranslation(Missing::Tlbi));
}

#[test]
fn an_invalidation_between_a_write_of_vttbr_and_isb_counts_for_neither_vmid() {
    let mut model = running(config());
    model.set_vttbr(0, vttbr(2, ROOT));
    model.isb(0);
    model.write(0, Pa(T3), 0);
    model.dsb(0, Dsb::Ish);
    model.set_vttbr(0, vttbr(1, ROOT));
    model.tlbi(0, Tlbi::new(Form::Vmalls12e1, Scope::Inner, 0));
    model.dsb(0, Dsb::Ish);
    model.isb(0);
    read_faults(&mut model, 1, 0);
    broken(&model, Rule::StaleTranslation(Missing::Tlbi));
}

#[test]
fn an_invalidation_after_isb_counts() {
    let mut model = running(config());
    model.set_vttbr(0, vttbr(2, ROOT));
    model.isb(0);
    model.write(0, Pa(T3), 0);
    model.dsb(0, Dsb::Ish);
    model.set_vttbr(0, vttbr(1, ROOT));
    model.isb(0);
    model.tlbi(0, Tlbi::new(Form::Vmalls12e1, Scope::Inner, 0));
    model.dsb(0, Dsb::Ish);
    model.set_vttbr(0, vttbr(2, ROOT));
    model.isb(0);
    read_faults(&mut model, 1, 0);
    kept(&model);
}

#[test]
fn with_e2h_and_tge_the_stage_1_forms_act_on_el2() {
    let mut model = running(config());
    model.set_hcr(0, 1 << 34 | 1 << 27);
    model.write(0, Pa(T3), 0);
    flush(&mut model, 0);
    read_faults(&mut model, 1, 0);
    broken(&model, Rule::StaleTranslation(Missing::CombinedTlbi));

    let mut model = running(config());
    model.set_hcr(0, 1 << 34);
    model.write(0, Pa(T3), 0);
    flush(&mut model, 0);
    read_faults(&mut model, 1, 0);
    kept(&model);
}

#[test]
fn nxs_leaves_what_may_have_the_xs_attribute() {
    let config = Config {
        features: config().features | Features::XS,
        ..config()
    };
    let nxs = |form| Tlbi {
        completion: Completion::ExceptXs,
        ..inner(form, 0)
    };
    broken(
        &after(config, 0, &[nxs(Form::Vmalls12e1)]),
        Rule::StaleTranslation(Missing::Tlbi),
    );
    let mut model = built(config);
    model.write(0, Pa(T3), page(MEMORY) | 1 << 11);
    model.dsb(0, Dsb::Ishst);
    model.enter(1, Vcpu::new(1));
    model.write(0, Pa(T3), 0);
    model.dsb(0, Dsb::Ish);
    model.tlbi(0, nxs(Form::Vmalls12e1));
    model.dsb(0, Dsb::Ish);
    read_faults(&mut model, 1, 0);
    kept(&model);
}

#[test]
fn an_invalidation_that_the_cpu_lacks_or_whose_operand_is_malformed_is_reported() {
    let plain = Config {
        features: Features::NONE,
        ..config()
    };
    let cases = [
        (
            plain,
            inner(Form::Ripas2e1, 1 << 46),
            OperandFault::NotImplemented,
        ),
        (
            plain,
            Tlbi::new(Form::Alle1, Scope::Outer, 0),
            OperandFault::NotImplemented,
        ),
        (
            plain,
            Tlbi {
                completion: Completion::ExceptXs,
                ..inner(Form::Alle1, 0)
            },
            OperandFault::NotImplemented,
        ),
        (
            plain,
            inner(Form::Ipas2e1, 0b0111 << 44),
            OperandFault::Reserved,
        ),
        (config(), inner(Form::Ripas2e1, 0), OperandFault::NoGranule),
        (
            config(),
            inner(Form::Ipas2e1, 1 << 40),
            OperandFault::Reserved,
        ),
        (config(), inner(Form::Vmalls12e1, 1), OperandFault::Unused),
    ];
    for (config, tlbi, fault) in cases {
        let mut model = running(config);
        model.tlbi(0, tlbi);
        broken(&model, Rule::Operand(fault));
    }
    let mut model = running(config());
    model.guest_tlbi(1, inner(Form::Ipas2e1, 0));
    broken(&model, Rule::Operand(OperandFault::UndefinedAtEl1));
}

#[test]
fn a_block_goes_by_any_address_in_it() {
    let mut model = running(config());
    model.write(0, Pa(T2 + 8), 0);
    flush(&mut model, BLOCK + 77 * PAGE);
    read_faults(&mut model, 1, BLOCK);
    kept(&model);
}

#[test]
fn more_invalidation_than_needed_does_no_harm() {
    let mut model = running(config());
    for _ in 0..3 {
        flush(&mut model, 0);
        model.tlbi(0, inner(Form::Ripas2e1, range(1, 3, 31, 0, 0)));
        model.tlbi(0, inner(Form::Alle1, 0));
        model.dsb(0, Dsb::Ish);
        reads(&mut model, 1, 0, MEMORY);
    }
    kept(&model);
}

/// Nobody is inside while the page goes, with one DSB for the write and both invalidations; `between` runs before it.
fn at_rest(between: impl FnOnce(&mut Model)) -> Model {
    let mut model = running(config());
    model.exit(1);
    model.write(0, Pa(T3), 0);
    by_ipa(&mut model, 0);
    combined(&mut model);
    between(&mut model);
    model.dsb(0, Dsb::Ish);
    if model
        .compare_exchange(0, Pa(T3), 0, page(MEMORY + 64 * PAGE))
        .is_ok()
    {
        model.dsb(0, Dsb::Ishst);
    }
    model
}

#[test]
fn while_nobody_walks_one_dsb_completes_everything() {
    let mut model = at_rest(|_| {});
    model.enter(1, Vcpu::new(1));
    reads(&mut model, 1, 0, MEMORY + 64 * PAGE);
    kept(&model);
}

#[test]
fn who_enters_between_an_invalidation_and_its_dsb_walks_as_if_there_was_none() {
    let model = at_rest(|model| model.enter(1, Vcpu::new(1)));
    broken(&model, Rule::BreakBeforeMake(Missing::Tlbi));
}

#[test]
fn who_enters_while_stage_2_is_cached_makes_combined_entries_from_it() {
    let mut model = running(config());
    model.exit(1);
    model.write(0, Pa(T3), 0);
    model.dsb(0, Dsb::Ish);
    combined(&mut model);
    model.dsb(0, Dsb::Ish);
    model.enter(1, Vcpu::new(1));
    model.exit(1);
    by_ipa(&mut model, 0);
    model.dsb(0, Dsb::Ish);
    model.write(0, Pa(T3), page(MEMORY + 64 * PAGE));
    broken(&model, Rule::BreakBeforeMake(Missing::CombinedTlbi));
}

#[test]
fn one_range_serves_a_batch() {
    let mut model = running(config());
    for index in 0..4 {
        model.write(0, Pa(T3 + index * 8), 0);
    }
    model.dsb(0, Dsb::Ish);
    model.tlbi(0, inner(Form::Ripas2e1, range(1, 0, 1, 3, 0)));
    model.dsb(0, Dsb::Ish);
    combined(&mut model);
    model.dsb(0, Dsb::Ish);
    for index in 0..4 {
        read_faults(&mut model, 1, index * PAGE);
        model.write(0, Pa(T3 + index * 8), page(MEMORY + 8 * PAGE));
    }
    kept(&model);
}

/// CPU 1 is in its guest all along, or enters it between the invalidations of a page and the one DSB after them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Guest {
    Stays,
    Enters,
}

fn one_dsb_for(tlbis: &[Tlbi], guest: Guest) -> Model {
    let mut model = running(config());
    if guest == Guest::Enters {
        model.exit(1);
    }
    model.write(0, Pa(T3), 0);
    model.dsb(0, Dsb::Ishst);
    for &tlbi in tlbis {
        model.tlbi(0, tlbi);
    }
    if guest == Guest::Enters {
        model.enter(1, Vcpu::new(1));
    }
    model.dsb(0, Dsb::Ish);
    model
}

/// What one instruction takes of both stages is gone when it is complete, whenever a guest was entered: an entry that
/// combines them is made of one of stage 2 that the same instruction takes (DDI 0487, D8 "TLB maintenance").
#[test]
fn who_enters_before_the_dsb_keeps_nothing_of_what_one_instruction_takes() {
    for form in [Form::Vmalls12e1, Form::Alle1] {
        for guest in [Guest::Stays, Guest::Enters] {
            let mut model = one_dsb_for(&[inner(form, 0)], guest);
            read_faults(&mut model, 1, 0);
            kept(&model);
            let mut model = one_dsb_for(&[inner(form, 0)], guest);
            model.write(0, Pa(T3), page(MEMORY + 64 * PAGE));
            kept(&model);
        }
    }
}

/// Two instructions may be complete in any order, and between them a guest can make combined entries again.
#[test]
fn who_enters_before_the_dsb_keeps_combined_entries_where_two_instructions_take_the_two_stages() {
    let tlbis = [inner(Form::Ipas2e1, 0), COMBINED];
    let mut model = one_dsb_for(&tlbis, Guest::Enters);
    read_faults(&mut model, 1, 0);
    broken(&model, Rule::StaleTranslation(Missing::CombinedTlbi));
}

/// The instruction reaches one CPU: on the other nothing is taken.
#[test]
fn who_enters_before_the_dsb_keeps_what_a_local_instruction_leaves() {
    let local = Tlbi::new(Form::Vmalls12e1, Scope::Local, 0);
    let mut model = one_dsb_for(&[local], Guest::Enters);
    read_faults(&mut model, 1, 0);
    broken(&model, Rule::StaleTranslation(Missing::Tlbi));
}
