//! The computed registers, against the manual's sentences taken one list register at a time.

use crate::Line;
use crate::gic::{Ich, Interface, Vmcr, Vtr};
use proptest::prelude::*;

const EN: u64 = 1;

fn with(hcr: u64, vmcr: u64, lrs: &[u64]) -> Ich {
    let mut ich = Ich {
        hcr,
        interface: Interface {
            vmcr: Vmcr(vmcr),
            ..Interface::RESET
        },
        ..Ich::RESET
    };
    ich.lrs[..lrs.len()].copy_from_slice(lrs);
    ich
}

#[test]
fn an_ended_list_register_that_asked_for_it_is_not_free() {
    let ich = with(
        EN,
        0,
        &[1 << 41 | 7, 1 << 61 | 1 << 41, 1 << 62 | 1 << 41, 7],
    );
    assert_eq!(ich.eisr(4), 0b0001);
    assert_eq!(ich.elrsr(4), 0b1010);
    assert_eq!(ich.misr(4), 0b0001);
    assert_eq!(ich.maintenance(4), Line::High);
    let off = Ich { hcr: 0, ..ich };
    assert_eq!(off.misr(4), 0b0001, "it reads so with the interface off");
    assert_eq!(off.maintenance(4), Line::Low);
}

#[test]
fn list_registers_that_do_not_exist_are_neither_free_nor_ended() {
    let ich = with(EN, 0, &[0, 0, 1 << 41, 1 << 62]);
    assert_eq!((ich.elrsr(2), ich.eisr(2), ich.misr(2)), (0b11, 0, 0));
    assert_eq!(Ich::RESET.elrsr(16), 0xffff);
}

#[test]
fn each_group_is_told_of_in_the_direction_asked_for() {
    for (vmcr, misr) in [(0b00, 0xa0), (0b01, 0x90), (0b10, 0x60), (0b11, 0x50)] {
        assert_eq!(with(EN | 0xf0, vmcr, &[]).misr(4), misr, "{vmcr:#b}");
    }
}

#[test]
fn an_interrupt_that_is_active_too_counts_as_not_pending() {
    const NPIE: u64 = 1 << 3;
    assert_eq!(with(EN | NPIE, 0, &[3 << 62]).misr(4), NPIE);
    assert_eq!(with(EN | NPIE, 0, &[3 << 62, 1 << 62]).misr(4), 0);
}

#[test]
fn a_guest_is_told_of_what_its_interface_can() {
    let vtr = Vtr(0xffff_ffff).for_guest();
    assert_eq!(vtr.0, 0xfc38_001f);
    assert_eq!(vtr.list_registers(), 16);
    for (bits, registers) in [(5, 1), (6, 2), (7, 4), (1, 1), (8, 4)] {
        assert_eq!(
            Vtr((bits - 1) << 26).active_priorities(),
            registers,
            "{bits}"
        );
    }
}

/// ICH_MISR_EL2 bit by bit.
fn misr(ich: &Ich, count: usize) -> u64 {
    let lrs = &ich.lrs[..count];
    let is_asked = |bit: u64| ich.hcr & 1 << bit != 0;
    let is_on = |group: u64| ich.interface.vmcr.0 & 1 << group != 0;
    let state = |lr: &u64| lr >> 62;
    let mut bits = 0;
    let mut set = |bit: u32, holds: bool| bits |= u64::from(holds) << bit;
    set(0, ich.eisr(count) != 0);
    set(
        1,
        is_asked(1) && lrs.iter().filter(|lr| state(lr) != 0).count() <= 1,
    );
    set(2, is_asked(2) && ich.hcr >> 27 & 31 != 0);
    set(3, is_asked(3) && lrs.iter().all(|lr| state(lr) != 1));
    set(4, is_asked(4) && is_on(0));
    set(5, is_asked(5) && !is_on(0));
    set(6, is_asked(6) && is_on(1));
    set(7, is_asked(7) && !is_on(1));
    bits
}

proptest! {
    #[test]
    fn any_contents_read_as_the_manual_says(
        hcr in any::<u32>(), vmcr: u64, count in 1..=16usize,
        lrs in proptest::array::uniform16(any::<u64>()), free: u16,
    ) {
        let mut ich = with(hcr.into(), vmcr, &lrs);
        for (slot, lr) in ich.lrs.iter_mut().enumerate() {
            if free >> slot & 1 != 0 {
                *lr &= !(3 << 62);
            }
        }
        let (eisr, elrsr) = (ich.eisr(count), ich.elrsr(count));
        prop_assert_eq!(ich.misr(count), misr(&ich, count));
        for (slot, lr) in ich.lrs.into_iter().enumerate() {
            let (state, hw, eoi) = (lr >> 62, lr >> 61 & 1, lr >> 41 & 1);
            let exists = slot < count;
            prop_assert_eq!(eisr >> slot & 1 == 1, exists && state == 0 && hw == 0 && eoi == 1);
            prop_assert_eq!(elrsr >> slot & 1 == 1, exists && state == 0 && (hw == 1 || eoi == 0));
        }
    }
}
