//! ERET at virtual EL2: where it leads (DDI 0487, D1.4.4).
//!
//! With HCR_EL2.NV set, ERET, ERETAA and ERETAB trap (D8.14.1). SPSR_EL2 holds what L1 wrote, which may be any value.
//! If it names no legal target, this is an illegal exception return, which stays at virtual EL2 with PSTATE.IL set.

use droste_arm64::esr::Esr;
use droste_arm64::hcr;

use crate::exception::{Level, PstateBits, Running, pstate};

/// Which of the instructions trapped, from the syndrome of exception class 0x1a.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// ERET.
    Plain,
    /// ERETAA: ELR_EL2 is authenticated with key A, with the stack pointer as the modifier.
    KeyA,
    /// ERETAB: the same with key B.
    KeyB,
}

impl Form {
    /// From ISS.ERET and ISS.ERETA (DDI 0487, D24.2, ESR_EL2, "ISS encoding for an exception from ERET, ERETAA, or ERETAB").
    ///
    /// ```
    /// use droste_arm64::esr::Esr;
    /// use droste_nested::eret::Form;
    /// assert_eq!(Form::decode(Esr(0x1a << 26)), Form::Plain);
    /// assert_eq!(Form::decode(Esr(0x1a << 26 | 3)), Form::KeyB);
    /// ```
    pub const fn decode(esr: Esr) -> Self {
        match esr.0 & 3 {
            0 | 1 => Self::Plain,
            2 => Self::KeyA,
            _ => Self::KeyB,
        }
    }
}

/// An address as ERETAA and ERETAB return to it, without its authentication code, which is not checked: bits \[63:48\]
/// become copies of bit 55 (DDI 0487, D8.10, and J1.1, Strip; for addresses of up to 48 bits).
///
/// ```
/// use droste_nested::eret::strip;
/// assert_eq!(strip(0x0035_8000_1234_5678), 0x0000_8000_1234_5678);
/// assert_eq!(strip(0xffaa_8000_1234_5678), 0xffff_8000_1234_5678);
/// ```
pub const fn strip(address: u64) -> u64 {
    const CODE: u64 = 0xffff << 48;
    if address >> 55 & 1 != 0 {
        address | CODE
    } else {
        address & !CODE
    }
}

/// What virtual EL2's registers hold when it returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct From {
    /// ELR_EL2; for ERETAA and ERETAB [without its code](strip).
    pub elr: u64,
    /// SPSR_EL2, as L1 wrote it.
    pub spsr: u64,
    /// The virtual PSTATE, at EL2.
    pub pstate: u64,
    /// HCR_EL2, as its rule keeps it.
    pub hcr: u64,
    /// The bits of PSTATE that the vCPU has.
    pub bits: PstateBits,
}

/// The state after the return.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Return {
    /// Where execution goes on. The hardware's own ERET applies the target's address tags.
    pub pc: u64,
    /// The virtual PSTATE.
    pub pstate: u64,
    /// What then runs.
    pub running: Running,
}

/// Returns from virtual EL2 (J1.3, SetPSTATEFromPSR).
///
/// PSTATE.SS is taken over as it is: the hardware decides whether a step is pending when L0 returns.
///
/// ```
/// use droste_arm64::hcr;
/// use droste_nested::eret::{From, eret};
/// use droste_nested::exception::{PstateBits, Running};
/// let from = From {
///     elr: 0x4000_0000,
///     spsr: 0x3c5,
///     pstate: 0x3c9,
///     hcr: hcr::E2H,
///     bits: PstateBits::new(0, 0, 0, 0),
/// };
/// let to_el1 = eret(&from);
/// assert_eq!((to_el1.pc, to_el1.pstate), (0x4000_0000, 0x3c5));
/// assert_eq!(to_el1.running, Running::Guest);
/// // With TGE there is no EL1 to return to: PSTATE.IL is set at EL2.
/// let illegal = eret(&From { hcr: hcr::E2H | hcr::TGE, ..from });
/// assert_eq!((illegal.pstate, illegal.running), (0x3c9 | 1 << 20, Running::VirtualEl2));
/// ```
pub const fn eret(from: &From) -> Return {
    let spsr = from.spsr & from.bits.mask();
    let (running, to) = match legal_target(spsr, from.hcr) {
        Some(level) => (Running::at(level, from.hcr), spsr),
        None => (
            Running::VirtualEl2,
            illegal_pstate(spsr, from.pstate & from.bits.mask()),
        ),
    };
    Return {
        pc: from.elr,
        pstate: to,
        running,
    }
}

/// The level that an SPSR leads to from EL2; `None` if the return is illegal (D1.4.4.2; J1.3,
/// `IllegalExceptionReturn`): to AArch32, which no level has, to EL3, to reserved modes, to EL0 with M\[0\] set, and to
/// EL1 where TGE is 1.
const fn legal_target(spsr: u64, hcr: u64) -> Option<Level> {
    match spsr & pstate::MODE {
        0b0_0000 => Some(Level::El0),
        0b0_0100 | 0b0_0101 if hcr & hcr::TGE == 0 => Some(Level::El1),
        0b0_1000 | 0b0_1001 => Some(Level::El2),
        _ => None,
    }
}

/// Level and stack pointer stay; flags, masks, PAN and the step bit come from the SPSR; IL is set. The other bits are
/// UNKNOWN: they stay.
const fn illegal_pstate(spsr: u64, now: u64) -> u64 {
    const TAKEN: u64 = pstate::NZCV | pstate::DAIF | pstate::PAN | pstate::SS;
    now & !TAKEN | spsr & TAKEN | pstate::IL
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: u64 = hcr::E2H | hcr::TGE;
    const BITS: PstateBits = PstateBits::new(1 << 48, 1 | 1 << 4 | 1 << 8, 1 << 20, 1 << 4);

    fn returning(spsr: u64, hcr: u64) -> Return {
        eret(&From {
            elr: 0x8000_0000,
            spsr,
            pstate: pstate::EL2H | pstate::DAIF,
            hcr,
            bits: BITS,
        })
    }

    #[test]
    fn every_mode_is_legal_or_illegal_as_the_manual_says() {
        for hcr in [0, hcr::E2H, hcr::TGE, HOST] {
            let is_tge = hcr & hcr::TGE != 0;
            for mode in 0..32 {
                let back = returning(mode, hcr);
                let expected = match mode {
                    0b0000 if hcr == HOST => Some(Running::HostEl0),
                    0b0000 => Some(Running::Guest),
                    0b0100 | 0b0101 if !is_tge => Some(Running::Guest),
                    0b1000 | 0b1001 => Some(Running::VirtualEl2),
                    _ => None,
                };
                let is_illegal = back.pstate & pstate::IL != 0;
                assert_eq!(is_illegal, expected.is_none(), "{mode:#b} {hcr:#x}");
                assert_eq!(back.pc, 0x8000_0000);
                assert_eq!(back.running, expected.unwrap_or(Running::VirtualEl2));
                let kept = if is_illegal { pstate::EL2H } else { mode };
                assert_eq!(back.pstate & pstate::MODE, kept, "{mode:#b}");
            }
        }
    }

    #[test]
    fn a_legal_return_takes_over_every_bit_that_exists() {
        let all = !pstate::MODE | 0b0101;
        assert_eq!(returning(all, 0).pstate, BITS.mask() & all);
        let few = eret(&From {
            elr: 0,
            spsr: all,
            pstate: pstate::EL2H,
            hcr: 0,
            bits: PstateBits::new(0, 0, 0, 0),
        });
        let expected = pstate::NZCV | pstate::DAIF | pstate::IL | pstate::SS | 0b0101;
        assert_eq!(few.pstate, expected);
    }

    #[test]
    fn a_saved_il_bit_returns_with_it() {
        let back = returning(pstate::IL | 0b0101, 0);
        assert_eq!(back.running, Running::Guest);
        assert_eq!(back.pstate & pstate::IL, pstate::IL);
    }

    #[test]
    fn an_illegal_return_keeps_mode_and_takes_flags_and_masks() {
        let el3 = 0b1101;
        let back = returning(pstate::NZCV | pstate::PAN | pstate::SSBS | el3, 0);
        assert_eq!(
            back.pstate,
            pstate::EL2H | pstate::NZCV | pstate::PAN | pstate::IL,
            "interrupts unmasked, SSBS as before"
        );
    }

    #[test]
    fn an_entry_returns_to_where_it_came_from() {
        use crate::exception::{Controls, Exception, Origin, level, take_to_el2};
        for mode in [0b0000, 0b0100, 0b0101, 0b1000, 0b1001] {
            let origin = Origin {
                pc: 0x40_1000,
                pstate: BITS.mask() & !pstate::MODE & !pstate::IL | mode,
            };
            let controls = Controls {
                hcr: hcr::E2H,
                sctlr: 0,
                vbar: 0,
                bits: BITS,
            };
            let entry = take_to_el2(Exception::Irq, origin, &controls);
            assert_eq!(level(entry.pstate), Level::El2);
            let back = eret(&From {
                elr: entry.elr,
                spsr: entry.spsr,
                pstate: entry.pstate,
                hcr: controls.hcr,
                bits: BITS,
            });
            assert_eq!((back.pc, back.pstate), (origin.pc, origin.pstate));
        }
    }

    #[test]
    fn the_forms_are_told_apart() {
        let form = |iss: u64| Form::decode(Esr(0x1a << 26 | 1 << 25 | iss));
        assert_eq!([form(0), form(1)], [Form::Plain; 2]);
        assert_eq!((form(2), form(3)), (Form::KeyA, Form::KeyB));
    }
}
