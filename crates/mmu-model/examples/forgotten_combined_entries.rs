//! A block moves. Its stage-2 entries are invalidated by IPA, and entries that combine both stages are forgotten: a TLB finds
//! those by virtual address, so no TLBI by IPA takes them.
//!
//! `cargo run --example forgotten_combined_entries`

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
    for cpu in 0..2 {
        model.set_vtcr(cpu, 1 << 31 | 5 << 16 | 1 << 6 | 0x19);
        model.set_vttbr(cpu, 1 << 48 | root.0);
        model.isb(cpu);
    }
    model.enter(1, Vcpu::new(0));

    model.write(0, table, 0);
    model.dsb(0, Dsb::Ish);
    model.tlbi(0, Tlbi::new(Form::Ipas2e1, Scope::Inner, 0));
    model.dsb(0, Dsb::Ish);
    if !is_forgotten {
        model.tlbi(0, Tlbi::new(Form::Vmalle1, Scope::Inner, 0));
        model.dsb(0, Dsb::Ish);
    }
    model.write(0, table, 0x9000_07fd);
    model.violation().copied()
}

#[test]
fn the_model_names_the_combined_entries() {
    use droste_mmu_model::{Missing, Rule};
    let rule = violation(true).expect("it is found").rule;
    assert_eq!(rule, Rule::BreakBeforeMake(Missing::CombinedTlbi));
    assert_eq!(violation(false), None);
}
