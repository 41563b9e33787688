//! A virtual CPU's registers, in memory and in the hardware, and the way into and out of the guest.
//!
//! EL2 uses none of EL1's registers and none of the vector registers, so a guest's stay in the hardware across its
//! exits: only the general registers are saved there. The rest moves when another virtual CPU takes the physical one.

use alloc::boxed::Box;

use droste_vdev::sysreg::DebugRegisters;

use super::{isb, mrs, msr};
use crate::cpu::Cpu;
use crate::exit;
use crate::vcpu::Vcpu;

core::arch::global_asm!(include_str!("vectors.s"));

unsafe extern "C" {
    fn enter_first_guest(state: *mut Registers, cpu: u64) -> !;
}

/// What `vectors.s` saves and restores at each exit; it knows the offsets.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Registers {
    x: [u64; 31],
    /// Where the guest goes on.
    pub(crate) pc: u64,
    /// Its PSTATE, as SPSR_EL2 holds it.
    pub(crate) pstate: u64,
}

impl Registers {
    /// General register `n` as an instruction names it: 31 reads as zero.
    #[inline]
    pub(crate) fn get(&self, n: u8) -> u64 {
        self.x.get(usize::from(n)).copied().unwrap_or(0)
    }

    /// Sets general register `n`; 31 discards.
    #[inline]
    pub(crate) fn set(&mut self, n: u8, value: u64) {
        if let Some(x) = self.x.get_mut(usize::from(n)) {
            *x = value;
        }
    }

    /// Steps over the instruction that was emulated.
    #[inline]
    pub(crate) fn skip(&mut self, bytes: u64) {
        const BTYPE: u64 = 3 << 10;
        const SINGLE_STEP: u64 = 1 << 21;
        self.pc = self.pc.wrapping_add(bytes);
        self.pstate &= !(BTYPE | SINGLE_STEP);
    }
}

/// A virtual CPU as its physical CPU holds it while it runs, and as it lies parked in between.
#[repr(C)]
pub(crate) struct VcpuState {
    /// First, for `vectors.s` finds them at the address in TPIDR_EL2.
    pub(crate) registers: Registers,
    /// Whose registers these are.
    pub(crate) vcpu: &'static Vcpu,
    /// The physical CPU.
    pub(crate) cpu: &'static Cpu,
    /// How many list registers may hold something.
    pub(crate) lists_used: usize,
    /// Its debug registers, all of which trap.
    pub(crate) debug: DebugRegisters,
    control: Control,
    el1: El1,
    timers: Timers,
    lists: VirtualInterface,
    vectors: Vectors,
}

/// Control registers of EL2 that differ from one virtual CPU to another.
#[derive(Clone, Copy)]
pub(crate) struct Control {
    /// HCR_EL2.
    pub(crate) hcr: u64,
    /// VTCR_EL2, of the VM.
    pub(crate) vtcr: u64,
    /// VMPIDR_EL2.
    pub(crate) mpidr: u64,
}

macro_rules! el1_registers {
    ($($field:ident = $name:literal;)*) => {
        /// System registers of EL1 and EL0.
        #[derive(Default)]
        struct El1 { $($field: u64,)* }

        impl El1 {
            fn save(&mut self) {
                $(self.$field = mrs!($name);)*
            }

            fn load(&self) {
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
struct Timers {
    virtual_control: u64,
    virtual_compare: u64,
    physical_control: u64,
    physical_compare: u64,
}

/// The virtual CPU interface of the GIC but its list registers, which are folded into the VM's GIC instead.
#[derive(Default)]
struct VirtualInterface {
    vmcr: u64,
    active_priorities: [[u64; 4]; 2],
}

#[repr(C, align(16))]
struct Vectors {
    v: [u128; 32],
    fpcr: u64,
    fpsr: u64,
    keys: [u64; 10],
}

impl VcpuState {
    /// A virtual CPU as it comes out of reset, which `vcpu` will run on `cpu`: at `pc` in EL1 with the MMU off,
    /// interrupts masked, and `argument` in x0.
    pub(crate) fn new(
        vcpu: &'static Vcpu,
        cpu: &'static Cpu,
        control: Control,
        pc: u64,
        argument: u64,
    ) -> Box<Self> {
        const EL1H_MASKED: u64 = 0x3c5;
        const SCTLR_RES1: u64 = 0x30d0_0800;
        let mut registers = Registers {
            pc,
            pstate: EL1H_MASKED,
            ..Registers::default()
        };
        registers.set(0, argument);
        Box::new(Self {
            registers,
            vcpu,
            cpu,
            lists_used: 0,
            debug: DebugRegisters::new(),
            control,
            el1: El1 {
                sctlr: SCTLR_RES1,
                ..El1::default()
            },
            timers: Timers::default(),
            lists: VirtualInterface::default(),
            vectors: Vectors {
                v: [0; 32],
                fpcr: 0,
                fpsr: 0,
                keys: [0; 10],
            },
        })
    }

    /// When the earlier of its enabled timers is due, in ticks of the physical counter. Right while it is parked.
    pub(crate) fn timer_deadline(&self) -> Option<u64> {
        let t = &self.timers;
        let virt = droste_vdev::timer::deadline(t.virtual_control, t.virtual_compare, 0);
        let phys = droste_vdev::timer::deadline(t.physical_control, t.physical_compare, 0);
        virt.into_iter().chain(phys).min()
    }

    /// Takes the guest's registers out of the hardware. Its list registers are folded already.
    pub(crate) fn save(&mut self) {
        self.el1.save();
        self.timers = Timers {
            virtual_control: mrs!("cntv_ctl_el0"),
            virtual_compare: mrs!("cntv_cval_el0"),
            physical_control: mrs!("cntp_ctl_el0"),
            physical_compare: mrs!("cntp_cval_el0"),
        };
        // SAFETY: a timer that is off raises nothing for the next guest.
        unsafe {
            msr!("cntv_ctl_el0", 0u64);
            msr!("cntp_ctl_el0", 0u64);
        }
        isb();
        self.lists.save();
        self.vectors.save();
    }

    /// Puts the guest's registers into the hardware. Its stage 2 and its list registers come separately.
    pub(crate) fn load(&self) {
        self.control.load();
        self.el1.load();
        // SAFETY: timers of EL1, whose interrupts EL2 takes and hands to this guest.
        unsafe {
            msr!("cntv_cval_el0", self.timers.virtual_compare);
            msr!("cntv_ctl_el0", self.timers.virtual_control);
            msr!("cntp_cval_el0", self.timers.physical_compare);
            msr!("cntp_ctl_el0", self.timers.physical_control);
        }
        self.lists.load();
        self.vectors.load();
        self.load_debug();
        isb();
    }

    /// Gives the hardware what it needs of the guest's debug registers.
    pub(crate) fn load_debug(&self) {
        // SAFETY: MDSCR_EL1 enables debug exceptions of EL1 and EL0 alone; EL2 routes none to itself.
        unsafe { msr!("mdscr_el1", self.debug.hardware_mdscr()) }
    }
}

impl Control {
    fn load(&self) {
        // SAFETY: values that `Vm` composed: the guest stays at EL1 and EL0 under stage 2, its interrupts virtual.
        unsafe {
            msr!("hcr_el2", self.hcr);
            msr!("vtcr_el2", self.vtcr);
            msr!("vmpidr_el2", self.mpidr);
            msr!("vpidr_el2", super::id::midr());
        }
    }
}

impl VirtualInterface {
    /// Active-priority registers of each group: 1, 2 or 4 by the implemented preemption bits (IHI 0069, ICH_VTR_EL2).
    fn priority_registers() -> usize {
        let preemption_bits = (mrs!("S3_4_C12_C11_1") >> 26 & 7) + 1;
        1 << (preemption_bits - 5).min(2)
    }

    fn save(&mut self) {
        self.vmcr = mrs!("S3_4_C12_C11_7");
        let count = Self::priority_registers();
        let [group0, group1] = &mut self.active_priorities;
        group0[0] = mrs!("S3_4_C12_C8_0");
        group1[0] = mrs!("S3_4_C12_C9_0");
        if count > 1 {
            group0[1] = mrs!("S3_4_C12_C8_1");
            group1[1] = mrs!("S3_4_C12_C9_1");
        }
        if count > 2 {
            group0[2] = mrs!("S3_4_C12_C8_2");
            group0[3] = mrs!("S3_4_C12_C8_3");
            group1[2] = mrs!("S3_4_C12_C9_2");
            group1[3] = mrs!("S3_4_C12_C9_3");
        }
    }

    fn load(&self) {
        let count = Self::priority_registers();
        let [group0, group1] = &self.active_priorities;
        // SAFETY: state of the guest's virtual CPU interface alone.
        unsafe {
            msr!("S3_4_C12_C11_7", self.vmcr);
            msr!("S3_4_C12_C8_0", group0[0]);
            msr!("S3_4_C12_C9_0", group1[0]);
            if count > 1 {
                msr!("S3_4_C12_C8_1", group0[1]);
                msr!("S3_4_C12_C9_1", group1[1]);
            }
            if count > 2 {
                msr!("S3_4_C12_C8_2", group0[2]);
                msr!("S3_4_C12_C8_3", group0[3]);
                msr!("S3_4_C12_C9_2", group1[2]);
                msr!("S3_4_C12_C9_3", group1[3]);
            }
        }
    }
}

/// Whether the CPU signs pointers: ID_AA64ISAR1_EL1 or ISAR2_EL1 names an algorithm.
fn has_pointer_authentication() -> bool {
    const APA_API_GPA_GPI: u64 = 0xff00_0ff0;
    const APA3_GPA3: u64 = 0xff00;
    mrs!("id_aa64isar1_el1") & APA_API_GPA_GPI != 0 || mrs!("S3_0_C0_C6_2") & APA3_GPA3 != 0
}

macro_rules! vector_registers {
    ($instruction:literal, $base:expr) => {
        core::arch::asm!(
            ".arch_extension fp",
            concat!($instruction, " q0, q1, [{b}]"), concat!($instruction, " q2, q3, [{b}, #32]"),
            concat!($instruction, " q4, q5, [{b}, #64]"), concat!($instruction, " q6, q7, [{b}, #96]"),
            concat!($instruction, " q8, q9, [{b}, #128]"), concat!($instruction, " q10, q11, [{b}, #160]"),
            concat!($instruction, " q12, q13, [{b}, #192]"), concat!($instruction, " q14, q15, [{b}, #224]"),
            concat!($instruction, " q16, q17, [{b}, #256]"), concat!($instruction, " q18, q19, [{b}, #288]"),
            concat!($instruction, " q20, q21, [{b}, #320]"), concat!($instruction, " q22, q23, [{b}, #352]"),
            concat!($instruction, " q24, q25, [{b}, #384]"), concat!($instruction, " q26, q27, [{b}, #416]"),
            concat!($instruction, " q28, q29, [{b}, #448]"), concat!($instruction, " q30, q31, [{b}, #480]"),
            ".arch_extension nofp",
            b = in(reg) $base, options(nostack, preserves_flags)
        )
    };
}

impl Vectors {
    fn save(&mut self) {
        // SAFETY: stores 32 registers into `v`, which holds as many.
        unsafe { vector_registers!("stp", self.v.as_mut_ptr()) }
        self.fpcr = mrs!("S3_3_C4_C4_0");
        self.fpsr = mrs!("S3_3_C4_C4_1");
        if has_pointer_authentication() {
            save_keys(&mut self.keys);
        }
    }

    fn load(&self) {
        // SAFETY: this code is compiled without vector registers, so all are the guest's.
        unsafe {
            vector_registers!("ldp", self.v.as_ptr());
            msr!("S3_3_C4_C4_0", self.fpcr);
            msr!("S3_3_C4_C4_1", self.fpsr);
        }
        if has_pointer_authentication() {
            load_keys(&self.keys);
        }
    }
}

/// Traps and controls of EL2 that are the same for every guest. Once a CPU.
pub(crate) fn init_cpu() {
    const CPTR_RES1: u64 = 0x33ff; // traps SVE and SME, where there are such
    const CPTR_TRACE: u64 = 1 << 20;
    const CPTR_ACTIVITY_MONITORS: u64 = 1 << 30;
    const CNTHCTL_EL1_PHYSICAL: u64 = 0b11; // counter and timer
    const MDCR_DEBUG: u64 = 1 << 9 | 1 << 10 | 1 << 11; // TDA, TDOSA, TDRA
    const MDCR_PERFORMANCE: u64 = 1 << 6 | 1 << 5; // TPM, TPMCR
    const MDCR_TRACE_FILTER: u64 = 1 << 19;
    const MDCR_STATISTICAL: u64 = 1 << 14; // TPMS
    const PMCR_N: u64 = 0x1f << 11;
    let has_pmu = !matches!(mrs!("id_aa64dfr0_el1") >> 8 & 0xf, 0 | 0xf);
    let counters = if has_pmu {
        (mrs!("pmcr_el0") & PMCR_N) >> 11
    } else {
        0
    };
    let has_hcrx = mrs!("id_aa64mmfr1_el1") >> 40 & 0xf != 0;
    let has_mops = mrs!("S3_0_C0_C6_2") >> 16 & 0xf != 0;
    // SAFETY: EL2 controls. Counters stay with EL1 in MDCR_EL2.HPMN, all of whose accesses trap.
    unsafe {
        msr!("cptr_el2", CPTR_RES1 | CPTR_TRACE | CPTR_ACTIVITY_MONITORS);
        msr!("hstr_el2", 0u64);
        msr!(
            "mdcr_el2",
            MDCR_DEBUG | MDCR_PERFORMANCE | MDCR_TRACE_FILTER | MDCR_STATISTICAL | counters
        );
        msr!("cnthctl_el2", CNTHCTL_EL1_PHYSICAL);
        msr!("oslar_el1", 0u64); // the guest's own OS lock is kept in software
        msr!("cntvoff_el2", 0u64); // both of a guest's counters agree
        msr!("cnthp_ctl_el2", 0u64);
        msr!("cntv_ctl_el0", 0u64);
        msr!("cntp_ctl_el0", 0u64);
        if has_hcrx {
            const MSCEN: u64 = 1 << 11;
            msr!("S3_4_C1_C2_2", if has_mops { MSCEN } else { 0 }); // HCRX_EL2
        }
        clear_fine_grained_traps();
    }
    isb();
}

/// Fine-grained trap registers come out of reset unknown; zero traps what is newer than this code and nothing else.
///
/// # Safety
///
/// At EL2 only.
unsafe fn clear_fine_grained_traps() {
    let level = mrs!("S3_0_C0_C7_0") >> 56 & 0xf; // ID_AA64MMFR0_EL1.FGT
    if level == 0 {
        return;
    }
    let has_activity_monitors = mrs!("id_aa64pfr0_el1") >> 44 & 0xf != 0;
    // SAFETY: FEAT_FGT has these five, FEAT_FGT2 the next five; AMU's comes with both features.
    unsafe {
        msr!("S3_4_C1_C1_4", 0u64); // HFGRTR_EL2
        msr!("S3_4_C1_C1_5", 0u64); // HFGWTR_EL2
        msr!("S3_4_C1_C1_6", 0u64); // HFGITR_EL2
        msr!("S3_4_C3_C1_4", 0u64); // HDFGRTR_EL2
        msr!("S3_4_C3_C1_5", 0u64); // HDFGWTR_EL2
        if has_activity_monitors {
            msr!("S3_4_C3_C1_6", 0u64); // HAFGRTR_EL2
        }
        if level >= 2 {
            msr!("S3_4_C3_C1_0", 0u64); // HDFGRTR2_EL2
            msr!("S3_4_C3_C1_1", 0u64); // HDFGWTR2_EL2
            msr!("S3_4_C3_C1_2", 0u64); // HFGRTR2_EL2
            msr!("S3_4_C3_C1_3", 0u64); // HFGWTR2_EL2
            msr!("S3_4_C3_C1_7", 0u64); // HFGITR2_EL2
        }
    }
}

/// What the hardware says of an exit; the registers keep their values until the next exception.
pub(crate) struct Fault;

impl Fault {
    /// ESR_EL2.
    #[inline]
    pub(crate) fn syndrome() -> droste_arm64::esr::Esr {
        droste_arm64::esr::Esr(mrs!("esr_el2"))
    }

    /// FAR_EL2: the faulting virtual address.
    #[inline]
    pub(crate) fn address() -> u64 {
        mrs!("far_el2")
    }

    /// HPFAR_EL2: the faulting page.
    #[inline]
    pub(crate) fn page() -> u64 {
        mrs!("hpfar_el2")
    }

    /// The IPA of `far` by the guest's own stage 1, for faults that leave HPFAR_EL2 unknown (DDI 0487, D24.2.60);
    /// `None` where the guest has unmapped it meanwhile.
    pub(crate) fn translate(far: u64) -> Option<u64> {
        const FAILED: u64 = 1;
        const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
        let guest_par = mrs!("par_el1");
        // SAFETY: AT reads the guest's tables as the guest would.
        unsafe {
            core::arch::asm!("at s1e1r, {}", in(reg) far, options(nostack, preserves_flags));
        }
        isb();
        let result = mrs!("par_el1");
        // SAFETY: puts the guest's own value back.
        unsafe { msr!("par_el1", guest_par) }
        (result & FAILED == 0).then_some(result & ADDRESS | far & 0xfff)
    }
}

/// Registers of EL1 that an exception taken there sets; the guest's are in the hardware.
pub(crate) struct ExceptionRegisters;

impl ExceptionRegisters {
    /// SCTLR_EL1 and VBAR_EL1.
    pub(crate) fn control() -> (u64, u64) {
        (mrs!("sctlr_el1"), mrs!("vbar_el1"))
    }

    /// Sets what EL1's handler reads: ESR_EL1, ELR_EL1, SPSR_EL1, and FAR_EL1 where the exception has an address.
    pub(crate) fn set(esr: u64, elr: u64, spsr: u64, far: Option<u64>) {
        // SAFETY: EL1's registers, written as the architecture does when EL1 takes an exception.
        unsafe {
            msr!("esr_el1", esr);
            msr!("elr_el1", elr);
            msr!("spsr_el1", spsr);
            if let Some(far) = far {
                msr!("far_el1", far);
            }
        }
    }

    /// Makes a virtual SError pending for the loaded guest (HCR_EL2.VSE).
    pub(crate) fn pend_serror() {
        const VSE: u64 = 1 << 8;
        let hcr = mrs!("hcr_el2");
        // SAFETY: only adds the virtual SError.
        unsafe { msr!("hcr_el2", hcr | VSE) }
    }
}

/// Enters a guest on this CPU for the first time; its later exits come to the handlers below.
pub(crate) fn enter(state: Box<VcpuState>) -> ! {
    let cpu = state.cpu.index as u64;
    let state = set_current(state);
    // SAFETY: `state` stays valid until an exit's handler takes it back; the stack above is abandoned for good.
    unsafe { enter_first_guest(state.cast(), cpu) }
}

/// Names `state` to `vectors.s`, which owns it until the next exit.
#[inline]
fn set_current(state: Box<VcpuState>) -> *mut VcpuState {
    let state = Box::into_raw(state);
    // SAFETY: TPIDR_EL2 is ours; vectors.s reads the pointer back.
    unsafe { msr!("tpidr_el2", state) }
    state
}

macro_rules! handler {
    ($(#[$doc:meta])* $name:ident => $function:path) => {
        $(#[$doc])*
        #[unsafe(no_mangle)]
        extern "C" fn $name(state: *mut VcpuState) -> *mut VcpuState {
            // SAFETY: `state` is the box that `set_current` gave away; the guest ran in between and nobody else.
            let state = unsafe { Box::from_raw(state) };
            set_current($function(state))
        }
    };
}

handler!(
    /// A synchronous exception from a guest.
    handle_sync => exit::synchronous
);
handler!(
    /// An interrupt while a guest ran.
    handle_irq => exit::interrupt
);
handler!(
    /// An SError while a guest ran.
    handle_serror => exit::serror
);
