//! Calls to the firmware at EL3: PSCI and SMCCC by SMC.

use smccc::{Call, Smc, psci};

/// Starts the CPU whose MPIDR affinity is `mpidr` at physical address `entry`, with `context` in x0.
pub(crate) fn cpu_on(mpidr: u64, entry: u64, context: u64) -> Result<(), psci::error::Error> {
    psci::cpu_on::<Smc>(mpidr, entry, context)
}

/// Powers the machine off. Returns only where the firmware cannot.
pub(crate) fn system_off() {
    let _ = psci::system_off::<Smc>();
}

/// Resets the machine. Returns only where the firmware cannot.
pub(crate) fn system_reset() {
    let _ = psci::system_reset::<Smc>();
}

/// What the firmware answers to SMCCC_ARCH_FEATURES for `function`; -1, in 32 bits, where it knows neither.
pub(crate) fn arch_features(function: u32) -> u64 {
    const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
    let [answer, ..] = Smc::call32(SMCCC_ARCH_FEATURES, [function, 0, 0, 0, 0, 0, 0]);
    u64::from(answer)
}

/// Makes the SMCCC_ARCH_WORKAROUND call `function` for a guest.
pub(crate) fn work_around(function: u32, argument: u64) {
    let mut arguments = [0; 7];
    arguments[0] = argument as u32;
    Smc::call32(function, arguments);
}
