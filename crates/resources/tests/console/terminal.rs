//! A UART that goes as fast as a test says, and VMs that read as a test says.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use droste_resources::{Console, Event, Interest, Uarts};

/// Bytes that the UART takes before it is full.
pub(crate) const FIFO: usize = 16;
/// How often the UART may be asked for room without success before that counts as waiting.
const PATIENCE: usize = 8;

/// What the hardware did and was told, seen from outside.
#[derive(Default)]
pub(crate) struct Seen {
    /// What came out of the UART.
    pub(crate) out: RefCell<Vec<u8>>,
    /// Bytes in its FIFO.
    fifo: RefCell<VecDeque<u8>>,
    /// Calls in a row that found it full.
    asked: Cell<usize>,
    /// It sends a byte each time that it is asked for room in vain.
    pub(crate) is_waited_for: Cell<bool>,
    /// It is never full.
    pub(crate) is_fast: Cell<bool>,
    /// What is typed.
    pub(crate) keys: RefCell<VecDeque<u8>>,
    pub(crate) interest: Cell<Option<Interest>>,
    /// For each VM: for how many bytes it has room, and what it got.
    pub(crate) guests: RefCell<Vec<(usize, Vec<u8>)>>,
    pub(crate) is_held: Cell<bool>,
}

impl Seen {
    /// The UART sends so many bytes.
    pub(crate) fn pass(&self, bytes: usize) {
        let mut fifo = self.fifo.borrow_mut();
        let bytes = bytes.min(fifo.len());
        self.out.borrow_mut().extend(fifo.drain(..bytes));
        self.asked.set(0);
    }

    /// All that came out, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out.borrow()).into_owned()
    }
}

pub(crate) struct Hardware(Rc<Seen>);

impl Uarts for Hardware {
    fn is_full(&self) -> bool {
        if self.0.is_fast.get() {
            self.0.pass(FIFO);
        }
        let is_full = self.0.fifo.borrow().len() == FIFO;
        if is_full && self.0.is_waited_for.get() {
            self.0.pass(1);
        } else if is_full {
            self.0.asked.set(self.0.asked.get() + 1);
            assert!(self.0.asked.get() < PATIENCE, "it waits for the UART");
        }
        is_full
    }

    fn is_busy(&self) -> bool {
        self.0.pass(1);
        !self.0.fifo.borrow().is_empty()
    }

    fn send(&mut self, byte: u8) {
        assert!(
            self.0.fifo.borrow().len() < FIFO,
            "a full UART is written to"
        );
        self.0.fifo.borrow_mut().push_back(byte);
    }

    fn receive(&mut self) -> Option<u8> {
        self.0.keys.borrow_mut().pop_front()
    }

    fn interrupt_for(&mut self, interest: Interest) {
        self.0.interest.set(Some(interest));
    }

    fn offer(&mut self, vm: usize, byte: u8) -> bool {
        let (room, got) = &mut self.0.guests.borrow_mut()[vm];
        let has_room = *room > 0;
        if has_room {
            *room -= 1;
            got.push(byte);
        }
        has_room
    }

    fn hold(&mut self) {
        assert!(!self.0.is_held.replace(true), "held twice");
    }

    fn let_go(&mut self) {
        assert!(self.0.is_held.replace(false), "let go twice");
    }
}

/// VMs `a`, `b` and `c` at a console; `a` has the keyboard.
pub(crate) struct Terminal {
    pub(crate) console: Console<Hardware>,
    pub(crate) seen: Rc<Seen>,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        let seen = Rc::new(Seen::default());
        *seen.guests.borrow_mut() = vec![(usize::MAX, Vec::new()); 3];
        let mut console = Console::new(Hardware(Rc::clone(&seen)));
        console.set_vms(["a", "b", "c"].into_iter());
        Self { console, seen }
    }

    /// A guest writes; the UART keeps up with it.
    pub(crate) fn write(&mut self, vm: usize, bytes: &[u8]) {
        for byte in bytes {
            self.console.transmit(vm, *byte);
            self.drain();
        }
    }

    /// A guest writes while the UART sends nothing.
    pub(crate) fn write_stuck(&mut self, vm: usize, bytes: &[u8]) {
        for byte in bytes {
            self.seen.pass(0);
            self.console.transmit(vm, *byte);
        }
    }

    /// A line of the hypervisor's.
    pub(crate) fn say(&mut self, line: &str) {
        self.console.own_line(|out| {
            out.write_str(line).expect("a console takes all");
        });
    }

    /// Types `keys`, and returns what came of them.
    pub(crate) fn press(&mut self, keys: &[u8], running: &[usize]) -> Vec<Event> {
        self.seen.keys.borrow_mut().extend(keys);
        let console = &mut self.console;
        std::iter::from_fn(|| console.serve(|vm| running.contains(&vm))).collect()
    }

    /// Everything in the ring goes out, as interrupts ask for it.
    pub(crate) fn drain(&mut self) {
        loop {
            self.seen.pass(FIFO);
            self.press(&[], &[]);
            if self.seen.fifo.borrow().is_empty() {
                return;
            }
        }
    }

    pub(crate) fn text(&mut self) -> String {
        self.drain();
        self.seen.text()
    }

    pub(crate) fn got(&self, vm: usize) -> Vec<u8> {
        self.seen.guests.borrow()[vm].1.clone()
    }
}
