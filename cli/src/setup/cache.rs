//! The cache: what was downloaded or built once, whole or absent.
//!
//! An entry is made in a directory of its own and then renamed, under a lock that one process holds, so an interrupted
//! set-up leaves nothing half-done and two at once do the work once. What is there is never fetched again; of what is
//! built here in ever new versions, those go that nobody uses.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Context, Error, Result};
use crate::{files, progress};

/// Names of directories in the making start with this; a set-up that holds the lock removes what others left.
const UNFINISHED: &str = "unfinished-";

/// The directory of a run is called this, the process's number, and something random.
const RUN: &str = "run-";
/// The file that one process holds while it fills the cache.
const LOCK: &str = "lock";
/// How a directory is called that nobody else puts anything in.
const OWN_NAME: &str = "droste";

/// The file that marks a cache, and how it begins (Cache Directory Tagging Specification, 0.6).
const TAG: &str = "CACHEDIR.TAG";
const TAG_TEXT: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n\
    # What droste has downloaded and built. `droste clean` removes it.\n";

/// How long a version is kept that nobody asks for.
const KEPT: Duration = Duration::from_hours(24);

/// The directory for everything that can be made again.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$DROSTE_CACHE`, else `$XDG_CACHE_HOME/droste`, else `~/.cache/droste`.
    ///
    /// # Errors
    /// If none of the variables is set, or the directory cannot be made.
    pub fn open() -> Result<Self> {
        Self::at(&root(variable)?)
    }

    /// The cache that [`open`](Self::open) would open, if it is there already; nothing is made.
    pub fn found() -> Option<Self> {
        let root = fs::canonicalize(root(variable).ok()?).ok()?;
        Some(Self { root })
    }

    /// A cache in this directory, which is made if it is missing. One that was empty is marked as a cache: for programs
    /// that make copies of everything else, and for [`clean`](Self::clean).
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn at(root: &Path) -> Result<Self> {
        let help =
            |error: Error| error.help("name a directory that you can write to in DROSTE_CACHE");
        files::make_dir(root).map_err(help)?;
        let root = fs::canonicalize(root).context(|| format!("cannot open {}", root.display()))?;
        if fs::read_dir(&root).is_ok_and(|mut entries| entries.next().is_none()) {
            files::write(&root.join(TAG), TAG_TEXT).map_err(help)?;
        }
        Ok(Self { root })
    }

    /// Removes everything that is in it but what a run uses that is going on, and returns how many bytes that was.
    ///
    /// # Errors
    /// If the directory is not marked as a cache, another process is filling it, or something cannot be removed.
    pub fn clean(&self) -> Result<u64> {
        let shown = self.root.display();
        if !self.root.join(TAG).is_file() && self.root.file_name() != Some(OWN_NAME.as_ref()) {
            return Err(
                Error::new(format!("{shown} was no cache before droste used it"))
                    .help("it may hold what is yours: remove by hand what is not"),
            );
        }
        let lock = File::create(self.lock_path()).context(|| format!("cannot lock {shown}"))?;
        if lock.try_lock().is_err() {
            return Err(Error::new(format!("another droste fills {shown}"))
                .help("try again when it has ended"));
        }
        let entries = fs::read_dir(&self.root).context(|| format!("cannot list {shown}"))?;
        let mut removed = 0;
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name == TAG || name == LOCK || is_of_living(&name.to_string_lossy()) {
                continue;
            }
            let path = entry.path();
            let bytes = size(&path);
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let done = if is_dir {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            done.context(|| format!("cannot remove {}", path.display()))?;
            removed += bytes;
        }
        Ok(removed)
    }

    /// Removes the directories of runs that were killed: those of processes that are no more.
    pub fn remove_abandoned(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(RUN) && !is_of_living(&name) {
                // What cannot be removed only takes room.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// A directory for a run of this process, which vanishes with the value.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn run_dir(&self) -> Result<tempfile::TempDir> {
        let prefix = format!("{RUN}{}-", std::process::id());
        tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(&self.root)
            .context(|| format!("cannot make a directory in {}", self.root.display()))
    }

    /// The directory itself, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The entry of this name, if it is there.
    pub fn get(&self, name: &str) -> Option<PathBuf> {
        Some(self.root.join(name)).filter(|path| path.exists())
    }

    /// The entry of this name; if it is missing, `make` fills a directory and names the file or directory in it that
    /// becomes the entry. It must not ask for another missing entry: the lock is held.
    ///
    /// # Errors
    /// Those of `make`, and what stands in the way of the entry; the cache then is as it was.
    pub fn get_or_make(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> Result<PathBuf>,
    ) -> Result<PathBuf> {
        if let Some(found) = self.get(name) {
            return Ok(found);
        }
        let _lock = self.lock()?;
        // Whoever held the lock before may have made it.
        if let Some(found) = self.get(name) {
            return Ok(found);
        }
        self.remove_unfinished();
        let workshop = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&self.root)
            .context(|| format!("cannot make a directory in {}", self.root.display()))?;
        let fresh = make(workshop.path())?;
        let entry = self.root.join(name);
        if let Some(parent) = entry.parent() {
            files::make_dir(parent)?;
        }
        fs::rename(&fresh, &entry)
            .context(|| format!("cannot put {} in place", entry.display()))?;
        Ok(entry)
    }

    /// The same for an entry that is named after what is in it, in a folder of such: another version is another entry.
    /// Files in the folder that nobody has asked for in a day are removed, and with them those that another user made or
    /// that only a printed command names.
    ///
    /// # Errors
    /// As [`get_or_make`](Self::get_or_make).
    pub fn get_or_make_version(
        &self,
        name: &str,
        make: impl Fn(&Path) -> Result<PathBuf>,
    ) -> Result<PathBuf> {
        loop {
            let entry = self.get_or_make(name, &make)?;
            if self.is_kept(&entry) {
                self.remove_unused(&entry);
                return Ok(entry);
            }
        }
    }

    /// Notes that an entry is in use; `false` if somebody has removed it.
    fn is_kept(&self, entry: &Path) -> bool {
        // One that others may remove soon is touched while they may not.
        let touched = match age(entry) {
            Ok(age) if age < KEPT / 2 => Ok(()),
            _ => {
                let _lock = self.lock().ok();
                File::open(entry).and_then(|file| file.set_modified(SystemTime::now()))
            }
        };
        // Somebody else's file, or one where nobody may write, stays as old as it is.
        !touched.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }

    /// Removes the files beside an entry that were not used for long, unless a set-up is going on. What cannot be
    /// removed only takes room.
    fn remove_unused(&self, entry: &Path) {
        let lock = File::create(self.lock_path());
        let Some(_lock) = lock.ok().filter(|file| file.try_lock().is_ok()) else {
            return;
        };
        let beside = entry.parent().map(fs::read_dir);
        let beside = beside.into_iter().flatten().flatten().flatten();
        for other in beside.map(|other| other.path()) {
            if other != entry && age(&other).is_ok_and(|age| age > KEPT) {
                let _ = fs::remove_file(other);
            }
        }
    }

    fn lock_path(&self) -> PathBuf {
        self.root.join(LOCK)
    }

    /// Holds other processes off until the file is dropped.
    fn lock(&self) -> Result<File> {
        let path = self.lock_path();
        let describe = || format!("cannot lock {}", path.display());
        let file = File::create(&path).context(describe)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let _waiting = progress::step("waiting for another droste that is setting up");
                file.lock().context(describe)?;
            }
            Err(TryLockError::Error(error)) => return Err(error).context(describe),
        }
        Ok(file)
    }

    /// What cannot be removed does no harm: each set-up works in a directory of its own.
    fn remove_unfinished(&self) {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        for entry in
            entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(UNFINISHED))
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether a directory is that of a run that is going on.
fn is_of_living(name: &str) -> bool {
    let id = name.strip_prefix(RUN).and_then(|rest| rest.split_once('-'));
    let id = id.and_then(|(id, _)| id.parse().ok());
    let id = id.and_then(rustix::process::Pid::from_raw);
    id.is_some_and(|id| rustix::process::test_kill_process(id) != Err(rustix::io::Errno::SRCH))
}

/// Bytes of a file, or of all below a directory.
fn size(path: &Path) -> u64 {
    let Ok(data) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !data.is_dir() {
        return data.len();
    }
    let below = fs::read_dir(path).into_iter().flatten().flatten();
    below.map(|entry| size(&entry.path())).sum()
}

/// A variable of the environment that is not empty.
fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// How long ago a file was used last.
fn age(file: &Path) -> io::Result<Duration> {
    let used = fs::metadata(file)?.modified()?;
    Ok(used.elapsed().unwrap_or_default())
}

/// The cache's place, given a way to look up a variable.
fn root(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    variable("DROSTE_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("droste")))
        .or_else(|| Some(variable("HOME")?.join(".cache/droste")))
        .ok_or_else(|| {
            Error::new("there is no place for downloads: HOME is not set")
                .help("name a directory in DROSTE_CACHE")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::at(&dir.path().join("cache")).expect("made");
        (dir, cache)
    }

    fn make(dir: &Path) -> Result<PathBuf> {
        let made = dir.join("made");
        files::write(&made, b"content")?;
        Ok(made)
    }

    #[test]
    fn an_entry_is_made_once() {
        let (_dir, cache) = cache();
        assert_eq!(cache.get("sub/entry"), None);
        let path = cache.get_or_make("sub/entry", make).expect("made");
        assert_eq!(files::read_text(&path), Ok("content".into()));
        let again = cache.get_or_make("sub/entry", |_| panic!("it is there"));
        assert_eq!(again, Ok(path.clone()));
        assert_eq!(cache.get("sub/entry"), Some(path));
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let (_dir, cache) = cache();
        let result = cache.get_or_make("entry", |dir| {
            make(dir)?;
            Err(Error::new("no network"))
        });
        assert_eq!(result, Err(Error::new("no network")));
        let left: Vec<_> = fs::read_dir(cache.root())
            .expect("listed")
            .flatten()
            .map(|e| e.file_name())
            .collect();
        let mut left = left;
        left.sort();
        assert_eq!(left, ["CACHEDIR.TAG", "lock"]);
    }

    #[test]
    fn versions_that_nobody_uses_are_removed() {
        let (_dir, cache) = cache();
        let [old, recent] = ["old", "recent"].map(|name| {
            let path = cache.get_or_make_version(&format!("kind/{name}"), make);
            path.expect("made")
        });
        let other = cache.get_or_make("other", make).expect("made");
        let long_ago = SystemTime::now() - KEPT - Duration::from_mins(1);
        let make_old = |path: &Path| File::open(path).and_then(|file| file.set_modified(long_ago));
        for path in [&old, &other] {
            make_old(path).expect("aged");
        }
        // One that is old, and is asked for, is young again.
        assert_eq!(cache.get_or_make_version("kind/old", make), Ok(old.clone()));
        cache.remove_unused(&recent);
        assert!(old.exists());
        make_old(&old).expect("aged");
        cache.remove_unused(&old);
        assert!(
            old.exists(),
            "what is asked for is not removed, however old it stays"
        );
        let new = cache.get_or_make_version("kind/new", make).expect("made");
        assert!(!old.exists() && !cache.is_kept(&old));
        let again = cache.get_or_make_version("kind/old", make);
        assert_eq!(again.map(|path| path.exists()), Ok(true));
        assert!([recent, new, other].iter().all(|path| path.exists()));
    }

    #[test]
    fn what_an_interrupted_set_up_left_is_removed() {
        let (_dir, cache) = cache();
        let left = cache.root().join("unfinished-abc");
        files::make_dir(&left).expect("made");
        cache.get_or_make("entry", make).expect("made");
        assert!(!left.exists());
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_a_living_one_is_not() {
        let (_dir, cache) = cache();
        let alive = format!("run-{}-abc", std::process::id());
        let dead = "run-999999999-abc";
        for name in [&alive, dead, "debian"] {
            fs::create_dir(cache.root().join(name)).expect("made");
        }
        cache.remove_abandoned();
        let is_there = |name: &str| cache.root().join(name).exists();
        assert!(is_there(&alive) && is_there("debian") && !is_there(dead));
    }

    #[test]
    fn a_cache_can_be_emptied_and_what_is_none_cannot() {
        let (dir, cache) = cache();
        cache.get_or_make("sub/entry", make).expect("made");
        let alive = format!("run-{}-abc", std::process::id());
        fs::create_dir(cache.root().join(&alive)).expect("made");
        assert_eq!(cache.clean(), Ok(7));
        let mut left: Vec<_> = fs::read_dir(cache.root())
            .expect("listed")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["CACHEDIR.TAG", "lock", alive.as_str()]);
        let lock = cache.lock().expect("held");
        let error = cache.clean().expect_err("busy").to_string();
        assert!(error.starts_with("another droste fills "), "{error}");
        drop(lock);

        let home = dir.path().join("home");
        fs::create_dir(&home).expect("made");
        files::write(&home.join("letter"), b"dear").expect("written");
        let used = Cache::at(&home).expect("a cache");
        let error = used.clean().expect_err("not empty at first").to_string();
        assert!(
            error.contains("was no cache before") && home.join("letter").exists(),
            "{error}"
        );
    }

    #[test]
    fn two_at_once_make_an_entry_once() {
        let (_dir, cache) = cache();
        let count = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    cache.get_or_make("entry", |dir| {
                        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        make(dir)
                    })
                });
            }
        });
        assert_eq!(count.into_inner(), 1);
    }

    #[test]
    fn the_nearest_variable_names_the_place() {
        let only = |set: &'static [(&str, &str)]| {
            root(move |name| {
                set.iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, value)| PathBuf::from(value))
            })
        };
        assert_eq!(
            only(&[
                ("DROSTE_CACHE", "/d"),
                ("XDG_CACHE_HOME", "/x"),
                ("HOME", "/h")
            ]),
            Ok("/d".into())
        );
        assert_eq!(
            only(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]),
            Ok("/x/droste".into())
        );
        assert_eq!(only(&[("HOME", "/h")]), Ok("/h/.cache/droste".into()));
        assert!(only(&[]).is_err());
    }
}
