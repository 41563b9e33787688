//! A nested program as a value that can be written down, read, run and shrunk.

use std::fmt;
use std::str::FromStr;

use crate::failure::Trial;
use crate::nested::layout::TableShape;
use crate::nested::operation::Step;
use crate::nested::world::{Space, World};
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
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// The machine, L1 and its guests.
    pub world: World,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.world.fmt(f)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl FromStr for Program {
    type Err = ParseError;

    /// Reads what [`Display`](fmt::Display) writes; empty lines and lines that begin with `#` count for nothing.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut world: Option<World> = None;
        let mut steps = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fields = Fields::new(index + 1, line);
            match (fields.verb, &mut world) {
                ("world", _) => world = Some(World::parse(&fields)?),
                (_, None) => return Err(fields.error("a program begins with a world".to_owned())),
                ("l1", Some(world)) => world.parse_l1(&fields)?,
                ("table", Some(world)) => world.tables.push(TableShape::parse(&fields)?),
                ("space", Some(world)) => world.spaces.push(Space::parse(&fields)?),
                _ => steps.push(Step::parse(&fields)?),
            }
        }
        let line = text.lines().count();
        let world = world.ok_or_else(|| ParseError {
            line,
            message: "a program begins with a world".to_owned(),
        })?;
        world
            .check()
            .map_err(|message| ParseError { line, message })?;
        Ok(Self { world, steps })
    }
}

impl Trial for Program {
    type Step = Step;

    fn steps(&self) -> &Vec<Step> {
        &self.steps
    }

    fn steps_mut(&mut self) -> &mut Vec<Step> {
        &mut self.steps
    }

    fn plainer(&self) -> Vec<Self> {
        let with = |world| Self {
            world,
            steps: self.steps.clone(),
        };
        self.world.plainer().into_iter().map(with).collect()
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

impl World {
    /// This with less, each time of one thing.
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
}
