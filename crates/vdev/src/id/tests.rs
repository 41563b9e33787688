//! No host makes the table show what it hides.

use super::*;
use droste_arm64::sysreg::{
    ID_AA64DFR0_EL1, ID_AA64MMFR0_EL1, ID_AA64PFR0_EL1, ID_AA64ZFR0_EL1, ID_PFR0_EL1,
};
use proptest::prelude::*;

fn all_registers() -> impl Iterator<Item = SysReg> {
    (1..8).flat_map(|crm| (0..8).map(move |op2| SysReg::new(3, 0, 0, crm, op2)))
}

#[test]
fn rows_do_not_overlap_and_stay_in_64_bits() {
    for row in registers() {
        let mut taken = 0u64;
        for field in row.fields {
            assert!(field.shift + field.width <= 64);
            let mask = field.mask() << field.shift;
            assert_eq!(taken & mask, 0, "{} {}", row.name, field.name);
            taken |= mask;
            assert!(!field.why.is_empty());
        }
        let same = registers().filter(|other| other.register == row.register);
        assert_eq!(same.count(), 1, "{}", row.name);
        assert!(is_identification(row.register));
    }
}

#[test]
fn only_the_group_that_traps_is_identification() {
    assert_eq!(
        all_registers().filter(|&r| is_identification(r)).count(),
        56
    );
    for register in [
        SysReg::new(3, 0, 0, 0, 0),
        SysReg::new(3, 1, 0, 1, 0),
        SysReg::new(3, 0, 1, 1, 0),
        SysReg::new(2, 0, 0, 1, 0),
        SysReg::new(3, 0, 0, 8, 0),
    ] {
        assert!(!is_identification(register), "{register}");
    }
}

#[test]
fn a_host_without_floating_point_or_a_granule_stays_without() {
    let pfr0 = value(ID_AA64PFR0_EL1, 0xff << 16, PaRange::Bits48);
    assert_eq!(pfr0 >> 16 & 0xff, 0xff);
    let mmfr0 = value(ID_AA64MMFR0_EL1, 0xff << 24, PaRange::Bits48);
    assert_eq!(mmfr0 >> 24 & 0xff, 0xff);
}

#[test]
fn levels_are_capped_and_lower_ones_kept() {
    let tgran = |host: u64| value(ID_AA64MMFR0_EL1, host << 20, PaRange::Bits48) >> 20 & 0xfff;
    assert_eq!(tgran(0x102), 0x001, "52-bit granules become plain ones");
    assert_eq!(tgran(0x000), 0x000);
    let fp = |host: u64| value(ID_AA64PFR0_EL1, host << 16, PaRange::Bits48) >> 16 & 0xff;
    assert_eq!([fp(0x00), fp(0x11), fp(0x22)], [0x00, 0x11, 0x11]);
}

#[test]
fn physical_addresses_are_as_narrow_as_the_narrower() {
    for host in PaRange::ALL {
        for guest in PaRange::ALL {
            let shown = value(ID_AA64MMFR0_EL1, host.field(), guest) & 0xf;
            assert_eq!(shown, host.min(guest).field());
        }
    }
}

#[test]
fn debug_is_the_least_on_any_host() {
    for host in [0x0000_0000_1030_5006, u64::MAX, 0x000f_000f_1150_510b] {
        let shown = value(ID_AA64DFR0_EL1, host, PaRange::Bits48);
        assert_eq!(shown, 0x0000_00f0_0010_1006);
    }
}

#[test]
fn aarch32_and_vector_registers_are_zero() {
    for register in all_registers().filter(|register| register.crm() < 4) {
        assert_eq!(value(register, u64::MAX, PaRange::Bits48), 0);
    }
    for register in [ID_PFR0_EL1, ID_AA64ZFR0_EL1, SysReg::new(3, 0, 0, 7, 7)] {
        assert_eq!(value(register, u64::MAX, PaRange::Bits48), 0);
    }
}

proptest! {
    #[test]
    fn no_value_shows_what_the_table_hides(host: u64, pa in 0..8usize) {
        let pa_range = PaRange::ALL[pa];
        for register in all_registers() {
            let shown = value(register, host, pa_range);
            let row = registers().find(|row| row.register == register);
            let fields = row.map_or(&[][..], |row| row.fields);
            let mut known = 0;
            for field in fields {
                let (mask, shift) = (field.mask(), field.shift);
                let (theirs, ours) = (host >> shift & mask, shown >> shift & mask);
                known |= mask << shift;
                match field.policy {
                    Policy::Hide => prop_assert_eq!(ours, 0),
                    Policy::UpTo(max) => prop_assert!(ours <= theirs && ours <= max.into()),
                    Policy::SignedUpTo(max) => {
                        let is_absent = theirs >= 8;
                        let cap = u64::from(max.cast_unsigned());
                        let is_right = if is_absent { ours == theirs } else { ours <= cap };
                        prop_assert!(is_right);
                    }
                    Policy::Fixed(value) => prop_assert_eq!(ours, value.into()),
                    Policy::Pass => prop_assert_eq!(ours, theirs),
                    Policy::PhysicalAddress => {
                        prop_assert!(ours <= theirs && ours <= pa_range.field());
                    }
                }
            }
            prop_assert_eq!(shown & !known, 0, "{}", register);
        }
    }
}
