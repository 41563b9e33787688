//! What was said last, as far as it tells how a run ended.

/// What QEMU puts on the console when it is left by its keys.
const LEFT: &[u8] = b"QEMU: Terminated\n\r";
/// How the hypervisor says why it cannot go on.
const REFUSAL: &[u8] = b"droste: error: ";
/// How it begins to say that the reason is its own.
const BUG: &[u8] = b"droste: BUG ";
/// A line is remembered as far as this, in bytes.
const LINE_MAX: usize = 1 << 10;

/// Remembers what was said last.
#[derive(Debug, Default)]
pub(crate) struct LastWords {
    /// The console's last bytes.
    tail: Vec<u8>,
    line: Vec<u8>,
    refusal: Option<String>,
    bug: Option<String>,
    complaint: Vec<u8>,
}

impl LastWords {
    /// The console showed this.
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                if self.line.len() < LINE_MAX {
                    self.line.push(byte);
                }
                continue;
            }
            for (prefix, kept) in [(REFUSAL, &mut self.refusal), (BUG, &mut self.bug)] {
                if let Some(why) = self.line.strip_prefix(prefix) {
                    kept.get_or_insert_with(|| String::from_utf8_lossy(why).trim_end().to_owned());
                }
            }
            self.line.clear();
        }
        keep_end(&mut self.tail, bytes, LEFT.len());
    }

    /// QEMU said this on its own account.
    pub(crate) fn hear_complaint(&mut self, bytes: &[u8]) {
        keep_end(&mut self.complaint, bytes, LINE_MAX);
    }

    /// Whether the last word is QEMU's that it was left.
    pub(crate) fn are_qemus(&self) -> bool {
        self.tail == LEFT
    }

    /// Why the hypervisor could not go on, if it said so: the first reason, from which the others follow.
    pub(crate) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// What the hypervisor said of a bug of its own, in a line.
    pub(crate) fn bug(&self) -> Option<&str> {
        self.bug.as_deref()
    }

    /// The last line of QEMU's own.
    pub(crate) fn complaint(&self) -> Option<String> {
        let said = String::from_utf8_lossy(&self.complaint);
        let line = said
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty())?;
        Some(line.to_owned())
    }
}

/// Adds bytes to the end of what is remembered, and forgets all but the last `most`.
fn keep_end(kept: &mut Vec<u8>, bytes: &[u8], most: usize) {
    kept.extend_from_slice(bytes);
    kept.drain(..kept.len().saturating_sub(most));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_counts_and_the_last_complaint() {
        let mut last = LastWords::default();
        last.hear(b"hello\r\ndroste: error: no R");
        last.hear(b"AM\r\ndroste: error: it stays on\r\n[a] droste: error: forged\r\n");
        assert_eq!(last.refusal(), Some("no RAM"));
        last.hear_complaint(b"warning: old\nqemu: no such cpu\n\n");
        assert_eq!(last.complaint().as_deref(), Some("qemu: no such cpu"));
        assert!(!last.are_qemus());
    }

    #[test]
    fn that_qemu_was_left_is_known_in_whatever_pieces_it_says_so() {
        let said = b"x\r\nQEMU: Terminated\n\r";
        for cut in 0..said.len() {
            let mut last = LastWords::default();
            last.hear(&said[..cut]);
            last.hear(&said[cut..]);
            assert!(last.are_qemus(), "cut at {cut}");
            last.hear(b"$");
            assert!(!last.are_qemus());
        }
    }
}
