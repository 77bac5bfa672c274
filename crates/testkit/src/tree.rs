//! Directories with files of every kind, the same for the same seed.

mod attributes;
mod compare;
mod names;
mod rsync;
mod sizes;
mod special;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, IFlags, Timespec, Timestamps};

pub use compare::{Difference, Ignore, assert_same, compare};
pub use rsync::rsync_differences;

use crate::Random;
use crate::skip::say_skipped;

/// A real directory, filled step by step: `Tree::new(1).odd_names().links()`.
///
/// Names, contents, modes and times depend on the seed alone. The directory is removed when
/// the value is dropped, unless it was given with [`at`](Self::at).
///
/// Steps that need root, or an attribute that the file system does not keep, leave that part
/// out and say so.
///
/// # Panics
///
/// Every step, when the directory cannot be written.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    scratch: Option<tempfile::TempDir>,
    random: Random,
    /// What each directory's time shall be, once nothing is added to it any more.
    directory_times: BTreeMap<PathBuf, Timespec>,
}

impl Tree {
    /// An empty tree in a scratch directory.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let scratch = tempfile::Builder::new().prefix("tree-").tempdir();
        let scratch = done("a scratch directory", scratch);
        let root = done("its path", scratch.path().canonicalize());
        let mut tree = Self::at(&root, seed);
        tree.scratch = Some(scratch);
        tree
    }

    /// A tree in a directory that exists and stays.
    #[must_use]
    pub fn at(root: &Path, seed: u64) -> Self {
        let random = Random::new(seed);
        let mut tree = Self {
            root: root.into(),
            scratch: None,
            random,
            directory_times: BTreeMap::new(),
        };
        tree.finish_directory("");
        tree.settle()
    }

    /// Every kind of file that this machine allows: all the steps, one after the other.
    ///
    /// About 40 MB. A format that cannot hold all of it is tested with the steps it can.
    #[must_use]
    pub fn every_kind(seed: u64) -> Self {
        Self::new(seed)
            .odd_names()
            .links()
            .linked_symlinks()
            .special_files()
            .sockets()
            .attributes()
            .inode_flags()
            .sizes()
            .holes()
            .times()
            .extreme_times()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// One more file, with the directories above it.
    #[must_use]
    pub fn file(mut self, path: impl AsRef<OsStr>, content: impl AsRef<[u8]>) -> Self {
        self.add_file(path, content.as_ref());
        self.settle()
    }

    /// One more directory, with those above it.
    #[must_use]
    pub fn directory(mut self, path: impl AsRef<OsStr>) -> Self {
        self.add_directory(path.as_ref());
        self.settle()
    }

    /// One more symbolic link, with the directories above it.
    #[must_use]
    pub fn symlink(mut self, path: impl AsRef<OsStr>, target: impl AsRef<OsStr>) -> Self {
        self.add_symlink(path, target);
        self.settle()
    }

    fn add_file(&mut self, path: impl AsRef<OsStr>, content: &[u8]) -> PathBuf {
        let full = self.place(path.as_ref());
        done(&full, fs::write(&full, content));
        self.finish_file(&full);
        full
    }

    fn add_symlink(&mut self, path: impl AsRef<OsStr>, target: impl AsRef<OsStr>) -> PathBuf {
        let full = self.place(path.as_ref());
        done(&full, symlink(target.as_ref(), &full));
        let time = self.some_time();
        set_mtime(&full, time);
        full
    }

    fn add_directory(&mut self, path: &OsStr) -> PathBuf {
        let full = self.place(path);
        if !full.is_dir() {
            done(&full, fs::create_dir(&full));
            self.finish_directory(path);
        }
        full
    }

    /// The full path, below directories that exist.
    fn place(&mut self, path: impl AsRef<OsStr>) -> PathBuf {
        let path = Path::new(path.as_ref());
        if let Some(parent) = path.parent()
            && !parent.as_os_str().is_empty()
        {
            self.add_directory(parent.as_os_str());
        }
        self.root.join(path)
    }

    fn finish_file(&mut self, full: &Path) {
        done(
            full,
            fs::set_permissions(full, Permissions::from_mode(0o644)),
        );
        let time = self.some_time();
        set_mtime(full, time);
    }

    fn finish_directory(&mut self, path: impl AsRef<OsStr>) {
        let full = if path.as_ref().is_empty() {
            self.root.clone()
        } else {
            self.root.join(path.as_ref())
        };
        done(
            &full,
            fs::set_permissions(&full, Permissions::from_mode(0o755)),
        );
        let time = self.some_time();
        self.directory_times.insert(full, time);
    }

    /// A moment between 2001 and 2033, to the nanosecond.
    fn some_time(&mut self) -> Timespec {
        let seconds = 1_000_000_000 + self.random.below(1_000_000_000);
        Timespec {
            tv_sec: i64::try_from(seconds).unwrap_or(0),
            tv_nsec: i64::try_from(self.random.below(1_000_000_000)).unwrap_or(0),
        }
    }

    /// Sets the directories' times, which every new file has changed.
    fn settle(self) -> Self {
        for (directory, &time) in &self.directory_times {
            set_mtime(directory, time);
        }
        self
    }
}

/// Clears the inode flags that would keep the scratch directory from being removed.
impl Drop for Tree {
    fn drop(&mut self) {
        if let Some(scratch) = &self.scratch {
            clear_flags(scratch.path());
        }
    }
}

/// Makes everything below a directory removable. What cannot be opened has no flags.
pub fn clear_flags(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if !kind.is_dir() && !kind.is_file() {
            continue;
        }
        if let Ok(file) = File::open(entry.path())
            && let Ok(flags) = rustix::fs::ioctl_getflags(&file)
            && flags.intersects(IFlags::IMMUTABLE | IFlags::APPEND)
        {
            let _ = rustix::fs::ioctl_setflags(&file, flags - IFlags::IMMUTABLE - IFlags::APPEND);
        }
        if kind.is_dir() {
            clear_flags(&entry.path());
        }
    }
}

/// Sets when the content changed last, of a link itself rather than what it points to.
fn set_mtime(full: &Path, time: Timespec) {
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    let set = rustix::fs::utimensat(CWD, full, &times, AtFlags::SYMLINK_NOFOLLOW);
    done(full, set.map_err(io::Error::from));
}

/// The value, or the test's end with the name of what was in the way.
fn done<T>(what: impl AsRef<Path>, result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("cannot make {}: {error}", what.as_ref().display()))
}

/// Says that a part is left out when the file system or the process may not have it.
fn where_possible(what: &str, result: Result<(), rustix::io::Errno>) {
    use rustix::io::Errno;
    match result {
        Ok(()) => {}
        Err(error @ (Errno::NOTSUP | Errno::PERM | Errno::NOTTY | Errno::INVAL)) => {
            say_left_out(what, &error.to_string());
        }
        Err(error) => panic!("cannot make {what}: {error}"),
    }
}

/// Says once in a test program that trees are made without something.
fn say_left_out(what: &str, why: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.insert(what.to_owned()) {
        say_skipped(format_args!("trees without {what}: {why}"));
    }
}
