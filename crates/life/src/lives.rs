//! The lives of one virtual machine.

use alloc::boxed::Box;

use crate::seat::{Seat, Stand};
use crate::sync::{AtomicU64, Ordering};
use crate::word::Word;
use crate::{Outcome, Phase};

/// Most virtual CPUs of a virtual machine.
pub const MAX_VCPUS: usize = 64;

/// What came of a virtual CPU that was asked to leave.
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

/// The lives of one virtual machine whose virtual CPUs have registers `S`. An index names a virtual CPU, and there is
/// such a one: callers have it from the virtual machine itself.
///
/// ```
/// use droste_life::{Leaving, Lives, Outcome, Phase};
/// let lives = Lives::new(1);
/// lives.open();
/// assert!(lives.begin("registers"));
/// let registers = lives.load(0).expect("the first one is ready");
/// assert!(lives.stop(Outcome::Reset));
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
    /// Of a virtual machine that is built, with this many virtual CPUs.
    ///
    /// # Panics
    /// If there are none, or more than [`MAX_VCPUS`].
    pub fn new(vcpus: usize) -> Self {
        assert!(
            (1..=MAX_VCPUS).contains(&vcpus),
            "{vcpus} virtual CPUs are none, or too many"
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

    /// What it does.
    #[inline]
    pub fn phase(&self) -> Phase {
        self.word().phase
    }

    /// Which life it has, or had last; 0 before the first.
    pub fn life(&self) -> u32 {
        self.word().life
    }

    /// How it ended; `Running` before.
    pub fn outcome(&self) -> Outcome {
        match self.word() {
            Word {
                phase: Phase::Gone,
                outcome,
                ..
            } => outcome,
            _ => Outcome::Running,
        }
    }

    /// Why it rests, for its home: `Running` before its first life. `None` unless it rests.
    #[inline]
    pub fn resting(&self) -> Option<Outcome> {
        let word = self.word();
        (word.phase == Phase::Resting).then_some(word.outcome)
    }

    /// What virtual CPU `n` wants.
    #[inline]
    pub fn stand(&self, n: usize) -> Stand {
        self.seats[n].stand()
    }

    /// Built to resting: its home, which must be told, may begin its first life.
    pub fn open(&self) -> bool {
        self.step(Word::open).is_some()
    }

    /// A life begins, with the first virtual CPU ready and the others off. The home alone calls this, when it has made the
    /// virtual machine ready.
    pub fn begin(&self, first: S) -> bool {
        if self.phase() != Phase::Resting {
            return false;
        }
        self.seats.iter().for_each(Seat::begin);
        self.step(Word::begin).is_some() && self.on(0, first)
    }

    /// No life follows; `outcome` says why, where it is not the last life's own. Its home calls this, or who has built it.
    pub fn end(&self, outcome: Option<Outcome>) -> bool {
        let end = |word: Word| {
            let outcome = outcome.unwrap_or(word.outcome);
            Word { outcome, ..word }.end()
        };
        self.step(end).is_some()
    }

    /// Stops it, for the first time in this life; then the physical CPUs of all its virtual ones must be told.
    pub fn stop(&self, outcome: Outcome) -> bool {
        self.step(|word| word.stop(outcome)).is_some()
    }

    /// Switches virtual CPU `n` on with `state`, unless it is not off or its virtual machine is stopping; then its
    /// physical CPU must be told. Who runs in the same life calls this.
    pub fn on(&self, n: usize, state: S) -> bool {
        self.seats[n].on(state, || self.step(Word::on).is_some())
    }

    /// Virtual CPU `n`, which ran, is off: its registers are in no hardware and given up. Returns whether it was the last
    /// one that was on, so that its virtual machine has stopped. Its own physical CPU calls this.
    pub fn off(&self, n: usize) -> bool {
        self.seats[n].off();
        self.step(Word::off)
            .is_some_and(|word| word.outcome == Outcome::Idle && word.on == 0)
    }

    /// The registers of virtual CPU `n` to be loaded, if it is ready. Its own physical CPU calls this.
    pub fn load(&self, n: usize) -> Option<S> {
        self.seats[n].load()
    }

    /// Virtual CPU `n` is in the hardware no longer, and parked with `state`. Its own physical CPU calls this.
    pub fn park(&self, n: usize, state: S) {
        self.seats[n].park(state);
    }

    /// Virtual CPU `n`, which is loaded, waits. Its own physical CPU calls this.
    pub fn wait(&self, n: usize) {
        self.seats[n].wait();
    }

    /// Virtual CPU `n` waits no longer. Its own physical CPU calls this.
    pub fn wake(&self, n: usize) {
        self.seats[n].wake();
    }

    /// Whether virtual CPU `n` has to leave. When it has to, it has to until its own physical CPU, which asks, lets it.
    #[inline]
    pub fn must_leave(&self, n: usize) -> bool {
        // In this order: who has not left keeps its virtual machine from resting, so what it says of a stop is of this
        // life. The other way about, a stop of the last life would be taken for one of this.
        self.stand(n) != Stand::Left && self.phase() == Phase::Stopping
    }

    /// Lets virtual CPU `n` leave, if it has to and is not loaded; its registers go to `give_up` before it counts. Its own
    /// physical CPU calls this.
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

    /// Makes virtual CPU `n` look at its interrupts, whatever it does. Returns whether its physical CPU must be told: once
    /// for several kicks.
    #[inline]
    pub fn kick(&self, n: usize) -> bool {
        self.seats[n].kick()
    }

    /// Whether virtual CPU `n` was kicked since the last call. It is, and looks, before it waits or runs on.
    #[inline]
    pub fn take_kick(&self, n: usize) -> bool {
        self.seats[n].take_kick()
    }

    /// Whether a kick of virtual CPU `n` waits to be taken.
    #[inline]
    pub fn is_kicked(&self, n: usize) -> bool {
        self.seats[n].is_kicked()
    }
}
