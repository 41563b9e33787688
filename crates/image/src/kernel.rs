//! The header of an arm64 `Image`, and where its parts go in a virtual machine's memory.
//!
//! The layout and the rules are those of the kernel's boot protocol for 64-bit Arm
//! (`Documentation/arch/arm64/booting.rst`): a 64-byte header, all fields little-endian, `ARM\x64` at offset 56.
//! Droste's own image starts with the same header, so a boot loader takes it for a kernel.

use core::fmt;

/// Bytes of the header.
pub const HEADER_LEN: usize = 64;
/// The kernel lies at `text_offset` from a multiple of this many bytes.
pub const BASE_ALIGN: u64 = 2 << 20;
/// The largest device tree that the boot protocol allows, in bytes.
pub const DTB_MAX: u64 = 2 << 20;

const MAGIC: &[u8; 4] = b"ARM\x64";
const PAGE: u64 = 4096;

/// The page size that a kernel was built for, header flags\[2:1\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageSize {
    /// The header does not say.
    Unspecified,
    /// 4 KiB.
    K4,
    /// 16 KiB.
    K16,
    /// 64 KiB.
    K64,
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::K4 => "4 KiB",
            Self::K16 => "16 KiB",
            Self::K64 => "64 KiB",
        })
    }
}

/// What the header of a bootable kernel says.
///
/// ```
/// use droste_image::kernel::{Header, KernelError};
/// assert_eq!(Header::parse(b"\x1f\x8b and so on"), Err(KernelError::Compressed("gzip")));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Bytes between a 2 MiB boundary and the kernel's first byte.
    pub text_offset: u64,
    /// Bytes that the kernel occupies from its first byte on, those that it clears itself included.
    pub image_size: u64,
    /// The page size that it was built for.
    pub page_size: PageSize,
}

/// Why a file is not a kernel that can be booted; each says what to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KernelError {
    /// Fewer bytes than a header; carries their number.
    TooShort(usize),
    /// Compressed as a whole; carries the method.
    Compressed(&'static str),
    /// An EFI program that unpacks the kernel inside it.
    EfiZboot,
    /// Another kind of file; carries what it is.
    Other(&'static str),
    /// Without the magic number, and of no other known format.
    NotAKernel,
    /// Built for big-endian data.
    BigEndian,
    /// `image_size` is zero: built before Linux 3.17, with a `text_offset` that cannot be trusted.
    NoImageSize,
    /// `text_offset` does not leave the kernel at a multiple of 4 KiB inside its 2 MiB; carries the offset.
    TextOffset(u64),
    /// `image_size` is beyond any machine's memory; carries it.
    ImageSize(u64),
    /// Kernel, device tree and the other files need more memory than the virtual machine has.
    Memory {
        /// Bytes that they need.
        needed: u64,
        /// Bytes that there are.
        memory: u64,
    },
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooShort(n) => write!(f, "{n} bytes are too few for a kernel; the file is cut off or the wrong one"),
            Self::Compressed(how) => {
                write!(f, "the kernel is compressed with {how}; unpack it, or take arch/arm64/boot/Image")
            }
            Self::EfiZboot => f.write_str(
                "this is an EFI program with a compressed kernel inside; take arch/arm64/boot/Image of the same build",
            ),
            Self::Other(what) => write!(f, "this is {what}, not an arm64 kernel; take arch/arm64/boot/Image"),
            Self::NotAKernel => {
                f.write_str("this is not an arm64 kernel (no \"ARM\\x64\" at offset 56); take arch/arm64/boot/Image")
            }
            Self::BigEndian => f.write_str("the kernel is big-endian; build it with CONFIG_CPU_LITTLE_ENDIAN"),
            Self::NoImageSize => f.write_str("the kernel is older than Linux 3.17 (image_size is 0); take a newer one"),
            Self::TextOffset(n) => {
                write!(f, "the kernel's text_offset is {n:#x}, not a multiple of 4 KiB below 2 MiB; the file is damaged")
            }
            Self::ImageSize(n) => write!(f, "the kernel's image_size is {n:#x} bytes; the file is damaged"),
            Self::Memory { needed, memory } => write!(
                f,
                "kernel, device tree and other files need {} MiB, the virtual machine has {}; give it more memory",
                needed.div_ceil(1 << 20),
                memory >> 20
            ),
        }
    }
}

impl core::error::Error for KernelError {}

impl Header {
    /// Judges the start of a kernel file.
    ///
    /// # Errors
    /// What the file is instead of a kernel, or why the kernel cannot boot.
    pub fn parse(bytes: &[u8]) -> Result<Self, KernelError> {
        if let Some(error) = recognise(bytes) {
            return Err(error);
        }
        // A header alone is cut off as well: what it leads to stands behind it.
        let header: &[u8; HEADER_LEN] = bytes
            .first_chunk()
            .filter(|header| header.len() < bytes.len())
            .ok_or(KernelError::TooShort(bytes.len()))?;
        if header.get(56..60) != Some(MAGIC) {
            return Err(KernelError::NotAKernel);
        }
        let [text_offset, image_size, flags] = [8, 16, 24].map(|at| field(header, at));
        if flags & 1 != 0 {
            return Err(KernelError::BigEndian);
        }
        if image_size == 0 {
            return Err(KernelError::NoImageSize);
        }
        if image_size > crate::vm::MEMORY_MAX {
            return Err(KernelError::ImageSize(image_size));
        }
        if text_offset >= BASE_ALIGN || !text_offset.is_multiple_of(PAGE) {
            return Err(KernelError::TextOffset(text_offset));
        }
        let page_size = match (flags >> 1) & 0b11 {
            0 => PageSize::Unspecified,
            1 => PageSize::K4,
            2 => PageSize::K16,
            _ => PageSize::K64,
        };
        Ok(Self {
            text_offset,
            image_size,
            page_size,
        })
    }
}

/// Where the parts go, each in bytes from the start of the virtual machine's memory, which must be 2 MiB aligned.
///
/// The kernel comes first, because the boot protocol wants it near the start of memory; the device tree has two whole
/// mebibytes of its own behind it, and the other files follow. The RAM disk, which is the first of them, is then within
/// the 32 GiB window of the kernel that the protocol asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement<const BLOBS: usize> {
    /// The kernel's first byte, which is its entry point.
    pub kernel: u64,
    /// The device tree; [`DTB_MAX`] bytes are free here.
    pub dtb: u64,
    /// The other files, each at a multiple of 4 KiB.
    pub blobs: [u64; BLOBS],
    /// The first byte after all of them.
    pub end: u64,
}

impl<const BLOBS: usize> Placement<BLOBS> {
    /// Places a kernel file of `kernel_len` bytes and other files, of `blobs` bytes each, in `memory` bytes of memory.
    ///
    /// # Errors
    /// [`KernelError::Memory`] if they do not fit.
    pub fn new(
        header: &Header,
        kernel_len: u64,
        blobs: [u64; BLOBS],
        memory: u64,
    ) -> Result<Self, KernelError> {
        let too_big = KernelError::Memory {
            needed: u64::MAX,
            memory,
        };
        let kernel = header.text_offset;
        let dtb = kernel
            .checked_add(header.image_size.max(kernel_len))
            .and_then(|end| end.checked_next_multiple_of(BASE_ALIGN))
            .ok_or(too_big)?;
        let mut end = dtb.checked_add(DTB_MAX).ok_or(too_big)?;
        let mut places = [0; BLOBS];
        for (place, len) in places.iter_mut().zip(blobs) {
            *place = end;
            end = end
                .checked_add(len)
                .and_then(|end| end.checked_next_multiple_of(PAGE))
                .ok_or(too_big)?;
        }
        if end > memory {
            return Err(KernelError::Memory {
                needed: end,
                memory,
            });
        }
        Ok(Self {
            kernel,
            dtb,
            blobs: places,
            end,
        })
    }
}

/// The error for a kind of file that is known by its first bytes and is not a plain kernel.
fn recognise(bytes: &[u8]) -> Option<KernelError> {
    const COMPRESSED: [(&[u8], &str); 7] = [
        (b"\x1f\x8b", "gzip"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x02\x21\x4c\x18", "lz4"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"BZh", "bzip2"),
        (b"\x89LZO\0", "lzop"),
    ];
    const OTHER: [(&[u8], usize, &str); 6] = [
        (b"\x7fELF", 0, "an ELF file"),
        (b"\x27\x05\x19\x56", 0, "a U-Boot uImage"),
        (
            b"\xd0\x0d\xfe\xed",
            0,
            "a device tree or a flattened image tree",
        ),
        (b"HdrS", 0x202, "an x86 kernel"),
        (b"\x18\x28\x6f\x01", 0x24, "a 32-bit Arm zImage"),
        (b"RISCV\0\0\0", 48, "a RISC-V kernel"),
    ];
    if bytes.starts_with(b"MZ") && has_at(bytes, 4, b"zimg") {
        return Some(KernelError::EfiZboot);
    }
    if let Some((_, how)) = COMPRESSED
        .into_iter()
        .find(|(magic, _)| bytes.starts_with(magic))
    {
        return Some(KernelError::Compressed(how));
    }
    let (_, _, what) = OTHER
        .into_iter()
        .find(|&(magic, at, _)| has_at(bytes, at, magic))?;
    Some(KernelError::Other(what))
}

fn has_at(bytes: &[u8], at: usize, magic: &[u8]) -> bool {
    bytes.get(at..).is_some_and(|rest| rest.starts_with(magic))
}

/// The little-endian field at one of the header's offsets.
fn field(header: &[u8; HEADER_LEN], at: usize) -> u64 {
    let bytes = header
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .expect("the caller's offsets lie in the header");
    u64::from_le_bytes(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text_offset: u64, image_size: u64, flags: u64) -> [u8; HEADER_LEN + 4] {
        let mut header = [0; HEADER_LEN + 4];
        header[8..16].copy_from_slice(&text_offset.to_le_bytes());
        header[16..24].copy_from_slice(&image_size.to_le_bytes());
        header[24..32].copy_from_slice(&flags.to_le_bytes());
        header[56..60].copy_from_slice(MAGIC);
        header
    }

    fn with(at: usize, magic: &[u8]) -> [u8; 0x240] {
        let mut file = [0; 0x240];
        file[at..at + magic.len()].copy_from_slice(magic);
        file
    }

    #[test]
    fn a_plain_image_is_taken() {
        let header = Header::parse(&image(0, 0x1e70000, 0xa)).expect("a kernel");
        assert_eq!(
            header,
            Header {
                text_offset: 0,
                image_size: 0x1e70000,
                page_size: PageSize::K4
            }
        );
    }

    #[test]
    fn each_page_size_is_told() {
        use PageSize::{K4, K16, K64, Unspecified};
        for (bits, page_size) in [(0, Unspecified), (1, K4), (2, K16), (3, K64)] {
            assert_eq!(
                Header::parse(&image(0, 1, bits << 1)).map(|h| h.page_size),
                Ok(page_size)
            );
        }
    }

    #[test]
    fn an_image_with_an_efi_stub_is_taken() {
        let mut file = image(0, 4096, 0xa);
        file[..2].copy_from_slice(b"MZ");
        assert!(Header::parse(&file).is_ok());
    }

    #[test]
    fn other_kinds_of_files_are_told_by_name() {
        assert_eq!(
            Header::parse(&with(0, b"\x1f\x8b")),
            Err(KernelError::Compressed("gzip"))
        );
        assert_eq!(
            Header::parse(&with(0, b"\xfd7zXZ\0")),
            Err(KernelError::Compressed("xz"))
        );
        assert_eq!(
            Header::parse(&with(0, b"\x28\xb5\x2f\xfd")),
            Err(KernelError::Compressed("zstd"))
        );
        assert_eq!(
            Header::parse(&with(0, b"MZ\0\0zimg")),
            Err(KernelError::EfiZboot)
        );
        assert_eq!(
            Header::parse(&with(0x202, b"HdrS")),
            Err(KernelError::Other("an x86 kernel"))
        );
        assert_eq!(
            Header::parse(&with(0, b"\x7fELF")),
            Err(KernelError::Other("an ELF file"))
        );
        assert_eq!(
            Header::parse(&with(0, b"hello")),
            Err(KernelError::NotAKernel)
        );
    }

    #[test]
    fn a_cut_off_file_is_told_from_a_wrong_one() {
        assert_eq!(Header::parse(&[]), Err(KernelError::TooShort(0)));
        for length in [63, 64] {
            assert_eq!(
                Header::parse(&image(0, 4096, 0)[..length]),
                Err(KernelError::TooShort(length))
            );
        }
    }

    #[test]
    fn a_kernel_that_cannot_work_says_why() {
        assert_eq!(
            Header::parse(&image(0, 4096, 1)),
            Err(KernelError::BigEndian)
        );
        assert_eq!(
            Header::parse(&image(0x80000, 0, 0)),
            Err(KernelError::NoImageSize)
        );
        assert_eq!(
            Header::parse(&image(0x200000, 4096, 0)),
            Err(KernelError::TextOffset(0x200000))
        );
        assert_eq!(
            Header::parse(&image(0x80004, 4096, 0)),
            Err(KernelError::TextOffset(0x80004))
        );
        assert_eq!(
            Header::parse(&image(0, u64::MAX, 0)),
            Err(KernelError::ImageSize(u64::MAX))
        );
    }

    #[test]
    fn the_parts_do_not_overlap_and_stay_in_memory() {
        let header = Header {
            text_offset: 0x80000,
            image_size: 30 << 20,
            page_size: PageSize::K4,
        };
        let p = Placement::new(&header, 29 << 20, [5000, 0, 1], 64 << 20).expect("fits");
        assert_eq!(
            p,
            Placement {
                kernel: 0x80000,
                dtb: 32 << 20,
                blobs: [34 << 20, (34 << 20) + 8192, (34 << 20) + 8192],
                end: (34 << 20) + 12288
            }
        );
    }

    #[test]
    fn a_file_longer_than_its_image_size_keeps_its_tail() {
        let header = Header {
            text_offset: 0,
            image_size: 4096,
            page_size: PageSize::K4,
        };
        assert_eq!(
            Placement::new(&header, 3 << 20, [], 64 << 20).map(|p| p.dtb),
            Ok(4 << 20)
        );
    }

    #[test]
    fn too_little_memory_is_told_with_both_numbers() {
        let header = Header {
            text_offset: 0,
            image_size: 30 << 20,
            page_size: PageSize::K4,
        };
        let error = Placement::new(&header, 0, [], 16 << 20);
        assert_eq!(
            error,
            Err(KernelError::Memory {
                needed: 32 << 20,
                memory: 16 << 20
            })
        );
    }

    #[test]
    fn sizes_at_the_top_of_the_range_do_not_overflow() {
        let header = Header {
            text_offset: 0,
            image_size: 4096,
            page_size: PageSize::K4,
        };
        for (kernel, initrd) in [(u64::MAX, 0), (0, u64::MAX), (u64::MAX, u64::MAX)] {
            assert!(matches!(
                Placement::new(&header, kernel, [initrd], 1 << 30),
                Err(KernelError::Memory { .. })
            ));
        }
    }
}
