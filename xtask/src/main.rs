//! The project's own chores: `cargo xtask lint`, `ci`, `bench`.

mod bench;
mod ci;
mod lint;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The project's own chores.
#[derive(Parser)]
#[command(name = "cargo xtask", about)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check what a program can check of STYLE.md
    Lint,
    /// Formatting, clippy for the host and for EL2, documentation, lint; the tests are `cargo test`
    Ci,
    /// Measure the hypervisor, in instructions
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().chore {
        Chore::Lint => lint::run(),
        Chore::Ci => ci::run(),
        Chore::Bench(what) => bench::run(what),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
