//! QEMU as the machine: its command line as data, and its console under a deadline.

mod device;
mod machine;
mod session;
mod transcript;

pub use crate::child::{SELF, tied};
pub use device::{
    Access, Device, DeviceKind, DiskImage, Format, Forward, Network, Port, Protocol,
    TRANSPORTS_PER_PAGE, TRANSPORTS_PER_VM, VMS_WITH_DEVICES_MAX,
};
pub use machine::{CPU, El2, Machine};
pub use session::{Session, run_with_deadline};
