//! The table, with the most frequent accesses first.

use super::Access::{Any, Read, Write};
use super::Action::{
    Constant, Deactivate, Debug, Identification, SendSgi, SetWay, Undefined, Zero,
};
use super::DebugRegister::{
    BreakpointControl, BreakpointValue, WatchpointControl, WatchpointValue,
};
use super::debug::Pair::{First, Second};
use super::{DebugRegister, Pattern, Row};
use crate::gic::SgiRegister;
use droste_arm64::sysreg::SysReg;

/// All rows, in the order in which they are searched.
pub fn rows() -> &'static [Row] {
    ROWS
}

/// ICC_SRE_EL1: system registers always, no bypass (IHI 0069, ICC_SRE_EL1: SRE, DFB and DIB, all RAO/WI).
const SRE: u64 = 0b111;

/// Name, op0, op1, CRn, CRm or its range, op2 or its range: accesses, action, reason.
macro_rules! rows {
    ($($name:ident $op0:literal $op1:literal $crn:literal
       $crm:literal $(.. $crm_last:tt)? , $op2:literal $(.. $op2_last:tt)? :
       $access:expr, $action:expr, $why:literal;)*) => {
        &[$(Row {
            name: stringify!($name),
            pattern: Pattern {
                group: SysReg::new($op0, $op1, $crn, 0, 0),
                crm: ($crm, last!($crm $($crm_last)?)),
                op2: ($op2, last!($op2 $($op2_last)?)),
            },
            access: $access,
            action: $action,
            why: $why,
        }),*]
    };
}
macro_rules! last {
    ($only:literal) => {
        $only
    };
    ($first:literal $last:tt) => {
        $last
    };
}

// DDI 0487, C5 and D24; IHI 0069, 12.2. Groups that trap and are UNDEFINED all the same stand here for their reasons.
static ROWS: &[Row] = rows! {
    MDSCR_EL1 2 0 0 2, 2: Any, Debug(DebugRegister::Mdscr), "kept; software step works";
    ICC_SGI1R_EL1 3 0 12 11, 5: Write, SendSgi(SgiRegister::Sgi1), "SGIs are the virtual distributor's";
    ICC_SGI0R_EL1 3 0 12 11, 7: Write, SendSgi(SgiRegister::Sgi0), "SGIs are the virtual distributor's";
    ICC_ASGI1R_EL1 3 0 12 11, 6: Write, SendSgi(SgiRegister::AliasedSgi1), "SGIs are the virtual distributor's";
    ICC_DIR_EL1 3 0 12 11, 1: Write, Deactivate, "traps while active interrupts outnumber list registers";
    ICC_SRE_EL1 3 0 12 12, 5: Any, Constant(SRE), "there is no other way than system registers";
    ID_group 3 0 0 1 ..7, 0 ..7: Read, Identification, "the table of id says what a guest sees";
    OSLAR_EL1 2 0 1 0, 4: Write, Debug(DebugRegister::Oslar), "kept, and seen in OSLSR_EL1";
    OSLSR_EL1 2 0 1 1, 4: Read, Debug(DebugRegister::Oslsr), "the OS lock as the guest set it";
    OSDLR_EL1 2 0 1 3, 4: Any, Zero, "no OS double lock";
    DBGPRCR_EL1 2 0 1 4, 4: Any, Zero, "no power control by a debugger";
    DBGBVR0_EL1 2 0 0 0, 4: Any, Debug(BreakpointValue(First)), "ID_AA64DFR0_EL1 shows two breakpoints";
    DBGBVR1_EL1 2 0 0 1, 4: Any, Debug(BreakpointValue(Second)), "ID_AA64DFR0_EL1 shows two breakpoints";
    DBGBCR0_EL1 2 0 0 0, 5: Any, Debug(BreakpointControl(First)), "ID_AA64DFR0_EL1 shows two breakpoints";
    DBGBCR1_EL1 2 0 0 1, 5: Any, Debug(BreakpointControl(Second)), "ID_AA64DFR0_EL1 shows two breakpoints";
    DBGWVR0_EL1 2 0 0 0, 6: Any, Debug(WatchpointValue(First)), "ID_AA64DFR0_EL1 shows two watchpoints";
    DBGWVR1_EL1 2 0 0 1, 6: Any, Debug(WatchpointValue(Second)), "ID_AA64DFR0_EL1 shows two watchpoints";
    DBGWCR0_EL1 2 0 0 0, 7: Any, Debug(WatchpointControl(First)), "ID_AA64DFR0_EL1 shows two watchpoints";
    DBGWCR1_EL1 2 0 0 1, 7: Any, Debug(WatchpointControl(Second)), "ID_AA64DFR0_EL1 shows two watchpoints";
    MDCCINT_EL1 2 0 0 2, 0: Any, Zero, "no debug communication channel";
    OSDTRRX_EL1 2 0 0 0, 2: Any, Zero, "no debug communication channel";
    OSDTRTX_EL1 2 0 0 3, 2: Any, Zero, "no debug communication channel";
    OSECCR_EL1 2 0 0 6, 2: Any, Zero, "no external debugger to save a state of";
    MDRAR_EL1 2 0 1 0, 0: Read, Zero, "no debug registers in memory";
    DBGCLAIMSET_EL1 2 0 7 8, 6: Any, Constant(0xff), "eight claim tags, none kept";
    DBGCLAIMCLR_EL1 2 0 7 9, 6: Any, Zero, "no tag is claimed";
    DBGAUTHSTATUS_EL1 2 0 7 14, 6: Read, Zero, "no debug authentication";
    MDCCSR_EL0 2 3 0 1, 0: Read, Zero, "the debug channel is empty and takes all";
    DBGDTR_EL0 2 3 0 4, 0: Any, Zero, "no debug communication channel";
    DBGDTRRX_EL0 2 3 0 5, 0: Any, Zero, "no debug communication channel";
    ACTLR_EL1 3 0 1 0, 1: Any, Zero, "no control of the CPU model's own";
    DC_ISW 1 0 7 6, 2: Write, SetWay, "by set and way would miss what other CPUs hold";
    DC_CSW 1 0 7 10, 2: Write, SetWay, "by set and way would miss what other CPUs hold";
    DC_CISW 1 0 7 14, 2: Write, SetWay, "by set and way would miss what other CPUs hold";
    ERR_group 3 0 5 3 ..5, 0 ..7: Any, Undefined, "no RAS for the guest";
    LOR_group 3 0 10 4, 0 ..7: Any, Undefined, "no limited ordering regions for the guest";
    PM_EL1_group 3 0 9 14, 0 ..7: Any, Undefined, "no performance monitors for the guest";
    PM_EL0_group 3 3 9 12 ..14, 0 ..7: Any, Undefined, "no performance monitors for the guest";
    PMEV_group 3 3 14 8 ..15, 0 ..7: Any, Undefined, "no performance monitors for the guest";
    PMS_group 3 0 9 9 ..10, 0 ..7: Any, Undefined, "no statistical profiling for the guest";
    TRB_group 3 0 9 11, 0 ..7: Any, Undefined, "no trace buffer for the guest";
    TRFCR_EL1 3 0 1 2, 1: Any, Undefined, "no trace for the guest";
    AM_group 3 3 13 2 ..15, 0 ..7: Any, Undefined, "no activity monitors for the guest";
    ZCR_EL1 3 0 1 2, 0: Any, Undefined, "no SVE for the guest";
    SCXTNUM_EL1 3 0 13 0, 7: Any, Undefined, "not switched, and CSV2 says so";
    SCXTNUM_EL0 3 3 13 0, 7: Any, Undefined, "not switched, and CSV2 says so";
};
