//! The lives of one virtual machine.

use alloc::boxed::Box;

use crate::seat::{Seat, Stand};
use crate::sync::{AtomicU64, Ordering};
use crate::word::Word;
use crate::{Phase, RunState};

/// The most vCPUs of a virtual machine.
pub const MAX_VCPUS: usize = 64;

/// The result of asking a vCPU to leave.
#[must_use = "who is told of the last one begins the next life"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaving {
    /// It stays: its virtual machine is not stopping, it has left before, or it is loaded.
    Stays,
    /// It has left; others have not.
    Left,
    /// It has left, and was the last: its virtual machine rests, and its home must be told.
    Last,
}

/// The lives of one virtual machine whose vCPUs have registers `S`. Methods name a vCPU by its index, below the number
/// of vCPUs.
///
/// ```
/// use droste_life::{Leaving, Lives, RunState, Phase};
/// let lives = Lives::new(1);
/// lives.open();
/// assert!(lives.begin("registers"));
/// let registers = lives.load(0).expect("the first one is ready");
/// assert!(lives.stop(RunState::Reset));
/// assert_eq!(lives.leave(0, drop), Leaving::Stays, "it is loaded");
/// lives.park(0, registers);
/// assert_eq!(lives.leave(0, drop), Leaving::Last);
/// assert_eq!(lives.phase(), Phase::Resting);
/// ```
pub struct Lives<S> {
    word: AtomicU64,
    seats: Box<[Seat<S>]>,
}

impl<S> Lives<S> {
    /// The lives of a virtual machine that was just built, with this many vCPUs.
    ///
    /// # Panics
    /// If there are none, or more than [`MAX_VCPUS`].
    pub fn new(vcpus: usize) -> Self {
        assert!(
            (1..=MAX_VCPUS).contains(&vcpus),
            "{vcpus} vCPUs are none, or too many"
        );
        Self {
            word: AtomicU64::new(Word::BUILT.to_bits()),
            seats: (0..vcpus).map(|_| Seat::new()).collect(),
        }
    }

    #[inline]
    fn word(&self) -> Word {
        Word::from_bits(self.word.load(Ordering::Acquire))
    }

    /// One step of the whole; `None`, and nothing, where it is not possible.
    fn step(&self, step: impl Fn(Word) -> Option<Word>) -> Option<Word> {
        let mut before = self.word.load(Ordering::Acquire);
        loop {
            let after = step(Word::from_bits(before))?;
            let bits = after.to_bits();
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            match self
                .word
                .compare_exchange_weak(before, bits, success, failure)
            {
                Ok(_) => return Some(after),
                Err(now) => before = now,
            }
        }
    }

    /// Its phase.
    #[inline]
    pub fn phase(&self) -> Phase {
        self.word().phase
    }

    /// The number of its current or last life, counted from 1; 0 before the first.
    pub fn life(&self) -> u32 {
        self.word().life
    }

    /// How it ended; `Running` before.
    pub fn run_state(&self) -> RunState {
        match self.word() {
            Word {
                phase: Phase::Gone,
                run_state,
                ..
            } => run_state,
            _ => RunState::Running,
        }
    }

    /// While it rests, how its last life ended, or `Running` before its first life; otherwise `None`.
    #[inline]
    pub fn resting(&self) -> Option<RunState> {
        let word = self.word();
        (word.phase == Phase::Resting).then_some(word.run_state)
    }

    /// The state of vCPU `n`.
    #[inline]
    pub fn stand(&self, n: usize) -> Stand {
        self.seats[n].stand()
    }

    /// From built to resting: its home may begin its first life, and must be told. Returns whether it was built.
    pub fn open(&self) -> bool {
        self.step(Word::open).is_some()
    }

    /// Begins a life, with the first vCPU ready and the others off. Only the home calls this, once it has made the
    /// virtual machine ready. Returns whether the virtual machine rested.
    pub fn begin(&self, first: S) -> bool {
        if self.phase() != Phase::Resting {
            return false;
        }
        self.seats.iter().for_each(Seat::begin);
        self.step(Word::begin).is_some() && self.on(0, first)
    }

    /// Ends it: no life follows. `run_state` says why, where that is not how its last life ended. Called by its
    /// home, or by whoever has built it. Returns whether it was built or at rest.
    pub fn end(&self, run_state: Option<RunState>) -> bool {
        let end = |word: Word| {
            let run_state = run_state.unwrap_or(word.run_state);
            Word { run_state, ..word }.end()
        };
        self.step(end).is_some()
    }

    /// Stops it. Returns whether this is the first time in this life; then the physical CPUs of all its vCPUs must be
    /// told.
    pub fn stop(&self, run_state: RunState) -> bool {
        self.step(|word| word.stop(run_state)).is_some()
    }

    /// Switches vCPU `n` on with `state`, if it is off and its virtual machine is running. Returns whether it did; then
    /// the vCPU's physical CPU must be told. Called by a vCPU of the same life.
    pub fn on(&self, n: usize, state: S) -> bool {
        self.seats[n].on(state, || self.step(Word::on).is_some())
    }

    /// Switches vCPU `n` off, which was running: its registers are out of the hardware and given up. Returns whether it
    /// was the last one that was on, so that its virtual machine has stopped. Called by its own physical CPU.
    pub fn off(&self, n: usize) -> bool {
        self.seats[n].off();
        self.step(Word::off)
            .is_some_and(|word| word.run_state == RunState::Idle && word.on == 0)
    }

    /// Takes the registers of vCPU `n` to load them, if it is ready. Called by its own physical CPU.
    pub fn load(&self, n: usize) -> Option<S> {
        self.seats[n].load()
    }

    /// Parks vCPU `n` with the registers `state`, which the hardware no longer has. Called by its own physical CPU.
    pub fn park(&self, n: usize, state: S) {
        self.seats[n].park(state);
    }

    /// Makes vCPU `n` wait, which is loaded. Called by its own physical CPU.
    pub fn wait(&self, n: usize) {
        self.seats[n].wait();
    }

    /// Ends the wait of vCPU `n`. Called by its own physical CPU.
    pub fn wake(&self, n: usize) {
        self.seats[n].wake();
    }

    /// Whether vCPU `n` has to leave. The answer stays yes until its own physical CPU, which asks, lets it leave.
    #[inline]
    pub fn must_leave(&self, n: usize) -> bool {
        // In this order: who has not left keeps its virtual machine from resting, so what it says of a stop is of this
        // life. The other way about, a stop of the last life would be taken for one of this.
        self.stand(n) != Stand::Left && self.phase() == Phase::Stopping
    }

    /// Lets vCPU `n` leave, if it has to and is not loaded; its registers go to `give_up` before it counts as having
    /// left. Called by its own physical CPU.
    pub fn leave(&self, n: usize, give_up: impl FnOnce(S)) -> Leaving {
        if self.stand(n).is_loaded() || !self.must_leave(n) {
            return Leaving::Stays;
        }
        if let Some(state) = self.seats[n].leave() {
            give_up(state);
        }
        match self.step(|word| word.leave(self.seats.len())) {
            Some(word) if word.phase == Phase::Resting => Leaving::Last,
            Some(_) => Leaving::Left,
            None => Leaving::Stays,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A life of two, the second one off.
    fn begun() -> Lives<&'static str> {
        let lives = Lives::new(2);
        assert!(lives.open());
        assert!(lives.begin("first"));
        lives
    }

    #[test]
    fn a_cpu_is_parked_as_what_it_was_and_wakes_where_it_is() {
        let lives = begun();
        let wakes = |parked: bool, stand: Stand| {
            if parked {
                lives.park(0, "first");
            }
            assert_eq!(lives.stand(0), stand, "parked: {parked}");
            lives.wake(0);
            lives.stand(0)
        };
        assert_eq!(wakes(false, Stand::Ready), Stand::Ready);
        assert_eq!(lives.load(0), Some("first"));
        assert_eq!(wakes(false, Stand::Running), Stand::Running);
        lives.wait(0);
        assert_eq!(wakes(false, Stand::Idle), Stand::Running);
        lives.wait(0);
        assert_eq!(wakes(true, Stand::Waiting), Stand::Ready);
    }

    #[test]
    fn only_what_is_ready_is_loaded() {
        let lives = begun();
        assert_eq!(lives.load(1), None, "off");
        let state = lives.load(0).expect("ready");
        assert_eq!(lives.load(0), None, "running");
        lives.wait(0);
        lives.park(0, state);
        assert_eq!(lives.load(0), None, "waiting");
        lives.wait(0);
        assert_eq!(lives.stand(0), Stand::Waiting, "no loaded one");
    }

    #[test]
    fn one_that_is_on_is_not_switched_on_again() {
        let lives = begun();
        assert!(lives.on(1, "second"));
        assert!(!lives.on(1, "again"));
        assert_eq!(lives.load(1), Some("second"));
        assert!(!lives.on(1, "again"));
        assert!(!lives.off(1), "the first one is on");
        assert!(lives.on(1, "again"));
        assert!(!lives.off(0) && lives.off(1), "the last");
        assert_eq!(lives.resting(), None);
    }

    #[test]
    fn none_comes_on_once_it_is_stopped_and_none_leaves_before() {
        let lives = begun();
        assert_eq!(lives.leave(1, drop), Leaving::Stays);
        assert!(lives.stop(RunState::Reset));
        assert!(!lives.stop(RunState::Off), "the first reason counts");
        assert!(!lives.on(1, "second"));
        assert!(!lives.begin("first"), "they have not left");
        assert!(!lives.end(None), "nor does it end");
        assert_eq!(lives.leave(1, drop), Leaving::Left);
        assert_eq!(lives.leave(1, drop), Leaving::Stays, "once");
        let mut given_up = None;
        assert_eq!(
            lives.leave(0, |state| given_up = Some(state)),
            Leaving::Last
        );
        assert_eq!(
            (given_up, lives.resting()),
            (Some("first"), Some(RunState::Reset))
        );
    }

    #[test]
    fn a_loaded_one_does_not_leave() {
        let lives = begun();
        let state = lives.load(0).expect("ready");
        assert!(lives.stop(RunState::Off));
        assert_eq!(lives.leave(0, drop), Leaving::Stays);
        lives.wait(0);
        assert_eq!(lives.leave(0, drop), Leaving::Stays);
        lives.park(0, state);
        assert_eq!(lives.leave(0, drop), Leaving::Left);
    }

    #[test]
    fn how_it_ended_is_known_when_it_is_gone() {
        let lives = begun();
        assert!(lives.stop(RunState::Off));
        assert_eq!(lives.run_state(), RunState::Running);
        assert_eq!(lives.leave(0, drop), Leaving::Left);
        assert_eq!(lives.leave(1, drop), Leaving::Last);
        assert!(lives.end(None) && !lives.end(None), "once");
        assert_eq!(lives.run_state(), RunState::Off);
        let failed = Lives::<()>::new(1);
        assert!(failed.end(Some(RunState::Failed)));
        assert_eq!(
            (failed.run_state(), failed.phase()),
            (RunState::Failed, Phase::Gone)
        );
    }
}
