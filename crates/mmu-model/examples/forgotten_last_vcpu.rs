//! Two vCPUs of one virtual machine take turns on a CPU. Both may use one ASID for different tables of stage 1, and the
//! TLB does not tell vCPUs apart.
//!
//! `cargo run --example forgotten_last_vcpu`

#[path = "forgotten/guest.rs"]
mod guest;

use droste_arm64::barrier::Dsb;
use droste_arm64::machine::Machine;
use droste_arm64::tlbi::Tlbi;
use droste_mmu_model::{Cpu, Vcpu, Violation};

fn main() {
    println!("{}", violation(true).expect("it is found"));
}

fn violation(is_forgotten: bool) -> Option<Violation> {
    let model = guest::running();
    let cpu = Cpu::new(&model, 1);
    cpu.exit();
    // Who ran last on this CPU under this VMID was somebody else.
    if !is_forgotten {
        cpu.tlbi(Tlbi::Vmalle1);
        cpu.dsb(Dsb::Nsh);
    }
    cpu.enter(Vcpu::new(1));
    model.borrow().violation().copied()
}

#[test]
fn the_model_sees_another_virtual_cpus_entries() {
    use droste_mmu_model::Rule;
    let rule = violation(true).expect("it is found").rule;
    assert_eq!(rule, Rule::OtherVcpu);
    assert_eq!(violation(false), None);
}
