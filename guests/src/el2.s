// EL2 of a guest that is a hypervisor: stage 1, exception vectors, and the way into what it runs and back.

    .section .text.el2, "ax"

// As `enable_mmu`, at EL2: with E2H = 1 where there is FEAT_VHE, else with E2H = 0. Touches no memory.
    .globl  enable_mmu_el2
enable_mmu_el2:
    msr     daifset, #0xf
    msr     spsel, #1
    msr     tpidr_el2, xzr          // no world runs
    adrp    x1, vectors_el2
    add     x1, x1, :lo12:vectors_el2
    msr     vbar_el2, x1
    ldr     x1, =0xff04             // MAIR: attribute 0 Device-nGnRE, 1 Normal write-back
    msr     mair_el2, x1
    mrs     x1, id_aa64mmfr1_el1
    ubfx    x1, x1, #8, #4          // VH
    cbz     x1, stage1_without_vhe
    ldr     x1, =0x488000000        // HCR: E2H, RW, TGE
    msr     hcr_el2, x1
    isb
    adrp    x1, level1_table
    msr     ttbr0_el2, x1
    mrs     x1, id_aa64mmfr0_el1
    and     x1, x1, #0xf            // PARange
    cmp     x1, #5
    mov     x2, #5
    csel    x1, x1, x2, lo          // IPS: no more than 48 bits with 4 KiB granules
    lsl     x1, x1, #32
    ldr     x2, =0x80993519         // laid out as TCR_EL1: 39 bits, inner shareable write-back, EPD1
    ldr     x3, =0x30d0180d         // laid out as SCTLR_EL1: the RES1 bits of Armv8.0, M, C, SA, I
    b       stage1_on

// To E2H = 0 for good, from either. Returns to x30; changes x1 to x3 and touches no memory.
    .globl  el2_leave_vhe
el2_leave_vhe:
    mrs     x1, sctlr_el2
    bic     x1, x1, #1              // M
    msr     sctlr_el2, x1
    isb
stage1_without_vhe:
    ldr     x1, =0x80000038         // HCR: RW, AMO, IMO, FMO
    msr     hcr_el2, x1
    isb
    adrp    x1, level1_table_el2
    msr     ttbr0_el2, x1
    mrs     x1, id_aa64mmfr0_el1
    and     x1, x1, #0xf            // PARange
    cmp     x1, #5
    mov     x2, #5
    csel    x1, x1, x2, lo          // PS
    lsl     x1, x1, #16
    ldr     x2, =0x80803519         // TCR_EL2: RES1, 39 bits, inner shareable write-back
    ldr     x3, =0x30c5183d         // SCTLR_EL2: RES1, M, C, SA, I
stage1_on:
    orr     x1, x1, x2
    msr     tcr_el2, x1
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el2, x3
    isb
    ret

    .ltorg

// el2_enter(world): returns to `world` as its registers say, and comes back with the next exception to EL2. Layout:
// `el2::World`. TPIDR_EL2 points to it as long as it runs.
    .globl  el2_enter
el2_enter:
    sub     sp, sp, #96
    stp     x19, x20, [sp]
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    mov     x1, sp
    mrs     x2, hcr_el2
    stp     x2, x1, [x0, #272]
    msr     tpidr_el2, x0
    ldp     x1, x2, [x0, #248]
    msr     elr_el2, x1
    msr     spsr_el2, x2
    ldr     x1, [x0, #264]
    msr     hcr_el2, x1
    isb
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
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    eret

// x0: the world; x1: the vector's number; the world's x0 and x1 are on the stack.
leave_world:
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
    ldp     x2, x3, [sp]
    stp     x2, x3, [x0]
    mrs     x2, elr_el2
    stp     x30, x2, [x0, #240]
    mrs     x2, spsr_el2
    str     x2, [x0, #256]
    mrs     x2, esr_el2
    mrs     x3, far_el2
    stp     x1, x2, [x0, #288]
    str     x3, [x0, #304]
    msr     tpidr_el2, xzr
    mrs     x2, hcr_el2
    str     x2, [x0, #312]
    ldp     x2, x1, [x0, #272]
    msr     hcr_el2, x2
    isb
    mov     sp, x1
    ldp     x19, x20, [sp]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    add     sp, sp, #96
    ret

// As the vectors of EL1, but an exception while a world runs ends `el2_enter`. The frame is `trap::Frame`.
    .macro  vector_el2  number
    .balign 128
    sub     sp, sp, #272
    stp     x0, x1, [sp]
    mov     x1, #\number
    b       trap_el2
    .endm

    .balign 2048
vectors_el2:
    .irp    number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vector_el2  \number
    .endr

trap_el2:
    mrs     x0, tpidr_el2
    cbnz    x0, leave_world
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
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    stp     x30, x2, [sp, #240]
    str     x3, [sp, #256]
    mov     x0, sp
    bl      droste_guest_trap
    ldr     x3, [sp, #256]
    ldp     x30, x2, [sp, #240]
    msr     elr_el2, x2
    msr     spsr_el2, x3
    ldp     x28, x29, [sp, #224]
    ldp     x26, x27, [sp, #208]
    ldp     x24, x25, [sp, #192]
    ldp     x22, x23, [sp, #176]
    ldp     x20, x21, [sp, #160]
    ldp     x18, x19, [sp, #144]
    ldp     x16, x17, [sp, #128]
    ldp     x14, x15, [sp, #112]
    ldp     x12, x13, [sp, #96]
    ldp     x10, x11, [sp, #80]
    ldp     x8, x9, [sp, #64]
    ldp     x6, x7, [sp, #48]
    ldp     x4, x5, [sp, #32]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp], #16
    add     sp, sp, #256
    eret

// As `level1_table`, for E2H = 0: bit 54 forbids execution to EL2 itself, and AP[1] is RES1 (DDI 0487, D8.4, "Stage 1
// data accesses permissions").
    .section .data.level1_table_el2, "aw"
    .balign 4096
level1_table_el2:
    .quad   0x0040000000000441
    .set    gib, 1
    .rept   8
    .quad   0x0000000000000745 | (gib << 30)
    .set    gib, gib + 1
    .endr
    .rept   503
    .quad   0
    .endr
