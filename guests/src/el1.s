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
    go_to_world

// x0: the world; x1: the vector's number; the world's x0 and x1 are on the stack.
leave_world_of_el1:
    keep_world el1
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
