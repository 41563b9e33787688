//! What programs are about: each theme puts one together.

mod gic;
mod interrupts;
mod plain;
mod routing;
mod states;
mod translation;
mod traps;

use super::generate::Maker;
use super::instructions::{ACCESSES, CACHES};
use super::program::{Level, Operand, Program};
use super::shape::Shape;
use crate::random::Random;

/// What a program is about.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// In a word.
    pub name: &'static str,
    /// Puts a program together.
    pub make: fn(&mut Maker),
}

/// All of them, in turn.
pub const THEMES: [Theme; 11] = [
    theme("translation", translation::translation),
    theme("invalidation", translation::invalidation),
    theme("traps", traps::traps),
    theme("registers", traps::registers),
    theme("returns", states::returns),
    theme("AT", translation::at),
    theme("EL2's own", translation::own),
    theme("list registers", interrupts::lists),
    theme("timers", interrupts::timers),
    theme("debug", states::debug),
    theme("routing", routing::routing),
];

/// Those of a guest without EL2.
pub const THEMES_OF_EL1: [Theme; 8] = [
    theme("translation", plain::translation),
    theme("traps", plain::traps),
    theme("registers", plain::registers),
    theme("returns", plain::returns),
    theme("interrupts", plain::interrupts),
    theme("timers", plain::timers),
    theme("software step", plain::step),
    theme("breakpoints", plain::breakpoints),
];

/// Program `number` of a seed.
pub fn program(seed: u64, number: u64, shape: Shape) -> Program {
    let mut random = Random::new(Random::new(seed).next().wrapping_add(number));
    // Neighbouring seeds of SplitMix64 share their sequences, one step apart.
    let random = Random::new(random.next());
    let mut maker = Maker::new(random, shape);
    let themes: &[Theme] = match shape {
        Shape::El1 => &THEMES_OF_EL1,
        Shape::Vhe | Shape::Nvhe => &THEMES,
    };
    let theme = themes[number as usize % themes.len()];
    maker.program.theme = theme.name;
    (theme.make)(&mut maker);
    maker.program
}

const fn theme(name: &'static str, make: fn(&mut Maker)) -> Theme {
    Theme { name, make }
}

/// SCTLR_EL1: M, A, C, SA, SA0, I, DZE, UCT, WXN, SPAN, E0E, UCI.
const SCTLR_M: u64 = 1;

const SCTLR_ODD: u64 = 0x1f & !1 | 1 << 12 | 3 << 14 | 1 << 19 | 1 << 23 | 1 << 24 | 1 << 26;
/// PSTATE: flags, UAO, PAN.
const FLAGS: u64 = 0xf << 28;

const UAO_PAN: u64 = 3 << 22;
/// PSTATE's I, F and A.
const ASYNCHRONOUS: u64 = 7 << 6;

/// Offsets in a page: aligned, odd, at its end.
fn offset(maker: &mut Maker) -> u64 {
    match maker.random.below(6) {
        0 => maker.random.below(0x1000),
        1 => 0xff8 + maker.random.below(8),
        _ => maker.random.below(0x200) * 8,
    }
}

fn access(maker: &mut Maker, address: u64) {
    let address = address.wrapping_add(offset(maker));
    let instruction = match maker.random.below(8) {
        0 => maker.random.one_of(&CACHES),
        _ => maker.random.one_of(&ACCESSES),
    };
    maker.push(instruction, Operand::Value(address));
}

fn under(maker: &mut Maker) -> Level {
    maker
        .random
        .one_of(&[Level::El1, Level::El1, Level::El1t, Level::El0])
}
