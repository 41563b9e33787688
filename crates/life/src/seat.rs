//! One vCPU: its state, and its registers while it is not loaded.

use crate::sync::{AtomicU8, Mutex, Ordering};

/// The state of a vCPU: whether it wants to run, and where its registers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Stand {
    /// It has left its virtual machine's life, or no life has begun.
    Left,
    /// Powered off; it has no registers.
    Off,
    /// Wants to run; its registers are parked.
    Ready,
    /// Running: it is loaded.
    Running,
    /// Waiting to be woken, but still loaded, since no other member wanted the CPU.
    Idle,
    /// Waiting to be woken; its registers are parked.
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
