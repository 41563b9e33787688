// Entry of the boot CPU and of the secondary CPUs, up to the first line of Rust under stage 1.
// Linux arm64 Image header: Documentation/arch/arm64/booting.rst.

.section .head, "ax"
.global _start
_start:
    b       primary
    .long   0
    .quad   0                           // text_offset
    .quad   __image_end - _start        // image_size, bss and stacks included
    .quad   0xa                         // little-endian, 4 KiB pages, anywhere in memory
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0

.section .text
// Puts EL2 into a known state: MMU off, HCR_EL2.E2H = 0 where the CPU lets it. Clobbers x9.
.macro el2_known_state
    msr     daifset, #0xf
    msr     spsel, #1                   // a boot loader may enter at EL2t, whose stack pointer is a guest's
    mov     x9, #(1 << 31)              // HCR_EL2.RW
    msr     hcr_el2, x9
    isb
    movz    x9, #0x0830
    movk    x9, #0x30c5, lsl #16        // SCTLR_EL2: its RES1 bits and nothing else
    msr     sctlr_el2, x9
    isb
.endm

primary:
    mov     x19, x0                     // physical address of the device tree
    mrs     x9, CurrentEL
    cmp     x9, #(2 << 2)
    b.ne    not_el2
    el2_known_state

    adrp    x1, __bss_end               // no dirty line may be written back over what follows
    add     x1, x1, :lo12:__bss_end
    adr     x0, _start
    bl      clean_invalidate_dcache

    adrp    x0, __bss_start
    add     x0, x0, :lo12:__bss_start
    adrp    x1, __bss_end
    add     x1, x1, :lo12:__bss_end
0:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    0b

    adr     x3, _start                  // linked at 0, so this is what each relative relocation adds
    adrp    x1, __relr_start            // ELF gABI, "Relative Relocation Table"
    add     x1, x1, :lo12:__relr_start
    adrp    x2, __relr_end
    add     x2, x2, :lo12:__relr_end
1:  cmp     x1, x2
    b.hs    5f
    ldr     x4, [x1], #8
    tbnz    x4, #0, 2f
    add     x5, x3, x4                  // even: where the next word to relocate is
    ldr     x6, [x5]
    add     x6, x6, x3
    str     x6, [x5], #8
    b       1b
2:  mov     x7, x5                      // odd: from bit 1 on, which of the 63 words behind are to be relocated
    add     x5, x5, #(63 * 8)
3:  lsr     x4, x4, #1
    cbz     x4, 1b
    tbz     x4, #0, 4f
    ldr     x6, [x7]
    add     x6, x6, x3
    str     x6, [x7]
4:  add     x7, x7, #8
    b       3b

5:  mov     w0, #0
    bl      stack_top
    mov     sp, x0
    mov     x1, x0                      // the stack is used with caches off: no line may be written back over it
    sub     x0, x0, #0x4, lsl #12
    bl      clean_invalidate_dcache
    mov     x29, xzr
    mov     x0, x19
    bl      choose_layout               // returns HCR_EL2
    mov     x20, x0

    dmb     sy
    adrp    x1, __bss_end               // what was written with caches off must not hide behind a stale line
    add     x1, x1, :lo12:__bss_end
    adr     x0, _start
    bl      clean_invalidate_dcache

    mov     x0, x19
    mov     x1, x20
    bl      boot_tables                 // returns the address of the MMU's register values
    bl      enable_mmu
    mov     x0, x19
    bl      primary_main

not_el2:                                // no console is known yet: all that is left is to stop
    wfe
    b       not_el2

// x0: pointer to `SecondaryBoot` (registers of `MmuRegisters`, then the CPU's index).
.global secondary_entry
secondary_entry:
    el2_known_state
    ldr     x19, [x0, #40]
    bl      enable_mmu
    mov     x0, x19
    bl      stack_top
    mov     sp, x0
    mov     x29, xzr
    mov     x0, x19
    bl      secondary_main
    b       not_el2

// x0: pointer to `MmuRegisters`: MAIR, TCR, TTBR0, SCTLR, HCR. Identity-mapped, so execution goes on.
enable_mmu:
    ldp     x1, x2, [x0]
    ldp     x3, x4, [x0, #16]
    ldr     x5, [x0, #32]
    msr     hcr_el2, x5                 // which says how the others are laid out
    isb
    mrs     x6, hcr_el2
    eor     x6, x6, x5
    tbnz    x6, #34, not_el2            // E2H stays what it is: EL2's text and this CPU do not fit
    msr     mair_el2, x1
    msr     tcr_el2, x2
    msr     ttbr0_el2, x3
    isb
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el2, x4
    isb
    ret

// w0: CPU index. Returns the top of its stack.
.global stack_top
stack_top:
    adrp    x1, __stacks_start
    add     x1, x1, :lo12:__stacks_start
    add     w0, w0, #1
    add     x0, x1, x0, lsl #15
    ret

// x0, x1: start and end. Clobbers x2, x9.
.global clean_invalidate_dcache
clean_invalidate_dcache:
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4             // CTR_EL0.DminLine: log2 of the line's words
    mov     x9, #4
    lsl     x2, x9, x2
    sub     x9, x2, #1
    bic     x9, x0, x9
3:  dc      civac, x9
    add     x9, x9, x2
    cmp     x9, x1
    b.lo    3b
    dsb     sy
    ret
