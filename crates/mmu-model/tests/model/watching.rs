//! A watch: memory that becomes known late, violations that are held, translations that outlive their descriptors.

use droste_arm64::Pa;
use droste_arm64::barrier::Dsb;
use droste_mmu_model::{
    Config, Features, Finding, Form, Missing, Misuse, Rule, Scope, Tlbi, Vcpu, Watch,
};

use crate::rig::*;

const ROOT2: u64 = BASE + 0x8000;

fn load(watch: &mut Watch, cpu: usize, vmid: u64, root: u64) {
    watch.set_vtcr(cpu, VTCR);
    watch.set_vttbr(cpu, vttbr(vmid, root));
    watch.isb(cpu);
}

/// The tables of the rig, which were there before anybody watched, and nobody inside.
fn known(config: Config) -> Watch {
    let mut watch = Watch::new(config);
    for index in 0..4 {
        watch.learn(0, Pa(T3 + index * 8), page(MEMORY + index * PAGE));
    }
    watch.learn(0, Pa(T2 + 8), block(MEMORY + BLOCK));
    watch.learn(0, Pa(T2), table(T3));
    watch.learn(0, Pa(ROOT), table(T2));
    for cpu in 0..config.cpus {
        load(&mut watch, cpu, 1, ROOT);
    }
    watch
}

/// [`known`], and a vCPU inside on CPU 1.
fn inhabited() -> Watch {
    let mut watch = known(config());
    watch.enter(1, Vcpu::new(1));
    watch
}

/// CPU 0 invalidates everything of VMID 1.
fn invalidate(watch: &mut Watch) {
    watch.dsb(0, Dsb::Ishst);
    watch.tlbi(0, Tlbi::new(Form::Vmalls12e1, Scope::Inner, 0));
    watch.dsb(0, Dsb::Ish);
}

#[track_caller]
fn quiet(watch: &Watch) {
    if let Some(finding) = watch.findings().next() {
        panic!("{}", finding.violation);
    }
}

#[track_caller]
fn only(watch: &Watch) -> Finding {
    let all: Vec<_> = watch.findings().copied().collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0]
}

#[test]
fn tables_that_existed_before_are_judged_from_the_first_entry_on() {
    let mut watch = inhabited();
    quiet(&watch);
    watch.write(0, Pa(T3), page(MEMORY + 64 * PAGE));
    let rule = Rule::BreakBeforeMake(Missing::Break);
    assert_eq!(only(&watch).violation.rule, rule);
}

#[test]
fn a_table_that_becomes_known_as_it_is_linked_breaks_nothing() {
    let mut watch = inhabited();
    watch.learn(0, Pa(SPARE), page(MEMORY + 512 * PAGE));
    watch.write(0, Pa(T2 + 16), table(SPARE));
    watch.done(0);
    quiet(&watch);
    // And it is followed from then on.
    watch.write(0, Pa(SPARE), page(MEMORY));
    assert_eq!(watch.findings().count(), 1);
}

#[test]
fn a_watch_goes_on_and_tells_each_kind_once_with_a_count() {
    let mut watch = inhabited();
    for index in 0..4 {
        watch.at(if index < 3 { 0x100 } else { 0x200 });
        watch.write(0, Pa(T3 + index * 8), page(MEMORY + (64 + index) * PAGE));
    }
    let found: Vec<_> = watch.findings().map(|f| (f.site, f.count)).collect();
    assert_eq!(found, [(0x100, 3), (0x200, 1)]);
    let noted: Vec<_> = watch.noted().iter().map(|f| f.site).collect();
    assert_eq!(noted, [0x100, 0x200]);
    assert!(watch.noted().is_empty());
}

#[test]
fn a_finding_names_the_place_that_set_it_up() {
    let mut watch = inhabited();
    watch.at(0x100);
    watch.write(0, Pa(T3), 0);
    watch.dsb(0, Dsb::Ish);
    watch.at(0x200);
    watch.write(0, Pa(T3), page(MEMORY + 64 * PAGE));
    let found = only(&watch);
    assert_eq!(found.violation.rule, Rule::BreakBeforeMake(Missing::Tlbi));
    assert_eq!((found.earlier_site, found.site), (Some(0x100), 0x200));
}

/// A page is moved without a break while nobody is inside.
fn moved_at_rest() -> Watch {
    let mut watch = inhabited();
    watch.exit(1);
    watch.write(0, Pa(T3), page(MEMORY + 64 * PAGE));
    watch.dsb(0, Dsb::Ishst);
    watch.done(0);
    assert_eq!(watch.held(), 1);
    quiet(&watch);
    watch
}

#[test]
fn what_is_broken_while_nobody_is_inside_is_told_when_somebody_enters() {
    let mut watch = moved_at_rest();
    watch.enter(2, Vcpu::new(1));
    let rules: Vec<_> = watch.findings().map(|f| f.violation.rule).collect();
    assert_eq!(rules, [Rule::BreakBeforeMake(Missing::Break)]);
    assert_eq!(watch.held(), 0);
    // The CPU that was inside may still use what it held.
    watch.enter(1, Vcpu::new(1));
    let rules: Vec<_> = watch.findings().map(|f| f.violation.rule).collect();
    let stale = Rule::StaleTranslation(Missing::Tlbi);
    assert_eq!(rules, [Rule::BreakBeforeMake(Missing::Break), stale]);
}

#[test]
fn what_is_broken_while_nobody_is_inside_is_forgotten_with_the_vmid() {
    for form in [Form::Vmalls12e1, Form::Alle1] {
        let mut watch = moved_at_rest();
        watch.dsb(0, Dsb::Ishst);
        watch.tlbi(0, Tlbi::new(form, Scope::Inner, 0));
        watch.dsb(0, Dsb::Ish);
        watch.enter(1, Vcpu::new(1));
        quiet(&watch);
    }
}

#[test]
fn another_vmid_or_root_does_not_tell_what_is_held() {
    for (vmid, root) in [(2, ROOT), (3, ROOT2)] {
        let mut watch = moved_at_rest();
        load(&mut watch, 2, vmid, root);
        watch.enter(2, Vcpu::new(2));
        quiet(&watch);
        assert_eq!(watch.held(), 1);
    }
}

#[test]
fn the_tables_of_a_guest_that_has_ended_become_anything() {
    let mut watch = inhabited();
    watch.exit(1);
    for word in 0..512 {
        for table in [T3, T2, ROOT] {
            watch.write(
                0,
                Pa(table + word * 8),
                0x5a5a_5a5a_5a5a_5a51 + word * 0x777,
            );
        }
    }
    watch.done(0);
    quiet(&watch);
    // Another guest gets them, after a rollover of VMIDs: what it maps is judged again.
    for table in [T3, T2, ROOT] {
        for word in 0..512 {
            watch.write(0, Pa(table + word * 8), 0);
        }
    }
    watch.write(0, Pa(T3), page(MEMORY));
    watch.write(0, Pa(T2), table(T3));
    watch.write(0, Pa(ROOT), table(T2));
    watch.dsb(0, Dsb::Ish);
    watch.tlbi(0, Tlbi::new(Form::Alle1, Scope::Inner, 0));
    watch.dsb(0, Dsb::Ish);
    watch.enter(2, Vcpu::new(7));
    quiet(&watch);
    watch.write(0, Pa(T3), page(MEMORY + PAGE));
    assert_eq!(only(&watch).count, 1);
}

#[test]
fn tables_that_are_given_up_leave_their_vmid_in_use() {
    let mut watch = inhabited();
    watch.exit(1);
    // Reserved at this level: no descriptor.
    watch.write(0, Pa(T3), 1);
    load(&mut watch, 1, 1, ROOT2);
    watch.enter(1, Vcpu::new(1));
    assert_eq!(only(&watch).violation.rule, Rule::VmidReused);
}

/// CPU 0 writes a descriptor of a page that a guest uses, does no more than that and `then`, and is done.
fn changed(new: u64, then: impl FnOnce(&mut Watch)) -> Watch {
    let mut watch = inhabited();
    watch.write(0, Pa(T3), new);
    then(&mut watch);
    quiet(&watch);
    watch.done(0);
    watch
}

#[test]
fn a_translation_that_outlives_its_descriptor_is_told() {
    let stale = |missing| Rule::StaleTranslation(missing);
    let narrowed = page(MEMORY) & !WRITABLE;
    for new in [0, narrowed, page(MEMORY) | 1 << 54] {
        let watch = changed(new, |watch| watch.dsb(0, Dsb::Ishst));
        assert_eq!(only(&watch).violation.rule, stale(Missing::Tlbi));
        let watch = changed(new, |watch| {
            watch.dsb(0, Dsb::Ishst);
            watch.tlbi(0, Tlbi::new(Form::Vmalls12e1, Scope::Inner, 0));
        });
        let missing = Missing::BarrierAfterTlbi;
        assert_eq!(only(&watch).violation.rule, stale(missing));
        quiet(&changed(new, invalidate));
    }
}

#[test]
fn a_translation_that_memory_still_gives_outlives_nothing() {
    // The access flag is cleared to see who is used, and a permission is added.
    quiet(&changed(page(MEMORY) & !ACCESSED, |_| {}));
    let mut watch = known(config());
    watch.learn(0, Pa(T3), page(MEMORY) & !WRITABLE);
    watch.enter(1, Vcpu::new(1));
    watch.write(0, Pa(T3), page(MEMORY));
    watch.done(0);
    quiet(&watch);
}

#[test]
fn what_outlives_its_descriptor_is_told_once_and_by_who_may_use_it() {
    let mut watch = inhabited();
    watch.exit(1);
    watch.write(0, Pa(T3), 0);
    watch.dsb(0, Dsb::Ishst);
    watch.done(0);
    quiet(&watch);
    for _ in 0..3 {
        watch.enter(1, Vcpu::new(1));
        watch.exit(1);
        watch.done(0);
    }
    let found = only(&watch);
    assert_eq!((found.count, found.violation.cpu), (1, 1));
    let mut other = inhabited();
    other.exit(1);
    other.write(0, Pa(T3), 0);
    other.dsb(0, Dsb::Ishst);
    other.done(0);
    // A CPU that was never inside holds nothing.
    other.enter(2, Vcpu::new(2));
    quiet(&other);
}

#[test]
fn a_page_that_a_cached_walk_still_takes_for_a_table_must_not_be_written() {
    let unlinked = |then: &dyn Fn(&mut Watch)| {
        let mut watch = inhabited();
        watch.write(0, Pa(T2), 0);
        then(&mut watch);
        watch.write(0, Pa(T3 + 0x100), 0x1234_5671);
        watch
    };
    let watch = unlinked(&|watch| watch.dsb(0, Dsb::Ishst));
    assert_eq!(only(&watch).violation.rule, Rule::PageReachable);
    quiet(&unlinked(&invalidate));
}

#[test]
fn dsb_nshst_makes_nothing_visible_to_others() {
    let change = |dsb: &dyn Fn(&mut Watch)| {
        let mut watch = inhabited();
        watch.write(0, Pa(T3), 0);
        dsb(&mut watch);
        watch.tlbi(0, Tlbi::new(Form::Vmalls12e1, Scope::Inner, 0));
        watch.dsb(0, Dsb::Ish);
        watch.done(0);
        watch
    };
    quiet(&change(&|watch| watch.dsb(0, Dsb::Ishst)));
    let early = Rule::StaleTranslation(Missing::BarrierBeforeTlbi);
    let watch = change(&|watch| watch.dsb_nshst(0));
    assert_eq!(only(&watch).violation.rule, early);
}

#[test]
fn dsb_nshst_serves_the_cpu_that_makes_it() {
    let mut watch = known(config());
    watch.enter(0, Vcpu::new(0));
    watch.write(0, Pa(T3), 0);
    watch.dsb_nshst(0);
    watch.tlbi(0, Tlbi::new(Form::Vmalls12e1, Scope::Local, 0));
    watch.dsb(0, Dsb::Nsh);
    watch.enter(0, Vcpu::new(0));
    quiet(&watch);
}

/// The rest of a page was descriptors, is cleared, and becomes a table.
fn published(then: impl FnOnce(&mut Watch)) -> Watch {
    let mut watch = inhabited();
    watch.learn(0, Pa(SPARE + 8), page(MEMORY + 77 * PAGE));
    watch.write(0, Pa(SPARE + 8), 0);
    then(&mut watch);
    watch.write(0, Pa(T2 + 16), table(SPARE));
    watch
}

#[test]
fn a_store_release_publishes_a_table() {
    let rule = Rule::ContentsNotVisible;
    assert_eq!(only(&published(|_| {})).violation.rule, rule);
    quiet(&published(|watch| watch.order(0)));
    quiet(&published(|watch| watch.dsb(0, Dsb::Ishst)));
    // What another CPU orders is its own.
    assert_eq!(
        only(&published(|watch| watch.order(2))).violation.rule,
        rule
    );
    // What is written after the order is not before it.
    let late = published(|watch| {
        watch.order(0);
        watch.learn(0, Pa(SPARE + 16), page(MEMORY + 78 * PAGE));
        watch.write(0, Pa(SPARE + 16), 0);
    });
    assert_eq!(only(&late).violation.rule, rule);
}

#[test]
fn hardware_that_sets_the_access_flag_lets_a_tlb_hold_the_entry() {
    let moved = |features, vtcr| {
        let mut watch = known(Config {
            features,
            ..config()
        });
        watch.set_vtcr(1, vtcr);
        watch.isb(1);
        watch.enter(1, Vcpu::new(1));
        watch.write(0, Pa(T3 + 0x100), page(MEMORY) & !ACCESSED);
        watch.write(0, Pa(T3 + 0x100), 0);
        watch.dsb(0, Dsb::Ish);
        watch.done(0);
        watch
    };
    let watch = moved(Features::HARDWARE_AF, VTCR | HW_AF);
    let stale = Rule::StaleTranslation(Missing::Tlbi);
    assert_eq!(only(&watch).violation.rule, stale);
    quiet(&moved(Features::HARDWARE_AF, VTCR));
    quiet(&moved(Features::NONE, VTCR | HW_AF));
}

#[test]
fn who_does_something_of_el2_has_left_its_guest() {
    let mut watch = inhabited();
    watch.isb(1);
    load(&mut watch, 1, 2, ROOT2);
    watch.enter(1, Vcpu::new(2));
    watch.exit(1);
    watch.exit(1);
    quiet(&watch);
}

#[test]
fn what_is_no_table_memory_is_passed_over_and_a_cpu_too_many_is_told() {
    let mut watch = inhabited();
    watch.write(0, Pa(0x1000), 1);
    watch.write(0, Pa(T3 + 4), 1);
    watch.learn(0, Pa(0x1000), 1);
    quiet(&watch);
    watch.isb(4);
    let rule = Rule::Misuse(Misuse::NoSuchCpu);
    assert_eq!(only(&watch).violation.rule, rule);
}

/// A hypervisor forwards what its guest has executed. What has no meaning there is the guest's.
#[test]
fn the_operand_of_an_invalidation_by_address_of_stage_1_may_be_a_guests_own() {
    let executed = |form| {
        let mut watch = inhabited();
        watch.tlbi(0, Tlbi::new(form, Scope::Inner, u64::MAX));
        watch.findings().count()
    };
    for form in [
        Form::Vae1,
        Form::Vaale1,
        Form::Rvae1,
        Form::Rvaale1,
        Form::Aside1,
    ] {
        assert_eq!(executed(form), 0, "{form:?}");
    }
    for form in [Form::Ipas2e1, Form::Vmalle1, Form::Alle1] {
        assert_eq!(executed(form), 1, "{form:?}");
    }
}

/// An entry that was widened without an invalidation, as may be, and that another CPU takes back after that.
fn widened_and_taken_back(then: impl FnOnce(&mut Watch)) -> Watch {
    let mut watch = known(config());
    watch.learn(0, Pa(T3), page(MEMORY) & !WRITABLE);
    watch.enter(1, Vcpu::new(1));
    watch.write(0, Pa(T3), page(MEMORY));
    // Here alone, so that the one who faulted gets on; the others will see by a fault.
    watch.dsb(0, Dsb::Ish);
    watch.tlbi(0, Tlbi::new(Form::Vmalls12e1, Scope::Local, 0));
    watch.dsb(0, Dsb::Nsh);
    watch.done(0);
    watch.write(2, Pa(T3), 0);
    watch.dsb(2, Dsb::Ishst);
    // The one who widened it is done, and the one who took it back is about to invalidate.
    watch.done(0);
    quiet(&watch);
    then(&mut watch);
    watch.done(2);
    watch
}

#[test]
fn an_old_entry_is_stale_when_who_took_the_new_one_is_done() {
    quiet(&widened_and_taken_back(|watch| {
        watch.tlbi(2, Tlbi::new(Form::Vmalls12e1, Scope::Inner, 0));
        watch.dsb(2, Dsb::Ish);
    }));
    let watch = widened_and_taken_back(|_| {});
    let rules: Vec<_> = watch.findings().map(|found| found.violation.rule).collect();
    assert_eq!(rules, [Rule::StaleTranslation(Missing::Tlbi)]);
}

#[test]
fn a_page_that_only_walks_of_nobody_lead_to_may_be_linked_elsewhere() {
    const T2_OF_2: u64 = BASE + 0x9000;
    let mut watch = inhabited();
    watch.exit(1);
    watch.write(0, Pa(T2), 0);
    watch.dsb(0, Dsb::Ish);
    watch.learn(0, Pa(ROOT2), table(T2_OF_2));
    load(&mut watch, 2, 2, ROOT2);
    watch.enter(2, Vcpu::new(5));
    watch.write(0, Pa(T2_OF_2), table(T3));
    watch.done(0);
    quiet(&watch);
    // Somebody comes back whose TLB leads there.
    watch.enter(1, Vcpu::new(1));
    let mut rules = watch.findings().map(|found| found.violation.rule);
    assert!(rules.any(|rule| rule == Rule::PageReachable));
}

#[test]
fn a_root_that_another_vmid_has_now_owes_nothing_to_the_former_one() {
    let mut watch = inhabited();
    watch.exit(1);
    load(&mut watch, 0, 2, ROOT);
    load(&mut watch, 2, 2, ROOT);
    watch.enter(2, Vcpu::new(5));
    watch.write(0, Pa(T3), 0);
    invalidate(&mut watch);
    watch.write(0, Pa(T3), page(MEMORY + PAGE));
    watch.done(0);
    quiet(&watch);
    watch.enter(1, Vcpu::new(1));
    let mut rules = watch.findings().map(|found| found.violation.rule);
    assert!(rules.any(|rule| matches!(rule, Rule::BreakBeforeMake(_))));
}
