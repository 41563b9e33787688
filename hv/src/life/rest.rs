//! What the home of a VM that rests does: its end, or all that the next life needs, in steps. Between two steps it takes
//! interrupts, and its time slice may end. None is long, whatever the guest has done.

use droste_image::OnReboot;
use droste_life::RunState;
use droste_resources::Budget;

use super::lifecycle;
use crate::arch::memory::Use;
use crate::arch::timer;
use crate::machine::machine;
use crate::memory::loader::Done;
use crate::vm::Vm;
use crate::vm::rest::{Rest, Step};

/// One step of `vm`, which rests and whose home this CPU is.
pub(crate) fn work(vm: &'static Vm) {
    // There is one since it was opened.
    let ends = vm.rest.get().and_then(|rest| step(&mut rest.lock(), vm));
    if let Some(ends) = ends {
        vm.lives.end(match ends {
            Ends::AsItStopped => None,
            Ends::Failed => Some(RunState::Failed),
        });
        lifecycle::vm_ended(vm);
    }
}

/// How a VM ends.
enum Ends {
    AsItStopped,
    Failed,
}

/// Does what comes next. Returns how `vm` ends, if it does.
fn step(rest: &mut Rest, vm: &'static Vm) -> Option<Ends> {
    rest.next = match rest.next {
        Step::Judge => match judge(vm, &mut rest.starts) {
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
            if lifecycle::renew_devices(vm).is_err() {
                return Some(Ends::Failed);
            }
            Step::Copy(Done::default(), Use::Used)
        }
        Step::Copy(done, memory) => match rest.plan.copy(&vm.ram, done, memory) {
            Some(done) => Step::Copy(done, memory),
            None => Step::Begin,
        },
        Step::Begin => {
            if let Some(entropy) = &machine().entropy {
                rest.plan.seed(&vm.ram, &mut entropy.lock());
            }
            lifecycle::begin(vm, rest.plan.entry());
            Step::Judge
        }
    };
    None
}

/// What follows for `vm`: the way to another life, or nothing.
fn judge(vm: &Vm, starts: &mut Budget) -> Option<Step> {
    let why = vm.lives.resting()?;
    if why == RunState::Running {
        return Some(Step::Copy(Done::default(), Use::Fresh));
    }
    lifecycle::reset_devices(vm);
    let may_restart = vm.image.on_reboot == OnReboot::Restart && !machine().is_reboot_forbidden;
    if why != RunState::Reset || !may_restart {
        return None;
    }
    if !starts.take(timer::now()) {
        log::error!("{}: resets itself over and over; it stays off", vm.name());
        return None;
    }
    log::info!("{}: restarts", vm.name());
    Some(Step::Tables)
}
