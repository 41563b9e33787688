//! How findings are told: to people, and to programs.

mod html;
mod sarif;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use droste_mmu_model::Rule;
use serde_json::{Value, json};

use crate::decode;
use crate::event::{Event, Kind};
use crate::judge::{Judge, Numbered, Told};
use crate::symbols::Symbols;

/// Events between the two ends of a finding that are told: the first of them, and the last. A page has more.
const FIRST: usize = 8;
const LAST: usize = 16;

/// Findings that are known: their keys, one a line. A comment begins with `#`, at the start of a line or after white space.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Ignored(BTreeSet<String>);

impl Ignored {
    /// Reads the lines.
    pub fn parse(text: &str) -> Self {
        let keys = text.lines().map(|line| {
            // Names have it as well: `krate::{closure#0}`.
            let mut marks = line.match_indices('#').map(|(at, _)| &line[..at]);
            let comment = marks.find(|key| key.chars().last().is_none_or(char::is_whitespace));
            comment.unwrap_or(line).trim()
        });
        Self(
            keys.filter(|key| !key.is_empty())
                .map(str::to_owned)
                .collect(),
        )
    }
}

/// What a judge has found, with names.
#[derive(Debug)]
pub struct Report<'a> {
    judge: &'a Judge,
    symbols: &'a Symbols,
    told: Vec<Told>,
    ignored: Vec<String>,
    unused: Vec<String>,
}

impl<'a> Report<'a> {
    /// Of what was found so far, without what is ignored.
    pub fn new(judge: &'a Judge, symbols: &'a Symbols, ignore: &Ignored) -> Self {
        let key = |told: &Told| key(told, symbols);
        let (ignored, told): (Vec<_>, Vec<_>) = judge
            .told()
            .into_iter()
            .partition(|told| ignore.0.contains(&key(told)));
        let ignored: Vec<_> = ignored.iter().map(key).collect();
        let unused = ignore.0.iter().filter(|key| !ignored.contains(key));
        Self {
            judge,
            symbols,
            told,
            unused: unused.cloned().collect(),
            ignored,
        }
    }

    /// Whether nothing was found that is not ignored.
    pub fn is_clean(&self) -> bool {
        self.told.is_empty()
    }

    /// Why nothing can be said, if so.
    pub fn doubt(&self) -> Option<&'static str> {
        if !self.judge.is_ended() {
            Some("the trace broke off before its end")
        } else if self.judge.count(Kind::Enter) == 0 {
            Some("no guest was entered with stage 2 on")
        } else {
            None
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (index, told) in self.told.iter().enumerate() {
            self.put(&mut out, index + 1, told);
        }
        for key in &self.unused {
            let _ = writeln!(out, "ignored, and not found: {key}");
        }
        let judge = self.judge;
        let _ = writeln!(
            out,
            "{} kinds of findings, {} ignored; {} events: {} stores to tables, {} TLBIs, {} entries; {} violations in \
             tables that nobody entered again",
            self.told.len(),
            self.ignored.len(),
            judge.events(),
            judge.count(Kind::Write),
            judge.count(Kind::Tlbi),
            judge.count(Kind::Enter),
            judge.held(),
        );
        out
    }

    fn put(&self, out: &mut String, index: usize, told: &Told) {
        let violation = &told.finding.violation;
        let _ = writeln!(out, "{index}. {}", violation.rule);
        let _ = writeln!(
            out,
            "   {} times; key: {}",
            told.finding.count,
            key(told, self.symbols)
        );
        if let Some(vmid) = violation.vmid {
            let _ = writeln!(out, "   VMID {vmid}");
        }
        if let Some(entry) = violation.entry {
            let _ = writeln!(out, "   {entry}");
        }
        let _ = writeln!(out, "   broken by");
        self.put_with_callers(out, &told.broken);
        if let Some(set_up) = &told.set_up {
            let _ = writeln!(out, "   set up by");
            self.put_with_callers(out, set_up);
        } else if let Some(site) = told.finding.earlier_site {
            let _ = writeln!(out, "   set up by {}, long before", self.symbols.name(site));
        }
        let what = if told.set_up.is_some() {
            "between"
        } else {
            "before"
        };
        let _ = writeln!(out, "   {what} (event, CPU):");
        let mut last = None;
        for seen in short(&told.between) {
            if last.is_some_and(|last| last + 64 < seen.number) {
                let _ = writeln!(out, "          …");
            }
            last = Some(seen.number);
            let _ = writeln!(out, "   {}", self.line(seen));
        }
        out.push('\n');
    }

    fn put_with_callers(&self, out: &mut String, seen: &Numbered) {
        let _ = writeln!(out, "   {}", self.line(seen));
        for place in self.judge.callers(&seen.event) {
            let name = self.symbols.name(place);
            let _ = writeln!(out, "{:>64}called from {name}", "");
        }
    }

    fn line(&self, seen: &Numbered) -> String {
        let event = &seen.event;
        let place = self.place(event);
        format!(
            "{:>10} {:>2}  {:<48} {place}",
            seen.number,
            event.cpu,
            what(event)
        )
    }

    fn place(&self, event: &Event) -> String {
        if event.pc == 0 {
            String::new()
        } else {
            self.symbols.name(event.pc)
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let findings: Vec<_> = self.told.iter().map(|told| self.finding(told)).collect();
        json!({
            "version": 1,
            "findings": findings,
            "ignored": self.ignored,
            "ignored_and_not_found": self.unused,
            "doubt": self.doubt(),
            "events": self.judge.events(),
            "stores": self.judge.count(Kind::Write),
            "tlbis": self.judge.count(Kind::Tlbi),
            "entries": self.judge.count(Kind::Enter),
            "held": self.judge.held(),
        })
    }

    fn finding(&self, told: &Told) -> Value {
        let violation = &told.finding.violation;
        let entry = violation.entry.map(|entry| {
            json!({
                "descriptor": entry.descriptor.0,
                "ipa": entry.ipa.0,
                "bytes": entry.bytes,
                "level": entry.level,
                "old": entry.old,
                "new": entry.new,
            })
        });
        let callers = |seen: &Numbered| -> Vec<Value> {
            let places = self.judge.callers(&seen.event).into_iter();
            places
                .map(|pc| json!({ "pc": pc, "place": self.symbols.name(pc) }))
                .collect()
        };
        let event = |seen: &Numbered| {
            json!({
                "number": seen.number,
                "cpu": seen.event.cpu,
                "pc": seen.event.pc,
                "place": self.place(&seen.event),
                "what": what(&seen.event),
                "callers": callers(seen),
            })
        };
        json!({
            "rule": violation.rule.to_string(),
            "key": key(told, self.symbols),
            "count": told.finding.count,
            "vmid": violation.vmid,
            "entry": entry,
            "broken": event(&told.broken),
            "set_up": told.set_up.as_ref().map(event),
            "between": short(&told.between).map(event).collect::<Vec<_>>(),
        })
    }
}

/// The first of what came between, and the last.
fn short(between: &[Numbered]) -> impl Iterator<Item = &Numbered> {
    let first = between.len().min(FIRST);
    let last = between.len().saturating_sub(LAST).max(first);
    between[..first].iter().chain(&between[last..])
}

/// What a finding is known by from run to run: its rule, and the function that set it up, or else broke it.
fn key(told: &Told, symbols: &Symbols) -> String {
    let site = told.finding.earlier_site.unwrap_or(told.finding.site);
    format!(
        "{} {}",
        name(told.finding.violation.rule),
        symbols.function(site)
    )
}

fn name(rule: Rule) -> String {
    format!("{rule:?}")
}

/// An event in words.
fn what(event: &Event) -> String {
    let (a, b) = (event.a, event.b);
    match event.kind {
        Kind::Write => format!("[{a:#x}] := {b:#x}"),
        Kind::Learn => format!("[{a:#x}] is {b:#x}"),
        Kind::Order => "orders its writes (dmb, or a store-release)".into(),
        Kind::Dsb => {
            let domain = ["osh", "nsh", "ish", ""][(a >> 2 & 3) as usize];
            let accesses = ["", "ld", "st", ""][(a & 3) as usize];
            match (domain, accesses) {
                ("", "") => "dsb sy".into(),
                _ => format!("dsb {domain}{accesses}"),
            }
        }
        Kind::Isb => "isb".into(),
        Kind::Tlbi => match decode::tlbi(a as u32, b) {
            Some(tlbi) => format!("tlbi {tlbi}"),
            None => format!("tlbi {a:#x}"),
        },
        Kind::Vttbr => format!("VTTBR_EL2 := {b:#x}"),
        Kind::Vtcr => format!("VTCR_EL2 := {b:#x}"),
        Kind::Hcr => format!("HCR_EL2 := {b:#x}"),
        Kind::Enter => format!("enters a guest, VMPIDR_EL2 {a:#x}"),
        Kind::Exit => "leaves the guest".into(),
        Kind::Done => "returns to a user".into(),
        Kind::End => "the end".into(),
        Kind::Frame => format!("called from {b:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_begins_a_line_or_follows_white_space() {
        let text =
            "# known\nA(B) krate::{closure#0} # since ever\nA(B) c::d#1\t#2\n  #\n\nA(B) e\n";
        let keys = ["A(B) krate::{closure#0}", "A(B) c::d#1", "A(B) e"];
        let keys = keys.into_iter().map(str::to_owned).collect();
        assert_eq!(Ignored::parse(text), Ignored(keys));
    }
}
