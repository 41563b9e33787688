//! What is wrong with tables, as sentences.

use core::fmt;

use droste_platform::Flaw;

/// The four letters of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signature(pub [u8; 4]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// Why Droste cannot run on the machine of ACPI's tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// There is no intact RSDP with an XSDT; carries the address.
    NoRoot(u64),
    /// ACPI 1.0; carries the revision.
    Revision(u8),
    /// A table is not where its pointer leads; carries the address.
    Unreadable(u64),
    /// A table is not there.
    NoTable(Signature),
    /// The bytes of a table do not add up to 0.
    Checksum(Signature),
    /// A table says what cannot be; carries the offset in it, and what.
    Malformed(Signature, usize, &'static str),
    /// A table lacks what Droste needs.
    Missing(Signature, &'static str),
    /// PSCI is called by HVC, so there is a hypervisor below.
    Conduit,
    /// What it says cannot be.
    Flaw(Flaw),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const TRY: &str = "update the firmware, or have it give a device tree";
        match self {
            Self::NoRoot(address) => write!(
                f,
                "there is no intact RSDP with an XSDT at {address:#x}, where the firmware says it is; {TRY}"
            ),
            Self::Revision(revision) => write!(
                f,
                "the RSDP has revision {revision}, of ACPI 1.0, which knows no Arm; {TRY}"
            ),
            Self::Unreadable(address) => write!(
                f,
                "ACPI's XSDT has a pointer to {address:#x}, where no table is; {TRY}"
            ),
            Self::NoTable(table) => write!(f, "ACPI has no {table}, which Droste needs; {TRY}"),
            Self::Checksum(table) => write!(f, "the checksum of ACPI's {table} is wrong; {TRY}"),
            Self::Malformed(table, offset, what) => write!(
                f,
                "ACPI's {table} is malformed at offset {offset:#x}: {what}; {TRY}"
            ),
            Self::Missing(table, what) => {
                write!(f, "ACPI's {table} has no {what}, which Droste needs; {TRY}")
            }
            Self::Conduit => write!(
                f,
                "ACPI says that PSCI is called by HVC: Droste must run on the firmware itself, by SMC"
            ),
            Self::Flaw(flaw) => write!(f, "ACPI {flaw}"),
        }
    }
}

impl core::error::Error for Error {}
