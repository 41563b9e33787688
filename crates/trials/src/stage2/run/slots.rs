//! Changes of slots, each with the duty that [`droste_stage2::slots`] gives it.

use droste_arm64::Ipa;
use droste_stage2::{Attributes, DirtyLog, Error, Slot};

use crate::failure::Problem;
use crate::stage2::operation::Area;
use crate::stage2::oracle::Rights;
use crate::stage2::run::machine::Run;

fn same<T: PartialEq + std::fmt::Debug>(
    what: &'static str,
    expected: &T,
    found: &T,
) -> Result<(), Problem> {
    if expected == found {
        return Ok(());
    }
    Err(Problem::Oracle {
        rule: "slots do what a list of them does",
        detail: format!("{what} gave {found:?}, not {expected:?}"),
    })
}

const fn area(slot: &Slot) -> Area {
    Area {
        ipa: slot.ipa,
        bytes: slot.bytes,
    }
}

impl Run<'_> {
    fn changed(&mut self, vm: usize) {
        self.vms[vm].changes += 1;
        self.report.operations += 1;
    }

    pub(super) fn add_slot(&mut self, vm: usize, slot: Slot) -> Result<(), Problem> {
        let machine = &mut self.vms[vm];
        let result = machine.slots.add(slot);
        let expected = machine.oracle.add_slot(slot);
        same("add", &expected, &result)?;
        if result.is_ok() {
            self.changed(vm);
        }
        Ok(())
    }

    pub(super) fn remove_slot(&mut self, cpu: usize, vm: usize, ipa: Ipa) -> Result<(), Problem> {
        let machine = &mut self.vms[vm];
        let removed = machine.slots.remove(ipa);
        same("remove", &machine.oracle.remove_slot(ipa), &removed)?;
        match removed {
            None => Ok(()),
            Some(slot) => {
                self.changed(vm);
                self.unmap_surely(cpu, vm, area(&slot))
            }
        }
    }

    pub(super) fn relocate(
        &mut self,
        cpu: usize,
        vm: usize,
        ipa: Ipa,
        to: Ipa,
    ) -> Result<(), Problem> {
        let machine = &mut self.vms[vm];
        let result = machine.slots.relocate(ipa, to);
        let expected = match machine.oracle.remove_slot(ipa) {
            None => Err(Error::NoSlot { ipa }),
            Some(before) => match machine.oracle.add_slot(Slot { ipa: to, ..before }) {
                Ok(()) => Ok(before),
                Err(error) => {
                    machine.oracle.put_back(before);
                    Err(error)
                }
            },
        };
        same("relocate", &expected, &result)?;
        match result {
            Ok(before) => {
                self.changed(vm);
                self.unmap_surely(cpu, vm, area(&before))
            }
            Err(_) => Ok(()),
        }
    }

    pub(super) fn set_attributes(
        &mut self,
        cpu: usize,
        vm: usize,
        ipa: Ipa,
        attributes: Attributes,
    ) -> Result<(), Problem> {
        let machine = &mut self.vms[vm];
        let result = machine.slots.set_attributes(ipa, attributes);
        let change = machine
            .oracle
            .change_slot(ipa, |slot| slot.attributes = attributes);
        let expected = change.map(|_| ()).ok_or(Error::NoSlot { ipa });
        same("set_attributes", &expected, &result)?;
        let Some((before, after)) = change else {
            return Ok(());
        };
        self.changed(vm);
        let is_wider = Rights::of(attributes).has(Rights::of(before.attributes))
            && attributes.memory == before.attributes.memory
            && attributes.software == before.attributes.software;
        if is_wider {
            return Ok(());
        }
        self.unmap_surely(cpu, vm, area(&after))
    }

    pub(super) fn set_log(
        &mut self,
        cpu: usize,
        vm: usize,
        ipa: Ipa,
        log: DirtyLog,
    ) -> Result<(), Problem> {
        let machine = &mut self.vms[vm];
        let result = machine.slots.set_log(ipa, log);
        let change = machine.oracle.change_slot(ipa, |slot| slot.log = log);
        let expected = change.map(|_| ()).ok_or(Error::NoSlot { ipa });
        same("set_log", &expected, &result)?;
        let Some((_, after)) = change else {
            return Ok(());
        };
        self.changed(vm);
        if log == DirtyLog::On {
            return self.write_protect(cpu, vm, area(&after));
        }
        Ok(())
    }
}
