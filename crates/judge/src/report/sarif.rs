//! Findings as SARIF 2.1.0, the OASIS standard in which tools tell what they have found: for what shows and compares them.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Report, key, name, short, what};
use crate::judge::{Numbered, Told};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

impl Report<'_> {
    /// For programs that know SARIF.
    pub fn sarif(&self) -> Value {
        let mut rules: Vec<_> = self.told.iter().map(rule).collect();
        rules.sort_unstable();
        rules.dedup();
        let results = self.told.iter().map(|told| {
            let index = rules.binary_search(&rule(told)).unwrap_or_default();
            self.result(told, index)
        });
        let results: Vec<_> = results.collect();
        let described = rules.iter().map(|(id, text)| {
            json!({
                "id": id,
                "shortDescription": { "text": text },
                "defaultConfiguration": { "level": "error" },
            })
        });
        let doubts = self.doubt().into_iter();
        let doubts = doubts.map(|doubt| json!({ "level": "error", "message": { "text": doubt } }));
        json!({
            "$schema": SCHEMA,
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": {
                    "name": "droste judge",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": described.collect::<Vec<_>>(),
                } },
                "invocations": [{
                    "executionSuccessful": self.doubt().is_none(),
                    "toolExecutionNotifications": doubts.collect::<Vec<_>>(),
                }],
                "results": results,
                "properties": { "ignored": self.ignored, "ignoredAndNotFound": self.unused },
            }],
        })
    }

    fn result(&self, told: &Told, rule_index: usize) -> Value {
        let violation = &told.finding.violation;
        let mut text = violation.rule.to_string();
        if let Some(vmid) = violation.vmid {
            let _ = write!(text, "; VMID {vmid}");
        }
        if let Some(entry) = violation.entry {
            let _ = write!(text, "; {entry}");
        }
        let ends = [
            ("broken by", Some(&told.broken)),
            ("set up by", told.set_up.as_ref()),
        ];
        let ends = ends
            .into_iter()
            .filter_map(|(role, seen)| Some((role, seen?)));
        let stacks = ends.map(|(role, seen)| self.stack(role, seen));
        let mut result = json!({
            "ruleId": name(violation.rule),
            "ruleIndex": rule_index,
            "level": "error",
            "message": { "text": text },
            "locations": [self.location(told.broken.event.pc, &what(&told.broken.event))],
            "stacks": stacks.collect::<Vec<_>>(),
            "codeFlows": [{ "threadFlows": self.flows(told) }],
            "occurrenceCount": told.finding.count,
            "partialFingerprints": { "drosteKey/v1": key(told, self.symbols) },
        });
        if let Some(set_up) = &told.set_up {
            let place = self.location(set_up.event.pc, &what(&set_up.event));
            result["relatedLocations"] = json!([place]);
        }
        result
    }

    fn stack(&self, role: &str, seen: &Numbered) -> Value {
        let own = json!({ "location": self.location(seen.event.pc, &what(&seen.event)) });
        let callers = self.judge.callers(&seen.event).into_iter();
        let callers =
            callers.map(|pc| json!({ "location": self.location(pc, "called from here") }));
        json!({
            "message": { "text": role },
            "frames": std::iter::once(own).chain(callers).collect::<Vec<_>>(),
        })
    }

    /// What each CPU did, in the order of all.
    fn flows(&self, told: &Told) -> Vec<Value> {
        let mut all: Vec<_> = told.set_up.iter().chain(short(&told.between)).collect();
        all.push(&told.broken);
        all.sort_unstable_by_key(|seen| seen.number);
        let mut cpus: Vec<_> = all.iter().map(|seen| seen.event.cpu).collect();
        cpus.sort_unstable();
        cpus.dedup();
        let of = |cpu| {
            let own = all.iter().filter(|seen| seen.event.cpu == cpu);
            let steps = own.map(|seen| {
                json!({
                    "location": self.location(seen.event.pc, &what(&seen.event)),
                    "executionOrder": seen.number,
                })
            });
            json!({ "id": format!("CPU {cpu}"), "locations": steps.collect::<Vec<_>>() })
        };
        cpus.into_iter().map(of).collect()
    }

    /// A place of the code; there are no sources to name.
    fn location(&self, pc: u64, text: &str) -> Value {
        let mut location = json!({ "message": { "text": text } });
        if pc != 0 {
            // Few readers of JSON keep 64 bits of a number, so the address is a name as well.
            location["physicalLocation"] = json!({ "address": {
                "absoluteAddress": pc,
                "fullyQualifiedName": format!("{pc:#x}"),
                "kind": "instruction",
            } });
            location["logicalLocations"] = json!([{
                "name": self.symbols.function(pc),
                "fullyQualifiedName": self.symbols.name(pc),
                "kind": "function",
            }]);
        }
        location
    }
}

fn rule(told: &Told) -> (String, String) {
    let rule = told.finding.violation.rule;
    (name(rule), rule.to_string())
}
