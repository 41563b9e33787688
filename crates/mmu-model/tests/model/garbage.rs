//! The model under a driver without sense: nothing panics, whatever is in tables, registers and operands.

use droste_arm64::barrier::Dsb;
use droste_arm64::{Ipa, Pa, Va};
use droste_mmu_model::{
    Access, AccessKind, Allowed, Bbm, Completion, Config, Features, Form, Model, Scope,
    Speculation, Stage1, Stage1Entry, Tagging, Tlbi, Vcpu,
};

use crate::random::Dice;
use crate::rig::{BASE, CONTIGUOUS, DBM, PAGE, VTCR};

const PAGES: u64 = 24;

struct Chaos(Dice);

impl Chaos {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn any(&mut self) -> u64 {
        self.below(u64::MAX)
    }

    /// A page of the table memory, or now and then one outside.
    fn page(&mut self) -> u64 {
        BASE + self.below(PAGES + 1) * PAGE
    }

    fn entry(&mut self) -> Pa {
        let index = self.one(&[0, 1, 2, 15, 16, 17, 511]);
        Pa(self.page() + index * 8)
    }

    fn descriptor(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => self.any(),
            2..5 => self.page() | 3,
            5 => self.below(8) << 30 | 0x7fd | self.one(&[0, CONTIGUOUS, DBM, 1 << 16]),
            _ => {
                let bits = self.one(&[0, CONTIGUOUS, DBM, 1 << 53, 1 << 11]);
                self.below(64) << 12 | 0x7ff & !self.one(&[0, 0x80, 0x400]) | bits
            }
        }
    }

    fn ipa(&mut self) -> u64 {
        match self.below(8) {
            0 => self.any(),
            _ => self.one(&[0, 1, 2, 15, 16, 511, 512, 513, 1 << 18]) << 12,
        }
    }

    fn tlbi(&mut self) -> Tlbi {
        use Form::{
            Alle1, Aside1, Ipas2e1, Ipas2le1, Ripas2e1, Ripas2le1, Rvaae1, Rvae1, Vae1, Vale1,
            Vmalle1, Vmalls12e1,
        };
        let form = self.one(&[
            Alle1, Aside1, Ipas2e1, Ipas2le1, Ripas2e1, Ripas2le1, Rvaae1, Rvae1, Vae1, Vale1,
            Vmalle1, Vmalls12e1,
        ]);
        let operand = match self.below(4) {
            0 => self.any(),
            1 => 0,
            2 => self.below(4) << 46 | self.below(8) << 43 | self.ipa() >> 12,
            _ => self.ipa() >> 12,
        };
        let completion = self.one(&[Completion::Full, Completion::ExceptXs]);
        let scope = self.one(&[Scope::Local, Scope::Inner, Scope::Outer]);
        Tlbi {
            form,
            scope,
            completion,
            operand,
        }
    }

    fn vtcr(&mut self) -> u64 {
        match self.below(4) {
            0 => self.any() & 0x3_ffff_ffff,
            1 => VTCR | 3 << 21,
            2 => 1 << 33 | 1 << 32 | 1 << 31 | 6 << 16 | 0xc,
            _ => VTCR,
        }
    }

    fn step(&mut self, model: &mut Model) {
        let cpu = self.below(3) as usize;
        let domain = self.one(&[Dsb::Ish, Dsb::Ishst, Dsb::Nsh]);
        let kinds = [AccessKind::Read, AccessKind::Write, AccessKind::ExecuteEl1];
        match self.below(24) {
            0..6 => model.write(cpu, self.entry(), self.descriptor()),
            6 => model.zero(cpu, Pa(self.page()), PAGE),
            7 => {
                let (at, new) = (self.entry(), self.descriptor());
                let found = model.read(cpu, at);
                let _ = model.compare_exchange(cpu, at, found, new);
            }
            8 => model.dsb(cpu, domain),
            9 => model.isb(cpu),
            10 | 11 => model.tlbi(cpu, self.tlbi()),
            12 => model.set_vtcr(cpu, self.vtcr()),
            13 => model.set_vttbr(cpu, self.below(3) << 48 | self.page() | self.below(2)),
            14 => model.set_hcr(cpu, self.any()),
            15 => model.claim(Pa(self.page()), PAGE),
            16 => model.release(Pa(self.page()), PAGE),
            17 => {
                let space = self.one(&[None, Some(0), Some(1)]);
                model.enter(
                    cpu,
                    Vcpu {
                        number: self.below(3) as u32,
                        asid: 7,
                        space,
                    },
                );
            }
            18 => model.exit(cpu),
            19 => model.guest_tlbi(cpu, self.tlbi()),
            20 => model.guest_dsb(cpu, domain),
            21 => {
                let entry = Stage1Entry {
                    ipa: Ipa(self.ipa()),
                    tagging: Tagging::PerAsid,
                };
                model.stage1_map(self.below(2) as u32, Va(self.ipa()), entry);
            }
            22 => model.stage1_unmap(self.below(2) as u32, Va(self.ipa())),
            _ => {
                let access = Access::new(Va(self.ipa()), self.one(&kinds));
                model.speculate(cpu, access.va);
                model.expect(cpu, access, Allowed::Tracked(Pa(self.any())));
            }
        }
    }
}

#[test]
fn a_driver_without_sense_does_not_make_the_model_panic() {
    for seed in 0..200 {
        let mut chaos = Chaos(Dice(seed));
        let mut model = Model::new(Config {
            cpus: 3,
            pa_bits: 52,
            bbm: chaos.one(&[Bbm::Level0, Bbm::Level1, Bbm::Level2]),
            features: chaos.one(&[Features::ALL, Features::ALL.without(Features::XS)]),
            stage1: chaos.one(&[Stage1::Known, Stage1::Unknown]),
            speculation: chaos.one(&[Speculation::InGuest, Speculation::AlsoAtEl2]),
            ..Config::new(Pa(BASE), PAGES)
        });
        for _ in 0..1500 {
            chaos.step(&mut model);
        }
        assert!(model.violation().is_some());
    }
}
