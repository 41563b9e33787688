//! What a guest asks of its device tree.

use crate::{BLOCK, RAM_BASE};
use dtoolkit::fdt::Fdt;
use dtoolkit::standard::NodeStandard as _;
use dtoolkit::{Node as _, Property as _};

/// Longest command line kept, in bytes; more is cut.
const ARGUMENTS_BYTES: usize = 160;

/// The virtual machine as its device tree describes it.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Bytes of RAM from [`RAM_BASE`] on.
    pub ram_bytes: u64,
    /// How many vCPUs there are.
    pub vcpus: usize,
    /// Where a monitor has put a 16550, a serial port that the guests do not use.
    pub serial: Option<u64>,
    /// A sum of all bytes of `rng-seed`, and `kaslr-seed`, where it has both.
    pub seeds: Option<[u64; 2]>,
    /// Whether there is a PL031.
    pub has_rtc: bool,
    arguments: [u8; ARGUMENTS_BYTES],
}

impl Machine {
    /// Whether `word` stands on the command line.
    pub fn has_argument(&self, word: &str) -> bool {
        self.arguments
            .split(|b| matches!(b, b' ' | 0))
            .any(|w| w == word.as_bytes())
    }

    /// The number behind `name=` on the command line, decimal or, with 0x, hexadecimal.
    pub fn number(&self, name: &str) -> Option<u64> {
        let text = self
            .arguments
            .split(|b| matches!(b, b' ' | 0))
            .find_map(|w| w.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        let text = core::str::from_utf8(text).ok()?;
        match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        }
    }

    /// First address past the RAM.
    pub fn ram_end(&self) -> u64 {
        RAM_BASE + self.ram_bytes
    }

    /// From this block on, to the end of RAM, nothing is the guest's: image and stacks lie in the lower half, and the
    /// device tree is done with.
    pub fn unused(&self) -> u64 {
        (RAM_BASE + self.ram_bytes / 2).next_multiple_of(BLOCK)
    }
}

/// Reads the device tree. Nothing of it is kept, so its memory is free afterwards.
///
/// # Safety
/// `device_tree` is what the boot protocol left in x0: the address of a flattened device tree.
///
/// # Panics
/// If the tree has no memory at [`RAM_BASE`] or no CPUs.
pub(crate) unsafe fn read(device_tree: u64) -> Machine {
    // SAFETY: the caller hands on the boot protocol's address.
    let tree = unsafe { Fdt::from_raw(device_tree as *const u8) }.expect("x0 holds a device tree");
    let memory = tree.memory().expect("the tree describes memory");
    let ram = memory
        .reg()
        .ok()
        .flatten()
        .and_then(|mut ranges| ranges.find(|r| r.address::<u64>() == Ok(RAM_BASE)))
        .expect("there is RAM at its place");
    let serial = tree
        .root()
        .find_compatible("ns16550a")
        .find_map(|node| node.reg().ok().flatten()?.next()?.address().ok());
    let has_rtc = tree.root().find_compatible("arm,pl031").next().is_some();
    let mut arguments = [0; ARGUMENTS_BYTES];
    if let Some(text) = tree
        .chosen()
        .as_ref()
        .and_then(|c| c.bootargs().ok().flatten())
    {
        assert!(
            text.len() <= ARGUMENTS_BYTES,
            "the command line is longer than the guests read"
        );
        arguments
            .iter_mut()
            .zip(text.bytes())
            .for_each(|(to, from)| *to = from);
    }
    Machine {
        serial,
        seeds: seeds(&tree),
        has_rtc,
        ram_bytes: ram.size().expect("the RAM's size has 64 bits"),
        vcpus: tree.cpus().expect("the tree describes CPUs").cpus().count(),
        arguments,
    }
}

fn seeds(tree: &Fdt<'_>) -> Option<[u64; 2]> {
    const RNG_BYTES: usize = 32;
    let chosen = tree.find_node("/chosen")?;
    let (rng, kaslr) = (chosen.property("rng-seed")?, chosen.property("kaslr-seed")?);
    let words = rng.value().as_chunks().0.iter();
    let sum = words.fold(0_u64, |sum, word| {
        sum.rotate_left(7).wrapping_add(u64::from_be_bytes(*word))
    });
    let kaslr = u64::from_be_bytes(kaslr.value().try_into().ok()?);
    (rng.value().len() == RNG_BYTES).then_some([sum, kaslr])
}
