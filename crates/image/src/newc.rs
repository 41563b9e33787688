//! The container of a boot image: a cpio archive in the format `newc`, read in place.
//!
//! Each member is a header of 110 bytes (the magic number `070701` and 13 numbers of 8 hexadecimal digits), its name
//! with a terminating NUL, and its data; the data and the next header begin at multiples of 4 bytes. A member called
//! `TRAILER!!!` ends the archive. Source: cpio(5), "New ASCII Format".
//!
//! Only the two lengths of a header are read: owners, modes and times mean nothing to a hypervisor, and directories,
//! which a repacked archive may hold, are members without data. Where two members share a name, the first counts.

#[cfg(feature = "write")]
mod writer;

use core::ffi::CStr;
use core::iter;

use crate::error::ImageError;
use crate::vm::MEMBERS_MAX;
#[cfg(feature = "write")]
pub(crate) use writer::Writer;

const MAGIC: &[u8; 6] = b"070701";
const TRAILER: &str = "TRAILER!!!";
const HEADER_LEN: usize = 110;
const DIGITS: usize = 8;
/// Headers and data begin at multiples of this many bytes from the start of the archive.
const ALIGN: u64 = 4;

/// Where a number stands in a header, in bytes from its start.
const FILE_SIZE: usize = MAGIC.len() + 6 * DIGITS;
const NAME_SIZE: usize = MAGIC.len() + 11 * DIGITS;

/// An archive whose members all lie within it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Archive<'a> {
    /// Everything before the trailer.
    members: &'a [u8],
}

impl<'a> Archive<'a> {
    /// Accepts an archive at the start of `bytes`; what follows its trailer is ignored.
    ///
    /// # Errors
    /// No archive, a damaged or a cut off one, or one with more than [`MEMBERS_MAX`] members.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        if !bytes.starts_with(MAGIC) {
            return Err(ImageError::NotAnImage);
        }
        let mut at = 0;
        for _ in 0..=MEMBERS_MAX {
            let member = Member::at(bytes, at)?;
            if member.name == TRAILER.as_bytes() {
                let members = bytes.get(..at).unwrap_or(&[]);
                return Ok(Self { members });
            }
            at = member.next;
        }
        Err(ImageError::MemberCount)
    }

    /// The data of the first member of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&'a [u8]> {
        let member = |at| Member::at(self.members, at).ok();
        iter::successors(member(0), |earlier| member(earlier.next))
            .find(|member| member.name == name.as_bytes())
            .map(|member| member.data)
    }
}

/// One member of an archive.
struct Member<'a> {
    name: &'a [u8],
    data: &'a [u8],
    /// Where the next header begins, in bytes from the start of the archive.
    next: usize,
}

impl<'a> Member<'a> {
    /// The member whose header begins at byte `at` of the archive.
    fn at(bytes: &'a [u8], at: usize) -> Result<Self, ImageError> {
        let cut_off = |total: u64| ImageError::Truncated {
            total,
            present: bytes.len() as u64,
        };
        let damaged = ImageError::Archive { at: at as u64 };
        let name_at = (at as u64).saturating_add(HEADER_LEN as u64);
        let rest = bytes.get(at..).unwrap_or(&[]);
        let header = rest.first_chunk().ok_or(cut_off(name_at))?;
        if !header.starts_with(MAGIC) {
            return Err(damaged);
        }
        let numbers = number(header, NAME_SIZE).zip(number(header, FILE_SIZE));
        let (name_len, data_len) = numbers.ok_or(damaged.clone())?;
        // Two numbers of 32 bits behind an index into a slice: 64 bits hold the sum.
        let name_end = name_at + u64::from(name_len);
        let data_at = name_end.next_multiple_of(ALIGN);
        let data_end = data_at + u64::from(data_len);
        let part = |from: u64, to: u64| {
            let end = usize::try_from(to).ok();
            // `from` is not above `to`, so it is an index where `to` is one.
            let part = end.and_then(|end| bytes.get(from as usize..end));
            part.ok_or(cut_off(to))
        };
        let name = CStr::from_bytes_until_nul(part(name_at, name_end)?).map_err(|_| damaged)?;
        Ok(Self {
            name: name.to_bytes(),
            data: part(data_at, data_end)?,
            next: data_end.next_multiple_of(ALIGN) as usize,
        })
    }
}

/// The number at one of a header's offsets; `None` where a byte is no hexadecimal digit.
fn number(header: &[u8; HEADER_LEN], at: usize) -> Option<u32> {
    let digits: &[u8; DIGITS] = header.get(at..)?.first_chunk()?;
    digits.iter().try_fold(0, |number: u32, digit| {
        Some(number << 4 | char::from(*digit).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::vec::Vec;

    fn member(name: &[u8], data: &[u8]) -> Vec<u8> {
        let zeros = "0".repeat(DIGITS);
        let mut bytes = format!(
            "070701{}{:08X}{}{:08x}{zeros}",
            zeros.repeat(6),
            data.len(),
            zeros.repeat(4),
            name.len()
        )
        .into_bytes();
        assert_eq!(bytes.len(), HEADER_LEN);
        for part in [name, data] {
            bytes.extend_from_slice(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn archive(members: &[(&[u8], &[u8])]) -> Vec<u8> {
        let trailer = (&b"TRAILER!!!\0"[..], &b""[..]);
        let all = members.iter().chain([&trailer]);
        all.flat_map(|(name, data)| member(name, data)).collect()
    }

    #[test]
    fn members_are_found_by_name() {
        let bytes = archive(&[(b"a\0", b"1"), (b"dir/b\0", b"23456"), (b"c\0", b"")]);
        let archive = Archive::parse(&bytes).expect("sound");
        assert_eq!(archive.find("a"), Some(&b"1"[..]));
        assert_eq!(archive.find("dir/b"), Some(&b"23456"[..]));
        assert_eq!(archive.find("c"), Some(&b""[..]));
        for name in ["", "b", "dir", "TRAILER!!!"] {
            assert_eq!(archive.find(name), None, "{name}");
        }
    }

    #[test]
    fn a_name_may_be_padded_with_nuls() {
        let bytes = archive(&[(b"a\0\0\0\0\0\0\0\0", b"1")]);
        let archive = Archive::parse(&bytes).expect("sound");
        assert_eq!(archive.find("a"), Some(&b"1"[..]));
    }

    #[test]
    fn the_first_of_two_members_of_a_name_counts() {
        let bytes = archive(&[(b"a\0", b"first"), (b"a\0", b"second")]);
        let archive = Archive::parse(&bytes).expect("sound");
        assert_eq!(archive.find("a"), Some(&b"first"[..]));
    }

    #[test]
    fn what_follows_the_trailer_is_ignored() {
        let mut bytes = archive(&[(b"a\0", b"1")]);
        bytes.extend(archive(&[(b"b\0", b"2")]));
        assert_eq!(Archive::parse(&bytes).expect("sound").find("b"), None);
    }

    #[test]
    fn an_archive_without_its_last_bytes_is_cut_off() {
        let bytes = archive(&[(b"a\0", b"12345")]);
        for len in MAGIC.len()..bytes.len() {
            let error = Archive::parse(&bytes[..len]).expect_err("cut off");
            assert!(
                matches!(error, ImageError::Truncated { total, present } if present == len as u64 && total > present),
                "{len}: {error:?}"
            );
        }
        assert!(Archive::parse(&bytes).is_ok());
    }

    #[test]
    fn a_header_that_cannot_be_read_is_told_by_its_place() {
        let sound = archive(&[(b"a\0", b"1"), (b"b\0", b"2")]);
        let second = member(b"a\0", b"1").len();
        for (place, wrong) in [
            (0, b'1'),
            (FILE_SIZE, b'g'),
            (FILE_SIZE + 7, b'+'),
            (NAME_SIZE, b' '),
            (NAME_SIZE + 3, 0xff),
            // One byte of a name has no room for its NUL.
            (NAME_SIZE + 7, b'1'),
            (NAME_SIZE + 7, b'0'),
        ] {
            let mut bytes = sound.clone();
            bytes[second + place] = wrong;
            let error = Archive::parse(&bytes).expect_err("damaged");
            assert_eq!(
                error,
                ImageError::Archive { at: second as u64 },
                "{place} {wrong}"
            );
        }
    }

    #[test]
    fn lengths_at_the_top_of_their_range_do_not_overflow() {
        for (place, total) in [
            (NAME_SIZE, 0xffff_ffff_u64 + 110),
            (FILE_SIZE, 0xffff_ffff + 112),
        ] {
            let mut bytes = archive(&[(b"a\0", b"1")]);
            bytes[place..place + DIGITS].copy_from_slice(b"FFFFffff");
            let present = bytes.len() as u64;
            let error = Archive::parse(&bytes).expect_err("too long");
            assert_eq!(error, ImageError::Truncated { total, present });
        }
    }

    #[test]
    fn other_files_are_no_archives() {
        for bytes in [&b""[..], b"07070", b"070702", b"\xd0\x0d\xfe\xed"] {
            assert!(matches!(Archive::parse(bytes), Err(ImageError::NotAnImage)));
        }
    }

    #[test]
    fn members_are_counted() {
        let many = [(&b"a\0"[..], &b""[..]); MEMBERS_MAX + 1];
        assert!(Archive::parse(&archive(&many[1..])).is_ok());
        assert!(matches!(
            Archive::parse(&archive(&many)),
            Err(ImageError::MemberCount)
        ));
    }
}
