//! The blocks of code that the plugin saw EL2 execute, by kind of exit.

use crate::workspace::Failure;
use serde_json::Value;

/// What EL2 executed in all exits of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Profile {
    /// The class that was left.
    pub(crate) from: String,
    /// `sync`, `irq`, `fiq` or `serror`.
    pub(crate) kind: String,
    /// ESR_EL2.EC of a synchronous one, else 0.
    pub(crate) class: u64,
    /// The class that was entered then.
    pub(crate) to: String,
    /// Blocks of code.
    pub(crate) blocks: Vec<Block>,
    /// Locks.
    pub(crate) locks: Vec<Taken>,
}

/// A block of code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Block {
    /// Its address.
    pub(crate) at: u64,
    /// Its instructions.
    pub(crate) instructions: u64,
    /// Of them, those that read a register by name (MRS).
    pub(crate) reads: u64,
    /// Of them, those that write one (MSR).
    pub(crate) writes: u64,
    /// How often it was executed.
    pub(crate) times: u64,
}

/// Locks that one instruction took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Taken {
    /// Address of the instruction.
    pub(crate) by: u64,
    /// How often.
    pub(crate) times: u64,
    /// Instructions from there to the releases, all together.
    pub(crate) held: u64,
}

impl Profile {
    /// Reads a line of the plugin.
    ///
    /// # Errors
    /// If something is missing in it.
    pub(crate) fn parse(event: &Value) -> Result<Self, Failure> {
        let missing = |what| Failure::new(format!("the plugin's profile has no {what}: {event}"));
        let word = |key| event[key].as_str().map(str::to_owned);
        let blocks = numbers(
            &event["blocks"],
            |&[at, instructions, reads, writes, times]| Block {
                at,
                instructions,
                reads,
                writes,
                times,
            },
        );
        let locks = numbers(&event["locks"], |&[by, times, held]| Taken {
            by,
            times,
            held,
        });
        Ok(Self {
            from: word("from").ok_or_else(|| missing("from"))?,
            kind: word("kind").ok_or_else(|| missing("kind"))?,
            class: event["ec"].as_u64().ok_or_else(|| missing("ec"))?,
            to: word("to").ok_or_else(|| missing("to"))?,
            blocks: blocks.ok_or_else(|| missing("blocks"))?,
            locks: locks.ok_or_else(|| missing("locks"))?,
        })
    }
}

/// A list of lists of `N` numbers each.
fn numbers<T, const N: usize>(list: &Value, make: impl Fn(&[u64; N]) -> T) -> Option<Vec<T>> {
    let one = |entry: &Value| {
        let entry: Vec<u64> = entry.as_array()?.iter().filter_map(Value::as_u64).collect();
        entry.first_chunk().map(&make)
    };
    list.as_array()?.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "{\"event\":\"profile\",\"from\":\"vel2\",\"kind\":\"sync\",\"ec\":26,\"to\":\"el1\",\
                        \"blocks\":[[4096,7,2,1,20]],\"locks\":[[4100,10,330]]}";

    #[test]
    fn a_line_is_read_whole_or_not_at_all() {
        let parse = |line: &str| Profile::parse(&serde_json::from_str(line).expect("JSON"));
        let profile = parse(LINE).expect("whole");
        assert_eq!((profile.class, profile.to.as_str()), (26, "el1"));
        assert_eq!((profile.blocks[0].reads, profile.blocks[0].times), (2, 20));
        assert_eq!((profile.locks[0].by, profile.locks[0].held), (4100, 330));
        for key in ["from", "kind", "ec", "to", "blocks", "locks"] {
            assert!(parse(&LINE.replace(key, "x")).is_err(), "{key}");
        }
        assert!(parse(&LINE.replace(",330]", "]")).is_err());
    }
}
