//! The instruction-counting plugin: building it, and reading what it wrote.

use crate::workspace::{self, Failure};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The plugin's source, from the workspace's root.
const SOURCE: &str = "xtask/plugin/elcount.c";
/// The classes of instructions that EL2 answers for: its own, and those of an EL0 under it.
const EL2_CLASSES: [&str; 2] = ["el2", "host_el0"];

/// Compiles the plugin into `folder` with `$CC`, or `cc`.
///
/// # Errors
/// If there is no compiler, or it refuses.
pub(crate) fn build(folder: &Path) -> Result<PathBuf, Failure> {
    let library = folder.join("libelcount.so");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| OsString::from("cc"));
    let mut command = Command::new(compiler);
    command
        .args(["-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread"])
        .args([OsStr::new(SOURCE), OsStr::new("-o"), library.as_os_str()]);
    workspace::output(&mut command)?;
    Ok(library)
}

/// Instructions executed so far by all CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    /// At EL2, and at EL0 under it.
    pub(crate) el2: u64,
    /// Everywhere.
    pub(crate) all: u64,
}

/// What the plugin saw in one run of QEMU.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// When the first instruction below EL2 was about to run.
    pub(crate) first_guest: Option<Counts>,
    /// Marks in the order of their execution.
    pub(crate) marks: Vec<(u64, Counts)>,
    /// At the end.
    pub(crate) total: Counts,
}

impl Trace {
    /// Reads the plugin's lines.
    ///
    /// # Errors
    /// If a line is no JSON or lacks a field, if the end is missing, or if the plugin could not read a register.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut trace = Self::default();
        let mut is_whole = false;
        for line in text.lines() {
            let event: Value = serde_json::from_str(line)
                .map_err(|e| Failure::new(format!("the plugin wrote no JSON: {e}: {line}")))?;
            match event["event"].as_str() {
                Some("first_guest") => trace.first_guest = Some(counts(&event)?),
                Some("mark") => trace.marks.push((number(&event, "mark")?, counts(&event)?)),
                Some("total") => {
                    trace.total = counts(&event)?;
                    is_whole = true;
                }
                Some("failed_reads") => {
                    return Err(Failure::new(format!(
                        "the plugin could not read registers: {line}"
                    )));
                }
                Some(_) => {}
                None => {
                    return Err(Failure::new(format!(
                        "the plugin wrote a line without an event: {line}"
                    )));
                }
            }
        }
        if is_whole {
            Ok(trace)
        } else {
            Err(Failure::new(
                "the plugin's output has no end: QEMU did not end well",
            ))
        }
    }

    /// What was executed from the last mark `mark` to the mark after it.
    ///
    /// # Errors
    /// If there is no such mark, or none after it.
    pub(crate) fn section(&self, mark: u64) -> Result<Counts, Failure> {
        let begin = self.marks.iter().rposition(|(m, _)| *m == mark);
        let ends = begin.and_then(|at| Some((self.marks[at].1, self.marks.get(at + 1)?.1)));
        let (begin, end) = ends.ok_or_else(|| {
            Failure::new(format!("mark {mark} did not come, or nothing after it"))
        })?;
        Ok(Counts {
            el2: end.el2 - begin.el2,
            all: end.all - begin.all,
        })
    }
}

fn number(value: &Value, key: &str) -> Result<u64, Failure> {
    value[key]
        .as_u64()
        .ok_or_else(|| Failure::new(format!("the plugin's line has no number {key:?}: {value}")))
}

/// The sum over an event's CPUs.
fn counts(event: &Value) -> Result<Counts, Failure> {
    let missing = || Failure::new(format!("the plugin's line has no counts: {event}"));
    let mut sum = Counts::default();
    for cpu in event["cpus"].as_array().ok_or_else(missing)? {
        for (class, count) in cpu.as_object().ok_or_else(missing)? {
            let count = count.as_u64().ok_or_else(missing)?;
            sum.all += count;
            sum.el2 += if EL2_CLASSES.contains(&class.as_str()) {
                count
            } else {
                0
            };
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = r#"{"event":"first_guest","cpu":0,"cpus":[{"el2":500,"el1":0}]}
{"event":"mark","mark":1,"cpu":0,"cpus":[{"el2":600,"host_el0":1,"el1":100},{"el2":10,"el1":9}]}
{"event":"exit","from":"el1","kind":"sync","ec":22,"to":"el1","count":1,"el2":7,"least":7,"most":7}
{"event":"mark","mark":14,"cpu":0,"cpus":[{"el2":900,"host_el0":3,"el1":200},{"el2":30,"el1":9}]}
{"event":"total","cpus":[{"el2":1000,"el1":300},{"el2":30,"el1":9}]}
"#;

    #[test]
    fn a_run_is_read_and_its_sections_are_differences_of_all_cpus() {
        let trace = Trace::parse(RUN).expect("a whole run");
        assert_eq!(trace.first_guest, Some(Counts { el2: 500, all: 500 }));
        assert_eq!(
            trace.section(1).expect("both marks"),
            Counts { el2: 322, all: 422 }
        );
        assert_eq!(
            trace.total,
            Counts {
                el2: 1030,
                all: 1339
            }
        );
    }

    #[test]
    fn a_section_without_its_end_is_an_error() {
        let trace = Trace::parse(RUN).expect("a whole run");
        assert!(trace.section(14).is_err());
        assert!(trace.section(2).is_err());
    }

    #[test]
    fn a_run_that_broke_off_is_an_error() {
        let cut = RUN
            .rsplit_once("{\"event\":\"total\"")
            .expect("it has an end")
            .0;
        assert!(Trace::parse(cut).is_err());
        assert!(Trace::parse(&RUN.replace("\"total\"", "\"totl")).is_err());
    }

    #[test]
    fn a_count_from_a_failed_read_is_an_error() {
        assert!(
            Trace::parse(&format!(
                "{{\"event\":\"failed_reads\",\"count\":1}}\n{RUN}"
            ))
            .is_err()
        );
    }
}
