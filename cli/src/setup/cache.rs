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
        Self::at(&root(|name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        })?)
    }

    /// A cache in this directory, which is made if it is missing.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn at(root: &Path) -> Result<Self> {
        files::make_dir(root).map_err(|error| {
            error.help("name a directory that you can write to in DROSTE_CACHE")
        })?;
        let root = fs::canonicalize(root).context(|| format!("cannot open {}", root.display()))?;
        Ok(Self { root })
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
        self.root.join("lock")
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
        assert_eq!(left, ["lock"]);
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
