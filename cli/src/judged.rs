//! A QEMU that is judged: its own command line, with what the recorder needs.
//!
//! The machine's memory becomes a file that the recorder reads, CPUs run in threads of their own, and events come through
//! a pipe. QEMU inherits both: the file has no name, so that nothing of it stays, however this program ends.

use std::ffi::{OsStr, OsString};
use std::io::{PipeReader, PipeWriter, pipe};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use droste_judge::{MAX_CPUS, MOST_BYTES};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::child::{Mortal, SELF, tied};
use crate::error::{Context, Error, Result};

/// Where `virt` has its RAM.
const RAM_BASE: u64 = 0x4000_0000;
/// QEMU's memory where the command line names none.
const DEFAULT_BYTES: u64 = 128 << 20;
const MEMORY: &str = "droste-judge-ram";

/// A QEMU that has been started, and what it tells.
#[derive(Debug)]
pub(crate) struct Judged {
    /// It.
    pub(crate) child: Mortal,
    /// Its events.
    pub(crate) events: PipeReader,
}

/// Starts a QEMU, of which the first word is the program, with the recorder that `plugin` brings.
///
/// # Errors
/// If the command line is of a machine that cannot be judged, or QEMU cannot be started.
pub(crate) fn start(
    words: &[OsString],
    plugin: impl FnOnce() -> Result<PathBuf>,
) -> Result<Judged> {
    let bytes = memory(words)?;
    let plugin = plugin()?;
    let ram = memfd_create(MEMORY, MemfdFlags::empty())
        .context(|| "cannot make the machine's memory".into())?;
    let (events, to) = pipe().context(|| "cannot make a pipe".into())?;
    fcntl_setfd(&to, FdFlags::empty()).context(|| "cannot hand a pipe on".into())?;
    let command = command(words, &plugin, (&ram, bytes), &to)?;
    let child = tied(&command, SELF).spawn();
    let child = child.context(|| "cannot start QEMU".into())?;
    Ok(Judged {
        child: Mortal(child),
        events,
    })
}

fn command(
    words: &[OsString],
    plugin: &Path,
    (ram, bytes): (&OwnedFd, u64),
    to: &PipeWriter,
) -> Result<Command> {
    let (program, own) = words
        .split_first()
        .ok_or_else(|| Error::new("there is no QEMU to start").help("droste judge -- QEMU ..."))?;
    let mut command = Command::new(program);
    command.args(own);
    let ram = format!("/dev/fd/{}", ram.as_raw_fd());
    let memory = format!("memory-backend-file,id={MEMORY},size={bytes},share=on,mem-path={ram}");
    command.args(["-object", &memory]);
    command.args(["-machine", &format!("memory-backend={MEMORY}")]);
    if values(own, "accel").next().is_none() {
        command.args(["-accel", "tcg,thread=multi"]);
    }
    let mut recorder = quoted(plugin.as_os_str());
    recorder.push(format!(
        ",base={RAM_BASE:#x},out=/dev/fd/{},ram={ram}",
        to.as_raw_fd()
    ));
    command.args([OsStr::new("-plugin"), &recorder]);
    Ok(command)
}

/// A value within QEMU's options: a comma in it is written twice.
fn quoted(value: &OsStr) -> OsString {
    value.to_string_lossy().replace(',', ",,").into()
}

/// What may be the name of a file in QEMU's words: each whole, each of its parts, and what follows a `=` or `:` there.
pub(crate) fn named(words: &[OsString]) -> Vec<PathBuf> {
    let mut names: Vec<_> = words.iter().map(PathBuf::from).collect();
    for word in words {
        // A comma that is written twice is one of the name; no word has a NUL.
        let word = word.to_string_lossy().replace(",,", "\0");
        for part in word.split([',', '"']) {
            let part = part.replace('\0', ",");
            let values = part.match_indices(['=', ':']);
            names.extend(values.filter_map(|(at, _)| Some(part.get(at + 1..)?.into())));
            names.push(part.into());
        }
    }
    names
}

/// The name of an option, if a word is one.
fn option(word: &OsString) -> Option<&str> {
    let name = word.to_str()?.strip_prefix('-')?;
    Some(name.strip_prefix('-').unwrap_or(name))
}

/// The values of an option.
fn values<'a>(words: &'a [OsString], name: &'a str) -> impl Iterator<Item = String> + 'a {
    any_values(words, move |option| option == name)
}

/// The values of options, in their order.
fn any_values<'a>(
    words: &'a [OsString],
    is_one: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = String> + 'a {
    let pairs = words.windows(2);
    let found = pairs.filter(move |pair| option(&pair[0]).is_some_and(&is_one));
    found.map(|pair| pair[1].to_string_lossy().into_owned())
}

/// The type that a value of `-machine` names: its first part may do so without `type=`.
fn machine_type(machine: &str) -> Option<&str> {
    let mut parts = machine.split(',');
    let first = parts.next().filter(|first| !first.contains('='));
    let mut named = machine
        .split(',')
        .filter_map(|part| part.strip_prefix("type="));
    named.next_back().or(first)
}

/// How much memory the machine has, if it is one that can be judged.
fn memory(words: &[OsString]) -> Result<u64> {
    let refuse = |what: &str, help: &str| Err(Error::new(what).help(help));
    let machines: Vec<_> = any_values(words, |name| matches!(name, "machine" | "M")).collect();
    // QEMU takes the last.
    let name = machines
        .iter()
        .filter_map(|machine| machine_type(machine))
        .next_back();
    let is_virt = name.is_some_and(|name| name == "virt" || name.starts_with("virt-"));
    if !is_virt {
        return refuse(
            "the machine is not virt",
            "judge QEMU's machine virt: -machine virt,virtualization=on",
        );
    }
    if machines
        .iter()
        .any(|machine| machine.contains("memory-backend="))
        || values(words, "mem-path").next().is_some()
    {
        return refuse(
            "the machine's memory has a backend already",
            "leave memory-backend and -mem-path out: the judge brings its own",
        );
    }
    if values(words, "icount").next().is_some() {
        return refuse(
            "-icount runs all CPUs in one thread",
            "leave it out: the recorder needs one for each",
        );
    }
    let accelerators: Vec<_> = values(words, "accel").collect();
    let is_other = |accel: &String| !accel.starts_with("tcg") || accel.contains("thread=single");
    if accelerators.iter().any(is_other)
        || machines.iter().any(|machine| machine.contains("accel="))
        || words
            .iter()
            .filter_map(option)
            .any(|name| name == "enable-kvm")
    {
        return refuse(
            "the accelerator is not tcg with a thread for each CPU",
            "leave -accel out, or say -accel tcg,thread=multi",
        );
    }
    if values(words, "smp")
        .last()
        .is_some_and(|smp| cpus(&smp) > MAX_CPUS as u64)
    {
        return refuse(
            &format!("the machine has more than {MAX_CPUS} CPUs"),
            "name fewer with -smp",
        );
    }
    let Some(value) = values(words, "m").last() else {
        return Ok(DEFAULT_BYTES);
    };
    match size(&value) {
        Some(bytes) if bytes <= MOST_BYTES => Ok(bytes),
        Some(_) => refuse(
            &format!("-m {value} is more memory than can be judged"),
            &format!("name {} GiB at most", MOST_BYTES >> 30),
        ),
        None => refuse(
            &format!("-m {value} is no size"),
            "say how many MiB, or as 2G",
        ),
    }
}

/// How many CPUs `-smp` asks for: it says so, or what they are made of.
fn cpus(value: &str) -> u64 {
    let parts = || {
        value
            .split(',')
            .map(|part| part.split_once('=').unwrap_or(("cpus", part)))
    };
    let number = |(_, number): (&str, &str)| number.parse::<u64>().unwrap_or(1);
    let said = parts().find(|(name, _)| *name == "cpus");
    said.map_or_else(
        || {
            parts()
                .filter(|(name, _)| *name != "maxcpus")
                .map(number)
                .fold(1, u64::saturating_mul)
        },
        number,
    )
}

/// A size as `-m` has it: in MiB, or with a unit, alone at the start or as `size=`.
fn size(value: &str) -> Option<u64> {
    let named = value.split(',').find_map(|part| part.strip_prefix("size="));
    let text = named.or_else(|| value.split(',').next())?;
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" | "M" | "m" => 20,
        "K" | "k" => 10,
        "G" | "g" => 30,
        "T" | "t" => 40,
        _ => return None,
    };
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(1 << shift).filter(|&bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn memory_is_as_much_as_qemu_would_give() {
        let of = |line| memory(&words(line));
        assert_eq!(of("qemu -machine virt"), Ok(128 << 20));
        assert_eq!(of("qemu -M virt,virtualization=on -m 512"), Ok(512 << 20));
        assert_eq!(of("qemu --machine virt-10.0 -m 2G"), Ok(2 << 30));
        assert_eq!(of("qemu -M type=virt -m size=768M,slots=2"), Ok(768 << 20));
        assert_eq!(of("qemu -M virt -m slots=2,size=2G"), Ok(2 << 30));
        assert_eq!(
            of("qemu -M raspi3b -machine virt -M gic-version=3"),
            Ok(128 << 20)
        );
        assert_eq!(of("qemu -M virt -m 64G"), Ok(64 << 30));
        assert!(of("qemu -M virt -m 65G").is_err());
        assert!(of("qemu -M virt -m lots").is_err());
        assert!(of("qemu -M virt -m 0").is_err());
        assert!(of("qemu -M virt -m 99999999T").is_err());
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        for line in [
            "qemu",
            "qemu -machine raspi3b",
            "qemu -M virt -M raspi3b",
            "qemu -M virt -machine type=raspi3b",
            "qemu -M virt,memory-backend=a",
            "qemu -M virt -mem-path a",
            "qemu -M virt -icount shift=5",
            "qemu -M virt -accel kvm",
            "qemu -M virt,accel=kvm",
            "qemu -M virt -enable-kvm",
            "qemu -M virt --enable-kvm -m 1G",
            "qemu -M virt -accel tcg,thread=single",
        ] {
            assert!(memory(&words(line)).is_err(), "{line}");
        }
        assert!(memory(&words("qemu -M virt -accel tcg,thread=multi")).is_ok());
        for cpus in ["32", "cpus=2,maxcpus=4", "sockets=4,cores=8"] {
            assert!(memory(&words(&format!("qemu -M virt -smp {cpus}"))).is_ok());
        }
    }

    #[test]
    fn files_are_named_in_each_part_of_a_word() {
        let line = r#"qemu -drive file=a,,b=c,if=none -serial file:d -blockdev {"filename":"e"}"#;
        let found = named(&words(line));
        for name in ["qemu", "file=a,b=c", "a,b=c", "none", "d", "e"] {
            assert!(found.contains(&PathBuf::from(name)), "{name} in {found:?}");
        }
        assert!(!found.contains(&PathBuf::from("a")), "{found:?}");
    }

    #[test]
    fn qemu_gets_its_own_words_and_then_the_recorders() {
        let (_from, to) = pipe().expect("a pipe");
        let ram = memfd_create(MEMORY, MemfdFlags::empty()).expect("a file");
        let own = words("qemu -M virt -m 256M -kernel a");
        let made = command(&own, Path::new("a,b.so"), (&ram, 256 << 20), &to);
        let line = format!("{:?}", made.expect("made")).replace('"', "");
        assert!(
            line.starts_with("qemu -M virt -m 256M -kernel a -object "),
            "{line}"
        );
        for part in [
            "size=268435456,share=on,mem-path=/dev/fd/",
            "-machine memory-backend=droste-judge-ram",
            "-accel tcg,thread=multi",
            "-plugin a,,b.so,base=0x40000000,out=/dev/fd/",
            &format!(",ram=/dev/fd/{}", ram.as_raw_fd()),
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}
