//! `cargo xtask bench stage2`: what guests' memory costs, in instructions.
//!
//! Two machines count. Operations on tables run on the host, in the program `droste-stage2-bench`, under callgrind: the
//! source is that of EL2, the instructions are the host's. There the same operations of other crates run beside ours.
//! What a guest feels (a first touch, a switch of vCPUs) runs in QEMU, where the plugin counts what EL2
//! executes from exit to entry. Both repeat exactly.

mod callgrind;
mod el2;
mod rows;
mod table;

use super::Options;
use crate::workspace::Failure;
use callgrind::Program;
use rows::{ROWS, Row};
use table::Figure;

/// The crates that are measured beside ours, as the names of their cases begin, and what to know of their figures.
pub(crate) const PEERS: [(&str, &str); 2] = [
    (
        "aarch64-paging",
        "a live table's TLB maintenance (one IPAS2E1IS for each leaf, also of fresh mappings) is not in its counts. \
         Absent: VMALLE1IS after it, so that entries that combine both stages stay; VMIDs; break-before-make (it \
         refuses instead: a live block is not split); faults beside each other; dirty log; putting blocks together; \
         pages for tables other than from an allocator that may panic; IPA sizes that need concatenated roots",
    ),
    (
        "page_table_multiarch",
        "TLB maintenance is compiled for bare metal alone and is not in its counts. Absent: stage-2 descriptors and \
         TLB maintenance by IPA or VMID (its users write both); break-before-make; splitting and putting together; \
         removal of empty tables; barriers after mapping; faults beside each other; access flags; concatenated roots",
    ),
];

/// Measures, prints, writes, checks.
///
/// # Errors
/// If a run fails, or with `--check` if a target is missed.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let program = Program::build()?;
    let mut figures = host(&program)?;
    figures.extend(el2::measure(options.qemu.as_deref())?);
    print!("{}", table::text(&figures));
    if let Some(file) = &options.json {
        let json = format!("{:#}\n", table::json(&figures));
        droste::output::Output::open(file)?.write(json.as_bytes())?;
    }
    let missed = figures.iter().filter(|figure| figure.is_missed());
    super::judge(options, missed.map(|figure| figure.name.as_str()))
}

fn host(program: &Program) -> Result<Vec<Figure>, Failure> {
    let _step = droste::progress::step("counting stage 2 on this host");
    let known = program.cases()?;
    ROWS.iter()
        .map(|row| figure(program, &known, row))
        .collect()
}

/// A row with its figure, and those of the peers that have the case.
fn figure(program: &Program, known: &[String], row: &Row) -> Result<Figure, Failure> {
    let mut peers = [None; PEERS.len()];
    for (peer, (crate_name, _)) in peers.iter_mut().zip(PEERS) {
        let case = format!("{crate_name}/{}", row.case);
        if row.has_peers && known.contains(&case) {
            *peer = Some(row.counted.of(&program.count(&case)?)?);
        }
    }
    Ok(Figure {
        name: row.name.to_owned(),
        unit: row.counted.unit(),
        measured: row.counted.of(&program.count(row.case)?)?,
        target: row.target,
        peers,
        note: row.note.to_owned(),
    })
}
