//! The tables that EDK2 gave for QEMU's `virt` board with an ITS, an SMMU and four CPUs on two nodes, beside the device tree of
//! the same machine; and these tables spoilt.

use droste_acpi::{Acpi, Error, Signature};
use droste_devtree::Tree;
use droste_platform::{Boot, Interrupt, Platform, Trigger};

/// Address (8 bytes), length (4 bytes), bytes; the RSDP first, then the XSDT.
const TABLES: &[u8] = include_bytes!("virt.acpi");
const TREE: &[u8] = include_bytes!("../../devtree/tests/nodes.dtb");

/// Physical memory with tables, which are read from their beginnings, so they may grow.
#[derive(Clone)]
struct Memory(Vec<(u64, Vec<u8>)>);

impl Memory {
    fn virt() -> Self {
        let mut pieces = Vec::new();
        let mut rest = TABLES;
        while let Some((head, tail)) = rest.split_at_checked(12) {
            let address = u64::from_le_bytes(head[..8].try_into().expect("8 bytes"));
            let bytes = u32::from_le_bytes(head[8..].try_into().expect("4 bytes"));
            let (piece, tail) = tail.split_at(bytes as usize);
            pieces.push((address, piece.to_vec()));
            rest = tail;
        }
        Self(pieces)
    }

    fn get(&self, address: u64, bytes: usize) -> Option<&[u8]> {
        let piece = self.0.iter().find(|(start, _)| *start == address);
        piece?.1.get(..bytes)
    }

    fn table(&mut self, name: &str) -> &mut Vec<u8> {
        let found = self
            .0
            .iter_mut()
            .find(|(_, table)| table.starts_with(name.as_bytes()));
        &mut found.expect("the board has it").1
    }

    /// Changes a table and makes its length and its checksum right.
    fn with(mut self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let table = self.table(name);
        change(table);
        let length = u32::try_from(table.len()).expect("a short table");
        table[4..8].copy_from_slice(&length.to_le_bytes());
        seal(table);
        self
    }

    fn read(&self) -> Result<Acpi<'_>, Error> {
        Acpi::read(self.0[0].0, |address, bytes| self.get(address, bytes))
    }

    fn platform(&self) -> Result<Platform, Error> {
        self.read()?.platform(Boot::default())
    }
}

fn seal(table: &mut [u8]) {
    table[9] = 0;
    let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    table[9] = sum.wrapping_neg();
}

#[test]
fn acpi_and_the_tree_of_one_machine_make_one_platform() {
    let tree = Tree::read(TREE)
        .expect("a tree")
        .platform()
        .expect("complete");
    let memory = Memory::virt();
    let acpi = memory.read().expect("tables");
    let acpi = acpi.platform(tree.boot.clone()).expect("complete");
    let expected = Platform {
        // Not read from ACPI: MCFG and IORT. And its devices have no names.
        smmus: Vec::new(),
        root_complexes: Vec::new(),
        devices: Vec::new(),
        ..tree
    };
    assert_eq!(acpi, expected);
    assert_eq!(
        (acpi.cpus.len(), acpi.its.len(), acpi.nodes.len()),
        (4, 1, 2)
    );
}

#[test]
fn random_bytes_in_tables_are_errors_or_platforms_and_no_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).expect("below a usize")
    };
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..20_000 {
        let mut memory = Memory::virt();
        let piece = random(memory.0.len());
        let table = &mut memory.0[piece].1;
        for _ in 0..=random(3) {
            let at = random(table.len());
            table[at] = [0, 0xff, random(256) as u8][random(3)];
        }
        if random(4) == 0 {
            let end = random(table.len());
            table.truncate(end.max(36));
        }
        // Right again, so that what is behind the checksum is reached.
        if piece > 0 {
            seal(table);
        }
        match memory.platform() {
            Ok(_) => taken += 1,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
        }
    }
    assert!(refused > 1000 && taken > 1000, "{refused} and {taken}");
}

#[test]
fn every_truncation_of_a_table_is_an_error_with_its_name() {
    for name in ["FACP", "APIC", "GTDT", "SPCR"] {
        let whole = Memory::virt().table(name).len();
        for length in 0..whole {
            let cut = Memory::virt().with(name, |table| table.truncate(length.max(36)));
            if let Err(error) = cut.platform() {
                assert!(error.to_string().contains(name), "{error}");
            }
            let mut lies = Memory::virt();
            lies.table(name).truncate(length);
            assert!(lies.platform().is_err(), "bytes that are not there");
        }
    }
}

#[test]
fn what_is_no_root_is_refused_in_words() {
    let root = |change: fn(&mut [u8])| {
        let mut memory = Memory::virt();
        change(&mut memory.0[0].1);
        memory.platform().expect_err("it is no root").to_string()
    };
    assert!(root(|rsdp| rsdp[0] = b'X').starts_with("there is no intact RSDP"));
    assert!(root(|rsdp| rsdp[35] ^= 1).starts_with("there is no intact RSDP"));
    let old = root(|rsdp| {
        rsdp[15] = 0;
        rsdp[8] = rsdp[8].wrapping_add(2);
    });
    assert!(old.contains("revision 0, of ACPI 1.0"), "{old}");
}

#[test]
fn a_table_that_is_not_there_or_does_not_add_up_is_named() {
    for name in ["APIC", "GTDT", "FACP"] {
        let mut memory = Memory::virt();
        memory.table(name)[20] ^= 1;
        let error = memory.platform().expect_err("its checksum is wrong");
        assert!(error.to_string().contains(name), "{error}");
        assert!(memory.read().expect("a root").console().is_some());
        let gone = Memory::virt().with(name, |table| table[0] = b'X');
        let error = gone.platform().expect_err("it is not there");
        assert_eq!(error.to_string().find(name), Some("ACPI has no ".len()));
    }
}

#[test]
fn psci_is_there_and_called_by_smc() {
    let flags = |flags: u8| {
        Memory::virt()
            .with("FACP", |fadt| fadt[129] = flags)
            .platform()
    };
    assert!(flags(1).is_ok());
    assert_eq!(flags(3).err(), Some(Error::Conduit));
    let fadt = Signature(*b"FACP");
    assert_eq!(flags(0).err(), Some(Error::Missing(fadt, "PSCI")));
}

/// Record `n` of the MADT of a kind: where it begins.
fn record(madt: &[u8], kind: u8, n: usize) -> usize {
    let mut at = 44;
    let mut seen = 0;
    loop {
        if madt[at] == kind {
            if seen == n {
                return at;
            }
            seen += 1;
        }
        at += usize::from(madt[at + 1]);
    }
}

#[test]
fn a_cpu_that_is_not_enabled_is_none() {
    let memory = Memory::virt().with("APIC", |madt| {
        let at = record(madt, 0x0b, 2);
        // Online capable is not enabled.
        madt[at + 12] = 1 << 3;
    });
    assert_eq!(memory.platform().expect("complete").cpus, [0, 1, 3]);
}

#[test]
fn nodes_are_optional_and_have_only_what_is_enabled() {
    let none = Memory::virt().with("SRAT", |srat| srat[0] = b'X');
    assert_eq!(none.platform().expect("complete").nodes, []);
    let fewer = Memory::virt().with("SRAT", |srat| {
        for at in (48..srat.len()).step_by(2) {
            // Records of CPUs have 18 bytes, those of memory 40: the first of each is switched off.
            match srat[at..at + 2] {
                [3, 18] if srat[at + 6] == 0 => srat[at + 10] = 0,
                [1, 40] if srat[at + 2] == 0 => srat[at + 28] = 0,
                _ => {}
            }
        }
    });
    let nodes = fewer.platform().expect("complete").nodes;
    assert_eq!((nodes[0].cpus.clone(), nodes[0].memory.len()), (vec![1], 0));
    assert_eq!(
        (nodes[1].cpus.clone(), nodes[1].memory.len()),
        (vec![2, 3], 1)
    );
    let beyond = Memory::virt().with("SRAT", |srat| {
        let at = srat.len() - 40;
        srat[at + 16..at + 24].fill(0xff);
    });
    let error = beyond.platform().expect_err("there is no such memory");
    assert!(
        error.to_string().contains("past the last address"),
        "{error}"
    );
}

/// As on machines whose MADT has no redistributor region, but an address for each CPU; and those with several regions.
#[test]
fn redistributors_are_in_regions_or_in_the_cpus_records() {
    let of_cpus = Memory::virt().with("APIC", |madt| {
        let at = record(madt, 0x0e, 0);
        madt.drain(at..at + 16);
        for cpu in 0..4u8 {
            let at = record(madt, 0x0b, cpu.into());
            madt[at + 60..at + 68].copy_from_slice(&[0, 0, cpu * 4, 0x40, 1, 0, 0, 0]);
        }
    });
    let gic = of_cpus.platform().expect("complete").gic;
    let each = |cpu: u64| 0x1_4000_0000 + cpu * 0x4_0000..0x1_4002_0000 + cpu * 0x4_0000;
    assert_eq!(gic.redistributors, [0, 1, 2, 3].map(each));
    let several = Memory::virt().with("APIC", |madt| {
        let at = record(madt, 0x0e, 0);
        let mut second = madt[at..at + 16].to_vec();
        second[8] = 2;
        madt.extend(second);
    });
    let gic = several.platform().expect("complete").gic;
    assert_eq!(gic.redistributors[1].start, 0x2_080a_0000);
    assert_eq!(gic.redistributors.len(), 2);
}

#[test]
fn a_machine_of_192_cpus_has_them_all() {
    let memory = Memory::virt().with("APIC", |madt| {
        let at = record(madt, 0x0b, 3);
        for cpu in 4..192u64 {
            let mut gicc = madt[at..at + 80].to_vec();
            gicc[68..76].copy_from_slice(&(cpu << 8).to_le_bytes());
            madt.extend(gicc);
        }
    });
    let cpus = memory.platform().expect("complete").cpus;
    assert_eq!((cpus.len(), cpus[191]), (192, 191 << 8));
}

#[test]
fn cpus_that_differ_in_their_maintenance_interrupt_are_refused() {
    let memory = Memory::virt().with("APIC", |madt| {
        let at = record(madt, 0x0b, 1);
        madt[at + 56] = 24;
    });
    let error = memory.platform().expect_err("they differ");
    assert!(
        error.to_string().contains("another maintenance interrupt"),
        "{error}"
    );
}

#[test]
fn a_timers_flags_say_how_its_line_signals() {
    let memory = Memory::virt().with("GTDT", |gtdt| gtdt[76] = 1);
    let timer = memory.platform().expect("complete").timer;
    let expected = Interrupt {
        intid: 26,
        trigger: Trigger::Edge,
    };
    assert_eq!(timer.hypervisor, expected);
    assert_eq!(timer.virt.trigger, Trigger::Level);
}

#[test]
fn a_console_of_another_model_is_told() {
    let model = |model: u8| Memory::virt().with("SPCR", |spcr| spcr[36] = model);
    for sbsa in [0xd, 0xe] {
        assert!(model(sbsa).platform().is_ok());
    }
    let error = model(5).platform().expect_err("it is NVIDIA's");
    assert!(error.to_string().contains("no PL011 UART"), "{error}");
    let unheard = Memory::virt().with("SPCR", |spcr| spcr[52] = 0);
    assert!(unheard.read().expect("a root").console().is_some());
    let error = unheard.platform().expect_err("it has no interrupt");
    assert!(
        error.to_string().contains("interrupt of the GIC"),
        "{error}"
    );
}
