//! Interrupts of a vCPU with EL2, as its worlds change.
//!
//! Where virtual EL2 takes its guest's interrupts (HCR_EL2.{IMO, FMO, TGE}), the hardware's list registers are its guest's
//! while that runs, made from virtual EL2's own in the register page, and its own interrupts wait in the VM's GIC. Where
//! it does not, its guest's interrupts are L1's own, and the list registers stay L1's. Where it takes one of IRQ and FIQ
//! alone, the other is its EL1's by software (`droste_vdev::gic::GroupRegister`).

use droste_arm64::hcr;
use droste_nested::registers::Loaded;
use droste_vdev::Line;
use droste_vdev::gic::{Gic, Ich, Intid, Kicks, Signal};
use droste_vdev::timer::Pair;

use super::{ich, parked};
use crate::arch::gic;
use crate::arch::locks::MutexGuard;
use crate::machine::machine;
use crate::vm::hcr::asked_of_hardware;
use crate::vm::virtual_el2::{Due, El2, Interrupts, ListRegisters};
use crate::vm::{VcpuState, alarm, el2, lists};

/// The world has changed: `el2.loaded` says to which, and the timers' registers are in the hardware. The list registers
/// are those of the other world still. Gives what waits for virtual EL2 where they are its guest's now.
#[inline]
pub(super) fn switch(state: &mut VcpuState) -> Option<Signal> {
    let el2 = el2(state);
    let before = el2.interrupts.timers;
    let parked = parked::timers(el2);
    let is_high = [before, parked]
        .as_flattened()
        .iter()
        .any(|line| line.is_high());
    let is_done = !is_high
        && el2.interrupts.is_quiet
        && !state.vcpu.is_kicked()
        && switch_quietly(self::el2(state));
    let signal = if is_done {
        None
    } else {
        switch_locked(state, before, parked)
    };
    alarm::rearm(state);
    signal
}

/// The change of list registers while nothing is going on of virtual EL2's own interrupts (`droste_vdev::gic`'s module
/// `quiet`), and nothing of its guest's is in them: without a look at the VM's GIC. Gives whether it was so.
#[inline]
fn switch_quietly(el2: &mut El2) -> bool {
    let hcr = el2.hcr();
    let El2 {
        interrupts,
        page,
        loaded,
        ..
    } = el2;
    if *loaded == Loaded::El2 {
        if interrupts.lists != ListRegisters::Bare {
            return false;
        }
        ich::write_bare(*page, &gic::read_bare());
        interrupts.lists = ListRegisters::Own;
        gic::write_interface(&interrupts.own);
        gic::set_maintenance(0);
        return true;
    }
    if !takes_interrupts(hcr) || interrupts.maintenance.is_high() {
        return false;
    }
    let left = Signal::left_to_el1(hcr);
    let Some(bare) = ich::bare(*page, left, gic::size()) else {
        return false;
    };
    gic::read_interface(&mut interrupts.own);
    gic::write_bare(&bare);
    interrupts.left = None;
    interrupts.lists = ListRegisters::Bare;
    interrupts.due = Due::Nothing;
    true
}

/// The change of list registers under the lock of the VM's GIC. `before` is what the timers drove that are in the hardware
/// now; `parked` are the others.
#[inline(never)]
fn switch_locked(state: &mut VcpuState, before: [Line; 2], parked: [Line; 2]) -> Option<Signal> {
    let vm = state.vcpu.vm;
    let loaded = parked::pair(el2(state)).other();
    let me = state.vcpu.index;
    let mut gic = vm.gic.lock();
    let kicks = take_back(state, &mut gic);
    let physical = machine().guests_timers;
    let is_loaded = el2(state).is_loaded();
    if !is_loaded && (before[0].is_high() || before[1].is_high()) {
        // Virtual EL2 may have changed the timers of its EL1 in memory since they were looked at. Nobody has changed its own
        // while it did not run, and a line that was high has stayed so.
        let lines = physical.map(lists::physical_line);
        let _ = gic.drive_timers(me, loaded, lines);
    }
    let timers = gic.switch_timers(me, loaded, physical, parked);
    let signal = if is_loaded {
        lists::fill(state, &mut gic);
        None
    } else {
        of_guest(state, &mut gic)
    };
    el2(state).interrupts.is_quiet = gic.is_quiet(me);
    drop(gic);
    vm.kick(kicks.without(me));
    if timers.set_active | timers.clear_active != 0
        && let Some(redistributor) = state.cpu.redistributor.get()
    {
        gic::set_ppis_active(*redistributor, timers.set_active, timers.clear_active);
    }
    signal
}

/// Whether virtual EL2 takes interrupts while its guest runs, so that the list registers are its guest's.
const fn takes_interrupts(hcr: u64) -> bool {
    hcr & (hcr::IMO | hcr::FMO | hcr::TGE) != 0
}

/// The interrupts of virtual EL2's guest, by who takes them; what waits for virtual EL2 itself, if it is that.
fn of_guest(state: &mut VcpuState, gic: &mut MutexGuard<'_, Gic>) -> Option<Signal> {
    let me = state.vcpu.index;
    let el2 = el2(state);
    let hcr = el2.hcr();
    if takes_interrupts(hcr) {
        el2.interrupts.left = Signal::left_to_el1(hcr);
        gic::read_interface(&mut el2.interrupts.own);
        enter(state, gic);
        let interrupts = &mut self::el2(state).interrupts;
        interrupts.due = Due::Nothing;
        gic.signal(me, &interrupts.own, gic::size())
    } else {
        // Virtual EL2 may have taken the cause away, and goes to an EL1 that takes its interrupts itself.
        let _ = look_at_maintenance(el2, gic, me);
        el2.interrupts.left = None;
        gic.set_traps(me, el2.interrupts.traps);
        lists::fill(state, gic);
        None
    }
}

/// Takes the list registers back, whosever they are: the world has changed.
#[inline]
fn take_back(state: &mut VcpuState, gic: &mut MutexGuard<'_, Gic>) -> Kicks {
    let me = state.vcpu.index;
    let kicks = if el2(state).has_guests_lists() {
        let kicks = leave(state, gic);
        let interrupts = &mut el2(state).interrupts;
        interrupts.lists = ListRegisters::Own;
        gic::write_interface(&interrupts.own);
        kicks
    } else {
        if el2(state).is_loaded() {
            // They were L1's EL1's.
            gic.set_traps(me, 0);
        }
        lists::fold(state, gic)
    };
    lists::deactivate_owed(gic, me);
    kicks
}

/// Puts the guest's list registers into the hardware.
pub(crate) fn enter(state: &mut VcpuState, gic: &mut MutexGuard<'_, Gic>) {
    let VcpuState {
        el2: Some(el2),
        lists_used,
        vcpu,
        ..
    } = state
    else {
        return;
    };
    let El2 {
        interrupts, page, ..
    } = &mut **el2;
    let Interrupts {
        left,
        guest,
        hardware,
        ..
    } = interrupts;
    let bare = ich::bare(*page, *left, gic::size());
    let (whose, line) = if let Some(bare) = bare {
        gic::write_bare(&bare);
        lists::write_lists(lists_used, &hardware.lrs, 0);
        (ListRegisters::Bare, Line::Low)
    } else {
        ich::read(*page, guest);
        let (used, line) = gic.enter_nested(vcpu.index, guest, *left, hardware);
        gic::write_interface(&hardware.interface);
        gic::set_virtual_hcr(hardware.hcr);
        lists::write_lists(lists_used, &hardware.lrs, used);
        (ListRegisters::Guests, line)
    };
    interrupts.lists = whose;
    interrupts.due = Due::Unknown;
    interrupts.is_quiet = false;
    // Its own alone, and it looks before it is entered.
    let _ = drive_maintenance(interrupts, gic, vcpu.index, line);
}

/// Takes the guest's list registers back into the register page. What the hardware holds has no meaning afterwards.
pub(crate) fn leave(state: &mut VcpuState, gic: &mut Gic) -> Kicks {
    let (me, used) = (state.vcpu.index, state.lists_used);
    let El2 {
        interrupts, page, ..
    } = el2(state);
    interrupts.is_quiet = false;
    if interrupts.lists == ListRegisters::Bare {
        ich::write_bare(*page, &gic::read_bare());
        // As it was: the line is low.
        return Kicks::NONE;
    }
    let Interrupts {
        guest, hardware, ..
    } = interrupts;
    hardware.hcr = gic::read_virtual_hcr();
    gic::read_interface(&mut hardware.interface);
    lists::read_lists(used, &mut hardware.lrs);
    let kicks = gic.leave_nested(me, hardware, guest);
    ich::write(*page, guest, used);
    let line = interrupts.guest.maintenance(gic::list_registers());
    kicks | drive_maintenance(interrupts, gic, me, line)
}

/// Follows what virtual EL2 has done in memory, which nobody sees. It ends interrupts of lines whose cause it has taken
/// away, and would have them again and again; and it moves the time of its EL1. The list registers are not its guest's.
pub(crate) fn look_at_levels(state: &mut VcpuState, gic: &mut Gic) -> Kicks {
    let me = state.vcpu.index;
    let Some(el2) = state.el2.as_mut() else {
        return Kicks::NONE;
    };
    let mut kicks = look_at_maintenance(el2, gic, me);
    if el2.is_loaded() && parked::may_have_changed(el2) {
        let lines = parked::timers(el2);
        kicks |= gic.drive_timers(me, parked::pair(el2), lines);
        alarm::rearm(state);
    }
    kicks
}

/// Looks at the guest's list registers while it stays: a maintenance interrupt says that there is something to see.
pub(crate) fn look(state: &mut VcpuState) {
    let (vm, me) = (state.vcpu.vm, state.vcpu.index);
    let kicks = leave_and_enter(state, &mut vm.gic.lock());
    vm.kick(kicks.without(me));
}

fn leave_and_enter(state: &mut VcpuState, gic: &mut MutexGuard<'_, Gic>) -> Kicks {
    let kicks = leave(state, gic);
    lists::deactivate_owed(gic, state.vcpu.index);
    enter(state, gic);
    kicks
}

/// Takes back what the guest has ended of virtual EL2's own interrupts while it stays, and has virtual EL2 look.
pub(crate) fn fold(state: &mut VcpuState, gic: &mut MutexGuard<'_, Gic>) -> Kicks {
    let me = state.vcpu.index;
    let interrupts = &mut el2(state).interrupts;
    interrupts.due = Due::Unknown;
    interrupts.is_quiet = false;
    if interrupts.lists == ListRegisters::Bare {
        // Nothing is lent.
        Kicks::NONE
    } else if gic.has_lent_requests(me) {
        leave_and_enter(state, gic)
    } else {
        gic.fold_lent(me, gic::read_list_register)
    }
}

/// Notes what waits for virtual EL2, which has been folded, so that it need not be asked for under another lock.
#[inline]
pub(crate) fn note_due(state: &mut VcpuState, gic: &Gic) {
    let me = state.vcpu.index;
    let interrupts = &mut el2(state).interrupts;
    interrupts.due = Due::Known(gic.signal(me, &interrupts.own, gic::size()));
}

/// Lowers what a vCPU that is switched off drives: it comes back with nothing driven.
pub(crate) fn lower(state: &VcpuState) {
    let (vm, me) = (state.vcpu.vm, state.vcpu.index);
    let timers = Pair::El1.intids().into_iter().chain(Pair::El2.intids());
    let mut gic = vm.gic.lock();
    gic.set_traps(me, 0);
    let mut kicks = Kicks::NONE;
    for intid in timers.chain([Intid::MAINTENANCE]) {
        kicks |= gic.set_line(me, intid, Line::Low);
    }
    drop(gic);
    vm.kick(kicks.without(me));
}

/// Whether an interrupt waits that ends a WFI of the guest.
pub(crate) fn has_pending(state: &mut VcpuState) -> bool {
    const PENDING: u64 = 1 << 62;
    let (vm, me) = (state.vcpu.vm, state.vcpu.index);
    let has_listed = (0..state.lists_used).any(|n| gic::read_list_register(n) & PENDING != 0);
    let mut gic = vm.gic.lock();
    let folded = fold(state, &mut gic);
    let kicks = folded | gic.look_at_levels(me, lists::physical_line);
    let el2 = el2(state);
    let has_virtual = asked_of_hardware(el2.hcr()) & (hcr::VI | hcr::VF) != 0;
    let own = gic.signal(me, &el2.interrupts.own, gic::size());
    drop(gic);
    vm.kick(kicks.without(me));
    has_listed || has_virtual || own.is_some()
}

/// Computes the maintenance interrupt's line from the registers in the page, where virtual EL2 may have changed them.
fn look_at_maintenance(el2: &mut El2, gic: &mut Gic, me: usize) -> Kicks {
    if !el2.interrupts.maintenance.is_high() && !ich::is_on(el2.page) {
        return Kicks::NONE;
    }
    let mut ich = Ich::RESET;
    ich::read(el2.page, &mut ich);
    let line = ich.maintenance(gic::list_registers());
    drive_maintenance(&mut el2.interrupts, gic, me, line)
}

/// The maintenance interrupt's line has this level.
#[inline]
fn drive_maintenance(interrupts: &mut Interrupts, gic: &mut Gic, me: usize, line: Line) -> Kicks {
    if line == interrupts.maintenance {
        return Kicks::NONE;
    }
    interrupts.maintenance = line;
    gic.set_line(me, Intid::MAINTENANCE, line)
}
