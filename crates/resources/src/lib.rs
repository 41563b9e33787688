//! What virtual machines share of a machine, and how: its console, its RAM, the time of its CPUs, its log; and the report of
//! what each of them took. As logic, without a register, a clock or an interrupt.
//!
//! | resource | shared by |
//! |---|---|
//! | the UART | [`Console`]: whose keyboard it is, whose lines go where, and what a guest cannot make it do |
//! | RAM | [`Ram`]: given out once, in pieces that are nobody else's |
//! | a CPU's time | [`Alarm`]: when a time slice ends, and what its timer is set for. Whose slice it is decides `droste-life` |
//! | lines of the log | [`Complaints`]: what a guest can make the hypervisor say, at a bounded rate |
//! | randomness | [`Entropy`]: what each gets of it is nobody else's |
//! | starts | [`Budget`]: how often a virtual machine may start anew |
//!
//! [`report`] tells what virtual machines did, to people and to the tool that started the machine.
//!
//! Guests are hostile: whatever they write, and however often, nothing here panics, waits for the UART, or takes memory. All
//! of that is taken where a console or a list of RAM is made.

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
