//! Walks of any memory with any registers.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// Memory that holds what a hash of the address and of the number of the read says: every read finds something else.
struct Noise {
    seed: u64,
    dense: u64,
    reads: std::cell::RefCell<Vec<L1Ipa>>,
}

impl GuestMemory for Noise {
    fn read(&self, at: L1Ipa) -> Result<u64, ExternalAbort> {
        assert!(at.is_aligned(8) && at.0 < 1 << 53);
        self.reads.borrow_mut().push(at);
        let turn = self.reads.borrow().len() as u64;
        let noise = (at.0 ^ self.seed ^ turn << 57).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let noise = (noise ^ noise >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        if noise >> 60 == 0 {
            return Err(ExternalAbort);
        }
        Ok(noise ^ noise >> 32 | self.dense)
    }

    fn compare_exchange(&self, at: L1Ipa, _: u64, _: u64) -> Result<Exchange, ExternalAbort> {
        match (at.0 ^ self.seed) >> 3 & 3 {
            0 => Err(ExternalAbort),
            1 => Ok(Exchange::Differs),
            _ => Ok(Exchange::Done),
        }
    }
}

fn any_access() -> impl Strategy<Value = Access> {
    prop_oneof![
        Just(Access::Read),
        Just(Access::Write),
        Just(Access::Execute(Privilege::El0)),
        Just(Access::Execute(Privilege::El1)),
    ]
}

/// Values near those that mean something, and any others.
fn any_vtcr() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0..4u64, 0..4u64, 12..50u64, 0..8u64, 0..16u64).prop_map(|(tg0, sl0, t0sz, ps, high)| {
            vtcr(tg0, sl0, t0sz) & !(7 << 16) | ps << 16 | (high & 3) << 32 | (high >> 2) << 21
        }),
        any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6_000))]

    #[test]
    fn any_memory_and_any_registers_give_a_sound_leaf_or_a_fault(
        seed: u64,
        dense in prop_oneof![Just(0), Just(3), Just(1), Just(0x401), Just(0x403)],
        vtcr in any_vtcr(),
        ids in (any::<u64>(), any::<u64>(), any::<u64>()),
        ipa_bits in 32..=52u32,
        hcr: u64,
        (sctlr, vttbr, ipa, narrow) in (any::<u64>(), any::<u64>(), any::<u64>(), 0..64u32),
        access in any_access(),
    ) {
        let advertised = Advertised {
            ids: IdRegisters { mmfr0: ids.0, mmfr1: ids.1, mmfr2: ids.2, ..IdRegisters::default() },
            isar1: 0,
            ipa_bits: IpaBits::new(ipa_bits).expect("in range"),
        };
        let registers = StageTwoRegisters { hcr: hcr | hcr::VM, sctlr, vtcr: Vtcr(vtcr), vttbr: Vttbr(vttbr) };
        let noise = Noise { seed, dense, reads: std::cell::RefCell::default() };
        let ipa = L2Ipa(ipa >> narrow);
        let result = walker(&registers, &advertised).translate(&noise, ipa, access);
        prop_assert!(noise.reads.borrow().len() <= 5);
        let limit = 1 << advertised.physical_bits();
        match result {
            Ok(leaf) => {
                prop_assert!(leaf.bytes.is_power_of_two() && leaf.bytes >= 4096);
                prop_assert!(leaf.ipa.is_aligned(leaf.bytes) && leaf.output.is_aligned(leaf.bytes));
                prop_assert!(leaf.ipa <= ipa && ipa.0 - leaf.ipa.0 < leaf.bytes);
                prop_assert!(leaf.output.0 + leaf.bytes <= limit);
                prop_assert!(leaf.ipa.0 + leaf.bytes <= limit);
                prop_assert!(!matches!(leaf.memory, MemoryType::Reserved(_)));
            }
            Err(Stop::Fault(WalkFault { kind: FaultKind::ExternalAbort, .. }) | Stop::Raced) => {
                prop_assert!(!noise.reads.borrow().is_empty());
            }
            Err(_) => {}
        }
    }
}
