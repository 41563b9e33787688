//! All granules, start levels and address formats.

use droste_arm64::Pa;
use droste_arm64::barrier::Dsb;
use droste_mmu_model::{Config, Features, Form, Missing, Model, Rule, Scope, Tlbi, Vcpu};

use crate::rig::{BASE, broken, kept, read_faults, reads};

/// One way to lay out a table.
struct Layout {
    name: &'static str,
    vtcr: u64,
    page_shift: u32,
    /// First level and last, −1 to 3.
    start: i32,
    /// An address with a bit set at every level.
    ipa: u64,
    pa: u64,
    /// The descriptor of a page at `pa`.
    leaf: u64,
    granule: u64,
}

const RES1: u64 = 1 << 31;
const DS: u64 = 1 << 32;
const SL2: u64 = 1 << 33;
const TG64: u64 = 1 << 14;
const TG16: u64 = 2 << 14;

const fn bit_per_level(page_shift: u32, levels: u32) -> u64 {
    let mut ipa = 0;
    let mut level = 0;
    while level < levels {
        ipa |= 1 << (page_shift + level * (page_shift - 3));
        level += 1;
    }
    ipa
}

fn layouts() -> [Layout; 8] {
    let pa = 0x3_0001_0000;
    let wide = 0xc_0003_0001_0000;
    [
        Layout {
            name: "4 KiB from level 0, 48 bits",
            vtcr: RES1 | 5 << 16 | 2 << 6 | 0x10,
            page_shift: 12,
            start: 0,
            ipa: bit_per_level(12, 4),
            pa,
            leaf: pa | 0x7ff,
            granule: 1,
        },
        Layout {
            name: "4 KiB from level 1, 40 bits, two tables",
            vtcr: RES1 | 5 << 16 | 1 << 6 | 0x18,
            page_shift: 12,
            start: 1,
            ipa: bit_per_level(12, 3) | 1 << 39,
            pa,
            leaf: pa | 0x7ff,
            granule: 1,
        },
        Layout {
            name: "4 KiB from level 2, 34 bits, 16 tables",
            vtcr: RES1 | 5 << 16 | 0x1e,
            page_shift: 12,
            start: 2,
            ipa: bit_per_level(12, 2) | 1 << 33,
            pa,
            leaf: pa | 0x7ff,
            granule: 1,
        },
        Layout {
            name: "16 KiB from level 1, 47 bits",
            vtcr: RES1 | 5 << 16 | TG16 | 2 << 6 | 0x11,
            page_shift: 14,
            start: 1,
            ipa: bit_per_level(14, 3),
            pa,
            leaf: pa | 0x7ff,
            granule: 2,
        },
        Layout {
            name: "64 KiB from level 2, 42 bits",
            vtcr: RES1 | 5 << 16 | TG64 | 1 << 6 | 0x16,
            page_shift: 16,
            start: 2,
            ipa: bit_per_level(16, 2),
            pa,
            leaf: pa | 0x7ff,
            granule: 3,
        },
        Layout {
            name: "64 KiB with 52-bit addresses",
            vtcr: RES1 | 6 << 16 | TG64 | 2 << 6 | 0xc,
            page_shift: 16,
            start: 1,
            ipa: bit_per_level(16, 3),
            pa: wide,
            leaf: 0x3_0001_0000 | 0xc << 12 | 0x7ff,
            granule: 3,
        },
        Layout {
            name: "4 KiB with 52-bit addresses from level -1",
            vtcr: RES1 | DS | SL2 | 6 << 16 | 0xc,
            page_shift: 12,
            start: -1,
            ipa: bit_per_level(12, 5),
            pa: wide,
            leaf: 0x3_0001_0000 | 3 << 8 | 0x4ff,
            granule: 1,
        },
        Layout {
            name: "16 KiB with 52-bit addresses from level 0",
            vtcr: RES1 | DS | 6 << 16 | TG16 | 3 << 6 | 0xc,
            page_shift: 14,
            start: 0,
            ipa: bit_per_level(14, 4),
            pa: wide,
            leaf: 0x3_0001_0000 | 3 << 8 | 0x4ff,
            granule: 2,
        },
    ]
}

/// Where the table of a level stands: 1 MiB apart.
fn table_of(level: i32) -> u64 {
    BASE + u64::from((level + 1).unsigned_abs()) * 0x10_0000
}

/// The address of the descriptor that translates the layout's address at a level.
fn descriptor(layout: &Layout, level: i32) -> Pa {
    let bits = layout.page_shift - 3;
    let index = layout.ipa >> (layout.page_shift + bits * (3 - level).unsigned_abs());
    let index = if level == layout.start {
        index
    } else {
        index & ((1 << bits) - 1)
    };
    Pa(table_of(level) + index * 8)
}

fn mapped(layout: &Layout) -> Model {
    let features = Features::LPA2 | Features::TTL | Features::TLBI_RANGE;
    let config = Config {
        features,
        pa_bits: 52,
        ..Config::new(Pa(BASE), 0x600)
    };
    let mut model = Model::new(config);
    for level in layout.start..3 {
        model.write(0, descriptor(layout, level), table_of(level + 1) | 3);
    }
    model.write(0, descriptor(layout, 3), layout.leaf);
    model.dsb(0, Dsb::Ishst);
    for cpu in 0..2 {
        model.set_vtcr(cpu, layout.vtcr);
        model.set_vttbr(cpu, 1 << 48 | table_of(layout.start));
        model.isb(cpu);
    }
    model.enter(1, Vcpu::new(1));
    reads(&mut model, 1, layout.ipa + 8, layout.pa + 8);
    model
}

fn unmapped(layout: &Layout, tlbi: Tlbi) -> Model {
    let mut model = mapped(layout);
    model.write(0, descriptor(layout, 3), 0);
    model.dsb(0, Dsb::Ish);
    model.tlbi(0, tlbi);
    model.dsb(0, Dsb::Ish);
    model.tlbi(0, Tlbi::new(Form::Vmalle1, Scope::Inner, 0));
    model.dsb(0, Dsb::Ish);
    read_faults(&mut model, 1, layout.ipa);
    model
}

#[test]
fn every_layout_maps_and_unmaps() {
    for layout in layouts() {
        println!("{}", layout.name);
        kept(&mapped(&layout));
        let hint = (layout.granule << 2 | 3) << 44;
        for ttl in [0, hint] {
            let operand = ttl | layout.ipa >> 12;
            kept(&unmapped(
                &layout,
                Tlbi::new(Form::Ipas2e1, Scope::Inner, operand),
            ));
        }
    }
}

#[test]
fn every_layout_unmaps_by_range() {
    for layout in layouts() {
        println!("{}", layout.name);
        let unit = if layout.vtcr & DS != 0 {
            16
        } else {
            layout.page_shift
        };
        // From the multiple of 64 KiB below on, enough pages to reach the address.
        let operand = layout.granule << 46 | 15 << 39 | layout.ipa >> unit;
        kept(&unmapped(
            &layout,
            Tlbi::new(Form::Ripas2e1, Scope::Inner, operand),
        ));
    }
}

#[test]
fn a_range_in_the_wrong_unit_misses() {
    let with_ds = layouts().into_iter().filter(|layout| layout.vtcr & DS != 0);
    for layout in with_ds {
        let operand = layout.granule << 46 | (layout.ipa >> layout.page_shift) & 0x1f_ffff_ffff;
        broken(
            &unmapped(&layout, Tlbi::new(Form::Ripas2e1, Scope::Inner, operand)),
            Rule::StaleTranslation(Missing::Tlbi),
        );
    }
}

#[test]
fn every_layout_needs_its_invalidation() {
    for layout in layouts() {
        let wrong_granule = (layout.granule % 3 + 1) << 2 | 3;
        let operand = wrong_granule << 44 | layout.ipa >> 12;
        broken(
            &unmapped(&layout, Tlbi::new(Form::Ipas2e1, Scope::Inner, operand)),
            Rule::StaleTranslation(Missing::Tlbi),
        );
    }
}
