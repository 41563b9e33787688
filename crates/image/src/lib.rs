//! The boot image that hands virtual machines to the hypervisor.
//!
//! One file carries every virtual machine's kernel, initial RAM disk and description from the host tool to EL2. A boot
//! loader passes it where it would pass an initial RAM disk. The container is a cpio archive in the format `newc`, which
//! `cpio -t` lists:
//!
//! - `droste.dtb`, a flattened device tree: below `/vms` one node for each virtual machine, whose properties are its
//!   values, the names of its blobs and their checksums (CRC-32);
//! - `droste.crc32`, the checksum of that tree;
//! - `NAME/kernel` and `NAME/initrd` of each virtual machine, `NAME/dom0-kernel` and `NAME/dom0-initrd` of what a guest
//!   hypervisor starts; of equal blobs there is one, under its first name.
//!
//! Why cpio: a boot loader passes on unchanged only what it does not recognize as a format of its own. That ruled out a
//! *flattened image tree*: U-Boot's `booti` recognizes one in the RAM-disk slot and tries to extract a RAM disk from
//! it. A cpio archive is what the slot is meant for. Why a device tree inside: EL2 parses device trees anyway.
//!
//! [`BootImage`] reads it without allocation; feature `write` adds the writer and the checksum verifier.
//! [`kernel`] judges the header of an arm64 `Image`, on the host before a file is packed and at EL2 before it is run.
//!
//! The reader bounds every length and never panics, but it does not hash the blobs: that would cost EL2 many millions
//! of instructions at each boot for bytes that the boot loader has just read. The host tool verifies the checksums.
//!
#![cfg_attr(feature = "write", doc = "```")]
#![cfg_attr(not(feature = "write"), doc = "```ignore")]
//! use droste_image::{BootImage, Console, DevicePaths, El2, OnReboot, VmImage, write};
//!
//! let file = write(&[VmImage {
//!     name: "linux",
//!     vcpus: 2,
//!     memory: 512 << 20,
//!     kernel: b"an arm64 Image",
//!     initrd: None,
//!     bootargs: "console=ttyAMA0",
//!     console: Console::Uart,
//!     on_reboot: OnReboot::Stop,
//!     el2: El2::None,
//!     passthrough: DevicePaths("/virtio_mmio@a000000\0"),
//!     dom0: None,
//! }])?;
//!
//! let image = BootImage::parse(&file)?;
//! let vm = image.vms().next().expect("an image holds at least one")?;
//! assert_eq!((vm.name, vm.vcpus, vm.kernel), ("linux", 2, &b"an arm64 Image"[..]));
//! assert!(vm.passthrough.iter().eq(["/virtio_mmio@a000000"]));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "write")]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod error;
pub mod kernel;
mod names;
mod newc;
mod read;
#[cfg(feature = "write")]
mod verify;
mod vm;
#[cfg(feature = "write")]
mod write;

pub use error::ImageError;
pub use read::BootImage;
#[cfg(feature = "write")]
pub use verify::{VerifyError, verify};
pub use vm::{
    BOOTARGS_MAX, Console, DevicePaths, Dom0, El2, MEMORY_MAX, MEMORY_MIN, MEMORY_STEP, NAME_MAX,
    OnReboot, VCPUS_IN_ALL, VCPUS_MAX, VMS_MAX, VmError, VmImage, check_bootargs,
    check_device_path, check_memory, check_name, check_vcpus,
};
#[cfg(feature = "write")]
pub use write::{WriteError, write};

/// [`write()`] puts blobs at multiples of this many bytes from the start of the image, so that they are copied from
/// aligned addresses and could be mapped as they are. Readers do not rely on it: other tools that pack archives align
/// members to 4 bytes.
#[cfg(feature = "write")]
pub const BLOB_ALIGN: usize = 4096;
