//! What the bare-metal test guests share: the way from the boot protocol into Rust, exceptions, an identity map,
//! a console, the GIC, PSCI and the device tree.
//!
//! A guest is a flat arm64 `Image` that runs at EL1, or at EL2 if it is a hypervisor itself. It
//! declares itself with [`guest!`], prints what it finds on the
//! PL011, says its own success marker and ends by PSCI SYSTEM_OFF, whatever happens: a panic says so and switches
//! off as well. The same images run under Droste and on the bare machine that QEMU calls `virt`.
//!
//! Unsafe code is confined to the modules that talk to the machine: [`code`], [`cpu`], [`el2`], [`fpu`], [`map`], [`mmio`],
//! [`smp`], [`stage2`], [`trap`], [`tree`] (the boot protocol's pointer), and what a guest itself must execute raw.
//! [`encode`] builds instructions and is plain logic, tested on the host, as are [`random`], [`fpu`]'s patterns, the
//! table of [`trials`] and the programs of [`differ`].

#![cfg_attr(not(test), no_std)]

pub mod differ;
pub mod encode;

// One text, since macros are known where they are defined.
#[cfg(target_os = "none")]
core::arch::global_asm!(
    include_str!("registers.s"),
    include_str!("levels.s"),
    include_str!("start.s"),
    include_str!("el1.s"),
    include_str!("el2.s"),
    include_str!("fpu.s"),
    include_str!("programs.s"),
);
#[cfg(target_os = "none")]
pub mod checks;
#[cfg(target_os = "none")]
pub mod code;
#[cfg(target_os = "none")]
pub mod console;
#[cfg(target_os = "none")]
pub mod cpu;
#[cfg(target_os = "none")]
pub mod el2;
pub mod fpu;
#[cfg(target_os = "none")]
pub mod gic;
#[cfg(target_os = "none")]
mod guest;
#[cfg(target_os = "none")]
pub mod lines;
#[cfg(target_os = "none")]
pub mod map;
#[cfg(target_os = "none")]
pub mod mmio;
#[cfg(target_os = "none")]
pub mod programs;
#[cfg(target_os = "none")]
pub mod psci;
pub mod random;
#[cfg(target_os = "none")]
pub mod smp;
#[cfg(target_os = "none")]
pub mod stage2;
#[cfg(target_os = "none")]
pub mod time;
#[cfg(target_os = "none")]
pub mod trap;
#[cfg(target_os = "none")]
pub mod tree;
pub mod trials;

/// Base of the virtual machine's RAM, as a guest physical address.
pub const RAM_BASE: u64 = 0x4000_0000;

/// Bytes of a level 2 block with 4 KiB granules.
pub const BLOCK: u64 = 0x20_0000;
