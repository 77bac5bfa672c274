//! Puts entries back into a file system: first the plan, then the deed.
//!
//! # Nothing outside the target changes
//!
//! An archive may be hostile, and so may be whoever else can write into the target. No path of
//! the archive is ever handed to the system as a path: its parent is resolved from a handle on
//! the target with all symbolic links refused, folders are made one component at a time, and
//! owner, mode and all else is written through the handle of the object that was made, not
//! through its name. Hard links are made from handle to handle, and only to objects that this
//! restore has put there or found right.
//!
//! # Nothing unfinished has a name
//!
//! A file gets its content, then owner, mode, ACLs, extended attributes and times, and its name
//! last, in one step (see `publish.rs`). While it is written it has no name at all where the file
//! system can do that, and one beginning with `.ravelin-restore-` elsewhere, which the next restore
//! into the same folder removes. Hence a restore that was interrupted is simply run again: a
//! regular file of the recorded size and time of change, to the nanosecond, is one that the last
//! run finished, or one that was never changed since it was backed up. Its content is neither
//! asked for nor read. A folder carries a mark until it is finished, so its attributes are not
//! forgotten.
//!
//! A power cut is another matter: a name may reach the disk before the content does. Whoever
//! wants to be sure sets [`RestoreOptions::sync`], or restores again with
//! [`Conflict::Overwrite`].
//!
//! # What is replaced
//!
//! | stands there | archive has | keep both | skip | overwrite, only if different |
//! |---|---|---|---|---|
//! | folder | folder | goes into it | goes into it | goes into it, writes its attributes |
//! | anything else, a link too | folder | new name for the folder | skips all that is in it | replaces what stands there |
//! | anything but a folder | anything but a folder | new name | skips | replaces, in one step |
//! | folder without entries | anything but a folder | new name | skips | replaces |
//! | folder with entries | anything but a folder | new name | skips | refuses |
//!
//! A symbolic link in the way of a folder is thus replaced only if that was asked for and the
//! archive itself says that a folder is there; when the archive has only something inside the folder,
//! that is refused. Extended attributes that an object has and the archive does not are left.

mod accounts;
mod act;
mod attributes;
mod beneath;
mod directories;
mod error;
mod file;
mod handles;
mod home;
mod key;
mod names;
mod options;
mod plan;
mod planner;
mod publish;
mod report;
mod special;
mod standing;
mod trouble;
mod zeros;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, CWD, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

pub use act::{Placed, Restore};
pub use error::{Refusal, RestoreError};
pub use file::FileWriter;
pub use options::{Conflict, Fidelity, Owners, RestoreOptions, Zeros};
pub use plan::{Action, RestorePlan, Tally};
pub use planner::Planner;
pub use report::{LeftOut, RestoreReport};

use beneath::Folder;
use standing::UNFINISHED_MODE;

/// Most folders inside each other that are restored.
///
/// Every one of them is opened from the root, so the time grows with the square.
const DEPTH_MAX: usize = 8192;

/// Most bytes of a path that is restored. The system's own limit, 4096 bytes, is none here, since
/// long paths are opened piece by piece.
const PATH_SIZE_MAX: usize = 128 * 1024;

/// Most copies that are kept beside each other.
const COPIES_MAX: u32 = 999;

/// A place to restore into.
///
/// ```no_run
/// # fn entries() -> Vec<tree::Entry> { Vec::new() }
/// # use tree::{Placed, RestoreOptions, Restorer};
/// # fn content(entry: &tree::Entry) -> Vec<u8> { Vec::new() }
/// let restorer = Restorer::open("/tmp/restored", RestoreOptions::default())?;
/// let mut planner = restorer.planner();
/// for entry in entries() {
///     planner.add(&entry);
/// }
/// let plan = planner.finish();
/// println!("{} bytes to write", plan.bytes_to_write());
///
/// let restore = restorer.start(plan)?;
/// for (number, entry) in entries().into_iter().enumerate() {
///     let bytes = content(&entry);
///     if let Placed::Content(file) = restore.place(number, entry)? {
///         file.write_at(0, &bytes)?;
///         file.finish()?;
///     }
/// }
/// for problem in restore.finish().problems {
///     eprintln!("{problem}");
/// }
/// # Ok::<(), tree::RestoreError>(())
/// ```
#[derive(Debug)]
pub struct Restorer {
    path: PathBuf,
    options: RestoreOptions,
    /// None while the target does not exist.
    root: Option<Arc<Folder>>,
}

impl Restorer {
    /// Looks at the target; nothing is made or changed.
    ///
    /// The way to the target may lead through symbolic links, the target may not be one.
    ///
    /// # Errors
    ///
    /// When something else than a folder is there, or a folder that cannot be opened. That nothing
    /// is there is no error: [`start`](Self::start) makes it.
    pub fn open(target: impl AsRef<Path>, options: RestoreOptions) -> Result<Self, RestoreError> {
        // Without a slash or dot at the end, which would have a link followed.
        let path: PathBuf = target.as_ref().components().collect();
        let root = match open_target(&path) {
            Ok(folder) => Some(Arc::new(folder)),
            Err(Errno::NOENT) => None,
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(not_a_folder(path)),
            Err(errno) => return Err(failed(path, errno)),
        };
        Ok(Self {
            path,
            options,
            root,
        })
    }

    /// Begins a plan. Entries are added in the order of the archive.
    #[must_use]
    pub fn planner(&self) -> Planner<'_> {
        Planner::new(&self.options, self.root.as_ref())
    }

    /// Begins to carry out a plan that a [`planner`](Self::planner) of this target has made.
    ///
    /// The target is made if it does not exist, private until the restore is finished.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Busy`] while another restore writes into the same target, or when the
    /// target cannot be made.
    pub fn start(self, plan: RestorePlan) -> Result<Restore, RestoreError> {
        let path = self.path;
        let (root, made) = match self.root {
            Some(root) => (root, false),
            None => match make_target(&path) {
                Ok((folder, made)) => (Arc::new(folder), made),
                Err(Errno::NOTDIR | Errno::LOOP) => return Err(not_a_folder(path)),
                Err(errno) => return Err(failed(path, errno)),
            },
        };
        let lock = TargetLock::take(root).map_err(|errno| match errno {
            Errno::WOULDBLOCK => RestoreError::Busy { path: path.clone() },
            errno => failed(path.clone(), errno),
        })?;
        Restore::new(path.clone(), lock, made, self.options, plan)
            .map_err(|errno| failed(path, errno))
    }
}

/// The target, while one restore writes into it.
///
/// A crash releases it. Where the file system has no locks, two restores at once may remove each
/// other's unfinished files, and say so.
#[derive(Debug)]
struct TargetLock(Arc<Folder>);

impl TargetLock {
    fn take(root: Arc<Folder>) -> Result<Self, Errno> {
        match fs::flock(&*root, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(Errno::WOULDBLOCK),
            _ => Ok(Self(root)),
        }
    }
}

impl Drop for TargetLock {
    fn drop(&mut self) {
        // Closing the handle is not enough: a process that is being started may have a copy.
        let _held = fs::flock(&*self.0, FlockOperation::Unlock);
    }
}

fn open_target(path: &Path) -> Result<Folder, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = fs::openat(CWD, path, flags, Mode::empty())?;
    Ok(Folder::from_handle(handle))
}

/// Makes the target; whether it was not there.
fn make_target(path: &Path) -> Result<(Folder, bool), Errno> {
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(parent);
        made.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    }
    let made = match fs::mkdirat(CWD, path, Mode::from_raw_mode(UNFINISHED_MODE)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(errno),
    };
    Ok((open_target(path)?, made))
}

fn not_a_folder(path: PathBuf) -> RestoreError {
    let stat = fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW);
    match stat.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::Symlink) => RestoreError::TargetIsLink { path },
        _ => RestoreError::NotAFolder { path },
    }
}

fn failed(path: PathBuf, errno: Errno) -> RestoreError {
    match error::Stop::from_errno(errno) {
        Some(stop) => stop.error(path),
        None => RestoreError::Target {
            path,
            source: io::Error::from(errno),
        },
    }
}

#[cfg(test)]
mod testing {
    //! A restore of a few files, with a hand inside it.

    use super::publish::Lacks;
    use super::*;
    use crate::{Entry, EntryKind, Time, TreePath};

    /// Restores files whose content is their name.
    pub(super) fn restore_with(
        target: &Path,
        names: &[&str],
        conflict: Conflict,
        lack: impl Fn(&Lacks),
    ) -> RestoreReport {
        let entries: Vec<Entry> = names.iter().map(|name| file(name)).collect();
        let options = RestoreOptions {
            conflict,
            ..RestoreOptions::default()
        };
        let restorer = Restorer::open(target, options).unwrap();
        let mut planner = restorer.planner();
        for entry in &entries {
            planner.add(entry);
        }
        let plan = planner.finish();
        let restore = restorer.start(plan).unwrap();
        lack(restore.lacks());
        for (number, entry) in entries.into_iter().enumerate() {
            let name = entry.path.as_bytes().to_vec();
            if let Placed::Content(file) = restore.place(number, entry).unwrap() {
                file.write_at(0, &name).unwrap();
                assert!(file.finish().unwrap());
            }
        }
        restore.finish()
    }

    fn file(name: &str) -> Entry {
        let owner = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let time = Time::new(1_600_000_000, 1);
        Entry {
            ctime: Time::default(),
            atime: Time::default(),
            size: name.len() as u64,
            ..Entry::new(
                TreePath::new(name).unwrap(),
                EntryKind::File,
                0o640,
                owner,
                time,
            )
        }
    }
}
