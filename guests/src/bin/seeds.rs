//! The seeds of randomness that each life finds in its device tree: says them, for its host to compare, or `seeds: none`; and
//! starts anew some times. The last life says `seeds: ok`.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod guest {
    use core::sync::atomic::{AtomicU64, Ordering};
    use droste_guests::tree::Machine;
    use droste_guests::{RAM_BASE, println, psci, smp, trap};

    droste_guests::guest!(main: main, secondary: smp::none, exception: trap::unexpected_always);

    /// Where the number of the life is: past the image, in memory that is nobody's.
    const LIFE: u64 = RAM_BASE + 0x700_0000;
    /// What stands above that number.
    const MARK: u64 = 0x7365_6564 << 32;
    /// How often it begins.
    const LIVES: u64 = 3;

    fn main(machine: Machine) {
        match machine.seeds {
            Some([rng, kaslr]) => println!("seeds: {rng:016x} {kaslr:016x}"),
            None => println!("seeds: none"),
        }
        // SAFETY: aligned RAM of this machine that the map covers and no Rust object lies in.
        let life = unsafe { AtomicU64::from_ptr(LIFE as *mut u64) };
        let before = life.load(Ordering::Acquire);
        let lives = before.checked_sub(MARK).filter(|lives| *lives < LIVES);
        let now = lives.unwrap_or_default() + 1;
        life.store(MARK + now, Ordering::Release);
        if now < LIVES {
            psci::call(psci::SYSTEM_RESET, [0; 3]);
        }
        life.store(0, Ordering::Release);
        println!("seeds: ok");
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
