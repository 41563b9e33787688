// What EL1 and EL2 have alike: an identity map, and exception vectors.

// Masks interrupts; gives EL\el its vectors and the memory types that its map names. Changes x1.
    .macro  set_up_level  el
    msr     daifset, #0xf
    msr     spsel, #1
    adrp    x1, vectors_el\el
    add     x1, x1, :lo12:vectors_el\el
    msr     vbar_el\el, x1
    ldr     x1, =0xff04             // MAIR: attribute 0 Device-nGnRE, 1 Normal write-back
    msr     mair_el\el, x1
    .endm

// Stage 1 and caches of EL\el on, with the output size at bit `size` of `tcr`; returns to x30. Changes x1 and x2.
    .macro  turn_stage1_on  el, table, size, tcr, sctlr, tlbi
    adrp    x1, \table
    msr     ttbr0_el\el, x1
    mrs     x1, id_aa64mmfr0_el1
    and     x1, x1, #0xf            // PARange
    cmp     x1, #5
    mov     x2, #5
    csel    x1, x1, x2, lo          // no more than 48 bits with 4 KiB granules
    lsl     x1, x1, #\size
    ldr     x2, =\tcr
    orr     x1, x1, x2
    msr     tcr_el\el, x1
    tlbi    \tlbi
    ic      iallu
    dsb     nsh
    isb
    ldr     x1, =\sctlr
    msr     sctlr_el\el, x1
    isb
    ret
    .endm

// A map for it: VMSAv8-64 level 1, one GiB an entry. Entry 0 is the devices', 1 to 8 may hold RAM.
    .macro  identity_map  device, ram
    .quad   \device
    .set    gib, 1
    .rept   8
    .quad   \ram | (gib << 30)
    .set    gib, gib + 1
    .endr
    .rept   503
    .quad   0
    .endr
    .endm

// DDI 0487, D1, "Exception vectors": 16 vectors of 128 bytes. The frame is `trap::Frame`. `prelude` has x0 to itself;
// the vector's number is in x1, and x0 and x1 are on the stack. `kind` ends the names of a second set.
    .macro  vectors  el, prelude, kind
    .balign 2048
vectors_el\el\kind:
    .irp    number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    .balign 128
    sub     sp, sp, #272
    stp     x0, x1, [sp]
    mov     x1, #\number
    b       trap_el\el\kind
    .endr

trap_el\el\kind:
    \prelude
    x2_to_x29 stp, sp
    mrs     x2, elr_el\el
    mrs     x3, spsr_el\el
    stp     x30, x2, [sp, #240]
    str     x3, [sp, #256]
    mov     x0, sp
    bl      droste_guest_trap
    ldr     x3, [sp, #256]
    ldp     x30, x2, [sp, #240]
    msr     elr_el\el, x2
    msr     spsr_el\el, x3
    x2_to_x29 ldp, sp
    ldp     x0, x1, [sp], #16
    add     sp, sp, #256
    eret
    .endm
