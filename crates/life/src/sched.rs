//! The loop of a physical CPU: which vCPU leaves, which wakes, and which has the next time slice.
//!
//! A time slice goes to a vCPU, or to a VM that rests, in the place of its first vCPU: the work of making a VM ready is
//! charged to the VM itself. A slice ends when its time is over or when its owner waits, and for no other reason: whatever
//! wakes another member, and however often, its slice comes after this one.

use crate::{Kick, Leaving, Lives, Stand};

/// A vCPU that belongs to a physical one.
pub struct Member<'a, S> {
    /// Its virtual machine's lives.
    pub lives: &'a Lives<S>,
    /// Its index in that virtual machine.
    pub index: usize,
    /// Its kicks.
    pub kick: &'a Kick,
}

/// A physical CPU, as [`schedule`] uses it. Members are named by their position, below [`members`](Self::members).
pub trait Cpu {
    /// The registers of a vCPU.
    type State;
    /// Why the loop ends; an empty type where it never does.
    type End;

    /// The number of vCPUs that belong here.
    fn members(&self) -> usize;
    /// One of them.
    fn member(&self, position: usize) -> Member<'_, Self::State>;
    /// The position of the vCPU that these registers are of.
    fn position(&self, state: &Self::State) -> usize;
    /// The position of the member that had the last time slice.
    fn last(&self) -> usize;

    /// Puts registers into the hardware.
    fn put_in(&mut self, state: &mut Self::State);
    /// Takes them out.
    fn take_out(&mut self, state: &mut Self::State);
    /// Gives up what registers hold, such as references: they are parked, and about to be dropped.
    fn give_up(position: usize, state: Self::State);
    /// The last vCPU of a virtual machine has left: tells its home.
    fn tell_home(&mut self, position: usize);

    /// Whether an interrupt is pending for a vCPU that is loaded and idle.
    fn has_pending(&mut self, state: &mut Self::State) -> bool;
    /// Whether the deadline of a parked vCPU has passed.
    fn is_due(&self, position: usize) -> bool;

    /// A time slice begins.
    fn begin_slice(&mut self, position: usize);
    /// Whether the time slice is over.
    fn is_slice_over(&self) -> bool;
    /// Called when the loaded vCPU goes on with its time slice: sets the timer for its end.
    fn arm(&mut self);

    /// Does one step of making ready, or of ending, a virtual machine that rests and whose home this is; then takes
    /// pending interrupts. Nothing is loaded.
    fn work(&mut self, position: usize);
    /// Waits for an interrupt, and takes it.
    ///
    /// # Errors
    /// If the loop ends.
    fn sleep(&mut self, current: Option<&mut Self::State>) -> Result<(), Self::End>;
}

/// Who has the next time slice.
enum Next {
    /// A vCPU that is ready or loaded.
    Vcpu(usize),
    /// A VM that rests.
    Rest(usize),
}

/// Takes `current`, the loaded vCPU, off `cpu` if another member should run, and waits while none can. Returns the
/// registers of the vCPU to run, which are loaded.
///
/// # Errors
/// If [`Cpu::sleep`] ends the loop.
pub fn schedule<C: Cpu>(cpu: &mut C, mut current: Option<C::State>) -> Result<C::State, C::End> {
    loop {
        leave(cpu, &mut current);
        wake(cpu, current.as_mut());
        if let Some(state) = current.take_if(|state| keeps_slice(cpu, state)) {
            cpu.arm();
            return Ok(state);
        }
        match next(cpu) {
            Some(Next::Vcpu(position)) => {
                if let Some(state) = give_slice(cpu, position, current.take()) {
                    return Ok(state);
                }
            }
            Some(Next::Rest(position)) => {
                if let Some(state) = current.take() {
                    park(cpu, state);
                }
                cpu.begin_slice(position);
                while rests(cpu, position) && !cpu.is_slice_over() {
                    cpu.work(position);
                }
            }
            None => cpu.sleep(current.as_mut())?,
        }
    }
}

/// Switches the loaded vCPU off. Returns whether it was the last one on, so that its virtual machine has stopped and
/// the physical CPUs of all its vCPUs must be told.
pub fn switch_off<C: Cpu>(cpu: &mut C, mut state: C::State) -> bool {
    let position = cpu.position(&state);
    cpu.take_out(&mut state);
    C::give_up(position, state);
    let Member { lives, index, .. } = cpu.member(position);
    lives.off(index)
}

/// Gives a time slice to a vCPU, which `current` may be.
fn give_slice<C: Cpu>(cpu: &mut C, position: usize, current: Option<C::State>) -> Option<C::State> {
    let state = match current {
        Some(state) if cpu.position(&state) == position => state,
        other => {
            if let Some(state) = other {
                park(cpu, state);
            }
            let Member { lives, index, .. } = cpu.member(position);
            let mut state = lives.load(index)?;
            cpu.put_in(&mut state);
            state
        }
    };
    cpu.begin_slice(position);
    cpu.arm();
    Some(state)
}

/// Lets members leave whose virtual machines are stopping; the loaded one is taken out of the hardware first.
fn leave<C: Cpu>(cpu: &mut C, current: &mut Option<C::State>) {
    for position in 0..cpu.members() {
        let Member { lives, index, .. } = cpu.member(position);
        // Asked once: it may be stopped at any time.
        if !lives.must_leave(index) {
            continue;
        }
        if let Some(state) = current.take_if(|state| cpu.position(state) == position) {
            park(cpu, state);
        }
        let Member { lives, index, .. } = cpu.member(position);
        if lives.leave(index, |state| C::give_up(position, state)) == Leaving::Last {
            cpu.tell_home(position);
        }
    }
}

/// Makes those ready whose wait is over.
fn wake<C: Cpu>(cpu: &mut C, mut current: Option<&mut C::State>) {
    for position in 0..cpu.members() {
        let Member { lives, index, kick } = cpu.member(position);
        let is_over = match lives.stand(index) {
            Stand::Waiting => kick.is_given() || cpu.is_due(position),
            Stand::Idle => match &mut current {
                Some(state) => cpu.has_pending(state),
                None => false,
            },
            _ => false,
        };
        if is_over {
            let Member { lives, index, .. } = cpu.member(position);
            lives.wake(index);
        }
    }
}

fn keeps_slice<C: Cpu>(cpu: &C, state: &C::State) -> bool {
    let Member { lives, index, .. } = cpu.member(cpu.position(state));
    lives.stand(index) == Stand::Running && !cpu.is_slice_over()
}

/// The next member that has something to do, counted from the one that had the last time slice.
fn next<C: Cpu>(cpu: &C) -> Option<Next> {
    let members = cpu.members();
    (1..=members)
        .map(|n| (cpu.last() + n) % members)
        .find_map(|position| {
            let Member { lives, index, .. } = cpu.member(position);
            if lives.stand(index).wants_to_run() {
                Some(Next::Vcpu(position))
            } else {
                rests(cpu, position).then_some(Next::Rest(position))
            }
        })
}

/// Whether a virtual machine rests whose home this is.
fn rests<C: Cpu>(cpu: &C, position: usize) -> bool {
    let Member { lives, index, .. } = cpu.member(position);
    index == 0 && lives.resting().is_some()
}

/// Takes a vCPU out of the hardware.
fn park<C: Cpu>(cpu: &mut C, mut state: C::State) {
    let position = cpu.position(&state);
    cpu.take_out(&mut state);
    let Member { lives, index, .. } = cpu.member(position);
    lives.park(index, state);
}
