//! Where the registers of an SMMU are, and what their bits mean (IHI 0070, 6.2 and 6.3).

/// A register, by its distance from the base in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Register(pub u32);

#[expect(missing_docs, reason = "the names are the architecture's")]
impl Register {
    pub const IDR0: Self = Self(0x00);
    pub const IDR1: Self = Self(0x04);
    pub const IDR2: Self = Self(0x08);
    pub const IDR3: Self = Self(0x0c);
    pub const IDR4: Self = Self(0x10);
    pub const IDR5: Self = Self(0x14);
    pub const IIDR: Self = Self(0x18);
    pub const AIDR: Self = Self(0x1c);
    pub const CR0: Self = Self(0x20);
    pub const CR0ACK: Self = Self(0x24);
    pub const CR1: Self = Self(0x28);
    pub const CR2: Self = Self(0x2c);
    pub const GBPA: Self = Self(0x44);
    pub const IRQ_CTRL: Self = Self(0x50);
    pub const IRQ_CTRLACK: Self = Self(0x54);
    pub const GERROR: Self = Self(0x60);
    pub const GERRORN: Self = Self(0x64);
    pub const GERROR_IRQ_CFG0: Self = Self(0x68);
    pub const STRTAB_BASE: Self = Self(0x80);
    pub const STRTAB_BASE_CFG: Self = Self(0x88);
    pub const CMDQ_BASE: Self = Self(0x90);
    pub const CMDQ_PROD: Self = Self(0x98);
    pub const CMDQ_CONS: Self = Self(0x9c);
    pub const EVENTQ_BASE: Self = Self(0xa0);
    pub const EVENTQ_IRQ_CFG0: Self = Self(0xb0);
    // Page 1.
    pub const EVENTQ_PROD: Self = Self(0x1_00a8);
    pub const EVENTQ_CONS: Self = Self(0x1_00ac);

    /// The bytes from the base that have registers.
    pub const BYTES: u64 = 0x2_0000;
}

/// CR0 (IHI 0070, 6.3.9), which CR0ACK follows.
pub mod cr0 {
    /// Transactions are translated.
    pub const SMMUEN: u32 = 1 << 0;
    /// Events are recorded.
    pub const EVENTQEN: u32 = 1 << 2;
    /// Commands are consumed.
    pub const CMDQEN: u32 = 1 << 3;
}

/// CR1 (IHI 0070, 6.3.11): queues and tables in memory that is Write-Back and Inner Shareable, as a CPU's.
pub const CR1: u32 = 3 << 10 | 1 << 8 | 1 << 6 | 3 << 4 | 1 << 2 | 1;

/// CR2 (IHI 0070, 6.3.12).
pub mod cr2 {
    /// Transactions of streams outside the table are recorded.
    pub const RECINVSID: u32 = 1 << 1;
    /// Broadcast TLB maintenance is not heard.
    pub const PTM: u32 = 1 << 2;
}

/// GBPA (IHI 0070, 6.3.14): what becomes of transactions while SMMUEN is 0.
pub mod gbpa {
    /// They are terminated.
    pub const ABORT: u32 = 1 << 20;
    /// Written as 1 with a new value, reads as 1 until it is in force.
    pub const UPDATE: u32 = 1 << 31;
}

/// GERROR and GERRORN (IHI 0070, 6.3.18): an error stands while its bits differ.
pub mod gerror {
    /// A command could not be consumed.
    pub const CMDQ_ERR: u32 = 1 << 0;
    /// An event could not be written.
    pub const EVENTQ_ABT_ERR: u32 = 1 << 2;
    /// An MSI of a CMD_SYNC could not be written.
    pub const MSI_CMDQ_ABT_ERR: u32 = 1 << 4;
    /// The SMMU is in Service Failure Mode.
    pub const SFM_ERR: u32 = 1 << 8;
}

/// Bases of queues and of the stream table: the SMMU reads, or writes, with an allocation hint.
pub(crate) const BASE_HINT: u64 = 1 << 62;
/// EVENTQ_PROD.OVFLG and EVENTQ_CONS.OVACKFLG: the queue has overflowed while they differ.
pub(crate) const OVERFLOW: u32 = 1 << 31;
