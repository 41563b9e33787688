//! `cargo xtask bench profile`: where the instructions of a path at EL2 go, by function: how many, how many of them move
//! registers by name, and which locks are taken and how long they are held.
//!
//! A path is a row of `cargo xtask bench nested`. The plugin counts blocks of code by kind of exit; a block belongs to the
//! function at whose address it stands, whatever was inlined there. All of it on one CPU, where the counts are exact.
//!
//! Copies and comparisons of memory by calls (`memcpy`, `memcmp` and their kind) are told last: on a path of some hundred
//! instructions nobody means them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use droste_image::El2;
use serde_json::{Value, json};

use super::blocks::Profile;
use super::figures::grouped;
use super::functions::Functions;
use super::nested::{Of, ROWS, Row, Section, sections};
use super::runs::Parts;
use super::{Options, judge, number};
use crate::workspace::Failure;

/// Functions that the compiler calls where a value is moved or compared that it does not take apart.
const OF_MEMORY: [&str; 4] = ["memcpy", "memmove", "memset", "memcmp"];

/// What is told.
#[derive(Args)]
pub(crate) struct Choice {
    /// Only paths with this in their names, such as `ERET vEL2 to L2`
    path: Option<String>,
    /// The kind of virtual EL2: vhe or nvhe
    #[arg(long, value_name = "KIND", default_value = "vhe", value_parser = ["vhe", "nvhe"])]
    el2: String,
    /// Functions of each path, those with the most instructions
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    #[command(flatten)]
    options: Options,
}

/// Counts, prints, writes, checks.
///
/// # Errors
/// If the run fails, no path has that name, or with `--check` if a path copies or compares memory by a call.
pub(super) fn run(choice: &Choice) -> Result<(), Failure> {
    let options = &choice.options;
    let wanted = choice.path.as_deref().unwrap_or_default();
    let has_path = |row: &&Row| !matches!(row.of, Of::Number);
    let known = || ROWS.iter().filter(has_path);
    let rows: Vec<&Row> = known().filter(|row| row.name.contains(wanted)).collect();
    if rows.is_empty() {
        let names: Vec<&str> = known().map(|row| row.name).collect();
        return Err(Failure::new(format!(
            "no path has {wanted:?} in its name; there are:\n  {}",
            names.join("\n  ")
        )));
    }
    let el2 = if choice.el2 == "nvhe" {
        El2::Nvhe
    } else {
        El2::Vhe
    };
    let parts = Parts::gather(options.qemu.as_deref())?.profiling();
    let run = parts.nested(el2)?;
    let functions = Functions::read(&parts.linked())?;
    let sections = sections(&run, "nested")?;
    let paths: Vec<Path> = rows
        .iter()
        .filter_map(|row| {
            let section = sections
                .iter()
                .find(|section| section.name == row.section)?;
            Path::of(row, section, &functions)
        })
        .collect();
    for path in &paths {
        print!("{}", path.table(choice.top));
    }
    if let Some(file) = &options.json {
        let paths: Vec<Value> = paths.iter().map(Path::json).collect();
        let text = format!("{:#}\n", json!({ "paths": paths }));
        droste::output::Output::open(file)?.write(text.as_bytes())?;
    }
    let copying = paths
        .iter()
        .filter(|path| path.of_memory().next().is_some());
    judge(options, copying.map(|path| path.name))
}

/// What one execution of a path does, on average.
#[derive(Debug)]
struct Path<'a> {
    name: &'static str,
    /// The functions, that with the most instructions first.
    functions: Vec<(&'a str, Moves)>,
    /// Where locks are taken, how often, and for how many instructions in all.
    locks: Vec<(&'a str, f64, f64)>,
}

/// Instructions, and of them those that read and write registers by name.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Moves {
    instructions: f64,
    reads: f64,
    writes: f64,
}

impl<'a> Path<'a> {
    /// `None` if there was no such exit.
    fn of(row: &Row, section: &Section<'_>, named: &'a Functions) -> Option<Self> {
        let is_of = |profile: &&Profile| {
            row.of
                .has([&profile.from, &profile.kind, &profile.to], profile.class)
        };
        let times = number(section.times_of(row.of)?);
        let mut functions: BTreeMap<&str, Moves> = BTreeMap::new();
        let mut locks: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        let function = |address| named.at(address).unwrap_or("nothing that has a name");
        for profile in section.stage.profiles.iter().filter(is_of) {
            for block in &profile.blocks {
                let moves = functions.entry(function(block.at)).or_default();
                let each = |count: u64| number(count * block.times) / times;
                moves.instructions += each(block.instructions);
                moves.reads += each(block.reads);
                moves.writes += each(block.writes);
            }
            for lock in &profile.locks {
                let (taken, held) = locks.entry(function(lock.by)).or_default();
                *taken += number(lock.times) / times;
                *held += number(lock.held) / times;
            }
        }
        let mut functions: Vec<_> = functions.into_iter().collect();
        functions.sort_by(|(_, a), (_, b)| b.instructions.total_cmp(&a.instructions));
        let locks = locks.into_iter();
        Some(Self {
            name: row.name,
            functions,
            locks: locks.map(|(by, (taken, held))| (by, taken, held)).collect(),
        })
    }

    fn of_memory(&self) -> impl Iterator<Item = &(&'a str, Moves)> {
        let is_of_memory = |name: &str| OF_MEMORY.iter().any(|of| name.ends_with(of));
        self.functions
            .iter()
            .filter(move |(name, _)| is_of_memory(name))
    }

    fn total(&self) -> Moves {
        let add = |sum: Moves, (_, moves): &(&str, Moves)| Moves {
            instructions: sum.instructions + moves.instructions,
            reads: sum.reads + moves.reads,
            writes: sum.writes + moves.writes,
        };
        self.functions.iter().fold(Moves::default(), add)
    }

    fn table(&self, top: usize) -> String {
        const TAKES: &str = "a string takes every line";
        let mut out = format!("{}\n  instructions  reads  writes\n", self.name);
        let mut line = |moves: Moves, name: &str| {
            let [all, reads, writes] =
                [moves.instructions, moves.reads, moves.writes].map(|count| grouped(tenths(count)));
            writeln!(out, "  {all:>12}  {reads:>5}  {writes:>6}  {name}").expect(TAKES);
        };
        line(self.total(), "all");
        for (name, moves) in self.functions.iter().take(top) {
            line(*moves, name);
        }
        for (by, taken, held) in &self.locks {
            let [taken, held] = [*taken, *held].map(|count| grouped(tenths(count)));
            writeln!(out, "  lock taken {taken} times, held for {held}, by {by}").expect(TAKES);
        }
        for (name, moves) in self.of_memory() {
            let spent = grouped(tenths(moves.instructions));
            writeln!(out, "  memory by a call: {spent} in {name}").expect(TAKES);
        }
        out.push('\n');
        out
    }

    fn json(&self) -> Value {
        let function = |(name, moves): &(&str, Moves)| {
            json!({
                "function": name, "instructions": moves.instructions, "reads": moves.reads, "writes": moves.writes,
            })
        };
        let lock = |(by, taken, held): &(&str, f64, f64)| json!({ "by": by, "taken": taken, "held": held });
        json!({
            "path": self.name,
            "functions": self.functions.iter().map(function).collect::<Vec<_>>(),
            "locks": self.locks.iter().map(lock).collect::<Vec<_>>(),
        })
    }
}

/// Rounded to tenths: more says nothing of an average.
fn tenths(count: f64) -> f64 {
    (count * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::super::runs::Run;
    use super::super::trace::Trace;
    use super::*;

    /// A section of two ERETs, each of 7 instructions in `eret` with a lock held for 5, and 2 in `memcpy`.
    fn run() -> Run {
        let text = "{\"event\":\"mark\",\"mark\":15,\"cpus\":[{\"el2\":5}]}\n\
            {\"event\":\"mark\",\"mark\":1,\"cpus\":[{\"el2\":10}]}\n\
            {\"event\":\"mark\",\"mark\":14,\"cpus\":[{\"el2\":410}]}\n\
            {\"event\":\"mark\",\"mark\":15,\"cpus\":[{\"el2\":410}]}\n\
            {\"event\":\"exit\",\"from\":\"vel2\",\"kind\":\"sync\",\"ec\":26,\"to\":\"el1\",\"count\":2,\"el2\":18}\n\
            {\"event\":\"profile\",\"from\":\"vel2\",\"kind\":\"sync\",\"ec\":26,\"to\":\"el1\",\
             \"blocks\":[[256,7,2,1,2],[2048,2,0,0,2]],\"locks\":[[260,2,10]]}\n\
            {\"event\":\"profile\",\"from\":\"el1\",\"kind\":\"sync\",\"ec\":22,\"to\":\"vel2\",\
             \"blocks\":[[512,4,0,0,4]],\"locks\":[]}\n\
            {\"event\":\"total\",\"cpus\":[{\"el2\":500}]}\n";
        Run {
            console: "nested: section l2-hypercall 2\r\n".into(),
            trace: Trace::parse(text).expect("a whole run"),
            record: Value::Null,
        }
    }

    fn table(name: &str) -> String {
        let run = run();
        let functions = Functions::from([(256, "eret"), (512, "hvc"), (2048, "mem::memcpy")]);
        let row = ROWS.iter().find(|row| row.name == name).expect("a row");
        let sections = sections(&run, "nested").expect("one");
        let path = Path::of(row, &sections[0], &functions).expect("there are such exits");
        path.table(20)
    }

    #[test]
    fn a_path_has_its_functions_locks_and_copies() {
        assert_eq!(
            table("ERET vEL2 to L2"),
            "ERET vEL2 to L2\n  instructions  reads  writes\n             9      2       1  all\n             7      2       1  eret\n             2      0       0  mem::memcpy\n  lock taken 1 times, held for 5, by eret\n  memory by a call: 2 in mem::memcpy\n\n"
        );
    }

    #[test]
    fn a_path_of_several_exits_has_all_of_them() {
        let table = table("L2 hypercall, under a bare hypervisor");
        assert!(table.contains("17      2       1  all"), "{table}");
        assert!(table.contains("8      0       0  hvc"), "{table}");
    }
}
