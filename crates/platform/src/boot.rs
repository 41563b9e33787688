//! What the boot loader says: where RAM is, what it loaded there, and the command line.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

/// What the boot loader says. A device tree has it under `/chosen`; UEFI has a memory map, and files beside the hypervisor.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Boot {
    /// RAM, physical addresses, in their order.
    pub memory: Vec<Range<u64>>,
    /// Parts of RAM that belong to firmware or devices.
    pub reserved: Vec<Range<u64>>,
    /// The boot image.
    pub image: Option<Range<u64>>,
    /// The command line.
    pub arguments: String,
    /// A random seed.
    pub seed: Vec<u8>,
    /// The size of the device tree in bytes; 0 where there is none.
    pub tree_bytes: u64,
}

/// The value of `name=value` among the words of `line`; an empty one for the word alone.
///
/// ```
/// let line = "droste.stats=5 droste.no-clock";
/// assert_eq!(droste_platform::option(line, "droste.stats"), Some("5"));
/// assert_eq!(droste_platform::option(line, "droste.no-clock"), Some(""));
/// assert_eq!(droste_platform::option(line, "droste.no"), None);
/// ```
pub fn option<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_ascii_whitespace().find_map(|word| {
        let rest = word.strip_prefix(name)?;
        if rest.is_empty() {
            Some(rest)
        } else {
            rest.strip_prefix('=')
        }
    })
}
