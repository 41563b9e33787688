// Loads and stores the whole floating-point state in the layout of `fpu::State`. The guests' Rust code is compiled
// without floating point, so nothing else touches these registers.

    .arch_extension fp
    .arch_extension simd
    .section .text.fpu, "ax"

    .macro  each  instruction
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \instruction q\n, [x0, #16 * \n]
    .endr
    .endm

    .globl  fpu_load
fpu_load:
    each    ldr
    add     x0, x0, #512
    ldp     x1, x2, [x0]
    msr     fpcr, x1
    msr     fpsr, x2
    ret

    .globl  fpu_store
fpu_store:
    each    str
    mrs     x1, fpcr
    mrs     x2, fpsr
    add     x0, x0, #512
    stp     x1, x2, [x0]
    ret
