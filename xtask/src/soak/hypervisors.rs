//! `cargo xtask soak MINUTES --qemu`: guests that are hypervisors, in QEMU, run after run.
//!
//! Each run is `droste run` with choices drawn from its seed: the processor and how many, the kind of EL2, vCPUs
//! and monitors of the guests' own guests, whether their memory is swapped out, and a neighbour, which may mean harm.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use droste::qemu::{SELF, Session, tied};
use droste::setup::Setup;
use droste::setup::guest::KERNEL_PACKAGE;
use droste::setup::monitor::{L2, Monitor};
use droste_trials::Choices;

use crate::workspace::{self, Failure};

/// A run that takes longer than this hangs, in seconds; it takes a tenth on an idle host.
const LIMIT: u64 = 1800;
/// What a run may take around itself.
const GRACE: Duration = Duration::from_secs(30);
/// Guests' guests in one run, one after another or at a time.
const MOST: u32 = 4;
/// Their vCPUs that run at a time. Each has 250 timer interrupts a second, and an emulated processor that has
/// other work beside it changes worlds hardly more than a thousand times: with more of them nothing else would be done.
const VCPUS_PER_CPU: u32 = 2;
/// Of `max` all features, with pointer authentication as fast as QEMU can.
const CPUS: [&str; 3] = [droste::qemu::CPU, "max,pauth-impdef=on", "neoverse-n2"];
/// Bytes that the guest can swap to.
const SWAP: u64 = 512 << 20;
/// What the host says when each of its guests came to its good end.
const GOOD_END: &str = "guest: nested ok";
/// Guests of the project beside it. The first is none.
const NEIGHBOURS: [&str; 4] = ["", "hostile", "hostile-el2", "fp"];
/// Where the descriptions of a failing run stay, and what it said.
const FOLDER: &str = "target/soak-qemu";

/// One run.
#[derive(Debug)]
struct Choice {
    cpu: &'static str,
    cpus: u64,
    vcpus: u64,
    el2: &'static str,
    l2: L2,
    neighbour: &'static str,
}

impl Choice {
    fn of(seed: u64) -> Self {
        let mut choices = Choices::seeded(seed);
        let both: &[Monitor] = &[Monitor::Vmm, Monitor::Qemu];
        let monitors = choices.pick(&[both, &both[..1], &both[1..]]);
        let mut l2 = L2::new(monitors);
        let cpus = 1 + choices.below(2) as u32;
        let most = VCPUS_PER_CPU * cpus;
        l2.vcpus = choices.pick(&[1, 2, 2, 3]).min(most);
        l2.parallel = choices.pick(&[1, 2, 3]).min(most / l2.vcpus);
        l2.count = choices.pick(&[1, 2, 4]).min(MOST / l2.parallel);
        l2.reclaim_mib = choices.pick(&[0, 0, 1]);
        Self {
            cpu: choices.pick(&CPUS),
            cpus: cpus.into(),
            vcpus: 1 + choices.below(3),
            el2: choices.pick(&["vhe", "nvhe"]),
            l2,
            neighbour: choices.pick(&NEIGHBOURS),
        }
    }

    /// Writes its descriptions into a folder, and gives the command that runs them.
    fn command(&self, setup: &Setup, folder: &Path) -> Result<Command, Failure> {
        let mode = match self.el2 {
            "nvhe" => " kvm-arm.mode=nvhe",
            _ => "",
        };
        let mut command = Command::new(workspace::target_folder()?.join("debug/droste"));
        command.arg("run");
        let mut describe = |name: &str, text: &str| {
            let file = folder.join(format!("{name}.toml"));
            let written = fs::write(&file, format!("name = \"{name}\"\n{text}"));
            command.arg(&file);
            written.map_err(|e| Failure::new(format!("cannot write {}: {e}", file.display())))
        };
        describe(
            "linux",
            &format!(
                "vcpus = {}\nmemory = \"1G\"\nkernel = \"debian:{KERNEL_PACKAGE}\"\n\
                 initrd = \"debian:busybox-static\"\nel2 = \"{}\"\n\
                 disk = [\"debian:qemu-system-arm\", \"swap\"]\n\
                 cmdline = \"console=ttyAMA0 loglevel=5 cryptomgr.notests panic=5{mode} {}\"\n",
                self.vcpus, self.el2, self.l2
            ),
        )?;
        if !self.neighbour.is_empty() {
            let kernel = setup.guest(self.neighbour)?;
            let el2 = match self.neighbour {
                "hostile-el2" => "\nel2 = \"vhe\"",
                _ => "",
            };
            describe(
                self.neighbour,
                &format!(
                    "vcpus = 2\nmemory = \"128M\"\nkernel = \"{}\"{el2}\n",
                    kernel.display()
                ),
            )?;
        }
        command.args(["--cpu", self.cpu, "--smp", &self.cpus.to_string()]);
        command.args(["--timeout", &LIMIT.to_string()]);
        // A soak that is stopped takes the machine with it.
        Ok(tied(&command, SELF))
    }
}

/// Runs the seeds from `first` on for as long as `goes_on` says; at least one.
///
/// # Errors
/// If one does not end well. Its descriptions and what it said stay in a folder.
pub(super) fn run(first: u64, goes_on: impl Fn() -> bool) -> Result<(), Failure> {
    let setup = Setup::new()?;
    setup.hypervisor()?;
    workspace::run(workspace::cargo().args(["build", "--quiet", "--package", "droste"]))?;
    let folder = workspace::root().join(FOLDER);
    droste::files::make_dir(&folder)?;
    File::create(folder.join("swap"))
        .and_then(|swap| swap.set_len(SWAP))
        .map_err(|e| Failure::new(format!("cannot make a disk to swap to: {e}")))?;
    for seed in first.. {
        let choice = Choice::of(seed);
        println!("seed {seed}: {choice:?}");
        let command = choice.command(&setup, &folder)?;
        let started = Instant::now();
        let session = Session::start(command, Duration::from_secs(LIMIT) + GRACE)?;
        let why = match session.finish() {
            Ok(said) if said.contains(GOOD_END) => None,
            Ok(said) => Some(format!("{GOOD_END:?} is missing in\n{said}")),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = why {
            let again = format!("again: cargo xtask soak 0 --qemu --seed {seed}");
            return Err(Failure::new(format!("{why}\n{again}")));
        }
        println!("seed {seed}: ok after {} s", started.elapsed().as_secs());
        if !goes_on() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_run_again() {
        let (one, again) = (Choice::of(7), Choice::of(7));
        assert_eq!(format!("{one:?}"), format!("{again:?}"));
    }

    #[test]
    fn seeds_reach_every_value() {
        let all: Vec<Choice> = (0..200).map(Choice::of).collect();
        for cpu in CPUS {
            assert!(all.iter().any(|choice| choice.cpu == cpu), "{cpu}");
        }
        for neighbour in NEIGHBOURS {
            assert!(all.iter().any(|choice| choice.neighbour == neighbour));
        }
        for monitors in 1..=2 {
            assert!(
                all.iter()
                    .any(|choice| choice.l2.monitors.len() == monitors)
            );
        }
        assert!(all.iter().any(|choice| choice.l2.reclaim_mib > 0));
        assert!(all.iter().any(|choice| choice.vcpus > choice.cpus));
    }
}
