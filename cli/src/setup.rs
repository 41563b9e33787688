//! Set-up: everything that a run needs and this machine does not have yet.
//!
//! Each part is looked for first and fetched or built only when it is missing, so the second run needs no network and
//! starts at once. Nothing outside the cache, the build directory and (QEMU alone, as root) the system's packages is
//! touched.

pub mod apt;
pub mod build;
pub mod cache;
pub mod emulator;
pub mod fat;
pub mod guest;
pub mod initrd;
pub mod modules;
pub mod monitor;
pub mod qemu;
pub mod sources;
pub mod target;

use std::path::{Path, PathBuf};

use crate::error::Result;
use build::Program;
use cache::Cache;
use guest::Kernel;
use initrd::ModulesOf;

/// Brings the parts of a run, from the cache or anew.
#[derive(Clone, Debug)]
pub struct Setup {
    cache: Cache,
}

impl Setup {
    /// Set-up with the user's cache.
    ///
    /// # Errors
    /// If the cache has no place.
    pub fn new() -> Result<Self> {
        Ok(Self {
            cache: Cache::open()?,
        })
    }

    /// Set-up with another cache.
    pub fn with_cache(cache: Cache) -> Self {
        Self { cache }
    }

    /// The cache.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The QEMU to use; see [`qemu::ensure`].
    ///
    /// # Errors
    /// If there is none and none can be installed.
    pub fn qemu(&self, given: Option<&Path>) -> Result<PathBuf> {
        qemu::ensure(&self.cache, given)
    }

    /// The hypervisor's flat image, built from this workspace.
    ///
    /// # Errors
    /// If the sources or the compiler are missing, or the build fails.
    pub fn hypervisor(&self) -> Result<PathBuf> {
        self.build(Program::Hypervisor)
    }

    /// The flat image of the test guest of this name, built from this workspace.
    ///
    /// # Errors
    /// If the sources or the compiler are missing, or the build fails.
    pub fn guest(&self, name: &str) -> Result<PathBuf> {
        self.build(Program::Guest(name))
    }

    /// The kernel of a Debian package; see [`guest::kernel`].
    ///
    /// # Errors
    /// If it cannot be fetched.
    pub fn kernel(&self, package: &str) -> Result<Kernel> {
        guest::kernel(&self.cache, package)
    }

    /// The initial RAM disk with busybox; see [`initrd::initrd`].
    ///
    /// # Errors
    /// If it cannot be fetched or built.
    pub fn initrd(&self, kernel: Option<&Kernel>) -> Result<PathBuf> {
        self.initrd_with(&kernel.map_or(ModulesOf::Nothing, ModulesOf::Package))
    }

    /// The same with modules from anywhere.
    ///
    /// # Errors
    /// If it cannot be fetched or built.
    pub fn initrd_with(&self, modules: &ModulesOf<'_>) -> Result<PathBuf> {
        initrd::initrd(&self.cache, modules)
    }

    /// The virtual machine monitor that guests run, built from this workspace.
    ///
    /// # Errors
    /// If the sources or the compiler are missing, or the build fails.
    pub fn monitor(&self) -> Result<PathBuf> {
        let workspace = build::workspace()?;
        target::ensure_std(&workspace)?;
        build::build_monitor(&workspace)
    }

    /// A directory with Debian's QEMU for a guest; see [`emulator::emulator`].
    ///
    /// # Errors
    /// If it cannot be fetched.
    pub fn emulator(&self) -> Result<PathBuf> {
        emulator::emulator(&self.cache)
    }

    fn build(&self, program: Program<'_>) -> Result<PathBuf> {
        let workspace = build::workspace()?;
        let core = target::ensure(&self.cache, &workspace)?;
        build::build(&workspace, &core, program)
    }
}
