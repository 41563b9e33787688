//! What somebody types at the guest, and the keys that are for the monitor: `Ctrl-A x` ends the guest, `Ctrl-A Ctrl-A`
//! sends a `Ctrl-A`, as QEMU has it.

/// `Ctrl-A`.
const ESCAPE: u8 = 0x01;

/// Sorts typed bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Keys {
    is_escaped: bool,
}

/// What a typed byte is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// For the guest.
    Guest(u8),
    /// The first half of something, or nothing.
    Nothing,
    /// The guest is to end.
    End,
}

impl Keys {
    /// Takes the next byte.
    pub fn push(&mut self, byte: u8) -> Key {
        match (std::mem::take(&mut self.is_escaped), byte) {
            (true, b'x' | b'X') => Key::End,
            (true, ESCAPE) => Key::Guest(ESCAPE),
            (true, _) => Key::Nothing,
            (false, ESCAPE) => {
                self.is_escaped = true;
                Key::Nothing
            }
            (false, byte) => Key::Guest(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::default();
        bytes.iter().map(|&byte| keys.push(byte)).collect()
    }

    #[test]
    fn what_is_typed_goes_to_the_guest() {
        assert_eq!(typed(b"xa"), [Key::Guest(b'x'), Key::Guest(b'a')]);
    }

    #[test]
    fn the_escape_and_x_end_the_guest() {
        assert_eq!(typed(b"\x01x"), [Key::Nothing, Key::End]);
        assert_eq!(
            typed(b"\x01yx"),
            [Key::Nothing, Key::Nothing, Key::Guest(b'x')]
        );
    }

    #[test]
    fn the_escape_twice_is_one_for_the_guest() {
        assert_eq!(
            typed(b"\x01\x01x"),
            [Key::Nothing, Key::Guest(1), Key::Guest(b'x')]
        );
    }
}
