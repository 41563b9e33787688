//! A table, and bounded reads of it.

use alloc::vec::Vec;

use crate::error::{Error, Signature};

/// Bytes of what every table begins with (ACPI 6.5, 5.2.6).
pub(crate) const HEADER: usize = 36;
/// More than any static table has.
const MAX_BYTES: usize = 1 << 20;

/// A table whose checksum was not looked at yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table<'a> {
    pub(crate) signature: Signature,
    pub(crate) bytes: &'a [u8],
}

/// Those of a machine.
#[derive(Debug)]
pub(crate) struct Tables<'a>(pub(crate) Vec<Table<'a>>);

impl<'a> Tables<'a> {
    /// The first of that name, its checksum right.
    pub(crate) fn get(&self, signature: Signature) -> Result<&Table<'a>, Error> {
        let table = self.0.iter().find(|t| t.signature == signature);
        let table = table.ok_or(Error::NoTable(signature))?;
        table.check()?;
        Ok(table)
    }

    /// The same of one that a machine need not have.
    pub(crate) fn find(&self, signature: Signature) -> Result<Option<&Table<'a>>, Error> {
        match self.get(signature) {
            Err(Error::NoTable(_)) => Ok(None),
            found => found.map(Some),
        }
    }
}

/// A record of a table that is a list of them: its kind and its bytes, and where it begins.
pub(crate) struct Record<'a> {
    pub(crate) kind: u8,
    pub(crate) at: usize,
    table: Table<'a>,
}

/// Whether the bytes add up to 0.
pub(crate) fn is_sum_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

/// A little-endian number of up to 8 bytes.
pub(crate) fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    Some(bytes.iter().rev().fold(0, fold))
}

impl<'a> Table<'a> {
    /// The table at `address`.
    pub(crate) fn read(
        address: u64,
        memory: impl Fn(u64, usize) -> Option<&'a [u8]>,
    ) -> Result<Self, Error> {
        const LENGTH: usize = 4;
        let none = Error::Unreadable(address);
        let header = memory(address, HEADER).ok_or(none)?;
        let signature = header.first_chunk().copied().map(Signature).ok_or(none)?;
        let length = number(header, LENGTH, 4).ok_or(none)?;
        let length = usize::try_from(length).map_err(|_| none)?;
        if !(HEADER..=MAX_BYTES).contains(&length) {
            return Err(Error::Malformed(
                signature,
                LENGTH,
                "a length that no table has",
            ));
        }
        let bytes = memory(address, length).ok_or(none)?;
        Ok(Self { signature, bytes })
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if is_sum_zero(self.bytes) {
            Ok(())
        } else {
            Err(Error::Checksum(self.signature))
        }
    }

    pub(crate) fn malformed(&self, at: usize, what: &'static str) -> Error {
        Error::Malformed(self.signature, at, what)
    }

    pub(crate) fn missing(&self, what: &'static str) -> Error {
        Error::Missing(self.signature, what)
    }

    pub(crate) fn number(&self, at: usize, width: usize) -> Result<u64, Error> {
        number(self.bytes, at, width).ok_or_else(|| self.malformed(at, "it ends there"))
    }

    pub(crate) fn word(&self, at: usize) -> Result<u32, Error> {
        self.number(at, 4).map(|word| word as u32)
    }

    /// The records from offset `from` on, each of which begins with its kind and its length.
    pub(crate) fn records(&self, from: usize) -> impl Iterator<Item = Result<Record<'a>, Error>> {
        let table = *self;
        let mut at = from;
        core::iter::from_fn(move || {
            if at >= table.bytes.len() {
                return None;
            }
            let record = table.record(at);
            at = match &record {
                Ok(record) => at + record.table.bytes.len() - at,
                Err(_) => table.bytes.len(),
            };
            Some(record)
        })
    }

    fn record(&self, at: usize) -> Result<Record<'a>, Error> {
        let kind = self.number(at, 1)? as u8;
        let length = self.number(at + 1, 1)? as usize;
        let end = at + length;
        if length < 2 || end > self.bytes.len() {
            return Err(self.malformed(at + 1, "a record has a length that does not fit"));
        }
        let table = Table {
            bytes: &self.bytes[..end],
            ..*self
        };
        Ok(Record { kind, at, table })
    }
}

impl Record<'_> {
    /// A number in it, by the offset in the record.
    pub(crate) fn number(&self, at: usize, width: usize) -> Result<u64, Error> {
        self.table.number(self.at + at, width)
    }

    pub(crate) fn word(&self, at: usize) -> Result<u32, Error> {
        self.table.word(self.at + at)
    }
}
