//! No emulated machine outlives who started it, however that ended.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::stage::{Stage, Terminal, must_say};

/// How long a process may take to die.
const SOON: Duration = Duration::from_mins(1);

/// A process that the test did not start itself; it is dead when this has been dropped.
struct Process(Pid);

impl Process {
    fn of(number: &str) -> Self {
        let number = number.trim().parse().expect("a process's number");
        Self(Pid::from_raw(number).expect("a process's number"))
    }

    /// Whether it has not ended; one for whose end nobody has asked yet counts as ended.
    fn lives(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.as_raw_nonzero()));
        // The state stands behind the program's name, which is in brackets.
        stat.is_ok_and(|stat| {
            stat.rsplit_once(") ")
                .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
        })
    }

    fn ends_soon(&self) -> bool {
        let deadline = Instant::now() + SOON;
        while self.lives() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        !self.lives()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.lives() {
            let _ = kill_process(self.0, Signal::KILL);
        }
    }
}

/// A machine that runs, with the processes of `droste` and of QEMU.
fn running(stage: &Stage) -> (Terminal<'_>, Process, Process) {
    let numbers = stage.path("numbers");
    let qemu = stage.between(&format!(
        "[ \"$1\" = --version ] || echo $PPID $$ >'{}'",
        numbers.display()
    ));
    let mut terminal = stage.run_on(1).by(qemu).on_terminal();
    terminal.wait_for("droste: Droste ");
    let numbers = fs::read_to_string(numbers).expect("written");
    let (droste, qemu) = numbers.split_once(' ').expect("two numbers");
    let (droste, qemu) = (Process::of(droste), Process::of(qemu));
    assert!(droste.lives() && qemu.lives(), "{numbers}");
    (terminal, droste, qemu)
}

#[test]
fn qemu_ends_with_a_droste_that_is_killed() {
    for signal in [Signal::KILL, Signal::TERM] {
        let stage = Stage::with_linux(1);
        let (terminal, droste, qemu) = running(&stage);
        kill_process(droste.0, signal).expect("it lives");
        assert!(qemu.ends_soon(), "QEMU outlives {signal:?}");
        must_say(&terminal.dies(), &["it ended with signal: "]);
    }
}

#[test]
fn to_leave_qemu_by_its_keys_is_no_mistake() {
    let stage = Stage::with_linux(1);
    let mut terminal = stage.run_on(1).on_terminal();
    terminal.wait_for("droste: Droste ");
    terminal.keys("\x01x");
    let said = terminal.ends();
    must_say(&said, &["droste: QEMU was left by its keys Ctrl-A x"]);
    assert_eq!(stage.record()["outcome"], "left");
}

#[test]
fn qemu_ends_with_a_test_that_panics() {
    let stage = Stage::with_linux(1);
    let (terminal, droste, qemu) = running(&stage);
    drop(terminal);
    assert!(droste.ends_soon(), "droste outlives its session");
    assert!(qemu.ends_soon(), "QEMU outlives its session");
}
