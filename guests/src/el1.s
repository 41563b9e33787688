// EL1 of a guest that catches what runs at EL1 and EL0: vectors of their own, and the way there and back.

    .section .text.el1, "ax"

// el1_enter(world): as `el2_enter`, by EL1's registers. `el1_world` points to it as long as it runs.
    .globl  el1_enter
el1_enter:
    sub     sp, sp, #96
    x19_to_x30 stp, 0
    mov     x1, sp
    str     x1, [x0, #280]
    adrp    x1, el1_world
    str     x0, [x1, :lo12:el1_world]
    ldp     x1, x2, [x0, #248]
    msr     elr_el1, x1
    msr     spsr_el1, x2
    isb
    x2_to_x29 ldp, x0
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    eret

// x0: the world; x1: the vector's number; the world's x0 and x1 are on the stack.
leave_world_of_el1:
    x2_to_x29 stp, x0
    ldp     x2, x3, [sp]
    stp     x2, x3, [x0]
    mrs     x2, elr_el1
    stp     x30, x2, [x0, #240]
    mrs     x2, spsr_el1
    str     x2, [x0, #256]
    mrs     x2, esr_el1
    mrs     x3, far_el1
    stp     x1, x2, [x0, #288]
    str     x3, [x0, #304]
    adrp    x2, el1_world
    str     xzr, [x2, :lo12:el1_world]
    ldr     x1, [x0, #280]
    mov     sp, x1
    x19_to_x30 ldp, 0
    add     sp, sp, #96
    ret

// As the vectors of every guest, but an exception while a world runs ends `el1_enter`.
    .macro  leave_if_a_world_of_el1_runs
    adrp    x0, el1_world
    ldr     x0, [x0, :lo12:el1_world]
    cbnz    x0, leave_world_of_el1
    .endm

    .globl  vectors_el1_of_worlds
    vectors 1, leave_if_a_world_of_el1_runs, _of_worlds

    .section .bss.el1_world, "aw", @nobits
    .balign 8
el1_world:
    .space  8
