//! The figures of stage 2 with those of the peers, for people and for programs.

use super::PEERS;
use crate::bench::figures::grouped;
use serde_json::{Value, json};
use std::fmt::Write;

/// One row.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Figure {
    /// What it is the cost of.
    pub(crate) name: String,
    /// Unit of all its numbers.
    pub(crate) unit: &'static str,
    /// Ours; less is better.
    pub(crate) measured: f64,
    /// What is aimed at.
    pub(crate) target: Option<f64>,
    /// Of the crates in [`PEERS`].
    pub(crate) peers: [Option<f64>; PEERS.len()],
    /// What to know when comparing; may be empty.
    pub(crate) note: String,
}

impl Figure {
    /// Whether it has a target and misses it.
    pub(crate) fn is_missed(&self) -> bool {
        self.target.is_some_and(|target| self.measured > target)
    }
}

/// The rows as an aligned table, and what the peers leave out.
pub(crate) fn text(figures: &[Figure]) -> String {
    let [a, b] = PEERS.map(|(name, _)| name);
    let head = ["figure", "target", "ours", a, b, "unit, note"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head)
        .chain(figures.iter().map(row))
        .collect();
    let widths: [usize; 6] =
        std::array::from_fn(|n| rows.iter().map(|r| r[n].chars().count()).max().unwrap_or(0));
    let [w0, w1, w2, w3, w4, _] = widths;
    let mut out = String::new();
    for [name, target, ours, a, b, note] in &rows {
        writeln!(
            out,
            "{name:<w0$}  {target:>w1$}  {ours:>w2$}  {a:>w3$}  {b:>w4$}  {note}"
        )
        .expect("a string takes every line");
    }
    for (name, about) in PEERS {
        writeln!(out, "\n{name}: {about}.").expect("a string takes every line");
    }
    out
}

fn row(figure: &Figure) -> [String; 6] {
    let optional = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), grouped);
    let missed = if figure.is_missed() { " (missed)" } else { "" };
    let gap = if figure.note.is_empty() { "" } else { "; " };
    let [a, b] = figure.peers;
    [
        figure.name.clone(),
        optional(figure.target),
        grouped(figure.measured),
        optional(a),
        optional(b),
        format!("{}{missed}{gap}{}", figure.unit, figure.note),
    ]
}

/// The rows for programs.
pub(crate) fn json(figures: &[Figure]) -> Value {
    let one = |f: &Figure| {
        let peers = PEERS.map(|(name, _)| name).into_iter().zip(f.peers);
        let peers: serde_json::Map<String, Value> = peers
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        json!({
            "name": f.name.trim_start(), "unit": f.unit, "measured": f.measured, "target": f.target,
            "missed": f.is_missed(), "peers": peers, "note": f.note,
        })
    };
    json!({
        "figures": figures.iter().map(one).collect::<Vec<_>>(),
        "peers": PEERS.map(|(name, about)| json!({ "name": name, "about": about })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> [Figure; 2] {
        let figure = Figure {
            name: "map".to_owned(),
            unit: "instructions",
            measured: 25.0,
            target: Some(40.0),
            peers: [Some(55.0), None],
            note: String::new(),
        };
        let missed = Figure {
            name: "unmap".to_owned(),
            measured: 40.5,
            note: "all of it".to_owned(),
            ..figure.clone()
        };
        [figure, missed]
    }

    #[test]
    fn rows_are_aligned_and_misses_named() {
        let text = text(&figures());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "figure  target    ours  aarch64-paging  page_table_multiarch  unit, note",
                "map         40      25              55                     -  instructions",
                "unmap       40  40.500              55                     -  instructions (missed); all of it",
            ]
        );
        assert!(lines[4].starts_with("aarch64-paging: "));
    }

    #[test]
    fn programs_read_the_same_numbers() {
        let value = json(&figures());
        assert_eq!(value["figures"][0]["peers"]["aarch64-paging"], 55.0);
        assert_eq!(value["figures"][0]["missed"], false);
        assert_eq!(value["figures"][1]["missed"], true);
    }
}
