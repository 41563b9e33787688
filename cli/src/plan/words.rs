//! What a guest is told on its command line besides the description's words.

use std::fmt;

use droste_image::{VmError, check_bootargs};

use crate::description::{Description, Diagnostic, Part};
use crate::setup::monitor::L2;

/// What a Droste is told whose guests examine themselves: it ends with a reset if one of them did.
const ENDS_AS_ITS_VMS: &str = "droste.no-reboot droste.on-failure=reset";

/// What the guests' command lines get besides the descriptions' words.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Words {
    /// Examine the machine, report and switch off, instead of a shell.
    pub self_report: bool,
    /// The terminal at which somebody sits.
    pub terminal: Option<Terminal>,
    /// As the user gave them.
    pub append: Option<String>,
}

/// A terminal, as far as a shell on it has to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terminal {
    kind: Option<String>,
    size: Option<(u16, u16)>,
}

impl Terminal {
    /// One of this kind, the value of `TERM`, and with as many rows and columns, which are 0 where nobody knows.
    pub fn new(kind: Option<String>, rows: u16, columns: u16) -> Self {
        let is_name = |name: &String| {
            let is_of_it = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
            (1..=64).contains(&name.len()) && name.chars().all(is_of_it)
        };
        Self {
            kind: kind.filter(is_name),
            size: (rows > 0 && columns > 0).then_some((rows, columns)),
        }
    }
}

impl fmt::Display for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.iter().map(|kind| format!("droste.term={kind}"));
        let size = self.size.iter();
        let size = size.map(|(rows, columns)| format!("droste.size={rows}x{columns}"));
        f.write_str(&kind.chain(size).collect::<Vec<_>>().join(" "))
    }
}

/// The machine's command line, to which the user's words are added, and that of what a hypervisor starts. The Linux of
/// the two is told what it has and what to do, and on our own RAM disk also who it is and who else is on its switches. What runs on a Droste is told in its
/// boot image.
pub(super) fn bootargs(vm: &Description, words: &Words, hosts: Option<&str>) -> (String, String) {
    let joined = |words: &[&str]| {
        let words = words.iter().copied().filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join(" ")
    };
    let cmdline = vm.cmdline.value.as_str();
    if !vm.vms.is_empty() {
        let told = if words.self_report {
            ENDS_AS_ITS_VMS
        } else {
            ""
        };
        return (joined(&[cmdline, told]), String::new());
    }
    let mut told = Vec::new();
    if vm.device_count() > 0 {
        told.push("droste.virtio".to_owned());
    }
    let dom0 = vm.dom0.as_ref();
    let initrd = dom0.map_or(vm.initrd.as_ref(), |dom0| dom0.initrd.as_ref());
    if initrd.is_some_and(|initrd| matches!(initrd.value, Part::Debian(_))) {
        told.push(format!("droste.name={}", vm.name.value));
        told.extend(hosts.map(String::from));
        told.extend(words.terminal.iter().map(ToString::to_string));
    }
    if words.self_report {
        told.push("droste.self-report".into());
        let monitor = vm.disks.iter().find_map(|disk| disk.value.monitor());
        told.extend(monitor.map(|monitor| L2::new(&[monitor]).to_string()));
    }
    let append = words.append.as_deref().unwrap_or_default();
    let told = joined(&told.iter().map(String::as_str).collect::<Vec<_>>());
    match dom0 {
        None => (joined(&[cmdline, &told, append]), String::new()),
        Some(dom0) => (
            joined(&[cmdline, append]),
            joined(&[&dom0.cmdline.value, &told]),
        ),
    }
}

/// What is wrong with a command line that is too long only with what a run adds.
pub(super) fn too_long(vm: &Description, hosts: Option<&str>) -> Option<Diagnostic> {
    let words = Words {
        self_report: true,
        ..Words::default()
    };
    let (own, of_dom0) = bootargs(vm, &words, hosts);
    let of_dom0 = vm.dom0.as_ref().map(|dom0| (of_dom0, &dom0.cmdline));
    let mut lines = [(own, &vm.cmdline)].into_iter().chain(of_dom0);
    let is_long = |line: &str| match check_bootargs(line) {
        Err(VmError::BootargsLength(length)) => Some(length),
        _ => None,
    };
    let (length, described) =
        lines.find_map(|(line, described)| Some((is_long(&line)?, described)))?;
    let added = length.saturating_sub(described.value.len());
    let most = droste_image::BOOTARGS_MAX.saturating_sub(added);
    Some(Diagnostic {
        location: described.location.clone(),
        message: format!(
            "the command line has {length} bytes with the {added} that tell the guest what it has"
        ),
        help: format!("shorten it to {most}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::{Overrides, load};

    fn described(more: &str) -> Description {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("vm.toml");
        let text = format!("name = \"vm\"\nkernel = \"Image\"\n{more}\n");
        std::fs::write(&file, text).expect("written");
        let (mut vms, found) = load(&[file], &Overrides::default());
        assert_eq!(found, []);
        vms.remove(0)
    }

    const OURS: &str = "initrd = \"debian:busybox-static\"\n";

    #[test]
    fn our_own_ram_disk_learns_who_it_is_and_where_it_is_seen() {
        let terminal = Terminal::new(Some("xterm-256color".into()), 50, 200);
        let words = Words {
            terminal: Some(terminal),
            ..Words::default()
        };
        let told = "droste.name=vm droste.term=xterm-256color droste.size=50x200";
        assert_eq!(bootargs(&described(OURS), &words, None).0, told);
        let other = Some("droste.hosts=10.0.3.2/other");
        assert_eq!(
            bootargs(&described(OURS), &Words::default(), other).0,
            "droste.name=vm droste.hosts=10.0.3.2/other"
        );
        assert_eq!(
            bootargs(&described("initrd = \"own\""), &words, other).0,
            ""
        );
        let xen = "el2 = \"nvhe\"\n[dom0]\nkernel = \"a\"\n".to_owned() + OURS;
        assert_eq!(
            bootargs(&described(&xen), &words, None),
            (String::new(), told.into())
        );
    }

    #[test]
    fn of_a_terminal_only_what_is_known_and_sound_is_told() {
        for (kind, rows, columns, told) in [
            (None, 24, 80, "droste.size=24x80"),
            (Some("vt220"), 0, 80, "droste.term=vt220"),
            (Some("a b"), 0, 0, ""),
            (Some(""), 0, 0, ""),
        ] {
            let terminal = Terminal::new(kind.map(String::from), rows, columns);
            assert_eq!(terminal.to_string(), told);
        }
    }

    #[test]
    fn a_command_line_is_too_long_with_what_a_run_adds() {
        let with = |length: usize| {
            let cmdline = "x".repeat(length);
            too_long(
                &described(&format!("cmdline = \"{cmdline}\"\n{OURS}")),
                None,
            )
        };
        let added = " droste.name=vm droste.self-report".len();
        assert_eq!(with(2047 - added), None);
        let found = with(2048 - added).expect("too long").to_string();
        assert!(
            found.contains("vm.toml:3:11: the command line has 2048 bytes with the 34 that")
                && found.ends_with("help: shorten it to 2013"),
            "{found}"
        );
        let xen = format!(
            "el2 = \"nvhe\"\n[dom0]\nkernel = \"a\"\ncmdline = \"{}\"\n{OURS}",
            "x".repeat(2047)
        );
        assert!(
            too_long(&described(&xen), None)
                .expect("too long")
                .to_string()
                .contains("vm.toml:6:11")
        );
    }
}
