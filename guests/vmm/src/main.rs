//! `droste-vmm`: runs one guest on KVM. The exit code is 0 if the guest switched itself off, else 1 with the reason.

use droste_vmm::arguments::{Arguments, USAGE};
use droste_vmm::stress::{self, Plan};
use droste_vmm::{Failure, machine};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words = std::env::args_os().skip(1);
    let words: Vec<_> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if let Some(("--stress", plan)) = words
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        return ended(Plan::parse(plan).and_then(stress::run::run));
    }
    let result = match Arguments::parse(words) {
        Ok(Some(arguments)) => machine::run(&arguments),
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(failure) => Err(failure),
    };
    ended(result)
}

fn ended(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("droste-vmm: {failure}");
            ExitCode::FAILURE
        }
    }
}
