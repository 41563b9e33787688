//! `droste judge` on traces, and what it refuses.

use std::process::{Command, Output};

use droste_judge::{Event, Kind, Machine};
use serde_json::Value;

use crate::outputs::device;
use crate::stage::{Stage, ended, good, stderr, stdout};

const BASE: u64 = 0x4000_0000;

const fn event(kind: Kind, pc: u64, a: u64, b: u64) -> Event {
    Event {
        kind,
        cpu: 0,
        stack: 0,
        pc,
        a,
        b,
    }
}

/// A hypervisor enters its guest twice; in between it unmaps a block, and invalidates it or not.
pub(crate) fn trace(invalidates: bool, ends: bool) -> Vec<u8> {
    let machine = Machine {
        cpus: 1,
        base: BASE,
        bytes: 16 << 12,
        ids: [5, 0, 0, 0, 0],
    };
    let mut events = vec![
        event(Kind::Learn, 0, BASE, 0x8000_07fd),
        event(Kind::Vtcr, 0x10, 0, 1 << 31 | 5 << 16 | 1 << 6 | 0x19),
        event(Kind::Vttbr, 0x14, 0, 1 << 48 | BASE),
        event(Kind::Enter, 0x18, 0, 0),
        event(Kind::Exit, 0x18, 0, 0),
        event(Kind::Write, 0x104, BASE, 0),
        event(Kind::Dsb, 0x108, 10, 0),
    ];
    if invalidates {
        events.push(event(Kind::Tlbi, 0x10c, 0xd50c_83df, 0));
        events.push(event(Kind::Dsb, 0x110, 11, 0));
    }
    events.push(event(Kind::Enter, 0x18, 0, 0));
    if ends {
        events.push(event(Kind::End, 0, 0, 0));
    }
    let mut bytes = Vec::new();
    machine.put(&mut bytes).expect("written");
    for event in events {
        event.put(&mut bytes).expect("written");
    }
    bytes
}

/// Judges a QEMU that does this where `$out` is where its events go, with more words before `--` and after it.
fn live(stage: &Stage, script: &str, words: &[&str], own: &[&str]) -> Output {
    let find = "for word in $*; do case $word in *,out=*) out=${word#*,out=}; out=${out%%,*} ;; esac; done";
    stage.put_program("told", &format!("#!/bin/sh\n{find}\n{script}\n"));
    let line = [&["judge"], words, &["--", "./told", "-M", "virt"], own].concat();
    let mut command = stage.command(&line);
    // The recorder is not needed.
    command.env("CARGO", "true");
    ended(command)
}

/// `droste judge` with these arguments, in a directory with traces, symbols and a list of what is known.
fn judge(words: &[&str]) -> (Stage, Output) {
    let stage = Stage::new(&good());
    stage.put("clean", &trace(true, true));
    stage.put("broken", &trace(false, true));
    stage.put("torn", &trace(true, false));
    stage.put("symbols", b"0000000000000f00 T unmap\n");
    stage.put("known", b"StaleTranslation(Tlbi) unmap # since ever\n");
    let output = ended(stage.command(&[&["judge"], words].concat()));
    (stage, output)
}

#[test]
fn the_memory_of_a_judged_machine_has_no_name_that_could_stay() {
    let stage = Stage::new(&good());
    let find =
        "for word in $*; do case $word in *mem-path=*) ram=${word##*mem-path=} ;; esac; done";
    let script = format!("{find}; echo words > $ram; readlink -f $ram; cat $ram");
    let said = stdout(&live(&stage, &script, &[], &[]));
    assert!(
        said.contains("(deleted)") && said.ends_with("words\n"),
        "{said}"
    );
}

#[test]
fn a_trace_is_clean_or_broken_or_says_nothing() {
    for (file, code) in [
        ("clean", 0),
        ("broken", 1),
        ("torn", 2),
        ("symbols", 2),
        ("none", 2),
    ] {
        let (_stage, output) = judge(&[file]);
        let said = (stdout(&output), stderr(&output));
        assert_eq!(output.status.code(), Some(code), "{file}: {said:?}");
        assert_eq!(code == 2, said.1.starts_with("error: "), "{file}: {said:?}");
    }
}

#[test]
fn a_finding_is_told_with_the_names_of_functions() {
    let words = ["broken", "--symbols", "symbols", "--symbols-offset=-e00"];
    let (_stage, output) = judge(&words);
    assert_eq!(output.status.code(), Some(2), "an offset is not negative");
    let words = [
        "broken",
        "--symbols",
        "symbols",
        "--symbols-offset",
        "fffffffffffff200",
    ];
    let (_stage, output) = judge(&words);
    let said = stdout(&output);
    for part in [
        "no TLBI took the old stage-2 entry",
        "key: StaleTranslation(Tlbi) unmap",
        "unmap+0x4",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

#[test]
fn programs_read_a_report_and_what_is_known_is_passed_over() {
    let known = [
        "--symbols",
        "symbols",
        "--symbols-offset",
        "0xfffffffffffff200",
        "--ignore",
        "known",
    ];
    let (stage, output) = judge(&[&["broken", "--json", "out"], &known[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = std::fs::read(stage.path("out")).expect("written");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    assert_eq!(report["ignored"][0], "StaleTranslation(Tlbi) unmap");
    assert_eq!(report["entries"], 2);
}

#[test]
fn programs_that_know_sarif_read_what_was_found() {
    let words = ["broken", "--symbols", "symbols", "--sarif", "out"];
    let offset = ["--symbols-offset", "fffffffffffff200"];
    let (stage, output) = judge(&[&words[..], &offset].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let log = std::fs::read(stage.path("out")).expect("written");
    let log: Value = serde_json::from_slice(&log).expect("JSON");
    let run = &log["runs"][0];
    let result = &run["results"][0];
    assert_eq!(result["ruleId"], "StaleTranslation(Tlbi)");
    assert_eq!(result["ruleId"], run["tool"]["driver"]["rules"][0]["id"]);
    let place = &result["relatedLocations"][0]["logicalLocations"][0];
    assert_eq!(place["fullyQualifiedName"], "unmap+0x4");
}

/// What a browser makes of the page at `name` with this filter in its address; none where no Chromium is installed.
fn opened(stage: &Stage, name: &str, filter: &str) -> Option<String> {
    let address = format!("file://{}#{filter}", stage.path(name).display());
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]);
    let profile = format!("--user-data-dir={}", stage.path("profile").display());
    let opened = command.arg(profile).arg(address).output();
    match opened {
        Ok(output) => Some(stdout(&output)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_browser_shows_what_was_found_and_filters_it() {
    let words = ["broken", "--symbols", "symbols", "--html", "page.html"];
    let offset = ["--symbols-offset", "fffffffffffff200"];
    let (stage, output) = judge(&[&words[..], &offset].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let count = |shown: &str, part: &str| shown.matches(part).count();
    let Some(shown) = opened(&stage, "page.html", "") else {
        return;
    };
    assert!(shown.contains("1 of 1 findings, 7 events"), "{shown}");
    assert_eq!(count(&shown, "<circle"), 7, "{shown}");
    assert_eq!(count(&shown, "<tr class=\"setup\">"), 1, "{shown}");
    assert!(shown.contains("<td>unmap+0x4</td>"), "{shown}");
    assert!(shown.contains("The tables at that moment"), "{shown}");
    assert!(
        shown.contains("<div class=\"hit\">level 1  [0x40000000] 0x0"),
        "{shown}"
    );
    // The two ends stay, whatever is filtered.
    let shown = opened(&stage, "page.html", "kind=dsb").expect("it is there");
    assert_eq!(count(&shown, "<circle"), 3, "{shown}");
    let shown = opened(&stage, "page.html", "text=nothing%20like%20it").expect("it is there");
    assert!(shown.contains("0 of 1 findings, 0 events"), "{shown}");
}

#[test]
fn two_reports_do_not_go_to_one_file() {
    for option in ["--json", "--sarif"] {
        let other = if option == "--json" {
            "--sarif"
        } else {
            "--json"
        };
        let (_stage, output) = judge(&["broken", option, "out", other, "out"]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("cannot write out: out is written as well"),
            "{said}"
        );
    }
}

#[test]
fn a_machine_that_cannot_be_judged_is_refused_before_anything_is_built() {
    let (_stage, output) = judge(&["--", "qemu", "-machine", "raspi3b"]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(
        said.starts_with("error: the machine is not virt\n  help: "),
        "{said}"
    );
}

#[test]
fn what_qemu_tells_is_judged_and_kept() {
    let stage = Stage::new(&good());
    stage.put("events", &trace(false, true));
    stage.put("kept", b"old");
    let output = live(&stage, "cat events >$out", &["--trace", "kept"], &[]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let kept = std::fs::read(stage.path("kept")).expect("read");
    assert_eq!(kept, trace(false, true));
}

#[test]
fn an_old_trace_stays_where_there_is_no_new_one() {
    for (script, own) in [
        ("cat events >$out", &["-M", "raspi3b", "-icount", "1"][..]),
        ("exit 1", &[]),
        ("printf drostej >$out", &[]),
    ] {
        let stage = Stage::new(&good());
        stage.put("events", &trace(true, true));
        stage.put("kept", b"old");
        let output = live(&stage, script, &["--trace", "kept"], own);
        assert_eq!(output.status.code(), Some(2), "{script}");
        let kept = std::fs::read(stage.path("kept")).expect("read");
        assert_eq!(kept, b"old", "{script}: {}", stderr(&output));
    }
}

#[test]
fn a_qemu_that_cannot_be_judged_any_more_is_ended() {
    let stage = Stage::new(&good());
    let mut many = trace(true, true);
    many[8] = 33;
    stage.put("events", &many);
    let output = live(&stage, "cat events >$out; exec sleep 600", &[], &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("cannot read what QEMU tells: "), "{said}");
}

#[test]
fn a_trace_that_cannot_be_kept_ends_qemu() {
    let stage = Stage::new(&good());
    let Some(full) = device(&stage, 7) else {
        return;
    };
    let mut events = trace(true, false);
    let more = events.split_off(72).repeat(100);
    stage.put("events", &[events, more].concat());
    let script = "cat events >$out; exec sleep 600";
    let output = live(&stage, script, &["--trace", full], &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("error: cannot keep the trace: "), "{said}");
}

#[test]
fn more_cpus_than_can_be_judged_are_refused_before_anything_is_built() {
    for cpus in ["33", "cpus=64,sockets=2", "cores=17,threads=2"] {
        let (_stage, output) = judge(&["--", "qemu", "-M", "virt", "-smp", cpus]);
        assert_eq!(output.status.code(), Some(2));
        let said = stderr(&output);
        let start = "error: the machine has more than 32 CPUs\n  help: ";
        assert!(said.starts_with(start), "{said}");
    }
}

#[test]
fn findings_are_told_though_the_report_for_programs_cannot_be_written() {
    let stage = Stage::new(&good());
    let Some(full) = device(&stage, 7) else {
        return;
    };
    stage.put("broken", &trace(false, true));
    let output = ended(stage.command(&["judge", "broken", "--json", full]));
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.starts_with("error: cannot write device: "), "{said}");
    let told = stdout(&output);
    assert!(told.contains("key: StaleTranslation(Tlbi) "), "{told}");
}

#[test]
fn an_event_of_a_cpu_that_is_not_there_is_an_error() {
    let stage = Stage::new(&good());
    let mut foreign = trace(false, true);
    // The second byte of each event is its CPU.
    foreign[72 + 5 * 32 + 1] = 1;
    stage.put("foreign", &foreign);
    let output = ended(stage.command(&["judge", "foreign"]));
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let start = "error: cannot judge foreign: its machine has no CPU 1";
    assert!(said.starts_with(start), "{said}");
}

#[test]
fn a_trace_does_not_go_where_qemu_has_its_console() {
    let stage = Stage::new(&good());
    stage.put("events", &trace(true, true));
    let output = live(&stage, "cat events >$out", &["--trace", "-"], &[]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let start = "error: cannot write stdout: it is QEMU's\n  help: ";
    assert!(said.starts_with(start), "{said}");
    assert_eq!(output.stdout, b"");
}

#[test]
fn the_usage_names_a_qemu_and_a_trace() {
    let (_stage, output) = judge(&["--help"]);
    let said = stdout(&output);
    for line in [
        "Usage: droste judge [OPTIONS] -- QEMU...\n",
        "       droste judge [OPTIONS] --stress kvm\n",
        "       droste judge [OPTIONS] TRACE\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
}
