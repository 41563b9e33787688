//! What runs under EL2, or at it, until the next exception to EL2; and the same of EL1.

use super::{class, current_hcr, hcr, mode};
use crate::programs;
use crate::trap::Kind;

unsafe extern "C" {
    // `el2.s`: keeps what the calling convention asks for.
    fn el2_enter(world: *mut World);
    // `el1.s`: the same.
    fn el1_enter(world: *mut World);
    // `el1.s`: vectors, which are not called.
    fn vectors_el1_of_worlds();
}

/// The vectors of an EL1 that runs worlds, for VBAR_EL1.
pub fn vectors_of_el1() -> u64 {
    crate::map::address_of(vectors_el1_of_worlds as *const ())
}

/// Registers of something that runs under EL2, or at it, between [`run`](World::run) and the next exception to EL2.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct World {
    /// x0 to x30.
    pub x: [u64; 31],
    /// Where it goes on.
    pub pc: u64,
    /// With which state; any value, since an illegal one is an exception.
    pub pstate: u64,
    /// HCR_EL2 while it runs. E2H must be as it is.
    pub hcr: u64,
    host_hcr: u64,
    host_sp: u64,
    vector: u64,
    /// ESR_EL2 when it was left.
    pub esr: u64,
    /// FAR_EL2 when it was left.
    pub far: u64,
    left_hcr: u64,
}

const _: () = assert!(size_of::<World>() == 320);

impl World {
    /// At `pc` with `pstate`; `hcr` is without RW and E2H, which are as they are.
    pub fn new(pc: u64, pstate: u64, hcr: u64) -> Self {
        Self::with_hcr(pc, pstate, hcr | hcr::RW | current_hcr() & hcr::E2H)
    }

    /// What an EL1 runs.
    pub fn of_el1(pc: u64, pstate: u64) -> Self {
        Self::with_hcr(pc, pstate, 0)
    }

    fn with_hcr(pc: u64, pstate: u64, hcr: u64) -> Self {
        Self {
            x: [0; 31],
            pc,
            pstate,
            hcr,
            host_hcr: 0,
            host_sp: 0,
            vector: 0,
            esr: 0,
            far: 0,
            left_hcr: 0,
        }
    }

    /// Has a guest store to `count` addresses from `from` on, `stride` bytes apart.
    ///
    /// # Panics
    /// If it cannot.
    pub fn touch(from: u64, stride: u64, count: u64) {
        let mut world = Self::new(programs::touch(), mode::EL1H, hcr::GUEST);
        world.x[..3].copy_from_slice(&[from, stride, count]);
        world.run();
        assert!(
            world.class() == class::HVC && world.kind() == Kind::Synchronous,
            "the guest stores at {:#x}: ESR_EL2 {:#x}",
            world.far,
            world.esr
        );
    }

    /// Runs it until something comes to EL2.
    #[inline]
    pub fn run(&mut self) {
        // SAFETY: the world's code is the guest's own affair, and `el2_enter` keeps what the calling convention asks for.
        unsafe { el2_enter(self) };
    }

    /// Runs it until something comes to EL1, whose vectors are [`vectors_of_el1`].
    #[inline]
    pub fn run_at_el1(&mut self) {
        // SAFETY: as in `run`.
        unsafe { el1_enter(self) };
    }

    /// HCR_EL2 when it was left: VSE clears when the SError is taken.
    pub fn left_hcr(&self) -> u64 {
        self.left_hcr
    }

    /// The vector, 0 to 15.
    pub fn vector(&self) -> u64 {
        self.vector
    }

    /// What kind of exception it was left by.
    pub fn kind(&self) -> Kind {
        Kind::of(self.vector)
    }

    /// Class of a synchronous exception.
    pub fn class(&self) -> u64 {
        self.esr >> 26 & 0x3f
    }

    /// The low 25 bits of its syndrome.
    pub fn iss(&self) -> u64 {
        self.esr & 0x1ff_ffff
    }

    /// Passes over the instruction that was left at.
    pub fn skip(&mut self) {
        self.pc += 4;
    }
}
