//! Findings as a page for a browser: one file that asks for nothing else, with the time line of each, and its tables.

use droste_mmu_model::{Leads, Row};
use serde_json::{Value, json};

use super::{Report, name, what};
use crate::event::Kind;
use crate::judge::{Numbered, Told};

const PAGE: &str = include_str!("page.html");
/// Where the page has its data.
const DATA: &str = "@REPORT@";

impl Report<'_> {
    /// For people with a browser.
    pub fn html(&self) -> String {
        let mut report = self.json();
        let findings = (1..).zip(&self.told);
        report["findings"] = findings
            .map(|(index, told)| self.shown(index, told))
            .collect();
        // Nothing of the data ends the element that it stands in.
        let data = report.to_string().replace('<', "\\u003c");
        PAGE.replacen(DATA, &data, 1)
    }

    fn shown(&self, index: usize, told: &Told) -> Value {
        let violation = &told.finding.violation;
        let mut shown = self.finding(told);
        let events = told.before.iter().map(|seen| (seen, ""));
        let events = events.chain(told.set_up.iter().map(|seen| (seen, "setup")));
        let events = events.chain(told.between.iter().map(|seen| (seen, "")));
        let events = events.chain([(&told.broken, "broken")]);
        let events = events.map(|(seen, role)| self.mark(seen, role));
        let entry = violation.entry;
        let ipa = entry.map(|entry| entry.ipa.0);
        shown["index"] = index.into();
        shown["id"] = name(violation.rule).into();
        shown["about"] = entry.map(|entry| entry.to_string()).into();
        shown["descriptor"] = entry.map(|entry| hex(entry.descriptor.0)).into();
        shown["events"] = events.collect();
        shown["tree"] = told.tree.iter().map(|row| tabled(row, ipa)).collect();
        shown
    }

    fn mark(&self, seen: &Numbered, role: &str) -> Value {
        json!({
            "number": seen.number,
            "cpu": seen.event.cpu,
            "kind": kind(seen.event.kind),
            "what": what(&seen.event),
            "place": self.place(&seen.event),
            "role": role,
        })
    }
}

fn tabled(row: &Row, ipa: Option<u64>) -> Value {
    let leads = match row.leads {
        Leads::Nowhere => "faults".to_owned(),
        Leads::Table(table) => format!("table {table}"),
        Leads::Memory(memory) => format!("memory {memory}"),
    };
    json!({
        "level": row.level,
        "descriptor": hex(row.descriptor.0),
        "raw": hex(row.raw),
        "ipa": hex(row.ipa.0),
        "bytes": hex(row.bytes),
        "leads": leads,
        "table": matches!(row.leads, Leads::Table(_)),
        "way": ipa.is_some_and(|ipa| ipa.wrapping_sub(row.ipa.0) < row.bytes),
    })
}

/// Numbers of 64 bits are more than a browser's.
fn hex(number: u64) -> String {
    format!("{number:#x}")
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Write => "store",
        Kind::Learn | Kind::Frame => "learn",
        Kind::Order => "order",
        Kind::Dsb => "dsb",
        Kind::Isb => "isb",
        Kind::Tlbi => "tlbi",
        Kind::Vttbr | Kind::Vtcr | Kind::Hcr => "register",
        Kind::Enter => "enter",
        Kind::Exit => "exit",
        Kind::Done => "done",
        Kind::End => "end",
    }
}
