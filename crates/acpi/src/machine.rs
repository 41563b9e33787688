//! What the tables say: FADT, MADT, GTDT and SPCR; and the SRAT of [`near`].

use alloc::vec::Vec;
use core::ops::Range;

use droste_platform::{
    Boot, Gic, Interrupt, Its, Platform, SPI, Timer, Trigger, Uart, UartModel, are_registers,
};

use crate::error::{Error, Signature};
use crate::near;
use crate::table::{Record, Table, Tables};

const FADT: Signature = Signature(*b"FACP");
const MADT: Signature = Signature(*b"APIC");
const GTDT: Signature = Signature(*b"GTDT");
const SPCR: Signature = Signature(*b"SPCR");
const SRAT: Signature = Signature(*b"SRAT");

/// Bytes of a distributor's registers, and of two frames, which a redistributor and an ITS have (IHI 0069, 12.8 to 12.10).
const FRAME: u64 = 0x1_0000;
/// The first INTID that is no SPI (IHI 0069, 2.2.1).
const SPECIAL: u32 = 1020;

pub(crate) fn platform(tables: &Tables<'_>, boot: Boot) -> Result<Platform, Error> {
    check_psci(tables.get(FADT)?)?;
    let timer = timer(tables.get(GTDT)?)?;
    let Madt {
        processors,
        gic,
        its,
    } = madt(tables.get(MADT)?)?;
    let (uart, interrupt) = console(tables)?;
    let interrupt = interrupt.ok_or(Error::Missing(SPCR, "interrupt of the GIC"))?;
    let nodes = match tables.find(SRAT)? {
        Some(srat) => near::nodes(srat, &processors)?,
        None => Vec::new(),
    };
    Ok(Platform {
        boot,
        cpus: processors.into_iter().map(|(_, mpidr)| mpidr).collect(),
        gic,
        timer,
        uart,
        uart_interrupt: interrupt,
        its,
        smmus: Vec::new(),
        root_complexes: Vec::new(),
        nodes,
        devices: Vec::new(),
    })
}

/// ARM_BOOT_ARCH of the FADT (ACPI 6.5, 5.2.9.4).
fn check_psci(fadt: &Table<'_>) -> Result<(), Error> {
    const BOOT_ARCH: usize = 129;
    const COMPLIANT: u64 = 1;
    const HVC: u64 = 1 << 1;
    let flags = fadt.number(BOOT_ARCH, 2)?;
    if flags & COMPLIANT == 0 {
        Err(fadt.missing("PSCI"))
    } else if flags & HVC != 0 {
        Err(Error::Conduit)
    } else {
        Ok(())
    }
}

/// Interrupts of the generic timer, each followed by its flags (ACPI 6.5, 5.2.25).
fn timer(gtdt: &Table<'_>) -> Result<Timer, Error> {
    const IS_EDGE: u32 = 1;
    let interrupt = |at: usize| {
        let intid = gtdt.word(at)?;
        let trigger = trigger(gtdt.word(at + 4)? & IS_EDGE != 0);
        if intid == 0 {
            return Err(gtdt.malformed(at, "a timer has no interrupt"));
        }
        Ok(Interrupt { intid, trigger })
    };
    Ok(Timer {
        physical: interrupt(56)?,
        virt: interrupt(64)?,
        hypervisor: interrupt(72)?,
    })
}

fn trigger(is_edge: bool) -> Trigger {
    if is_edge {
        Trigger::Edge
    } else {
        Trigger::Level
    }
}

struct Madt {
    /// CPUs that can be started: the UID by which other tables name each, and its MPIDR.
    processors: Vec<(u32, u64)>,
    gic: Gic,
    its: Vec<Its>,
}

/// Interrupt controllers and CPUs (ACPI 6.5, 5.2.12.14 to 5.2.12.18).
fn madt(madt: &Table<'_>) -> Result<Madt, Error> {
    const RECORDS: usize = 44;
    let (mut processors, mut its, mut regions) = (Vec::new(), Vec::new(), Vec::new());
    let (mut distributor, mut maintenance) = (None, None);
    let mut of_cpus = Vec::new();
    for record in madt.records(RECORDS) {
        let record = record?;
        match record.kind {
            0x0b => {
                let Some(cpu) = cpu(madt, &record)? else {
                    continue;
                };
                processors.push((cpu.uid, cpu.mpidr));
                of_cpus.extend(cpu.redistributor);
                if maintenance.is_some_and(|m| m != cpu.maintenance) {
                    let what = "a CPU has another maintenance interrupt than the first";
                    return Err(madt.malformed(record.at, what));
                }
                maintenance = Some(cpu.maintenance);
            }
            0x0c => distributor = Some(self::distributor(madt, &record)?),
            0x0e => regions.push(registers(madt, &record, 4, u64::from(record.word(12)?))?),
            0x0f => its.push(Its {
                registers: registers(madt, &record, 8, 2 * FRAME)?,
            }),
            _ => {}
        }
    }
    if processors.is_empty() {
        return Err(madt.missing("CPU that is enabled"));
    }
    // Regions that are listed are all there are; what a CPU's record says counts where none is.
    let redistributors = if regions.is_empty() { of_cpus } else { regions };
    Ok(Madt {
        processors,
        gic: Gic {
            distributor: distributor.ok_or_else(|| madt.missing("GICv3"))?,
            redistributors,
            maintenance: maintenance
                .flatten()
                .ok_or_else(|| madt.missing("GICv3 maintenance interrupt"))?,
        },
        its,
    })
}

/// A CPU that can be started.
struct Cpu {
    uid: u32,
    mpidr: u64,
    redistributor: Option<Range<u64>>,
    maintenance: Option<Interrupt>,
}

/// `None` where the CPU is not enabled, whatever may become of it later.
fn cpu(madt: &Table<'_>, gicc: &Record<'_>) -> Result<Option<Cpu>, Error> {
    const ENABLED: u32 = 1;
    const MAINTENANCE_EDGE: u32 = 1 << 2;
    const AFFINITY: u64 = 0xff_00ff_ffff;
    let flags = gicc.word(12)?;
    if flags & ENABLED == 0 {
        return Ok(None);
    }
    let redistributor = if gicc.number(60, 8)? == 0 {
        None
    } else {
        Some(registers(madt, gicc, 60, 2 * FRAME)?)
    };
    let intid = gicc.word(56)?;
    Ok(Some(Cpu {
        uid: gicc.word(8)?,
        mpidr: gicc.number(68, 8)? & AFFINITY,
        redistributor,
        maintenance: (intid != 0).then(|| Interrupt {
            intid,
            trigger: trigger(flags & MAINTENANCE_EDGE != 0),
        }),
    }))
}

fn distributor(madt: &Table<'_>, gicd: &Record<'_>) -> Result<Range<u64>, Error> {
    const VERSION: usize = 20;
    // 0: the hardware says it.
    match gicd.number(VERSION, 1)? {
        0 | 3 | 4 => registers(madt, gicd, 8, FRAME),
        _ => Err(madt.missing("GICv3")),
    }
}

/// Registers whose address is at an offset of a record.
fn registers(
    table: &Table<'_>,
    record: &Record<'_>,
    at: usize,
    bytes: u64,
) -> Result<Range<u64>, Error> {
    let start = record.number(at, 8)?;
    let range = start.checked_add(bytes).map(|end| start..end);
    range
        .filter(are_registers)
        .ok_or_else(|| table.malformed(record.at + at, "no registers can be there"))
}

/// The UART of the SPCR, and its interrupt, where the GIC has it. UARTs of other models than the PL011's are none.
pub(crate) fn console(tables: &Tables<'_>) -> Result<(Uart, Option<Interrupt>), Error> {
    const SPACE: usize = 40;
    const ADDRESS: usize = 44;
    const INTERRUPT_TYPE: usize = 52;
    const INTERRUPT: usize = 54;
    const GIC: u64 = 1 << 3;
    const PL011: u64 = 3;
    // SBSA's generic UART, restricted to words and not, is a PL011 whose line need not be set up (DEN0094, B).
    const SBSA: [u64; 2] = [0xd, 0xe];
    let spcr = tables.get(SPCR)?;
    let interface = spcr.number(36, 1)?;
    if interface != PL011 && !SBSA.contains(&interface) {
        return Err(spcr.missing("PL011 UART"));
    }
    let start = spcr.number(ADDRESS, 8)?;
    let registers = start.checked_add(0x1000).map(|end| start..end);
    let registers = registers
        .filter(|range| are_registers(range) && spcr.bytes[SPACE] == 0)
        .ok_or_else(|| spcr.malformed(SPACE, "no registers can be there"))?;
    let intid = spcr.word(INTERRUPT)?;
    let is_gics = spcr.number(INTERRUPT_TYPE, 1)? & GIC != 0 && (SPI..SPECIAL).contains(&intid);
    let uart = Uart {
        model: UartModel::Pl011,
        registers,
    };
    let interrupt = is_gics.then_some(Interrupt {
        intid,
        trigger: Trigger::Level,
    });
    Ok((uart, interrupt))
}
