//! An AT instruction by L1's registers and memory.

use droste_arm64::Level;
use droste_arm64::desc::MemoryType;
use droste_arm64::esr::Direction;
use droste_stage2::Access;

use super::stage1::{Control, Walk};
use super::{
    At, Pan, Regime, StageOneLeaf, StageOneRegisters, StageOneRequest, StageOneStop, StageTwoLeaf,
    Translated, Walks, translate,
};
use crate::exception::pstate;
use crate::walk::{FaultKind, StageTwo, StageTwoRegisters, WalkFault, Walker};
use crate::{Advertised, ExternalAbort, GuestMemory, L1Ipa, L2Ipa};

/// The registers that an AT instruction depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registers {
    /// Those of stage 1, of the instruction's [regime](At::regime).
    pub stage_one: StageOneRegisters,
    /// Those of stage 2, as their rules keep them. HCR_EL2 counts for stage 1 too, whatever the regime.
    pub stage_two: StageTwoRegisters,
    /// PSTATE of virtual EL2, as an SPSR holds it.
    pub pstate: u64,
}

/// Executes `at` for `va` at virtual EL2.
///
/// ```
/// # use droste_arm64::{IdRegisters, IpaBits, Vtcr, Vttbr};
/// # use droste_nested::{Exchange, ExternalAbort, GuestMemory, L1Ipa};
/// use droste_arm64::{hcr, sysreg::SysReg};
/// use droste_nested::{Advertised, StageTwoRegisters, at::{At, Translated, Registers, StageOneRegisters, execute}};
/// # struct Memory;
/// # impl GuestMemory for Memory {
/// #     fn read(&self, at: L1Ipa) -> Result<u64, ExternalAbort> {
/// #         Ok(if at.0 == 0x4000_0008 { 0x8000_0705 } else { 0 })
/// #     }
/// #     fn compare_exchange(&self, _: L1Ipa, _: u64, _: u64) -> Result<Exchange, ExternalAbort> {
/// #         Err(ExternalAbort)
/// #     }
/// # }
/// # let ids = IdRegisters { mmfr0: 5, ..IdRegisters::default() };
/// # let advertised = Advertised { ids, isar1: 0, ipa_bits: IpaBits::new(40).unwrap() };
/// // At 0x4000_0008 L1 has a block of 1 GiB at 0x8000_0000, Inner Shareable, of the memory type 1.
/// let memory = Memory;
/// let at = At::decode(SysReg::new(1, 4, 7, 8, 0)).unwrap(); // S1E2R
/// let registers = Registers {
///     // 39-bit addresses at either end, the 4 KiB granule, 40-bit outputs; the MMU and caches on.
///     stage_one: StageOneRegisters {
///         sctlr: 5, tcr: 2 << 32 | 2 << 30 | 25 << 16 | 25, ttbr0: 0x4000_0000, ttbr1: 0, mair: 0xff00,
///     },
///     stage_two: StageTwoRegisters { hcr: hcr::E2H, sctlr: 5, vtcr: Vtcr(0), vttbr: Vttbr(0) },
///     pstate: 0x3c9,
/// };
/// let outcome = execute(at, 0x4012_3456, &registers, &advertised, &memory);
/// assert_eq!(outcome, Translated::Par(0xff << 56 | 0x8012_3000 | 1 << 11 | 3 << 7));
/// ```
pub fn execute(
    at: At,
    va: u64,
    registers: &Registers,
    advertised: &Advertised,
    memory: &impl GuestMemory,
) -> Translated {
    let hcr = registers.stage_two.hcr;
    let mut tables = Tables {
        registers,
        advertised,
        memory,
        stage_two: StageTwo::new(&registers.stage_two, advertised),
    };
    translate(at, va, hcr, &mut tables)
}

/// The tables in L1's memory.
struct Tables<'a, G> {
    registers: &'a Registers,
    advertised: &'a Advertised,
    memory: &'a G,
    stage_two: StageTwo,
}

impl<G: GuestMemory> Walks for Tables<'_, G> {
    fn stage_one(&mut self, request: &StageOneRequest) -> Result<StageOneLeaf, StageOneStop> {
        let registers = self.registers;
        let control = Control::new(
            request,
            &registers.stage_one,
            registers.stage_two.hcr,
            self.advertised,
        );
        let pan = if registers.pstate & pstate::PAN != 0 {
            request.pan
        } else {
            Pan::Ignored
        };
        let walk = Walk {
            control: &control,
            request: &StageOneRequest { pan, ..*request },
        };
        walk.translate(|descriptor, level| match (request.regime, self.stage_two) {
            (Regime::El1, StageTwo::On(walker)) => {
                let at = self.table_of_l2(&walker, L2Ipa(descriptor))?;
                self.read(at, level)
            }
            _ => self.read(L1Ipa(descriptor), level),
        })
    }

    fn stage_two(
        &mut self,
        ipa: L2Ipa,
        direction: Direction,
    ) -> Result<Option<StageTwoLeaf>, WalkFault> {
        let StageTwo::On(walker) = self.stage_two else {
            return Ok(None);
        };
        let access = match direction {
            Direction::Read => Access::Read,
            Direction::Write => Access::Write,
        };
        let leaf = walker.look(self.memory, ipa, access)?;
        Ok(Some(StageTwoLeaf {
            output: leaf.output_of(ipa),
            memory: leaf.memory,
            shareability: leaf.shareability,
        }))
    }
}

impl<G: GuestMemory> Tables<'_, G> {
    fn read(&self, descriptor: L1Ipa, level: Level) -> Result<u64, StageOneStop> {
        self.memory
            .read(descriptor)
            .map_err(|ExternalAbort| StageOneStop::Fault(WalkFault::external(level)))
    }

    /// Where stage 2 leads a walk of stage 1.
    fn table_of_l2(&self, walker: &Walker, descriptor: L2Ipa) -> Result<L1Ipa, StageOneStop> {
        let leaf = walker
            .look(self.memory, descriptor, Access::Read)
            .map_err(StageOneStop::OnStageTwo)?;
        let is_device = matches!(leaf.memory, MemoryType::Device(_));
        if is_device && walker.protects_walks() {
            let fault = WalkFault::new(FaultKind::Permission, leaf.level);
            return Err(StageOneStop::OnStageTwo(fault));
        }
        Ok(leaf.output_of(descriptor))
    }
}
