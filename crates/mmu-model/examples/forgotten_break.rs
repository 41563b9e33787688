//! A block moves by one store: for a while one address has two translations, and hardware may answer with either, with a TLB
//! conflict abort, or with a mixture of both.
//!
//! `cargo run --example forgotten_break`

#[path = "forgotten/guest.rs"]
mod guest;

use droste_arm64::barrier::Dsb;
use droste_arm64::desc::RawDescriptor;
use droste_arm64::machine::Machine;
use droste_arm64::tlbi::Tlbi;
use droste_mmu_model::{Cpu, Violation};
use guest::TABLE;

fn main() {
    println!("{}", violation(true).expect("it is found"));
}

fn violation(is_forgotten: bool) -> Option<Violation> {
    let model = guest::running();
    let cpu = Cpu::new(&model, 0);
    if !is_forgotten {
        cpu.write(TABLE, RawDescriptor::EMPTY);
        cpu.dsb(Dsb::Ish);
        cpu.tlbi(Tlbi::Vmalls12e1is);
        cpu.dsb(Dsb::Ish);
    }
    cpu.write(TABLE, RawDescriptor(0x9000_07fd));
    model.borrow().violation().copied()
}

#[test]
fn the_model_names_the_missing_break() {
    use droste_mmu_model::{Missing, Rule};
    let rule = violation(true).expect("it is found").rule;
    assert_eq!(rule, Rule::BreakBeforeMake(Missing::Break));
    assert_eq!(violation(false), None);
}
