//! What can be wrong with a boot image.

use core::fmt;

use dtoolkit::error::FdtParseError;

use crate::names::FORMAT;
use crate::vm::{VMS_MAX, VmError};

/// Why bytes are not a boot image that this hypervisor can use.
///
/// A virtual machine is named by its place in the image, counted from 1, because its name may be what is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ImageError {
    /// Too short for a device-tree header, or without its magic number: nothing, or another kind of file.
    NotAnImage,
    /// The header claims `total` bytes, more than the `present` ones.
    Truncated {
        /// Bytes that the header claims.
        total: u64,
        /// Bytes that are there.
        present: u64,
    },
    /// The device tree is malformed.
    Tree(FdtParseError),
    /// A flattened image tree, but not one of ours: it lacks the property that says so.
    Foreign,
    /// Our format in another version.
    Version(u32),
    /// A node that every image has is missing.
    MissingNode(&'static str),
    /// No virtual machine, or more than [`VMS_MAX`](crate::VMS_MAX).
    VmCount(usize),
    /// Two virtual machines share a name.
    DuplicateName {
        /// The later of the two.
        vm: usize,
    },
    /// A virtual machine lacks a property.
    Missing {
        /// Which virtual machine.
        vm: usize,
        /// The property.
        property: &'static str,
    },
    /// A property is there, but its value has the wrong type, length or spelling.
    Malformed {
        /// Which virtual machine.
        vm: usize,
        /// The property.
        property: &'static str,
    },
    /// A kernel or RAM disk is named that `/images` does not hold.
    MissingBlob {
        /// Which virtual machine.
        vm: usize,
        /// The property that names it.
        property: &'static str,
    },
    /// A blob is empty, crooked, overlaps the device tree or ends outside the file.
    BlobBounds {
        /// Which virtual machine.
        vm: usize,
        /// Where the blob claims to start, in bytes from the start of the image.
        position: u32,
        /// The length that it claims, in bytes.
        size: u32,
    },
    /// A value that no virtual machine can have.
    Vm {
        /// Which virtual machine.
        vm: usize,
        /// What is wrong.
        error: VmError,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnImage => f.write_str(
                "this is no boot image; make one with `droste image` and pass it as the initrd",
            ),
            Self::Truncated { total, present } => {
                write!(
                    f,
                    "the boot image is cut off: {present} of at least {total} bytes; copy it again"
                )
            }
            Self::Tree(e) => write!(
                f,
                "the boot image's device tree is damaged ({e}); make the image again"
            ),
            Self::Foreign => f.write_str(
                "a flattened image tree of another program; make one with `droste image`",
            ),
            Self::Version(v) => {
                write!(
                    f,
                    "the boot image has format {v}, this hypervisor takes {FORMAT}; make it with its own `droste`"
                )
            }
            Self::MissingNode(node) => write!(f, "the boot image has no /{node}; make it again"),
            Self::VmCount(0) => {
                f.write_str("the boot image holds no virtual machine; describe at least one")
            }
            Self::VmCount(n) => write!(
                f,
                "the boot image holds {n} virtual machines; the limit is {VMS_MAX}"
            ),
            Self::DuplicateName { vm } => write!(
                f,
                "virtual machine {vm} has the name of an earlier one; rename it"
            ),
            Self::Missing { vm, property } => {
                write!(
                    f,
                    "virtual machine {vm} has no {property}; make the image again"
                )
            }
            Self::Malformed { vm, property } => {
                write!(
                    f,
                    "virtual machine {vm} has a {property} that cannot be read; make the image again"
                )
            }
            Self::MissingBlob { vm, property } => {
                write!(
                    f,
                    "virtual machine {vm} names a {property} that is not in the image; make it again"
                )
            }
            Self::BlobBounds { vm, position, size } => write!(
                f,
                "virtual machine {vm} has {size} bytes at {position:#x}, which is empty, crooked or outside the image; \
                 copy it again"
            ),
            Self::Vm { vm, error } => write!(f, "virtual machine {vm}: {error}"),
        }
    }
}

impl core::error::Error for ImageError {}
