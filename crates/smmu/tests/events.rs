//! Every event number, beside the list of IHI 0070, 7.3.

use droste_smmu::Event;
use droste_smmu::event::Attempt;

/// Number, name, and what a record has besides: the device's address, the access, where was fetched.
const LIST: [(u8, &str, &str); 19] = [
    (0x01, "F_UUT", "i"),
    (0x02, "C_BAD_STREAMID", ""),
    (0x03, "F_STE_FETCH", "f"),
    (0x04, "C_BAD_STE", ""),
    (0x05, "F_BAD_ATS_TREQ", "i"),
    (0x06, "F_STREAM_DISABLED", ""),
    (0x07, "F_TRANSL_FORBIDDEN", "i"),
    (0x08, "C_BAD_SUBSTREAMID", ""),
    (0x09, "F_CD_FETCH", "f"),
    (0x0a, "C_BAD_CD", ""),
    (0x0b, "F_WALK_EABT", "if"),
    (0x10, "F_TRANSLATION", "ia"),
    (0x11, "F_ADDR_SIZE", "ia"),
    (0x12, "F_ACCESS", "ia"),
    (0x13, "F_PERMISSION", "ia"),
    (0x20, "F_TLB_CONFLICT", "ia"),
    (0x21, "F_CFG_CONFLICT", ""),
    (0x24, "E_PAGE_REQUEST", "i"),
    (0x25, "F_VMS_FETCH", "f"),
];

fn record(number: u8) -> Event {
    Event([
        0x1234_0000_0000 | u64::from(number),
        1 << 39 | 1 << 35,
        0x9_8765_4321,
        0x7_6543_2000,
    ])
}

#[test]
fn every_number_is_told_as_what_it_is() {
    for number in 0..=255 {
        let event = record(number);
        let text = event.to_string();
        assert!(text.starts_with("device 0x1234 "), "{text}");
        match LIST.iter().find(|row| row.0 == number) {
            Some((_, name, has)) => {
                assert_eq!(event.name(), Some(*name));
                assert!(text.ends_with(&format!("({name})")), "{text}");
                assert_eq!(
                    event.input(),
                    has.contains('i').then_some(0x9_8765_4321),
                    "{name}"
                );
                assert_eq!(
                    event.attempt(),
                    has.contains('a').then_some(Attempt::Read),
                    "{name}"
                );
                assert_eq!(
                    event.fetch(),
                    has.contains('f').then_some(0x7_6543_2000),
                    "{name}"
                );
            }
            None => {
                assert_eq!(event.name(), None);
                let own = (0xe0..=0xef).contains(&number);
                let whose = if own {
                    "the implementation's own"
                } else {
                    "reserved"
                };
                assert!(text.ends_with(whose), "{text}");
            }
        }
    }
}

#[test]
fn a_fault_of_stage_2_names_device_address_and_page() {
    let mut event = record(0x10);
    event.0[1] &= !(1 << 35);
    assert_eq!(
        event.to_string(),
        "device 0x1234 reached for memory that its VM does not have, by a write, at 0x987654321, IPA 0x765432000 \
         (F_TRANSLATION)"
    );
    event.0[0] |= 1 << 11 | 0xabcde << 12;
    assert_eq!(event.substream(), Some(0xabcde));
    event.0[1] &= !(1 << 39);
    assert_eq!(event.ipa(), None);
    assert!(!event.is_stalled() && Event([0x10, 1 << 31, 0, 0]).is_stalled());
}
