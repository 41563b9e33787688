//! Reading and writing a register of virtual EL2 wherever it is.

use droste_arm64::sysreg::{CNTP_CTL_EL0, CNTV_CTL_EL0, SysReg};
use droste_arm64::vncr::{RegisterPage, Slot};

use super::guest::{GUEST_COUNT, GUEST_REGISTERS};
use super::rules::RULES;
use super::rules::{RULE_COUNT, find, page_slot};
use super::{Affects, GuestRegister, Home, Layout, Reset, VirtualEl2, rules};

/// The moves between virtual EL2's registers and L1's EL1's, unrolled over both tables at compile time: at run time
/// each is a register access and a load or store, and no table is looked at.
macro_rules! unrolled {
    (park, $view:ident, $kind:ident) => {{
        each_rule!(park_rule, $view, $kind);
        $view.turn_timers_off();
        each_guest!(load_guest, $view);
        each_rule!(load_guest_rule, $view, $kind);
    }};
    (load, $view:ident, $kind:ident) => {{
        each_guest!(park_guest, $view);
        each_rule!(park_guest_rule, $view, $kind);
        $view.turn_timers_off();
        each_rule!(load_rule, $view, $kind);
    }};
}
macro_rules! each_rule {
    ($move:ident, $view:ident, $kind:ident) => {
        each_rule!($move, $view, $kind:
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38
            39 40)
    };
    ($move:ident, $view:ident, $kind:ident: $($n:literal)*) => {{
        const { assert!([$($n),*].len() == RULE_COUNT, "every rule has its number here") };
        $($view.$move($n, const { &RULES[$n].$kind });)*
    }};
}
macro_rules! each_guest {
    ($move:ident, $view:ident) => {
        each_guest!($move, $view: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19)
    };
    ($move:ident, $view:ident: $($n:literal)*) => {{
        const { assert!([$($n),*].len() == GUEST_COUNT, "every register has its number here") };
        $($view.$move(const { GUEST_REGISTERS[$n] });)*
    }};
}

/// Whose registers are in the hardware's EL1 registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loaded {
    /// Virtual EL2's: virtual EL2 runs, or EL0 in its translation regime (E2H and TGE both 1).
    El2,
    /// Those of L1's EL1.
    El1,
}

/// The hardware's EL1 and EL0 registers, while a vCPU is loaded; its saved copy of them otherwise.
///
/// Only registers that a [`Home`] or [`guest_registers`](super::guest_registers) names are asked for.
pub trait Twins {
    /// The value of `register`.
    fn get(&self, register: SysReg) -> u64;
    /// Makes `value` the value of `register`.
    fn set(&mut self, register: SysReg, value: u64);
}

/// The registers of one vCPU's EL2 that are neither in its page nor in the hardware.
#[derive(Clone, Debug)]
pub struct File([u64; RULE_COUNT]);

/// A register of virtual EL2 that was looked up in the table before, for registers that are read at each exit.
///
/// ```
/// use droste_arm64::sysreg::HCR_EL2;
/// use droste_nested::registers::Known;
/// const HCR: Known = Known::new(HCR_EL2);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    register: SysReg,
    /// The number of its rule.
    rule: u8,
    /// Its place in the page, if it has one there.
    slot: Option<Slot>,
}

impl Known {
    /// The register.
    pub const fn register(self) -> SysReg {
        self.register
    }

    /// Looks `register` up, at compile time where it is a constant.
    ///
    /// # Panics
    /// If virtual EL2 has no such register.
    pub const fn new(register: SysReg) -> Self {
        match Self::find(register) {
            Some(known) => known,
            None => panic!("no register of virtual EL2"),
        }
    }

    const fn find(register: SysReg) -> Option<Self> {
        match find(register) {
            Some(n) => Some(Self {
                register,
                rule: n as u8,
                slot: page_slot(register),
            }),
            None => None,
        }
    }
}

/// One vCPU's EL2.
///
/// ```
/// # use std::collections::HashMap;
/// use core::sync::atomic::AtomicU64;
/// use droste_arm64::sysreg::{SCTLR_EL1, SCTLR_EL2, SysReg};
/// use droste_arm64::vncr::{RegisterPage, SLOTS};
/// use droste_nested::registers::{File, Loaded, Twins, View, VirtualEl2};
///
/// #[derive(Default)]
/// struct Hardware(HashMap<SysReg, u64>);
/// impl Twins for Hardware {
///     fn get(&self, register: SysReg) -> u64 { self.0.get(&register).copied().unwrap_or(0) }
///     fn set(&mut self, register: SysReg, value: u64) { self.0.insert(register, value); }
/// }
///
/// let memory = [const { AtomicU64::new(0) }; SLOTS];
/// let page = RegisterPage::new(&memory);
/// let mut file = File::reset(VirtualEl2::Vhe, page, 0x410f_d0f0, 0x8000_0000);
/// let mut twins = Hardware::default();
/// let (el2, loaded) = (VirtualEl2::Vhe, Loaded::El1);
/// let mut view = View { el2, loaded, page, file: &mut file, twins: &mut twins };
/// view.load();
/// view.write(SCTLR_EL2, 0x30d0_0801);
/// assert_eq!(view.twins.get(SCTLR_EL1), 0x30d0_0801);
/// view.park(); // L1's EL1 is about to run
/// assert_eq!(view.twins.get(SCTLR_EL1), 0);
/// assert_eq!(view.read(SCTLR_EL2), Some(0x30d0_0801));
/// ```
pub struct View<'a, T> {
    /// Which EL2 its machine has.
    pub el2: VirtualEl2,
    /// Whose registers are in `twins`.
    pub loaded: Loaded,
    /// Its register page.
    pub page: RegisterPage<'a>,
    /// The rest of its EL2.
    pub file: &'a mut File,
    /// The hardware.
    pub twins: &'a mut T,
}

impl File {
    /// The file of an EL2 that comes out of reset. It also resets `page`. `main_id` and `affinity` are what a vCPU
    /// without EL2 reads as MIDR_EL1 and MPIDR_EL1.
    pub fn reset(el2: VirtualEl2, page: RegisterPage<'_>, main_id: u64, affinity: u64) -> Self {
        let mut file = [0; RULE_COUNT];
        for (rule, place) in rules().iter().zip(&mut file) {
            let layout = rule.layout(el2);
            let value = layout.keep(match rule.reset {
                Reset::Value(value) => value,
                Reset::Midr => main_id,
                Reset::Mpidr => affinity,
            });
            if layout.home != Home::Page {
                *place = value;
            }
            let slots = (0..rule.count).filter_map(|n| page_slot(nth(rule.register, n)));
            if layout.home == Home::Page {
                slots.for_each(|slot| page.write(slot, value));
            }
        }
        Self(file)
    }
}

/// The register `n` behind `first` by CRm and op2.
fn nth(first: SysReg, n: u8) -> SysReg {
    let position = first.crm() << 3 | first.op2();
    let position = position.wrapping_add(n);
    SysReg::new(
        first.op0(),
        first.op1(),
        first.crn(),
        position >> 3,
        position,
    )
}

impl<T: Twins> View<'_, T> {
    /// The register's value as an MRS at virtual EL2 gives it. `None` if this EL2 has no such register, or its value is
    /// computed at each read.
    pub fn read(&self, register: SysReg) -> Option<u64> {
        self.read_known(Known::find(register)?)
    }

    /// As [`read`](Self::read), for a register that was looked up before; 0 if this EL2 has no such register. For a
    /// constant register, a few instructions are left.
    #[expect(
        clippy::inline_always,
        reason = "left to the compiler it is a call, and a trap costs a quarter more"
    )]
    #[inline(always)]
    pub fn get(&self, register: Known) -> u64 {
        self.read_known(register).unwrap_or(0)
    }

    #[expect(
        clippy::inline_always,
        reason = "left to the compiler it is a call, and a trap costs a quarter more"
    )]
    #[inline(always)]
    fn read_known(&self, Known { rule, slot, .. }: Known) -> Option<u64> {
        let n = usize::from(rule);
        let layout = rules()[n].layout(self.el2);
        let parked = self.file.0[n];
        let value = match layout.home {
            Home::Absent => return None,
            Home::Page => self.page.read(slot?),
            Home::File => parked,
            Home::Twin(twin) => match self.loaded {
                // What the hardware has, ISTATUS of a timer and the like included.
                Loaded::El2 => return Some(self.twins.get(twin)),
                Loaded::El1 => parked,
            },
            Home::Split { twin, mask } => match self.loaded {
                Loaded::El2 => self.twins.get(twin) & mask | parked & !mask,
                Loaded::El1 => parked,
            },
            Home::Guest(twin) => match self.loaded {
                Loaded::El2 => parked,
                Loaded::El1 => self.twins.get(twin),
            },
        };
        Some(layout.keep(value))
    }

    /// Writes the register as an MSR at virtual EL2 does, and returns what depends on it. Where [`read`](Self::read)
    /// gives `None`, so does this, and nothing is written.
    pub fn write(&mut self, register: SysReg, value: u64) -> Option<&'static [Affects]> {
        self.set(Known::find(register)?, value)
    }

    /// As [`write`](Self::write), for a register that was looked up before.
    #[expect(
        clippy::inline_always,
        reason = "left to the compiler it is a call, and an abort of a guest's pays for it"
    )]
    #[inline(always)]
    pub fn set(
        &mut self,
        Known { rule: n, slot, .. }: Known,
        value: u64,
    ) -> Option<&'static [Affects]> {
        let n = usize::from(n);
        let rule = &rules()[n];
        let layout = rule.layout(self.el2);
        let value = layout.keep(value);
        let parked = &mut self.file.0[n];
        match (layout.home, self.loaded) {
            (Home::Absent, _) => return None,
            (Home::Page, _) => self.page.write(slot?, value),
            (Home::Twin(twin), Loaded::El2) | (Home::Guest(twin), Loaded::El1) => {
                self.twins.set(twin, value);
            }
            (Home::Split { twin, mask }, Loaded::El2) => {
                *parked = value;
                self.twins.set(twin, value & mask);
            }
            (Home::File, _)
            | (Home::Guest(_), Loaded::El2)
            | (Home::Twin(_) | Home::Split { .. }, Loaded::El1) => *parked = value,
        }
        Some(rule.affects)
    }

    /// Replaces EL2's registers in the hardware by those of L1's EL1: EL2's go to the file, and EL1's come from the
    /// page and the file. Does nothing if that is done already.
    #[inline]
    pub fn park(&mut self) {
        if self.loaded == Loaded::El1 {
            return;
        }
        match self.el2 {
            VirtualEl2::Vhe => unrolled!(park, self, vhe),
            VirtualEl2::Nvhe => unrolled!(park, self, nvhe),
        }
        self.loaded = Loaded::El1;
    }

    /// Replaces the registers of L1's EL1 in the hardware by EL2's; the reverse of [`park`](Self::park). With E2H = 0,
    /// what [`host_stage1`](super::host_stage1) gives is to be loaded as well.
    #[inline]
    pub fn load(&mut self) {
        if self.loaded == Loaded::El2 {
            return;
        }
        match self.el2 {
            VirtualEl2::Vhe => unrolled!(load, self, vhe),
            VirtualEl2::Nvhe => unrolled!(load, self, nvhe),
        }
        self.loaded = Loaded::El2;
    }

    /// No timer runs while its registers belong to two: a control that is on, with the compare value of the other,
    /// could fire.
    #[inline]
    fn turn_timers_off(&mut self) {
        for control in [CNTP_CTL_EL0, CNTV_CTL_EL0] {
            self.twins.set(control, 0);
        }
    }

    /// Takes one of EL2's registers out of the hardware. A layout that is a constant leaves one move.
    #[expect(
        clippy::inline_always,
        reason = "left to the compiler it is a call, and a trap costs a quarter more"
    )]
    #[inline(always)]
    fn park_rule(&mut self, n: usize, layout: &Layout) {
        match layout.home {
            Home::Twin(twin) => self.file.0[n] = layout.keep(self.twins.get(twin)),
            Home::Split { twin, mask } => {
                self.file.0[n] = self.twins.get(twin) & mask | self.file.0[n] & !mask;
            }
            Home::Guest(_) | Home::Page | Home::File | Home::Absent => {}
        }
    }

    /// Puts one of EL2's registers into the hardware.
    #[expect(
        clippy::inline_always,
        reason = "left to the compiler it is a call, and a trap costs a quarter more"
    )]
    #[inline(always)]
    fn load_rule(&mut self, n: usize, layout: &Layout) {
        match layout.home {
            Home::Twin(twin) => self.twins.set(twin, self.file.0[n]),
            Home::Split { twin, mask } => self.twins.set(twin, self.file.0[n] & mask),
            Home::Guest(_) | Home::Page | Home::File | Home::Absent => {}
        }
    }

    /// Puts a register of L1's EL1 that the page has no place for into the hardware.
    #[expect(
        clippy::inline_always,
        reason = "left to the compiler it is a call, and a trap costs a quarter more"
    )]
    #[inline(always)]
    fn load_guest_rule(&mut self, n: usize, layout: &Layout) {
        if let Home::Guest(twin) = layout.home {
            self.twins.set(twin, self.file.0[n]);
        }
    }

    /// Takes such a register out of the hardware.
    #[expect(
        clippy::inline_always,
        reason = "left to the compiler it is a call, and a trap costs a quarter more"
    )]
    #[inline(always)]
    fn park_guest_rule(&mut self, n: usize, layout: &Layout) {
        if let Home::Guest(twin) = layout.home {
            self.file.0[n] = self.twins.get(twin);
        }
    }

    /// Puts a register of L1's EL1 from the page into the hardware.
    #[expect(
        clippy::inline_always,
        reason = "left to the compiler it is a call, and a trap costs a quarter more"
    )]
    #[inline(always)]
    fn load_guest(&mut self, guest: GuestRegister) {
        self.twins.set(guest.register, self.page.read(guest.slot));
    }

    /// Takes a register of L1's EL1 out of the hardware into the page.
    #[expect(
        clippy::inline_always,
        reason = "left to the compiler it is a call, and a trap costs a quarter more"
    )]
    #[inline(always)]
    fn park_guest(&mut self, guest: GuestRegister) {
        self.page.write(guest.slot, self.twins.get(guest.register));
    }
}

/// What a timer value register reads where the compare value is `compare` and its counter `count`: the ticks left, 32
/// bits, as two's complement (DDI 0487, D12.2.4).
///
/// ```
/// use droste_nested::registers::{timer_compare, timer_value};
/// assert_eq!(timer_value(1000, 1001), 0xffff_ffff);
/// assert_eq!(timer_compare(0xffff_ffff, 1001), 1000);
/// ```
pub const fn timer_value(compare: u64, count: u64) -> u64 {
    compare.wrapping_sub(count) & 0xffff_ffff
}

/// The compare value after `value` is written to the timer value register while the counter is `count`: `count` plus
/// the low 32 bits of `value`, sign-extended.
pub const fn timer_compare(value: u64, count: u64) -> u64 {
    let ticks = (value as u32).cast_signed() as i64;
    count.wrapping_add_signed(ticks)
}
