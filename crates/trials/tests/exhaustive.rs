//! Small worlds: every sequence of a few operations. With less than half the usual number of trials (`DROSTE_TRIALS`, in
//! percent) sequences are shorter by one.

use droste_trials::stage2::{Program, Step, run};
use droste_trials::{Report, shrink};

/// Runs all sequences of up to `length` of the steps of a program, after those of `before`.
fn sequences(world: &str, before: &str, alphabet: &str, length: usize) -> Report {
    let percent = std::env::var("DROSTE_TRIALS")
        .ok()
        .and_then(|text| text.parse().ok());
    let is_short = percent.unwrap_or(100) < 50;
    let length = length - usize::from(is_short);
    let of = |steps: &str| -> Program {
        let text = format!("{world}\n{steps}");
        text.parse()
            .unwrap_or_else(|error| panic!("{error}:\n{text}"))
    };
    let (before, alphabet) = (of(before), of(alphabet).steps);
    let mut all = Report::default();
    let mut numbers = vec![0; length];
    loop {
        let mut program = before.clone();
        let steps = numbers
            .iter()
            .filter_map(|&number: &usize| number.checked_sub(1));
        program
            .steps
            .extend(steps.map(|index| -> Step { alphabet[index] }));
        match run(&program) {
            Ok(report) => all = all.plus(report),
            Err(failure) => panic!("{}", shrink(&failure, run)),
        }
        // Counts up, with the alphabet and nothing as digits.
        let Some(place) = numbers.iter().position(|&number| number < alphabet.len()) else {
            return all;
        };
        numbers[..place].fill(0);
        numbers[place] += 1;
    }
}

/// Two pages and a block of one slot, on two CPUs.
const PAGES: &str = "\
cpu=0 vm=0 access ipa=0x40000000 kind=write
cpu=1 vm=0 access ipa=0x40000000 kind=read
cpu=0 vm=0 access ipa=0x40001000 kind=execute1
cpu=1 vm=0 unmap ipa=0x40000000 bytes=0x1000
cpu=0 vm=0 write-protect ipa=0x40000000 bytes=0x2000
cpu=0 vm=0 dirty ipa=0x40000000 bytes=0x200000
cpu=1 vm=0 split ipa=0x40000000 bytes=0x1000 level=3
cpu=1 vm=0 collapse ipa=0x40000000 bytes=0x200000 level=2
";

/// The same with slots and contexts.
const SLOTS: &str = "\
cpu=0 vm=0 access ipa=0x40000000 kind=write
cpu=1 vm=0 resolve ipa=0x40001000 kind=write
cpu=1 vm=0 install
cpu=0 vm=0 set-log ipa=0x40000000 log=on
cpu=0 vm=0 relocate ipa=0x40000000 to=0x40200000
cpu=0 vm=0 set-attributes ipa=0x40000000 as=wb,r-,x,0
cpu=1 vm=0 enter context=1 vcpu=0
cpu=1 vm=0 age ipa=0x40000000 bytes=0x200000
";

const MAPS: &str = "\
cpu=0 vm=0 map ipa=0x40000000 pa=0x80000000 bytes=0x10000 as=wb,rw,x,0 largest=3 runs=contiguous
cpu=1 vm=0 map ipa=0x40003000 pa=0x80003000 bytes=0x1000 as=wb,r-,x,0 largest=3 runs=single
cpu=0 vm=0 map ipa=0x40000000 pa=0x80000000 bytes=0x200000 as=wb,rw,n,0 largest=2 runs=contiguous
cpu=1 vm=0 map ipa=0x40001000 pa=0x90001000 bytes=0x2000 as=wb,rw,x,0 largest=2 runs=single
cpu=1 vm=0 unmap ipa=0x4000f000 bytes=0x2000
cpu=0 vm=0 write-protect ipa=0x40002000 bytes=0x1000
cpu=1 vm=0 access ipa=0x40002000 kind=write
cpu=0 vm=0 free
";

const SLOT: &str = "cpu=0 vm=0 add-slot ipa=0x40000000 pa=0x80000000 bytes=0x200000 as=wb,rw,x,0 log=off\n\
     cpu=0 vm=0 enter context=0 vcpu=0\ncpu=1 vm=0 enter context=0 vcpu=1\n";

fn world(bbm: u8, with: &str, quota: u8) -> String {
    format!(
        "world cpus=2 bbm={bbm} pa=40 seed=0x9 with={with}\n\
         vm granule=4 ipa=32 output=48 contexts=2 vcpus=2 quota={quota}"
    )
}

#[test]
fn every_sequence_on_pages_of_one_slot_keeps_the_rules() {
    for bbm in 0..3 {
        let report = sequences(&world(bbm, "ttl", 6), SLOT, PAGES, 4);
        println!("level {bbm}: {} operations", report.operations);
    }
}

#[test]
fn every_sequence_on_pages_with_dirty_state_by_hardware_keeps_the_rules() {
    for bbm in [0, 2] {
        sequences(&world(bbm, "dirty,range", 6), SLOT, PAGES, 3);
    }
}

#[test]
fn every_sequence_on_slots_and_contexts_keeps_the_rules() {
    for bbm in 0..3 {
        let report = sequences(&world(bbm, "", 6), SLOT, SLOTS, 4);
        println!("level {bbm}: {} operations", report.operations);
    }
}

#[test]
fn every_sequence_of_mappings_over_mappings_keeps_the_rules() {
    for bbm in 0..3 {
        let report = sequences(&world(bbm, "ttl,range", 6), SLOT, MAPS, 4);
        println!("level {bbm}: {} operations", report.operations);
    }
}

#[test]
fn every_sequence_with_hardly_a_page_keeps_the_rules() {
    for quota in 1..4 {
        sequences(&world(0, "ttl", quota), SLOT, PAGES, 3);
        sequences(&world(0, "ttl", quota), SLOT, MAPS, 3);
    }
}
