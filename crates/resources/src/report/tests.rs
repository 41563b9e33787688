use super::*;
use crate::{Counters, Exit};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::format;
use std::string::String;
use std::vec::Vec;

extern crate std;

const MACHINE: Machine = Machine {
    moment: Moment::OnTheWay,
    went: Went::Badly,
    image: 100_001,
    memory: 200_001,
    rollovers: 3,
};

fn vm(name: &str, outcome: RunState) -> Vm<'_> {
    let counters = Counters::default();
    counters.count(Exit::Wait);
    Vm {
        name,
        outcome,
        exits: Exits::of([counters].iter()),
        stage2: Stage2 {
            faults: 1,
            table_pages: 2,
            table_bytes: 4096,
            by_address: 4,
            by_range: 5,
            combined: 6,
            by_vmid: 7,
            private: 8,
        },
        shadows: None,
        waits: Waits::default(),
    }
}

/// The record, behind its nonce.
fn written(moment: Moment, vms: &[Vm<'_>]) -> Value {
    let machine = Machine {
        moment,
        went: Went::of(vms.iter().map(|vm| vm.outcome)),
        ..MACHINE
    };
    let mut out = String::new();
    record(&mut out, "n0nce", machine, vms.iter().copied()).expect("a string takes all");
    json_of(&out)
}

fn json_of(line: &str) -> Value {
    let json = line.strip_prefix("n0nce ").expect("the nonce in front");
    serde_json::from_str(json).expect("JSON")
}

#[test]
fn a_record_holds_all_that_is_known() {
    let shadows = Shadows {
        in_use: 1,
        count: 9,
        table_pages: 10,
        table_bytes: 8192,
    };
    let nested = Vm {
        shadows: Some(shadows),
        waits: Waits::of(|lock| 10 + lock as u64),
        ..vm("b", RunState::Failed)
    };
    let record = written(Moment::OnTheWay, &[vm("a", RunState::Running), nested]);
    assert_eq!(record["final"], json!(false));
    assert_eq!(
        record["el2"],
        json!({"image": 100_001, "memory": 200_001, "rollovers": 3})
    );
    let vms = record["vms"].as_array().expect("a list");
    assert_eq!(vms.len(), 2);
    let [a, b] = [&vms[0], &vms[1]];
    assert_eq!([&a["name"], &b["name"]], [&json!("a"), &json!("b")]);
    assert_eq!([&a["outcome"], &b["outcome"]], ["running", "failed"]);
    assert_eq!(b["message"], "stopped by Droste");
    assert_eq!(a["exits"]["wait"], 1);
    assert_eq!(a["exits"].as_object().map(serde_json::Map::len), Some(11));
    assert_eq!(
        a["stage2"],
        json!({
            "faults": 1, "table_pages": 2, "table_bytes": 4096,
            "tlbi": {"address": 4, "range": 5, "combined": 6, "vmid": 7, "private": 8},
        })
    );
    assert_eq!(a.get("shadows"), None);
    assert_eq!(
        b["shadows"],
        json!({"in_use": 1, "count": 9, "table_pages": 10, "table_bytes": 8192})
    );
    assert_eq!(a["waits"]["contexts"], 0);
    assert_eq!(
        b["waits"],
        json!({
            "gic": 10, "uart": 11, "firmware": 12, "table": 13, "pages": 14, "contexts": 15, "shadows": 16,
            "shadow_pages": 17,
        })
    );
}

#[test]
fn only_locks_that_somebody_waited_for_are_told() {
    let told = |waits| {
        let mut lines = Vec::new();
        let vm = Vm {
            waits,
            ..vm("a", RunState::Off)
        };
        vm.tell(|line| lines.push(format!("{line}")));
        lines
    };
    assert_eq!(told(Waits::default()).len(), 3);
    let waits = Waits::of(|lock| match lock {
        Lock::Gic => 12,
        Lock::Shadows => 1,
        _ => 0,
    });
    assert_eq!(told(waits)[3], "a: waits in locks: gic 12, shadows 1");
}

#[test]
fn a_machine_ends_well_if_every_one_of_its_vms_was_powered_off() {
    let all = [
        RunState::Running,
        RunState::Off,
        RunState::Reset,
        RunState::Idle,
        RunState::Failed,
    ];
    for (a, b) in all.into_iter().flat_map(|a| all.map(|b| (a, b))) {
        let record = written(Moment::Final, &[vm("a", a), vm("b", b)]);
        let is_ok = (a, b) == (RunState::Off, RunState::Off);
        assert_eq!(record["outcome"], if is_ok { "ok" } else { "failed" });
        assert_eq!(record["final"], json!(true));
    }
}

#[test]
fn people_are_told_the_same_in_lines() {
    let mut lines = Vec::new();
    let shadows = Shadows {
        in_use: 1,
        count: 9,
        table_pages: 10,
        table_bytes: 8192,
    };
    let vm = Vm {
        shadows: Some(shadows),
        ..vm("a", RunState::Off)
    };
    vm.tell(|line| lines.push(format!("{line}")));
    MACHINE.tell(4097, |line| lines.push(format!("{line}")));
    assert_eq!(
        lines,
        [
            "a: powered off",
            "a: 1 exits: hypercall 0, smc 0, wait 1, sysreg 0, mmio 0, stage2 0, outside 0, interrupt 0, eret 0, \
             forwarded 0, other 0",
            "a: stage 2: 1 faults, 2 table pages; TLB invalidations: 4 by address, 5 by range, 6 combined, 7 by VMID, 8 \
             between vCPUs",
            "a: shadow stage 2: 1 of 9 in use, 10 table pages of 8 KiB",
            "EL2 memory: 98 KiB image, 196 KiB with data and stacks, 4 KiB for stage-2 tables; 3 VMID rollovers",
        ]
    );
}

/// Text with many of the characters that JSON or a line does not take as they are.
fn text() -> impl Strategy<Value = String> {
    let special = prop::sample::select("\"\\\n\r\0\u{1b}\u{85}".chars().collect::<Vec<_>>());
    prop::collection::vec(prop_oneof![special, any::<char>()], 0..20)
        .prop_map(|chars| chars.into_iter().collect())
}

proptest! {
    #[test]
    fn any_text_is_one_line_of_json(why in text(), name in text()) {
        let mut out = String::new();
        last_record(&mut out, "n0nce", "bug", format_args!("{why}")).expect("a string takes all");
        prop_assert!(!out.contains(char::is_control), "{out:?}");
        let record = json_of(&out);
        let shown: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        prop_assert_eq!(&record["message"], &json!(shown));
        prop_assert_eq!(&record["outcome"], "bug");
        let vms = written(Moment::Final, &[vm(&name, RunState::Off)]);
        let shown: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        prop_assert_eq!(&vms["vms"][0]["name"], &json!(shown));
    }
}
