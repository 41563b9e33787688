//! Exceptions from each source, to each target, with each bit of PSTATE.

use super::*;

const ALL_BITS: PstateBits = PstateBits::new(1 << 48, 1 | 1 << 4 | 1 << 8, 1 << 20, 1 << 4);
const FEW_BITS: PstateBits = PstateBits::new(0, 0, 0, 0);
const SPAN: u64 = 1 << 23;
const VBAR: u64 = 0xffff_0000_0001_0000;
const HOST: u64 = hcr::E2H | hcr::TGE;

const fn controls(hcr: u64, sctlr: u64) -> Controls {
    Controls {
        hcr,
        sctlr,
        vbar: VBAR,
        bits: ALL_BITS,
    }
}

fn entry(what: Exception, from: u64) -> Entry {
    take_to_el2(
        what,
        Origin {
            pc: 0x1234,
            pstate: from,
        },
        &controls(hcr::E2H, SPAN),
    )
}

fn abort(class: u64) -> Exception {
    Exception::Synchronous {
        esr: Esr(class << 26 | 1 << 25 | 0x07),
        far: Some(0xfa),
        hpfar: Some(0xf0),
    }
}

#[test]
fn each_source_and_kind_has_its_vector() {
    let kinds = [
        Exception::UNDEFINED,
        Exception::Irq,
        Exception::Fiq,
        Exception::SError { esr: Esr(0) },
    ];
    for (source, from) in [
        (0x000, 0b1000),
        (0x200, 0b1001),
        (0x400, 0b0101),
        (0x400, 0b0100),
        (0x400, 0b0000),
    ] {
        for (kind, what) in (0..).zip(kinds) {
            assert_eq!(entry(what, from).pc, VBAR + source + kind * 0x80);
        }
    }
}

#[test]
fn the_low_bits_of_vbar_are_ignored_and_a_vector_at_the_top_wraps() {
    let mut top = controls(0, 0);
    top.vbar = u64::MAX;
    let from = Origin { pc: 0, pstate: 0 };
    assert_eq!(
        take_to_el2(Exception::Irq, from, &top).pc,
        0xffff_ffff_ffff_fc80
    );
}

#[test]
fn the_origin_is_saved_and_only_what_exists_of_it() {
    let from = Origin {
        pc: 0xdead_0000,
        pstate: !pstate::MODE | 0b0101,
    };
    let all = take_to_el2(Exception::Irq, from, &controls(0, 0));
    assert_eq!(
        (all.elr, all.spsr),
        (from.pc, from.pstate & ALL_BITS.mask())
    );
    let few = Controls {
        bits: FEW_BITS,
        ..controls(0, 0)
    };
    let few = take_to_el2(Exception::Irq, from, &few);
    let expected = pstate::NZCV | pstate::SS | pstate::IL | pstate::DAIF | 0b0101;
    assert_eq!(few.spsr, expected);
    assert_eq!(few.pstate, pstate::NZCV | pstate::DAIF | pstate::EL2H);
}

#[test]
fn flags_dit_and_pan_stay_and_the_rest_starts_afresh() {
    let from = ALL_BITS.mask() & !pstate::MODE;
    let to = entry(Exception::Irq, from).pstate;
    let kept = pstate::NZCV | pstate::DIT | pstate::PAN;
    assert_eq!(to, kept | pstate::DAIF | pstate::TCO | pstate::EL2H);
    let to = entry(Exception::Irq, 0).pstate;
    assert_eq!(to, pstate::DAIF | pstate::TCO | pstate::EL2H);
}

#[test]
fn pan_is_set_only_where_el0_is_el2_s_and_span_is_clear() {
    for hcr in [0, hcr::E2H, hcr::TGE, HOST] {
        for sctlr in [0, SPAN] {
            let from = Origin { pc: 0, pstate: 0 };
            let to = take_to_el2(Exception::Irq, from, &controls(hcr, sctlr)).pstate;
            assert_eq!(to & pstate::PAN != 0, hcr == HOST && sctlr == 0, "{hcr:#x}");
        }
    }
}

#[test]
fn ssbs_follows_dssbs() {
    let from = Origin {
        pc: 0,
        pstate: pstate::SSBS,
    };
    let to = |sctlr| take_to_el2(Exception::Irq, from, &controls(0, sctlr)).pstate;
    assert_eq!(to(0) & pstate::SSBS, 0);
    assert_eq!(to(1 << 44) & pstate::SSBS, pstate::SSBS);
}

#[test]
fn classes_that_come_in_pairs_name_the_level_and_others_do_not_change() {
    for class in 0..64 {
        let from_el2 = entry(abort(class), 0b1001).esr.expect("synchronous");
        let from_el1 = entry(abort(class), 0b0101).esr.expect("synchronous");
        let is_pair = [0x20, 0x21, 0x24, 0x25, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35].contains(&class);
        let (same, lower) = if is_pair {
            (class | 1, class & !1)
        } else {
            (class, class)
        };
        assert_eq!((from_el2 >> 26, from_el1 >> 26), (same, lower));
        assert_eq!(from_el2 & 0x3ff_ffff, 1 << 25 | 0x07);
    }
}

#[test]
fn interrupts_leave_the_fault_registers_alone() {
    for what in [Exception::Irq, Exception::Fiq] {
        let entry = entry(what, 0b0101);
        assert_eq!((entry.esr, entry.far, entry.hpfar), (None, None, None));
    }
    let serror = entry(
        Exception::SError {
            esr: Esr(0xbe00_0000),
        },
        0b0101,
    );
    assert_eq!((serror.esr, serror.far), (Some(0xbe00_0000), None));
    let abort = entry(abort(0x24), 0);
    assert_eq!((abort.far, abort.hpfar), (Some(0xfa), Some(0xf0)));
}

#[test]
fn an_undefined_instruction_has_an_empty_syndrome() {
    assert_eq!(entry(Exception::UNDEFINED, 0b1001).esr, Some(1 << 25));
}

#[test]
fn targets_are_those_of_the_manual_s_tables() {
    let routed = |cause| match cause {
        Cause::Irq => hcr::IMO,
        Cause::Fiq => hcr::FMO,
        Cause::SError => hcr::AMO,
        Cause::ExternalAbort => hcr::TEA,
        Cause::Synchronous | Cause::Debug => 0,
    };
    for cause in [
        Cause::Synchronous,
        Cause::ExternalAbort,
        Cause::Debug,
        Cause::Irq,
        Cause::Fiq,
        Cause::SError,
    ] {
        let is_interrupt = matches!(cause, Cause::Irq | Cause::Fiq | Cause::SError);
        for e2h in [0, hcr::E2H] {
            // Nothing routes: EL1, or pending at EL2.
            let at_el2 = if is_interrupt {
                Target::Pending
            } else {
                Target::El2
            };
            assert_eq!(target(cause, Level::El0, e2h, 0), Target::El1);
            assert_eq!(target(cause, Level::El1, e2h, 0), Target::El1);
            assert_eq!(target(cause, Level::El2, e2h, 0), at_el2);
            for level in [Level::El0, Level::El1, Level::El2] {
                assert_eq!(target(cause, level, e2h | hcr::TGE, 0), Target::El2);
                if routed(cause) != 0 {
                    assert_eq!(target(cause, level, e2h | routed(cause), 0), Target::El2);
                }
            }
        }
    }
    assert_eq!(target(Cause::Debug, Level::El1, 0, 1 << 8), Target::El2);
    assert_eq!(
        target(Cause::Irq, Level::El1, hcr::FMO | hcr::AMO, 0),
        Target::El1
    );
}

#[test]
fn pstate_masks_at_its_own_level_and_for_el0_of_el2() {
    for (cause, mask) in [
        (Cause::Irq, pstate::I),
        (Cause::Fiq, pstate::F),
        (Cause::SError, pstate::A),
    ] {
        let others = pstate::DAIF & !mask;
        for hcr in [0, hcr::E2H, HOST] {
            assert!(is_masked(cause, Target::El2, 0b1001 | mask, hcr));
            assert!(!is_masked(cause, Target::El2, 0b1001 | others, hcr));
            assert!(is_masked(cause, Target::El1, 0b0101 | mask, hcr));
            assert!(is_masked(cause, Target::El1, mask, hcr));
            assert!(is_masked(cause, Target::Pending, 0b1001, hcr));
            assert_eq!(is_masked(cause, Target::El2, mask, hcr), hcr == HOST);
        }
        assert!(!is_masked(
            cause,
            Target::El2,
            0b0101 | pstate::DAIF,
            hcr::E2H
        ));
    }
    assert!(!is_masked(Cause::Synchronous, Target::El2, pstate::DAIF, 0));
}

#[test]
fn hardware_and_virtual_pstate_are_each_other_s_reverse() {
    for mode in 0..16 {
        let is_el2 = mode >> 2 == 2;
        let hardware = hardware_pstate(pstate::NZCV | mode);
        assert_eq!(hardware & !0xf, pstate::NZCV);
        assert_ne!(level(hardware), Level::El2);
        if mode >> 2 < 3 && (is_el2 || mode >> 2 != 1) {
            let back = virtual_pstate(hardware, Running::VirtualEl2);
            assert_eq!(back, pstate::NZCV | mode);
        }
        if !is_el2 {
            assert_eq!(
                virtual_pstate(hardware, Running::Guest),
                pstate::NZCV | mode
            );
        }
    }
}

#[test]
fn who_runs_decides_whose_registers_are_loaded() {
    for (level, hcr, running, loaded) in [
        (Level::El2, 0, Running::VirtualEl2, Loaded::El2),
        (Level::El2, HOST, Running::VirtualEl2, Loaded::El2),
        (Level::El1, hcr::E2H, Running::Guest, Loaded::El1),
        (Level::El0, hcr::E2H, Running::Guest, Loaded::El1),
        (Level::El0, HOST, Running::HostEl0, Loaded::El2),
        (Level::El0, hcr::TGE, Running::Guest, Loaded::El1),
    ] {
        assert_eq!(Running::at(level, hcr), running);
        assert_eq!(running.loaded(), loaded);
    }
}

#[test]
fn steps_are_made_below_the_level_that_takes_them_and_within_it_where_it_says_so() {
    const SS: u64 = 1;
    const KDE: u64 = 1 << 13;
    const D: u64 = 1 << 9;
    const TDE: u64 = 1 << 8;
    for (hcr, mdcr, debug) in [
        (0, 0, Level::El1),
        (hcr::TGE, 0, Level::El2),
        (0, TDE, Level::El2),
        (hcr::E2H | hcr::TGE, TDE, Level::El2),
    ] {
        for from in [Level::El0, Level::El1, Level::El2] {
            for (mdscr, pstate) in [(0, 0), (SS, 0), (SS | KDE, 0), (SS | KDE, D), (KDE, 0)] {
                let is_within = mdscr & KDE != 0 && pstate & D == 0;
                let expected = mdscr & SS != 0 && (from < debug || from == debug && is_within);
                let found = is_stepping(from, debug_target(hcr, mdcr), mdscr, pstate);
                assert_eq!(found, expected, "{from:?} {debug:?} {mdscr:#x} {pstate:#x}");
            }
        }
    }
}
