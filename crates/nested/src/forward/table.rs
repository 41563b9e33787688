//! The table: trap bits, and what each of them traps.

use super::Accesses::{Any as Both, Read, Write};
use super::At::{Any, El1, Guest, Host};
use super::Control::{Cnthctl, Cptr, Hcr, IchHcr, Mdcr};
use super::Sense::{Clear, Set};
use super::{Accesses, At, Control, Instruction, Row, Sense, Trap};

/// All rows for system registers and system instructions. No encoding is in two.
pub fn rows() -> &'static [Row] {
    ROWS
}

/// What EL1's controls may trap of EL0, and L0's own traps never take from EL0: none of these rows has bits of EL2.
pub fn of_el1() -> &'static [Row] {
    OF_EL1
}

/// The trap bits of an instruction that is no access to a system register.
pub fn instructions(instruction: Instruction) -> &'static [Trap] {
    match instruction {
        Instruction::Wfi => &[TWI],
        Instruction::Wfe => &[TWE],
        Instruction::Hvc => &[HCD],
        Instruction::Smc => &[TSC],
        Instruction::FloatingPoint => &[FPEN_ALL, FPEN_HOST, TFP],
        Instruction::PointerAuthentication => &[API],
        Instruction::Debug => &[TDE, TGE],
        Instruction::Sve | Instruction::Sme | Instruction::Eret => &[],
    }
}

const fn both(
    name: &'static str,
    control: Control,
    bit: u8,
    sense: Sense,
    at: At,
    accesses: Accesses,
) -> Trap {
    Trap {
        name,
        control,
        vhe: Some(bit),
        nvhe: Some(bit),
        sense,
        at,
        accesses,
    }
}

/// A bit of CPTR_EL2 or CNTHCTL_EL2, which have two layouts.
const fn laid_out(
    name: &'static str,
    control: Control,
    vhe: Option<u8>,
    nvhe: Option<u8>,
    sense: Sense,
    at: At,
) -> Trap {
    Trap {
        name,
        control,
        vhe,
        nvhe,
        sense,
        at,
        accesses: Both,
    }
}

// DDI 0487, D24.2, HCR_EL2.
const FMO: Trap = both("FMO", Hcr, 3, Set, El1, Write);
const IMO: Trap = both("IMO", Hcr, 4, Set, El1, Write);
const TWI: Trap = both("TWI", Hcr, 13, Set, Guest, Both);
const TWE: Trap = both("TWE", Hcr, 14, Set, Guest, Both);
const TID1: Trap = both("TID1", Hcr, 16, Set, El1, Read);
const TID2: Trap = both("TID2", Hcr, 17, Set, Guest, Both);
const TID3: Trap = both("TID3", Hcr, 18, Set, El1, Read);
const TSC: Trap = both("TSC", Hcr, 19, Set, El1, Both);
const TIDCP: Trap = both("TIDCP", Hcr, 20, Set, Guest, Both);
const TACR: Trap = both("TACR", Hcr, 21, Set, El1, Both);
const TSW: Trap = both("TSW", Hcr, 22, Set, El1, Write);
const TPCP: Trap = both("TPCP", Hcr, 23, Set, Guest, Write);
const TPU: Trap = both("TPU", Hcr, 24, Set, Guest, Write);
const TTLB: Trap = both("TTLB", Hcr, 25, Set, El1, Write);
const TVM: Trap = both("TVM", Hcr, 26, Set, El1, Write);
const TGE: Trap = both("TGE", Hcr, 27, Set, Any, Both);
const TDZ: Trap = both("TDZ", Hcr, 28, Set, Guest, Write);
const HCD: Trap = both("HCD", Hcr, 29, Clear, El1, Both);
const TRVM: Trap = both("TRVM", Hcr, 30, Set, El1, Read);
const APK: Trap = both("APK", Hcr, 40, Clear, El1, Both);
const API: Trap = both("API", Hcr, 41, Clear, Guest, Both);
const TID4: Trap = both("TID4", Hcr, 49, Set, El1, Both);
const TICAB: Trap = both("TICAB", Hcr, 50, Set, El1, Write);
const TOCU: Trap = both("TOCU", Hcr, 52, Set, Guest, Write);
const TTLBIS: Trap = both("TTLBIS", Hcr, 54, Set, El1, Write);
const TTLBOS: Trap = both("TTLBOS", Hcr, 55, Set, El1, Write);

// D24.2, CPTR_EL2. FPEN is 0bx0: all trap; 0b01: EL0 of EL2's own; 0b11: none.
const TCPAC: Trap = both("TCPAC", Cptr, 31, Set, El1, Both);
const FPEN_ALL: Trap = laid_out("FPEN<0>", Cptr, Some(20), None, Clear, Any);
const FPEN_HOST: Trap = laid_out("FPEN<1>", Cptr, Some(21), None, Clear, Host);
const TFP: Trap = laid_out("TFP", Cptr, None, Some(10), Set, Any);

// D24.3, MDCR_EL2. TDE counts as 1 where TGE is 1, and the others where TDE is.
const TDE: Trap = both("TDE", Mdcr, 8, Set, Any, Both);
const TDA: Trap = both("TDA", Mdcr, 9, Set, Any, Both);
const TDOSA: Trap = both("TDOSA", Mdcr, 10, Set, Any, Both);
const TDRA: Trap = both("TDRA", Mdcr, 11, Set, Any, Both);

// D24.10, CNTHCTL_EL2. EL1PTEN is called EL1PCEN with E2H = 0.
const EL0PCTEN: Trap = laid_out("EL0PCTEN", Cnthctl, Some(0), None, Clear, Host);
const EL0VCTEN: Trap = laid_out("EL0VCTEN", Cnthctl, Some(1), None, Clear, Host);
const EL0VTEN: Trap = laid_out("EL0VTEN", Cnthctl, Some(8), None, Clear, Host);
const EL0PTEN: Trap = laid_out("EL0PTEN", Cnthctl, Some(9), None, Clear, Host);
const EL1PCTEN: Trap = laid_out("EL1PCTEN", Cnthctl, Some(10), Some(0), Clear, Guest);
const EL1PTEN: Trap = laid_out("EL1PTEN", Cnthctl, Some(11), Some(1), Clear, Guest);
const EL1TVT: Trap = laid_out("EL1TVT", Cnthctl, Some(13), Some(13), Set, Guest);
const EL1TVCT: Trap = laid_out("EL1TVCT", Cnthctl, Some(14), Some(14), Set, Guest);

// IHI 0069, 12.4.7, ICH_HCR_EL2.
const TC: Trap = both("TC", IchHcr, 10, Set, El1, Both);
const TALL0: Trap = both("TALL0", IchHcr, 11, Set, El1, Both);
const TALL1: Trap = both("TALL1", IchHcr, 12, Set, El1, Both);
const TDIR: Trap = both("TDIR", IchHcr, 14, Set, El1, Both);

const TLBI_OS: &[Trap] = &[TTLB, TTLBOS];
const TLBI_IS: &[Trap] = &[TTLB, TTLBIS];
const TLBI: &[Trap] = &[TTLB];
const STAGE1: &[Trap] = &[TVM, TRVM];
const TO_POU: &[Trap] = &[TPU, TOCU];
const CACHE_ID: &[Trap] = &[TID2, TID4];
const DEBUG: &[Trap] = &[TDA, TDE, TGE];
const OS_LOCK: &[Trap] = &[TDOSA, TDE, TGE];
const SGI: &[Trap] = &[IMO, FMO, TC];
const PHYSICAL_COUNTER: &[Trap] = &[EL1PCTEN, EL0PCTEN];
const PHYSICAL_TIMER: &[Trap] = &[EL1PTEN, EL0PTEN];
const VIRTUAL_COUNTER: &[Trap] = &[EL1TVCT, EL0VCTEN];
const VIRTUAL_TIMER: &[Trap] = &[EL1TVT, EL0VTEN];

/// The set of one number, or of a list of them.
macro_rules! set {
    ($($n:literal),+) => {
        0 $(| 1 << $n)+
    };
}
/// Name, op0, op1, CRn, CRm and op2, lists in brackets: traps.
macro_rules! rows {
    ($($name:ident $op0:literal $op1:tt $crn:tt $crm:tt $op2:tt : $traps:expr;)*) => {
        &[$(Row {
            name: stringify!($name),
            op0: $op0,
            op1: list!($op1),
            crn: list!($crn),
            crm: list!($crm),
            op2: list!($op2),
            traps: $traps,
        }),*]
    };
}
macro_rules! list {
    ([all]) => {
        !0
    };
    ([$($n:literal)+]) => {
        set!($($n),+)
    };
    ($n:literal) => {
        set!($n)
    };
}

// DDI 0487, C5 and D24, the accessibility of each; IHI 0069, 12.2. Only what L1 is shown.
static ROWS: &[Row] = rows! {
    IC_IALLUIS 1 0 7 1 0: &[TPU, TICAB];
    IC_IALLU 1 0 7 5 0: TO_POU;
    IC_IVAU 1 3 7 5 1: TO_POU;
    DC_CVAU 1 3 7 11 1: TO_POU;
    DC_IVAC 1 0 7 6 1: &[TPCP];
    DC_to_PoC_group 1 3 7 [10 12 13 14] 1: &[TPCP];
    DC_set_way_group 1 0 7 [6 10 14] 2: &[TSW];
    DC_ZVA 1 3 7 4 1: &[TDZ];
    TLBI_OS_group 1 0 [8 9] 1 [0 1 2 3 5 7]: TLBI_OS;
    TLBI_range_OS_group 1 0 [8 9] 5 [1 3 5 7]: TLBI_OS;
    TLBI_IS_group 1 0 [8 9] 3 [0 1 2 3 5 7]: TLBI_IS;
    TLBI_range_IS_group 1 0 [8 9] 2 [1 3 5 7]: TLBI_IS;
    TLBI_group 1 0 [8 9] 7 [0 1 2 3 5 7]: TLBI;
    TLBI_range_group 1 0 [8 9] 6 [1 3 5 7]: TLBI;
    IMPLEMENTATION_DEFINED_instructions 1 [all] [11 15] [all] [all]: &[TIDCP];
    IMPLEMENTATION_DEFINED_registers 3 [all] [11 15] [all] [all]: &[TIDCP];
    REVIDR_EL1 3 0 0 0 6: &[TID1];
    AIDR_EL1 3 1 0 0 7: &[TID1];
    CTR_EL0 3 3 0 0 1: &[TID2];
    CCSIDR_CLIDR_CCSIDR2_EL1 3 1 0 0 [0 1 2]: CACHE_ID;
    CSSELR_EL1 3 2 0 0 0: CACHE_ID;
    ID_group 3 0 0 [1 2 3 4 5 6 7] [all]: &[TID3];
    SCTLR_EL1 3 0 1 0 0: STAGE1;
    ACTLR_EL1 3 0 1 0 1: &[TACR];
    CPACR_EL1 3 0 1 0 2: &[TCPAC];
    TTBR0_TTBR1_TCR_EL1 3 0 2 0 [0 1 2]: STAGE1;
    APIA_APIB_keys 3 0 2 1 [0 1 2 3]: &[APK];
    APDA_APDB_keys 3 0 2 2 [0 1 2 3]: &[APK];
    APGA_key 3 0 2 3 [0 1]: &[APK];
    AFSR0_AFSR1_EL1 3 0 5 1 [0 1]: STAGE1;
    ESR_EL1 3 0 5 2 0: STAGE1;
    FAR_EL1 3 0 6 0 0: STAGE1;
    MAIR_EL1 3 0 10 2 0: STAGE1;
    AMAIR_EL1 3 0 10 3 0: STAGE1;
    CONTEXTIDR_EL1 3 0 13 0 1: STAGE1;
    ICC_PMR_EL1 3 0 4 6 0: &[TC];
    ICC_IAR0_EOIR0_HPPIR0_BPR0_AP0R_EL1 3 0 12 8 [all]: &[TALL0];
    ICC_AP1R_EL1 3 0 12 9 [0 1 2 3]: &[TALL1];
    ICC_DIR_EL1 3 0 12 11 1: &[TC, TDIR];
    ICC_RPR_EL1 3 0 12 11 3: &[TC];
    ICC_SGI_group 3 0 12 11 [5 6 7]: SGI;
    ICC_IAR1_EOIR1_HPPIR1_BPR1_EL1 3 0 12 12 [0 1 2 3]: &[TALL1];
    ICC_CTLR_EL1 3 0 12 12 4: &[TC];
    ICC_IGRPEN0_EL1 3 0 12 12 6: &[TALL0];
    ICC_IGRPEN1_EL1 3 0 12 12 7: &[TALL1];
    CNTPCT_CNTPCTSS_EL0 3 3 14 0 [1 5]: PHYSICAL_COUNTER;
    CNTVCT_CNTVCTSS_EL0 3 3 14 0 [2 6]: VIRTUAL_COUNTER;
    CNTP_group 3 3 14 2 [0 1 2]: PHYSICAL_TIMER;
    CNTV_group 3 3 14 3 [0 1 2]: VIRTUAL_TIMER;
    DBGBVR_DBGBCR_DBGWVR_DBGWCR_EL1 2 0 0 [all] [4 5 6 7]: DEBUG;
    OSDTRRX_EL1 2 0 0 0 2: DEBUG;
    MDCCINT_MDSCR_EL1 2 0 0 2 [0 2]: DEBUG;
    OSDTRTX_EL1 2 0 0 3 2: DEBUG;
    OSECCR_EL1 2 0 0 6 2: DEBUG;
    DBGCLAIM_group 2 0 7 [8 9] 6: DEBUG;
    DBGAUTHSTATUS_EL1 2 0 7 14 6: DEBUG;
    MDCCSR_EL0 2 3 0 1 0: DEBUG;
    DBGDTR_group 2 3 0 [4 5] 0: DEBUG;
    MDRAR_EL1 2 0 1 0 0: &[TDRA, TDE, TGE];
    OSLAR_OSLSR_EL1 2 0 1 [0 1] 4: OS_LOCK;
    OSDLR_DBGPRCR_EL1 2 0 1 [3 4] 4: OS_LOCK;
};

// D24.2, SCTLR_EL1.{UMA, DZE, UCT, UCI}; D24.10, CNTKCTL_EL1; FEAT_IDST, whose exceptions are of the whole space of
// identification registers. Of MSR (immediate), which has op0 = 0, only DAIFSet and DAIFClr trap; QEMU 10.0.2 reports
// their op1 and op2 in each other's place, so all count. Debug registers have TGE as a bit of EL2. Not the controls of
// what is hidden, which is UNDEFINED: PMUSERENR_EL0, AMUSERENR_EL0, SCTLR_EL1.{EnRCTX, TSCXT, EnTP2, EnFPM} and the like.
static OF_EL1: &[Row] = rows! {
    MSR_immediate 0 [all] 4 [all] [all]: &[];
    DAIF 3 3 4 2 1: &[];
    IC_IVAU 1 3 7 5 1: &[];
    DC_by_address_group 1 3 7 [10 11 12 13 14] 1: &[];
    DC_ZVA 1 3 7 4 1: &[];
    CNTFRQ_CNTPCT_CNTVCT_CNTPCTSS_CNTVCTSS_EL0 3 3 14 0 [0 1 2 5 6]: &[];
    CNTP_CNTV_group 3 3 14 [2 3] [0 1 2]: &[];
    ID_space_with_CTR_EL0 3 [0 1 3] 0 [0 1 2 3 4 5 6 7] [all]: &[];
};
