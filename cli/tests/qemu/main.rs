//! Droste in QEMU: every test starts `droste run` as a user would and judges what the consoles say, how the run ends
//! and what its record holds. Only `kvm` does without Droste: it judges what its guests run.
//!
//! What is missing (QEMU, Debian's kernel and busybox, the library of the EL2 target) is brought by the first test.
//! Emulated processors take turns on the host's, so the tests of this file run beside each other only where the host
//! has processors for all of them.

mod bugs;
mod clock;
mod console;
mod devices;
mod differ;
mod droste;
mod e2h;
mod el2;
mod ends;
mod guests;
mod hostile_l2;
mod judge;
mod kvm;
mod linux;
mod lives;
mod neighbours;
mod nested;
mod refusals;
mod seeds;
mod setup;
mod stage;
mod suites;
mod switches;
mod xen;
