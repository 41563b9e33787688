//! The controls of a guest's world, and returns to it, at random.

use crate::prowler::{KEPT, Prowler, SANE_AT};
use droste_guests::stage2;
use droste_guests::{BLOCK, cpu, el2, programs};
use el2::{World, class, hcr, mode};

const ROUNDS: u32 = 3000;
/// Different values of VTTBR_EL2.
const CONTEXTS: u64 = 5000;
/// An address of EL2's that nothing is mapped at.
const UNMAPPED: u64 = 500 << 30;

/// One of the values, or all at once.
pub(crate) fn random(prowler: &mut Prowler) {
    for round in 0..ROUNDS {
        let noise = prowler.random.next();
        let sane = prowler.sane.vttbr(1);
        let few = 1 << prowler.random.below(64) | 1 << prowler.random.below(64);
        let which = if round % 4 == 3 { 7 } else { 1 << (round % 3) };
        let of = |bit: u32, sane: u64| match which & bit {
            0 => sane,
            _ if round % 2 == 0 => noise,
            _ => sane ^ few,
        };
        el2::set_vttbr(of(1, sane));
        el2::set_vtcr(of(2, stage2::vtcr()));
        // E2H is what this guest runs with itself.
        let controls = of(4, hcr::VM) & !hcr::E2H | KEPT;
        let (from, to) = (prowler.address(), prowler.harmless());
        prowler.prowl(controls, from, to);
    }
    prowler.calm();
}

/// Thousands of contexts in turn, each of which works.
pub(crate) fn many(prowler: &mut Prowler) {
    for n in 0..CONTEXTS {
        let vmid = n.wrapping_mul(0x9e37) & 0xffff;
        el2::set_vttbr(prowler.sane.vttbr(vmid));
        let mut world = World::new(programs::touch(), mode::EL1H, KEPT | hcr::VM);
        let address = SANE_AT + 8 * (n & 0xff);
        world.x[..3].copy_from_slice(&[address, 8, 1]);
        while !prowler.run_slice(&mut world) {}
        assert!(
            world.class() == class::HVC,
            "VMID {vmid:#x}: ESR_EL2 {:#x}, FAR_EL2 {:#x}",
            world.esr,
            world.far
        );
    }
}

/// ERET with any SPSR_EL2. Where that leads to EL2 itself, to an address that is not mapped.
pub(crate) fn returns(prowler: &mut Prowler) {
    for round in 0..ROUNDS {
        let noise = prowler.random.next();
        let pstate = match round % 3 {
            0 => noise,
            1 => noise & 0x1f | mode::MASKED,
            _ => mode::EL1H ^ 1 << (noise % 64),
        };
        let pc = match prowler.random.below(3) {
            _ if pstate & 0xc == 8 => UNMAPPED | noise & 0xfffc,
            0 => programs::spin(),
            1 => SANE_AT + noise % BLOCK,
            _ => prowler.random.next(),
        };
        let tge = if noise >> 40 & 1 != 0 { hcr::TGE } else { 0 };
        let mut world = World::new(pc, pstate, KEPT | hcr::VM | tge);
        world.x = core::array::from_fn(|_| prowler.random.next());
        prowler.run_slice(&mut world);
    }
    cpu::isb();
}
