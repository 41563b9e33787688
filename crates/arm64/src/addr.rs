//! Virtual, intermediate physical and physical addresses as distinct types.

use core::ops::{Add, Sub};

/// Declares a type of addresses, 64 bits wide, that does not add by itself: `checked_add` says where it ends.
///
/// ```
/// droste_arm64::address!(
///     /// An address of a device.
///     Bus
/// );
/// assert_eq!(Bus(0x1234).align_down(0x1000).to_string(), "0x1000");
/// ```
#[macro_export]
macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Rounds down to a multiple of `align` bytes, a power of two.
            #[inline]
            #[must_use]
            pub const fn align_down(self, align: u64) -> Self {
                Self(self.0 & !(align - 1))
            }

            /// Whether the address is a multiple of `align` bytes, a power of two.
            #[inline]
            #[must_use]
            pub const fn is_aligned(self, align: u64) -> bool {
                self.0 & (align - 1) == 0
            }

            /// The address `bytes` further on; `None` past the top of the address space.
            #[inline]
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(a) => Some(Self(a)),
                    None => None,
                }
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

/// Addresses that code of its own makes, which add by themselves.
macro_rules! sums {
    ($($name:ident)*) => {
        $(
            impl $name {
                /// Rounds up to a multiple of `align` bytes, a power of two; `None` past the top of the address space.
                #[inline]
                #[must_use]
                pub const fn checked_align_up(self, align: u64) -> Option<Self> {
                    match self.0.checked_add(align - 1) {
                        Some(a) => Some(Self(a & !(align - 1))),
                        None => None,
                    }
                }
            }

            /// The address `bytes` further on. Overflow is a bug of the caller, as with the integer types.
            impl Add<u64> for $name {
                type Output = Self;
                #[inline]
                fn add(self, bytes: u64) -> Self {
                    Self(self.0 + bytes)
                }
            }

            /// The distance in bytes. Underflow is a bug of the caller, as with the integer types.
            impl Sub for $name {
                type Output = u64;
                #[inline]
                fn sub(self, other: Self) -> u64 {
                    self.0 - other.0
                }
            }
        )*
    };
}

address!(
    /// A virtual address: the input of stage 1.
    Va
);
address!(
    /// An intermediate physical address: the output of a guest's stage 1 and the input of stage 2.
    ///
    /// ```
    /// use droste_arm64::Ipa;
    /// let ipa = Ipa(0x4000_1234);
    /// assert_eq!(ipa.align_down(0x1000), Ipa(0x4000_1000));
    /// assert_eq!(ipa.checked_align_up(0x1000), Some(Ipa(0x4000_2000)));
    /// assert_eq!(Ipa(u64::MAX).checked_align_up(0x1000), None);
    /// ```
    Ipa
);
address!(
    /// A physical address: the output of stage 2.
    Pa
);
sums!(Va Ipa Pa);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_up_past_the_top_is_none() {
        assert_eq!(Pa(u64::MAX - 1).checked_align_up(0x1000), None);
        assert_eq!(
            Pa(0xffff_ffff_ffff_f000).checked_align_up(0x1000),
            Some(Pa(0xffff_ffff_ffff_f000))
        );
    }

    #[test]
    fn alignment_counts_in_bytes() {
        assert!(Va(0x20_0000).is_aligned(0x20_0000));
        assert!(!Va(0x20_1000).is_aligned(0x20_0000));
    }
}
