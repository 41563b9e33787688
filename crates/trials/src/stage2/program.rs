//! A program of this wing.

use crate::program::Setting;
use crate::stage2::operation::{Area, Operation, Step};
use crate::stage2::world::{VmShape, World};
use crate::text::{Fields, ParseError};

/// A program for [`run`](crate::stage2::run).
///
/// ```
/// use droste_trials::stage2::{Program, run};
/// let text = "\
/// world cpus=2 bbm=0 pa=48 seed=0x1 with=ttl
/// vm granule=4 ipa=39 output=48 contexts=1 vcpus=2 quota=16
/// cpu=0 vm=0 add-slot ipa=0x40000000 pa=0x80000000 bytes=0x400000 as=wb,rw,x,0 log=off
/// cpu=0 vm=0 access ipa=0x40001000 kind=write
/// cpu=1 vm=0 unmap ipa=0x40001000 bytes=0x1000
/// ";
/// let program: Program = text.parse().unwrap();
/// assert_eq!(program.to_string(), text);
/// // A slot; who makes the access enters, and takes a fault; an unmapping; in the end all is freed.
/// assert_eq!(run(&program).unwrap().operations, 5);
/// ```
pub type Program = crate::Program<World>;

/// Such a program that failed.
pub type Failure = crate::Failure<World>;

impl Setting for World {
    type Step = Step;

    fn begin(fields: &Fields<'_>) -> Result<Self, ParseError> {
        Self::parse(fields)
    }

    fn take_in(&mut self, fields: &Fields<'_>) -> Result<bool, ParseError> {
        let is_vm = fields.verb == "vm";
        if is_vm {
            self.vms.push(VmShape::parse(fields)?);
        }
        Ok(is_vm)
    }

    fn step(fields: &Fields<'_>) -> Result<Step, ParseError> {
        Step::parse(fields)
    }

    fn check(&self) -> Result<(), String> {
        Self::check(self)
    }

    fn plainer(&self) -> Vec<Self> {
        let without = self.features.iter().map(|&feature| {
            let mut world = self.clone();
            world.features.retain(|&other| other != feature);
            world
        });
        let changes: [fn(&mut Self); 5] = [
            |world| world.bbm = 0,
            |world| world.cpus = (world.cpus - 1).max(1),
            |world| world.vms.truncate(world.vms.len().saturating_sub(1).max(1)),
            |world| world.vms.iter_mut().for_each(|vm| vm.contexts = 1),
            |world| {
                world
                    .vms
                    .iter_mut()
                    .for_each(|vm| vm.vcpus = (vm.vcpus - 1).max(1));
            },
        ];
        let others = changes.iter().map(|change| {
            let mut world = self.clone();
            change(&mut world);
            world
        });
        without.chain(others).collect()
    }

    fn smaller(step: Step) -> Vec<Step> {
        let operations = step.operation.smaller().into_iter();
        let operations = operations.map(|operation| Step { operation, ..step });
        [Step { cpu: 0, ..step }, Step { vm: 0, ..step }]
            .into_iter()
            .chain(operations)
            .collect()
    }
}

impl Operation {
    /// This on smaller ranges.
    pub(crate) fn smaller(self) -> Vec<Self> {
        vec![
            sized(self, |_| 0x1_0000),
            sized(self, |_| 0x1000),
            sized(self, |bytes| bytes / 2),
        ]
    }
}

/// The operation on a range of another size.
fn sized(operation: Operation, size: impl Fn(u64) -> u64) -> Operation {
    let area = |area: Area| Area {
        bytes: size(area.bytes),
        ..area
    };
    match operation {
        Operation::Map(mut mapping) => {
            mapping.bytes = size(mapping.bytes);
            Operation::Map(mapping)
        }
        Operation::AddSlot(mut slot) => {
            slot.bytes = size(slot.bytes);
            Operation::AddSlot(slot)
        }
        Operation::Unmap(of) => Operation::Unmap(area(of)),
        Operation::WriteProtect(of) => Operation::WriteProtect(area(of)),
        Operation::Dirty(of) => Operation::Dirty(area(of)),
        Operation::Age(of) => Operation::Age(area(of)),
        Operation::Flush(of) => Operation::Flush(area(of)),
        Operation::Split(of, to) => Operation::Split(area(of), to),
        Operation::Collapse(of, largest) => Operation::Collapse(area(of), largest),
        Operation::Pressure(count) => Operation::Pressure(count.min(size(count.into()) as u16)),
        other => other,
    }
}
