// probe_run(block): executes the code at block->target with x0 to x29 and NZCV from the block, and stores what they
// are afterwards. The code returns by x30. Layout: `probe::Block`.

    .section .text.probe, "ax"
    .globl  probe_run
probe_run:
    sub     sp, sp, #128
    x19_to_x30 stp, 16
    stp     x18, x0, [sp, #112]
    ldp     x30, x1, [x0, #240]
    msr     nzcv, x1
    x2_to_x29 ldp, x0
    ldp     x0, x1, [x0]
    blr     x30
    str     x0, [sp]
    ldr     x0, [sp, #120]
    str     x1, [x0, #8]
    ldr     x1, [sp]
    str     x1, [x0]
    x2_to_x29 stp, x0
    mrs     x1, nzcv
    str     x1, [x0, #248]
    x19_to_x30 ldp, 16
    ldr     x18, [sp, #112]
    add     sp, sp, #128
    ret
