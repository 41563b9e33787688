//! A console from outside: what comes out of the UART, what a guest is given, and who waits for what.

mod terminal;

use droste_resources::{Event, INPUT_BYTES, Interest};
use proptest::prelude::*;
use terminal::{FIFO, Terminal};

const ESCAPE: u8 = 0x1d;
const ALL: [usize; 3] = [0, 1, 2];
/// What the ring takes of guests, with room in front of it for one FIFO.
const GUESTS: usize = 12 << 10;

#[test]
fn the_terminal_is_the_focused_vms_own() {
    let mut t = Terminal::new();
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    t.write(0, &bytes);
    assert_eq!(*t.seen.out.borrow(), bytes);
}

#[test]
fn lines_of_the_others_come_whole_as_plain_text_behind_their_names() {
    let mut t = Terminal::new();
    t.write(0, b"prompt> ");
    t.write(1, b"\x1b[2J\rdroste: off\x08");
    t.write(2, b"half");
    assert_eq!(t.text(), "prompt> ", "neither is whole");
    t.write(1, b"\r\n");
    t.write(2, b" a line\n\n");
    let all = "prompt> \r\n[b] ?[2Jdroste: off?\r\n[c] half a line\r\n[c] \r\n";
    assert_eq!(t.text(), all);
}

#[test]
fn a_line_without_an_end_comes_in_pieces_each_behind_the_name() {
    let mut t = Terminal::new();
    t.write(1, &[b'x'; 600]);
    t.write(1, b"\n");
    let piece = |bytes| format!("[b] {}\r\n", "x".repeat(bytes));
    assert_eq!(t.text(), [256, 256, 88].map(piece).concat());
}

#[test]
fn a_line_of_the_hypervisors_begins_a_line_of_its_own() {
    let mut t = Terminal::new();
    t.say("droste: first");
    t.write(0, b"login: ");
    t.write(1, b"unfinished");
    t.say("droste: second");
    t.write(0, b"\r\n");
    t.say("droste: third");
    let all = "droste: first\r\nlogin: \r\ndroste: second\r\n\r\ndroste: third\r\n";
    assert_eq!(t.text(), all);
}

#[test]
fn no_guest_waits_for_the_uart_whatever_it_writes() {
    let mut t = Terminal::new();
    // A guest that does not heed its UART, and one more; names take room too.
    for _ in 0..5000 {
        t.write_stuck(1, b"\n");
        t.write_stuck(0, b"0123456789\n");
    }
    t.write_stuck(2, &b"long and long and long\n".repeat(1000));
    // What they left is the hypervisor's, which need not wait either.
    t.say(&"x".repeat(4 << 10 >> 1));
    let text = t.text();
    assert!(text.len() < GUESTS + (4 << 10) + FIFO);
    assert!(text.contains("xxx\r\n"));
}

#[test]
fn no_guest_waits_where_the_hypervisors_lines_fill_the_ring() {
    let mut t = Terminal::new();
    t.seen.is_waited_for.set(true);
    for _ in 0..20 << 10 {
        t.say("x");
    }
    t.seen.is_waited_for.set(false);
    t.write_stuck(1, &b"in vain\n".repeat(1000));
    t.write_stuck(0, b"in vain");
    assert!(!t.console.own_line_if_room(format_args!("in vain")));
    t.press(&[ESCAPE, b'n'], &ALL);
    let text = t.text();
    assert_eq!(text.lines().filter(|line| *line == "x").count(), 20 << 10);
    assert!(text.lines().all(|line| line == "x"));
}

#[test]
fn a_line_for_which_there_is_no_room_is_dropped_whole() {
    let mut t = Terminal::new();
    let lines: Vec<String> = (0..2000)
        .map(|n| format!("{n} {} {n}", "y".repeat(n % 200)))
        .collect();
    for line in &lines {
        t.write_stuck(1, line.as_bytes());
        t.write_stuck(1, b"\n");
    }
    let text = t.text();
    assert!(text.len() > GUESTS - 300, "room is used");
    let mut written = lines.iter();
    for line in text.split_inclusive("\r\n") {
        let line = line.strip_suffix("\r\n").expect("an end");
        let line = line.strip_prefix("[b] ").expect("a name in front");
        assert!(written.any(|written| written == line), "{line}");
    }
}

#[test]
fn the_hypervisors_lines_wait_rather_than_be_lost() {
    let mut t = Terminal::new();
    t.seen.is_waited_for.set(true);
    let lines: Vec<String> = (0..4000).map(|n| format!("droste: line {n}")).collect();
    for line in &lines {
        t.say(line);
    }
    t.console.flush();
    assert!(t.seen.text().lines().eq(&lines));
}

#[test]
fn a_line_that_need_not_wait_has_the_room_that_guests_leave() {
    let mut t = Terminal::new();
    t.write_stuck(0, &b"x".repeat(20 << 10));
    let line = "y".repeat(100);
    let mut told = 0;
    while t.console.own_line_if_room(format_args!("{line}")) {
        told += 1;
    }
    assert_eq!(told, (4 << 10) / 102);
    let text = t.text();
    assert_eq!(text.lines().skip(1).count(), told);
    assert!(text.lines().skip(1).all(|shown| shown == line));
    assert!(t.console.own_line_if_room(format_args!("{line}")));
}

#[test]
fn guests_that_heed_their_uarts_lose_nothing() {
    let mut t = Terminal::new();
    let (mut written, mut lines) = (Vec::new(), 0);
    for n in 0..40_000_u32 {
        // What a slow UART sends meanwhile.
        t.seen.pass(1);
        if n % 3 == 0 {
            t.press(&[], &[]);
        }
        if n % 1000 == 0 {
            t.seen.is_waited_for.set(true);
            t.say(&format!("droste: {}", "z".repeat(n as usize % 7000)));
            t.seen.is_waited_for.set(false);
        }
        if !t.seen.is_held.get() {
            let byte = b'A' + (n % 26) as u8;
            t.console.transmit(0, byte);
            written.push(byte);
        }
        if !t.seen.is_held.get() {
            t.console.transmit(1, b'\n');
            lines += 1;
        }
    }
    let text = t.text();
    assert_eq!(text.lines().filter(|line| *line == "[b] ").count(), lines);
    let capitals = text.bytes().filter(u8::is_ascii_uppercase);
    assert!(capitals.eq(written));
}

#[test]
fn guests_are_held_while_much_waits_and_let_go_when_most_is_out() {
    let mut t = Terminal::new();
    let mut sent = 0;
    while !t.seen.is_held.get() {
        t.write_stuck(0, b"x");
        sent += 1;
        assert!(sent < 20 << 10, "never held");
    }
    assert_eq!(sent, FIFO + (8 << 10));
    assert!(t.console.is_held());
    let mut steps = 0;
    while t.seen.is_held.get() {
        t.seen.pass(1);
        t.press(&[], &[]);
        steps += 1;
        assert!(steps < 20 << 10, "never let go");
    }
    let out = t.seen.out.borrow().len();
    assert_eq!(out, (4 << 10) + 1, "half of it");
    assert!(!t.console.is_held());
    // The hypervisor's lines count as well.
    t.seen.is_waited_for.set(true);
    t.say(&"x".repeat(5 << 10));
    assert!(t.seen.is_held.get());
}

#[test]
fn guests_that_come_when_much_waits_already_are_held_from_the_start() {
    let mut t = Terminal::without_vms();
    t.seen.is_waited_for.set(true);
    t.say(&"x".repeat(10 << 10));
    assert!(!t.seen.is_held.get(), "there is nobody to hold");
    t.seen.is_waited_for.set(false);
    t.console.set_vms(["a", "b", "c"].into_iter());
    assert!(t.seen.is_held.get() && t.console.is_held());
    t.drain();
    assert!(!t.seen.is_held.get());
}

#[test]
fn the_uart_interrupts_for_room_while_something_waits_for_it() {
    let mut t = Terminal::new();
    let interest = |t: &Terminal| t.seen.interest.get();
    assert_eq!(interest(&t), Some(Interest::Input));
    t.write_stuck(0, &[b'x'; FIFO]);
    assert_eq!(interest(&t), Some(Interest::Input));
    t.write_stuck(0, b"x");
    assert_eq!(interest(&t), Some(Interest::InputAndRoom));
    t.drain();
    assert_eq!(interest(&t), Some(Interest::Input));
}

#[test]
fn one_interrupt_sends_no_more_than_its_share() {
    let mut t = Terminal::new();
    t.write_stuck(0, &[b'x'; 1000]);
    t.seen.is_fast.set(true);
    t.press(&[], &[]);
    let out = t.seen.out.borrow().len();
    assert!((256..=256 + FIFO).contains(&out), "{out}");
}

#[test]
fn keys_go_to_the_vm_in_focus_and_behind_the_escape_to_the_hypervisor() {
    let mut t = Terminal::new();
    let events = t.press(b"a\x1ds\x1d\x1d\x1dxb", &ALL);
    let quiet = Event::Quiet;
    assert_eq!(
        events,
        [
            quiet,
            quiet,
            Event::Report,
            quiet,
            quiet,
            quiet,
            quiet,
            quiet
        ]
    );
    assert_eq!(t.got(0), b"a\x1db");
}

#[test]
fn a_vm_that_keeps_the_keyboard_keeps_what_was_typed_ahead() {
    let mut t = Terminal::new();
    t.seen.guests.borrow_mut()[0].0 = 0;
    t.press(b"ahead", &ALL);
    assert_eq!(t.press(&[ESCAPE, b'n'], &[0])[1], Event::Focus(0));
    t.seen.guests.borrow_mut()[0].0 = usize::MAX;
    t.console.offer_waiting(0);
    assert_eq!(t.got(0), b"ahead");
}

#[test]
fn the_focus_goes_to_the_next_that_runs() {
    let mut t = Terminal::new();
    let next = [ESCAPE, b'n'];
    let focus = |t: &mut Terminal, running: &[usize]| t.press(&next, running)[1];
    assert_eq!(focus(&mut t, &[0, 2]), Event::Focus(2));
    assert_eq!(focus(&mut t, &ALL), Event::Focus(0));
    assert_eq!(focus(&mut t, &[0]), Event::Focus(0), "round to itself");
    assert_eq!(focus(&mut t, &[]), Event::Quiet);
    // A byte for one that has ended.
    assert_eq!(t.press(b"x", &[1, 2]), [Event::Focus(1)]);
    assert_eq!(t.press(b"y", &[1, 2]), [Event::Quiet]);
    assert_eq!((t.got(0), t.got(1)), (vec![], b"y".to_vec()));
}

#[test]
fn a_vm_that_gets_the_focus_goes_on_with_its_line() {
    let mut t = Terminal::new();
    t.write(0, b"prompt of a> ");
    t.write(1, b"\x1b[1mlogin: ");
    t.press(&[ESCAPE, b'n'], &ALL);
    t.write(1, b"root");
    t.write(0, b"more\n");
    assert_eq!(
        t.text(),
        "prompt of a> \r\n\x1b[1mlogin: root\r\n[a] more\r\n"
    );
}

#[test]
fn a_prompt_stands_behind_the_line_that_says_whose_it_is() {
    let mut t = Terminal::new();
    t.write(0, b"a> ");
    t.write(1, b"b> ");
    t.seen.keys.borrow_mut().extend([ESCAPE, b'n']);
    let next = std::iter::from_fn(|| t.console.serve(|_| true)).last();
    assert_eq!(next, Some(Event::Focus(1)));
    assert_eq!(t.console.focus(), 0, "not yet");
    t.say("input goes to b");
    t.console.give(1);
    assert_eq!(
        (t.console.focus(), t.text().as_str()),
        (1, "a> \r\ninput goes to b\r\nb> ")
    );
}

#[test]
fn input_waits_for_its_vm_in_order_and_what_is_lost_is_told_once() {
    let mut t = Terminal::new();
    t.seen.guests.borrow_mut()[0].0 = 2;
    let typed: Vec<u8> = (0..INPUT_BYTES + 2)
        .map(|n| if n % 251 == 0x1d { 0 } else { (n % 251) as u8 })
        .collect();
    assert!(t.press(&typed, &ALL).iter().all(|e| *e == Event::Quiet));
    assert_eq!(
        t.press(b"xyz", &ALL),
        [Event::Lost(0), Event::Quiet, Event::Quiet]
    );
    assert_eq!(t.got(0), typed[..2]);
    // It reads a byte, so that one more fits and the next is told again.
    t.seen.guests.borrow_mut()[0].0 = 1;
    t.console.offer_waiting(1);
    assert_eq!(t.got(0).len(), 2, "another VM made room");
    t.console.offer_waiting(0);
    assert_eq!(t.press(b"vw", &ALL), [Event::Quiet, Event::Lost(0)]);
    t.seen.guests.borrow_mut()[0].0 = usize::MAX;
    t.console.offer_waiting(0);
    let all: Vec<u8> = typed.into_iter().chain(*b"v").collect();
    assert!(t.got(0) == all);
}

#[test]
fn what_was_typed_for_one_vm_waits_for_it_and_is_not_given_to_another() {
    let mut t = Terminal::new();
    t.seen.guests.borrow_mut()[0].0 = 0;
    t.press(b"secret", &ALL);
    t.press(&[ESCAPE, b'n'], &ALL);
    t.press(b"x", &ALL);
    t.console.offer_waiting(1);
    assert_eq!((t.got(0), t.got(1)), (vec![], b"x".to_vec()));
    t.seen.guests.borrow_mut()[0].0 = usize::MAX;
    t.console.offer_waiting(0);
    assert_eq!(
        t.got(0),
        b"secret",
        "it reads while another has the keyboard"
    );
    assert_eq!(t.got(1), b"x");
}

#[test]
fn a_vm_whose_input_waits_takes_no_room_from_another() {
    let mut t = Terminal::new();
    t.seen
        .guests
        .borrow_mut()
        .iter_mut()
        .for_each(|guest| guest.0 = 0);
    let full = vec![b'a'; INPUT_BYTES + 1];
    assert_eq!(t.press(&full, &ALL).last(), Some(&Event::Lost(0)));
    t.press(&[ESCAPE, b'n'], &ALL);
    let full = vec![b'b'; INPUT_BYTES + 1];
    assert_eq!(t.press(&full, &ALL).last(), Some(&Event::Lost(1)));
}

/// Something that happens to a console.
#[derive(Clone, Debug)]
enum Step {
    /// One of the VMs without the keyboard writes.
    Write(usize, Vec<u8>),
    /// The VM with the keyboard does.
    Focused(Vec<u8>),
    Own(usize),
    Pass(usize),
    Serve,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = || {
        let interesting = prop::sample::select(b"\n\r\x1b[]d: \xc2\x9b\xe2\x80\xae".to_vec());
        prop::collection::vec(prop_oneof![3 => interesting, 1 => any::<u8>()], 0..600)
    };
    let forged = Just(b"\ndroste: forged\n[a] droste: forged\r\n".to_vec());
    let text = prop_oneof![3 => bytes(), 1 => forged];
    // What the focused VM writes here is lines of dots, so that all else can be told from it.
    let dots = prop::collection::vec(prop::sample::select(b"..\n".to_vec()), 0..3000);
    let step = prop_oneof![
        4 => (1usize..3, text).prop_map(|(vm, bytes)| Step::Write(vm, bytes)),
        2 => dots.prop_map(Step::Focused),
        2 => (0usize..3000).prop_map(Step::Own),
        1 => (0usize..40).prop_map(Step::Pass),
        1 => Just(Step::Serve),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However full the ring is and whatever the others write: a line is the focused VM's, or the hypervisor's and its
    /// own, or plain text behind a name.
    #[test]
    fn nobody_looks_like_anybody_else(steps in steps()) {
        let mut t = Terminal::new();
        let mut own = Vec::new();
        for step in steps {
            match step {
                Step::Write(vm, bytes) => t.write_stuck(vm, &bytes),
                Step::Focused(bytes) => t.write_stuck(0, &bytes),
                Step::Own(bytes) => {
                    own.push(format!("droste: {}{}", own.len(), "-".repeat(bytes)));
                    t.seen.is_waited_for.set(true);
                    t.say(own.last().expect("just pushed"));
                    t.seen.is_waited_for.set(false);
                }
                Step::Pass(bytes) => t.seen.pass(bytes),
                Step::Serve => { t.press(&[], &[]); }
            }
        }
        let text = t.text();
        let mut said = own.iter();
        for line in text.split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.starts_with("droste: ") {
                prop_assert_eq!(Some(line), said.next().map(String::as_str));
            } else if let Some(shown) = line.strip_prefix("[b] ").or(line.strip_prefix("[c] ")) {
                let is_plain = |c: char| c == '\t' || !c.is_control() && c != '\u{202e}';
                prop_assert!(shown.chars().all(is_plain), "{:?}", shown);
            } else {
                prop_assert!(line.bytes().all(|byte| byte == b'.'), "{:?}", line);
            }
        }
        prop_assert_eq!(said.next(), None, "none is lost");
    }
}
