//! Commands (IHI 0070, 4.1 to 4.7), and which of them an invalidation takes.

use droste_arm64::smmu::Scope;
use droste_arm64::{Granule, Ipa, Level, Vmid};

use crate::id::Ranges;
use crate::streams::StreamId;

/// Bytes of a command.
pub const BYTES: u64 = 16;

/// Past so many addresses, one invalidation of the whole VMID is cheaper than one each.
pub const MAX_SINGLE: u64 = 64;

const CFGI_STE: u64 = 0x03;
const CFGI_STE_RANGE: u64 = 0x04;
const TLBI_EL2_ALL: u64 = 0x20;
const TLBI_S12_VMALL: u64 = 0x28;
const TLBI_S2_IPA: u64 = 0x2a;
const TLBI_NSNH_ALL: u64 = 0x30;
const SYNC: u64 = 0x46;

const VMID_SHIFT: u32 = 32;
const STREAM_SHIFT: u32 = 32;
const NUM_SHIFT: u32 = 12;
const SCALE_SHIFT: u32 = 20;
const TTL_SHIFT: u32 = 8;
const TG_SHIFT: u32 = 10;
const IPA_MASK: u64 = 0x000f_ffff_ffff_f000;
/// CFGI_STE_RANGE.Range for all streams: CMD_CFGI_ALL.
const ALL_STREAMS: u64 = 31;
/// The most that NUM + 1 can be.
const MAX_NUM: u64 = 32;

/// What a command of one range says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// The range has `num` × 2^`scale` pages; 1 to 32.
    pub num: u32,
    /// At most 31.
    pub scale: u32,
    /// The page.
    pub granule: Granule,
    /// The level of all leaves in it, for those that TTL can tell: 1 to 3.
    pub leaf: Option<Level>,
}

/// A command that this crate gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// CMD_CFGI_STE with Leaf = 0: forget a stream's entry and the descriptor above it.
    CfgiSte(StreamId),
    /// CMD_CFGI_STE_RANGE: the same for 2^`log2` streams, aligned to their number; `log2` is 1 to 31.
    CfgiSteRange {
        /// The first.
        first: StreamId,
        /// log2 of how many.
        log2: u32,
    },
    /// CMD_CFGI_ALL.
    CfgiAll,
    /// CMD_TLBI_S12_VMALL.
    TlbiS12Vmall(Vmid),
    /// CMD_TLBI_S2_IPA with Leaf = 0: walks that lead there are forgotten as well.
    TlbiS2Ipa {
        /// Whose.
        vmid: Vmid,
        /// The address, or the first.
        ipa: Ipa,
        /// `None` for the one address; with it the SMMU has IDR3.RIL.
        range: Option<Range>,
    },
    /// CMD_TLBI_NSNH_ALL: all of every VMID.
    TlbiNsnhAll,
    /// CMD_TLBI_EL2_ALL: what StreamWorlds of EL2 left.
    TlbiEl2All,
    /// CMD_SYNC without a signal: CMDQ_CONS passes it when all before is complete.
    Sync,
}

/// The field TG: 0 is a command without range.
const fn tg(granule: Granule) -> u64 {
    match granule {
        Granule::Kib4 => 1,
        Granule::Kib16 => 2,
        Granule::Kib64 => 3,
    }
}

impl Command {
    /// The two words in the queue.
    pub fn encode(self) -> [u64; 2] {
        match self {
            Self::CfgiSte(stream) => [CFGI_STE | u64::from(stream.0) << STREAM_SHIFT, 0],
            Self::CfgiSteRange { first, log2 } => [
                CFGI_STE_RANGE | u64::from(first.0) << STREAM_SHIFT,
                // Range + 1 is the logarithm; 31 means all streams, whatever the first.
                u64::from(log2.clamp(1, 31) - 1),
            ],
            Self::CfgiAll => [CFGI_STE_RANGE, ALL_STREAMS],
            Self::TlbiS12Vmall(vmid) => [TLBI_S12_VMALL | u64::from(vmid.0) << VMID_SHIFT, 0],
            Self::TlbiS2Ipa { vmid, ipa, range } => {
                let (first, second) = range.map_or((0, 0), |range| {
                    let leaf = range.leaf.filter(|&level| level >= Level::L1);
                    let ttl = leaf.map_or(0, |level| u64::from(level.number().unsigned_abs()));
                    (
                        u64::from(range.num - 1) << NUM_SHIFT
                            | u64::from(range.scale) << SCALE_SHIFT,
                        tg(range.granule) << TG_SHIFT | ttl << TTL_SHIFT,
                    )
                });
                [
                    TLBI_S2_IPA | u64::from(vmid.0) << VMID_SHIFT | first,
                    ipa.0 & IPA_MASK | second,
                ]
            }
            Self::TlbiNsnhAll => [TLBI_NSNH_ALL, 0],
            Self::TlbiEl2All => [TLBI_EL2_ALL, 0],
            Self::Sync => [SYNC, 0],
        }
    }

    /// Whether it invalidates something.
    pub const fn invalidates(self) -> bool {
        !matches!(self, Self::Sync)
    }

    /// What takes the place of a command that an SMMU finds illegal: the widest of its kind, which every SMMU has to know.
    /// `None` where that is what it found illegal.
    pub(crate) fn widest_for(first_word: u64) -> Option<Self> {
        match first_word & 0xff {
            CFGI_STE => Some(Self::CfgiAll),
            TLBI_S12_VMALL | TLBI_S2_IPA => Some(Self::TlbiNsnhAll),
            _ => None,
        }
    }
}

/// The commands that make an SMMU forget a scope under a VMID, as few as do.
#[derive(Clone, Debug)]
pub struct Cover {
    vmid: Vmid,
    next: Ipa,
    /// Pages not yet covered; 0 with `is_all` for a single command for all.
    pages: u64,
    granule: Granule,
    leaf: Option<Level>,
    ranges: Ranges,
    is_all: bool,
}

impl Cover {
    /// Of what stage 2 says.
    pub fn new(vmid: Vmid, scope: Scope, ranges: Ranges) -> Self {
        let all = Self {
            vmid,
            next: Ipa(0),
            pages: 0,
            granule: Granule::Kib4,
            leaf: None,
            ranges,
            is_all: true,
        };
        match scope {
            Scope::All => all,
            Scope::Range {
                from,
                pages,
                granule,
                leaf,
            } => {
                let some = Self {
                    next: from.align_down(granule.page_bytes()),
                    pages,
                    granule,
                    leaf,
                    is_all: false,
                    ..all.clone()
                };
                if ranges == Ranges::No && pages.div_ceil(some.leaf_pages()) > MAX_SINGLE {
                    return all;
                }
                some
            }
        }
    }

    /// Pages of one leaf; 1 where leaves of more levels, or tables, are to go.
    fn leaf_pages(&self) -> u64 {
        self.leaf.map_or(1, |level| {
            1 << (self.granule.entry_shift(level) - self.granule.page_shift())
        })
    }

    /// The leaf's level as TTL can tell it: not 0, nor 1 of the 16 KiB granule.
    fn hint(&self) -> Option<Level> {
        let first = match self.granule {
            Granule::Kib4 => Level::L1,
            Granule::Kib16 | Granule::Kib64 => Level::L2,
        };
        self.leaf.filter(|&level| level >= first)
    }
}

impl Iterator for Cover {
    type Item = Command;

    fn next(&mut self) -> Option<Command> {
        if self.is_all {
            self.is_all = false;
            return Some(Command::TlbiS12Vmall(self.vmid));
        }
        if self.pages == 0 {
            return None;
        }
        let (pages, range) = match self.ranges {
            Ranges::No => (self.leaf_pages().min(self.pages), None),
            Ranges::Yes => {
                let scale = self.pages.trailing_zeros().min(31);
                let num = (self.pages >> scale) % MAX_NUM;
                // At scale 31 what is left may have no odd part below 32.
                let num = if num == 0 { MAX_NUM } else { num };
                let range = Range {
                    num: num as u32,
                    scale,
                    granule: self.granule,
                    leaf: self.hint(),
                };
                // One page without a level is no range: that encoding is reserved.
                let is_one = num == 1 && scale == 0 && range.leaf.is_none();
                (num << scale, (!is_one).then_some(range))
            }
        };
        let command = Command::TlbiS2Ipa {
            vmid: self.vmid,
            ipa: self.next,
            range,
        };
        self.next.0 += pages << self.granule.page_shift();
        self.pages -= pages;
        Some(command)
    }
}
