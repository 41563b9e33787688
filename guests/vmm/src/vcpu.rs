//! One vCPU: its first state, and its exits until the guest ends.

use crate::arguments::Level;
use crate::devices::{Access, Devices};
use crate::{During as _, Failure};
use kvm_bindings::{
    KVM_ARM_VCPU_HAS_EL2, KVM_ARM_VCPU_POWER_OFF, KVM_ARM_VCPU_PSCI_0_2, KVM_EXIT_ARM_NISV,
    KVM_REG_ARM_CORE, KVM_REG_ARM64, KVM_REG_ARM64_SYSREG, KVM_REG_SIZE_U64,
    KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN, kvm_vcpu_events, kvm_vcpu_init,
};
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use vm_superio::Trigger;

/// X0 and PC in KVM's list of core registers, in units of 4 bytes (`struct kvm_regs`, 31 general registers and SP first).
pub(crate) const X0: u64 = 0;
pub(crate) const PC: u64 = 2 * 32;
/// MPIDR_EL1, as op0, op1, CRn, CRm, op2 (DDI 0487, D24.2).
const MPIDR: u64 = 3 << 14 | 5;
/// The bits of MPIDR_EL1 that are the affinity.
const AFFINITY: u64 = 0xff_00ff_ffff;

/// Makes vCPU `number`; all but the first wait for PSCI to start them.
///
/// # Errors
/// If KVM refuses.
pub(crate) fn create(vm: &VmFd, number: u64, level: Level) -> Result<VcpuFd, Failure> {
    let vcpu = vm.create_vcpu(number).during("KVM makes no vCPU")?;
    let mut init = kvm_vcpu_init::default();
    vm.get_preferred_target(&mut init)
        .during("KVM knows no kind of vCPU")?;
    init.features[0] |= 1 << KVM_ARM_VCPU_PSCI_0_2;
    if level == Level::El2 {
        init.features[0] |= 1 << KVM_ARM_VCPU_HAS_EL2;
    }
    if number > 0 {
        init.features[0] |= 1 << KVM_ARM_VCPU_POWER_OFF;
    }
    vcpu.vcpu_init(&init).during("KVM cannot reset the vCPU")?;
    Ok(vcpu)
}

/// A vCPU's affinity: bits 39:32 and 23:0 of its MPIDR_EL1.
///
/// # Errors
/// If KVM does not say.
pub(crate) fn affinity(vcpu: &VcpuFd) -> Result<u64, Failure> {
    let mut value = [0; 8];
    vcpu.get_one_reg(register(KVM_REG_ARM64_SYSREG, MPIDR), &mut value)
        .during("cannot read MPIDR_EL1")?;
    Ok(u64::from_le_bytes(value) & AFFINITY)
}

/// Lets the first vCPU start at `entry` with the device tree's address in X0, as Linux's boot protocol has it.
/// KVM's reset has left it at its highest exception level with interrupts masked.
///
/// # Errors
/// If KVM refuses.
pub(crate) fn start_at(vcpu: &VcpuFd, entry: u64, tree: u64) -> Result<(), Failure> {
    set(vcpu, X0, tree)?;
    set(vcpu, PC, entry)
}

/// Sets a core register.
///
/// # Errors
/// If KVM refuses.
pub(crate) fn set(vcpu: &VcpuFd, index: u64, value: u64) -> Result<(), Failure> {
    vcpu.set_one_reg(register(KVM_REG_ARM_CORE, index), &value.to_le_bytes())
        .during("cannot set a vCPU's registers")?;
    Ok(())
}

/// Runs a vCPU until the guest switches itself off.
///
/// # Errors
/// If the guest resets itself or does what nobody can answer, or a device fails.
pub(crate) fn run<T: Trigger, W: Write>(
    vcpu: &mut VcpuFd,
    devices: &Mutex<Devices<T, W>>,
) -> Result<(), Failure>
where
    T::E: std::fmt::Debug,
{
    let devices = || devices.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let access = match vcpu.run() {
            Ok(VcpuExit::MmioRead(address, data)) => devices().read(address, data),
            Ok(VcpuExit::MmioWrite(address, data)) => devices().write(address, data)?,
            Ok(VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_SHUTDOWN, _)) => return Ok(()),
            Ok(VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_RESET, _)) => {
                return Err(Failure::new("the guest asked for a reset"));
            }
            Ok(VcpuExit::Intr) => Access::Answered,
            // A pair, a vector, an address written back: no device takes such an access apart.
            Ok(VcpuExit::Unsupported(KVM_EXIT_ARM_NISV)) => Access::Nobody,
            Ok(exit) => return Err(Failure::new(format!("the guest ended by {exit:?}"))),
            Err(error) if error.errno() == rustix::io::Errno::INTR.raw_os_error() => {
                Access::Answered
            }
            Err(error) => return Err(Failure::new(format!("KVM cannot run the guest: {error}"))),
        };
        if access == Access::Nobody {
            abort(vcpu)?;
        }
    }
}

/// Answers an access as a bus does where nothing is: with an external abort.
fn abort(vcpu: &VcpuFd) -> Result<(), Failure> {
    let mut events = kvm_vcpu_events::default();
    events.exception.ext_dabt_pending = 1;
    vcpu.set_vcpu_events(&events)
        .during("KVM cannot raise an external abort")
}

/// KVM's name of a 64-bit register of this kind.
fn register(kind: u32, index: u64) -> u64 {
    KVM_REG_ARM64 | KVM_REG_SIZE_U64 | u64::from(kind) | index
}
