//! A program of this wing.

use crate::nested::layout::TableShape;
use crate::nested::operation::Step;
use crate::nested::world::{Space, World};
use crate::program::Setting;
use crate::text::{Fields, ParseError};

/// A program for [`run`](crate::nested::run).
///
/// ```
/// use droste_trials::nested::{Program, run};
/// let text = "\
/// world cpus=1 bbm=0 pa=48 seed=0x1 with=ttl
/// l1 pages=8 places=1 records=8 shows=ttl
/// table granule=4 bits=32 start=2
/// space vmid=1 updates=nothing table=0
/// cpu=0 add-slot ipa=0x80000000 pa=0x900000000 bytes=0x400000 as=wb,rw,x,0 log=off
/// cpu=0 write table=0 level=2 index=0 count=1 value=0x802007fd
/// cpu=0 access va=0x80001000 kind=write
/// cpu=0 tlbi space=0 form=ipas2e1 scope=is nxs=0 operand=0x80001
/// ";
/// let program: Program = text.parse().unwrap();
/// assert_eq!(program.to_string(), text);
/// // Two faults of one access: the canonical table first, then the shadow.
/// assert_eq!(run(&program).unwrap().faults, 2);
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
        match fields.verb {
            "l1" => self.parse_l1(fields)?,
            "table" => self.tables.push(TableShape::parse(fields)?),
            "space" => self.spaces.push(Space::parse(fields)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn step(fields: &Fields<'_>) -> Result<Step, ParseError> {
        Step::parse(fields)
    }

    fn check(&self) -> Result<(), String> {
        Self::check(self)
    }

    fn plainer(&self) -> Vec<Self> {
        let machines = self.machine.plainer().into_iter().map(|machine| Self {
            machine,
            ..self.clone()
        });
        let without = self.shown.iter().map(|&feature| {
            let mut world = self.clone();
            world.shown.retain(|&other| other != feature);
            world
        });
        let changes: [fn(&mut Self); 3] = [
            |world| {
                world
                    .spaces
                    .truncate(world.spaces.len().saturating_sub(1).max(1));
            },
            |world| world.tables.truncate(1),
            |world| world.places = (world.places - 1).max(world.machine.cpus),
        ];
        let others = changes.iter().map(|change| {
            let mut world = self.clone();
            change(&mut world);
            world
        });
        machines.chain(without).chain(others).collect()
    }

    fn smaller(step: Step) -> Vec<Step> {
        let operations = step.operation.smaller().into_iter();
        let operations = operations.map(|operation| Step { operation, ..step });
        [Step { cpu: 0, ..step }]
            .into_iter()
            .chain(operations)
            .collect()
    }
}
