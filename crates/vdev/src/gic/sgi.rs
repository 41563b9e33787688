//! Software-generated interrupts: what a write of ICC_SGI1R_EL1 and its siblings asks for (IHI 0069, 12.2).

use crate::affinity::PER_CLUSTER;

/// The register whose write sends an SGI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SgiRegister {
    /// ICC_SGI1R_EL1: group 1. With one security state it signals an SGI whatever group the target has it in.
    Sgi1,
    /// ICC_ASGI1R_EL1: group 1 of the other security state. It signals only an SGI that the target has in group 0.
    AliasedSgi1,
    /// ICC_SGI0R_EL1: group 0.
    Sgi0,
}

impl SgiRegister {
    /// Whether the write signals an SGI that the target configured to be in group 1 (or else in group 0).
    pub(super) const fn can_signal(self, is_group1: bool) -> bool {
        matches!(self, Self::Sgi1) || !is_group1
    }
}

/// A decoded write.
pub(super) struct Request {
    /// 0 to 15.
    pub(super) intid: u32,
    to: Targets,
}

enum Targets {
    AllOthers,
    Set(u64),
}

impl Request {
    /// Decodes TargetList \[15:0\], Aff1 \[23:16\], INTID \[27:24\], Aff2 \[39:32\], IRM \[40\], RS \[47:44\] and Aff3
    /// \[55:48\]. No vCPU has Aff2, Aff3 or a range selector other than 0.
    pub(super) fn decode(value: u64) -> Self {
        const ELSEWHERE: u64 = 0xff << 48 | 0xf << 44 | 0xff << 32;
        let first = (value >> 16 & 0xff) * PER_CLUSTER;
        let to = if value >> 40 & 1 != 0 {
            Targets::AllOthers
        } else if value & ELSEWHERE != 0 || first >= 64 {
            Targets::Set(0)
        } else {
            Targets::Set((value & 0xffff) << first)
        };
        Self {
            intid: (value >> 24 & 0xf) as u32,
            to,
        }
    }

    /// The vCPUs it names, a bit each, whether they exist or not.
    pub(super) fn targets(&self, from: usize) -> u64 {
        match self.to {
            Targets::AllOthers => !(1 << (from & 63)),
            Targets::Set(vcpus) => vcpus,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_list_counts_from_its_cluster() {
        let request = Request::decode(5 << 24 | 2 << 16 | 0x8001);
        assert_eq!((request.intid, request.targets(0)), (5, 0x8001 << 32));
    }

    #[test]
    fn affinities_that_no_vcpu_has_are_nobody() {
        for elsewhere in [4 << 16, 0xff << 16, 1 << 32, 1 << 44, 1 << 55] {
            assert_eq!(
                Request::decode(elsewhere | 0xffff).targets(0),
                0,
                "{elsewhere:#x}"
            );
        }
    }

    #[test]
    fn all_others_leaves_out_the_sender_whatever_the_list_says() {
        assert_eq!(Request::decode(1 << 40 | 0xf).targets(3), !0b1000);
    }

    #[test]
    fn only_sgi1r_reaches_both_groups() {
        assert!(SgiRegister::Sgi1.can_signal(true) && SgiRegister::Sgi1.can_signal(false));
        for register in [SgiRegister::Sgi0, SgiRegister::AliasedSgi1] {
            assert!(register.can_signal(false) && !register.can_signal(true));
        }
    }
}
