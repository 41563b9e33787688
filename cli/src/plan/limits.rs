//! What a machine must have for its virtual machines, and what is to be said where the host or the hypervisor has less.

use crate::description::Description;

/// Memory of the machine beyond the virtual machines' and the boot image, in MiB: the emulated machine puts the image
/// 128 MiB above the start of memory, and the virtual machines' memory is placed behind it in aligned blocks.
const MACHINE_EXTRA_MIB: u64 = 128 + 32;
/// The machine's memory is a multiple of this, in MiB.
const MACHINE_STEP_MIB: u64 = 64;
/// Processors of the machine unless somebody says: no fewer, and no more than the hypervisor drives.
const CPUS_MIN: u32 = 2;
const CPUS_MAX: u32 = 32;

/// What a host has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Host {
    /// Processors.
    pub(super) cpus: u32,
    /// Memory and what it can be swapped to, in MiB; `None` where nobody knows.
    pub(super) memory_mib: Option<u64>,
}

impl Host {
    /// This one.
    pub(super) fn own() -> Self {
        let cpus = std::thread::available_parallelism();
        let cpus = cpus.map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX));
        let memory = std::fs::read_to_string("/proc/meminfo").ok();
        Self {
            cpus,
            memory_mib: memory.and_then(|text| memory_of(&text)),
        }
    }
}

/// Memory and swap space, in MiB, by what `/proc/meminfo` says.
fn memory_of(text: &str) -> Option<u64> {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    Some((value("MemTotal:")? + value("SwapTotal:").unwrap_or(0)) >> 10)
}

/// The memory of a machine for these, with a boot image of so many bytes, in MiB.
pub(super) fn memory_mib<'a>(vms: impl Iterator<Item = &'a Description>, image_len: usize) -> u64 {
    let guests: u64 = vms.map(|vm| vm.memory.value >> 20).sum();
    let image = (image_len as u64).div_ceil(1 << 20);
    (guests + image + MACHINE_EXTRA_MIB).next_multiple_of(MACHINE_STEP_MIB)
}

/// The processors of a machine for these, on a host that has so many.
pub(super) fn cpus<'a>(vms: impl Iterator<Item = &'a Description>, host: u32) -> u32 {
    let most = host.clamp(CPUS_MIN, CPUS_MAX);
    vms.map(|vm| vm.vcpus.value)
        .fold(CPUS_MIN, u32::max)
        .min(most)
}

/// Which of these have more vCPUs than the machine has processors: as many as were `asked` for, else as [`cpus`] says.
pub(super) fn turns(vms: &[&Description], host: &Host, asked: Option<u32>) -> Vec<String> {
    let usual = || cpus(vms.iter().copied(), host.cpus);
    let cpus = asked.map_or_else(usual, |asked| asked.min(CPUS_MAX));
    let reason = match asked {
        _ if cpus == CPUS_MAX => "which is all that Droste drives".to_owned(),
        Some(_) => "as --smp says".to_owned(),
        None => format!("which is what this host has (--smp N); Droste drives {CPUS_MAX} at most"),
    };
    vms.iter()
        .filter(|vm| vm.vcpus.value > cpus)
        .map(|vm| {
            format!(
                "{} has {} vCPUs: they take turns on {cpus} processor{}, {reason}",
                vm.name.value,
                vm.vcpus.value,
                if cpus == 1 { "" } else { "s" }
            )
        })
        .collect()
}

/// What is to be said where these need more memory than there is.
pub(super) fn too_much_memory(vms: &[&Description], host: &Host) -> Option<String> {
    let needed = memory_mib(vms.iter().copied(), 0);
    let memory = host.memory_mib.filter(|memory| needed > *memory)?;
    Some(format!(
        "the machine needs {needed} MiB of memory, and this host has {memory}, swap space included: it will not start, \
         or will be killed on the way; give the virtual machines less"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::{Overrides, load};

    fn described(keys: &str) -> Vec<Description> {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("vm.toml");
        let text = format!("name = \"vm\"\nkernel = \"Image\"\n{keys}\n");
        std::fs::write(&file, text).expect("written");
        let (vms, found) = load(&[file], &Overrides::default());
        assert_eq!(found, []);
        vms
    }

    fn said(keys: &str, host: Host) -> Vec<String> {
        let vms = described(keys);
        let vms: Vec<_> = vms.iter().collect();
        let mut said = turns(&vms, &host, None);
        said.extend(too_much_memory(&vms, &host));
        said
    }

    fn host(cpus: u32, memory_mib: u64) -> Host {
        Host {
            cpus,
            memory_mib: Some(memory_mib),
        }
    }

    #[test]
    fn virtual_cpus_that_must_share_are_told_of() {
        assert_eq!(said("vcpus = 2", host(1, 1024)), [] as [String; 0]);
        assert_eq!(said("vcpus = 32", host(32, 1024)), [] as [String; 0]);
        assert_eq!(
            said("vcpus = 64", host(128, 1024)),
            ["vm has 64 vCPUs: they take turns on 32 processors, which is all that Droste drives"]
        );
        assert_eq!(
            said("vcpus = 4", host(3, 1024)),
            [
                "vm has 4 vCPUs: they take turns on 3 processors, which is what this host has (--smp N); Droste drives \
              32 at most"
            ]
        );
    }

    #[test]
    fn processors_that_somebody_asked_for_count_whatever_the_host_has() {
        let asked = |vcpus, asked| {
            let vms = described(&format!("vcpus = {vcpus}"));
            turns(&vms.iter().collect::<Vec<_>>(), &host(2, 1024), Some(asked))
        };
        assert_eq!(asked(8, 8), [] as [String; 0]);
        assert_eq!(
            asked(8, 1),
            ["vm has 8 vCPUs: they take turns on 1 processor, as --smp says"]
        );
        assert_eq!(
            asked(64, 64),
            ["vm has 64 vCPUs: they take turns on 32 processors, which is all that Droste drives"]
        );
    }

    #[test]
    fn memory_that_the_host_has_not_is_told_of() {
        assert_eq!(said("memory = \"512M\"", host(2, 704)), [] as [String; 0]);
        let told = said("memory = \"512M\"", host(2, 703));
        assert!(
            told.len() == 1
                && told[0]
                    .starts_with("the machine needs 704 MiB of memory, and this host has 703,"),
            "{told:?}"
        );
        let unknown = Host {
            cpus: 2,
            memory_mib: None,
        };
        assert_eq!(said("memory = \"512G\"", unknown), [] as [String; 0]);
    }

    #[test]
    fn memory_and_swap_space_are_read() {
        let text = "MemTotal:        8192 kB\nMemFree: 1 kB\nSwapTotal:       1024 kB\n";
        assert_eq!(memory_of(text), Some(9));
        assert_eq!(memory_of(""), None);
    }
}
