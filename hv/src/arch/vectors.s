// Exception vectors of EL2 and the way into a guest.
//
// Guests are left with all their registers saved in the `Registers` that TPIDR_EL2 points to; the Rust handler returns the
// `Registers` to enter. The handler runs on the CPU's one stack, which is empty whenever a guest runs.

.section .text.vectors, "ax"

.macro from_el2 kind
    .balign 0x80
    msr     tpidrro_el0, x0             // fatal for this CPU, so a guest's register is free to use
    mov     x0, #\kind
    b       el2_bug
.endm

.macro from_guest handler
    .balign 0x80
    stp     x0, x1, [sp, #-16]!
    save    \handler
.endm

// x0 and x1 are on the stack.
.macro save handler
    mrs     x0, tpidr_el2
    stp     x2, x3, [x0, #16]
    stp     x4, x5, [x0, #32]
    stp     x6, x7, [x0, #48]
    stp     x8, x9, [x0, #64]
    stp     x10, x11, [x0, #80]
    stp     x12, x13, [x0, #96]
    stp     x14, x15, [x0, #112]
    stp     x16, x17, [x0, #128]
    stp     x18, x19, [x0, #144]
    stp     x20, x21, [x0, #160]
    stp     x22, x23, [x0, #176]
    stp     x24, x25, [x0, #192]
    stp     x26, x27, [x0, #208]
    stp     x28, x29, [x0, #224]
    adr     x4, \handler
    b       exit_guest
.endm

// An SError of EL2's own. Within the window that lets one through it is noted in x2; elsewhere it is fatal.
.macro serror_from_el2
    .balign 0x80
    stp     x0, x1, [sp, #-16]!
    mrs     x0, elr_el2
    adr     x1, serror_window
    sub     x0, x0, x1
    cmp     x0, #(serror_window_end - serror_window)
    ldp     x0, x1, [sp], #16
    b.ls    1f
    msr     tpidrro_el0, x0
    mov     x0, #7
    b       el2_bug
1:  mov     x2, #1
    eret
.endm

// The first handler is of synchronous exceptions from a guest in AArch64. EL1 is, so these are all that are taken; the
// others are of no use.
.macro table name, sync:vararg
    .balign 0x800
    .global \name
\name:
.irp kind, 0, 1, 2, 3, 4, 5, 6
    from_el2 \kind
.endr
    serror_from_el2
    \sync
.rept 2
    from_guest handle_irq
.endr
    from_guest handle_serror
    from_guest handle_sync
.rept 2
    from_guest handle_irq
.endr
    from_guest handle_serror
.endm

    table vectors, from_guest handle_sync

// Those of a guest with VHE, whose virtual EL2 invalidates its own kernel's pages by the ten thousand: that instruction
// is carried out at once.
.macro from_guest_with_vhe
    .balign 0x80
    stp     x0, x1, [sp, #-16]!
    mrs     x0, esr_el2
    mov     w1, #0x2006                 // TLBI VAALE1IS, trapped, any register
    movk    w1, #0x621e, lsl #16
    and     w0, w0, #0xfffffc1f
    cmp     w0, w1
    b.eq    tlbi_vaale1is
    b       save_sync
.endm

    table vectors_el2, from_guest_with_vhe

save_sync:
    save    handle_sync

// TLBI VAALE1IS means virtual EL2's own stage 1 while HCR_EL2.E2H and TGE are 1, and that is the hardware's EL1&0
// under this VMID. Under its guest TGE is 0. Single steps and branch types are left to the handler, which steps over.
tlbi_vaale1is:
    mrs     x0, S3_4_C2_C2_0            // VNCR_EL2: its register page
    ldr     x0, [x0, #0x78]             // HCR_EL2; E2H is RES1
    tbz     x0, #27, save_sync
    mrs     x0, spsr_el2
    tbnz    x0, #21, save_sync          // SS
    tbnz    x0, #11, save_sync          // BTYPE
    tbnz    x0, #10, save_sync
    mrs     x0, esr_el2
    adr     x1, tlbi_by_register
    ubfx    x0, x0, #5, #5
    add     x1, x1, x0, lsl #3
    ldr     x0, [sp]
    br      x1
tlbi_by_register:
    tlbi    vaale1is, x0
    b       tlbi_done
    ldr     x0, [sp, #8]
    b       tlbi_by_register
.irp n, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
    tlbi    vaale1is, x\n
    b       tlbi_done
.endr
    tlbi    vaale1is, xzr
tlbi_done:
    mrs     x0, elr_el2
    add     x0, x0, #4
    msr     elr_el2, x0
    ldp     x0, x1, [sp], #16
    eret
    dsb     nsh
    isb

// Lets one SError through; x2 says whether there was one. The flags that its exception changes come back with SPSR_EL2.
.global serror_window
serror_window:
    mov     x2, #0
    msr     daifclr, #4
    isb
    msr     daifset, #4
serror_window_end:
    ret

exit_guest:
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    stp     x30, x2, [x0, #240]
    str     x3, [x0, #256]
    tbnz    x3, #4, exit_aarch32        // SPSR_EL2.M[4]
    ldp     x2, x3, [sp], #16
    stp     x2, x3, [x0]
    mov     x29, xzr
    blr     x4
// x0: the `Registers` to enter, which are vectors.s's own until the next exit.
enter_guest:
    msr     tpidr_el2, x0
    ldr     x3, [x0, #256]
    tbnz    x3, #63, enter_stepped      // `STEPPED`
    ldp     x30, x2, [x0, #240]
    msr     spsr_el2, x3
    msr     elr_el2, x2
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x16, x17, [x0, #128]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    ldp     x0, x1, [x0]
    eret
    dsb     nsh                         // nothing past ERET is speculated
    isb

// EL0 was in AArch32, where no guest may be: it is brought back first. Then an interrupt or an SError is handled as ever;
// a synchronous exception never was.
exit_aarch32:
    ldp     x2, x3, [sp], #16
    stp     x2, x3, [x0]
    mov     x29, xzr
    mov     x19, x4
    bl      handle_aarch32
    adr     x4, handle_sync
    cmp     x19, x4
    b.eq    enter_guest
    blr     x19
    b       enter_guest

enter_stepped:
    bl      handle_stepped
    b       enter_guest

// x0: `Registers`, x1: CPU index. The first entry of this CPU; its stack starts anew.
.global enter_first_guest
enter_first_guest:
    mov     x19, x0
    mov     x0, x1
    bl      stack_top
    mov     sp, x0
    mov     x0, x19
    b       enter_guest

// x0: vector number; the guest's TPIDRRO_EL0 holds x0. Moves to the CPU's emergency stack, for the fault may be
// the stack's own, and reports.
el2_bug:
    msr     sp_el0, x1
    mov     x1, sp
    msr     elr_el1, x2
    adrp    x2, __stacks_start          // which CPU's stack was it? 32 KiB each
    add     x2, x2, :lo12:__stacks_start
    sub     x2, x1, x2
    sub     x2, x2, #1
    lsr     x2, x2, #15
    cmp     x2, #31
    csel    x2, x2, xzr, ls
    msr     spsr_el1, x2
    adrp    x2, __stacks_start
    add     x2, x2, :lo12:__stacks_start
    msr     far_el1, x3
    mrs     x3, spsr_el1
    add     x2, x2, x3, lsl #15
    add     x2, x2, #0x3000             // top of the emergency stack
    mov     sp, x2
    mrs     x2, elr_el1
    mrs     x3, far_el1
    sub     sp, sp, #272
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    stp     x30, x1, [sp, #240]         // x1: the stack pointer at the time
    mrs     x2, tpidrro_el0
    mrs     x3, sp_el0
    stp     x2, x3, [sp]
    mov     x1, sp
    mov     x29, xzr
    bl      handle_el2_bug
