//! The hypervisor's records of a run, told apart from the guests' output.
//!
//! Both come over one serial line. A record is a line that begins with a number which only this process and the
//! hypervisor know, drawn anew for each run; a guest can neither guess it nor see it, so it cannot forge a record. The
//! filter takes the records out and passes everything else on as it came, byte by byte: a prompt must not wait for the
//! end of its line.

use std::fmt;

use serde_json::{Value, json};

use crate::error::{Context, Error, Result};

/// A longer record is cut off, in bytes: a line that never ends must not fill memory.
const RECORD_MAX: usize = 1 << 20;

/// The number that marks records: 16 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nonce(String);

impl Nonce {
    /// A fresh one from the system's random numbers.
    ///
    /// # Errors
    /// If the system gives none.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; 8];
        let flags = rustix::rand::GetRandomFlags::empty();
        let count = rustix::rand::getrandom(&mut bytes, flags)
            .context(|| "cannot get random numbers".into())?;
        if count != bytes.len() {
            return Err(Error::new("the system gave too few random numbers").help("try again"));
        }
        Ok(Self::new(u64::from_ne_bytes(bytes)))
    }

    /// The one with this value.
    pub fn new(value: u64) -> Self {
        Self(format!("{value:016x}"))
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Parts a stream into records and the rest.
#[derive(Debug)]
pub struct Filter {
    nonce: Vec<u8>,
    state: State,
    /// The last record that was marked as final.
    last: Option<Record>,
    /// The last that was not.
    progress: Option<Record>,
}

#[derive(Debug)]
enum State {
    /// Outside a record. The last `matched` bytes are the nonce's first; `held` of them have not been passed on.
    Outside { matched: usize, held: usize },
    /// Inside a record's line, behind the nonce.
    Inside(Vec<u8>),
}

impl State {
    const START: Self = Self::Outside {
        matched: 0,
        held: 0,
    };
}

impl Filter {
    /// A filter for records that begin with this number.
    pub fn new(nonce: &Nonce) -> Self {
        Self {
            nonce: nonce.0.clone().into_bytes(),
            state: State::START,
            last: None,
            progress: None,
        }
    }

    /// Takes the next bytes of the stream; what is to be shown of them is appended to `out`.
    ///
    /// Bytes that may be the start of the nonce are held back until the next ones come, or [`Self::idle`].
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            match &mut self.state {
                State::Outside { .. } => self.outside(byte, out),
                State::Inside(line) if byte == b'\n' => {
                    match Record::parse(line) {
                        Some(record) if record.is_final() => self.last = Some(record),
                        Some(record) => self.progress = Some(record),
                        None => {}
                    }
                    self.state = State::START;
                }
                State::Inside(line) => {
                    if line.len() < RECORD_MAX {
                        line.push(byte);
                    }
                }
            }
        }
    }

    /// Nothing came for a moment: what was held back is shown, so that a key's echo is not late. If it turns out to be
    /// the start of a record after all, the record is still recognised.
    pub fn idle(&mut self, out: &mut Vec<u8>) {
        if let State::Outside { matched, held } = self.state {
            out.extend_from_slice(&self.nonce[matched - held..matched]);
            self.state = State::Outside { matched, held: 0 };
        }
    }

    /// The last final record.
    pub fn into_record(self) -> Option<Record> {
        self.last
    }

    /// The last record, final or, if none was, of what was known on the way.
    pub fn into_last(self) -> Option<Record> {
        self.last.or(self.progress)
    }

    /// Whether the run's final record has come.
    pub fn has_record(&self) -> bool {
        self.last.is_some()
    }

    fn outside(&mut self, byte: u8, out: &mut Vec<u8>) {
        let State::Outside {
            mut matched,
            mut held,
        } = self.state
        else {
            return;
        };
        // The longest start of the nonce that ends here; what no longer belongs to it is shown.
        while matched > 0 && self.nonce[matched] != byte {
            let shorter = self.border(matched);
            let shown = held.saturating_sub(shorter);
            let first = matched - held;
            out.extend_from_slice(&self.nonce[first..first + shown]);
            (matched, held) = (shorter, held - shown);
        }
        if self.nonce[matched] == byte {
            (matched, held) = (matched + 1, held + 1);
        } else {
            out.push(byte);
        }
        self.state = if matched == self.nonce.len() {
            State::Inside(Vec::new())
        } else {
            State::Outside { matched, held }
        };
    }

    /// The length of the longest proper start of the nonce that its first `len` bytes end with.
    fn border(&self, len: usize) -> usize {
        let matched = &self.nonce[..len];
        (0..len)
            .rev()
            .find(|&n| matched.ends_with(&self.nonce[..n]))
            .unwrap_or(0)
    }
}

/// The hypervisor's last word on a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Record(Value);

impl Record {
    fn parse(line: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(line).ok()?;
        value.is_object().then_some(Self(value))
    }

    /// The record of a run of which the hypervisor has said nothing: what is not known of its virtual machines.
    pub fn of_nothing<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let vm = |name| json!({"name": name, "outcome": "unknown"});
        let vms: Vec<Value> = names.into_iter().map(vm).collect();
        Self(json!({"final": false, "vms": vms}))
    }

    /// The same record of a run with another end than the hypervisor knows: a word for it, and why.
    #[must_use]
    pub fn ended(mut self, outcome: &str, why: &str) -> Self {
        self.0["outcome"] = outcome.into();
        self.0["message"] = why.into();
        self
    }

    /// Whether it is the hypervisor's last word; others report progress.
    pub fn is_final(&self) -> bool {
        self.0.get("final") == Some(&Value::Bool(true))
    }

    /// The record as text, for programs.
    pub fn to_json(&self) -> String {
        format!("{:#}\n", self.0)
    }

    /// Whether the run went well.
    ///
    /// # Errors
    /// If not: which virtual machine did not, and what became of it.
    pub fn verdict(&self) -> Result<()> {
        if text(&self.0, "outcome") == Some("ok") {
            return Ok(());
        }
        let vms = self
            .0
            .get("vms")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let failed: Vec<String> = vms.iter().filter_map(failure).collect();
        let why = match (failed.is_empty(), text(&self.0, "message")) {
            (false, _) => failed.join("; "),
            (true, Some(message)) => message.to_owned(),
            (true, None) => "the hypervisor does not say why".to_owned(),
        };
        Err(Error::new("the run failed").because(why))
    }
}

/// What became of a virtual machine, unless it was switched off as it should be.
fn failure(vm: &Value) -> Option<String> {
    let outcome = text(vm, "outcome").unwrap_or("unknown");
    if outcome == "off" {
        return None;
    }
    let name = text(vm, "name").unwrap_or("?");
    let message = text(vm, "message").filter(|message| !message.is_empty());
    let message = message
        .map(|message| format!(" ({message})"))
        .unwrap_or_default();
    Some(format!("virtual machine {name}: {outcome}{message}"))
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINAL: &str = r#"{"final":true,"outcome":"ok","vms":[{"name":"a","outcome":"off"}]}"#;

    fn nonce() -> Nonce {
        Nonce::new(0xaaab_aaac_0000_0001)
    }

    /// The shown bytes and the record of a stream that comes in pieces.
    fn filtered(pieces: &[&[u8]]) -> (String, Option<Record>) {
        let mut filter = Filter::new(&nonce());
        let mut out = Vec::new();
        for piece in pieces {
            filter.push(piece, &mut out);
        }
        filter.idle(&mut out);
        (String::from_utf8(out).expect("text"), filter.into_record())
    }

    #[test]
    fn a_record_is_taken_out_and_the_rest_stays() {
        let stream = format!("before\n{} {FINAL}\r\nafter", nonce());
        let (shown, record) = filtered(&[stream.as_bytes()]);
        assert_eq!(shown, "before\nafter");
        assert_eq!(record.expect("a record").verdict(), Ok(()));
    }

    #[test]
    fn every_way_to_cut_the_stream_gives_the_same() {
        let stream = format!("aaab\naaabaaa{} {FINAL}\naaa", nonce());
        let bytes = stream.as_bytes();
        for cut in 0..=bytes.len() {
            let (shown, record) = filtered(&[&bytes[..cut], &bytes[cut..]]);
            assert_eq!(
                (shown.as_str(), record.is_some()),
                ("aaab\naaabaaaaaa", true),
                "cut at {cut}"
            );
        }
        let each: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(filtered(&each).0, "aaab\naaabaaaaaa");
    }

    #[test]
    fn a_held_byte_is_shown_when_nothing_follows() {
        let mut filter = Filter::new(&nonce());
        let mut out = Vec::new();
        filter.push(b"xa", &mut out);
        assert_eq!(out, b"x");
        filter.idle(&mut out);
        assert_eq!(out, b"xa");
        filter.idle(&mut out);
        filter.push(b"y", &mut out);
        assert_eq!(out, b"xay", "nothing is shown twice");
    }

    #[test]
    fn a_pause_inside_the_number_does_not_lose_the_record() {
        let mut filter = Filter::new(&nonce());
        let mut out = Vec::new();
        filter.push(b"aaabaa", &mut out);
        filter.idle(&mut out);
        filter.push(format!("ac00000001 {FINAL}\nrest").as_bytes(), &mut out);
        assert_eq!(out, b"aaabaarest");
        assert!(filter.has_record());
    }

    #[test]
    fn a_guest_that_guesses_wrong_forges_nothing() {
        let stream = format!("aaabaaac00000002 {FINAL}\n");
        assert_eq!(filtered(&[stream.as_bytes()]), (stream.clone(), None));
    }

    #[test]
    fn only_a_final_record_counts_and_the_last_one_wins() {
        let n = nonce();
        let failed = r#"{"final":true,"outcome":"failed"}"#;
        let stream = format!("{n} {failed}\n{n} {FINAL}\n{n} {{\"final\":false}}\n{n} not json\n");
        let (shown, record) = filtered(&[stream.as_bytes()]);
        assert_eq!(shown, "");
        assert_eq!(record.expect("a record").verdict(), Ok(()));
    }

    #[test]
    fn a_record_that_is_cut_off_is_none() {
        let stream = format!("{} {{\"final\":true", nonce());
        assert_eq!(filtered(&[stream.as_bytes()]), (String::new(), None));
    }

    #[test]
    fn a_line_without_end_does_not_fill_memory() {
        let mut filter = Filter::new(&nonce());
        let mut out = Vec::new();
        filter.push(nonce().to_string().as_bytes(), &mut out);
        filter.push(&vec![b'x'; 2 * RECORD_MAX], &mut out);
        assert!(matches!(&filter.state, State::Inside(line) if line.len() == RECORD_MAX));
    }

    #[test]
    fn a_failure_names_machine_and_reason() {
        let json = r#"{"final":true,"outcome":"failed","vms":[{"name":"a","outcome":"off"},
            {"name":"b","outcome":"crashed","message":"stage 2 fault at 0x0"},{"name":"c","outcome":"reset"}]}"#;
        let error = Record::parse(json.as_bytes())
            .expect("final")
            .verdict()
            .expect_err("failed");
        assert_eq!(
            error.to_string(),
            "the run failed: virtual machine b: crashed (stage 2 fault at 0x0); virtual machine c: reset"
        );
        let json = r#"{"final":true,"outcome":"failed","message":"no memory"}"#;
        let error = Record::parse(json.as_bytes())
            .expect("final")
            .verdict()
            .expect_err("failed");
        assert_eq!(error.to_string(), "the run failed: no memory");
    }

    #[test]
    fn numbers_differ_and_have_sixteen_digits() {
        let (a, b) = (
            Nonce::random().expect("random"),
            Nonce::random().expect("random"),
        );
        assert_ne!(a, b);
        assert_eq!(Nonce::new(1).to_string(), "0000000000000001");
    }
}
