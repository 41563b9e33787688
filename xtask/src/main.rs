//! The project's own chores: `cargo xtask lint`, `ci`, `image`, `bench`, `soak`, `differ`, `mutants`, `fuzz`, `picture`,
//! `record`.

mod bench;
mod ci;
mod differ;
mod fuzz;
mod image;
mod lint;
mod mutants;
mod picture;
mod record;
mod soak;
mod svg;
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
    Lint(lint::Options),
    /// Formatting, clippy for the host and for EL2, documentation, lint, image; the tests are `cargo test`
    Ci,
    /// Look that no instruction of the EL2 binary depends on what a guest traps; part of `ci`
    Image,
    /// Measure the hypervisor, in instructions
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Run random programs against the stage-2 and nested crates on all CPUs
    Soak(soak::Options),
    /// Run random programs for EL2 on the bare machine and on Droste, and compare what they saw
    Differ(differ::Options),
    /// Take safeguards of stage 2, nested guests, devices, lives, locks and shared resources away one by one, and see
    /// whether tests notice
    Mutants(mutants::Options),
    /// Draw what README shows: machine, Droste, its guests and theirs
    Picture,
    /// Record a session at the terminal for README: boots the default run and types into it
    Record,
    /// Let a fuzzer choose programs for the stage-2 and nested crates
    Fuzz(fuzz::Options),
    /// Become a program that dies with the process that started it
    #[command(hide = true)]
    Tie(droste::Tie),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().chore {
        Chore::Lint(options) => lint::run(&options),
        Chore::Ci => ci::run(),
        Chore::Image => image::run(),
        Chore::Bench(what) => bench::run(what),
        Chore::Soak(options) => soak::run(&options),
        Chore::Differ(options) => differ::run(&options),
        Chore::Mutants(options) => mutants::run(&options),
        Chore::Picture => picture::run(),
        Chore::Record => record::run(),
        Chore::Fuzz(options) => fuzz::run(&options),
        Chore::Tie(tie) => tie.execute().map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
