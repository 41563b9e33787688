//! How virtual machines share a machine: its console, its RAM, the time of its CPUs, its log; and the report of what
//! each of them used. Pure logic, without registers, clocks or interrupts.
//!
//! | resource | shared by |
//! |---|---|
//! | the UART | [`Console`]: who has the keyboard, where each line goes, and what no guest can make it do |
//! | RAM | [`Ram`]: given out once, in pieces that do not overlap |
//! | a CPU's time | [`Alarm`]: when a time slice ends, and what its timer is set for. `droste-life` decides whose slice it is |
//! | lines of the log | [`Complaints`]: what a guest can make the hypervisor say, at a bounded rate |
//! | randomness | [`Entropy`]: no two draws are related |
//! | restarts | [`Budget`]: how often a virtual machine may start anew |
//!
//! [`report`] says what virtual machines did, for people and for the tool that started the machine.
//!
//! Guests are hostile: whatever they write, and however often, nothing here panics, waits for the UART, or allocates.
//! All memory is allocated when a console or a list of RAM is made.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod alarm;
mod budget;
mod complaints;
mod console;
mod entropy;
mod exits;
mod ram;
pub mod report;

pub use alarm::{Alarm, SLICE_MS};
pub use budget::Budget;
pub use complaints::{Complaint, Complaints};
pub use console::{Console, Event, INPUT_BYTES, Interest, Uarts, plain};
pub use entropy::Entropy;
pub use exits::{Counters, Exit, Exits};
pub use ram::Ram;
