//! The Linux that is L0: the newest kernel of Debian's archive, and a RAM disk with its guest in it.
//!
//! KVM has guests that are hypervisors since Linux 6.16 (`kvm-arm.mode=nested`), and becomes better at it from release to
//! release: the newest, a release candidate perhaps, is the fairest peer. It needs no module for it.

use super::super::nested::disks::{INITTAB, mark_program};
use super::super::runs::{HYPERVISOR_MIB, Linux};
use super::super::trace::PRINT_EXITS;
use crate::workspace::Failure;
use droste::files::read;
use droste::setup::Setup;
use droste::setup::apt::Apt;
use droste::setup::guest::{KERNEL_PACKAGE, image_below, packages};
use droste::setup::initrd::with_programs;
use std::path::{Path, PathBuf};

/// Where the kernel is in the cache.
const ENTRY: &str = "debian/peer-kernel";
/// The first Linux whose KVM has guests that are hypervisors.
const NEEDED: (u32, u32) = (6, 16);

/// A Linux with KVM as L0.
pub(super) struct Host {
    /// An arm64 `Image`.
    pub(super) kernel: PathBuf,
    /// What the kernel calls itself.
    pub(super) release: String,
    setup: Setup,
}

impl Host {
    /// With the kernel that is given, or else Debian's, which is fetched unless the cache has it.
    ///
    /// # Errors
    /// If the archive has none that is new enough.
    pub(super) fn gather(given: Option<&Path>) -> Result<Self, Failure> {
        let setup = Setup::new()?;
        let kernel = given.map_or_else(|| kernel(&setup), |path| Ok(path.to_owned()))?;
        Ok(Self {
            release: release(&read(&kernel)?)
                .ok_or_else(|| Failure::new(format!("{} names no release", kernel.display())))?,
            kernel,
            setup,
        })
    }

    /// A RAM disk whose init marks a stage, starts this guest and, at its end, switches the machine off. The guest gets
    /// the words on its command line, and its console.
    ///
    /// # Errors
    /// If a part cannot be had.
    pub(super) fn initrd(
        &self,
        linux: &Linux,
        initrd: &[u8],
        words: &str,
    ) -> Result<Vec<u8>, Failure> {
        let setup = &self.setup;
        with_programs(
            &read(&setup.initrd(None)?)?,
            &[
                ("etc/inittab", INITTAB.as_bytes()),
                ("etc/stages", script(words).as_bytes()),
                ("bin/begin", &mark_program(&[PRINT_EXITS])),
                ("mnt/droste-vmm", &read(&setup.monitor()?)?),
                ("mnt/kernel", &read(&linux.kernel)?),
                ("mnt/initrd", initrd),
            ],
        )
        .map_err(|e| Failure::new(format!("cannot build a RAM disk: {e}")))
    }
}

/// What L0's init runs: the guest, and then nothing more.
fn script(words: &str) -> String {
    format!(
        "#!/bin/sh
/bin/begin
/mnt/droste-vmm --el2 --memory {HYPERVISOR_MIB} --kernel /mnt/kernel --initrd /mnt/initrd \\
    --cmdline 'console=ttyS0 {words}' </dev/null
stty -F /dev/console onlcr
poweroff -f
"
    )
}

fn kernel(setup: &Setup) -> Result<PathBuf, Failure> {
    let entry = setup.cache().get_or_make(ENTRY, |dir| {
        let _step =
            droste::progress::step(&format!("fetching the newest kernel ({KERNEL_PACKAGE})"));
        let apt = Apt::open(
            &dir.join("apt"),
            &["unstable", "experimental"],
            Some("arm64"),
        )?;
        let versions = apt.versions(KERNEL_PACKAGE)?;
        let version = newest(&versions).map_err(droste::Error::new)?;
        let packages = packages(&apt, &format!("{KERNEL_PACKAGE}={version}"))?;
        let unpacked = dir.join("unpacked");
        apt.unpack(&packages.image, &unpacked)?;
        image_below(&unpacked).ok_or_else(|| {
            droste::Error::new(format!("the package {} holds no kernel", packages.image))
        })
    })?;
    Ok(entry)
}

/// The first of the versions, which is the newest, if it is new enough.
fn newest(versions: &[(String, String)]) -> Result<&str, String> {
    let (version, _) = versions
        .first()
        .ok_or_else(|| format!("the archive has no {KERNEL_PACKAGE}"))?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    if (number(), number()) < NEEDED {
        let (major, minor) = NEEDED;
        return Err(format!(
            "the archive's newest {KERNEL_PACKAGE} is {version}: KVM has no guests that are \
             hypervisors before Linux {major}.{minor}; name one with --kernel"
        ));
    }
    Ok(version)
}

/// The release in a kernel's banner, `Linux version 7.2.11 (…`.
fn release(image: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    let mut after = image
        .windows(BANNER.len())
        .zip(BANNER.len()..)
        .filter(|(window, _)| *window == BANNER)
        .map(|(_, at)| &image[at..]);
    after.find_map(|text| {
        let end = text.iter().position(|&byte| byte == b' ')?;
        let word = str::from_utf8(&text[..end]).ok()?;
        let is_release = word.starts_with(|c: char| c.is_ascii_digit());
        is_release.then(|| format!("Linux {word}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(newest: &str) -> Vec<(String, String)> {
        [newest, "6.12.1-1"]
            .map(|version| (version.to_owned(), "stable/main".to_owned()))
            .into()
    }

    #[test]
    fn the_newest_kernel_is_taken_if_it_can_nest() {
        for good in ["7.2.11-1~bpo13+1", "6.16~rc1-1", "6.16.3-1"] {
            assert_eq!(newest(&versions(good)), Ok(good));
        }
        for old in ["6.15.9-1", "6.9-1", "5.99-1", ""] {
            let error = newest(&versions(old)).expect_err("old");
            assert!(error.contains("before Linux 6.16;"), "{error}");
        }
        assert!(newest(&[]).is_err());
    }

    #[test]
    fn a_kernel_names_its_release() {
        let image = b"\0Linux version %s\0Linux version 7.2.11+deb13 (x)\0";
        assert_eq!(release(image), Some("Linux 7.2.11+deb13".into()));
        assert_eq!(release(b"Linux version 7"), None);
    }

    #[test]
    fn the_guest_of_the_host_starts_at_el2() {
        let script = script("quiet");
        assert!(script.contains(" --el2 ") && script.contains("'console=ttyS0 quiet'"));
    }
}
