//! How fast the model judges: table operations and verbs per second on one core.
//!
//! Each operation changes the table of a running guest as a hypervisor does (map a page, unmap one, split a block,
//! protect a page), with every barrier and invalidation, and then makes two accesses that are checked.

use std::time::Instant;

use droste_arm64::barrier::Dsb;
use droste_arm64::{Pa, Va};
use droste_mmu_model::{
    Access, AccessKind, Allowed, Config, Features, Form, Model, Scope, Tlbi, Vcpu,
};

const BASE: u64 = 0x4000_0000;
const PAGE: u64 = 0x1000;
const TABLE: u64 = BASE + 0x2000;
const SPARE: u64 = BASE + 0x3000;
const MEMORY: u64 = 0x1_0000_0000;
const BLOCK: u64 = 0x20_0000;
const OPERATIONS: u64 = 400_000;

const fn table(pa: u64) -> u64 {
    pa | 3
}

const fn page(pa: u64) -> u64 {
    pa | 0x7ff
}

const fn block(pa: u64) -> u64 {
    pa | 0x7fd
}

fn start() -> Model {
    let mut model = Model::new(Config {
        features: Features::TTL | Features::TLBI_RANGE,
        ..Config::new(Pa(BASE), 64)
    });
    model.write(0, Pa(BASE), table(BASE + 0x1000));
    model.write(0, Pa(BASE + 0x1000), table(TABLE));
    model.write(0, Pa(BASE + 0x1008), block(MEMORY + BLOCK));
    model.dsb(0, Dsb::Ishst);
    for cpu in 0..4 {
        model.set_vtcr(cpu, 1 << 31 | 5 << 16 | 1 << 6 | 0x19);
        model.set_vttbr(cpu, 1 << 48 | BASE);
        model.isb(cpu);
    }
    for cpu in 1..4 {
        model.enter(cpu, Vcpu::new(cpu as u32));
    }
    model
}

fn flush(model: &mut Model, ipa: u64) {
    model.dsb(0, Dsb::Ish);
    model.tlbi(0, Tlbi::new(Form::Ipas2e1, Scope::Inner, ipa >> 12));
    model.dsb(0, Dsb::Ish);
    model.tlbi(0, Tlbi::new(Form::Vmalle1, Scope::Inner, 0));
    model.dsb(0, Dsb::Ish);
    model.isb(0);
}

fn check(model: &mut Model, cpu: usize, ipa: u64, kind: AccessKind, allowed: Allowed) {
    model.expect(cpu, Access::new(Va(ipa), kind), allowed);
}

fn page_operation(model: &mut Model, number: u64) {
    let index = number * 7 % 512;
    let (at, ipa, pa) = (
        Pa(TABLE + index * 8),
        index * PAGE,
        Pa(MEMORY + index * PAGE),
    );
    if model.read(0, at) == 0 {
        assert_eq!(model.compare_exchange(0, at, 0, page(pa.0)), Ok(()));
        model.dsb(0, Dsb::Ishst);
        check(model, 1, ipa, AccessKind::Write, Allowed::Access(pa));
        check(model, 2, ipa, AccessKind::Read, Allowed::Access(pa));
    } else if number.is_multiple_of(3) {
        model.write(0, at, pa.0 | 0x77f);
        flush(model, ipa);
        check(model, 1, ipa, AccessKind::Write, Allowed::Fault);
        check(model, 2, ipa, AccessKind::Read, Allowed::Access(pa));
    } else {
        model.write(0, at, 0);
        flush(model, ipa);
        check(model, 1, ipa, AccessKind::Write, Allowed::Fault);
        check(model, 3, ipa, AccessKind::Read, Allowed::Fault);
    }
}

/// Splits the block at 2 MiB into a table, and makes it a block again.
fn resize(model: &mut Model) {
    for index in 0..512 {
        model.write(
            0,
            Pa(SPARE + index * 8),
            page(MEMORY + BLOCK + index * PAGE),
        );
    }
    model.dsb(0, Dsb::Ishst);
    let at = Pa(BASE + 0x1008);
    for new in [table(SPARE), block(MEMORY + BLOCK)] {
        model.write(0, at, 0);
        model.dsb(0, Dsb::Ish);
        model.tlbi(0, Tlbi::new(Form::Vmalls12e1, Scope::Inner, 0));
        model.dsb(0, Dsb::Ish);
        model.write(0, at, new);
        model.dsb(0, Dsb::Ishst);
        check(
            model,
            2,
            BLOCK + PAGE,
            AccessKind::Read,
            Allowed::Access(Pa(MEMORY + BLOCK + PAGE)),
        );
    }
    model.zero(0, Pa(SPARE), PAGE);
}

fn report(what: &str, operations: u64, steps: u64, from: Instant) {
    let micros = from.elapsed().as_micros().max(1);
    let per_second = |count: u64| u128::from(count) * 1_000_000 / micros;
    println!(
        "{what}: {} operations/s, {} verbs/s",
        per_second(operations),
        per_second(steps)
    );
}

fn main() {
    let mut model = start();
    let from = Instant::now();
    for number in 0..OPERATIONS {
        page_operation(&mut model, number);
    }
    report("pages", OPERATIONS, model.steps(), from);

    let before = model.steps();
    let from = Instant::now();
    for _ in 0..OPERATIONS / 100 {
        resize(&mut model);
    }
    report(
        "blocks to tables and back",
        OPERATIONS / 50,
        model.steps() - before,
        from,
    );
    if let Some(violation) = model.violation() {
        println!("{violation}");
    }
}
