//! Mistakes that a hypervisor of hypervisors can make: for each, `droste-nested` does it right, and the judges see it
//! done wrong.

use droste_mmu_model::Rule;
use droste_trials::Problem;
use droste_trials::nested::{Failure, Lapse, Program, Sabotage, run, run_with};

/// The hardware that the programs run on, the same features shown to L1.
const HARDWARE: [&str; 4] = ["", "ttl,range", "af,dirty", "ttl,range,xnx,fwb,af,vmid16"];

/// L1 has a table for its guest 0, in which 2 MiB from 0x8000000000 on are in pages. Guest 1 has the same VMID and a
/// table of its own; for guest 2 stage 2 is off.
fn program(with: &str, records: u16, steps: &str) -> Program {
    let text = format!(
        "world cpus=2 bbm=0 pa=48 seed=0x5 with={with}\n\
         l1 pages=16 places=3 records={records} shows={with}\n\
         table granule=4 bits=40 start=1\n\
         table granule=4 bits=40 start=1\n\
         space vmid=1 updates=nothing table=0\n\
         space vmid=1 updates=nothing table=1\n\
         space vmid=1 updates=nothing table=off\n\
         cpu=0 add-slot ipa=0x80000000 pa=0x900000000 bytes=0x400000 as=wb,rw,x,0 log=off\n\
         cpu=0 write table=0 level=1 index=0 count=1 value=0x70010003\n\
         cpu=0 write table=0 level=2 index=0 count=1 value=0x70011003\n\
         cpu=0 write table=1 level=1 index=0 count=1 value=0x70090003\n\
         cpu=0 write table=1 level=2 index=0 count=1 value=0x70091003\n\
         cpu=0 enter space=0 vcpu=0\n\
         cpu=1 enter space=0 vcpu=1\n{steps}"
    );
    text.parse()
        .unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

/// The crate passes on all hardware, with few records of the reverse map and with many.
fn passes(steps: &str) {
    for with in HARDWARE {
        for records in [1, 64] {
            if let Err(failure) = run(&program(with, records, steps)) {
                panic!("{failure}");
            }
        }
    }
}

/// The crate passes, and with the lapse L2 sees what it must not.
fn only_fails_with(lapse: Lapse, steps: &str) {
    passes(steps);
    for with in HARDWARE {
        let failure = run_with(&program(with, 64, steps), Sabotage::Hypervisor(lapse));
        let Err(failure) = failure else {
            panic!("nobody misses {lapse:?} with {with:?}:\n{steps}");
        };
        let Failure {
            problem: Problem::Oracle { rule, .. },
            ..
        } = *failure
        else {
            panic!("{failure}");
        };
        assert!(
            rule.starts_with("L2 sees") || rule.starts_with("a page that L2 wrote"),
            "{rule}"
        );
    }
}

/// Page 1, and who looks at it.
const MAP: &str = "cpu=0 write table=0 level=3 index=1 count=1 value=0x800057ff\n";
const LOOK: &str = "cpu=1 access va=0x8000001008 kind=write\n";
/// The second 2 MiB as a block of L1's, whose memory there is in pages.
const BLOCK: &str = "\
cpu=0 write table=0 level=2 index=1 count=1 value=0x802007fd
cpu=0 access va=0x8000200008 kind=write
cpu=0 split ipa=0x80200000 bytes=0x200000 level=3
cpu=0 unmap ipa=0x80200000 bytes=0x200000
cpu=0 access va=0x8000200008 kind=write
cpu=1 access va=0x8000207008 kind=write
";

#[test]
fn an_invalidation_that_is_left_out_is_seen() {
    let steps = format!(
        "{MAP}{LOOK}\
         cpu=0 write table=0 level=3 index=1 count=1 value=0x0\n\
         cpu=0 tlbi space=0 form=ipas2e1 scope=is nxs=0 operand=0x8000001\n\
         cpu=0 tlbi space=0 form=vmalle1 scope=is nxs=0 operand=0x0\n{LOOK}"
    );
    only_fails_with(Lapse::Tlbi, &steps);
}

/// L1 leaves entries of both stages combined, and L2's own invalidation takes them.
#[test]
fn what_l2_invalidates_itself_it_does_not_see_again() {
    let by_l1 = format!(
        "{MAP}{LOOK}\
         cpu=0 write table=0 level=3 index=1 count=1 value=0x0\n\
         cpu=0 tlbi space=0 form=ipas2e1 scope=is nxs=0 operand=0x8000001\n"
    );
    for scope in ["is", "local"] {
        let by_l2 = format!("cpu=1 guest-tlbi form=vmalle1 scope={scope} nxs=0 operand=0x0\n");
        let steps = format!("{by_l1}{by_l2}{LOOK}");
        only_fails_with(Lapse::Tlbi, &steps);
    }
    let left = program("", 64, &format!("{by_l1}{LOOK}"));
    let run = run_with(&left, Sabotage::Hypervisor(Lapse::Tlbi));
    assert!(run.is_ok(), "L1's hardware could hold them still");
}

/// L1 puts a block in the place of two pages, of which it invalidates one. Its memory there is in pages, so the block is
/// filled in pieces, beside the other page.
#[test]
fn a_leaf_that_is_filled_beside_others_is_known_with_its_level() {
    let flush = "cpu=0 tlbi space=0 form=vmalle1 scope=is nxs=0 operand=0x0\n";
    let steps = format!(
        "{MAP}{LOOK}\
         cpu=0 write table=0 level=3 index=2 count=1 value=0x802007ff\n\
         cpu=1 access va=0x8000002008 kind=write\n\
         cpu=0 split ipa=0x80200000 bytes=0x200000 level=3\n\
         cpu=0 write table=0 level=2 index=0 count=1 value=0x0\n\
         cpu=0 tlbi space=0 form=ipas2e1 scope=is nxs=0 operand=0x8000001\n{flush}\
         cpu=0 write table=0 level=2 index=0 count=1 value=0x802007fd\n{LOOK}\
         cpu=0 write table=0 level=2 index=0 count=1 value=0x0\n\
         cpu=0 tlbi space=0 form=ipas2e1 scope=is nxs=0 operand=0x600008000001\n{flush}{LOOK}"
    );
    // Chance decides which way a fill goes.
    for seed in 1..9 {
        let text = program("ttl", 64, &steps).to_string();
        let text = text.replace("seed=0x5", &format!("seed={seed:#x}"));
        let program: Program = text.parse().expect("only a word has changed");
        run(&program).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

/// L2 has its page 1 lead to page 2, and then something happens.
fn changed_stage1(then: &str) -> String {
    format!(
        "{MAP}{LOOK}\
         cpu=0 write table=0 level=3 index=2 count=1 value=0x800067ff\n\
         cpu=1 access va=0x8000002008 kind=write\n\
         cpu=1 stage1 va=0x8000001000 to=0x8000002000 tagging=global\n\
         cpu=1 guest-tlbi form=vmalle1 scope=is nxs=0 operand=0x0\n{LOOK}\
         cpu=1 stage1 va=0x8000001000 to=0x8000001000 tagging=per-asid\n\
         cpu=0 tlbi space=0 scope=is nxs=0 {then}\n{LOOK}"
    )
}

/// The entry that is left is a global one, which goes with any ASID's address, and not with an ASID.
#[test]
fn stage_1_of_l2_goes_at_l1s_word() {
    let run = |lapse, then: &str| {
        let steps = changed_stage1(then);
        HARDWARE.map(|with| {
            let program = program(&format!("stage1,{with}"), 64, &steps);
            run(&program).unwrap_or_else(|failure| panic!("{failure}"));
            run_with(&program, Sabotage::Hypervisor(lapse)).is_err()
        })
    };
    for then in [
        "form=vmalle1 operand=0x0",
        "form=vae1 operand=0x1000008000001",
        "form=vae1 operand=0x7000008000001",
        "form=vaae1 operand=0x8000001",
        "form=vale1 operand=0x1000008000001",
        "form=vaale1 operand=0x8000001",
    ] {
        assert_eq!(run(Lapse::Stage1, then), [true; 4], "{then} is missed");
    }
    for then in ["form=vmalls12e1 operand=0x0", "form=alle1 operand=0x0"] {
        assert_eq!(run(Lapse::Tlbi, then), [true; 4], "{then} is missed");
    }
    for then in [
        "form=aside1 operand=0x1000000000000",
        "form=vae1 operand=0x1000008000002",
        "form=vaae1 operand=0x8000000",
    ] {
        assert_eq!(run(Lapse::Stage1, then), [false; 4], "{then} takes it not");
    }
    // Where ranges are shown: two pages from here, or from the next one.
    let has_range = HARDWARE.map(|with| with.contains("range"));
    for form in ["rvae1", "rvaae1", "rvale1", "rvaale1"] {
        let asid = if form.starts_with("rvaa") {
            0
        } else {
            1_u64 << 48
        };
        let range = |page: u64| format!("form={form} operand={:#x}", asid | 1 << 46 | page);
        assert_eq!(run(Lapse::Stage1, &range(0x800_0000)), has_range, "{form}");
        assert_eq!(run(Lapse::Stage1, &range(0x800_0002)), [false; 4], "{form}");
    }
}

/// Guests 0 and 1 have one VMID, and a table each.
#[test]
fn a_guest_does_not_invalidate_for_another_whose_vmid_it_shares() {
    let steps = format!(
        "{MAP}cpu=0 write table=0 level=3 index=2 count=1 value=0x800067ff\n{LOOK}\
         cpu=1 access va=0x8000002008 kind=write\n\
         cpu=1 stage1 va=0x8000001000 to=0x8000002000 tagging=per-asid\n\
         cpu=0 enter space=1 vcpu=0\n\
         cpu=0 guest-tlbi form=vmalle1 scope=is nxs=0 operand=0x0\n{LOOK}"
    );
    run(&program("stage1", 64, &steps)).unwrap_or_else(|failure| panic!("{failure}"));
}

/// L1's tables in the other order, written anew.
const TURNED: &str = "\
cpu=0 order to=big
cpu=0 write table=0 level=1 index=0 count=1 value=0x70010003
cpu=0 write table=0 level=2 index=0 count=1 value=0x70011003
";

#[test]
fn tables_are_read_in_the_order_that_l1_gives_them() {
    passes(&format!("{TURNED}{MAP}{LOOK}"));
    let flags = "cpu=0 write table=0 level=3 index=1 count=1 value=0x8000080005377\n";
    for updates in ["nothing", "af", "dirty"] {
        let text = program("af,dirty", 64, &format!("{TURNED}{flags}{LOOK}")).to_string();
        let text = text.replace(
            "updates=nothing table=0",
            &format!("updates={updates} table=0"),
        );
        let program: Program = text.parse().expect("only a word has changed");
        run(&program).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn a_table_whose_order_is_turned_is_another_one() {
    let end = "cpu=0 tlbi space=0 form=vmalls12e1 scope=is nxs=0 operand=0x0\n";
    // It has a shadow of its own, and what L1 invalidates goes from both.
    let turned = format!("{MAP}{LOOK}cpu=0 order to=big\n{end}{LOOK}");
    passes(&turned);
    let hole = "cpu=0 write table=0 level=3 index=1 count=1 value=0x0\n";
    only_fails_with(
        Lapse::Tlbi,
        &format!("{MAP}{LOOK}cpu=0 order to=big\n{hole}{end}cpu=0 order to=little\n{LOOK}"),
    );
    // Turned back, it is what it was.
    let back = "cpu=0 order to=big\ncpu=0 order to=little\n";
    passes(&format!("{MAP}{LOOK}{back}{end}{LOOK}"));
}

#[test]
fn an_invalidation_reaches_every_context_of_its_vmid() {
    // The last to be made is the first to be found.
    let enter = "cpu=0 enter space=1 vcpu=0\n";
    let steps = format!(
        "{MAP}{LOOK}{enter}\
         cpu=0 write table=0 level=3 index=1 count=1 value=0x0\n\
         cpu=0 tlbi space=1 form=vmalls12e1 scope=is nxs=0 operand=0x0\n{LOOK}"
    );
    only_fails_with(Lapse::OneContext, &steps);
}

#[test]
fn one_address_of_a_block_without_a_level_takes_all_of_it() {
    for operand in ["0x8000200", "0x8000207", "0x80003ff"] {
        let steps = format!(
            "{BLOCK}\
             cpu=0 write table=0 level=2 index=1 count=1 value=0x0\n\
             cpu=0 tlbi space=0 form=ipas2e1 scope=is nxs=0 operand={operand}\n\
             cpu=0 tlbi space=0 form=vmalle1 scope=is nxs=0 operand=0x0\n\
             cpu=0 access va=0x8000200008 kind=read\n\
             cpu=1 access va=0x8000207008 kind=read\n"
        );
        only_fails_with(Lapse::Tlbi, &steps);
    }
}

#[test]
fn one_address_of_a_contiguous_run_takes_all_of_it() {
    let steps = "\
        cpu=0 write table=0 level=3 index=16 count=16 value=0x100000800107ff\n\
        cpu=0 access va=0x8000010008 kind=write\n\
        cpu=1 access va=0x800001f008 kind=write\n\
        cpu=0 write table=0 level=3 index=16 count=16 value=0x0\n\
        cpu=0 tlbi space=0 form=vmalls12e1 scope=is nxs=0 operand=0x0\n\
        cpu=0 access va=0x8000010008 kind=read\n\
        cpu=1 access va=0x800001f008 kind=read\n";
    only_fails_with(Lapse::Tlbi, steps);
}

#[test]
fn memory_that_l0_takes_is_gone_from_shadows() {
    let steps = format!("{MAP}{LOOK}cpu=0 unmap ipa=0x80005000 bytes=0x1000\n{LOOK}");
    only_fails_with(Lapse::Visit, &steps);
    only_fails_with(Lapse::Insert, &steps);
}

/// The canonical leaf is a block, and is protected whole: so is what L2 has of it elsewhere.
#[test]
fn a_page_beside_a_protected_one_is_protected_as_well() {
    let steps = "\
        cpu=0 write table=0 level=3 index=3 count=1 value=0x802007ff\n\
        cpu=0 access va=0x8000003008 kind=write\n\
        cpu=0 dirty ipa=0x80201000 bytes=0x1000\n\
        cpu=0 access va=0x8000003008 kind=write\n\
        cpu=0 dirty ipa=0x80200000 bytes=0x1000\n";
    only_fails_with(Lapse::Visit, steps);
}

#[test]
fn a_fill_that_was_judged_before_a_change_fills_nothing() {
    let fault = format!(
        "{MAP}{LOOK}cpu=0 tlbi space=0 form=alle1 scope=is nxs=0 operand=0x0\n\
        cpu=1 resolve va=0x8000001008 kind=write\n"
    );
    let by_l0 = "cpu=0 unmap ipa=0x80005000 bytes=0x1000\n";
    let by_l1 = "\
        cpu=0 write table=0 level=3 index=1 count=1 value=0x0\n\
        cpu=0 tlbi space=0 form=ipas2e1 scope=is nxs=0 operand=0x8000001\n\
        cpu=0 tlbi space=0 form=vmalle1 scope=is nxs=0 operand=0x0\n";
    for change in [by_l0, by_l1] {
        let steps = format!("{fault}{change}cpu=1 install\n{LOOK}");
        only_fails_with(Lapse::Ticket, &steps);
    }
    only_fails_with(Lapse::Note, &format!("{fault}{by_l0}cpu=1 install\n{LOOK}"));
}

#[test]
fn tables_that_lead_nowhere_are_faults_of_l1() {
    for value in [
        "0x60000003",
        "0x3ffffff003",
        "0x802007f9",
        "0x40000802007fd",
    ] {
        passes(&format!(
            "cpu=0 write table=0 level=2 index=1 count=1 value={value}\n\
             cpu=0 access va=0x8000200008 kind=read\n\
             cpu=1 access va=0x8000200008 kind=execute1\n"
        ));
    }
}

#[test]
fn a_table_that_contains_itself_ends_like_any_other() {
    passes(
        "cpu=0 write table=0 level=2 index=0 count=1 value=0x70010003\n\
         cpu=0 access va=0x8000000008 kind=read\n\
         cpu=0 access va=0x8000001008 kind=write\n",
    );
}

#[test]
fn contexts_come_and_go_with_their_places() {
    let turns = [(1, "0x8000001008"), (2, "0x80005008"), (0, "0x8000001008")].repeat(3);
    let turns = turns.iter().map(|(space, ipa)| {
        format!(
            "cpu=0 enter space={space} vcpu=0\n\
             cpu=0 access va={ipa} kind=write\n\
             cpu=1 enter space={} vcpu=1\n\
             cpu=1 access va={ipa} kind=read\n",
            (space + 1) % 3
        )
    });
    let steps = MAP.to_owned() + &turns.collect::<String>();
    for places in [2, 3] {
        let text = program("ttl,range", 64, &steps).to_string();
        let text = text.replace("places=3", &format!("places={places}"));
        let program: Program = text.parse().expect("only a number has changed");
        run(&program).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

/// Guest 0 has number 1. Both CPUs leave it for guest 2, another virtual machine takes all numbers that are left, and
/// guest 1 gets the first of the next generation.
#[test]
fn a_context_is_entered_under_the_number_that_it_has_now() {
    let away = "cpu=0 enter space=2 vcpu=0\ncpu=1 enter space=2 vcpu=1\n";
    let others = "cpu=0 pressure count=253\ncpu=0 enter space=1 vcpu=0\n";
    let back = "cpu=0 enter space=0 vcpu=0\ncpu=1 enter space=0 vcpu=1\n";
    let steps = format!("{MAP}{LOOK}{away}{others}{back}{LOOK}");
    passes(&steps);
    let program = program("", 64, &steps);
    let report = run(&program).expect("it passes");
    assert_eq!(report.rollovers, 1);
    let failure = run_with(&program, Sabotage::Hypervisor(Lapse::Number));
    let failure = failure.expect_err("the number is another's by now");
    assert_eq!(failure.problem.rule(), Some(Rule::VmidReused), "{failure}");
}

#[test]
fn as_few_pages_as_one_fill_takes_are_enough() {
    let text = program("", 64, &format!("{MAP}{LOOK}{BLOCK}{LOOK}")).to_string();
    let text = text.replace("pages=16", "pages=4");
    let program: Program = text.parse().expect("only a number has changed");
    run(&program).unwrap_or_else(|failure| panic!("{failure}"));
}
