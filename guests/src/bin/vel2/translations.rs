//! AT, and what it leaves in PAR_EL1 (DDI 0487, D24.2, "PAR_EL1").
//!
//! Left out: AT S12E1W of an address that stage 2 lets nobody write. QEMU 10.0.2 never comes back from it.

use crate::lab::{self, Lab, READ_ONLY_AT};
use crate::stage1::{self, Stage1};
use droste_guests::{RAM_BASE, cpu, el2};
use el2::hcr;

/// PAR_EL1: F.
const FAILED: u64 = 1;
/// PAR_EL1 of a failure: FST from bit 1 on, PTW, S.
const PTW: u64 = 1 << 8;
const S: u64 = 1 << 9;
const FAILURE: u64 = FAILED | 0x3f << 1 | PTW | S;
/// PAR_EL1 of a success: PA, SH, ATTR.
const ADDRESS: u64 = 0xffff_ffff_f000;
const INNER_WRITE_BACK: u64 = 0xff << 56 | 3 << 7;
const SUCCESS: u64 = FAILED | ADDRESS | INNER_WRITE_BACK;
const TRANSLATION: u64 = 4;
const PERMISSION: u64 = 12;

type At = fn(u64);

/// All of it.
pub(crate) fn check(lab: &mut Lab) {
    let host = el2::current_hcr();
    own(lab);
    el2::set_hcr(lab.hcr | hcr::RW | host & hcr::E2H);
    without_stage_1(lab);
    Stage1::set_up().turn_on();
    with_both(lab);
    el2::set_hcr(host);
    if el2::is_vhe() {
        in_host(lab);
    }
    lab.reset();
}

/// With TGE, what names EL1 and EL0 means EL2's own stage 1, and no stage 2 (DDI 0487, C5.4, AT S12E0R to S12E1W).
fn in_host(lab: &mut Lab) {
    let (own, alias) = (
        RAM_BASE + 0x5123,
        RAM_BASE.wrapping_add(lab.alias()) + 0x5123,
    );
    let of_el1: [(&str, At); 3] = [
        ("S1E1R with TGE", el2::at_s1e1r),
        ("S12E1R with TGE", el2::at_s12e1r),
        ("S12E1W with TGE", el2::at_s12e1w),
    ];
    for (what, at) in of_el1 {
        finds(lab, what, at, own, RAM_BASE + 0x5000);
        fails(lab, what, at, 500 << 30, 0, TRANSLATION + 1);
    }
    let of_el0: [(&str, At); 2] = [
        ("S12E0R with TGE", el2::at_s12e0r),
        ("S12E0W with TGE", el2::at_s12e0w),
    ];
    for (what, at) in of_el0 {
        finds(lab, what, at, alias, RAM_BASE + 0x5000);
        fails(lab, what, at, own, 0, PERMISSION + 1);
    }
}

fn par_after(at: At, address: u64) -> u64 {
    el2::set_par(0);
    at(address);
    cpu::isb();
    el2::par()
}

fn finds(lab: &mut Lab, what: &str, at: At, address: u64, output: u64) {
    let par = par_after(at, address);
    lab.expect(
        format_args!("{what} of {address:#x}"),
        par & SUCCESS,
        output | INNER_WRITE_BACK,
    );
}

/// Address alone: stage 1 off, its memory has attributes of its own.
fn finds_address(lab: &mut Lab, what: &str, at: At, address: u64, output: u64) {
    let par = par_after(at, address);
    lab.expect(
        format_args!("{what} of {address:#x}"),
        par & (FAILED | ADDRESS),
        output,
    );
}

fn fails(lab: &mut Lab, what: &str, at: At, address: u64, stage: u64, status: u64) {
    let par = par_after(at, address);
    lab.expect(
        format_args!("{what} of {address:#x}"),
        par & FAILURE,
        FAILED | status << 1 | stage,
    );
}

/// EL2's own stage 1.
fn own(lab: &mut Lab) {
    finds(
        lab,
        "S1E2R",
        el2::at_s1e2r,
        RAM_BASE + 0x1234,
        RAM_BASE + 0x1000,
    );
    fails(lab, "S1E2R", el2::at_s1e2r, 500 << 30, 0, TRANSLATION + 1);
}

fn without_stage_1(lab: &mut Lab) {
    let memory = lab.memory;
    finds_address(
        lab,
        "S1E1R",
        el2::at_s1e1r,
        lab::NOTHING_AT + 0x1234,
        lab::NOTHING_AT + 0x1000,
    );
    finds_address(
        lab,
        "S12E1R",
        el2::at_s12e1r,
        lab::MEMORY_AT + 0x1234,
        memory + 0x1000,
    );
    finds_address(
        lab,
        "S12E1R",
        el2::at_s12e1r,
        READ_ONLY_AT + 0x1234,
        memory + 0x1000,
    );
    fails(
        lab,
        "S12E1R",
        el2::at_s12e1r,
        lab::NOTHING_AT,
        S,
        TRANSLATION + 1,
    );
    fails(
        lab,
        "S12E1R",
        el2::at_s12e1r,
        lab::NO_PAGE_AT,
        S,
        TRANSLATION + 3,
    );
}

fn with_both(lab: &mut Lab) {
    let memory = lab.memory;
    let virt = stage1::MEMORY_AT + 0x1234;
    finds(
        lab,
        "S1E1R, both stages",
        el2::at_s1e1r,
        virt,
        lab::MEMORY_AT + 0x1000,
    );
    finds(
        lab,
        "S12E1R, both stages",
        el2::at_s12e1r,
        virt,
        memory + 0x1000,
    );
    finds(
        lab,
        "S12E1W, both stages",
        el2::at_s12e1w,
        virt,
        memory + 0x1000,
    );
    fails(
        lab,
        "S12E1R, stage 2's",
        el2::at_s12e1r,
        stage1::NOTHING_AT,
        S,
        TRANSLATION + 1,
    );
    fails(
        lab,
        "S12E1R, stage 1's",
        el2::at_s12e1r,
        stage1::UNMAPPED,
        0,
        TRANSLATION + 1,
    );
    fails(
        lab,
        "S1E1R, stage 1's",
        el2::at_s1e1r,
        stage1::UNMAPPED,
        0,
        TRANSLATION + 1,
    );
    fails(
        lab,
        "S12E1W, stage 1's",
        el2::at_s12e1w,
        stage1::READ_ONLY_AT,
        0,
        PERMISSION + 1,
    );
    fails(
        lab,
        "S12E1R, walk",
        el2::at_s12e1r,
        stage1::NO_TABLE_AT,
        S | PTW,
        TRANSLATION + 1,
    );
}
