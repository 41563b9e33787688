//! Whether a virtual machine has the memory that a Linux takes to start. One that has not says nothing, mostly: it fails
//! before it has a console.
//!
//! What a kernel needs besides its files is its own affair, so this is a warning and no more. The rule is what was seen of
//! Debian's 6.12 and 7.3, in memory of all sizes: half of what the kernel occupies again, and its RAM disk twice, as it
//! came and unpacked. `initrd/enough.sh` has the same rule for guests of guests.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::inspect::header;
use super::{Description, Located};
use crate::files;

/// What a Linux takes whatever its size, in bytes.
const BASE: u64 = 8 << 20;
const MIB: u64 = 1 << 20;

/// What is to be said of a virtual machine whose memory is little; `None` where it is not, or its parts are not there, or
/// the kernel is a hypervisor that starts another.
pub fn little_memory(vm: &Description, located: &Located) -> Option<String> {
    if vm.dom0.is_some() || !vm.vms.is_empty() {
        return None;
    }
    let kernel = header(located.kernel.as_ref()?).ok()?.ok()?;
    let initrd = located.initrd.as_deref().map_or(Some([0, 0]), sizes)?;
    let [packed, unpacked] = initrd;
    let taken = kernel.image_size.saturating_add(packed);
    let needed = taken
        .saturating_add(unpacked)
        .saturating_add(kernel.image_size / 2)
        .saturating_add(BASE);
    (vm.memory.value < needed).then(|| {
        format!(
            "{} has {} MiB of memory, and kernel and RAM disk take {} of them: a Linux of that size needs about {} to start, \
             and is silent with less",
            vm.name.value,
            vm.memory.value / MIB,
            taken.div_ceil(MIB),
            needed.div_ceil(MIB),
        )
    })
}

/// Bytes of a RAM disk as it is, and unpacked: as many where it is not packed, what its end says where it is with gzip. Of
/// other ways to pack nothing is known, and none is assumed.
fn sizes(file: &Path) -> Option<[u64; 2]> {
    let (mut file, data) = files::open(file).ok()?;
    let bytes = data.len();
    let mut start = [0; 2];
    file.read_exact(&mut start).ok()?;
    let unpacked = match &start {
        b"\x1f\x8b" => {
            let mut end = [0; 4];
            file.seek(SeekFrom::End(-4)).ok()?;
            file.read_exact(&mut end).ok()?;
            u64::from(u32::from_le_bytes(end))
        }
        b"07" => bytes,
        _ => 0,
    };
    Some([bytes, unpacked])
}

#[cfg(test)]
mod tests {
    use super::super::{Overrides, load};
    use super::*;
    use std::fs;
    use std::process::Command;

    /// What is said of a machine with this much memory, a kernel that occupies 40 MiB, and such a RAM disk.
    fn said(memory: u64, initrd: Option<&[u8]>) -> Option<String> {
        let dir = tempfile::tempdir().expect("a directory");
        let mut kernel = vec![0; 4096];
        kernel[16..24].copy_from_slice(&(40_u64 << 20).to_le_bytes());
        kernel[56..60].copy_from_slice(b"ARM\x64");
        fs::write(dir.path().join("Image"), kernel).expect("written");
        let mut text = format!("name = \"a\"\nkernel = \"Image\"\nmemory = \"{memory}M\"\n");
        let mut located = Located {
            kernel: Some(dir.path().join("Image")),
            ..Located::default()
        };
        if let Some(bytes) = initrd {
            text += "initrd = \"disk\"\n";
            located.initrd = Some(dir.path().join("disk"));
            fs::write(dir.path().join("disk"), bytes).expect("written");
        }
        let file = dir.path().join("vm.toml");
        fs::write(&file, text).expect("written");
        let (vms, found) = load(&[file], &Overrides::default());
        assert_eq!(found.len(), 0);
        little_memory(&vms[0], &located)
    }

    #[test]
    fn a_linux_with_too_little_memory_is_told_of() {
        assert_eq!(said(68, None), None);
        let told = said(67, None).expect("it is little");
        assert!(
            told.starts_with("a has 67 MiB of memory, and kernel and RAM disk take 40 of them:")
                && told.contains("needs about 68 to start"),
            "{told}"
        );
    }

    #[test]
    fn the_script_for_guests_of_guests_has_the_same_rule() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/setup/initrd/enough.sh");
        let dir = tempfile::tempdir().expect("a directory");
        let (kernel, disk) = (dir.path().join("Image"), dir.path().join("disk"));
        fs::write(&disk, vec![b'0'; (3 << 20) + 1]).expect("written");
        for (image, words, least, enough) in [
            (40_u64 << 20, vec![&kernel], 68, 128),
            ((40 << 20) + 1, vec![&kernel, &disk], 75, 192),
            (1 << 12, vec![&kernel], 9, 128),
            (200 << 20, vec![&kernel], 308, 448),
        ] {
            let mut header = vec![0; 64];
            header[16..24].copy_from_slice(&image.to_le_bytes());
            fs::write(&kernel, header).expect("written");
            let output = Command::new("sh").arg(script).args(words).output();
            let output = output.expect("a shell");
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(said, format!("{least} {enough}\n"), "{output:?}");
        }
    }

    #[test]
    fn a_ram_disk_counts_as_it_came_and_as_it_is_unpacked() {
        let mut disk = vec![0; 2 << 20];
        disk[..2].copy_from_slice(b"07");
        assert_eq!(said(72, Some(&disk)), None);
        assert!(said(71, Some(&disk)).is_some());
        disk[..2].copy_from_slice(b"\x1f\x8b");
        let end = disk.len();
        disk[end - 4..].copy_from_slice(&(10_u32 << 20).to_le_bytes());
        assert_eq!(said(80, Some(&disk)), None);
        assert!(said(79, Some(&disk)).is_some());
        disk[..2].copy_from_slice(b"\x28\xb5");
        assert_eq!(said(70, Some(&disk)), None);
        assert!(said(69, Some(&disk)).is_some());
    }
}
