//! Registers of EL2, which keep what is written; and those of the EL1 under it, which EL2 and EL1 see alike.

use crate::lab::{Lab, Where};
use crate::names::{
    CNTHP_CVAL_EL2, CNTHV_CVAL_EL2, CNTKCTL_EL1, CNTP_CTL_EL0, CNTP_CVAL_EL0, CNTV_CTL_EL0,
    CNTV_CVAL_EL0, CNTVOFF_EL2, CONTEXTIDR_EL1, CONTEXTIDR_EL2, CPACR_EL1, CPTR_EL2, CSSELR_EL1,
    ELR_EL1, ELR_EL2, ESR_EL1, ESR_EL2, FAR_EL1, FAR_EL2, HCR_EL2, HPFAR_EL2, ICH_AP1R0_EL2,
    ICH_HCR_EL2, ICH_LR0_EL2, ICH_LR1_EL2, ID_AA64MMFR0_EL1, ID_AA64PFR0_EL1, ISB, MAIR_EL1,
    MAIR_EL2, MDCR_EL2, MIDR_EL1, MPIDR_EL1, PAR_EL1, SP_EL0, SP_EL1, SPSR_EL1, SPSR_EL2, TCR_EL1,
    TPIDR_EL0, TPIDR_EL1, TPIDRRO_EL0, TTBR0_EL1, TTBR1_EL1, TTBR1_EL2, VBAR_EL1, VBAR_EL2,
    VMPIDR_EL2, VPIDR_EL2, VTCR_EL2, VTTBR_EL2,
};
use droste_guests::el2;
use droste_guests::encode::Name;

/// All of it.
pub(crate) fn check(lab: &mut Lab) {
    of_el2(lab);
    if el2::is_vhe() {
        twins(lab);
    }
    of_el1(lab);
    shared(lab);
    identities(lab);
}

/// Writes `value`, wants it back, and restores what was there: at once, since an exception changes some of them.
fn keeps(lab: &mut Lab, name: Name, value: u64) {
    let code = [
        name.read(3),
        name.write(1),
        ISB,
        name.read(2),
        name.write(3),
        ISB,
    ];
    let world = lab.run(Where::El2, &code, [0, value, 0, 0]);
    lab.ended(format_args!("{name:?} at EL2"), Where::El2, &world);
    lab.expect(format_args!("{name:?} after a write"), world.x[2], value);
}

/// Registers and bits of them that every EL2 has.
fn of_el2(lab: &mut Lab) {
    let cases = [
        (VPIDR_EL2, 0x1234_5678),
        (VMPIDR_EL2, 0x8000_0305),
        (VTTBR_EL2, 0x00a5_0000_4567_8000),
        (VTCR_EL2, 0x8002_3559),
        (HPFAR_EL2, 0x1_2345_6780),
        (FAR_EL2, 0x1234_5678_9abc_def0),
        (ESR_EL2, 0x9600_0045),
        (ELR_EL2, 0x1234_5678_9abc_def0),
        (SPSR_EL2, 0xf000_03c5),
        (SP_EL1, 0x1234_5678_9abc_def0),
        (CNTVOFF_EL2, 0x0123_4567_89ab_cdef),
        (CNTHP_CVAL_EL2, 0x0123_4567_89ab_cdef),
        (MDCR_EL2, 0x600),
        (ICH_LR0_EL2, 0x50a0_0000_0000_0123),
        (ICH_LR1_EL2, 0x70a0_001b_0000_0021),
        (ICH_AP1R0_EL2, 1 << 3),
        (ICH_HCR_EL2, 1 << 1),
    ];
    for (name, value) in cases {
        keeps(lab, name, value);
    }
    let vbar = lab.read(Where::El2, VBAR_EL2);
    lab.expect("VBAR_EL2, low bits", vbar & 0x7ff, 0);
    let mair = lab.read(Where::El2, MAIR_EL2);
    lab.expect("MAIR_EL2", mair, 0xff04);
    if el2::is_vhe() {
        keeps(lab, CONTEXTIDR_EL2, 0x1234_5678);
        keeps(lab, TTBR1_EL2, 0x0012_0000_4567_8000);
        keeps(lab, CNTHV_CVAL_EL2, 0x0123_4567_89ab_cdef);
        keeps(lab, CPTR_EL2, 1 << 31 | 3 << 20);
        keeps(lab, HCR_EL2, el2::current_hcr() | 1 << 26);
    } else {
        keeps(lab, CPTR_EL2, 1 << 31 | 1 << 10 | 0x33ff);
    }
}

/// With E2H = 1 names of EL1 mean EL2's registers.
fn twins(lab: &mut Lab) {
    let pairs = [
        (SPSR_EL1, SPSR_EL2, 0xa000_03c9u64),
        (ELR_EL1, ELR_EL2, 0x1111_2222_3333_4444),
        (ESR_EL1, ESR_EL2, 0x5600_0001),
        (FAR_EL1, FAR_EL2, 0xffff_0000_1234_5678),
        (CONTEXTIDR_EL1, CONTEXTIDR_EL2, 0x77),
        (CPACR_EL1, CPTR_EL2, 3 << 20),
        (CNTP_CVAL_EL0, CNTHP_CVAL_EL2, 0x1234_5678_9abc),
        (CNTV_CVAL_EL0, CNTHV_CVAL_EL2, 0x1234_5678_9abd),
    ];
    for (of_el1, of_el2, value) in pairs {
        let code = [
            of_el1.write(1),
            ISB,
            of_el2.read(2),
            of_el2.write(3),
            ISB,
            of_el1.read(0),
        ];
        let other = value ^ 3 << 20;
        let world = lab.run(Where::El2, &code, [0, value, 0, other]);
        lab.ended(format_args!("{of_el1:?} at EL2"), Where::El2, &world);
        lab.expect(
            format_args!("{of_el2:?} by the name of EL1"),
            world.x[2],
            value,
        );
        lab.expect(format_args!("{of_el1:?} at EL2"), world.x[0], other);
    }
    for (of_el1, of_el2) in [(VBAR_EL1, VBAR_EL2), (MAIR_EL1, MAIR_EL2)] {
        let (by_el1, by_el2) = (lab.read(Where::El2, of_el1), lab.read(Where::El2, of_el2));
        lab.expect(format_args!("{of_el1:?} at EL2"), by_el1, by_el2);
    }
    el2::open();
}

/// The name by which EL2 reaches a register of EL1 or EL0: op1 is 5 with E2H = 1.
fn alias(name: Name) -> Name {
    if el2::is_vhe() {
        Name { op1: 5, ..name }
    } else {
        name
    }
}

/// EL2 writes, EL1 reads and writes, EL2 reads.
fn of_el1(lab: &mut Lab) {
    let cases = [
        (TTBR0_EL1, 0x0012_0000_4567_8000u64, 0x0034_0000_5678_9000),
        (TTBR1_EL1, 0x0012_0000_4567_8000, 0x0034_0000_5678_9000),
        (TCR_EL1, 0x1_b510_3510, 0x5_b519_3519),
        (SPSR_EL1, 0xa000_03c5, 0x5000_0145),
        (ELR_EL1, 0x1111_2222_3333_4444, 0xffff_eeee_dddd_cccc),
        (ESR_EL1, 0x5600_0001, 0x9600_0045),
        (FAR_EL1, 0xffff_0000_1234_5678, 0x8765_4321),
        (MAIR_EL1, 0xff44_04bb_ff44_04bb, 0xff04),
        (VBAR_EL1, 0xffff_0000_1234_5800, 0x4321_0800),
        (CONTEXTIDR_EL1, 0x1234_5678, 0x8765_4321),
        (CPACR_EL1, 1 << 20, 3 << 20),
        (CNTKCTL_EL1, 3, 0x3f0),
        (CNTP_CVAL_EL0, 0x1234_5678_9abc, u64::MAX),
        (CNTV_CVAL_EL0, 0x1234_5678_9abc, u64::MAX),
        (CNTP_CTL_EL0, 2, 0),
        (CNTV_CTL_EL0, 2, 0),
    ];
    for (name, by_el2, by_el1) in cases {
        both_see(lab, name, alias(name), by_el2, by_el1);
    }
    lab.reset();
}

/// Registers that have one name everywhere.
fn shared(lab: &mut Lab) {
    for name in [
        SP_EL0,
        TPIDR_EL0,
        TPIDR_EL1,
        TPIDRRO_EL0,
        PAR_EL1,
        CSSELR_EL1,
    ] {
        let is_small = name == CSSELR_EL1 || name == PAR_EL1;
        let values = if is_small {
            (0, 1)
        } else {
            (0x1234_5678_9abc_def0, 0x0fed_cba9_8765_4321)
        };
        let mask = if is_small { 1 } else { u64::MAX };
        both_see_masked(lab, name, name, values, mask);
    }
}

fn both_see(lab: &mut Lab, name: Name, alias: Name, by_el2: u64, by_el1: u64) {
    both_see_masked(lab, name, alias, (by_el2, by_el1), u64::MAX);
}

fn both_see_masked(lab: &mut Lab, name: Name, alias: Name, values: (u64, u64), mask: u64) {
    let (by_el2, by_el1) = values;
    lab.write(Where::El2, alias, by_el2);
    let world = lab.run(
        Where::El1,
        &[name.read(1), name.write(2), ISB],
        [0, 0, by_el1, 0],
    );
    lab.ended(format_args!("EL1 with {name:?}"), Where::El1, &world);
    lab.expect(
        format_args!("{name:?} at EL1, written by EL2"),
        world.x[1] & mask,
        by_el2,
    );
    let found = lab.read(Where::El2, alias);
    lab.expect(
        format_args!("{name:?} at EL2, written by EL1"),
        found & mask,
        by_el1,
    );
}

/// What EL1 takes for its processor's number and kind.
fn identities(lab: &mut Lab) {
    for (name, of_el2, value) in [
        (MIDR_EL1, VPIDR_EL2, 0x410f_d0c0u64),
        (MPIDR_EL1, VMPIDR_EL2, 0x8000_0003),
    ] {
        let before = lab.read(Where::El2, of_el2);
        lab.write(Where::El2, of_el2, value);
        let found = lab.read(Where::El1, name);
        lab.expect(format_args!("{name:?} at EL1"), found, value);
        lab.write(Where::El2, of_el2, before);
    }
    for name in [ID_AA64PFR0_EL1, ID_AA64MMFR0_EL1] {
        let (above, below) = (lab.read(Where::El2, name), lab.read(Where::El1, name));
        lab.expect(format_args!("{name:?} at EL1"), below, above);
    }
}
