//! The one physical UART, shared by Droste's own lines and the VMs' consoles.
//!
//! Output goes through a ring, so that a slow line never holds up EL2: guests see their transmit FIFOs full instead.
//! The VM in focus writes straight through, and what it writes is its own affair: the terminal is its. Lines of the others
//! are collected and printed whole, as plain text behind their name, so that none looks like Droste's or another VM's.
//! Input goes to the VM in focus, by way of a queue while it has no room; what does not fit there is lost, and Droste says
//! so: were it held back, the escape key would be too. `Ctrl-]` is the escape: then `s` prints the
//! report, `n` gives the focus to the next VM, `?` and `h` tell the keys, and a second `Ctrl-]` is passed on. What keys do
//! is in [`keyboard`](super::keyboard).
//!
//! Locks: this one may be held while a VM's UART or GIC is locked, never the other way round.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use arm_pl011_uart::{Interrupts, Uart};
use droste_arm64::Pa;
use droste_devtree::Device;
use droste_vdev::pl011::{Receipt, Room};
use droste_vdev::plain;
use spin::mutex::TicketMutex;

use crate::arch::uart;
use crate::vm::{Outcome, Vm, all, line};

const RING_BYTES: usize = 16 << 10;
/// From here on guests wait, until half of it is out.
const RING_HIGH: usize = RING_BYTES / 2;
/// Guests' output ends here: the rest is for Droste's own lines, so that these need not wait for room either.
const RING_GUESTS: usize = RING_BYTES / 4 * 3;
/// What goes into the UART at once, even if that takes more: it interrupts again.
const DRAIN_BYTES: usize = 256;
/// Input that waits for its guest.
pub(super) const INPUT_BYTES: usize = 4 << 10;
const LINE_BYTES: usize = 256;
const ESCAPE: u8 = 0x1d;

/// What input does next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    Plain,
    Escaped,
}

struct Console {
    uart: Uart<'static>,
    ring: VecDeque<u8>,
    /// The last byte that went out ended a line.
    is_line_start: bool,
    /// Index of the VM that has the keyboard.
    focus: usize,
    /// Unfinished lines of the VMs that have not.
    lines: Vec<Vec<u8>>,
    input: Input,
    /// Input that the VM in focus had no room for.
    waiting: VecDeque<u8>,
    /// Input was lost since the VM in focus read any.
    has_lost: bool,
    /// Guests were told to wait.
    is_held: bool,
}

static CONSOLE: TicketMutex<Option<Console>> = TicketMutex::new(None);

/// Takes the UART, which stage 1 maps already.
pub(crate) fn open(device: &Device) {
    let uart = uart::open(Pa(device.registers[0].start));
    *CONSOLE.lock() = uart.map(|uart| Console {
        uart,
        ring: VecDeque::with_capacity(RING_BYTES),
        is_line_start: true,
        focus: 0,
        lines: Vec::new(),
        input: Input::Plain,
        waiting: VecDeque::with_capacity(INPUT_BYTES),
        has_lost: false,
        is_held: false,
    });
}

/// Lets the UART interrupt for input; VMs exist.
pub(crate) fn enable_interrupts() {
    if let Some(console) = CONSOLE.lock().as_mut() {
        let lines = all::vms().iter();
        console.lines = lines.map(|_| Vec::with_capacity(LINE_BYTES + 2)).collect();
        console.update_masks();
    }
}

/// Prints one line of Droste's own, on a line of its own.
pub(crate) fn with_line(write: impl FnOnce(&mut dyn Write)) {
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.start_line();
        write(&mut Urgent(console));
        Urgent(console).end_line();
    }
}

/// Waits until everything is out.
pub(crate) fn flush() {
    if let Some(console) = CONSOLE.lock().as_mut() {
        while !console.ring.is_empty() || console.uart.is_busy() {
            console.drain(RING_BYTES);
        }
    }
}

/// What a byte of input means.
pub(crate) enum Key {
    /// It is for the VM in focus.
    Guest(u8),
    /// A person wants the report.
    Report,
    /// The next VM is to have the keyboard.
    NextVm,
    /// A person does not know the keys.
    Help,
    /// Nothing, or nothing yet.
    None,
}

/// Makes progress with output, and takes the next key, if one came in.
pub(super) fn next_key() -> Option<Key> {
    let mut console = CONSOLE.lock();
    let console = console.as_mut()?;
    console.release();
    console.next_key()
}

/// Index of the VM that has the keyboard.
pub(super) fn focus() -> Option<usize> {
    CONSOLE.lock().as_ref().map(|console| console.focus)
}

/// Queues a byte for `vm`, if it is in focus, and offers it. Whether it is the first that is lost.
pub(super) fn queue(vm: &Vm, byte: u8) -> bool {
    let mut console = CONSOLE.lock();
    console
        .as_mut()
        .is_some_and(|console| console.queue(vm, byte))
}

/// Gives the keyboard to the next of `vms` that runs, if one does, and says so. What it has said of a line, a prompt
/// perhaps, stands behind that.
pub(super) fn switch_focus(vms: &[&'static Vm]) {
    let mut console = CONSOLE.lock();
    let Some(console) = console.as_mut() else {
        return;
    };
    let mut turn = (1..=vms.len()).map(|n| (console.focus + n) % vms.len());
    let Some(next) = turn.find(|n| vms[*n].outcome() == Outcome::Running) else {
        return;
    };
    console.focus = next;
    console.waiting.clear();
    console.has_lost = false;
    console.start_line();
    let _ = write!(
        Urgent(console),
        "droste: input goes to {}",
        vms[next].name()
    );
    Urgent(console).end_line();
    let mut line = core::mem::take(&mut console.lines[next]);
    for byte in &line {
        console.push(*byte);
    }
    line.clear();
    console.lines[next] = line;
}

/// Puts one byte of `vm` out, or into its line; once that is too much, tells all guests to wait.
#[inline]
pub(crate) fn transmit(vm: &Vm, byte: u8) {
    let mut console = CONSOLE.lock();
    let Some(console) = console.as_mut() else {
        return;
    };
    if console.focus == vm.id {
        console.push(byte);
    } else {
        console.collect(vm, byte);
    }
    if console.ring.len() >= RING_HIGH && !console.is_held {
        console.hold();
    }
}

/// Tells a UART that is new whether there is room.
pub(crate) fn tell_room(vm: &Vm) {
    if let Some(console) = CONSOLE.lock().as_mut()
        && console.is_held
    {
        line::set_room(vm, Room::Full);
    }
}

/// The guest may have made room: offers what waits for it.
#[cold]
pub(crate) fn offer_waiting(vm: &Vm) {
    if let Some(console) = CONSOLE.lock().as_mut()
        && console.focus == vm.id
    {
        console.feed(vm);
    }
}

impl Console {
    /// Sends a byte of a guest's; drops it where there is no room, which guests are told in time to avoid.
    #[inline]
    fn push(&mut self, byte: u8) {
        self.send(byte, RING_GUESTS);
    }

    #[inline]
    fn send(&mut self, byte: u8, limit: usize) {
        self.is_line_start = byte == b'\n';
        if self.ring.is_empty() && !self.uart.is_tx_fifo_full() {
            self.uart.write_word(byte);
        } else {
            self.enqueue(byte, limit);
        }
    }

    #[cold]
    fn enqueue(&mut self, byte: u8, limit: usize) {
        if self.ring.len() < limit {
            self.ring.push_back(byte);
            if self.ring.len() == 1 {
                self.update_masks();
            }
        }
    }

    /// Moves what fits from the ring into the UART, `most` bytes at most.
    fn drain(&mut self, most: usize) {
        for _ in 0..most {
            if self.uart.is_tx_fifo_full() {
                break;
            }
            match self.ring.pop_front() {
                Some(byte) => self.uart.write_word(byte),
                None => break,
            }
        }
        if self.ring.is_empty() {
            self.update_masks();
        }
    }

    fn start_line(&mut self) {
        if !self.is_line_start {
            self.push(b'\r');
            self.push(b'\n');
        }
    }

    /// Adds a byte to the line of a VM that is not in focus, and prints the line once it is whole.
    #[inline(never)]
    fn collect(&mut self, vm: &Vm, byte: u8) {
        let line = &mut self.lines[vm.id];
        if byte != b'\n' && byte != b'\r' {
            line.push(byte);
        }
        if byte == b'\n' || line.len() == LINE_BYTES {
            let mut line = core::mem::take(line);
            self.start_line();
            let _ = write!(Urgent(self), "[{}] ", vm.name());
            plain(&line, |byte| self.push(byte));
            Urgent(self).end_line();
            line.clear();
            self.lines[vm.id] = line;
        }
    }

    /// The next key, if one came in.
    fn next_key(&mut self) -> Option<Key> {
        // A byte that came in wrong (framing, parity, break) is dropped.
        let byte = loop {
            if let Ok(byte) = self.uart.read_word() {
                break byte?;
            }
        };
        let input = core::mem::replace(&mut self.input, Input::Plain);
        Some(match (input, byte) {
            (Input::Plain, ESCAPE) => {
                self.input = Input::Escaped;
                Key::None
            }
            (Input::Escaped, b's') => Key::Report,
            (Input::Escaped, b'n') => Key::NextVm,
            (Input::Escaped, b'?' | b'h') => Key::Help,
            (Input::Plain, byte) | (Input::Escaped, byte @ ESCAPE) => Key::Guest(byte),
            (Input::Escaped, _) => Key::None,
        })
    }

    /// Queues a byte for `vm`, which is in focus, and offers it. Whether it is the first that is lost.
    fn queue(&mut self, vm: &Vm, byte: u8) -> bool {
        if self.focus != vm.id {
            return false;
        }
        if self.waiting.len() == INPUT_BYTES {
            return !core::mem::replace(&mut self.has_lost, true);
        }
        self.waiting.push_back(byte);
        self.feed(vm);
        false
    }

    /// Gives `vm`, which is in focus, what waits for it, as far as it has room.
    fn feed(&mut self, vm: &Vm) {
        while let Some(byte) = self.waiting.front() {
            if line::receive(vm, *byte) == Receipt::Refused {
                return;
            }
            self.waiting.pop_front();
            self.has_lost = false;
        }
    }

    /// Tells all guests to wait. Under this lock, so that it cannot be overtaken by the word to go on.
    #[cold]
    fn hold(&mut self) {
        self.is_held = true;
        tell_all(Room::Full);
    }

    /// Makes progress with output, and lets guests go on that were told to wait.
    fn release(&mut self) {
        self.drain(DRAIN_BYTES);
        if self.is_held && self.ring.len() < RING_HIGH / 2 {
            self.is_held = false;
            tell_all(Room::Free);
        }
    }

    /// Input interrupts always, output interrupts while the ring holds something.
    fn update_masks(&mut self) {
        let mut masks = Interrupts::RXI | Interrupts::RTI;
        if !self.ring.is_empty() {
            masks |= Interrupts::TXI;
        }
        self.uart.set_interrupt_masks(masks);
    }
}

/// Tells all guests whether there is room.
fn tell_all(room: Room) {
    for vm in all::vms() {
        line::set_room(vm, room);
    }
}

/// Droste's own lines: these wait for room rather than be lost. Only the log writes so, at a bounded rate.
struct Urgent<'a>(&'a mut Console);

impl Urgent<'_> {
    fn put(&mut self, byte: u8) {
        while self.0.ring.len() == RING_BYTES {
            self.0.drain(DRAIN_BYTES);
        }
        self.0.send(byte, RING_BYTES);
    }

    fn end_line(&mut self) {
        self.put(b'\r');
        self.put(b'\n');
    }
}

impl Write for Urgent<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.put(byte));
        Ok(())
    }
}
