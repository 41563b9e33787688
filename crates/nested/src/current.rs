//! The context that the guest of one vCPU runs under, from one entry to the next.
//!
//! Whenever L1 enters its guest, its registers say which context the guest runs under. Mostly they say what they said
//! the last time, and the vCPU still holds that context. Then it stays: no key is made, no pool is asked, and how L1's
//! table is read stays known. Whole registers are compared: where only a bit changed that means nothing to stage 2,
//! that costs a look at the pools and no more.

use crate::pool::{Held, Place};
use crate::{Advertised, StageTwo, StageTwoRegisters, Walker};
use droste_arm64::{Vtcr, Vttbr};

/// The context of a vCPU's guest, kept until another is asked for, and the registers that asked for it.
///
/// ```
/// use droste_arm64::{hcr, IdRegisters, IpaBits, Vtcr, Vttbr};
/// use droste_nested::pool::{Entry, Held, Key, Pool};
/// use droste_nested::{Advertised, Current, StageTwoRegisters};
/// let advertised = Advertised { ids: IdRegisters::default(), isar1: 0, ipa_bits: IpaBits::MIN };
/// let registers = StageTwoRegisters { hcr: hcr::VM, sctlr: 0, vtcr: Vtcr(0), vttbr: Vttbr(1 << 48) };
/// let mut pool = Pool::new([Entry::UNUSED; 2].to_vec());
/// let mut current = Current::NONE;
/// assert!(!current.is_still(&registers));
/// let key = Key::new(&registers, &advertised);
/// let place = pool.acquire(key).unwrap().place();
/// current.become_of(&registers, Held { key, place });
/// assert!(current.is_still(&registers));
/// pool.release(current.give_up().unwrap().place);
/// assert!(!current.is_still(&registers));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Current {
    registers: StageTwoRegisters,
    held: Option<Held>,
    /// How L1's table is read by `registers`, once that was asked.
    walker: Option<Walker>,
}

impl Current {
    /// No guest has run yet.
    pub const NONE: Self = Self {
        registers: StageTwoRegisters {
            hcr: 0,
            sctlr: 0,
            vtcr: Vtcr(0),
            vttbr: Vttbr(0),
        },
        held: None,
        walker: None,
    };

    /// Whether a context is held and `registers` are the ones that asked for it, bit for bit.
    #[inline]
    pub fn is_still(&self, registers: &StageTwoRegisters) -> bool {
        let (was, now) = (&self.registers, registers);
        let changed = was.hcr ^ now.hcr
            | was.sctlr ^ now.sctlr
            | was.vtcr.0 ^ now.vtcr.0
            | was.vttbr.0 ^ now.vttbr.0;
        self.held.is_some() && changed == 0
    }

    /// Holds another context from now on: `held`, which `registers` asked for. The caller has [given up](Self::give_up)
    /// the one before.
    pub fn become_of(&mut self, registers: &StageTwoRegisters, held: Held) {
        if self.registers != *registers {
            self.walker = None;
        }
        self.registers = *registers;
        self.held = Some(held);
    }

    /// Gives up the context that is held, if there is one.
    pub fn give_up(&mut self) -> Option<Held> {
        self.held.take()
    }

    /// The registers of the guest that was entered last.
    pub const fn registers(&self) -> &StageTwoRegisters {
        &self.registers
    }

    /// The context that is held, if there is one.
    #[inline]
    pub const fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// The place of the shadow that the guest runs by; `None` if no context is held or L1's stage 2 is off.
    #[inline]
    pub fn shadow(&self) -> Option<Place> {
        let held = self.held.as_ref()?;
        held.key.has_table().then_some(held.place)
    }

    /// How the table of the guest that was entered last is read; `None` if L1's stage 2 is off for it.
    #[inline]
    pub fn walker(&mut self, advertised: &Advertised) -> Option<&Walker> {
        if self.walker.is_none()
            && let StageTwo::On(walker) = StageTwo::new(&self.registers, advertised)
        {
            self.walker = Some(walker);
        }
        self.walker.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Key;
    use droste_arm64::{IdRegisters, IpaBits, hcr};

    fn advertised() -> Advertised {
        Advertised {
            ids: IdRegisters {
                mmfr0: 5,
                ..IdRegisters::default()
            },
            isar1: 0,
            ipa_bits: IpaBits::new(40).expect("a width"),
        }
    }

    const ON: StageTwoRegisters = StageTwoRegisters {
        hcr: hcr::VM,
        sctlr: 0,
        vtcr: Vtcr(5 << 16 | 1 << 6 | 0x18),
        vttbr: Vttbr(7 << 48 | 0x4000_0000),
    };

    fn held(registers: &StageTwoRegisters, place: u32) -> Held {
        Held {
            key: Key::new(registers, &advertised()),
            place: Place(place),
        }
    }

    #[test]
    fn a_context_stays_as_long_as_no_register_changes() {
        let mut current = Current::NONE;
        current.become_of(&ON, held(&ON, 3));
        assert!(current.is_still(&ON));
        for other in [
            StageTwoRegisters {
                hcr: ON.hcr | hcr::PTW,
                ..ON
            },
            StageTwoRegisters {
                sctlr: 1 << 25,
                ..ON
            },
            StageTwoRegisters {
                vtcr: Vtcr(ON.vtcr.0 | 1 << 21),
                ..ON
            },
            StageTwoRegisters {
                vttbr: Vttbr(8 << 48 | 0x4000_0000),
                ..ON
            },
        ] {
            assert!(!current.is_still(&other), "{other:?}");
        }
    }

    #[test]
    fn what_was_given_up_is_asked_for_again() {
        let mut current = Current::NONE;
        assert!(!current.is_still(&Current::NONE.registers));
        current.become_of(&ON, held(&ON, 3));
        assert_eq!(current.give_up(), Some(held(&ON, 3)));
        assert!(!current.is_still(&ON));
        assert_eq!((current.give_up(), current.shadow()), (None, None));
        assert_eq!(
            current.registers(),
            &ON,
            "how its walks ended is asked still"
        );
    }

    #[test]
    fn another_table_is_read_its_own_way() {
        let mut current = Current::NONE;
        assert_eq!(current.walker(&advertised()), None);
        current.become_of(&ON, held(&ON, 3));
        let StageTwo::On(expected) = StageTwo::new(&ON, &advertised()) else {
            panic!("it is on");
        };
        assert_eq!(current.walker(&advertised()), Some(&expected));
        let other = StageTwoRegisters {
            vttbr: Vttbr(7 << 48 | 0x5000_0000),
            ..ON
        };
        current.become_of(&other, held(&other, 4));
        let StageTwo::On(other) = StageTwo::new(&other, &advertised()) else {
            panic!("it is on");
        };
        assert_ne!(expected, other);
        assert_eq!(current.walker(&advertised()), Some(&other));
    }

    #[test]
    fn without_a_table_of_l1s_there_is_no_shadow() {
        let mut current = Current::NONE;
        let off = StageTwoRegisters { hcr: 0, ..ON };
        current.become_of(&off, held(&off, 1));
        assert_eq!(
            (current.shadow(), current.walker(&advertised())),
            (None, None)
        );
        current.become_of(&ON, held(&ON, 2));
        assert_eq!(current.shadow(), Some(Place(2)));
    }
}
