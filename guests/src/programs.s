// What guests run at EL1, EL0 and EL2 under the eye of their own EL2: loops that come back with every round, and need
// no stack. Position-independent and without data.

    .section .text.programs, "ax"
    .balign 64

// HVC #0x2a, again and again.
    .globl  program_hvc
program_hvc:
    hvc     #0x2a
    b       program_hvc

// SVC #0x17, again and again.
    .globl  program_svc
program_svc:
    svc     #0x17
    b       program_svc

// x1 = the word at x0, again and again.
    .globl  program_load
program_load:
    ldr     w1, [x0]
    b       program_load

// x1 = the word at x0, x2 times, then HVC #0.
    .globl  program_load_and_count
program_load_and_count:
    ldr     w1, [x0]
    subs    x2, x2, #1
    b.ne    program_load_and_count
    hvc     #0
    b       program_load_and_count

// A load from x0 and a store to x1, of each width and of pairs, x2 times, then HVC #0.
    .globl  program_prowl
program_prowl:
    ldr     x3, [x0]
    ldrb    w4, [x0, #1]
    ldp     x4, x5, [x0, #16]
    str     x3, [x1]
    stp     x4, x5, [x1, #16]
    dc      civac, x0
    ldxr    x6, [x0]
    add     x0, x0, #0x1000
    add     x1, x1, #0x1000
    subs    x2, x2, #1
    b.ne    program_prowl
    hvc     #0
    b       program_prowl

// Stores to x2 addresses from x0 on, x1 bytes apart, then HVC #0.
    .globl  program_touch
program_touch:
    str     x0, [x0]
    add     x0, x0, x1
    subs    x2, x2, #1
    b.ne    program_touch
    hvc     #0
    b       program_touch

// x1 = ID_AA64PFR0_EL1, again and again.
    .globl  program_identify
program_identify:
    mrs     x1, id_aa64pfr0_el1
    b       program_identify

// Nothing, for ever.
    .globl  program_spin
program_spin:
    b       program_spin

// Waits for interrupts and takes them, group 1's, interrupts masked.
    .globl  program_serve
program_serve:
    mov     x0, #7
    msr     S3_0_C12_C12_5, x0      // ICC_SRE_EL1
    isb
    mov     x0, #0xff
    msr     S3_0_C4_C6_0, x0        // ICC_PMR_EL1
    mov     x0, #1
    msr     S3_0_C12_C12_7, x0      // ICC_IGRPEN1_EL1
    isb
1:  wfi
2:  mrs     x0, S3_0_C12_C12_0      // ICC_IAR1_EL1
    cmp     x0, #1020
    b.hs    1b
    msr     S3_0_C12_C12_1, x0      // ICC_EOIR1_EL1
    isb
    b       2b

// Vectors for an EL1 whose EL2 traps SMC: SMC #0x100 and the number of the vector.
    .balign 2048
    .globl  program_vectors
program_vectors:
    .irp    number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    .balign 128
    smc     #(0x100 + \number)
    eret
    .endr
