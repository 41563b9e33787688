// EL2 of a guest that is a hypervisor: stage 1, exception vectors, and the way into what it runs and back.

    .section .text.el2, "ax"

// As `enable_mmu`, at EL2: with E2H = 1 where there is FEAT_VHE, else with E2H = 0. Touches no memory.
enable_mmu_el2:
    msr     tpidr_el2, xzr          // no world runs
    set_up_level 2
    mrs     x1, id_aa64mmfr1_el1
    ubfx    x1, x1, #8, #4          // VH
    cbz     x1, enable_mmu_without_vhe
    ldr     x1, =0x488000000        // HCR: E2H, RW, TGE
    msr     hcr_el2, x1
    isb
    // Laid out as for EL1.
    turn_stage1_on 2, level1_table, 32, 0x80993519, 0x30d0180d, alle2

// To E2H = 0 for good, from either. Returns to x30; changes x1 and x2 and touches no memory.
    .globl  el2_leave_vhe
el2_leave_vhe:
    mrs     x1, sctlr_el2
    bic     x1, x1, #1              // M
    msr     sctlr_el2, x1
    isb
enable_mmu_without_vhe:
    ldr     x1, =0x80000038         // HCR: RW, AMO, IMO, FMO
    msr     hcr_el2, x1
    isb
    // TCR_EL2: RES1, 39 bits, inner shareable write-back, PS at 16. SCTLR_EL2: RES1, M, C, SA, I.
    turn_stage1_on 2, level1_table_el2, 16, 0x80803519, 0x30c5183d, alle2

    .ltorg

// el2_enter(world): returns to `world` as its registers say, and comes back with the next exception to EL2. Layout:
// `el2::World`. TPIDR_EL2 points to it as long as it runs.
    .globl  el2_enter
el2_enter:
    sub     sp, sp, #96
    x19_to_x30 stp, 0
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
    go_to_world

// x0: the world; x1: the vector's number; the world's x0 and x1 are on the stack.
leave_world:
    keep_world el2
    msr     tpidr_el2, xzr
    mrs     x2, hcr_el2
    str     x2, [x0, #312]
    ldp     x2, x1, [x0, #272]
    msr     hcr_el2, x2
    isb
    mov     sp, x1
    x19_to_x30 ldp, 0
    add     sp, sp, #96
    ret

// As the vectors of EL1, but an exception while a world runs ends `el2_enter`.
    .macro  leave_if_a_world_runs
    mrs     x0, tpidr_el2
    cbnz    x0, leave_world
    .endm

    vectors 2, leave_if_a_world_runs

// As `level1_table`, for E2H = 0: bit 54 forbids execution to EL2 itself, and AP[1] is RES1 (DDI 0487, D8.4, "Stage 1
// data accesses permissions").
    .section .data.level1_table_el2, "aw"
    .balign 4096
level1_table_el2:
    identity_map 0x0040000000000441, 0x0000000000000745
