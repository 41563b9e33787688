//! Interrupts and timers of a virtual CPU with EL2, as its worlds change.
//!
//! Where virtual EL2 takes its guest's interrupts (HCR_EL2.{IMO, FMO, TGE}), the hardware's list registers are its guest's
//! while that runs, made from virtual EL2's own in the register page, and its own interrupts wait in the VM's GIC. Where
//! it does not, its guest's interrupts are L1's own, and the list registers stay L1's. Where it takes one of IRQ and FIQ
//! alone, the other is its EL1's by software (`droste_vdev::gic::GroupRegister`).
//!
//! The hardware's timers of EL1 are in turn those of virtual EL2 and those of its guest. The pair that is not in the
//! hardware drives its lines as values; its next deadline is kept for the CPU's own timer.

use droste_arm64::esr::{Direction, SysRegAccess};
use droste_arm64::hcr;
use droste_arm64::sysreg::{
    CNTHP_CTL_EL2, CNTHP_CVAL_EL2, CNTHV_CTL_EL2, CNTHV_CVAL_EL2, CNTP_CTL_EL0, CNTP_CVAL_EL0,
    CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVOFF_EL2,
};
use droste_arm64::vncr::{RegisterPage, Slot};
use droste_nested::exception::{Cause, Exception, Target, level, target};
use droste_nested::registers::{Known, Loaded};
use droste_vdev::Line;
use droste_vdev::gic::{Gic, GroupRegister, Ich, Intid, Kicks, Signal};
use droste_vdev::timer::{Pair, Parked, Registers, control, is_due};
use spin::mutex::TicketMutexGuard;

use super::{deliver, ich};
use crate::arch::traps::has_ecv;
use crate::arch::{gic, timer};
use crate::machine::machine;
use crate::vgic;
use crate::vm::hcr::asked_of_hardware;
use crate::vm::virtual_el2::{El2, Interrupts, in_page};
use crate::vm::{VcpuState, alarm, el2, lists};

const CNTP_CTL: Slot = in_page(CNTP_CTL_EL0);
const CNTP_CVAL: Slot = in_page(CNTP_CVAL_EL0);
const CNTV_CTL: Slot = in_page(CNTV_CTL_EL0);
const CNTV_CVAL: Slot = in_page(CNTV_CVAL_EL0);
const CNTVOFF: Slot = in_page(CNTVOFF_EL2);
const CNTHP: [Known; 2] = [Known::new(CNTHP_CTL_EL2), Known::new(CNTHP_CVAL_EL2)];
const CNTHV: [Known; 2] = [Known::new(CNTHV_CTL_EL2), Known::new(CNTHV_CVAL_EL2)];

/// The maintenance interrupt's line has this level.
#[inline]
fn drive_maintenance(interrupts: &mut Interrupts, gic: &mut Gic, me: usize, line: Line) -> Kicks {
    if line == interrupts.maintenance {
        return Kicks::NONE;
    }
    interrupts.maintenance = line;
    gic.set_line(me, Intid::MAINTENANCE, line)
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

/// The timers that are not in the hardware; their deadline and lines are noted.
pub(crate) fn parked_timers(el2: &mut El2) -> (Pair, Parked) {
    let timer = |control, compare, offset| Registers {
        control,
        compare,
        offset,
    };
    let (pair, registers) = match el2.loaded {
        Loaded::El2 => {
            refresh_status(el2.page);
            let read = |slot| el2.page.read(slot);
            let physical = timer(read(CNTP_CTL), read(CNTP_CVAL), 0);
            let offset = read(CNTVOFF);
            el2.interrupts.offset = offset;
            (
                Pair::El1,
                [physical, timer(read(CNTV_CTL), read(CNTV_CVAL), offset)],
            )
        }
        Loaded::El1 => {
            let [control, compare] = CNTHP.map(|register| el2.get(register));
            let physical = timer(control, compare, 0);
            let [control, compare] = CNTHV.map(|register| el2.get(register));
            (Pair::El2, [physical, timer(control, compare, 0)])
        }
    };
    let parked = Parked::at(&registers, timer::now());
    el2.interrupts.deadline = parked.deadline;
    el2.interrupts.timers = parked.lines;
    (pair, parked)
}

/// The world has changed: `el2.loaded` says to which, and the timers' registers are in the hardware. Before it did, the
/// list registers were [taken back](take_back).
pub(super) fn switch(state: &mut VcpuState) {
    let vm = state.vcpu.vm;
    let me = state.vcpu.index;
    let mut gic = vm.gic.lock();
    let el2 = el2(state);
    let before = el2.interrupts.timers;
    let (parked, now) = parked_timers(el2);
    if before != [Line::Low; 2] {
        // Those that are in the hardware now may have changed in memory since they were looked at.
        let lines = physical_timers().map(lists::physical_line);
        let _ = gic.drive_timers(me, parked.other(), lines);
    }
    let timers = gic.switch_timers(me, parked.other(), physical_timers(), now.lines);
    if el2.loaded == Loaded::El2 {
        lists::fill(state, &mut gic);
    } else {
        of_guest(state, &mut gic);
    }
    drop(gic);
    if timers.set_active | timers.clear_active != 0
        && let Some(redistributor) = state.cpu.redistributor.get()
    {
        gic::set_ppis_active(*redistributor, timers.set_active, timers.clear_active);
    }
    alarm::rearm(state);
}

/// The interrupts of virtual EL2's guest, by who takes them.
fn of_guest(state: &mut VcpuState, gic: &mut TicketMutexGuard<'_, Gic>) {
    let me = state.vcpu.index;
    let el2 = el2(state);
    let hcr = el2.hcr();
    if hcr & (hcr::IMO | hcr::FMO | hcr::TGE) != 0 {
        el2.interrupts.left = Signal::left_to_el1(hcr);
        el2.interrupts.own = gic::read_interface();
        enter(state, gic);
    } else {
        // Virtual EL2 may have taken the cause away, and goes to an EL1 that takes its interrupts itself.
        let _ = look_at_maintenance(el2, gic, me);
        el2.interrupts.left = None;
        gic.set_traps(me, el2.interrupts.traps);
        lists::fill(state, gic);
    }
}

/// Takes the list registers back, whosever they are, before the world changes.
pub(super) fn take_back(state: &mut VcpuState) {
    let (vm, me) = (state.vcpu.vm, state.vcpu.index);
    let mut gic = vm.gic.lock();
    let kicks = if el2(state).has_guests_lists() {
        let kicks = leave(state, &mut gic);
        let interrupts = &mut el2(state).interrupts;
        interrupts.has_guests_lists = false;
        gic::write_interface(&interrupts.own);
        kicks
    } else {
        if !el2(state).is_loaded() {
            gic.set_traps(me, 0);
        }
        lists::fold(state, &mut gic)
    };
    lists::deactivate_owed(&mut gic, me);
    drop(gic);
    vm.kick(kicks.without(me));
}

/// Puts the guest's list registers into the hardware.
fn enter(state: &mut VcpuState, gic: &mut TicketMutexGuard<'_, Gic>) {
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
    ich::read(*page, guest);
    let (used, line) = gic.enter_nested(vcpu.index, guest, *left, hardware);
    gic::write_interface(&hardware.interface);
    gic::set_virtual_hcr(hardware.hcr);
    lists::write_lists(lists_used, &hardware.lrs, used);
    interrupts.has_guests_lists = true;
    interrupts.is_due = true;
    // Its own alone, and it looks before it is entered.
    let _ = drive_maintenance(interrupts, gic, vcpu.index, line);
}

/// Takes the guest's list registers back into the register page. What the hardware holds has no meaning afterwards.
pub(crate) fn leave(state: &mut VcpuState, gic: &mut Gic) -> Kicks {
    let (me, used) = (state.vcpu.index, state.lists_used);
    let El2 {
        interrupts, page, ..
    } = el2(state);
    let Interrupts {
        guest, hardware, ..
    } = interrupts;
    hardware.hcr = gic::read_virtual_hcr();
    hardware.interface = gic::read_interface();
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
    if el2.is_loaded()
        && (el2.interrupts.timers != [Line::Low; 2]
            || el2.interrupts.offset != el2.page.read(CNTVOFF))
    {
        let (pair, parked) = parked_timers(el2);
        kicks |= gic.drive_timers(me, pair, parked.lines);
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

fn leave_and_enter(state: &mut VcpuState, gic: &mut TicketMutexGuard<'_, Gic>) -> Kicks {
    let kicks = leave(state, gic);
    lists::deactivate_owed(gic, state.vcpu.index);
    enter(state, gic);
    kicks
}

/// Takes back what the guest has ended of virtual EL2's own interrupts while it stays, and has virtual EL2 look.
pub(crate) fn fold(state: &mut VcpuState, gic: &mut TicketMutexGuard<'_, Gic>) -> Kicks {
    let me = state.vcpu.index;
    el2(state).interrupts.is_due = true;
    if gic.has_lent_requests(me) {
        leave_and_enter(state, gic)
    } else {
        gic.fold_lent(me, gic::read_list_register)
    }
}

/// Lets virtual EL2 take an interrupt of its own that waits while its guest runs and the hardware does not show it.
#[inline]
pub(super) fn settle(state: &mut VcpuState) {
    let interrupts = &el2(state).interrupts;
    if interrupts.is_due && interrupts.has_guests_lists {
        take_signal(state);
    }
}

#[inline(never)]
fn take_signal(state: &mut VcpuState) {
    let (vm, me) = (state.vcpu.vm, state.vcpu.index);
    let from = level(state.registers.pstate);
    let el2 = el2(state);
    el2.interrupts.is_due = false;
    let hcr = el2.hcr();
    let signal = vm.gic.lock().signal(me, &el2.interrupts.own, gic::size());
    let (cause, exception) = match signal {
        Some(Signal::Irq) => (Cause::Irq, Exception::Irq),
        Some(Signal::Fiq) => (Cause::Fiq, Exception::Fiq),
        None if el2.interrupts.left.is_none() => return,
        None => return show(state, None),
    };
    if target(cause, from, hcr, 0) == Target::El2 {
        deliver::take(state, exception);
    } else {
        show(state, signal);
    }
}

/// Shows EL1 what is left to it of virtual EL2's own interrupts, or that it has none.
#[cold]
#[inline(never)]
fn show(state: &mut VcpuState, signal: Option<Signal>) {
    let interrupts = &mut el2(state).interrupts;
    // It may go by what EL1 or others do to it, of which nobody is told.
    interrupts.is_due = signal.is_some();
    if let Some(left) = interrupts.left {
        state
            .resident
            .set_pending(left.pending_bit(), signal == Some(left));
    }
}

/// What EL1 does to the part of the CPU interface that is its own while another is virtual. Gives whether it was that.
pub(super) fn access_left(state: &mut VcpuState, access: SysRegAccess) -> bool {
    let Interrupts { left, mut own, .. } = el2(state).interrupts;
    let vtr = gic::size();
    let Some(what) =
        left.and_then(|group| Some((group, GroupRegister::decode(access, group, vtr)?)))
    else {
        return false;
    };
    let written = state.registers.get(access.rt);
    let mut read = 0;
    vgic::update(state, |gic, me| match access.direction {
        Direction::Read => {
            let (value, kicks) = gic.read_direct(me, what, &mut own, vtr);
            read = value;
            kicks
        }
        Direction::Write => gic.write_direct(me, what, written, &mut own, vtr),
    });
    el2(state).interrupts.own = own;
    if access.direction == Direction::Read {
        state.registers.set(access.rt, read);
    }
    true
}

/// Timers that are not in the hardware may be due, or have another deadline: the CPU's own timer says so, virtual EL2 has
/// set one, or the virtual CPU is about to leave its CPU.
pub(crate) fn drive_timers(state: &mut VcpuState) {
    let Some(el2) = state.el2.as_mut() else {
        return;
    };
    let before = el2.interrupts.timers;
    let (pair, parked) = parked_timers(el2);
    if parked.lines != before {
        vgic::update(state, |gic, me| gic.drive_timers(me, pair, parked.lines));
    }
    alarm::rearm(state);
}

/// The virtual CPU is being put on its CPU: its registers are loaded.
pub(crate) fn resume(state: &mut VcpuState) {
    let Some(el2) = state.el2.as_ref() else {
        return;
    };
    if el2.has_guests_lists() {
        enter(state, &mut state.vcpu.vm.gic.lock());
    }
    drive_timers(state);
    settle(state);
}

/// Lowers what a virtual CPU that is switched off drives: it comes back with nothing driven.
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

/// What the counter of a timer of L1's EL1 stands at, whose compare value is in `compare`.
pub(super) fn count_of(page: RegisterPage<'_>, compare: Slot) -> u64 {
    if compare == CNTV_CVAL {
        virtual_count(page)
    } else {
        timer::now()
    }
}

/// The virtual count of L1's EL1.
pub(super) fn virtual_count(page: RegisterPage<'_>) -> u64 {
    timer::now().wrapping_sub(page.read(CNTVOFF))
}

/// What virtual EL2 reads of a register in the page, which may be one of the timers of its EL1.
pub(super) fn read_parked(page: RegisterPage<'_>, slot: Slot) -> u64 {
    let compare = match slot {
        CNTP_CTL => CNTP_CVAL,
        CNTV_CTL => CNTV_CVAL,
        other => return page.read(other),
    };
    control(page.read(slot), page.read(compare), count_of(page, compare))
}

/// Virtual EL2 has read `value` of one of the timers of its EL1. What it says of the line must be so.
#[inline]
pub(super) fn follow_status(state: &mut VcpuState, slot: Slot, value: u64) {
    let timer = match slot {
        CNTP_CTL => 0,
        CNTV_CTL => 1,
        _ => return,
    };
    if is_due(value) != el2(state).interrupts.timers[timer].is_high() {
        drive_timers(state);
    }
}

/// Whether `slot` is the compare value of a timer of L1's EL1 that is off.
pub(super) fn is_compare_of_one_off(page: RegisterPage<'_>, slot: Slot) -> bool {
    const ENABLE: u64 = 1;
    let control = match slot {
        CNTP_CVAL => CNTP_CTL,
        CNTV_CVAL => CNTV_CTL,
        _ => return false,
    };
    page.read(control) & ENABLE == 0
}

/// Puts ISTATUS of the timers of L1's EL1 into the page as it is now, where virtual EL2 reads it there. Where its accesses
/// trap, [`read_parked`] has it.
fn refresh_status(page: RegisterPage<'_>) {
    if !has_ecv() {
        for slot in [CNTP_CTL, CNTV_CTL] {
            page.write(slot, read_parked(page, slot));
        }
    }
}

fn physical_timers() -> [Intid; 2] {
    let timer = &machine().timer;
    [timer.physical.intid, timer.virt.intid]
        .map(|intid| Intid::new(intid).expect("the device tree's interrupts are below 1020"))
}
