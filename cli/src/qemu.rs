//! QEMU as the machine: its command line as data, and its console under a deadline.

mod machine;
mod session;
mod transcript;

pub use crate::child::tied;
pub use machine::{
    CPU, Device, DeviceKind, El2, Machine, TRANSPORTS_PER_PAGE, TRANSPORTS_PER_VM,
    VMS_WITH_DEVICES_MAX,
};
pub use session::{Session, run_with_deadline};
