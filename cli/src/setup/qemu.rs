//! QEMU for 64-bit Arm: the one that is there, or the distribution's.
//!
//! Installing goes through apt with package sources of our own, so the user's configuration stays as it is; the
//! packages themselves are the system's like any other. Only root on Debian or Ubuntu installs; everybody else is told
//! the commands.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::apt::{MIRROR_VARIABLE, Release, mirror, parse_madison, source_lines};
use super::cache::Cache;
use super::sources::{self, Source, Text};
use crate::child::{answer, output};
use crate::error::{Error, Result};
use crate::{files, progress};

/// The program.
pub const PROGRAM: &str = "qemu-system-aarch64";
/// The oldest major version that emulates what the hypervisor uses (nested virtualization came with 9.0, but 10.0 is
/// what every change is tested on).
pub const OLDEST: u32 = 10;
/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(20);
/// Debian's package.
const PACKAGE: &str = "qemu-system-arm";

/// The QEMU to use: the given one, else the one on the path, else a fresh installation.
///
/// # Errors
/// If the given one is not usable, or there is none and none can be installed; then with the commands that do.
pub fn ensure(cache: &Cache, given: Option<&Path>) -> Result<PathBuf> {
    if let Some(program) = given {
        return check(program).map(|()| program.to_owned());
    }
    let program = PathBuf::from(PROGRAM);
    let Err(missing) = check(&program) else {
        return Ok(program);
    };
    let release = Release::of_this_machine();
    let is_root = rustix::process::geteuid().is_root();
    if !release.has_apt() || !(is_root || release.is_debian()) {
        return Err(missing.help(elsewhere(&release.id)));
    }
    let apt = Apt::prepare(cache, &release)?;
    if !is_root {
        return Err(missing.help("as root:").help(apt.commands(&release)));
    }
    apt.install().map_err(|error| {
        error.help(format!(
            "install QEMU {OLDEST} or newer yourself, or name one with --qemu PATH"
        ))
    })?;
    check(&program).map(|()| program)
}

/// Accepts a QEMU of at least version [`OLDEST`].
///
/// # Errors
/// If it does not run, is another program, or too old.
fn check(program: &Path) -> Result<()> {
    let said = answer(Command::new(program).arg("--version"), PATIENCE);
    let said = said.map_err(|error| error.help("name a QEMU for 64-bit Arm with --qemu PATH"))?;
    match major_version(&said) {
        Some(version) if version >= OLDEST => Ok(()),
        Some(version) => Err(Error::new(format!(
            "{} is QEMU {version}; at least {OLDEST} is needed",
            program.display()
        ))),
        None => Err(Error::new(format!("{} is not QEMU", program.display()))
            .help("name it with --qemu PATH")),
    }
}

/// 10 in `QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)`.
fn major_version(said: &str) -> Option<u32> {
    said.split_once("QEMU emulator version ")?
        .1
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// 10 in `1:10.0.2+ds-2~bpo12+1`.
fn package_major(version: &str) -> Option<u32> {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    version.split('.').next()?.parse().ok()
}

/// What to do on a system whose packages we do not install.
fn elsewhere(id: &str) -> String {
    let command = match id {
        "ubuntu" => "sudo apt-get install qemu-system-arm",
        "fedora" => "sudo dnf install qemu-system-aarch64-core",
        "arch" => "sudo pacman -S qemu-system-aarch64",
        "alpine" => "sudo apk add qemu-system-aarch64",
        "opensuse-tumbleweed" => "sudo zypper install qemu-arm",
        "nixos" => "nix-shell -p qemu",
        _ => {
            return format!(
                "install QEMU {OLDEST} or newer for 64-bit Arm, or name one with --qemu PATH"
            );
        }
    };
    format!("{command} (version {OLDEST} or newer)")
}

/// apt with the distribution's own sources of this machine and, on Debian, the release's backports.
struct Apt {
    parts: PathBuf,
    lists: PathBuf,
}

impl Apt {
    /// Writes the sources into the cache.
    fn prepare(cache: &Cache, release: &Release) -> Result<Self> {
        let mirror = release.is_debian().then(mirror).transpose()?;
        let own = sources::of_debian(&sources::read(Path::new("/etc/apt")), &release.codename);
        let apt = Self {
            parts: cache.root().join("apt/parts"),
            lists: cache.root().join("apt/lists"),
        };
        files::make_dir(&apt.lists.join("partial"))?;
        files::make_dir(&apt.parts)?;
        let (lines, stanzas) = parts(&own, mirror.as_deref(), &release.codename);
        files::write(&apt.parts.join("droste.list"), lines.as_bytes())?;
        files::write(&apt.parts.join("droste.sources"), stanzas.as_bytes())?;
        Ok(apt)
    }

    /// Refreshes the lists and installs the package from the suite that has it new enough.
    fn install(&self) -> Result<()> {
        let _step = progress::step(&format!("installing {PACKAGE}"));
        run(&self.update())?;
        let table = run(&self.with_options("apt-cache", &["madison", PACKAGE]))?;
        let suite = suite(&parse_madison(&table)).ok_or_else(|| {
            Error::new(format!(
                "this release has no {PACKAGE} of version {OLDEST} or newer"
            ))
            .help(format!("name a mirror with backports in {MIRROR_VARIABLE}"))
        })?;
        run(&self.install_from(&suite)).map(|_| ())
    }

    fn update(&self) -> Vec<String> {
        self.with_options("apt-get", &["update"])
    }

    fn install_from(&self, suite: &str) -> Vec<String> {
        self.with_options(
            "apt-get",
            &[
                "install",
                "-y",
                "--no-install-recommends",
                "-t",
                suite,
                PACKAGE,
            ],
        )
    }

    fn with_options(&self, program: &str, arguments: &[&str]) -> Vec<String> {
        let options = [
            "Dir::Etc::SourceList=/dev/null".to_owned(),
            format!("Dir::Etc::SourceParts={}", self.parts.display()),
            format!("Dir::State::Lists={}", self.lists.display()),
        ];
        let options = options
            .into_iter()
            .flat_map(|option| ["-o".to_owned(), option]);
        [program.to_owned()]
            .into_iter()
            .chain(options)
            .chain(arguments.iter().map(|&a| a.to_owned()))
            .collect()
    }

    /// The commands for somebody who is not root, to be pasted.
    fn commands(&self, release: &Release) -> String {
        let line = |words: Vec<String>| words.join(" ");
        format!(
            "{}\n        {}",
            line(self.update()),
            line(self.install_from(&format!("{}-backports", release.codename)))
        )
    }
}

/// What a command prints.
fn run(words: &[String]) -> Result<String> {
    let (program, arguments) = words.split_first().expect("a command has a program");
    output(
        Command::new(program)
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// The text of a `.list` and of a `.sources` file: the machine's own sources and, from a mirror, the release's backports.
fn parts(own: &[Source], mirror: Option<&str>, codename: &str) -> (String, String) {
    let backports = format!("{codename}-backports");
    let mut lines = mirror
        .map(|mirror| source_lines(mirror, &[&backports], None))
        .unwrap_or_default();
    let mut stanzas = String::new();
    for source in own {
        match &source.text {
            Text::Line(line) => writeln!(lines, "{line}"),
            Text::Stanza(stanza) => writeln!(stanzas, "{stanza}"),
        }
        .expect("writing to a string cannot fail");
    }
    (lines, stanzas)
}

/// The suite to install from: the oldest version that is new enough, for the fewest changes to the system.
fn suite(versions: &[(String, String)]) -> Option<String> {
    let enough = |(version, _): &&(String, String)| {
        package_major(version).is_some_and(|major| major >= OLDEST)
    };
    let (_, place) = versions.iter().rev().find(enough)?;
    place.split('/').next().map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_from_what_programs_and_packages_say() {
        assert_eq!(
            major_version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright"),
            Some(10)
        );
        assert_eq!(major_version("GNU ls 9.1"), None);
        assert_eq!(package_major("1:10.0.2+ds-2+deb13u1~bpo12+1"), Some(10));
        assert_eq!(package_major("9.2.1"), Some(9));
        assert_eq!(package_major(""), None);
    }

    #[test]
    fn the_oldest_version_that_is_new_enough_is_installed() {
        let row = |version: &str, suite: &str| (version.to_owned(), suite.to_owned());
        let table = [
            row("1:10.2.0+ds-1~bpo13+1", "trixie-backports/main"),
            row("1:10.0.2+ds-2", "trixie/main"),
            row("1:7.2", "bookworm/main"),
        ];
        assert_eq!(suite(&table).as_deref(), Some("trixie"));
        assert_eq!(suite(&table[..1]).as_deref(), Some("trixie-backports"));
        assert_eq!(suite(&table[2..]), None);
    }

    #[test]
    fn a_program_that_is_no_qemu_is_refused() {
        let error = check(Path::new("true")).expect_err("not QEMU");
        assert!(error.to_string().starts_with("true is not QEMU"), "{error}");
        let error = check(Path::new("/nonexistent/qemu")).expect_err("not there");
        assert!(error.to_string().contains("--qemu PATH"), "{error}");
    }

    #[test]
    fn an_old_qemu_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let (script, program) = (dir.path().join("script"), dir.path().join("qemu"));
        files::write(&script, b"#!/bin/sh\necho QEMU emulator version 7.2.1\n").expect("written");
        // Another process writes the program: while this one has it open, it cannot be started.
        output(
            Command::new("install")
                .args(["-m", "755"])
                .args([&script, &program]),
        )
        .expect("installed");
        let error = check(&program).expect_err("too old");
        assert!(
            error.to_string().contains("is QEMU 7; at least 10"),
            "{error}"
        );
    }

    #[test]
    fn the_users_sources_are_passed_on_and_backports_added() {
        let source = |text| Source {
            uris: vec![],
            suites: vec![],
            components: vec![],
            text,
        };
        let own = [
            source(Text::Line(
                "deb http://mirror.example/debian bookworm main".into(),
            )),
            source(Text::Stanza(
                "Types: deb\nURIs: http://mirror.example\n".into(),
            )),
        ];
        let (lines, stanzas) = parts(&own, Some("http://mirror.example/debian"), "bookworm");
        assert!(
            lines.contains("http://mirror.example/debian bookworm-backports main\n"),
            "{lines}"
        );
        assert!(
            lines.ends_with("deb http://mirror.example/debian bookworm main\n"),
            "{lines}"
        );
        assert_eq!(
            parts(&own[..1], None, "noble").0,
            "deb http://mirror.example/debian bookworm main\n"
        );
        assert_eq!(stanzas, "Types: deb\nURIs: http://mirror.example\n\n");
    }

    #[test]
    fn apt_reads_none_of_the_users_files() {
        let apt = Apt {
            parts: "/c/parts".into(),
            lists: "/c/lists".into(),
        };
        let words = apt.install_from("bookworm-backports").join(" ");
        assert_eq!(
            words,
            "apt-get -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/c/parts -o Dir::State::Lists=/c/lists \
             install -y --no-install-recommends -t bookworm-backports qemu-system-arm"
        );
    }

    #[test]
    fn every_system_is_told_something() {
        assert!(elsewhere("fedora").contains("dnf install"));
        assert!(elsewhere("").contains("--qemu PATH"));
    }
}
