//! When Droste says what of itself: lines for people, and records for the tool that started the machine, behind the word
//! that it chose (`droste.report=`). What they look like is decided in `droste-resources`.

use core::fmt;

use droste_resources::Exits;
use droste_resources::report::{Machine, Vm as Usage, Waits, Went, last_record, record};

use super::terminal;
use crate::arch::image;
use crate::machine::cpu::Cpu;
use crate::machine::machine;
use crate::memory::guest_memory::rollovers;
use crate::vm::{Vm, alarm, all};

pub(crate) use droste_resources::report::Moment;

/// Prints a report if one is due on `cpu`.
pub(crate) fn print_if_due(cpu: &Cpu) {
    if alarm::is_report_due(cpu) {
        print(Moment::OnTheWay);
        alarm::start_reports();
    }
}

/// Prints the report of all VMs.
pub(crate) fn print(moment: Moment) {
    let vms = all::vms().iter().map(|vm| usage(vm));
    let mut tables = 0;
    for vm in vms.clone() {
        vm.tell(|line| log::info!("{line}"));
        tables += vm.stage2.table_bytes;
    }
    let layout = image::layout();
    let all = layout.all();
    let whole = Machine {
        moment,
        went: went(),
        image: layout.file_bytes,
        memory: all.end - all.start,
        rollovers: rollovers(),
    };
    whole.tell(tables, |line| log::info!("{line}"));
    if let Some(nonce) = &machine().nonce {
        terminal::with_line(|line| {
            let _ = record(line, nonce, whole, vms);
        });
    }
}

/// What `vm` did and holds.
fn usage(vm: &Vm) -> Usage<'static> {
    Usage {
        name: vm.name(),
        outcome: vm.run_state(),
        exits: Exits::of(vm.vcpus().iter().map(|vcpu| &vcpu.counters)),
        stage2: vm.memory.stats(),
        shadows: vm.nested.as_ref().map(|nested| nested.contexts.stats()),
        waits: Waits::of(|lock| vm.waits(lock)),
    }
}

/// How the VMs ended, once all have.
pub(crate) fn went() -> Went {
    Went::of(all::vms().iter().map(|vm| vm.run_state()))
}

/// The tool that marks records by `nonce` hears that nothing could be run.
pub(crate) fn failed(nonce: Option<&str>, why: fmt::Arguments<'_>) {
    if let Some(nonce) = nonce.filter(|nonce| !nonce.is_empty()) {
        terminal::with_line(|line| {
            let _ = last_record(line, nonce, "failed", why);
        });
    }
}
