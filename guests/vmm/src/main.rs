//! `droste-vmm`: runs one guest on KVM. The exit code is 0 if the guest switched itself off, else 1 with the reason.

use droste_vmm::arguments::{Arguments, USAGE};
use droste_vmm::machine;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words = std::env::args_os().skip(1);
    let result = match Arguments::parse(words.map(|word| word.to_string_lossy().into_owned())) {
        Ok(Some(arguments)) => machine::run(&arguments),
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(failure) => Err(failure),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("droste-vmm: {failure}");
            ExitCode::FAILURE
        }
    }
}
