//! Replaces small files whole.
//!
//! The new content is written to another file in the same directory, synced, renamed onto the
//! old name, and the directory is synced. At any moment the name leads to the whole old or the
//! whole new content; when [`write`] has returned, the new content survives a power cut.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Replaces a file that only its owner may read.
///
/// # Errors
///
/// When any step fails. The old content is there then, unless only the last sync failed.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    write_with_mode(path, content, 0o600)
}

/// Replaces a file; a new one gets the permissions `mode`, less the process's mask.
///
/// # Errors
///
/// As [`write`].
pub(crate) fn write_with_mode(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let (aside, mut file) = create_aside(path, mode)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.sync_data())
        .and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        // The error that led here is the one to report.
        let _ = fs::remove_file(&aside);
        return written;
    }
    sync_directory(parent(path))
}

/// Makes the names in a directory durable: what was created, renamed or removed there.
///
/// # Errors
///
/// What the system says, but for file systems that have nothing to sync there.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

/// Creates a file that must not exist yet.
pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

/// Whether `name` is one that an interrupted replacement of `target` leaves behind, be it ours
/// or the stock program's: `target-XXXX.tmp`.
pub(crate) fn is_leftover(name: &str, target: &str) -> bool {
    name.strip_prefix(target)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|rest| rest.ends_with(".tmp"))
}

/// The directory that holds the file.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Creates a file beside `path` that nobody else uses.
///
/// Processes differ in their number, threads in the count; what a killed process has left in
/// the way is passed over.
fn create_aside(path: &Path, mode: u32) -> io::Result<(PathBuf, File)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut name = OsString::from(path.file_name().unwrap_or_default());
        name.push(format!("-{}-{count}.tmp", std::process::id()));
        let aside = path.with_file_name(name);
        match create_new(&aside, mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return Ok((aside, result?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_remains() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("nonce");
        write(&path, b"old and longer").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_content_and_no_litter() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "x").unwrap();
        write(&path, b"new").unwrap_err();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"x");
    }

    #[test]
    fn leftovers_are_known_by_their_names() {
        assert!(is_leftover("config-x3_f.tmp", "config"));
        assert!(is_leftover("nonce-71-3.tmp", "nonce"));
        for name in ["config", "config.old", "config-x", "configs-1.tmp"] {
            assert!(!is_leftover(name, "config"), "{name}");
        }
    }
}
