//! What was seen, in 32 bytes each.

use std::io::{self, ErrorKind, Read, Write};

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A store to a table: `a` the address of a descriptor, `b` what it holds now.
    Write,
    /// What memory holds becomes known, or was changed by no CPU: as [`Write`](Self::Write).
    Learn,
    /// What was written is seen before what is written next: DMB, or a store-release comes.
    Order,
    /// DSB: `a` is CRm.
    Dsb,
    /// ISB.
    Isb,
    /// A TLB invalidation: `a` the instruction, `b` its operand.
    Tlbi,
    /// VTTBR_EL2 becomes `b`.
    Vttbr,
    /// VTCR_EL2 becomes `b`.
    Vtcr,
    /// HCR_EL2 becomes `b`.
    Hcr,
    /// A guest is entered: `a` is VMPIDR_EL2.
    Enter,
    /// It is left.
    Exit,
    /// A host's user is returned to.
    Done,
    /// The recorder ended well.
    End,
    /// No event, but a place that calls: a return address, `b`, and in `a` the number of who called there, 0 for none.
    /// These are numbered from 1 on in their order, and `stack` of an event is such a number.
    Frame,
}

const KINDS: [Kind; 14] = [
    Kind::Write,
    Kind::Learn,
    Kind::Order,
    Kind::Dsb,
    Kind::Isb,
    Kind::Tlbi,
    Kind::Vttbr,
    Kind::Vtcr,
    Kind::Hcr,
    Kind::Enter,
    Kind::Exit,
    Kind::Done,
    Kind::End,
    Kind::Frame,
];

/// Something that a CPU did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// Which CPU.
    pub cpu: u8,
    /// Who called the code: the number of a [`Frame`](Kind::Frame); 0 where none is known.
    pub stack: u32,
    /// The instruction's address; 0 where none is known.
    pub pc: u64,
    /// See [`Kind`].
    pub a: u64,
    /// See [`Kind`].
    pub b: u64,
}

/// Bytes of an event.
const BYTES: usize = 32;

impl Event {
    /// Writes it.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn put(&self, out: &mut impl Write) -> io::Result<()> {
        let mut raw = [0; BYTES];
        raw[0] = self.kind as u8;
        raw[1] = self.cpu;
        raw[4..8].copy_from_slice(&self.stack.to_le_bytes());
        raw[8..16].copy_from_slice(&self.pc.to_le_bytes());
        raw[16..24].copy_from_slice(&self.a.to_le_bytes());
        raw[24..].copy_from_slice(&self.b.to_le_bytes());
        out.write_all(&raw)
    }

    /// Reads the next. `None` at the end.
    ///
    /// # Errors
    /// If `from` cannot be read, ends within an event, or holds what is none.
    pub fn get(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut raw = [0; BYTES];
        let mut filled = 0;
        while filled < BYTES {
            match from.read(&mut raw[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let kind = KINDS.get(usize::from(raw[0])).copied();
        let kind = kind.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "no such event"))?;
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&raw[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        Ok(Some(Self {
            kind,
            cpu: raw[1],
            stack: u32::from_le_bytes([raw[4], raw[5], raw[6], raw[7]]),
            pc: word(8),
            a: word(16),
            b: word(24),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut trace = Vec::new();
        let events: Vec<_> = (0u8..)
            .zip(KINDS)
            .map(|(cpu, kind)| Event {
                kind,
                cpu,
                stack: u32::MAX - u32::from(cpu),
                pc: u64::MAX - 1,
                a: 0x1234_5678_9abc_def0,
                b: u64::from(cpu) << 60,
            })
            .collect();
        for event in &events {
            event.put(&mut trace).unwrap();
        }
        assert_eq!(trace.len(), events.len() * 32);
        let mut from = trace.as_slice();
        for event in &events {
            assert_eq!(Event::get(&mut from).unwrap(), Some(*event));
        }
        assert_eq!(Event::get(&mut from).unwrap(), None);
    }

    #[test]
    fn half_an_event_and_what_is_none_are_errors() {
        assert!(Event::get(&mut [0u8; 31].as_slice()).is_err());
        assert!(Event::get(&mut [14u8; 32].as_slice()).is_err());
    }
}
