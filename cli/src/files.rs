//! Files, with errors that name them, and writes that are seen whole or not at all.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::error::{Context, Result};

/// The bytes of a file.
///
/// # Errors
/// Names the file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).context(|| format!("cannot read {}", path.display()))
}

/// The text of a file.
///
/// # Errors
/// Names the file.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).context(|| format!("cannot read {}", path.display()))
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

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let beside = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(beside)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
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
