//! What guests' memory costs EL2, counted in QEMU from exit to entry.

use super::PEERS;
use super::table::Figure;
use crate::bench::runs::Parts;
use crate::bench::{INSTRUCTIONS, sections};
use crate::workspace::Failure;
use std::path::Path;

/// Each section of the guest `exits` that is one of these: its name, what it is, what is aimed at.
const SECTIONS: [(&str, &str, Option<f64>); 2] = [
    (
        "fault-4k",
        "EL2: first touch of a page and its 15 neighbours",
        Some(900.0),
    ),
    ("fault-2m", "EL2: first touch of a 2 MiB block", None),
];

/// Runs the guest and takes its figures.
///
/// # Errors
/// If the guest does not come to its end, or lacks a section.
pub(crate) fn measure(qemu: Option<&Path>) -> Result<Vec<Figure>, Failure> {
    let run = Parts::gather(qemu)?.exits(1)?;
    let sections = sections(&run.console)?;
    let figure = |(name, described, target): &(&str, &str, Option<f64>)| {
        let section = sections.iter().find(|section| section.name == *name);
        let section =
            section.ok_or_else(|| Failure::new(format!("the guest has no section {name}")))?;
        Ok(Figure {
            name: (*described).to_owned(),
            unit: INSTRUCTIONS,
            measured: section.cost(&run)?,
            target: *target,
            peers: [None; PEERS.len()],
            note: "from exit to entry".to_owned(),
        })
    };
    SECTIONS.iter().map(figure).collect()
}
