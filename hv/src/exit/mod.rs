//! The ways out of a guest.
//!
//! - [`handlers`]: where they begin, one function for each.
//! - [`nested`]: those of a vCPU with EL2, in either world.
//! - [`trap`]: what means the same of any vCPU.
//! - [`abort`], [`sysreg`], [`psci`]: memory, registers, firmware.
//! - [`el2_registers`]: registers and system instructions of virtual EL2.
//! - [`inject`]: exceptions that a guest takes in return.

mod abort;
mod el2_registers;
pub(crate) mod handlers;
mod inject;
mod nested;
mod psci;
mod sysreg;
mod trap;
