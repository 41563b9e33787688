//! Runs the random programs of [`droste_guests::differ`] and says what each saw, as a number of four digits. The same
//! image runs on the bare machine and on Droste; where the numbers differ, somebody is wrong.
//!
//! Words on the command line: `differ.seed=N`; `differ.from=N` and `differ.count=N`, which programs; `differ.verbose`,
//! all that they are and saw; `differ.mask=N`, which parts of them; `differ.corpus`, before them those of the corpus;
//! `differ.try`, one program again and again, each time without some of its parts.
//!
//! Prints lines of `differ: kept NUMBER: DIGITS` and `differ: NUMBER: DIGITS...`, then `differ: known REASON: TIMES`,
//! then `differ: ok`.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod el1;
#[cfg(target_os = "none")]
mod known;
#[cfg(target_os = "none")]
mod lab;
#[cfg(target_os = "none")]
mod seen;
#[cfg(target_os = "none")]
mod sight;
#[cfg(target_os = "none")]
mod state;

#[cfg(target_os = "none")]
mod guest {
    use crate::lab::Lab;
    use droste_guests::differ::corpus;
    use droste_guests::differ::generate::Shape;
    use droste_guests::differ::program::PARTS;
    use droste_guests::differ::themes::program;
    use droste_guests::tree::Machine;
    use droste_guests::{console, cpu, el2, println, smp, trap};

    droste_guests::guest!(main: main, secondary: smp::none, exception: trap::unexpected_always);

    /// Programs whose digits share a line.
    const IN_A_LINE: usize = 16;

    fn main(machine: Machine) {
        let shape = if cpu::is_el2() {
            el2::begin("differ", &machine);
            if el2::is_vhe() {
                Shape::Vhe
            } else {
                Shape::Nvhe
            }
        } else {
            println!("differ: no EL2");
            Shape::El1
        };
        let word = |name: &str, otherwise: u64| machine.number(name).unwrap_or(otherwise);
        let seed = word("differ.seed", 1);
        let mask = word("differ.mask", u64::MAX);
        let first = word("differ.from", 0);
        let numbers = first..first + word("differ.count", 64);
        let mut lab = Lab::new(&machine, shape);
        if machine.has_argument("differ.corpus") {
            let all = corpus::all().enumerate();
            for (n, kept) in all.filter(|(_, kept)| kept.shape == shape) {
                let hash = lab.run(&kept.program);
                println!("differ: kept {n}: {hash:04x}");
            }
        }
        if machine.has_argument("differ.try") {
            let whole = program(seed, first, shape);
            for tried in fewer(mask, whole.parts().count()) {
                let hash = lab.run(&whole.with(tried));
                println!("differ: without: {tried:#x} {hash:04x}");
            }
        } else if machine.has_argument("differ.verbose") {
            lab.seen.is_told = true;
            for number in numbers {
                let program = program(seed, number, shape).with(mask);
                println!("differ: program {number}");
                console::print(format_args!("{program}"));
                let hash = lab.run(&program);
                println!("differ: saw {number}: {hash:04x}");
            }
        } else {
            let mut line = [(0, 0); IN_A_LINE];
            let mut numbers = numbers.peekable();
            while numbers.peek().is_some() {
                let mut used = 0;
                for (slot, number) in line.iter_mut().zip(&mut numbers) {
                    *slot = (number, lab.run(&program(seed, number, shape).with(mask)));
                    used += 1;
                }
                // What a hypervisor has to say of a program does not come into the line.
                console::print(format_args!("differ: {}:", line[0].0));
                for (_, hash) in &line[..used] {
                    console::print(format_args!(" {hash:04x}"));
                }
                println!("");
            }
        }
        lab.seen.tell_known();
        println!("differ: ok");
    }

    /// The mask itself, then without one half of its parts, then the other, then without each quarter, and so on to
    /// single parts.
    fn fewer(mask: u64, parts: usize) -> impl Iterator<Item = u64> {
        let parts = parts.min(PARTS);
        let mask = if parts < PARTS {
            mask & ((1 << parts) - 1)
        } else {
            mask
        };
        let bits = (0..parts).filter(move |bit| mask >> bit & 1 != 0).count();
        let sizes = (0..8)
            .map(|n| 32usize >> n)
            .filter(move |size| *size > 0 && *size < bits.max(2));
        let all = core::iter::once(mask);
        all.chain(sizes.flat_map(move |size| {
            (0..bits).step_by(size).map(move |from| {
                let set = (0..parts).filter(move |bit| mask >> bit & 1 != 0);
                let out = set.skip(from).take(size);
                out.fold(mask, |mask, bit| mask & !(1 << bit))
            })
        }))
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
