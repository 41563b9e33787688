//! A page is taken from a guest with every TLBI, but the TLBI comes before the store is visible: another walk may fill the
//! TLB with the old entry after it.
//!
//! `cargo run --example forgotten_dsb`

#[path = "forgotten/guest.rs"]
mod guest;

use droste_arm64::Va;
use droste_arm64::barrier::Dsb;
use droste_arm64::desc::RawDescriptor;
use droste_arm64::machine::Machine;
use droste_arm64::tlbi::Tlbi;
use droste_mmu_model::{Access, AccessKind, Allowed, Cpu, Violation};
use guest::TABLE;

fn main() {
    println!("{}", violation(true).expect("it is found"));
}

fn violation(is_forgotten: bool) -> Option<Violation> {
    let model = guest::running();
    let cpu = Cpu::new(&model, 0);
    cpu.write(TABLE, RawDescriptor::EMPTY);
    if !is_forgotten {
        cpu.dsb(Dsb::Ish);
    }
    cpu.tlbi(Tlbi::Vmalls12e1is);
    cpu.dsb(Dsb::Ish);
    let read = Access::new(Va(0x1000), AccessKind::Read);
    Cpu::new(&model, 1).expect(read, Allowed::Fault)
}

#[test]
fn the_model_names_the_missing_dsb() {
    use droste_mmu_model::{Missing, Rule};
    let rule = violation(true).expect("it is found").rule;
    assert_eq!(rule, Rule::StaleTranslation(Missing::BarrierBeforeTlbi));
    assert_eq!(violation(false), None);
}
