//! Random short programs for EL2 and the levels under it, the same for a seed and a number wherever they are made.
//!
//! The guest `differ` runs them on the bare machine and at a virtual EL2, and says what each saw. A program is put
//! together so that it makes sense: tables that translate, registers with values that mean something, and then a few
//! things that are odd. It always ends: nothing branches backwards, and each exception leads back.
//!
//! [`program`] says what a program is, [`generate`] makes them for the [`themes`], [`tree`] makes tables, [`registers`]
//! names registers, [`instructions`] instructions, [`text`] tells and reads programs, and [`corpus`] keeps those that once
//! differed.
//!
//! Not here: programs of a guest without EL2; physical interrupts routed by HCR_EL2.{IMO, FMO}; breakpoints and
//! watchpoints; big-endian tables; AArch32; STXR, and times other than long past and long ahead, whose outcome is not
//! the program's alone.

pub mod corpus;
pub mod generate;
pub mod instructions;
pub mod program;
pub mod registers;
pub mod text;
pub mod themes;
pub mod tree;
