//! What SMMUs do wrong, as data.

/// How commands that invalidate have to be given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// As the architecture says: many, and one CMD_SYNC behind them.
    Batched,
    /// A CMD_SYNC behind each: without, the SMMU may stop consuming commands.
    SyncEach,
    /// Each twice, with a CMD_SYNC behind both: the first alone may leave entries behind.
    Twice,
}

/// One way in which an SMMU differs from the architecture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Erratum {
    /// Its number, or the name of the part that has it.
    pub name: &'static str,
    /// Bits of IIDR that tell the part.
    mask: u32,
    value: u32,
    /// How commands are to be given.
    pub manner: Manner,
}

/// IIDR: ProductID and Implementer.
const PART: u32 = 0xfff0_0fff;

/// All that IIDR tells.
pub const ERRATA: [Erratum; 1] = [Erratum {
    name: "2812531",
    mask: PART,
    // MMU-700 of Arm, every revision.
    value: 0x4870_043b,
    manner: Manner::SyncEach,
}];

/// How to give commands to the SMMU with this IIDR, and why if not as the architecture says. Parts that IIDR does not
/// tell (Tegra264, which needs [`Manner::Twice`]) are known by the platform's tree or tables: whoever reads those
/// passes the manner on itself.
pub fn manner_of(iidr: u32) -> (Manner, Option<&'static Erratum>) {
    let known = ERRATA
        .iter()
        .find(|erratum| iidr & erratum.mask == erratum.value);
    (
        known.map_or(Manner::Batched, |erratum| erratum.manner),
        known,
    )
}
