//! VMIDs: one table each, several contexts on one table, rollover, common entries.

use droste_arm64::barrier::Dsb;
use droste_arm64::{Ipa, Pa, Va};
use droste_mmu_model::{
    Access, AccessKind, Allowed, Config, Features, Form, Missing, Model, RegisterFault, Rule,
    Scope, Speculation, Stage1, Stage1Entry, Tagging, Tlbi, Vcpu,
};

use crate::rig::*;

/// A second root that maps nothing.
const ROOT2: u64 = BASE + 0x8000;

fn load(model: &mut Model, cpu: usize, vmid: u64, root: u64) {
    model.set_vttbr(cpu, vttbr(vmid, root));
    model.isb(cpu);
}

fn rolled_over(model: &mut Model, cpu: usize) {
    model.dsb(cpu, Dsb::Ish);
    model.tlbi(cpu, Tlbi::new(Form::Alle1, Scope::Inner, 0));
    model.dsb(cpu, Dsb::Ish);
    model.isb(cpu);
}

#[test]
fn a_vmid_moves_to_another_table_after_a_rollover() {
    let mut model = running(config());
    model.exit(1);
    rolled_over(&mut model, 0);
    load(&mut model, 1, 1, ROOT2);
    model.enter(1, Vcpu::new(9));
    read_faults(&mut model, 1, 0);
    kept(&model);
}

#[test]
fn a_vmid_with_two_tables_in_one_tlb_is_reported() {
    let mut model = running(config());
    model.exit(1);
    load(&mut model, 1, 1, ROOT2);
    model.enter(1, Vcpu::new(1));
    broken(&model, Rule::VmidReused);
}

#[test]
fn a_rollover_without_its_dsb_is_reported() {
    let mut model = running(config());
    model.exit(1);
    model.tlbi(0, Tlbi::new(Form::Alle1, Scope::Inner, 0));
    load(&mut model, 1, 1, ROOT2);
    model.enter(1, Vcpu::new(1));
    broken(&model, Rule::VmidReused);
}

#[test]
fn a_cpu_that_stays_inside_keeps_its_vmid_through_a_rollover() {
    let mut model = running(config());
    load(&mut model, 2, 2, ROOT2);
    model.enter(2, Vcpu::new(2));
    model.exit(2);
    rolled_over(&mut model, 0);
    // VMID 1 is reserved by CPU 1, which never left; VMID 2 is given to another table.
    let other = BASE + 0x9000;
    load(&mut model, 2, 2, other);
    model.enter(2, Vcpu::new(3));
    reads(&mut model, 1, 0, MEMORY);
    load(&mut model, 3, 1, ROOT);
    model.enter(3, Vcpu::new(4));
    reads(&mut model, 3, 0, MEMORY);
    kept(&model);
}

#[test]
fn a_vmid_given_away_while_a_cpu_is_inside_is_reported() {
    let mut model = running(config());
    rolled_over(&mut model, 0);
    load(&mut model, 2, 1, ROOT2);
    model.enter(2, Vcpu::new(2));
    broken(&model, Rule::VmidReused);
}

#[test]
fn two_contexts_on_one_table_each_owe_their_invalidation() {
    let change = |both: bool| {
        let mut model = running(config());
        load(&mut model, 2, 2, ROOT);
        model.enter(2, Vcpu::new(2));
        model.write(0, Pa(T3), 0);
        flush(&mut model, 0);
        if both {
            load(&mut model, 0, 2, ROOT);
            flush(&mut model, 0);
        }
        read_faults(&mut model, 1, 0);
        read_faults(&mut model, 2, 0);
        model
    };
    kept(&change(true));
    broken(&change(false), Rule::StaleTranslation(Missing::Tlbi));
}

#[test]
fn one_root_under_two_values_of_vtcr_is_reported() {
    let mut model = running(config());
    model.exit(1);
    model.set_vtcr(1, VTCR | 1 << 12);
    model.enter(1, Vcpu::new(1));
    broken(&model, Rule::VtcrDiffers);
}

#[test]
fn without_vs_the_upper_half_of_a_vmid_tells_nothing_apart() {
    let mut model = running(config());
    model.exit(1);
    load(&mut model, 1, 0x101, ROOT2);
    model.enter(1, Vcpu::new(1));
    broken(&model, Rule::VmidReused);

    let wide = Config {
        features: config().features | Features::VMID16,
        ..config()
    };
    let mut model = built(wide);
    for (vmid, root) in [(1, ROOT), (0x101, ROOT2)] {
        model.set_vtcr(1, VTCR | 1 << 19);
        load(&mut model, 1, vmid, root);
        model.enter(1, Vcpu::new(1));
        model.exit(1);
    }
    kept(&model);
}

#[test]
fn malformed_registers_are_reported_at_the_entry() {
    let cases = [
        (VTCR | 3 << 14, vttbr(1, ROOT), RegisterFault::Granule),
        (
            VTCR & !0x3f | 0x18,
            vttbr(1, ROOT + 0x1000),
            RegisterFault::RootMisaligned,
        ),
        (VTCR, vttbr(1, 0x1000), RegisterFault::RootOutside),
        (
            VTCR & !0x3f | 0x23,
            vttbr(1, ROOT),
            RegisterFault::StartLevelForSize,
        ),
        (VTCR | 7 << 16, vttbr(1, ROOT), RegisterFault::OutputSize),
    ];
    for (vtcr, value, fault) in cases {
        let mut model = built(config());
        model.set_vtcr(1, vtcr);
        model.set_vttbr(1, value);
        kept(&model);
        model.enter(1, Vcpu::new(1));
        broken(&model, Rule::Register(fault));
    }
}

#[test]
fn a_cpu_that_walks_at_el2_needs_its_context_sound_there() {
    let config = Config {
        speculation: Speculation::AlsoAtEl2,
        ..config()
    };
    let change = |config| {
        let mut model = built(config);
        load(&mut model, 1, 1, ROOT);
        model.write(0, Pa(T3), 0);
        model.dsb(0, Dsb::Ish);
        model.enter(1, Vcpu::new(1));
        read_faults(&mut model, 1, 0);
        model
    };
    broken(&change(config), Rule::StaleTranslation(Missing::Tlbi));
    kept(&change(Config {
        speculation: Speculation::InGuest,
        ..config
    }));
}

fn common(cnp: u64) -> Model {
    let config = Config {
        features: config().features | Features::CNP,
        stage1: Stage1::Known,
        ..config()
    };
    let mut model = built(config);
    for cpu in [1, 2] {
        load(&mut model, cpu, 1, ROOT | cnp);
        model.enter(cpu, Vcpu::new(cpu as u32));
        model.exit(cpu);
    }
    model.write(1, Pa(T3), 0);
    model.dsb(1, Dsb::Ish);
    model.tlbi(1, Tlbi::new(Form::Vmalls12e1, Scope::Local, 0));
    model.dsb(1, Dsb::Nsh);
    model.enter(1, Vcpu::new(1));
    read_faults(&mut model, 1, 0);
    model
}

#[test]
fn common_entries_survive_a_local_invalidation() {
    kept(&common(0));
    broken(&common(1), Rule::StaleTranslation(Missing::Tlbi));
}

fn with_cnp(stage1: Stage1) -> Config {
    Config {
        features: config().features | Features::CNP,
        stage1,
        ..config()
    }
}

/// VTTBR_EL2.CnP is of the entries that VTTBR_EL2 points to. Those of stage 1 are common by TTBRn_EL1.CnP (DDI 0487,
/// D24.2 "VTTBR_EL2" and "TTBR0_EL1").
#[test]
fn vttbr_makes_no_entry_of_stage_1_common() {
    let mut model = built(with_cnp(Stage1::Unknown));
    for cpu in [1, 2] {
        load(&mut model, cpu, 1, ROOT | 1);
        model.enter(cpu, Vcpu::new(cpu as u32));
    }
    kept(&model);
    // On one CPU they are in one TLB all the same.
    model.exit(2);
    model.enter(2, Vcpu::new(1));
    broken(&model, Rule::OtherVcpu);
}

/// Two vCPUs map a page elsewhere under one ASID, each on a CPU of its own.
#[test]
fn an_access_under_a_common_vmid_finds_no_stage_1_entry_of_another_cpu() {
    const VA: Va = Va(0x1234_5000);
    let mut model = built(with_cnp(Stage1::Known));
    let tagging = Tagging::Global;
    for number in [1, 2] {
        let ipa = Ipa(u64::from(number) * PAGE);
        model.stage1_map(number, VA, Stage1Entry { ipa, tagging });
    }
    for number in [1, 2] {
        let cpu = number as usize;
        load(&mut model, cpu, 1, ROOT | 1);
        let (asid, space) = (7, Some(number));
        let vcpu = Vcpu {
            number,
            asid,
            space,
        };
        model.enter(cpu, vcpu);
        let right = Allowed::Access(Pa(MEMORY + u64::from(number) * PAGE));
        model.expect(cpu, Access::new(VA, AccessKind::Read), right);
    }
    kept(&model);
}

/// A vCPU has been on CPUs 1 and 2; it moves its page on CPU 2 and invalidates there.
#[test]
fn a_guests_own_invalidation_is_not_undone_by_a_common_vmid() {
    const VA: Va = Va(0x1234_5000);
    let mut model = built(with_cnp(Stage1::Known));
    let entry = |page: u64| Stage1Entry {
        ipa: Ipa(page * PAGE),
        tagging: Tagging::Global,
    };
    let vcpu = Vcpu {
        number: 1,
        asid: 7,
        space: Some(1),
    };
    model.stage1_map(1, VA, entry(1));
    for cpu in [1, 2] {
        load(&mut model, cpu, 1, ROOT | 1);
        model.enter(cpu, vcpu);
        if cpu == 1 {
            model.exit(cpu);
        }
    }
    model.stage1_map(1, VA, entry(2));
    model.guest_tlbi(2, Tlbi::new(Form::Vmalle1, Scope::Local, 0));
    model.guest_dsb(2, Dsb::Nsh);
    let right = Allowed::Access(Pa(MEMORY + 2 * PAGE));
    model.expect(2, Access::new(VA, AccessKind::Read), right);
    kept(&model);
}

/// Bits of features that the CPU lacks are RES0: it ignores them (DDI 0487, D24.2 "VTCR_EL2").
#[test]
fn bits_of_vtcr_that_the_cpu_ignores_are_no_fault() {
    const HA: u64 = 1 << 21;
    const HD: u64 = 1 << 22;
    const VS: u64 = 1 << 19;
    const DS: u64 = 1 << 32;
    const SL2: u64 = 1 << 33;
    for ignored in [HA, HD, HA | HD, VS, DS, SL2, DS | SL2, 1 << 20, 1 << 36] {
        let mut model = running(config());
        model.set_vtcr(2, VTCR | ignored);
        load(&mut model, 2, 1, ROOT);
        model.enter(2, Vcpu::new(2));
        reads(&mut model, 2, 0, MEMORY);
        kept(&model);
    }
}

/// What relies on an ignored bit does not get what it asks for.
#[test]
fn an_ignored_bit_of_vtcr_does_nothing() {
    // The access flag stays for software.
    let mut model = built(config());
    model.write(0, Pa(T3), page(MEMORY) & !ACCESSED);
    model.dsb(0, Dsb::Ish);
    model.set_vtcr(1, VTCR | HW_AF);
    model.enter(1, Vcpu::new(1));
    reads(&mut model, 1, 0, MEMORY);
    broken(&model, Rule::WrongTranslation);

    // The upper half of a VMID tells nothing apart.
    let mut model = built(config());
    for (vmid, root) in [(1, ROOT), (0x101, ROOT2)] {
        model.set_vtcr(1, VTCR | 1 << 19);
        load(&mut model, 1, vmid, root);
        model.enter(1, Vcpu::new(1));
        model.exit(1);
    }
    broken(&model, Rule::VmidReused);
}
