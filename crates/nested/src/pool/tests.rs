use std::vec;
use std::vec::Vec;

use droste_arm64::hcr;
use proptest::prelude::*;

use super::*;
use crate::advertised::tests::{plain, rich};

const VS: u64 = 1 << 19;

fn registers(vmid: u64, baddr: u64) -> StageTwoRegisters {
    StageTwoRegisters {
        hcr: hcr::VM,
        sctlr: 0,
        vtcr: Vtcr(VS),
        vttbr: Vttbr(vmid << 48 | baddr),
    }
}

fn key(vmid: u64, baddr: u64) -> Key {
    Key::new(&registers(vmid, baddr), &rich())
}

fn pool(quota: usize) -> Pool<Vec<Entry>> {
    Pool::new(vec![Entry::UNUSED; quota])
}

#[test]
fn a_key_is_all_of_vttbr_but_cnp_and_all_of_vtcr() {
    let base = registers(7, 0x8000_0000);
    let same = StageTwoRegisters {
        vttbr: Vttbr(base.vttbr.0 | 1),
        ..base
    };
    assert_eq!(Key::new(&base, &rich()), Key::new(&same, &rich()));
    for bit in 1..64 {
        let other = StageTwoRegisters {
            vttbr: Vttbr(base.vttbr.0 ^ 1 << bit),
            ..base
        };
        assert_ne!(Key::new(&base, &rich()), Key::new(&other, &rich()), "{bit}");
    }
    let other = StageTwoRegisters {
        vtcr: Vtcr(base.vtcr.0 | 1),
        ..base
    };
    assert_ne!(Key::new(&base, &rich()), Key::new(&other, &rich()));
}

#[test]
fn how_a_table_is_read_is_part_of_its_key() {
    const EE: u64 = 1 << 25;
    let base = registers(7, 0x8000_0000);
    let with = |hcr: u64, sctlr: u64| StageTwoRegisters {
        hcr: base.hcr | hcr,
        sctlr,
        ..base
    };
    let ways = [
        (0, 0),
        (hcr::PTW, 0),
        (hcr::FWB, 0),
        (0, EE),
        (hcr::PTW | hcr::FWB, EE),
    ];
    for (n, one) in ways.into_iter().enumerate() {
        for (m, other) in ways.into_iter().enumerate() {
            let keys = [one, other].map(|(hcr, sctlr)| Key::new(&with(hcr, sctlr), &rich()));
            assert_eq!(keys[0] == keys[1], n == m);
        }
    }
    // Nothing else of the two, FWB not where it is not shown, and none of it with stage 2 off.
    let noise = with(!(hcr::PTW | hcr::FWB), !EE);
    assert_eq!(Key::new(&base, &rich()), Key::new(&noise, &rich()));
    let shown = with(hcr::FWB, 0);
    assert_eq!(Key::new(&base, &plain()), Key::new(&shown, &plain()));
    let off = |hcr, sctlr| StageTwoRegisters {
        hcr,
        ..with(0, sctlr)
    };
    assert_eq!(
        Key::new(&off(0, 0), &rich()),
        Key::new(&off(hcr::PTW, EE), &rich())
    );
}

#[test]
fn with_stage_2_off_the_vmid_is_the_key() {
    let off = |vmid, baddr, vtcr| {
        let registers = StageTwoRegisters {
            hcr: 0,
            vtcr: Vtcr(vtcr),
            ..registers(vmid, baddr)
        };
        Key::new(&registers, &rich())
    };
    assert_eq!(off(7, 0x1000, VS), off(7, 0x2000, VS | 0x18));
    assert_ne!(off(7, 0x1000, VS), off(8, 0x1000, VS));
    assert_ne!(off(7, 0x1000, VS), key(7, 0x1000));
    assert!(!off(7, 0x1000, VS).has_table() && key(7, 0x1000).has_table());
    // With 8 bits the upper ones are not looked at.
    assert_eq!(off(0x107, 0x1000, 0), off(7, 0x1000, 0));
    assert_eq!(Key::new(&registers(0x107, 0), &plain()).vmid(), Vmid(7));
}

#[test]
fn the_least_recently_used_goes_first_and_those_in_use_never() {
    let mut pool = pool(3);
    let places: Vec<Place> = (0..3)
        .map(|vmid| pool.acquire(key(vmid, 0)).expect("three").place())
        .collect();
    assert_eq!(pool.acquire(key(3, 0)), None);
    for index in [1, 0, 2] {
        pool.release(places[index]);
    }
    // Used again: now 1 is older than 0 and 2 no more.
    assert_eq!(pool.acquire(key(1, 0)), Some(Grant::Known(places[1])));
    pool.release(places[1]);
    let reused = |place, vmid| {
        Some(Grant::Reused {
            place,
            before: key(vmid, 0),
        })
    };
    assert_eq!(pool.acquire(key(3, 0)), reused(places[0], 0));
    assert_eq!(pool.acquire(key(4, 0)), reused(places[2], 2));
    assert_eq!(pool.acquire(key(5, 0)), reused(places[1], 1));
    assert_eq!(pool.acquire(key(6, 0)), None);
    assert_eq!(pool.find(key(0, 0)), None);
}

#[test]
fn a_context_with_two_users_stays_until_the_second_goes() {
    let mut pool = pool(1);
    let place = pool.acquire(key(1, 0)).expect("one").place();
    assert_eq!(pool.acquire(key(1, 0)), Some(Grant::Known(place)));
    pool.release(place);
    assert_eq!(pool.acquire(key(2, 0)), None);
    pool.release(place);
    assert!(pool.acquire(key(2, 0)).is_some());
}

#[test]
fn an_invalidation_by_vmid_finds_every_context_of_it_and_no_other() {
    let mut pool = pool(8);
    // Three tables under VMID 1, one with stage 2 off, and VMIDs of the same chain.
    let mut expected = Vec::new();
    for baddr in [0x1000, 0x2000, 0x3000] {
        expected.push(pool.acquire(key(1, baddr)).expect("eight").place());
    }
    let off = StageTwoRegisters {
        hcr: 0,
        ..registers(1, 0)
    };
    expected.push(
        pool.acquire(Key::new(&off, &rich()))
            .expect("eight")
            .place(),
    );
    for vmid in [9, 17, 2] {
        pool.acquire(key(vmid, 0x1000)).expect("eight");
    }
    let mut found: Vec<Place> = pool.with_vmid(Vmid(1)).collect();
    found.sort_by_key(|place| place.0);
    assert_eq!(found, expected);
    assert_eq!(pool.with_vmid(Vmid(3)).count(), 0);
    assert_eq!(pool.places().count(), 7);
}

#[test]
fn thousands_of_tables_in_turn_need_no_more_than_the_quota() {
    let mut pool = pool(16);
    for turn in 0..5000u64 {
        let grant = pool
            .acquire(key(turn % 300, turn << 12))
            .expect("idle ones");
        assert!(grant.place().index() < 16);
        assert_eq!(matches!(grant, Grant::New(_)), turn < 16);
        pool.release(grant.place());
    }
    assert_eq!(pool.places().count(), 16);
}

#[test]
fn a_pool_of_nothing_has_nothing() {
    let mut pool = pool(0);
    assert_eq!(pool.acquire(key(1, 0)), None);
    assert_eq!(pool.find(key(1, 0)), None);
    assert_eq!(pool.with_vmid(Vmid(1)).count(), 0);
}

#[test]
#[should_panic(expected = "as often as it was acquired")]
fn a_place_is_not_released_twice() {
    let mut pool = pool(1);
    let place = pool.acquire(key(1, 0)).expect("one").place();
    pool.release(place);
    pool.release(place);
}

/// What the pool should be, by search alone: key, users and last use of each place.
#[derive(Default)]
struct Naive {
    places: Vec<(Key, u32, u64)>,
    now: u64,
}

impl Naive {
    fn acquire(&mut self, key: Key, quota: usize) -> Option<usize> {
        if let Some(at) = self.places.iter().position(|place| place.0 == key) {
            self.places[at].1 += 1;
            return Some(at);
        }
        if self.places.len() < quota {
            self.places.push((key, 1, 0));
            return Some(self.places.len() - 1);
        }
        let idle = self
            .places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.1 == 0);
        let (at, _) = idle.min_by_key(|(_, place)| place.2)?;
        self.places[at] = (key, 1, 0);
        Some(at)
    }

    fn release(&mut self, at: usize) {
        self.now += 1;
        self.places[at].1 -= 1;
        self.places[at].2 = self.now;
    }
}

proptest! {
    #[test]
    fn a_pool_behaves_as_a_search_would(
        quota in 1..6usize,
        steps in prop::collection::vec((0..5u64, 0..3u64, any::<bool>()), 1..200),
    ) {
        let mut pool = pool(quota);
        let mut naive = Naive::default();
        let mut held = Vec::new();
        for (vmid, table, is_release) in steps {
            if is_release && !held.is_empty() {
                let place: Place = held.swap_remove((vmid * 3 + table) as usize % held.len());
                pool.release(place);
                naive.release(place.index());
                continue;
            }
            let key = key(vmid, table << 12);
            let granted = pool.acquire(key).map(Grant::place);
            prop_assert_eq!(granted.map(Place::index), naive.acquire(key, quota));
            held.extend(granted);
            for vmid in 0..5u16 {
                let found = pool.with_vmid(Vmid(vmid)).count();
                let wanted = naive.places.iter().filter(|place| place.0.vmid() == Vmid(vmid));
                prop_assert_eq!(found, wanted.count());
            }
        }
    }
}

#[test]
fn places_with_a_user_are_counted_once_each() {
    let mut pool = pool(3);
    assert_eq!(pool.in_use(), 0);
    let place = pool.acquire(key(1, 0)).expect("room").place();
    pool.acquire(key(1, 0)).expect("known");
    pool.acquire(key(2, 0)).expect("room");
    assert_eq!(pool.in_use(), 2);
    pool.release(place);
    assert_eq!(pool.in_use(), 2);
    pool.release(place);
    assert_eq!(pool.in_use(), 1);
}
