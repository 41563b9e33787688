use droste_arm64::esr::{AccessSize, Direction};

use super::*;

const TRANSLATION: u64 = 0x07;
const ACCESS_FLAG: u64 = 0x0b;
const PERMISSION: u64 = 0x0f;
const CONFLICT: u64 = 0x30;
const WNR: u64 = 1 << 6;
const S1PTW: u64 = 1 << 7;
const CM: u64 = 1 << 8;
const ISV: u64 = 1 << 24;
const DATA: u64 = 0x24 << 26;
const INSTRUCTION: u64 = 0x20 << 26;

fn at(esr: u64, privilege: Privilege) -> Option<Fault> {
    Fault::new(Esr(esr), Ipa(0x4000_0000), privilege)
}

fn fault(esr: u64) -> Option<Fault> {
    at(esr, Privilege::El1)
}

#[test]
fn syndromes_say_what_the_guest_needs() {
    use Access::{Execute, Read, Write};
    let execute = Execute(Privilege::El1);
    for (esr, expected) in [
        (DATA | TRANSLATION, Read),
        (DATA | TRANSLATION | WNR, Write),
        (DATA | ACCESS_FLAG, Read),
        (DATA | ACCESS_FLAG | WNR, Write),
        (DATA | PERMISSION, Read),
        (DATA | PERMISSION | WNR, Write),
        (INSTRUCTION | TRANSLATION, execute),
        (INSTRUCTION | ACCESS_FLAG, execute),
        (INSTRUCTION | PERMISSION, execute),
        (DATA | TRANSLATION | S1PTW, Read),
        (DATA | TRANSLATION | S1PTW | WNR, Read),
        (DATA | ACCESS_FLAG | S1PTW | WNR, Read),
        (DATA | PERMISSION | S1PTW, Write),
        (INSTRUCTION | TRANSLATION | S1PTW, Read),
        (INSTRUCTION | PERMISSION | S1PTW, Write),
        (DATA | TRANSLATION | CM | WNR, Read),
        (DATA | PERMISSION | CM | WNR, Write),
    ] {
        let access = fault(esr).map(|fault| fault.access);
        assert_eq!(access, Some(expected), "{esr:#x}");
    }
}

#[test]
fn a_fetch_is_one_of_the_level_that_made_it() {
    for privilege in [Privilege::El0, Privilege::El1] {
        let fetch = at(INSTRUCTION | PERMISSION, privilege).map(|fault| fault.access);
        assert_eq!(fetch, Some(Access::Execute(privilege)));
        // A load is a load.
        let load = at(DATA | PERMISSION, privilege).map(|fault| fault.access);
        assert_eq!(load, Some(Access::Read));
    }
}

#[test]
fn each_status_has_its_cause_at_every_level() {
    for (first, cause) in [
        (0x04, Cause::Translation),
        (0x08, Cause::AccessFlag),
        (0x0c, Cause::Permission),
    ] {
        for level in 0..4 {
            let found = fault(DATA | first | level).map(|fault| fault.cause);
            assert_eq!(found, Some(cause));
        }
    }
    // Level −1 of FEAT_LPA2.
    let deepest = fault(DATA | 0x2b).map(|fault| fault.cause);
    assert_eq!(deepest, Some(Cause::Translation));
    for class in [DATA, INSTRUCTION] {
        let conflict = fault(class | CONFLICT).map(|fault| fault.cause);
        assert_eq!(conflict, Some(Cause::Conflict));
    }
}

#[test]
fn a_table_walk_is_told_from_the_program() {
    let origin = |esr| fault(esr).map(|fault| fault.origin);
    assert_eq!(origin(DATA | TRANSLATION), Some(Origin::Program));
    assert_eq!(origin(INSTRUCTION | TRANSLATION), Some(Origin::Program));
    assert_eq!(origin(DATA | TRANSLATION | S1PTW), Some(Origin::TableWalk));
    assert_eq!(
        origin(INSTRUCTION | PERMISSION | S1PTW),
        Some(Origin::TableWalk)
    );
}

#[test]
fn what_lacks_either_permission_lacks_the_one_to_read_first() {
    use Access::{Read, Write};
    for (esr, is_either, any) in [
        (DATA | PERMISSION | S1PTW, true, false),
        (INSTRUCTION | PERMISSION | S1PTW, true, false),
        (DATA | PERMISSION | CM | WNR, true, false),
        (DATA | PERMISSION | WNR, false, false),
        (DATA | TRANSLATION | CM | WNR, false, true),
        (DATA | ACCESS_FLAG | CM | WNR, false, true),
        (DATA | TRANSLATION | S1PTW, false, false),
        // Bit 8 is no CM of a fetch's.
        (INSTRUCTION | PERMISSION | CM, false, false),
    ] {
        let fault = fault(esr).expect("a fault");
        assert_eq!(fault.is_either(), is_either, "{esr:#x}");
        assert_eq!(fault.is_content_with_any(), any, "{esr:#x}");
        if is_either {
            let lacking = |leaf| fault.lacking(leaf);
            assert_eq!(
                (lacking(S2ap::None), lacking(S2ap::WriteOnly)),
                (Read, Read)
            );
            assert_eq!(
                (lacking(S2ap::ReadOnly), lacking(S2ap::ReadWrite)),
                (Write, Write)
            );
        } else {
            assert_eq!(fault.lacking(S2ap::None), fault.access);
        }
    }
}

#[test]
fn faults_that_no_mapping_answers_are_not_ours() {
    // Address size, external, external on walk, alignment, reserved.
    for fsc in [0x00, 0x10, 0x15, 0x21, 0x3f] {
        assert_eq!(fault(DATA | fsc), None, "{fsc:#x}");
    }
    // HVC, and aborts without a change of exception level.
    for ec in [0x16, 0x21, 0x25] {
        assert_eq!(fault(ec << 26 | TRANSLATION), None);
    }
}

#[test]
fn a_devices_access_is_described_where_the_syndrome_does() {
    // A store of W7, one byte wide.
    let described = fault(DATA | ISV | TRANSLATION | WNR | 7 << 16).expect("a fault");
    let access = described.mmio.expect("ISV is set");
    assert_eq!(access.size, AccessSize::Byte);
    assert_eq!(access.direction, Direction::Write);
    assert_eq!(access.register, 7);
    let unknown = fault(DATA | TRANSLATION | WNR | 7 << 16).expect("a fault");
    assert_eq!(unknown.mmio, None);
}

#[test]
fn neither_walks_nor_fetches_are_accesses_to_a_device() {
    for esr in [
        DATA | ISV | TRANSLATION | S1PTW,
        INSTRUCTION | ISV | TRANSLATION,
    ] {
        assert_eq!(fault(esr).expect("a fault").mmio, None);
    }
}
