//! What L1 does: it writes its tables, and invalidates.

use droste_nested::tlbi::{Range, Regime};
use droste_nested::{Instruction, Invalidation, VirtualLevel};

use crate::failure::Problem;
use crate::nested::operation::{Order, Write};
use crate::nested::run::Lapse;
use crate::nested::run::hypervisor::{Hands, Run};
use crate::nested::tlbi::L1Tlbi;
use crate::stage2::world::Feature;

impl<'m> Run<'m> {
    pub(super) fn write(&mut self, write: &Write) {
        self.report.operations += 1;
        let (rooms, ..) = self.world.rooms();
        let number = usize::from(write.table) % rooms.len();
        let (shape, level) = (self.world.tables[number], u32::from(write.level).min(3));
        let step = if write.value & 1 == 0 {
            0
        } else {
            shape.bytes(level)
        };
        for n in 0..u64::from(write.count) {
            let at = rooms[number].entry(level, u64::from(write.index) + n);
            self.hardware.write(at, write.value.wrapping_add(n * step));
        }
    }

    /// L1 has its tables read in this order. It is at its EL2 to say so, on each of its CPUs.
    pub(super) fn set_order(&mut self, order: Order) {
        self.report.operations += 1;
        if order != self.hardware.order() {
            (0..self.cpus.len()).for_each(|cpu| self.leave(cpu));
        }
        self.hardware.set_order(order);
    }

    /// An invalidation, emulated as it traps, and executed by the hardware that L1 believes to run on.
    pub(super) fn tlbi(&mut self, cpu: usize, space: usize, tlbi: L1Tlbi) -> Result<(), Problem> {
        self.report.operations += 1;
        let registers = self.registers(space);
        let level = VirtualLevel::El2;
        let decoded = Instruction::decode(tlbi.encoding(), level, &self.advertised);
        if decoded.is_some() == (tlbi.needs_ranges() && !self.world.shows(Feature::TlbiRange)) {
            return Err(Problem::Oracle {
                rule: "a TLBI is there if and only if it is advertised",
                detail: format!("{tlbi:?} became {decoded:?}"),
            });
        }
        let Some(instruction) = decoded else {
            return Ok(());
        };
        let asked = instruction.invalidation(tlbi.operand, level, &registers, &self.advertised);
        if !self.lapses(Lapse::Tlbi) {
            self.at_el2(cpu, |run, hands| run.invalidate((cpu, hands), asked));
        }
        self.hardware.tlbi(&registers, tlbi);
        Ok(())
    }

    fn invalidate(&mut self, (cpu, hands): (usize, &Hands<'m>), asked: Invalidation) {
        let contexts = if self.lapses(Lapse::OneContext) {
            1
        } else {
            usize::MAX
        };
        match asked {
            Invalidation::Nothing
            | Invalidation::Stage1 {
                regime: Regime::VirtualEl2,
                ..
            } => {}
            Invalidation::Stage1 {
                regime: Regime::Vmid(vmid),
                of,
            } => {
                let places: Vec<_> = self.contexts.with_vmid(vmid).take(contexts).collect();
                if !self.lapses(Lapse::Stage1) {
                    for place in places {
                        self.forget_stage1((cpu, hands), place, of);
                    }
                }
            }
            Invalidation::Everything => {
                let places: Vec<_> = self.contexts.places().collect();
                for place in places {
                    self.empty(hands, place);
                }
            }
            Invalidation::Vmid(vmid) => {
                let places: Vec<_> = self.contexts.with_vmid(vmid).take(contexts).collect();
                for place in places {
                    self.empty(hands, place);
                }
            }
            Invalidation::Stage2 { vmid, range } => {
                let places: Vec<_> = self.contexts.with_vmid(vmid).take(contexts).collect();
                for place in places {
                    self.invalidate_range(hands, place, &range);
                }
            }
        }
    }

    fn invalidate_range(&mut self, hands: &Hands<'m>, place: droste_nested::Place, range: &Range) {
        self.taken += 1;
        self.with_shadow(hands, place, |shadow, host| shadow.invalidate(host, range));
    }
}
