//! What the examples start from: a guest on CPU 1, whose table CPU 0 changes.

use std::cell::RefCell;

use droste_arm64::barrier::Dsb;
use droste_arm64::desc::RawDescriptor;
use droste_arm64::machine::{Machine, Regime};
use droste_arm64::{Pa, Vtcr, Vttbr};
use droste_mmu_model::{Config, Cpu, Model, Vcpu};

const ROOT: Pa = Pa(0x4000_0000);
/// The table of level 2 below the root. Its first entry maps 2 MiB.
pub(crate) const TABLE: Pa = Pa(0x4000_1000);
/// VMID 1, 4 KiB granule, 39-bit addresses.
pub(crate) const REGIME: Regime = Regime {
    vtcr: Vtcr(1 << 31 | 5 << 16 | 1 << 6 | 0x19),
    vttbr: Vttbr(1 << 48 | ROOT.0),
};

pub(crate) fn running() -> RefCell<Model> {
    let model = RefCell::new(Model::new(Config::new(ROOT, 16)));
    let [cpu, guest] = [0, 1].map(|number| Cpu::new(&model, number));
    cpu.write(ROOT, RawDescriptor(TABLE.0 | 3));
    cpu.write(TABLE, RawDescriptor(0x8000_07fd));
    cpu.dsb(Dsb::Ishst);
    cpu.load(REGIME);
    guest.load(REGIME);
    guest.enter(Vcpu::new(0));
    model
}
