//! The encodings of TLBI: CRm and op2 (DDI 0487, C5.5).

use super::{Asids, Entries, Form, Scope};

/// Forms with op1 = 0.
pub(super) const fn stage_1_form(crm: u8, op2: u8) -> Option<(Form, Scope)> {
    let (entries, asids) = match op2 & 0b111 {
        1 => (Entries::Any, Asids::One),
        3 => (Entries::Any, Asids::All),
        5 => (Entries::Last, Asids::One),
        7 => (Entries::Last, Asids::All),
        0 => return all_scoped(Form::Vmalle1, crm),
        2 => return all_scoped(Form::Aside1, crm),
        _ => return None,
    };
    match range_scope(crm) {
        Some(scope) => Some((Form::Rva1(entries, asids), scope)),
        None => all_scoped(Form::Va1(entries, asids), crm),
    }
}

/// Forms with op1 = 4.
pub(super) const fn el2_form(crm: u8, op2: u8) -> Option<(Form, Scope)> {
    match (crm, op2) {
        (0, 1) => Some((Form::Ipas2(Entries::Any), Scope::Inner)),
        (0, 2) => Some((Form::Ripas2(Entries::Any), Scope::Inner)),
        (0, 5) => Some((Form::Ipas2(Entries::Last), Scope::Inner)),
        (0, 6) => Some((Form::Ripas2(Entries::Last), Scope::Inner)),
        (4, 0) => Some((Form::Ipas2(Entries::Any), Scope::Outer)),
        (4, 1) => Some((Form::Ipas2(Entries::Any), Scope::Local)),
        (4, 2) => Some((Form::Ripas2(Entries::Any), Scope::Local)),
        (4, 3) => Some((Form::Ripas2(Entries::Any), Scope::Outer)),
        (4, 4) => Some((Form::Ipas2(Entries::Last), Scope::Outer)),
        (4, 5) => Some((Form::Ipas2(Entries::Last), Scope::Local)),
        (4, 6) => Some((Form::Ripas2(Entries::Last), Scope::Local)),
        (4, 7) => Some((Form::Ripas2(Entries::Last), Scope::Outer)),
        (_, 0) => all_scoped(Form::Alle2, crm),
        (_, 4) => all_scoped(Form::Alle1, crm),
        (_, 6) => all_scoped(Form::Vmalls12e1, crm),
        (_, 1 | 5) => {
            let entries = if op2 == 1 {
                Entries::Any
            } else {
                Entries::Last
            };
            match range_scope(crm) {
                Some(scope) => Some((Form::Rva2(entries), scope)),
                None => all_scoped(Form::Va2(entries), crm),
            }
        }
        _ => None,
    }
}

/// A form that is no range, with the scope that CRm gives it.
const fn all_scoped(form: Form, crm: u8) -> Option<(Form, Scope)> {
    match crm {
        1 => Some((form, Scope::Outer)),
        3 => Some((form, Scope::Inner)),
        7 => Some((form, Scope::Local)),
        _ => None,
    }
}

/// The scope that CRm gives a range by virtual address; `None` where it makes none.
const fn range_scope(crm: u8) -> Option<Scope> {
    match crm {
        5 => Some(Scope::Outer),
        2 => Some(Scope::Inner),
        6 => Some(Scope::Local),
        _ => None,
    }
}
