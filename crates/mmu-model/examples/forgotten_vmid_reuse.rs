//! A VMID goes from one virtual machine to another, and what the TLBs hold of the first one stays: the second can use it.
//!
//! `cargo run --example forgotten_vmid_reuse`

#[path = "forgotten/guest.rs"]
mod guest;

use droste_arm64::Vttbr;
use droste_arm64::barrier::Dsb;
use droste_arm64::machine::{Machine, Regime};
use droste_arm64::tlbi::Tlbi;
use droste_mmu_model::{Cpu, Vcpu, Violation};
use guest::REGIME;

fn main() {
    println!("{}", violation(true).expect("it is found"));
}

fn violation(is_forgotten: bool) -> Option<Violation> {
    let model = guest::running();
    let cpu = Cpu::new(&model, 1);
    // The virtual machine ends, and another one with a root of its own gets its VMID.
    cpu.exit();
    // Or TLBI ALLE1IS for all of them, when VMIDs are given out anew.
    if !is_forgotten {
        cpu.tlbi(Tlbi::Vmalls12e1is);
        cpu.dsb(Dsb::Ish);
    }
    cpu.load(Regime {
        vttbr: Vttbr(1 << 48 | 0x4000_2000),
        ..REGIME
    });
    cpu.enter(Vcpu::new(0));
    model.borrow().violation().copied()
}

#[test]
fn the_model_sees_one_vmid_for_two_tables() {
    use droste_mmu_model::Rule;
    let rule = violation(true).expect("it is found").rule;
    assert_eq!(rule, Rule::VmidReused);
    assert_eq!(violation(false), None);
}
