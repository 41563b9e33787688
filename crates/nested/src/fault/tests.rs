use droste_arm64::desc::{Cacheability, LeafAttributes, MemAttr, S2ap, Shareability};
use droste_arm64::esr::FaultStatus;
use droste_arm64::{Granule, IdRegisters, Ipa, IpaBits, Pa, Vtcr, Vttbr, hcr};
use droste_stage2::{Attributes, Geometry, Slot};

use super::*;
use crate::advertised::tests::rich;
use crate::memory::tests::Sparse;
use crate::{StageTwo, StageTwoRegisters};

/// L1's table for L2 begins here; one table at level 1, and one each below for the first GiB.
const ROOT: u64 = 0x8000_0000;
const RAM: u64 = 0x8000_0000;
const ROM: u64 = 0xc000_0000;
const DEVICE_SLOT: u64 = 0xd000_0000;
const NOTHING: u64 = 0xf000_0000;
const LEAF: u64 = 3 | 1 << 10 | 3 << 8 | 3 << 6 | 0b1111 << 2;

const STORE: Esr = Esr(0x24 << 26 | 1 << 25 | 1 << 24 | 2 << 22 | 5 << 16 | 1 << 6 | 0x07);
const LOAD: Esr = Esr(STORE.0 & !(1 << 6));
const FETCH: Esr = Esr(0x20 << 26 | 1 << 25 | 0x07);
const TABLE_WALK: Esr = Esr(0x24 << 26 | 1 << 25 | 1 << 7 | 0x07);

struct World {
    memory: Sparse,
    slots: Slots,
    registers: StageTwoRegisters,
    canonical: Option<CanonicalLeaf>,
    /// What the shadow's leaf permits.
    shadow: S2ap,
}

fn geometry() -> Geometry {
    let ids = IdRegisters {
        mmfr0: 5,
        ..IdRegisters::default()
    };
    let bits = IpaBits::new(40).expect("a width");
    Geometry::new(Granule::Kib4, bits, &ids).expect("a shape")
}

/// The leaf that maps L1's page at `ipa`.
fn canonical(ipa: u64) -> CanonicalLeaf {
    CanonicalLeaf {
        ipa: L1Ipa(ipa),
        output: Pa(ipa | 1 << 36),
        bytes: 4096,
        attributes: LeafAttributes {
            memory: MemAttr::WRITE_BACK,
            access: S2ap::ReadWrite,
            shareability: Shareability::Inner,
            execute: Xn::Everywhere,
            is_accessed: true,
            is_dirty_managed: false,
            is_contiguous: false,
            software: 0,
        },
    }
}

impl World {
    /// L2's page 0x5000 is described by `leaf`.
    fn new(leaf: u64) -> Self {
        let memory = Sparse::new(1 << 40);
        memory.set(ROOT, (ROOT + 0x2000) | 3);
        memory.set(ROOT + 0x2000, (ROOT + 0x3000) | 3);
        memory.set(ROOT + 0x3000 + 5 * 8, leaf);
        let mut slots = Slots::new(geometry());
        for (ipa, attributes) in [
            (RAM, Attributes::RAM),
            (ROM, Attributes::ROM),
            (DEVICE_SLOT, Attributes::DEVICE),
        ] {
            let slot = Slot::new(Ipa(ipa), Pa(ipa | 1 << 36), 1 << 24, attributes);
            slots.add(slot).expect("apart");
        }
        Self {
            memory,
            slots,
            registers: StageTwoRegisters {
                hcr: hcr::VM,
                sctlr: 0,
                vtcr: Vtcr(5 << 16 | 1 << 6 | 0x18),
                vttbr: Vttbr(ROOT),
            },
            canonical: None,
            shadow: S2ap::ReadWrite,
        }
    }

    fn mapping(mut self, leaf: CanonicalLeaf) -> Self {
        self.canonical = Some(leaf);
        self
    }

    fn judge(&self, esr: Esr) -> Option<Verdict> {
        let StageTwo::On(walker) = StageTwo::new(&self.registers, &rich()) else {
            panic!("HCR_EL2.VM is set");
        };
        let l1 = L1 {
            walker: &walker,
            memory: &self.memory,
            slots: &self.slots,
            scheme: AttributeScheme::Combine,
        };
        l1.judge(&abort(esr), || self.shadow, |_| self.canonical)
    }

    /// What virtual EL2 finds, whose fault it is.
    fn syndrome(&self, esr: Esr) -> Syndrome {
        match self.judge(esr) {
            Some(Verdict::Guest(fault)) => abort(esr).for_guest(fault),
            other => panic!("{other:?}"),
        }
    }
}

fn abort(esr: Esr) -> Abort {
    Abort {
        esr,
        far: 0xffff_8000_0000_5abc,
        ipa: L2Ipa(0x5abc),
        privilege: Privilege::El1,
    }
}

#[test]
fn a_hole_of_l1s_table_is_l1s_at_its_own_level() {
    // Hardware met level 3 of the shadow; L1's table ends at level 2.
    let world = World::new(0);
    world.memory.set(ROOT + 0x2000, 0);
    let syndrome = world.syndrome(STORE);
    assert_eq!(
        syndrome.esr.fault_status(),
        FaultStatus::Translation { level: 2 }
    );
    assert_eq!(
        syndrome.esr.mmio_access(),
        STORE.mmio_access(),
        "L1 emulates by it"
    );
    assert_eq!(syndrome.far, 0xffff_8000_0000_5abc);
    assert_eq!(syndrome.hpfar, 0x50);
}

#[test]
fn what_l1s_leaf_forbids_is_l1s() {
    let read_only = World::new(LEAF & !(2 << 6) | RAM).mapping(canonical(RAM));
    let syndrome = read_only.syndrome(STORE);
    assert_eq!(
        syndrome.esr.fault_status(),
        FaultStatus::Permission { level: 3 }
    );
    assert!(syndrome.esr.is_write());
    assert!(matches!(read_only.judge(LOAD), Some(Verdict::Fill { .. })));
    let no_fetch = World::new(LEAF | 2 << 53 | RAM).mapping(canonical(RAM));
    assert_eq!(
        no_fetch.syndrome(FETCH).esr,
        Esr(0x20 << 26 | 1 << 25 | 0x0f)
    );
}

#[test]
fn each_fault_of_the_walk_has_its_code_whatever_hardware_met() {
    for (leaf, code) in [
        (0, 0x07),
        (LEAF & !(1 << 10) | RAM, 0x0b),
        (LEAF & !(3 << 6) | RAM, 0x0f),
        // Beyond the 44 bits of PS.
        (LEAF | 1 << 44, 0x03),
    ] {
        let mut world = World::new(leaf);
        world.registers.vtcr = Vtcr(4 << 16 | 1 << 6 | 0x18);
        let syndrome = world.syndrome(LOAD);
        assert_eq!(syndrome.esr, Esr(LOAD.0 & !0x3f | code));
    }
}

#[test]
fn an_external_abort_on_the_walk_describes_no_instruction() {
    let mut world = World::new(LEAF | RAM);
    world.memory.end = ROOT + 0x3000;
    let syndrome = world.syndrome(STORE);
    assert_eq!(
        syndrome.esr,
        Esr(0x24 << 26 | 1 << 25 | 1 << 6 | 0x17),
        "WnR stays, ISV is 0"
    );
}

#[test]
fn every_status_code_decodes_to_its_fault() {
    for level in Level::ALL {
        let number = level.number();
        for (kind, expected) in [
            (
                FaultKind::AddressSize,
                FaultStatus::AddressSize { level: number },
            ),
            (
                FaultKind::Translation,
                FaultStatus::Translation { level: number },
            ),
            (
                FaultKind::AccessFlag,
                FaultStatus::AccessFlag {
                    level: number.max(0),
                },
            ),
            (
                FaultKind::Permission,
                FaultStatus::Permission {
                    level: number.max(0),
                },
            ),
            (
                FaultKind::ExternalAbort,
                FaultStatus::ExternalOnWalk { level: number },
            ),
        ] {
            let code = WalkFault { kind, level }.status_code();
            assert_eq!(FaultStatus::decode(code as u8), expected);
        }
    }
}

#[test]
fn bits_of_features_that_l1_does_not_have_are_clear() {
    let fault = WalkFault {
        kind: FaultKind::Translation,
        level: Level::L1,
    };
    let noisy = |ec: u64| Esr(!(0x3f << 26) | ec << 26);
    let data = abort(noisy(0x24)).for_guest(fault).esr;
    // EC, IL, ISV to AR, CM, S1PTW, WnR.
    assert_eq!(data.0, 0x24 << 26 | 0xfff << 14 | 7 << 6 | 0x05);
    let fetch = abort(noisy(0x20)).for_guest(fault).esr;
    assert_eq!(fetch.0, 0x20 << 26 | 1 << 25 | 1 << 7 | 0x05);
}

#[test]
fn an_address_without_a_slot_is_a_device_of_l0() {
    let world = World::new(LEAF | NOTHING);
    let at = L1Ipa(NOTHING | 0xabc);
    let access = STORE.mmio_access();
    assert_eq!(world.judge(STORE), Some(Verdict::Device { at, access }));
    assert!(access.is_some());
    assert_eq!(
        world.judge(FETCH),
        Some(Verdict::External(Reason::NotExecutable))
    );
    assert_eq!(
        world.judge(TABLE_WALK),
        Some(Verdict::External(Reason::WalkOutsideMemory))
    );
}

#[test]
fn what_l1s_memory_forbids_is_an_external_abort() {
    let world = World::new(LEAF | ROM).mapping(canonical(ROM));
    assert_eq!(
        world.judge(STORE),
        Some(Verdict::External(Reason::ReadOnly))
    );
    assert!(matches!(world.judge(LOAD), Some(Verdict::Fill { .. })));
    let device = World::new(LEAF | DEVICE_SLOT);
    assert_eq!(
        device.judge(TABLE_WALK),
        Some(Verdict::External(Reason::WalkOutsideMemory))
    );
}

#[test]
fn the_canonical_table_comes_first() {
    let hole = World::new(LEAF | RAM);
    let Some(Verdict::Canonical(proposal)) = hole.judge(STORE) else {
        panic!("a hole");
    };
    let of_l1 = Fault {
        ipa: Ipa(RAM | 0xabc),
        cause: Cause::Translation,
        access: Access::Write,
        origin: Origin::Program,
        mmio: STORE.mmio_access(),
    };
    assert_eq!(hole.slots.resolve(&of_l1), Decision::Install(proposal));
    let mut protected = canonical(RAM);
    protected.attributes.access = S2ap::ReadOnly;
    let world = World::new(LEAF | RAM).mapping(protected);
    assert!(matches!(world.judge(STORE), Some(Verdict::Canonical(_))));
    assert!(matches!(world.judge(LOAD), Some(Verdict::Fill { .. })));
    // A leaf of other memory than the address's is no answer.
    let world = World::new(LEAF | RAM).mapping(canonical(RAM + 0x1000));
    assert!(matches!(world.judge(LOAD), Some(Verdict::Canonical(_))));
}

#[test]
fn what_both_tables_permit_is_filled() {
    let world = World::new(LEAF | RAM).mapping(canonical(RAM));
    let Some(Verdict::Fill { fault, composed }) = world.judge(STORE) else {
        panic!("permitted");
    };
    assert_eq!((fault.ipa, fault.access), (Ipa(0x5abc), Access::Write));
    assert_eq!((composed.ipa, composed.via), (L2Ipa(0x5000), L1Ipa(RAM)));
    let write_back = Cacheability::WriteBack;
    assert_eq!(
        composed.memory,
        MemoryType::Normal {
            inner: write_back,
            outer: write_back
        }
    );
}

#[test]
fn a_stage_1_walk_into_device_memory_faults_where_l1_asks_for_it() {
    let device = LEAF & !(0b1111 << 2) | RAM;
    let mut world = World::new(device).mapping(canonical(RAM));
    assert!(matches!(
        world.judge(TABLE_WALK),
        Some(Verdict::Fill { .. })
    ));
    world.registers.hcr |= hcr::PTW;
    let syndrome = world.syndrome(TABLE_WALK);
    assert_eq!(syndrome.esr, Esr(TABLE_WALK.0 | 0x0f));
    assert!(matches!(world.judge(LOAD), Some(Verdict::Fill { .. })));
}

#[test]
fn a_walk_that_may_not_go_there_marks_no_device_memory_written() {
    // DBM, and no permission to write yet.
    let device = LEAF & !(0b1111 << 2 | 1 << 7) | 1 << 51 | RAM;
    let mut world = World::new(device).mapping(canonical(RAM));
    world.registers.hcr |= hcr::PTW;
    // HA and HD.
    world.registers.vtcr.0 |= 3 << 21;
    world.shadow = S2ap::ReadOnly;
    let at_leaf = Esr(TABLE_WALK.0 & !0x3f | 0x0f);
    assert_eq!(world.syndrome(at_leaf).esr, at_leaf);
    assert_eq!(world.memory.get(ROOT + 0x3028), device);
}

#[test]
fn an_alignment_fault_of_stage_2_is_l1s_and_no_other_abort() {
    // A load from what L1 makes Device memory, with a bit that belongs to no feature that L1 is shown.
    let fault = Esr(LOAD.0 & !0x3f | 0x21);
    let taken = misaligned(Esr(fault.0 | 1 << 36), 0x1001);
    let expected = Exception::Synchronous {
        esr: fault,
        far: Some(0x1001),
        hpfar: None,
    };
    assert_eq!(taken, Some(expected));
    for esr in [LOAD, STORE, TABLE_WALK, Esr(FETCH.0 & !0x3f | 0x21)] {
        assert_eq!(misaligned(esr, 0x1001), None);
    }
}

#[test]
fn a_table_that_changes_and_a_tlb_conflict_are_tried_again() {
    let world = World::new(LEAF & !(1 << 10) | RAM).mapping(canonical(RAM));
    let mut world = world;
    world.registers.vtcr.0 |= 1 << 21;
    world.memory.interference.set(Some((ROOT + 0x3028, 0)));
    assert_eq!(world.judge(LOAD), Some(Verdict::Retry));
    assert_eq!(
        world.judge(Esr(LOAD.0 & !0x3f | 0x30)),
        Some(Verdict::Forget)
    );
}

#[test]
fn aborts_that_no_table_answers_are_nobodys() {
    let world = World::new(LEAF | RAM);
    for code in [0x10, 0x21, 0x17] {
        assert_eq!(world.judge(Esr(LOAD.0 & !0x3f | code)), None);
    }
    assert_eq!(world.judge(Esr(0x16 << 26)), None);
}
