//! Builds what runs on the bare machine, the hypervisor and the test guests, each as a flat image; and the monitor that
//! guests run.

use std::env;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{Endianness, elf};

use super::target::{Core, GUEST_TARGET, TARGET};
use crate::error::{Context, Error, Result};
use crate::{files, progress};

/// Cargo's profile for the bare machine.
const PROFILE: &str = "el2";
/// The monitor's package and program.
const MONITOR: &str = "droste-vmm";
/// The recorder's package, and its library.
const RECORDER: &str = "droste-judge-plugin";
const RECORDER_LIBRARY: &str = "droste_judge_plugin";
/// Cargo's profile for programs of guests.
const GUEST_PROFILE: &str = "guest";
/// A flat image larger than this, in bytes, has a hole that the linker script should not leave.
const IMAGE_MAX: u64 = 64 << 20;

/// A program for the bare machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program<'a> {
    /// The hypervisor.
    Hypervisor,
    /// A test guest, by the name of its binary.
    Guest(&'a str),
}

impl<'a> Program<'a> {
    fn package(self) -> &'static str {
        match self {
            Self::Hypervisor => "droste-hv",
            Self::Guest(_) => "droste-guests",
        }
    }

    fn description(self) -> String {
        match self {
            Self::Hypervisor => "the hypervisor".into(),
            Self::Guest(name) => format!("the test guest {name}"),
        }
    }

    fn binary(self) -> &'a str {
        match self {
            Self::Hypervisor => "droste-hv",
            Self::Guest(name) => name,
        }
    }
}

/// The workspace that this tool was built in: above the current directory or the running program, else where it was
/// compiled.
///
/// # Errors
/// If none of these is the workspace.
pub fn workspace() -> Result<PathBuf> {
    let places = [
        env::current_dir().ok(),
        env::current_exe().ok(),
        Some(PathBuf::from(env!("CARGO_MANIFEST_DIR"))),
    ];
    let roots = places.iter().flatten().flat_map(|place| place.ancestors());
    let is_root =
        |dir: &&Path| dir.join("Cargo.toml").is_file() && dir.join("hv/Cargo.toml").is_file();
    roots.into_iter().find(is_root).map(Path::to_owned).ok_or_else(|| {
        Error::new("the hypervisor's sources are not here")
            .help("run from the checkout, or bring an image that is built already with --hypervisor FILE")
    })
}

/// Builds a program and returns its flat image. Cargo decides what is up to date; an image with the same bytes as before
/// is left alone.
///
/// # Errors
/// If the build fails, with what the compiler said, or the result is not a bootable image.
pub fn build(workspace: &Path, core: &Core, program: Program<'_>) -> Result<PathBuf> {
    let binary = program.binary();
    let target_dir = target_dir(workspace);
    {
        let _step = progress::step(&format!("building {}", program.description()));
        compile(&mut program_build(workspace, core, program, &target_dir))?;
    }
    let linked = target_dir.join(TARGET).join(PROFILE).join(binary);
    let image = flatten(&files::read(&linked)?).map_err(|cause| {
        Error::new(format!("{} cannot be made a flat image", linked.display())).because(cause)
    })?;
    droste_image::kernel::Header::parse(&image)
        .context(|| format!("{} is not bootable", linked.display()))?;
    let path = linked.with_extension("img");
    files::write(&path, &image)?;
    Ok(path)
}

/// Builds the monitor that guests run, and returns the program.
///
/// # Errors
/// If the build fails, with what the compiler said.
pub fn build_monitor(workspace: &Path) -> Result<PathBuf> {
    let target_dir = target_dir(workspace);
    let _step = progress::step("building the guests' virtual machine monitor");
    compile(&mut monitor_build(workspace, &target_dir))?;
    let built = target_dir.join(GUEST_TARGET).join(GUEST_PROFILE);
    Ok(built.join(MONITOR))
}

/// Builds the recorder of `droste judge`, a plugin of this host's QEMU, and returns the library.
///
/// # Errors
/// If the build fails, with what the compiler said.
pub fn build_recorder(workspace: &Path) -> Result<PathBuf> {
    let target_dir = target_dir(workspace);
    let _step = progress::step("building the recorder");
    compile(&mut recorder_build(workspace, &target_dir))?;
    let name = format!("{DLL_PREFIX}{RECORDER_LIBRARY}{DLL_SUFFIX}");
    Ok(target_dir.join("release").join(name))
}

/// A directory of its own: the cargo that runs us may hold the lock of the usual one.
fn target_dir(workspace: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), PathBuf::from)
        .join("el2")
}

/// Runs the build; if it fails, all that the compiler said is the error.
fn compile(cargo: &mut Command) -> Result<()> {
    let result = cargo.output().context(|| "cannot run cargo".into())?;
    if result.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&result.stderr);
    Err(Error::new(format!(
        "the build failed ({})\n{}",
        result.status,
        said.trim_end()
    )))
}

fn program_build(
    workspace: &Path,
    core: &Core,
    program: Program<'_>,
    target_dir: &Path,
) -> Command {
    let mut cargo = cargo(workspace, TARGET, PROFILE, target_dir);
    cargo.args(["--package", program.package(), "--bin", program.binary()]);
    core.configure(&mut cargo);
    cargo
}

fn monitor_build(workspace: &Path, target_dir: &Path) -> Command {
    let mut cargo = cargo(workspace, GUEST_TARGET, GUEST_PROFILE, target_dir);
    cargo.args(["--package", MONITOR, "--bin", MONITOR]);
    cargo
}

fn recorder_build(workspace: &Path, target_dir: &Path) -> Command {
    let mut cargo = cargo_build(workspace);
    cargo
        .args(["--release", "--package", RECORDER, "--target-dir"])
        .arg(target_dir);
    cargo
}

/// The cargo that runs us, or else the one on the path.
fn cargo_build(workspace: &Path) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    cargo.current_dir(workspace).args(["build", "--quiet"]);
    cargo
}

/// It, told all but what to build for a guest or for EL2.
fn cargo(workspace: &Path, target: &str, profile: &str, target_dir: &Path) -> Command {
    let mut cargo = cargo_build(workspace);
    cargo
        .args(["--profile", profile, "--target", target])
        .arg("--target-dir")
        .arg(target_dir)
        // Flags of the host's build would take the place of those that the target needs.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo
}

/// The loadable bytes of an ELF file, each at its distance from the lowest address. What a segment has beyond its bytes
/// in the file is zero, and left to the program itself at the end.
fn flatten(elf: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let describe = |error: object::Error| error.to_string();
    let header = FileHeader64::<Endianness>::parse(elf).map_err(describe)?;
    let endian = header.endian().map_err(describe)?;
    if header.e_machine(endian) != elf::EM_AARCH64 {
        return Err("it is not for 64-bit Arm".into());
    }
    let segments = header.program_headers(endian, elf).map_err(describe)?;
    let loadable = || {
        segments
            .iter()
            .filter(|s| s.p_type(endian) == PT_LOAD && s.p_filesz(endian) > 0)
    };
    let base = loadable()
        .map(|s| s.p_vaddr(endian))
        .min()
        .ok_or("it has nothing to load")?;
    let mut image = Vec::new();
    for segment in loadable() {
        let start = segment.p_vaddr(endian) - base;
        let end = start
            .checked_add(segment.p_filesz(endian))
            .filter(|&end| end <= IMAGE_MAX);
        let end =
            end.ok_or_else(|| format!("a segment at {start:#x} ends beyond {IMAGE_MAX:#x}"))?;
        let bytes = segment
            .data(endian, elf)
            .map_err(|()| "a segment lies outside the file")?;
        if image.len() < end as usize {
            image.resize(end as usize, 0);
        }
        image[start as usize..end as usize].copy_from_slice(bytes);
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with these segments, as `(address, bytes)`.
    fn elf_file(machine: u16, segments: &[(u64, &[u8])]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend(3_u16.to_le_bytes());
        file.extend(machine.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        for field in [0_u64, 64, 0] {
            file.extend(field.to_le_bytes());
        }
        file.extend(0_u32.to_le_bytes());
        for field in [64_u16, 56, segments.len() as u16, 64, 0, 0] {
            file.extend(field.to_le_bytes());
        }
        let mut offset = 64 + 56 * segments.len() as u64;
        for (address, bytes) in segments {
            file.extend(1_u32.to_le_bytes());
            file.extend(5_u32.to_le_bytes());
            let len = bytes.len() as u64;
            for field in [offset, *address, *address, len, len + 16, 4096] {
                file.extend(field.to_le_bytes());
            }
            offset += len;
        }
        for (_, bytes) in segments {
            file.extend_from_slice(bytes);
        }
        file
    }

    #[test]
    fn segments_land_at_their_distance_from_the_lowest() {
        let file = elf_file(183, &[(0x4010, b"data"), (0x4000, b"code")]);
        assert_eq!(
            flatten(&file).expect("flat"),
            b"code\0\0\0\0\0\0\0\0\0\0\0\0data"
        );
    }

    #[test]
    fn a_file_for_another_machine_is_refused() {
        assert_eq!(
            flatten(&elf_file(62, &[(0, b"x")])),
            Err("it is not for 64-bit Arm".into())
        );
    }

    #[test]
    fn a_hole_in_the_addresses_is_refused() {
        let file = elf_file(183, &[(0, b"x"), (1 << 40, b"y")]);
        assert!(flatten(&file).is_err_and(|cause| cause.contains("ends beyond")));
        let file = elf_file(183, &[(0, b"x"), (u64::MAX, b"yz")]);
        assert!(flatten(&file).is_err_and(|cause| cause.contains("ends beyond")));
    }

    #[test]
    fn a_file_without_segments_or_cut_off_is_refused() {
        assert_eq!(
            flatten(&elf_file(183, &[])),
            Err("it has nothing to load".into())
        );
        let file = elf_file(183, &[(0, b"code")]);
        assert_eq!(
            flatten(&file[..file.len() - 1]),
            Err("a segment lies outside the file".into())
        );
        assert!(flatten(b"hello").is_err());
    }

    #[test]
    fn the_build_is_told_package_profile_and_target() {
        let words = |command: &Command| {
            let words: Vec<_> = command
                .get_args()
                .map(|word| word.to_string_lossy())
                .collect();
            words.join(" ")
        };
        let (workspace, target_dir) = (Path::new("/ws"), Path::new("/t"));
        let guest = Program::Guest("exits");
        assert_eq!(
            words(&program_build(
                workspace,
                &Core::Installed,
                guest,
                target_dir
            )),
            "build --quiet --profile el2 --target aarch64-unknown-none-softfloat --target-dir /t \
             --package droste-guests --bin exits"
        );
        assert_eq!(
            words(&monitor_build(workspace, target_dir)),
            "build --quiet --profile guest --target aarch64-unknown-linux-musl --target-dir /t \
             --package droste-vmm --bin droste-vmm"
        );
    }
}
