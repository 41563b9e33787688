//! A VMID goes from one virtual machine to another, and what the TLBs hold of the first one stays: the second can use it.
//!
//! `cargo run --example forgotten_vmid_reuse`

use droste_arm64::Pa;
use droste_arm64::barrier::Dsb;
use droste_mmu_model::{Config, Form, Model, Scope, Tlbi, Vcpu, Violation};

fn main() {
    println!("{}", violation(true).expect("it is found"));
}

fn violation(is_forgotten: bool) -> Option<Violation> {
    // A root, and below it a table of level 2 that maps 2 MiB. VMID 1, 4 KiB granule, 39-bit addresses.
    let (root, table) = (Pa(0x4000_0000), Pa(0x4000_1000));
    let mut model = Model::new(Config::new(root, 16));
    model.write(0, root, table.0 | 3);
    model.write(0, table, 0x8000_07fd);
    model.dsb(0, Dsb::Ishst);
    model.set_vtcr(1, 1 << 31 | 5 << 16 | 1 << 6 | 0x19);
    model.set_vttbr(1, 1 << 48 | root.0);
    model.isb(1);
    model.enter(1, Vcpu::new(0));

    // The virtual machine ends, and another one with a root of its own gets its VMID.
    model.exit(1);
    let other = Pa(0x4000_2000);
    // Or TLBI ALLE1IS for all of them, when VMIDs are given out anew.
    if !is_forgotten {
        model.tlbi(1, Tlbi::new(Form::Vmalls12e1, Scope::Inner, 0));
        model.dsb(1, Dsb::Ish);
    }
    model.set_vttbr(1, 1 << 48 | other.0);
    model.isb(1);
    model.enter(1, Vcpu::new(0));
    model.violation().copied()
}

#[test]
fn the_model_sees_one_vmid_for_two_tables() {
    use droste_mmu_model::Rule;
    let rule = violation(true).expect("it is found").rule;
    assert_eq!(rule, Rule::VmidReused);
    assert_eq!(violation(false), None);
}
