//! Traps of EL1 and EL0 to EL2: with the bit set each access comes to EL2 with its syndrome, with the bit clear it does
//! what it does.

use crate::lab::{FROM_BELOW, IL, Lab, Where};
use crate::names::{
    ACTLR_EL1, AIDR_EL1, AMAIR_EL1, CLIDR_EL1, CNTFRQ_EL0, CNTKCTL_EL1, CNTP_CTL_EL0,
    CNTP_CVAL_EL0, CNTPCT_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVCT_EL0, CONTEXTIDR_EL1, CPACR_EL1,
    CSSELR_EL1, CTR_EL0, DAIF, DC_CIVAC, DC_CVAC, DC_CVAU, DC_ISW, DC_ZVA, ESR_EL1, FAR_EL1,
    IC_IALLU, IC_IVAU, ICC_BPR0_EL1, ICC_CTLR_EL1, ICC_DIR_EL1, ICC_EOIR0_EL1, ICC_EOIR1_EL1,
    ICC_HPPIR1_EL1, ICC_IAR0_EL1, ICC_IAR1_EL1, ICC_IGRPEN1_EL1, ICC_PMR_EL1, ICC_RPR_EL1,
    ICC_SGI1R_EL1, ICH_HCR_EL2, ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1, ID_AA64MMFR2_EL1,
    ID_AA64PFR0_EL1, IMPLEMENTATION_DEFINED, ISB, MAIR_EL1, MDRAR_EL1, MDSCR_EL1, MIDR_EL1,
    OSLSR_EL1, REVIDR_EL1, SCTLR_EL1, TCR_EL1, TLBI_VAE1, TLBI_VMALLE1IS, TTBR0_EL1, TTBR1_EL1,
};
use droste_guests::el2::{self, class, hcr};
use droste_guests::encode::{Name, hvc, smc};

const WFI: u32 = 0xd503207f;
/// `MOVI v0.2d, #0`.
const MOVI_V0: u32 = 0x6f00e400;
/// COND of a conditional instruction's syndrome: valid, always.
const ALWAYS: u64 = 1 << 24 | 0xe << 20;

/// SCTLR_EL1: DZE and nTWI, which let EL0 zero and wait.
const EL0_MAY: u64 = 1 << 14 | 1 << 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Access {
    Read,
    Write,
}

/// All of it.
pub(crate) fn check(lab: &mut Lab) {
    by_hcr(lab);
    other_instructions(lab);
    hvc_disabled(lab);
    floating_point(lab);
    by_mdcr(lab);
    by_cnthctl(lab);
    by_ich_hcr(lab);
    if !el2::is_vhe() {
        by_el1(lab);
    }
}

/// Syndrome of a trapped register or system instruction with x1 (DDI 0487, D24.2, "ISS encoding for an exception from
/// MSR, MRS, or System instruction execution in AArch64 state").
fn syndrome(name: Name, access: Access) -> u64 {
    let Name {
        op0,
        op1,
        crn,
        crm,
        op2,
    } = name;
    let fields = op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | 1 << 5 | crm << 1;
    let is_read = u64::from(access == Access::Read);
    class::SYSREG << 26 | IL | u64::from(fields) | is_read
}

/// One access that must trap.
fn traps(lab: &mut Lab, what: &str, level: Where, name: Name, access: Access, x1: u64) {
    let instruction = match access {
        Access::Read => name.read(1),
        Access::Write => name.write(1),
    };
    let world = lab.run(level, &[ISB, instruction], [0, x1, 0, 0]);
    let what = format_args!("{what}: {access:?} of {name:?} at {level:?}");
    lab.left(what, &world, FROM_BELOW, syndrome(name, access), 1);
    lab.expect(format_args!("{what}: x1"), world.x[1], x1);
}

/// One that must not.
fn passes(lab: &mut Lab, what: &str, level: Where, name: Name, access: Access, x1: u64) {
    let instruction = match access {
        Access::Read => name.read(1),
        Access::Write => name.write(1),
    };
    let world = lab.run(level, &[instruction], [0, x1, 0, 0]);
    lab.ended(
        format_args!("{what} clear: {access:?} of {name:?}"),
        level,
        &world,
    );
}

fn by_hcr(lab: &mut Lab) {
    const STAGE_1: [Name; 8] = [
        TTBR0_EL1,
        TTBR1_EL1,
        TCR_EL1,
        ESR_EL1,
        FAR_EL1,
        MAIR_EL1,
        AMAIR_EL1,
        CONTEXTIDR_EL1,
    ];
    use Access::{Read, Write};
    let cases: [(&str, u64, &[Name], Access); 11] = [
        ("TVM", hcr::TVM, &STAGE_1, Write),
        ("TRVM", hcr::TRVM, &STAGE_1, Read),
        ("TID1", 1 << 16, &[REVIDR_EL1, AIDR_EL1], Read),
        ("TID2", 1 << 17, &[CTR_EL0, CLIDR_EL1, CSSELR_EL1], Read),
        (
            "TID3",
            hcr::TID3,
            &[ID_AA64PFR0_EL1, ID_AA64MMFR0_EL1],
            Read,
        ),
        ("TACR", hcr::TACR, &[ACTLR_EL1], Read),
        ("TTLB", hcr::TTLB, &[TLBI_VMALLE1IS, TLBI_VAE1], Write),
        ("TSW", 1 << 22, &[DC_ISW], Write),
        ("TPCP", 1 << 23, &[DC_CIVAC], Write),
        ("TPU", 1 << 24, &[DC_CVAU, IC_IALLU], Write),
        ("TDZ", hcr::TDZ, &[DC_ZVA], Write),
    ];
    let base = lab.hcr;
    for (what, bit, names, access) in cases {
        for name in names {
            let address = lab.memory;
            lab.hcr = base | bit;
            traps(lab, what, Where::El1, *name, access, address);
            lab.hcr = base;
            passes(lab, what, Where::El1, *name, access, address);
            lab.reset();
        }
    }
    lab.hcr = base | hcr::TIDCP;
    traps(lab, "TIDCP", Where::El1, IMPLEMENTATION_DEFINED, Read, 7);
    el2::set_sctlr_el1(el2::sctlr_el1() | EL0_MAY);
    lab.hcr = base | hcr::TDZ;
    let address = lab.memory;
    traps(lab, "TDZ", Where::El0, DC_ZVA, Write, address);
    lab.hcr = base | hcr::TVM | hcr::TRVM;
    passes(lab, "TVM and TRVM", Where::El1, CPACR_EL1, Read, 0);
    traps(lab, "TRVM", Where::El1, SCTLR_EL1, Read, 0);
    lab.hcr = base | hcr::TID3;
    passes(lab, "TID3", Where::El1, MIDR_EL1, Read, 0);
    lab.hcr = base;
}

fn other_instructions(lab: &mut Lab) {
    let base = lab.hcr;
    let world = lab.run(Where::El1, &[ISB, smc(0x234)], [0; 4]);
    lab.left("TSC", &world, FROM_BELOW, class::SMC << 26 | IL | 0x234, 1);
    el2::set_sctlr_el1(el2::sctlr_el1() | EL0_MAY);
    lab.hcr = base | hcr::TWI;
    for level in [Where::El1, Where::El0] {
        let world = lab.run(level, &[ISB, WFI], [0; 4]);
        let esr = class::WFX << 26 | IL | ALWAYS;
        lab.left(format_args!("TWI at {level:?}"), &world, FROM_BELOW, esr, 1);
    }
    lab.hcr = base;
}

/// HCR_EL2.HCD: HVC is UNDEFINED at EL1, and at EL2.
fn hvc_disabled(lab: &mut Lab) {
    let base = lab.hcr;
    lab.hcr = base | hcr::HCD;
    let world = lab.run(Where::El1, &[hvc(3)], [0; 4]);
    lab.at_el1("HVC with HCD", &world, 4, IL);
    lab.hcr = base;
}

fn floating_point(lab: &mut Lab) {
    let esr = class::FP << 26 | IL | ALWAYS;
    let all = if el2::is_vhe() { 0 } else { 0x33ff | 1 << 10 };
    el2::set_cptr(all);
    for level in [Where::El1, Where::El0] {
        let world = lab.run(level, &[ISB, MOVI_V0], [0; 4]);
        lab.left(
            format_args!("CPTR_EL2 at {level:?}"),
            &world,
            FROM_BELOW,
            esr,
            1,
        );
    }
    el2::set_cptr(all | 1 << 31);
    traps(lab, "TCPAC", Where::El1, CPACR_EL1, Access::Read, 5);
    el2::open();
    let world = lab.run(Where::El1, &[MOVI_V0], [0; 4]);
    lab.ended("floating point that does not trap", Where::El1, &world);
    // CPACR_EL1 comes first, and its trap is EL1's.
    el2::set_cptr(all);
    el2::set_cpacr_el1(0);
    let world = lab.run(Where::El1, &[MOVI_V0], [0; 4]);
    lab.at_el1("CPACR_EL1 before CPTR_EL2", &world, 4, esr);
    lab.reset();
}

fn by_mdcr(lab: &mut Lab) {
    use Access::Read;
    for (what, bit, name) in [
        ("TDA", 1 << 9, MDSCR_EL1),
        ("TDOSA", 1 << 10, OSLSR_EL1),
        ("TDRA", 1 << 11, MDRAR_EL1),
    ] {
        el2::set_mdcr(bit | if bit == 1 << 9 { 0 } else { 1 << 9 });
        traps(lab, what, Where::El1, name, Read, 3);
        el2::set_mdcr(0);
        passes(lab, what, Where::El1, name, Read, 3);
    }
    // TDE, which wants the others.
    el2::set_mdcr(0xf << 8);
    let world = lab.run(Where::El1, &[ISB, 0xd4200000 | 0x123 << 5], [0; 4]);
    lab.left("TDE", &world, FROM_BELOW, class::BRK << 26 | IL | 0x123, 1);
    el2::set_mdcr(0);
}

fn by_cnthctl(lab: &mut Lab) {
    use Access::Read;
    // EL1PCTEN and EL1PTEN (EL1PCEN with E2H = 0).
    let (counter, timer) = if el2::is_vhe() {
        (1 << 10, 1 << 11)
    } else {
        (1, 2)
    };
    el2::set_cnthctl(timer);
    traps(lab, "EL1PCTEN", Where::El1, CNTPCT_EL0, Read, 1);
    passes(lab, "EL1PTEN", Where::El1, CNTP_CTL_EL0, Read, 1);
    el2::set_cnthctl(counter);
    traps(lab, "EL1PTEN", Where::El1, CNTP_CTL_EL0, Read, 1);
    traps(lab, "EL1PTEN", Where::El1, CNTP_CVAL_EL0, Access::Write, 1);
    passes(lab, "EL1PCTEN", Where::El1, CNTPCT_EL0, Read, 1);
    passes(lab, "EL1PCTEN", Where::El1, CNTVCT_EL0, Read, 1);
    passes(lab, "EL1PTEN", Where::El1, CNTV_CTL_EL0, Read, 1);
    el2::open();
}

/// They trap whoever takes interrupts (IHI 0069, 12.4.7).
fn by_ich_hcr(lab: &mut Lab) {
    use Access::{Read, Write};
    const ROUTES: u64 = hcr::IMO | hcr::FMO;
    /// An INTID that no interrupt has.
    const NONE: u64 = 1023;
    let cases = [
        ("TC", 1 << 10, ICC_PMR_EL1, Read),
        ("TC", 1 << 10, ICC_CTLR_EL1, Read),
        ("TC", 1 << 10, ICC_RPR_EL1, Read),
        ("TC", 1 << 10, ICC_DIR_EL1, Write),
        ("TALL0", 1 << 11, ICC_IAR0_EL1, Read),
        ("TALL0", 1 << 11, ICC_BPR0_EL1, Read),
        ("TALL0", 1 << 11, ICC_EOIR0_EL1, Write),
        ("TALL1", 1 << 12, ICC_IAR1_EL1, Read),
        ("TALL1", 1 << 12, ICC_IGRPEN1_EL1, Read),
        ("TALL1", 1 << 12, ICC_EOIR1_EL1, Write),
        ("TALL1", 1 << 12, ICC_HPPIR1_EL1, Read),
        ("TDIR", 1 << 14, ICC_DIR_EL1, Write),
    ];
    let base = lab.hcr;
    for routes in [ROUTES, hcr::IMO, hcr::FMO, 0] {
        lab.hcr = base & !ROUTES | routes;
        for (what, bit, name, access) in cases {
            lab.write(Where::El2, ICH_HCR_EL2, bit);
            traps(lab, what, Where::El1, name, access, NONE);
            lab.write(Where::El2, ICH_HCR_EL2, 0);
            passes(lab, what, Where::El1, name, access, NONE);
        }
        if routes != 0 {
            // HCR_EL2.IMO and FMO make SGIs EL2's to send.
            traps(lab, "IMO, FMO", Where::El1, ICC_SGI1R_EL1, Write, 0);
        }
    }
    lab.hcr = base;
}

/// What EL1's controls trap of EL0 is EL2's with TGE, as a trap (DDI 0487, D24.2, HCR_EL2.TGE; J1, SystemAccessTrap and
/// WFxTrap). With E2H = 1 such an EL0 is EL2's own.
fn by_el1(lab: &mut Lab) {
    use Access::{Read, Write};
    const UMA: u64 = 1 << 9;
    const DZE: u64 = 1 << 14;
    const UCT: u64 = 1 << 15;
    const UCI: u64 = 1 << 26;
    const TIDCP: u64 = 1 << 63;
    const DAIFCLR_15: u32 = 0xd5034fff;
    let base = lab.hcr;
    let closed = el2::sctlr_el1();
    let memory = lab.memory;
    let has = |lab: &mut Lab, name, shift: u64| lab.read(Where::El2, name) >> shift & 0xf != 0;
    let has_idst = has(lab, ID_AA64MMFR2_EL1, 36);
    let has_tidcp1 = has(lab, ID_AA64MMFR1_EL1, 52);
    lab.hcr = base | hcr::TGE;
    for (what, bit, name, access) in [
        ("UCT", UCT, CTR_EL0, Read),
        ("UCI", UCI, DC_CIVAC, Write),
        ("UCI", UCI, DC_CVAC, Write),
        ("UCI", UCI, DC_CVAU, Write),
        ("UCI", UCI, IC_IVAU, Write),
        ("DZE", DZE, DC_ZVA, Write),
        ("UMA", UMA, DAIF, Read),
        ("UMA", UMA, DAIF, Write),
    ] {
        traps(lab, what, Where::El0, name, access, memory);
        el2::set_sctlr_el1(closed | bit);
        left_alone(lab, what, name, access);
        el2::set_sctlr_el1(closed);
    }
    let world = lab.run(Where::El0, &[ISB, DAIFCLR_15], [0; 4]);
    lab.expect("UMA: MSR DAIFClr", world.esr >> 26, class::SYSREG);
    // EL0PCTEN, EL0VCTEN, EL0VTEN, EL0PTEN.
    for (what, bit, name, access) in [
        ("EL0PCTEN", 1, CNTPCT_EL0, Read),
        ("EL0VCTEN", 2, CNTVCT_EL0, Read),
        ("EL0PCTEN and EL0VCTEN", 3, CNTFRQ_EL0, Read),
        ("EL0VTEN", 1 << 8, CNTV_CTL_EL0, Read),
        ("EL0VTEN", 1 << 8, CNTV_CVAL_EL0, Write),
        ("EL0PTEN", 1 << 9, CNTP_CTL_EL0, Read),
        ("EL0PTEN", 1 << 9, CNTP_CVAL_EL0, Write),
    ] {
        lab.write(Where::El2, CNTKCTL_EL1, 0x303 & !bit);
        traps(lab, what, Where::El0, name, access, memory);
        lab.write(Where::El2, CNTKCTL_EL1, 0x303);
        left_alone(lab, what, name, access);
    }
    for name in [MIDR_EL1, ID_AA64PFR0_EL1, ID_AA64MMFR0_EL1, CLIDR_EL1] {
        if has_idst {
            traps(lab, "FEAT_IDST", Where::El0, name, Read, 5);
        } else {
            is_undefined(lab, name.read(1));
        }
    }
    if has_tidcp1 {
        el2::set_sctlr_el1(closed | TIDCP);
        traps(lab, "TIDCP", Where::El0, IMPLEMENTATION_DEFINED, Read, 7);
        el2::set_sctlr_el1(closed);
    }
    let world = lab.run(Where::El0, &[ISB, WFI], [0; 4]);
    let esr = class::WFX << 26 | IL | ALWAYS;
    lab.left("nTWI at EL0 with TGE", &world, FROM_BELOW, esr, 1);
    for instruction in [
        SCTLR_EL1.read(1),
        IMPLEMENTATION_DEFINED.read(1),
        ID_AA64PFR0_EL1.write(1),
        TLBI_VMALLE1IS.write(1),
        hvc(0),
        smc(0),
    ] {
        is_undefined(lab, instruction);
    }
    lab.hcr = base;
    lab.reset();
}

/// An access of EL0 under TGE that must not trap.
fn left_alone(lab: &mut Lab, what: &str, name: Name, access: Access) {
    let instruction = match access {
        Access::Read => name.read(1),
        Access::Write => name.write(1),
    };
    let world = lab.run(Where::El0, &[ISB, instruction], [0, lab.memory, 0, 0]);
    let what = format_args!("{what} set: {access:?} of {name:?}");
    lab.left(what, &world, FROM_BELOW, class::SVC << 26 | IL, 3);
}

/// An instruction that EL0 does not have, under TGE.
fn is_undefined(lab: &mut Lab, instruction: u32) {
    let world = lab.run(Where::El0, &[ISB, instruction], [0; 4]);
    let what = format_args!("{instruction:#x} at EL0 with TGE");
    lab.left(what, &world, FROM_BELOW, IL, 1);
}
