//! For which machine programs are.

/// What the guest's own level is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// EL2 with E2H = 1.
    Vhe,
    /// EL2 with E2H = 0.
    Nvhe,
    /// EL1: there is no EL2.
    El1,
}

impl Shape {
    /// That of a kind of runs: what stands before its hyphen.
    pub fn of_kind(kind: &str) -> Option<Self> {
        match kind.split('-').next() {
            Some("vhe") => Some(Self::Vhe),
            Some("nvhe") => Some(Self::Nvhe),
            Some("el1") => Some(Self::El1),
            _ => None,
        }
    }

    /// Whether its E2H is 1.
    pub fn is_vhe(self) -> bool {
        self == Self::Vhe
    }
}
