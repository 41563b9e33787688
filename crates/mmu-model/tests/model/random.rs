//! Random runs of a small hypervisor that does everything right, and of one that leaves a single step out.
//!
//! The first must never be reported, whatever it does; the second must always be, because after each operation
//! every CPU makes an access to every address.

use droste_arm64::barrier::Dsb;
use droste_arm64::{Pa, Va};
use droste_mmu_model::{
    Access, AccessKind, Allowed, Bbm, Config, Form, Model, Scope, Tlbi, Vcpu, Violation,
};

use crate::rig::{
    ACCESSED, BASE, BLOCK, MEMORY, PAGE, ROOT, T2, T3, VTCR, WRITABLE, block, config, page, table,
    vttbr,
};

/// Splitmix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % bound
    }
}

/// What an address is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Truth {
    Hole,
    ReadOnly(u64),
    Writable(u64),
}

const PAGES: u64 = 6;

/// A hypervisor with one VM under two contexts, on four CPUs. CPU 0 maintains, the others run.
struct Hypervisor {
    model: Model,
    dice: Dice,
    /// The first pages, one by one; then the block at 2 MiB.
    pages: [Truth; PAGES as usize],
    block: Truth,
    /// VMIDs of the two contexts.
    vmids: [u64; 2],
    next_vmid: u64,
    /// By CPU, context and vCPU inside.
    inside: [Option<(usize, u32)>; 4],
    /// By CPU and context, who ran last.
    last: [[Option<u32>; 2]; 4],
    /// How many steps that matter come before the one that is left out.
    left_out: Option<u64>,
    essential: u64,
}

impl Hypervisor {
    fn new(seed: u64, left_out: Option<u64>) -> Self {
        let mut model = Model::new(Config {
            bbm: Bbm::Level0,
            ..config()
        });
        for page in [ROOT, T2, T3] {
            model.claim(Pa(page), PAGE);
        }
        model.write(0, Pa(ROOT), table(T2));
        model.write(0, Pa(T2), table(T3));
        model.dsb(0, Dsb::Ishst);
        for cpu in 0..4 {
            model.set_vtcr(cpu, VTCR);
        }
        Self {
            model,
            dice: Dice(seed),
            pages: [Truth::Hole; PAGES as usize],
            block: Truth::Hole,
            vmids: [1, 2],
            next_vmid: 3,
            inside: [None; 4],
            last: [[None; 2]; 4],
            left_out,
            essential: 0,
        }
    }

    /// Does a step that matters, unless it is the one to leave out.
    fn essential(&mut self, step: impl FnOnce(&mut Model)) {
        self.essential += 1;
        if self.left_out != Some(self.essential) {
            step(&mut self.model);
        }
    }

    /// Runs `flush` under each context.
    fn under_each(&mut self, flush: impl Fn(&mut Self)) {
        for context in 0..2 {
            self.model.set_vttbr(0, vttbr(self.vmids[context], ROOT));
            self.model.isb(0);
            flush(self);
        }
    }

    /// What a change of these pages owes.
    fn flush(&mut self, from: u64, pages: u64) {
        self.essential(|model| model.dsb(0, Dsb::Ish));
        if self.dice.below(2) == 0 {
            self.under_each(|this| {
                this.essential(|model| {
                    model.tlbi(0, Tlbi::new(Form::Vmalls12e1, Scope::Inner, 0));
                });
            });
            self.essential(|model| model.dsb(0, Dsb::Ish));
            return;
        }
        self.under_each(|this| {
            for index in 0..pages {
                this.essential(|model| {
                    model.tlbi(
                        0,
                        Tlbi::new(Form::Ipas2e1, Scope::Inner, (from >> 12) + index),
                    );
                });
            }
            this.essential(|model| model.dsb(0, Dsb::Ish));
            this.essential(|model| model.tlbi(0, Tlbi::new(Form::Vmalle1, Scope::Inner, 0)));
        });
        self.essential(|model| model.dsb(0, Dsb::Ish));
    }

    fn descriptor(truth: Truth) -> u64 {
        match truth {
            Truth::Hole => 0,
            Truth::ReadOnly(pa) => page(pa) & !WRITABLE,
            Truth::Writable(pa) => page(pa) | ACCESSED,
        }
    }

    fn change_page(&mut self) {
        let index = self.dice.below(PAGES);
        let at = Pa(T3 + index * 8);
        let old = self.pages[index as usize];
        let pa = MEMORY + self.dice.below(64) * PAGE;
        let new = match (old, self.dice.below(3)) {
            (Truth::Hole, 0) => Truth::ReadOnly(pa),
            (Truth::Hole, _) => Truth::Writable(pa),
            (Truth::Writable(pa), 0) => Truth::ReadOnly(pa),
            (Truth::ReadOnly(pa), 0) => Truth::Writable(pa),
            _ => Truth::Hole,
        };
        self.model.write(0, at, Self::descriptor(new));
        self.pages[index as usize] = new;
        if old == Truth::Hole {
            self.essential(|model| model.dsb(0, Dsb::Ishst));
        } else {
            self.flush(index * PAGE, 1);
        }
    }

    fn change_block(&mut self) {
        let at = Pa(T2 + 8);
        if self.block == Truth::Hole {
            let pa = MEMORY + self.dice.below(8) * BLOCK;
            self.model.write(0, at, block(pa));
            self.essential(|model| model.dsb(0, Dsb::Ishst));
            self.block = Truth::Writable(pa);
        } else {
            self.model.write(0, at, 0);
            self.flush(BLOCK, 1);
            self.block = Truth::Hole;
        }
    }

    /// Takes the table of pages out, uses its page for something else, and links another in its place.
    fn replace_table(&mut self) {
        self.model.write(0, Pa(T2), 0);
        self.flush(0, PAGES);
        self.model.release(Pa(T3), PAGE);
        self.model.claim(Pa(T3), PAGE);
        self.model.write(0, Pa(T3 + 0x800), page(0x7_0000_0000));
        self.model.dsb(0, Dsb::Ish);
        self.model.zero(0, Pa(T3), PAGE);
        for index in 0..PAGES {
            let pa = MEMORY + self.dice.below(64) * PAGE;
            self.pages[index as usize] = Truth::Writable(pa);
            self.model.write(0, Pa(T3 + index * 8), page(pa));
        }
        self.essential(|model| model.dsb(0, Dsb::Ishst));
        self.model.write(0, Pa(T2), table(T3));
        self.essential(|model| model.dsb(0, Dsb::Ishst));
    }

    fn leave(&mut self, cpu: usize) {
        if self.inside[cpu].take().is_some() {
            self.model.exit(cpu);
        }
    }

    fn run_another(&mut self) {
        let cpu = 1 + self.dice.below(3) as usize;
        let context = self.dice.below(2) as usize;
        let vcpu = self.dice.below(3) as u32;
        self.leave(cpu);
        self.model.set_vttbr(cpu, vttbr(self.vmids[context], ROOT));
        self.model.isb(cpu);
        let last = self.last[cpu][context].replace(vcpu);
        if last.is_some_and(|last| last != vcpu) {
            self.essential(|model| model.tlbi(cpu, Tlbi::new(Form::Vmalle1, Scope::Local, 0)));
            self.essential(|model| model.dsb(cpu, Dsb::Nsh));
        }
        self.model.enter(cpu, Vcpu::new(vcpu));
        self.inside[cpu] = Some((context, vcpu));
    }

    /// All numbers are given out anew, but those that CPUs use now.
    fn roll_over(&mut self) {
        self.model.dsb(0, Dsb::Ish);
        self.model.tlbi(0, Tlbi::new(Form::Alle1, Scope::Inner, 0));
        self.model.dsb(0, Dsb::Ish);
        for context in 0..2 {
            if !self
                .inside
                .iter()
                .flatten()
                .any(|&(inside, _)| inside == context)
            {
                self.next_vmid = 1 + self.next_vmid % 200;
                if self.vmids.contains(&self.next_vmid) {
                    self.next_vmid += 2;
                }
                self.vmids[context] = self.next_vmid;
            }
        }
    }

    fn check(&mut self) {
        let mut truths: Vec<_> = (self.pages.iter().enumerate())
            .map(|(index, &truth)| (index as u64 * PAGE, truth))
            .collect();
        truths.push((BLOCK, self.block));
        for cpu in 1..4 {
            if self.inside[cpu].is_none() {
                continue;
            }
            for &(ipa, truth) in &truths {
                let (read, write) = match truth {
                    Truth::Hole => (Allowed::Fault, Allowed::Fault),
                    Truth::ReadOnly(pa) => (Allowed::Access(Pa(pa)), Allowed::Fault),
                    Truth::Writable(pa) => (Allowed::Access(Pa(pa)), Allowed::Access(Pa(pa))),
                };
                self.model
                    .expect(cpu, Access::new(Va(ipa), AccessKind::Read), read);
                self.model
                    .expect(cpu, Access::new(Va(ipa), AccessKind::Write), write);
            }
        }
    }

    fn run(&mut self, operations: u64) -> Option<Violation> {
        for _ in 0..operations {
            match self.dice.below(16) {
                0..8 => self.change_page(),
                8..10 => self.change_block(),
                10 => self.replace_table(),
                11 => self.roll_over(),
                _ => self.run_another(),
            }
            self.check();
            if let Some(violation) = self.model.violation() {
                return Some(*violation);
            }
        }
        None
    }
}

#[test]
fn a_hypervisor_that_does_everything_is_never_reported() {
    for seed in 0..120 {
        let mut hypervisor = Hypervisor::new(seed, None);
        if let Some(violation) = hypervisor.run(300) {
            panic!("seed {seed}: {violation}");
        }
        assert_eq!(hypervisor.model.read(0, Pa(BASE)), table(T2));
    }
}

/// A step whose absence nothing can show is missed by nobody: the invalidation of a context that no CPU has run,
/// of a page that was a hole, of an entry that the next operation invalidates before a CPU enters. Such steps are
/// some in this hypervisor; that most are reported shows that no kind of step is blind.
#[test]
fn a_hypervisor_that_leaves_out_one_step_is_reported() {
    let (mut runs, mut reported) = (0, 0);
    for seed in 0..12 {
        let mut whole = Hypervisor::new(seed, None);
        assert_eq!(whole.run(60), None);
        for left_out in 1..=whole.essential {
            runs += 1;
            reported += u64::from(Hypervisor::new(seed, Some(left_out)).run(60).is_some());
        }
    }
    println!("{reported} of {runs} runs that left out a step were reported");
    assert!(reported * 10 > runs * 7, "{reported} of {runs}");
}
