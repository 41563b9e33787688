//! What a user names to be written: opened here and nowhere else, by rules under which no option destroys anything.
//!
//! - `-` is stdout, and so is what stdout is already.
//! - A regular file is written beside and put in place when it is whole: whoever reads it sees the old bytes or the new
//!   ones, and a failure leaves the old ones. Its mode and owner stay, and a symbolic link that leads to it stays one.
//! - Anything else, a device or a pipe, is written into.
//! - Refused before any work is done: an input of the same command, a directory, a file that nobody may write, a folder
//!   that is not there, a pipe that nobody reads.
//!
//! Nothing is read back, so that nothing without an end is read.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::Errno;
use rustix::stdio::stdout;

use crate::error::{Context, Error, Result};
use crate::files::{Identity, beside, folder};
use crate::terminal;

/// The name that stands for stdout.
const STDOUT: &str = "-";
/// The file that stands for it.
const STDOUT_FILE: &str = "/dev/stdout";
/// As many symbolic links follow each other at most.
const LINKS_MAX: usize = 40;

/// Where something goes that a user asked for.
#[derive(Debug)]
pub struct Output {
    /// As the user wrote it.
    name: String,
    target: Target,
    /// What is there already, if it could be an input as well.
    identity: Option<Identity>,
}

#[derive(Debug)]
enum Target {
    Stdout,
    /// A device or a pipe, which is written into.
    Stream(File),
    /// A regular file, with the links to it followed.
    File(PathBuf),
}

impl Output {
    /// Finds out where `path` leads, and that it can be written. What is there stays as it is.
    ///
    /// # Errors
    /// Why it cannot be written, and what to try.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let target = if path == Path::new(STDOUT) || is_stdout(path) {
            Target::Stdout
        } else {
            target(path)?
        };
        let identity = match &target {
            Target::Stdout => stdout_identity(),
            Target::Stream(_) => Identity::of(path),
            Target::File(file) => Identity::of(file),
        };
        Ok(Self {
            name,
            target,
            identity,
        })
    }

    /// Refuses to be one of the files that are read.
    ///
    /// # Errors
    /// Names the one that it is.
    pub fn refuse<'a>(&self, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        let Some(identity) = self.identity else {
            return Ok(());
        };
        match inputs
            .into_iter()
            .find(|input| Identity::of(input) == Some(identity))
        {
            Some(input) => Err(self
                .error()
                .because(format!("it is read as well, as {}", input.display()))
                .help("name another file")),
            None => Ok(()),
        }
    }

    /// Refuses to be written together with another output.
    ///
    /// # Errors
    /// If both are the same file.
    pub fn refuse_other(&self, other: &Self) -> Result<()> {
        let is_same = match (&self.target, &other.target) {
            (Target::File(a), Target::File(b)) => a == b,
            _ => false,
        };
        if is_same || (self.identity.is_some() && self.identity == other.identity) {
            return Err(self
                .error()
                .because(format!("{} is written as well", other.name))
                .help("name another file"));
        }
        Ok(())
    }

    /// Whether it is stdout, where nothing else should be said then.
    pub fn is_stdout(&self) -> bool {
        matches!(self.target, Target::Stdout)
    }

    /// The name that the user gave it.
    pub fn name(&self) -> &str {
        if self.is_stdout() {
            "stdout"
        } else {
            &self.name
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// If it cannot be written; a regular file is then as it was.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        let written = match &self.target {
            Target::Stdout => terminal::write(stdout(), bytes),
            Target::Stream(file) => {
                let mut file = file;
                file.write_all(bytes)
            }
            Target::File(file) => replace(file, bytes),
        };
        written.map_err(|error| self.error().because(&error).help(remedy(&error)))
    }

    /// Says something until [`write`](Self::write) replaces it; not where nothing can be replaced.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn announce(&self, bytes: &[u8]) -> Result<()> {
        match self.target {
            Target::File(_) => self.write(bytes),
            Target::Stdout | Target::Stream(_) => Ok(()),
        }
    }

    /// Opens it for what is to be seen as it comes: what a regular file held is gone then.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn start(&self) -> Result<File> {
        let opened = match &self.target {
            Target::Stdout => OpenOptions::new().write(true).open(STDOUT_FILE),
            Target::Stream(file) => file.try_clone(),
            Target::File(file) => File::create(file),
        };
        opened.map_err(|error| self.error().because(&error).help(remedy(&error)))
    }

    fn error(&self) -> Error {
        cannot(self.name())
    }
}

fn cannot(name: &str) -> Error {
    Error::new(format!("cannot write {name}"))
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "make room there, or name another place"
        }
        ErrorKind::BrokenPipe => "whoever read it has ended",
        _ => "name another file, in a folder where you may write",
    }
}

/// Whether this is what stdout leads to.
fn is_stdout(path: &Path) -> bool {
    let (Ok(data), Ok(own)) = (fs::metadata(path), fstat(stdout())) else {
        return false;
    };
    (data.dev(), data.ino()) == (own.st_dev, own.st_ino)
}

fn stdout_identity() -> Option<Identity> {
    let own = fstat(stdout()).ok()?;
    match FileType::from_raw_mode(own.st_mode) {
        FileType::RegularFile => Some(Identity::File(own.st_dev, own.st_ino)),
        FileType::BlockDevice => Some(Identity::Block(own.st_rdev)),
        _ => None,
    }
}

fn target(path: &Path) -> Result<Target> {
    let name = path.display().to_string();
    let is_folder = path
        .as_os_str()
        .as_bytes()
        .last()
        .is_none_or(|&byte| byte == b'/');
    match fs::metadata(path) {
        Ok(data) if data.is_dir() => Err(cannot(&name)
            .because("it is a directory")
            .help("name a file in it")),
        _ if is_folder => Err(cannot(&name)
            .because("it is no name of a file")
            .help("name a file")),
        Ok(data) if data.is_file() => existing(path, &data).map(Target::File),
        Ok(data) => stream(path, &data).map(Target::Stream),
        Err(error) if error.kind() == ErrorKind::NotFound => fresh(path).map(Target::File),
        Err(error) => Err(cannot(&name).because(&error).help(remedy(&error))),
    }
}

/// A regular file that is there: where it is, if it may be replaced.
fn existing(path: &Path, data: &Metadata) -> Result<PathBuf> {
    let name = path.display().to_string();
    // Root may write what nobody may; whoever took the right away meant root as well.
    if data.permissions().mode() & 0o222 == 0 {
        return Err(cannot(&name).because("it is read-only").help(format!(
            "name another file, or make it writable: chmod u+w {name}"
        )));
    }
    let opened = OpenOptions::new().write(true).open(path);
    opened.map_err(|error| cannot(&name).because(&error).help(remedy(&error)))?;
    let file = fs::canonicalize(path).context(|| format!("cannot write {name}"))?;
    probe(&name, &file)?;
    Ok(file)
}

/// A regular file that is not there yet: where it will be.
fn fresh(path: &Path) -> Result<PathBuf> {
    let name = path.display().to_string();
    let mut file = path.to_owned();
    // A link may lead to where nothing is yet.
    for _ in 0..LINKS_MAX {
        let Ok(next) = fs::read_link(&file) else {
            probe(&name, &file)?;
            return whole(&file).context(|| format!("cannot write {name}"));
        };
        file = folder(&file).join(next);
    }
    Err(cannot(&name)
        .because("its symbolic links lead in a circle")
        .help("name another file"))
}

/// The one name of a file in a folder that is there, whatever leads to it.
fn whole(file: &Path) -> io::Result<PathBuf> {
    let folder = fs::canonicalize(folder(file))?;
    Ok(file
        .file_name()
        .map_or(folder.clone(), |name| folder.join(name)))
}

/// Finds out whether a file can be made beside this one, which is how it is written.
fn probe(name: &str, file: &Path) -> Result<()> {
    let folder = folder(file);
    if !folder.is_dir() {
        let shown = folder.display();
        return Err(cannot(name)
            .because(format!("there is no folder {shown}"))
            .help(format!("make it: mkdir -p {shown}")));
    }
    let made = tempfile::Builder::new().tempfile_in(folder);
    made.map(drop)
        .map_err(|error| cannot(name).because(&error).help(remedy(&error)))
}

/// Opens a device or a pipe. Without the flag a pipe that nobody reads would be waited for.
fn stream(path: &Path, data: &Metadata) -> Result<File> {
    let name = path.display().to_string();
    let is_pipe = data.file_type().is_fifo();
    let flags = OFlags::NONBLOCK.union(OFlags::NOCTTY).bits().cast_signed();
    let opened = OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(path);
    let file = opened.map_err(|error| {
        let is_unread = is_pipe && error.raw_os_error() == Some(Errno::NXIO.raw_os_error());
        if is_unread {
            cannot(&name)
                .because("nobody reads this pipe")
                .help("start its reader first")
        } else {
            cannot(&name).because(&error).help(remedy(&error))
        }
    })?;
    // From now on it waits for a reader that is slow.
    let waiting = fcntl_getfl(&file).and_then(|flags| fcntl_setfl(&file, flags - OFlags::NONBLOCK));
    waiting.context(|| format!("cannot write {name}"))?;
    Ok(file)
}

/// Writes beside a file and puts that in its place, with the mode and the owner that it had.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = beside(path, bytes)?;
    if let Ok(old) = fs::metadata(path) {
        // Only root can give a file away; anybody else's new file is his own.
        let _ = std::os::unix::fs::fchown(file.as_file(), Some(old.uid()), Some(old.gid()));
        file.as_file().set_permissions(old.permissions())?;
    }
    file.persist(path)?;
    Ok(())
}
