//! Bare list registers, compared with what enter and leave make of them.

use super::machine::Machine;
use crate::Line;
use crate::gic::{Bare, Ich, Interface, Signal, Vmcr, Vtr};

/// Five bits of preemption, four list registers.
const VTR: Vtr = Vtr(4 << 26 | 3);

fn ich(bare: &Bare, lrs: [u64; 4]) -> Ich {
    let mut ich = Ich {
        hcr: bare.hcr,
        ..Ich::RESET
    };
    ich.interface = Interface {
        vmcr: bare.vmcr,
        ap0r: [bare.ap0r, 0, 0, 0],
        ap1r: [bare.ap1r, 0, 0, 0],
    };
    ich.lrs[..4].copy_from_slice(&lrs);
    ich
}

fn bare(ich: &Ich) -> Bare {
    Bare {
        hcr: ich.hcr,
        vmcr: ich.interface.vmcr,
        ap0r: ich.interface.ap0r[0],
        ap1r: ich.interface.ap1r[0],
    }
}

const SOME: Bare = Bare {
    hcr: 1,
    vmcr: Vmcr(0xff00_0003),
    ap0r: 0,
    ap1r: 0,
};

#[test]
fn what_moves_is_what_the_whole_way_moves() {
    let settings = [0, 1, 0x1234_5678, 0xffff_ffff, u64::MAX];
    // All but what asks for maintenance interrupts.
    let hcrs = (0..64)
        .map(|bit| 1 << bit)
        .chain([0, u64::MAX, 0x8000_5c01]);
    for hcr in hcrs.map(|hcr: u64| hcr & !0xfe) {
        for lrs in [[0; 4], [27, 0xa0 << 48, 0, 1 << 60 | 9]] {
            for value in settings {
                let guest = Bare {
                    hcr,
                    vmcr: Vmcr(value),
                    ap0r: value,
                    ap1r: value.rotate_left(7),
                };
                let any = lrs.iter().fold(0, |any, lr| any | lr);
                let found = Bare::for_hardware(&guest, any, None, VTR).expect("nothing is listed");
                let mut machine = Machine::new(1, 0, 4);
                let (mut whole, mut hardware) = (ich(&guest, lrs), Ich::RESET);
                let (used, line) = machine.gic.enter_nested(0, &whole, None, &mut hardware);
                assert_eq!((used, line, bare(&hardware)), (0, Line::Low, found));
                // What the guest's guest may do.
                hardware.hcr ^= 5 << 27;
                hardware.interface.vmcr.0 ^= u64::MAX;
                hardware.interface.ap1r[0] ^= u64::MAX;
                let _ = machine.gic.leave_nested(0, &hardware, &mut whole);
                assert_eq!(whole, ich(&bare(&hardware).for_guest(guest.hcr), lrs));
                assert_eq!(whole.maintenance(4), Line::Low);
            }
        }
    }
}

#[test]
fn whatever_is_listed_or_asked_for_goes_the_whole_way() {
    let is_bare = |guest: &Bare, lrs, left, vtr| {
        let found = Bare::for_hardware(guest, lrs, left, vtr);
        found.is_some()
    };
    assert!(is_bare(&SOME, 0, None, VTR));
    // Pending, active, ended with a maintenance interrupt.
    for bit in [62, 63, 41] {
        assert!(!is_bare(&SOME, 1 << bit | 0x1b, None, VTR), "{bit}");
    }
    for bit in 1..8 {
        let asking = Bare {
            hcr: SOME.hcr | 1 << bit,
            ..SOME
        };
        assert!(!is_bare(&asking, 0, None, VTR), "{bit}");
    }
    for group in [Signal::Irq, Signal::Fiq] {
        assert!(!is_bare(&SOME, 0, Some(group), VTR));
    }
    // Six and seven bits of preemption have two and four registers of active priorities.
    for bits in [5, 6] {
        assert!(!is_bare(&SOME, 0, None, Vtr(bits << 26 | 3)));
    }
}
