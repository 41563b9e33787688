//! The command `droste`.

use std::process::ExitCode;

use droste::{Cli, say};

fn main() -> ExitCode {
    match Cli::from_command_line().and_then(|cli| cli.map_or(Ok(()), Cli::execute)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::aside(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
