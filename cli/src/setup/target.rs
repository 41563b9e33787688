//! The Rust core library for EL2's target: installed by rustup, or built from its source.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::apt::{Apt, Release};
use super::cache::Cache;
use crate::child::output;
use crate::error::{Error, Result};
use crate::progress;

/// What the hypervisor and the test guests are built for: EL2 saves no floating-point registers of its own, so the code
/// must not use them.
pub const TARGET: &str = "aarch64-unknown-none-softfloat";

/// What programs of guests are built for: linked statically, so that a guest needs no libraries.
pub const GUEST_TARGET: &str = "aarch64-unknown-linux-musl";

/// Where the core library for [`TARGET`] comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Core {
    /// The toolchain has it.
    Installed,
    /// Cargo builds it from the source in this folder, `library` of the Rust sources.
    Source(PathBuf),
}

impl Core {
    /// What cargo needs to be told, as arguments and variables.
    ///
    /// Building the core library is an unstable feature, which this stable toolchain lets through for itself; and the
    /// source need not lie where cargo expects it.
    pub fn configure(&self, cargo: &mut Command) {
        if let Self::Source(library) = self {
            cargo
                .args(["-Z", "build-std=core,alloc"])
                .env("RUSTC_BOOTSTRAP", "1")
                .env("__CARGO_TESTS_ONLY_SRC_ROOT", library);
        }
    }
}

/// Finds the core library, or fetches it: rustup's, else the source that is there, else the source from Debian. What an
/// earlier set-up fetched is taken at once.
///
/// # Errors
/// If there is no Rust compiler, or no way to get the library; then with the commands that do.
pub fn ensure(cache: &Cache, workspace: &Path) -> Result<Core> {
    let compiler = Compiler::of(workspace)?;
    if compiler.has(TARGET) {
        return Ok(Core::Installed);
    }
    if let Some(library) = cache.get(&compiler.entry()) {
        return Ok(Core::Source(library));
    }
    let Err(rustup) = add(TARGET, workspace) else {
        return Ok(Core::Installed);
    };
    if let Some(library) = compiler.source() {
        return Ok(Core::Source(library));
    }
    compiler
        .fetch_source(cache)
        .map(Core::Source)
        .map_err(|debian| {
            Error::new(format!("there is no Rust core library for {TARGET}"))
                .because(format!("{}; {}", first_line(&rustup), first_line(&debian)))
                .help(format!("with rustup: rustup target add {TARGET}"))
                .help(format!(
                    "with Debian's Rust: apt-get install rust-src (version {})",
                    compiler.version
                ))
        })
}

/// Sees to it that the standard library for [`GUEST_TARGET`] is there: rustup's, the only one that brings what it is linked
/// with.
///
/// # Errors
/// If there is no Rust compiler, or rustup cannot install the library.
pub fn ensure_std(workspace: &Path) -> Result<()> {
    if Compiler::of(workspace)?.has(GUEST_TARGET) {
        return Ok(());
    }
    add(GUEST_TARGET, workspace).map_err(|rustup| {
        Error::new(format!("there is no Rust library for {GUEST_TARGET}"))
            .because(first_line(&rustup))
            .help(format!("with rustup: rustup target add {GUEST_TARGET}"))
    })
}

/// Lets rustup install a target.
fn add(target: &str, workspace: &Path) -> Result<()> {
    let _step = progress::step(&format!("installing the Rust target {target}"));
    output(
        Command::new("rustup")
            .args(["target", "add", target])
            .current_dir(workspace),
    )
    .map(drop)
}

/// The compiler that a workspace uses.
struct Compiler {
    sysroot: PathBuf,
    /// `1.95.0`.
    version: String,
}

impl Compiler {
    fn of(workspace: &Path) -> Result<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
        let ask = |arguments: &[&str]| {
            output(Command::new(&rustc).args(arguments).current_dir(workspace)).map_err(|error| {
                error.help("install Rust, or bring a hypervisor that is built already with --hypervisor FILE")
            })
        };
        Ok(Self {
            sysroot: PathBuf::from(ask(&["--print", "sysroot"])?.trim()),
            version: release(&ask(&["--version"])?).to_owned(),
        })
    }

    /// Whether the toolchain has the libraries for a target.
    fn has(&self, target: &str) -> bool {
        let libraries = self.sysroot.join("lib/rustlib").join(target).join("lib");
        libraries.is_dir()
    }

    /// The library's source of exactly this version, where rustup or Debian puts it.
    fn source(&self) -> Option<PathBuf> {
        let candidates = [
            self.sysroot.join("lib/rustlib/src/rust/library"),
            PathBuf::from(format!("/usr/src/rustc-{}/library", self.version)),
        ];
        candidates
            .into_iter()
            .find(|path| path.join("core").is_dir())
    }

    fn entry(&self) -> String {
        format!("rust-src/{}", self.version)
    }

    fn fetch_source(&self, cache: &Cache) -> Result<PathBuf> {
        if !Release::of_this_machine().is_debian() {
            return Err(Error::new("this machine is not Debian"));
        }
        cache.get_or_make(&self.entry(), |dir| {
            let _step = progress::step(&format!(
                "fetching the Rust {} core library's source",
                self.version
            ));
            let suites = ["stable", "stable-backports", "testing", "unstable"];
            let apt = Apt::open(&dir.join("apt"), &suites, None)?;
            let versions = apt.versions("rust-src")?;
            let exact = versions
                .iter()
                .find(|(version, _)| is_release(version, &self.version));
            let (version, _) = exact
                .ok_or_else(|| Error::new(format!("Debian has no rust-src {}", self.version)))?;
            let unpacked = dir.join("unpacked");
            apt.unpack(&format!("rust-src={version}"), &unpacked)?;
            Ok(unpacked.join(format!("usr/src/rustc-{}/library", self.version)))
        })
    }
}

/// The number in `rustc 1.95.0 (59807616e 2026-04-14)`.
fn release(version: &str) -> &str {
    version.split_whitespace().nth(1).unwrap_or_default()
}

/// Whether a Debian version, such as `1.95.0+dfsg1-2~bpo13+1`, is a package of this release.
fn is_release(debian: &str, release: &str) -> bool {
    debian
        .strip_prefix(release)
        .is_some_and(|rest| rest.starts_with(['+', '-', '~']))
}

fn first_line(error: &Error) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end_matches(':')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_says_its_release() {
        assert_eq!(release("rustc 1.95.0 (59807616e 2026-04-14)\n"), "1.95.0");
        assert_eq!(
            release("rustc 1.95.0 (59807616e 2026-04-14) (Debian 1.95.0+dfsg1-2)"),
            "1.95.0"
        );
        assert_eq!(release(""), "");
    }

    #[test]
    fn only_a_package_of_the_same_release_fits() {
        assert!(is_release("1.95.0+dfsg1-2~bpo13+1", "1.95.0"));
        assert!(!is_release("1.95.01+dfsg1-2", "1.95.0"));
        assert!(!is_release("1.96.1+dfsg1-2", "1.95.0"));
    }

    #[test]
    fn an_installed_library_changes_nothing_for_cargo() {
        let mut cargo = Command::new("cargo");
        Core::Installed.configure(&mut cargo);
        assert_eq!((cargo.get_args().count(), cargo.get_envs().count()), (0, 0));
    }

    #[test]
    fn a_source_is_built_with_the_stable_compiler() {
        let mut cargo = Command::new("cargo");
        Core::Source("/src/library".into()).configure(&mut cargo);
        assert!(cargo.get_args().eq(["-Z", "build-std=core,alloc"]));
        let library = (
            "__CARGO_TESTS_ONLY_SRC_ROOT".as_ref(),
            Some("/src/library".as_ref()),
        );
        assert!(cargo.get_envs().any(|variable| variable == library));
    }
}
