//! The checker is shown correct traces, and the same with one mistake.

use droste_arm64::tlbi::{IpaOperand, Tlbi};
use droste_stage2::Dsb;

use crate::checker::{Checker, Violation};
use crate::recorder::Event::{self, Dsb as Barrier, Enter, Give, Write, Zero};
use crate::recorder::{POOL, ROOT};

const VTTBR: u64 = 1 << 48 | ROOT;
const ISH: Event = Barrier(Dsb::Ish);
const ISHST: Event = Barrier(Dsb::Ishst);
const BLOCK: u64 = 0x4000_07fd;

fn verdict(trace: &[Event]) -> Result<(), Violation> {
    let mut checker = Checker::new(12, ROOT, 1, 1024);
    checker.feed(trace)?;
    checker.finish()
}

fn tlbi(operation: Tlbi) -> Event {
    Event::Tlbi(operation, VTTBR)
}

fn by_address(operand: u64) -> Event {
    tlbi(Tlbi::Ipas2e1is(IpaOperand(operand)))
}

/// The 1 GiB block at 1 GiB moves to another output, by the book.
fn replacement() -> Vec<Event> {
    vec![
        Enter(VTTBR),
        Write(ROOT + 8, BLOCK),
        ISHST,
        Write(ROOT + 8, 0),
        ISH,
        by_address(0x5000_0004_0000),
        ISH,
        tlbi(Tlbi::Vmalle1is),
        ISH,
        Write(ROOT + 8, BLOCK + (1 << 30)),
        ISHST,
    ]
}

/// A table with one 2 MiB block is taken out and its page given back, by the book.
fn removal() -> Vec<Event> {
    vec![
        Enter(VTTBR),
        Zero(POOL, 0x1000),
        Write(POOL + 8, 0x4020_07fd),
        ISHST,
        Write(ROOT + 8, POOL | 3),
        ISHST,
        Write(ROOT + 8, 0),
        ISH,
        by_address(0x4_0200),
        ISH,
        tlbi(Tlbi::Vmalle1is),
        ISH,
        Give(POOL),
    ]
}

#[test]
fn sequences_by_the_book_pass() {
    assert_eq!(verdict(&replacement()), Ok(()));
    assert_eq!(verdict(&removal()), Ok(()));
}

#[test]
fn replacing_without_a_break_is_reported() {
    let trace = [
        Enter(VTTBR),
        Write(ROOT + 8, BLOCK),
        Write(ROOT + 8, BLOCK + (1 << 30)),
    ];
    let at = ROOT + 8;
    assert_eq!(verdict(&trace), Err(Violation::ValidToValid { at }));
}

#[test]
fn leaving_out_any_step_between_break_and_make_is_reported() {
    for missing in 4..9 {
        let mut trace = replacement();
        let event = trace.remove(missing);
        let at = ROOT + 8;
        assert_eq!(
            verdict(&trace),
            Err(Violation::MadeTooEarly { at }),
            "without {event:?}"
        );
    }
}

#[test]
fn a_barrier_too_weak_is_reported() {
    for (place, weak) in [
        (6, Dsb::Ishst),
        (8, Dsb::Ishst),
        (6, Dsb::Nsh),
        (8, Dsb::Nsh),
        (4, Dsb::Nsh),
    ] {
        let mut trace = replacement();
        trace[place] = Barrier(weak);
        assert!(verdict(&trace).is_err(), "{weak:?} at {place}");
    }
}

#[test]
fn combined_entries_before_stage_2_entries_is_the_wrong_order() {
    let mut trace = replacement();
    trace.swap(5, 7);
    assert!(matches!(
        verdict(&trace),
        Err(Violation::MadeTooEarly { .. })
    ));
}

#[test]
fn an_operand_for_something_else_is_reported() {
    // Not shifted; the next block; the wrong level; another granule's hint.
    for operand in [0x4000_0000, 0x8_0000, 0x6000_0004_0000, 0x9000_0004_0000] {
        let mut trace = replacement();
        trace[5] = by_address(operand);
        assert!(verdict(&trace).is_err(), "{operand:#x}");
    }
    let mut trace = replacement();
    trace[5] = Event::Tlbi(Tlbi::Ipas2e1is(IpaOperand(0x4_0000)), 2 << 48 | ROOT);
    assert!(verdict(&trace).is_err(), "another VMID");
}

#[test]
fn forgetting_a_second_vmid_is_reported() {
    let mut trace = replacement();
    trace.insert(1, Enter(2 << 48 | ROOT));
    assert!(matches!(
        verdict(&trace),
        Err(Violation::MadeTooEarly { .. })
    ));
}

#[test]
fn the_whole_vmid_needs_its_barrier_too() {
    let mut trace = replacement();
    trace.splice(5..8, [tlbi(Tlbi::Vmalls12e1is)]);
    assert_eq!(verdict(&trace), Ok(()));
    trace.remove(6);
    assert!(verdict(&trace).is_err());
}

#[test]
fn a_page_given_back_before_its_invalidation_is_reported() {
    for missing in 7..12 {
        let mut trace = removal();
        let event = trace.remove(missing);
        assert_eq!(
            verdict(&trace),
            Err(Violation::ReusedTooEarly { page: POOL }),
            "without {event:?}"
        );
    }
    let mut trace = removal();
    trace[12] = Zero(POOL, 0x1000);
    trace.swap(11, 12);
    let expected = Err(Violation::ReusedTooEarly { page: POOL });
    assert_eq!(verdict(&trace), expected, "cleared before the last barrier");
}

#[test]
fn a_page_given_back_while_linked_is_reported() {
    let mut trace = removal();
    trace.truncate(6);
    trace.push(Give(POOL));
    let expected = Err(Violation::ReusedTooEarly { page: POOL });
    assert_eq!(verdict(&trace), expected);
}

#[test]
fn a_freed_table_written_with_something_valid_is_reported() {
    let mut trace = removal();
    trace.insert(7, Write(POOL, 0x8020_07fd));
    let expected = Err(Violation::ReusedTooEarly { page: POOL });
    assert_eq!(verdict(&trace), expected);
    // The link of a list is invalid as a descriptor.
    trace[7] = Write(POOL, POOL + 0x1000);
    assert_eq!(verdict(&trace), Ok(()));
}

#[test]
fn a_hint_for_a_removed_table_is_reported() {
    let mut trace = removal();
    trace[8] = by_address(0x6000_0004_0200);
    assert!(matches!(
        verdict(&trace),
        Err(Violation::ReusedTooEarly { .. })
    ));
}

#[test]
fn a_table_linked_before_its_contents_are_visible_is_reported() {
    let mut trace = removal();
    trace.remove(3);
    assert_eq!(verdict(&trace), Err(Violation::LinkedUnseen { page: POOL }));
}

#[test]
fn an_invalidation_left_undone_is_reported() {
    let mut trace = replacement();
    trace.truncate(8);
    assert_eq!(verdict(&trace), Err(Violation::Unfinished { ipa: 1 << 30 }));
}
