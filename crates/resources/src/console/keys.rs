//! What keys mean.

/// `Ctrl-]`.
const ESCAPE: u8 = 0x1d;

/// What a byte of input means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// It is for the VM in focus.
    Guest(u8),
    Report,
    NextVm,
    Nothing,
}

/// What was pressed before.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Keys {
    #[default]
    Plain,
    Escaped,
}

impl Keys {
    /// The next byte of input.
    pub(super) fn press(&mut self, byte: u8) -> Key {
        match (core::mem::take(self), byte) {
            (Self::Plain, ESCAPE) => {
                *self = Self::Escaped;
                Key::Nothing
            }
            (Self::Escaped, b's') => Key::Report,
            (Self::Escaped, b'n') => Key::NextVm,
            (Self::Plain, byte) | (Self::Escaped, byte @ ESCAPE) => Key::Guest(byte),
            (Self::Escaped, _) => Key::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn meant(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::default();
        bytes.iter().map(|byte| keys.press(*byte)).collect()
    }

    #[test]
    fn every_byte_but_the_escape_is_the_guests() {
        for byte in (0..=u8::MAX).filter(|byte| *byte != ESCAPE) {
            assert_eq!(meant(&[byte]), [Key::Guest(byte)]);
        }
    }

    #[test]
    fn behind_the_escape_each_byte_has_one_meaning_and_the_next_is_the_guests() {
        for byte in 0..=u8::MAX {
            let meaning = match byte {
                b's' => Key::Report,
                b'n' => Key::NextVm,
                0x1d => Key::Guest(0x1d),
                _ => Key::Nothing,
            };
            let all = meant(&[ESCAPE, byte, b's']);
            assert_eq!(all, [Key::Nothing, meaning, Key::Guest(b's')], "{byte:#x}");
        }
    }
}
