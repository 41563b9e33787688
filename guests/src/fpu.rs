//! The floating-point and SIMD state as data: patterns to fill it with, and what is in it.

use crate::random::Random;

/// V0 to V31, FPCR and FPSR; `fpu.s` loads and stores them in this layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(16))]
pub struct State {
    v: [u128; 32],
    fpcr: u64,
    fpsr: u64,
}

/// AHP, DN, FZ, RMode: what FPCR holds on every implementation (DDI 0487, C5.2, "FPCR").
const FPCR_BITS: u64 = 0x07c0_0000;
/// QC and the cumulative exception bits (DDI 0487, C5.2, "FPSR").
const FPSR_BITS: u64 = 0x0800_009f;

#[cfg(target_os = "none")]
unsafe extern "C" {
    fn fpu_load(state: *const State);
    fn fpu_store(state: *mut State);
}

impl State {
    /// A state in which every register differs from every other, and from those of another `seed`.
    pub fn pattern(seed: u64) -> Self {
        let mut numbers = Random::new(seed);
        let mut random = || numbers.next();
        Self {
            v: core::array::from_fn(|_| u128::from(random()) << 64 | u128::from(random())),
            fpcr: random() & FPCR_BITS,
            fpsr: random() & FPSR_BITS,
        }
    }

    /// The first register in which `self` and `other` differ: 0 to 31 are V registers, 32 FPCR, 33 FPSR.
    pub fn difference(&self, other: &Self) -> Option<u32> {
        let vector = self.v.iter().zip(&other.v).position(|(a, b)| a != b);
        match vector {
            Some(n) => Some(n as u32),
            None if self.fpcr != other.fpcr => Some(32),
            None if self.fpsr != other.fpsr => Some(33),
            None => None,
        }
    }
}

#[cfg(target_os = "none")]
impl State {
    /// Puts the state into the registers.
    pub fn load(&self) {
        // SAFETY: reads `self` alone; no Rust code of the guests uses these registers.
        unsafe { fpu_load(self) };
    }

    /// What the registers hold.
    pub fn current() -> Self {
        let mut state = Self {
            v: [0; 32],
            fpcr: 0,
            fpsr: 0,
        };
        // SAFETY: writes `state` alone.
        unsafe { fpu_store(&raw mut state) };
        state
    }
}

/// Lets EL1 use floating point: CPACR_EL1.FPEN.
#[cfg(target_os = "none")]
pub fn enable() {
    crate::cpu::set_cpacr(3 << 20);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_any_register_is_seen() {
        let pattern = State::pattern(7);
        assert_eq!(pattern.difference(&pattern), None);
        for n in 0..32 {
            let mut changed = pattern;
            changed.v[n] ^= 1 << 127;
            assert_eq!(pattern.difference(&changed), Some(n as u32));
        }
        let mut changed = pattern;
        changed.fpcr ^= 1 << 22;
        assert_eq!(pattern.difference(&changed), Some(32));
        let mut changed = pattern;
        changed.fpsr ^= 1;
        assert_eq!(pattern.difference(&changed), Some(33));
    }

    #[test]
    fn no_register_of_any_pattern_equals_another() {
        let values: Vec<u128> = (0..64).flat_map(|n| State::pattern(n << 8).v).collect();
        let mut sorted = values.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), values.len());
    }
}
