//! The CPU's identification registers, read once.

use droste_arm64::sysreg::SysReg;

use super::mrs;

/// Identification registers `S3_0_C0_C<crm>_<op2>` for CRm 1 to 7: the group that HCR_EL2.TID3 traps.
#[derive(Clone)]
pub(crate) struct IdRegisters([u64; 56]);

macro_rules! read_group {
    ($($crm:literal)*) => {
        [$(
            mrs!(concat!("S3_0_C0_C", $crm, "_0")), mrs!(concat!("S3_0_C0_C", $crm, "_1")),
            mrs!(concat!("S3_0_C0_C", $crm, "_2")), mrs!(concat!("S3_0_C0_C", $crm, "_3")),
            mrs!(concat!("S3_0_C0_C", $crm, "_4")), mrs!(concat!("S3_0_C0_C", $crm, "_5")),
            mrs!(concat!("S3_0_C0_C", $crm, "_6")), mrs!(concat!("S3_0_C0_C", $crm, "_7")),
        )*]
    };
}

impl IdRegisters {
    /// Reads this CPU's registers. Unallocated encodings of the group read as zero (DDI 0487, D24.1, "reserved").
    pub(crate) fn read() -> Self {
        Self(read_group!(1 2 3 4 5 6 7))
    }

    /// The value of `register`; 0 outside the group.
    pub(crate) fn get(&self, register: SysReg) -> u64 {
        Self::index(register).map_or(0, |i| self.0[i])
    }

    /// Replaces each register's value by what `f` makes of it.
    pub(crate) fn map(&self, mut f: impl FnMut(SysReg, u64) -> u64) -> Self {
        let mut new = self.clone();
        for (i, value) in new.0.iter_mut().enumerate() {
            *value = f(
                SysReg::new(3, 0, 0, 1 + (i / 8) as u8, (i % 8) as u8),
                *value,
            );
        }
        new
    }

    fn index(register: SysReg) -> Option<usize> {
        let is_member = register.op0() == 3 && register.op1() == 0 && register.crn() == 0;
        (is_member && (1..=7).contains(&register.crm()))
            .then(|| (usize::from(register.crm()) - 1) * 8 + usize::from(register.op2()))
    }
}

/// MIDR_EL1: what a guest sees as its CPU's model.
pub(crate) fn midr() -> u64 {
    mrs!("midr_el1")
}

/// What may differ from one CPU of a machine to another, and a vCPU has of the one that it runs on.
#[derive(Clone, Copy)]
pub(crate) struct Model {
    /// MIDR_EL1.
    pub(crate) midr: u64,
    /// How many event counters there are: MDCR_EL2.HPMN.
    pub(crate) counters: u64,
}

impl Model {
    /// This CPU's.
    pub(crate) fn read() -> Self {
        const PMCR_N: u64 = 0x1f << 11;
        let has_pmu = !matches!(mrs!("id_aa64dfr0_el1") >> 8 & 0xf, 0 | 0xf);
        Self {
            midr: midr(),
            counters: if has_pmu {
                (mrs!("pmcr_el0") & PMCR_N) >> 11
            } else {
                0
            },
        }
    }
}

/// This CPU's affinity: MPIDR_EL1 without its flags.
pub(crate) fn affinity() -> u64 {
    mrs!("mpidr_el1") & 0xff_00ff_ffff
}

/// CTR_EL0 and CLIDR_EL1: what caches there are.
pub(crate) fn caches() -> (u64, u64) {
    (mrs!("ctr_el0"), mrs!("clidr_el1"))
}
