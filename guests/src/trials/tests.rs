//! The rows are those of the hypervisor's tables, level by level.

use super::*;
use droste_nested::id as nested;
use droste_vdev::id as plain;

/// The row of a field, which must be there.
fn row(register: &str, field: &str, shift: u32) -> &'static Field {
    let found = registers()
        .find(|row| row.name == register)
        .and_then(|row| row.fields.iter().find(|row| row.name == field));
    let found = found.unwrap_or_else(|| panic!("{register}.{field} has no trial"));
    assert_eq!(found.shift, shift, "{register}.{field}");
    found
}

/// Whether each level from the one to the other has a trial of its own, or one that says why there is none.
fn has_levels(field: &Field, levels: impl Iterator<Item = i64>) -> bool {
    let is_unseen = |how: &How| matches!(how, How::Unseen(_) | How::Remains(_));
    let lowest = field.levels.iter().map(|(level, _)| *level).min();
    let is_tried = |level| {
        field
            .levels
            .iter()
            .any(|(of, how)| *of == level || *of < level && is_unseen(how))
    };
    // The first levels of some fields are not allocated.
    let mut levels = levels.filter(|level| Some(*level) >= lowest);
    !field.levels.is_empty() && levels.all(is_tried)
}

#[test]
fn each_field_that_a_guest_reads_has_its_trials() {
    for register in plain::registers() {
        for field in register.fields {
            let what = format!("{}.{}", register.name, field.name);
            let row = row(register.name, field.name, field.shift.into());
            assert_eq!(row.width, u32::from(field.width), "{what}");
            let highest = match field.policy {
                plain::Policy::Hide => 0,
                plain::Policy::UpTo(max) => max.into(),
                plain::Policy::SignedUpTo(max) => max.into(),
                plain::Policy::Fixed(value) => cut(value.into(), 0, row.width, row.is_signed),
                plain::Policy::Pass | plain::Policy::PhysicalAddress => 1,
            };
            assert!(
                has_levels(row, 0..=highest),
                "{what}: a level of 0 to {highest}"
            );
        }
    }
}

#[test]
fn each_field_that_a_guest_with_el2_reads_has_its_trials() {
    for register in nested::registers() {
        for field in register.fields {
            let what = format!("{}.{}", register.name, field.name);
            let row = row(register.name, field.name, field.shift.into());
            let highest = match field.policy {
                nested::Policy::Hide => 0,
                nested::Policy::AsWithout(max) | nested::Policy::Host(max) => max.into(),
                nested::Policy::Fixed(value) => value.into(),
                nested::Policy::Either { vhe, nvhe } => {
                    let cut = |value: u8| cut(value.into(), 0, row.width, row.is_signed);
                    cut(vhe).max(cut(nvhe))
                }
                nested::Policy::StageTwo(_) => 2,
            };
            assert!(
                has_levels(row, 0..=highest),
                "{what}: a level of 0 to {highest}"
            );
        }
    }
}

#[test]
fn each_trial_is_of_a_field_that_a_guest_reads() {
    for register in registers() {
        let known = plain::registers().find(|row| row.name == register.name);
        let known = known.unwrap_or_else(|| panic!("{} is in no table", register.name));
        let name = known.register;
        let (op1, crn, crm) = (name.op1(), name.crn(), name.crm());
        assert_eq!(
            register.register,
            Name::new(3, op1.into(), crn.into(), crm.into(), name.op2().into())
        );
        for field in register.fields {
            let is_known = known.fields.iter().any(|row| row.name == field.name);
            assert!(is_known, "{}.{}", register.name, field.name);
        }
    }
}

#[test]
fn fields_are_cut_with_their_signs() {
    assert_eq!(cut(0xf0, 4, 4, true), -1);
    assert_eq!(cut(0xf0, 4, 4, false), 15);
    assert_eq!(cut(u64::MAX, 0, 64, false), i64::MAX);
    assert_eq!(cut(7 << 60, 60, 4, true), 7);
}
