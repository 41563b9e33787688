//! Reading a table: its keys, the values that it must or may have, and the location of each.

use std::ops::Range;
use std::path::{Path, PathBuf};

use droste_image::VmError;
use toml::Spanned;
use toml::de::DeTable;

use super::super::value::Read;
use super::super::{Diagnostic, Location, Placed};
use super::KEYS;

/// A key, and an example of its value.
pub(super) type Key = (&'static str, &'static str);

/// What people who know other tools write.
const ALIASES: [(&str, &str); 14] = [
    ("cpus", "vcpus"),
    ("smp", "vcpus"),
    ("cores", "vcpus"),
    ("mem", "memory"),
    ("ram", "memory"),
    ("append", "cmdline"),
    ("bootargs", "cmdline"),
    ("command_line", "cmdline"),
    ("ramdisk", "initrd"),
    ("drive", "disk"),
    ("network", "net"),
    ("serial", "console"),
    ("virtualization", "el2"),
    ("nested", "el2"),
];

/// A table of a description that is being read, and what was found wrong with it.
pub(super) struct Reader<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
    pub(super) table: &'a DeTable<'a>,
    /// Where the table begins.
    pub(super) start: Range<usize>,
    pub(super) keys: &'static [Key],
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    /// Reads a table that stands in this one, whose findings it adds to its own.
    pub(super) fn inside<T>(
        &mut self,
        table: &'a DeTable<'a>,
        start: Range<usize>,
        keys: &'static [Key],
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let mut reader = Reader {
            file: self.file,
            text: self.text,
            table,
            start,
            keys,
            diagnostics: Vec::new(),
        };
        reader.unknown_keys();
        let value = read(&mut reader);
        self.diagnostics.append(&mut reader.diagnostics);
        value
    }

    /// The value, or in place of a wrong one, which has its finding, one that causes no more of them.
    pub(super) fn or_stand_in<T>(&self, value: Option<Placed<T>>, stand_in: T) -> Placed<T> {
        value.unwrap_or_else(|| Placed {
            value: stand_in,
            location: self.location(&self.start),
        })
    }

    pub(super) fn unknown_keys(&mut self) {
        let table = self.table;
        for key in table.keys() {
            let name: &str = key.get_ref();
            if example(self.keys, name).is_none() {
                self.find(
                    &key.span(),
                    format!("there is no key {name:?}"),
                    suggestion(name, self.keys),
                );
            }
        }
    }

    /// A value that must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        read: Read<'a, T>,
    ) -> Option<Placed<T>> {
        if !self.table.contains_key(key) {
            let example = example(self.keys, key).unwrap_or("…");
            self.find(
                &self.start.clone(),
                format!("the key {key:?} is missing"),
                format!("add a line such as {key} = {example}"),
            );
        }
        self.optional(key, read)
    }

    /// A value that may be left out; `None` if it is wrong.
    pub(super) fn or_default<T>(
        &mut self,
        key: &'static str,
        read: Read<'a, T>,
        default: T,
    ) -> Option<Placed<T>> {
        if self.table.contains_key(key) {
            self.optional(key, read)
        } else {
            Some(Placed {
                value: default,
                location: self.location(&self.start),
            })
        }
    }

    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: Read<'a, T>,
    ) -> Option<Placed<T>> {
        let table = self.table;
        let value = table.get(key)?;
        match read(value) {
            Ok(read) => Some(Placed {
                value: read,
                location: self.location(&value.span()),
            }),
            Err(expected) => {
                let message = format!("{key} must be {expected}");
                self.find(
                    &value.span(),
                    message,
                    format!(
                        "write it as in {key} = {}",
                        example(self.keys, key).unwrap_or("…")
                    ),
                );
                None
            }
        }
    }

    /// The value, if it is within its limits.
    pub(super) fn checked<T>(
        &mut self,
        value: Option<Placed<T>>,
        check: impl Fn(&T) -> Result<(), VmError>,
    ) -> Option<Placed<T>> {
        let value = value?;
        let Err(error) = check(&value.value) else {
            return Some(value);
        };
        let sentence = error.to_string();
        let (message, help) = sentence
            .split_once("; ")
            .unwrap_or((&sentence, "correct it"));
        self.diagnostics.push(Diagnostic {
            location: value.location,
            message: message.into(),
            help: help.into(),
        });
        None
    }

    /// A file's name is relative to the description that names it.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(name)
    }

    pub(super) fn placed<T, U>(&self, at: &Spanned<T>, value: U) -> Placed<U> {
        Placed {
            value,
            location: self.location(&at.span()),
        }
    }

    pub(super) fn location(&self, span: &Range<usize>) -> Location {
        Location::in_text(&self.file.display().to_string(), self.text, span)
    }

    pub(super) fn find(&mut self, span: &Range<usize>, message: String, help: String) {
        self.diagnostics.push(Diagnostic {
            location: self.location(span),
            message,
            help,
        });
    }
}

fn example(keys: &[Key], key: &str) -> Option<&'static str> {
    let found = keys.iter().find(|(known, _)| *known == key);
    found.map(|(_, example)| *example)
}

fn suggestion(name: &str, keys: &[Key]) -> String {
    if example(&KEYS, name).is_some() {
        return "it is one of the machine's: move it above the table".into();
    }
    let alias = ALIASES
        .iter()
        .find(|(alias, _)| *alias == name.to_lowercase().replace('-', "_"));
    let nearest = || {
        let distance = |key: &str| strsim::damerau_levenshtein(&name.to_lowercase(), key);
        let (key, _) = keys.iter().min_by_key(|(key, _)| distance(key))?;
        (distance(key) <= 2).then_some(*key)
    };
    let named = alias.map(|(_, key)| *key).or_else(nearest);
    if let Some((key, example)) = named.and_then(|key| Some((key, example(keys, key)?))) {
        return format!("did you mean {key}? as in {key} = {example}");
    }
    let keys: Vec<_> = keys.iter().map(|(key, _)| *key).collect();
    format!("the keys are {}", keys.join(", "))
}
