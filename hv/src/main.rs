//! The EL2 binary of Droste: what joins the machine to the crates that decide.
//!
//! One CPU's life: boot, then guest → exit → handler → guest for ever, on one stack.
//!
//! The folders are floors, each of which needs those below it and none above. From the bottom up:
//!
//! | floor | |
//! |---|---|
//! | [`arch`] | instructions, registers, pointers: what touches the hardware; all else is safe code |
//! | [`machine`] | what the machine has, and what Droste does when it finds itself wrong |
//! | [`memory`] | who has which memory: RAM, stage 2 of VMs and of their guests |
//! | [`vm`] | what a VM and its vCPUs are: their state, their platform, what the loaded one has in the hardware |
//! | [`console`] | the UART that all VMs share, keys, and reports |
//! | [`nested`] | what happens to a vCPU with EL2: its worlds, exceptions and interrupts |
//! | [`devices`] | what guests' loads, stores and timers meet, and where the machine's interrupts go |
//! | [`life`] | how VMs come to their lives and to their ends, and which vCPU has a CPU's time slice |
//! | [`exit`] | the ways out of a guest |
//! | [`boot`] | from the first line of Rust to the first guest |

#![no_std]
#![no_main]

extern crate alloc;

mod arch;
mod boot;
mod console;
mod devices;
mod exit;
mod life;
mod machine;
mod memory;
mod nested;
mod vm;
