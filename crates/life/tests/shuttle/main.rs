//! Physical CPUs as threads, in every order that a scheduler finds. Only with `--cfg droste_shuttle`;
//! `interleavings.rs` runs them so.

#![cfg(droste_shuttle)]

mod machine;
mod pairs;
mod world;
