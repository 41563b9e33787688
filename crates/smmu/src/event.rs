//! Events as sentences (IHI 0070, 7.3).

use core::fmt;

use droste_arm64::Ipa;

use crate::streams::StreamId;

/// Words of 64 bits in a record.
pub const WORDS: usize = 4;
/// Bytes of a record.
pub const BYTES: u64 = 32;

/// A number of the architecture's, its name, and what it means; what a record of it says besides.
struct Row {
    number: u8,
    name: &'static str,
    sentence: &'static str,
    detail: Detail,
}

/// What else a record has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Detail {
    Nothing,
    /// The address that the device gave.
    Input,
    /// That, the IPA at which stage 2 stopped, and what the access was.
    Access,
    /// Where the SMMU could not read.
    Fetch,
    /// The device's address and where the SMMU could not read.
    Walk,
}

const fn row(number: u8, name: &'static str, sentence: &'static str, detail: Detail) -> Row {
    Row {
        number,
        name,
        sentence,
        detail,
    }
}

const EVENTS: [Row; 19] = [
    row(
        0x01,
        "F_UUT",
        "sent a transaction that the SMMU does not support",
        Detail::Input,
    ),
    row(
        0x02,
        "C_BAD_STREAMID",
        "has a StreamID outside the stream table",
        Detail::Nothing,
    ),
    row(
        0x03,
        "F_STE_FETCH",
        "has a stream table entry that cannot be read",
        Detail::Fetch,
    ),
    row(
        0x04,
        "C_BAD_STE",
        "is given to nobody: its stream table entry is invalid",
        Detail::Nothing,
    ),
    row(
        0x05,
        "F_BAD_ATS_TREQ",
        "asked for a translation (ATS) that it may not have",
        Detail::Input,
    ),
    row(
        0x06,
        "F_STREAM_DISABLED",
        "may not send without a substream",
        Detail::Nothing,
    ),
    row(
        0x07,
        "F_TRANSL_FORBIDDEN",
        "sent an address as translated (ATS), which it may not",
        Detail::Input,
    ),
    row(
        0x08,
        "C_BAD_SUBSTREAMID",
        "sent a substream that does not exist",
        Detail::Nothing,
    ),
    row(
        0x09,
        "F_CD_FETCH",
        "has a context descriptor that cannot be read",
        Detail::Fetch,
    ),
    row(
        0x0a,
        "C_BAD_CD",
        "has a context descriptor that is invalid",
        Detail::Nothing,
    ),
    row(
        0x0b,
        "F_WALK_EABT",
        "has a translation table that cannot be read",
        Detail::Walk,
    ),
    row(
        0x10,
        "F_TRANSLATION",
        "reached for memory that its VM does not have",
        Detail::Access,
    ),
    row(
        0x11,
        "F_ADDR_SIZE",
        "reached past the end of the address space",
        Detail::Access,
    ),
    row(
        0x12,
        "F_ACCESS",
        "reached for memory whose access flag is clear",
        Detail::Access,
    ),
    row(
        0x13,
        "F_PERMISSION",
        "reached for memory in a way that is not permitted",
        Detail::Access,
    ),
    row(
        0x20,
        "F_TLB_CONFLICT",
        "met two entries of the SMMU's TLB for one address",
        Detail::Access,
    ),
    row(
        0x21,
        "F_CFG_CONFLICT",
        "met two entries of the SMMU's configuration cache",
        Detail::Nothing,
    ),
    row(
        0x24,
        "E_PAGE_REQUEST",
        "is likely to need a page soon",
        Detail::Input,
    ),
    row(
        0x25,
        "F_VMS_FETCH",
        "has a VM structure that cannot be read",
        Detail::Fetch,
    ),
];

/// The numbers that are an implementation's own.
const IMPLEMENTATION: core::ops::RangeInclusive<u8> = 0xe0..=0xef;

/// What the device did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// A read.
    Read,
    /// A write.
    Write,
}

/// A record of the event queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event(pub [u64; WORDS]);

impl Event {
    /// The event's number.
    pub const fn number(&self) -> u8 {
        self.0[0] as u8
    }

    /// The architecture's name; `None` for a number that it does not use.
    pub fn name(&self) -> Option<&'static str> {
        self.row().map(|row| row.name)
    }

    fn row(&self) -> Option<&'static Row> {
        EVENTS.iter().find(|row| row.number == self.number())
    }

    fn detail(&self) -> Detail {
        self.row().map_or(Detail::Nothing, |row| row.detail)
    }

    /// Whose transaction it was.
    pub const fn stream(&self) -> StreamId {
        StreamId((self.0[0] >> 32) as u32)
    }

    /// The substream, if the transaction had one (SSV).
    pub const fn substream(&self) -> Option<u32> {
        if self.0[0] >> 11 & 1 == 0 {
            return None;
        }
        Some((self.0[0] >> 12) as u32 & 0xf_ffff)
    }

    /// The address that the device gave.
    pub fn input(&self) -> Option<u64> {
        let has = matches!(self.detail(), Detail::Input | Detail::Access | Detail::Walk);
        has.then_some(self.0[2])
    }

    /// Whether it read or wrote (RnW).
    pub fn attempt(&self) -> Option<Attempt> {
        (self.detail() == Detail::Access).then_some(if self.0[1] >> 35 & 1 == 0 {
            Attempt::Write
        } else {
            Attempt::Read
        })
    }

    /// The page at which stage 2 stopped (S2, IPA).
    pub fn ipa(&self) -> Option<Ipa> {
        let is_of_stage2 = self.detail() == Detail::Access && self.0[1] >> 39 & 1 == 1;
        is_of_stage2.then_some(Ipa(self.0[3] & 0x000f_ffff_ffff_f000))
    }

    /// Where the SMMU could not read (FetchAddr).
    pub fn fetch(&self) -> Option<u64> {
        let has = matches!(self.detail(), Detail::Fetch | Detail::Walk);
        has.then_some(self.0[3] & 0x000f_ffff_ffff_fff8)
    }

    /// Whether the transaction waits for an answer. With what this crate writes into entries, none does.
    pub const fn is_stalled(&self) -> bool {
        self.0[1] >> 31 & 1 == 1
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stream, number) = (self.stream(), self.number());
        let Some(row) = self.row() else {
            let whose = if IMPLEMENTATION.contains(&number) {
                "the implementation's own"
            } else {
                "reserved"
            };
            return write!(
                f,
                "device {stream} caused event {number:#x}, which is {whose}"
            );
        };
        write!(f, "device {stream} {}", row.sentence)?;
        if let Some(substream) = self.substream() {
            write!(f, ", substream {substream:#x}")?;
        }
        match self.attempt() {
            Some(Attempt::Read) => write!(f, ", by a read")?,
            Some(Attempt::Write) => write!(f, ", by a write")?,
            None => {}
        }
        if let Some(input) = self.input() {
            write!(f, ", at {input:#x}")?;
        }
        if let Some(ipa) = self.ipa() {
            write!(f, ", IPA {ipa}")?;
        }
        if let Some(fetch) = self.fetch() {
            write!(f, ", fetched at {fetch:#x}")?;
        }
        write!(f, " ({})", row.name)
    }
}

/// What the event queue gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// A record.
    Event(Event),
    /// The queue was full, and records since then are lost.
    Lost,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(event) => event.fmt(f),
            Self::Lost => f.write_str("the event queue was full: events are lost"),
        }
    }
}
