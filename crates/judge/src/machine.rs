//! The machine that was watched: the head of a trace.

use std::io::{self, ErrorKind, Read, Write};

use droste_arm64::Pa;
use droste_mmu_model::{Bbm, Config, Features, MAX_CPUS};

use crate::event::Event;

/// What a trace begins with; the last byte is the version of its format.
const MAGIC: [u8; 8] = *b"drostej\x02";
const WORDS: usize = 8;
/// More RAM than this is not judged: 64 GiB. What is kept of each page takes memory at once.
pub const MOST_BYTES: u64 = 1 << 36;
/// The model's physical addresses have 52 bits at most.
const ADDRESSES: u64 = 1 << 52;

/// What the machine is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// How many CPUs.
    pub cpus: usize,
    /// Where RAM begins.
    pub base: u64,
    /// How much of it there is, in bytes.
    pub bytes: u64,
    /// ID_AA64MMFR0_EL1 to ID_AA64MMFR2_EL1, ID_AA64ISAR0_EL1, ID_AA64ISAR1_EL1.
    pub ids: [u64; 5],
}

impl Machine {
    /// Writes it, as the head of a trace.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn put(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&MAGIC)?;
        let words = [self.cpus as u64, self.base, self.bytes];
        for word in words.iter().chain(&self.ids) {
            out.write_all(&word.to_le_bytes())?;
        }
        Ok(())
    }

    /// Reads it.
    ///
    /// # Errors
    /// If `from` cannot be read, is no trace, or of a machine that cannot be; `UnexpectedEof` if it breaks off.
    pub fn get(from: &mut impl Read) -> io::Result<Self> {
        let mut read = |into: &mut [u8]| {
            from.read_exact(into).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => {
                    io::Error::new(error.kind(), "it breaks off within its head")
                }
                _ => error,
            })
        };
        let invalid = |what| io::Error::new(ErrorKind::InvalidData, what);
        let mut magic = [0; MAGIC.len()];
        read(&mut magic)?;
        if magic != MAGIC {
            return Err(invalid("it is no trace of this version"));
        }
        let mut words = [0; WORDS];
        for word in &mut words {
            let mut bytes = [0; 8];
            read(&mut bytes)?;
            *word = u64::from_le_bytes(bytes);
        }
        let [cpus, base, bytes, ids @ ..] = words;
        let is_sound = (1..=MAX_CPUS as u64).contains(&cpus)
            && base.is_multiple_of(4096)
            && bytes.is_multiple_of(4096)
            && (4096..=MOST_BYTES).contains(&bytes)
            && base.checked_add(bytes).is_some_and(|end| end <= ADDRESSES);
        if !is_sound {
            return Err(invalid(
                "its machine has no CPU or no RAM, or too much of one",
            ));
        }
        Ok(Self {
            cpus: cpus as usize,
            base,
            bytes,
            ids,
        })
    }

    /// Reads the next event of its trace. `None` at the end.
    ///
    /// # Errors
    /// As [`Event::get`], and if no CPU of this machine did it.
    pub fn event(&self, from: &mut impl Read) -> io::Result<Option<Event>> {
        match Event::get(from)? {
            Some(event) if usize::from(event.cpu) >= self.cpus => {
                let what = format!("its machine has no CPU {}", event.cpu);
                Err(io::Error::new(ErrorKind::InvalidData, what))
            }
            event => Ok(event),
        }
    }

    /// The same for the model: what the CPUs have is in their ID registers (DDI 0487, D24.2).
    pub fn config(&self) -> Config {
        let [mmfr0, mmfr1, mmfr2, isar0, isar1] = self.ids;
        let field = |register: u64, at: u32| register >> at & 15;
        let has = [
            (field(mmfr2, 48) >= 1, Features::TTL),
            (field(isar0, 56) >= 2, Features::TLBI_RANGE),
            (field(isar0, 56) >= 1, Features::TLBI_OS),
            (field(isar1, 56) >= 1, Features::XS),
            (field(mmfr1, 28) >= 1, Features::XNX),
            (field(mmfr2, 40) >= 1, Features::FWB),
            (field(mmfr1, 4) >= 2, Features::VMID16),
            // TGran4_2 and TGran16_2 tell of stage 2; 0 means as TGran4 and TGran16.
            (
                field(mmfr0, 40) == 3
                    || field(mmfr0, 40) == 0 && field(mmfr0, 28) == 1
                    || field(mmfr0, 32) == 3
                    || field(mmfr0, 32) == 0 && field(mmfr0, 20) == 2,
                Features::LPA2,
            ),
            (field(mmfr1, 0) >= 1, Features::HARDWARE_AF),
            (field(mmfr1, 0) >= 2, Features::HARDWARE_DIRTY),
            (field(mmfr2, 0) >= 1, Features::CNP),
            (field(mmfr2, 28) >= 1, Features::TTST),
        ];
        let features = has
            .iter()
            .filter(|(is_there, _)| *is_there)
            .fold(Features::NONE, |all, &(_, feature)| all | feature);
        Config {
            cpus: self.cpus,
            pa_bits: [32, 36, 40, 42, 44, 48, 52][field(mmfr0, 0).min(6) as usize],
            bbm: match field(mmfr2, 52) {
                0 => Bbm::Level0,
                1 => Bbm::Level1,
                _ => Bbm::Level2,
            },
            features,
            ..Config::new(Pa(self.base), self.bytes >> 12)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine {
        cpus: 2,
        base: 0x4000_0000,
        bytes: 1 << 29,
        ids: [0x1125, 0x20, 1, 2 << 56, 0],
    };

    #[test]
    fn a_machine_is_read_back() {
        let mut head = Vec::new();
        MACHINE.put(&mut head).unwrap();
        assert_eq!(Machine::get(&mut head.as_slice()).unwrap(), MACHINE);
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        let refused = |machine: Machine| {
            let mut head = Vec::new();
            machine.put(&mut head).unwrap();
            Machine::get(&mut head.as_slice()).is_err()
        };
        assert!(Machine::get(&mut [0u8; 72].as_slice()).is_err());
        let mut head = Vec::new();
        MACHINE.put(&mut head).unwrap();
        for bytes in [0, 7, 8, 71] {
            let error = Machine::get(&mut &head[..bytes]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
            assert_eq!(error.to_string(), "it breaks off within its head");
        }
        for cpus in [0, 33] {
            assert!(refused(Machine { cpus, ..MACHINE }));
        }
        for bytes in [0, 4095, MOST_BYTES + 4096, 1 << 50] {
            assert!(refused(Machine { bytes, ..MACHINE }));
        }
        let bytes = MOST_BYTES;
        assert!(!refused(Machine { bytes, ..MACHINE }));
        let end = |base| Machine {
            base,
            bytes: 4096,
            ..MACHINE
        };
        for base in [1, 1 << 52, 0xffff_ffff_ffff_f000] {
            assert!(refused(end(base)));
        }
        assert!(!refused(end((1 << 52) - 4096)));
    }

    #[test]
    fn the_model_has_what_the_cpus_have() {
        let config = MACHINE.config();
        assert_eq!((config.cpus, config.pa_bits), (2, 48));
        let has = Features::TLBI_RANGE | Features::TLBI_OS | Features::VMID16 | Features::CNP;
        assert_eq!(config.features, has);
        assert_eq!(config.bbm, Bbm::Level0);
    }
}
