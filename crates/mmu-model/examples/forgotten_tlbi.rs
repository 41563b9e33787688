//! A page is taken from a guest, and no TLBI says so: what CPU 1 has in its TLB still leads there.
//!
//! `cargo run --example forgotten_tlbi`

#[path = "forgotten/guest.rs"]
mod guest;

use droste_arm64::Va;
use droste_arm64::barrier::Dsb;
use droste_arm64::desc::RawDescriptor;
use droste_arm64::machine::Machine;
use droste_arm64::tlbi::{IpaOperand, Tlbi};
use droste_mmu_model::{Access, AccessKind, Allowed, Cpu, Violation};
use guest::TABLE;

fn main() {
    println!("{}", violation(true).expect("it is found"));
}

fn violation(is_forgotten: bool) -> Option<Violation> {
    let model = guest::running();
    let cpu = Cpu::new(&model, 0);
    cpu.write(TABLE, RawDescriptor::EMPTY);
    cpu.dsb(Dsb::Ish);
    if !is_forgotten {
        cpu.tlbi(Tlbi::Ipas2e1is(IpaOperand(0)));
        cpu.dsb(Dsb::Ish);
        cpu.tlbi(Tlbi::Vmalle1is);
        cpu.dsb(Dsb::Ish);
    }
    let read = Access::new(Va(0x1000), AccessKind::Read);
    Cpu::new(&model, 1).expect(read, Allowed::Fault)
}

#[test]
fn the_model_names_the_missing_tlbi() {
    use droste_mmu_model::{Missing, Rule};
    let rule = violation(true).expect("it is found").rule;
    assert_eq!(rule, Rule::StaleTranslation(Missing::Tlbi));
    assert_eq!(violation(false), None);
}
