//! Files, with errors that name them, reads that have an end, and writes that are seen whole or not at all.

use std::fs::{self, File, FileType, Metadata, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{Context, Result};

/// No part of a boot image is longer, in bytes.
const READ_MAX: u64 = 4 << 30;
/// No text that is read here is longer, in bytes.
const TEXT_MAX: u64 = 1 << 20;

/// What tells a file that can be read again from all others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Identity {
    /// Its file system, and its number there.
    File(u64, u64),
    /// The number of a block device.
    Block(u64),
}

impl Identity {
    /// That of what a name leads to, if it has one.
    pub fn of(path: &Path) -> Option<Self> {
        let data = fs::metadata(path).ok()?;
        let kind = data.file_type();
        if kind.is_block_device() {
            Some(Self::Block(data.rdev()))
        } else {
            kind.is_file().then(|| Self::File(data.dev(), data.ino()))
        }
    }
}

/// What something is that is no regular file.
pub(crate) fn kind(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_block_device() {
        "a block device"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// Opens a regular file: only that has an end, and does not let its reader wait.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let data = fs::metadata(path)?;
    if !data.is_file() {
        let kind = kind(data.file_type());
        return Err(io::Error::other(format!("it is {kind}, not a file")));
    }
    Ok((File::open(path)?, data))
}

/// The bytes of a file.
///
/// # Errors
/// Names the file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let read = || {
        let (mut file, data) = open(path)?;
        if data.len() >= READ_MAX {
            return Err(io::Error::other("it has 4 GiB and more"));
        }
        let mut bytes = Vec::with_capacity(data.len() as usize);
        (&mut file).take(READ_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read()
        .context(|| format!("cannot read {}", path.display()))
        .map_err(|error| error.help("check the path, and that it is a file that you may read"))
}

/// The text of a file, or of a pipe: of something that has an end soon.
///
/// # Errors
/// Names the file.
pub fn read_text(path: &Path) -> Result<String> {
    text(path).context(|| format!("cannot read {}", path.display()))
}

/// The same, without the name.
pub(crate) fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?
        .take(TEXT_MAX + 1)
        .read_to_string(&mut text)?;
    if length as u64 > TEXT_MAX {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    Ok(text)
}

/// Makes a directory and those above it.
///
/// # Errors
/// Names the directory.
pub fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).context(|| format!("cannot make the directory {}", path.display()))
}

/// Replaces a file's content in one step: whoever reads it sees the old bytes or the new ones, and a process that dies
/// on the way leaves the old ones. A file that has these bytes already is not touched.
///
/// # Errors
/// Names the file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    replace(path, bytes).context(|| format!("cannot write {}", path.display()))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    beside(path, bytes)?.persist(path)?;
    Ok(())
}

/// A whole file beside `path`, which is to be put in its place.
pub(crate) fn beside(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder(path))?;
    file.write_all(bytes)?;
    Ok(file)
}

/// The folder in which a file is.
pub(crate) fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_old_bytes_and_leaves_nothing_beside_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        write(&path, b"old").expect("written");
        write(&path, b"new").expect("written");
        assert_eq!(read_text(&path), Ok("new".into()));
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
    }

    #[test]
    fn the_same_bytes_leave_the_file_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        write(&path, b"same").expect("written");
        let before = fs::metadata(&path)
            .and_then(|m| m.modified())
            .expect("a time");
        write(&path, b"same").expect("written");
        assert_eq!(
            fs::metadata(&path)
                .and_then(|m| m.modified())
                .expect("a time"),
            before
        );
    }

    #[test]
    fn what_has_no_end_is_not_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("started").success());
        for (path, why) in [
            (pipe.as_path(), "it is a pipe, not a file"),
            (Path::new("/dev/zero"), "it is a device, not a file"),
            (dir.path(), "it is a directory, not a file"),
        ] {
            let error = read(path).expect_err("refused").to_string();
            assert!(error.contains(why), "{error}");
        }
        let long = dir.path().join("long");
        fs::write(&long, vec![b' '; (1 << 20) + 1]).expect("written");
        let error = read_text(&long).expect_err("refused").to_string();
        assert!(error.ends_with("it is longer than 1 MiB"), "{error}");
        let file = File::create(&long).expect("made");
        file.set_len(READ_MAX).expect("sparse");
        let error = read(&long).expect_err("refused").to_string();
        assert!(error.contains("it has 4 GiB and more"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let error = read(Path::new("/nonexistent/file")).expect_err("is not there");
        assert!(
            error
                .to_string()
                .starts_with("cannot read /nonexistent/file: "),
            "{error}"
        );
    }
}
