//! What can be wrong with a boot image.

use core::fmt;

use dtoolkit::error::FdtParseError;

use crate::names::{FORMAT, NODE_VMS};
use crate::vm::{MEMBERS_MAX, VMS_MAX, VmError};

/// Why bytes are not a boot image that this hypervisor can use.
///
/// A virtual machine is named by its place in the image, counted from 1, because its name may be what is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ImageError {
    /// Not a cpio archive in the format `newc`: empty, or another kind of file.
    NotAnImage,
    /// The archive is longer than the `present` bytes.
    Truncated {
        /// The bytes that it needs at least.
        total: u64,
        /// Bytes that are there.
        present: u64,
    },
    /// The header of a member is malformed.
    Archive {
        /// Where it begins, in bytes from the start of the archive.
        at: u64,
    },
    /// More members than a boot image can have.
    MemberCount,
    /// An archive, but not one of ours: it lacks the device tree, or the property that says so.
    Foreign,
    /// The device tree is malformed.
    Tree(FdtParseError),
    /// A boot image in a version of the format that is not read here; carries the version.
    Version(u32),
    /// The device tree has no node for virtual machines.
    NoVms,
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
    /// A property names a kernel or RAM disk that the archive does not hold.
    MissingBlob {
        /// Which virtual machine.
        vm: usize,
        /// The property that names it.
        property: &'static str,
    },
    /// A kernel or RAM disk is empty.
    EmptyBlob {
        /// Which virtual machine.
        vm: usize,
        /// The property that names it.
        property: &'static str,
    },
    /// A value is outside its limits.
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
            Self::Archive { at } => {
                write!(f, "the boot image is damaged at byte {at:#x}; copy it again")
            }
            Self::MemberCount => write!(
                f,
                "the archive has more than {MEMBERS_MAX} members; make a boot image with `droste image`"
            ),
            Self::Foreign => f.write_str(
                "this is a cpio archive but no boot image; put a guest's RAM disk into one with `droste image`",
            ),
            Self::Tree(e) => write!(
                f,
                "the boot image's device tree is damaged ({e}); make the image again"
            ),
            Self::Version(v) => {
                write!(
                    f,
                    "the boot image has format {v}, this hypervisor takes {FORMAT}; make it with its own `droste`"
                )
            }
            Self::NoVms => write!(f, "the boot image has no /{NODE_VMS}; make it again"),
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
            Self::EmptyBlob { vm, property } => {
                write!(
                    f,
                    "virtual machine {vm} names a {property} that is empty; make the image again"
                )
            }
            Self::Vm { vm, error } => write!(f, "virtual machine {vm}: {error}"),
        }
    }
}

impl core::error::Error for ImageError {}
