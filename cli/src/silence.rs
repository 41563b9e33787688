//! What is said when nothing is heard: no run ends, or stands still, without a word on it.
//!
//! Until a guest has said something, silence is a sign that something is wrong: the wrong machine, a kernel that prints
//! elsewhere, too little memory. Afterwards it is the guest's own affair: a shell waits for its user as long as that takes.

use std::time::Duration;

/// How long nothing may be heard.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a line of the hypervisor's begins with.
const OWN: &str = "droste: ";
/// A line is remembered as far as this, in bytes.
const LINE_MAX: usize = 512;

/// Who was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heard {
    Nobody,
    Hypervisor,
    Guests,
}

/// Listens to a run. Times are those since its start.
#[derive(Debug)]
pub(crate) struct Silence {
    heard: Heard,
    /// When something was heard last, or it was told that nothing is; `None` when that was told already.
    since: Option<Duration>,
    line: Vec<u8>,
    /// The hypervisor's last line.
    last: String,
    /// What may be the reason if no guest says anything.
    known: Vec<String>,
}

impl Silence {
    /// From the start on. `known` is what may be the reason if no guest says anything.
    pub(crate) fn new(known: Vec<String>) -> Self {
        Self {
            heard: Heard::Nobody,
            since: Some(Duration::ZERO),
            line: Vec::new(),
            last: String::new(),
            known,
        }
    }

    /// The console showed this.
    pub(crate) fn hear(&mut self, now: Duration, bytes: &[u8]) {
        if bytes.is_empty() || self.heard == Heard::Guests {
            return;
        }
        self.since = Some(now);
        for &byte in bytes {
            if byte == b'\n' {
                self.end_line();
            } else if byte != b'\r' && self.line.len() < LINE_MAX {
                self.line.push(byte);
            }
        }
        let is_own = |line: &[u8]| line.iter().zip(OWN.as_bytes()).all(|(a, b)| a == b);
        if !is_own(&self.line) {
            self.heard = Heard::Guests;
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).trim().to_owned();
        self.line.clear();
        if line.is_empty() {
            return;
        }
        self.heard = match line.strip_prefix(OWN) {
            Some(text) if self.heard != Heard::Guests => {
                text.clone_into(&mut self.last);
                Heard::Hypervisor
            }
            _ => Heard::Guests,
        };
    }

    /// What there is to say by now: once for each silence.
    pub(crate) fn tell(&mut self, now: Duration) -> Option<String> {
        let is_long = now.saturating_sub(self.since?) >= PATIENCE;
        if !is_long || self.heard == Heard::Guests {
            return None;
        }
        self.since = None;
        let seconds = PATIENCE.as_secs();
        Some(match self.heard {
            Heard::Nobody => format!(
                "nothing was heard for {seconds} s: the hypervisor has not come to its console. It needs a machine with EL2 and \
                 a PL011; -v shows QEMU's command line"
            ),
            _ => format!(
                "nothing was heard for {seconds} s: no guest has said anything. The hypervisor's last line was {:?}. {}",
                self.last,
                self.reason()
            ),
        })
    }
}

impl Silence {
    /// Why no guest speaks, as far as anybody knows.
    fn reason(&self) -> String {
        if !self.known.is_empty() {
            return format!("What is known: {}", self.known.join("; "));
        }
        "A guest is silent whose console is not on its command line (console=ttyAMA0), or whose memory is too little".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_machine_that_says_nothing_at_all_is_told_once() {
        let mut silence = Silence::new(Vec::new());
        assert_eq!(silence.tell(at(19)), None);
        let told = silence.tell(at(20)).expect("it is silent");
        assert!(
            told.contains("nothing was heard for 20 s") && told.contains("EL2"),
            "{told}"
        );
        assert_eq!(silence.tell(at(100)), None);
    }

    #[test]
    fn the_hypervisors_last_line_is_told_when_no_guest_speaks() {
        let mut silence = Silence::new(Vec::new());
        silence.hear(at(1), b"droste: Droste 0.1.0 on 2 CPUs\r\ndro");
        silence.hear(at(2), b"ste: warning: linux: shares\r\n");
        assert_eq!(silence.tell(at(21)), None);
        let told = silence.tell(at(22)).expect("no guest spoke");
        assert!(told.contains("\"warning: linux: shares\""), "{told}");
        // Something more is heard, and then nothing again.
        silence.hear(at(30), b"droste: linux: restarts\r\n");
        assert_eq!(silence.tell(at(49)), None);
        assert!(
            silence
                .tell(at(50))
                .is_some_and(|told| told.contains("restarts"))
        );
    }

    #[test]
    fn what_is_known_is_told_in_place_of_what_may_be() {
        let mut silence = Silence::new(vec!["a has 64 MiB".into(), "b has 32 MiB".into()]);
        silence.hear(at(1), b"droste: Droste 0.1.0 on 2 CPUs\r\n");
        let told = silence.tell(at(21)).expect("no guest spoke");
        assert!(
            told.ends_with("What is known: a has 64 MiB; b has 32 MiB")
                && !told.contains("console="),
            "{told}"
        );
    }

    #[test]
    fn a_guest_that_has_spoken_may_be_silent() {
        for said in [
            &b"droste: x\r\n[    0.000000] Booting\r\n"[..],
            b"guest:~# ",
            b"\r\n[a] b\r\n",
        ] {
            let mut silence = Silence::new(Vec::new());
            silence.hear(at(1), said);
            assert_eq!(silence.tell(at(1000)), None);
        }
    }

    #[test]
    fn an_endless_line_is_not_kept() {
        let mut silence = Silence::new(Vec::new());
        silence.hear(at(0), b"droste: ");
        for _ in 0..1000 {
            silence.hear(at(0), &[b'.'; 100]);
        }
        assert!(silence.line.len() <= LINE_MAX);
    }
}
