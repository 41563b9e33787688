//! Judges the files that a description names: the kernel with what it is started with, and disks.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use droste_image::kernel::{Header, KernelError, Placement};

use super::{Description, Inspection, Located, Location, inner_bytes};
use crate::files::{self, Identity};
use crate::qemu::{Access, DiskImage, Format};

/// Bytes of a kernel that its judgement needs.
const KERNEL_START: u64 = 4096;
/// Bytes of a disk's sector.
const SECTOR: u64 = 512;

/// What a file is to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Disk,
}

impl<'a> Inspection<'a> {
    pub(super) fn files(&mut self, vm: &Description, located: &Located) {
        let blobs = [
            (&located.initrd, vm.initrd.as_ref()),
            (&located.dom0[0], vm.dom0.as_ref().map(|dom0| &dom0.kernel)),
            (
                &located.dom0[1],
                vm.dom0.as_ref().and_then(|dom0| dom0.initrd.as_ref()),
            ),
        ];
        let blobs = blobs.map(|(file, part)| {
            let len = file
                .as_ref()
                .zip(part)
                .and_then(|(file, part)| self.length(file, &part.location, Kind::File));
            len.unwrap_or(0)
        });
        let blobs = [blobs[0] + inner_bytes(located), blobs[1], blobs[2]];
        let Some(file) = &located.kernel else { return };
        let Some(len) = self.length(file, &vm.kernel.location, Kind::File) else {
            return;
        };
        match header(file) {
            Err(error) => self.unreadable(&vm.kernel.location, file, &error),
            Ok(Err(error)) => self.kernel_error(&vm.kernel.location, file, error),
            Ok(Ok(header)) => {
                if let Err(error) = Placement::new(&header, len, blobs, vm.memory.value) {
                    self.kernel_error(&vm.memory.location, file, error);
                }
            }
        }
    }

    pub(super) fn image(&mut self, image: &DiskImage, location: &'a Location) {
        let DiskImage {
            file,
            format,
            access,
        } = image;
        let Some(len) = self.length(file, location, Kind::Disk) else {
            return;
        };
        let shown = file.display();
        match (format, disk_format(file)) {
            (Format::Qcow2, Some("qcow2")) => {}
            (Format::Qcow2, _) => {
                let message = format!("the disk {shown} is no qcow2 image");
                self.find(location, message, "take out format = \"qcow2\"".into());
            }
            (Format::Raw, Some("qcow2")) => {
                let help = format!("say disk = {{ file = \"{shown}\", format = \"qcow2\" }}");
                let message = format!("the disk {shown} is a qcow2 image, not a raw one");
                self.find(location, message, help);
            }
            (Format::Raw, Some(other)) => {
                let help = format!("convert it: qemu-img convert -O raw {shown} {shown}.raw");
                let message = format!("the disk {shown} is a {other} image, not a raw one");
                self.find(location, message, help);
            }
            (Format::Raw, None) if !len.is_multiple_of(SECTOR) => {
                let padded = len.next_multiple_of(SECTOR);
                let message =
                    format!("the disk {shown} has {len} bytes, which is no multiple of {SECTOR}");
                let help = format!("round it up: truncate -s {padded} {shown}");
                self.find(location, message, help);
            }
            (Format::Raw, None) => {}
        }
        if *access == Access::ReadWrite
            && let Err(error) = File::options().write(true).open(file)
        {
            let message = format!("the disk {shown} cannot be written: {error}");
            let help = "make it writable, or say { file = …, readonly = true }".into();
            self.find(location, message, help);
        }
        // By another name or another link it is the same disk.
        let Some(identity) = Identity::of(file) else {
            return;
        };
        match self.disks.get(&identity) {
            Some((_, Access::ReadOnly)) if *access == Access::ReadOnly => {}
            Some((first, _)) => {
                let message = format!("the disk {shown} is in use already: {first}");
                let help =
                    "give each virtual machine a copy of its own, or all of them readonly = true";
                self.find(location, message, help.into());
            }
            None => {
                self.disks.insert(identity, (location, *access));
            }
        }
    }

    /// The length of a file with something in it, or of a block device where that is a disk; otherwise a finding.
    fn length(&mut self, file: &Path, location: &Location, kind: Kind) -> Option<u64> {
        let shown = file.display();
        let data = match fs::metadata(file) {
            Ok(data) => data,
            Err(error) => {
                self.unreadable(location, file, &error);
                return None;
            }
        };
        let is_disk = kind == Kind::Disk && data.file_type().is_block_device();
        if data.is_file() && data.len() == 0 {
            self.find(
                location,
                format!("{shown} is empty"),
                "check its path".into(),
            );
        } else if data.is_dir() {
            self.find(
                location,
                format!("{shown} is a directory"),
                "name a file in it".into(),
            );
        } else if data.is_file() || is_disk {
            return Some(data.len());
        } else {
            let message = format!("{shown} is {}", files::kind(data.file_type()));
            self.find(location, message, "name a file".into());
        }
        None
    }

    fn unreadable(&mut self, location: &Location, file: &Path, error: &std::io::Error) {
        let help = if location.is_flag() {
            "check the path; it is relative to the current directory".into()
        } else {
            "check the path; it is relative to the description that names it".into()
        };
        self.find(
            location,
            format!("cannot read {}: {error}", file.display()),
            help,
        );
    }

    fn kernel_error(&mut self, location: &Location, file: &Path, error: KernelError) {
        let sentence = error.to_string();
        let (message, help) = sentence
            .rsplit_once("; ")
            .unwrap_or((&sentence, "take another kernel"));
        self.find(
            location,
            format!("{}: {message}", file.display()),
            help.into(),
        );
    }
}

/// What the start of a kernel file says.
pub(in crate::description) fn header(file: &Path) -> std::io::Result<Result<Header, KernelError>> {
    let mut start = Vec::new();
    let (opened, _) = files::open(file)?;
    opened.take(KERNEL_START).read_to_end(&mut start)?;
    Ok(Header::parse(&start))
}

/// The name of a disk image's format, if it is one that is not raw.
fn disk_format(file: &Path) -> Option<&'static str> {
    const FORMATS: [(&[u8], usize, &str); 4] = [
        (b"QFI\xfb", 0, "qcow2"),
        (b"KDMV", 0, "VMDK"),
        (b"vhdxfile", 0, "VHDX"),
        (b"\x7f\x10\xda\xbe", 64, "VDI"),
    ];
    let mut start = Vec::new();
    File::open(file)
        .ok()?
        .take(SECTOR)
        .read_to_end(&mut start)
        .ok()?;
    let is_at =
        |magic: &[u8], at: usize| start.get(at..).is_some_and(|rest| rest.starts_with(magic));
    FORMATS
        .iter()
        .find(|(magic, at, _)| is_at(magic, *at))
        .map(|(.., name)| *name)
}
