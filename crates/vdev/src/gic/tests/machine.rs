//! A virtual CPU interface as hardware has it, and a machine of several around one virtual GIC.

use crate::Line;
use crate::gic::{
    Fill, Frame, Gic, GicConfig, Intid, Kicks, REDISTRIBUTOR_BYTES, Vmcr, unlisted_ends,
};
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use droste_arm64::esr::AccessSize;

pub(super) const ALL_ON: Vmcr = Vmcr(0xff00_0003);

pub(super) const ISENABLER: u64 = 0x100;
pub(super) const ICENABLER: u64 = 0x180;
pub(super) const ISPENDR: u64 = 0x200;
pub(super) const ICPENDR: u64 = 0x280;
pub(super) const ISACTIVER: u64 = 0x300;
pub(super) const ICACTIVER: u64 = 0x380;
pub(super) const IPRIORITYR: u64 = 0x400;
pub(super) const ICFGR: u64 = 0xc00;
pub(super) const IROUTER: u64 = 0x6000;

pub(super) fn intid(number: usize) -> Intid {
    Intid::new(number as u32).expect("below 1020")
}

/// The list registers and what else ICH_* registers hold of one vCPU.
#[derive(Default, Clone)]
pub(super) struct Cpu {
    pub(super) lrs: [u64; 16],
    pub(super) fill: Fill,
    pub(super) vmcr: u64,
    pub(super) ended_unlisted: u32,
    /// Interrupts acknowledged and not ended: number and priority, the running one last.
    pub(super) running: Vec<(usize, u8)>,
}

impl Cpu {
    fn priority(lr: u64) -> u8 {
        (lr >> 48) as u8
    }

    /// INTIDs in list registers that are not free.
    pub(super) fn listed(&self) -> Vec<usize> {
        let valid = self.lrs.iter().filter(|&&lr| lr >> 62 != 0);
        valid.map(|&lr| lr as u32 as usize).collect()
    }

    pub(super) fn state_of(&self, intid: usize) -> u64 {
        let mut with = self.lrs.iter().filter(|&&lr| lr as u32 as usize == intid);
        with.find(|&&lr| lr >> 62 != 0).map_or(0, |lr| lr >> 62)
    }

    /// Whether the CPU interface raises the maintenance interrupt (IHI 0069, ICH_MISR_EL2).
    pub(super) fn has_maintenance(&self) -> bool {
        let is_ended = |lr: &u64| lr >> 62 == 0 && lr >> 61 & 1 == 0 && lr >> 41 & 1 != 0;
        let group = |n: u32| self.vmcr >> n & 1 != 0;
        let hcr = self.fill.hcr;
        self.lrs.iter().any(is_ended)
            || hcr >> 2 & 1 != 0 && self.ended_unlisted != 0
            || hcr >> 3 & 1 != 0 && self.lrs.iter().all(|lr| lr >> 62 & 1 == 0)
            || hcr >> 4 & 1 != 0 && group(0)
            || hcr >> 5 & 1 != 0 && !group(0)
            || hcr >> 6 & 1 != 0 && group(1)
            || hcr >> 7 & 1 != 0 && !group(1)
    }
}

pub(super) struct Machine {
    pub(super) gic: Gic,
    pub(super) cpus: Vec<Cpu>,
    /// Physical interrupts that stand active.
    pub(super) physical_active: BTreeSet<usize>,
    /// Physical interrupts whose line has fallen since they fired.
    pub(super) fallen: BTreeSet<usize>,
    /// One whose own guest runs, and whose kicks therefore somebody else follows.
    pub(super) is_below: Option<usize>,
}

impl Machine {
    /// All interrupts enabled and in group 1, both groups on, all masks open.
    pub(super) fn new(vcpus: usize, spis: usize, list_registers: usize) -> Self {
        let gic = Gic::new(GicConfig {
            vcpus,
            spis,
            list_registers,
        });
        let mut machine = Self {
            gic: gic.expect("a good size"),
            cpus: vec![
                Cpu {
                    vmcr: ALL_ON.0,
                    ..Cpu::default()
                };
                vcpus
            ],
            physical_active: BTreeSet::new(),
            fallen: BTreeSet::new(),
            is_below: None,
        };
        machine.write(0, 0, 3);
        for word in 1..32 {
            machine.write(0, 0x80 + 4 * word, u32::MAX);
            machine.write(0, ISENABLER + 4 * word, u32::MAX);
        }
        for vcpu in 0..vcpus {
            machine.write_private(vcpu, 0x80, u32::MAX);
            machine.write_private(vcpu, ISENABLER, u32::MAX);
            let waker = vcpu as u64 * REDISTRIBUTOR_BYTES + 0x14;
            let frame = Frame::Redistributors;
            let _ = machine.gic.write(0, frame, waker, AccessSize::Word, 0);
        }
        machine
    }

    /// A word to the distributor, every kicked vCPU following at once.
    pub(super) fn write(&mut self, by: usize, offset: u64, value: u32) {
        let (frame, size) = (Frame::Distributor, AccessSize::Word);
        let kicks = self.gic.write(by, frame, offset, size, value.into());
        self.follow(kicks);
    }

    pub(super) fn write_private(&mut self, vcpu: usize, offset: u64, value: u32) {
        let offset = vcpu as u64 * REDISTRIBUTOR_BYTES + 0x1_0000 + offset;
        let (frame, size) = (Frame::Redistributors, AccessSize::Word);
        let kicks = self.gic.write(vcpu, frame, offset, size, value.into());
        self.follow(kicks);
    }

    pub(super) fn read(&self, offset: u64) -> u32 {
        self.gic.read(Frame::Distributor, offset, AccessSize::Word) as u32
    }

    pub(super) fn read_private(&self, vcpu: usize, offset: u64) -> u32 {
        let offset = vcpu as u64 * REDISTRIBUTOR_BYTES + 0x1_0000 + offset;
        let frame = Frame::Redistributors;
        self.gic.read(frame, offset, AccessSize::Word) as u32
    }

    pub(super) fn priority(&mut self, intid: usize, priority: u8) {
        let offset = IPRIORITYR + intid as u64;
        let (frame, size) = (Frame::Distributor, AccessSize::Byte);
        let kicks = self.gic.write(0, frame, offset, size, priority.into());
        self.follow(kicks);
    }

    pub(super) fn priority_of_ppi(&mut self, number: usize, priority: u8) {
        let offset = 0x1_0000 + IPRIORITYR + number as u64;
        let (frame, size) = (Frame::Redistributors, AccessSize::Byte);
        let kicks = self.gic.write(0, frame, offset, size, priority.into());
        self.follow(kicks);
    }

    pub(super) fn route(&mut self, intid: usize, vcpu: usize) {
        let affinity = crate::Affinity::of_vcpu(vcpu).fields() as u32;
        self.write(0, IROUTER + 8 * intid as u64, affinity);
    }

    pub(super) fn edge(&mut self, intid: usize) {
        let offset = ICFGR + 4 * (intid as u64 / 16);
        let old = self.read(offset);
        self.write(0, offset, old | 2 << (intid % 16 * 2));
    }

    pub(super) fn pend(&mut self, vcpu: usize, number: usize) {
        let kicks = self.gic.pend(vcpu, intid(number));
        self.follow(kicks);
    }

    pub(super) fn line(&mut self, number: usize, line: Line) {
        let kicks = self.gic.set_line(0, intid(number), line);
        self.follow(kicks);
    }

    /// [`fire`](Self::fire), every kicked vCPU following at once.
    pub(super) fn fire_and_follow(&mut self, vcpu: usize, physical: usize) {
        let kicks = self.fire(vcpu, physical);
        self.follow(kicks);
    }

    /// The physical interrupt fires, unless it stands active; `physical` is also its number for the guest.
    pub(super) fn fire(&mut self, vcpu: usize, physical: usize) -> Kicks {
        self.fallen.remove(&physical);
        if !self.physical_active.insert(physical) {
            return Kicks::NONE;
        }
        self.gic
            .inject_hardware(vcpu, intid(physical), intid(physical))
    }

    /// The line of a physical interrupt falls, which nobody sees.
    pub(super) fn fall(&mut self, physical: usize) {
        self.fallen.insert(physical);
    }

    pub(super) fn look(&mut self, vcpu: usize) -> Kicks {
        let fallen = &self.fallen;
        let line = |physical: Intid| Line::from_asserted(!fallen.contains(&physical.number()));
        self.gic.look_at_levels(vcpu, line)
    }

    /// What the hypervisor does before the guest reads a register of the distributor.
    pub(super) fn look_before_read(&mut self, offset: u64) {
        let fallen = &self.fallen;
        let line = |physical: Intid| Line::from_asserted(!fallen.contains(&physical.number()));
        let frame = Frame::Distributor;
        let kicks = self.gic.look_before_read(0, frame, offset, line);
        self.follow(kicks);
    }

    pub(super) fn follow(&mut self, mut kicks: Kicks) {
        while let Some(vcpu) = kicks.iter().next() {
            kicks = kicks.without(vcpu);
            if self.is_below != Some(vcpu) {
                kicks |= self.sync(vcpu).without(vcpu);
            }
        }
    }

    /// A vCPU leaves the guest and enters again.
    pub(super) fn sync(&mut self, vcpu: usize) -> Kicks {
        let kicks = self.fold(vcpu) | self.look(vcpu);
        let cpu = &mut self.cpus[vcpu];
        cpu.fill = self.gic.fill(vcpu, Vmcr(cpu.vmcr), &mut cpu.lrs);
        if cpu.fill.has_deactivations {
            while let Some(physical) = self.gic.take_deactivation(vcpu) {
                let was_active = self.physical_active.remove(&physical.number());
                assert!(was_active, "{physical:?} deactivated twice");
            }
        }
        assert!(!self.cpus[vcpu].has_maintenance(), "it would never enter");
        self.check_lists();
        kicks
    }

    pub(super) fn fold(&mut self, vcpu: usize) -> Kicks {
        let cpu = &mut self.cpus[vcpu];
        let hcr = cpu.fill.hcr | u64::from(cpu.ended_unlisted) << 27;
        let ends = unlisted_ends(hcr, || Vmcr(cpu.vmcr));
        let kicks = self.gic.fold(vcpu, &cpu.lrs, ends);
        cpu.ended_unlisted = 0;
        cpu.lrs = [0; 16];
        kicks
    }

    /// No interrupt is in two list registers.
    fn check_lists(&self) {
        let mut shared = Vec::new();
        for cpu in &self.cpus {
            let mut listed = cpu.listed();
            shared.extend(listed.iter().copied().filter(|&intid| intid >= 32));
            listed.sort_unstable();
            assert!(listed.windows(2).all(|pair| pair[0] != pair[1]));
        }
        shared.sort_unstable();
        assert!(
            shared.windows(2).all(|pair| pair[0] != pair[1]),
            "{shared:?}"
        );
    }

    /// The guest acknowledges the pending interrupt of highest priority, if it preempts what runs.
    pub(super) fn ack(&mut self, vcpu: usize) -> Option<usize> {
        let cpu = &mut self.cpus[vcpu];
        let limit = cpu.running.last().map_or(0xff, |&(_, priority)| priority);
        let vmcr = cpu.vmcr;
        let pending = cpu.lrs.iter_mut().filter(|lr| {
            **lr >> 62 == 1 && vmcr >> (**lr >> 60 & 1) & 1 != 0 && Cpu::priority(**lr) < limit
        });
        let lr = pending.min_by_key(|lr| Cpu::priority(**lr))?;
        *lr ^= 3 << 62;
        let (number, priority) = (*lr as u32 as usize, Cpu::priority(*lr));
        cpu.running.push((number, priority));
        self.follow_maintenance(vcpu);
        Some(number)
    }

    /// The guest ends the interrupt that runs (EOImode 0: priority drop and deactivation).
    pub(super) fn end(&mut self, vcpu: usize) -> Option<usize> {
        let cpu = &mut self.cpus[vcpu];
        let (number, _) = cpu.running.pop()?;
        let mut lrs = cpu.lrs.iter_mut();
        match lrs.find(|lr| **lr >> 63 != 0 && **lr as u32 as usize == number) {
            Some(lr) => {
                *lr &= !(1 << 63);
                if *lr >> 61 & 1 != 0 {
                    assert!(*lr >> 62 & 1 == 0, "active and pending with HW");
                    self.physical_active
                        .remove(&((*lr >> 32) as usize & 0x1fff));
                }
            }
            None => cpu.ended_unlisted += 1,
        }
        self.follow_maintenance(vcpu);
        Some(number)
    }

    /// The guest writes ICC_DIR_EL1, with EOImode 1.
    pub(super) fn dir(&mut self, vcpu: usize, number: usize) {
        let cpu = &mut self.cpus[vcpu];
        if cpu.fill.hcr >> 14 & 1 != 0 {
            let vmcr = Vmcr(cpu.vmcr);
            let kicks = self.fold(vcpu) | self.gic.write_dir(vcpu, vmcr, number as u64);
            return self.follow(kicks | Kicks::one(vcpu));
        }
        let mut lrs = cpu.lrs.iter_mut();
        match lrs.find(|lr| **lr >> 63 != 0 && **lr as u32 as usize == number) {
            Some(lr) => {
                assert!(*lr >> 61 & 1 == 0, "one of the hardware's");
                *lr &= !(1 << 63);
            }
            None => cpu.ended_unlisted += 1,
        }
        self.follow_maintenance(vcpu);
    }

    /// The guest ends the interrupt that runs, with EOImode 1: its priority is dropped.
    pub(super) fn drop_priority(&mut self, vcpu: usize, is_counted: bool) {
        let cpu = &mut self.cpus[vcpu];
        if let Some((number, _)) = cpu.running.pop() {
            let is_listed = |&lr: &u64| lr >> 63 != 0 && lr as u32 as usize == number;
            let is_unlisted = !cpu.lrs.iter().any(is_listed);
            cpu.ended_unlisted += u32::from(is_counted && is_unlisted);
        }
        self.follow_maintenance(vcpu);
    }

    pub(super) fn follow_maintenance(&mut self, vcpu: usize) {
        if self.cpus[vcpu].has_maintenance() {
            self.follow(Kicks::one(vcpu));
        }
    }
}
