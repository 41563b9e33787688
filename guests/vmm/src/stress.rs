//! What makes KVM change stage 2 in all the ways that a monitor can, while guests run that fault on it: for `droste judge`.
//!
//! Here is what is done to which guest, which is plain logic; `run` does it.

use crate::Failure;

/// How the stress program is used.
pub const USAGE: &str = "usage: droste-vmm --stress ROUNDS [VMS [VCPUS]]";

/// Pages of each guest's memory: 16 MiB of 4 KiB.
pub const PAGES: u64 = 4096;
/// Pages that one act is about, at most.
const MOST: u64 = 64;

/// How much is done, and to how many guests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Acts.
    pub rounds: u32,
    /// Guests.
    pub vms: u32,
    /// vCPUs of each.
    pub vcpus: u32,
}

/// What a monitor does to the memory of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Gives pages back; a guest that comes there gets others.
    Unmap,
    /// Makes pages read-only for a while.
    Protect,
    /// Asks twice which pages were written.
    LogDirty,
    /// Takes the memory away, and gives it back.
    Delete,
    /// Moves it in the guest's address space, and back.
    Move,
    /// Lets it have huge pages, from new ones on.
    Collapse,
    /// Breaks a huge page by giving back a part.
    Split,
    /// Shares it with a child, which makes all of it read-only until somebody writes.
    Fork,
    /// Says that pages are not needed soon, and swaps out what it can.
    Reclaim,
    /// Ends the guest, and starts another.
    Restart,
}

/// All of them.
pub const ACTS: [Act; 10] = [
    Act::Unmap,
    Act::Protect,
    Act::LogDirty,
    Act::Delete,
    Act::Move,
    Act::Collapse,
    Act::Split,
    Act::Fork,
    Act::Reclaim,
    Act::Restart,
];

/// One act, on some pages of one guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// What.
    pub act: Act,
    /// Of which guest.
    pub vm: usize,
    /// The first page.
    pub first: u64,
    /// How many, at least one.
    pub pages: u64,
}

impl Plan {
    /// Reads the words behind `--stress`.
    ///
    /// # Errors
    /// If they are no numbers from 1 on, or too large.
    pub fn parse(words: &[String]) -> Result<Self, Failure> {
        let number = |index: usize, name: &str, default: Option<u32>, most: u32| {
            let Some(word) = words.get(index) else {
                return default.ok_or_else(|| Failure::new(USAGE));
            };
            let parsed = word
                .parse()
                .ok()
                .filter(|number| (1..=most).contains(number));
            parsed.ok_or_else(|| {
                Failure::new(format!("{name} is a number from 1 to {most}, not {word}"))
            })
        };
        if words.len() > 3 {
            return Err(Failure::new(USAGE));
        }
        Ok(Self {
            rounds: number(0, "ROUNDS", None, 1_000_000)?,
            vms: number(1, "VMS", Some(2), 16)?,
            vcpus: number(2, "VCPUS", Some(2), 8)?,
        })
    }

    /// What is done, the same each time.
    pub fn steps(self) -> impl Iterator<Item = Step> {
        let mut state = 1u64;
        let mut below = move |limit: u64| {
            // Knuth's MMIX; the upper bits are the better ones.
            state = state
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 33) % limit
        };
        (0..self.rounds).map(move |_| Step {
            act: ACTS[below(ACTS.len() as u64) as usize],
            vm: below(u64::from(self.vms)) as usize,
            first: below(PAGES - MOST),
            pages: below(MOST) + 1,
        })
    }
}

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
pub mod run;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Plan, Failure> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Plan::parse(&words)
    }

    #[test]
    fn a_plan_is_read_and_nonsense_is_refused() {
        let plan = parse("200 3 4").expect("a plan");
        assert_eq!((plan.rounds, plan.vms, plan.vcpus), (200, 3, 4));
        let plan = parse("7").expect("a plan");
        assert_eq!((plan.vms, plan.vcpus), (2, 2));
        for line in ["", "0", "x", "1 17", "1 1 9", "1 2 3 4"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn every_act_comes_soon_and_stays_within_its_guest() {
        let steps: Vec<_> = parse("200 3").expect("a plan").steps().collect();
        assert_eq!(steps.len(), 200);
        for act in ACTS {
            assert!(steps.iter().any(|step| step.act == act), "{act:?}");
        }
        for step in steps {
            assert!(step.vm < 3 && step.pages >= 1 && step.first + step.pages <= PAGES);
        }
    }
}
