//! Which affinity a vCPU has, and which vCPU an affinity names.

/// The most vCPUs that one virtual machine can have: a set of them fits in one 64-bit word.
pub const MAX_VCPUS: usize = 64;

/// vCPUs of one value of Aff1: what the target list of one SGI write reaches without range selection
/// (IHI 0069, ICC_SGI1R_EL1).
pub(crate) const PER_CLUSTER: u64 = 16;

/// The affinity of a vCPU as MPIDR_EL1 holds it: Aff3 at \[39:32\], Aff2 at \[23:16\], Aff1 at \[15:8\], Aff0 at
/// \[7:0\] (DDI 0487, MPIDR_EL1).
///
/// vCPU `n` has Aff0 = `n` % 16 and Aff1 = `n` / 16; Aff2 and Aff3 are 0.
///
/// ```
/// use droste_vdev::Affinity;
/// let affinity = Affinity::of_vcpu(17);
/// assert_eq!(affinity.mpidr(), 0x8000_0101);
/// assert_eq!(affinity.vcpu(), Some(17));
/// assert_eq!(Affinity::from_mpidr(0x1_0000_0000).vcpu(), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Affinity(u64);

impl Affinity {
    const FIELDS: u64 = 0xff_00ff_ffff;

    /// The affinity of vCPU `vcpu`, below [`MAX_VCPUS`].
    pub const fn of_vcpu(vcpu: usize) -> Self {
        let n = vcpu as u64;
        Self((n / PER_CLUSTER) << 8 | (n % PER_CLUSTER))
    }

    /// The affinity fields of a value laid out as MPIDR_EL1; other bits are dropped.
    pub const fn from_mpidr(value: u64) -> Self {
        Self(value & Self::FIELDS)
    }

    /// The vCPU that has this affinity in a virtual machine of [`MAX_VCPUS`] vCPUs; `None` if none has it.
    pub const fn vcpu(self) -> Option<usize> {
        let (aff0, aff1) = (self.0 & 0xff, self.0 >> 8 & 0xff);
        let n = aff1 * PER_CLUSTER + aff0;
        if self.0 > 0xffff || aff0 >= PER_CLUSTER || n >= MAX_VCPUS as u64 {
            return None;
        }
        Some(n as usize)
    }

    /// The affinity fields alone, at their places in MPIDR_EL1.
    pub const fn fields(self) -> u64 {
        self.0
    }

    /// The fields below affinity level `level`, 0 to 3.
    pub(crate) const fn fields_below(level: u64) -> Option<u64> {
        match level {
            0..=3 => Some((1 << (8 * level)) - 1),
            _ => None,
        }
    }

    /// MPIDR_EL1 of a vCPU with this affinity: bit 31 is RES1; U = 0 and MT = 0 (DDI 0487, MPIDR_EL1).
    pub const fn mpidr(self) -> u64 {
        self.0 | 1 << 31
    }

    /// The four fields packed into 32 bits, as in GICR_TYPER.Affinity_Value (IHI 0069, GICR_TYPER).
    pub const fn packed(self) -> u32 {
        (self.0 >> 8 & 0xff00_0000 | self.0 & 0xff_ffff) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vcpu_is_found_by_its_affinity() {
        for n in 0..MAX_VCPUS {
            assert_eq!(Affinity::of_vcpu(n).vcpu(), Some(n));
            assert_eq!(
                Affinity::from_mpidr(Affinity::of_vcpu(n).mpidr()).vcpu(),
                Some(n)
            );
        }
    }

    #[test]
    fn an_affinity_of_no_vcpu_names_none() {
        for fields in [0x10, 0xff, 0x400, 0x1_0000, 0x1_0000_0000, u64::MAX] {
            assert_eq!(Affinity::from_mpidr(fields).vcpu(), None, "{fields:#x}");
        }
    }

    #[test]
    fn packing_moves_aff3_down_to_the_top_byte() {
        assert_eq!(Affinity::from_mpidr(0x12_0034_5678).packed(), 0x1234_5678);
    }
}
