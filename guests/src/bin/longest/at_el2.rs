//! What a guest that is a hypervisor can ask for: that many full contexts are emptied at once, in every way, that more
//! is mapped than there is room for, and that tables are walked that have no end.

use crate::section::section;
use droste_guests::stage2::{self, Leaf, Root, Size, Tables, write};
use droste_guests::tree::Machine;
use droste_guests::{BLOCK, RAM_BASE, cpu, el2, gic, map, programs, psci, smp};
use el2::{World, hcr, mode};

const GIB: u64 = 1 << 30;
/// IPA of the first GiB that is mapped by pages, all by the same table of pages.
pub(crate) const PAGES_AT: u64 = 8 * GIB;
/// How many such GiB there are.
const PAGED_GIB: u64 = 20;
/// IPA of a GiB that one leaf maps.
const LEAF_AT: u64 = 48 * GIB;
/// Contexts of one VMID.
pub(crate) const ROOTS: usize = 12;
/// Contexts of different VMIDs: more than there are for this virtual machine.
const VMIDS: u64 = 96;
/// Tables that each of many contexts has.
const SOME: u64 = 24;

pub(crate) struct Lab {
    pub(crate) roots: [Root; ROOTS],
    /// What the shadows' tables are made of is this many pages at least, and not twice as many.
    quota: u64,
    /// The table of tables of pages.
    paged: u64,
    tables: Tables,
    /// A GiB of RAM that nobody uses, and the block that is mapped by pages.
    unused: u64,
    spare: u64,
}

/// All of it.
pub(crate) fn all(machine: &Machine) {
    el2::begin("longest", machine);
    gic::enable_distributor();
    begin_on(0);
    let mut lab = Lab::new(machine);
    invalidations(&mut lab);
    many_contexts(&lab);
    fills(&mut lab);
    translations(&mut lab);
    section("CPU_ON of all", || {
        for n in 1..machine.vcpus {
            psci::call(psci::CPU_ON, [smp::affinity(n), programs::serve(), 0]);
        }
    });
}

/// What each vCPU does first.
pub(crate) fn begin_on(vcpu: usize) {
    el2::prepare_on(vcpu, 0);
    el2::open();
    el2::set_vtcr(stage2::vtcr());
}

impl Lab {
    pub(crate) fn new(machine: &Machine) -> Self {
        let mut tables = Tables::take();
        let roots: [Root; ROOTS] = core::array::from_fn(|_| tables.root());
        let [first, others @ ..] = &roots;
        // The image is in the first GiB.
        let unused = RAM_BASE + GIB;
        assert!(machine.ram_bytes >= 2 * GIB, "it takes 2 GiB of RAM");
        let spare = unused + GIB / 2;
        tables.map_own(*first, machine);
        tables.map_all(*first, unused, unused, GIB, Size::Block, Leaf::Memory);
        // One table of pages, and one of 512 links to it.
        tables.map_all(*first, PAGES_AT, spare, BLOCK, Size::Page, Leaf::Memory);
        let page_table = read(tables.entry(*first, PAGES_AT, Size::Block));
        for n in 1..512 {
            write(
                tables.entry(*first, PAGES_AT + n * BLOCK, Size::Block),
                page_table,
            );
        }
        let paged = read(tables.entry(*first, PAGES_AT, Size::Gib));
        for n in 1..PAGED_GIB {
            write(tables.entry(*first, PAGES_AT + n * GIB, Size::Gib), paged);
        }
        for root in others {
            for gib in 0..64 {
                let entry = read(tables.entry(*first, gib * GIB, Size::Gib));
                write(tables.entry(*root, gib * GIB, Size::Gib), entry);
            }
        }
        el2::set_vttbr(first.vttbr(1));
        Self {
            roots,
            quota: machine.ram_bytes / BLOCK,
            paged,
            tables,
            unused,
            spare,
        }
    }

    /// Has the context of `vttbr` fill this many tables of pages.
    /// Has the first context hold as much as there is room for.
    fn fill_up(&self) {
        fill(self.roots[0].vttbr(1), self.quota - self.quota / 8);
    }
}

fn invalidations(lab: &mut Lab) {
    lab.fill_up();
    section("TLBI VMALLS12E1IS of a full shadow", el2::tlbi_vmalls12e1is);
    lab.fill_up();
    section("TLBI ALLE1IS with a full shadow", el2::tlbi_alle1is);
    lab.fill_up();
    section("TLBI VMALLE1IS with a full shadow", el2::tlbi_vmalle1is);
    section("TLBI RIPAS2E1IS of the most", || {
        // BaseADDR, no TTL, NUM, SCALE, TG of 4 KiB (DDI 0487, C5.5, "TLBI RIPAS2E1IS").
        el2::tlbi_ripas2e1is(PAGES_AT >> 12 | 31 << 39 | 3 << 44 | 1 << 46);
    });
    lab.fill_up();
    section("TLBI RIPAS2E1IS, cut at both ends", || {
        let from = PAGES_AT + GIB - BLOCK - BLOCK / 2;
        el2::tlbi_ripas2e1is(from >> 12 | 15 << 39 | 3 << 44 | 1 << 46);
    });
    // A leaf of 1 GiB in pieces makes that the unit of each invalidation without a level.
    let leaf = lab.tables.entry(lab.roots[0], LEAF_AT, Size::Gib);
    lab.tables
        .map(lab.roots[0], LEAF_AT, GIB, Size::Gib, Leaf::Memory);
    lab.fill_up();
    World::touch(LEAF_AT, BLOCK, 512);
    section("TLBI IPAS2E1IS of a GiB in pieces", || {
        el2::tlbi_ipas2e1is(LEAF_AT >> 12);
    });
    World::touch(LEAF_AT, BLOCK, 1);
    section("TLBI IPAS2E1IS of a GiB of pages", || {
        el2::tlbi_ipas2e1is(PAGES_AT >> 12);
    });
    write(leaf, 0);
    el2::tlbi_alle1is();
}

fn many_contexts(lab: &Lab) {
    for root in lab.roots {
        fill(root.vttbr(2), SOME);
    }
    section("TLBI VMALLE1IS of many shadows", el2::tlbi_vmalle1is);
    section("TLBI IPAS2E1IS of many shadows", || {
        el2::tlbi_ipas2e1is(PAGES_AT >> 12);
    });
    section("TLBI VMALLS12E1IS of many shadows", el2::tlbi_vmalls12e1is);
    let vmids = |of: &dyn Fn(u64)| (1..=VMIDS).for_each(of);
    let fill_all = || vmids(&|vmid| fill(lab.roots[0].vttbr(vmid), SOME / 4));
    fill_all();
    section("TLBI ALLE1IS of many shadows", el2::tlbi_alle1is);
    fill_all();
    section("contexts beyond the pool", || {
        vmids(&|vmid| fill(lab.roots[1].vttbr(vmid), 1));
    });
    el2::tlbi_alle1is();
    lab.fill_up();
    section("a full shadow taken for another context", || {
        vmids(&|vmid| fill(lab.roots[1].vttbr(vmid), 1));
    });
    section("contexts without a table", || {
        vmids(&|vmid| {
            el2::set_vttbr(lab.roots[0].vttbr(vmid));
            let mut world = World::new(programs::hvc(), mode::EL1H, hcr::GUEST & !hcr::VM);
            world.run();
        });
    });
    section(
        "TLBI ALLE1IS of contexts without a table",
        el2::tlbi_alle1is,
    );
}

fn fills(lab: &mut Lab) {
    section("more than the quota of pages", || {
        fill(lab.roots[0].vttbr(1), PAGED_GIB * 512);
    });
    for root in lab.roots {
        fill(root.vttbr(3), 8);
    }
    section("more than the quota, in many shadows", || {
        for root in lab.roots {
            fill(root.vttbr(3), lab.quota / 4);
        }
    });
    el2::tlbi_alle1is();
    // The page that is touched is a hole of a shadow of 512 tables when L1 says that one leaf maps all of it.
    fill(lab.roots[0].vttbr(1), 512);
    let entry = lab.tables.entry(lab.roots[0], PAGES_AT, Size::Gib);
    write(entry, lab.unused | 1 | Leaf::Memory.page() & !3);
    section("a leaf over many tables", || {
        World::touch(PAGES_AT + 0x1000, BLOCK, 512);
    });
    write(entry, lab.paged);
    el2::tlbi_alle1is();
    section("first touches by L2", || {
        World::touch(lab.spare, BLOCK, 128);
    });
}

/// A table of stage 1 whose first entry leads to itself, at each level, by stage-2 tables.
fn translations(lab: &mut Lab) {
    let table = PAGES_AT;
    // SAFETY: memory that nobody uses, which `PAGES_AT` maps.
    unsafe { (lab.spare as *mut u64).write_volatile(table | 0x703) };
    el2::set_vttbr(lab.roots[0].vttbr(1));
    el2::set_ttbr0_el1(table);
    // 48 bits, 4 KiB, inner shareable write-back, 48 bits out.
    el2::set_tcr_el1(16 | 0x3500 | 1 << 23 | 5 << 32);
    el2::set_sctlr_el1(0x30d0_1805);
    let controls = el2::current_hcr();
    el2::set_hcr(controls & !hcr::TGE | hcr::VM);
    section("AT S12E1R and W, four levels of each stage", || {
        el2::at_s12e1r(0);
        el2::at_s12e1w(0);
    });
    section("AT S1E1R", || el2::at_s1e1r(0));
    el2::set_hcr(controls);
    section("AT S1E2R", || el2::at_s1e2r(map::address_of(lab)));
    el2::reset_el1();
    cpu::isb();
}

/// Has the context of `vttbr` fill this many tables of pages.
pub(crate) fn fill(vttbr: u64, count: u64) {
    el2::set_vttbr(vttbr);
    World::touch(PAGES_AT, BLOCK, count);
}

fn read(entry: *mut u64) -> u64 {
    // SAFETY: an entry of the pool.
    unsafe { entry.read_volatile() }
}
