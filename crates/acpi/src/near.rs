//! Which CPUs are near to which memory: the SRAT (ACPI 6.5, 5.2.16).

use alloc::vec::Vec;

use droste_platform::Node;

use crate::error::Error;
use crate::table::Table;

/// The nodes of the SRAT. `processors` has the MPIDR of each CPU that can be started, with the UID by which it is named here.
pub(crate) fn nodes(srat: &Table<'_>, processors: &[(u32, u64)]) -> Result<Vec<Node>, Error> {
    const RECORDS: usize = 48;
    const ENABLED: u32 = 1;
    let mut nodes = Vec::new();
    for record in srat.records(RECORDS) {
        let record = record?;
        match record.kind {
            // Memory.
            1 if record.word(28)? & ENABLED != 0 => {
                let (start, bytes) = (record.number(8, 8)?, record.number(16, 8)?);
                let range = start.checked_add(bytes).map(|end| start..end);
                let range = range.ok_or_else(|| {
                    srat.malformed(record.at + 16, "memory goes past the last address")
                })?;
                if !range.is_empty() {
                    Node::of(&mut nodes, record.word(2)?).memory.push(range);
                }
            }
            // A CPU of the MADT.
            3 if record.word(10)? & ENABLED != 0 => {
                let uid = record.word(6)?;
                let known = processors.iter().find(|(known, _)| *known == uid);
                if let Some((_, mpidr)) = known {
                    Node::of(&mut nodes, record.word(2)?).cpus.push(*mpidr);
                }
            }
            _ => {}
        }
    }
    for node in &mut nodes {
        node.memory.sort_by_key(|range| range.start);
    }
    Ok(nodes)
}
