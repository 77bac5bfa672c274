//! What stands at a place, and whether it is what was recorded.

use std::os::fd::OwnedFd;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::beneath::Folder;
use crate::{Entry, EntryKind, Time};

/// Mode of a folder that a restore has made and not finished: sticky and private, which nobody
/// uses otherwise. The next restore knows by it that the recorded attributes are still to come.
pub(super) const UNFINISHED_MODE: u32 = 0o1700;

/// The sticky bit.
const STICKY: u32 = 0o1000;

/// File systems keep times in steps of so many nanoseconds, if not of one: NTFS, UDF, exFAT, old
/// Unix file systems, FAT.
const COARSE_STEPS: [i64; 5] = [100, 1_000, 10_000_000, 1_000_000_000, 2_000_000_000];

/// The object under a name, whatever it is; a symbolic link is not followed.
pub(super) fn stat_in(folder: &Folder, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Device and inode number: which object it is, under whatever name.
pub(super) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

pub(super) fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Whether a folder is one that an interrupted restore has left: it has the mark, or it has got
/// its ACL and not lost the sticky bit yet.
pub(super) fn is_unfinished(stat: &Stat, entry: &Entry) -> bool {
    let mode = stat.st_mode & 0o7777;
    mode == UNFINISHED_MODE
        || (entry.acl_access.is_some()
            && entry.mode & STICKY == 0
            && mode == (entry.mode & 0o777) | STICKY)
}

pub(super) fn mtime(stat: &Stat) -> Time {
    Time::new(
        stat.st_mtime,
        u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
    )
}

/// The kind of file that an entry becomes.
pub(super) fn file_type(kind: &EntryKind) -> FileType {
    match kind {
        EntryKind::File => FileType::RegularFile,
        EntryKind::Directory => FileType::Directory,
        EntryKind::Symlink { .. } => FileType::Symlink,
        EntryKind::Fifo => FileType::Fifo,
        EntryKind::Socket => FileType::Socket,
        EntryKind::CharDevice(_) => FileType::CharacterDevice,
        EntryKind::BlockDevice(_) => FileType::BlockDevice,
    }
}

/// Whether the content that stands there is what was recorded: see the head of
/// [`restore`](crate::restore) for why size and time of change suffice.
pub(super) fn has_content_of(entry: &Entry, stat: &Stat, folder: &Folder, name: &[u8]) -> bool {
    if FileType::from_raw_mode(stat.st_mode) != file_type(&entry.kind) {
        return false;
    }
    match &entry.kind {
        EntryKind::File => {
            u64::try_from(stat.st_size) == Ok(entry.size) && same_moment(mtime(stat), entry.mtime)
        }
        EntryKind::Symlink { target } => fs::readlinkat(folder, name, Vec::new())
            .is_ok_and(|is| is.as_bytes() == target.as_slice()),
        EntryKind::CharDevice(number) | EntryKind::BlockDevice(number) => {
            stat.st_rdev == fs::makedev(number.major, number.minor)
        }
        EntryKind::Directory | EntryKind::Fifo | EntryKind::Socket => true,
    }
}

/// Opens what stands under a name to read its attributes, without following a link.
///
/// Only a regular file is really opened: a pipe would wait, a device would act. A pipe that has
/// come in its place does not hold us up.
pub(super) fn open_to_look(folder: &Folder, name: &[u8], file: bool) -> Result<OwnedFd, Errno> {
    let how = if file {
        OFlags::RDONLY | OFlags::NONBLOCK
    } else {
        OFlags::PATH
    };
    let flags = how | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(folder, name, flags, Mode::empty())
}

/// Whether a time that a file system gives back is the one that was set.
///
/// Equal to the nanosecond; or rounded down to the steps that some file systems keep; or, for
/// times beyond 32 bits of seconds, the last that others keep.
pub(super) fn same_moment(is: Time, set: Time) -> bool {
    let rounded = |step: i64| set.nanoseconds.div_euclid(step).saturating_mul(step);
    let (first, last) = (i64::from(i32::MIN), i64::from(i32::MAX));
    is == set
        || COARSE_STEPS
            .iter()
            .any(|&step| is.nanoseconds == rounded(step))
        || (set.seconds() < first && is.seconds() == first)
        || (set.seconds() > last && is.seconds() == last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_recognised_as_far_as_the_file_system_keeps_it() {
        let set = Time::new(1_700_000_001, 123_456_789);
        let is = |nanoseconds| same_moment(Time { nanoseconds }, set);
        assert!(is(1_700_000_001_123_456_789));
        assert!(is(1_700_000_001_123_456_700), "NTFS");
        assert!(is(1_700_000_001_000_000_000), "ext3");
        assert!(is(1_700_000_000_000_000_000), "FAT");
        assert!(!is(1_700_000_001_123_456_788));
        assert!(!is(1_700_000_002_000_000_000));
    }

    #[test]
    fn a_time_that_was_clamped_is_recognised() {
        let ancient = Time {
            nanoseconds: i64::MIN,
        };
        assert!(same_moment(Time::new(i64::from(i32::MIN), 0), ancient));
        assert!(!same_moment(Time::new(0, 0), ancient));
        let distant = Time::new(5_000_000_000, 0);
        assert!(same_moment(Time::new(i64::from(i32::MAX), 0), distant));
    }
}
