//! The way out: a ring in front of the machine's UART, and its marks.

use alloc::collections::VecDeque;
use core::fmt::{self, Write};

use super::{Interest, Uarts};

/// Bytes of the ring.
const RING_BYTES: usize = 16 << 10;
/// From here on guests wait, until half of it is out.
const RING_HIGH: usize = RING_BYTES / 2;
/// Guests' output ends here: the rest is for the hypervisor's own lines, so that these need not wait for room either.
const RING_GUESTS: usize = RING_BYTES / 4 * 3;
/// What goes into the UART at once, even if that takes more: it interrupts again.
const DRAIN_BYTES: usize = 256;
const LINE_END: [u8; 2] = *b"\r\n";

/// Whose output it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A guest's: dropped where there is no room, which guests are told in time to avoid.
    Guests,
    /// The hypervisor's: waits for room rather than be lost.
    Own,
}

/// The ring, and the UARTs behind it.
pub(super) struct Output<U> {
    pub(super) uarts: U,
    /// Guests were told to wait.
    pub(super) is_held: bool,
    /// The last byte that went out ended a line.
    is_line_start: bool,
    ring: VecDeque<u8>,
}

impl<U: Uarts> Output<U> {
    pub(super) fn new(uarts: U) -> Self {
        Self {
            uarts,
            is_held: false,
            is_line_start: true,
            ring: VecDeque::with_capacity(RING_BYTES),
        }
    }

    /// Sends a byte, at once where nothing is in front of it.
    #[inline]
    pub(super) fn send(&mut self, byte: u8, kind: Kind) {
        if self.ring.is_empty() && !self.uarts.is_full() {
            self.is_line_start = byte == b'\n';
            self.uarts.send(byte);
        } else {
            self.enqueue(byte, kind);
        }
    }

    #[cold]
    fn enqueue(&mut self, byte: u8, kind: Kind) {
        match kind {
            Kind::Guests if self.ring.len() >= RING_GUESTS => return,
            Kind::Guests => {}
            Kind::Own => {
                while self.ring.len() == RING_BYTES {
                    self.drain(DRAIN_BYTES);
                }
            }
        }
        self.is_line_start = byte == b'\n';
        self.ring.push_back(byte);
        if self.ring.len() == 1 {
            self.ask();
        }
    }

    /// Begins a line of at most `bytes` bytes, unless it would have to wait or to be dropped in part: with its end, and the
    /// end of an unfinished one in front. Whether it did.
    pub(super) fn start_if_room(&mut self, bytes: usize, kind: Kind) -> bool {
        let limit = match kind {
            Kind::Guests => RING_GUESTS,
            Kind::Own => RING_BYTES,
        };
        let has_room = self.ring.len() + bytes + 2 * LINE_END.len() <= limit;
        if has_room {
            self.start_line(kind);
        }
        has_room
    }

    /// Ends the line that something else has begun.
    pub(super) fn start_line(&mut self, kind: Kind) {
        if !self.is_line_start {
            self.end_line(kind);
        }
    }

    pub(super) fn end_line(&mut self, kind: Kind) {
        for byte in LINE_END {
            self.send(byte, kind);
        }
    }

    /// Moves what fits from the ring into the UART, `most` bytes at most.
    fn drain(&mut self, most: usize) {
        for _ in 0..most {
            if self.uarts.is_full() {
                break;
            }
            match self.ring.pop_front() {
                Some(byte) => self.uarts.send(byte),
                None => break,
            }
        }
        if self.ring.is_empty() {
            self.ask();
        }
    }

    /// Waits until everything is out.
    pub(super) fn flush(&mut self) {
        while !self.ring.is_empty() || self.uarts.is_busy() {
            self.drain(RING_BYTES);
        }
    }

    /// Tells all guests to wait once there is much in the ring. One who calls this has the console for itself, so that it
    /// cannot be overtaken by the word to go on.
    #[inline]
    pub(super) fn hold_if_high(&mut self) {
        if self.ring.len() >= RING_HIGH && !self.is_held {
            self.is_held = true;
            self.uarts.hold();
        }
    }

    /// Makes progress with output, and lets guests go on that were told to wait.
    pub(super) fn release(&mut self) {
        self.drain(DRAIN_BYTES);
        if self.is_held && self.ring.len() < RING_HIGH / 2 {
            self.is_held = false;
            self.uarts.let_go();
        }
    }

    /// Input interrupts always, output interrupts while the ring holds something.
    pub(super) fn ask(&mut self) {
        self.uarts.interrupt_for(if self.ring.is_empty() {
            Interest::Input
        } else {
            Interest::InputAndRoom
        });
    }
}

/// The hypervisor's own text.
impl<U: Uarts> Write for Output<U> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.send(byte, Kind::Own));
        Ok(())
    }
}
