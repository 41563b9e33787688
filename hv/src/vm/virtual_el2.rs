//! What a virtual machine, and each of its vCPUs, has whose guest is a hypervisor.

use alloc::boxed::Box;
use alloc::format;

use droste_arm64::sysreg::{
    CNTHCTL_EL2, CPTR_EL2, HCR_EL2, ICH_HCR_EL2, ID_AA64MMFR1_EL1, ID_AA64MMFR2_EL1,
    ID_AA64PFR0_EL1, ID_AA64PFR1_EL1, MDCR_EL2, SCTLR_EL1, SCTLR_EL2, SysReg, TCR_EL2, TTBR0_EL2,
    VPIDR_EL2, VTCR_EL2, VTTBR_EL2,
};
use droste_arm64::vncr::{Nv1, PAGE_BYTES, RegisterPage, Slot, slot};
use droste_arm64::{Granule, Pa, Vtcr, Vttbr};
use droste_image as image;
use droste_nested::exception::PstateBits;
use droste_nested::forward::Controls;
use droste_nested::id::{self, Shape};
use droste_nested::pool::Held;
use droste_nested::registers::{File, HostStage1, Known, Loaded, View, VirtualEl2, host_stage1};
use droste_nested::{Current, StageTwoRegisters};
use droste_vdev::Line;
use droste_vdev::gic::{Ich, Interface, Signal};

use super::hcr;
use crate::arch::el2::{Hardware, REGISTER_PAGE, has_nv1, has_register_page, register_page};
use crate::arch::guest_word;
use crate::arch::id::IdRegisters;
use crate::arch::memory::Region;
use crate::arch::vcpu::{Control, Fixed, VectorTable};
use crate::machine::cpu::Cpu;
use crate::machine::error::BuildError;
use crate::memory::contexts::NestedContexts;
use crate::memory::guest_memory::GuestMemory;
use crate::memory::l1_memory::advertised;
use crate::memory::ram::Ram;

const SCTLR_EL1_SLOT: Slot = in_page(SCTLR_EL1);
const SCTLR_EL1_RESET: u64 = 0x30d0_0800;
const HCR: Known = Known::new(HCR_EL2);
const VPIDR: Known = Known::new(VPIDR_EL2);
const SCTLR: Known = Known::new(SCTLR_EL2);
const CPTR: Known = Known::new(CPTR_EL2);
const MDCR: Known = Known::new(MDCR_EL2);
const CNTHCTL: Known = Known::new(CNTHCTL_EL2);
const ICH_HCR: Known = Known::new(ICH_HCR_EL2);
const TCR: Known = Known::new(TCR_EL2);
const TTBR0: Known = Known::new(TTBR0_EL2);
const VTCR: Known = Known::new(VTCR_EL2);
const VTTBR: Known = Known::new(VTTBR_EL2);

/// The place of a register in the register page.
pub(crate) const fn in_page(register: SysReg) -> Slot {
    slot(register, Nv1::Set).expect("it is in the page")
}

/// What a virtual machine has whose guest is a hypervisor.
pub(crate) struct Nested {
    kind: VirtualEl2,
    /// The contexts of its guests.
    pub(crate) contexts: NestedContexts,
    /// A register page for each vCPU.
    register_pages: Region,
}

/// Which EL2 a description asks for.
pub(crate) fn kind_of(el2: image::El2) -> Result<Option<VirtualEl2>, BuildError> {
    let kind = match el2 {
        image::El2::None => return Ok(None),
        image::El2::Vhe => VirtualEl2::Vhe,
        image::El2::Nvhe => VirtualEl2::Nvhe,
    };
    if !(has_register_page() && guest_word::can_exchange()) {
        return Err(BuildError(format!(
            "it is to have EL2 ({}), which takes FEAT_NV2, and these CPUs have none",
            el2.as_str()
        )));
    }
    if kind == VirtualEl2::Nvhe && !has_nv1() {
        let why = "it is to have EL2 without VHE (el2 = \"nvhe\"), which takes HCR_EL2.NV1, and these CPUs have VHE alone: el2 = \"vhe\" works";
        return Err(BuildError(why.into()));
    }
    Ok(Some(kind))
}

/// What a guest with EL2 reads of an identification register: `host` is the real one, `without` what a guest without
/// EL2 reads.
pub(crate) fn identification(
    register: SysReg,
    (host, without): (u64, u64),
    el2: VirtualEl2,
) -> u64 {
    let shape = Shape {
        el2,
        shadow: Granule::Kib4,
    };
    id::value(register, host, without, shape)
}

impl Nested {
    /// For a virtual machine with `memory`, identification `ids`, this many bytes of RAM and vCPUs.
    pub(crate) fn build(
        kind: VirtualEl2,
        memory: &GuestMemory,
        ids: &IdRegisters,
        (bytes, vcpus): (u64, usize),
        ram: &mut Ram,
    ) -> Result<Self, BuildError> {
        let advertised = advertised(ids, memory);
        let register_pages = ram.take(vcpus as u64 * REGISTER_PAGE, REGISTER_PAGE, 0);
        let register_pages =
            register_pages.ok_or_else(|| BuildError("no RAM for its register pages".into()))?;
        Ok(Self {
            kind,
            contexts: NestedContexts::build(memory, advertised, (bytes, vcpus), ram)?,
            register_pages,
        })
    }

    /// The EL2 of vCPU `index` as it comes out of reset, and its control registers, which without EL2 would be
    /// `registers`.
    pub(crate) fn reset(
        &self,
        index: usize,
        ids: &IdRegisters,
        registers: (Fixed, Control),
    ) -> (Box<El2>, (Fixed, Control)) {
        let [pfr0, pfr1, mmfr1, mmfr2] = [
            ID_AA64PFR0_EL1,
            ID_AA64PFR1_EL1,
            ID_AA64MMFR1_EL1,
            ID_AA64MMFR2_EL1,
        ]
        .map(|register| ids.get(register));
        let page = register_page(&self.register_pages, index);
        let bits = PstateBits::new(pfr0, pfr1, mmfr1, mmfr2);
        El2::reset(self.kind, page, bits, registers)
    }
}

/// The EL2 of one vCPU.
pub(crate) struct El2 {
    /// Which EL2 it is.
    pub(crate) kind: VirtualEl2,
    /// Whose registers the hardware's EL1 has, or the parked copy of it.
    pub(crate) loaded: Loaded,
    /// Its register page.
    pub(crate) page: RegisterPage<'static>,
    file: File,
    /// The bits of PSTATE that the vCPU has.
    pub(crate) bits: PstateBits,
    /// The control registers of virtual EL2's world.
    pub(crate) own: Control,
    /// What its guest runs under.
    pub(crate) current: Current,
    /// What stands for its stage 1 in the hardware, without VHE.
    stage1: HostStage1,
    /// Its interrupts and timers.
    pub(crate) interrupts: Interrupts,
}

impl El2 {
    /// EL2 as it comes out of reset, and the control registers to run it with.
    fn reset(
        kind: VirtualEl2,
        (at, page): (Pa, RegisterPage<'static>),
        bits: PstateBits,
        (fixed, control): (Fixed, Control),
    ) -> (Box<Self>, (Fixed, Control)) {
        let vectors = match kind {
            VirtualEl2::Vhe => VectorTable::Vhe,
            VirtualEl2::Nvhe => VectorTable::Plain,
        };
        let own = Control {
            hcr: hcr::of_virtual_el2(control.hcr, kind),
            traps: control
                .traps
                .with_mdscr_open()
                .with_parked_timers_trapped(kind),
            ..control
        };
        let fixed = Fixed {
            vncr: Some(at.0),
            vectors,
            ..fixed
        };
        // Of an earlier life nothing is left, L1's EL1 with its MMU off included.
        (0..PAGE_BYTES as u16)
            .step_by(8)
            .filter_map(Slot::new)
            .for_each(|slot| page.write(slot, 0));
        page.write(SCTLR_EL1_SLOT, SCTLR_EL1_RESET);
        let file = File::reset(kind, page, control.midr, control.mpidr);
        let mut el2 = Self {
            kind,
            loaded: Loaded::El2,
            page,
            file,
            bits,
            own,
            current: Current::NONE,
            stage1: host_stage1(0, 0, 0, 0),
            interrupts: Interrupts::RESET,
        };
        if kind == VirtualEl2::Nvhe {
            el2.derive_stage1();
        }
        (Box::new(el2), (fixed, own))
    }

    /// Virtual EL2's trap controls.
    #[inline]
    pub(crate) fn controls(&mut self) -> Controls {
        Controls {
            el2: self.kind,
            hcr: self.get(HCR),
            cptr: self.get(CPTR),
            mdcr: self.get(MDCR),
            cnthctl: self.get(CNTHCTL),
            ich_hcr: self.get(ICH_HCR),
        }
    }

    /// Loads what stands for its stage 1, where that is of another form than EL1's.
    #[inline]
    pub(crate) fn load_stage1(&self) {
        if self.kind == VirtualEl2::Nvhe {
            Hardware::load_stage1(&self.stage1);
        }
    }

    /// What stands for its stage 1 in the hardware, from its registers as they are.
    pub(crate) fn derive_stage1(&mut self) {
        let [sctlr, tcr, ttbr0, cptr] = [SCTLR, TCR, TTBR0, CPTR].map(|r| self.get(r));
        self.stage1 = host_stage1(sctlr, tcr, ttbr0, cptr);
    }

    /// Binds it to the CPU that its vCPU runs on.
    pub(crate) fn bind_to(&mut self, cpu: &Cpu) {
        self.own = self.own.on(cpu.model());
        let midr = self.own.midr;
        self.view(&mut Hardware).set(VPIDR, midr);
    }

    /// Whether virtual EL2 has the hardware's timers and EL1 registers, and not its guest.
    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded == Loaded::El2
    }

    /// The context of the world that is loaded, if that is its guest's.
    #[inline]
    pub(crate) fn context(&self) -> Option<&Held> {
        if self.is_loaded() {
            return None;
        }
        self.current.held()
    }

    /// Whether the list registers are its guest's.
    pub(crate) fn has_guests_lists(&self) -> bool {
        self.interrupts.has_guests_lists()
    }

    /// When the next of its timers fires that is not in the hardware, in ticks of the physical counter.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.interrupts.deadline
    }

    /// All of its registers, with those that stand for some in `twins`.
    #[inline]
    pub(crate) fn view<'a>(&'a mut self, twins: &'a mut Hardware) -> View<'a, Hardware> {
        View {
            el2: self.kind,
            loaded: self.loaded,
            page: self.page,
            file: &mut self.file,
            twins,
        }
    }

    /// One of its registers.
    #[expect(
        clippy::inline_always,
        reason = "left to the compiler it is a call, and a trap costs a quarter more"
    )]
    #[inline(always)]
    pub(crate) fn get(&mut self, register: Known) -> u64 {
        self.view(&mut Hardware).get(register)
    }

    /// Its HCR_EL2.
    #[inline]
    pub(crate) fn hcr(&mut self) -> u64 {
        self.get(HCR)
    }

    /// The registers of its guest's stage 2.
    #[inline]
    pub(crate) fn stage2(&mut self) -> StageTwoRegisters {
        StageTwoRegisters {
            hcr: self.get(HCR),
            sctlr: self.get(SCTLR),
            vtcr: Vtcr(self.get(VTCR)),
            vttbr: Vttbr(self.get(VTTBR)),
        }
    }
}

/// Whose the list registers are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListRegisters {
    /// Virtual EL2's, or its EL1's.
    Own,
    /// Its guest's: virtual EL2 does not run meanwhile.
    Guests,
    /// Its guest's, and nothing is in them: what it set is in the page alone.
    Bare,
}

/// What waits for virtual EL2 while the list registers are its guest's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing that was not given to it.
    Nothing,
    /// The VM's GIC has to say: something may have become pending since it was asked.
    Unknown,
    /// It said this.
    Known(Option<Signal>),
}

/// What of a vCPU with EL2 its interrupts are.
pub(crate) struct Interrupts {
    /// Whose the list registers are.
    pub(crate) lists: ListRegisters,
    /// Its own CPU interface, if they are its guest's.
    pub(crate) own: Interface,
    /// Which of its interrupts are its EL1's all the same.
    pub(crate) left: Option<Signal>,
    /// Accesses of an EL1 with the list registers of its own that trap to virtual EL2 (ICH_HCR_EL2).
    pub(crate) traps: u64,
    /// Whether nothing was going on of its own interrupts when its CPU looked last, kicks since then aside.
    pub(crate) is_quiet: bool,
    /// What it had set for its guest, if they are and not bare.
    pub(crate) guest: Ich,
    /// What the hardware has of them, where they are `guest`.
    pub(crate) hardware: Ich,
    /// What its maintenance interrupt's line is.
    pub(crate) maintenance: Line,
    /// What the timers that are not in the hardware drive on their lines.
    pub(crate) timers: [Line; 2],
    /// What waits for virtual EL2.
    pub(crate) due: Due,
    /// When the next of the timers that are not in the hardware fires, in ticks of the physical counter.
    pub(crate) deadline: Option<u64>,
    /// CNTVOFF_EL2 that those two follow from. Virtual EL2 writes it to its page, where nobody sees it.
    pub(crate) offset: u64,
}

impl Interrupts {
    /// Whether the list registers are its guest's.
    #[inline]
    pub(crate) fn has_guests_lists(&self) -> bool {
        self.lists != ListRegisters::Own
    }

    /// Out of reset.
    pub(crate) const RESET: Self = Self {
        lists: ListRegisters::Own,
        is_quiet: false,
        own: Interface::RESET,
        left: None,
        traps: 0,
        guest: Ich::RESET,
        hardware: Ich::RESET,
        maintenance: Line::Low,
        timers: [Line::Low; 2],
        due: Due::Nothing,
        deadline: None,
        offset: 0,
    };
}
