//! The command line.

use crate::Failure;
use crate::layout::VCPUS_MAX;
use std::path::PathBuf;

/// What `--help` prints.
pub const USAGE: &str = "\
Runs one guest on KVM until it switches itself off.

usage: droste-vmm --kernel FILE [--initrd FILE] [--cmdline WORDS] [--vcpus N] [--memory MIB] [--el2]

  --kernel FILE     an arm64 Image, uncompressed
  --initrd FILE     an initial RAM disk
  --cmdline WORDS   the guest's command line
  --vcpus N         vCPUs (1)
  --memory MIB      memory in MiB (256)
  --el2             the guest starts at EL2, with VHE: it can be a hypervisor, if KVM was started with that mode

The guest's serial port is on stdin and stdout. On a terminal, Ctrl-A x ends the guest, and Ctrl-A Ctrl-A sends a Ctrl-A.";

/// Memory unless the command line says, in MiB.
const MEMORY_MIB: u64 = 256;
/// The most memory, in MiB: RAM ends below 2^39, where the smallest address space that KVM gives has room.
const MEMORY_MIB_MAX: u64 = 256 << 10;

/// The exception level that a guest starts at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// It has no EL2.
    El1,
    /// It has an EL2 with VHE, and no other kind.
    El2,
}

/// What the command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arguments {
    /// The kernel, an arm64 `Image`.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// The guest's command line.
    pub cmdline: String,
    /// vCPUs, from 1 to [`VCPUS_MAX`].
    pub vcpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Where the guest starts.
    pub level: Level,
}

impl Arguments {
    /// Reads the words behind the program's name; `None` if they ask for help.
    ///
    /// # Errors
    /// Names the word that is wrong, or what is missing.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Option<Self>, Failure> {
        let mut words = words.into_iter();
        let mut kernel = None;
        let mut arguments = Self {
            kernel: PathBuf::new(),
            initrd: None,
            cmdline: String::new(),
            vcpus: 1,
            memory: MEMORY_MIB << 20,
            level: Level::El1,
        };
        while let Some(flag) = words.next() {
            if flag == "--help" {
                return Ok(None);
            }
            if flag == "--el2" {
                arguments.level = Level::El2;
                continue;
            }
            let mut value = || {
                words
                    .next()
                    .ok_or_else(|| Failure::new(format!("{flag} needs a value; see --help")))
            };
            match flag.as_str() {
                "--kernel" => kernel = Some(PathBuf::from(value()?)),
                "--initrd" => arguments.initrd = Some(PathBuf::from(value()?)),
                "--cmdline" => arguments.cmdline = value()?,
                "--vcpus" => {
                    arguments.vcpus = number(&flag, &value()?, u64::from(VCPUS_MAX))? as u32;
                }
                "--memory" => arguments.memory = number(&flag, &value()?, MEMORY_MIB_MAX)? << 20,
                _ => {
                    return Err(Failure::new(format!(
                        "there is no option {flag}; see --help"
                    )));
                }
            }
        }
        arguments.kernel =
            kernel.ok_or_else(|| Failure::new("name a kernel with --kernel; see --help"))?;
        if arguments.cmdline.contains('\0') {
            return Err(Failure::new("--cmdline holds a byte 0"));
        }
        Ok(Some(arguments))
    }
}

fn number(flag: &str, value: &str, max: u64) -> Result<u64, Failure> {
    let number = value
        .parse()
        .ok()
        .filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| Failure::new(format!("{flag} {value}: give a number from 1 to {max}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Arguments>, Failure> {
        Arguments::parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn every_option_is_read() {
        let parsed =
            parse("--kernel Image --initrd disk --cmdline quiet --vcpus 2 --memory 64 --el2");
        let expected = Arguments {
            kernel: "Image".into(),
            initrd: Some("disk".into()),
            cmdline: "quiet".into(),
            vcpus: 2,
            memory: 64 << 20,
            level: Level::El2,
        };
        assert_eq!(parsed, Ok(Some(expected)));
    }

    #[test]
    fn a_kernel_alone_is_enough() {
        let parsed = parse("--kernel Image").expect("good").expect("no help");
        assert_eq!((parsed.vcpus, parsed.memory), (1, 256 << 20));
        assert_eq!(parsed.level, Level::El1);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |line: &str| parse(line).expect_err("wrong").to_string();
        assert_eq!(error(""), "name a kernel with --kernel; see --help");
        assert_eq!(error("--kernel"), "--kernel needs a value; see --help");
        assert_eq!(error("--disk x"), "there is no option --disk; see --help");
        for wrong in ["0", "65", "-1", "two", "4294967297"] {
            let expected = format!("--vcpus {wrong}: give a number from 1 to 64");
            assert_eq!(error(&format!("--vcpus {wrong}")), expected);
        }
    }

    #[test]
    fn help_needs_nothing_else() {
        assert_eq!(parse("--vcpus 2 --help"), Ok(None));
    }
}
