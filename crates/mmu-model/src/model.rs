//! The machine: its state, and the verbs of memory, registers and page ownership.

use droste_arm64::Pa;
use droste_arm64::barrier::Dsb;

use crate::config::{Config, CpuSet, MAX_CPUS, Recording, Speculation};
use crate::cpu::{CpuState, Order, Pending};
use crate::memory::{Memory, Ownership};
use crate::outcome::Outcome;
use crate::regime::{effective, is_ds, vmid};
use crate::stage1::Spaces;
use crate::tag::Tag;
use crate::trace::{Trace, Verb};
use crate::tree::Tree;
use crate::violation::{Entry, Misuse, Rule, Violation};

/// Whose step it is: EL2 makes it, or the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By {
    El2,
    Guest,
}

/// No tag has been made for a VMID.
const NO_TAG: u32 = u32::MAX;

/// A machine whose TLBs hold everything that they are permitted to hold. See the [crate](crate) for the idea.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) config: Config,
    pub(crate) memory: Memory,
    pub(crate) trees: Vec<Tree>,
    pub(crate) tags: Vec<Tag>,
    /// By VMID, the number of its tag.
    tag_of: Vec<u32>,
    pub(crate) cpus: Vec<CpuState>,
    pub(crate) spaces: Spaces,
    pub(crate) step: u64,
    pub(crate) violation: Option<Box<Violation>>,
    /// The tree of which a descriptor is being changed, and that of the violation.
    pub(crate) changing: Option<usize>,
    pub(crate) blamed: Option<usize>,
    pub(crate) trace: Trace,
    /// Room for the outcomes of an access.
    pub(crate) scratch: Vec<Outcome>,
}

/// A descriptor that has changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) cpu: usize,
    pub(crate) word: usize,
    pub(crate) old: u64,
    pub(crate) new: u64,
    /// The step that had written `old`.
    pub(crate) made: u64,
    /// CPUs whose walks may still see `old`.
    pub(crate) visible: CpuSet,
}

impl Model {
    /// A machine with zeros in memory, empty TLBs, and all CPUs at EL2.
    ///
    /// # Panics
    /// Unless there are 1 to [`MAX_CPUS`] CPUs, the base is a multiple of 4 KiB, and the memory fits the host's.
    pub fn new(config: Config) -> Self {
        assert!(
            (1..=MAX_CPUS).contains(&config.cpus),
            "a model has 1 to 32 CPUs"
        );
        assert!(
            config.base.is_aligned(4096),
            "table memory begins on a multiple of 4 KiB"
        );
        let pages = usize::try_from(config.pages).expect("table memory fits the host's");
        Self {
            config,
            memory: Memory::new(config.base.0, pages),
            trees: Vec::new(),
            tags: Vec::new(),
            tag_of: vec![NO_TAG; 1 << 16],
            cpus: vec![CpuState::default(); config.cpus],
            spaces: Spaces::default(),
            step: 0,
            violation: None,
            changing: None,
            blamed: None,
            trace: Trace::new(config),
            scratch: Vec::new(),
        }
    }

    /// The machine's configuration.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The first rule that was broken. Later steps do nothing and report nothing.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_deref()
    }

    /// The number of operations so far. The operation after `n` of them is step `n` + 1.
    pub const fn steps(&self) -> u64 {
        self.step
    }

    /// The operations so far, with [`Recording::On`].
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// A verb begins. False where it cannot be: the CPU does not exist, or is elsewhere.
    #[inline]
    pub(crate) fn begin(&mut self, cpu: usize, by: By, verb: Verb) -> bool {
        self.count(verb);
        let misuse = match self.cpus.get(cpu) {
            None => Misuse::NoSuchCpu,
            Some(state) => match (by, state.guest) {
                (By::El2, Some(_)) => Misuse::InGuest,
                (By::Guest, None) => Misuse::AtEl2,
                _ => return true,
            },
        };
        self.report(cpu, Rule::Misuse(misuse), None, None, None);
        false
    }

    #[inline]
    pub(crate) fn count(&mut self, verb: Verb) {
        self.step += 1;
        if self.config.recording == Recording::On {
            self.trace.push(verb);
        }
    }

    /// Notes that a rule was broken at this step, unless one was before.
    #[cold]
    pub(crate) fn report(
        &mut self,
        cpu: usize,
        rule: Rule,
        earlier: Option<u64>,
        vmid: Option<u16>,
        entry: Option<Entry>,
    ) {
        if self.violation.is_none() {
            let step = self.step;
            self.blamed = self.changing;
            self.violation = Some(Box::new(Violation {
                rule,
                step,
                earlier,
                cpu,
                vmid,
                entry,
            }));
        }
    }

    /// Reads a descriptor; 0 outside the memory for tables.
    pub fn read(&mut self, cpu: usize, at: Pa) -> u64 {
        if !self.begin(cpu, By::El2, Verb::Read { cpu, at }) {
            return 0;
        }
        self.word(cpu, at).map_or(0, |word| self.memory.get(word))
    }

    /// Writes a descriptor. Walks need not see it before this CPU's next DSB.
    pub fn write(&mut self, cpu: usize, at: Pa, value: u64) {
        if !self.begin(cpu, By::El2, Verb::Write { cpu, at, value }) {
            return;
        }
        if let Some(word) = self.word(cpu, at) {
            self.store(cpu, word, value);
        }
    }

    /// Replaces a descriptor that holds `expected`.
    ///
    /// # Errors
    /// The value that it holds instead; nothing is written then.
    pub fn compare_exchange(
        &mut self,
        cpu: usize,
        at: Pa,
        expected: u64,
        new: u64,
    ) -> Result<(), u64> {
        if !self.begin(
            cpu,
            By::El2,
            Verb::CompareExchange {
                cpu,
                at,
                expected,
                new,
            },
        ) {
            return Err(!expected);
        }
        let Some(word) = self.word(cpu, at) else {
            return Err(!expected);
        };
        let found = self.memory.get(word);
        if found != expected {
            return Err(found);
        }
        self.store(cpu, word, new);
        Ok(())
    }

    /// Writes zero over `bytes` from `from` on, both multiples of 8.
    pub fn zero(&mut self, cpu: usize, from: Pa, bytes: u64) {
        if !self.begin(cpu, By::El2, Verb::Zero { cpu, from, bytes }) {
            return;
        }
        let Some(first) = self.memory.table(from.0, bytes) else {
            self.report(cpu, Rule::Misuse(Misuse::Address), None, None, None);
            return;
        };
        for word in first..first + (bytes / 8) as usize {
            self.store(cpu, word, 0);
        }
    }

    fn word(&mut self, cpu: usize, at: Pa) -> Option<usize> {
        let word = self.memory.word(at.0);
        if word.is_none() {
            self.report(cpu, Rule::Misuse(Misuse::Address), None, None, None);
        }
        word
    }

    #[inline]
    fn store(&mut self, cpu: usize, word: usize, new: u64) {
        let old = self.memory.get(word);
        if old == new {
            return;
        }
        let made = self.memory.since(word);
        self.memory.set(word, new, self.step);
        let step = self.step;
        self.cpus[cpu].pending.push(Pending {
            word,
            old,
            step,
            order: Order::None,
        });
        let frame = self.memory.frame_mut(word);
        frame.pending += 1;
        if frame.is_watched() {
            let visible = self.config.all_cpus();
            self.changed(Change {
                cpu,
                word,
                old,
                new,
                made,
                visible,
            });
        }
    }

    /// A write by hardware: walks see it at once.
    pub(crate) fn store_by_hardware(&mut self, cpu: usize, word: usize, new: u64) {
        let old = self.memory.get(word);
        let made = self.memory.since(word);
        self.memory.set(word, new, self.step);
        self.changed(Change {
            cpu,
            word,
            old,
            new,
            made,
            visible: 0,
        });
    }

    /// Executes a DSB.
    pub fn dsb(&mut self, cpu: usize, domain: Dsb) {
        if self.begin(cpu, By::El2, Verb::Dsb { cpu, domain }) {
            self.barrier(cpu, domain);
        }
    }

    /// Executes an ISB: from here on, TLB invalidations use VTTBR_EL2 and VTCR_EL2 as written.
    pub fn isb(&mut self, cpu: usize) {
        if self.begin(cpu, By::El2, Verb::Isb { cpu }) {
            self.cpus[cpu].is_unsynchronized = false;
        }
    }

    /// VTTBR_EL2 of a CPU.
    pub fn vttbr(&self, cpu: usize) -> u64 {
        self.cpus.get(cpu).map_or(0, |cpu| cpu.vttbr)
    }

    /// VTCR_EL2 of a CPU. Bits that it ignores are 0.
    pub fn vtcr(&self, cpu: usize) -> u64 {
        self.cpus.get(cpu).map_or(0, |cpu| cpu.vtcr)
    }

    /// Writes VTTBR_EL2.
    pub fn set_vttbr(&mut self, cpu: usize, value: u64) {
        if self.begin(cpu, By::El2, Verb::SetVttbr { cpu, value }) {
            let vtcr = self.cpus[cpu].vtcr;
            self.load(cpu, vtcr, value);
        }
    }

    /// Writes VTCR_EL2.
    pub fn set_vtcr(&mut self, cpu: usize, value: u64) {
        if self.begin(cpu, By::El2, Verb::SetVtcr { cpu, value }) {
            let vttbr = self.cpus[cpu].vttbr;
            let vtcr = effective(value, self.config.features);
            self.load(cpu, vtcr, vttbr);
        }
    }

    /// Writes HCR_EL2. FB, BSU, E2H and TGE have an effect; stage 2 is on in every guest.
    pub fn set_hcr(&mut self, cpu: usize, value: u64) {
        if self.begin(cpu, By::El2, Verb::SetHcr { cpu, value }) {
            self.cpus[cpu].hcr = value;
        }
    }

    fn load(&mut self, cpu: usize, vtcr: u64, vttbr: u64) {
        let state = &mut self.cpus[cpu];
        state.is_unsynchronized |=
            vmid(state.vttbr, state.vtcr) != vmid(vttbr, vtcr) || is_ds(state.vtcr) != is_ds(vtcr);
        (state.vtcr, state.vttbr) = (vtcr, vttbr);
        if self.config.speculation == Speculation::AlsoAtEl2 {
            self.vacate(cpu);
            // A pair that means nothing is not walked with; it is judged where a guest is entered.
            if let Ok(context) = self.loaded_context(cpu) {
                self.occupy(cpu, context);
            }
        }
    }

    /// A page supply gives a page out for tables.
    pub fn claim(&mut self, page: Pa, bytes: u64) {
        self.count(Verb::Claim { page, bytes });
        self.check_unreachable(page, bytes);
        self.own(page, bytes, Ownership::Claimed);
    }

    /// A page supply has taken a page back. No walk may reach it any more.
    pub fn release(&mut self, page: Pa, bytes: u64) {
        self.count(Verb::Release { page, bytes });
        self.check_unreachable(page, bytes);
        self.own(page, bytes, Ownership::Released);
    }

    fn own(&mut self, page: Pa, bytes: u64, ownership: Ownership) {
        for frame in self.memory.frames_of(page.0, bytes) {
            self.memory.frames[frame].ownership = ownership;
        }
    }

    /// The number of a VMID's tag.
    pub(crate) fn tag(&self, vmid: u16) -> Option<usize> {
        let tag = self.tag_of[usize::from(vmid)];
        (tag != NO_TAG).then_some(tag as usize)
    }

    /// The number of a VMID's tag, made now if there was none.
    pub(crate) fn tag_or_new(&mut self, vmid: u16) -> usize {
        if let Some(tag) = self.tag(vmid) {
            return tag;
        }
        self.tags.push(Tag::new(vmid));
        self.tag_of[usize::from(vmid)] = self.tags.len() as u32 - 1;
        self.tags.len() - 1
    }

    /// The set of one CPU.
    pub(crate) const fn only(cpu: usize) -> CpuSet {
        1 << cpu
    }
}
