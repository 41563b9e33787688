//! The phase of a virtual machine with its counts, in one word, so that every change is one atomic step.

use crate::RunState;

/// The phase of a virtual machine as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Built, and not opened yet.
    Built,
    /// Its vCPUs run.
    Running,
    /// It has been stopped; its vCPUs leave, each by its own physical CPU.
    Stopping,
    /// All vCPUs have left, and nothing of it is loaded anywhere: it is made ready for its next life, or ends.
    Resting,
    /// It has ended for good.
    Gone,
}

/// The state of a virtual machine as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Word {
    pub(crate) phase: Phase,
    /// Why the last life ends or has ended; `Running` while none has.
    pub(crate) run_state: RunState,
    /// How many vCPUs have left this life.
    pub(crate) left: u8,
    /// How many are on, or were when it was stopped.
    pub(crate) on: u8,
    /// Which life this is, or was last; 0 before the first.
    pub(crate) life: u32,
}

impl Word {
    pub(crate) const BUILT: Self = Self {
        phase: Phase::Built,
        run_state: RunState::Running,
        left: 0,
        on: 0,
        life: 0,
    };

    pub(crate) const fn to_bits(self) -> u64 {
        self.phase as u64
            | (self.run_state as u64) << 8
            | (self.left as u64) << 16
            | (self.on as u64) << 24
            | (self.life as u64) << 32
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self {
            phase: match bits as u8 {
                0 => Phase::Built,
                1 => Phase::Running,
                2 => Phase::Stopping,
                3 => Phase::Resting,
                _ => Phase::Gone,
            },
            run_state: RunState::from_bits((bits >> 8) as u8),
            left: (bits >> 16) as u8,
            on: (bits >> 24) as u8,
            life: (bits >> 32) as u32,
        }
    }

    /// To rest, from where its first life begins.
    pub(crate) fn open(self) -> Option<Self> {
        (self.phase == Phase::Built).then_some(Self {
            phase: Phase::Resting,
            ..self
        })
    }

    /// A life begins, with nobody on.
    pub(crate) fn begin(self) -> Option<Self> {
        (self.phase == Phase::Resting).then_some(Self {
            phase: Phase::Running,
            run_state: RunState::Running,
            left: 0,
            on: 0,
            life: self.life.wrapping_add(1),
        })
    }

    /// It is stopped. The first reason counts.
    pub(crate) fn stop(self, run_state: RunState) -> Option<Self> {
        (self.phase == Phase::Running).then_some(Self {
            phase: Phase::Stopping,
            run_state,
            ..self
        })
    }

    /// One more vCPU is on.
    pub(crate) fn on(self) -> Option<Self> {
        (self.phase == Phase::Running).then_some(Self {
            on: self.on + 1,
            ..self
        })
    }

    /// One is on no longer; with the last one nothing can happen any more, and it stops.
    pub(crate) fn off(self) -> Option<Self> {
        let on = self.on.checked_sub(1)?;
        let fewer = Self { on, ..self };
        Some(match on {
            0 => fewer.stop(RunState::Idle).unwrap_or(fewer),
            _ => fewer,
        })
    }

    /// One of `vcpus` has left; with the last one it rests.
    pub(crate) fn leave(self, vcpus: usize) -> Option<Self> {
        let left = self.left + 1;
        let phase = if usize::from(left) < vcpus {
            Phase::Stopping
        } else {
            Phase::Resting
        };
        (self.phase == Phase::Stopping).then_some(Self {
            phase,
            left,
            ..self
        })
    }

    /// No life follows.
    pub(crate) fn end(self) -> Option<Self> {
        matches!(self.phase, Phase::Built | Phase::Resting).then_some(Self {
            phase: Phase::Gone,
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    const PHASES: [Phase; 5] = [
        Phase::Built,
        Phase::Running,
        Phase::Stopping,
        Phase::Resting,
        Phase::Gone,
    ];
    const RUN_STATES: [RunState; 5] = [
        RunState::Running,
        RunState::Off,
        RunState::Reset,
        RunState::Idle,
        RunState::Failed,
    ];

    #[test]
    fn every_state_survives_as_bits() {
        for phase in PHASES {
            for run_state in RUN_STATES {
                for (left, on, life) in [(0, 0, 0), (64, 3, 1), (1, 64, u32::MAX)] {
                    let word = Word {
                        phase,
                        run_state,
                        left,
                        on,
                        life,
                    };
                    assert_eq!(Word::from_bits(word.to_bits()), word);
                }
            }
        }
    }

    #[test]
    fn each_step_has_one_phase_to_come_from() {
        type Step = fn(Word) -> Option<Word>;
        let steps: [(&str, Step, &[Phase], Phase); 6] = [
            ("open", Word::open, &[Phase::Built], Phase::Resting),
            ("begin", Word::begin, &[Phase::Resting], Phase::Running),
            (
                "stop",
                |word| word.stop(RunState::Off),
                &[Phase::Running],
                Phase::Stopping,
            ),
            ("on", Word::on, &[Phase::Running], Phase::Running),
            (
                "leave",
                |word| word.leave(1),
                &[Phase::Stopping],
                Phase::Resting,
            ),
            (
                "end",
                Word::end,
                &[Phase::Built, Phase::Resting],
                Phase::Gone,
            ),
        ];
        for (name, step, from, to) in steps {
            for phase in PHASES {
                let after = step(Word {
                    phase,
                    ..Word::BUILT
                });
                let expected = from.contains(&phase).then_some(to);
                assert_eq!(after.map(|word| word.phase), expected, "{name} {phase:?}");
            }
        }
    }

    #[test]
    fn the_last_of_them_to_leave_puts_it_to_rest() {
        let mut word = Word {
            phase: Phase::Stopping,
            ..Word::BUILT
        };
        let phases: Vec<_> = (0..3)
            .map(|_| {
                word = word.leave(3).expect("it stops");
                word.phase
            })
            .collect();
        assert_eq!(phases, [Phase::Stopping, Phase::Stopping, Phase::Resting]);
    }

    #[test]
    fn the_first_reason_counts_and_a_life_begins_without_one() {
        let running = Word {
            phase: Phase::Running,
            ..Word::BUILT
        };
        let stopped = running.stop(RunState::Reset).expect("it runs");
        assert_eq!(stopped.stop(RunState::Off), None);
        let begun = stopped.leave(1).and_then(Word::begin).expect("it rests");
        assert_eq!(
            (begun.run_state, begun.life, begun.left),
            (RunState::Running, 1, 0)
        );
    }

    #[test]
    fn it_is_idle_when_the_last_one_goes_off_and_not_when_it_was_stopped_before() {
        let on = |n| Word {
            phase: Phase::Running,
            on: n,
            ..Word::BUILT
        };
        assert_eq!(on(2).off(), Some(on(1)));
        let idle = on(1).off().expect("one was on");
        assert_eq!(
            (idle.phase, idle.run_state),
            (Phase::Stopping, RunState::Idle)
        );
        let stopped = on(1).stop(RunState::Reset).and_then(Word::off);
        assert_eq!(stopped.map(|word| word.run_state), Some(RunState::Reset));
        assert_eq!(on(0).off(), None);
    }
}
