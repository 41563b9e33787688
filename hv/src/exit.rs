//! What to do when a guest is left: one function for each way out.
//!
//! A handler takes the loaded virtual CPU and returns the one to go on with, mostly the same.

use alloc::boxed::Box;

use droste_arm64::Ipa;
use droste_arm64::esr::{Direction, Ec, Esr, FaultStatus, MmioAccess, fault_ipa};
use droste_arm64::exception::{Abort, Injection, back_from_aarch32};
use droste_life::Phase;
use droste_stage2::Privilege;
use droste_vdev::gic::Intid;

use crate::arch::exception::Fault;
use crate::arch::{self, gic};
use crate::console::{keyboard, report};
use crate::life::sched;
use crate::machine::cpu::{Cpu, KICK_SGI};
use crate::machine::{bug, machine};
use crate::vm::VcpuState;
use crate::vm::layout::{self, Device};
use crate::vm::stats::Exit;
use crate::vm::{Resolution, Vcpu, Vm, alarm, all};
use crate::{mmio, nested, power, sysreg, vgic};

arch::vcpu::handlers!(VcpuState {
    /// A synchronous exception from a guest.
    handle_sync => synchronous;
    /// An interrupt while a guest ran.
    handle_irq => interrupt;
    /// An SError while a guest ran.
    handle_serror => serror;
    /// Any of these, of a guest in AArch32: comes before them, and in place of the first.
    handle_aarch32 => leave_aarch32;
    /// A guest that is to be entered, and to be told of a step over an instruction.
    handle_stepped => stepped;
});

/// A synchronous exception.
#[inline]
fn synchronous(mut state: Box<VcpuState>) -> Box<VcpuState> {
    let esr = Fault::syndrome();
    if state.el2.is_some() {
        return nested::exits::synchronous(state, esr);
    }
    match esr.ec() {
        Ec::DATA_ABORT_LOWER => data_abort(&mut state, esr),
        Ec::HVC64 => {
            state.vcpu.counters.count(Exit::Hypercall);
            return power::call(state);
        }
        Ec::SYSREG => {
            state.vcpu.counters.count(Exit::SystemRegister);
            sysreg::access(&mut state, esr, esr.sysreg_access());
        }
        _ => return common(state, esr),
    }
    state
}

/// A synchronous exception that means the same whatever virtual CPU it is of.
pub(crate) fn common(mut state: Box<VcpuState>, esr: Esr) -> Box<VcpuState> {
    match esr.ec() {
        Ec::WFX => {
            state.vcpu.counters.count(Exit::Wait);
            return wait(state, esr);
        }
        Ec::DATA_ABORT_LOWER | Ec::INSTRUCTION_ABORT_LOWER => abort(&mut state, esr),
        Ec::SMC64 => {
            state.vcpu.counters.count(Exit::Firmware);
            state.registers.skip(esr.instruction_bytes());
            return power::call(state);
        }
        _ => {
            // What a feature that the ID registers hide traps as.
            state.vcpu.counters.count(Exit::Other);
            inject(&mut state, Injection::Undefined);
        }
    }
    state
}

/// An abort of an access that the canonical stage 2 translates.
pub(crate) fn abort(state: &mut VcpuState, esr: Esr) {
    match esr.ec() {
        Ec::INSTRUCTION_ABORT_LOWER => instruction_abort(state, esr),
        _ => data_abort(state, esr),
    }
}

/// An interrupt while the guest ran.
#[inline]
fn interrupt(mut state: Box<VcpuState>) -> Box<VcpuState> {
    state.vcpu.counters.count(Exit::Interrupt);
    let cpu = state.cpu;
    take_interrupts(cpu, Some(&mut state));
    nested::exits::settle(&mut state);
    if all::is_shared(cpu) || state.vcpu.vm.is_stopping() {
        return sched::schedule(cpu, Some(state));
    }
    state
}

/// An SError while the guest ran: its own, since EL2 takes none of its own unseen. The guest gets it as virtual one.
fn serror(mut state: Box<VcpuState>) -> Box<VcpuState> {
    state.vcpu.counters.count(Exit::Other);
    state
        .vcpu
        .vm
        .complain(format_args!("SError, syndrome {:#x}", Fault::syndrome().0));
    state.resident.pend_serror();
    state
}

/// A guest is in AArch32. None has that, but hardware may, and lets EL1 return to it at EL0 without a word to EL2. This is
/// the first that EL2 sees of it: the return was illegal. So nobody finds a mode that he cannot return to.
#[cold]
fn leave_aarch32(mut state: Box<VcpuState>) -> Box<VcpuState> {
    state.vcpu.counters.count(Exit::Other);
    state
        .vcpu
        .vm
        .complain(format_args!("return to AArch32, which it does not have"));
    state.registers.pstate = back_from_aarch32(state.registers.pstate);
    inject(&mut state, Injection::IllegalState);
    nested::exits::settle(&mut state);
    state
}

/// The guest makes single steps, and one was over an instruction that was emulated: what the hardware would say when it is
/// entered again is that it stepped over none.
#[cold]
fn stepped(mut state: Box<VcpuState>) -> Box<VcpuState> {
    state.registers.forget_step();
    if nested::debug::is_stepping(&mut state) {
        inject(&mut state, Injection::Step);
    }
    state
}

/// Interrupts handled in one go; what is pending beyond comes again at once, when the scheduler has had its say.
const INTERRUPTS_MAX: usize = 16;

/// Handles pending physical interrupts of this CPU, for the loaded virtual CPU where there is one.
pub(crate) fn take_interrupts(cpu: &'static Cpu, mut state: Option<&mut VcpuState>) {
    let timer = &machine().timer;
    for _ in 0..INTERRUPTS_MAX {
        let intid = gic::acknowledge();
        if intid == gic::SPURIOUS {
            return;
        }
        gic::drop_priority(intid);
        match (&mut state, intid) {
            (_, KICK_SGI) => {
                gic::deactivate(intid);
                if bug::is_reported() {
                    arch::halt();
                }
            }
            (Some(state), i) if i == timer.virt.intid => {
                let [guest, _] = timer_interrupts(state);
                vgic::hand_over(state, i, guest);
            }
            (Some(state), i) if i == timer.physical.intid => {
                let [_, guest] = timer_interrupts(state);
                vgic::hand_over(state, i, guest);
            }
            (state, i) if i == machine().gic.maintenance.intid => {
                match state {
                    Some(state) => vgic::maintain(state),
                    None => gic::set_virtual_interface_off(),
                }
                gic::deactivate(i);
            }
            (state, i) if i == timer.hypervisor.intid => {
                report::print_if_due(cpu);
                if let Some(state) = state {
                    nested::interrupts::drive_timers(state);
                }
                alarm::timer_is_due(cpu);
                gic::deactivate(i);
            }
            (_, i) if i == machine().uart_intid => {
                keyboard::interrupt();
                gic::deactivate(i);
            }
            (_, i) => shared_interrupt(i),
        }
        // A kick of the loaded virtual CPU: the SGI's, or one that the handlers above gave and that need not wait for it.
        if let Some(state) = &mut state
            && state.vcpu.is_kicked()
            && state.vcpu.take_kick()
        {
            vgic::refresh(state);
        }
    }
}

/// A physical interrupt that belongs to a VM's device, or to nobody.
fn shared_interrupt(intid: u32) {
    match all::owner_of(intid) {
        Some(vm) => deliver_shared(vm, intid),
        None => gic::deactivate(intid),
    }
}

/// Physical interrupt `intid`, acknowledged, of one of its devices.
fn deliver_shared(vm: &Vm, intid: u32) {
    let Some(id) = Intid::new(intid) else { return };
    if vm.lives.phase() != Phase::Running {
        return gic::deactivate(intid);
    }
    let kicks = vm.gic.lock().inject_hardware(0, id, id);
    vm.kick(kicks);
}

/// The guest's WFI or WFE, which trap only where it shares its CPU.
#[inline(never)]
fn wait(mut state: Box<VcpuState>, esr: Esr) -> Box<VcpuState> {
    const IS_WFE: u64 = 1;
    state.registers.skip(esr.instruction_bytes());
    let is_wfe = esr.0 & IS_WFE != 0;
    if !is_wfe {
        return sched::wait(state);
    }
    sched::yield_turn(state.cpu);
    sched::schedule(state.cpu, Some(state))
}

/// Makes timers' interrupts as active on this CPU as the virtual CPU being loaded left them: an earlier one, or an
/// earlier life of its VM, may have left them otherwise.
pub(crate) fn restore_timer_interrupts(state: &VcpuState) {
    let timer = &machine().timer;
    let [virt, physical] = timer_interrupts(state);
    let pairs = [(virt, timer.virt.intid), (physical, timer.physical.intid)];
    vgic::restore_ppis(state, &pairs);
}

/// The guest's interrupts of the timers that the hardware's virtual and physical timer of EL1 are for it.
#[inline]
fn timer_interrupts(state: &VcpuState) -> [u32; 2] {
    match &state.el2 {
        Some(el2) if el2.is_loaded() => [layout::HYP_VIRTUAL_TIMER, layout::HYP_PHYSICAL_TIMER],
        _ => [layout::VIRTUAL_TIMER, layout::PHYSICAL_TIMER],
    }
}

#[inline]
fn data_abort(state: &mut VcpuState, esr: Esr) {
    let far = Fault::address();
    let ipa = match locate(state, esr, far) {
        Place::Ipa(ipa) => ipa,
        Place::Moved => return,
        Place::Unknown => return external(state, esr, far),
    };
    if let Some(device) = state.vcpu.vm.device_at(ipa)
        && !esr.is_s1_walk()
    {
        return emulate(state, esr, device, far);
    }
    memory_abort(state, esr, far, ipa);
}

/// A data abort of a guest's guest at `ipa` of the guest's, where no memory is.
pub(crate) fn device_abort(state: &mut VcpuState, esr: Esr, (ipa, far): (Ipa, u64)) {
    match state.vcpu.vm.device_at(ipa) {
        Some(device) => emulate(state, esr, device, far),
        None => outside(state, esr, far),
    }
}

/// A load or store to an emulated device.
#[inline]
fn emulate(state: &mut VcpuState, esr: Esr, device: Device, far: u64) {
    state.vcpu.counters.count(Exit::Mmio);
    match esr.mmio_access() {
        Some(access) => {
            mmio(state, device, access);
            state.registers.skip(esr.instruction_bytes());
        }
        None if esr.is_cache_maintenance() => state.registers.skip(esr.instruction_bytes()),
        None => external(state, esr, far),
    }
}

/// An abort where nothing is.
pub(crate) fn outside(state: &mut VcpuState, esr: Esr, far: u64) {
    state.vcpu.counters.count(Exit::Outside);
    let ipa = fault_ipa(Fault::page(), far);
    if esr.is_hpfar_valid()
        && nested::walks::exceeds_physical(state, ipa)
        && too_wide(state, esr, far)
    {
        return;
    }
    let is_data = esr.ec() == Ec::DATA_ABORT_LOWER;
    if is_data && esr.is_cache_maintenance() && !esr.is_s1_walk() {
        return state.registers.skip(esr.instruction_bytes());
    }
    external(state, esr, far);
}

/// The guest takes the address size fault of stage 1 in place of the abort of stage 2 that hardware reported, if stage 1
/// gives an address that is too wide for it.
#[cold]
pub(crate) fn too_wide(state: &mut VcpuState, esr: Esr, far: u64) -> bool {
    let Some(level) = nested::walks::address_size(state, far) else {
        return false;
    };
    let abort = Abort::new(esr, far).of_address_size(level);
    inject(state, Injection::AddressSize(abort));
    true
}

/// The guest takes a synchronous external abort in place of the abort that hardware reported.
#[inline(never)]
pub(crate) fn external(state: &mut VcpuState, esr: Esr, far: u64) {
    let abort = Abort::new(esr, far);
    let abort = if esr.is_s1_walk() {
        abort.on_walk(nested::walks::level(state, far))
    } else {
        abort
    };
    inject(state, Injection::External(abort));
}

/// A data abort where no emulated device is.
#[inline(never)]
fn memory_abort(state: &mut VcpuState, esr: Esr, far: u64, ipa: Ipa) {
    match resolve(state, ipa, esr) {
        Resolution::Retry => state.vcpu.counters.count(Exit::Stage2),
        Resolution::Outside => outside(state, esr, far),
    }
}

#[inline(never)]
fn instruction_abort(state: &mut VcpuState, esr: Esr) {
    let far = Fault::address();
    let ipa = match locate(state, esr, far) {
        Place::Ipa(ipa) => ipa,
        Place::Moved => return,
        Place::Unknown => return external(state, esr, far),
    };
    match resolve(state, ipa, esr) {
        Resolution::Retry => state.vcpu.counters.count(Exit::Stage2),
        Resolution::Outside => outside(state, esr, far),
    }
}

/// Brings the VM's stage 2 to what the abort needs, as far as it may.
fn resolve(state: &VcpuState, ipa: Ipa, esr: Esr) -> Resolution {
    let privilege = privilege(state.registers.pstate);
    let Vcpu { vm, index, .. } = state.vcpu;
    let resolution = vm.memory.resolve(*index, ipa, esr, privilege);
    resolution.unwrap_or_else(|error| {
        vm.complain(format_args!("stage 2: {error}"));
        Resolution::Outside
    })
}

/// The privilege of an access from this PSTATE.
pub(crate) fn privilege(pstate: u64) -> Privilege {
    const EL: u64 = 3 << 2;
    if pstate & EL == 0 {
        Privilege::El0
    } else {
        Privilege::El1
    }
}

/// Where an abort was.
pub(crate) enum Place {
    /// At this guest physical address.
    Ipa(Ipa),
    /// The guest has changed its tables since, or the TLB had two minds: it is to try again.
    Moved,
    /// The hardware does not say: an external abort or the like, which is the guest's own affair.
    Unknown,
}

/// Finds out where an abort was. A permission fault leaves HPFAR_EL2 unknown, so the guest's own tables are asked.
#[inline]
pub(crate) fn locate(state: &VcpuState, esr: Esr, far: u64) -> Place {
    if esr.fault_status() == FaultStatus::TlbConflict {
        state.vcpu.vm.memory.resolve_conflict();
        return Place::Moved;
    }
    if esr.is_hpfar_valid() {
        return Place::Ipa(fault_ipa(Fault::page(), far));
    }
    match esr.fault_status() {
        FaultStatus::Permission { .. } => {
            Fault::translate(far).map_or(Place::Moved, |ipa| Place::Ipa(Ipa(ipa)))
        }
        _ => Place::Unknown,
    }
}

#[inline]
fn mmio(state: &mut VcpuState, device: Device, access: MmioAccess) {
    match access.direction {
        Direction::Read => {
            let value = mmio::read(state, device, access.size);
            state.registers.set(access.register, access.extend(value));
        }
        Direction::Write => {
            let value = state.registers.get(access.register) & access.size.mask();
            mmio::write(state, device, access.size, value);
        }
    }
}

/// Makes the loaded guest take an exception, as if its own instruction had caused it.
#[inline(never)]
pub(crate) fn inject(state: &mut VcpuState, what: Injection) {
    if state.el2.is_some() {
        nested::deliver::inject(state, what);
    } else {
        nested::deliver::to_el1(state, what);
    }
}
