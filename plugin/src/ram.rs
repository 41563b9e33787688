//! The machine's memory, which QEMU shares as a file.

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::os::fd::AsRawFd as _;

unsafe extern "C" {
    fn mmap(
        at: *mut c_void,
        bytes: usize,
        protection: c_int,
        flags: c_int,
        file: c_int,
        offset: i64,
    ) -> *mut c_void;
}

const PROT_READ: c_int = 1;
const MAP_SHARED: c_int = 1;

/// All of it, to be read while CPUs write it.
#[derive(Debug)]
pub(crate) struct Ram {
    base: u64,
    words: *const u64,
    bytes: u64,
}

// SAFETY: the mapping is never taken down, and is read only by volatile loads of aligned words.
unsafe impl Send for Ram {}
// SAFETY: as above.
unsafe impl Sync for Ram {}

impl Ram {
    /// Maps the file at `path`, which the machine has at `base`.
    pub(crate) fn map(path: &str, base: u64) -> Result<Self, String> {
        let cannot =
            |error: std::io::Error| format!("cannot map the machine's memory {path}: {error}");
        let file = File::open(path).map_err(cannot)?;
        let bytes = file.metadata().map_err(cannot)?.len() & !4095;
        let length = usize::try_from(bytes).map_err(|_| format!("{path} is too large"))?;
        // SAFETY: a new mapping, where the kernel likes, of a file that is open. It is only read.
        let at = unsafe {
            mmap(
                core::ptr::null_mut(),
                length,
                PROT_READ,
                MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if at.addr() == usize::MAX {
            return Err(cannot(std::io::Error::last_os_error()));
        }
        Ok(Self {
            base,
            words: at.cast_const().cast(),
            bytes,
        })
    }

    pub(crate) const fn base(&self) -> u64 {
        self.base
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is at an address that is a multiple of 8.
    pub(crate) fn read(&self, at: u64) -> Option<u64> {
        let offset = at.checked_sub(self.base)?;
        (offset < self.bytes).then(|| {
            // SAFETY: the word is in the mapping, which is never taken down, and aligned, for the mapping is.
            unsafe { self.words.add((offset / 8) as usize).read_volatile() }
        })
    }
}
