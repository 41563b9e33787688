//! What a virtual machine is: its parts, and where they are for its guest.

pub(crate) mod alarm;
pub(crate) mod all;
pub(crate) mod hcr;
pub(crate) mod layout;
pub(crate) mod line;
pub(crate) mod lists;
pub(crate) mod reset;
pub(crate) mod rest;
mod rtc;
mod state;
mod uart;
mod vcpu;
pub(crate) mod virtual_el2;
#[expect(
    clippy::module_inception,
    reason = "the folder has the parts of what stands in the file"
)]
mod vm;
pub(crate) mod watch;

pub(crate) use state::{VcpuState, el2, running};
pub(crate) use vcpu::Vcpu;
pub(crate) use vm::{Parts, RunState, Vm};
