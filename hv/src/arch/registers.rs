//! Registers of a guest that stay in the hardware while it runs, and move when another takes its CPU.

use droste_vdev::timer::{deadline, left};

use super::{isb, mrs, msr};

macro_rules! el1_registers {
    ($($field:ident = $name:literal;)*) => {
        /// System registers of EL1 and EL0.
        #[derive(Default)]
        pub(super) struct El1 { $(pub(super) $field: u64,)* }

        impl El1 {
            pub(super) fn save(&mut self) {
                $(self.$field = mrs!($name);)*
            }

            pub(super) fn load(&self) {
                // SAFETY: these act on EL1 and EL0 alone, where the guest may hold any value it likes.
                unsafe { $(msr!($name, self.$field);)* }
            }
        }
    };
}

el1_registers! {
    sctlr = "sctlr_el1";
    cpacr = "cpacr_el1";
    ttbr0 = "ttbr0_el1";
    ttbr1 = "ttbr1_el1";
    tcr = "tcr_el1";
    mair = "mair_el1";
    amair = "amair_el1";
    vbar = "vbar_el1";
    contextidr = "contextidr_el1";
    esr = "esr_el1";
    afsr0 = "afsr0_el1";
    afsr1 = "afsr1_el1";
    far = "far_el1";
    elr = "elr_el1";
    spsr = "spsr_el1";
    sp = "sp_el1";
    sp_el0 = "sp_el0";
    tpidr = "tpidr_el1";
    tpidr_el0 = "tpidr_el0";
    tpidrro = "tpidrro_el0";
    par = "par_el1";
    cntkctl = "cntkctl_el1";
    csselr = "csselr_el1";
}

macro_rules! key_registers {
    ($($index:literal = $name:literal;)*) => {
        fn save_keys(keys: &mut [u64; 10]) {
            $(keys[$index] = mrs!($name);)*
        }

        fn load_keys(keys: &[u64; 10]) {
            // SAFETY: pointer authentication keys of EL1 and EL0; EL2 signs nothing.
            unsafe { $(msr!($name, keys[$index]);)* }
        }
    };
}

// APIAKey, APIBKey, APDAKey, APDBKey, APGAKey; low and high halves.
key_registers! {
    0 = "S3_0_C2_C1_0"; 1 = "S3_0_C2_C1_1"; 2 = "S3_0_C2_C1_2"; 3 = "S3_0_C2_C1_3";
    4 = "S3_0_C2_C2_0"; 5 = "S3_0_C2_C2_1"; 6 = "S3_0_C2_C2_2"; 7 = "S3_0_C2_C2_3";
    8 = "S3_0_C2_C3_0"; 9 = "S3_0_C2_C3_1";
}

/// The two timers of EL1.
#[derive(Default)]
pub(super) struct Timers {
    virtual_control: u64,
    virtual_compare: u64,
    physical_control: u64,
    physical_compare: u64,
}

impl Timers {
    /// When the earlier of the enabled ones is due, in ticks of the physical counter, where that stands at `now` and
    /// CNTVOFF_EL2 is `offset`.
    pub(super) fn deadline(&self, offset: u64, now: u64) -> Option<u64> {
        let virt = left(self.virtual_control, self.virtual_compare, offset, now);
        let phys = left(self.physical_control, self.physical_compare, 0, now);
        deadline(virt.into_iter().chain(phys).min(), now)
    }

    /// Takes both out of the hardware, and turns them off there: they raise nothing for the next guest.
    pub(super) fn save(&mut self) {
        *self = Self {
            virtual_control: mrs!("cntv_ctl_el0"),
            virtual_compare: mrs!("cntv_cval_el0"),
            physical_control: mrs!("cntp_ctl_el0"),
            physical_compare: mrs!("cntp_cval_el0"),
        };
        // SAFETY: a timer that is off does nothing.
        unsafe {
            msr!("cntv_ctl_el0", 0u64);
            msr!("cntp_ctl_el0", 0u64);
        }
        isb();
    }

    pub(super) fn load(&self) {
        // SAFETY: timers of EL1, whose interrupts EL2 takes and hands to this guest.
        unsafe {
            msr!("cntv_cval_el0", self.virtual_compare);
            msr!("cntv_ctl_el0", self.virtual_control);
            msr!("cntp_cval_el0", self.physical_compare);
            msr!("cntp_ctl_el0", self.physical_control);
        }
    }
}

/// The keys of pointer authentication.
#[derive(Default)]
pub(super) struct Keys([u64; 10]);

/// Whether the CPU signs pointers: ID_AA64ISAR1_EL1 or ISAR2_EL1 names an algorithm.
fn has_pointer_authentication() -> bool {
    const APA_API_GPA_GPI: u64 = 0xff00_0ff0;
    const APA3_GPA3: u64 = 0xff00;
    mrs!("id_aa64isar1_el1") & APA_API_GPA_GPI != 0 || mrs!("S3_0_C0_C6_2") & APA3_GPA3 != 0
}

impl Keys {
    pub(super) fn save(&mut self) {
        if has_pointer_authentication() {
            save_keys(&mut self.0);
        }
    }

    pub(super) fn load(&self) {
        if has_pointer_authentication() {
            load_keys(&self.0);
        }
    }
}
