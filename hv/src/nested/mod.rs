//! Guests with an EL2 of their own: what joins `droste-nested` to the machine.
//!
//! The hardware runs virtual EL2 at EL1 with FEAT_NV2. It is in one of two worlds,
//! [`Loaded`](droste_nested::registers::Loaded): *virtual EL2's*, with its registers in the hardware's EL1 and the canonical
//! stage 2, for virtual EL2 itself and for EL0 in its own translation regime; or *its guest's*, for L1's EL1 and EL0 and for
//! L2. [`world`] switches.
//!
//! - [`deliver`]: exceptions and interrupts taken to virtual EL2, and the returns from it.
//! - [`interrupts`]: list registers; [`ich`] is what L1 set of them.
//! - [`parked`]: timers that are not in the hardware.
//! - [`debug`]: MDSCR_EL1, which stands for two registers.
//! - [`walks`]: at which level a walk of stage 1 failed.
//!
//! What such a vCPU is left for is in [`exit`](crate::exit), its registers are in [`vm`](crate::vm).

pub(crate) mod debug;
pub(crate) mod deliver;
pub(crate) mod ich;
pub(crate) mod interrupts;
pub(crate) mod parked;
pub(crate) mod walks;
pub(crate) mod world;
