//! Random short programs for EL2 and the levels under it, the same for a seed and a number wherever they are made.
//!
//! The guest `differ` runs them on the bare machine and at a virtual EL2, and says what each saw. A program is put
//! together so that it makes sense: tables that translate, registers with values that mean something, and then a few
//! things that are odd. It always ends: nothing branches backwards, and each exception leads back.
//!
//! [`program`] says what a program is, [`generate`] makes them, [`tree`] makes tables, [`registers`] names registers,
//! [`instructions`] instructions.

pub mod generate;
pub mod instructions;
pub mod program;
pub mod registers;
pub mod themes;
pub mod tree;
