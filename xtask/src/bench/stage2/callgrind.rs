//! Counting on the host: the program of cases, and valgrind's callgrind around it.

use crate::bench::number;
use crate::workspace::{self, Failure};
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

/// The package whose program has the cases.
const PACKAGE: &str = "droste-stage2-bench";
/// The profile that the hypervisor is built with.
const PROFILE: &str = "el2";
/// The function that callgrind counts in.
const MEASURED: &str = "--toggle-collect=droste_stage2_bench::case::measured*";

/// The program of cases.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    /// Where callgrind writes.
    out: PathBuf,
}

/// What was counted in one case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Count {
    instructions: u64,
    /// What the case said of itself: `units`, and numbers of its own.
    said: HashMap<String, u64>,
}

impl Program {
    /// Builds the program, as the hypervisor is built, and looks for valgrind.
    ///
    /// # Errors
    /// If there is no valgrind, or the build fails.
    pub(crate) fn build() -> Result<Self, Failure> {
        workspace::output(Command::new("valgrind").arg("--version")).map_err(|error| {
            Failure::new(format!(
                "{error}\ninstall valgrind: `apt-get install valgrind` on Debian and Ubuntu, `dnf install valgrind` \
                 on Fedora, `pacman -S valgrind` on Arch"
            ))
        })?;
        workspace::output(workspace::cargo().args([
            "build",
            "--package",
            PACKAGE,
            "--profile",
            PROFILE,
        ]))?;
        let target = workspace::target_folder()?;
        let folder = target.join("bench");
        droste::files::make_dir(&folder)?;
        Ok(Self {
            path: target.join(PROFILE).join(PACKAGE),
            out: folder.join("stage2.callgrind"),
        })
    }

    /// The names of all cases.
    ///
    /// # Errors
    /// If the program does not run.
    pub(crate) fn cases(&self) -> Result<Vec<String>, Failure> {
        let names = workspace::output(&mut Command::new(&self.path))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Counts one case.
    ///
    /// # Errors
    /// If it fails, or nothing was counted.
    pub(crate) fn count(&self, case: &str) -> Result<Count, Failure> {
        let mut out = std::ffi::OsString::from("--callgrind-out-file=");
        out.push(&self.out);
        let said = workspace::output(
            Command::new("valgrind")
                .args([
                    "--tool=callgrind",
                    "--quiet",
                    "--collect-atstart=no",
                    MEASURED,
                ])
                .arg(out)
                .arg(&self.path)
                .arg(case),
        )?;
        Count::parse(&workspace::read(&self.out)?, &said)
            .map_err(|error| Failure::new(format!("{case}: {error}")))
    }
}

impl Count {
    /// From callgrind's file and what the case printed.
    fn parse(profile: &str, said: &str) -> Result<Self, Failure> {
        let total = profile
            .lines()
            .find_map(|line| line.strip_prefix("totals: "))
            .and_then(|total| total.trim().parse().ok());
        let instructions =
            total.ok_or_else(|| Failure::new("callgrind's file has no line `totals:`"))?;
        let mut numbers = HashMap::new();
        for line in said.lines() {
            let number = line
                .split_once(' ')
                .and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
            let (name, value) =
                number.ok_or_else(|| Failure::new(format!("no name and number: {line}")))?;
            numbers.insert(name, value);
        }
        Ok(Self {
            instructions,
            said: numbers,
        })
    }

    /// Instructions for each unit.
    ///
    /// # Errors
    /// If the case did nothing.
    pub(crate) fn instructions(&self) -> Result<f64, Failure> {
        if self.instructions == 0 {
            return Err(Failure::new(
                "callgrind counted nothing: its pattern does not match the measured function",
            ));
        }
        self.each(self.instructions)
    }

    /// One of the case's own numbers for each unit.
    ///
    /// # Errors
    /// If the case does not say it.
    pub(crate) fn number(&self, name: &str) -> Result<f64, Failure> {
        let missing = || Failure::new(format!("the case does not say {name}"));
        self.each(*self.said.get(name).ok_or_else(missing)?)
    }

    fn each(&self, count: u64) -> Result<f64, Failure> {
        match self.said.get("units") {
            Some(&units) if units > 0 => Ok(number(count) / number(units)),
            _ => Err(Failure::new(
                "the case does not say on how many units it worked",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_the_total_over_the_units() {
        let count = Count::parse("events: Ir\n\ntotals: 900\n", "units 3\ndsb 6\n");
        let count = count.expect("both are whole");
        assert!((count.instructions().expect("counted") - 300.0).abs() < 1e-9);
        assert!((count.number("dsb").expect("said") - 2.0).abs() < 1e-9);
        assert!(count.number("tlbi").is_err());
    }

    #[test]
    fn a_count_of_nothing_is_an_error() {
        assert!(Count::parse("events: Ir\n", "units 3\n").is_err());
        assert!(Count::parse("totals: 9\n", "units three\n").is_err());
        let nothing = |total: &str, said: &str| Count::parse(total, said).expect("whole");
        assert!(nothing("totals: 0\n", "units 3\n").instructions().is_err());
        assert!(nothing("totals: 9\n", "units 0\n").instructions().is_err());
        assert!(nothing("totals: 9\n", "dsb 1\n").instructions().is_err());
    }
}
