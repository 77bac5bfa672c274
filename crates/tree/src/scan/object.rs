//! Reading what the file system says about one object, through the handle of its folder.
//!
//! A regular file or folder is opened first and asked afterwards, so that the metadata, the
//! content and the names inside are those of one object, whatever happens to the name meanwhile.
//! Opening never follows a link, never waits for the other end of a pipe and, where the system
//! allows it, leaves no trace in the access time.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Statx, StatxAttributes, StatxFlags, fgetxattr, flistxattr,
    lgetxattr, llistxattr, openat, readlinkat, statx,
};
use rustix::io::Errno;

use crate::acl::{ACL_ACCESS_XATTR, ACL_DEFAULT_XATTR, AccountNames};
use crate::{Acl, DeviceNumber, Entry, EntryKind, Flags, Owner, ProblemKind, Time, TreePath};

/// An object, and a handle on it if it can be read.
pub(crate) struct Object {
    pub(crate) entry: Entry,
    /// Of regular files and folders.
    pub(crate) handle: Option<OwnedFd>,
}

/// Most bytes of one attribute, and of the list of their names: the kernel's own limits.
///
/// Source: `XATTR_SIZE_MAX` and `XATTR_LIST_MAX` in Linux's `limits.h`.
const XATTR_SIZE_MAX: usize = 1 << 16;

/// Opens what is expected to be a file or folder; `None` when it turns out to be neither.
pub(crate) fn open(folder: BorrowedFd<'_>, name: &CStr) -> Result<Option<OwnedFd>, ProblemKind> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = match openat(folder, name, flags | OFlags::NOATIME, Mode::empty()) {
        // Only the owner of a file may keep its access time as it is.
        Err(Errno::PERM) => openat(folder, name, flags, Mode::empty()),
        other => other,
    };
    match opened {
        Ok(handle) => Ok(Some(handle)),
        // A link, a socket, or a device without a driver.
        Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => Ok(None),
        Err(error) => Err(problem("open", error)),
    }
}

/// Reads everything about an object but its content.
///
/// `can_be_opened`: the listing says that it is a regular file or a folder.
pub(crate) fn examine(
    folder: BorrowedFd<'_>,
    name: &CStr,
    path: TreePath,
    can_be_opened: bool,
    people: &People,
) -> Result<Object, ProblemKind> {
    let mut handle = None;
    if can_be_opened {
        handle = open(folder, name)?;
    }
    let wanted = StatxFlags::BASIC_STATS;
    let stat = match &handle {
        Some(handle) => statx(handle, c"", AtFlags::EMPTY_PATH, wanted),
        None => statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, wanted),
    }
    .map_err(|error| problem("examine", error))?;
    let file_type = FileType::from_raw_mode(u32::from(stat.stx_mode));
    if !can_be_opened && matches!(file_type, FileType::RegularFile | FileType::Directory) {
        // The listing did not know, or the object has been replaced.
        return examine(folder, name, path, true, people);
    }
    if !matches!(file_type, FileType::RegularFile | FileType::Directory) {
        handle = None;
    }
    let kind = match file_type {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink {
            target: readlinkat(folder, name, Vec::new())
                .map_err(|error| problem("read the link", error))?
                .into_bytes(),
        },
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        FileType::CharacterDevice => EntryKind::CharDevice(device_number(&stat)),
        FileType::BlockDevice => EntryKind::BlockDevice(device_number(&stat)),
        FileType::Unknown => return Err(ProblemKind::Replaced),
    };
    let mut entry = entry(path, kind, &stat, people);
    let attributes = match &handle {
        Some(handle) => Attributes::Of(handle),
        None => Attributes::At(folder, name),
    };
    attributes
        .read(&mut entry, people)
        .map_err(|error| problem("read the extended attributes", error))?;
    Ok(Object { entry, handle })
}

fn entry(path: TreePath, kind: EntryKind, stat: &Statx, people: &People) -> Entry {
    let time = |time: rustix::fs::StatxTimestamp| Time::new(time.tv_sec, time.tv_nsec);
    let has = |attribute| stat.stx_attributes.contains(attribute);
    Entry {
        path,
        size: match kind {
            EntryKind::File => stat.stx_size,
            _ => 0,
        },
        kind,
        mode: u32::from(stat.stx_mode) & 0o7777,
        owner: Owner {
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            user: people.user(stat.stx_uid),
            group: people.group(stat.stx_gid),
        },
        mtime: time(stat.stx_mtime),
        ctime: time(stat.stx_ctime),
        atime: time(stat.stx_atime),
        device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
        links: u64::from(stat.stx_nlink),
        hard_link: None,
        xattrs: BTreeMap::new(),
        acl_access: None,
        acl_default: None,
        // A file system that does not know a flag does not set it.
        flags: Flags {
            no_dump: has(StatxAttributes::NODUMP),
            immutable: has(StatxAttributes::IMMUTABLE),
            append_only: has(StatxAttributes::APPEND),
        },
    }
}

fn device_number(stat: &Statx) -> DeviceNumber {
    DeviceNumber {
        major: stat.stx_rdev_major,
        minor: stat.stx_rdev_minor,
    }
}

/// Turns what the system says into a problem.
pub(crate) fn problem(action: &'static str, error: Errno) -> ProblemKind {
    match error {
        Errno::NOENT => ProblemKind::Vanished,
        error => ProblemKind::Io {
            action,
            source: io::Error::from(error),
        },
    }
}

/// Where extended attributes are read from.
enum Attributes<'a> {
    /// An open object.
    Of(&'a OwnedFd),
    /// One that cannot be opened. The path leads through the handle of its folder, so that only
    /// the last component is looked up.
    At(BorrowedFd<'a>, &'a CStr),
}

impl Attributes<'_> {
    fn read(&self, entry: &mut Entry, people: &People) -> Result<(), Errno> {
        let mut small = [0; 1024];
        let names = match self.list(&mut small) {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
            Ok(length) => small.get(..length).unwrap_or_default().to_vec(),
            Err(Errno::RANGE) => {
                let mut large = vec![0; XATTR_SIZE_MAX];
                let length = self.list(&mut large)?;
                large.truncate(length);
                large
            }
            Err(error) => return Err(error),
        };
        let mut buffer = vec![0; XATTR_SIZE_MAX];
        for name in names.split(|&byte| byte == 0) {
            let Ok(name) = std::ffi::CString::new(name) else {
                continue;
            };
            if name.is_empty() {
                continue;
            }
            let length = match self.get(&name, &mut buffer) {
                Ok(length) => length,
                // Gone meanwhile, or not for us to see.
                Err(Errno::NODATA | Errno::PERM | Errno::ACCESS) => continue,
                Err(error) => return Err(error),
            };
            let value = buffer.get(..length).unwrap_or_default();
            // The kernel hands out well-formed ACLs only.
            let acl = || Acl::decode(value, &mut &*people).ok();
            match name.to_str() {
                Ok(ACL_ACCESS_XATTR) => entry.acl_access = acl(),
                Ok(ACL_DEFAULT_XATTR) => entry.acl_default = acl(),
                _ => {
                    entry.xattrs.insert(name.into_bytes(), value.to_vec());
                }
            }
        }
        Ok(())
    }

    fn list(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Of(handle) => flistxattr(handle, buffer),
            Self::At(folder, name) => llistxattr(path_through(*folder, name), buffer),
        }
    }

    fn get(&self, attribute: &CStr, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Of(handle) => fgetxattr(handle, attribute, buffer),
            Self::At(folder, name) => lgetxattr(path_through(*folder, name), attribute, buffer),
        }
    }
}

fn path_through(folder: BorrowedFd<'_>, name: &CStr) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    path
}

/// Names of users and groups, each looked up once.
#[derive(Debug, Default)]
pub(crate) struct People {
    users: Mutex<HashMap<u32, Option<Arc<str>>>>,
    groups: Mutex<HashMap<u32, Option<Arc<str>>>>,
}

impl People {
    fn user(&self, uid: u32) -> Option<Arc<str>> {
        look_up(&self.users, uid, || {
            let user = nix::unistd::User::from_uid(uid.into()).ok()??;
            Some(user.name)
        })
    }

    fn group(&self, gid: u32) -> Option<Arc<str>> {
        look_up(&self.groups, gid, || {
            let group = nix::unistd::Group::from_gid(gid.into()).ok()??;
            Some(group.name)
        })
    }
}

impl AccountNames for &People {
    fn user_name(&mut self, uid: u32) -> Option<Arc<str>> {
        self.user(uid)
    }

    fn group_name(&mut self, gid: u32) -> Option<Arc<str>> {
        self.group(gid)
    }
}

fn look_up(
    known: &Mutex<HashMap<u32, Option<Arc<str>>>>,
    number: u32,
    ask: impl FnOnce() -> Option<String>,
) -> Option<Arc<str>> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    known
        .entry(number)
        .or_insert_with(|| ask().map(Arc::from))
        .clone()
}
