//! Writes `newc` archives whose data is aligned to pages.

use alloc::format;
use alloc::vec::Vec;

use super::{ALIGN, HEADER_LEN, MAGIC, TRAILER};
use crate::BLOB_ALIGN;
use crate::write::WriteError;

/// A file that its owner may write and all may read.
const MODE_FILE: u32 = 0o100644;

/// An archive that grows by one member at a time.
#[derive(Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    members: u32,
}

impl Writer {
    /// Appends a file. Its name is followed by as many NULs as bring its data to a multiple of [`BLOB_ALIGN`]: a name
    /// ends at its first NUL, so no filler shows among the members.
    ///
    /// # Errors
    /// [`WriteError::TooLarge`].
    pub(crate) fn append(&mut self, name: &str, data: &[u8]) -> Result<(), WriteError> {
        let data_len = data_len(data.len())?;
        let name_at = self.bytes.len() + HEADER_LEN;
        let data_at = (name_at + name.len() + 1).next_multiple_of(BLOB_ALIGN);
        self.members += 1;
        self.header(self.members, MODE_FILE, data_len, data_at - name_at);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.resize(data_at, 0);
        self.bytes.extend_from_slice(data);
        self.pad();
        Ok(())
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.header(0, 0, 0, TRAILER.len() + 1);
        self.bytes.extend_from_slice(TRAILER.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes
    }

    /// Appends a header. Owner and time are zero: nothing of the host goes into an image.
    fn header(&mut self, inode: u32, mode: u32, data_len: u32, name_len: usize) {
        let name_len = u32::try_from(name_len).expect("a short name and less than a page of NULs");
        let numbers = [inode, mode, 0, 0, 1, 0, data_len, 0, 0, 0, 0, name_len, 0];
        self.bytes.extend_from_slice(MAGIC);
        for number in numbers {
            let digits = format!("{number:08x}");
            self.bytes.extend_from_slice(digits.as_bytes());
        }
    }

    fn pad(&mut self) {
        let end = self.bytes.len().next_multiple_of(ALIGN as usize);
        self.bytes.resize(end, 0);
    }
}

/// The length of a member's data as its header holds it.
fn data_len(bytes: usize) -> Result<u32, WriteError> {
    u32::try_from(bytes).map_err(|_| WriteError::TooLarge(bytes as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_four_gib_is_refused() {
        assert_eq!(data_len(0xffff_ffff), Ok(0xffff_ffff));
        assert_eq!(
            data_len(0x1_0000_0000),
            Err(WriteError::TooLarge(0x1_0000_0000))
        );
    }

    #[test]
    fn an_archive_without_members_is_its_trailer() {
        let bytes = Writer::default().finish();
        let trailer = "07070100000000000000000000000000000000000000010000000000000000000000000000000000000000000000000000000b\
                       00000000TRAILER!!!\0\0\0\0";
        assert_eq!(bytes, trailer.as_bytes());
    }
}
