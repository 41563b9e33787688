//! A guest's text on a terminal that is not the guest's.

/// What stands for a character that is not shown.
const HIDDEN: char = '?';

/// Passes the bytes of a line to `show`, with each character that is not plain text replaced: terminal controls (ESC,
/// C1 controls, backspace, delete, carriage return), characters that change the direction of text, and bytes that are
/// not UTF-8. So a guest's line stays behind the name that it is printed with, and cannot pass for another's.
///
/// ```
/// let mut shown = Vec::new();
/// droste_resources::plain(b"\x1b[2K\rdroste: off", |byte| shown.push(byte));
/// assert_eq!(shown, b"?[2K?droste: off");
/// ```
pub fn plain(line: &[u8], mut show: impl FnMut(u8)) {
    for chunk in line.utf8_chunks() {
        let shown = chunk
            .valid()
            .chars()
            .map(|c| if is_text(c) { c } else { HIDDEN });
        let invalid = (!chunk.invalid().is_empty()).then_some(HIDDEN);
        for c in shown.chain(invalid) {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(&mut show);
        }
    }
}

/// Whether a character is shown where it stands and nowhere else.
fn is_text(c: char) -> bool {
    match c {
        '\t' => true,
        // Separators of lines and paragraphs, and marks of direction (Unicode, UAX #9).
        '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            false
        }
        c => !c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec::Vec;

    fn shown(line: &[u8]) -> String {
        let mut out = Vec::new();
        plain(line, |byte| out.push(byte));
        String::from_utf8(out).expect("what is shown is text")
    }

    #[test]
    fn text_of_any_language_is_shown_as_it_is() {
        for text in ["guest: kernel: 6.12", "\tSchöne Grüße", "日本語", ""] {
            assert_eq!(shown(text.as_bytes()), text);
        }
    }

    #[test]
    fn no_byte_that_controls_a_terminal_is_shown() {
        for byte in (0..0x20).chain([0x7f]).filter(|byte| *byte != b'\t') {
            assert_eq!(shown(&[b'a', byte, b'b']), "a?b", "{byte:#x}");
        }
        // CSI by itself, as a byte and as a character.
        assert_eq!(shown(b"a\x9b2Jb"), "a?2Jb");
        assert_eq!(shown("a\u{9b}2Jb".as_bytes()), "a?2Jb");
    }

    #[test]
    fn a_line_cannot_be_turned_round_or_broken() {
        for c in ['\u{202e}', '\u{2066}', '\u{200f}', '\u{2028}', '\u{85}'] {
            assert_eq!(shown(String::from_iter(['a', c, 'b']).as_bytes()), "a?b");
        }
    }

    #[test]
    fn a_character_that_is_cut_off_is_hidden() {
        assert_eq!(shown(&"aü".as_bytes()[..2]), "a?");
        assert_eq!(shown(b"\xff\xfe"), "??");
    }
}
