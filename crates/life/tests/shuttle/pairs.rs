//! Few steps beside each other, in every order that there is; of three CPUs, in the first thousands.

use droste_life::{Kick, Leaving, Lives, Phase, RunState, Stand};
use shuttle::sync::Arc;
use shuttle::thread;

/// A virtual machine of two in its first life, whose registers are the number of their life.
fn lives() -> Arc<Lives<u32>> {
    let lives = Lives::new(2);
    assert!(lives.open() && lives.begin(1));
    Arc::new(lives)
}

/// Loads the first one, and takes it out and lets it leave once it has to.
fn leave_first(lives: &Lives<u32>) -> Leaving {
    if lives.stand(0).is_loaded() {
        lives.park(0, 1);
    }
    lives.leave(0, |life| assert_eq!(life, 1))
}

#[test]
fn a_power_on_beside_a_stop_is_of_this_life_or_none() {
    shuttle::check_dfs(
        || {
            let lives = lives();
            assert_eq!(lives.load(0), Some(1));
            let other = lives.clone();
            // The physical CPU of the second one.
            let second = thread::spawn(move || other.leave(1, |life| assert_eq!(life, 1)));
            let stopper = lives.clone();
            let stopper = thread::spawn(move || stopper.stop(RunState::Reset));
            let is_on = lives.on(1, 1);
            assert!(stopper.join().expect("no panic"));
            let mut ends = vec![leave_first(&lives)];
            ends.push(second.join().expect("no panic"));
            // It looks again when it is told.
            ends.push(lives.leave(1, |life| assert_eq!(life, 1)));
            assert_eq!(ends.iter().filter(|end| **end == Leaving::Last).count(), 1);
            assert_eq!(lives.phase(), Phase::Resting);
            assert!(lives.begin(2));
            assert_eq!(lives.stand(1), Stand::Off, "on before: {is_on}");
            assert_eq!(lives.load(0), Some(2));
            assert_eq!(lives.load(1), None);
        },
        Some(4_000),
    );
}

#[test]
fn one_that_has_left_does_not_leave_the_next_life_for_a_stop_of_the_last() {
    shuttle::check_dfs(
        || {
            let lives = lives();
            assert!(lives.stop(RunState::Reset));
            assert_eq!(lives.leave(1, drop), Leaving::Left);
            let other = lives.clone();
            // The physical CPU of the second one asks again, while that of the first one goes on.
            let second = thread::spawn(move || other.leave(1, drop));
            assert_eq!(lives.leave(0, drop), Leaving::Last);
            assert!(lives.begin(2));
            assert_eq!(second.join().expect("no panic"), Leaving::Stays);
            assert_eq!(lives.stand(1), Stand::Off);
            assert_eq!(lives.phase(), Phase::Running);
        },
        None,
    );
}

#[test]
fn the_last_one_off_stops_it_once() {
    shuttle::check_dfs(
        || {
            let lives = lives();
            assert!(lives.load(0).is_some() && lives.on(1, 1) && lives.load(1).is_some());
            let other = lives.clone();
            let second = thread::spawn(move || other.off(1));
            let first = lives.off(0);
            assert!(first != second.join().expect("no panic"), "one of them");
            assert_eq!(lives.phase(), Phase::Stopping);
        },
        None,
    );
}

#[test]
fn a_kick_tells_the_cpu_or_finds_it_told() {
    shuttle::check_dfs(
        || {
            let kick = Arc::new(Kick::new());
            let other = kick.clone();
            let kicker = thread::spawn(move || other.give());
            let is_seen = kick.take();
            assert!(kicker.join().expect("no panic"), "nobody else kicked");
            assert!(is_seen != kick.is_given(), "taken, or there still");
        },
        None,
    );
}
