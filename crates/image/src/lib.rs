//! The boot image that hands virtual machines to the hypervisor.
//!
//! One file carries every virtual machine's kernel, initial RAM disk and description from the host tool to EL2. A boot
//! loader passes it where it would pass an initial RAM disk. The container is a *flattened image tree* (FIT) with
//! external data: one flattened device tree whose `/images` nodes say where the page-aligned blobs behind it lie, and
//! whose `/configurations` nodes are the virtual machines. It was chosen over an archive format because EL2 parses
//! device trees anyway, because the writer controls the alignment of the blobs, and because the tools that know the
//! format (`dumpimage -l`) can list what a file holds.
//!
//! [`BootImage`] reads it without allocation; feature `write` adds the writer and the checksum verifier.
//! [`kernel`] judges the header of an arm64 `Image`, on the host before a file is packed and at EL2 before it is run.
//!
//! The reader bounds every offset and never panics, but it does not hash the blobs: that would cost EL2 many millions
//! of instructions at each boot for bytes that the boot loader has just read. The host tool verifies the checksums.
//!
#![cfg_attr(feature = "write", doc = "```")]
#![cfg_attr(not(feature = "write"), doc = "```ignore")]
//! use droste_image::{BootImage, Console, OnReboot, VmSpec, write};
//!
//! let file = write(&[VmSpec {
//!     name: "linux",
//!     vcpus: 2,
//!     memory: 512 << 20,
//!     kernel: b"an arm64 Image",
//!     initrd: None,
//!     bootargs: "console=ttyAMA0",
//!     console: Console::Uart,
//!     on_reboot: OnReboot::Stop,
//!     passthrough: &["/virtio_mmio@a000000"],
//! }])?;
//!
//! let image = BootImage::parse(&file)?;
//! let vm = image.vms().next().expect("an image holds at least one")?;
//! assert_eq!((vm.name, vm.vcpus, vm.kernel), ("linux", 2, &b"an arm64 Image"[..]));
//! assert!(vm.passthrough().eq(["/virtio_mmio@a000000"]));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "write")]
extern crate alloc;

mod error;
pub mod kernel;
mod names;
mod read;
mod vm;
#[cfg(feature = "write")]
mod write;

pub use error::ImageError;
pub use read::{BootImage, Passthrough, VmImage};
pub use vm::{
    BOOTARGS_MAX, Console, MEMORY_MAX, MEMORY_MIN, MEMORY_STEP, NAME_MAX, OnReboot, VCPUS_MAX,
    VMS_MAX, VmError, check_bootargs, check_device_path, check_memory, check_name, check_vcpus,
};
#[cfg(feature = "write")]
pub use write::{VerifyError, VmSpec, WriteError, verify, write};

/// Blobs lie at multiples of this many bytes from the start of the image, so that EL2 can map them as they are.
pub const BLOB_ALIGN: usize = 4096;
