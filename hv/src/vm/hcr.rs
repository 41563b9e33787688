//! HCR_EL2: what EL2 takes from guests, and how they run, in each of their worlds.

use droste_arm64::desc::AttributeScheme;
use droste_arm64::hcr;
use droste_arm64::vhe::Layout;
use droste_nested::registers::VirtualEl2;

/// While no guest runs: interrupts end EL2's own waits, and are EL2's.
pub(crate) const fn without_guest(layout: Layout) -> u64 {
    layout.hcr() | hcr::RW | hcr::IMO | hcr::FMO | hcr::AMO
}

/// What a guest's WFI and WFE do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// The CPU waits: no other vCPU is there to run.
    InHardware,
    /// They trap.
    Trapped,
}

/// Of a vCPU without EL2. E2H is that of EL2 itself, for every guest.
pub(crate) const fn of_guest(waits: Waits, scheme: AttributeScheme, layout: Layout) -> u64 {
    const GUEST: u64 = hcr::VM
        | hcr::SWIO
        | hcr::PTW
        | hcr::FMO
        | hcr::IMO
        | hcr::AMO
        | hcr::BSU_INNER
        | hcr::TID3
        | hcr::TSC
        | hcr::TIDCP
        | hcr::TACR
        | hcr::RW
        | hcr::TLOR
        | hcr::TERR
        | hcr::API
        | hcr::APK;
    let waits = match waits {
        Waits::InHardware => 0,
        Waits::Trapped => hcr::TWI | hcr::TWE,
    };
    let attributes = match scheme {
        AttributeScheme::Force => hcr::FWB,
        AttributeScheme::Combine => 0,
    };
    GUEST | waits | attributes | layout.hcr()
}

/// Of virtual EL2, where that of the vCPU without EL2 would be `own`.
pub(crate) const fn of_virtual_el2(own: u64, kind: VirtualEl2) -> u64 {
    let nv1 = match kind {
        VirtualEl2::Vhe => 0,
        VirtualEl2::Nvhe => hcr::NV1,
    };
    own | hcr::NV | hcr::NV2 | hcr::AT | hcr::TTLB | nv1
}

/// What of virtual EL2's, `own`, stays for its guest whatever that one's registers say.
pub(crate) const fn kept_for_its_guest(own: u64) -> u64 {
    own & !(hcr::NV | hcr::NV1 | hcr::NV2 | hcr::AT | hcr::TTLB | hcr::PTW)
}

/// Of virtual EL2's guest: `traps` are its own and those of `l1`, which virtual EL2 has set, merged; `own` is virtual EL2's.
pub(crate) const fn of_its_guest(traps: u64, own: u64, l1: u64, kind: VirtualEl2) -> u64 {
    // Where L1 has a stage 2, whether walks may go to Device memory is its affair: what it permits would fault for ever.
    let has_stage2 = l1 & (hcr::VM | hcr::DC) != 0;
    let ptw = if has_stage2 { l1 } else { own } & hcr::PTW;
    // With E2H = 0 and TGE, EL0 runs with its stage 1 off, and its exceptions are EL2's. The hardware does so with E2H = 0
    // alone: with E2H = 1 as well, EL0 would be under EL2's own stage 1.
    let tge = match (kind, Layout::of(own)) {
        (VirtualEl2::Nvhe, Layout::E2h0) => l1 & hcr::TGE,
        _ => 0,
    };
    traps | asked_of_hardware(l1) | tge | ptw
}

/// What HCR_EL2 of virtual EL2 says beside its traps, and hardware is to do for its guest: broadcasts, stage 1 that is off,
/// and virtual interrupts, each where it routes physical ones of the kind to itself (DDI 0487, D24.2, HCR_EL2.{VF, VI,
/// VSE}). Not CD and ID: cached more than asked is coherent.
pub(crate) const fn asked_of_hardware(l1: u64) -> u64 {
    const BSU: u64 = 3 << 10;
    const fn routed(l1: u64, by: u64, what: u64) -> u64 {
        if l1 & by != 0 { l1 & what } else { 0 }
    }
    l1 & (hcr::FB | BSU | hcr::DC)
        | routed(l1, hcr::FMO, hcr::VF)
        | routed(l1, hcr::IMO, hcr::VI)
        | routed(l1, hcr::AMO, hcr::VSE)
}
