//! A small virtual machine monitor: one arm64 guest on KVM, with a GICv3 and PSCI in the kernel, memory, a serial port
//! and a device tree.
//!
//! It runs inside a guest of Droste that is a hypervisor itself, and starts that guest's own guests in tests and
//! benchmarks. So it does little and quickly: no disks, no networks, no options that a test does not need. A guest is an
//! arm64 `Image`, Linux or one of the bare-metal test guests; it ends by switching itself off.
//!
//! What decides is plain logic and tested on any host: [`arguments`], [`devices`], [`escape`], [`layout`], [`tree`].
//! `machine` and what it uses speak to KVM and are there on 64-bit Arm Linux alone. Unsafe blocks hand memory to KVM
//! (`memory`), and pull it from under guests (`stress`): the second thing that this program does.

pub mod arguments;
pub mod devices;
pub mod escape;
pub mod layout;
pub mod stress;
pub mod tree;

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
mod console;
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
pub mod machine;
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
mod memory;
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
mod vcpu;

/// Why the monitor cannot go on, as a sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure(String);

impl Failure {
    /// A failure that says `sentence`.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Adds to an error what failed.
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
pub(crate) trait During<T> {
    /// Says `what` failed, before the error's own words.
    fn during(self, what: &str) -> Result<T, Failure>;
}

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
impl<T, E: std::fmt::Display> During<T> for Result<T, E> {
    fn during(self, what: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(format!("{what}: {error}")))
    }
}
