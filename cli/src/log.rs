//! What each virtual machine says on its console, in a file each, told apart again from the one line over which all come.
//!
//! The hypervisor prints a line of a virtual machine that has not the keyboard behind its name in brackets, a line of its
//! own behind its own name, and everything else is of the one that has the keyboard. That one prints what it likes: its
//! file may lack lines that look like another's, and the other's file may have them.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use crate::error::{Context, Result};
use crate::output::Output;

/// The hypervisor's own file: no virtual machine has such a name.
const OWN: &str = "_droste.log";
/// How a line of the hypervisor's own begins.
const OWN_PREFIX: &str = "droste: ";
/// How it says who has the keyboard now.
const FOCUS: &str = "input goes to ";
/// Of a line of the hypervisor's own so much is looked at, in bytes.
const LINE_MAX: usize = 256;

/// The files, of which none is open for writing yet.
#[derive(Debug)]
pub struct Files {
    names: Vec<String>,
    own: Output,
    outputs: Vec<Output>,
}

impl Files {
    /// Those of these virtual machines in a directory, which is made if its own is there.
    ///
    /// # Errors
    /// If the directory cannot be made, or a file not be written.
    pub fn open(dir: &Path, names: Vec<String>) -> Result<Self> {
        if !dir.is_dir() {
            fs::create_dir(dir)
                .context(|| format!("cannot make the directory {}", dir.display()))
                .map_err(|error| error.help("name a directory in one that is there"))?;
        }
        let outputs = names
            .iter()
            .map(|name| Output::open(&dir.join(format!("{name}.log"))));
        Ok(Self {
            outputs: outputs.collect::<Result<_>>()?,
            own: Output::open(&dir.join(OWN))?,
            names,
        })
    }

    /// Each of them.
    pub fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.outputs.iter().chain([&self.own])
    }

    /// Empties them and begins to write.
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn start(&self) -> Result<Log> {
        let start = |output: &Output| {
            Ok(Channel {
                file: output.start()?,
                name: output.name().to_owned(),
                waiting: Vec::new(),
            })
        };
        Ok(Log {
            prefixes: self.names.iter().map(|name| format!("[{name}] ")).collect(),
            names: self.names.clone(),
            channels: self.outputs.iter().map(start).collect::<Result<_>>()?,
            own: start(&self.own)?,
            focus: 0,
            speaker: Speaker::Unknown(Vec::new()),
            line: Vec::new(),
            failure: Ok(()),
        })
    }
}

/// Parts what the console shows.
#[derive(Debug)]
pub struct Log {
    names: Vec<String>,
    prefixes: Vec<String>,
    channels: Vec<Channel>,
    own: Channel,
    /// Who has the keyboard.
    focus: usize,
    speaker: Speaker,
    /// The hypervisor's line, as far as it came.
    line: Vec<u8>,
    failure: Result<()>,
}

#[derive(Debug)]
struct Channel {
    file: File,
    name: String,
    waiting: Vec<u8>,
}

/// Whose the line is that comes.
#[derive(Debug)]
enum Speaker {
    /// These bytes are its start, and may be the beginning of a name.
    Unknown(Vec<u8>),
    Own,
    Vm(usize),
}

impl Log {
    /// The console showed this.
    pub fn hear(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.byte(byte);
        }
        self.flush();
    }

    /// The end: nothing waits for more.
    ///
    /// # Errors
    /// The first file that could not be written.
    pub fn finish(mut self) -> Result<()> {
        if let Speaker::Unknown(held) = std::mem::replace(&mut self.speaker, Speaker::Own) {
            self.put(self.focus, &held);
        }
        self.flush();
        self.failure
    }

    fn byte(&mut self, byte: u8) {
        match std::mem::replace(&mut self.speaker, Speaker::Own) {
            Speaker::Unknown(mut held) => {
                held.push(byte);
                self.speaker = self.judge(held);
            }
            Speaker::Vm(vm) => {
                // Of the one with the keyboard all is kept as it came.
                if vm == self.focus || byte != b'\r' {
                    self.put(vm, &[byte]);
                }
                self.speaker = Speaker::Vm(vm);
            }
            Speaker::Own => {
                if byte != b'\r' {
                    self.own.waiting.push(byte);
                    if self.line.len() < LINE_MAX {
                        self.line.push(byte);
                    }
                }
                if byte == b'\n' {
                    self.end_own_line();
                }
            }
        }
        if byte == b'\n' {
            self.speaker = Speaker::Unknown(Vec::new());
        }
    }

    /// Whose line it is that begins so.
    fn judge(&mut self, held: Vec<u8>) -> Speaker {
        if held == OWN_PREFIX.as_bytes() {
            return Speaker::Own;
        }
        let others = self.prefixes.iter().enumerate();
        let mut others = others.filter(|(vm, _)| *vm != self.focus);
        if let Some((vm, _)) = others.clone().find(|(_, prefix)| prefix.as_bytes() == held) {
            return Speaker::Vm(vm);
        }
        let may_be = OWN_PREFIX.as_bytes().starts_with(&held)
            || others.any(|(_, prefix)| prefix.as_bytes().starts_with(&held));
        if may_be {
            return Speaker::Unknown(held);
        }
        let focus = self.focus;
        self.put(focus, &held);
        Speaker::Vm(focus)
    }

    fn end_own_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let named = line.trim_end().strip_prefix(FOCUS);
        let vm = named.and_then(|name| self.names.iter().position(|known| known == name));
        self.focus = vm.unwrap_or(self.focus);
    }

    fn put(&mut self, vm: usize, bytes: &[u8]) {
        if let Some(channel) = self.channels.get_mut(vm) {
            channel.waiting.extend_from_slice(bytes);
        }
    }

    fn flush(&mut self) {
        for channel in self.channels.iter_mut().chain([&mut self.own]) {
            let written = channel.file.write_all(&channel.waiting);
            channel.waiting.clear();
            if self.failure.is_ok() {
                self.failure = written.context(|| format!("cannot write {}", channel.name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in the files of `a`, `b` and the hypervisor after the console showed these pieces.
    fn heard(pieces: &[&[u8]]) -> [String; 3] {
        let dir = tempfile::tempdir().expect("a directory");
        let logs = dir.path().join("logs");
        let files = Files::open(&logs, vec!["a".into(), "b".into()]).expect("opened");
        let mut log = files.start().expect("started");
        for piece in pieces {
            log.hear(piece);
        }
        log.finish().expect("written");
        ["a.log", "b.log", OWN].map(|name| fs::read_to_string(logs.join(name)).expect("read"))
    }

    #[test]
    fn each_line_goes_to_the_file_of_whoever_said_it() {
        let said =
            "droste: Droste 0.1.0 on 2 CPUs\r\n\x1b[mone\r\n[b] two\r\n[c] three\r\ndro\r\nroot# ";
        assert_eq!(
            heard(&[said.as_bytes()]),
            [
                "\x1b[mone\r\n[c] three\r\ndro\r\nroot# ",
                "two\n",
                "Droste 0.1.0 on 2 CPUs\n"
            ]
        );
    }

    #[test]
    fn whoever_has_the_keyboard_speaks_without_its_name() {
        let said = b"one\r\ndroste: input goes to b\r\ntwo\r\n[a] three\r\n[b] four\r\n";
        assert_eq!(
            heard(&[said]),
            ["one\r\nthree\n", "two\r\n[b] four\r\n", "input goes to b\n"]
        );
    }

    #[test]
    fn every_way_to_cut_the_stream_gives_the_same_files() {
        let said = b"x\r\n[b] y\r\ndroste: input goes to b\r\nz\r\n[a] v\r\n[b]";
        let whole = heard(&[said]);
        for cut in 0..said.len() {
            assert_eq!(heard(&[&said[..cut], &said[cut..]]), whole, "cut at {cut}");
        }
    }
}
