//! Two virtual CPUs of one virtual machine take turns on a CPU. Both may use one ASID for different tables of stage 1, and the
//! TLB does not tell virtual CPUs apart.
//!
//! `cargo run --example forgotten_last_vcpu`

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

    model.exit(1);
    // Who ran last on this CPU under this VMID was somebody else.
    if !is_forgotten {
        model.tlbi(1, Tlbi::new(Form::Vmalle1, Scope::Local, 0));
        model.dsb(1, Dsb::Nsh);
    }
    model.enter(1, Vcpu::new(1));
    model.violation().copied()
}

#[test]
fn the_model_sees_another_virtual_cpus_entries() {
    use droste_mmu_model::Rule;
    let rule = violation(true).expect("it is found").rule;
    assert_eq!(rule, Rule::OtherVcpu);
    assert_eq!(violation(false), None);
}
