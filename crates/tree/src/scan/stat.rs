//! What the file system says about one object.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    AtFlags, FileType, IFlags, StatxAttributes, StatxFlags, StatxTimestamp, fstat, ioctl_getflags,
    makedev, statat, statx,
};
use rustix::io::Errno;

use crate::{DeviceNumber, Flags, Time};

/// The metadata of an object, as one system call gives it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    pub(super) kind: FileType,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) links: u64,
    pub(super) size: u64,
    /// Blocks of 512 bytes that are kept for it.
    pub(super) blocks: u64,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) atime: Time,
    pub(super) mtime: Time,
    pub(super) ctime: Time,
    /// When the object was made, where the file system knows.
    pub(super) btime: Time,
    pub(super) special: DeviceNumber,
    /// `None` where the call does not tell, see [`Stat::flags`].
    flags: Option<Flags>,
}

/// Set when this kernel, or what it runs in, has no `statx`.
static WITHOUT_STATX: AtomicBool = AtomicBool::new(false);

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

impl Stat {
    /// Looks at a name, not at what it links to.
    pub(super) fn at(folder: impl AsFd, name: &CStr) -> Result<Self, Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        if !WITHOUT_STATX.load(Ordering::Relaxed) {
            match statx(&folder, name, flags, WANTED) {
                Err(Errno::NOSYS) => WITHOUT_STATX.store(true, Ordering::Relaxed),
                other => return other.map(|stat| Self::from_statx(&stat)),
            }
        }
        statat(&folder, name, flags).map(|stat| Self::from_stat(&stat))
    }

    /// Looks at an open object.
    pub(crate) fn of(handle: impl AsFd) -> Result<Self, Errno> {
        if !WITHOUT_STATX.load(Ordering::Relaxed) {
            match statx(&handle, c"", AtFlags::EMPTY_PATH, WANTED) {
                Err(Errno::NOSYS) => WITHOUT_STATX.store(true, Ordering::Relaxed),
                other => return other.map(|stat| Self::from_statx(&stat)),
            }
        }
        fstat(&handle).map(|stat| Self::from_stat(&stat))
    }

    fn from_statx(stat: &rustix::fs::Statx) -> Self {
        let time = |time: StatxTimestamp| Time::new(time.tv_sec, time.tv_nsec);
        let known = stat.stx_attributes_mask;
        let has = |attribute| stat.stx_attributes.contains(attribute);
        let all = StatxAttributes::NODUMP | StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
        Self {
            kind: FileType::from_raw_mode(u32::from(stat.stx_mode)),
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            links: u64::from(stat.stx_nlink),
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            device: makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            atime: time(stat.stx_atime),
            mtime: time(stat.stx_mtime),
            ctime: time(stat.stx_ctime),
            btime: if stat.stx_mask & StatxFlags::BTIME.bits() == 0 {
                Time::default()
            } else {
                time(stat.stx_btime)
            },
            special: DeviceNumber {
                major: stat.stx_rdev_major,
                minor: stat.stx_rdev_minor,
            },
            flags: known.contains(all).then(|| Flags {
                no_dump: has(StatxAttributes::NODUMP),
                immutable: has(StatxAttributes::IMMUTABLE),
                append_only: has(StatxAttributes::APPEND),
            }),
        }
    }

    fn from_stat(stat: &rustix::fs::Stat) -> Self {
        let time = |seconds: i64, nanoseconds: u64| {
            Time::new(seconds, u32::try_from(nanoseconds).unwrap_or_default())
        };
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            links: stat.st_nlink,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            blocks: u64::try_from(stat.st_blocks).unwrap_or_default(),
            device: stat.st_dev,
            inode: stat.st_ino,
            atime: time(stat.st_atime, stat.st_atime_nsec),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
            btime: Time::default(),
            special: DeviceNumber {
                major: rustix::fs::major(stat.st_rdev),
                minor: rustix::fs::minor(stat.st_rdev),
            },
            flags: None,
        }
    }

    /// The inode flags. `handle`: the open object, if it is a file or folder; others have none.
    ///
    /// Where the metadata does not tell them, the object is asked; a file system that does not
    /// know them has none set.
    pub(super) fn flags(&self, handle: Option<impl AsFd>) -> Flags {
        if let Some(flags) = self.flags {
            return flags;
        }
        let Some(flags) = handle.and_then(|handle| ioctl_getflags(handle).ok()) else {
            return Flags::default();
        };
        Flags {
            no_dump: flags.contains(IFlags::NODUMP),
            immutable: flags.contains(IFlags::IMMUTABLE),
            append_only: flags.contains(IFlags::APPEND),
        }
    }

    /// Whether it is the same object, under whatever name.
    pub(crate) fn is_same_object(&self, other: &Self) -> bool {
        (self.kind, self.device, self.inode) == (other.kind, other.device, other.inode)
    }

    /// Whether nothing of the object changed in between, as far as its times and its size tell.
    pub(crate) fn is_same_state(&self, other: &Self, ignore_ctime: bool) -> bool {
        (self.size, self.mtime) == (other.size, other.mtime)
            && (ignore_ctime || self.ctime == other.ctime)
    }

    /// Bytes of content.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether parts of the content may be holes.
    pub(crate) fn is_sparse(&self) -> bool {
        self.blocks.saturating_mul(512) < self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_change_time_alone_counts_unless_it_is_ignored() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        let before = Stat::of(file.as_file()).unwrap();
        // The clock of files may stand still for some milliseconds.
        let after = loop {
            let mode = std::fs::Permissions::from_mode(0o640);
            file.as_file().set_permissions(mode).unwrap();
            let after = Stat::of(file.as_file()).unwrap();
            if after.ctime != before.ctime {
                break after;
            }
        };
        assert!(!after.is_same_state(&before, false));
        assert!(after.is_same_state(&before, true));
        std::fs::write(file.path(), "content").unwrap();
        let written = Stat::of(file.as_file()).unwrap();
        assert!(!written.is_same_state(&before, true));
    }

    use rustix::fs::CWD;

    #[test]
    fn both_ways_to_ask_say_the_same() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        std::fs::write(&path, b"content").unwrap();
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let by_statx = Stat::from_statx(&statx(CWD, &name, flags, WANTED).unwrap());
        let by_stat = Stat::from_stat(&statat(CWD, &name, flags).unwrap());
        assert!(by_statx.is_same_object(&by_stat) && by_statx.is_same_state(&by_stat, false));
        assert_eq!(
            (
                by_statx.mode,
                by_statx.uid,
                by_statx.gid,
                by_statx.links,
                by_statx.blocks
            ),
            (
                by_stat.mode,
                by_stat.uid,
                by_stat.gid,
                by_stat.links,
                by_stat.blocks
            ),
        );
        assert_eq!(
            (by_statx.atime, by_statx.special),
            (by_stat.atime, by_stat.special)
        );
    }
}
