//! No host makes the table show what it hides.

use super::*;
use crate::registers::{Way, way};
use droste_arm64::sysreg::{
    ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1, ID_AA64MMFR2_EL1, ID_AA64MMFR4_EL1, ID_AA64PFR1_EL1,
    TTBR1_EL2,
};
use proptest::prelude::*;

const SHAPES: [Shape; 6] = {
    const fn shape(el2: VirtualEl2, shadow: Granule) -> Shape {
        Shape { el2, shadow }
    }
    [
        shape(VirtualEl2::Vhe, Granule::Kib4),
        shape(VirtualEl2::Vhe, Granule::Kib16),
        shape(VirtualEl2::Vhe, Granule::Kib64),
        shape(VirtualEl2::Nvhe, Granule::Kib4),
        shape(VirtualEl2::Nvhe, Granule::Kib16),
        shape(VirtualEl2::Nvhe, Granule::Kib64),
    ]
};

fn all_registers() -> impl Iterator<Item = SysReg> {
    (1..8).flat_map(|crm| (0..8).map(move |op2| SysReg::new(3, 0, 0, crm, op2)))
}

#[test]
fn rows_do_not_overlap_and_say_why() {
    for row in registers() {
        let mut taken = 0u64;
        for field in row.fields {
            assert!(field.shift <= 60 && field.shift.is_multiple_of(4));
            let mask = 0xf << field.shift;
            assert_eq!(taken & mask, 0, "{} {}", row.name, field.name);
            taken |= mask;
            assert!(!field.why.is_empty());
        }
        let same = registers()
            .iter()
            .filter(|other| other.register == row.register);
        assert_eq!(same.count(), 1, "{}", row.name);
        assert!(all_registers().any(|register| register == row.register));
    }
}

#[test]
fn nested_virtualization_is_hidden_from_every_guest() {
    for shape in SHAPES {
        let mmfr2 = value(ID_AA64MMFR2_EL1, u64::MAX, u64::MAX, shape);
        let mmfr4 = value(ID_AA64MMFR4_EL1, u64::MAX, u64::MAX, shape);
        assert_eq!((mmfr2 >> 24 & 0xf, mmfr4 >> 20 & 0xf), (0, 0));
    }
}

#[test]
fn vhe_and_e2h0_say_what_the_register_rules_do() {
    for shape in SHAPES {
        let vh = value(ID_AA64MMFR1_EL1, 0, 0, shape) >> 8 & 0xf;
        let e2h0 = value(ID_AA64MMFR4_EL1, 0, 0, shape) >> 24 & 0xf;
        let has_ttbr1 = way(TTBR1_EL2, shape.el2) != Way::Undefined;
        assert_eq!(vh == 1, has_ttbr1);
        // 0b1110 stands for FEAT_NV without NV1, which does not go with NV hidden.
        assert_eq!(e2h0, if has_ttbr1 { 0xf } else { 0 });
    }
}

#[test]
fn stage_2_granules_are_those_that_can_be_shadowed() {
    let shown = |shadow| {
        let shape = Shape {
            el2: VirtualEl2::Vhe,
            shadow,
        };
        let mmfr0 = value(ID_AA64MMFR0_EL1, 0, 0, shape);
        [40, 32, 36].map(|shift| mmfr0 >> shift & 0xf)
    };
    assert_eq!(shown(Granule::Kib4), [2, 2, 2]);
    assert_eq!(shown(Granule::Kib16), [1, 2, 2]);
    assert_eq!(shown(Granule::Kib64), [1, 1, 2]);
    for shadow in Granule::ALL {
        let ids = droste_arm64::IdRegisters {
            mmfr0: value(
                ID_AA64MMFR0_EL1,
                u64::MAX,
                u64::MAX,
                Shape {
                    el2: VirtualEl2::Vhe,
                    shadow,
                },
            ),
            ..Default::default()
        };
        for granule in Granule::ALL {
            assert_eq!(
                ids.has_stage2_granule(granule),
                granule.page_bytes() >= shadow.page_bytes()
            );
        }
        assert_eq!(ids.pa_range(), droste_arm64::PaRange::Bits48);
    }
}

#[test]
fn what_a_shadow_needs_of_hardware_is_shown_only_where_it_is() {
    for shape in SHAPES {
        for (register, shift) in [(ID_AA64MMFR1_EL1, 28), (ID_AA64MMFR2_EL1, 40)] {
            assert_eq!(value(register, 0, u64::MAX, shape) >> shift & 0xf, 0);
            assert_eq!(value(register, 1 << shift, 0, shape) >> shift & 0xf, 1);
        }
    }
}

#[test]
fn vmids_are_wide_on_any_host() {
    for shape in SHAPES {
        for host in [0, u64::MAX] {
            assert_eq!(value(ID_AA64MMFR1_EL1, host, 0, shape) >> 4 & 0xf, 2);
        }
    }
}

proptest! {
    #[test]
    fn fields_in_no_row_are_as_without_el2_and_the_others_as_their_policies_say(
        host: u64, without: u64, shape in 0..6usize,
    ) {
        let shape = SHAPES[shape];
        for register in all_registers() {
            let shown = value(register, host, without, shape);
            let row = registers().iter().find(|row| row.register == register);
            let mut known = 0u64;
            for field in row.map_or(&[][..], |row| row.fields) {
                let cut = |register: u64| register >> field.shift & 0xf;
                known |= 0xf << field.shift;
                let ours = cut(shown);
                match field.policy {
                    Policy::Hide => prop_assert_eq!(ours, 0),
                    Policy::AsWithout(max) => {
                        prop_assert!(ours <= cut(without) && ours <= max.into());
                    }
                    Policy::Host(max) => prop_assert!(ours <= cut(host) && ours <= max.into()),
                    Policy::Fixed(value) => prop_assert_eq!(ours, value.into()),
                    Policy::Either { vhe, nvhe } => {
                        prop_assert!(ours == vhe.into() || ours == nvhe.into());
                    }
                    Policy::StageTwo(_) => prop_assert!(ours == 1 || ours == 2),
                }
            }
            prop_assert_eq!(shown & !known, without & !known, "{}", register);
        }
        prop_assert_eq!(value(ID_AA64PFR1_EL1, host, without, shape), without);
    }
}
