//! From the boot loader's first instruction to Rust under stage 1, for the boot CPU and for the secondaries.
//!
//! `boot.s` relocates the image and gives each CPU its stack ([`image`](super::image)).

use droste_arm64::Pa;

use super::image::layout;
use super::mmu::MmuRegisters;
use super::{MAX_CPUS, cache, mmu, mrs};

core::arch::global_asm!(include_str!("boot.s"));

unsafe extern "C" {
    fn secondary_entry();
}

/// Builds the first stage-1 map. Runs with the MMU off: no atomic read-modify-write, no unaligned access.
#[unsafe(no_mangle)]
extern "C" fn boot_tables(device_tree: u64) -> *const MmuRegisters {
    mmu::build(&layout(), Pa(device_tree))
}

/// Defines what `boot.s` calls under stage 1: `$primary` is told where the device tree is, `$secondary` which CPU it is, by
/// the index that [`secondary_start`] was given.
macro_rules! entries {
    ($primary:path, $secondary:path) => {
        /// The boot CPU under its own stage 1.
        #[unsafe(no_mangle)]
        extern "C" fn primary_main(device_tree: u64) -> ! {
            $crate::arch::vcpu::VectorTable::Plain.load();
            $primary(droste_arm64::Pa(device_tree))
        }

        /// A secondary CPU under stage 1.
        #[unsafe(no_mangle)]
        extern "C" fn secondary_main(cpu: u64) -> ! {
            $crate::arch::vcpu::VectorTable::Plain.load();
            $secondary(cpu as usize)
        }
    };
}

pub(crate) use entries;

/// What `secondary_entry` reads with the MMU off. Field offsets are fixed there.
#[repr(C)]
struct SecondaryBoot {
    mmu: MmuRegisters,
    cpu: u64,
}

// What boot.s was written for.
const _: () =
    assert!(core::mem::offset_of!(SecondaryBoot, cpu) == 32 && size_of::<MmuRegisters>() == 32);

/// The address and context argument for PSCI CPU_ON that bring CPU `cpu` to its [entry](entries).
pub(crate) fn secondary_start(cpu: usize) -> (u64, u64) {
    assert!(cpu < MAX_CPUS, "CPU {cpu} has no stack");
    let boot = alloc::boxed::Box::leak(alloc::boxed::Box::new(SecondaryBoot {
        mmu: mmu::registers(),
        cpu: cpu as u64,
    }));
    let address = (&raw const *boot) as u64;
    cache::clean_invalidate(Pa(address), size_of::<SecondaryBoot>() as u64);
    (secondary_entry as *const () as u64, address)
}

/// Whether the CPU lets EL2 run without the Virtualization Host Extensions' register layout (E2H = 0), as Droste does:
/// ID_AA64MMFR4_EL1.E2H0 is not negative. CPUs from before that field may have E2H as 1 for good, and show it in HCR_EL2;
/// a virtual EL2 by FEAT_NV2 has HCR_EL2 in memory, where it is what was written.
pub(crate) fn has_e2h0() -> bool {
    const E2H0_SIGN: u64 = 1 << 27;
    const E2H: u64 = 1 << 34;
    mrs!("S3_0_C0_C7_4") & E2H0_SIGN == 0 && mrs!("hcr_el2") & E2H == 0
}
