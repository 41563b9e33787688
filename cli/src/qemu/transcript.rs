//! What a child says on two streams, as one text.

/// A piece of what a child says.
pub(super) enum Piece {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
}

/// What a child has said so far: stdout as it came, with what is not UTF-8 replaced, and stderr between its lines.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    text: String,
    /// Bytes at the end of stdout that may be the start of a character.
    pending: Vec<u8>,
    /// What came on stderr within a line of stdout, whose reader would not know the line again.
    aside: Vec<u8>,
}

impl Transcript {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    pub(super) fn add(&mut self, piece: Piece) {
        match piece {
            Piece::Stdout(bytes) => {
                self.pending.extend(bytes);
                self.take_characters();
            }
            Piece::Stderr(bytes) => self.aside.extend(bytes),
        }
        if self.text.is_empty() || self.text.ends_with('\n') {
            self.release();
        }
    }

    /// Whether something on stderr waits for the end of a line.
    pub(super) fn is_held(&self) -> bool {
        !self.aside.is_empty()
    }

    /// Lets it wait no longer.
    pub(super) fn release(&mut self) {
        let aside = std::mem::take(&mut self.aside);
        self.text.push_str(&String::from_utf8_lossy(&aside));
    }

    /// Moves whole characters from the pending bytes to the text.
    fn take_characters(&mut self) {
        let keep = match std::str::from_utf8(&self.pending) {
            // No error length: the bytes end inside a character.
            Err(error) if error.error_len().is_none() => self.pending.len() - error.valid_up_to(),
            _ => 0,
        };
        let tail = self.pending.split_off(self.pending.len() - keep);
        self.text.push_str(&String::from_utf8_lossy(&self.pending));
        self.pending = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stdout(text: &str) -> Piece {
        Piece::Stdout(text.into())
    }

    fn stderr(text: &str) -> Piece {
        Piece::Stderr(text.into())
    }

    #[test]
    fn what_is_said_on_stderr_leaves_a_line_whole() {
        let mut said = Transcript::default();
        said.add(stderr("first\n"));
        said.add(stdout("one"));
        said.add(stderr("aside\n"));
        assert_eq!((said.text(), said.is_held()), ("first\none", true));
        said.add(stdout("-two\n"));
        said.add(stderr("last\n"));
        assert!(!said.is_held());
        assert_eq!(said.into_text(), "first\none-two\naside\nlast\n");
    }

    #[test]
    fn what_is_held_can_be_let_go() {
        let mut said = Transcript::default();
        said.add(stdout("one"));
        said.add(stderr("aside\n"));
        said.release();
        assert_eq!((said.text(), said.is_held()), ("oneaside\n", false));
    }

    #[test]
    fn a_character_in_two_pieces_is_one() {
        let mut said = Transcript::default();
        said.add(Piece::Stdout(b"\xc3".into()));
        said.add(Piece::Stdout(b"\xb6!".into()));
        assert_eq!(said.text(), "ö!");
    }

    #[test]
    fn bytes_that_are_no_text_do_not_hide_the_rest() {
        let mut said = Transcript::default();
        said.add(Piece::Stdout(b"\xffdone".into()));
        assert_eq!(said.text(), "\u{fffd}done");
    }
}
