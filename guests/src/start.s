// The first instructions of every guest: the arm64 Image header, stage 1 on, relocation, and the way into Rust; and
// what it has for EL1.

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
    set_up_level 1
    // TCR: T0SZ, T1SZ 25 (39 bits: walks start at level 1), inner shareable write-back, EPD1, IPS at 32. SCTLR: the
    // RES1 bits of Armv8.0, M, C, SA, I.
    turn_stage1_on 1, level1_table, 32, 0x80993519, 0x30d0180d, vmalle1

    .ltorg

    vectors 1

// DDI 0487, D8.3, "Block descriptor": AF, for Normal memory inner shareable, EL1 only; devices are never executed. The
// last two entries are the windows of `map`.
    .section .data.level1_table, "aw"
    .balign 4096
    .globl  level1_table
level1_table:
    identity_map 0x0060000000000401, 0x0040000000000705

    .section .bss.boot_stack, "aw", @nobits
    .balign 16
    .space  0x20000
boot_stack_top:
