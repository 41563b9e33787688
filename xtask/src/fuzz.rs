//! `cargo xtask fuzz`: LLVM's fuzzer chooses programs for the stage-2 and nested crates, guided by the code that they reach.
//!
//! The coverage that it needs comes from LLVM's own pass, which the stable compiler has: no nightly toolchain.

use std::env;
use std::fs;
use std::process::Command;

use crate::workspace::{self, Failure};

/// Where the fuzzer's package is, a workspace of its own.
const FOLDER: &str = "crates/trials/fuzz";
/// What `cargo fuzz` would say to LLVM: instrument edges and comparisons.
const FLAGS: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// For how long, and which programs.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long, in seconds
    #[arg(default_value_t = 60)]
    seconds: u64,
    /// Choose nested programs
    #[arg(long)]
    nested: bool,
}

/// Builds the fuzzer and runs it. What it learned stays in its corpus.
///
/// # Errors
/// If it cannot be built, which takes a C++ compiler, or finds something.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let folder = workspace::root().join(FOLDER);
    let target = workspace::root().join("target/fuzz");
    let name = if options.nested { "nested" } else { "programs" };
    let corpus = folder.join("corpus").join(name);
    fs::create_dir_all(&corpus)
        .map_err(|e| Failure::new(format!("cannot make {}: {e}", corpus.display())))?;
    if Command::new("c++").arg("--version").output().is_err() {
        return Err(Failure::new(
            "the fuzzer needs a C++ compiler: install g++ (Debian: apt install g++)",
        ));
    }
    let host = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let mut build = workspace::cargo();
    build
        .args(["build", "--release", "--target", &host, "--manifest-path"])
        .arg(folder.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", FLAGS.join(" "));
    workspace::run(&mut build)?;
    let mut fuzz = Command::new(target.join(host).join("release").join(name));
    fuzz.arg(format!("-max_total_time={}", options.seconds))
        .args(["-max_len=2048", "-len_control=20", "-timeout=60"])
        .arg(corpus);
    workspace::run(&mut fuzz)
}
