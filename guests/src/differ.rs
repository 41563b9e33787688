//! Random short programs for EL2 and the levels under it, or for EL1 and EL0 of a guest without EL2, the same for a seed
//! and a number wherever they are made.
//!
//! The guest `differ` runs them on the bare machine and on Droste, and says what each saw. A program is put
//! together so that it makes sense: tables that translate, registers with values that mean something, and then a few
//! things that are odd. It always ends: nothing branches backwards, and each exception leads back.
//!
//! [`program`] says what a program is, [`themes`] makes them with what [`generate`] has to hand, [`tree`] makes tables,
//! [`registers`] names registers, [`instructions`] instructions, [`text`] tells and reads programs, and [`corpus`] keeps
//! those that once differed.
//!
//! Not here: physical interrupts routed by HCR_EL2.{IMO, FMO}; breakpoints and watchpoints under an EL2; AArch32's
//! EL0; SPIs; STXR, and times other than long past and long ahead, whose outcome is not the program's alone.

pub mod corpus;
pub mod generate;
pub mod instructions;
pub mod program;
pub mod registers;
mod shape;
pub mod text;
pub mod themes;
pub mod tree;
