//! Bytes become a program; what it breaks is shrunk and printed as text that `cargo xtask soak --replay` runs.

#![no_main]

use droste_trials::stage2::{generate, run};
use droste_trials::{Choices, shrink};
use libfuzzer_sys::fuzz_target;

/// Steps of a program.
const LENGTH: usize = 200;

fuzz_target!(|bytes: &[u8]| {
    if let Err(failure) = run(&generate(&mut Choices::bytes(bytes), LENGTH)) {
        panic!("{}", shrink(&failure, run));
    }
});
