//! The receive FIFO.

/// Bytes that it holds (DDI 0183, r1p5).
pub(super) const DEPTH: usize = 32;

/// A ring of [`DEPTH`] bytes.
#[derive(Debug)]
pub(super) struct Fifo {
    bytes: [u8; DEPTH],
    /// Where the oldest byte is.
    first: usize,
    len: usize,
}

impl Fifo {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; DEPTH],
            first: 0,
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a byte; without effect if it is full.
    pub(super) fn push(&mut self, byte: u8) {
        if self.len < DEPTH {
            self.bytes[(self.first + self.len) % DEPTH] = byte;
            self.len += 1;
        }
    }

    /// Takes the oldest byte.
    pub(super) fn pop(&mut self) -> Option<u8> {
        if self.len == 0 {
            return None;
        }
        let byte = self.bytes[self.first % DEPTH];
        self.first = (self.first + 1) % DEPTH;
        self.len -= 1;
        Some(byte)
    }
}
