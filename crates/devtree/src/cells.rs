//! Numbers in properties.

use alloc::vec::Vec;

/// A property of one or two cells.
pub(crate) fn integer(value: &[u8]) -> Option<u64> {
    match value.len() {
        4 => Some(u64::from(u32::from_be_bytes(value.try_into().ok()?))),
        8 => Some(u64::from_be_bytes(value.try_into().ok()?)),
        _ => None,
    }
}

/// A property of cells; what is behind the last whole one is dropped.
pub(crate) fn cells(value: &[u8]) -> Vec<u32> {
    let cells = value.as_chunks().0;
    cells.iter().map(|cell| u32::from_be_bytes(*cell)).collect()
}
