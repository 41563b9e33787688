use super::*;

const TRANSLATION: u64 = 0x07;
const PERMISSION: u64 = 0x0f;
const WNR: u64 = 1 << 6;
const S1PTW: u64 = 1 << 7;
const CM: u64 = 1 << 8;
const DATA: u64 = 0x24 << 26;
const INSTRUCTION: u64 = 0x20 << 26;

fn access(esr: u64) -> Option<Access> {
    Fault::new(Esr(esr), Ipa(0x4000_0000)).map(|fault| fault.access)
}

#[test]
fn syndromes_say_what_the_guest_needs() {
    use Access::{Execute, Read, Write};
    for (esr, expected) in [
        (DATA | TRANSLATION, Read),
        (DATA | TRANSLATION | WNR, Write),
        (DATA | PERMISSION, Read),
        (DATA | PERMISSION | WNR, Write),
        (INSTRUCTION | TRANSLATION, Execute),
        (INSTRUCTION | PERMISSION, Execute),
        (DATA | TRANSLATION | S1PTW, Read),
        (DATA | TRANSLATION | S1PTW | WNR, Read),
        (DATA | PERMISSION | S1PTW, Write),
        (INSTRUCTION | TRANSLATION | S1PTW, Read),
        (INSTRUCTION | PERMISSION | S1PTW, Write),
        (DATA | TRANSLATION | CM | WNR, Read),
        (DATA | PERMISSION | CM | WNR, Write),
    ] {
        assert_eq!(access(esr), Some(expected), "{esr:#x}");
    }
}

#[test]
fn a_table_walk_is_told_from_the_program() {
    let origin = |esr| Fault::new(Esr(esr), Ipa(0)).map(|fault| fault.origin);
    assert_eq!(origin(DATA | TRANSLATION), Some(Origin::Program));
    assert_eq!(origin(INSTRUCTION | TRANSLATION), Some(Origin::Program));
    assert_eq!(origin(DATA | TRANSLATION | S1PTW), Some(Origin::TableWalk));
    assert_eq!(
        origin(INSTRUCTION | PERMISSION | S1PTW),
        Some(Origin::TableWalk)
    );
}

#[test]
fn faults_that_no_mapping_answers_are_not_ours() {
    // Address size, access flag, external, external on walk, alignment, TLB conflict.
    for fsc in [0x00, 0x09, 0x10, 0x15, 0x21, 0x30] {
        assert_eq!(access(DATA | fsc), None, "{fsc:#x}");
    }
    // HVC, and aborts without a change of exception level.
    for ec in [0x16, 0x21, 0x25] {
        assert_eq!(access(ec << 26 | TRANSLATION), None);
    }
}
