//! Accesses to the virtual machine's devices, each exactly one load or store of 32 bits, so that an abort's syndrome
//! always describes it.

use core::arch::asm;

/// A device's registers, by the guest physical address of the first; identity-mapped as Device memory.
#[derive(Clone, Copy)]
pub struct Device {
    base: usize,
    bytes: usize,
}

/// The GIC's distributor.
pub const GICD: Device = Device {
    base: 0x0800_0000,
    bytes: 0x1_0000,
};
/// The PL011.
pub const UART: Device = Device {
    base: 0x0900_0000,
    bytes: 0x1000,
};
/// The PL031.
pub const RTC: Device = Device {
    base: 0x0901_0000,
    bytes: 0x1000,
};
/// Bytes of one vCPU's redistributor: its RD and SGI frames.
pub const GICR_BYTES: usize = 0x2_0000;

impl Device {
    /// The redistributor of a vCPU.
    pub const fn gicr(vcpu: usize) -> Self {
        Self {
            base: 0x080a_0000 + vcpu * GICR_BYTES,
            bytes: GICR_BYTES,
        }
    }

    /// Guest physical address of the first register.
    pub const fn base(self) -> u64 {
        self.base as u64
    }

    /// Extent in bytes.
    pub const fn bytes(self) -> usize {
        self.bytes
    }

    fn register(self, offset: usize) -> usize {
        assert!(
            offset.is_multiple_of(4) && offset < self.bytes,
            "no such register"
        );
        self.base + offset
    }

    /// Reads the register at `offset` bytes.
    #[inline]
    pub fn read(self, offset: usize) -> u32 {
        let value;
        // SAFETY: the address lies in the device, which shares no memory with Rust.
        unsafe {
            asm!("ldr {:w}, [{}]", out(reg) value, in(reg) self.register(offset), options(nostack, preserves_flags));
        }
        value
    }

    /// Writes the register at `offset` bytes.
    #[inline]
    pub fn write(self, offset: usize, value: u32) {
        // SAFETY: the address lies in the device, which shares no memory with Rust.
        unsafe {
            asm!("str {:w}, [{}]", in(reg) value, in(reg) self.register(offset), options(nostack, preserves_flags));
        }
    }
}
