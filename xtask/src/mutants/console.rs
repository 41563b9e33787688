//! The mutants of the console of `droste-resources`: each lets a guest look like another, or makes a CPU wait for the UART.

use super::table::{Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    // Whose lines are whose.
    mutant(
        "console-shows-what-controls-a-terminal",
        "console.rs",
        "                plain(line.whole(), |byte| output.send(byte, Kind::Guests));",
        "                line.whole().iter().for_each(|byte| output.send(*byte, Kind::Guests));",
    ),
    mutant(
        "console-shows-a-line-without-its-name",
        "console.rs",
        "                plain(line.whole(), ",
        "                plain(line.text(), ",
    ),
    mutant(
        "console-lets-all-write-through",
        "console.rs",
        "        if self.focus == vm {
            self.output.send",
        "        if self.focus <= vm {
            self.output.send",
    ),
    mutant(
        "console-keeps-a-line-that-it-showed",
        "console.rs",
        "                output.end_line(Kind::Guests);
            }
            line.clear();
",
        "                output.end_line(Kind::Guests);
            }
",
    ),
    mutant(
        "console-loses-the-line-of-who-gets-the-focus",
        "console.rs",
        "        if self.output.start_if_room(line.text().len(), Kind::Guests) {",
        "        if self.output.start_if_room(line.text().len(), Kind::Guests) && line.text().is_empty() {",
    ),
    mutant(
        "console-shows-a-direction-mark",
        "console/plain.rs",
        " | '\\u{2028}'..='\\u{202e}'",
        " | '\\u{2028}'..='\\u{202d}'",
    ),
    mutant(
        "line-grows-without-an-end",
        "console/lines.rs",
        "        byte == b'\\n' || self.text().len() == LINE_BYTES",
        "        byte == b'\\n'",
    ),
    mutant(
        "line-holds-carriage-returns",
        "console/lines.rs",
        "        if byte != b'\\n' && byte != b'\\r' {",
        "        if byte != b'\\n' {",
    ),
    mutant(
        "output-begins-a-line-that-was-dropped",
        "console/output.rs",
        "            Kind::Guests if self.ring.len() >= RING_GUESTS => return,",
        "            Kind::Guests if self.ring.len() >= RING_GUESTS => {
                self.is_line_start = byte == b'\\n';
                return;
            }",
    ),
    mutant(
        "output-ends-a-line-where-there-is-room-for-guests",
        "console.rs",
        "        self.output.start_line(Kind::Own);
        write",
        "        self.output.start_line(Kind::Guests);
        write",
    ),
    mutant(
        "output-goes-on-with-a-line",
        "console/output.rs",
        "        if !self.is_line_start {",
        "        if false {",
    ),
    // Who waits.
    mutant(
        "console-waits-with-a-name",
        "console.rs",
        "            if output.start_if_room(line.whole().len(), Kind::Guests) {
                plain(line.whole(), |byte| output.send(byte, Kind::Guests));",
        "            {
                output.start_line(Kind::Guests);
                plain(line.whole(), |byte| output.send(byte, Kind::Own));",
    ),
    mutant(
        "console-begins-without-room",
        "console.rs",
        "            if output.start_if_room(line.whole().len(), Kind::Guests) {",
        "            output.start_line(Kind::Own);
            if line.text().len() < 1000 {",
    ),
    mutant(
        "console-waits-with-a-lines-end",
        "console.rs",
        "            if output.start_if_room(line.whole().len(), Kind::Guests) {
                plain(line.whole(), |byte| output.send(byte, Kind::Guests));
                output.end_line(Kind::Guests);
            }
",
        "            plain(line.whole(), |byte| output.send(byte, Kind::Guests));
            output.end_line(Kind::Own);
",
    ),
    mutant(
        "output-drops-part-of-a-line",
        "console/output.rs",
        "        let has_room = self.ring.len() + bytes + 2 * LINE_END.len() <= limit;",
        "        let has_room = self.ring.len() + bytes <= limit;",
    ),
    mutant(
        "console-waits-with-a-complaint",
        "console.rs",
        "        let has_room = self.output.start_if_room(length.0, Kind::Own);",
        "        let has_room = self.output.start_if_room(0, Kind::Own);",
    ),
    mutant(
        "output-keeps-room-from-complaints",
        "console/output.rs",
        "            Kind::Own => RING_BYTES,",
        "            Kind::Own => RING_GUESTS,",
    ),
    mutant(
        "output-guests-take-the-hypervisors-room",
        "console/output.rs",
        "const RING_GUESTS: usize = RING_BYTES / 4 * 3;",
        "const RING_GUESTS: usize = RING_BYTES;",
    ),
    mutant(
        "output-drops-the-hypervisors-lines",
        "console/output.rs",
        "            Kind::Guests if self.ring.len() >= RING_GUESTS => return,
            Kind::Guests => {}
",
        "            _ if self.ring.len() >= RING_GUESTS => return,
            Kind::Guests => {}
",
    ),
    mutant(
        "output-overtakes-what-waits",
        "console/output.rs",
        "        if self.ring.is_empty() && !self.uarts.is_full() {",
        "        if !self.uarts.is_full() {",
    ),
    mutant(
        "output-sends-to-a-full-uart",
        "console/output.rs",
        "            if self.uarts.is_full() {
                break;
            }
",
        "",
    ),
    mutant(
        "output-does-not-ask-for-room",
        "console/output.rs",
        "        if self.ring.len() == 1 {
            self.ask();
        }
",
        "",
    ),
    mutant(
        "output-asks-for-room-for-nothing",
        "console/output.rs",
        "        if self.ring.is_empty() {
            self.ask();
        }
",
        "",
    ),
    mutant(
        "output-sends-all-at-once",
        "console/output.rs",
        "        self.drain(DRAIN_BYTES);
        if self.is_held",
        "        self.drain(RING_BYTES);
        if self.is_held",
    ),
    mutant(
        "output-holds-too-late",
        "console/output.rs",
        "const RING_HIGH: usize = RING_BYTES / 2;",
        "const RING_HIGH: usize = RING_GUESTS + 1;",
    ),
    mutant(
        "output-holds-again",
        "console/output.rs",
        "        if self.ring.len() >= RING_HIGH && !self.is_held {",
        "        if self.ring.len() >= RING_HIGH {",
    ),
    mutant(
        "output-lets-go-at-once",
        "console/output.rs",
        "        if self.is_held && self.ring.len() < RING_HIGH / 2 {",
        "        if self.is_held {",
    ),
    mutant(
        "output-never-lets-go",
        "console/output.rs",
        "        if self.is_held && self.ring.len() < RING_HIGH / 2 {",
        "        if self.is_held && self.ring.len() > RING_BYTES {",
    ),
    mutant(
        "output-holds-for-guests-alone",
        "console.rs",
        "        if !self.lines.is_empty() {
            self.output.hold_if_high();
        }
",
        "",
    ),
    mutant(
        "output-holds-nobody",
        "console.rs",
        "        if !self.lines.is_empty() {
            self.output.hold",
        "        {
            self.output.hold",
    ),
    mutant(
        "output-lets-those-write-who-come",
        "console.rs",
        "        self.output.hold_if_high();
        self.output.ask();
",
        "        self.output.ask();
",
    ),
    mutant(
        "output-flushes-the-ring-alone",
        "console/output.rs",
        "        while !self.ring.is_empty() || self.uarts.is_busy() {",
        "        while !self.ring.is_empty() {",
    ),
    // Keys and input.
    mutant(
        "keys-stay-escaped",
        "console/keys.rs",
        "        match (core::mem::take(self), byte) {",
        "        match (*self, byte) {",
    ),
    mutant(
        "keys-pass-the-escape-on",
        "console/keys.rs",
        "                Key::Nothing
            }",
        "                Key::Guest(byte)
            }",
    ),
    mutant(
        "console-types-to-who-has-ended",
        "console.rs",
        "            Key::Guest(byte) if is_running(self.focus) => self.input(byte),",
        "            Key::Guest(byte) if self.focus < self.lines.len() => self.input(byte),",
    ),
    mutant(
        "console-gives-the-focus-to-who-has-ended",
        "console.rs",
        "        let Some(next) = turn.find(|vm| is_running(*vm)) else {",
        "        let Some(next) = turn.find(|vm| *vm < vms || is_running(*vm)) else {",
    ),
    mutant(
        "console-gives-input-to-another",
        "console.rs",
        "            input.feed(|byte| uarts.offer(vm, byte));",
        "            input.feed(|byte| uarts.offer(self.focus, byte));",
    ),
    mutant(
        "console-queues-input-for-the-first",
        "console.rs",
        "        let Some(input) = self.inputs.get_mut(vm) else {",
        "        let Some(input) = self.inputs.get_mut(0) else {",
    ),
    mutant(
        "input-waits-without-bound",
        "console/input.rs",
        "        let has_room = self.waiting.len() < INPUT_BYTES;",
        "        let has_room = self.waiting.len() < 2 * INPUT_BYTES;",
    ),
    mutant(
        "input-tells-of-each-loss",
        "console/input.rs",
        "        !core::mem::replace(&mut self.has_lost, true)",
        "        !core::mem::replace(&mut self.has_lost, false)",
    ),
    mutant(
        "input-tells-of-the-first-loss-alone",
        "console/input.rs",
        "            self.waiting.pop_front();
            self.has_lost = false;
",
        "            self.waiting.pop_front();
",
    ),
    mutant(
        "input-drops-what-was-refused",
        "console/input.rs",
        "            if !offer(*byte) {
                return;
            }
            self.waiting.pop_front();
",
        "            let is_taken = offer(*byte);
            self.waiting.pop_front();
            if !is_taken {
                return;
            }
",
    ),
];
