//! What can be wrong with the use of an SMMU.

use core::fmt;

/// A rule that was broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SmmuRule {
    /// A device can reach memory by a translation that no command has taken, or none with a CMD_SYNC behind it.
    StaleTranslation,
    /// The table, or the stream table, leads elsewhere than the driver says.
    WrongTranslation,
    /// A device can be terminated that must not be.
    Cut,
    /// A table's page is given away while a walk of the SMMU can reach it.
    PageReachable,
    /// A stream table entry changes while it can be fetched or held as valid.
    EntryTorn,
    /// A command was published before a DSB made it visible.
    CommandNotVisible,
    /// A command that the architecture does not know, or with reserved fields.
    IllegalCommand,
    /// The stream table is moved while translation is on.
    TableWhileOn,
    /// Translation is on before both caches were emptied of what the firmware left.
    Leftovers,
    /// Translation is off, and GBPA lets transactions through.
    OpenGate,
}

impl fmt::Display for SmmuRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StaleTranslation => "a device can use a stale translation",
            Self::WrongTranslation => "a device's table does not say what the driver expects",
            Self::Cut => "a device's access can be terminated that must not be",
            Self::PageReachable => "a table's page is given away while an SMMU's walk can reach it",
            Self::EntryTorn => "a stream table entry changes while it can be taken for valid",
            Self::CommandNotVisible => "a command is published before a DSB",
            Self::IllegalCommand => "a command is illegal",
            Self::TableWhileOn => "the stream table moves while translation is on",
            Self::Leftovers => "translation is on over what the firmware left in the caches",
            Self::OpenGate => "translation is off while transactions pass untranslated",
        })
    }
}

/// A broken rule, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SmmuViolation {
    /// The rule.
    pub rule: SmmuRule,
    /// The step of the SMMU's model that broke it, from 1.
    pub step: u64,
    /// The device, where one matters.
    pub stream: Option<u32>,
    /// The address, command or register that it is about.
    pub address: u64,
}

impl fmt::Display for SmmuViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "step {}: {} at {:#x}",
            self.step, self.rule, self.address
        )?;
        if let Some(stream) = self.stream {
            write!(f, "; device {stream:#x}")?;
        }
        Ok(())
    }
}

impl core::error::Error for SmmuViolation {}
