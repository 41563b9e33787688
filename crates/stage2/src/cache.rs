//! Cache maintenance that memory needs before a guest sees it.
//!
//! A guest starts with its caches off, and may turn them off again. Without FEAT_S2FWB its accesses then go past
//! the caches to the Point of Coherency, while what the hypervisor wrote there (an image, zeroes) may still sit in
//! a cache, and lines of an earlier owner may later be written back over what the guest wrote. So:
//!
//! - Data caches are cleaned and invalidated to the Point of Coherency, unless every guest access is cacheable
//!   (FEAT_S2FWB with forced Write-Back) or there is no cache before that point (CLIDR_EL1.LoC is 0). With
//!   FEAT_S2FWB they are still cleaned for executable memory where instruction fetches do not see data caches
//!   (CTR_EL0.IDC is 0 and some cache stands before the Point of Unification).
//! - Instruction caches are invalidated for executable memory, unless they always see new data (CTR_EL0.DIC). All
//!   of them, Inner Shareable: the guest's aliases of the memory are unknown, and a run of pages costs the same as
//!   one.
//! - A device needs neither. Memory that is mapped as a device needs them as other memory does.
//!
//! This is done when memory is mapped, before the descriptor is valid. After that the guest maintains its caches
//! itself; what the hypervisor writes into mapped memory later is its own duty. Unmapping does nothing to caches:
//! without FEAT_S2FWB a guest may have written past them, so whoever reads memory that was a guest's must invalidate it
//! first, and whoever overwrites it all need not.
//!
//! Sources: DDI 0487, B2.7 "Memory types and attributes" (mismatched attributes), D7 "Caches", and CTR_EL0 and
//! CLIDR_EL1 in D24.2.

use droste_arm64::desc::{LeafAttributes, MemoryType, Xn};
use droste_arm64::{IdRegisters, Pa};

use crate::attributes::{Attributes, Memory, scheme};
use crate::{Dsb, Ic, Machine};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Needless,
    Needed,
}

/// What mapping memory with some attributes entails on some hardware.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Maintenance {
    data: Step,
    instructions: Step,
}

impl Maintenance {
    pub(crate) const fn of(ids: &IdRegisters, attributes: Attributes) -> Self {
        let is_device = matches!(attributes.memory, Memory::Device(_));
        let is_executable = !matches!(attributes.execute, Xn::Nowhere);
        let is_forced = ids.has_fwb() && matches!(attributes.memory, Memory::WriteBack);
        let reaches_guest = is_forced || !ids.has_cache_before_coherency();
        let reaches_fetch = ids.has_coherent_instruction_fetch() || !is_executable;
        Self {
            data: if is_device || reaches_guest && reaches_fetch {
                Step::Needless
            } else {
                Step::Needed
            },
            instructions: if is_executable && !ids.has_coherent_instruction_cache() {
                Step::Needed
            } else {
                Step::Needless
            },
        }
    }

    /// Whether memory mapped so can be in data caches.
    pub(crate) const fn is_cached(ids: &IdRegisters, leaf: LeafAttributes) -> bool {
        !matches!(leaf.memory.decode(scheme(ids)), MemoryType::Device(_))
    }

    /// Whether the cost grows with the size of the memory.
    pub(crate) const fn is_by_size(self) -> bool {
        matches!(self.data, Step::Needed)
    }

    /// Does it and waits for it.
    pub(crate) fn run<M: Machine>(self, machine: &M, from: Pa, bytes: u64) {
        if self.data == Step::Needed {
            machine.clean_invalidate_data(from, bytes);
            machine.dsb(Dsb::Ish);
        }
        if self.instructions == Step::Needed {
            machine.ic(Ic::Ialluis);
            machine.dsb(Dsb::Ish);
        }
    }
}

#[cfg(test)]
mod tests {
    use droste_arm64::desc::Device;

    use super::*;

    const FWB: u64 = 1 << 40;
    const IDC: u64 = 1 << 28;
    const DIC: u64 = 1 << 29;
    /// LoUU = 1, LoC = 1, LoUIS = 1.
    const CACHES: u64 = 1 << 27 | 1 << 24 | 1 << 21;

    fn of(mmfr2: u64, ctr: u64, clidr: u64, attributes: Attributes) -> (Step, Step) {
        let ids = IdRegisters {
            mmfr2,
            ctr,
            clidr,
            ..IdRegisters::default()
        };
        let maintenance = Maintenance::of(&ids, attributes);
        (maintenance.data, maintenance.instructions)
    }

    #[test]
    fn each_combination_of_features_needs_what_the_rule_says() {
        use Step::{Needed, Needless};
        let code = Attributes::RAM;
        let data = Attributes::DATA;
        // FWB, CTR, CLIDR, for executable memory, for other memory.
        let cases = [
            (0, 0, CACHES, (Needed, Needed), (Needed, Needless)),
            (0, IDC, CACHES, (Needed, Needed), (Needed, Needless)),
            (0, DIC, CACHES, (Needed, Needless), (Needed, Needless)),
            (0, IDC | DIC, CACHES, (Needed, Needless), (Needed, Needless)),
            (0, 0, 0, (Needless, Needed), (Needless, Needless)),
            (FWB, 0, CACHES, (Needed, Needed), (Needless, Needless)),
            (FWB, IDC, CACHES, (Needless, Needed), (Needless, Needless)),
            (
                FWB,
                IDC | DIC,
                CACHES,
                (Needless, Needless),
                (Needless, Needless),
            ),
        ];
        for (mmfr2, ctr, clidr, for_code, for_data) in cases {
            assert_eq!(of(mmfr2, ctr, clidr, code), for_code);
            assert_eq!(of(mmfr2, ctr, clidr, data), for_data);
            assert_eq!(
                of(mmfr2, ctr, clidr, Attributes::DEVICE),
                (Needless, Needless)
            );
        }
        // What goes past the caches whatever the guest's stage 1 says.
        for memory in [Memory::NonCacheable, Memory::AsDevice(Device::GRE)] {
            let data = Attributes { memory, ..data };
            let ctr = IDC | DIC;
            assert_eq!(of(FWB, ctr, CACHES, data), (Needed, Needless));
            assert_eq!(of(FWB, ctr, 0, data), (Needless, Needless));
        }
    }
}
