//! vCPUs: the entries that they leave, and their own invalidations.

use droste_arm64::barrier::Dsb;
use droste_arm64::{Ipa, Pa, Va};
use droste_mmu_model::{
    Access, AccessKind, Allowed, Config, Effect, FaultKind, Form, Misuse, Model, Rule, Scope,
    Source, Stage1, Stage1Entry, Tagging, Tlbi, Vcpu,
};

use crate::rig::*;

const VA: Va = Va(0xffff_0000_0000_0000);
const FB: u64 = 1 << 9;
const BSU_INNER: u64 = 1 << 10;

fn private(model: &mut Model, cpu: usize) {
    model.tlbi(cpu, Tlbi::new(Form::Vmalle1, Scope::Local, 0));
    model.dsb(cpu, Dsb::Nsh);
    model.isb(cpu);
}

#[test]
fn another_virtual_cpu_enters_after_a_local_invalidation() {
    let mut model = running(config());
    model.exit(1);
    private(&mut model, 1);
    model.enter(1, Vcpu::new(2));
    kept(&model);
}

#[test]
fn the_same_virtual_cpu_enters_again_at_no_cost() {
    let mut model = running(config());
    model.exit(1);
    model.enter(1, Vcpu::new(1));
    kept(&model);
}

#[test]
fn another_virtual_cpu_without_an_invalidation_is_reported() {
    let mut model = running(config());
    model.exit(1);
    model.enter(1, Vcpu::new(2));
    broken(&model, Rule::OtherVcpu);
}

#[test]
fn a_local_invalidation_before_isb_is_not_sure_to_be_the_vmids() {
    let mut model = running(config());
    model.exit(1);
    model.set_vttbr(1, vttbr(2, BASE + 0x8000));
    model.isb(1);
    model.set_vttbr(1, vttbr(1, ROOT));
    model.tlbi(1, Tlbi::new(Form::Vmalle1, Scope::Local, 0));
    model.dsb(1, Dsb::Nsh);
    model.isb(1);
    model.enter(1, Vcpu::new(2));
    broken(&model, Rule::OtherVcpu);
}

#[test]
fn a_local_invalidation_on_another_cpu_does_not_count() {
    let mut model = running(config());
    model.exit(1);
    private(&mut model, 2);
    model.enter(1, Vcpu::new(2));
    broken(&model, Rule::OtherVcpu);
}

fn known() -> Config {
    Config {
        stage1: Stage1::Known,
        ..config()
    }
}

fn entry(page: u64, tagging: Tagging) -> Stage1Entry {
    Stage1Entry {
        ipa: Ipa(page * PAGE),
        tagging,
    }
}

fn vcpu(number: u32, asid: u16, space: u32) -> Vcpu {
    Vcpu {
        number,
        asid,
        space: Some(space),
    }
}

fn read_of(model: &mut Model, cpu: usize, pa: u64) {
    model.expect(
        cpu,
        Access::new(Va(VA.0 + 8), AccessKind::Read),
        Allowed::Access(Pa(pa + 8)),
    );
}

/// vCPU 1 has run on CPU 1; then 2 runs there, which maps the same page elsewhere.
fn two_vcpus(asids: (u16, u16), tagging: Tagging, invalidate: bool) -> Model {
    let mut model = built(known());
    model.stage1_map(1, VA, entry(1, tagging));
    model.stage1_map(2, VA, entry(2, Tagging::PerAsid));
    model.enter(1, vcpu(1, asids.0, 1));
    read_of(&mut model, 1, MEMORY + PAGE);
    model.exit(1);
    if invalidate {
        private(&mut model, 1);
    }
    model.enter(1, vcpu(2, asids.1, 2));
    read_of(&mut model, 1, MEMORY + 2 * PAGE);
    model
}

#[test]
fn entries_of_another_virtual_cpu_under_the_same_asid_are_reported_when_used() {
    broken(&two_vcpus((7, 7), Tagging::PerAsid, false), Rule::OtherVcpu);
    kept(&two_vcpus((7, 7), Tagging::PerAsid, true));
}

#[test]
fn another_asid_tells_entries_apart_unless_they_are_global() {
    kept(&two_vcpus((7, 8), Tagging::PerAsid, false));
    broken(&two_vcpus((7, 8), Tagging::Global, false), Rule::OtherVcpu);
}

#[test]
fn equal_entries_of_another_virtual_cpu_do_no_harm() {
    let mut model = built(known());
    model.stage1_map(1, VA, entry(1, Tagging::Global));
    for number in [1, 2] {
        model.enter(1, vcpu(number, 7, 1));
        read_of(&mut model, 1, MEMORY + PAGE);
        model.exit(1);
    }
    kept(&model);
}

#[test]
fn flat_entries_of_a_virtual_cpu_without_stage_1_are_global() {
    let mut model = built(known());
    model.stage1_map(1, Va(0), entry(2, Tagging::PerAsid));
    model.enter(1, Vcpu::new(1));
    model.exit(1);
    model.enter(1, vcpu(2, 7, 1));
    reads(&mut model, 1, 0, MEMORY + 2 * PAGE);
    broken(&model, Rule::OtherVcpu);
}

/// A vCPU has run on CPUs 1 and 2, moves its page on CPU 2 with an invalidation of its own, and returns to 1.
fn migrated(hcr: u64, tlbi: Tlbi, domain: Dsb) -> Model {
    let mut model = built(known());
    model.stage1_map(1, VA, entry(1, Tagging::PerAsid));
    for cpu in [1, 2] {
        model.set_hcr(cpu, hcr);
        model.enter(cpu, vcpu(1, 7, 1));
        read_of(&mut model, cpu, MEMORY + PAGE);
        if cpu == 1 {
            model.exit(cpu);
        }
    }
    model.stage1_map(1, VA, entry(2, Tagging::PerAsid));
    model.guest_tlbi(2, tlbi);
    model.guest_dsb(2, domain);
    read_of(&mut model, 2, MEMORY + 2 * PAGE);
    kept(&model);
    model.exit(2);
    model.enter(1, vcpu(1, 7, 1));
    read_of(&mut model, 1, MEMORY + 2 * PAGE);
    model
}

const BY_VA: u64 = 7 << 48 | (VA.0 >> 12) & 0xfff_ffff_ffff;

#[test]
fn a_guests_local_invalidation_reaches_the_cpu_it_left_with_fb() {
    for (form, operand) in [
        (Form::Vae1, BY_VA),
        (Form::Vaale1, BY_VA & 0xfff_ffff_ffff),
        (Form::Aside1, 7 << 48),
        (Form::Vmalle1, 0),
    ] {
        let tlbi = Tlbi::new(form, Scope::Local, operand);
        kept(&migrated(FB | BSU_INNER, tlbi, Dsb::Nsh));
        broken(&migrated(0, tlbi, Dsb::Nsh), Rule::GuestInvalidationLost);
    }
}

#[test]
fn a_broadcast_that_only_the_own_cpu_waited_for_is_lost_without_bsu() {
    let tlbi = Tlbi::new(Form::Vmalle1, Scope::Local, 0);
    broken(&migrated(FB, tlbi, Dsb::Nsh), Rule::GuestInvalidationLost);
}

#[test]
fn a_guests_broadcast_needs_no_help() {
    let tlbi = Tlbi::new(Form::Rvae1, Scope::Inner, {
        7 << 48 | 1 << 46 | (VA.0 >> 12) & 0x1f_ffff_ffff
    });
    kept(&migrated(0, tlbi, Dsb::Ish));
}

#[test]
fn what_a_guest_has_not_invalidated_it_may_find_again() {
    let other = Tlbi::new(Form::Vae1, Scope::Local, BY_VA + 1);
    let model = migrated(0, other, Dsb::Nsh);
    kept(&model);
}

#[test]
fn a_page_that_stage_1_does_not_map_is_the_guests_own_affair() {
    let mut model = built(known());
    model.stage1_map(1, VA, entry(1, Tagging::Global));
    model.stage1_unmap(1, VA);
    model.enter(1, vcpu(1, 7, 1));
    let outcomes = model.access(1, Access::new(VA, AccessKind::Read));
    assert!(outcomes.has(Effect::Fault {
        kind: FaultKind::Stage1,
        level: 0
    }));
    kept(&model);
}

#[test]
fn what_no_cpu_can_do_is_the_drivers_mistake() {
    let mut model = running(config());
    model.isb(1);
    broken(&model, Rule::Misuse(Misuse::InGuest));
    let mut model = running(config());
    reads(&mut model, 0, 0, MEMORY);
    broken(&model, Rule::Misuse(Misuse::AtEl2));
    let mut model = running(config());
    model.isb(4);
    broken(&model, Rule::Misuse(Misuse::NoSuchCpu));
}

fn held() -> Config {
    Config {
        stage1: Stage1::Held,
        ..config()
    }
}

/// Whether a TLB of CPU 1 may hold a stage-1 entry that the guest has changed.
fn has_changed_entry(model: &mut Model) -> bool {
    let outcomes = model.access(1, Access::new(VA, AccessKind::Read));
    let is_it = |source| matches!(source, Source::GuestChanged { .. });
    outcomes.iter().any(|outcome| is_it(outcome.source))
}

/// The guest on CPU 1 moves its page. EL2 invalidates on CPU 0, under the guest's VMID.
fn moved(tlbi: Option<Tlbi>) -> Model {
    let mut model = built(held());
    model.stage1_map(1, VA, entry(1, Tagging::PerAsid));
    model.enter(1, vcpu(1, 7, 1));
    model.stage1_map(1, VA, entry(2, Tagging::PerAsid));
    if let Some(tlbi) = tlbi {
        model.tlbi(0, tlbi);
        model.dsb(0, Dsb::Ish);
    }
    model
}

#[test]
fn what_a_guest_has_changed_is_held_until_it_is_invalidated() {
    assert!(has_changed_entry(&mut moved(None)));
    for (form, operand, is_gone) in [
        (Form::Vae1, BY_VA, true),
        (Form::Vae1, BY_VA ^ 1 << 48, false),
        (Form::Vae1, BY_VA + 1, false),
        (Form::Vaae1, BY_VA & 0xfff_ffff_ffff, true),
        (Form::Aside1, 7 << 48, true),
        (Form::Aside1, 8 << 48, false),
        (Form::Vmalle1, 0, true),
        (Form::Vmalls12e1, 0, true),
        (Form::Alle1, 0, true),
        (Form::Ipas2e1, 1, false),
    ] {
        for scope in [Scope::Inner, Scope::Local] {
            let mut model = moved(Some(Tlbi::new(form, scope, operand)));
            let is_left = !is_gone || scope == Scope::Local;
            assert_eq!(has_changed_entry(&mut model), is_left, "{form:?} {scope:?}");
            kept(&model);
        }
    }
}

#[test]
fn what_a_guest_has_changed_and_not_invalidated_breaks_no_rule() {
    let mut model = moved(None);
    read_of(&mut model, 1, MEMORY + 2 * PAGE);
    kept(&model);
    model.guest_tlbi(1, Tlbi::new(Form::Vmalle1, Scope::Inner, 0));
    model.guest_dsb(1, Dsb::Ish);
    assert!(!has_changed_entry(&mut model));
}

/// A CPU that leaves between an invalidation and the barrier that completes it may have made entries meanwhile.
#[test]
fn entries_made_while_an_invalidation_is_under_way_are_held() {
    let mut model = built(held());
    model.stage1_map(1, VA, entry(1, Tagging::PerAsid));
    model.enter(1, vcpu(1, 7, 1));
    model.tlbi(0, Tlbi::new(Form::Vmalls12e1, Scope::Inner, 0));
    model.exit(1);
    model.dsb(0, Dsb::Ish);
    model.stage1_map(1, VA, entry(2, Tagging::PerAsid));
    model.enter(1, vcpu(1, 7, 1));
    assert!(has_changed_entry(&mut model));
}

#[test]
fn who_does_not_ask_is_not_told_of_what_a_guest_has_changed() {
    let mut model = built(known());
    model.stage1_map(1, VA, entry(1, Tagging::PerAsid));
    model.enter(1, vcpu(1, 7, 1));
    model.stage1_map(1, VA, entry(2, Tagging::PerAsid));
    assert!(!has_changed_entry(&mut model));
}

/// A walk of stage 1 reads its descriptors through stage 2.
#[test]
fn no_entry_of_stage_1_is_made_where_stage_2_translates_nothing() {
    let mut model = built(held());
    let full = model.read(0, Pa(ROOT));
    model.write(0, Pa(ROOT), 0);
    model.dsb(0, Dsb::Ish);
    let change = |model: &mut Model| {
        model.stage1_map(1, VA, entry(1, Tagging::PerAsid));
        model.stage1_map(1, VA, entry(2, Tagging::PerAsid));
    };
    model.enter(1, vcpu(1, 7, 1));
    change(&mut model);
    assert!(!has_changed_entry(&mut model));
    // As soon as a walk finds something they are, and until a TLBI of the VMID finds nothing left to make them from.
    model.write(0, Pa(ROOT), full);
    model.dsb(0, Dsb::Ish);
    model.speculate(1, VA);
    change(&mut model);
    assert!(has_changed_entry(&mut model));
    model.write(0, Pa(ROOT), 0);
    model.dsb(0, Dsb::Ish);
    model.tlbi(0, Tlbi::new(Form::Vmalls12e1, Scope::Inner, 0));
    model.dsb(0, Dsb::Ish);
    change(&mut model);
    assert!(!has_changed_entry(&mut model));
    kept(&model);
}
