//! Instructions that programs are made of: their address, or their value, is in x0, what they store in x1.

use crate::encode::Name;

/// An instruction with its name, and whether its lowest bits name the register that it fills.
#[derive(Clone, Copy, Debug)]
pub struct Instruction {
    /// As the assembler has it.
    pub name: &'static str,
    /// With register 0 to be filled, if it fills one.
    pub word: u32,
    /// Whether it fills a register.
    pub fills: bool,
}

const fn fills(name: &'static str, word: u32) -> Instruction {
    Instruction {
        name,
        word,
        fills: true,
    }
}

const fn plain(name: &'static str, word: u32) -> Instruction {
    Instruction {
        name,
        word,
        fills: false,
    }
}

const fn system(name: &'static str, op1: u32, crn: u32, crm: u32, op2: u32) -> Instruction {
    plain(name, Name::new(1, op1, crn, crm, op2).write(0))
}

/// Accesses to memory. No store-exclusive: whether it stores depends on what interrupted the program.
pub const ACCESSES: [Instruction; 28] = [
    fills("ldr x, [x0]", 0xf9400000),
    fills("ldr w, [x0]", 0xb9400000),
    fills("ldrh w, [x0]", 0x79400000),
    fills("ldrb w, [x0]", 0x39400000),
    fills("ldrsb x, [x0]", 0x39800000),
    fills("ldrsh w, [x0]", 0x79c00000),
    fills("ldrsw x, [x0]", 0xb9800000),
    fills("ldur x, [x0, #1]", 0xf8401000),
    fills("ldr x, [x0], #8", 0xf8408400),
    fills("ldp x, x26, [x0]", 0xa9406800),
    fills("ldxr x, [x0]", 0xc85f7c00),
    fills("ldar x, [x0]", 0xc8dffc00),
    fills("ldtr x, [x0]", 0xf8400800),
    fills("ldtrb w, [x0]", 0x38400800),
    fills("ldadd x1, x, [x0]", 0xf8210000),
    fills("swp x1, x, [x0]", 0xf8218000),
    plain("str x1, [x0]", 0xf9000001),
    plain("str w1, [x0]", 0xb9000001),
    plain("strh w1, [x0]", 0x79000001),
    plain("strb w1, [x0]", 0x39000001),
    plain("stp x1, x1, [x0]", 0xa9000401),
    plain("stlr x1, [x0]", 0xc89ffc01),
    plain("sttr x1, [x0]", 0xf8000801),
    plain("str x1, [x0, #8]!", 0xf8008c01),
    plain("ldr q0, [x0]", 0x3dc00000),
    plain("str q0, [x0]", 0x3d800000),
    plain("prfm pldl1keep, [x0]", 0xf9800000),
    plain("blr x0", 0xd63f0000),
];

/// Maintenance of caches by address.
pub const CACHES: [Instruction; 6] = [
    system("dc zva, x0", 3, 7, 4, 1),
    system("dc civac, x0", 3, 7, 14, 1),
    system("dc cvac, x0", 3, 7, 10, 1),
    system("dc cvau, x0", 3, 7, 11, 1),
    system("dc ivac, x0", 0, 7, 6, 1),
    system("ic ivau, x0", 3, 7, 5, 1),
];

/// Other maintenance, as EL1 has it.
pub const MAINTENANCE: [Instruction; 13] = [
    system("tlbi vmalle1", 0, 8, 7, 0),
    system("tlbi vmalle1is", 0, 8, 3, 0),
    system("tlbi vae1, x0", 0, 8, 7, 1),
    system("tlbi vaae1is, x0", 0, 8, 3, 3),
    system("tlbi aside1, x0", 0, 8, 7, 2),
    system("tlbi vale1is, x0", 0, 8, 3, 5),
    system("tlbi vmalle1os", 0, 8, 1, 0),
    system("tlbi rvae1is, x0", 0, 8, 2, 1),
    system("ic iallu", 0, 7, 5, 0),
    system("ic ialluis", 0, 7, 1, 0),
    system("dc isw, x0", 0, 7, 6, 2),
    system("dc csw, x0", 0, 7, 10, 2),
    system("dc cisw, x0", 0, 7, 14, 2),
];

/// Maintenance of EL2's.
pub const MAINTENANCE_OF_EL2: [Instruction; 8] = [
    system("tlbi alle1is", 4, 8, 3, 4),
    system("tlbi vmalls12e1is", 4, 8, 3, 6),
    system("tlbi ipas2e1is, x0", 4, 8, 0, 1),
    system("tlbi ipas2le1, x0", 4, 8, 4, 5),
    system("tlbi ripas2e1is, x0", 4, 8, 0, 2),
    system("tlbi vae2is, x0", 4, 8, 3, 1),
    system("tlbi alle2", 4, 8, 7, 0),
    system("tlbi vale2, x0", 4, 8, 7, 5),
];

/// Translations of addresses that EL1 has.
pub const AT: [Instruction; 6] = [
    system("at s1e1r, x0", 0, 7, 8, 0),
    system("at s1e1w, x0", 0, 7, 8, 1),
    system("at s1e0r, x0", 0, 7, 8, 2),
    system("at s1e0w, x0", 0, 7, 8, 3),
    system("at s1e1rp, x0", 0, 7, 9, 0),
    system("at s1e1wp, x0", 0, 7, 9, 1),
];

/// Translations of addresses that EL2 has, to read.
pub const AT_OF_EL2: [Instruction; 3] = [
    system("at s12e1r, x0", 4, 7, 8, 4),
    system("at s12e0r, x0", 4, 7, 8, 6),
    AT_S1E2R,
];

/// Of EL2's own stage 1.
pub const AT_S1E2R: Instruction = system("at s1e2r, x0", 4, 7, 8, 0);

/// And to write.
pub const AT_OF_EL2_TO_WRITE: [Instruction; 3] = [
    system("at s12e1w, x0", 4, 7, 8, 5),
    system("at s12e0w, x0", 4, 7, 8, 7),
    system("at s1e2w, x0", 4, 7, 8, 1),
];

/// What raises an exception by itself, SMC aside.
pub const RAISING: [Instruction; 5] = [
    plain("svc #0x123", 0xd4002461),
    plain("hvc #0x456", 0xd4008ac2),
    plain("brk #0x789", 0xd420f120),
    plain("udf #5", 0x00000005),
    plain("hlt #1", 0xd4400020),
];

/// SMC, which EL2 must have trapped.
pub const SMC: Instruction = plain("smc #0x42", 0xd4000843);
/// ERET.
pub const ERET: Instruction = plain("eret", 0xd69f03e0);
/// WFI, which must trap.
pub const WFI: Instruction = plain("wfi", 0xd503207f);
/// WFE, which must trap.
pub const WFE: Instruction = plain("wfe", 0xd503205f);
/// DSB.
pub const DSB: Instruction = plain("dsb sy", 0xd5033f9f);
/// What is stored is x0's.
pub const MOV_X1: Instruction = plain("mov x1, x0", 0xaa0003e1);
/// A store of it.
pub const STORE: Instruction = plain("str x1, [x0]", 0xf9000001);
/// A load of a word, as devices have them.
pub const LOAD_WORD: Instruction = fills("ldr w, [x0]", 0xb9400000);
/// A store of one.
pub const STORE_WORD: Instruction = plain("str w1, [x0]", 0xb9000001);
/// TLBI of both stages, all or one VMID; of stage 2 by IPA, from bit 12 on; of stage 1.
pub const TLBI_ALLE1IS: Instruction = system("tlbi alle1is", 4, 8, 3, 4);
/// See [`TLBI_ALLE1IS`].
pub const TLBI_VMALLS12E1IS: Instruction = system("tlbi vmalls12e1is", 4, 8, 3, 6);
/// See [`TLBI_ALLE1IS`].
pub const TLBI_IPAS2E1IS: Instruction = system("tlbi ipas2e1is, x0", 4, 8, 0, 1);
/// See [`TLBI_ALLE1IS`].
pub const TLBI_VMALLE1IS: Instruction = system("tlbi vmalle1is", 0, 8, 3, 0);
/// A use of the floating-point registers.
pub const FMOV: Instruction = fills("fmov x, d1", 0x9e660020);

/// Changes of PSTATE by an immediate, which all levels but EL0 have.
pub const PSTATE: [Instruction; 10] = [
    plain("msr daifclr, #0xf", 0xd5034fff),
    plain("msr daifclr, #2", 0xd50342ff),
    plain("msr daifset, #0xf", 0xd5034fdf),
    plain("msr pan, #0", 0xd500409f),
    plain("msr pan, #1", 0xd500419f),
    plain("msr uao, #1", 0xd500417f),
    plain("msr uao, #0", 0xd500407f),
    plain("msr spsel, #0", 0xd50040bf),
    plain("msr spsel, #1", 0xd50041bf),
    plain("msr dit, #1", 0xd503415f),
];
