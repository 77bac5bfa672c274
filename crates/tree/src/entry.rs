//! What a file system has at one path.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::TreePath;

/// One object of a file system, with everything that Linux keeps about it but the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands, as a backup stores it: relative, from the root of the file system or
    /// from where the source says.
    pub path: TreePath,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with set-uid, set-gid and sticky: the low 12 bits of the mode.
    pub mode: u32,
    /// Owner.
    pub owner: Owner,
    /// When the content changed last.
    pub mtime: Time,
    /// When the content or the metadata changed last. Cannot be restored.
    pub ctime: Time,
    /// When it was read last, as far as the file system keeps that.
    pub atime: Time,
    /// Bytes of content; 0 for anything but a regular file.
    pub size: u64,
    /// Device number of the file system.
    pub device: u64,
    /// Inode number: with `device`, which object this is, under whatever name.
    pub inode: u64,
    /// How many names the object has.
    pub links: u64,
    /// The first name in scan order, when this entry is a further name of an object that came
    /// before. Directories have none.
    pub hard_link: Option<Arc<TreePath>>,
    /// Extended attributes, without the POSIX ACLs.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// POSIX access ACL, when it says more than the mode.
    pub acl_access: Option<Acl>,
    /// POSIX default ACL of a directory.
    pub acl_default: Option<Acl>,
    /// Inode flags.
    pub flags: Flags,
}

/// What kind of object an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link and where it points: any bytes.
    Symlink {
        /// The target, as it stands in the link.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A socket. Backup formats leave it out.
    Socket,
    /// A character device.
    CharDevice(DeviceNumber),
    /// A block device.
    BlockDevice(DeviceNumber),
}

/// Major and minor number of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceNumber {
    /// Which driver.
    pub major: u32,
    /// Which device of that driver.
    pub minor: u32,
}

/// Who owns an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Number of the user.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Name of the user, when this machine knows one.
    pub user: Option<Arc<str>>,
    /// Name of the group, when this machine knows one.
    pub group: Option<Arc<str>>,
}

/// A moment as file systems keep it: nanoseconds since 1970 in UTC, negative before.
///
/// Reaches from the year 1677 to 2262.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Nanoseconds since 1970-01-01 00:00 UTC.
    pub nanoseconds: i64,
}

impl Time {
    /// Clamps what does not fit.
    #[must_use]
    pub fn new(seconds: i64, nanoseconds: u32) -> Self {
        Self {
            nanoseconds: seconds
                .saturating_mul(1_000_000_000)
                .saturating_add(i64::from(nanoseconds)),
        }
    }

    /// Whole seconds, rounded towards the past.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.nanoseconds.div_euclid(1_000_000_000)
    }

    /// Nanoseconds within the second: 0 to 999,999,999.
    #[must_use]
    pub fn subsecond(self) -> i64 {
        self.nanoseconds.rem_euclid(1_000_000_000)
    }
}

/// A POSIX access control list, decoded from `system.posix_acl_*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    /// In the kernel's order.
    pub entries: Vec<AclEntry>,
}

/// One line of an [`Acl`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclEntry {
    /// Whom it is about.
    pub who: AclWho,
    /// Read (4), write (2), execute (1).
    pub permissions: u8,
}

/// Whom a line of an [`Acl`] is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AclWho {
    /// The owner of the object.
    UserOwner,
    /// A user, by number, and by name when this machine knows one.
    User(u32, Option<Arc<str>>),
    /// The group of the object.
    GroupOwner,
    /// A group, by number, and by name when this machine knows one.
    Group(u32, Option<Arc<str>>),
    /// The most that named users and groups get.
    Mask,
    /// Everybody else.
    Other,
}

/// Inode flags that can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// `chattr +d`: leave this out of dumps.
    pub no_dump: bool,
    /// `chattr +i`: nothing may change.
    pub immutable: bool,
    /// `chattr +a`: content may only be added.
    pub append_only: bool,
}

impl Entry {
    /// An object of which no more than this is known: its owner by number, one moment for all
    /// times, no attributes, no other name. A file has no content before its size is set.
    #[must_use]
    pub fn new(path: TreePath, kind: EntryKind, mode: u32, owner: (u32, u32), time: Time) -> Self {
        let (uid, gid) = owner;
        Self {
            path,
            kind,
            mode,
            owner: Owner {
                uid,
                gid,
                user: None,
                group: None,
            },
            mtime: time,
            ctime: time,
            atime: time,
            size: 0,
            device: 0,
            inode: 0,
            links: 1,
            hard_link: None,
            xattrs: BTreeMap::new(),
            acl_access: None,
            acl_default: None,
            flags: Flags::default(),
        }
    }

    /// Whether this is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind == EntryKind::File
    }

    /// Whether this is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.kind == EntryKind::Directory
    }
}

/// One letter as `ls -l` shows it.
impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "-",
            Self::Directory => "d",
            Self::Symlink { .. } => "l",
            Self::Fifo => "p",
            Self::Socket => "s",
            Self::CharDevice(_) => "c",
            Self::BlockDevice(_) => "b",
        })
    }
}
