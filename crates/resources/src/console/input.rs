//! Input that waits for a VM.

use alloc::collections::VecDeque;

/// Bytes that wait for a VM at most; what is typed ahead beyond them is lost.
pub const INPUT_BYTES: usize = 2 << 10;

/// Bytes that their VM had no room for yet.
#[derive(Debug)]
pub(super) struct Input {
    waiting: VecDeque<u8>,
    /// A byte was lost since the VM read any.
    has_lost: bool,
}

impl Input {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::with_capacity(INPUT_BYTES),
            has_lost: false,
        }
    }

    /// Whether `byte` waits now; it is lost if too many do.
    pub(super) fn queue(&mut self, byte: u8) -> bool {
        let has_room = self.waiting.len() < INPUT_BYTES;
        if has_room {
            self.waiting.push_back(byte);
        }
        has_room
    }

    /// A byte was lost. Whether it is the first since the VM read any.
    pub(super) fn is_first_lost(&mut self) -> bool {
        !core::mem::replace(&mut self.has_lost, true)
    }

    /// Gives what waits to `offer`, as long as that takes it.
    #[inline]
    pub(super) fn feed(&mut self, mut offer: impl FnMut(u8) -> bool) {
        while let Some(byte) = self.waiting.front() {
            if !offer(*byte) {
                return;
            }
            self.waiting.pop_front();
            self.has_lost = false;
        }
    }
}
