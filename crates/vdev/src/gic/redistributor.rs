//! The redistributors' registers (IHI 0069, 12.10 and 12.11): RD_base and SGI_base of each vCPU.

use super::distributor::{Banks, IIDR_VALUE, PIDR2, PIDR2_VALUE};
use super::{Gic, Kicks, REDISTRIBUTOR_BYTES};
use crate::Affinity;
use droste_arm64::esr::AccessSize;

/// Bytes of one of the two frames.
const FRAME_BYTES: u64 = 0x1_0000;

// Registers of RD_base. GICR_CTLR is 0: no LPIs to enable, and no write is ever in progress.
const IIDR: u64 = 0x0004;
const TYPER: u64 = 0x0008;
const TYPER_UPPER: u64 = 0x000c;
const WAKER: u64 = 0x0014;

/// GICR_WAKER.ProcessorSleep; ChildrenAsleep, the bit above, follows it at once.
const WAKER_PROCESSOR_SLEEP: u64 = 1 << 1;
const WAKER_CHILDREN_ASLEEP: u64 = 1 << 2;

/// GICR_TYPER.Last: no redistributor follows in memory.
const TYPER_LAST: u64 = 1 << 4;

/// The vCPU of an offset, whether it exists or not, and the offset in its two frames.
fn split(offset: u64) -> (usize, u64) {
    let vcpu = usize::try_from(offset / REDISTRIBUTOR_BYTES).unwrap_or(usize::MAX);
    (vcpu, offset % REDISTRIBUTOR_BYTES)
}

/// The vCPU, whether it exists or not, and the offset in its SGI_base, if `offset` lies in one.
pub(super) fn sgi_base(offset: u64) -> Option<(usize, u64)> {
    let (vcpu, within) = split(offset);
    Some((vcpu, within.checked_sub(FRAME_BYTES)?))
}

impl Gic {
    pub(super) fn read_redistributor(&self, offset: u64, size: AccessSize) -> u64 {
        let (vcpu, within) = split(offset);
        let Some(state) = self.vcpus.get(vcpu) else {
            return 0;
        };
        if within & (size.bytes() - 1) != 0 {
            return 0;
        }
        if let Some(within) = within.checked_sub(FRAME_BYTES) {
            return self.read_banked(Banks::Private(vcpu), within, size);
        }
        match (within, size) {
            (IIDR, AccessSize::Word) => IIDR_VALUE,
            (TYPER, AccessSize::Doubleword) => self.redistributor_type(vcpu),
            (TYPER, AccessSize::Word) => self.redistributor_type(vcpu) & 0xffff_ffff,
            (TYPER_UPPER, AccessSize::Word) => self.redistributor_type(vcpu) >> 32,
            (WAKER, AccessSize::Word) if state.is_asleep => {
                WAKER_PROCESSOR_SLEEP | WAKER_CHILDREN_ASLEEP
            }
            (PIDR2, AccessSize::Word) => PIDR2_VALUE,
            _ => 0,
        }
    }

    pub(super) fn write_redistributor(
        &mut self,
        offset: u64,
        size: AccessSize,
        value: u64,
    ) -> Kicks {
        let (vcpu, within) = split(offset);
        let Some(state) = self.vcpus.get_mut(vcpu) else {
            return Kicks::NONE;
        };
        if within & (size.bytes() - 1) != 0 {
            return Kicks::NONE;
        }
        if let Some(within) = within.checked_sub(FRAME_BYTES) {
            return self.write_banked(vcpu, Banks::Private(vcpu), within, size, value);
        }
        // A sleeping redistributor still hands over its interrupts: the virtual CPU interface never loses power, and
        // software that forgets to wake it runs too. Sleep only counts for what ends a WFI.
        if (within, size) == (WAKER, AccessSize::Word) {
            state.is_asleep = value & WAKER_PROCESSOR_SLEEP != 0;
        }
        Kicks::NONE
    }

    /// GICR_TYPER: affinity, Processor_Number, Last. PPInum is 0 (PPIs 16 to 31); no LPIs, no virtual LPIs.
    fn redistributor_type(&self, vcpu: usize) -> u64 {
        let is_last = vcpu + 1 == self.vcpus.len();
        u64::from(Affinity::of_vcpu(vcpu).packed()) << 32
            | (vcpu as u64 & 0xffff) << 8
            | if is_last { TYPER_LAST } else { 0 }
    }
}
