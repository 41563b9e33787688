//! CPUs as threads, in many orders. Only with `--cfg droste_shuttle`; `interleavings.rs` runs them so.
//!
//! Who waits takes steps without end, so there is no list of all orders: schedules are drawn at random.

#![cfg(droste_shuttle)]

use droste_locks::Visits;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use shuttle::{Config, MaxSteps, Runner, thread};

const SCHEDULES: usize = 4_000;
/// Changes of priority that find a mistake: the `depth` of Burckhardt's randomized scheduler.
const DEPTH: usize = 3;
/// Who has taken as many waits for ever.
const STEPS: usize = 20_000;

/// Visits that pass one that waits: few, so that turns are taken.
const PASSES: u32 = 2;

/// A lock, and who is in.
struct Room {
    visits: Visits,
    alone: AtomicU32,
    sharing: AtomicU32,
}

impl Room {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            visits: Visits::passing(PASSES),
            alone: AtomicU32::new(0),
            sharing: AtomicU32::new(0),
        })
    }

    fn alone(&self, what: impl FnOnce()) {
        self.visits.lock();
        self.as_alone(what);
    }

    /// In alone, by a turn that has come.
    fn as_alone(&self, what: impl FnOnce()) {
        assert_eq!(self.alone.fetch_add(1, Ordering::SeqCst), 0, "two alone");
        assert_eq!(self.sharing.load(Ordering::SeqCst), 0, "one shares");
        what();
        assert_eq!(self.sharing.load(Ordering::SeqCst), 0, "one came to share");
        self.alone.fetch_sub(1, Ordering::SeqCst);
        self.visits.unlock();
    }

    fn shared(&self, what: impl FnOnce()) {
        self.visits.lock_shared();
        self.as_shared(what);
    }

    fn as_shared(&self, what: impl FnOnce()) {
        self.sharing.fetch_add(1, Ordering::SeqCst);
        assert_eq!(self.alone.load(Ordering::SeqCst), 0, "one is alone");
        what();
        assert_eq!(self.alone.load(Ordering::SeqCst), 0, "one came alone");
        self.sharing.fetch_sub(1, Ordering::SeqCst);
        self.visits.unlock_shared();
    }
}

fn try_all(scenario: impl Fn() + Clone + Send + Sync + 'static) {
    let config = || {
        let mut config = Config::new();
        config.max_steps = MaxSteps::FailAfter(STEPS);
        config
    };
    Runner::new(RandomScheduler::new(SCHEDULES), config()).run(scenario.clone());
    Runner::new(PctScheduler::new(DEPTH, SCHEDULES), config()).run(scenario);
}

/// Runs each of these as a CPU.
fn beside(room: &Arc<Room>, cpus: Vec<Box<dyn FnOnce(&Room) + Send>>) {
    let threads = cpus.into_iter().map(|cpu| {
        let room = room.clone();
        thread::spawn(move || cpu(&room))
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().expect("no panic");
    }
}

#[test]
fn nobody_is_in_beside_one_that_is_alone() {
    try_all(|| {
        let room = Room::new();
        let twice = |room: &Room| {
            room.alone(|| ());
            room.shared(|| ());
        };
        let other = |room: &Room| {
            room.shared(|| ());
            room.alone(|| ());
        };
        beside(
            &room,
            vec![Box::new(twice), Box::new(other), Box::new(twice)],
        );
        assert!(room.visits.try_lock(), "all have gone");
    });
}

#[test]
fn who_tries_is_in_or_leaves_no_trace() {
    try_all(|| {
        let room = Room::new();
        let tries = |room: &Room| {
            if room.visits.try_lock() {
                room.as_alone(|| ());
            }
            if room.visits.try_lock_shared() {
                room.as_shared(|| ());
            }
        };
        let waits = |room: &Room| {
            room.shared(|| ());
            room.alone(|| ());
        };
        beside(
            &room,
            vec![Box::new(tries), Box::new(waits), Box::new(tries)],
        );
        assert!(room.visits.try_lock(), "all have gone");
    });
}

/// One waits with a turn while two others come again and again, each way by `visit`: whoever comes after it has its turn
/// finds that it was in.
fn is_not_passed(visit: fn(&Room, &dyn Fn())) {
    let room = Room::new();
    let (has_turn, was_in) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let comer = || -> Box<dyn FnOnce(&Room) + Send> {
        let (has_turn, was_in) = (has_turn.clone(), was_in.clone());
        Box::new(move |room| {
            for _ in 0..3 {
                let comes_later = has_turn.load(Ordering::SeqCst);
                visit(room, &|| {
                    assert!(
                        !comes_later || was_in.load(Ordering::SeqCst),
                        "one that came later is in first"
                    );
                });
            }
        })
    };
    let comers = [comer(), comer()];
    let waiter = move |room: &Room| {
        let turn = room.visits.join();
        has_turn.store(true, Ordering::SeqCst);
        room.visits.wait(turn);
        room.as_alone(|| was_in.store(true, Ordering::SeqCst));
    };
    let mut cpus: Vec<Box<dyn FnOnce(&Room) + Send>> = vec![Box::new(waiter)];
    cpus.extend(comers);
    beside(&room, cpus);
}

#[test]
fn one_that_waits_is_not_passed_by_those_who_share() {
    try_all(|| is_not_passed(|room, what| room.shared(what)));
}

#[test]
fn one_that_waits_is_not_passed_by_those_who_come_alone() {
    try_all(|| is_not_passed(|room, what| room.alone(what)));
}

/// One waits, by `visit`, while another comes again and again, each way in turn: once it has a turn it is passed no more.
fn is_passed_seldom(waits: fn(&Room, &dyn Fn()), comes: fn(&Room, &dyn Fn())) {
    // Of the tests and of no schedule.
    let with_turns = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = with_turns.clone();
    try_all(move || {
        let room = Room::new();
        let was_in = Arc::new(AtomicBool::new(false));
        let waiter = {
            let (room, was_in) = (room.clone(), was_in.clone());
            thread::spawn(move || waits(&room, &|| was_in.store(true, Ordering::SeqCst)))
        };
        // One comer: who has a turn, other than it, is the waiter.
        for _ in 0..8 {
            let has_turn = room.visits.has_turns();
            if has_turn {
                with_turns.fetch_add(1, Ordering::Relaxed);
            }
            comes(&room, &|| {
                assert!(
                    !has_turn || was_in.load(Ordering::SeqCst),
                    "one with a turn is passed"
                );
            });
        }
        waiter.join().expect("no panic");
        assert!(room.visits.try_lock(), "all have gone");
    });
    assert_ne!(seen.load(Ordering::Relaxed), 0, "nobody ever has a turn");
}

#[test]
fn one_that_was_passed_often_enough_is_passed_no_more() {
    is_passed_seldom(|room, what| room.alone(what), |room, what| room.alone(what));
}

#[test]
fn one_that_was_passed_by_those_who_share_is_passed_no_more() {
    is_passed_seldom(
        |room, what| room.alone(what),
        |room, what| room.shared(what),
    );
}

#[test]
fn one_that_waits_to_share_is_passed_no_more_either() {
    is_passed_seldom(
        |room, what| room.shared(what),
        |room, what| room.alone(what),
    );
}

#[test]
fn those_who_share_may_all_be_in_at_once() {
    try_all(|| {
        let room = Room::new();
        let inside = Arc::new(AtomicU32::new(0));
        let cpus = (0..3).map(|_| {
            let inside = inside.clone();
            let cpu = move |room: &Room| {
                room.shared(|| {
                    inside.fetch_add(1, Ordering::SeqCst);
                    while inside.load(Ordering::SeqCst) < 3 {
                        thread::yield_now();
                    }
                });
            };
            Box::new(cpu) as Box<dyn FnOnce(&Room) + Send>
        });
        beside(&room, cpus.collect());
    });
}

/// One has a lock until another is known to wait, which `visits` it: that is counted, once.
fn is_counted((take, go): (fn(&Visits), fn(&Visits)), visits: fn(&Visits)) {
    let lock = Arc::new(Visits::passing(PASSES));
    take(&lock);
    let other = lock.clone();
    let other = thread::spawn(move || visits(&other));
    while lock.waits() == 0 {
        thread::yield_now();
    }
    go(&lock);
    other.join().expect("no panic");
    assert_eq!(lock.waits(), 1);
}

#[test]
fn each_wait_is_counted_once() {
    const ALONE: (fn(&Visits), fn(&Visits)) = (Visits::lock, Visits::unlock);
    const SHARED: (fn(&Visits), fn(&Visits)) = (Visits::lock_shared, Visits::unlock_shared);
    try_all(|| {
        for inside in [ALONE, SHARED] {
            is_counted(inside, |visits| {
                visits.lock();
                visits.unlock();
            });
            is_counted(inside, |visits| {
                visits.wait(visits.join());
                visits.unlock();
            });
        }
        is_counted(ALONE, |visits| {
            visits.lock_shared();
            visits.unlock_shared();
        });
    });
}
