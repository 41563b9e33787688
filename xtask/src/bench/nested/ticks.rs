//! How late the timer of a guest's guest is: L2 on a Linux with KVM that Droste runs, beside the same Linux without Droste.
//!
//! L2 is the guest `ticks`, whose deadlines are 10 ms apart. Both runs have one CPU and a clock that passes with
//! instructions, so they repeat, whatever the host does meanwhile.

use super::super::figures::Figure;
use super::super::number;
use super::super::runs::{CONSOLE, HYPERVISOR_WORDS, Linux, Parts, listen};
use super::disks;
use crate::workspace::Failure;

/// How much later than without Droste the interrupts may come, on the average.
const TARGET: f64 = 2.0;

/// What an L2 says of its timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Ticks {
    /// Deadlines that there were.
    deadlines: u64,
    /// Nanoseconds.
    mean: u64,
    longest: u64,
    lost: u64,
}

/// Runs both.
///
/// # Errors
/// If a run fails, or its L2 says nothing.
pub(super) fn measure(parts: &Parts) -> Result<Vec<Figure>, Failure> {
    let linux = Linux::gather()?;
    let initrd = disks::ticking()?;
    let words = format!("{CONSOLE} {HYPERVISOR_WORDS}");
    let droste = parts.droste_with_hypervisor(&linux, &initrd, &words)?;
    let bare = parts.linux_with_hypervisor(&linux.kernel, &initrd, &words)?;
    figures(
        Ticks::parse(&listen("L2's timer", droste, "nested: off")?)?,
        Ticks::parse(&listen("L2's timer without Droste", bare, "nested: off")?)?,
    )
}

fn figures(droste: Ticks, bare: Ticks) -> Result<Vec<Figure>, Failure> {
    if bare.mean == 0 || bare.lost > 0 {
        return Err(Failure::new(format!(
            "the timer without Droste is no measure: {bare:?}"
        )));
    }
    let of = |what: &str| format!("Linux: L2's timer of 10 ms: {what}");
    let pair = |what: &str, unit, droste, bare| {
        Figure::new(of(what), unit, number(droste)).peer(number(bare))
    };
    Ok(vec![
        pair("lateness", "ns", droste.mean, bare.mean),
        Figure::new(
            of("lateness, over that without Droste"),
            "times",
            number(droste.mean) / number(bare.mean),
        )
        .target(TARGET),
        pair("longest lateness", "ns", droste.longest, bare.longest),
        pair(
            &format!("lost of {}", droste.deadlines),
            "interrupts",
            droste.lost,
            bare.lost,
        )
        .target(0.0),
    ])
}

impl Ticks {
    /// From all that was said.
    fn parse(console: &str) -> Result<Self, Failure> {
        let line = console
            .lines()
            .find_map(|line| line.trim().strip_prefix("ticks: "));
        let words = line.map(|line| line.split(|c: char| !c.is_ascii_digit()));
        let numbers: Vec<u64> = words
            .into_iter()
            .flatten()
            .filter_map(|word| word.parse().ok())
            .collect();
        match numbers[..] {
            [deadlines, 10, mean, longest, lost] => Ok(Self {
                deadlines,
                mean,
                longest,
                lost,
            }),
            _ => Err(Failure::new(format!(
                "L2 says nothing of its timer:\n{console}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str =
        "x\r\nticks: 2400 of 10 ms: mean 8000, longest 20000, lost 1\r\nticks: ok\r\n";

    fn said() -> Ticks {
        Ticks::parse(SAID).expect("it says so")
    }

    #[test]
    fn what_an_l2_says_of_its_timer_is_understood() {
        let ticks = Ticks {
            deadlines: 2400,
            mean: 8000,
            longest: 20000,
            lost: 1,
        };
        assert_eq!(said(), ticks);
        assert!(Ticks::parse("ticks: ok\r\n").is_err());
    }

    #[test]
    fn twice_as_late_is_good_enough_and_one_that_is_lost_is_not() {
        let bare = Ticks {
            mean: 4000,
            lost: 0,
            ..said()
        };
        let missed = |droste| {
            let figures = figures(droste, bare).expect("both ran");
            let missed = figures.into_iter().filter(Figure::is_missed);
            missed.map(|figure| figure.name).collect::<Vec<_>>()
        };
        assert_eq!(missed(Ticks { lost: 0, ..said() }), [] as [String; 0]);
        assert_eq!(missed(said()), ["Linux: L2's timer of 10 ms: lost of 2400"]);
        let late = Ticks {
            mean: 8001,
            lost: 0,
            ..said()
        };
        assert_eq!(missed(late).len(), 1);
        assert!(figures(said(), said()).is_err(), "no measure");
    }
}
