//! A block moves. Its stage-2 entries are invalidated by IPA, and entries that combine both stages are forgotten: a TLB finds
//! those by virtual address, so no TLBI by IPA takes them.
//!
//! `cargo run --example forgotten_combined_entries`

#[path = "forgotten/guest.rs"]
mod guest;

use droste_arm64::barrier::Dsb;
use droste_arm64::desc::RawDescriptor;
use droste_arm64::machine::Machine;
use droste_arm64::tlbi::{IpaOperand, Tlbi};
use droste_mmu_model::{Cpu, Violation};
use guest::TABLE;

fn main() {
    println!("{}", violation(true).expect("it is found"));
}

fn violation(is_forgotten: bool) -> Option<Violation> {
    let model = guest::running();
    let cpu = Cpu::new(&model, 0);
    cpu.write(TABLE, RawDescriptor::EMPTY);
    cpu.dsb(Dsb::Ish);
    cpu.tlbi(Tlbi::Ipas2e1is(IpaOperand(0)));
    cpu.dsb(Dsb::Ish);
    if !is_forgotten {
        cpu.tlbi(Tlbi::Vmalle1is);
        cpu.dsb(Dsb::Ish);
    }
    cpu.write(TABLE, RawDescriptor(0x9000_07fd));
    model.borrow().violation().copied()
}

#[test]
fn the_model_names_the_combined_entries() {
    use droste_mmu_model::{Missing, Rule};
    let rule = violation(true).expect("it is found").rule;
    assert_eq!(rule, Rule::BreakBeforeMake(Missing::CombinedTlbi));
    assert_eq!(violation(false), None);
}
