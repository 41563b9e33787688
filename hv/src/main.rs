//! The EL2 binary of Droste: what joins the machine to the crates that decide.
//!
//! `arch` touches the hardware; everything else is safe code that turns events into calls of `stage2`, `vdev` and
//! their kind. One CPU's life: boot, then guest → exit → handler → guest for ever, on one stack.

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
