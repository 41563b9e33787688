//! What of that which EL2 executes becomes an event.
//!
//! A table is known from when it is linked, or VTTBR_EL2 leads to it as a guest is entered: it is read then, and stores to
//! its pages are told from there on, whatever becomes of them. So what was there before anybody watched is no problem, and
//! all other stores cost a look at one byte. A store is told by what memory holds after it, if that is new.
//!
//! Barriers are told where their CPU has something that waits for one. All events have one order: that in which the
//! recorder was called.
//!
//! Callers are told with what changes tables or invalidates, or loads a root, and with what a CPU does after that until it
//! enters a guest or goes back to a user: what breaks a rule, or sets that up, is among these, and all else costs nothing.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use droste_arm64::{Vtcr, hcr};

use crate::decode::{self, Op, Order};
use crate::event::{Event, Kind};
use crate::machine::Machine;
use crate::stack::{Memory, Stacks};

const FRAME_SHIFT: u32 = 12;
const FRAME_WORDS: usize = 512;
/// Address bits of a descriptor. RAM has fewer than 48.
const ADDRESS: u64 = 0xffff_ffff_f000;

/// Who executes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// Nobody yet, or EL3.
    Firmware,
    /// EL2.
    El2,
    /// A user under EL2, or EL0 where stage 2 is off.
    HostUser,
    /// EL1 where stage 2 is off.
    HostKernel,
    /// EL1 and EL0 under stage 2.
    Guest,
}

impl Who {
    /// By PSTATE and HCR_EL2 (DDI 0487, C5.2 and D24.2: nRW with the mode below it; VM, TGE).
    pub const fn of(pstate: u64, hcr: u64) -> Self {
        let level = match (pstate >> 4 & 1, pstate & 15) {
            (0, mode) => mode >> 2,
            (_, 0) => 0,
            _ => 1,
        };
        let (is_under_stage2, is_host) = (hcr & hcr::VM != 0, hcr & hcr::TGE != 0);
        match level {
            3 => Self::Firmware,
            2 => Self::El2,
            0 if is_host || !is_under_stage2 => Self::HostUser,
            _ if is_under_stage2 => Self::Guest,
            _ => Self::HostKernel,
        }
    }

    /// Whether its stores and barriers can concern stage 2.
    pub const fn is_watched(self) -> bool {
        matches!(self, Self::El2 | Self::HostKernel)
    }
}

/// The registers with which a guest is entered.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Loaded {
    /// VTTBR_EL2.
    pub vttbr: u64,
    /// VTCR_EL2.
    pub vtcr: u64,
    /// HCR_EL2.
    pub hcr: u64,
    /// VMPIDR_EL2.
    pub vmpidr: u64,
}

/// A store that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Store {
    /// The instruction's address.
    pub pc: u64,
    /// Where, as EL2 has it.
    pub va: u64,
    /// Where in memory.
    pub pa: u64,
    /// How many bytes.
    pub bytes: u64,
    /// What it is ordered after.
    pub order: Order,
}

/// Pages of which stores are told, one byte each: whoever sees a store looks here first.
#[derive(Debug)]
pub struct Watched {
    base: u64,
    frames: Vec<AtomicBool>,
}

impl Watched {
    fn frame(&self, pa: u64) -> Option<usize> {
        let frame = (pa.checked_sub(self.base)? >> FRAME_SHIFT) as usize;
        (frame < self.frames.len()).then_some(frame)
    }

    /// Whether a store here is of interest.
    #[inline]
    pub fn has(&self, pa: u64) -> bool {
        self.frame(pa)
            .is_some_and(|frame| self.frames[frame].load(Relaxed))
    }
}

/// What the recorder keeps of a CPU.
#[derive(Clone, Copy, Default, Debug)]
struct Cpu {
    loaded: Loaded,
    /// Something waits for a DSB, for order, for an ISB.
    owes_dsb: bool,
    owes_order: bool,
    owes_isb: bool,
    /// Something was changed, invalidated or loaded that concerns it, since it was last in a guest or with a user.
    news: News,
    /// Where it was last told of, and who called there.
    pc: u64,
    stack: u32,
}

/// Whether a CPU knows all that was done.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum News {
    #[default]
    None,
    Some,
}

/// The shape of a stage-2 table, as far as finding tables needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shape {
    page_shift: u32,
    level: i8,
    bytes: u64,
}

/// What RAM holds at an address that is a multiple of 8.
pub type Ram<'a> = &'a dyn Fn(u64) -> Option<u64>;

/// What can be seen of the machine while a CPU does something.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    /// RAM.
    pub ram: Ram<'a>,
    /// X29 of that CPU.
    pub frame: &'a dyn Fn() -> u64,
    /// What that CPU finds at its virtual addresses.
    pub memory: Memory<'a>,
}

/// Writes events.
#[derive(Debug)]
pub struct Recorder<W> {
    out: W,
    failed: Option<io::Error>,
    watched: Arc<Watched>,
    cpus: Vec<Cpu>,
    /// Table memory as it was told, by frame.
    told: HashMap<usize, Box<[u64; FRAME_WORDS]>>,
    /// By frame, the granule and the level of the table in it.
    tables: HashMap<usize, Shape>,
    /// What is added to a physical address where EL2 last wrote a table: DC ZVA tells no physical address.
    linear: Option<u64>,
    stacks: Stacks,
}

impl<W: Write> Recorder<W> {
    /// A recorder that has written the head of its trace.
    pub fn new(machine: &Machine, mut out: W) -> Self {
        let failed = machine.put(&mut out).err();
        let frames = (machine.bytes >> FRAME_SHIFT) as usize;
        Self {
            out,
            failed,
            watched: Arc::new(Watched {
                base: machine.base,
                frames: (0..frames).map(|_| AtomicBool::new(false)).collect(),
            }),
            cpus: vec![Cpu::default(); machine.cpus],
            told: HashMap::new(),
            tables: HashMap::new(),
            linear: None,
            stacks: Stacks::default(),
        }
    }

    /// The pages of which stores are told.
    pub fn watched(&self) -> Arc<Watched> {
        Arc::clone(&self.watched)
    }

    /// A CPU has stored something in a watched page.
    pub fn store(&mut self, cpu: usize, store: &Store, sight: Sight<'_>) {
        self.linear = Some(store.va.wrapping_sub(store.pa));
        if store.order == Order::Release {
            self.order(cpu, store.pc, sight);
        }
        let from = store.pa & !7;
        for at in (from..store.pa.saturating_add(store.bytes)).step_by(8) {
            if let Some(value) = (sight.ram)(at) {
                self.word(Kind::Write, (cpu, store.pc), at, value, sight);
            }
        }
    }

    /// A CPU executes an instruction that is no store, with this value in its register.
    pub fn execute(&mut self, cpu: usize, pc: u64, word: u32, operand: u64, sight: Sight<'_>) {
        let Some(state) = self.cpus.get_mut(cpu) else {
            return;
        };
        let (kind, a, b) = match decode::op(word) {
            Op::Dsb(crm) if state.owes_dsb => {
                // Only what waits for all accesses in the whole domain leaves nothing.
                state.owes_dsb = crm & 3 != 3 || crm == 7;
                (Kind::Dsb, u64::from(crm), 0)
            }
            Op::Dmb(crm) if crm & 2 != 0 => {
                self.order(cpu, pc, sight);
                return;
            }
            Op::Isb if state.owes_isb => {
                state.owes_isb = false;
                (Kind::Isb, 0, 0)
            }
            Op::Tlbi => {
                const HOST: u64 = hcr::E2H | hcr::TGE;
                let is_host = state.loaded.hcr & HOST == HOST;
                if is_host && decode::is_stage1(word) || decode::tlbi(word, 0).is_none() {
                    return;
                }
                state.owes_dsb = true;
                (Kind::Tlbi, u64::from(word), operand)
            }
            Op::Vttbr => {
                state.loaded.vttbr = operand;
                state.owes_isb = true;
                (Kind::Vttbr, 0, operand)
            }
            Op::Vtcr => {
                state.loaded.vtcr = operand;
                state.owes_isb = true;
                (Kind::Vtcr, 0, operand)
            }
            Op::Hcr => {
                state.loaded.hcr = operand;
                (Kind::Hcr, 0, operand)
            }
            Op::DcZva => {
                self.zero(cpu, pc, operand, sight);
                return;
            }
            _ => return,
        };
        self.tell_with_callers(kind, (cpu, pc), a, b, sight);
    }

    /// Another executes on a CPU from here on. It is told with the place of the CPU's last event: a guest's own, or that of
    /// an exception vector, says nothing.
    pub fn change(&mut self, cpu: usize, (from, to): (Who, Who), loaded: Loaded, sight: Sight<'_>) {
        let Some(pc) = self.cpus.get(cpu).map(|cpu| cpu.pc) else {
            return;
        };
        let is_done = matches!(to, Who::Guest | Who::HostUser);
        if from == Who::Guest {
            self.tell(Kind::Exit, cpu, pc, 0, 0);
        }
        match to {
            Who::Guest => {
                self.load(cpu, pc, loaded);
                self.root(cpu, loaded, sight);
                self.tell(Kind::Enter, cpu, pc, loaded.vmpidr, 0);
            }
            Who::HostUser => self.tell(Kind::Done, cpu, pc, 0, 0),
            _ => {}
        }
        if is_done {
            self.cpus[cpu].news = News::None;
        }
    }

    /// The machine ends.
    ///
    /// # Errors
    /// If something could not be written.
    pub fn end(mut self) -> io::Result<()> {
        self.tell(Kind::End, 0, 0, 0, 0);
        match self.failed {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }

    fn order(&mut self, cpu: usize, pc: u64, sight: Sight<'_>) {
        let owes = self.cpus.get_mut(cpu);
        if owes.is_some_and(|cpu| core::mem::take(&mut cpu.owes_order)) {
            self.tell_with_callers(Kind::Order, (cpu, pc), 0, 0, sight);
        }
    }

    fn zero(&mut self, cpu: usize, pc: u64, va: u64, sight: Sight<'_>) {
        const BLOCK: u64 = 64;
        let Some(linear) = self.linear else {
            return;
        };
        let block = va & !(BLOCK - 1);
        let from = block.wrapping_sub(linear);
        // The page may be mapped elsewhere than the last: then what is there is something else.
        let is_there = self.watched.has(from)
            && (0..BLOCK).step_by(16).all(|offset| {
                let word = |at: u64| (sight.ram)(from.wrapping_add(offset + at));
                let found = (sight.memory)(block.wrapping_add(offset));
                found.is_some_and(|[low, high]| word(0) == Some(low) && word(8) == Some(high))
            });
        if is_there {
            for at in (from..from + BLOCK).step_by(8) {
                self.word(Kind::Write, (cpu, pc), at, 0, sight);
            }
        }
    }

    /// A word may have changed. Whoever links a table makes it known.
    fn word(&mut self, kind: Kind, (cpu, pc): (usize, u64), at: u64, value: u64, sight: Sight<'_>) {
        let Some(frame) = self.watched.frame(at) else {
            return;
        };
        let index = at as usize / 8 % FRAME_WORDS;
        let old = self.told.get(&frame).map_or(0, |page| page[index]);
        if old == value || cpu >= self.cpus.len() {
            return;
        }
        if let Some(shape) = self.tables.get(&frame).copied() {
            self.follow(cpu, value, shape, sight);
        }
        let page = self.told.entry(frame);
        page.or_insert_with(|| Box::new([0; FRAME_WORDS]))[index] = value;
        if kind == Kind::Write {
            let cpu = &mut self.cpus[cpu];
            (cpu.owes_dsb, cpu.owes_order) = (true, true);
        }
        self.tell_with_callers(kind, (cpu, pc), at, value, sight);
    }

    /// If a descriptor of a table is one of another table, that one is, or is about to be, reachable.
    fn follow(&mut self, cpu: usize, value: u64, shape: Shape, sight: Sight<'_>) {
        if shape.level < 3 && value & 3 == 3 {
            let bytes = 1 << shape.page_shift;
            let below = Shape {
                level: shape.level + 1,
                bytes,
                ..shape
            };
            self.scan(cpu, value & ADDRESS & !(bytes - 1), below, sight);
        }
    }

    fn scan(&mut self, cpu: usize, table: u64, shape: Shape, sight: Sight<'_>) {
        for at in (table..table.saturating_add(shape.bytes)).step_by(8) {
            let Some(frame) = self.watched.frame(at) else {
                return;
            };
            if at == table || at.trailing_zeros() >= FRAME_SHIFT {
                self.watched.frames[frame].store(true, Relaxed);
                self.tables.insert(frame, shape);
            }
            let Some(value) = (sight.ram)(at) else {
                return;
            };
            let known = self.told.get(&frame);
            if known.map_or(0, |page| page[at as usize / 8 % FRAME_WORDS]) == value {
                // It is known, and so is what is below it, unless the page was a table of another level.
                self.follow_if_new(cpu, value, shape, sight);
            } else {
                self.word(Kind::Learn, (cpu, 0), at, value, sight);
            }
        }
    }

    fn follow_if_new(&mut self, cpu: usize, value: u64, shape: Shape, sight: Sight<'_>) {
        let below = (value & 3 == 3).then(|| self.watched.frame(value & ADDRESS));
        let known = below.flatten().and_then(|frame| self.tables.get(&frame));
        let is_known = known.is_some_and(|known| {
            known.level == shape.level + 1 && known.page_shift == shape.page_shift
        });
        if !is_known {
            self.follow(cpu, value, shape, sight);
        }
    }

    /// The registers as they are, whoever has written them.
    fn load(&mut self, cpu: usize, pc: u64, now: Loaded) {
        let was = core::mem::replace(&mut self.cpus[cpu].loaded, now);
        let registers = [
            (Kind::Vtcr, was.vtcr, now.vtcr),
            (Kind::Vttbr, was.vttbr, now.vttbr),
            (Kind::Hcr, was.hcr, now.hcr),
        ];
        for (kind, was, now) in registers {
            if was != now {
                self.tell(kind, cpu, pc, 0, now);
            }
        }
    }

    /// The tables of a root that a guest is about to use are known.
    fn root(&mut self, cpu: usize, loaded: Loaded, sight: Sight<'_>) {
        let Some(shape) = Shape::of(loaded.vtcr) else {
            return;
        };
        let root = loaded.vttbr & 0xffff_ffff_fffe;
        let frame = self.watched.frame(root);
        if frame.is_some_and(|frame| self.tables.get(&frame) != Some(&shape)) {
            self.scan(cpu, root, shape, sight);
        }
    }

    /// Tells what a CPU did at a place, and if it matters who called there.
    fn tell_with_callers(
        &mut self,
        kind: Kind,
        (cpu, pc): (usize, u64),
        a: u64,
        b: u64,
        sight: Sight<'_>,
    ) {
        let news = match kind {
            Kind::Write | Kind::Tlbi => self.cpus.get_mut(..),
            // Here another vCPU is loaded.
            Kind::Vttbr => self.cpus.get_mut(cpu..=cpu),
            _ => None,
        };
        for cpu in news.unwrap_or_default() {
            cpu.news = News::Some;
        }
        let is_news = self.cpus.get(cpu).map(|cpu| cpu.news) == Some(News::Some);
        let stack = if is_news && pc != 0 {
            self.stack(sight)
        } else {
            0
        };
        self.put(Event {
            kind,
            cpu: cpu as u8,
            stack,
            pc,
            a,
            b,
        });
    }

    /// The number of those who called the code that runs.
    fn stack(&mut self, sight: Sight<'_>) -> u32 {
        let callers = self.stacks.callers((sight.frame)(), sight.memory);
        let (number, new) = self.stacks.number(&callers);
        for (above, place) in new {
            self.put(Event {
                kind: Kind::Frame,
                cpu: 0,
                stack: 0,
                pc: 0,
                a: u64::from(above),
                b: place,
            });
        }
        number
    }

    /// Tells what a CPU did where it was last told of.
    fn tell(&mut self, kind: Kind, cpu: usize, pc: u64, a: u64, b: u64) {
        let stack = self.cpus.get(cpu).map_or(0, |cpu| cpu.stack);
        self.put(Event {
            kind,
            cpu: cpu as u8,
            stack: if pc == 0 { 0 } else { stack },
            pc,
            a,
            b,
        });
    }

    fn put(&mut self, event: Event) {
        if event.pc != 0
            && let Some(cpu) = self.cpus.get_mut(usize::from(event.cpu))
        {
            (cpu.pc, cpu.stack) = (event.pc, event.stack);
        }
        if self.failed.is_none() {
            self.failed = event.put(&mut self.out).err();
        }
    }
}

impl Shape {
    /// The root's (DDI 0487, D24.2 "VTCR_EL2": T0SZ, SL0, TG0, DS, SL2).
    fn of(vtcr: u64) -> Option<Self> {
        let vtcr = Vtcr(vtcr);
        let page_shift = vtcr.granule()?.page_shift();
        let level = vtcr.start()?.number();
        let shift = page_shift + (page_shift - 3) * u32::from((3 - level).unsigned_abs());
        let bits = vtcr.input_bits();
        (bits > shift && bits <= shift + page_shift + 1).then(|| Self {
            page_shift,
            level,
            bytes: 8 << (bits - shift),
        })
    }
}

#[cfg(test)]
mod tests;
