//! A program: a world and what happens in it, as a value that can be written down, read, run and shrunk.

use std::fmt;
use std::str::FromStr;

use crate::operation::Step;
use crate::text::{Fields, ParseError};
use crate::world::{VmShape, World};

/// A program for [`run`](crate::run).
///
/// ```
/// use droste_trials::Program;
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
/// assert_eq!(droste_trials::run(&program).unwrap().operations, 5);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// The machine and its virtual machines.
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
        let mut world = None;
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
                ("vm", Some(world)) => world.vms.push(VmShape::parse(&fields)?),
                _ => steps.push(Step::parse(&fields)?),
            }
        }
        let line = text.lines().count();
        let world: World = world.ok_or_else(|| ParseError {
            line,
            message: "a program begins with a world".to_owned(),
        })?;
        world
            .check()
            .map_err(|message| ParseError { line, message })?;
        Ok(Self { world, steps })
    }
}
