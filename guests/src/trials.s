// One routine for each thing that a field of an identification register can promise. x0 is 256 KiB of zeroed memory
// below 1 GiB of RAM, aligned to 64 KiB. It returns 1 in x0 if the thing works, 0 if the architecture says what happens
// instead, or raises an exception. x0 to x18, vectors, flags, FPCR, SCTLR, TCR and TTBR1 are its to change.

    .arch armv9.6-a
    .irp    extension, aes, sha2, sha3, sm4, crc, lse, lse128, rdm, dotprod, fp16fml, flagm, jscvt, fcma, rcpc3, sb
    .arch_extension \extension
    .endr
    .irp    extension, predres, predres2, bf16, i8mm, ls64, wfxt, mops, cssc, lut, cpa, faminmax, lsfe, lsui, fprcvt
    .arch_extension \extension
    .endr
    .irp    extension, cmpbr, d128, sve, sme, the, gcs, occmo, tlbiw, pops, lscp
    .arch_extension \extension
    .endr

    .section .text.trials, "ax"

// Its own exception level's SCTLR. Changes x9.
    .macro  get_sctlr register
    mrs     x9, CurrentEL
    tbnz    x9, #3, 991f
    mrs     \register, sctlr_el1
    b       992f
991:
    mrs     \register, sctlr_el2
992:
    .endm

    .macro  set_sctlr register
    mrs     x9, CurrentEL
    tbnz    x9, #3, 991f
    msr     sctlr_el1, \register
    b       992f
991:
    msr     sctlr_el2, \register
992:
    isb
    .endm

// try_enter(memory, argument, routine): calls the routine, and restores what it may have changed, exception or not.
    .globl  try_enter
try_enter:
    stp     x29, x30, [sp, #-64]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    mrs     x19, tcr_el1
    mrs     x20, ttbr1_el1
    get_sctlr x21
    mrs     x22, fpcr
    blr     x2
    msr     fpcr, x22
    set_sctlr x21
    msr     tcr_el1, x19
    msr     ttbr1_el1, x20
    isb
    mrs     x9, CurrentEL
    tbnz    x9, #3, 1f
    tlbi    vmalle1
    b       2f
1:  tlbi    alle2
    tlbi    vmalle1
2:  dsb     nsh
    isb
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x29, x30, [sp], #64
    ret

    .macro  trial name
    .balign 16
    .globl  try_\name
try_\name:
    .endm

// Works if the flags say so.
    .macro  answer condition
    cset    x0, \condition
    ret
    .endm

// Works since it was executed.
    .macro  executed
    mov     x0, #1
    ret
    .endm

// Works if the lowest 64 bits of v0 are this.
    .macro  answer_v0 value
    umov    x1, v0.d[0]
    ldr     x2, =\value
    cmp     x1, x2
    answer  eq
    .endm

// Fills vectors with bytes, halves or words.
    .macro  fill register, lanes, value
    ldr     x1, =\value
    dup     \register\().\lanes, w1
    .endm

// SCTLR's bit can be changed.
    .macro  sctlr_keeps name, bit
    trial   \name
    get_sctlr x1
    eor     x2, x1, #1 << \bit
    set_sctlr x2
    get_sctlr x3
    set_sctlr x1
    cmp     x3, x2
    answer  eq
    .endm

// FPCR's bit can be set.
    .macro  fpcr_keeps name, bit
    trial   \name
    mov     x1, #1 << \bit
    msr     fpcr, x1
    mrs     x2, fpcr
    cmp     x2, x1
    answer  eq
    .endm

// ID_AA64ISAR0_EL1

trial aes                           // SubBytes(0) is 0x63
    movi    v0.16b, #0
    movi    v1.16b, #0
    aese    v0.16b, v1.16b
    answer_v0 0x6363636363636363

trial pmull                         // 3 times 3 without carries
    movi    v1.16b, #0
    mov     x1, #3
    mov     v1.d[0], x1
    pmull   v0.1q, v1.1d, v1.1d
    answer_v0 5

trial sha1                          // a rotation by 30
    movi    v1.16b, #0
    mov     w1, #1
    mov     v1.s[0], w1
    sha1h   s0, s1
    answer_v0 0x40000000

trial sha256                        // 1 + sigma0(1)
    fill    v0, 4s, 1
    movi    v1.16b, #0
    sha256su0 v0.4s, v1.4s
    answer_v0 0x0200400102004001

trial sha512
    mov     x1, #1
    dup     v0.2d, x1
    movi    v1.16b, #0
    sha512su0 v0.2d, v1.2d
    answer_v0 0x8100000000000001

trial crc32                         // the table's entry 1
    mov     w1, #1
    crc32b  w2, wzr, w1
    ldr     w3, =0x77073096
    cmp     w2, w3
    answer  eq

trial lse
    mov     x1, #3
    str     x1, [x0]
    mov     x2, #4
    ldadd   x2, x3, [x0]
    ldr     x4, [x0]
    cmp     x4, #7
    ccmp    x3, #3, #0, eq
    answer  eq

trial lse128
    mov     x1, #1
    mov     x2, #2
    swpp    x1, x2, [x0]
    ldp     x3, x4, [x0]
    orr     x1, x1, x2              // the zeros that were there
    cmp     x1, #0
    ccmp    x3, #1, #0, eq
    ccmp    x4, #2, #0, eq
    answer  eq

trial tme
    .inst   0xd5233061              // tstart x1
    .inst   0xd503307f              // tcommit
    executed

trial rdm                           // a half times a half
    movi    v0.16b, #0
    fill    v1, 8h, 0x4000
    sqrdmlah v0.4h, v1.4h, v1.4h
    answer_v0 0x2000200020002000

trial sha3
    movi    v1.16b, #1
    movi    v2.16b, #2
    movi    v3.16b, #4
    eor3    v0.16b, v1.16b, v2.16b, v3.16b
    answer_v0 0x0707070707070707

trial sm3                           // a rotation by 7, in the last word
    movi    v1.16b, #0
    fill    v2, 4s, 1
    sm3ss1  v0.4s, v1.4s, v2.4s, v1.4s
    umov    w1, v0.s[3]
    cmp     w1, #0x80
    answer  eq

trial sm4                           // no fixed point at zero
    movi    v0.16b, #0
    movi    v1.16b, #0
    sm4e    v0.4s, v1.4s
    umov    x1, v0.d[0]
    cmp     x1, #0
    answer  ne

trial dotprod
    movi    v0.16b, #0
    movi    v1.16b, #1
    udot    v0.4s, v1.16b, v1.16b
    answer_v0 0x0000000400000004

trial fhm                           // 1.0
    movi    v0.16b, #0
    fill    v1, 8h, 0x3c00
    fmlal   v0.4s, v1.4h, v1.4h
    answer_v0 0x3f8000003f800000

trial flagm
    cmp     xzr, xzr
    cfinv
    answer  lo

trial flagm2                        // "unordered", as other architectures say it
    mov     x1, #3 << 28
    msr     nzcv, x1
    axflag
    mrs     x1, nzcv
    mov     x2, #4 << 28
    cmp     x1, x2
    answer  eq

trial tlb_outer
    tlbi    vmalle1os
    dsb     osh
    executed

trial tlb_range
    tlbi    rvaae1is, xzr
    dsb     ish
    executed

trial rndr                          // none is drawn twice in a row
    mrs     x1, s3_3_c2_c4_0
    mrs     x2, s3_3_c2_c4_0
    cmp     x1, x2
    answer  ne

// ID_AA64ISAR1_EL1

trial dpb
    dc      cvap, x0
    executed

trial dpb2
    dc      cvadp, x0
    executed

// A signature is added, and taken off.
trial pac_address
    adr     x1, try_pac_key
    get_sctlr x2
    orr     x2, x2, #1 << 31        // EnIA
    set_sctlr x2
    ldr     x3, =0x0123456789abcdef
    msr     apiakeylo_el1, x3
    msr     apiakeyhi_el1, x3
    isb
    mov     x4, x0
    pacia   x4, x3
    mov     x5, x4
    autia   x5, x3
    cmp     x5, x0
    ccmp    x4, x0, #4, eq
    answer  ne
try_pac_key:

// A wrong signature is an exception of its own.
trial pac_faults
    get_sctlr x2
    orr     x2, x2, #1 << 31
    set_sctlr x2
    ldr     x3, =0x0123456789abcdef
    msr     apiakeylo_el1, x3
    msr     apiakeyhi_el1, x3
    isb
    mov     x4, x0
    pacia   x4, x3
    eor     x4, x4, #1 << 50
    autia   x4, x3
    mov     x0, #0
    ret

trial pac_generic
    ldr     x3, =0x0123456789abcdef
    msr     apgakeylo_el1, x3
    msr     apgakeyhi_el1, x3
    isb
    pacga   x1, x0, x3
    lsr     x2, x1, #32
    cmp     w1, #0
    ccmp    x2, #0, #4, eq
    answer  ne

trial jscvt
    fmov    d0, #1.0
    fjcvtzs w1, d0
    cmp     w1, #1
    answer  eq

trial fcma                          // 1 + i * 1
    movi    v1.16b, #0
    movi    v2.16b, #0
    fmov    s1, #1.0
    fmov    s2, #1.0
    fcadd   v0.4s, v1.4s, v2.4s, #90
    answer_v0 0x3f8000003f800000

trial ldapr
    ldapr   x1, [x0]
    cmp     x1, #0
    answer  eq

trial ldapur
    mov     x1, #5
    str     x1, [x0, #8]
    ldapur  x2, [x0, #8]
    cmp     x2, #5
    answer  eq

trial ldiapp
    mov     x1, #5
    mov     x2, #6
    stp     x1, x2, [x0]
    ldiapp  x3, x4, [x0]
    cmp     x3, #5
    ccmp    x4, #6, #0, eq
    answer  eq

trial frintts
    fmov    d1, #1.5
    frint64z d0, d1
    answer_v0 0x3ff0000000000000

trial sb
    sb
    executed

trial predres
    cfp     rctx, xzr
    dsb     ish
    executed

trial predres2
    cosp    rctx, xzr
    dsb     ish
    executed

trial bf16
    fmov    s1, #1.0
    bfcvt   h0, s1
    answer_v0 0x3f80

    fpcr_keeps ebf16, 13

trial i8mm
    movi    v0.16b, #0
    movi    v1.16b, #1
    usdot   v0.4s, v1.16b, v1.16b
    answer_v0 0x0000000400000004

trial xs
    tlbi    vmalle1nxs
    dsb     synxs
    executed

trial ls64
    ld64b   x2, [x0]
    executed

// ID_AA64ISAR2_EL1

trial wfxt                          // for a time that is past
    wfet    xzr
    executed

trial rpres                         // 12 bits of a third
    mov     x1, #2                  // AH
    msr     fpcr, x1
    fmov    s1, #3.0
    frecpe  s0, s1
    umov    w1, v0.s[0]
    tst     w1, #0x7800
    answer  ne

trial mops
    mov     x1, x0
    mov     x2, #16
    mov     x3, #0x11
    setp    [x1]!, x2!, x3
    setm    [x1]!, x2!, x3
    sete    [x1]!, x2!, x3
    ldr     x4, [x0, #8]
    ldr     x5, =0x1111111111111111
    cmp     x4, x5
    answer  eq

trial hbc
    cmp     xzr, xzr
    bc.eq   1f
    mov     x0, #2
    ret
1:  executed

trial mrrs
    mrrs    x2, x3, ttbr0_el1
    executed

trial tlbip
    mov     x2, #0
    mov     x3, #0
    tlbip   vae1, x2, x3
    executed

trial cssc
    mov     x1, #0x70
    cnt     x2, x1
    cmp     x2, #3
    answer  eq

trial cmpbr
    mov     x1, #5
    cbgt    x1, #4, 1f
    mov     x0, #2
    ret
1:  executed

trial lut
    movi    v1.16b, #7
    movi    v2.16b, #0
    luti2   v0.16b, {v1.16b}, v2[0]
    answer_v0 0x0707070707070707

trial ats1a
    at      s1e1a, x0
    isb
    mrs     x1, par_el1
    tst     x1, #1
    answer  eq

// ID_AA64ISAR3_EL1

trial cpa
    mov     x1, #8
    addpt   x2, x0, x1
    add     x3, x0, x1
    cmp     x2, x3
    answer  eq

trial faminmax
    fmov    v1.4s, #-2.0
    fmov    v2.4s, #1.0
    famax   v0.4s, v1.4s, v2.4s
    answer_v0 0x4000000040000000

trial tlbiw
    tlbi    vmallws2e1
    dsb     nsh
    executed

trial lsfe
    fmov    s1, #1.0
    ldfadd  s1, s2, [x0]
    ldr     w1, [x0]
    ldr     w2, =0x3f800000
    cmp     w1, w2
    answer  eq

trial occmo
    dc      cvaoc, x0
    executed

trial lsui
    mov     x1, #1
    swpt    x1, x2, [x0]
    executed

trial fprcvt
    fmov    s0, #1.0
    fcvtzs  d0, s0
    answer_v0 1

trial lscp
    ldap    x1, x2, [x0]
    cmp     x1, #0
    answer  eq

// ID_AA64PFR0_EL1 and ID_AA64PFR1_EL1

trial fp
    fmov    d1, #1.0
    fadd    d0, d1, d1
    answer_v0 0x4000000000000000

trial fp_half
    fmov    h1, #1.0
    fadd    h0, h1, h1
    answer_v0 0x4000

trial simd
    fmov    v1.4s, #1.0
    fadd    v0.4s, v1.4s, v1.4s
    answer_v0 0x4000000040000000

trial simd_half
    fmov    v1.8h, #1.0
    fadd    v0.4h, v1.4h, v1.4h
    answer_v0 0x4000400040004000

trial sve
    rdvl    x1, #1
    executed

trial sme
    rdsvl   x1, #1
    executed

// PSTATE.ALLINT is written; that it is read makes no difference where SCTLR.NMI is 0.
trial allint
    msr     s3_0_c4_c3_0, xzr
    executed

trial the
    mov     x1, #0
    mov     x2, #0
    rcwcas  x1, x2, [x0]
    executed

trial gcs
    gcspushm x1
    executed

// Returns from an exception to its own level with the bits of x1 in PSTATE, and raises an undefined instruction there.
trial state
    adr     x2, 3f
    mrs     x9, CurrentEL
    add     x3, x9, #1
    orr     x3, x3, #0x3c0
    orr     x3, x3, x1
    tbnz    x9, #3, 1f
    msr     elr_el1, x2
    msr     spsr_el1, x3
    b       2f
1:  msr     elr_el2, x2
    msr     spsr_el2, x3
2:  isb
    eret
3:  udf     #0

// Returns to the mode of x1, which must have code for what comes then.
trial mode
    adr     x2, 3f
    orr     x3, x1, #0x3c0
    mrs     x9, CurrentEL
    tbnz    x9, #3, 1f
    msr     elr_el1, x2
    msr     spsr_el1, x3
    b       2f
1:  msr     elr_el2, x2
    msr     spsr_el2, x3
2:  isb
    eret
3:  udf     #0

// ID_AA64MMFR0_EL1 to ID_AA64MMFR2_EL1

// TTBR1 at x0, with a translation of its own of the upper addresses: `tcr` are bits of TCR beside T1SZ and TG1, 1 for
// 16 KiB, 2 for 4 KiB, 3 for 64 KiB. x5 is the first upper address, x6 a descriptor of what is at 1 GiB: Normal memory,
// inner shareable, with the bits of `leaf`.
    .macro  upper t1sz, tg1, leaf=0x400, tcr=0
    dsb     ishst
    mrs     x1, tcr_el1
    ldr     x2, =0xffff0000
    bic     x1, x1, x2
    ldr     x2, =(\tcr | 0x35000000 | (\tg1 << 30) | (\t1sz << 16))
    orr     x1, x1, x2
    msr     ttbr1_el1, x0
    msr     tcr_el1, x1
    isb
    mov     x5, #-1
    lsl     x5, x5, #(64 - \t1sz)
    ldr     x6, =(0x40000000 | 0x304 | \leaf)
    .endm

// Works if x5 translates to 1 GiB.
    .macro  answer_at
    at      s1e1r, x5
    isb
    mrs     x1, par_el1
    ubfx    x2, x1, #12, #36
    mov     x3, #0x40000
    tst     x1, #1
    ccmp    x2, x3, #0, eq
    answer  eq
    .endm

    .macro  link table, descriptor
    str     \descriptor, [\table]
    dsb     ishst
    isb
    .endm

trial granule_4
    upper   25, 2
    orr     x6, x6, #1
    link    x0, x6
    answer_at

trial granule_16
    upper   28, 1
    orr     x6, x6, #1
    link    x0, x6
    answer_at

trial granule_64
    upper   22, 3
    orr     x6, x6, #1
    link    x0, x6
    answer_at

trial address_52
    upper   12, 3
    orr     x6, x6, #1
    add     x7, x0, #0x10000
    str     x6, [x7]
    orr     x7, x7, #3
    link    x0, x7
    answer_at

trial small_tables
    upper   40, 2
    orr     x6, x6, #1
    link    x0, x6
    answer_at

trial hierarchy_off                 // a table says "read only"
    upper   25, 2, tcr=(1 << 42)
    orr     x6, x6, #1
    add     x7, x0, #0x10000
    str     x6, [x7]
    orr     x7, x7, #3
    orr     x7, x7, #2 << 61
    link    x0, x7
    at      s1e1w, x5
    isb
    mrs     x1, par_el1
    tst     x1, #1
    answer  eq

// x5: the upper address of the memory, past the tables.
    .macro  upper_memory
    mov     x7, #0x40000000
    sub     x7, x0, x7
    add     x5, x5, x7
    add     x5, x5, #0x20, lsl #12
    .endm

trial access_flag                   // set by a load
    upper   25, 2, leaf=0, tcr=(1 << 39)
    orr     x6, x6, #1
    link    x0, x6
    upper_memory
    ldr     x1, [x5]
    dsb     sy
    ldr     x1, [x0]
    tst     x1, #1 << 10
    answer  ne

trial dirty_state                   // a store makes it writable
    upper   25, 2, leaf=(0x480 | 1 << 51), tcr=(3 << 39)
    orr     x6, x6, #1
    link    x0, x6
    upper_memory
    str     x1, [x5]
    dsb     sy
    ldr     x1, [x0]
    tst     x1, #1 << 7
    answer  eq

trial e0pd                          // open to EL0, and refused
    upper   25, 2, leaf=0x440, tcr=(1 << 56)
    orr     x6, x6, #1
    link    x0, x6
    at      s1e0r, x5
    isb
    mrs     x1, par_el1
    tst     x1, #1
    answer  ne

trial asid_16
    mov     x1, #-1
    lsl     x1, x1, #48
    msr     ttbr1_el1, x1
    mrs     x2, ttbr1_el1
    cmp     x1, x2
    answer  eq

trial cnp
    orr     x1, x0, #1
    msr     ttbr1_el1, x1
    mrs     x2, ttbr1_el1
    cmp     x1, x2
    answer  eq

// Loads from memory in the other order of bytes, with stage 1 off meanwhile, which knows no order then.
trial big_endian
    ldr     x1, =0x0102030405060708
    str     x1, [x0]
    dc      civac, x0
    dsb     sy
    get_sctlr x2
    bic     x3, x2, #1              // M
    bic     x3, x3, #1 << 2         // C
    orr     x3, x3, #1 << 25        // EE
    set_sctlr x3
    ldr     x4, [x0]
    set_sctlr x2
    rev     x4, x4
    cmp     x1, x4
    answer  eq

    sctlr_keeps eis, 22
    sctlr_keeps eos, 11
    sctlr_keeps e0e, 24
    sctlr_keeps epan, 57
    sctlr_keeps tidcp, 63
    sctlr_keeps cmow, 32
    sctlr_keeps lsmaoe, 29
    sctlr_keeps ntlsmd, 28
    fpcr_keeps ah, 1

trial counter_ss
    mrs     x1, s3_3_c14_c0_5
    mrs     x2, s3_3_c14_c0_5
    cmp     x1, x2
    answer  ls

trial pan
    msr     s0_0_c4_c1_4, xzr       // msr pan, #1
    mrs     x1, s3_0_c4_c2_3
    tst     x1, #1 << 22
    answer  ne

// EL1's access to what is open to EL0 is refused to AT with PAN alone.
trial pan2
    upper   25, 2, leaf=0x440
    orr     x6, x6, #1
    link    x0, x6
    mov     x7, #1 << 22
    msr     s3_0_c4_c2_3, x7
    at      s1e1rp, x5
    isb
    mrs     x1, par_el1
    msr     s3_0_c4_c2_3, xzr
    at      s1e1rp, x5
    isb
    mrs     x2, par_el1
    bic     x1, x1, x2
    tst     x1, #1
    answer  ne

trial unaligned                     // within 16 bytes
    add     x1, x0, #1
    ldar    x2, [x1]
    cmp     x2, #0
    answer  eq

trial vmid_16
    mov     x1, #0xffff000000000000
    mrs     x3, vttbr_el2
    msr     vttbr_el2, x1
    mrs     x2, vttbr_el2
    msr     vttbr_el2, x3
    cmp     x1, x2
    answer  eq

// An IPA through one block of a stage 2 of this granule, from level 1 of 4 KiB, else from level 2. EL1's stage 1 is off.
    .macro  stage_2 name, tg0, t0sz, shift
    trial   stage2_\name
    mrs     x10, hcr_el2
    mrs     x11, vttbr_el2
    mrs     x12, vtcr_el2
    ldr     x6, =(0x40000000 | 0x7fd)
    mov     x7, #(0x40000000 >> \shift)
    str     x6, [x0, x7, lsl #3]
    dsb     ishst
    mrs     x1, id_aa64mmfr0_el1
    and     x1, x1, #7
    ldr     x2, =(0x80003500 | (\tg0 << 14) | (1 << 6) | \t0sz)
    orr     x2, x2, x1, lsl #16
    msr     vtcr_el2, x2
    msr     vttbr_el2, x0
    bic     x1, x10, #1 << 27       // TGE
    orr     x1, x1, #1              // VM
    msr     hcr_el2, x1
    isb
    tlbi    alle1
    dsb     nsh
    isb
    mov     x5, #0x40000000
    at      s12e1r, x5
    isb
    mrs     x13, par_el1
    msr     hcr_el2, x10
    msr     vttbr_el2, x11
    msr     vtcr_el2, x12
    isb
    ubfx    x2, x13, #12, #36
    mov     x3, #0x40000
    tst     x13, #1
    ccmp    x2, x3, #0, eq
    answer  eq
    .endm

    stage_2 4, 0, 25, 30
    stage_2 16, 2, 28, 25
    stage_2 64, 1, 24, 29

// ID_AA64MMFR4_EL1

trial pops
    dc      civaps, x0
    executed

// ID_AA64DFR0_EL1

// MDSCR_EL1: KDE, MDE. Of the level itself; of EL2 by MDCR_EL2.TDE. x10: bits of a control register that mean it.
    .macro  debug_on
    msr     oslar_el1, xzr
    isb
    mov     x1, #5 << 13
    msr     mdscr_el1, x1
    mov     x10, #1 << 1            // PMC, PAC: EL1
    mrs     x9, CurrentEL
    tbz     x9, #3, 1f
    mrs     x1, mdcr_el2
    orr     x1, x1, #1 << 8
    msr     mdcr_el2, x1
    mov     x10, #1 << 1 | 1 << 13  // HMC: and EL2
1:
    .endm

    .macro  breakpoint n
    trial   breakpoint_\n
    debug_on
    adr     x1, 2f
    msr     dbgbvr\n\()_el1, x1
    orr     x10, x10, #1
    orr     x10, x10, #0x1e0        // BAS
    msr     dbgbcr\n\()_el1, x10
    isb
    msr     daifclr, #8
2:  nop
    msr     daifset, #8
    mov     x0, #0
    ret
    .endm

    .macro  watchpoint n
    trial   watchpoint_\n
    debug_on
    msr     dbgwvr\n\()_el1, x0
    orr     x10, x10, #1
    orr     x10, x10, #0x18         // LSC: loads and stores
    orr     x10, x10, #0x1fe0       // BAS
    msr     dbgwcr\n\()_el1, x10
    isb
    msr     daifclr, #8
    ldr     x1, [x0]
    msr     daifset, #8
    mov     x0, #0
    ret
    .endm

    breakpoint 0
    breakpoint 1
    watchpoint 0
    watchpoint 1

// Debug off again.
    .globl  try_debug_off
try_debug_off:
    msr     oslar_el1, xzr
    msr     dbgbcr0_el1, xzr
    msr     dbgbcr1_el1, xzr
    msr     dbgwcr0_el1, xzr
    msr     dbgwcr1_el1, xzr
    msr     mdscr_el1, xzr
    mrs     x9, CurrentEL
    tbz     x9, #3, 1f
    msr     mdcr_el2, xzr
1:  isb
    ret

trial double_lock
    mov     x1, #1
    msr     osdlr_el1, x1
    mrs     x2, osdlr_el1
    msr     osdlr_el1, xzr
    cmp     x2, #1
    answer  eq

    .ltorg
