//! `droste judge` on Droste itself: what it does is clean, and a mistake that is put into the binary is found.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::stage::{DROSTE, Run, Stage, must_say, parts};

/// Building the recorder comes on top of a run.
const LIMIT: u64 = 400;
const REPORT: &str = "judged.json";
const NOP: u32 = 0xd503_201f;
/// TLBI VMALLS12E1IS, with any register.
const VMALLS12E1IS: u32 = 0xd50c_83c0;

/// The run under `droste judge`; `script` may change what QEMU is told.
fn judged<'a>(stage: &'a Stage, run: Run<'a>, script: &str) -> Run<'a> {
    let report = stage.path(REPORT);
    let (report, qemu) = (report.display(), parts().qemu.display());
    let judge = format!("exec {DROSTE} judge --json {report} -- {qemu} \"$@\"");
    // What QEMU this is it says itself.
    let script = format!("[ \"$1\" = --version ] || {{ {script}\n{judge}; }}");
    run.within(LIMIT).by(stage.between(&script))
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

/// The hypervisor's image with NOP in place of one kind of instruction.
fn without(instruction: u32, to: &Path) -> usize {
    let mut image = fs::read(&parts().hypervisor).expect("the image");
    let mut found = 0;
    for bytes in image.chunks_exact_mut(4) {
        let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if word & !31 == instruction {
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
    assert!(without(VMALLS12E1IS, &mutant) > 0);
    let found = broken(&mutant);
    let is_stale = |key: &String| key.starts_with("StaleTranslation(Tlbi) ");
    assert!(found.iter().any(is_stale), "{found:?}");
}
