// The first instructions of every guest: the arm64 Image header, stage 1 on, relocation, and the way into Rust;
// and the exception vectors.

    .section .head, "ax"
    .globl _start
// Linux, Documentation/arch/arm64/booting.rst, "Call the kernel image": 64 bytes.
    b       primary                 // code0
    .word   0                       // code1
    .quad   0                       // text_offset
    .quad   _image_size             // image_size, .bss included
    .quad   0xa                     // flags: little-endian, 4 KiB pages, placed anywhere
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .word   0

// x0: device tree. The image is clean to the point of coherency, so the MMU and caches go on before the first store.
primary:
    mov     x20, x0
    bl      enable_mmu
    adr     x0, _start
    adrp    x1, _rela_start
    add     x1, x1, :lo12:_rela_start
    adrp    x2, _rela_end
    add     x2, x2, :lo12:_rela_end
1:  cmp     x1, x2
    b.hs    2f
    ldp     x3, x4, [x1], #16       // r_offset, r_info
    ldr     x5, [x1], #8            // r_addend
    cmp     x4, #1027               // R_AARCH64_RELATIVE, the only kind a static PIE holds
    b.ne    hang
    add     x5, x5, x0
    str     x5, [x0, x3]
    b       1b
2:  adrp    x1, _bss_start
    add     x1, x1, :lo12:_bss_start
    adrp    x2, _bss_end
    add     x2, x2, :lo12:_bss_end
3:  cmp     x1, x2
    b.hs    4f
    stp     xzr, xzr, [x1], #16
    b       3b
4:  adrp    x1, boot_stack_top
    add     x1, x1, :lo12:boot_stack_top
    mov     sp, x1
    mov     x0, x20
    bl      droste_guest_primary

hang:
    wfe
    b       hang

// PSCI CPU_ON comes here with the stack's top as the context in x0 (DEN0022, "CPU_ON").
    .globl  secondary_start
secondary_start:
    mov     x20, x0
    bl      enable_mmu
    mov     sp, x20
    bl      droste_guest_secondary
    b       hang

// Identity map by `level1_table`, caches on, vectors set, interrupts masked. Touches no memory.
enable_mmu:
    mrs     x1, CurrentEL
    tbnz    x1, #3, enable_mmu_el2
    msr     daifset, #0xf
    msr     spsel, #1
    adr     x1, vectors
    msr     vbar_el1, x1
    ldr     x1, =0xff04             // MAIR: attribute 0 Device-nGnRE, 1 Normal write-back
    msr     mair_el1, x1
    adrp    x1, level1_table
    msr     ttbr0_el1, x1
    mrs     x1, id_aa64mmfr0_el1
    and     x1, x1, #0xf            // PARange
    cmp     x1, #5
    mov     x2, #5
    csel    x1, x1, x2, lo          // IPS: no more than 48 bits with 4 KiB granules
    lsl     x1, x1, #32
    ldr     x2, =0x80993519         // T0SZ, T1SZ 25 (39 bits: walks start at level 1), inner shareable write-back, EPD1
    orr     x1, x1, x2
    msr     tcr_el1, x1
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    ldr     x1, =0x30d0180d         // SCTLR: the RES1 bits of Armv8.0, M, C, SA, I
    msr     sctlr_el1, x1
    isb
    ret

    .ltorg

// DDI 0487, D1, "Exception vectors": 16 vectors of 128 bytes. The frame is `trap::Frame`.
    .macro  vector  number
    .balign 128
    sub     sp, sp, #272
    stp     x0, x1, [sp]
    mov     x1, #\number
    b       trap
    .endm

    .balign 2048
vectors:
    .irp    number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vector  \number
    .endr

trap:
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
    mrs     x2, elr_el1
    mrs     x3, spsr_el1
    stp     x30, x2, [sp, #240]
    str     x3, [sp, #256]
    mov     x0, sp
    bl      droste_guest_trap
    ldr     x3, [sp, #256]
    ldp     x30, x2, [sp, #240]
    msr     elr_el1, x2
    msr     spsr_el1, x3
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

// VMSAv8-64 level 1, one GiB an entry (DDI 0487, D8.3, "Block descriptor"): AF, for Normal memory inner shareable, EL1
// only.
// Entry 0 is the devices' (never executed); 1 to 8 may hold RAM; the last two are the windows of `map`.
    .section .data.level1_table, "aw"
    .balign 4096
    .globl  level1_table
level1_table:
    .quad   0x0060000000000401
    .set    gib, 1
    .rept   8
    .quad   0x0040000000000705 | (gib << 30)
    .set    gib, gib + 1
    .endr
    .rept   503
    .quad   0
    .endr

    .section .bss.boot_stack, "aw", @nobits
    .balign 16
    .space  0x8000
boot_stack_top:
