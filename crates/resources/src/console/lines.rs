//! The line that a VM without the keyboard is about to write.

use alloc::vec::Vec;

/// Bytes of a guest's line; a longer one is printed in pieces, each behind the name.
const LINE_BYTES: usize = 256;

/// An unfinished line, behind the name of its VM.
#[derive(Debug)]
pub(super) struct Line {
    bytes: Vec<u8>,
    /// Bytes of the name and what surrounds it.
    prefix: usize,
}

impl Line {
    pub(super) fn new(name: &str) -> Self {
        let prefix = name.len() + "[] ".len();
        let mut bytes = Vec::with_capacity(prefix + LINE_BYTES);
        for part in ["[", name, "] "] {
            bytes.extend_from_slice(part.as_bytes());
        }
        Self { bytes, prefix }
    }

    /// Adds a byte. Whether the line is whole now.
    pub(super) fn add(&mut self, byte: u8) -> bool {
        if byte != b'\n' && byte != b'\r' {
            self.bytes.push(byte);
        }
        byte == b'\n' || self.text().len() == LINE_BYTES
    }

    /// With the name in front.
    pub(super) fn whole(&self) -> &[u8] {
        &self.bytes
    }

    /// What the guest wrote.
    pub(super) fn text(&self) -> &[u8] {
        &self.bytes[self.prefix..]
    }

    pub(super) fn clear(&mut self) {
        self.bytes.truncate(self.prefix);
    }
}
