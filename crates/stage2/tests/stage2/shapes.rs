//! Small spaces, exhausted: formats × levels for leaves, splits and collapses; permissions × accesses × logs for
//! faults.

use droste_arm64::desc::{Format, OutputFormat, RawDescriptor, S2ap, Xn};
use droste_arm64::tlbi::{IpaOperand, RangeOperand, Tlbi};
use droste_arm64::{Granule, IdRegisters, Ipa, Level, Pa};
use droste_stage2::{Answer, Attributes, DirtyLog, Geometry, Mapping, Reason, Runs};

use crate::bench::{Bench, FETCH, GIB, MIB2, PAGE, PERMISSION, READ, RUN, WRITE};
use crate::hardware::{
    plain, wide, with_bbm, with_hardware_dirty, with_ranges, with_ttl, with_xnx,
};
use crate::recorder::{Event, Pool, Recorder};

/// A shape of each format with every level of it that has leaves: 48 bits of guest addresses in the narrow ones, all
/// 52 in the wide.
fn shapes() -> impl Iterator<Item = (Geometry, IdRegisters)> {
    Format::ALL.into_iter().map(|format| {
        let (bits, ids) = match format.output() {
            OutputFormat::Bits48 => (48, plain()),
            OutputFormat::Lpa | OutputFormat::Lpa2 => (52, wide()),
        };
        let geometry = crate::bench::geometry(format.granule(), bits, &ids);
        assert_eq!(geometry.format(), format);
        (geometry, ids)
    })
}

/// Levels of a shape that have leaves, large first.
fn leaf_levels(geometry: Geometry) -> impl Iterator<Item = Level> + Clone {
    let format = geometry.format();
    Level::ALL
        .into_iter()
        .filter(move |level| *level >= geometry.start() && format.leaf_at(*level).is_some())
}

/// The highest multiples of a leaf of `level`: guest address and another output.
fn highest(geometry: Geometry, level: Level) -> (u64, u64) {
    let bytes = geometry.entry_bytes(level);
    let ipa = geometry.ipa_bits().bytes() - bytes;
    (ipa, geometry.output_limit() - 2 * bytes)
}

fn leaf_of(geometry: Geometry, level: Level) -> Mapping {
    let (ipa, pa) = highest(geometry, level);
    let bytes = geometry.entry_bytes(level);
    Mapping::new(Ipa(ipa), Pa(pa), bytes, Attributes::RAM)
}

/// A bench whose table pages lie where only a wide format reaches.
fn bench_of<'r>(recorder: &'r Recorder, geometry: Geometry, ids: &IdRegisters) -> Bench<'r> {
    let mut bench = Bench::with(recorder, geometry, ids, 1);
    let base = geometry.output_limit() / 16 * 9;
    bench.pool = Pool::at(recorder, base, 64);
    bench
}

#[test]
fn every_format_maps_and_unmaps_a_leaf_of_every_level() {
    for (geometry, ids) in shapes() {
        for level in leaf_levels(geometry) {
            let recorder = Recorder::new(geometry.granule());
            let mut bench = bench_of(&recorder, geometry, &ids);
            let mapping = leaf_of(geometry, level);
            assert_eq!(bench.map(&mapping).result, Ok(()));
            let last = mapping.bytes - 1;
            let expected = (level, mapping.pa.0 + last);
            assert_eq!(bench.leaf(mapping.ipa.0 + last), Some(expected));
            assert_eq!(bench.leaf(mapping.ipa.0 - 1), None);
            bench.unmap(mapping.ipa.0, mapping.bytes);
            assert_eq!(bench.leaf(mapping.ipa.0), None);
            assert_eq!(bench.page_count(), 64);
        }
    }
}

#[test]
fn every_leaf_splits_to_the_next_level_and_collapses_back() {
    for (geometry, ids) in shapes() {
        let levels = leaf_levels(geometry);
        for (level, below) in levels.clone().zip(levels.skip(1)) {
            for bbm in [0, 2] {
                let ids = with_bbm(ids, bbm);
                let recorder = Recorder::new(geometry.granule());
                let mut bench = bench_of(&recorder, geometry, &ids);
                let mapping = leaf_of(geometry, level);
                let Mapping { ipa, pa, bytes, .. } = mapping;
                bench.map(&mapping);
                let before = bench.raw(ipa.0);
                assert_eq!(bench.split(ipa.0, bytes, below).result, Ok(()));
                for offset in [
                    0,
                    geometry.entry_bytes(below),
                    bytes - geometry.page_bytes(),
                ] {
                    let leaf = bench.leaf(ipa.0 + offset);
                    assert_eq!(leaf, Some((below, pa.0 + offset)), "{geometry:?}");
                }
                assert_eq!(bench.collapse(ipa.0, bytes, level).result, Ok(()));
                assert_eq!(bench.raw(ipa.0), before, "{geometry:?} {level:?}");
                assert_eq!(
                    bench.leaf(ipa.0 + bytes - 1),
                    Some((level, pa.0 + bytes - 1))
                );
            }
        }
    }
}

#[test]
fn one_page_out_of_the_largest_leaf_leaves_the_rest() {
    for (geometry, ids) in shapes() {
        let level = leaf_levels(geometry).next().expect("pages at least");
        let recorder = Recorder::new(geometry.granule());
        let mut bench = bench_of(&recorder, geometry, &ids);
        let mapping = leaf_of(geometry, level);
        let page = geometry.page_bytes();
        bench.map(&mapping);
        let hole = mapping.ipa.0 + mapping.bytes - page;
        assert_eq!(bench.unmap(hole, page).result, Ok(()));
        assert_eq!(bench.leaf(hole), None);
        let beside = Some((Level::L3, mapping.pa.0 + mapping.bytes - page - 1));
        assert_eq!(bench.leaf(hole - 1), beside);
        assert_eq!(
            bench.leaf(mapping.ipa.0).map(|leaf| leaf.1),
            Some(mapping.pa.0)
        );
    }
}

#[test]
fn runs_are_as_long_as_each_format_has_them() {
    // DDI 0487, D8.7.1 "Contiguous bit": entries of a run by granule and level.
    for (geometry, ids) in shapes() {
        let length = |level| match (geometry.granule(), level) {
            (Granule::Kib4, Level::L1 | Level::L2 | Level::L3) => 16,
            (Granule::Kib16, Level::L3) => 128,
            (Granule::Kib16, Level::L2) | (Granule::Kib64, Level::L2 | Level::L3) => 32,
            _ => 1,
        };
        for level in leaf_levels(geometry) {
            let leaf = geometry.entry_bytes(level);
            let recorder = Recorder::new(geometry.granule());
            let mut bench = bench_of(&recorder, geometry, &ids);
            let run = leaf * length(level);
            if run >= geometry.ipa_bits().bytes() {
                continue;
            }
            let mapping = Mapping {
                runs: Runs::Contiguous,
                largest: level,
                ..Mapping::new(Ipa(run), Pa(0), run, Attributes::RAM)
            };
            bench.map(&mapping);
            let is_run = bench.raw(run) & RUN != 0;
            assert_eq!(is_run, length(level) > 1, "{geometry:?} {level:?}");
            // One leaf less is none.
            bench.unmap(run, run);
            if length(level) > 1 {
                bench.map(&Mapping {
                    bytes: run - leaf,
                    ..mapping
                });
                assert_eq!(bench.raw(run) & RUN, 0);
            }
        }
    }
}

/// What the operand of an invalidation names: first guest address, and the level hinted.
fn named(geometry: Geometry, operation: Tlbi) -> (u64, u64) {
    match operation {
        Tlbi::Ipas2e1is(IpaOperand(raw)) => ((raw & 0xff_ffff_ffff) << 12, raw >> 44 & 3),
        Tlbi::Ripas2e1is(RangeOperand(raw)) => {
            let is_coarse = geometry.format().output() == OutputFormat::Lpa2;
            let shift = if is_coarse {
                16
            } else {
                geometry.granule().page_shift()
            };
            ((raw & 0x1f_ffff_ffff) << shift, raw >> 37 & 3)
        }
        other => panic!("{other:?} names no address"),
    }
}

#[test]
fn a_leaf_of_any_level_is_invalidated_where_it_was() {
    for (geometry, ids) in shapes() {
        for level in leaf_levels(geometry) {
            for ids in [with_ttl(ids), with_ranges(ids)] {
                let recorder = Recorder::new(geometry.granule());
                let mut bench = bench_of(&recorder, geometry, &ids);
                let mapping = leaf_of(geometry, level);
                // A neighbour keeps the table.
                let ipa = mapping.ipa.0 - mapping.bytes;
                bench.map(&mapping);
                bench.map(&Mapping {
                    ipa: Ipa(ipa),
                    ..mapping
                });
                let done = bench.unmap(ipa, mapping.bytes);
                let first = done.discharge.iter().find_map(|event| match event {
                    Event::Tlbi(operation, _) => Some(*operation),
                    _ => None,
                });
                let operation = first.expect("it was mapped");
                if operation != Tlbi::Vmalls12e1is {
                    let number = u64::try_from(level.number().max(0)).expect("0 to 3");
                    assert_eq!(named(geometry, operation), (ipa, number), "{geometry:?}");
                }
            }
        }
    }
}

#[test]
fn a_fault_maps_the_largest_leaf_of_every_format() {
    for (geometry, ids) in shapes() {
        for level in leaf_levels(geometry) {
            let recorder = Recorder::new(geometry.granule());
            let mut bench = bench_of(&recorder, geometry, &ids);
            let Mapping { ipa, pa, bytes, .. } = leaf_of(geometry, level);
            bench.slot(ipa.0, pa.0, bytes, Attributes::RAM);
            assert_eq!(bench.answer(WRITE, ipa.0 + bytes - 1), Answer::Mapped);
            assert_eq!(bench.leaf(ipa.0), Some((level, pa.0)), "{geometry:?}");
        }
    }
}

const DATA: [S2ap; 4] = [S2ap::None, S2ap::ReadOnly, S2ap::WriteOnly, S2ap::ReadWrite];
const EXECUTE: [Xn; 4] = [Xn::Everywhere, Xn::OnlyEl0, Xn::Nowhere, Xn::OnlyEl1];

fn permissions() -> impl Iterator<Item = Attributes> {
    DATA.into_iter().flat_map(|access| {
        EXECUTE.into_iter().map(move |execute| Attributes {
            access,
            execute,
            ..Attributes::RAM
        })
    })
}

/// What an access of EL1 needs of a leaf, and the abort where the slot has it not.
fn needed(esr: u64, attributes: Attributes) -> (bool, Reason) {
    match esr {
        READ => (attributes.access.can_read(), Reason::NotReadable),
        WRITE => (attributes.access.can_write(), Reason::ReadOnly),
        _ => (
            matches!(attributes.execute, Xn::Everywhere | Xn::OnlyEl1),
            Reason::NotExecutable,
        ),
    }
}

#[test]
fn a_hole_is_filled_with_the_slots_permissions_less_what_a_log_withholds() {
    for slot in permissions() {
        for log in [DirtyLog::Off, DirtyLog::On] {
            for esr in [READ, WRITE, FETCH] {
                for ids in [with_xnx(plain()), with_hardware_dirty(with_xnx(plain()))] {
                    let recorder = Recorder::new(Granule::Kib4);
                    let mut bench = Bench::new(&recorder, &ids);
                    bench.slot(GIB, GIB, 16 * PAGE, slot);
                    bench.slots.set_log(Ipa(GIB), log).expect("there");
                    let (is_permitted, reason) = needed(esr, slot);
                    let answer = bench.answer(esr, GIB + 3 * PAGE);
                    if !is_permitted {
                        assert_eq!(answer, Answer::Inject(reason));
                        continue;
                    }
                    assert_eq!(answer, Answer::Mapped);
                    for page in 0..16 {
                        let raw = RawDescriptor(bench.raw(GIB + page * PAGE));
                        let is_written = page == 3 && esr == WRITE;
                        let is_withheld = log == DirtyLog::On && !is_written;
                        let writes = slot.access.can_write() && !is_withheld;
                        assert_eq!(raw.access().can_write(), writes);
                        assert_eq!(raw.access().can_read(), slot.access.can_read());
                        assert_eq!(raw.execute(), slot.execute);
                        let is_logged = log == DirtyLog::On && slot.access.can_write();
                        assert_eq!(
                            raw.is_dirty_managed(),
                            is_logged && ids.has_hardware_dirty()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_store_by_hardware_never_goes_beyond_the_slot() {
    for slot in permissions().filter(|slot| !slot.access.can_write()) {
        let recorder = Recorder::new(Granule::Kib4);
        let ids = with_hardware_dirty(with_xnx(plain()));
        let mut bench = Bench::new(&recorder, &ids);
        bench.slot(GIB, GIB, 16 * PAGE, slot);
        bench.slots.set_log(Ipa(GIB), DirtyLog::On).expect("there");
        for esr in [READ, FETCH] {
            if bench.answer(esr, GIB) == Answer::Mapped {
                let raw = RawDescriptor(bench.raw(GIB));
                assert!(
                    !raw.is_dirty_managed(),
                    "hardware would make {slot:?} writable"
                );
            }
        }
    }
}

#[test]
fn a_leaf_widens_by_what_was_asked_for_within_the_slot() {
    let ids = with_xnx(plain());
    for slot in permissions() {
        for has in permissions() {
            let is_within = has.access as u8 & !(slot.access as u8) == 0
                && (has.execute == slot.execute || has.execute == Xn::Nowhere);
            for esr in [READ, WRITE, FETCH].into_iter().filter(|_| is_within) {
                let recorder = Recorder::new(Granule::Kib4);
                let mut bench = Bench::new(&recorder, &ids);
                bench.slot(GIB, GIB, MIB2, slot);
                bench.map(&Mapping::new(Ipa(GIB), Pa(GIB), MIB2, has));
                let answer = bench.answer(esr | PERMISSION, GIB);
                let raw = RawDescriptor(bench.raw(GIB));
                let expected = match (needed(esr, slot), needed(esr, has).0) {
                    ((false, reason), _) => Answer::Inject(reason),
                    ((true, _), true) => Answer::Retry,
                    ((true, _), false) => Answer::Relaxed,
                };
                assert_eq!(answer, expected, "{has:?} {slot:?}");
                let widened = u8::from(answer == Answer::Relaxed);
                let data = match esr {
                    READ => widened,
                    WRITE => widened << 1,
                    _ => 0,
                };
                assert_eq!(raw.access() as u8, has.access as u8 | data);
                let execute = if esr == FETCH && widened == 1 {
                    slot.execute
                } else {
                    has.execute
                };
                assert_eq!(raw.execute(), execute);
            }
        }
    }
}
