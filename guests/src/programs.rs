//! Small programs for worlds, by the guest physical address of their first instruction. `programs.s` says what each does.

use crate::map;

macro_rules! programs {
    ($($(#[$doc:meta])* $name:ident = $symbol:literal;)*) => {
        $(
            $(#[$doc])*
            pub fn $name() -> u64 {
                unsafe extern "C" {
                    #[link_name = $symbol]
                    fn program();
                }
                map::address_of(program as *const ())
            }
        )*
    };
}

programs! {
    /// HVC #0x2a, again and again.
    hvc = "program_hvc";
    /// SVC #0x17, again and again.
    svc = "program_svc";
    /// Loads of a word at x0 into x1, again and again.
    load = "program_load";
    /// x2 loads of a word at x0 into x1, then HVC #0.
    load_and_count = "program_load_and_count";
    /// Loads from x0 and stores to x1, of several widths, x2 times a page further on, then HVC #0.
    prowl = "program_prowl";
    /// Stores to x2 addresses from x0 on, x1 bytes apart, then HVC #0.
    touch = "program_touch";
    /// Reads of ID_AA64PFR0_EL1 into x1, again and again.
    identify = "program_identify";
    /// Nothing, for ever.
    spin = "program_spin";
    /// Takes interrupts as a vCPU that was just started, for ever.
    serve = "program_serve";
    /// Vectors for an EL1 whose EL2 traps SMC: SMC #0x100 and the number of the vector, then ERET.
    vectors = "program_vectors";
}
