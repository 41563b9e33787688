//! Debian packages through apt with a configuration of our own: its own sources, lists and cache, so that the user's
//! files stay untouched. apt still verifies every signature and checksum.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::sources;
use crate::child::output;
use crate::error::{Context, Error, Result};
use crate::files;

/// The archive's keys, which the package `debian-archive-keyring` brings.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Names the archive when the machine's own sources do not.
pub const MIRROR_VARIABLE: &str = "DROSTE_DEBIAN_MIRROR";

/// An apt that sees the given suites of the Debian archive and nothing of this machine.
#[derive(Debug)]
pub struct Apt {
    dir: PathBuf,
    mirror: String,
    /// `None` for this machine's own.
    architecture: Option<&'static str>,
}

impl Apt {
    /// Sets one up in an empty directory and fetches the package lists.
    ///
    /// # Errors
    /// If this machine has no apt or no Debian archive, or the lists cannot be fetched.
    pub fn open(dir: &Path, suites: &[&str], architecture: Option<&'static str>) -> Result<Self> {
        let mirror = mirror()?;
        if !Path::new(KEYRING).exists() {
            return Err(
                Error::new(format!("the Debian archive's keys are not in {KEYRING}"))
                    .help("install the package debian-archive-keyring"),
            );
        }
        let apt = Self {
            dir: dir.to_owned(),
            mirror,
            architecture,
        };
        for sub in ["lists/partial", "cache/archives/partial"] {
            files::make_dir(&dir.join(sub))?;
        }
        files::write(&dir.join("status"), b"")?;
        files::write(
            &dir.join("sources.list"),
            source_lines(&apt.mirror, suites, architecture).as_bytes(),
        )?;
        output(apt.command("apt-get").args(["-qq", "update"]))
            .map_err(|error| remedied(error, &apt.mirror))?;
        Ok(apt)
    }

    /// The control fields of a package's newest version.
    ///
    /// # Errors
    /// If the archive has no such package.
    pub fn show(&self, package: &str) -> Result<String> {
        output(
            self.command("apt-cache")
                .args(["show", "--no-all-versions", package]),
        )
    }

    /// The versions of a package, newest first, as `(version, "suite/component")`.
    ///
    /// # Errors
    /// If apt fails; an unknown package has no versions.
    pub fn versions(&self, package: &str) -> Result<Vec<(String, String)>> {
        Ok(parse_madison(&output(
            self.command("apt-cache").args(["madison", package]),
        )?))
    }

    /// Fetches a package, `name` or `name=version`, and unpacks its files below `into`.
    ///
    /// # Errors
    /// If it cannot be fetched or unpacked.
    pub fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        let downloads = into.join("download");
        files::make_dir(&downloads)?;
        output(
            self.command("apt-get")
                .args(["-qq", "download", package])
                .current_dir(&downloads),
        )
        .map_err(|error| remedied(error, &self.mirror))?;
        let archive = std::fs::read_dir(&downloads)
            .context(|| format!("cannot list {}", downloads.display()))?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .ok_or_else(|| Error::new(format!("apt-get download {package} brought no package")))?;
        output(Command::new("dpkg-deb").arg("-x").args([&archive, into]))?;
        std::fs::remove_dir_all(&downloads)
            .context(|| format!("cannot remove {}", downloads.display()))
    }

    /// Fetches a package with all that it depends on, and unpacks the files of all of them below `into`.
    ///
    /// # Errors
    /// If one cannot be fetched or unpacked.
    pub fn unpack_with_dependencies(&self, package: &str, into: &Path) -> Result<()> {
        files::make_dir(into)?;
        output(
            self.command("apt-get")
                .args(["-qq", "--yes", "--no-install-recommends", "--download-only"])
                .args(["install", package]),
        )
        .map_err(|error| remedied(error, &self.mirror))?;
        let archives = self.dir.join("cache/archives");
        let mut packages: Vec<PathBuf> = std::fs::read_dir(&archives)
            .context(|| format!("cannot list {}", archives.display()))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .collect();
        packages.sort();
        for archive in &packages {
            output(Command::new("dpkg-deb").arg("-x").args([archive, into]))?;
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for option in self.options() {
            command.arg("-o").arg(option);
        }
        command
    }

    fn options(&self) -> Vec<OsString> {
        let path = |name: &str, sub: &str| {
            let mut option = OsString::from(format!("{name}="));
            option.push(self.dir.join(sub));
            option
        };
        let mut options = vec![
            path("Dir::Etc::SourceList", "sources.list"),
            "Dir::Etc::SourceParts=/nonexistent".into(),
            path("Dir::State::Lists", "lists"),
            path("Dir::State::status", "status"),
            path("Dir::Cache", "cache"),
            "Acquire::Languages=none".into(),
            // Otherwise lists that cannot be fetched are a warning only.
            "APT::Update::Error-Mode=any".into(),
            // The files belong to whoever runs this, so apt's unprivileged user cannot write them.
            "APT::Sandbox::User=root".into(),
        ];
        if let Some(architecture) = self.architecture {
            options.push(format!("APT::Architecture={architecture}").into());
            options.push(format!("APT::Architectures::={architecture}").into());
        }
        options
    }
}

/// What to do about an apt that failed, by what it said.
fn remedied(error: Error, mirror: &str) -> Error {
    let said = error.what();
    let is_full = ["No space left on device", "Disk quota exceeded"];
    if is_full.iter().any(|words| said.contains(words)) {
        return error.help("make room there, or name another place in DROSTE_CACHE");
    }
    error.help(format!(
        "check the network, or name another Debian archive in {MIRROR_VARIABLE} (now {mirror})"
    ))
}

/// The address of the Debian archive: the variable's, else that of this machine's own sources.
///
/// # Errors
/// If neither names one.
pub fn mirror() -> Result<String> {
    if let Some(mirror) = env::var(MIRROR_VARIABLE)
        .ok()
        .filter(|mirror| !mirror.is_empty())
    {
        return Ok(mirror);
    }
    let release = Release::of_this_machine();
    let own = sources::read(Path::new("/etc/apt"));
    let mirror = release
        .is_debian()
        .then(|| sources::debian_mirror(&own, &release.codename))
        .flatten();
    mirror.map(String::from).ok_or_else(|| {
        Error::new("this machine's package sources name no Debian archive").help(format!(
            "set {MIRROR_VARIABLE} to the address of one, and install apt and debian-archive-keyring"
        ))
    })
}

/// Sources for suites of an archive, one line each, for package lists alone.
///
/// Without an architecture they are for this machine's own.
pub fn source_lines(mirror: &str, suites: &[&str], architecture: Option<&str>) -> String {
    let arch = architecture
        .map(|name| format!("arch={name} "))
        .unwrap_or_default();
    let line = |suite: &&str| {
        format!("deb [{arch}signed-by={KEYRING} target=Packages] {mirror} {suite} main\n")
    };
    suites.iter().map(line).collect()
}

/// The first package whose name starts so of those that a package depends on, by what `apt-cache show` says of it.
pub fn dependency<'a>(control: &'a str, prefix: &str) -> Option<&'a str> {
    let depends = control
        .lines()
        .find_map(|line| line.strip_prefix("Depends:"))?;
    let names = depends
        .split([',', '|'])
        .filter_map(|item| item.split_whitespace().next());
    names
        .map(|name| name.trim_end_matches(":arm64"))
        .find(|name| name.starts_with(prefix))
}

/// `package | version | address suite/component architecture Packages`, a line per version, newest first.
pub fn parse_madison(table: &str) -> Vec<(String, String)> {
    let row = |line: &str| {
        let mut columns = line.split('|').map(str::trim).skip(1);
        let version = columns.next()?.to_owned();
        let suite = columns.next()?.split_whitespace().nth(1)?.to_owned();
        Some((version, suite))
    };
    table.lines().filter_map(row).collect()
}

/// Which distribution this is (`os-release(5)`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Release {
    /// `debian`, `ubuntu`, `fedora`, …
    pub id: String,
    /// `bookworm`, `trixie`, …
    pub codename: String,
}

impl Release {
    /// This machine's; empty where there is none.
    pub fn of_this_machine() -> Self {
        Self::parse(&std::fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    /// Whether it is Debian itself.
    pub fn is_debian(&self) -> bool {
        self.id == "debian"
    }

    /// Whether its packages come through apt from suites that are named after its release.
    pub fn has_apt(&self) -> bool {
        matches!(self.id.as_str(), "debian" | "ubuntu") && !self.codename.is_empty()
    }

    fn parse(text: &str) -> Self {
        let value = |key: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default()
                .trim()
                .trim_matches(['"', '\''])
                .to_owned()
        };
        Self {
            id: value("ID"),
            codename: value("VERSION_CODENAME"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_not_the_networks_fault() {
        let help = |said: &str| remedied(Error::new(said), "http://mirror.example").to_string();
        let full = "apt-get failed: E: Write error - write (28: No space left on device)";
        assert!(
            help(full).ends_with("help: make room there, or name another place in DROSTE_CACHE")
        );
        assert!(
            help("apt-get failed: Temporary failure resolving").contains("help: check the network")
        );
    }

    #[test]
    fn a_release_file_is_read() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_CODENAME=bookworm\nID=debian\nVERSION_ID=\"12\"\n";
        let release = Release::parse(text);
        assert_eq!(
            (release.id.as_str(), release.codename.as_str()),
            ("debian", "bookworm")
        );
        assert!(release.is_debian() && release.has_apt());
        assert!(!Release::parse("ID=\"ubuntu\"\n").is_debian());
        assert!(!Release::parse("").is_debian());
    }

    #[test]
    fn versions_come_with_their_suite() {
        let table = "\
  rust-src | 1.96.1+dfsg1-2~bpo13+1 | http://mirror.example/debian stable-backports/main amd64 Packages
  rust-src | 1.85.1+dfsg1-1 | http://mirror.example/debian stable/main amd64 Packages
";
        assert_eq!(
            parse_madison(table),
            [
                (
                    "1.96.1+dfsg1-2~bpo13+1".into(),
                    "stable-backports/main".into()
                ),
                ("1.85.1+dfsg1-1".into(), "stable/main".into())
            ]
        );
        assert_eq!(parse_madison("N: Unable to locate package x\n"), []);
    }

    #[test]
    fn a_source_line_names_architecture_and_keys() {
        assert_eq!(
            source_lines("http://mirror.example/debian", &["stable"], Some("arm64")),
            format!(
                "deb [arch=arm64 signed-by={KEYRING} target=Packages] http://mirror.example/debian stable main\n"
            )
        );
    }

    #[test]
    fn a_source_line_for_this_machine_names_no_architecture() {
        let line = source_lines("http://mirror.example/debian", &["a", "b"], None);
        assert!(
            line.starts_with("deb [signed-by=") && line.lines().count() == 2,
            "{line}"
        );
    }

    #[test]
    fn apt_sees_nothing_of_this_machine() {
        let apt = Apt {
            dir: "/c".into(),
            mirror: String::new(),
            architecture: Some("arm64"),
        };
        let options = apt.options();
        for option in [
            "Dir::Etc::SourceList=/c/sources.list",
            "Dir::Etc::SourceParts=/nonexistent",
            "Dir::State::Lists=/c/lists",
            "Dir::State::status=/c/status",
            "Dir::Cache=/c/cache",
            "APT::Architecture=arm64",
        ] {
            assert!(options.iter().any(|o| o == option), "{option}");
        }
    }
}
