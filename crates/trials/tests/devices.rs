//! Virtual machines with devices, at random, and each thing that an SMMU is told left out.

use droste_arm64::{Bbm, Ipa, Level, Pa};
use droste_mmu_model::{AccessKind, Reach, SmmuRule};
use droste_smmu::Ranges;
use droste_stage2::{Attributes, Error, Mapping};
use droste_trials::Choices;
use droste_trials::devices::{Meddling, Stage};

const RAM: u64 = 0x4000_0000;
const MEMORY: u64 = 0x1_0000_0000;
const PAGE: u64 = 0x1000;
const MIB2: u64 = 0x20_0000;
/// Pages that the operations are about: three blocks of 2 MiB.
const WINDOW: u64 = 3 * 512;

const KINDS: [AccessKind; 2] = [AccessKind::Read, AccessKind::Write];

/// A range of pages: some, or whole blocks.
fn range(choices: &mut Choices<'_>) -> (u64, u64) {
    if choices.below(2) == 0 {
        let first = choices.below(3);
        return (first * MIB2, MIB2 * (1 + choices.below(3 - first)));
    }
    let first = choices.below(WINDOW);
    let count = 1 + choices.below(24.min(WINDOW - first));
    (first * PAGE, count * PAGE)
}

/// Runs a program of its seed with a device, and says what the SMMU's model found.
fn run(seed: u64, meddling: Meddling) -> Option<SmmuRule> {
    let mut choices = Choices::seeded(seed);
    let bbm = if choices.below(2) == 0 {
        Bbm::Level0
    } else {
        Bbm::Level2
    };
    let ranges = if choices.below(2) == 0 {
        Ranges::No
    } else {
        Ranges::Yes
    };
    let stage = Stage::new(bbm, ranges);
    let mut rig = stage.rig();
    let ram = Mapping::new(Ipa(RAM), Pa(MEMORY), WINDOW * PAGE, Attributes::RAM);
    rig.change(|table, hands, pages| table.map(hands, pages, &ram), || ())
        .expect("there are pages");
    rig.attach();
    stage.meddle(meddling);
    for _ in 0..60 {
        let (offset, bytes) = range(&mut choices);
        let ipa = Ipa(RAM + offset);
        let outside = RAM + (offset + bytes) % (WINDOW * PAGE);
        let before = KINDS.map(|kind| (kind, rig.allowed(outside, kind)));
        let is_outside = outside < ipa.0 || outside >= ipa.0 + bytes;
        let between = || {
            for (kind, allowed) in before.into_iter().filter(|_| is_outside) {
                stage.expect(outside, kind, allowed);
            }
        };
        let to = Pa(MEMORY + offset + choices.below(2) * 0x4000_0000);
        let attributes = [Attributes::RAM, Attributes::ROM][choices.below(2) as usize];
        let done = match choices.below(6) {
            0 | 1 => rig.change(|t, hands, pages| t.unmap(hands, pages, ipa, bytes), between),
            2 | 3 => {
                let mapping = Mapping::new(ipa, to, bytes, attributes);
                rig.change(|t, hands, pages| t.map(hands, pages, &mapping), between)
            }
            4 => rig.change(
                |t, hands, pages| t.split(hands, pages, ipa, bytes, Level::L3),
                between,
            ),
            _ => {
                let ipa = ipa.align_down(MIB2);
                let all = Attributes::RAM;
                rig.change(
                    |t, hands, _| t.collapse(hands, ipa, MIB2, Level::L2, all),
                    between,
                )
            }
        };
        match done {
            Ok(()) | Err(Error::DevicesAttached { .. }) => {}
            // An SMMU whose commands break a rule does not go on.
            Err(other) => assert!(stage.violation().is_some(), "{other}"),
        }
        for at in [
            ipa.0,
            ipa.0 + bytes - PAGE,
            outside,
            RAM + choices.below(WINDOW) * PAGE,
        ] {
            for kind in KINDS {
                rig.check(at, kind);
            }
        }
        if let Some(violation) = stage.violation() {
            return Some(violation.rule);
        }
        if choices.below(12) == 0 {
            rig.detach();
            rig.expect(RAM, AccessKind::Read, Reach::Abort);
            rig.attach();
        }
    }
    stage.violation().map(|violation| violation.rule)
}

#[test]
fn a_device_reaches_what_the_table_says_whatever_the_smmu_holds() {
    for seed in 0..60 {
        assert_eq!(run(seed, Meddling::None), None, "seed {seed}");
    }
}

#[test]
fn nothing_that_an_smmu_is_told_can_be_left_out_or_said_wrongly() {
    let all = [
        Meddling::Without(0x03),
        Meddling::Without(0x28),
        Meddling::Without(0x2a),
        Meddling::Without(0x46),
        Meddling::WrongHints,
        Meddling::ShortRanges,
        Meddling::OtherVmid,
        Meddling::NoBarrier,
        Meddling::NoBreak,
        Meddling::NoWait,
        Meddling::Early,
        Meddling::Never,
    ];
    for meddling in all {
        let found = (0..60).find_map(|seed| run(seed, meddling));
        println!("{meddling:?}: {found:?}");
        assert!(found.is_some(), "nobody misses {meddling:?}");
    }
}

#[test]
fn a_batch_of_pages_costs_one_sync() {
    let stage = Stage::new(Bbm::Level0, Ranges::No);
    let mut rig = stage.rig();
    let ram = Mapping {
        largest: Level::L3,
        ..Mapping::new(Ipa(RAM), Pa(MEMORY), 40 * PAGE, Attributes::RAM)
    };
    rig.change(|table, hands, pages| table.map(hands, pages, &ram), || ())
        .expect("there are pages");
    rig.attach();
    let before = rig.syncs();
    rig.change(
        |table, hands, pages| table.unmap(hands, pages, Ipa(RAM), 40 * PAGE),
        || (),
    )
    .expect("whole pages");
    assert_eq!(rig.syncs() - before, 1);
    assert_eq!(stage.violation(), None);
}
