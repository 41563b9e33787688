//! Changes in their short form.

use droste_arm64::{Granule, Ipa, Level, Pa};
use droste_stage2::{Attributes, Contexts, Mapping};

use crate::bench::Bench;
use crate::hardware::plain;
use crate::recorder::{Event, Recorder};

const BLOCK: u64 = 0x20_0000;
const RAM: Mapping = Mapping::new(Ipa(0), Pa(0x4000_0000), 2 * BLOCK, Attributes::RAM);

/// What all changes do, each by one of these.
fn trace(change: impl Fn(&mut Bench<'_>, usize)) -> Vec<Event> {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    let mut trace = Vec::new();
    for step in 0..7 {
        change(&mut bench, step);
        trace.extend(recorder.take_trace());
    }
    trace
}

#[test]
fn the_short_form_does_what_the_long_one_does() {
    let long = trace(|bench, step| {
        let (at, to) = (Ipa(0x3000), Level::L3);
        let done = bench.run(|table, machine, pool| match step {
            0 => table.map(machine, pool, &RAM),
            1 => table.split(machine, pool, at, 0x1000, to),
            2 => table.write_protect(machine, at, 0x1000),
            3 => table.dirty(machine, Ipa(0), 2 * BLOCK, |_, _| ()),
            4 => table.collapse(machine, Ipa(0), BLOCK, Level::L2, Attributes::RAM),
            5 => table.unmap(machine, pool, at, 0x1000),
            _ => table.free(machine),
        });
        done.result.expect("there are pages");
        // What was taken out of the trace goes back.
        let events = done.before.into_iter().chain(done.discharge);
        events.for_each(|event| bench.recorder.record(event));
    });
    let short = trace(|bench, step| {
        let (at, to) = (Ipa(0x3000), Level::L3);
        let contexts: Vec<_> = bench.contexts.iter().collect();
        let contexts = Contexts {
            vmids: &bench.vmids,
            all: &contexts,
            smmus: &[],
        };
        let mut t = bench
            .table
            .exclusive(bench.recorder, &mut bench.pool, &contexts);
        let done = match step {
            0 => t.map(&RAM),
            1 => t.split(at, 0x1000, to),
            2 => t.write_protect(at, 0x1000),
            3 => t.dirty(Ipa(0), 2 * BLOCK, |_, _| ()),
            4 => t.collapse(Ipa(0), BLOCK, Level::L2, Attributes::RAM),
            5 => t.unmap(at, 0x1000),
            _ => t.free(),
        };
        done.expect("there are pages");
    });
    assert_eq!(short, long);
    assert!(short.len() > 7 * 3);
}
