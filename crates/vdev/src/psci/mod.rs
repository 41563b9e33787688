//! The firmware that a guest calls with HVC or SMC: PSCI 1.1 (DEN0022) and the calls of the SMC calling convention
//! 1.1 (DEN0028).
//!
//! The power states of the vCPUs are kept here. The hypervisor carries out each [`Action`] and confirms with
//! [`Firmware::confirm_on`] that a vCPU has started. An unknown call returns NOT_SUPPORTED, as the convention requires.

mod function;
mod power;
#[cfg(test)]
mod tests;

use crate::Affinity;
use droste_arm64::Ipa;
use function::{ARCH_WORKAROUND_1, ARCH_WORKAROUND_2, ARCH_WORKAROUND_3, Function};
use power::PowerStates;

pub use power::Power;

/// The version that PSCI_VERSION answers: 1.1 (DEN0022, 5.1, PSCI_VERSION).
const PSCI_VERSION: u64 = 1 << 16 | 1;
/// The version that SMCCC_VERSION answers: 1.1 (DEN0028, 7, SMCCC_VERSION).
const SMCCC_VERSION: u64 = 1 << 16 | 1;

/// MIGRATE_INFO_TYPE: no trusted OS that would have to migrate (DEN0022, 5.1, MIGRATE_INFO_TYPE).
const NO_TRUSTED_OS: u64 = 2;

/// The UUID 6f8d2c1e-4b7a-4d39-9e52-d4055e0f1a73, which says that the hypervisor is Droste: bytes 0 to 15, four to a
/// register, the first lowest (DEN0028, 6, "Call UID query").
pub const HYPERVISOR_UID: [u32; 4] = [0x1e2c_8d6f, 0x394d_7a4b, 0x05d4_529e, 0x731a_0f5e];

/// What a call can answer in X0 (DEN0022, 5.2, "Return error codes"). Negative values are sign-extended to 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
enum Status {
    Success = 0,
    NotSupported = -1,
    InvalidParameters = -2,
    AlreadyOn = -4,
    OnPending = -5,
    InvalidAddress = -9,
}

impl From<Status> for Action {
    fn from(status: Status) -> Self {
        Self::Return(i64::from(status as i32).cast_unsigned())
    }
}

/// What the hypervisor does for a call. Registers not named keep their values.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// The call returns this value in X0.
    Return(u64),
    /// The call returns these values in X0 to X3.
    Identify([u32; 4]),
    /// Start vCPU `target` at `entry` with X0 = `context`, then call [`Firmware::confirm_on`]; the caller gets 0 in X0.
    CpuOn {
        /// Number of the vCPU.
        target: usize,
        /// Where it starts, with the MMU off, at the caller's exception level.
        entry: Ipa,
        /// Its X0.
        context: u64,
    },
    /// The calling vCPU stops; the call does not return.
    CpuOff,
    /// The caller waits for an interrupt as in WFI; then the call returns 0 in X0. A powerdown request is treated as a
    /// standby request, as is allowed (DEN0022, 5.4, CPU_SUSPEND).
    Suspend,
    /// The virtual machine ends.
    SystemOff,
    /// The virtual machine is reset.
    SystemReset,
    /// Make this call to the machine's own firmware, with the guest's X1; it returns nothing.
    Workaround {
        /// Function identifier.
        function: u32,
    },
}

/// Whether a CPU needs its firmware's help against a speculative execution vulnerability: the answer of the machine's
/// own SMCCC_ARCH_FEATURES (DEN0028, 7, SMCCC_ARCH_WORKAROUND_1 to 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workaround {
    /// The firmware does not know the call: -1.
    Unknown,
    /// The call exists, and some CPU needs it: 0.
    Needed,
    /// The call exists, and no CPU needs it: 1.
    NotNeeded,
}

impl Workaround {
    /// Decodes X0 as the machine's SMCCC_ARCH_FEATURES returned it: the lower 32 bits, signed.
    pub const fn from_firmware(x0: u64) -> Self {
        match x0 as u32 {
            0 => Self::Needed,
            1 => Self::NotNeeded,
            _ => Self::Unknown,
        }
    }
}

/// What the machine's firmware does against speculative execution vulnerabilities.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Workarounds {
    /// SMCCC_ARCH_WORKAROUND_1: branch target injection.
    pub workaround_1: Workaround,
    /// SMCCC_ARCH_WORKAROUND_2: speculative store bypass. `Needed` only if the hypervisor keeps its setting for each
    /// vCPU.
    pub workaround_2: Workaround,
    /// SMCCC_ARCH_WORKAROUND_3: branch history injection.
    pub workaround_3: Workaround,
}

/// One virtual machine's firmware.
///
/// ```
/// use droste_arm64::Ipa;
/// use droste_vdev::psci::{Action, Firmware, Workaround, Workarounds};
/// let none = Workaround::Unknown;
/// let mut firmware = Firmware::new(2, Workarounds {
///     workaround_1: none, workaround_2: none, workaround_3: none,
/// });
/// let is_ram = |ipa: Ipa| ipa >= Ipa(0x4000_0000);
/// let cpu_on = [0xc400_0003, 1, 0x4008_0000, 7];
/// assert_eq!(
///     firmware.call(cpu_on, is_ram),
///     Action::CpuOn { target: 1, entry: Ipa(0x4008_0000), context: 7 }
/// );
/// firmware.confirm_on(1);
/// assert_eq!(firmware.call(cpu_on, is_ram), Action::Return((-4i64).cast_unsigned()));
/// ```
#[derive(Clone, Debug)]
pub struct Firmware {
    power: PowerStates,
    workarounds: Workarounds,
}

/// The answer to a call, if it does not depend on the firmware's state: a caller need not wait for others to get it.
/// `None` for the calls that only [`Firmware::call`] answers.
///
/// ```
/// use droste_vdev::psci::{Action, answer};
/// assert_eq!(answer([0x8400_0000, 0, 0, 0]), Some(Action::Return(0x1_0001)));
/// let cpu_on = [0xc400_0003, 1, 0x4008_0000, 7];
/// assert_eq!(answer(cpu_on), None);
/// ```
#[expect(
    clippy::inline_always,
    reason = "left to the compiler it is a call, and the answer goes through memory"
)]
#[inline(always)]
pub fn answer(registers: [u64; 4]) -> Option<Action> {
    let (function, x1, ..) = arguments(registers);
    let Some(function) = Function::decode(function) else {
        return Some(Status::NotSupported.into());
    };
    Some(match function {
        Function::PsciVersion => Action::Return(PSCI_VERSION),
        Function::CpuSuspend => suspend(x1),
        Function::CpuOff => Action::CpuOff,
        Function::MigrateInfoType => Action::Return(NO_TRUSTED_OS),
        Function::SystemOff => Action::SystemOff,
        Function::SystemReset => Action::SystemReset,
        Function::SystemReset2 => reset(x1),
        Function::PsciFeatures => psci_features(x1 as u32),
        Function::SmcccVersion => Action::Return(SMCCC_VERSION),
        Function::VendorUid => Action::Identify(HYPERVISOR_UID),
        Function::CpuOn
        | Function::AffinityInfo
        | Function::ArchFeatures
        | Function::ArchWorkaround(_) => return None,
    })
}

impl Firmware {
    /// Firmware for `vcpus` vCPUs, 1 to [`MAX_VCPUS`](crate::MAX_VCPUS), of which the first is on.
    pub const fn new(vcpus: usize, workarounds: Workarounds) -> Self {
        Self {
            power: PowerStates::new(vcpus),
            workarounds,
        }
    }

    /// The power state of vCPU `vcpu`.
    pub const fn power(&self, vcpu: usize) -> Power {
        self.power.get(vcpu)
    }

    /// Records that vCPU `vcpu` runs now.
    pub const fn confirm_on(&mut self, vcpu: usize) {
        self.power.set(vcpu, Power::On);
    }

    /// Records that vCPU `vcpu` has stopped, after [`Action::CpuOff`].
    ///
    /// This is separate from the call because CPU_ON must not succeed for the vCPU before it has really stopped.
    pub const fn confirm_off(&mut self, vcpu: usize) {
        self.power.set(vcpu, Power::Off);
    }

    /// Answers a call with X0 to X3 as in `registers`. `is_ram` says whether code can be fetched from an address.
    pub fn call(&mut self, registers: [u64; 4], is_ram: impl FnOnce(Ipa) -> bool) -> Action {
        let (function, x1, x2, x3) = arguments(registers);
        match Function::decode(function) {
            Some(Function::CpuOn) => self.cpu_on(x1, Ipa(x2), x3, is_ram),
            Some(Function::AffinityInfo) => self.affinity_info(x1, x2),
            Some(Function::ArchFeatures) => self.arch_features(x1 as u32),
            Some(Function::ArchWorkaround(function)) => self.work_around(function),
            _ => answer(registers).unwrap_or_else(|| Status::NotSupported.into()),
        }
    }

    fn cpu_on(
        &mut self,
        target: u64,
        entry: Ipa,
        context: u64,
        is_ram: impl FnOnce(Ipa) -> bool,
    ) -> Action {
        let affinity = Affinity::from_mpidr(target);
        let target = match affinity.vcpu() {
            Some(vcpu) if affinity.fields() == target && self.power.has(vcpu) => vcpu,
            _ => return Status::InvalidParameters.into(),
        };
        match self.power.get(target) {
            Power::On => Status::AlreadyOn.into(),
            Power::OnPending => Status::OnPending.into(),
            // An instruction's address is a multiple of 4.
            Power::Off if !entry.is_aligned(4) || !is_ram(entry) => Status::InvalidAddress.into(),
            Power::Off => {
                self.power.set(target, Power::OnPending);
                Action::CpuOn {
                    target,
                    entry,
                    context,
                }
            }
        }
    }

    /// DEN0022, 5.1, AFFINITY_INFO: affinity fields below `level` are ignored.
    fn affinity_info(&self, target: u64, level: u64) -> Action {
        let affinity = Affinity::from_mpidr(target);
        let Some(ignored) = Affinity::fields_below(level) else {
            return Status::InvalidParameters.into();
        };
        if affinity.fields() != target {
            return Status::InvalidParameters.into();
        }
        let is_member = |vcpu: usize| {
            let fields = Affinity::of_vcpu(vcpu).fields();
            (fields ^ affinity.fields()) & !ignored == 0
        };
        match self.power.of_members(is_member) {
            Some(power) => Action::Return(power as u64),
            None => Status::InvalidParameters.into(),
        }
    }

    fn workaround(&self, function: u32) -> Workaround {
        match function {
            ARCH_WORKAROUND_1 => self.workarounds.workaround_1,
            ARCH_WORKAROUND_2 => self.workarounds.workaround_2,
            ARCH_WORKAROUND_3 => self.workarounds.workaround_3,
            _ => Workaround::Unknown,
        }
    }

    /// DEN0028, 7, SMCCC_ARCH_FEATURES: whether a call of the architecture's own range is there.
    fn arch_features(&self, function: u32) -> Action {
        match Function::decode(function) {
            Some(Function::SmcccVersion | Function::ArchFeatures) => Status::Success.into(),
            Some(Function::ArchWorkaround(function)) => match self.workaround(function) {
                Workaround::Unknown => Status::NotSupported.into(),
                Workaround::Needed => Action::Return(0),
                Workaround::NotNeeded => Action::Return(1),
            },
            _ => Status::NotSupported.into(),
        }
    }

    fn work_around(&self, function: u32) -> Action {
        match self.workaround(function) {
            Workaround::Unknown => Status::NotSupported.into(),
            Workaround::Needed => Action::Workaround { function },
            Workaround::NotNeeded => Status::Success.into(),
        }
    }
}

/// The function identifier and its arguments: a 32-bit call has 32-bit arguments (DEN0028, 2).
fn arguments([function, x1, x2, x3]: [u64; 4]) -> (u32, u64, u64, u64) {
    let function = function as u32;
    let mask = if function::is_64_bit(function) {
        u64::MAX
    } else {
        0xffff_ffff
    };
    (function, x1 & mask, x2 & mask, x3 & mask)
}

/// CPU_SUSPEND (DEN0022, 5.4, original format): StateID, StateType and PowerLevel; the other bits must be zero.
fn suspend(power_state: u64) -> Action {
    const MUST_BE_ZERO: u64 = !(0xffff | 1 << 16 | 3 << 24);
    if power_state as u32 & MUST_BE_ZERO as u32 != 0 {
        return Status::InvalidParameters.into();
    }
    Action::Suspend
}

/// SYSTEM_RESET2 (DEN0022, 5.1): SYSTEM_WARM_RESET, type 0, is a reset like any other here; vendors' types are not
/// known.
fn reset(reset_type: u64) -> Action {
    if reset_type as u32 == 0 {
        Action::SystemReset
    } else {
        Status::InvalidParameters.into()
    }
}

/// PSCI_FEATURES (DEN0022, 5.1): 0 for all that is there; for CPU_SUSPEND that means the original format of its
/// parameter and no OS-initiated mode.
fn psci_features(function: u32) -> Action {
    match Function::decode(function) {
        Some(function) if function.is_psci() || function == Function::SmcccVersion => {
            Status::Success.into()
        }
        _ => Status::NotSupported.into(),
    }
}
