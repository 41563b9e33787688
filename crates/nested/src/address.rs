//! Guest-physical addresses of L1 and of L2 as two types: nested code goes wrong where an address does not say whose it
//! is.

use droste_arm64::{Ipa, address};

address!(
    /// An address that L1 takes for physical: the output of the guest's stage 2, the input of the canonical table.
    ///
    /// ```
    /// use droste_nested::L1Ipa;
    /// let page = L1Ipa(0x4000_1234).align_down(0x1000);
    /// assert_eq!((page, page.ipa()), (L1Ipa(0x4000_1000), droste_arm64::Ipa(0x4000_1000)));
    /// ```
    L1Ipa
);
address!(
    /// An address that L2 takes for physical: the input of the guest's stage 2, and of its shadow.
    L2Ipa
);

macro_rules! guests {
    ($($name:ident)*) => {
        $(
            impl $name {
                /// The same address as an input of the table of L0's that translates this address space.
                pub const fn ipa(self) -> Ipa {
                    Ipa(self.0)
                }
            }

            impl From<Ipa> for $name {
                fn from(ipa: Ipa) -> Self {
                    Self(ipa.0)
                }
            }
        )*
    };
}

guests!(L1Ipa L2Ipa);

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn an_address_says_whose_it_is() {
        assert_eq!(format!("{:?}", L1Ipa(16)), "L1Ipa(0x10)");
        assert_eq!(format!("{:?} {}", L2Ipa(16), L2Ipa(16)), "L2Ipa(0x10) 0x10");
    }

    #[test]
    fn rounding_and_adding_never_leave_the_address_space() {
        assert_eq!(L2Ipa(u64::MAX).align_down(1 << 63), L2Ipa(1 << 63));
        assert_eq!(L1Ipa(u64::MAX).checked_add(1), None);
        assert_eq!(L1Ipa(7).checked_add(1), Some(L1Ipa(8)));
        assert!(L1Ipa(0x3000).is_aligned(0x1000) && !L1Ipa(0x3008).is_aligned(0x1000));
    }
}
