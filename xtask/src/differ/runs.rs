//! The runs of the guest `differ`, and what it says.

use crate::workspace::{self, Failure};
use droste::qemu::{El2, Machine, SELF, Session, tied};
use droste::setup::Setup;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// A run that takes longer than this hangs.
const LIMIT: Duration = Duration::from_mins(5);
/// Memory of the guest, in MiB.
const MEMORY_MIB: u64 = 128;

/// What stands before the number of a program of the corpus.
const KEPT: &str = "kept ";

/// How the guest runs on either machine.
pub(super) struct Kind {
    /// What it is called.
    pub(super) name: &'static str,
    /// The EL2 of its description; a guest of EL1 alone has none.
    el2: Option<&'static str>,
    /// The word that makes its EL2 so.
    word: &'static str,
    /// A guest beside it on the same processor, with its own keys.
    neighbour: Option<(&'static str, &'static str)>,
}

/// All of them.
pub(super) const KINDS: [Kind; 6] = [
    Kind {
        name: "vhe",
        el2: Some("vhe"),
        word: "",
        neighbour: None,
    },
    Kind {
        name: "nvhe",
        el2: Some("nvhe"),
        word: "nvhe",
        neighbour: None,
    },
    Kind {
        name: "el1",
        el2: None,
        word: "",
        neighbour: None,
    },
    Kind {
        name: "vhe-neighbour",
        el2: Some("vhe"),
        word: "",
        neighbour: Some(("neighbours", "cmdline = \"steady\"")),
    },
    Kind {
        name: "nvhe-neighbour",
        el2: Some("nvhe"),
        word: "nvhe",
        neighbour: Some(("hostile-el2", "el2 = \"vhe\"")),
    },
    Kind {
        name: "el1-neighbour",
        el2: None,
        word: "",
        neighbour: Some(("neighbours", "cmdline = \"steady\"")),
    },
];

/// The two machines.
pub(super) struct Pair {
    setup: Setup,
    qemu: PathBuf,
    cpu: String,
    guest: PathBuf,
    hypervisor: PathBuf,
    droste: PathBuf,
    folder: PathBuf,
}

/// What two runs have in common, and what not.
pub(super) struct Compared {
    /// Programs that saw different things.
    pub(super) different: Vec<u64>,
    /// Why not all were run.
    pub(super) broken: Option<Failure>,
    programs: usize,
    bare: Duration,
    droste: Duration,
    known: Vec<String>,
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} programs, bare {:.1} s, on Droste {:.1} s, {} differ",
            self.programs,
            self.bare.as_secs_f64(),
            self.droste.as_secs_f64(),
            self.different.len()
        )?;
        // At once: what comes behind may take hours, or not come to its end.
        if !self.different.is_empty() {
            write!(f, " {:?}", self.different)?;
        }
        for known in &self.known {
            write!(f, "; {known}")?;
        }
        Ok(())
    }
}

/// The output of one run, and how long it took.
pub(super) struct Said {
    pub(super) lines: Vec<String>,
    time: Duration,
    /// Why that is not all.
    broken: Option<Failure>,
}

impl Pair {
    /// Brings or builds all that is needed.
    ///
    /// # Errors
    /// If something cannot be had.
    pub(super) fn gather(cpu: &str) -> Result<Self, Failure> {
        let setup = Setup::new()?;
        let folder = workspace::target_folder()?
            .join("differ")
            .join(std::process::id().to_string());
        droste::files::make_dir(&folder)?;
        workspace::run(workspace::cargo().args(["build", "--quiet", "--package", "droste"]))?;
        Ok(Self {
            qemu: setup.qemu(None)?,
            cpu: cpu.to_owned(),
            guest: setup.guest("differ")?,
            hypervisor: setup.hypervisor()?,
            droste: workspace::target_folder()?.join("debug/droste"),
            folder,
            setup,
        })
    }

    /// Compares programs `first` to `first + count` of a seed.
    ///
    /// # Errors
    /// If a run does not come to its end.
    pub(super) fn compare(
        &self,
        kind: &Kind,
        seed: u64,
        first: u64,
        count: u64,
    ) -> Result<Compared, Failure> {
        let words = format!("differ.seed={seed} differ.from={first} differ.count={count}");
        self.compare_what(kind, "", &words)
    }

    /// Compares the programs of the corpus that a kind has.
    ///
    /// # Errors
    /// As [`compare`](Self::compare).
    pub(super) fn compare_corpus(&self, kind: &Kind) -> Result<Compared, Failure> {
        self.compare_what(kind, KEPT, "differ.corpus differ.count=0")
    }

    fn compare_what(&self, kind: &Kind, what: &str, words: &str) -> Result<Compared, Failure> {
        let (mut bare, mut droste) = self.both_as_far(kind, words)?;
        let (ours, theirs) = (numbers(&droste.lines, what), numbers(&bare.lines, what));
        let mut broken = bare.broken.take().or(droste.broken.take());
        let unread = theirs.len().abs_diff(ours.len());
        if broken.is_none() && (unread > theirs.len() / 20 || ours.is_empty()) {
            self.write(&bare, &droste)?;
            broken = Some(Failure::new(format!(
                "{} programs on the bare machine, {} on Droste: see {}",
                theirs.len(),
                ours.len(),
                self.folder.display()
            )));
        }
        // What one has not come to does not differ.
        let different = theirs
            .iter()
            .filter(|(program, hash)| ours.get(program).is_some_and(|other| other != *hash));
        let known = bare
            .lines
            .iter()
            .filter_map(|line| line.strip_prefix("differ: known "));
        Ok(Compared {
            different: different.map(|(program, _)| *program).collect(),
            broken,
            programs: theirs.keys().filter(|n| ours.contains_key(n)).count(),
            bare: bare.time,
            droste: droste.time,
            known: known.map(str::to_owned).collect(),
        })
    }

    /// Writes what both said into files of the run's folder, which it gives.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn write(&self, bare: &Said, droste: &Said) -> Result<&Path, Failure> {
        for (name, said) in [("bare", bare), ("droste", droste)] {
            droste::files::write(&self.folder.join(name), said.lines.join("\n").as_bytes())?;
        }
        Ok(&self.folder)
    }

    /// Both runs with the same words, beside each other.
    ///
    /// # Errors
    /// If a run does not come to its end.
    pub(super) fn both(&self, kind: &Kind, words: &str) -> Result<(Said, Said), Failure> {
        let (mut bare, mut droste) = self.both_as_far(kind, words)?;
        match bare.broken.take().or(droste.broken.take()) {
            Some(broken) => Err(broken),
            None => Ok((bare, droste)),
        }
    }

    /// The same, as far as they come.
    fn both_as_far(&self, kind: &Kind, words: &str) -> Result<(Said, Said), Failure> {
        thread::scope(|scope| {
            let bare = scope.spawn(|| self.bare(kind, words));
            let droste = self.on_droste(kind, words);
            let bare = bare
                .join()
                .map_err(|_| Failure::new("the bare machine's thread panicked"))?;
            Ok((bare?, droste?))
        })
    }

    fn bare(&self, kind: &Kind, words: &str) -> Result<Said, Failure> {
        let machine = Machine {
            cpus: 1,
            cpu: self.cpu.clone(),
            el2: match kind.el2 {
                Some(_) => El2::Present,
                None => El2::Absent,
            },
            memory_mib: MEMORY_MIB,
            append: format!("{} {words}", kind.word),
            ..Machine::new(&self.qemu, &self.guest)
        };
        Self::said(machine.command(SELF))
    }

    fn on_droste(&self, kind: &Kind, words: &str) -> Result<Said, Failure> {
        let mut command = Command::new(&self.droste);
        command.arg("run");
        let mut describe = |name: &str, guest: &PathBuf, keys: &str| {
            let file = self.folder.join(format!("{}-{name}.toml", kind.name));
            let text = format!(
                "name = \"{name}\"\nvcpus = 1\nmemory = \"{MEMORY_MIB}M\"\nkernel = \"{}\"\n{keys}\n",
                guest.display()
            );
            command.arg(&file);
            droste::files::write(&file, text.as_bytes())
        };
        let el2 = kind.el2.map(|el2| format!("el2 = \"{el2}\"\n"));
        let keys = format!("{}cmdline = \"{words}\"", el2.unwrap_or_default());
        describe("differ", &self.guest, &keys)?;
        if let Some((neighbour, keys)) = kind.neighbour {
            describe(neighbour, &self.setup.guest(neighbour)?, keys)?;
        }
        command.arg("--hypervisor").arg(&self.hypervisor);
        command.args(["--cpu", &self.cpu, "--smp", "1"]);
        command.args(["--droste-append", &workspace::droste_words()]);
        command.args(["--timeout", &LIMIT.as_secs().to_string()]);
        Self::said(tied(&command, SELF))
    }

    fn said(command: Command) -> Result<Said, Failure> {
        let started = Instant::now();
        let mut session = Session::start(command, LIMIT)?;
        let ended = session.wait_for("differ: ok");
        let time = started.elapsed();
        let lines = own(session.transcript());
        let broken = ended.and_then(|()| session.finish().map(drop)).err();
        Ok(Said {
            lines,
            time,
            broken: broken.map(Failure::from),
        })
    }
}

/// The lines of the guest itself. Those of the hypervisor and of neighbours may stand within one, at any place.
fn own(said: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // A program's descriptors begin as a neighbour's lines do, but that no name begins with a digit.
    let is_neighbours = |line: &str| line.starts_with('[') && !line.starts_with("[0x");
    let is_own = |line: &&str| !line.starts_with("droste: ") && !is_neighbours(line);
    let is_digits = |line: &str| {
        line.chars()
            .all(|c| matches!(c, ' ' | '=') || c.is_ascii_hexdigit())
    };
    for line in said.lines().filter(is_own) {
        let line = line.trim_end_matches('\r');
        match lines.last_mut() {
            Some(last) if is_digits(line) && last.starts_with("differ: ") => last.push_str(line),
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

/// Of lines `differ: WHAT NUMBER: DIGITS... =CHECK`, each program with its digits. A neighbour may have broken them anywhere,
/// and one whose parts cannot be put together again is not there.
fn numbers(lines: &[String], what: &str) -> BTreeMap<u64, String> {
    let mut all = BTreeMap::new();
    for piece in lines.concat().split("differ: ") {
        let Some((first, digits)) = piece.split_once(": ") else {
            continue;
        };
        let first = first.strip_prefix(what).map(str::parse::<u64>);
        if let Some(Ok(first)) = first
            && let Some(digits) = whole(first, digits)
        {
            all.extend((first..).zip(digits));
        }
    }
    all
}

/// The digits of a line whose check is right, which begins with this program.
fn whole(first: u64, digits: &str) -> Option<Vec<String>> {
    let (digits, check) = digits.split_once(" =")?;
    let parse = |digits: &str| {
        u16::from_str_radix(digits, 16)
            .ok()
            .filter(|_| digits.len() == 4)
    };
    let sum = |check: u16, digits| Some(check.rotate_left(3) ^ parse(digits)?);
    let is_whole = digits.split(' ').try_fold(first as u16, sum)? == parse(check)?;
    is_whole.then(|| digits.split(' ').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_on_behind_that_of_another() {
        let said = "differ: 0: 1111\r\ndroste: warning: differ: odd\r\n 2222 \n[steady] up\r\n33\n[steady] on\n33\r\n\
                    differ: ok\r\n";
        assert_eq!(own(said), ["differ: 0: 1111 2222 3333", "differ: ok"]);
    }

    #[test]
    fn a_program_keeps_its_descriptors() {
        let said = "about AT\r\n[0x44100008] = 0x1\r\n[steady] up\r\nphase El2\r\ndiffer: ok\r\n";
        let all = ["about AT", "[0x44100008] = 0x1", "phase El2", "differ: ok"];
        assert_eq!(own(said), all);
    }

    #[test]
    fn each_program_of_a_line_has_its_own_digits() {
        let lines = [
            "differ: E2H = 1",
            "differ: 16: 0a0b ffff =aba7",
            "differ: kept 3: 1234 =122c",
            "differ: known x: 4",
            "differ: ok",
        ];
        let lines: Vec<String> = lines.map(str::to_owned).into();
        let all = numbers(&lines, "");
        assert_eq!(all.len(), 2);
        assert_eq!(all[&16], "0a0b");
        assert_eq!(all[&17], "ffff");
        assert_eq!(numbers(&lines, KEPT), [(3, "1234".to_owned())].into());
    }

    #[test]
    fn a_line_that_a_neighbour_broke_is_put_together_or_is_not_there() {
        let read = |said: &str| numbers(&own(said), "");
        let broken = "diff\r\n[steady] up\r\ner: 3\r\n[steady] on\r\n2: 0a0b ff\r\n[steady] off\r\nff =a7a7\r\n";
        assert_eq!(read(broken)[&33], "ffff");
        // The first letter is a digit, and the space is the last that stands before the break.
        let twice = "differ: 32: 0a0b ffff =a7a7\r\nd\r\n[steady] up\r\niffer: 16: \r\n[steady] on\r\n0a0b ffff =aba7\r\n";
        assert_eq!(read(twice).len(), 4);
        for lost in [
            "a0b ffff =a7a7",
            "0a0b ffff =a7a",
            "0a0b ffff",
            "0a0c ffff =a7a7",
            "0a0bffff =a7a7",
        ] {
            assert!(
                read(&format!("differ: 32: {lost}\r\ndiffer: ok\r\n")).is_empty(),
                "{lost}"
            );
        }
    }
}
