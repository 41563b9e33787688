use std::vec;
use std::vec::Vec;

use droste_arm64::desc::{MemoryType, S2ap, Xn};
use droste_arm64::{Level, Pa};
use proptest::prelude::*;

use super::*;
use crate::{Extent, Mark};

type Map = ReverseMap<Vec<Record>, Vec<Owner>>;

fn map(records: usize, places: usize) -> Map {
    ReverseMap::new(vec![Record::UNUSED; records], vec![Owner::UNUSED; places])
}

fn region(via: u64, ipa: u64, bytes: u64) -> Composed {
    Composed {
        ipa: L2Ipa(ipa),
        via: L1Ipa(via),
        output: Pa(via),
        bytes,
        access: S2ap::ReadWrite,
        execute: Xn::Nowhere,
        memory: MemoryType::ForceWriteBack,
        mark: Mark {
            level: Level::L3,
            extent: Extent::Leaf,
        },
        guest_bytes: bytes,
        is_memory: true,
    }
}

fn found(map: &Map, from: u64, bytes: u64) -> Vec<Concerned> {
    let mut found = Vec::new();
    map.visit(L1Ipa(from), bytes, |concerned| found.push(concerned));
    found
}

const fn one(place: u32, ipa: u64, bytes: u64) -> Concerned {
    Concerned::Region {
        place: Place(place),
        ipa: L2Ipa(ipa),
        bytes,
    }
}

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 0x20_0000;

#[test]
fn a_page_is_found_in_every_shadow_and_under_every_alias() {
    let mut map = map(16, 3);
    map.insert(Place(0), &region(0x8000_3000, 0x5000, PAGE));
    map.insert(Place(0), &region(0x8000_3000, 0x9000, PAGE));
    map.insert(Place(2), &region(0x8000_3000, 0x5000, PAGE));
    map.insert(Place(1), &region(0x8000_4000, 0x5000, PAGE));
    let mut all = found(&map, 0x8000_3000, PAGE);
    all.sort_by_key(|concerned| match concerned {
        Concerned::Region { place, ipa, .. } => (place.0, ipa.0),
        Concerned::Whole(_) => (NONE, 0),
    });
    assert_eq!(
        all,
        [
            one(0, 0x5000, PAGE),
            one(0, 0x9000, PAGE),
            one(2, 0x5000, PAGE)
        ]
    );
    assert_eq!(found(&map, 0x8000_5000, PAGE), []);
}

#[test]
fn a_page_is_found_in_the_block_that_holds_it_and_a_block_by_its_pages() {
    let mut map = map(16, 1);
    map.insert(Place(0), &region(0x8000_0000, 0x4000_0000, BLOCK));
    map.insert(Place(0), &region(0x8020_1000, 0x1000, PAGE));
    assert_eq!(found(&map, 0x8000_7000, PAGE), [one(0, 0x4000_0000, BLOCK)]);
    assert_eq!(found(&map, 0x8020_0000, BLOCK), [one(0, 0x1000, PAGE)]);
    assert_eq!(found(&map, 0x801f_f000, 3 * PAGE).len(), 2);
}

#[test]
fn a_region_that_is_filled_again_has_one_record() {
    let mut map = map(4, 1);
    for _ in 0..100 {
        map.insert(Place(0), &region(0x8000_0000, 0x5000, PAGE));
    }
    assert_eq!(map.used(), 1);
}

#[test]
fn what_is_taken_is_gone_and_its_memory_is_used_again() {
    let mut map = map(4, 1);
    for turn in 0..100 {
        for page in 0..4 {
            map.insert(
                Place(0),
                &region((turn * 4 + page) * PAGE, page * PAGE, PAGE),
            );
        }
        let mut taken = 0;
        map.take(L1Ipa(turn * 4 * PAGE), 4 * PAGE, |_| taken += 1);
        assert_eq!((taken, map.used()), (4, 0));
    }
    assert_eq!(found(&map, 0, u64::MAX), []);
}

#[test]
fn a_shadow_without_room_is_acted_on_whole_until_it_is_forgotten() {
    let mut map = map(4, 2);
    map.insert(Place(1), &region(0x9000_0000, 0, PAGE));
    for page in 0..4 {
        map.insert(Place(0), &region(page * PAGE, page * PAGE, PAGE));
    }
    // The fifth had no room; the four are of no more use.
    assert_eq!(map.used(), 1);
    assert_eq!(found(&map, 0xffff_0000, PAGE), [Concerned::Whole(Place(0))]);
    map.insert(Place(0), &region(0, 0, PAGE));
    assert_eq!(map.used(), 1, "nothing more is noted of it");
    map.take(L1Ipa(0), PAGE, |concerned| {
        assert_eq!(concerned, Concerned::Whole(Place(0)));
    });
    assert_eq!(
        found(&map, 0, PAGE),
        [Concerned::Whole(Place(0))],
        "until it is cleared"
    );
    map.forget(Place(0));
    map.insert(Place(0), &region(0, 0, PAGE));
    assert_eq!(found(&map, 0, PAGE), [one(0, 0, PAGE)]);
}

#[test]
fn forgetting_one_shadow_leaves_the_others() {
    let mut map = map(16, 2);
    for page in 0..5 {
        map.insert(Place(0), &region(page * PAGE, page * PAGE, PAGE));
        map.insert(Place(1), &region(page * PAGE, page * PAGE, PAGE));
    }
    map.forget(Place(0));
    assert_eq!(map.used(), 5);
    assert_eq!(found(&map, 0, PAGE), [one(1, 0, PAGE)]);
}

#[test]
fn the_whole_address_space_is_searched_by_record() {
    let mut map = map(8, 1);
    map.insert(Place(0), &region(0, 0, PAGE));
    map.insert(Place(0), &region((1 << 52) - BLOCK, BLOCK, BLOCK));
    assert_eq!(found(&map, 0, u64::MAX).len(), 2);
    assert_eq!(found(&map, PAGE, u64::MAX), [one(0, BLOCK, BLOCK)]);
}

#[test]
fn a_map_without_memory_tracks_nothing_and_says_so() {
    let mut map = map(0, 1);
    assert_eq!(found(&map, 0, PAGE), []);
    map.insert(Place(0), &region(0, 0, PAGE));
    assert_eq!(found(&map, 0, PAGE), [Concerned::Whole(Place(0))]);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, u64, u64, u32),
    Take(u64, u64),
    Forget(u32),
}

fn any_step() -> impl Strategy<Value = Step> {
    let shift = || prop::sample::select(vec![12u32, 14, 16, 21]);
    prop_oneof![
        8 => (0..3u32, 0..0x80_0000u64, 0..0x80_0000u64, shift())
            .prop_map(|(place, via, ipa, shift)| Step::Insert(place, via, ipa, shift)),
        2 => (0..0x80_0000u64, prop_oneof![Just(PAGE), 0..0x80_0000u64, Just(u64::MAX)])
            .prop_map(|(from, bytes)| Step::Take(from, bytes)),
        1 => (0..3u32).prop_map(Step::Forget),
    ]
}

proptest! {
    #[test]
    fn the_map_finds_what_a_list_of_all_fills_finds_or_more_by_whole_shadows(
        records in 1..24usize,
        steps in prop::collection::vec(any_step(), 1..120),
        (from, bytes) in (0..0x80_0000u64, 1..0x20_0000u64),
    ) {
        let mut map = map(records, 3);
        let mut list: Vec<(u32, u64, u64, u64)> = Vec::new();
        let holds = |via: u64, size: u64, from: u64, bytes: u64| {
            via < from.saturating_add(bytes) && from < via + size
        };
        for step in steps {
            match step {
                Step::Insert(place, via, ipa, shift) => {
                    let size = 1 << shift;
                    let (via, ipa) = (via & !(size - 1), ipa & !(size - 1));
                    map.insert(Place(place), &region(via, ipa, size));
                    if !list.contains(&(place, via, ipa, size)) {
                        list.push((place, via, ipa, size));
                    }
                }
                Step::Take(from, bytes) => {
                    let bytes = bytes.max(1);
                    let mut whole = Vec::new();
                    map.take(L1Ipa(from), bytes, |concerned| {
                        if let Concerned::Whole(Place(place)) = concerned {
                            whole.push(place);
                        }
                    });
                    list.retain(|&(_, via, _, size)| !holds(via, size, from, bytes));
                    // The shadow is cleared.
                    for place in whole {
                        map.forget(Place(place));
                        list.retain(|&(of, ..)| of != place);
                    }
                }
                Step::Forget(place) => {
                    map.forget(Place(place));
                    list.retain(|&(of, ..)| of != place);
                }
            }
            prop_assert!(map.used() as usize <= records);
        }
        let shown = found(&map, from, bytes);
        for &(place, via, ipa, size) in &list {
            if !holds(via, size, from, bytes) {
                prop_assert!(!shown.contains(&one(place, ipa, size)) || list.iter().any(
                    |&(of, other, at, bytes_of)| (of, at, bytes_of) == (place, ipa, size)
                        && holds(other, bytes_of, from, bytes)
                ));
                continue;
            }
            let is_shown = shown.contains(&one(place, ipa, size))
                || shown.contains(&Concerned::Whole(Place(place)));
            prop_assert!(is_shown);
        }
        prop_assert!(shown.len() <= list.len() + 3);
    }
}
