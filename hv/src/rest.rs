//! What the home of a VM that rests does: its end, or all that the next life needs, in steps. Between two steps it takes
//! interrupts, and its turn may end. None is long, whatever the guest has done.

use droste_image::OnReboot;
use droste_life::{Budget, Outcome};

use crate::arch::memory::Use;
use crate::arch::timer;
use crate::machine::machine;
use crate::memory::loader::{Done, Plan};
use crate::power;
use crate::vm::Vm;

/// How often a VM may start anew at once, and after how many seconds once more. One that boots and falls, over and over,
/// stays off in the end.
const STARTS_AT_ONCE: u32 = 5;
const SECONDS_A_START: u64 = 10;

/// What comes next.
#[derive(Clone, Copy)]
enum Step {
    /// To see why it rests, and whether a life follows.
    Judge,
    /// To empty its stage 2.
    Tables,
    /// To empty those of its guests, from this one on.
    Shadows(usize),
    /// To take apart what those held.
    Pages,
    /// To make its interrupts, its console and its firmware new.
    Devices,
    /// To copy its image, into memory that was used so.
    Copy(Done, Use),
    /// To begin the life.
    Begin,
}

/// What the home knows of a VM's lives. It alone locks this.
pub(crate) struct Rest {
    plan: Plan,
    next: Step,
    starts: Budget,
}

impl Rest {
    /// Of a VM whose lives begin as `plan` says.
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            plan,
            next: Step::Judge,
            starts: Budget::new(STARTS_AT_ONCE, timer::frequency() * SECONDS_A_START),
        }
    }

    /// Does what comes next. Returns how `vm` ends, if it does.
    fn step(&mut self, vm: &'static Vm) -> Option<Ends> {
        self.next = match self.next {
            Step::Judge => match judge(vm, &mut self.starts) {
                Some(next) => next,
                None => return Some(Ends::AsItStopped),
            },
            Step::Tables => {
                vm.memory.clear();
                Step::Shadows(0)
            }
            Step::Shadows(first) => match vm.clear_shadows(first) {
                Some(next) => Step::Shadows(next),
                None => Step::Pages,
            },
            Step::Pages if vm.reclaim_tables() => Step::Pages,
            Step::Pages => Step::Devices,
            Step::Devices => {
                if vm.renew_devices().is_err() {
                    return Some(Ends::Failed);
                }
                Step::Copy(Done::default(), Use::Used)
            }
            Step::Copy(done, memory) => match self.plan.copy(&vm.ram, done, memory) {
                Some(done) => Step::Copy(done, memory),
                None => Step::Begin,
            },
            Step::Begin => {
                vm.begin(self.plan.entry());
                Step::Judge
            }
        };
        None
    }
}

/// How a VM ends.
enum Ends {
    AsItStopped,
    Failed,
}

/// One step of `vm`, which rests and whose home this CPU is.
pub(crate) fn work(vm: &'static Vm) {
    // There is one since it was opened.
    let ends = vm.rest.get().and_then(|rest| rest.lock().step(vm));
    if let Some(ends) = ends {
        vm.lives.end(match ends {
            Ends::AsItStopped => None,
            Ends::Failed => Some(Outcome::Failed),
        });
        power::vm_ended(vm);
    }
}

/// What follows for `vm`: the way to another life, or nothing.
fn judge(vm: &Vm, starts: &mut Budget) -> Option<Step> {
    let why = vm.lives.resting()?;
    if why == Outcome::Running {
        return Some(Step::Copy(Done::default(), Use::Fresh));
    }
    vm.reset_devices();
    let may_restart = vm.image.on_reboot == OnReboot::Restart && !machine().is_reboot_forbidden;
    if why != Outcome::Reset || !may_restart {
        return None;
    }
    if !starts.take(timer::now()) {
        log::error!("{}: resets itself over and over; it stays off", vm.name());
        return None;
    }
    log::info!("{}: restarts", vm.name());
    Some(Step::Tables)
}
