//! `droste judge` on Droste itself, and on Linux KVM: what they do is clean, and a mistake that is put into the binary is
//! found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use droste::qemu::{Session, tied};
use droste::setup::monitor::{L2, Monitor};
use serde_json::Value;

use crate::kvm;
use crate::stage::{DROSTE, HostCpus, Run, Stage, must_say, parts, patient};

/// Building the recorder comes on top of a run.
const LIMIT: u64 = 400;
const REPORT: &str = "judged.json";
const NOP: u32 = 0xd503_201f;
/// TLBI VMALLS12E1IS, with any register.
const VMALLS12E1IS: u32 = 0xd50c_83c0;
/// TLBI VMALLE1, and IC IALLU.
const VMALLE1: u32 = 0xd508_871f;
const IALLU: u32 = 0xd508_751f;

/// A QEMU that runs under `droste judge`; `script` may change what it is told.
fn judge(stage: &Stage, script: &str) -> PathBuf {
    let report = stage.path(REPORT);
    let (report, qemu) = (report.display(), parts().qemu.display());
    let judge = format!("exec {DROSTE} judge --json {report} -- {qemu} \"$@\"");
    // What QEMU this is it says itself.
    stage.between(&format!(
        "[ \"$1\" = --version ] || {{ {script}\n{judge}; }}"
    ))
}

fn judged<'a>(stage: &'a Stage, run: Run<'a>, script: &str) -> Run<'a> {
    run.within(LIMIT).by(judge(stage, script))
}

fn report(stage: &Stage) -> Value {
    let report = fs::read(stage.path(REPORT)).expect("a report");
    serde_json::from_slice(&report).expect("JSON")
}

/// Entries and stores must have been seen.
fn has_seen(report: &Value, entries: u64, stores: u64) {
    let seen = |what: &str| report[what].as_u64().expect("a number");
    assert!(
        seen("entries") >= entries && seen("stores") >= stores,
        "{report}"
    );
}

#[test]
fn droste_keeps_the_rules_under_a_linux_on_two_processors() {
    let stage = Stage::with_linux(2);
    let run = judged(&stage, stage.run_on(2), "");
    let ended = run.succeeds(&["guest: self-report ok", "0 kinds of findings"]);
    assert!(ended.all_off(&["linux"]), "{}", ended.record);
    has_seen(&report(&stage), 1000, 20);
}

#[test]
fn droste_keeps_the_rules_under_a_hypervisor_and_its_guests() {
    let mut stage = Stage::new();
    stage.at_el2("nested", "vhe", 1);
    let run = judged(&stage, stage.run_on(1), "");
    let ended = run.succeeds(&["nested: ok", "0 kinds of findings"]);
    assert!(ended.all_off(&["nested"]), "{}", ended.record);
    has_seen(&report(&stage), 10_000, 500);
}

/// Puts a copy of an image at `to`, with NOP in place of those instructions that are `wrong` with the one behind them.
fn without(image: &Path, to: &Path, wrong: impl Fn(u32, u32) -> bool) -> usize {
    let mut image = fs::read(image).expect("the image");
    let words: Vec<u32> = image
        .chunks_exact(4)
        .map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    let mut found = 0;
    for (pair, bytes) in words.windows(2).zip(image.chunks_exact_mut(4)) {
        if wrong(pair[0], pair[1]) {
            bytes.copy_from_slice(&NOP.to_le_bytes());
            found += 1;
        }
    }
    fs::write(to, image).expect("written");
    found
}

/// The rules that a hypervisor with this image breaks for its guest `vel2`. That one gives the vCPU of its own guest
/// another name without an invalidation, on purpose: entries of another vCPU are its own affair.
fn broken(kernel: &Path) -> Vec<String> {
    let mut stage = Stage::new();
    stage.at_el2("vel2", "vhe", 1);
    let script = format!("set -- \"$@\" -kernel {}", kernel.display());
    let run = judged(&stage, stage.run_on(1), &script);
    must_say(&run.fails(), &["kinds of findings"]);
    let report = report(&stage);
    has_seen(&report, 5_000, 400);
    let findings = report["findings"].as_array().expect("findings");
    let keys = findings
        .iter()
        .map(|found| found["key"].as_str().expect("a key"));
    let keys = keys.filter(|key| !key.starts_with("OtherVcpu "));
    keys.map(str::to_owned).collect()
}

#[test]
fn a_tlbi_that_is_missing_from_the_binary_is_found() {
    assert_eq!(broken(&parts().hypervisor), Vec::<String>::new());
    let folder = tempfile::tempdir().expect("a folder");
    let mutant = folder.path().join("mutant.img");
    let is_it = |word, _| word & !31 == VMALLS12E1IS;
    assert!(without(&parts().hypervisor, &mutant, is_it) > 0);
    let found = broken(&mutant);
    let is_stale = |key: &String| key.starts_with("StaleTranslation(Tlbi) ");
    assert!(found.iter().any(is_stale), "{found:?}");
}

/// What Linux KVM breaks whose guest has two vCPUs for one processor, and how many callers are told with each of it; `kernel`
/// changes the kernel. Guest and host end well.
fn broken_by_kvm(kernel: impl FnOnce(&Path, &Path)) -> Vec<(String, usize)> {
    let stage = Stage::new();
    let mut l2 = L2::new(&[Monitor::Vmm]);
    l2.vcpus = 2;
    let machine = kvm::host(Monitor::Vmm, &format!("droste.self-report {l2}"));
    let mut machine = machine.unwrap_or_else(|error| panic!("{error}"));
    machine.cpus = 1;
    let changed = stage.path("Image");
    kernel(&machine.kernel, &changed);
    machine.kernel = changed;
    machine.qemu = judge(&stage, "");
    let _turn = HostCpus::wait(1);
    let session = Session::start(machine.command(DROSTE), kvm::limit());
    let mut session = session.expect("QEMU starts");
    let said = session.wait_for("guest: nested ok");
    said.unwrap_or_else(|error| panic!("{error}"));
    // With findings it is the judge's, not QEMU's.
    if let Err(error) = session.finish() {
        let error = error.to_string();
        assert!(error.starts_with("it ended with exit status: 1"), "{error}");
    }
    let report = report(&stage);
    has_seen(&report, 1000, 100);
    let findings = report["findings"].as_array().expect("findings");
    let told = findings.iter().map(|found| {
        let callers = found["broken"]["callers"].as_array().map(Vec::len);
        let rule = found["rule"].as_str().expect("a rule");
        (rule.to_owned(), callers.expect("callers"))
    });
    told.collect()
}

#[test]
fn linux_kvm_keeps_the_rules_and_a_tlbi_that_is_missing_there_is_found() {
    let as_it_is = |from: &Path, to: &Path| {
        fs::copy(from, to).expect("copied");
    };
    assert_eq!(broken_by_kvm(as_it_is), []);
    // What KVM executes where another vCPU is to run, and nothing else there is of this shape.
    let is_it = |word, behind| word == VMALLE1 && behind == IALLU;
    let mutant = |from: &Path, to: &Path| assert!(without(from, to, is_it) > 0);
    let found = broken_by_kvm(mutant);
    let other = "entries of another vCPU can be used";
    assert!(found.iter().all(|(rule, _)| rule == other), "{found:?}");
    // A vCPU is loaded in a system call: several functions, down to the one that took the exception. They are not told
    // of an entry before which nothing was changed or invalidated since the CPU was last in a guest.
    assert!(found.iter().any(|(_, callers)| *callers >= 5), "{found:?}");
}

#[test]
fn a_kvm_whose_guests_memory_is_changed_in_all_ways_keeps_the_rules() {
    let stage = Stage::new();
    let mut command = Command::new(DROSTE);
    command.args(["judge", "--stress", "kvm", "--rounds", "20", "--json"]);
    command.arg(stage.path(REPORT));
    let _turn = HostCpus::wait(2);
    let limit = Duration::from_secs(patient(LIMIT));
    let session = Session::start(tied(&command, DROSTE), limit).expect("it starts");
    let said = session.finish().unwrap_or_else(|error| panic!("{error}"));
    must_say(&said, &["stress: 20 rounds", "guest: stress ok"]);
    has_seen(&report(&stage), 1000, 10_000);
}
