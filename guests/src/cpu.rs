//! One instruction, one function.

use core::arch::asm;

macro_rules! read {
    ($($(#[$doc:meta])* $name:ident = $register:literal;)*) => {
        $(
            $(#[$doc])*
            #[inline]
            pub fn $name() -> u64 {
                let value;
                // SAFETY: reading this register changes nothing that Rust code relies on. Not `nomem`: a read may
                // acknowledge an interrupt, and stays where it was written among memory accesses.
                unsafe { asm!(concat!("mrs {}, ", $register), out(reg) value, options(nostack, preserves_flags)) };
                value
            }
        )*
    };
}

macro_rules! write {
    ($($(#[$doc:meta])* $name:ident = $register:literal;)*) => {
        $(
            $(#[$doc])*
            #[inline]
            pub fn $name(value: u64) {
                // SAFETY: this register steers interrupts, timers, traps or debug, not the memory Rust code uses.
                unsafe {
                    asm!(concat!("msr ", $register, ", {}"), "isb", in(reg) value, options(nostack, preserves_flags));
                }
            }
        )*
    };
}

read! {
    /// MPIDR_EL1: this vCPU's affinity.
    mpidr = "mpidr_el1";
    /// ID_AA64PFR0_EL1, which a hypervisor traps.
    id_aa64pfr0 = "id_aa64pfr0_el1";
    /// ID_AA64MMFR0_EL1: address sizes and granules.
    id_aa64mmfr0 = "id_aa64mmfr0_el1";
    /// CurrentEL, the level in bits 3 and 2.
    current_el = "CurrentEL";
    /// ID_AA64ISAR0_EL1: atomics and the like.
    id_aa64isar0 = "id_aa64isar0_el1";
    /// ESR_EL1: why the last exception came.
    esr = "esr_el1";
    /// FAR_EL1: the address of the last abort.
    far = "far_el1";
    /// The virtual counter, in ticks of [`counter_frequency`].
    counter = "cntvct_el0";
    /// The physical counter, in ticks of [`counter_frequency`].
    physical_counter = "cntpct_el0";
    /// Ticks of the counter per second.
    counter_frequency = "cntfrq_el0";
    /// MDSCR_EL1: debug control.
    mdscr = "mdscr_el1";
    /// ICC_IAR1_EL1: acknowledges the highest pending group 1 interrupt and names it.
    acknowledge_interrupt = "icc_iar1_el1";
    /// FPCR: rounding and flushing.
    fpcr = "fpcr";
    /// DISR_EL1: an SError that ESB deferred. By number, since the assembler knows the name from Armv8.2 on alone.
    disr = "S3_0_C12_C1_1";
}

write! {
    /// CPACR_EL1: traps of floating point.
    set_cpacr = "cpacr_el1";
    /// CNTV_CVAL_EL0: the virtual counter's value at which the virtual timer fires.
    set_virtual_timer_compare = "cntv_cval_el0";
    /// CNTP_CVAL_EL0: the physical counter's value at which the physical timer fires.
    set_physical_timer_compare = "cntp_cval_el0";
    /// CNTP_CTL_EL0: as CNTV_CTL_EL0.
    set_physical_timer_control = "cntp_ctl_el0";
    /// CNTV_CTL_EL0: 1 enables the virtual timer, 2 masks its interrupt.
    set_virtual_timer_control = "cntv_ctl_el0";
    /// MDSCR_EL1: debug control.
    set_mdscr = "mdscr_el1";
    /// ICC_EOIR1_EL1: ends a group 1 interrupt.
    end_interrupt = "icc_eoir1_el1";
    /// ICC_DIR_EL1: deactivates an interrupt, where its end only drops its priority.
    deactivate_interrupt = "icc_dir_el1";
    /// ICC_SGI1R_EL1: sends a group 1 SGI.
    send_sgi = "icc_sgi1r_el1";
    /// ICC_PMR_EL1: only interrupts of a lower number than this are signalled.
    set_priority_mask = "icc_pmr_el1";
    /// ICC_IGRPEN0_EL1: bit 0 enables group 0.
    set_group0_enable = "icc_igrpen0_el1";
    /// ICC_IGRPEN1_EL1: bit 0 enables group 1.
    set_group1_enable = "icc_igrpen1_el1";
    /// ICC_SRE_EL1: bit 0 chooses the system registers.
    set_icc_sre = "icc_sre_el1";
    /// ICC_CTLR_EL1: bit 1 splits priority drop from deactivation.
    set_icc_ctlr = "icc_ctlr_el1";
    /// ICC_BPR1_EL1: group 1's binary point.
    set_binary_point = "icc_bpr1_el1";
    /// OSLAR_EL1: bit 0 locks debug registers.
    set_os_lock = "oslar_el1";
    /// DBGWVR0_EL1: the address of the first watchpoint.
    set_watchpoint_address = "dbgwvr0_el1";
    /// DBGWCR0_EL1: what the first watchpoint matches.
    set_watchpoint_control = "dbgwcr0_el1";
    /// DISR_EL1: an SError that ESB deferred.
    set_disr = "S3_0_C12_C1_1";
}

/// Whether this is EL2.
#[inline]
pub fn is_el2() -> bool {
    current_el() == 2 << 2
}

macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident = $instruction:literal;)*) => {
        $(
            $(#[$doc])*
            #[inline]
            pub fn $name() {
                // SAFETY: orders, waits or masks; changes no register and no memory.
                unsafe { asm!($instruction, options(nostack, preserves_flags)) };
            }
        )*
    };
}

plain! {
    /// Waits for an interrupt.
    wfi = "wfi";
    /// Waits for an event.
    wfe = "wfe";
    /// Sends an event to all.
    sev = "sev";
    /// Makes earlier context changes visible.
    isb = "isb";
    /// Completes earlier accesses.
    dsb = "dsb sy";
    /// Lets interrupts in.
    unmask_interrupts = "msr daifclr, #2";
    /// Lets debug exceptions in.
    unmask_debug = "msr daifclr, #8";
    /// Keeps interrupts out.
    mask_interrupts = "msr daifset, #2";
    /// A breakpoint: an exception of class 0x3c.
    brk = "brk #0";
}

/// A mark that an instruction-counting tool sees and everything else passes over: `HINT #(0x60 + N)`. `N` is 0 to 15.
#[inline]
pub fn mark<const N: u32>() {
    // SAFETY: an unallocated hint is a NOP (DDI 0487, C6.2, "HINT").
    unsafe { asm!("hint #{}", const 0x60 + N, options(nostack, preserves_flags)) };
}

/// Does `what` between mark `BEGIN`, 1 to 13, and mark 14. Before and behind, mark 15 makes the tool print the exits since
/// the last, and forget them.
#[inline]
pub fn between_marks<const BEGIN: u32>(what: impl FnOnce()) {
    const END: u32 = 14;
    const PRINT_EXITS: u32 = 15;
    mark::<PRINT_EXITS>();
    mark::<BEGIN>();
    what();
    mark::<END>();
    mark::<PRINT_EXITS>();
}

/// Makes `bytes` bytes at `start` visible to instruction fetch (DDI 0487, B2, "Synchronization and coherency issues
/// between data and instruction accesses"). Every word is named, since a cache line may be as short as that.
pub fn sync_instructions(start: *const u32, bytes: usize) {
    let (start, end) = (start as usize & !3, start as usize + bytes);
    // SAFETY: cache maintenance of the caller's own memory changes no byte of it.
    unsafe {
        for address in (start..end).step_by(4) {
            asm!("dc cvau, {}", in(reg) address, options(nostack, preserves_flags));
        }
        asm!("dsb ish", options(nostack, preserves_flags));
        for address in (start..end).step_by(4) {
            asm!("ic ivau, {}", in(reg) address, options(nostack, preserves_flags));
        }
        asm!("dsb ish", "isb", options(nostack, preserves_flags));
    }
}
