//! Instructions as numbers (DDI 0487, C4.1), for guests that execute what no assembler would write.

/// `RET`: back to x30.
pub const RET: u32 = 0xd65f03c0;
/// `ISB`.
pub const ISB: u32 = 0xd5033fdf;

/// One of the names that MRS, MSR, SYS and SYSL carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name {
    /// 1 for system instructions, 2 and 3 for registers.
    pub op0: u32,
    /// 0 to 7.
    pub op1: u32,
    /// 0 to 15.
    pub crn: u32,
    /// 0 to 15.
    pub crm: u32,
    /// 0 to 7.
    pub op2: u32,
}

impl Name {
    /// The register or instruction with these fields; higher bits are dropped.
    pub const fn new(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> Self {
        Self {
            op0: op0 & 3,
            op1: op1 & 7,
            crn: crn & 15,
            crm: crm & 15,
            op2: op2 & 7,
        }
    }

    /// All names of one op0, in the order of their encodings.
    pub fn all(op0: u32) -> impl Iterator<Item = Self> {
        (0..1 << 14).map(move |n| Self::new(op0, n >> 11, n >> 7, n >> 3, n))
    }

    const fn fields(self) -> u32 {
        self.op0 << 19 | self.op1 << 16 | self.crn << 12 | self.crm << 8 | self.op2 << 5
    }

    /// `MSR name, Xt`, or `SYS` when op0 is 1. `t` is 0 to 31.
    pub const fn write(self, t: u32) -> u32 {
        0xd5000000 | self.fields() | t & 31
    }

    /// `MRS Xt, name`, or `SYSL` when op0 is 1. `t` is 0 to 31.
    pub const fn read(self, t: u32) -> u32 {
        0xd5200000 | self.fields() | t & 31
    }
}

/// `HVC #imm`.
pub const fn hvc(imm: u16) -> u32 {
    0xd4000002 | (imm as u32) << 5
}

/// `SMC #imm`.
pub const fn smc(imm: u16) -> u32 {
    0xd4000003 | (imm as u32) << 5
}

/// `LDR{B,H,,} Rt, [Xn]`: zero-extending load of 1 << `size` bytes.
pub const fn load(size: u32, t: u32, n: u32) -> u32 {
    0x39400000 | (size & 3) << 30 | (n & 31) << 5 | t & 31
}

/// `STR{B,H,,} Rt, [Xn]`: store of 1 << `size` bytes.
pub const fn store(size: u32, t: u32, n: u32) -> u32 {
    0x39000000 | (size & 3) << 30 | (n & 31) << 5 | t & 31
}

/// `MOVZ Xt, #imm, LSL #(16 * place)`, or `MOVK` where another part of the register is kept.
const fn move_wide(opcode: u32, t: u32, imm: u16, place: u32) -> u32 {
    opcode | (place & 3) << 21 | (imm as u32) << 5 | t & 31
}

/// Four instructions that put `value` into Xt.
pub const fn set(t: u32, value: u64) -> [u32; 4] {
    [
        move_wide(0xd2800000, t, value as u16, 0),
        move_wide(0xf2800000, t, (value >> 16) as u16, 1),
        move_wide(0xf2800000, t, (value >> 32) as u16, 2),
        move_wide(0xf2800000, t, (value >> 48) as u16, 3),
    ]
}

/// `SVC #imm`.
pub const fn svc(imm: u16) -> u32 {
    0xd4000001 | (imm as u32) << 5
}

/// `BRK #imm`.
pub const fn brk(imm: u16) -> u32 {
    0xd4200000 | (imm as u32) << 5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instructions_come_out_as_the_assembler_writes_them() {
        // mrs x3, sctlr_el1; msr sctlr_el1, x3; dc zva, x1; tlbi vmalle1
        let sctlr = Name::new(3, 0, 1, 0, 0);
        assert_eq!(sctlr.read(3), 0xd5381003);
        assert_eq!(sctlr.write(3), 0xd5181003);
        assert_eq!(Name::new(1, 3, 7, 4, 1).write(1), 0xd50b7421);
        assert_eq!(Name::new(1, 0, 8, 7, 0).write(31), 0xd508871f);
        // hvc #1; smc #0xffff; ldrb w1, [x2]; str x1, [x2]
        assert_eq!(hvc(1), 0xd4000022);
        assert_eq!(smc(0xffff), 0xd41fffe3);
        assert_eq!(load(0, 1, 2), 0x39400041);
        assert_eq!(store(3, 1, 2), 0xf9000041);
    }

    #[test]
    fn a_value_is_put_together_of_its_four_parts() {
        // movz x3, #0x1234; movk x3, #0x5678, lsl 16; movk x3, #0x9abc, lsl 32; movk x3, #0xdef0, lsl 48
        let words = [0xd2824683, 0xf2aacf03, 0xf2d35783, 0xf2fbde03];
        assert_eq!(set(3, 0xdef0_9abc_5678_1234), words);
        // svc #1; brk #2
        assert_eq!([svc(1), brk(2)], [0xd4000021, 0xd4200040]);
    }

    #[test]
    fn every_name_comes_once() {
        let mut seen = [false; 1 << 14];
        for name in Name::all(3) {
            let slot = (name.write(0) >> 5 & 0x3fff) as usize;
            assert!(!seen[slot], "{name:?} came twice");
            assert_eq!(name.write(0) >> 19 & 3, 3, "{name:?} has the op0 asked for");
            seen[slot] = true;
        }
        assert!(seen.iter().all(|s| *s), "a name is missing");
    }

    #[test]
    fn fields_too_wide_do_not_spill() {
        assert_eq!(Name::new(7, 8, 16, 16, 8), Name::new(3, 0, 0, 0, 0));
        assert_eq!(load(4, 32, 32), load(0, 0, 0));
    }
}
