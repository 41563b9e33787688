//! What the tests share: a directory in which `droste` runs.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything here takes, and what runs longer hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A directory with a description, a kernel, a hypervisor, and a QEMU that does as the test says.
pub(crate) struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    /// `script` runs with the number that marks records in `$nonce`.
    pub(crate) fn new(script: &str) -> Self {
        let stage = Self {
            dir: tempfile::tempdir().expect("a directory"),
        };
        let mut kernel = vec![0; 4096];
        kernel[16..24].copy_from_slice(&4096_u64.to_le_bytes());
        kernel[56..60].copy_from_slice(b"ARM\x64");
        stage.put("Image", &kernel);
        stage.put(
            "vm.toml",
            b"name = \"vm\"\nkernel = \"Image\"\ncmdline = \"quiet\"\n",
        );
        let qemu = format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && echo QEMU emulator version 10.0.2 && exit\n\
             for word in $*; do case $word in droste.report=*) nonce=${{word#*=}} ;; esac; done\n{script}\n"
        );
        stage.put_program("qemu", &qemu);
        stage
    }

    /// A program of this text.
    pub(crate) fn put_program(&self, name: &str, text: &str) {
        let source = format!("{name}.sh");
        self.put(&source, text.as_bytes());
        // Another process writes the program: while this one has it open, it cannot be started.
        let install = Command::new("install")
            .args(["-m", "755", &source, name])
            .current_dir(self.dir.path())
            .status();
        assert!(install.expect("started").success());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("written");
    }

    pub(crate) fn droste(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("started")
    }

    /// `droste` with these words, not yet started.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_droste"));
        command
            .args(words)
            .current_dir(self.dir.path())
            .env("DROSTE_CACHE", self.path("cache"))
            .stdin(Stdio::null());
        command
    }

    /// `droste`, which must not hang.
    pub(crate) fn droste_in_time(&self, words: &[&str]) -> Output {
        ended(self.command(words))
    }

    /// Runs `vm.toml` with more words.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.run_on("Image", words).output().expect("started")
    }

    /// The same on this hypervisor, not yet started.
    pub(crate) fn run_on(&self, hypervisor: &str, words: &[&str]) -> Command {
        let run = [
            "run",
            "vm.toml",
            "--qemu",
            "./qemu",
            "--hypervisor",
            hypervisor,
        ];
        self.command(&[&run, words].concat())
    }
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A script that prints a final record.
pub(crate) fn record(outcome: &str, vm: &str) -> String {
    format!(r#"printf '%s {{"final":true,"outcome":"{outcome}","vms":[{vm}]}}\n' "$nonce""#)
}

pub(crate) fn good() -> String {
    record("ok", r#"{"name":"vm","outcome":"off"}"#)
}

/// What a command says and how it ends, which it does in time.
pub(crate) fn ended(mut command: Command) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let start = Instant::now();
    while child.try_wait().expect("asked").is_none() {
        if start.elapsed() > LIMIT {
            child.kill().expect("killed");
            panic!("it hangs: {command:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("ended")
}
