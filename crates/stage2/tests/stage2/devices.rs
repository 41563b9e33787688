//! Tables that devices reach: what SMMUs are told, and what is refused.

use droste_arm64::smmu::Scope;
use droste_arm64::{Bbm, Granule, IdRegisters, Ipa, Level, PaRange, Vmid};
use droste_stage2::{Answer, Attachment, Attributes, DirtyLog, Error};

use crate::bench::{
    ACCESS_FLAG, Bench, GIB, MIB2, PAGE, PERMISSION, READ, WRITE, ram, read_only, runs,
};
use crate::recorder::Event::{self, Give, Smmu, SmmuSync, Write};
use crate::recorder::Recorder;

fn plain() -> IdRegisters {
    IdRegisters::new(PaRange::Bits48)
}

fn resizing() -> IdRegisters {
    plain().with_bbm(Bbm::Level2)
}

fn told(pages: u64, ipa: u64, leaf: Option<Level>) -> Event {
    let scope = Scope::Range {
        from: Ipa(ipa),
        pages,
        granule: Granule::Kib4,
        leaf,
    };
    Smmu(0, Vmid(9), scope)
}

/// What of a discharge concerns SMMUs, and pages that are given back.
fn of_smmus(events: &[Event]) -> Vec<Event> {
    let mut all = events.to_vec();
    all.retain(|event| matches!(event, Smmu(..) | SmmuSync(_) | Give(_)));
    all
}

fn refused<T>(ipa: u64) -> Result<T, Error> {
    Err(Error::DevicesAttached { ipa: Ipa(ipa) })
}

#[test]
fn a_page_goes_back_only_after_the_sync_of_every_smmu() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, 4 * GIB, 3 * PAGE));
    bench.attach(Bbm::Level0);
    bench.attach(Bbm::Level0);
    let done = bench.unmap(GIB, 3 * PAGE);
    assert_eq!(done.result, Ok(()));
    let scope = Scope::Range {
        from: Ipa(GIB),
        pages: 3,
        granule: Granule::Kib4,
        leaf: None,
    };
    let order = of_smmus(&done.discharge);
    assert_eq!(
        order[..4],
        [
            Smmu(0, Vmid(9), scope),
            Smmu(1, Vmid(9), scope),
            SmmuSync(0),
            SmmuSync(1)
        ]
    );
    assert!(order[4..].iter().all(|event| matches!(event, Give(_))) && order.len() == 6);
    let barrier = done
        .discharge
        .iter()
        .position(|event| matches!(event, Event::Dsb(_)));
    assert_eq!(
        barrier,
        Some(0),
        "the change is visible before anybody is told"
    );
    assert!(done.before.iter().any(|event| matches!(event, Write(_, 0))));
}

#[test]
fn leaves_of_one_level_are_told_with_it_and_all_of_a_table_as_all() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, 4 * GIB, GIB / 2));
    bench.attach(Bbm::Level0);
    let done = bench.unmap(GIB + MIB2, 2 * MIB2);
    assert_eq!(
        of_smmus(&done.discharge),
        [told(1024, GIB + MIB2, Some(Level::L2)), SmmuSync(0)]
    );
    let done = bench.run(|table, machine, _| table.free(machine));
    let order = of_smmus(&done.discharge);
    assert_eq!(order[..2], [Smmu(0, Vmid(9), Scope::All), SmmuSync(0)]);
}

#[test]
fn memory_that_is_added_owes_nothing() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.attach(Bbm::Level0);
    let done = bench.map(&ram(GIB, 4 * GIB, MIB2));
    assert!(done.was_nothing && done.discharge.is_empty());
}

#[test]
fn a_stuck_smmu_keeps_what_came_free() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, 4 * GIB, PAGE));
    bench.attach(Bbm::Level0);
    bench.attach(Bbm::Level0);
    bench.smmus[0].1.is_stuck.set(true);
    let done = bench.unmap(GIB, PAGE);
    assert_eq!(done.result, Err(Error::SmmuStuck));
    let order = of_smmus(&done.discharge);
    assert!(
        order.contains(&SmmuSync(1)),
        "the other one is waited for all the same"
    );
    assert!(!order.iter().any(|event| matches!(event, Give(_))));
    // The table goes on.
    bench.smmus[0].1.is_stuck.set(false);
    assert_eq!(bench.map(&ram(GIB, 4 * GIB, PAGE)).result, Ok(()));
}

#[test]
fn what_would_break_a_leaf_under_a_device_is_refused_and_changes_nothing() {
    type Try = fn(&mut Bench<'_>) -> Result<(), Error>;
    let tries: [(Try, u64); 9] = [
        (|bench| bench.unmap(GIB + PAGE, PAGE).result, GIB),
        (
            |bench| bench.unmap(GIB + MIB2, MIB2 + PAGE).result,
            GIB + 2 * MIB2,
        ),
        (|bench| bench.split(GIB, MIB2, Level::L3).result, GIB),
        (
            |bench| bench.write_protect(GIB + PAGE, PAGE).result,
            GIB + PAGE,
        ),
        (|bench| bench.dirty(GIB, PAGE).1.result, GIB),
        (
            |bench| bench.map(&ram(GIB + MIB2, 8 * GIB, MIB2)).result,
            GIB + MIB2,
        ),
        (
            |bench| bench.map(&ram(GIB + PAGE, 8 * GIB, PAGE)).result,
            GIB,
        ),
        (
            |bench| bench.map(&read_only(ram(GIB, 4 * GIB, MIB2))).result,
            GIB,
        ),
        (|bench| bench.collapse(GIB, GIB, Level::L1).result, GIB),
    ];
    for (number, (operation, at)) in tries.into_iter().enumerate() {
        let recorder = Recorder::new(Granule::Kib4);
        let mut bench = Bench::new(&recorder, &plain());
        bench.map(&ram(GIB, 4 * GIB, GIB / 2));
        bench.attach(Bbm::Level2);
        recorder.take_trace();
        assert_eq!(operation(&mut bench), refused(at), "operation {number}");
        for offset in [0, PAGE, MIB2, 2 * MIB2] {
            assert_eq!(
                bench.leaf(GIB + offset),
                Some((Level::L2, 4 * GIB + offset))
            );
        }
        let trace = recorder.take_trace();
        assert!(
            !trace
                .iter()
                .any(|event| matches!(event, Write(..) | Event::Swap(..)))
        );
        // Without devices each is done.
        let (attachment, smmu) = bench.smmus.pop().expect("one is attached");
        attachment
            .retire(&mut bench.table, &smmu)
            .expect("it answers");
        assert_eq!(operation(&mut bench), Ok(()), "operation {number}");
    }
}

#[test]
fn runs_stay_runs_under_a_device_at_every_level() {
    for ids in [plain(), resizing()] {
        let recorder = Recorder::new(Granule::Kib4);
        let mut bench = Bench::new(&recorder, &ids);
        bench.map(&runs(ram(GIB, 4 * GIB, 32 * PAGE)));
        bench.attach(Bbm::Level2);
        assert_eq!(bench.unmap(GIB + PAGE, PAGE).result, refused(GIB + PAGE));
        assert_eq!(bench.split(GIB, PAGE, Level::L3).result, refused(GIB));
        let cut = ram(GIB + PAGE, 8 * GIB, PAGE);
        assert_eq!(bench.map(&cut).result, refused(GIB + PAGE));
        assert_eq!(bench.unmap(GIB, 16 * PAGE).result, Ok(()));
    }
}

#[test]
fn sizes_change_under_devices_where_both_are_at_level_2_only() {
    let levels = [Bbm::Level0, Bbm::Level1, Bbm::Level2];
    for (cpu, smmu) in levels
        .iter()
        .flat_map(|&cpu| levels.map(|smmu| (cpu, smmu)))
    {
        let recorder = Recorder::new(Granule::Kib4);
        let mut bench = Bench::new(&recorder, &plain().with_bbm(cpu));
        bench.map(&ram(GIB, 4 * GIB, MIB2));
        // One of the two decides.
        bench.attach(Bbm::Level2);
        bench.attach(smmu);
        let done = bench.split(GIB, MIB2, Level::L3);
        if (cpu, smmu) != (Bbm::Level2, Bbm::Level2) {
            assert_eq!(done.result, refused(GIB), "{cpu:?} {smmu:?}");
            continue;
        }
        assert_eq!(done.result, Ok(()));
        assert_eq!(of_smmus(&done.discharge).len(), 4);
        assert!(of_smmus(&done.discharge).contains(&told(512, GIB, Some(Level::L2))));
        let done = bench.collapse(GIB, MIB2, Level::L2);
        assert_eq!(done.result, Ok(()));
        let order = of_smmus(&done.discharge);
        assert!(order.contains(&told(512, GIB, None)));
        assert!(matches!(
            order[..],
            [_, _, SmmuSync(0), SmmuSync(1), Give(_)]
        ));
    }
}

#[test]
fn a_table_with_fewer_permissions_does_not_become_a_block_under_a_device() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &resizing());
    bench.map(&ram(GIB, 4 * GIB, MIB2));
    bench.split(GIB, MIB2, Level::L3);
    bench.write_protect(GIB, PAGE);
    bench.attach(Bbm::Level2);
    let done = bench.collapse(GIB, MIB2, Level::L2);
    assert!(done.was_nothing);
    assert_eq!(
        (done.result, bench.leaf(GIB)),
        (Ok(()), Some((Level::L3, 4 * GIB)))
    );
}

#[test]
fn what_is_widened_is_told_to_smmus_whoever_widens() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.slot(GIB, 4 * GIB, GIB, Attributes::RAM);
    bench.map(&read_only(ram(GIB, 4 * GIB, MIB2)));
    bench.attach(Bbm::Level0);
    let (outcome, trace) = bench.fault(WRITE ^ PERMISSION, GIB);
    assert_eq!(outcome, Ok(Answer::Relaxed));
    assert_eq!(
        of_smmus(&trace),
        [told(512, GIB, Some(Level::L2)), SmmuSync(0)]
    );
    bench.map(&read_only(ram(GIB + MIB2, 4 * GIB + MIB2, MIB2)));
    let done = bench.map(&ram(GIB + MIB2, 4 * GIB + MIB2, MIB2));
    assert_eq!(
        of_smmus(&done.discharge),
        [told(512, GIB + MIB2, Some(Level::L2)), SmmuSync(0)]
    );
    // Ageing is no matter of devices'.
    bench
        .table
        .age(&recorder, Ipa(GIB), MIB2)
        .expect("in range");
    let (outcome, trace) = bench.fault(READ ^ ACCESS_FLAG, GIB);
    assert_eq!(outcome, Ok(Answer::Relaxed));
    assert_eq!(of_smmus(&trace), []);
}

#[test]
fn a_fault_that_would_split_a_block_under_a_device_is_refused() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.slot(GIB, 4 * GIB, GIB, Attributes::RAM);
    bench.map(&read_only(ram(GIB, 4 * GIB, MIB2)));
    bench.slots.set_log(Ipa(GIB), DirtyLog::On).expect("a slot");
    bench.attach(Bbm::Level0);
    let (outcome, _) = bench.fault(WRITE ^ PERMISSION, GIB + PAGE);
    assert_eq!(outcome, refused(GIB));
    assert_eq!(bench.leaf(GIB), Some((Level::L2, 4 * GIB)));
}

#[test]
fn all_smmus_of_a_table_have_one_vmid_and_leave_nothing_under_it() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    assert_eq!(bench.table.device_vmid(), None);
    bench.attach(Bbm::Level0);
    assert_eq!(bench.table.device_vmid(), Some(Vmid(9)));
    let other = Attachment::new(&mut bench.table, Vmid(8), Bbm::Level0);
    let error = Error::OtherVmid {
        vmid: Vmid(8),
        of_table: Vmid(9),
    };
    assert_eq!(other.expect_err("one VMID a table"), error);
    recorder.take_trace();
    let (attachment, smmu) = bench.smmus.pop().expect("one is attached");
    attachment
        .retire(&mut bench.table, &smmu)
        .expect("it answers");
    assert_eq!(
        recorder.take_trace(),
        [Smmu(0, Vmid(9), Scope::All), SmmuSync(0)]
    );
    let other = Attachment::new(&mut bench.table, Vmid(8), Bbm::Level0).expect("nobody is there");
    smmu.is_stuck.set(true);
    assert_eq!(other.retire(&mut bench.table, &smmu), Err(Error::SmmuStuck));
    assert_eq!(bench.table.device_vmid(), None);
}

#[test]
#[should_panic(expected = "some attachment of the table is missing")]
fn a_discharge_that_forgets_an_smmu_is_stopped() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, 4 * GIB, PAGE));
    bench.attach(Bbm::Level0);
    bench.attach(Bbm::Level0);
    bench.smmus.pop();
    bench.unmap(GIB, PAGE);
}
