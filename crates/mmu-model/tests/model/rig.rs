//! A machine with one small table, and the verbs that most tests need.

use droste_arm64::barrier::Dsb;
use droste_arm64::{Pa, Va};
use droste_mmu_model::{
    Access, AccessKind, Allowed, Config, Features, Form, Model, Rule, Scope, Tlbi, Vcpu,
};

pub(crate) const BASE: u64 = 0x4000_0000;
pub(crate) const ROOT: u64 = BASE;
/// Level 2, for the first GiB.
pub(crate) const T2: u64 = BASE + 0x1000;
/// Level 3, for the first 2 MiB.
pub(crate) const T3: u64 = BASE + 0x2000;
/// Not linked.
pub(crate) const SPARE: u64 = BASE + 0x3000;
/// Where the guest's memory is.
pub(crate) const MEMORY: u64 = 0x1_0000_0000;
pub(crate) const PAGE: u64 = 0x1000;
pub(crate) const BLOCK: u64 = 0x20_0000;
/// 4 KiB granule, 39-bit addresses from level 1, 48-bit outputs.
pub(crate) const VTCR: u64 = 1 << 31 | 5 << 16 | 1 << 6 | 0x19;
pub(crate) const HW_AF: u64 = 1 << 21;
pub(crate) const HW_DIRTY: u64 = 1 << 22;
pub(crate) const CONTIGUOUS: u64 = 1 << 52;
pub(crate) const DBM: u64 = 1 << 51;
pub(crate) const WRITABLE: u64 = 1 << 7;
pub(crate) const ACCESSED: u64 = 1 << 10;
pub(crate) const NT: u64 = 1 << 16;

/// A page that permits everything.
pub(crate) const fn page(pa: u64) -> u64 {
    pa | 0x7ff
}

/// A block that permits everything.
pub(crate) const fn block(pa: u64) -> u64 {
    pa | 0x7fd
}

pub(crate) const fn table(pa: u64) -> u64 {
    pa | 3
}

pub(crate) const fn vttbr(vmid: u64, root: u64) -> u64 {
    vmid << 48 | root
}

pub(crate) fn config() -> Config {
    Config {
        features: Features::TTL | Features::TLBI_RANGE,
        ..Config::new(Pa(BASE), 64)
    }
}

/// Pages 0 to 3 mapped to [`MEMORY`], the block at 2 MiB mapped to its; nothing entered yet.
pub(crate) fn built(config: Config) -> Model {
    let mut model = Model::new(config);
    model.write(0, Pa(ROOT), table(T2));
    model.write(0, Pa(T2), table(T3));
    for index in 0..4 {
        model.write(0, Pa(T3 + index * 8), page(MEMORY + index * PAGE));
    }
    model.write(0, Pa(T2 + 8), block(MEMORY + BLOCK));
    model.dsb(0, Dsb::Ishst);
    for cpu in 0..config.cpus {
        model.set_vtcr(cpu, VTCR);
        model.set_vttbr(cpu, vttbr(1, ROOT));
        model.isb(cpu);
    }
    model
}

/// [`built`], with a vCPU inside on CPU 1.
pub(crate) fn running(config: Config) -> Model {
    let mut model = built(config);
    model.enter(1, Vcpu::new(1));
    model
}

/// CPU 0 invalidates stage-2 entries of one address everywhere.
pub(crate) fn by_ipa(model: &mut Model, ipa: u64) {
    model.tlbi(0, Tlbi::new(Form::Ipas2e1, Scope::Inner, ipa >> 12));
}

pub(crate) fn combined(model: &mut Model) {
    model.tlbi(0, Tlbi::new(Form::Vmalle1, Scope::Inner, 0));
}

/// Everything that a change of one address owes, after the change.
pub(crate) fn flush(model: &mut Model, ipa: u64) {
    model.dsb(0, Dsb::Ish);
    by_ipa(model, ipa);
    model.dsb(0, Dsb::Ish);
    combined(model);
    model.dsb(0, Dsb::Ish);
    model.isb(0);
}

pub(crate) fn reads(model: &mut Model, cpu: usize, ipa: u64, pa: u64) {
    let access = Access::new(Va(ipa), AccessKind::Read);
    model.expect(cpu, access, Allowed::Access(Pa(pa)));
}

pub(crate) fn writes(model: &mut Model, cpu: usize, ipa: u64, pa: u64) {
    let access = Access::new(Va(ipa), AccessKind::Write);
    model.expect(cpu, access, Allowed::Access(Pa(pa)));
}

pub(crate) fn read_faults(model: &mut Model, cpu: usize, ipa: u64) {
    model.expect(cpu, Access::new(Va(ipa), AccessKind::Read), Allowed::Fault);
}

pub(crate) fn write_faults(model: &mut Model, cpu: usize, ipa: u64) {
    model.expect(cpu, Access::new(Va(ipa), AccessKind::Write), Allowed::Fault);
}

#[track_caller]
pub(crate) fn kept(model: &Model) {
    if let Some(violation) = model.violation() {
        panic!("{violation}");
    }
}

#[track_caller]
pub(crate) fn broken(model: &Model, rule: Rule) {
    match model.violation() {
        Some(violation) => assert_eq!(violation.rule, rule, "{violation}"),
        None => panic!("nothing was reported instead of {rule:?}"),
    }
}
