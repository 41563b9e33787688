//! Ghosts: translations that memory no longer holds and a TLB may.
//!
//! What memory holds now is a candidate at each access anyway, so nothing is kept for it. When a descriptor changes,
//! its old value becomes a ghost on every CPU that could have cached it, and stays until the architecture makes
//! it go: a TLBI that takes it, issued after the change was visible, and then a DSB of the CPU that issued it.

use crate::config::{CpuSet, Features};
use crate::descriptor::{CONTIGUOUS, FNXS, Meaning};
use crate::operand::{Depth, Target};
use crate::regime::Shape;
use crate::tlbi::{Completion, Tlbi};
use crate::violation::Missing;

/// What a ghost is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A block or page.
    Leaf,
    /// A Contiguous run, as one entry.
    Run,
    /// A table descriptor: a walk that goes on in that table as it is now.
    Walk,
}

/// How far an invalidation by one CPU is: issued, and not complete before its DSB.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Issued {
    issuer: u8,
    stage2: CpuSet,
    combined: CpuSet,
    /// CPUs on which one instruction takes both parts.
    whole: CpuSet,
}

/// A translation that TLBs may hold.
#[derive(Clone, Debug)]
pub(crate) struct Ghost {
    pub(crate) kind: Kind,
    pub(crate) level: i8,
    /// The CPUs whose DSBs make the change visible, either of them.
    pub(crate) writers: CpuSet,
    /// The descriptor that they wrote: this one's, or a table's above.
    pub(crate) cause: usize,
    /// First address that it translates.
    pub(crate) ipa: u64,
    pub(crate) bytes: u64,
    /// The descriptor as it was; of a run, with the output of its first entry.
    pub(crate) raw: u64,
    pub(crate) shape: Shape,
    /// The descriptor's number.
    pub(crate) word: usize,
    /// The step that changed it.
    pub(crate) changed: u64,
    /// CPUs that may hold it as a stage-2 entry.
    pub(crate) stage2: CpuSet,
    /// CPUs that may hold translations of both stages made from it.
    pub(crate) combined: CpuSet,
    /// CPUs whose walks may still see it in memory.
    pub(crate) visible: CpuSet,
    /// Whether a TLBI that takes it came while walks could still see it, and so did not count.
    is_early: bool,
    /// Whether it was told that it outlives its descriptor.
    pub(crate) is_told: bool,
    issued: Issued,
    more_issued: Vec<Issued>,
}

/// What makes a ghost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) writer: usize,
    /// The descriptor that it wrote.
    pub(crate) cause: usize,
    pub(crate) word: usize,
    pub(crate) step: u64,
    pub(crate) holders: CpuSet,
    /// CPUs whose walks may still see the old value.
    pub(crate) visible: CpuSet,
}

impl Ghost {
    /// The old descriptor `raw` of `level` that translated from `ipa` on.
    pub(crate) fn new(
        shape: Shape,
        kind: Kind,
        level: i8,
        ipa: u64,
        raw: u64,
        origin: Origin,
    ) -> Self {
        let entries = if kind == Kind::Run {
            shape.run_entries(level)
        } else {
            1
        };
        Self {
            kind,
            level,
            writers: 1 << origin.writer,
            cause: origin.cause,
            ipa,
            bytes: shape.entry_bytes(level) * entries,
            raw,
            shape,
            word: origin.word,
            changed: origin.step,
            stage2: origin.holders,
            combined: if kind == Kind::Walk {
                0
            } else {
                origin.holders
            },
            visible: origin.visible,
            is_early: false,
            is_told: false,
            issued: Issued::default(),
            more_issued: Vec::new(),
        }
    }

    pub(crate) const fn holders(&self) -> CpuSet {
        self.stage2 | self.combined
    }

    pub(crate) const fn contains(&self, ipa: u64) -> bool {
        ipa >= self.ipa && ipa - self.ipa < self.bytes
    }

    /// Whether it translates something of \[from, to).
    pub(crate) const fn overlaps(&self, from: u64, to: u64) -> bool {
        self.ipa < to && from < self.ipa + self.bytes
    }

    /// Whether it is the same translation, so that the two can be kept as one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.ipa == other.ipa
            && self.raw == other.raw
            && self.kind == other.kind
            && self.level == other.level
            && self.shape == other.shape
            && (self.visible == 0 || self.writers == other.writers)
    }

    /// What ghosts of the same translation have in common, as a number to be hashed.
    pub(crate) const fn translation(&self) -> u64 {
        let kind = match self.kind {
            Kind::Leaf => 0,
            Kind::Run => 1,
            Kind::Walk => 2,
        };
        self.ipa ^ self.raw.rotate_left(20) ^ kind << 1 ^ (self.level.unsigned_abs() as u64) << 3
    }

    /// Takes over what a later ghost of the same translation brings.
    pub(crate) fn renew(&mut self, other: &Self) {
        self.stage2 |= other.stage2;
        self.combined |= other.combined;
        self.visible |= other.visible;
        self.writers = other.writers;
        self.cause = other.cause;
        self.word = other.word;
        self.changed = other.changed;
        self.is_early = false;
        self.is_told = false;
        let (stage2, combined) = (other.stage2, other.combined);
        for issued in self.all_issued() {
            issued.stage2 &= !stage2;
            issued.combined &= !combined;
            issued.whole &= !(stage2 | combined);
        }
    }

    fn all_issued(&mut self) -> impl Iterator<Item = &mut Issued> {
        core::iter::once(&mut self.issued).chain(&mut self.more_issued)
    }

    /// Whether an instruction with this target takes its stage-2 part.
    pub(crate) fn is_taken(&self, target: &Target) -> bool {
        let Target::Stage2 {
            from,
            to,
            hint,
            depth,
        } = *target
        else {
            return matches!(target, Target::Vmid | Target::All);
        };
        self.overlaps(from, to)
            && hint
                .page_shift
                .is_none_or(|shift| shift == self.shape.page_shift)
            && hint.level.is_none_or(|level| level == self.level)
            && !(self.kind == Kind::Walk && depth == Depth::LastLevel)
    }

    /// Whether the nXS qualifier lets it survive.
    pub(crate) const fn survives_nxs(&self, tlbi: &Tlbi, features: Features) -> bool {
        matches!(tlbi.completion, Completion::ExceptXs)
            && features.has(Features::XS)
            && !matches!(self.kind, Kind::Walk)
            && self.raw & FNXS == 0
    }

    /// Notes that `issuer` has issued an invalidation of these parts. On the CPUs that are `walking` and still see
    /// it in memory, it comes back.
    pub(crate) fn issue(
        &mut self,
        issuer: usize,
        stage2: CpuSet,
        combined: CpuSet,
        walking: CpuSet,
    ) {
        let seen = self.visible & walking;
        self.is_early |= stage2 & self.stage2 & seen != 0;
        let whole = stage2 & combined & self.holders() & !seen;
        let stage2 = stage2 & self.stage2 & !seen;
        let combined = combined & self.combined & !seen;
        if stage2 | combined == 0 {
            return;
        }
        let issuer = issuer as u8;
        let is_free =
            |issued: &Issued| issued.issuer == issuer || issued.stage2 | issued.combined == 0;
        if let Some(issued) = self.all_issued().find(|issued| is_free(issued)) {
            let before = if issued.issuer == issuer {
                *issued
            } else {
                Issued::default()
            };
            *issued = Issued {
                issuer,
                stage2: before.stage2 | stage2,
                combined: before.combined | combined,
                whole: before.whole | whole,
            };
        } else {
            self.more_issued.push(Issued {
                issuer,
                stage2,
                combined,
                whole,
            });
        }
    }

    /// Whether an instruction is under way that takes all of it from this CPU, and all that is made of it there before
    /// the DSB: an entry that combines it with stage 1 is one of the VMID too (DDI 0487, D8 "TLB maintenance").
    pub(crate) fn is_doomed(&self, cpu: CpuSet) -> bool {
        core::iter::once(&self.issued)
            .chain(&self.more_issued)
            .any(|issued| issued.whole & cpu != 0)
    }

    /// A CPU that holds it, or a walk to it, begins to walk: it can make combined entries from it again.
    pub(crate) fn rekindle(&mut self, cpu: CpuSet) {
        self.combined |= cpu;
        for issued in self.all_issued() {
            issued.combined &= !cpu;
        }
    }

    /// Completes on `cpus` what `issuer` has issued.
    pub(crate) fn complete(&mut self, issuer: usize, cpus: CpuSet) {
        let (mut stage2, mut combined) = (0, 0);
        for issued in self
            .all_issued()
            .filter(|issued| usize::from(issued.issuer) == issuer)
        {
            stage2 |= issued.stage2 & cpus;
            combined |= issued.combined & cpus;
            issued.stage2 &= !cpus;
            issued.combined &= !cpus;
            issued.whole &= !cpus;
        }
        self.stage2 &= !stage2;
        self.combined &= !combined;
    }

    /// What keeps it alive.
    pub(crate) fn missing(&self) -> Missing {
        let (mut stage2, mut combined) = (0, 0);
        for issued in core::iter::once(&self.issued).chain(&self.more_issued) {
            stage2 |= issued.stage2;
            combined |= issued.combined;
        }
        let is_early = self.is_early && self.stage2 & !stage2 != 0;
        if self.visible != 0 || is_early {
            Missing::BarrierBeforeTlbi
        } else if self.stage2 & !stage2 != 0 {
            Missing::Tlbi
        } else if self.stage2 != 0 {
            Missing::BarrierAfterTlbi
        } else if self.combined & !combined != 0 {
            Missing::CombinedTlbi
        } else {
            Missing::BarrierAfterCombinedTlbi
        }
    }

    /// Where it leads from `ipa`, which is at or above its first address or, for a neighbour's view, below.
    pub(crate) const fn output(&self, ipa: u64) -> u64 {
        let base = match self.shape.meaning(self.raw, self.level) {
            Meaning::Leaf(output) | Meaning::Table(output) => output,
            Meaning::Invalid => 0,
        };
        base.wrapping_add(ipa.wrapping_sub(self.ipa))
    }

    /// Whether the entry covers a Contiguous run or stands for one.
    pub(crate) const fn is_contiguous(&self) -> bool {
        self.raw & CONTIGUOUS != 0
    }
}
