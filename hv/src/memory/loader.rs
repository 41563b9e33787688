//! Puts a VM's kernel, device tree and other files into its memory.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use droste_devtree::GuestDom0;
use droste_image::VmImage;
use droste_image::kernel::{DTB_MAX, Header, KernelError, Placement};
use droste_resources::Entropy;

use crate::arch::memory::{Region, Use};
use crate::machine::machine;

/// Where a VM's first CPU starts, guest physical addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// First instruction.
    pub(crate) pc: u64,
    /// Its argument: the device tree.
    pub(crate) device_tree: u64,
}

/// Why a VM cannot be loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The kernel is no kernel, or does not fit.
    Kernel(KernelError),
    /// The device tree is larger than the boot protocol allows, in bytes.
    DeviceTree(usize),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(error) => write!(f, "its kernel: {error}"),
            Self::DeviceTree(bytes) => write!(
                f,
                "its device tree has {bytes} bytes, above the limit of {DTB_MAX}"
            ),
        }
    }
}

impl From<KernelError> for LoadError {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

/// One file in a VM's memory.
struct Piece {
    /// From the begin of its RAM.
    offset: u64,
    bytes: &'static [u8],
}

/// What is to be in a VM's memory when a life begins; the same for each, but for seeds of randomness.
pub(crate) struct Plan {
    pieces: Vec<Piece>,
    /// Where those are, from the begin of its RAM.
    seeds: Vec<Range<u64>>,
    entry: Entry,
}

/// How far a plan is carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Done {
    piece: usize,
    bytes: usize,
}

/// The longest seed.
const SEED_BYTES_MAX: usize = 32;

/// What is copied in one step: by vector registers in 85,000 instructions.
const SLICE: usize = 1 << 20;

impl Plan {
    /// For a VM of `image` whose RAM begins at `ram` for it. `tree` makes its device tree, from where the RAM disk is, and
    /// what a hypervisor is to start.
    pub(crate) fn new(
        image: &VmImage<'static>,
        ram: u64,
        tree: impl FnOnce(Option<Range<u64>>, Option<GuestDom0<'_>>) -> Vec<u8>,
    ) -> Result<Self, LoadError> {
        let blobs = [
            image.initrd,
            image.dom0.map(|dom0| dom0.kernel),
            image.dom0.and_then(|dom0| dom0.initrd),
        ];
        let header = Header::parse(image.kernel)?;
        let place = Placement::new(
            &header,
            image.kernel.len() as u64,
            blobs.map(|bytes| bytes.map_or(0, |bytes| bytes.len() as u64)),
            image.memory,
        )?;
        let range = |n: usize| {
            let start = ram + place.blobs[n];
            blobs[n].map(|bytes| start..start + bytes.len() as u64)
        };
        let dom0 = image.dom0.zip(range(1)).map(|(dom0, kernel)| GuestDom0 {
            kernel,
            initrd: range(2),
            bootargs: dom0.bootargs,
        });
        let tree = tree(range(0), dom0);
        if tree.len() as u64 > DTB_MAX {
            return Err(LoadError::DeviceTree(tree.len()));
        }
        let tree_with_seeds = machine().entropy.as_ref().map(|_| tree.as_slice());
        let seeds = tree_with_seeds.into_iter().flat_map(droste_devtree::seeds);
        let seeds = seeds
            .map(|seed| place.dtb + seed.start as u64..place.dtb + seed.end as u64)
            .collect();
        let piece = |(offset, bytes)| Piece { offset, bytes };
        let tree: &'static [u8] = Box::leak(tree.into_boxed_slice());
        let first = [(place.kernel, image.kernel), (place.dtb, tree)];
        let others = place.blobs.into_iter().zip(blobs);
        let others = others.filter_map(|(offset, bytes)| Some((offset, bytes?)));
        Ok(Self {
            pieces: first.into_iter().chain(others).map(piece).collect(),
            seeds,
            entry: Entry {
                pc: ram + place.kernel,
                device_tree: ram + place.dtb,
            },
        })
    }

    /// Where a life begins.
    pub(crate) const fn entry(&self) -> Entry {
        self.entry
    }

    /// Gives a life that is about to begin, all being copied, seeds of its own.
    pub(crate) fn seed(&self, ram: &Region, entropy: &mut Entropy) {
        for seed in &self.seeds {
            let mut bytes = [0; SEED_BYTES_MAX];
            let bytes = &mut bytes[..(seed.end - seed.start) as usize];
            entropy.fill(bytes);
            ram.copy_in(seed.start, bytes, Use::Used);
        }
    }

    /// Copies a slice of what is not `done` yet into the VM's RAM. Returns how far it is then; `None` when there is no more.
    ///
    /// None of the VM's CPUs runs, and nothing is mapped in its stage 2: what caches hold of the bytes written here is seen
    /// to when the guest's first access maps them.
    pub(crate) fn copy(&self, ram: &Region, done: Done, so_far: Use) -> Option<Done> {
        let piece = self.pieces.get(done.piece)?;
        let rest = piece.bytes.get(done.bytes..).unwrap_or_default();
        let slice = &rest[..rest.len().min(SLICE)];
        ram.copy_in(piece.offset + done.bytes as u64, slice, so_far);
        Some(if slice.len() < rest.len() {
            Done {
                bytes: done.bytes + slice.len(),
                ..done
            }
        } else {
            Done {
                piece: done.piece + 1,
                bytes: 0,
            }
        })
    }
}
