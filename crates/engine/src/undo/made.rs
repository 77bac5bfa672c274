//! What a restore has created, so that undoing takes it away again.
//!
//! A file is taken away only while it is the very one that the restore left: the same inode, and not
//! changed since in any way. A folder goes when nothing is in it any more. Folders on the way are opened
//! one by one, and none of them through a link.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags};
use serde::{Deserialize, Serialize};
use tree::{Entry, EntryKind, TreePath};

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// One file, link or folder that was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// Its path below the target, in base64: names need not be text.
    path: String,
    inode: u64,
    /// When it was changed last in any way: seconds since 1970, and nanoseconds.
    changed: (i64, u32),
    pub(super) is_folder: bool,
}

impl Made {
    pub(super) fn path(&self) -> Option<TreePath> {
        TreePath::new(STANDARD.decode(&self.path).ok()?).ok()
    }
}

/// Opens the folder that something stands in; gives it with the name there.
fn reach<'a>(target: &Path, path: &'a TreePath) -> io::Result<(OwnedFd, &'a [u8])> {
    let mut folder = rustix::fs::openat(CWD, target, FOLDER, Mode::empty())?;
    let mut names = path.as_bytes().split(|&byte| byte == b'/').peekable();
    while let Some(name) = names.next() {
        if names.peek().is_none() {
            return Ok((folder, name));
        }
        folder = rustix::fs::openat(&folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Err(io::ErrorKind::InvalidInput.into())
}

fn look(target: &Path, path: &TreePath) -> io::Result<Statx> {
    let (folder, name) = reach(target, path)?;
    let (flags, wanted) = (AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
    Ok(rustix::fs::statx(&folder, name, flags, wanted)?)
}

fn kind(found: &Statx) -> FileType {
    FileType::from_raw_mode(found.stx_mode.into())
}

fn changed(found: &Statx) -> (i64, u32) {
    (found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec)
}

/// Notes those of the entries, whose paths are the places below the target, that stand there now.
pub(super) fn note(target: &Path, created: &[Entry]) -> Vec<Made> {
    let stands = |entry: &Entry| {
        let found = look(target, &entry.path).ok()?;
        is_that(entry, &found).then(|| Made {
            path: STANDARD.encode(entry.path.as_bytes()),
            inode: found.stx_ino,
            changed: changed(&found),
            is_folder: kind(&found) == FileType::Directory,
        })
    };
    created.iter().filter_map(stands).collect()
}

/// Whether what stands there came of the entry: somebody may have been faster, or it was not restored.
fn is_that(entry: &Entry, found: &Statx) -> bool {
    match (&entry.kind, kind(found)) {
        (EntryKind::File, FileType::RegularFile) => {
            let second = entry.mtime.nanoseconds.div_euclid(1_000_000_000);
            // A further name of an object may come without the size.
            second == found.stx_mtime.tv_sec
                && (entry.hard_link.is_some() || entry.size == found.stx_size)
        }
        (EntryKind::Directory, FileType::Directory)
        | (EntryKind::Symlink { .. }, FileType::Symlink)
        | (EntryKind::Fifo, FileType::Fifo) => true,
        _ => false,
    }
}

/// Those that are still as they were left. Of folders, those that are still there.
pub(super) fn still(target: &Path, made: &[Made]) -> Vec<Made> {
    let is_still = |made: &&Made| {
        let found = made.path().and_then(|path| look(target, &path).ok());
        found.is_some_and(|found| {
            found.stx_ino == made.inode && (made.is_folder || changed(&found) == made.changed)
        })
    };
    made.iter().filter(is_still).cloned().collect()
}

/// Takes them away, what is in a folder before the folder; gives how many files and links went.
pub(super) fn remove(target: &Path, made: &[Made]) -> u64 {
    let mut removed = 0;
    for made in made.iter().rev() {
        let Some(path) = made.path() else { continue };
        let still = look(target, &path).is_ok_and(|found| found.stx_ino == made.inode);
        let flags = match made.is_folder {
            true => AtFlags::REMOVEDIR,
            false => AtFlags::empty(),
        };
        let gone = still
            && reach(target, &path).is_ok_and(|(folder, name)| {
                // A folder in which something is stays.
                rustix::fs::unlinkat(&folder, name, flags).is_ok()
            });
        removed += u64::from(gone && !made.is_folder);
    }
    removed
}
