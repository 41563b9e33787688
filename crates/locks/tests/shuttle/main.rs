//! CPUs as threads, in many orders. Only with `--cfg droste_shuttle`; `interleavings.rs` runs them so.
//!
//! Who waits takes steps without end, so there is no list of all orders: schedules are drawn at random.

#![cfg(droste_shuttle)]

use droste_locks::{Turns, Visits};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use shuttle::{Config, MaxSteps, Runner, thread};

const SCHEDULES: usize = 4_000;
/// Changes of priority that find a mistake: the `depth` of Burckhardt's randomized scheduler.
const DEPTH: usize = 3;
/// Who has taken as many waits for ever.
const STEPS: usize = 20_000;

/// A lock, and who is in.
#[derive(Default)]
struct Room {
    turns: Turns,
    alone: AtomicU32,
    sharing: AtomicU32,
}

impl Room {
    fn alone(&self, what: impl FnOnce()) {
        self.turns.lock();
        self.as_alone(what);
    }

    /// In alone, by a turn that has come.
    fn as_alone(&self, what: impl FnOnce()) {
        assert_eq!(self.alone.fetch_add(1, Ordering::SeqCst), 0, "two alone");
        assert_eq!(self.sharing.load(Ordering::SeqCst), 0, "one shares");
        what();
        assert_eq!(self.sharing.load(Ordering::SeqCst), 0, "one came to share");
        self.alone.fetch_sub(1, Ordering::SeqCst);
        self.turns.unlock();
    }

    fn shared(&self, what: impl FnOnce()) {
        self.turns.lock_shared();
        self.as_shared(what);
    }

    fn as_shared(&self, what: impl FnOnce()) {
        self.sharing.fetch_add(1, Ordering::SeqCst);
        assert_eq!(self.alone.load(Ordering::SeqCst), 0, "one is alone");
        what();
        assert_eq!(self.alone.load(Ordering::SeqCst), 0, "one came alone");
        self.sharing.fetch_sub(1, Ordering::SeqCst);
        self.turns.unlock_shared();
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
        let room = Arc::new(Room::default());
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
        assert!(room.turns.try_lock(), "all have gone");
    });
}

#[test]
fn who_tries_is_in_or_leaves_no_trace() {
    try_all(|| {
        let room = Arc::new(Room::default());
        let tries = |room: &Room| {
            if room.turns.try_lock() {
                room.as_alone(|| ());
            }
            if room.turns.try_lock_shared() {
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
        assert!(room.turns.try_lock(), "all have gone");
    });
}

/// One waits with a turn while two others come again and again, each way by `visit`: whoever comes after it has its turn
/// finds that it was in.
fn is_not_passed(visit: fn(&Room, &dyn Fn())) {
    let room = Arc::new(Room::default());
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
        let turn = room.turns.join();
        has_turn.store(true, Ordering::SeqCst);
        room.turns.wait(turn);
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

/// A lock that nobody shares, and who is in.
#[derive(Default)]
struct Closet {
    visits: Visits,
    inside: AtomicU32,
}

impl Closet {
    fn visit(&self, what: impl FnOnce()) {
        self.visits.lock();
        self.as_inside(what);
    }

    fn as_inside(&self, what: impl FnOnce()) {
        assert_eq!(self.inside.fetch_add(1, Ordering::SeqCst), 0, "two are in");
        what();
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.visits.unlock();
    }
}

#[test]
fn visits_are_one_at_a_time() {
    try_all(|| {
        let closet = Arc::new(Closet::default());
        let threads = (0..3).map(|cpu| {
            let closet = closet.clone();
            thread::spawn(move || {
                closet.visit(|| ());
                if cpu == 0 && closet.visits.try_lock() {
                    closet.as_inside(|| ());
                }
                closet.visit(|| ());
                closet.visit(|| ());
            })
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.join().expect("no panic");
        }
        assert!(closet.visits.try_lock(), "all have gone");
    });
}

#[test]
fn one_that_was_passed_often_enough_is_passed_no_more() {
    // Of the tests and of no schedule.
    let with_turns = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = with_turns.clone();
    try_all(move || {
        let closet = Arc::new(Closet::default());
        let was_in = Arc::new(AtomicBool::new(false));
        let waiter = {
            let (closet, was_in) = (closet.clone(), was_in.clone());
            thread::spawn(move || closet.visit(|| was_in.store(true, Ordering::SeqCst)))
        };
        // One comer: who has a turn, other than it, is the waiter.
        for _ in 0..8 {
            let has_turn = closet.visits.has_turns();
            if has_turn {
                with_turns.fetch_add(1, Ordering::Relaxed);
            }
            closet.visit(|| {
                assert!(
                    !has_turn || was_in.load(Ordering::SeqCst),
                    "one with a turn is passed"
                );
            });
        }
        waiter.join().expect("no panic");
    });
    assert_ne!(seen.load(Ordering::Relaxed), 0, "nobody ever has a turn");
}

/// One has `lock` until another is known to wait, which `visits` it: that is counted, once.
fn is_counted<L: Default + Send + Sync + 'static>(
    (take, go): (fn(&L), fn(&L)),
    visits: fn(&L),
    waits: fn(&L) -> u32,
) {
    let lock = Arc::new(L::default());
    take(&lock);
    let other = lock.clone();
    let other = thread::spawn(move || visits(&other));
    while waits(&lock) == 0 {
        thread::yield_now();
    }
    go(&lock);
    other.join().expect("no panic");
    assert_eq!(waits(&lock), 1);
}

#[test]
fn each_wait_is_counted_once() {
    try_all(|| {
        is_counted(
            (Visits::lock, Visits::unlock),
            |visits: &Visits| {
                visits.lock();
                visits.unlock();
            },
            Visits::waits,
        );
        let in_alone: (fn(&Turns), fn(&Turns)) = (Turns::lock, Turns::unlock);
        is_counted(
            in_alone,
            |turns| {
                turns.lock();
                turns.unlock();
            },
            Turns::waits,
        );
        is_counted(
            in_alone,
            |turns| {
                turns.lock_shared();
                turns.unlock_shared();
            },
            Turns::waits,
        );
    });
}
