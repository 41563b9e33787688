//! Verifies the checksums of a boot image.

use alloc::string::String;
use core::fmt;

use dtoolkit::fdt::FdtNode;
use dtoolkit::{Node, Property};

use crate::BootImage;
use crate::error::ImageError;
use crate::names;

/// Why a boot image is not what its writer wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VerifyError {
    /// It cannot be read.
    Image(ImageError),
    /// This member has no readable checksum.
    NoChecksum(String),
    /// The bytes of this member have changed.
    Checksum(String),
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(e) => e.fmt(f),
            Self::NoChecksum(path) => {
                write!(f, "the boot image has no checksum of {path}; make it again")
            }
            Self::Checksum(path) => {
                write!(
                    f,
                    "the bytes of {path} have changed; copy the boot image again"
                )
            }
        }
    }
}

impl core::error::Error for VerifyError {}

impl From<ImageError> for VerifyError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

/// Verifies that an image can be read, and that the device tree and every blob of a virtual machine have the bytes that
/// were written. The rest of the archive, such as its members' times, is ignored.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(bytes: &[u8]) -> Result<(), VerifyError> {
    let image = BootImage::parse(bytes)?;
    verify_tree(&image)?;
    for vm in image.vms() {
        vm?;
    }
    for node in image.nodes() {
        for (path, crc32) in names::BLOBS {
            verify_blob(&image, node, path, crc32)?;
        }
    }
    Ok(())
}

/// Verifies the device tree, which says what each virtual machine is.
fn verify_tree(image: &BootImage<'_>) -> Result<(), VerifyError> {
    let sum = image.blob(names::MEMBER_SUM);
    let sum = sum.and_then(|digits| str::from_utf8(digits).ok());
    let sum = sum.and_then(|digits| u32::from_str_radix(digits.trim_end(), 16).ok());
    let tree = image.blob(names::MEMBER_TREE).unwrap_or_default();
    match sum {
        None => Err(VerifyError::NoChecksum(names::MEMBER_TREE.into())),
        Some(sum) if sum == crc32fast::hash(tree) => Ok(()),
        Some(_) => Err(VerifyError::Checksum(names::MEMBER_TREE.into())),
    }
}

/// Verifies the blob that one property of a sound virtual machine names, if it is there.
fn verify_blob(
    image: &BootImage<'_>,
    node: FdtNode<'_>,
    path: &str,
    crc32: &str,
) -> Result<(), VerifyError> {
    let path = node.property(path).and_then(|p| p.value_as::<&str>().ok());
    let blob = path.and_then(|path| Some((path, image.blob(path)?)));
    let Some((path, bytes)) = blob else {
        return Ok(());
    };
    let sum = node.property(crc32).and_then(|p| p.value_as::<u32>().ok());
    match sum {
        None => Err(VerifyError::NoChecksum(path.into())),
        Some(sum) if sum == crc32fast::hash(bytes) => Ok(()),
        Some(_) => Err(VerifyError::Checksum(path.into())),
    }
}
