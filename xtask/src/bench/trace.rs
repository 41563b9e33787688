//! The instruction-counting plugin: building it, and reading what it wrote.

use super::blocks::Profile;
use crate::workspace::{self, Failure};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The plugin's source, from the workspace's root.
const SOURCE: &str = "xtask/plugin/elcount.c";
/// The classes of instructions that EL2 answers for: its own, and those of an EL0 under it.
const EL2_CLASSES: [&str; 2] = ["el2", "host_el0"];
/// The mark that ends a stage, and the one at which the plugin prints exits and starts them anew. All others begin one.
pub(crate) const STAGE_END: u32 = 14;
pub(crate) const PRINT_EXITS: u32 = 15;

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

/// One kind of exit to EL2, and what EL2 spent on all of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Exit {
    /// The class that was left: `vel2`, its `vel0`, `el1` or `el0`.
    pub(crate) from: String,
    /// `sync`, `irq`, `fiq` or `serror`.
    pub(crate) kind: String,
    /// ESR_EL2.EC of a synchronous one, else 0.
    pub(crate) class: u64,
    /// The class that was entered then.
    pub(crate) to: String,
    /// How many there were.
    pub(crate) count: u64,
    /// EL2 instructions until the entry, all together.
    pub(crate) el2: u64,
}

/// The longest stretch at EL2 of one cause in which it did not look for interrupts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stretch {
    /// The class that was left, and why; a register with its direction.
    pub(crate) cause: String,
    /// EL2 instructions.
    pub(crate) longest: u64,
    /// How many of them other CPUs executed while this one waited.
    pub(crate) waited_for: u64,
    /// Addresses of code that it was spent at, each with how often it was found there.
    pub(crate) places: Vec<(u64, u64)>,
}

/// What happened from a mark to the [`STAGE_END`] after it, in a guest that then has [`PRINT_EXITS`] print the exits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stage {
    /// The mark that began it.
    pub(crate) mark: u32,
    /// Instructions.
    pub(crate) counts: Counts,
    /// Exits.
    pub(crate) exits: Vec<Exit>,
    /// Stretches.
    pub(crate) stretches: Vec<Stretch>,
    /// Profiles, where they were asked for.
    pub(crate) profiles: Vec<Profile>,
}

/// What the plugin saw in one run of QEMU.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// When the first instruction below EL2 was about to run.
    pub(crate) first_guest: Option<Counts>,
    /// Marks in the order of their execution.
    pub(crate) marks: Vec<(u32, Counts)>,
    /// The exits that the plugin printed at each [`PRINT_EXITS`].
    prints: Vec<Vec<Exit>>,
    /// The stretches that it printed then, and last those that it printed at the end.
    stretches: Vec<Vec<Stretch>>,
    /// The profiles that it printed at each [`PRINT_EXITS`].
    profiles: Vec<Vec<Profile>>,
    /// What EL2 executed after the last exit of all: nothing below it ran any more.
    pub(crate) afterwards: u64,
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
                Some("mark") => trace.mark(&event)?,
                Some("end") => trace.stretches.push(Vec::new()),
                Some("masked") => {
                    if let Some(print) = trace.stretches.last_mut() {
                        print.push(stretch(&event)?);
                    }
                }
                Some("exit") => {
                    if let Some(print) = trace.prints.last_mut() {
                        print.push(exit(&event)?);
                    }
                }
                Some("profile") => {
                    if let Some(print) = trace.profiles.last_mut() {
                        print.push(Profile::parse(&event)?);
                    }
                }
                Some("unprofiled") => {
                    return Err(Failure::new(format!(
                        "the plugin had too little room for the profile: {line}"
                    )));
                }
                Some("unanswered") => trace.afterwards += number(&event, "el2")?,
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

    fn mark(&mut self, event: &Value) -> Result<(), Failure> {
        let mark = number(event, "mark")? as u32;
        self.marks.push((mark, counts(event)?));
        if mark == PRINT_EXITS {
            self.prints.push(Vec::new());
            self.stretches.push(Vec::new());
            self.profiles.push(Vec::new());
        }
        Ok(())
    }

    /// Takes the first mark for the start of the first guest, where the host is an operating system that marks it.
    /// What was before it is forgotten.
    ///
    /// # Errors
    /// If the first mark is not [`PRINT_EXITS`].
    pub(crate) fn begin_at_first_print(mut self) -> Result<Self, Failure> {
        let Some((PRINT_EXITS, begin)) = self.marks.first().copied() else {
            return Err(Failure::new("the host did not mark the start of its guest"));
        };
        self.first_guest = Some(begin);
        self.marks.remove(0);
        self.prints.remove(0);
        self.stretches.remove(0);
        self.profiles.remove(0);
        Ok(self)
    }

    /// The stages, in their order.
    ///
    /// # Errors
    /// If one has no end, or no exits printed behind it.
    pub(crate) fn stages(&self) -> Result<Vec<Stage>, Failure> {
        let is_print = |(mark, _): &&(u32, Counts)| *mark == PRINT_EXITS;
        let is_begin = |at: &usize| ![STAGE_END, PRINT_EXITS].contains(&self.marks[*at].0);
        let stages = (0..self.marks.len())
            .filter(is_begin)
            .map(|at| match self.marks[at..] {
                [(mark, begin), (STAGE_END, end), (PRINT_EXITS, _), ..] => {
                    let print = self.marks[..at].iter().filter(is_print).count();
                    Ok(Stage {
                        mark,
                        counts: end.since(begin),
                        exits: self.prints[print].clone(),
                        stretches: self.stretches[print].clone(),
                        profiles: self.profiles[print].clone(),
                    })
                }
                _ => Err(Failure::new("a stage's mark is not followed by 14 and 15")),
            });
        stages.collect()
    }

    /// The stretches outside the stages, the last one's end included.
    pub(crate) fn between(&self) -> impl Iterator<Item = &Stretch> {
        let prints = (0..self.marks.len()).filter(|at| self.marks[*at].0 == PRINT_EXITS);
        let is_stage = prints.map(|at| at > 0 && self.marks[at - 1].0 == STAGE_END);
        let is_stage = is_stage.chain([false]);
        let outside = self
            .stretches
            .iter()
            .zip(is_stage)
            .filter(|(_, is_stage)| !is_stage);
        outside.flat_map(|(stretches, _)| stretches)
    }

    /// What happened from the first instruction below EL2 to the first [`PRINT_EXITS`].
    ///
    /// # Errors
    /// If one of the two did not come.
    pub(crate) fn first_stage(&self) -> Result<Stage, Failure> {
        let end = self.marks.iter().find(|(mark, _)| *mark == PRINT_EXITS);
        match (self.first_guest, end, self.prints.first()) {
            (Some(begin), Some((_, end)), Some(exits)) => Ok(Stage {
                mark: 0,
                counts: end.since(begin),
                exits: exits.clone(),
                stretches: self.stretches.first().cloned().unwrap_or_default(),
                profiles: self.profiles.first().cloned().unwrap_or_default(),
            }),
            _ => Err(Failure::new("no guest ran and marked an end")),
        }
    }

    /// What was executed from the last mark `mark` to the mark after it.
    ///
    /// # Errors
    /// If there is no such mark, or none after it.
    pub(crate) fn section(&self, mark: u32) -> Result<Counts, Failure> {
        let begin = self.marks.iter().rposition(|(m, _)| *m == mark);
        let ends = begin.and_then(|at| Some((self.marks[at].1, self.marks.get(at + 1)?.1)));
        let (begin, end) = ends.ok_or_else(|| {
            Failure::new(format!("mark {mark} did not come, or nothing after it"))
        })?;
        Ok(end.since(begin))
    }
}

impl Counts {
    /// What was executed since `before`.
    fn since(self, before: Self) -> Self {
        Self {
            el2: self.el2 - before.el2,
            all: self.all - before.all,
        }
    }
}

/// An exit's line.
fn exit(event: &Value) -> Result<Exit, Failure> {
    let word = |key: &str| {
        let word = event[key].as_str().map(str::to_owned);
        word.ok_or_else(|| Failure::new(format!("the plugin's line has no word {key:?}: {event}")))
    };
    Ok(Exit {
        from: word("from")?,
        kind: word("kind")?,
        class: number(event, "ec")?,
        to: word("to")?,
        count: number(event, "count")?,
        el2: number(event, "el2")?,
    })
}

/// A stretch's line.
fn stretch(event: &Value) -> Result<Stretch, Failure> {
    let missing = || Failure::new(format!("the plugin's line lacks something: {event}"));
    let word = |key: &str| event[key].as_str();
    let (from, kind) = word("from").zip(word("kind")).ok_or_else(missing)?;
    let class = number(event, "ec")?;
    let cause = match (word("name"), kind) {
        (Some(name), _) => format!("{from} {} {name}", word("direction").ok_or_else(missing)?),
        (None, "sync") => format!("{from} class {class:#04x}"),
        (None, kind) => format!("{from} {kind}"),
    };
    let places = event["places"].as_array().ok_or_else(missing)?;
    let pair = |place: &Value| Some((place[0].as_u64()?, place[1].as_u64()?));
    let places: Option<Vec<_>> = places.iter().map(pair).collect();
    Ok(Stretch {
        cause,
        longest: number(event, "longest")?,
        waited_for: number(event, "waited_for")?,
        places: places.ok_or_else(missing)?,
    })
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
    fn a_stage_has_the_exits_that_are_printed_behind_it_and_no_others() {
        let mark = |mark: u64, el2: u64| {
            format!(
                "{{\"event\":\"mark\",\"mark\":{mark},\"cpus\":[{{\"el2\":{el2},\"vel2\":9}}]}}\n"
            )
        };
        let exit = |class: u64| {
            format!(
                "{{\"event\":\"exit\",\"from\":\"vel2\",\"kind\":\"sync\",\"ec\":{class},\"to\":\"el1\",\
                 \"count\":2,\"el2\":20,\"least\":9,\"most\":11}}\n"
            )
        };
        let total = "{\"event\":\"total\",\"cpus\":[{\"el2\":1000}]}\n";
        let stage = |class, el2| {
            [
                mark(15, el2),
                exit(63),
                mark(1, el2),
                mark(14, el2 + 30),
                mark(15, el2 + 30),
                exit(class),
            ]
            .concat()
        };
        let text = [exit(1), stage(26, 100), stage(22, 500), total.to_owned()].concat();
        let stages = Trace::parse(&text)
            .expect("a whole run")
            .stages()
            .expect("two stages");
        let seen: Vec<_> = stages
            .iter()
            .map(|s| (s.counts.el2, s.exits.len(), s.exits[0].class))
            .collect();
        assert_eq!(seen, [(30, 1, 26), (30, 1, 22)]);
        let cut = [mark(1, 0), mark(15, 9), total.to_owned()].concat();
        assert!(Trace::parse(&cut).expect("a whole run").stages().is_err());
    }

    #[test]
    fn the_guest_of_an_operating_system_begins_where_the_host_marks_it() {
        let mark = |mark: u64, el2: u64| {
            format!("{{\"event\":\"mark\",\"mark\":{mark},\"cpus\":[{{\"el2\":{el2}}}]}}\n")
        };
        let exit = "{\"event\":\"exit\",\"from\":\"vel2\",\"kind\":\"sync\",\"ec\":26,\"to\":\"vel2\",\
                    \"count\":2,\"el2\":20,\"least\":9,\"most\":11}\n";
        let total = "{\"event\":\"total\",\"cpus\":[{\"el2\":1000}]}\n";
        let run = [mark(15, 500).as_str(), &mark(15, 540), exit, total].concat();
        let trace = Trace::parse(&run).expect("a whole run");
        let stage = trace.begin_at_first_print().expect("it marks");
        let stage = stage.first_stage().expect("a guest's");
        assert_eq!((stage.counts.el2, stage.exits.len()), (40, 1));
        let unmarked = Trace::parse(RUN).expect("a whole run");
        assert!(unmarked.begin_at_first_print().is_err());
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
