//! `cargo xtask picture`: draws what Droste is, for README.

use crate::svg::Svg;
use crate::workspace::{self, Failure};
use std::fs;

/// Where it stands.
const FILE: &str = "docs/levels.svg";
const SIZE: (u32, u32) = (860, 420);
const TITLE: &str = "A machine; on it Droste at EL2; on Droste a Linux with KVM at a virtual EL2, Xen, and a plain Linux; \
                     on the first two guests of their own";
const STYLE: &str = "text{font-family:sans-serif;font-size:14px;fill:#1c2733}.name{font-weight:bold}.small{font-size:12px;\
                     fill:#4a5a6a}.ground{fill:#fff}.machine{fill:#eceff3;stroke:#9aa7b4}.droste{fill:#cfe8d6;stroke:#2e7d4f;\
                     stroke-width:2}.vm{fill:#f7f9fb;stroke:#9aa7b4}.hypervisor{fill:#d7e3f4;stroke:#3a6ea5}.guest{fill:#fdf1d3;\
                     stroke:#c0922f}";

/// Writes the drawing.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn run() -> Result<(), Failure> {
    let path = workspace::root().join(FILE);
    fs::write(&path, drawn()).map_err(|e| Failure::new(format!("cannot write {FILE}: {e}")))?;
    println!("{FILE}");
    Ok(())
}

/// A guest of Droste: its left end, its name, what runs in it from the top, and the level that its kernel has.
struct Vm {
    x: u32,
    name: &'static str,
    guests: &'static [&'static str],
    kernel: (&'static str, &'static str),
}

const VMS: [Vm; 3] = [
    Vm {
        x: 40,
        name: "virtual machine",
        guests: &["L2: Linux", "L2: Linux"],
        kernel: ("Linux with KVM", "virtual EL2 (VHE)"),
    },
    Vm {
        x: 310,
        name: "virtual machine",
        guests: &["domain 0"],
        kernel: ("Xen", "virtual EL2 (nVHE)"),
    },
    Vm {
        x: 580,
        name: "virtual machine",
        guests: &[],
        kernel: ("Linux", "EL1"),
    },
];

fn drawn() -> String {
    let mut svg = Svg::new(SIZE, TITLE, STYLE);
    svg.rect((10, 10, 840, 400), "machine");
    svg.words((28, 395), "name", "an Arm machine");
    svg.words((170, 395), "small", "CPUs, RAM, GICv3, timers, devices");
    for vm in &VMS {
        svg.rect((vm.x, 30, 240, 220), "vm");
        svg.words((vm.x + 12, 50), "small", vm.name);
        for (guest, at) in vm.guests.iter().zip([12, 126]) {
            svg.rect((vm.x + at, 62, 102, 84), "guest");
            svg.words((vm.x + at + 12, 108), "", guest);
        }
        let (name, level) = vm.kernel;
        let (top, class) = if vm.guests.is_empty() {
            (62, "guest")
        } else {
            (158, "hypervisor")
        };
        svg.rect((vm.x + 12, top, 216, 238 - top), class);
        svg.words((vm.x + 26, 196), "name", name);
        svg.words((vm.x + 26, 218), "small", level);
    }
    svg.rect((40, 270, 780, 100), "droste");
    svg.words((60, 300), "name", "Droste, at EL2");
    let parts = [
        "stage 2 and its TLB maintenance, judged by an MMU model that holds all that TLBs may hold",
        "shadows of the tables that guest hypervisors write; registers, traps and exceptions of virtual EL2",
        "virtual GICv3, timers, PL011, PSCI; time slices",
    ];
    for (part, y) in parts.iter().zip([320, 338, 356]) {
        svg.words((60, y), "small", part);
    }
    svg.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawing_in_the_repository_is_the_present_one() {
        let there = workspace::read(FILE).expect("it is committed");
        assert!(there == drawn(), "draw it anew: cargo xtask picture");
    }
}
