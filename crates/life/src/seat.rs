//! One vCPU: what it wants of its physical one, and its registers while it is not loaded.

use crate::sync::{AtomicU8, Mutex, Ordering};

/// What a vCPU wants of its physical one, and where its registers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Stand {
    /// It has left its virtual machine's life, or no life has begun.
    Left,
    /// Nothing: it is powered off, and has no registers.
    Off,
    /// To run; its registers are parked.
    Ready,
    /// To run, and it is loaded.
    Running,
    /// Nothing until something wakes it; it is loaded still, since nobody else wanted the CPU.
    Idle,
    /// Nothing until something wakes it; its registers are parked.
    Waiting,
}

impl Stand {
    const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Left,
            1 => Self::Off,
            2 => Self::Ready,
            3 => Self::Running,
            4 => Self::Idle,
            _ => Self::Waiting,
        }
    }

    /// Whether the hardware has its registers.
    pub const fn is_loaded(self) -> bool {
        matches!(self, Self::Running | Self::Idle)
    }

    /// Whether it waits for something.
    pub const fn is_waiting(self) -> bool {
        matches!(self, Self::Idle | Self::Waiting)
    }

    /// Whether it wants to run.
    pub const fn wants_to_run(self) -> bool {
        matches!(self, Self::Ready | Self::Running)
    }
}

/// The place of a vCPU with registers `S`. `stand` and `parked` are written by its physical CPU alone, but for
/// the power-on of one that is off, under the lock, and the begin of a life, when nobody else has business here.
pub(crate) struct Seat<S> {
    stand: AtomicU8,
    parked: Mutex<Option<S>>,
}

impl<S> Seat<S> {
    pub(crate) fn new() -> Self {
        Self {
            stand: AtomicU8::new(Stand::Left as u8),
            parked: Mutex::new(None),
        }
    }

    #[inline]
    pub(crate) fn stand(&self) -> Stand {
        Stand::from_bits(self.stand.load(Ordering::Acquire))
    }

    fn set(&self, stand: Stand) {
        self.stand.store(stand as u8, Ordering::Release);
    }

    /// A life begins.
    pub(crate) fn begin(&self) {
        self.set(Stand::Off);
    }

    /// Off, with `state` and where `may` says so, to ready.
    pub(crate) fn on(&self, state: S, may: impl FnOnce() -> bool) -> bool {
        let mut parked = self.parked.lock();
        let is_on = self.stand() == Stand::Off && may();
        if is_on {
            *parked = Some(state);
            self.set(Stand::Ready);
        }
        is_on
    }

    /// Ready to running, with its registers; `None` unless it is ready.
    pub(crate) fn load(&self) -> Option<S> {
        let mut parked = self.parked.lock();
        let state = parked.take_if(|_| self.stand() == Stand::Ready)?;
        self.set(Stand::Running);
        Some(state)
    }

    /// Loaded to parked, with its registers, which the hardware has no longer.
    pub(crate) fn park(&self, state: S) {
        let mut parked = self.parked.lock();
        *parked = Some(state);
        let stand = match self.stand() {
            Stand::Idle => Stand::Waiting,
            _ => Stand::Ready,
        };
        self.set(stand);
    }

    /// Running to idle.
    pub(crate) fn wait(&self) {
        if self.stand() == Stand::Running {
            self.set(Stand::Idle);
        }
    }

    /// Wants to run again.
    pub(crate) fn wake(&self) {
        match self.stand() {
            Stand::Idle => self.set(Stand::Running),
            Stand::Waiting => self.set(Stand::Ready),
            _ => {}
        }
    }

    /// Running to off; its registers are no more.
    pub(crate) fn off(&self) {
        self.set(Stand::Off);
    }

    /// Out of this life, with what is parked.
    pub(crate) fn leave(&self) -> Option<S> {
        // Under the lock, so that nobody switches it on meanwhile.
        let mut parked = self.parked.lock();
        self.set(Stand::Left);
        parked.take()
    }
}
