//! The cases of the crate `aarch64-paging`: its `LinearMap` for stage 2, guest address to output by a fixed offset.
//!
//! Tables are marked active, which has the crate check break-before-make and do its TLB maintenance, unless a case's
//! name ends in `-idle`. The maintenance itself is empty on a host that is no Arm, so it is not in the counts: at EL2
//! each leaf of a range costs a `TLBI IPAS2E1IS` more, also where it was just mapped for the first time.

use std::hint::black_box;

use aarch64_paging::descriptor::Stage2Attributes;
use aarch64_paging::linearmap::LinearMap;
use aarch64_paging::paging::{Constraints, MemoryRegion, Stage2};

use crate::case::{BLOCK, Case, Done, MEMORY, MEMORY_BYTES, OFFSET, PAGE, SPARSE, measured};

/// All cases.
pub(crate) const CASES: &[Case] = &[
    ("aarch64-paging/map-pages", || map(Use::Active, PAGE)),
    ("aarch64-paging/map-pages-idle", || map(Use::Idle, PAGE)),
    ("aarch64-paging/map-blocks", || map(Use::Active, BLOCK)),
    ("aarch64-paging/unmap-pages", || unmap(MEMORY_BYTES, PAGE)),
    ("aarch64-paging/unmap-parts", unmap_parts),
    ("aarch64-paging/unmap-page-by-page", || unmap(PAGE, PAGE)),
    ("aarch64-paging/unmap-blocks", || unmap(MEMORY_BYTES, BLOCK)),
    ("aarch64-paging/fault-page", || fault(PAGE)),
    ("aarch64-paging/fault-block", || fault(BLOCK)),
    ("aarch64-paging/protect-blocks", || protect(BLOCK)),
    ("aarch64-paging/protect-pages", || protect(PAGE)),
    ("aarch64-paging/age", age),
    ("aarch64-paging/split", split),
    ("aarch64-paging/walk", walk),
    ("aarch64-paging/free", free),
    ("aarch64-paging/free-sparse", free_sparse),
];

/// Faults, and walks, of one case.
const FAULTS: u64 = 512;

/// Memory as ours is mapped, with FEAT_S2FWB: MemAttr 0b0110, read and write, Inner Shareable, accessed.
const RAM: Stage2Attributes = Stage2Attributes::VALID
    .union(Stage2Attributes::MEMATTR_DEVICE_nGRE)
    .union(Stage2Attributes::MEMATTR_NORMAL_OUTER_NC)
    .union(Stage2Attributes::S2AP_ACCESS_RW)
    .union(Stage2Attributes::SH_INNER)
    .union(Stage2Attributes::ACCESS_FLAG);

/// Whether a guest may be running by the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Idle,
    Active,
}

fn table(usage: Use) -> LinearMap<Stage2> {
    let mut table = LinearMap::new(1, OFFSET.cast_signed() as isize, Stage2);
    if usage == Use::Active {
        table.mark_active();
    }
    table
}

fn region(start: u64, bytes: u64) -> MemoryRegion {
    MemoryRegion::new(start as usize, (start + bytes) as usize)
}

fn memory() -> MemoryRegion {
    black_box(region(MEMORY, MEMORY_BYTES))
}

fn constraints(leaf: u64) -> Constraints {
    black_box(if leaf == PAGE {
        Constraints::NO_BLOCK_MAPPINGS | Constraints::NO_CONTIGUOUS_HINT
    } else {
        Constraints::NO_CONTIGUOUS_HINT
    })
}

/// Maps the memory by pages, or by 2 MiB blocks, one call a block: the crate would take 1 GiB for all of it.
fn fill(table: &mut LinearMap<Stage2>, leaf: u64) {
    let step = if leaf == PAGE { MEMORY_BYTES } else { BLOCK };
    let constraints = constraints(leaf);
    for start in (MEMORY..MEMORY + MEMORY_BYTES).step_by(step as usize) {
        table
            .map_range_with_constraints(&region(start, step), RAM, constraints)
            .expect("the memory is empty");
    }
}

fn mapped(leaf: u64) -> LinearMap<Stage2> {
    let mut table = table(Use::Idle);
    fill(&mut table, leaf);
    table.mark_active();
    table
}

/// Runs what is counted. An active table may not be dropped.
fn measure(
    mut table: LinearMap<Stage2>,
    units: u64,
    body: impl FnOnce(&mut LinearMap<Stage2>),
) -> Done {
    measured(|| body(&mut table));
    table.mark_inactive();
    Done::new(units)
}

fn map(usage: Use, leaf: u64) -> Done {
    let mut table = table(usage);
    measured(|| fill(&mut table, leaf));
    if usage == Use::Active {
        table.mark_inactive();
    }
    Done::new(MEMORY_BYTES / leaf)
}

fn unmap(piece: u64, leaf: u64) -> Done {
    measure(mapped(leaf), MEMORY_BYTES / leaf, |table| {
        for start in (MEMORY..MEMORY + MEMORY_BYTES).step_by(piece as usize) {
            take(table, &region(start, piece));
        }
    })
}

fn unmap_parts() -> Done {
    let parts = MEMORY_BYTES / BLOCK;
    measure(mapped(PAGE), parts * (BLOCK / PAGE - 1), |table| {
        for start in (MEMORY..MEMORY + MEMORY_BYTES).step_by(BLOCK as usize) {
            take(table, &region(start + PAGE, BLOCK - PAGE));
        }
    })
}

fn take(table: &mut LinearMap<Stage2>, region: &MemoryRegion) {
    table
        .map_range(region, Stage2Attributes::empty())
        .expect("to unmap is possible");
}

/// Maps one leaf after another, as a hypervisor that has decided so about a fault would.
fn fault(leaf: u64) -> Done {
    let constraints = constraints(leaf);
    let step = if leaf == PAGE { 16 * PAGE } else { BLOCK };
    measure(table(Use::Active), FAULTS, |table| {
        for number in 0..FAULTS {
            table
                .map_range_with_constraints(&region(MEMORY + number * step, leaf), RAM, constraints)
                .expect("the memory is empty");
        }
    })
}

fn protect(leaf: u64) -> Done {
    change(leaf, Stage2Attributes::S2AP_ACCESS_WO)
}

fn age() -> Done {
    change(PAGE, Stage2Attributes::ACCESS_FLAG)
}

/// Clears attributes of all leaves.
fn change(leaf: u64, clear: Stage2Attributes) -> Done {
    measure(mapped(leaf), MEMORY_BYTES / leaf, |table| {
        table
            .modify_range(&memory(), &|_, descriptor| {
                descriptor.modify_flags(Stage2Attributes::empty(), clear)
            })
            .expect("attributes may change");
    })
}

/// Splits each block by changing a page of it. The crate refuses that for a table in use.
fn split() -> Done {
    let mut table = table(Use::Idle);
    fill(&mut table, BLOCK);
    measured(|| {
        for start in (MEMORY..MEMORY + MEMORY_BYTES).step_by(BLOCK as usize) {
            table
                .modify_range(&region(start, PAGE), &|_, descriptor| {
                    descriptor
                        .modify_flags(Stage2Attributes::empty(), Stage2Attributes::S2AP_ACCESS_WO)
                })
                .expect("an idle table splits");
        }
    });
    Done::new(MEMORY_BYTES / BLOCK)
}

fn walk() -> Done {
    measure(mapped(PAGE), FAULTS, |table| {
        for number in 0..FAULTS {
            table
                .walk_range(
                    &region(MEMORY + number * PAGE, PAGE),
                    &mut |at, leaf, level| {
                        black_box((at.start(), leaf.output_address(), leaf.flags(), level));
                        Ok(())
                    },
                )
                .expect("it is mapped");
        }
    })
}

fn free() -> Done {
    let mut table = table(Use::Idle);
    fill(&mut table, PAGE);
    // With the root, which is freed too.
    let tables = MEMORY_BYTES / BLOCK + 2;
    measured(|| drop(table));
    Done::new(tables)
}

fn free_sparse() -> Done {
    let mut table = table(Use::Idle);
    for number in 0..SPARSE {
        table
            .map_range_with_constraints(&region(number << 30, PAGE), RAM, constraints(PAGE))
            .expect("the memory is empty");
    }
    measured(|| drop(table));
    Done::new(2 * SPARSE + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(table: &LinearMap<Stage2>) -> u64 {
        let mut count = 0;
        table
            .walk_range(&memory(), &mut |_, descriptor, _| {
                count += u64::from(descriptor.is_valid());
                Ok(())
            })
            .expect("a walk");
        count
    }

    #[test]
    fn memory_is_mapped_by_the_leaves_that_a_case_is_named_for() {
        for leaf in [PAGE, BLOCK] {
            let mut table = mapped(leaf);
            assert_eq!(leaves(&table), MEMORY_BYTES / leaf);
            take(&mut table, &memory());
            assert_eq!(leaves(&table), 0);
            table.mark_inactive();
        }
    }

    #[test]
    fn a_block_of_a_table_in_use_is_not_split() {
        let mut table = mapped(BLOCK);
        let result = table.modify_range(&region(MEMORY, PAGE), &|_, descriptor| {
            descriptor.modify_flags(Stage2Attributes::empty(), Stage2Attributes::S2AP_ACCESS_WO)
        });
        assert!(result.is_err());
        table.mark_inactive();
    }
}
