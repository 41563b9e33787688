//! The figures: what was measured, what is aimed at, what the closest peer needs.

use serde_json::{Value, json};
use std::fmt::Write;

/// One row.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Figure {
    /// What it is the cost of.
    pub(crate) name: String,
    /// Unit of all its numbers.
    pub(crate) unit: &'static str,
    /// What was measured; less is better.
    pub(crate) measured: f64,
    /// What is aimed at.
    pub(crate) target: Option<f64>,
    /// What Linux KVM needs on the same machine.
    pub(crate) peer: Option<f64>,
}

impl Figure {
    /// A figure without target and peer.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, measured: f64) -> Self {
        Self {
            name: name.into(),
            unit,
            measured,
            target: None,
            peer: None,
        }
    }

    /// Adds what is aimed at.
    pub(crate) fn target(self, target: f64) -> Self {
        Self {
            target: Some(target),
            ..self
        }
    }

    /// Adds what Linux KVM needs.
    pub(crate) fn peer(self, peer: f64) -> Self {
        Self {
            peer: Some(peer),
            ..self
        }
    }

    /// Whether it has a target and misses it.
    pub(crate) fn is_missed(&self) -> bool {
        self.target.is_some_and(|target| self.measured > target)
    }
}

/// The rows as an aligned table.
pub(crate) fn table(figures: &[Figure]) -> String {
    let head = ["figure", "measured", "target", "peer", "unit"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(head)
        .chain(figures.iter().map(row))
        .collect();
    let widths: [usize; 5] =
        std::array::from_fn(|n| rows.iter().map(|r| r[n].chars().count()).max().unwrap_or(0));
    let mut out = String::new();
    for [name, measured, target, peer, unit] in &rows {
        let [w0, w1, w2, w3, _] = widths;
        writeln!(
            out,
            "{name:<w0$}  {measured:>w1$}  {target:>w2$}  {peer:>w3$}  {unit}"
        )
        .expect("a string takes every line");
    }
    out
}

fn row(figure: &Figure) -> [String; 5] {
    let optional = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), grouped);
    let missed = if figure.is_missed() { " (missed)" } else { "" };
    [
        figure.name.clone(),
        grouped(figure.measured),
        optional(figure.target),
        optional(figure.peer),
        format!("{}{missed}", figure.unit),
    ]
}

/// A number with its thousands apart; below 100 with three decimals unless it is whole.
pub(super) fn grouped(value: f64) -> String {
    if value < 100.0 && value.fract() != 0.0 {
        return format!("{value:.3}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n != 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The rows for programs.
pub(crate) fn json(figures: &[Figure]) -> Value {
    let one = |f: &Figure| {
        json!({
            "name": f.name, "unit": f.unit, "measured": f.measured, "target": f.target, "peer": f.peer,
            "missed": f.is_missed(),
        })
    };
    json!({ "figures": figures.iter().map(one).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Vec<Figure> {
        vec![
            Figure::new("hypercall", "instructions", 150.4)
                .target(200.0)
                .peer(1742.0),
            Figure::new("boot", "instructions", 12_345_678.0).target(1e7),
            Figure::new("ratio", "times", 1.025),
        ]
    }

    #[test]
    fn rows_are_aligned_and_misses_named() {
        assert_eq!(
            table(&figures()),
            "figure       measured      target   peer  unit\n\
             hypercall         150         200  1,742  instructions\n\
             boot       12,345,678  10,000,000      -  instructions (missed)\n\
             ratio           1.025           -      -  times\n"
        );
    }

    #[test]
    fn a_figure_at_its_target_meets_it() {
        let at = |measured| {
            Figure::new("x", "instructions", measured)
                .target(200.0)
                .is_missed()
        };
        assert!(!at(200.0));
        assert!(at(200.1));
        assert!(
            !Figure::new("x", "instructions", 1e9).is_missed(),
            "nothing aimed at, nothing missed"
        );
    }

    #[test]
    fn programs_read_the_same_numbers() {
        let value = json(&figures());
        assert_eq!(value["figures"][0]["peer"], 1742.0);
        assert_eq!(value["figures"][1]["missed"], true);
        assert_eq!(value["figures"][2]["target"], Value::Null);
    }
}
