//! The command `droste`.

use std::process::ExitCode;

use droste::{Cli, say};

fn main() -> ExitCode {
    let done = Cli::from_command_line();
    match done.and_then(|cli| cli.map_or(Ok(ExitCode::SUCCESS), Cli::execute)) {
        Ok(code) => code,
        Err(error) => {
            say::aside(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
