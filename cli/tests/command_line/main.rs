//! The command `droste` as a user has it, with a script in place of QEMU: no network, no emulation.

mod judged;
mod outputs;
mod stage;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use droste_image::BootImage;

use crate::stage::{Stage, good, record, stderr, stdout};

#[test]
fn a_good_run_shows_the_guest_and_keeps_the_record() {
    let stage = Stage::new(&format!("echo from the guest; {}; echo goodbye", good()));
    let output = stage.run(&["--json", "record.json"]);
    assert_eq!(stdout(&output), "from the guest\ngoodbye\n");
    assert!(output.status.success(), "{}", stderr(&output));
    let record = fs::read_to_string(stage.path("record.json")).expect("written");
    assert!(record.contains("\"outcome\": \"ok\""), "{record}");
    let left: Vec<_> = fs::read_dir(stage.path("cache"))
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["CACHEDIR.TAG"]);
}

#[test]
fn a_failed_run_names_the_virtual_machine_and_keeps_the_record() {
    let stage = Stage::new(&record(
        "failed",
        r#"{"name":"vm","outcome":"crashed","message":"why"}"#,
    ));
    let output = stage.run(&["--json", "record.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "error: the run failed: virtual machine vm: crashed (why)\n"
    );
    assert!(stage.path("record.json").exists());
}

/// The record that a run left.
fn record_of(stage: &Stage) -> serde_json::Value {
    let record = fs::read(stage.path("record.json")).expect("a record");
    serde_json::from_slice(&record).expect("JSON")
}

#[test]
fn a_run_has_a_record_however_it_ends() {
    let progress = r#"printf '%s {"final":false,"outcome":"ok","vms":[{"name":"vm","outcome":"running","exits":{"smc":7}}]}\n' "$nonce"; "#;
    for (script, words, outcome, message) in [
        ("echo panic", &[][..], "failed", "QEMU ended before"),
        ("exit 3", &[], "failed", "QEMU failed (exit status: 3)"),
        (
            "exec sleep 60",
            &["--timeout", "1"],
            "timeout",
            "no end after 1 s",
        ),
    ] {
        for before in ["", progress] {
            let stage = Stage::new(&format!("{before}{script}"));
            stage.put("record.json", b"of an earlier run");
            let output = stage.run(&[&["--json", "record.json"], words].concat());
            assert_eq!(output.status.code(), Some(1), "{script}");
            let record = record_of(&stage);
            assert_eq!(record["outcome"], outcome, "{record}");
            let said = record["message"].as_str().expect("why");
            assert!(said.starts_with(message), "{said}");
            assert!(stderr(&output).contains(message), "{}", stderr(&output));
            assert_eq!(
                (&record["final"], &record["vms"][0]["name"]),
                (&false.into(), &"vm".into())
            );
            let vm = if before.is_empty() {
                "unknown"
            } else {
                "running"
            };
            assert_eq!(record["vms"][0]["outcome"], vm, "{record}");
        }
    }
}

#[test]
fn a_run_that_cannot_start_has_a_record() {
    let stage = Stage::new("");
    let mut run = stage.run_on("vm.toml", &["--json", "record.json"]);
    let output = run.output().expect("started");
    assert_eq!(output.status.code(), Some(1));
    let record = record_of(&stage);
    let why = "vm.toml is not the hypervisor's flat image: ";
    assert!(
        record["message"]
            .as_str()
            .is_some_and(|said| said.starts_with(why)),
        "{record}"
    );
    assert_eq!(record["outcome"], "failed");
}

#[test]
fn a_run_that_is_killed_leaves_no_earlier_record() {
    let stage = Stage::new("touch started; exec sleep 60");
    stage.put("record.json", b"of an earlier run");
    let mut run = stage.run_on("Image", &["--json", "record.json"]);
    let mut droste = run.spawn().expect("started");
    let start = Instant::now();
    while !stage.path("started").exists() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "it does not start"
        );
    }
    droste.kill().expect("killed");
    droste.wait().expect("ended");
    assert_eq!(record_of(&stage)["outcome"], "unknown");
}

#[test]
fn a_bad_record_does_not_hide_a_bad_end() {
    let stage = Stage::new(&format!("{}; exit 2", good()));
    let output = stage.run(&["--json", "record.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(record_of(&stage)["outcome"], "failed");
}

#[test]
fn a_limit_that_no_clock_reaches_is_none() {
    let stage = Stage::new(&good());
    for limit in ["18446744073709551615", "9223372036854775807"] {
        let output = stage.run(&["--timeout", limit]);
        assert!(output.status.success(), "{limit}: {}", stderr(&output));
    }
    assert_eq!(stage.run(&["--timeout", "0"]).status.code(), Some(2));
}

#[test]
fn a_run_ends_at_its_limit() {
    let output = Stage::new("exec sleep 60").run(&["--timeout", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("error: no end after 1 s"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_dry_run_prints_a_command_that_works_and_starts_nothing() {
    let stage = Stage::new("touch started");
    let output = stage.run(&["--dry-run", "--append", "debug", "--log", "logs"]);
    assert!(!stage.path("logs").exists());
    assert!(output.status.success(), "{}", stderr(&output));
    let line = stdout(&output);
    assert!(
        line.starts_with("./qemu -machine virt,virtualization=on,gic-version=3"),
        "{line}"
    );
    assert!(!stage.path("started").exists());
    let initrd = line
        .split_whitespace()
        .skip_while(|word| *word != "-initrd")
        .nth(1)
        .expect("an initrd");
    let file = fs::read(Path::new(initrd)).expect("it stays");
    let image = BootImage::parse(&file).expect("a boot image");
    let vm = image.vms().next().expect("one").expect("sound");
    assert_eq!(
        (vm.name, vm.bootargs),
        ("vm", "quiet droste.self-report debug")
    );
}

#[test]
fn verbose_prints_the_command_that_is_started() {
    let stage = Stage::new(&good());
    assert!(stderr(&stage.run(&["-v"])).starts_with("./qemu -machine virt"));
    assert_eq!(stderr(&stage.run(&[])), "");
}

#[test]
fn check_finds_everything_at_once() {
    let stage = Stage::new("");
    stage.put(
        "bad.toml",
        b"name = \"vm\"\nvcpu = 2\nkernel = \"nothing\"\n",
    );
    let output = stage.droste(&["check", "vm.toml", "bad.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    let findings = stderr(&output);
    for finding in [
        "error: bad.toml:1:8: the name \"vm\" is taken by vm.toml:1:8",
        "error: bad.toml:2:1: there is no key \"vcpu\"",
        "error: bad.toml:3:10: cannot read nothing: ",
    ] {
        assert!(findings.contains(finding), "{findings}");
    }
    assert_eq!(findings.matches("error: ").count(), 3, "{findings}");
}

#[test]
fn check_says_what_would_run() {
    let stage = Stage::new("");
    stage.put("bare.toml", b"name = \"vm\"\nkernel = \"Image\"\n");
    let bare = stdout(&stage.droste(&["check", "bare.toml"]));
    assert!(!bare.contains("command line"), "it is empty: {bare}");
    let output = stage.droste(&["check", "vm.toml"]);
    assert!(output.status.success());
    let summary = stdout(&output);
    assert!(
        summary.starts_with("vm: 1 vCPU, 256 MiB\n  kernel        Image\n"),
        "{summary}"
    );
}

#[test]
fn check_tells_of_memory_that_is_little_for_a_linux() {
    let stage = Stage::new("");
    let mut kernel = vec![0; 4096];
    kernel[16..24].copy_from_slice(&(40_u64 << 20).to_le_bytes());
    kernel[56..60].copy_from_slice(b"ARM\x64");
    stage.put("big", &kernel);
    stage.put(
        "big.toml",
        b"name = \"vm\"\nkernel = \"big\"\nmemory = \"64M\"\n",
    );
    let output = stage.droste(&["check", "big.toml"]);
    assert!(output.status.success());
    let warning = "warning: vm has 64 MiB of memory, and kernel and RAM disk take 40 of them";
    assert!(stderr(&output).starts_with(warning), "{}", stderr(&output));
    let enough = stage.droste(&["check", "vm.toml"]);
    assert_eq!(stderr(&enough), "");
}

#[test]
fn check_knows_which_el2_a_guest_has() {
    let stage = Stage::new("");
    let check = |line: &str| {
        let text = format!("name = \"vm\"\nkernel = \"Image\"\n{line}\n");
        stage.put("el2.toml", text.as_bytes());
        stage.droste(&["check", "el2.toml"])
    };
    for (line, shown) in [
        ("", "none"),
        ("el2 = \"vhe\"", "vhe"),
        ("el2 = \"nvhe\"", "nvhe"),
    ] {
        let summary = stdout(&check(line));
        let shown = format!("  EL2           {shown}\n");
        assert!(summary.ends_with(&shown), "{summary}");
    }
    let output = check("el2 = \"on\"");
    assert_eq!(output.status.code(), Some(1));
    let finding = "error: el2.toml:3:7: el2 must be \"vhe\", \"nvhe\" or \"none\"";
    assert!(stderr(&output).contains(finding), "{}", stderr(&output));
}

#[test]
fn an_image_is_written_and_verified() {
    let stage = Stage::new("");
    assert!(
        stage
            .droste(&["image", "vm.toml", "-o", "vms.img"])
            .status
            .success()
    );
    assert!(
        stage
            .droste(&["image", "--verify", "vms.img"])
            .status
            .success()
    );
    let mut file = fs::read(stage.path("vms.img")).expect("written");
    // The kernel is the last member and fills a page; the archive's trailer behind it is short.
    let at = file.len() - 1024;
    file[at] ^= 1;
    stage.put("vms.img", &file);
    let output = stage.droste(&["image", "--verify", "vms.img"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("the bytes of vm/kernel have changed"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_hypervisor_that_is_none_is_refused() {
    let stage = Stage::new(&good());
    let output = stage.run_on("vm.toml", &[]).output().expect("started");
    assert!(
        stderr(&output).contains("vm.toml is not the hypervisor's flat image"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_examples_have_no_findings() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let files: Vec<String> = fs::read_dir(examples)
        .expect("listed")
        .map(|entry| entry.expect("an entry").path().display().to_string())
        .collect();
    let words: Vec<&str> = ["check"]
        .into_iter()
        .chain(files.iter().map(String::as_str))
        .collect();
    let output = Stage::new("").droste(&words);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn what_is_tied_gets_its_arguments_and_dies_with_its_parent() {
    let droste = env!("CARGO_BIN_EXE_droste");
    let script = format!("'{droste}' tie $$ sh -c 'echo $0 $$; exec sleep 60' --help & wait");
    let mut parent = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut stdout = BufReader::new(parent.stdout.take().expect("piped"));
    let mut said = String::new();
    stdout.read_line(&mut said).expect("read");
    assert!(said.starts_with("--help "), "{said}");
    let started = Instant::now();
    parent.kill().expect("killed");
    parent.wait().expect("ended");
    // The output's end is that of the last who had it.
    stdout.read_to_string(&mut said).expect("read");
    assert!(started.elapsed() < Duration::from_secs(30), "it lived on");
}

#[test]
fn what_cannot_be_tied_or_started_is_named() {
    let stage = Stage::new("");
    let error = stderr(&stage.droste(&["tie", "1", "echo"]));
    assert_eq!(error, "error: echo is not started: its parent has ended\n");
    let own = std::process::id().to_string();
    let error = stderr(&stage.droste(&["tie", &own, "/nonexistent/qemu", "-smp", "1"]));
    assert!(
        error.starts_with("error: cannot start /nonexistent/qemu: "),
        "{error}"
    );
}

#[test]
fn check_needs_no_home_and_makes_no_cache() {
    let stage = Stage::new("");
    let mut command = stage.command(&["check", "vm.toml"]);
    command.env_clear();
    let output = command.output().expect("started");
    assert!(output.status.success(), "{}", stderr(&output));
    let output = stage.droste(&["check", "vm.toml"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!stage.path("cache").exists());
}

#[test]
fn what_has_no_end_is_refused_at_once() {
    let stage = Stage::new("touch started");
    let made = Command::new("mkfifo").arg(stage.path("pipe")).status();
    assert!(made.expect("started").success());
    let good = "name = \"vm\"\nkernel = \"Image\"\n";
    for (text, why) in [
        (
            "name = \"vm\"\nkernel = \"pipe\"\n".to_owned(),
            "pipe is a pipe",
        ),
        (
            "name = \"vm\"\nkernel = \"pipe\"\nel2 = \"vhe\"\ndisk = \"droste:vmm\"\n".to_owned(),
            "pipe is a pipe",
        ),
        (format!("{good}disk = \"pipe\"\n"), "pipe is a pipe"),
        (
            format!("{good}initrd = \"/dev/zero\"\n"),
            "/dev/zero is a device",
        ),
    ] {
        stage.put("vm.toml", text.as_bytes());
        for words in [
            &["check", "vm.toml"][..],
            &["image", "vm.toml", "-o", "out"],
        ] {
            let output = stage.droste_in_time(words);
            assert_eq!(output.status.code(), Some(1));
            assert!(stderr(&output).contains(why), "{}", stderr(&output));
        }
    }
    stage.put("vm.toml", good.as_bytes());
    for words in [
        &["image", "--verify", "pipe"][..],
        &["run", "vm.toml", "--qemu", "./qemu", "--hypervisor", "pipe"],
        &[
            "run",
            "vm.toml",
            "--qemu",
            "./qemu",
            "--hypervisor",
            "Image",
            "--initrd",
            "/dev/zero",
        ],
        &["check", "/dev/zero"],
    ] {
        let output = stage.droste_in_time(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(
            stderr(&output).starts_with("error: "),
            "{}",
            stderr(&output)
        );
    }
    assert!(!stage.path("started").exists());
}

#[test]
fn clean_empties_the_cache() {
    let stage = Stage::new("");
    assert!(stage.run(&["--dry-run"]).status.success());
    assert!(stage.path("cache/dry-run").exists());
    let output = stage.droste(&["clean"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stdout(&output).ends_with("cache: 1 MiB removed\n"),
        "{}",
        stdout(&output)
    );
    assert!(!stage.path("cache/dry-run").exists());
    fs::remove_dir_all(stage.path("cache")).expect("removed");
    assert_eq!(stdout(&stage.droste(&["clean"])), "there is no cache\n");
}

#[test]
fn a_wrong_word_is_guessed_and_a_wrong_file_of_the_command_line_is_named() {
    let stage = Stage::new(&good());
    let said = |words: &[&str]| stderr(&stage.droste(words));
    let misspelt = stage.droste(&["rnu"]);
    assert_eq!(
        stderr(&misspelt),
        "error: rnu is neither a command nor a file\n  help: did you mean droste run?\n"
    );
    assert_eq!(misspelt.status.code(), Some(2), "as clap ends it");
    let error = said(&["image", "vm.toml", "--kernel", "nix", "-o", "out"]);
    assert!(
        error.starts_with("error: --kernel: cannot read nix: "),
        "{error}"
    );
    assert!(
        error.contains("relative to the current directory"),
        "{error}"
    );
    // Before anything is fetched or built.
    let error = said(&["setup", "nothing.toml"]);
    assert!(
        error.starts_with("error: nothing.toml: cannot be read: "),
        "{error}"
    );
    assert!(said(&["image", "--verify", "nothing"]).contains("  help: check the path"));
    assert!(stage.run(&["--stats", "5"]).status.success());
}
