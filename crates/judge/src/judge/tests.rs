//! Traces that keep and break rules, and how they are told.

use super::*;
use crate::report::{Ignored, Report};
use crate::symbols::Symbols;

const BASE: u64 = 0x4000_0000;
const T2: u64 = BASE + 0x1000;
const T3: u64 = BASE + 0x2000;
const VMALLS12E1IS: u64 = 0xd50c_83df;

const fn event(kind: Kind, cpu: u8, pc: u64, a: u64, b: u64) -> Event {
    Event {
        kind,
        cpu,
        stack: 0,
        pc,
        a,
        b,
    }
}

/// A guest is inside on CPU 1, with a page.
fn entered() -> Judge {
    let mut judge = Judge::new(&Machine {
        cpus: 2,
        base: BASE,
        bytes: 64 << 12,
        ids: [0x5, 0, 0, 0, 0],
    });
    let before = [
        event(Kind::Learn, 1, 0, T3, 0x8000_07ff),
        event(Kind::Learn, 1, 0, T2, T3 | 3),
        event(Kind::Learn, 1, 0, BASE, T2 | 3),
        event(Kind::Vtcr, 1, 0x10, 0, 1 << 31 | 5 << 16 | 1 << 6 | 0x19),
        event(Kind::Vttbr, 1, 0x14, 0, 1 << 48 | BASE),
        event(Kind::Isb, 1, 0x18, 0, 0),
        event(Kind::Vtcr, 0, 0x10, 0, 1 << 31 | 5 << 16 | 1 << 6 | 0x19),
        event(Kind::Vttbr, 0, 0x14, 0, 1 << 48 | BASE),
        event(Kind::Isb, 0, 0x18, 0, 0),
        event(Kind::Enter, 1, 0x20, 0x8000_0001, 0),
    ];
    for event in before {
        judge.take(event);
    }
    judge
}

/// CPU 0 unmaps the page and goes back to its user. One step may be left out.
fn unmapped(left_out: Option<usize>) -> Judge {
    let mut judge = entered();
    let steps = [
        event(Kind::Write, 0, 0x1104, T3, 0),
        event(Kind::Dsb, 0, 0x1108, 10, 0),
        event(Kind::Tlbi, 0, 0x1204, VMALLS12E1IS, 0),
        event(Kind::Dsb, 0, 0x1208, 11, 0),
        event(Kind::Isb, 0, 0x120c, 0, 0),
        event(Kind::Done, 0, 0x2000, 0, 0),
        event(Kind::End, 0, 0, 0, 0),
    ];
    for (index, step) in steps.into_iter().enumerate() {
        if Some(index) != left_out {
            judge.take(step);
        }
    }
    judge
}

fn symbols() -> Symbols {
    Symbols::parse("1100 T unmap\n1200 T flush\n2000 T user\n").unwrap()
}

#[test]
fn what_keeps_the_rules_is_clean() {
    let judge = unmapped(None);
    let symbols = symbols();
    let report = Report::new(&judge, &symbols, &Ignored::default());
    assert!(report.is_clean(), "{}", report.text());
    assert_eq!(report.doubt(), None);
}

#[test]
fn each_step_that_is_left_out_is_found_and_told_with_its_place() {
    for (left_out, missing) in [
        (1, "BarrierBeforeTlbi"),
        (2, "Tlbi"),
        (3, "BarrierAfterTlbi"),
    ] {
        let judge = unmapped(Some(left_out));
        let symbols = symbols();
        let report = Report::new(&judge, &symbols, &Ignored::default());
        assert!(!report.is_clean());
        let json = report.json();
        let finding = &json["findings"][0];
        assert_eq!(finding["key"], format!("StaleTranslation({missing}) unmap"));
        assert_eq!(finding["set_up"]["place"], "unmap+0x4");
        assert_eq!(finding["broken"]["place"], "user+0x0");
        assert_eq!(finding["entry"]["descriptor"], T3);
        assert_eq!(finding["vmid"], 1);
        assert_eq!(json["findings"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn a_report_for_people_names_rule_entry_and_what_came_between() {
    let judge = unmapped(Some(2));
    let symbols = symbols();
    let text = Report::new(&judge, &symbols, &Ignored::default()).text();
    for part in [
        "1. an access can use a stale translation: no TLBI took the old stage-2 entry",
        "1 times; key: StaleTranslation(Tlbi) unmap",
        "VMID 1",
        "for IPA 0x0+0x1000",
        "[0x40002000] := 0x0",
        "dsb ishst",
        "unmap+0x8",
        "1 kinds of findings, 0 ignored",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn what_is_known_is_ignored_and_what_is_ignored_in_vain_is_told() {
    let judge = unmapped(Some(2));
    let symbols = symbols();
    let known = "# A list.\nStaleTranslation(Tlbi) unmap # known\nOtherVcpu load\n";
    let report = Report::new(&judge, &symbols, &Ignored::parse(known));
    assert!(report.is_clean());
    let text = report.text();
    assert!(
        text.contains("ignored, and not found: OtherVcpu load"),
        "{text}"
    );
    assert!(text.contains("0 kinds of findings, 1 ignored"), "{text}");
}

#[test]
fn a_trace_without_its_end_or_without_a_guest_says_nothing() {
    let symbols = symbols();
    let doubt = |judge: &Judge| Report::new(judge, &symbols, &Ignored::default()).doubt();
    assert!(doubt(&unmapped(Some(6))).is_some());
    let mut idle = Judge::new(&Machine {
        cpus: 1,
        base: BASE,
        bytes: 4096,
        ids: [0; 5],
    });
    idle.take(event(Kind::End, 0, 0, 0, 0));
    assert!(doubt(&idle).is_some());
}

#[test]
fn another_vcpu_is_told_by_its_affinity() {
    let enter = |vmpidr| {
        let mut judge = entered();
        judge.take(event(Kind::Exit, 1, 0x30, 0, 0));
        judge.take(event(Kind::Enter, 1, 0x34, vmpidr, 0));
        judge.told().len()
    };
    assert_eq!(enter(0x8000_0001), 0);
    assert_eq!(enter(0x8000_0002), 1);
    assert_eq!(enter(0x1_8000_0001), 1);
}

#[test]
fn memory_types_are_not_judged_where_fwb_is_there_and_off() {
    let with = |hcr| {
        let mut judge = Judge::new(&Machine {
            cpus: 1,
            base: BASE,
            bytes: 64 << 12,
            ids: [0x5, 0, 1 << 40, 0, 0],
        });
        let events = [
            event(Kind::Hcr, 0, 0, 0, hcr),
            event(Kind::Learn, 0, 0, BASE, 0x8000_07fd),
            event(Kind::Vtcr, 0, 0, 0, 1 << 31 | 5 << 16 | 1 << 6 | 0x19),
            event(Kind::Vttbr, 0, 0, 0, 1 << 48 | BASE),
            event(Kind::Enter, 0, 0, 0, 0),
        ];
        for event in events {
            judge.take(event);
        }
        judge.told().len()
    };
    assert_eq!(with(1), 0);
    assert_eq!(with(1 | 1 << 46), 1);
}

#[test]
fn both_ends_of_a_finding_are_told_with_their_callers() {
    let mut judge = entered();
    let places = [(0, 0x2004), (1, 0x1208), (2, 0x1300), (9, 0x10), (5, 0x14)];
    for (above, place) in places {
        judge.take(event(Kind::Frame, 0, 0, above, place));
    }
    let with = |kind, pc, a, stack| Event {
        stack,
        ..event(kind, 0, pc, a, 0)
    };
    for event in [
        with(Kind::Write, 0x1104, T3, 2),
        with(Kind::Done, 0x1100, 0, 1),
        with(Kind::End, 0, 0, 0),
    ] {
        judge.take(event);
    }
    let symbols = symbols();
    let report = Report::new(&judge, &symbols, &Ignored::default());
    let text = report.text();
    let order = [
        "unmap+0x0",
        "called from user+0x4",
        "unmap+0x4",
        "called from flush+0x8",
        "called from user+0x4",
    ];
    let mut rest = text.as_str();
    for part in order {
        let at = rest
            .find(part)
            .unwrap_or_else(|| panic!("{part} is not in\n{text}"));
        rest = &rest[at + part.len()..];
    }
    let finding = &report.json()["findings"][0];
    assert_eq!(finding["set_up"]["callers"][0]["place"], "flush+0x8");
    assert_eq!(finding["set_up"]["callers"][1]["pc"], 0x2004);
    assert_eq!(finding["broken"]["callers"].as_array().unwrap().len(), 1);
    // Frames are no events, and their numbers may be anything.
    assert_eq!(judge.events(), 13);
    for (stack, count) in [(0, 0), (3, 3), (4, 1), (5, 24), (6, 0), (u32::MAX, 0)] {
        let found = judge.callers(&with(Kind::Isb, 0, 0, stack));
        assert_eq!(found.len(), count, "{stack}");
    }
}

#[test]
fn sarif_has_a_rule_places_stacks_and_a_flow_for_each_cpu() {
    let judge = unmapped(Some(2));
    let symbols = symbols();
    let log = Report::new(&judge, &symbols, &Ignored::default()).sarif();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    assert_eq!(
        run["tool"]["driver"]["rules"][0]["id"],
        "StaleTranslation(Tlbi)"
    );
    assert_eq!(run["invocations"][0]["executionSuccessful"], true);
    let result = &run["results"][0];
    assert_eq!(
        (&result["ruleIndex"], &result["occurrenceCount"]),
        (&0.into(), &1.into())
    );
    let address = &result["locations"][0]["physicalLocation"]["address"];
    assert_eq!(address["absoluteAddress"], 0x2000);
    assert_eq!(result["stacks"][1]["message"]["text"], "set up by");
    let key = &result["partialFingerprints"]["drosteKey/v1"];
    assert_eq!(key, "StaleTranslation(Tlbi) unmap");
    let flow = &result["codeFlows"][0]["threadFlows"][0];
    assert_eq!(flow["id"], "CPU 0");
    let order = flow["locations"].as_array().unwrap().iter();
    let order: Vec<_> = order
        .map(|step| step["executionOrder"].as_u64().unwrap())
        .collect();
    assert!(order.len() > 2 && order.is_sorted(), "{order:?}");
    // What cannot be said is no success.
    let torn = unmapped(Some(6));
    let log = Report::new(&torn, &symbols, &Ignored::default()).sarif();
    assert_eq!(
        log["runs"][0]["invocations"][0]["executionSuccessful"],
        false
    );
}

#[test]
fn a_page_asks_for_nothing_and_has_events_and_tables() {
    let judge = unmapped(Some(2));
    let hostile = Symbols::parse("1100 T </script><script>alert(1)\n").unwrap();
    let page = Report::new(&judge, &hostile, &Ignored::default()).html();
    // It asks for nothing; a name of code is no code of the page.
    for part in [
        "src=",
        "href=",
        "@import",
        "url(",
        "fetch(",
        "alert(1)</",
        "@REPORT@",
    ] {
        assert!(!page.contains(part), "{part}");
    }
    assert_eq!(page.matches("</script>").count(), 2);
    let data = page.split_once("id=\"report\">").unwrap().1;
    let data = data.split_once("</script>").unwrap().0;
    let report: serde_json::Value = serde_json::from_str(data).unwrap();
    let finding = &report["findings"][0];
    assert_eq!(finding["id"], "StaleTranslation(Tlbi)");
    let roles = finding["events"].as_array().unwrap().iter();
    let roles: Vec<_> = roles.map(|event| event["role"].as_str().unwrap()).collect();
    assert_eq!(roles.iter().filter(|role| **role == "setup").count(), 1);
    assert_eq!(roles.last(), Some(&"broken"));
    let rows = finding["tree"].as_array().unwrap();
    let levels: Vec<_> = rows
        .iter()
        .map(|row| row["level"].as_i64().unwrap())
        .collect();
    assert_eq!(levels, [1, 2, 3]);
    assert_eq!(rows[2]["descriptor"], finding["descriptor"]);
    assert!(rows.iter().all(|row| row["way"] == true));
}

#[test]
fn what_set_up_a_finding_long_ago_is_told_by_its_place_alone() {
    let mut judge = entered();
    judge.take(event(Kind::Write, 0, 0x1104, T3, 0));
    for _ in 0..=REMEMBERED {
        judge.take(event(Kind::Isb, 0, 0x1108, 0, 0));
    }
    judge.take(event(Kind::Done, 0, 0x2000, 0, 0));
    let symbols = symbols();
    let report = Report::new(&judge, &symbols, &Ignored::default());
    assert!(report.json()["findings"][0]["set_up"].is_null());
    let text = report.text();
    assert!(text.contains("set up by unmap+0x4, long before"), "{text}");
}
