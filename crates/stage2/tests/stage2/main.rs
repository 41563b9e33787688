//! Stage 2 against a recorder: exact sequences, contents against a naive map, and a checker of the recorded traces
//! that is itself shown to bite.

mod checker;
mod checker_bites;
mod contents;
mod contexts;
mod faults;
mod naive;
mod recorder;
mod sequences;
mod vmids;
