//! The physical GICv3: set-up through `arm-gic`, the CPU interface and the virtual one by system register.
//!
//! EOImode is 1: reading IAR acknowledges, [`drop_priority`] lets further interrupts in, [`deactivate`] ends the
//! interrupt. One that is handed to a guest is left active; the guest's own end-of-interrupt deactivates it through
//! the list register's hardware link (IHI 0069, 5.2.4 and 4.6).

use core::ops::Range;
use core::ptr::NonNull;

pub(crate) use arm_gic::Trigger;
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{GicDistributor, GicRedistributor};
use arm_gic::{IntId, UniqueMmioPointer};
use droste_arm64::Pa;
use droste_vdev::gic::{Bare, Interface, Vmcr, Vtr, undisputed};

use super::{isb, mrs, msr};

/// No interrupt is pending.
pub(crate) const SPURIOUS: u32 = 1023;

/// Priority of what guests can raise without pause, kicks and maintenance interrupts: below that of all others, which is
/// `arm-gic`'s 0x80, so that they keep no timer of EL2's and no device waiting.
const RAISED_BY_GUESTS: u8 = 0xc0;
const FIRST_PPI: u32 = 16;
const FIRST_SPI: u32 = 32;
const AFFINITY: u64 = 0xff_00ff_ffff;
const GICD_ICACTIVER: u64 = 0x380;
const GICD_ISPENDR: u64 = 0x200;
const GICD_ICPENDR: u64 = 0x280;
const GICD_ICFGR: u64 = 0xc00;
const SGI_FRAME: u64 = 0x1_0000;
const SMALLEST_REDISTRIBUTOR: u64 = 0x2_0000;
const GICR_TYPER: u64 = 8;
const GICR_ISACTIVER0: u64 = SGI_FRAME + 0x300;
const GICR_ICACTIVER0: u64 = SGI_FRAME + 0x380;

/// The distributor.
pub(crate) struct Distributor {
    base: Pa,
    registers: GicDistributor<'static>,
}

impl Distributor {
    /// Takes the distributor that stage 1 maps at `base`, puts all interrupts into group 1 and enables affinity
    /// routing. Called once.
    pub(crate) fn open(base: Pa) -> Option<Self> {
        let pointer = NonNull::new(base.0 as *mut Gicd)?;
        // SAFETY: the device tree says a GICv3 distributor is here; mapped as a device; this is its only owner.
        let mut registers = GicDistributor::new(unsafe { UniqueMmioPointer::new(pointer) });
        registers.enable_all_interrupts(false);
        registers.configure_default_settings();
        Some(Self { base, registers })
    }

    /// Enables SPI `intid` (32 and up), triggered as `trigger` says, towards the CPU with affinity `mpidr`.
    pub(crate) fn enable(&mut self, intid: u32, trigger: Trigger, mpidr: u64) {
        let id = IntId::spi(intid - FIRST_SPI);
        let done = self
            .registers
            .set_trigger(id, trigger)
            .and_then(|()| self.registers.set_routing(id, Some(mpidr & AFFINITY)))
            .and_then(|()| self.registers.enable_interrupt(id, true));
        done.expect("the device tree's SPIs are below 1020");
    }

    /// Disables SPI `intid` and forgets that it was pending or active: its owner is no more.
    pub(crate) fn disable(&mut self, intid: u32) {
        let id = IntId::spi(intid - FIRST_SPI);
        self.registers
            .enable_interrupt(id, false)
            .expect("the device tree's SPIs are below 1020");
        let offset = u64::from(intid / 32) * 4;
        write32(Pa(self.base.0 + GICD_ICACTIVER + offset), 1 << (intid % 32));
        write32(Pa(self.base.0 + GICD_ICPENDR + offset), 1 << (intid % 32));
    }
}

/// Whether the line of SPI `intid`, which stands active, is high, as far as the distributor at `base` tells: it does of a
/// level-sensitive one, which is pending besides while it is high (IHI 0069, 4.1.2 and GICD_ISPENDR). An edge is not undone.
pub(crate) fn is_line_high(base: Pa, intid: u32) -> bool {
    let config = read32(Pa(base.0 + GICD_ICFGR + u64::from(intid / 16) * 4));
    let is_edge = config >> (intid % 16 * 2 + 1) & 1 != 0;
    is_edge
        || read32(Pa(base.0 + GICD_ISPENDR + u64::from(intid / 32) * 4)) >> (intid % 32) & 1 != 0
}

/// Whether this CPU has the system registers of a GICv3's interface (ID_AA64PFR0_EL1.GIC).
pub(crate) fn has_cpu_interface() -> bool {
    mrs!("id_aa64pfr0_el1") >> 24 & 0xf != 0
}

/// The redistributor of the CPU with affinity `mpidr`: one of those in `regions`, which stage 1 maps and which need not be
/// filled to their ends.
pub(crate) fn redistributor_of(regions: &[Range<u64>], mpidr: u64) -> Option<Pa> {
    const LAST: u32 = 1 << 4;
    // As GICR_TYPER.Affinity_Value has it: Aff3 right above Aff2 (IHI 0069, 12.11).
    let wanted = ((mpidr >> 32 & 0xff) << 24 | mpidr & 0xff_ffff) as u32;
    regions.iter().find_map(|region| {
        let mut at = region.start;
        while region.end.saturating_sub(at) >= SMALLEST_REDISTRIBUTOR {
            if read32(Pa(at + GICR_TYPER + 4)) == wanted {
                return Some(Pa(at));
            }
            if read32(Pa(at + GICR_TYPER)) & LAST != 0 {
                break;
            }
            at += frame_bytes(Pa(at));
        }
        None
    })
}

/// Brings up this CPU's redistributor, which is its own, and its interface, with the private interrupts `timers` and
/// `maintenance` (16 to 31) and all SGIs enabled.
pub(crate) fn init_cpu(redistributor: Pa, timers: &[u32], maintenance: u32) {
    if let Some(pointer) = NonNull::new(redistributor.0 as *mut GicrSgi) {
        // SAFETY: a redistributor was found here, mapped as a device, and a CPU uses its own alone.
        let mut frame = GicRedistributor::new(unsafe { UniqueMmioPointer::new(pointer) });
        configure(&mut frame, timers, maintenance);
    }
    init_cpu_interface();
}

/// Bytes from one redistributor to the next: 128 KiB, or 256 KiB with virtual LPIs (IHI 0069, 12.10).
fn frame_bytes(redistributor: Pa) -> u64 {
    const VLPIS: u32 = 1 << 1;
    if read32(Pa(redistributor.0 + GICR_TYPER)) & VLPIS != 0 {
        2 * SMALLEST_REDISTRIBUTOR
    } else {
        SMALLEST_REDISTRIBUTOR
    }
}

fn configure(frame: &mut GicRedistributor<'_>, timers: &[u32], maintenance: u32) {
    // Awake already, where the firmware used interrupts: nothing to do.
    let _ = frame.mark_core_awake();
    // Level-sensitive among other things, as timers and the virtual interface are, whatever firmware made them.
    frame.configure_default_settings();
    let ppi = |intid| IntId::ppi(intid - FIRST_PPI);
    let raised_by_guests = (0..16).map(IntId::sgi).chain([ppi(maintenance)]);
    for id in raised_by_guests.clone() {
        frame
            .set_interrupt_priority(id, RAISED_BY_GUESTS)
            .expect("SGIs and PPIs are private interrupts");
    }
    for id in raised_by_guests.chain(timers.iter().copied().map(ppi)) {
        frame
            .enable_interrupt(id, true)
            .expect("SGIs and PPIs are private interrupts");
    }
    frame.wait_for_pending_write();
}

fn init_cpu_interface() {
    const SRE: u64 = 0b111;
    const EOI_MODE: u64 = 1 << 1;
    // SAFETY: the GIC of this CPU belongs to EL2. ICC_SRE_EL2.Enable stays 0, so that a guest's access to ICC_SRE_EL1
    // traps; its other accesses are virtual, because HCR_EL2.{IMO,FMO} are set whenever a guest runs.
    unsafe {
        msr!("S3_4_C12_C9_5", SRE); // ICC_SRE_EL2
        isb();
        msr!("S3_0_C12_C12_5", SRE); // ICC_SRE_EL1
        isb();
        msr!("S3_0_C4_C6_0", 0xffu64); // ICC_PMR_EL1
        msr!("S3_0_C12_C12_4", EOI_MODE); // ICC_CTLR_EL1
        msr!("S3_0_C12_C12_7", 1u64); // ICC_IGRPEN1_EL1
    }
    // Out of reset these are unknown.
    for n in 0..list_registers() {
        write_list_register(n, 0);
    }
    set_virtual_interface_off();
}

/// Marks private interrupts of the redistributor at `redistributor` active or not, a bit for each INTID, for the guest
/// that is being put on this CPU. Done on return.
pub(crate) fn set_ppis_active(redistributor: Pa, active: u32, inactive: u32) {
    write32(Pa(redistributor.0 + GICR_ICACTIVER0), inactive);
    write32(Pa(redistributor.0 + GICR_ISACTIVER0), active);
    // What is read back was written.
    read32(Pa(redistributor.0 + GICR_ISACTIVER0));
    // SAFETY: a barrier has no effect but order.
    unsafe { core::arch::asm!("dsb sy", options(nostack, preserves_flags)) }
}

fn read32(at: Pa) -> u32 {
    // SAFETY: callers name registers of the mapped GIC.
    unsafe { core::ptr::read_volatile(at.0 as *const u32) }
}

fn write32(at: Pa, value: u32) {
    // SAFETY: callers name set- and clear-type registers of the mapped GIC, sound for any owner to write.
    unsafe { core::ptr::write_volatile(at.0 as *mut u32, value) }
}

/// Acknowledges the most urgent pending interrupt; [`SPURIOUS`] where there is none.
#[inline]
pub(crate) fn acknowledge() -> u32 {
    let intid: u64;
    // SAFETY: reading ICC_IAR1_EL1 acknowledges; EL2 takes all interrupts. Behind the barrier, what the interrupt
    // announces is read after the acknowledgement.
    unsafe {
        core::arch::asm!("mrs {}, S3_0_C12_C12_0", "dsb sy", out(reg) intid, options(nostack, preserves_flags));
    }
    intid as u32
}

/// Lets interrupts of the same priority in again; `intid` stays active.
#[inline]
pub(crate) fn drop_priority(intid: u32) {
    // SAFETY: ICC_EOIR1_EL1 of an interrupt that `acknowledge` returned.
    unsafe { msr!("S3_0_C12_C12_1", u64::from(intid)) }
}

/// Ends interrupt `intid`.
#[inline]
pub(crate) fn deactivate(intid: u32) {
    // SAFETY: ICC_DIR_EL1 of an interrupt that `acknowledge` returned.
    unsafe { msr!("S3_0_C12_C11_1", u64::from(intid)) }
}

/// Sends SGI `sgi` to the CPU with affinity `mpidr`, after all earlier stores.
#[inline]
pub(crate) fn send_sgi(mpidr: u64, sgi: u32) {
    let affinity = |level: u32| mpidr >> (8 * level) & 0xff;
    let aff0 = mpidr & 0xff;
    let value = (mpidr >> 32 & 0xff) << 48
        | affinity(2) << 32
        | affinity(1) << 16
        | u64::from(sgi) << 24
        | (aff0 >> 4) << 44
        | 1 << (aff0 & 15);
    // SAFETY: ICC_SGI1R_EL1 raises an interrupt that EL2 alone takes.
    unsafe {
        core::arch::asm!("dsb ishst", options(nostack, preserves_flags));
        msr!("S3_0_C12_C11_5", value);
    }
    isb();
}

/// Number of list registers (ICH_VTR_EL2.ListRegs + 1).
pub(crate) fn list_registers() -> usize {
    size().list_registers()
}

macro_rules! list_register {
    ($n:expr, $macro:ident $(, $value:expr)?) => {
        match $n {
            0 => $macro!("S3_4_C12_C12_0" $(, $value)?),
            1 => $macro!("S3_4_C12_C12_1" $(, $value)?),
            2 => $macro!("S3_4_C12_C12_2" $(, $value)?),
            3 => $macro!("S3_4_C12_C12_3" $(, $value)?),
            4 => $macro!("S3_4_C12_C12_4" $(, $value)?),
            5 => $macro!("S3_4_C12_C12_5" $(, $value)?),
            6 => $macro!("S3_4_C12_C12_6" $(, $value)?),
            7 => $macro!("S3_4_C12_C12_7" $(, $value)?),
            8 => $macro!("S3_4_C12_C13_0" $(, $value)?),
            9 => $macro!("S3_4_C12_C13_1" $(, $value)?),
            10 => $macro!("S3_4_C12_C13_2" $(, $value)?),
            11 => $macro!("S3_4_C12_C13_3" $(, $value)?),
            12 => $macro!("S3_4_C12_C13_4" $(, $value)?),
            13 => $macro!("S3_4_C12_C13_5" $(, $value)?),
            14 => $macro!("S3_4_C12_C13_6" $(, $value)?),
            _ => $macro!("S3_4_C12_C13_7" $(, $value)?),
        }
    };
}

/// Reads ICH_LR`n`_EL2; `n` below [`list_registers`].
#[inline]
pub(crate) fn read_list_register(n: usize) -> u64 {
    list_register!(n, mrs)
}

/// Writes ICH_LR`n`_EL2; `n` below [`list_registers`].
#[inline]
pub(crate) fn write_list_register(n: usize, value: u64) {
    // SAFETY: a list register shows interrupts to the guest alone; its hardware link names a physical interrupt that
    // was acknowledged for this guest.
    unsafe { list_register!(n, msr, value) }
}

/// ICH_VTR_EL2: the size of the virtual CPU interface.
#[inline]
pub(crate) fn size() -> Vtr {
    Vtr(mrs!("S3_4_C12_C11_1"))
}

/// The loaded guest's settings of its CPU interface, and its active priorities: all of the interface but the list
/// registers and ICH_HCR_EL2.
#[inline]
pub(crate) fn read_interface(interface: &mut Interface) {
    interface.vmcr = Vmcr(read_virtual_control());
    let count = size().active_priorities();
    let (group0, group1) = (&mut interface.ap0r, &mut interface.ap1r);
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

/// What of them moves where nothing is listed; with ICH_HCR_EL2.
#[inline]
pub(crate) fn read_bare() -> Bare {
    Bare {
        hcr: read_virtual_hcr(),
        vmcr: Vmcr(read_virtual_control()),
        ap0r: mrs!("S3_4_C12_C8_0"),
        ap1r: mrs!("S3_4_C12_C9_0"),
    }
}

/// Writes that.
#[inline]
pub(crate) fn write_bare(bare: &Bare) {
    // SAFETY: state of the guest's virtual CPU interface alone.
    unsafe {
        msr!("S3_4_C12_C11_7", bare.vmcr.0);
        msr!("S3_4_C12_C8_0", bare.ap0r);
        msr!("S3_4_C12_C9_0", bare.ap1r);
    }
    set_virtual_hcr(bare.hcr);
}

/// Puts them back.
#[inline]
pub(crate) fn write_interface(interface: &Interface) {
    let count = size().active_priorities();
    let (group0, group1) = (&interface.ap0r, &interface.ap1r);
    // SAFETY: state of the guest's virtual CPU interface alone.
    unsafe {
        msr!("S3_4_C12_C11_7", interface.vmcr.0);
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

/// Turns the virtual CPU interface off: no list register is in use, and nothing of it interrupts.
pub(crate) fn set_virtual_interface_off() {
    // SAFETY: ICH_HCR_EL2 concerns the guest's virtual interface alone, and none is loaded.
    unsafe { msr!("S3_4_C12_C11_0", 0u64) }
    isb();
}

/// How many interrupts the guest ended that no list register held.
#[inline]
pub(crate) fn unlisted_ends() -> u32 {
    droste_vdev::gic::unlisted_ends(read_virtual_hcr(), || Vmcr(read_virtual_control()))
}

/// ICH_VMCR_EL2: the guest's settings of its CPU interface.
#[inline]
pub(crate) fn read_virtual_control() -> u64 {
    mrs!("S3_4_C12_C11_7")
}

/// Turns the virtual CPU interface on, with the maintenance interrupts that `requests` asks for (ICH_HCR_EL2).
#[inline]
pub(crate) fn set_maintenance(requests: u64) {
    const ENABLE: u64 = 1;
    set_virtual_hcr(ENABLE | requests);
}

/// Writes ICH_HCR_EL2.
#[inline]
pub(crate) fn set_virtual_hcr(value: u64) {
    // SAFETY: ICH_HCR_EL2 concerns the guest's virtual interface alone.
    unsafe { msr!("S3_4_C12_C11_0", value) }
}

/// Turns off the requests for maintenance that the hardware has for met although all was done.
pub(crate) fn drop_disputed_requests() {
    isb();
    let misr = mrs!("S3_4_C12_C11_2");
    if misr != 0 {
        set_virtual_hcr(undisputed(read_virtual_hcr(), misr));
    }
}

/// Reads ICH_HCR_EL2.
#[inline]
pub(crate) fn read_virtual_hcr() -> u64 {
    mrs!("S3_4_C12_C11_0")
}
