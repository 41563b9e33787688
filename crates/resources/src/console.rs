//! One UART for the hypervisor's own lines and the consoles of all virtual machines.
//!
//! Output goes through a ring, so that a slow line never holds up the hypervisor: guests see their transmit FIFOs full
//! instead. The VM in focus has the terminal to itself, and what it writes goes straight through. Lines of the others
//! are collected and printed whole, as plain text after the VM's name, so that none looks like a line of the hypervisor
//! or of another VM. Input is for the VM that is in focus when it is typed, and waits in a queue of that VM's while its
//! UART has no room; what does not fit there is lost, and the hypervisor is told. If input were held back instead, the
//! escape key would be as well. `Ctrl-]` is the escape: then `s` prints the report, `n` gives the focus to the next VM, `?` and `h` list the keys, and a second
//! `Ctrl-]` is passed on.
//!
//! # What a visit costs
//! CPUs share a console, so each method is one visit under the caller's lock. No visit that a guest causes waits for
//! the UART: a guest's line is dropped whole if there is no room for it, and so is a line about a guest
//! ([`Console::own_line_if_room`]). All other lines of the hypervisor wait for room ([`Console::own_line`]): those at
//! boot and at the end, and a report that a person asked for.

mod input;
mod keys;
mod lines;
mod output;
mod plain;

use alloc::vec::Vec;
use core::fmt::{self, Arguments, Write};

use input::Input;
use keys::{Key, Keys};
use lines::Line;
use output::{Kind, Output};

pub use input::INPUT_BYTES;
pub use plain::plain;

/// The machine's UART and those of the VMs, as a [`Console`] uses them.
pub trait Uarts {
    /// Whether the machine's takes no further byte now.
    fn is_full(&self) -> bool;
    /// Whether the machine's still sends.
    fn is_busy(&self) -> bool;
    /// Gives the machine's a byte to send; it is not full.
    fn send(&mut self, byte: u8);
    /// The next byte that the machine's received.
    fn receive(&mut self) -> Option<u8>;
    /// Lets the machine's interrupt for this and nothing else.
    fn interrupt_for(&mut self, interest: Interest);
    /// Offers the UART of VM `vm` a byte. Whether it had room for it.
    fn offer(&mut self, vm: usize, byte: u8) -> bool;
    /// Makes the UARTs of all VMs look full to their guests.
    fn hold(&mut self);
    /// Makes them look empty again.
    fn let_go(&mut self);
}

/// What the machine's UART raises an interrupt for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// It received something.
    Input,
    /// It received something, or has room for output again.
    InputAndRoom,
}

/// The effect of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Nothing to tell.
    Quiet,
    /// The report is asked for.
    Report,
    /// The list of keys is asked for.
    Help,
    /// This VM is to get the keyboard: the caller announces it, then calls [`Console::give`].
    Focus(usize),
    /// This VM does not read its input, and a first byte of it is lost. Reported once, until the VM reads again.
    Lost(usize),
}

/// A console that VMs share, with the UARTs behind it. VMs are named by their index.
///
/// ```
/// use droste_resources::{Console, Interest, Uarts};
/// /// A UART that is never full, and VMs that read nothing.
/// #[derive(Default)]
/// struct Terminal(String);
/// impl Uarts for Terminal {
///     fn is_full(&self) -> bool { false }
///     fn is_busy(&self) -> bool { false }
///     fn send(&mut self, byte: u8) { self.0.push(byte.into()) }
///     fn receive(&mut self) -> Option<u8> { None }
///     fn interrupt_for(&mut self, _: Interest) {}
///     fn offer(&mut self, _: usize, _: u8) -> bool { false }
///     fn hold(&mut self) {}
///     fn let_go(&mut self) {}
/// }
/// let mut console = Console::new(Terminal::default());
/// console.set_vms(["linux", "other"].into_iter());
/// "in focus\r\n".bytes().for_each(|byte| console.transmit(0, byte));
/// "\x1b[2Jdroste: forged\r\n".bytes().for_each(|byte| console.transmit(1, byte));
/// console.own_line(|line| { let _ = write!(line, "droste: mine"); });
/// assert_eq!(console.uarts().0, "in focus\r\n[other] ?[2Jdroste: forged\r\ndroste: mine\r\n");
/// ```
pub struct Console<U> {
    output: Output<U>,
    /// Index of the VM that has the keyboard.
    focus: usize,
    /// Unfinished lines of the VMs that have not.
    lines: Vec<Line>,
    keys: Keys,
    /// What waits for each VM.
    inputs: Vec<Input>,
}

impl<U: Uarts> Console<U> {
    /// A console on the machine's UART, without VMs. All the memory that it needs is allocated here and in
    /// [`set_vms`](Self::set_vms).
    pub fn new(uarts: U) -> Self {
        Self {
            output: Output::new(uarts),
            focus: 0,
            lines: Vec::new(),
            keys: Keys::default(),
            inputs: Vec::new(),
        }
    }

    /// Adds the VMs, by their names, and asks for input from now on. The first VM has the keyboard.
    pub fn set_vms<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        self.lines = names.map(Line::new).collect();
        self.inputs.resize_with(self.lines.len(), Input::new);
        self.output.hold_if_high();
        self.output.ask();
    }

    /// The UARTs behind it.
    pub const fn uarts(&self) -> &U {
        &self.output.uarts
    }

    /// Whether guests are to see full UARTs: a UART that is new must be told.
    pub const fn is_held(&self) -> bool {
        self.output.is_held
    }

    /// Takes one byte that `vm` transmits, and prints it or adds it to the VM's line. Holds all guests once the ring is
    /// nearly full.
    #[inline]
    pub fn transmit(&mut self, vm: usize, byte: u8) {
        if self.focus == vm {
            self.output.send(byte, Kind::Guests);
        } else {
            self.collect(vm, byte);
        }
        self.output.hold_if_high();
    }

    /// Prints a line of the hypervisor, apart from any guest's. Waits for the UART if the ring is full.
    pub fn own_line(&mut self, write: impl FnOnce(&mut dyn Write)) {
        self.output.start_line(Kind::Own);
        write(&mut self.output);
        self.output.end_line(Kind::Own);
        if !self.lines.is_empty() {
            self.output.hold_if_high();
        }
    }

    /// Prints such a line if it need not wait for the UART. Returns whether it did.
    pub fn own_line_if_room(&mut self, text: Arguments<'_>) -> bool {
        let mut length = Length(0);
        let _ = length.write_fmt(text);
        let has_room = self.output.start_if_room(length.0, Kind::Own);
        if has_room {
            self.own_line(|line| {
                let _ = line.write_fmt(text);
            });
        }
        has_room
    }

    /// Waits until everything is out.
    pub fn flush(&mut self) {
        self.output.flush();
    }

    /// Does one step of what the UART's interrupt asks for: sends some output, and handles the next key. Returns `None`
    /// if there is no key.
    ///
    /// If the VM in focus has ended, as `is_running` says, a byte gives the keyboard to the next VM that runs. It takes
    /// a byte, so that the look of the lines does not change for people who only read.
    pub fn serve(&mut self, is_running: impl Fn(usize) -> bool) -> Option<Event> {
        self.output.release();
        let byte = self.output.uarts.receive()?;
        Some(match self.keys.press(byte) {
            Key::Guest(byte) if is_running(self.focus) => self.input(byte),
            Key::Guest(_) | Key::NextVm => self.next(is_running),
            Key::Report => Event::Report,
            Key::Help => Event::Help,
            Key::Nothing => Event::Quiet,
        })
    }

    /// Offers `vm` the input that waits for it: it may have room again.
    #[inline]
    pub fn offer_waiting(&mut self, vm: usize) {
        let uarts = &mut self.output.uarts;
        if let Some(input) = self.inputs.get_mut(vm) {
            input.feed(|byte| uarts.offer(vm, byte));
        }
    }

    /// Adds a byte to the line of a VM that is not in focus, and prints the line once it is whole.
    #[inline(never)]
    fn collect(&mut self, vm: usize, byte: u8) {
        if let Some(line) = self.lines.get_mut(vm)
            && line.add(byte)
        {
            let output = &mut self.output;
            if output.start_if_room(line.whole().len(), Kind::Guests) {
                plain(line.whole(), |byte| output.send(byte, Kind::Guests));
                output.end_line(Kind::Guests);
            }
            line.clear();
        }
    }

    /// A byte for the VM in focus, which runs.
    fn input(&mut self, byte: u8) -> Event {
        let vm = self.focus;
        let Some(input) = self.inputs.get_mut(vm) else {
            return Event::Quiet;
        };
        if input.queue(byte) {
            self.offer_waiting(vm);
        } else if input.is_first_lost() {
            return Event::Lost(vm);
        }
        Event::Quiet
    }

    /// The next VM that runs.
    fn next(&self, is_running: impl Fn(usize) -> bool) -> Event {
        let vms = self.lines.len();
        let mut turn = (1..=vms).map(|n| (self.focus + n) % vms);
        let Some(next) = turn.find(|vm| is_running(*vm)) else {
            return Event::Quiet;
        };
        Event::Focus(next)
    }

    /// Index of the VM that has the keyboard.
    pub const fn focus(&self) -> usize {
        self.focus
    }

    /// Gives the keyboard to `vm`, and prints its unfinished line, such as a prompt.
    pub fn give(&mut self, vm: usize) {
        self.focus = vm;
        let Some(line) = self.lines.get_mut(vm) else {
            return;
        };
        if self.output.start_if_room(line.text().len(), Kind::Guests) {
            for byte in line.text() {
                self.output.send(*byte, Kind::Guests);
            }
        }
        line.clear();
    }
}

/// Counts the bytes of a text.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}
