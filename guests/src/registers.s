// The general registers to and from memory, `instruction` being `stp` or `ldp`. Every text that needs these macros
// includes them, and optimisation at link time makes one of two such texts: hence the guard.

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

    .endif
