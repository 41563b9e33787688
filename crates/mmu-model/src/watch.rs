//! Judges code that runs elsewhere, by its recorded operations.
//!
//! A [`Model`] has a driver that knows what it does and stops at the first violation. A watched hypervisor has no
//! driver: its tables existed before, their pages change owners unannounced, and nobody says what an access may do. So
//! a watch continues after a violation, reports each kind once with a count, and judges by two rules:
//! - *A translation must not outlive its descriptor.* Whoever changes a descriptor may be slow to invalidate, but not beyond
//!   its return to a guest or to a host's user ([`done`](Watch::done)). What CPUs in guests may use then, and memory does
//!   not give, is stale.
//! - *Tables that nobody uses need no care.* What is broken in a tree while no CPU is inside is held, and told when a
//!   CPU enters that root under that VMID while a TLB may still hold something of it. So a hypervisor can take down the
//!   tables of a guest that has ended as it likes.

use std::collections::{BTreeMap, VecDeque};

use droste_arm64::Pa;
use droste_arm64::barrier::Dsb;

use crate::config::{Config, Recording};
use crate::cpu::Vcpu;
use crate::model::Model;
use crate::snapshot::Row;
use crate::tlbi::{Form, Tlbi};
use crate::violation::{Misuse, Rule, Violation};

/// Writes of which it is remembered where they were made.
const REMEMBERED: usize = 1 << 20;

/// A kind of violation that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The unique number of the first violation of its kind.
    pub number: u64,
    /// That first violation.
    pub violation: Violation,
    /// Where in the watched code it was broken.
    pub site: u64,
    /// Where it was set up, if by a write that is remembered.
    pub earlier_site: Option<u64>,
    /// How many there were of its kind: the same rule, set up, or else broken, at the same place of the code.
    pub count: u64,
}

impl Finding {
    fn kind(&self) -> (Rule, u64) {
        (self.violation.rule, self.earlier_site.unwrap_or(self.site))
    }
}

/// A model that watches. Verbs are those of [`Model`], in the order in which they were seen.
///
/// ```
/// use droste_arm64::{Pa, barrier::Dsb};
/// use droste_mmu_model::*;
///
/// let mut watch = Watch::new(Config::new(Pa(0x4000_0000), 16));
/// // A root with one block, which existed before.
/// watch.learn(0, Pa(0x4000_0000), 0x4000_1003);
/// watch.learn(0, Pa(0x4000_1000), 0x8000_07fd);
/// watch.set_vtcr(1, 1 << 31 | 5 << 16 | 1 << 6 | 0x19);
/// watch.set_vttbr(1, 1 << 48 | 0x4000_0000);
/// watch.enter(1, Vcpu::new(0));
/// // CPU 0 unmaps it, at 0x1234 in its code, invalidates nothing, and goes back to its user.
/// watch.at(0x1234);
/// watch.write(0, Pa(0x4000_1000), 0);
/// watch.dsb(0, Dsb::Ishst);
/// watch.done(0);
/// let finding = watch.findings().next().expect("the block can still be used");
/// assert_eq!(finding.violation.rule, Rule::StaleTranslation(Missing::Tlbi));
/// assert_eq!((finding.earlier_site, finding.count), (Some(0x1234), 1));
/// ```
#[derive(Clone, Debug)]
pub struct Watch {
    model: Model,
    site: u64,
    /// Steps that wrote, where, and on which CPU.
    sites: VecDeque<(u64, u64, usize)>,
    /// By CPU, the step at which it was last done with what it did.
    done: Vec<u64>,
    /// By root and VMID, what waits for somebody to enter.
    held: BTreeMap<(u64, u16), Vec<Finding>>,
    told: Vec<Finding>,
    noted: Vec<Finding>,
    next: u64,
}

impl Watch {
    /// Watches a machine whose table memory is taken to hold zeroes until it is [learnt](Self::learn). Nothing is recorded.
    ///
    /// # Panics
    /// As [`Model::new`].
    pub fn new(config: Config) -> Self {
        Self {
            model: Model::new(Config {
                recording: Recording::Off,
                ..config
            }),
            site: 0,
            sites: VecDeque::new(),
            done: vec![0; config.cpus],
            held: BTreeMap::new(),
            told: Vec::new(),
            noted: Vec::new(),
            next: 0,
        }
    }

    /// The machine's configuration.
    pub const fn config(&self) -> &Config {
        self.model.config()
    }

    /// The number of operations so far; violations name operations by number.
    pub const fn steps(&self) -> u64 {
        self.model.steps()
    }

    /// The findings so far.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.told.iter()
    }

    /// The number of violations that are held until a CPU enters their tree.
    pub fn held(&self) -> u64 {
        self.held.values().flatten().map(|held| held.count).sum()
    }

    /// What was noted since this was last asked: whoever keeps what happened before each can do so now. Not all of it is
    /// told in the end.
    pub fn noted(&mut self) -> Vec<Finding> {
        core::mem::take(&mut self.noted)
    }

    /// The tree of tables that a finding is about, as it is now.
    pub fn tree(&self, finding: &Finding) -> Vec<Row> {
        self.model.tree_of(&finding.violation)
    }

    /// Where in the watched code the next verbs are.
    pub const fn at(&mut self, site: u64) {
        self.site = site;
    }

    /// Notes a value of memory that a CPU's access reveals, or that no CPU wrote.
    pub fn learn(&mut self, cpu: usize, at: Pa, value: u64) {
        if self.is_cpu(cpu) {
            self.model.learn(cpu, at, value);
            self.after();
        }
    }

    /// Writes a descriptor, or memory that was one. Writes outside the memory for tables are ignored.
    pub fn write(&mut self, cpu: usize, at: Pa, value: u64) {
        if !self.comes_to_el2(cpu) || self.model.memory.word(at.0).is_none() {
            return;
        }
        if self.sites.len() == REMEMBERED {
            self.sites.pop_front();
        }
        let step = self.model.steps() + 1;
        self.sites.push_back((step, self.site, cpu));
        self.model.write(cpu, at, value);
        self.after();
        if let Some(violation) = self.model.written_under_a_walk(cpu, at) {
            self.tell(violation);
        }
        self.model.touch_by_hardware(cpu, at);
        self.after();
    }

    /// What the CPU has written is seen before what it writes from here on: DMB, or a store-release comes.
    pub fn order(&mut self, cpu: usize) {
        if self.comes_to_el2(cpu) {
            self.model.order(cpu);
        }
    }

    /// Executes a DSB.
    pub fn dsb(&mut self, cpu: usize, domain: Dsb) {
        if self.comes_to_el2(cpu) {
            self.model.dsb(cpu, domain);
            self.after();
        }
    }

    /// Executes DSB NSHST.
    pub fn dsb_nshst(&mut self, cpu: usize) {
        if self.comes_to_el2(cpu) {
            self.model.dsb_nshst(cpu);
            self.after();
        }
    }

    /// Executes an ISB.
    pub fn isb(&mut self, cpu: usize) {
        if self.comes_to_el2(cpu) {
            self.model.isb(cpu);
        }
    }

    /// Executes a TLB invalidation. One of stage 1 by address or ASID is passed over: it takes nothing that a watch knows
    /// of, and its operand may be a guest's own.
    pub fn tlbi(&mut self, cpu: usize, tlbi: Tlbi) {
        if self.comes_to_el2(cpu) && !(tlbi.form.is_guests() && tlbi.form != Form::Vmalle1) {
            self.model.tlbi(cpu, tlbi);
            self.after();
        }
    }

    /// Writes VTTBR_EL2.
    pub fn set_vttbr(&mut self, cpu: usize, value: u64) {
        if self.comes_to_el2(cpu) {
            self.model.set_vttbr(cpu, value);
            self.after();
        }
    }

    /// Writes VTCR_EL2.
    pub fn set_vtcr(&mut self, cpu: usize, value: u64) {
        if self.comes_to_el2(cpu) {
            self.model.set_vtcr(cpu, value);
            self.after();
        }
    }

    /// Writes HCR_EL2.
    pub fn set_hcr(&mut self, cpu: usize, value: u64) {
        if self.comes_to_el2(cpu) {
            self.model.set_hcr(cpu, value);
        }
    }

    /// Enters a guest. The CPU is done with what it did.
    pub fn enter(&mut self, cpu: usize, vcpu: Vcpu) {
        if !self.comes_to_el2(cpu) {
            return;
        }
        if let Ok((root, vmid)) = self.model.loaded_names(cpu)
            && let Some(held) = self.held.remove(&(root, vmid))
            && self.model.may_be_held(root, vmid)
        {
            for finding in held {
                self.count(finding);
            }
        }
        self.model.enter(cpu, vcpu);
        self.after();
        self.done(cpu);
    }

    /// Takes an exception from the guest to EL2.
    pub fn exit(&mut self, cpu: usize) {
        self.comes_to_el2(cpu);
    }

    /// A CPU goes back to a guest or to a host's user: what it changed and has not invalidated it will not.
    pub fn done(&mut self, cpu: usize) {
        if !self.is_cpu(cpu) {
            return;
        }
        self.done[cpu] = self.model.steps();
        let (done, sites) = (&self.done, &self.sites);
        let is_done = |writers: u32, changed| {
            let mut cpus = done.iter().enumerate();
            cpus.all(|(cpu, &at)| writers >> cpu & 1 == 0 || at >= changed)
        };
        let is_settled = |step| {
            let at = sites.binary_search_by_key(&step, |&(step, ..)| step);
            at.map_or(true, |at| done[sites[at].2] >= step)
        };
        let outlived = self.model.outlived(is_done, is_settled);
        for violation in outlived {
            self.tell(violation);
        }
    }

    fn is_cpu(&mut self, cpu: usize) -> bool {
        let is_one = cpu < self.done.len();
        if !is_one {
            self.tell(Violation {
                rule: Rule::Misuse(Misuse::NoSuchCpu),
                step: self.model.steps(),
                earlier: None,
                cpu,
                vmid: None,
                entry: None,
            });
        }
        is_one
    }

    /// Who does something of EL2 has left its guest.
    fn comes_to_el2(&mut self, cpu: usize) -> bool {
        if !self.is_cpu(cpu) {
            return false;
        }
        if self.model.cpus[cpu].guest.is_some() {
            self.model.exit(cpu);
        }
        true
    }

    /// Takes the violation of the last verb: it is told, or held if nobody is inside.
    fn after(&mut self) {
        let Some(violation) = self.model.violation.take() else {
            return;
        };
        let blamed = self.model.blamed.take();
        // Another VMID than that of whoever is inside may be meant, of which nobody is: it had the tree or the page before.
        if let (Rule::PageReachable | Rule::BreakBeforeMake(_), Some(vmid)) =
            (violation.rule, violation.vmid)
            && let Some(names) = self.model.deserted(vmid)
        {
            self.hold(*violation, names);
            return;
        }
        let Some(tree) = blamed.filter(|&tree| !self.model.is_inhabited(tree)) else {
            self.tell(*violation);
            return;
        };
        // What has no meaning is no descriptor: its page is somebody else's by now, or an entry finds it again.
        if matches!(violation.rule, Rule::Descriptor(_)) {
            self.model.give_up(tree);
            return;
        }
        self.hold(*violation, self.model.names(tree));
    }

    /// Keeps a violation until somebody enters one of these roots under its VMID.
    fn hold(&mut self, violation: Violation, names: Vec<(u64, u16)>) {
        let finding = self.found(violation);
        for names in names {
            let held = self.held.entry(names).or_default();
            if let Some(known) = held.iter_mut().find(|held| held.kind() == finding.kind()) {
                known.count += 1;
            } else {
                held.push(finding);
                self.noted.push(finding);
            }
        }
    }

    fn tell(&mut self, violation: Violation) {
        let finding = self.found(violation);
        if self.count(finding) {
            self.noted.push(finding);
        }
    }

    /// Adds a finding to those of its kind. Whether it is the first.
    fn count(&mut self, finding: Finding) -> bool {
        let mut told = self.told.iter_mut();
        if let Some(known) = told.find(|told| told.kind() == finding.kind()) {
            known.count += finding.count;
            return false;
        }
        self.told.push(finding);
        true
    }

    fn found(&mut self, violation: Violation) -> Finding {
        self.next += 1;
        let earlier_site = violation.earlier.and_then(|step| {
            let at = self.sites.binary_search_by_key(&step, |&(step, ..)| step);
            at.ok().map(|at| self.sites[at].1)
        });
        Finding {
            number: self.next,
            violation,
            site: self.site,
            earlier_site,
            count: 1,
        }
    }
}
