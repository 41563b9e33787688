//! Walking the set bits of a word.

/// The numbers of the bits set in `word`, lowest first.
pub(crate) fn ones(word: u64) -> impl Iterator<Item = usize> {
    let mut left = word;
    core::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let bit = left.trailing_zeros() as usize;
        left &= left - 1;
        Some(bit)
    })
}

/// The numbers of the bits set in `word`, lowest first.
pub(crate) fn ones32(word: u32) -> impl Iterator<Item = usize> {
    ones(u64::from(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn every_set_bit_comes_once_and_in_order() {
        assert_eq!(ones(0).count(), 0);
        assert_eq!(ones(1 << 63 | 0b101).collect::<Vec<_>>(), [0, 2, 63]);
        assert_eq!(ones(u64::MAX).count(), 64);
        assert_eq!(ones32(1 << 31).collect::<Vec<_>>(), [31]);
    }
}
