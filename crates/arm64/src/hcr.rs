//! HCR_EL2: what EL2 traps of its guest, and how its guest runs (DDI 0487, D24.2).
//!
//! ```
//! use droste_arm64::hcr;
//! assert_eq!(hcr::VM | hcr::RW, 0x8000_0001);
//! ```

macro_rules! bits {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        $($(#[$doc])* pub const $name: u64 = 1 << $bit;)*

        #[cfg(test)]
        const ALL: &[(&str, u32)] = &[$((stringify!($name), $bit)),*];
    };
}

bits! {
    /// Stage-2 translation is on.
    VM = 0;
    /// Data cache invalidation by set/way also cleans.
    SWIO = 1;
    /// A stage-1 walk that stage 2 sends to Device memory faults.
    PTW = 2;
    /// Physical FIQs go to EL2; virtual ones exist.
    FMO = 3;
    /// Physical IRQs go to EL2; virtual ones exist.
    IMO = 4;
    /// Physical SErrors go to EL2; virtual ones exist.
    AMO = 5;
    /// A virtual FIQ is pending.
    VF = 6;
    /// A virtual IRQ is pending.
    VI = 7;
    /// A virtual SError is pending.
    VSE = 8;
    /// The guest's local TLB and instruction cache maintenance is broadcast Inner Shareable. A vCPU that
    /// moves between physical ones depends on it: its local maintenance must reach the CPU it left.
    FB = 9;
    /// The guest's barriers act at least on the Inner Shareable domain (BSU = 0b01).
    BSU_INNER = 10;
    /// With stage 1 off, the guest's memory is Normal Write-Back.
    DC = 12;
    /// WFI traps.
    TWI = 13;
    /// WFE traps.
    TWE = 14;
    /// Identification group 0 traps.
    TID0 = 15;
    /// Identification group 1 traps.
    TID1 = 16;
    /// Identification group 2, the cache registers, traps.
    TID2 = 17;
    /// Identification group 3, the feature registers, traps.
    TID3 = 18;
    /// SMC traps.
    TSC = 19;
    /// Implementation defined functionality traps.
    TIDCP = 20;
    /// Auxiliary control registers trap.
    TACR = 21;
    /// Data cache maintenance by set/way traps.
    TSW = 22;
    /// Data cache maintenance to the Point of Coherency traps.
    TPCP = 23;
    /// Cache maintenance to the Point of Unification traps.
    TPU = 24;
    /// TLB maintenance traps.
    TTLB = 25;
    /// Writes of the virtual memory control registers trap.
    TVM = 26;
    /// EL0 belongs to EL2; exceptions for EL1 go to EL2.
    TGE = 27;
    /// DC ZVA traps.
    TDZ = 28;
    /// HVC is UNDEFINED.
    HCD = 29;
    /// Reads of the virtual memory control registers trap.
    TRVM = 30;
    /// EL1 is AArch64.
    RW = 31;
    /// Stage-2 data accesses are Non-cacheable.
    CD = 32;
    /// Stage-2 instruction accesses are Non-cacheable.
    ID = 33;
    /// EL2 runs a host with the EL1 register layout (FEAT_VHE).
    E2H = 34;
    /// LORegion registers trap.
    TLOR = 35;
    /// Error record registers trap.
    TERR = 36;
    /// Synchronous external aborts go to EL2.
    TEA = 37;
    /// Pointer authentication keys are accessible.
    APK = 40;
    /// Pointer authentication instructions are not trapped.
    API = 41;
    /// EL1 runs as virtual EL2 (FEAT_NV).
    NV = 42;
    /// Virtual EL2 runs without VHE (FEAT_NV).
    NV1 = 43;
    /// Address translation instructions trap.
    AT = 44;
    /// Register accesses of virtual EL2 become memory accesses (FEAT_NV2).
    NV2 = 45;
    /// Stage-2 attributes can force memory types (FEAT_S2FWB).
    FWB = 46;
    /// Error record injection is not trapped.
    FIEN = 47;
    /// Identification group 4 traps.
    TID4 = 49;
    /// ICIALLUIS and IC IALLUIS trap.
    TICAB = 50;
    /// Activity monitor offsets apply.
    AMVOFFEN = 51;
    /// Cache maintenance to the Point of Unification traps, IC IALLUIS aside.
    TOCU = 52;
    /// Software context numbers are accessible.
    ENSCXT = 53;
    /// Inner Shareable TLB maintenance traps.
    TTLBIS = 54;
    /// Outer Shareable TLB maintenance traps.
    TTLBOS = 55;
    /// Allocation tags are accessible.
    ATA = 56;
    /// With DC, memory is also Tagged.
    DCT = 57;
    /// Identification group 5 traps.
    TID5 = 58;
    /// The delay of a WFE trap comes from TWEDEL.
    TWEDEN = 59;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_names_share_a_bit() {
        for pair in ALL.windows(2) {
            assert!(pair[0].1 < pair[1].1, "{} {}", pair[0].0, pair[1].0);
        }
    }

    #[test]
    fn bits_that_decide_stage_2_stand_where_the_manual_draws_them() {
        assert_eq!(VM, 0x1);
        assert_eq!(FB | BSU_INNER, 0x600);
        assert_eq!(TGE, 0x0800_0000);
        assert_eq!(E2H, 0x4_0000_0000);
        assert_eq!(FWB, 0x4000_0000_0000);
        assert_eq!(NV | NV1 | AT | NV2, 0x3c00_0000_0000);
    }
}
