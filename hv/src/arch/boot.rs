//! From the boot loader's first instruction to Rust under stage 1, for the boot CPU and for the secondaries.
//!
//! `boot.s` relocates the image and gives each CPU its stack ([`image`](super::image)).

use droste_arm64::Pa;
use droste_arm64::vhe::{Layout, el12_instruction};

use super::image::layout;
use super::layout::{has_e2h0, has_vhe};
use super::mmu::MmuRegisters;
use super::{MAX_CPUS, cache, memory, mmu};

core::arch::global_asm!(include_str!("boot.s"));

unsafe extern "C" {
    fn secondary_entry();
}

/// Chooses how EL2 has its registers on all CPUs, and returns HCR_EL2. With E2H = 1 each instruction of EL2 that names a
/// register of EL1 is made to say the other name that it has then: to the code the registers of EL1 are what they are called.
/// Runs once, with the MMU off: no atomic read-modify-write, and what the boot loader left of the tree in caches is not
/// seen. `boot.s` cleans caches of what is written here.
#[unsafe(no_mangle)]
extern "C" fn choose_layout(device_tree: u64) -> u64 {
    let is_asked = || {
        let tree = memory::device_tree(Pa(device_tree));
        droste_devtree::boot_option(tree, "droste.e2h") == Some("1")
    };
    let chosen = if !has_e2h0() || has_vhe() && is_asked() {
        Layout::E2h1
    } else {
        Layout::E2h0
    };
    if chosen == Layout::E2h1 {
        // SAFETY: none of the instructions that are changed is executed or read before caches are cleaned; with the MMU
        // off text can be written.
        let text = unsafe { memory::words(layout().text) };
        for word in text {
            if let Some(instruction) = el12_instruction(*word) {
                *word = instruction;
            }
        }
    }
    droste_arm64::hcr::RW | chosen.hcr()
}

/// Builds the first stage-1 map, for an EL2 with this HCR_EL2. Runs with the MMU off: no atomic read-modify-write, no
/// unaligned access.
#[unsafe(no_mangle)]
extern "C" fn boot_tables(device_tree: u64, hcr: u64) -> *const MmuRegisters {
    mmu::build(&layout(), Pa(device_tree), hcr)
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
    assert!(core::mem::offset_of!(SecondaryBoot, cpu) == 40 && size_of::<MmuRegisters>() == 40);

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
