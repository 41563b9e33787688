//! What the tests share: the parts of a run, the host's processors, and `droste run` in a directory of its own.
//!
//! A run ends by `droste run --timeout`, which takes QEMU with it; the session's own deadline lies behind that one and
//! catches a `droste` that hangs. Silence therefore fails. `droste` is tied to the thread of its test, and QEMU to
//! `droste`, so that none outlives its test, however that ends.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use droste::qemu::{Session, tied};
use droste::setup::Setup;
use droste::setup::guest::KERNEL_PACKAGE;
use droste_image::El2;
use serde_json::Value;

/// The command under test.
pub(crate) const DROSTE: &str = env!("CARGO_BIN_EXE_droste");
/// What every Linux is told, as in the example.
const LINUX_WORDS: &str = "console=ttyAMA0 loglevel=5 cryptomgr.notests panic=5";
/// A run must end within so many seconds unless its test says otherwise. A boot takes a tenth of this on an idle host.
const LIMIT: u64 = 240;
/// How long `droste` may take around the run itself, in seconds.
const GRACE: u64 = 30;
/// More arguments for QEMU, separated by spaces.
const ARGUMENTS: &str = "DROSTE_QEMU_ARGS";
/// More words for Droste's own command line, in every run.
const WORDS: &str = "DROSTE_WORDS";
/// With [`ARGUMENTS`] every run may take so many times as long: what they are for is mostly slow.
const PATIENCE: u64 = 10;
/// What makes the emulated time pass with instructions, 32 ns each, and not with the host's clock. For one processor.
const OWN_TIME: &str = "set -- \"$@\" -icount shift=5,sleep=off";
/// How a line ends on the console.
const LINE_END: &str = "\r\n";
/// The hypervisor's final record, a file of the directory.
const RECORD: &str = "record.json";
/// What a guest's shell says when it waits for a command, after the machine's name.
pub(crate) const PROMPT: &str = ":~# ";
/// The key that makes the next one Droste's.
const ESCAPE: &str = "\x1d";

/// The parts of a run, brought and built once.
pub(crate) struct Parts {
    pub(crate) qemu: PathBuf,
    pub(crate) hypervisor: PathBuf,
    pub(crate) fp: PathBuf,
    pub(crate) hostile: PathBuf,
    neighbours: PathBuf,
    lives: PathBuf,
    at_el2: [(&'static str, PathBuf); 7],
}

impl Parts {
    /// A guest that is a hypervisor, by its name.
    pub(crate) fn at_el2(&self, name: &str) -> &Path {
        let found = self.at_el2.iter().find(|(of, _)| *of == name);
        &found.expect("there is such a guest").1
    }
}

/// The parts. The first to ask brings what is missing.
pub(crate) fn parts() -> &'static Parts {
    static PARTS: LazyLock<Parts> = LazyLock::new(|| match gather() {
        Ok(parts) => parts,
        Err(error) => panic!("set-up failed: {error}"),
    });
    &PARTS
}

fn gather() -> droste::Result<Parts> {
    let setup = Setup::new()?;
    setup.initrd(Some(&setup.kernel(KERNEL_PACKAGE)?))?;
    let mut qemu = setup.qemu(None)?;
    if let Some(arguments) = env::var_os(ARGUMENTS) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let script = format!("set -- {} \"$@\"", arguments.display());
        qemu = between(folder, &script, &qemu);
    }
    Ok(Parts {
        qemu,
        hypervisor: setup.hypervisor()?,
        fp: setup.guest("fp")?,
        hostile: setup.guest("hostile")?,
        neighbours: setup.guest("neighbours")?,
        lives: setup.guest("lives")?,
        at_el2: [
            ("nested", setup.guest("nested")?),
            ("vel2", setup.guest("vel2")?),
            ("ids", setup.guest("ids")?),
            ("hostile-el2", setup.guest("hostile-el2")?),
            ("differ", setup.guest("differ")?),
            ("clock", setup.guest("clock")?),
            ("seeds", setup.guest("seeds")?),
        ],
    })
}

/// Writes into `folder` a program that changes the arguments of QEMU, which it finds in `$@`, and becomes QEMU.
fn between(folder: &Path, script: &str, qemu: &Path) -> PathBuf {
    let text = format!("#!/bin/sh\n{script}\nexec {} \"$@\"\n", qemu.display());
    let (source, program) = (folder.join("qemu.sh"), folder.join("qemu"));
    fs::write(&source, text).expect("written");
    // Another process writes the program: while this one has it open, it cannot be started.
    let mut install = Command::new("install");
    install.args(["-m", "755"]).args([&source, &program]);
    assert!(install.status().expect("started").success());
    program
}

/// How long `seconds` are under [`ARGUMENTS`].
pub(crate) fn patient(seconds: u64) -> u64 {
    if env::var_os(ARGUMENTS).is_some() {
        seconds * PATIENCE
    } else {
        seconds
    }
}

/// The host's processors that no emulated machine uses.
static FREE: LazyLock<Mutex<usize>> = LazyLock::new(|| Mutex::new(processors()));
static FREED: Condvar = Condvar::new();

fn processors() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Processors of the host for one emulated machine, until this is dropped.
pub(crate) struct HostCpus(usize);

impl HostCpus {
    /// Waits for as many processors as the machine has, or for all of them.
    pub(crate) fn wait(cpus: usize) -> Self {
        let wanted = cpus.min(processors());
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = FREED
            .wait_while(free, |free| *free < wanted)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= wanted;
        Self(wanted)
    }
}

impl Drop for HostCpus {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(PoisonError::into_inner) += self.0;
        FREED.notify_all();
    }
}

/// What a Debian is that is a hypervisor.
pub(crate) struct Host {
    /// Its EL2.
    pub(crate) el2: El2,
    /// Its vCPUs.
    pub(crate) vcpus: u32,
    /// Its memory in MiB.
    pub(crate) memory_mib: u32,
    /// Its disks, as in a description.
    pub(crate) disks: Vec<String>,
    /// More words for its kernel, with a space before.
    pub(crate) words: String,
}

/// A directory with descriptions of virtual machines.
pub(crate) struct Stage {
    dir: tempfile::TempDir,
    vms: Vec<PathBuf>,
}

impl Stage {
    /// One without any.
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a directory"),
            vms: Vec::new(),
        }
    }

    /// One with a Debian of this many vCPUs.
    pub(crate) fn with_linux(vcpus: u32) -> Self {
        let mut stage = Self::new();
        stage.linux("linux", vcpus, "");
        stage
    }

    /// Adds a Debian; `keys` are more lines of its description.
    pub(crate) fn linux(&mut self, name: &str, vcpus: u32, keys: &str) {
        self.debian(
            name,
            KERNEL_PACKAGE,
            vcpus,
            &format!("memory = \"256M\"\n{keys}"),
            "",
        );
    }

    /// Adds one with the kernel of another package, and more words for it.
    pub(crate) fn linux_of(&mut self, package: &str, vcpus: u32, keys: &str, words: &str) {
        self.debian("linux", package, vcpus, keys, words);
    }

    fn debian(&mut self, name: &str, package: &str, vcpus: u32, keys: &str, words: &str) {
        let keys = format!(
            "vcpus = {vcpus}\nkernel = \"debian:{package}\"\n\
             initrd = \"debian:busybox-static\"\ncmdline = \"{LINUX_WORDS} {words}\"\n{keys}\n"
        );
        self.vm(name, &keys);
    }

    /// Adds a Debian that is a hypervisor, with what its own guests need on its first disk.
    pub(crate) fn hypervisor(&mut self, host: &Host) {
        let Host {
            el2, memory_mib, ..
        } = *host;
        let (el2, mode) = match el2 {
            El2::Nvhe => ("nvhe", " kvm-arm.mode=nvhe"),
            _ => ("vhe", ""),
        };
        let disks: Vec<String> = host.disks.iter().map(|disk| format!("{disk:?}")).collect();
        self.vm(
            "linux",
            &format!(
                "vcpus = {}\nmemory = \"{memory_mib}M\"\nkernel = \"debian:{KERNEL_PACKAGE}\"\n\
                 initrd = \"debian:busybox-static\"\ncmdline = \"{LINUX_WORDS}{mode}{}\"\n\
                 el2 = \"{el2}\"\ndisk = [{}]\n",
                host.vcpus,
                host.words,
                disks.join(", ")
            ),
        );
    }

    /// Adds the guest that watches its floating-point registers.
    pub(crate) fn fp(&mut self, name: &str, vcpus: u32) {
        self.bare(name, vcpus, &parts().fp, "");
    }

    /// Adds the guest that means harm.
    pub(crate) fn hostile(&mut self, name: &str) {
        self.bare(name, 1, &parts().hostile, "");
    }

    /// Adds the guest that tries what its identification registers say.
    pub(crate) fn ids(&mut self, name: &str) {
        self.bare(name, 1, parts().at_el2("ids"), "");
    }

    /// Adds the guest that tries its clock, with these words on its command line.
    pub(crate) fn clock(&mut self, name: &str, words: &str) {
        self.bare(name, 1, parts().at_el2("clock"), words);
    }

    /// Adds the guest that says its seeds.
    pub(crate) fn seeds(&mut self, name: &str) {
        self.bare(name, 1, parts().at_el2("seeds"), "");
    }

    /// Adds `differ` as a guest without EL2, with these words on its command line.
    pub(crate) fn differ_without_el2(&mut self, words: &str) {
        self.bare("differ", 1, parts().at_el2("differ"), words);
    }

    /// Adds a guest that spoils or watches what guests share, named for its role.
    pub(crate) fn neighbour(&mut self, role: &str, vcpus: u32) {
        self.bare(role, vcpus, &parts().neighbours, role);
    }

    /// Adds a guest that starts anew, or is beside one; `keys` are more lines of its description.
    pub(crate) fn life(&mut self, name: &str, role: &str, vcpus: u32, keys: &str) {
        let kernel = parts().lives.display();
        self.vm(
            name,
            &format!(
                "vcpus = {vcpus}\nmemory = \"128M\"\nkernel = \"{kernel}\"\ncmdline = \"{role}\"\n{keys}\n"
            ),
        );
    }

    /// Adds a guest that is a hypervisor, with this kind of EL2.
    pub(crate) fn at_el2(&mut self, name: &str, kind: &str, vcpus: u32) {
        self.at_el2_with(name, kind, vcpus, "");
    }

    /// The same, with these words on its command line.
    pub(crate) fn at_el2_with(&mut self, name: &str, kind: &str, vcpus: u32, words: &str) {
        self.with_el2(name, parts().at_el2(name), kind, vcpus, words);
    }

    fn with_el2(&mut self, name: &str, kernel: &Path, kind: &str, vcpus: u32, words: &str) {
        let kernel = kernel.display();
        self.vm(
            name,
            &format!(
                "vcpus = {vcpus}\nmemory = \"128M\"\nkernel = \"{kernel}\"\nel2 = \"{kind}\"\n\
                 cmdline = \"{words}\"\n"
            ),
        );
    }

    fn bare(&mut self, name: &str, vcpus: u32, kernel: &Path, cmdline: &str) {
        let kernel = kernel.display();
        self.vm(
            name,
            &format!(
                "vcpus = {vcpus}\nmemory = \"128M\"\nkernel = \"{kernel}\"\ncmdline = \"{cmdline}\"\n"
            ),
        );
    }

    fn vm(&mut self, name: &str, keys: &str) {
        let file = self.path(&format!("{name}.toml"));
        self.put(&file, format!("name = \"{name}\"\n{keys}").as_bytes());
        self.vms.push(file);
    }

    /// A file of the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The hypervisor's final record of the last run.
    pub(crate) fn record(&self) -> Value {
        let record = fs::read(self.path(RECORD)).expect("a record");
        serde_json::from_slice(&record).expect("JSON")
    }

    /// Writes a file; its name may be relative to the directory.
    pub(crate) fn put(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        fs::write(self.dir.path().join(name), bytes).expect("written");
    }

    /// A program that changes the arguments of QEMU, which it finds in `$@`, and becomes QEMU.
    pub(crate) fn between(&self, script: &str) -> PathBuf {
        between(self.dir.path(), script, &parts().qemu)
    }

    /// A run of all virtual machines on as many processors.
    pub(crate) fn run_on(&self, cpus: u32) -> Run<'_> {
        Run {
            stage: self,
            cpus,
            qemu: parts().qemu.clone(),
            limit: patient(LIMIT),
            words: Vec::new(),
        }
    }
}

/// A run of `droste` that has not started.
pub(crate) struct Run<'a> {
    stage: &'a Stage,
    cpus: u32,
    qemu: PathBuf,
    limit: u64,
    words: Vec<String>,
}

impl<'a> Run<'a> {
    /// Adds arguments.
    pub(crate) fn with(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(ToString::to_string));
        self
    }

    /// Sets the limit, in seconds.
    pub(crate) fn within(self, seconds: u64) -> Self {
        Self {
            limit: patient(seconds),
            ..self
        }
    }

    /// Starts another QEMU.
    pub(crate) fn by(self, qemu: PathBuf) -> Self {
        Self { qemu, ..self }
    }

    /// Makes time pass with instructions. What a guest on one processor gets of it is then the same on every host, busy
    /// or not.
    pub(crate) fn in_own_time(self) -> Self {
        assert_eq!(
            self.cpus, 1,
            "QEMU counts the instructions of one processor"
        );
        let qemu = self.stage.between(OWN_TIME);
        self.by(qemu)
    }

    /// Runs without a terminal and must end well, with each marker said in this order.
    pub(crate) fn succeeds(self, markers: &[&str]) -> Ended {
        self.ends_well(Session::start, markers)
    }

    /// The same on a terminal at which nobody sits: without one, a reset is a stop.
    pub(crate) fn succeeds_on_terminal(self, markers: &[&str]) -> Ended {
        self.ends_well(Session::start_on_terminal, markers)
    }

    fn ends_well(
        self,
        start: fn(Command, Duration) -> droste::Result<Session>,
        markers: &[&str],
    ) -> Ended {
        let _host = HostCpus::wait(self.cpus as usize);
        let session = start(self.command(), self.deadline()).expect("droste starts");
        let output = session.finish().unwrap_or_else(|error| panic!("{error}"));
        must_say(&output, markers);
        let record = self.stage.record();
        Ended { output, record }
    }

    /// Runs without a terminal and must fail; returns all that was said.
    pub(crate) fn fails(self) -> String {
        let _host = HostCpus::wait(self.cpus as usize);
        let session = Session::start(self.command(), self.deadline()).expect("droste starts");
        failure(session)
    }

    /// Runs on a terminal, at which the caller sits.
    pub(crate) fn on_terminal(self) -> Terminal<'a> {
        let host = HostCpus::wait(self.cpus as usize);
        let session = Session::start_on_terminal(self.command(), self.deadline());
        let first = self.stage.vms.first().and_then(|file| file.file_stem());
        let name = first.map(|name| name.to_string_lossy().into_owned());
        Terminal {
            session: session.expect("droste starts"),
            name: name.unwrap_or_default(),
            typed: BTreeMap::new(),
            _host: host,
            _stage: self.stage,
        }
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(self.limit + GRACE)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(DROSTE);
        command.arg("run").args(&self.stage.vms);
        command.arg("--qemu").arg(&self.qemu);
        command.arg("--hypervisor").arg(&parts().hypervisor);
        command.args(["--smp", &self.cpus.to_string()]);
        command.args(["--timeout", &self.limit.to_string()]);
        command.arg("--json").arg(self.stage.path(RECORD));
        if let Some(words) = env::var_os(WORDS) {
            command.arg("--droste-append").arg(words);
        }
        command.args(&self.words);
        tied(&command, DROSTE)
    }
}

/// A run that ended well.
pub(crate) struct Ended {
    /// What the consoles and `droste` itself said.
    pub(crate) output: String,
    /// The hypervisor's final record.
    pub(crate) record: Value,
}

impl Ended {
    /// Whether the record says that these virtual machines, and no others, were switched off by their guests.
    pub(crate) fn all_off(&self, names: &[&str]) -> bool {
        let vms = self.record["vms"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let is_off = |(vm, name): (&Value, &&str)| vm["name"] == **name && vm["outcome"] == "off";
        self.record["outcome"] == "ok"
            && vms.len() == names.len()
            && vms.iter().zip(names).all(is_off)
    }
}

/// A run with somebody at the keyboard.
pub(crate) struct Terminal<'a> {
    session: Session,
    /// The virtual machine that has the keyboard; one that the stage does not know has no name.
    name: String,
    /// How much had been said when each last got something typed. What it has asked for since then may have come before
    /// others said what was waited for.
    typed: BTreeMap<String, usize>,
    _host: HostCpus,
    /// The files of the run stay until it ends.
    _stage: &'a Stage,
}

impl Terminal<'_> {
    /// Asks for Droste's report, and returns the number before the words `unit`.
    pub(crate) fn report(&mut self, unit: &str) -> u64 {
        let before = self.session.transcript().len();
        self.escape("s");
        self.wait_for("EL2 memory: ");
        let said = self.session.transcript().get(before..).unwrap_or_default();
        let number = said
            .split_once(unit)
            .and_then(|(rest, _)| rest.rsplit(' ').next());
        let number = number.and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("no number before {unit:?} in\n{said}"))
    }

    /// Waits until something is said.
    pub(crate) fn wait_for(&mut self, marker: &str) {
        self.wait_since(self.session.seen(), marker);
    }

    fn wait_since(&mut self, from: usize, marker: &str) {
        let found = self
            .session
            .wait_until(from, marker, |said| end_of(said, marker));
        found.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Types for the virtual machine that has the keyboard.
    pub(crate) fn keys(&mut self, keys: &str) {
        let said = self.session.transcript().len();
        self.typed.insert(self.name.clone(), said);
        self.send(keys);
    }

    /// Types a key of Droste's own, which no guest sees.
    pub(crate) fn escape(&mut self, key: &str) {
        self.send(&format!("{ESCAPE}{key}"));
    }

    fn send(&mut self, keys: &str) {
        self.session
            .send(keys)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// Gives the keyboard to the next virtual machine, which must be `name`, once the shell of this one waits for a command:
    /// its prompt is whole then.
    pub(crate) fn switch_to(&mut self, name: &str) {
        self.wait_for_prompt();
        self.escape("n");
        self.has_keyboard(name);
    }

    /// The same where the one that had it has ended.
    pub(crate) fn goes_on_to(&mut self, name: &str) {
        self.wait_for("droste: any key gives the keyboard to the next virtual machine");
        self.send("x");
        self.has_keyboard(name);
    }

    fn has_keyboard(&mut self, name: &str) {
        self.wait_for(&format!("droste: input goes to {name}\r\n"));
        name.clone_into(&mut self.name);
    }

    /// Gives the guest's shell a command once it has asked for one, which it may have done long ago.
    pub(crate) fn shell(&mut self, line: &str) {
        self.wait_for_prompt();
        self.keys(&format!("{line}\n"));
    }

    /// Has the guest start anew. What it asked for on the way down is void.
    pub(crate) fn reboot(&mut self) {
        self.shell("reboot");
        self.wait_for(&format!("droste: {}: restarts", self.name));
        self.typed.insert(self.name.clone(), self.session.seen());
    }

    fn wait_for_prompt(&mut self) {
        let from = self.typed.get(&self.name).copied().unwrap_or_default();
        self.wait_since(from, &format!("{}{PROMPT}", self.name));
    }

    /// Gives a command and waits for its answer, which the command itself must not spell.
    pub(crate) fn shell_says(&mut self, line: &str, answer: &str) {
        assert!(!line.contains(answer), "the echo of {line:?} says it");
        self.shell(line);
        self.wait_for(answer);
    }

    /// Switches the guest off; the run must end well. Returns all that was said.
    pub(crate) fn power_off(mut self) -> String {
        self.shell("poweroff");
        self.ends()
    }

    /// The run must end well by itself; returns all that was said.
    pub(crate) fn ends(self) -> String {
        self.session
            .finish()
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// The run must fail; returns all that was said.
    pub(crate) fn fails(self) -> String {
        failure(self.session)
    }

    /// `droste` must not end well, in whatever way; returns what was wrong, with the end of what was said.
    pub(crate) fn dies(self) -> String {
        let error = self.session.finish().expect_err("it ended well");
        error.to_string()
    }
}

/// Waits for an end that is a failure, shown by exit code 1; returns all that was said.
fn failure(mut session: Session) -> String {
    let status = session.end().unwrap_or_else(|error| panic!("{error}"));
    let output = session.transcript().to_owned();
    assert_eq!(status.code(), Some(1), "{status}:\n{output}");
    output
}

/// Whether all markers were said, in this order.
///
/// # Panics
/// Names the first that was not, with all that was said.
pub(crate) fn must_say(output: &str, markers: &[&str]) {
    let mut rest = output;
    for marker in markers {
        let Some(end) = end_of(rest, marker) else {
            panic!("{marker:?} is missing in\n{output}");
        };
        rest = rest.get(end..).unwrap_or_default();
    }
}

/// Where a marker ends in what was said. What the virtual machine writes that has the terminal goes straight through, so
/// that lines of others, and of Droste, may cut it: here it counts as whole.
fn end_of(said: &str, marker: &str) -> Option<usize> {
    if let Some(at) = said.find(marker) {
        return Some(at + marker.len());
    }
    let parts = (1..marker.len()).filter_map(|at| marker.get(..at));
    said.match_indices(LINE_END).find_map(|(cut, _)| {
        let mut parts = parts.clone().filter(|part| said[..cut].ends_with(part));
        parts.find_map(|part| end_of_cut(said, cut - part.len(), marker))
    })
}

/// Where a marker ends that begins at byte `at` and may be cut.
fn end_of_cut(said: &str, at: usize, marker: &str) -> Option<usize> {
    let both = said[at..].char_indices().zip(marker.chars());
    let same = both.take_while(|((_, a), b)| a == b).last();
    let same = same.map_or(0, |((at, c), _)| at + c.len_utf8());
    if same == marker.len() {
        return Some(at + same);
    }
    let rest = said[at + same..].strip_prefix(LINE_END)?;
    let after = after_others(said, said.len() - rest.len())?;
    end_of_cut(said, after, &marker[same..])
}

/// The end of the lines from byte `at` on that others wrote, if there are any.
fn after_others(said: &str, at: usize) -> Option<usize> {
    let others = said[at..].split_inclusive('\n').take_while(|line| {
        ["[", "droste: "]
            .iter()
            .any(|start| line.starts_with(start))
    });
    let bytes: usize = others.map(str::len).sum();
    (bytes > 0).then_some(at + bytes)
}

#[test]
fn markers_count_in_their_order_alone() {
    must_say("one two", &["one", "two"]);
    let reversed = std::panic::catch_unwind(|| must_say("one two", &["two", "one"]));
    assert!(reversed.is_err());
}

#[test]
fn a_marker_that_lines_of_others_cut_is_found() {
    let cut = "guest: self-re\r\n[other] guest: ok\r\ndroste: other: powered off\r\nport ok\r\nend";
    must_say(cut, &["guest: self-report ok", "end"]);
    must_say(
        "li\r\ndroste: 1\r\nnu\r\ndroste: 2\r\nx:~# ",
        &["linux:~# "],
    );
    let line_of_its_own = "guest: self-re\r\nguest: cpus\r\nport ok";
    for other in [
        line_of_its_own,
        "guest: self-re\r\nport ok",
        "guest: self-re",
    ] {
        assert_eq!(end_of(other, "guest: self-report ok"), None, "{other}");
    }
}

#[test]
fn a_run_that_has_not_ended_fails_at_its_limit() {
    // At its shell, where nobody types.
    let stage = Stage::with_linux(1);
    let error = stage.run_on(1).within(1).on_terminal().fails();
    must_say(&error, &[&format!("no end after {} s", patient(1))]);
}
