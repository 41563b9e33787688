//! What is counted on the host, in the order of the table.

use super::callgrind::Count;
use crate::workspace::Failure;

/// Pages of a table, for which one pair of barriers is aimed at.
const PAGES_OF_A_TABLE: f64 = 512.0;

/// What of a case a figure is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Counted {
    /// Instructions for each unit.
    Instructions,
    /// Pairs of barriers for 512 units.
    BarrierPairs,
    /// Bytes for each unit.
    Bytes,
}

impl Counted {
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::BarrierPairs => "pairs",
            Self::Bytes => "bytes",
        }
    }

    /// # Errors
    /// If the case does not say what is asked.
    pub(crate) fn of(self, count: &Count) -> Result<f64, Failure> {
        match self {
            Self::Instructions => count.instructions(),
            Self::BarrierPairs => Ok(count.number("dsb")? / 2.0 * PAGES_OF_A_TABLE),
            Self::Bytes => count.number("extra"),
        }
    }
}

/// A figure to take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The case of `droste-stage2-bench`.
    pub(crate) case: &'static str,
    pub(crate) counted: Counted,
    pub(crate) target: Option<f64>,
    /// Whether the peers' cases of that name are comparable.
    pub(crate) has_peers: bool,
    pub(crate) note: &'static str,
}

impl Row {
    const fn new(name: &'static str, case: &'static str) -> Self {
        Self {
            name,
            case,
            counted: Counted::Instructions,
            target: None,
            has_peers: true,
            note: "",
        }
    }

    const fn counting(self, counted: Counted) -> Self {
        Self {
            counted,
            has_peers: false,
            ..self
        }
    }

    const fn at_most(self, target: f64) -> Self {
        Self {
            target: Some(target),
            ..self
        }
    }

    const fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }
}

/// All figures of the host.
pub(crate) const ROWS: &[Row] = &[
    Row::new("map 1 GiB by pages, per page", "map-pages").at_most(40.0),
    Row::new("  the same as Contiguous runs", "map-runs").at_most(40.0),
    Row::new("map 1 GiB by 2 MiB blocks, per block", "map-blocks")
        .at_most(30.0)
        .note("peers: one call a block, else they take 1 GiB"),
    Row::new("unmap 1 GiB of pages, per page", "unmap-pages")
        .at_most(30.0)
        .note("with invalidations; its tables go whole"),
    Row::new("  DSB pairs, per 512 pages", "unmap-pages")
        .counting(Counted::BarrierPairs)
        .at_most(1.0),
    Row::new(
        "  the same without FEAT_TLBIRANGE, per page",
        "unmap-pages-plain",
    )
    .at_most(30.0),
    Row::new("unmap 511 pages of each table, per page", "unmap-parts")
        .at_most(30.0)
        .note("every entry is written, each 511 invalidated"),
    Row::new("unmap page by page, per page", "unmap-page-by-page")
        .at_most(800.0)
        .note("each with an invalidation of its own"),
    Row::new("unmap 1 GiB of blocks, per block", "unmap-blocks"),
    Row::new(
        "fault: first touch of a page and its 15 neighbours",
        "fault-page",
    )
    .at_most(900.0)
    .note("peers: one page, decided by nobody"),
    Row::new(
        "fault: first touch of a page with the dirty log on",
        "fault-logged-page",
    )
    .at_most(900.0),
    Row::new("fault: first touch of a 2 MiB block", "fault-block").note("peers: decided by nobody"),
    Row::new("fault: another CPU was faster", "fault-late"),
    Row::new("fault: first store to a page of a dirty log", "relax"),
    Row::new("write-protect 1 GiB of blocks, per block", "protect-blocks").at_most(20.0),
    Row::new("write-protect 1 GiB of pages, per page", "protect-pages"),
    Row::new(
        "read the dirty log of 1 GiB, 1 % written, per page",
        "dirty-1-percent",
    ),
    Row::new("age 1 GiB of pages, per page", "age"),
    Row::new("split blocks, per block", "split")
        .note("512 entries each; aarch64-paging: idle tables only"),
    Row::new(
        "split blocks with FEAT_BBM level 2, per block",
        "split-bbm2",
    ),
    Row::new("collapse 512 pages into a block, per block", "collapse"),
    Row::new("tear-down of 1 GiB of pages, per table page", "free")
        .at_most(45.0)
        .note("peers: without invalidation; aarch64-paging: to the C library"),
    Row::new(
        "tear-down of a page in each of 256 GiB, per table page",
        "free-sparse",
    ),
    Row::new("context switch, VMID current, same vCPU", "enter-same").at_most(60.0),
    Row::new("context switch between two, VMIDs current", "enter-other").at_most(60.0),
    Row::new("walk to a page", "walk")
        .at_most(150.0)
        .note("each gives output, attributes and level; aarch64-paging: by a callback"),
    Row::new("memory beyond the tables, per mapped page", "extra-memory")
        .counting(Counted::Bytes)
        .at_most(0.0),
    Row::new("discharge: 1 page", "discharge-1"),
    Row::new("discharge: 16 pages", "discharge-16"),
    Row::new("discharge: 511 pages", "discharge-511"),
    Row::new(
        "discharge without FEAT_TLBIRANGE: 1 page",
        "discharge-1-plain",
    ),
    Row::new(
        "discharge without FEAT_TLBIRANGE: 16 pages",
        "discharge-16-plain",
    ),
    Row::new(
        "discharge without FEAT_TLBIRANGE: 64 pages",
        "discharge-64-plain",
    ),
    Row::new(
        "discharge without FEAT_TLBIRANGE: 511 pages",
        "discharge-511-plain",
    )
    .note("the whole VMID"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_figure_is_named_twice() {
        let mut names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
    }
}
