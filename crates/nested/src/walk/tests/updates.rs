//! Updates of the access flag and the dirty state, and descriptors that change during a walk.

use super::*;

#[test]
fn a_clear_access_flag_faults_or_is_set() {
    let memory = Sparse::new(MEMORY);
    let at = chain(&memory, 0, &[30, 21, 12], 9, NO_AF);
    assert_eq!(
        read(KIB4, &memory, 0),
        fault(FaultKind::AccessFlag, Level::L3)
    );
    assert_eq!(memory.get(at), NO_AF);
    assert!(read(KIB4 | VTCR_HA, &memory, 0).is_ok());
    assert_eq!(memory.get(at), PAGE);
    // HA is RES0 where not advertised.
    memory.set(at, NO_AF);
    let without = walker(&registers(KIB4 | VTCR_HA | VTCR_HD), &plain());
    assert_eq!(
        without.translate(&memory, L2Ipa(0), Access::Read),
        fault(FaultKind::AccessFlag, Level::L3)
    );
}

#[test]
fn a_flag_that_cannot_be_written_is_an_external_abort() {
    struct ReadOnly(Sparse);
    impl GuestMemory for ReadOnly {
        fn read(&self, at: L1Ipa) -> Result<u64, ExternalAbort> {
            self.0.read(at)
        }
        fn compare_exchange(&self, _: L1Ipa, _: u64, _: u64) -> Result<Exchange, ExternalAbort> {
            Err(ExternalAbort)
        }
    }
    let memory = ReadOnly(Sparse::new(MEMORY));
    chain(&memory.0, 0, &[30, 21, 12], 9, NO_AF);
    let walker = walker(&registers(KIB4 | VTCR_HA), &rich());
    assert_eq!(
        walker.translate(&memory, L2Ipa(0), Access::Read),
        fault(FaultKind::ExternalAbort, Level::L3)
    );
}

#[test]
fn a_descriptor_that_changes_under_its_update_is_raced_not_overwritten() {
    let memory = Sparse::new(MEMORY);
    let at = chain(&memory, 0, &[30, 21, 12], 9, NO_AF);
    memory.interference.set(Some((at, NO_AF | 0x5000)));
    assert_eq!(read(KIB4 | VTCR_HA, &memory, 0), Err(Stop::Raced));
    assert_eq!(memory.get(at), NO_AF | 0x5000);
}

#[test]
fn a_descriptor_is_old_or_new_but_never_both() {
    let memory = Sparse::new(MEMORY);
    let at = chain(&memory, 0, &[30, 21, 12], 9, PAGE | 0x5000);
    memory.interference.set(Some((at, 0)));
    let leaf = read(KIB4, &memory, 0);
    assert_eq!(leaf.map(|leaf| leaf.output), Ok(L1Ipa(0x5000)));
    assert_eq!(
        read(KIB4, &memory, 0),
        fault(FaultKind::Translation, Level::L3)
    );
}

#[test]
fn a_look_finds_the_leaf_of_a_walk_and_changes_nothing() {
    let old = NO_AF & !(2 << 6) | 1 << 51;
    let memory = Sparse::new(MEMORY);
    let at = chain(&memory, 0x1000, &[30, 21, 12], 9, old | 0x5000);
    let managed = walker(&registers(KIB4 | VTCR_HA | VTCR_HD), &rich());
    let look = |walker: &Walker| walker.look(&memory, L2Ipa(0x1000), Access::Write);
    let seen = look(&managed).expect("mapped");
    assert_eq!(memory.get(at), old | 0x5000);
    let plain = look(&walker(&registers(KIB4), &rich()));
    assert_eq!(plain, Err(WalkFault::new(FaultKind::AccessFlag, Level::L3)));
    let walked = managed.translate(&memory, L2Ipa(0x1000), Access::Write);
    assert_eq!(walked, Ok(seen));
    assert_ne!(memory.get(at), old | 0x5000);
}

#[test]
fn dirty_state_is_hardwares_where_l1_lets_it() {
    const DBM: u64 = 1 << 51;
    let memory = Sparse::new(MEMORY);
    let clean = PAGE & !(2 << 6) | DBM;
    let at = chain(&memory, 0, &[30, 21, 12], 9, clean);
    let access =
        |vtcr, access| walker(&registers(vtcr), &rich()).translate(&memory, L2Ipa(0), access);
    let managed = KIB4 | VTCR_HA | VTCR_HD;
    for vtcr in [KIB4, KIB4 | VTCR_HA, KIB4 | VTCR_HD] {
        assert_eq!(
            access(vtcr, Access::Write),
            fault(FaultKind::Permission, Level::L3)
        );
    }
    let leaf = access(managed, Access::Read).expect("readable");
    assert_eq!((leaf.access, leaf.is_dirty_managed), (S2ap::ReadOnly, true));
    assert_eq!(memory.get(at), clean);
    let leaf = access(managed, Access::Write).expect("made writable");
    assert_eq!(leaf.access, S2ap::ReadWrite);
    assert_eq!(memory.get(at), clean | 2 << 6);
}
