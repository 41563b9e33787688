//! The guest's kernel and its user space, from Debian packages for arm64: of the current stable release, or of the suite
//! that stands behind the package's name.

use std::fs;
use std::path::{Path, PathBuf};

use super::apt::{Apt, dependency};
use super::cache::Cache;
use super::modules::Modules;
use crate::error::{Context, Error, Result};
use crate::{files, progress};

/// The kernel that descriptions use unless they have a reason.
pub const KERNEL_PACKAGE: &str = "linux-image-cloud-arm64";
/// The package that stands for the Xen of the release.
pub const XEN_PACKAGE: &str = "xen-system-arm64";
/// How the names of packages begin that hold a kernel.
const LINUX: &str = "linux-image-";
const XEN: &str = "xen-hypervisor-";
/// How those begin to which newer packages of a Linux leave its files.
const BINARY: &str = "linux-binary-";
const MODULES_OF: &str = "linux-modules-";
/// How the kernel's file is called in `boot`, and what the file of a Xen ends with that is one.
const IMAGES: [(&str, &str); 2] = [("vmlinuz-", ""), ("xen-", "-arm64")];
/// Where modules are, in a directory for each release; in newer packages with the kernel itself.
const MODULES_DIRS: [&str; 2] = ["usr/lib/modules", "lib/modules"];
/// What stands between a package and its suite.
const OF_SUITE: char = '@';
/// The suite of a package that does not say.
const STABLE: &str = "stable";
/// The user space of the initial RAM disk.
pub const BUSYBOX_PACKAGE: &str = "busybox-static";

/// Modules that make a disk or network adapter on a virtio-mmio transport useful: the transport, the two drivers, and a
/// file system with its character sets that disks from elsewhere often have.
const MODULES: [&str; 6] = [
    "virtio_mmio",
    "virtio_blk",
    "virtio_net",
    "vfat",
    "nls_cp437",
    "nls_ascii",
];

/// A kernel from the archive, unpacked in the cache.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    dir: PathBuf,
}

impl Kernel {
    /// The arm64 `Image`.
    pub fn image(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// The modules in the order in which they load, as file names and contents.
    ///
    /// # Errors
    /// If the cache's files cannot be read.
    pub fn modules(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let dir = self.dir.join("modules");
        let mut names: Vec<String> = fs::read_dir(&dir)
            .context(|| format!("cannot list {}", dir.display()))?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
            .into_iter()
            .map(|name| Ok((name.clone(), files::read(&dir.join(name))?)))
            .collect()
    }
}

/// Whether `package`, `NAME` or `NAME@SUITE`, can be asked of [`kernel`]: other packages hold no kernel.
pub fn is_kernel_package(package: &str) -> bool {
    is_xen_package(package) || is_linux_package(package)
}

/// Whether it is one with a Xen.
pub fn is_xen_package(package: &str) -> bool {
    let (name, suite) = of_suite(package);
    name == XEN_PACKAGE && is_word(suite, "-")
}

/// Whether it is one with a Linux.
pub fn is_linux_package(package: &str) -> bool {
    let (name, suite) = of_suite(package);
    name.starts_with(LINUX) && is_word(name, "+-.") && is_word(suite, "-")
}

/// The name of a package, and its suite.
fn of_suite(package: &str) -> (&str, &str) {
    package.split_once(OF_SUITE).unwrap_or((package, STABLE))
}

/// Whether it is of small letters, digits and these.
fn is_word(word: &str, others: &str) -> bool {
    let is_of_it = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || others.contains(c);
    word.starts_with(|c: char| c.is_ascii_alphanumeric()) && word.chars().all(is_of_it)
}

/// The packages that hold the files of a kernel's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packages {
    /// The one with the kernel itself.
    pub image: String,
    /// The one with its modules, if they are not with the kernel.
    pub modules: Option<String>,
}

/// Finds the packages with the files of a kernel. One such as `linux-image-arm64` stands for one with its release in its
/// name, and newer ones of those leave their files to two others.
///
/// # Errors
/// If the archive has no such package.
pub fn packages(apt: &Apt, package: &str) -> Result<Packages> {
    let control = apt.show(package)?;
    let kind = if is_xen_package(package) { XEN } else { LINUX };
    let Some(versioned) = dependency(&control, kind) else {
        return Ok(holders(&control, package));
    };
    Ok(holders(&apt.show(versioned)?, versioned))
}

/// Where the files of a package are, by what `apt-cache show` says of it.
fn holders(control: &str, package: &str) -> Packages {
    let image = dependency(control, BINARY);
    let modules = dependency(control, MODULES_OF);
    Packages {
        image: image.unwrap_or(package).to_owned(),
        modules: modules.filter(|_| image.is_some()).map(String::from),
    }
}

/// The kernel below an unpacked package: in `boot` with its release in its name, or with its modules.
pub fn image_below(unpacked: &Path) -> Option<PathBuf> {
    let below = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten();
    let is_image = |name: &str| {
        let is_like = |(start, end): &(&str, &str)| name.starts_with(start) && name.ends_with(end);
        IMAGES.iter().any(is_like)
    };
    let in_boot = below(unpacked.join("boot"))
        .filter(|entry| is_image(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path());
    let with_modules = MODULES_DIRS
        .iter()
        .flat_map(|dir| below(unpacked.join(dir)))
        .map(|entry| entry.path().join("vmlinuz"));
    in_boot.chain(with_modules).find(|path| path.is_file())
}

/// The kernel of a package if the cache has it.
pub fn cached_kernel(cache: &Cache, package: &str) -> Option<Kernel> {
    cache.get(&entry(package)).map(|dir| Kernel { dir })
}

/// The kernel of a package, fetched unless the cache has it.
///
/// # Errors
/// If it cannot be fetched, or is no kernel.
pub fn kernel(cache: &Cache, package: &str) -> Result<Kernel> {
    let dir = cache.get_or_make(&entry(package), |dir| {
        let _step = progress::step(&format!("fetching the guest's kernel ({package})"));
        let (name, suite) = of_suite(package);
        let apt = Apt::open(&dir.join("apt"), &[suite], Some("arm64"))
            .map_err(|e| instead(e, "kernel"))?;
        let packages = packages(&apt, name)?;
        let unpacked = dir.join("unpacked");
        for package in [&packages.image].into_iter().chain(&packages.modules) {
            apt.unpack(package, &unpacked)?;
        }
        keep_kernel(&unpacked, &dir.join("kept"), &packages.image)
    })?;
    Ok(Kernel { dir })
}

/// The statically linked arm64 busybox, fetched unless the cache has it.
///
/// # Errors
/// If it cannot be fetched.
pub fn busybox(cache: &Cache) -> Result<PathBuf> {
    cache.get_or_make(&entry(BUSYBOX_PACKAGE), |dir| {
        let _step = progress::step(&format!(
            "fetching the guest's user space ({BUSYBOX_PACKAGE})"
        ));
        let apt = Apt::open(&dir.join("apt"), &[STABLE], Some("arm64"))
            .map_err(|e| instead(e, "initrd"))?;
        let unpacked = dir.join("unpacked");
        apt.unpack(BUSYBOX_PACKAGE, &unpacked)?;
        ["usr/bin/busybox", "bin/busybox"]
            .iter()
            .map(|path| unpacked.join(path))
            .find(|path| path.is_file())
            .ok_or_else(|| Error::new(format!("the package {BUSYBOX_PACKAGE} holds no busybox")))
    })
}

/// The busybox if the cache has it.
pub fn cached_busybox(cache: &Cache) -> Option<PathBuf> {
    cache.get(&entry(BUSYBOX_PACKAGE))
}

fn entry(package: &str) -> String {
    format!("debian/{package}")
}

fn instead(error: Error, flag: &str) -> Error {
    error.help(format!(
        "or name a file of your own as {flag} in the description"
    ))
}

/// Moves what a guest needs of an unpacked kernel package to `kept`: the image and the modules, unpacked and numbered
/// in the order in which they load.
fn keep_kernel(unpacked: &Path, kept: &Path, package: &str) -> Result<PathBuf> {
    let modules_dir = kept.join("modules");
    files::make_dir(&modules_dir)?;
    let image = image_below(unpacked).ok_or_else(|| {
        Error::new(format!("the package {package} holds no kernel"))
            .help("name another package, or a file")
    })?;
    fs::rename(image, kept.join("vmlinuz"))
        .context(|| format!("cannot move the kernel of {package}"))?;
    if package.starts_with(XEN) {
        return Ok(kept.to_owned());
    }
    let roots = MODULES_DIRS.map(|path| unpacked.join(path));
    let root = roots
        .iter()
        .find(|path| path.is_dir())
        .ok_or_else(|| Error::new(format!("the package {package} holds no kernel modules")))?;
    for (number, module) in Modules::below(root)?
        .load_order(&MODULES)?
        .iter()
        .enumerate()
    {
        files::write(
            &modules_dir.join(format!("{number:02}-{}.ko", module.name)),
            &module.bytes,
        )?;
    }
    Ok(kept.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_without_files_stands_for_the_versioned_one() {
        let control = "Package: linux-image-cloud-arm64\nDepends: linux-image-6.12.1+deb13-cloud-arm64 (= 6.12.1-1), x\n";
        assert_eq!(
            dependency(control, "linux-image-"),
            Some("linux-image-6.12.1+deb13-cloud-arm64")
        );
        let control =
            "Package: linux-image-6.12.1-arm64\nDepends: kmod, linux-base | initramfs-tools\n";
        assert_eq!(dependency(control, "linux-image-"), None);
        let control = "Package: x\nPre-Depends: linux-base\nDepends: a | b, linux-binary-7.2:arm64 (= 7.2-1)\n";
        assert_eq!(
            dependency(control, "linux-binary-"),
            Some("linux-binary-7.2")
        );
    }

    #[test]
    fn the_image_of_an_unpacked_package_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let (unpacked, kept) = (dir.path().join("unpacked"), dir.path().join("kept"));
        let put = |path: &str| {
            let path = unpacked.join(path);
            files::make_dir(path.parent().expect("below")).expect("made");
            files::write(&path, b"x").expect("written");
        };
        put("usr/lib/modules/6.12/kernel/unused.ko");
        let error = keep_kernel(&unpacked, &kept, "linux-image-x").expect_err("no kernel");
        assert!(
            error
                .to_string()
                .starts_with("the package linux-image-x holds no kernel\n"),
            "{error}"
        );
        put("boot/vmlinuz-6.12");
        let kernel = Kernel {
            dir: keep_kernel(&unpacked, &kept, "linux-image-x").expect("kept"),
        };
        assert_eq!(files::read_text(&kernel.image()), Ok("x".into()));
        assert_eq!(kernel.modules(), Ok(vec![]));
    }

    #[test]
    fn newer_packages_leave_their_files_to_two_others() {
        let control = "Package: linux-image-7.2-arm64\nDepends: linux-base, linux-binary-7.2-arm64 (= 7.2-1), \
                       linux-modules-7.2-arm64 (= 7.2-1), kmod\n";
        assert_eq!(
            holders(control, "linux-image-7.2-arm64"),
            Packages {
                image: "linux-binary-7.2-arm64".into(),
                modules: Some("linux-modules-7.2-arm64".into()),
            }
        );
        let control = "Package: linux-image-6.12-arm64\nDepends: kmod, linux-base\n";
        assert_eq!(
            holders(control, "linux-image-6.12-arm64"),
            Packages {
                image: "linux-image-6.12-arm64".into(),
                modules: None,
            }
        );
    }

    #[test]
    fn a_kernel_is_kept_from_where_either_kind_of_package_puts_it() {
        for place in [
            "boot/vmlinuz-6.16",
            "usr/lib/modules/7.2-arm64/vmlinuz",
            "lib/modules/7.2-arm64/vmlinuz",
        ] {
            let dir = tempfile::tempdir().expect("a directory");
            let (unpacked, kept) = (dir.path().join("unpacked"), dir.path().join("kept"));
            for path in [place, "usr/lib/modules/7.2-arm64/kernel/unused.ko"] {
                let path = unpacked.join(path);
                files::make_dir(path.parent().expect("below")).expect("made");
                files::write(&path, place.as_bytes()).expect("written");
            }
            let kernel = Kernel {
                dir: keep_kernel(&unpacked, &kept, "linux-binary-x").expect("kept"),
            };
            assert_eq!(files::read_text(&kernel.image()), Ok(place.into()));
        }
    }

    #[test]
    fn a_xen_has_no_modules() {
        let dir = tempfile::tempdir().expect("a directory");
        let (unpacked, kept) = (dir.path().join("unpacked"), dir.path().join("kept"));
        files::make_dir(&unpacked.join("boot")).expect("made");
        for name in [
            "xen-4.20-arm64.efi",
            "xen-4.20-arm64",
            "xen-4.20-arm64.config",
        ] {
            files::write(&unpacked.join("boot").join(name), name.as_bytes()).expect("written");
        }
        let kernel = Kernel {
            dir: keep_kernel(&unpacked, &kept, "xen-hypervisor-4.20-arm64").expect("kept"),
        };
        assert_eq!(
            files::read_text(&kernel.image()),
            Ok("xen-4.20-arm64".into())
        );
        assert_eq!(kernel.modules(), Ok(vec![]));
    }

    #[test]
    fn only_kernel_packages_pass_for_kernels() {
        assert!(is_kernel_package("linux-image-6.12.1+deb13-cloud-arm64"));
        assert!(is_kernel_package(XEN_PACKAGE) && !is_linux_package(XEN_PACKAGE));
        for suite in ["sid", "trixie-backports", "stable"] {
            assert!(is_linux_package(&format!("linux-image-arm64@{suite}")));
            assert!(is_xen_package(&format!("{XEN_PACKAGE}@{suite}")));
        }
        for wrong in [
            "busybox-static",
            "linux-image-$(reboot)",
            "linux-image-a b",
            "linux-image-arm64@",
            "linux-image-arm64@../x",
            "linux-image-arm64@-o",
            "linux-image-arm64@a@b",
            "-o",
            "",
        ] {
            assert!(!is_kernel_package(wrong), "{wrong}");
        }
    }
}
