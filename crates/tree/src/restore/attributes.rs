//! Owner, mode, ACLs, extended attributes, times and flags of one object, written by handle.
//!
//! The order matters. The owner comes first: giving a file away clears set-uid and file
//! capabilities. The mode comes next, then the ACLs, whose mask is part of the mode. Then the
//! extended attributes, and the times after everything that could touch them. Flags come last:
//! nothing can be changed on an immutable file. Of a folder the ACLs and the mode come after all
//! but the locks, for its mode is the mark by which an interrupted restore knows it again.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{self, AtFlags, Gid, IFlags, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::accounts::{Accounts, WantedOwner};
use super::options::Fidelity;
use super::report::{Results, Without};
use super::standing::{mtime, same_moment};
use crate::{
    ACL_ACCESS_XATTR, ACL_DEFAULT_XATTR, Acl, Entry, EntryKind, Flags, ProblemKind, Time, TreePath,
};

/// Set-uid and set-gid.
const SET_IDS: u32 = 0o6000;

/// Set-gid.
const SET_GID: u32 = 0o2000;

/// The sticky bit.
const STICKY: u32 = 0o1000;

/// Read, write and execute for owner, group and others.
const PERMISSIONS: u32 = 0o777;

/// Most bytes of one extended attribute.
const XATTR_SIZE_MAX: usize = 65_536;

/// An object by its handle.
#[derive(Debug, Clone, Copy)]
pub(super) enum Object<'a> {
    /// Opened for reading or writing.
    Opened(BorrowedFd<'a>),
    /// Only referred to (`O_PATH`): what cannot be opened, or must not be.
    Referred(BorrowedFd<'a>),
}

/// What is recorded of an object, apart from its content.
#[derive(Debug, Clone)]
pub(super) struct Attributes {
    kind: Kind,
    mode: u32,
    owner: WantedOwner,
    mtime: Time,
    atime: Time,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    acl_access: Option<Acl>,
    acl_default: Option<Acl>,
    pub(super) flags: Flags,
}

/// What the attributes belong to, as far as it makes a difference to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
    Link,
    Special,
}

/// What there is before attributes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// The object was just made and has nothing but what it got from its folder, an ACL for
    /// instance.
    Made {
        /// Whether it got an ACL.
        with_acl: bool,
    },
    /// It stood there: what is right already is not written again.
    Stood,
}

/// Writes attributes, and notes what could not be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttributeWriter<'a> {
    pub(super) fidelity: Fidelity,
    pub(super) accounts: &'a Accounts,
    pub(super) results: &'a Results,
}

impl Attributes {
    pub(super) fn of(entry: &Entry, accounts: &Accounts) -> Self {
        Self::new(entry.clone(), accounts)
    }

    pub(super) fn new(entry: Entry, accounts: &Accounts) -> Self {
        Self {
            kind: match entry.kind {
                EntryKind::File => Kind::File,
                EntryKind::Directory => Kind::Folder,
                EntryKind::Symlink { .. } => Kind::Link,
                _ => Kind::Special,
            },
            mode: entry.mode,
            owner: accounts.wanted(&entry.owner),
            mtime: entry.mtime,
            atime: entry.atime,
            xattrs: entry.xattrs,
            acl_access: entry.acl_access,
            acl_default: entry.acl_default,
            flags: entry.flags,
        }
    }

    /// The mode to give, when the owner is as recorded or not.
    fn wanted_mode(&self, fidelity: Fidelity, owner_right: bool) -> u32 {
        let mut kept = PERMISSIONS;
        if fidelity >= Fidelity::Usual {
            kept |= STICKY;
            if self.kind == Kind::Folder && owner_right {
                kept |= SET_GID;
            }
        }
        if fidelity == Fidelity::AsItWas && owner_right {
            kept |= SET_IDS;
        }
        self.mode & kept
    }

    /// The permission bits alone: with these an object may be made.
    pub(super) fn permissions(&self) -> Mode {
        Mode::from_raw_mode(self.mode & PERMISSIONS)
    }

    /// Whether there are flags that are set only when nothing else is left to do.
    pub(super) fn lock(flags: Flags, fidelity: Fidelity) -> bool {
        fidelity == Fidelity::AsItWas && (flags.immutable || flags.append_only)
    }
}

impl AttributeWriter<'_> {
    /// Whether [`write`](Self::write) would change anything.
    pub(super) fn would_change(self, wanted: &Attributes, object: Object<'_>, stat: &Stat) -> bool {
        let WantedOwner { uid, gid } = wanted.owner;
        let other = |wanted: Option<u32>, is: u32| {
            wanted.is_some_and(|wanted| wanted != is && wanted != u32::MAX)
        };
        let other_owner = other(uid, stat.st_uid) || other(gid, stat.st_gid);
        let may_give_away = rustix::process::geteuid().is_root();
        (other_owner && may_give_away)
            || (wanted.kind != Kind::Link
                && stat.st_mode & 0o7777 != wanted.wanted_mode(self.fidelity, !other_owner))
            || !same_moment(mtime(stat), wanted.mtime)
            || self.acl_differs(object, wanted)
            || wanted
                .xattrs
                .iter()
                .filter(|(name, _)| self.restores_xattr(name))
                .any(|(name, value)| object.xattr(name).ok().as_ref() != Some(value))
            || Attributes::lock(wanted.flags, self.fidelity)
    }

    fn acl_differs(self, object: Object<'_>, wanted: &Attributes) -> bool {
        let differs = |name: &str, acl: Option<&Acl>| {
            let acl = acl.map(|acl| acl.encode(&mut &*self.accounts));
            object.xattr(name.as_bytes()).ok() != acl
        };
        self.fidelity >= Fidelity::Usual
            && wanted.kind != Kind::Link
            && (differs(ACL_ACCESS_XATTR, wanted.acl_access.as_ref())
                || (wanted.kind == Kind::Folder
                    && differs(ACL_DEFAULT_XATTR, wanted.acl_default.as_ref())))
    }

    /// Writes everything but the flags that lock.
    ///
    /// What fails is a problem of `path`, and the rest is written nevertheless.
    pub(super) fn write(
        self,
        wanted: &Attributes,
        object: Object<'_>,
        stat: &Stat,
        before: Before,
        path: &TreePath,
    ) {
        let owner_right = self.write_owner(wanted, object, stat, path);
        if wanted.kind != Kind::Folder {
            self.write_mode(wanted, object, stat, owner_right, path);
            let acl = wanted.acl_access.as_ref();
            self.write_acl(wanted, acl, ACL_ACCESS_XATTR, object, before, path);
        }
        self.write_xattrs(wanted, object, before, path);
        if before != Before::Stood || !same_moment(mtime(stat), wanted.mtime) {
            let times = Timestamps {
                last_access: timespec(wanted.atime),
                last_modification: timespec(wanted.mtime),
            };
            self.check(path, "set the times", object.set_times(&times));
        }
        self.write_flags(wanted, object, path);
        if wanted.kind == Kind::Folder {
            // The mode tells a folder that is not finished, and an ACL changes it.
            let acl = wanted.acl_default.as_ref();
            self.write_acl(wanted, acl, ACL_DEFAULT_XATTR, object, before, path);
            let acl = wanted.acl_access.as_ref();
            self.write_acl(wanted, acl, ACL_ACCESS_XATTR, object, before, path);
            self.write_mode(wanted, object, stat, owner_right, path);
        }
    }

    fn write_mode(
        self,
        wanted: &Attributes,
        object: Object<'_>,
        stat: &Stat,
        owner_right: bool,
        path: &TreePath,
    ) {
        if wanted.kind == Kind::Link {
            return;
        }
        let mode = wanted.wanted_mode(self.fidelity, owner_right);
        if wanted.mode & !mode & SET_IDS != 0 {
            self.results.without(Without::SetId);
        }
        // Since `stat` was taken, a new owner may have cleared set-uid, and an ACL changed more.
        let may_have_changed = mode & SET_IDS != 0 || wanted.acl_access.is_some();
        if may_have_changed || stat.st_mode & 0o7777 != mode {
            self.check(path, "set the permissions", object.set_mode(mode));
        }
    }

    /// Gives the object to whom it shall belong, and says whether it belongs to them.
    fn write_owner(
        self,
        wanted: &Attributes,
        object: Object<'_>,
        stat: &Stat,
        path: &TreePath,
    ) -> bool {
        let (Some(uid), Some(gid)) = (wanted.owner.uid, wanted.owner.gid) else {
            return false;
        };
        // `-1` means "as it is" to the system: an archive must not have it taken for a number.
        let real = |number: u32| (number != u32::MAX).then_some(number);
        let new_uid = real(uid).filter(|&uid| uid != stat.st_uid);
        let new_gid = real(gid).filter(|&gid| gid != stat.st_gid);
        let mut right = real(uid).is_some() && real(gid).is_some();
        if new_uid.is_some() || new_gid.is_some() {
            match object.set_owner(new_uid, new_gid) {
                Ok(()) => {}
                // No right to give it away, or the file system keeps no owners. One's own groups
                // are often possible.
                Err(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP | Errno::OVERFLOW) => {
                    right = false;
                    if new_uid.is_some() && new_gid.is_some() {
                        let _second_best = object.set_owner(None, new_gid);
                    }
                }
                Err(errno) => {
                    right = false;
                    self.problem(path, "set the owner", errno);
                }
            }
        }
        if !right {
            self.results.without(Without::Owner);
        }
        right
    }

    fn write_acl(
        self,
        wanted: &Attributes,
        acl: Option<&Acl>,
        name: &'static str,
        object: Object<'_>,
        before: Before,
        path: &TreePath,
    ) {
        if self.fidelity < Fidelity::Usual || wanted.kind == Kind::Link {
            return;
        }
        let value = acl.map(|acl| acl.encode(&mut &*self.accounts));
        let result = match (value, before) {
            (None, Before::Made { with_acl: false }) => return,
            (value, Before::Stood) if object.xattr(name.as_bytes()).ok() == value => return,
            (None, _) => match object.remove_xattr(name.as_bytes()) {
                Err(Errno::NODATA | Errno::OPNOTSUPP) => return,
                result => result,
            },
            (Some(value), _) => object.set_xattr(name.as_bytes(), &value),
        };
        match result {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP) => self.results.without(Without::Acl),
            Err(errno) => self.problem(path, "set the access control list", errno),
        }
    }

    fn write_xattrs(
        self,
        wanted: &Attributes,
        object: Object<'_>,
        before: Before,
        path: &TreePath,
    ) {
        let mut without = false;
        for (name, value) in &wanted.xattrs {
            if is_acl(name) {
                // The ACLs are recorded apart, and were written.
                continue;
            }
            if !self.restores_xattr(name) {
                without = true;
                continue;
            }
            if before == Before::Stood && object.xattr(name).as_ref() == Ok(value) {
                continue;
            }
            match object.set_xattr(name, value) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP) => without = true,
                // Labels and capabilities take rights; ordinary attributes should not.
                Err(Errno::PERM) if !name.starts_with(b"user.") => without = true,
                Err(errno) => self.problem(path, "set an extended attribute", errno),
            }
        }
        if without {
            self.results.without(Without::Xattr);
        }
    }

    fn restores_xattr(self, name: &[u8]) -> bool {
        !is_acl(name) && (name.starts_with(b"user.") || self.fidelity == Fidelity::AsItWas)
    }

    /// Sets the flags that do not lock.
    fn write_flags(self, wanted: &Attributes, object: Object<'_>, path: &TreePath) {
        let Flags {
            no_dump,
            immutable,
            append_only,
        } = wanted.flags;
        if (immutable || append_only) && self.fidelity != Fidelity::AsItWas {
            self.results.without(Without::Flag);
        }
        if no_dump && self.fidelity >= Fidelity::Usual {
            self.add_flags(object, IFlags::NODUMP, path);
        }
    }

    /// Locks an object: immutable or append-only, when that is wanted. Nothing can be done with it
    /// afterwards.
    pub(super) fn write_locks(self, wanted: &Attributes, object: Object<'_>, path: &TreePath) {
        if Attributes::lock(wanted.flags, self.fidelity) {
            let mut flags = IFlags::empty();
            flags.set(IFlags::IMMUTABLE, wanted.flags.immutable);
            flags.set(IFlags::APPEND, wanted.flags.append_only);
            self.add_flags(object, flags, path);
        }
    }

    fn add_flags(self, object: Object<'_>, flags: IFlags, path: &TreePath) {
        match object.add_flags(flags) {
            Ok(()) => {}
            Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::PERM | Errno::NOSYS | Errno::INVAL) => {
                self.results.without(Without::Flag);
            }
            Err(errno) => self.problem(path, "set the flags", errno),
        }
    }

    fn check(self, path: &TreePath, action: &'static str, result: Result<(), Errno>) {
        if let Err(errno) = result {
            self.problem(path, action, errno);
        }
    }

    fn problem(self, path: &TreePath, action: &'static str, errno: Errno) {
        let source = errno.into();
        self.results
            .problem(path, ProblemKind::Io { action, source });
    }
}

impl Object<'_> {
    fn set_owner(self, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self {
            Self::Opened(handle) => fs::fchown(handle, uid, gid),
            Self::Referred(handle) => fs::chownat(handle, c"", uid, gid, AtFlags::EMPTY_PATH),
        }
    }

    fn set_mode(self, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Opened(handle) => fs::fchmod(handle, mode),
            Self::Referred(handle) => fs::chmod(by_handle(handle), mode),
        }
    }

    fn set_times(self, times: &Timestamps) -> Result<(), Errno> {
        match self {
            Self::Opened(handle) => fs::futimens(handle, times),
            Self::Referred(handle) => fs::utimensat(handle, c"", times, AtFlags::EMPTY_PATH),
        }
    }

    fn set_xattr(self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Opened(handle) => fs::fsetxattr(handle, name, value, XattrFlags::empty()),
            Self::Referred(handle) => {
                fs::setxattr(by_handle(handle), name, value, XattrFlags::empty())
            }
        }
    }

    fn remove_xattr(self, name: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Opened(handle) => fs::fremovexattr(handle, name),
            Self::Referred(handle) => fs::removexattr(by_handle(handle), name),
        }
    }

    fn xattr(self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; 256];
        loop {
            let result = match self {
                Self::Opened(handle) => fs::fgetxattr(handle, name, value.as_mut_slice()),
                Self::Referred(handle) => {
                    fs::getxattr(by_handle(handle), name, value.as_mut_slice())
                }
            };
            match result {
                Ok(size) => {
                    value.truncate(size);
                    return Ok(value);
                }
                Err(Errno::RANGE) if value.len() < XATTR_SIZE_MAX => {
                    value.resize(XATTR_SIZE_MAX, 0);
                }
                Err(errno) => return Err(errno),
            }
        }
    }

    fn add_flags(self, flags: IFlags) -> Result<(), Errno> {
        let Self::Opened(handle) = self else {
            return Err(Errno::OPNOTSUPP);
        };
        let present = fs::ioctl_getflags(handle)?;
        if present.contains(flags) {
            return Ok(());
        }
        fs::ioctl_setflags(handle, present | flags)
    }
}

/// The name under which the system reaches what a handle refers to, whatever stands under its
/// path by now. A symbolic link is reached itself: the kernel does not go on from there.
fn by_handle(handle: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

fn is_acl(name: &[u8]) -> bool {
    name == ACL_ACCESS_XATTR.as_bytes() || name == ACL_DEFAULT_XATTR.as_bytes()
}

fn timespec(time: Time) -> Timespec {
    Timespec {
        tv_sec: time.seconds(),
        tv_nsec: time.subsecond(),
    }
}
