//! The machine, as ACPI's static tables describe it (ACPI 6.5).
//!
//! [`Acpi::read`] follows the RSDP that UEFI names, and [`Acpi::platform`] makes a [`Platform`] of the tables. Whoever calls
//! gives physical memory by a function, so nothing here follows a pointer. No AML is run.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod error;
mod machine;
mod near;
mod table;

pub use error::{Error, Signature};

use alloc::vec::Vec;

use droste_platform::{Boot, Platform, Uart};

use table::{Table, Tables};

/// Bytes of an RSDP of revision 2 (ACPI 6.5, 5.2.5.3).
const RSDP_BYTES: usize = 36;
/// Bytes of it that an RSDP of revision 0 has, with a checksum of their own.
const RSDP_OLD_BYTES: usize = 20;
/// More tables than any machine has.
const MAX_TABLES: usize = 256;

/// The tables of a machine.
///
/// ```no_run
/// # fn bytes_at(address: u64, bytes: usize) -> Option<&'static [u8]> { None }
/// # let (rsdp, boot) = (0, droste_platform::Boot::default());
/// let acpi = droste_acpi::Acpi::read(rsdp, bytes_at)?;
/// let console = acpi.console();
/// let platform = acpi.platform(boot)?;
/// # Ok::<(), droste_acpi::Error>(())
/// ```
#[derive(Debug)]
pub struct Acpi<'a> {
    tables: Tables<'a>,
    /// What the first pointer leads to that leads to no table.
    unreadable: Option<Error>,
}

impl<'a> Acpi<'a> {
    /// Reads the table of tables that the RSDP at physical address `rsdp` names. `memory` gives so many bytes of physical
    /// memory from an address, or nothing where it has none.
    ///
    /// # Errors
    ///
    /// If there is no RSDP, it is of ACPI 1.0, or its XSDT is malformed.
    pub fn read(rsdp: u64, memory: impl Fn(u64, usize) -> Option<&'a [u8]>) -> Result<Self, Error> {
        const REVISION: usize = 15;
        const XSDT: usize = 24;
        // A reader that gives fewer bytes than it was asked for gives none.
        let memory = |address, bytes| memory(address, bytes).filter(|read| read.len() == bytes);
        let old = memory(rsdp, RSDP_OLD_BYTES).ok_or(Error::NoRoot(rsdp))?;
        if !old.starts_with(b"RSD PTR ") || !table::is_sum_zero(old) {
            return Err(Error::NoRoot(rsdp));
        }
        if old[REVISION] < 2 {
            return Err(Error::Revision(old[REVISION]));
        }
        let root = memory(rsdp, RSDP_BYTES).ok_or(Error::NoRoot(rsdp))?;
        let xsdt = table::number(root, XSDT, 8).ok_or(Error::NoRoot(rsdp))?;
        if !table::is_sum_zero(root) || xsdt == 0 {
            return Err(Error::NoRoot(rsdp));
        }
        let xsdt = Table::read(xsdt, memory)?;
        xsdt.check()?;
        let mut acpi = Self {
            tables: Tables(Vec::new()),
            unreadable: None,
        };
        for at in (table::HEADER..xsdt.bytes.len())
            .step_by(8)
            .take(MAX_TABLES)
        {
            match Table::read(xsdt.number(at, 8)?, memory) {
                Ok(table) => acpi.tables.0.push(table),
                Err(error) => acpi.unreadable = acpi.unreadable.or(Some(error)),
            }
        }
        Ok(acpi)
    }

    /// The UART that the SPCR names, even if the other tables are unusable: the error can be printed there.
    pub fn console(&self) -> Option<Uart> {
        machine::console(&self.tables).ok().map(|(uart, _)| uart)
    }

    /// The parts of the machine that Droste uses; `boot` is what UEFI said.
    ///
    /// # Errors
    ///
    /// The part that is missing or malformed: PSCI by SMC, CPUs, a GICv3, the generic timer, a UART.
    pub fn platform(&self, boot: Boot) -> Result<Platform, Error> {
        if let Some(error) = self.unreadable {
            return Err(error);
        }
        let platform = machine::platform(&self.tables, boot)?;
        platform.check().map_err(Error::Flaw)?;
        Ok(platform)
    }
}
