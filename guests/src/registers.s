// The general registers to and from memory, `instruction` being `stp` or `ldp`, and what a world has of them. Every text that
// needs these macros includes them, and optimisation at link time makes one of two such texts: hence the guard.

    .ifndef registers_included
    .set    registers_included, 1

// x2 to x29, where x0 would be at `base`.
    .macro  x2_to_x29  instruction, base
    \instruction    x2, x3, [\base, #16]
    \instruction    x4, x5, [\base, #32]
    \instruction    x6, x7, [\base, #48]
    \instruction    x8, x9, [\base, #64]
    \instruction    x10, x11, [\base, #80]
    \instruction    x12, x13, [\base, #96]
    \instruction    x14, x15, [\base, #112]
    \instruction    x16, x17, [\base, #128]
    \instruction    x18, x19, [\base, #144]
    \instruction    x20, x21, [\base, #160]
    \instruction    x22, x23, [\base, #176]
    \instruction    x24, x25, [\base, #192]
    \instruction    x26, x27, [\base, #208]
    \instruction    x28, x29, [\base, #224]
    .endm

// What a function keeps: x19 to x30, from `at` on.
    .macro  x19_to_x30  instruction, at
    \instruction    x19, x20, [sp, #\at]
    \instruction    x21, x22, [sp, #\at + 16]
    \instruction    x23, x24, [sp, #\at + 32]
    \instruction    x25, x26, [sp, #\at + 48]
    \instruction    x27, x28, [sp, #\at + 64]
    \instruction    x29, x30, [sp, #\at + 80]
    .endm

// Goes to the world at x0, where ELR and SPSR of this level lead. Layout: `el2::World`.
    .macro  go_to_world
    x2_to_x29 ldp, x0
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    eret
    .endm

// Keeps in the world at x0 what it left by an exception to this level: x1 is the vector's number, and its own x0 and x1 are
// on the stack.
    .macro  keep_world, level
    x2_to_x29 stp, x0
    ldp     x2, x3, [sp]
    stp     x2, x3, [x0]
    mrs     x2, elr_\level
    stp     x30, x2, [x0, #240]
    mrs     x2, spsr_\level
    str     x2, [x0, #256]
    mrs     x2, esr_\level
    mrs     x3, far_\level
    stp     x1, x2, [x0, #288]
    str     x3, [x0, #304]
    .endm

    .endif
