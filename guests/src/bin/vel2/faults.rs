//! Aborts of EL1 at stage 2, with the syndrome and the addresses that they leave at EL2; and what TLB maintenance owes.

use crate::lab::{
    DEVICE_AT, FAR_AT, FROM_BELOW, IL, Lab, MEMORY_AT, NO_PAGE_AT, NOTHING_AT, OLD_AT,
    READ_ONLY_AT, READ_ONLY_PAGE_AT, WRITE_ONLY_AT, Where,
};
use crate::names::ISB;
use crate::stage1::{self, Stage1};
use core::fmt::Display;
use droste_guests::cpu;
use droste_guests::el2::{self, World, class, hcr};
use droste_guests::encode::{load, store};
use droste_guests::mmio::UART;
use droste_guests::stage2::{self, Leaf, Size};

/// `BR x0`.
const BR_X0: u32 = 0xd61f0000;
/// `LDP x1, x2, [x0]`; `LDR x1, [x0], #8`; `LDRSB w1, [x0]`; `LDRSB x1, [x0]`.
const LDP: u32 = 0xa9400801;
const LDR_POST: u32 = 0xf8408401;
const LDRSB_W: u32 = 0x39c00001;
const LDRSB_X: u32 = 0x39800001;
const DATA: u64 = class::DATA_LOWER << 26 | IL;
const FETCH: u64 = class::FETCH_LOWER << 26 | IL;
const FETCH_SAME: u64 = 0x21 << 26 | IL;
/// ISS of a data abort (DDI 0487, D24.2): WnR, S1PTW, and a valid description of a transfer with x1.
const WNR: u64 = 1 << 6;
const S1PTW: u64 = 1 << 7;
const ISV: u64 = 1 << 24;
const SSE: u64 = 1 << 21;
const SF: u64 = 1 << 15;
const X1: u64 = ISV | 1 << 16;
/// ISS of `LDR x1` and `STR x1`.
const DOUBLE: u64 = X1 | 3 << 22 | SF;
/// Status codes, to be added to a level.
const ADDRESS_SIZE: u64 = 0;
const TRANSLATION: u64 = 4;
const ACCESS_FLAG: u64 = 8;
const PERMISSION: u64 = 12;
const EXTERNAL: u64 = 0x10;
const EXTERNAL_ON_WALK: u64 = 0x14;

/// All of it.
pub(crate) fn check(lab: &mut Lab) {
    levels(lab);
    transfers(lab);
    fetches(lab);
    sizes(lab);
    through_stage_1(lab);
    external(lab);
    too_wide(lab);
    emulated(lab);
    lab.reset();
    without_stage_2(lab);
    maintenance(lab);
    two_vmids(lab);
}

/// One abort at the first word of the code.
fn aborts(lab: &mut Lab, what: &str, code: u32, address: u64, esr: u64) -> World {
    aborts_at(lab, what, code, address, address, esr)
}

fn aborts_at(
    lab: &mut Lab,
    what: impl Display + Copy,
    code: u32,
    va: u64,
    ipa: u64,
    esr: u64,
) -> World {
    let world = lab.run(Where::El1, &[code], [va, 0x77, 0, 0]);
    let hpfar = el2::hpfar();
    lab.left(what, &world, FROM_BELOW, esr, 0);
    lab.expect(format_args!("{what}: FAR_EL2"), world.far, va);
    lab.expect(format_args!("{what}: HPFAR_EL2"), hpfar, ipa >> 12 << 4);
    world
}

fn levels(lab: &mut Lab) {
    let (ldr, str) = (load(3, 1, 0), store(3, 1, 0));
    let esr = DATA | DOUBLE | TRANSLATION;
    aborts(lab, "nothing at level 1", ldr, NOTHING_AT + 0x1238, esr + 1);
    aborts(
        lab,
        "nothing at level 2",
        ldr,
        MEMORY_AT + 0x80_0ff8,
        esr + 2,
    );
    aborts(lab, "nothing at level 3", ldr, NO_PAGE_AT + 0x10, esr + 3);
    aborts(
        lab,
        "store to nothing",
        str,
        NOTHING_AT + 0x8,
        (esr | WNR) + 1,
    );
    let esr = DATA | DOUBLE | PERMISSION | WNR;
    aborts(
        lab,
        "store to a block to read",
        str,
        READ_ONLY_AT + 0x1010,
        esr + 2,
    );
    aborts(
        lab,
        "store to a page to read",
        str,
        READ_ONLY_PAGE_AT,
        esr + 3,
    );
    let esr = DATA | DOUBLE | ACCESS_FLAG;
    aborts(
        lab,
        "load where the access flag is clear",
        ldr,
        OLD_AT + 0x2020,
        esr + 2,
    );
    for address in [MEMORY_AT, READ_ONLY_AT, READ_ONLY_PAGE_AT] {
        let world = lab.run(Where::El1, &[ldr], [address, 0, 0, 0]);
        lab.ended(format_args!("load at {address:#x}"), Where::El1, &world);
    }
}

/// What the syndrome says of the instruction.
fn transfers(lab: &mut Lab) {
    let cases = [
        ("LDRB", load(0, 1, 0), X1),
        ("LDRH", load(1, 1, 0), X1 | 1 << 22),
        ("LDR w", load(2, 1, 0), X1 | 2 << 22),
        ("STRB", store(0, 1, 0), X1 | WNR),
        ("STR w", store(2, 1, 0), X1 | 2 << 22 | WNR),
        (
            "STR xzr",
            store(3, 31, 0),
            ISV | 31 << 16 | 3 << 22 | SF | WNR,
        ),
        ("LDRSB w", LDRSB_W, X1 | SSE),
        ("LDRSB x", LDRSB_X, X1 | SSE | SF),
        ("LDP", LDP, 0),
        ("LDR with write-back", LDR_POST, 0),
    ];
    for (what, code, iss) in cases {
        let esr = DATA | iss | (TRANSLATION + 1);
        let address = NOTHING_AT + 0x40;
        let world = aborts(lab, what, code, address, esr);
        lab.expect(format_args!("{what}: x0"), world.x[0], address);
        lab.expect(format_args!("{what}: x1"), world.x[1], 0x77);
    }
}

fn fetches(lab: &mut Lab) {
    for (what, address, esr) in [
        ("fetch from nothing", NOTHING_AT, FETCH | (TRANSLATION + 1)),
        ("fetch from a device", UART.base(), FETCH | (PERMISSION + 2)),
    ] {
        let world = lab.run(Where::El1, &[BR_X0], [address, 0, 0, 0]);
        lab.expect(what, world.esr, esr);
        lab.expect(format_args!("{what}: FAR_EL2"), world.far, address);
        lab.expect(format_args!("{what}: ELR_EL2"), world.pc, address);
        let hpfar = el2::hpfar();
        lab.expect(format_args!("{what}: HPFAR_EL2"), hpfar, address >> 12 << 4);
    }
}

/// Output addresses that are wider than VTCR_EL2.PS.
fn sizes(lab: &mut Lab) {
    const PS: u64 = 7 << 16;
    el2::set_vtcr(stage2::vtcr() & !PS);
    el2::tlbi_vmalls12e1is();
    cpu::dsb();
    let esr = DATA | DOUBLE | ADDRESS_SIZE;
    aborts(
        lab,
        "output above PS",
        load(3, 1, 0),
        FAR_AT + 0x100,
        esr + 2,
    );
    lab.reset();
}

/// With stage 1 of EL1 on: FAR_EL2 has the virtual address, HPFAR_EL2 the intermediate one.
fn through_stage_1(lab: &mut Lab) {
    let tables = Stage1::set_up();
    tables.turn_on();
    let esr = DATA | DOUBLE | TRANSLATION;
    let (va, ipa) = (stage1::NOTHING_AT + 0x3458, NOTHING_AT + 0x3458);
    aborts_at(
        lab,
        "nothing behind stage 1",
        load(3, 1, 0),
        va,
        ipa,
        esr + 1,
    );
    let va = stage1::MEMORY_AT + (READ_ONLY_AT - MEMORY_AT) + 0x18;
    let esr = DATA | DOUBLE | PERMISSION | WNR;
    aborts_at(
        lab,
        "read-only behind stage 1",
        store(3, 1, 0),
        va,
        READ_ONLY_AT + 0x18,
        esr + 2,
    );
    // The walk of stage 1 itself: a level 2 table that stage 2 does not have.
    let va = stage1::NO_TABLE_AT + (3 << 21) + 0x68;
    let ipa = NOTHING_AT + 3 * 8;
    aborts_at(
        lab,
        "table behind nothing",
        load(3, 1, 0),
        va,
        ipa,
        DATA | S1PTW | (TRANSLATION + 1),
    );
    walks_into_what_is_written(lab);
    walks_into_device_memory(lab);
    // Stage 1's own faults are EL1's.
    let world = lab.run(Where::El1, &[load(3, 1, 0)], [stage1::UNMAPPED, 0, 0, 0]);
    lab.at_el1(
        "stage 1's own fault",
        &world,
        4,
        class::DATA_SAME << 26 | IL | (TRANSLATION + 1),
    );
    lab.expect(
        "stage 1's own fault: FAR_EL1",
        el2::far_el1(),
        stage1::UNMAPPED,
    );
    lab.reset();
}

/// A table of stage 1 in memory that stage 2 lets EL1 write and not read, before EL1 has written there and afterwards.
fn walks_into_what_is_written(lab: &mut Lab) {
    let (data, table) = (
        stage1::MEMORY_AT + (WRITE_ONLY_AT - MEMORY_AT),
        stage1::WRITE_ONLY_TABLE_AT + (3 << 21),
    );
    for what in ["before a store", "after a store"] {
        let walk = S1PTW | (PERMISSION + 2);
        let ipa = WRITE_ONLY_AT + 3 * 8;
        let what = format_args!("table to write only, {what}");
        aborts_at(lab, what, load(3, 1, 0), table, ipa, DATA | walk);
        let world = lab.run(Where::El1, &[BR_X0], [table, 0, 0, 0]);
        lab.expect(format_args!("{what}: fetch"), world.esr, FETCH | walk);
        let world = lab.run(Where::El1, &[store(3, 1, 0)], [data, 0, 0, 0]);
        lab.ended(format_args!("{what}: store"), Where::El1, &world);
    }
    let esr = DATA | DOUBLE | (PERMISSION + 2);
    let what = "load from what is to write only";
    aborts_at(lab, what, load(3, 1, 0), data, WRITE_ONLY_AT, esr);
}

/// A table of stage 1 in what stage 2 makes Device memory: HCR_EL2.PTW says whether a walk may go there. It holds nothing,
/// so that one that may finds no translation. That the same was loaded from before makes no difference.
fn walks_into_device_memory(lab: &mut Lab) {
    let (base, table) = (lab.hcr, stage1::DEVICE_TABLE_AT + (3 << 21));
    put(lab.memory + 3 * 8, 0);
    lab.hcr = base | hcr::PTW;
    let data = stage1::MEMORY_AT + (DEVICE_AT - MEMORY_AT);
    for when in ["before a load", "after a load"] {
        let mut world = lab.run(Where::El1, &[load(3, 1, 0)], [table, 0, 0, 0]);
        let hpfar = el2::hpfar();
        // QEMU 10.0.2 says that it was at level 0.
        world.esr &= !3;
        let what = format_args!("table in Device memory, PTW, {when}");
        lab.left(what, &world, FROM_BELOW, DATA | S1PTW | PERMISSION, 0);
        lab.expect(format_args!("{what}: FAR_EL2"), world.far, table);
        lab.expect(
            format_args!("{what}: HPFAR_EL2"),
            hpfar,
            DEVICE_AT >> 12 << 4,
        );
        let world = lab.run(Where::El1, &[load(3, 1, 0)], [data, 0, 0, 0]);
        lab.ended(
            format_args!("load from Device memory, {when}"),
            Where::El1,
            &world,
        );
    }
    lab.hcr = base;
    let world = lab.run(Where::El1, &[load(3, 1, 0)], [table, 0, 0, 0]);
    let esr = class::DATA_SAME << 26 | IL | (TRANSLATION + 2);
    lab.at_el1("table in Device memory, no PTW", &world, 4, esr);
}

/// An output of stage 1 that TCR_EL1.IPS permits and PARange does not: IPS counts as PARange, so it is an address size fault
/// of stage 1, whether or not there is a stage 2 (DDI 0487, D8 "Output address size").
fn too_wide(lab: &mut Lab) {
    /// PARange of 44 bits.
    const BITS_44: u64 = 4;
    /// IPS of 48 bits.
    const BITS_48: u64 = 5;
    if cpu::id_aa64mmfr0() & 0xf > BITS_44 {
        return;
    }
    let (ldr, str) = (load(3, 1, 0), store(3, 1, 0));
    Stage1::set_up().turn_on_with(BITS_48);
    let base = lab.hcr;
    for (what, hcr) in [("stage 2", base), ("no stage 2", base & !hcr::VM)] {
        lab.hcr = hcr;
        for (where_, at) in [
            ("output", stage1::WIDE_AT + 0x18),
            ("table", stage1::WIDE_TABLE_AT + (5 << 21) + 0x18),
        ] {
            let what = format_args!("{where_} too wide, {what}");
            aborts_at_el1(lab, format_args!("{what}: load"), ldr, at, ADDRESS_SIZE + 1);
            let iss = WNR | (ADDRESS_SIZE + 1);
            aborts_at_el1(lab, format_args!("{what}: store"), str, at, iss);
            let world = lab.run(Where::El1, &[BR_X0], [at, 0, 0, 0]);
            let esr = FETCH_SAME | (ADDRESS_SIZE + 1);
            taken_at_el1(lab, format_args!("{what}: fetch"), &world, esr, at);
        }
    }
    lab.hcr = base;
    lab.reset();
}

/// An output address where there is nothing: EL1's external abort, of what it wanted there and of its walks.
fn external(lab: &mut Lab) {
    let (ldr, str) = (load(3, 1, 0), store(3, 1, 0));
    let at = FAR_AT + 0x100;
    aborts_at_el1(lab, "load of nothing", ldr, at, EXTERNAL);
    aborts_at_el1(lab, "store to nothing", str, at, EXTERNAL | WNR);
    Stage1::set_up().turn_on();
    let base = lab.hcr;
    for (what, hcr, table) in [
        ("stage 2", base, stage1::FAR_TABLE_AT),
        ("no stage 2", base & !hcr::VM, stage1::OUTSIDE_TABLE_AT),
    ] {
        lab.hcr = hcr;
        let at = table + (5 << 21) + 0x18;
        let walk = EXTERNAL_ON_WALK + 2;
        let what = format_args!("table of nothing, {what}");
        aborts_at_el1(lab, format_args!("{what}: load"), ldr, at, walk);
        aborts_at_el1(lab, format_args!("{what}: store"), str, at, walk | WNR);
        let world = lab.run(Where::El1, &[BR_X0], [at, 0, 0, 0]);
        taken_at_el1(
            lab,
            format_args!("{what}: fetch"),
            &world,
            FETCH_SAME | walk,
            at,
        );
    }
    lab.hcr = base;
    lab.reset();
}

fn aborts_at_el1(lab: &mut Lab, what: impl Display, code: u32, at: u64, iss: u64) {
    let world = lab.run(Where::El1, &[code], [at, 0, 0, 0]);
    taken_at_el1(lab, what, &world, class::DATA_SAME << 26 | IL | iss, at);
}

/// EL1 must have taken this abort; EA of its syndrome is the processor's own affair.
fn taken_at_el1(lab: &mut Lab, what: impl Display, world: &World, esr: u64, at: u64) {
    const EA: u64 = 1 << 9;
    el2::set_esr_el1(el2::esr_el1() & !EA);
    lab.at_el1(&what, world, 4, esr);
    lab.expect(format_args!("{what}: FAR_EL1"), el2::far_el1(), at);
}

/// EL2 answers a load, and EL1 goes on with the answer.
fn emulated(lab: &mut Lab) {
    let mut world = lab.world(Where::El1, &[load(2, 1, 0), store(2, 1, 0)]);
    world.x[0] = NOTHING_AT;
    world.run();
    world.x[1] = 0x1357_9bdf;
    world.skip();
    world.run();
    lab.left(
        "store after an answer",
        &world,
        FROM_BELOW,
        DATA | X1 | 2 << 22 | WNR | (TRANSLATION + 1),
        1,
    );
    lab.expect("an answer", world.x[1], 0x1357_9bdf);
    world.skip();
    world.run();
    lab.ended("after two answers", Where::El1, &world);
}

/// EL1 with HCR_EL2.VM = 0: its addresses are physical, and stage 2 stays what it is.
fn without_stage_2(lab: &mut Lab) {
    let (memory, base) = (lab.memory, lab.hcr);
    for round in 0..3u64 {
        lab.hcr = base & !hcr::VM;
        let value = 0x1000 + round;
        let world = lab.run(Where::El1, &[store(3, 1, 0)], [memory, value, 0, 0]);
        lab.ended("store with stage 2 off", Where::El1, &world);
        lab.hcr = base;
        let world = lab.run(Where::El1, &[load(3, 1, 0)], [MEMORY_AT, 0, 0, 0]);
        lab.ended("load with stage 2 on", Where::El1, &world);
        lab.expect("what was stored with stage 2 off", world.x[1], value);
        aborts(
            lab,
            "nothing with stage 2 on",
            load(3, 1, 0),
            NOTHING_AT,
            DATA | DOUBLE | (TRANSLATION + 1),
        );
    }
}

/// Invalidates an IPA, completely.
type Invalidate = fn(u64);

/// A page that changes: what EL1 sees follows each invalidation.
fn maintenance(lab: &mut Lab) {
    let (memory, root) = (lab.memory, lab.root);
    let other = memory + 0x1000;
    put(memory, 0xaaaa);
    put(other, 0xbbbb);
    let ipa = NO_PAGE_AT + 0x3000;
    let entry = lab.tables.entry(root, ipa, Size::Page);
    let invalidations: [(&str, Invalidate); 4] = [
        ("IPAS2E1IS", |ipa| {
            el2::tlbi_ipas2e1is(ipa >> 12);
            cpu::dsb();
            el2::tlbi_vmalle1is();
        }),
        ("VMALLS12E1IS", |_| el2::tlbi_vmalls12e1is()),
        ("ALLE1IS", |_| el2::tlbi_alle1is()),
        ("RIPAS2E1IS", |ipa| {
            if cpu::id_aa64isar0() >> 56 & 0xf == 2 {
                el2::tlbi_ripas2e1is(1 << 46 | ipa >> 12);
            } else {
                el2::tlbi_ipas2e1is(ipa >> 12);
            }
            cpu::dsb();
            el2::tlbi_vmalle1is();
        }),
    ];
    for (what, invalidate) in invalidations {
        let invalidate = || {
            cpu::dsb();
            as_hypervisor(|| invalidate(ipa));
            cpu::dsb();
            cpu::isb();
        };
        for (output, value) in [(memory, 0xaaaa), (other, 0xbbbb)] {
            stage2::write(entry, output | Leaf::Memory.page());
            let world = lab.run(Where::El1, &[load(3, 1, 0)], [ipa, 0, 0, 0]);
            lab.ended(format_args!("{what}: load"), Where::El1, &world);
            lab.expect(
                format_args!("{what}: what is at the page"),
                world.x[1],
                value,
            );
            stage2::write(entry, output | Leaf::ReadOnly.page());
            invalidate();
            let esr = DATA | DOUBLE | (PERMISSION + 3) | WNR;
            aborts(lab, what, store(3, 1, 0), ipa, esr);
            stage2::write(entry, 0);
            invalidate();
            aborts(
                lab,
                what,
                load(3, 1, 0),
                ipa,
                DATA | DOUBLE | (TRANSLATION + 3),
            );
        }
    }
}

/// Two stage 2 with VMIDs of their own, in turn.
fn two_vmids(lab: &mut Lab) {
    let (memory, roots) = (lab.memory, [lab.root, lab.second_root()]);
    put(memory, 0xaaaa);
    put(memory + 0x1000, 0xbbbb);
    for _ in 0..8 {
        for (vmid, root, value) in [(1, roots[0], 0xaaaa), (2, roots[1], 0xbbbb)] {
            el2::set_vttbr(root.vttbr(vmid));
            let world = lab.run(Where::El1, &[load(3, 1, 0), ISB], [MEMORY_AT, 0, 0, 0]);
            lab.ended("load by VMID", Where::El1, &world);
            lab.expect(format_args!("memory of VMID {vmid}"), world.x[1], value);
        }
    }
    lab.reset();
}

/// With TGE clear, as TLB maintenance for EL1 wants it with E2H = 1.
fn as_hypervisor(act: impl FnOnce()) {
    let host = el2::current_hcr();
    el2::set_hcr(host & !hcr::TGE);
    act();
    el2::set_hcr(host);
}

fn put(address: u64, value: u64) {
    // SAFETY: the block at `Lab::memory` is nobody else's.
    unsafe { core::ptr::write_volatile(address as *mut u64, value) };
    cpu::dsb();
}
