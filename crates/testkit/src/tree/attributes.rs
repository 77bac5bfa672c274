//! Modes, owners, extended attributes, access control lists, capabilities, flags, times.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{IFlags, Timespec, XattrFlags};

use super::{Tree, done, say_left_out, set_mtime, where_possible};
use crate::skip::is_root;

/// `cap_net_raw+ep`, as the kernel keeps it (version 2).
const NET_RAW: [u8; 20] = [
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Tags of a POSIX ACL's entries, from `linux/posix_acl.h`.
const USER_OWNER: u16 = 1;
const USER: u16 = 2;
const GROUP_OWNER: u16 = 4;
const GROUP: u16 = 8;
const MASK: u16 = 16;
const OTHER: u16 = 32;

/// The number in entries that name nobody.
const NOBODY_NAMED: u32 = u32::MAX;

impl Tree {
    /// Modes with every special bit, owners (as root), extended attributes (also empty and
    /// binary ones), access control lists, capabilities (as root).
    #[must_use]
    pub fn attributes(mut self) -> Self {
        for mode in [0o400, 0o640, 0o777, 0o4755, 0o2755, 0o1644, 0o6711] {
            let full = self.add_file(format!("modes/{mode:04o}"), format!("{mode:o}").as_bytes());
            self.set_mode(&full, mode);
        }
        for mode in [0o700, 0o1777, 0o2775] {
            let full = self.add_directory(format!("modes/folder {mode:04o}").as_ref());
            self.set_mode(&full, mode);
        }
        self.add_xattrs();
        self.add_acls();
        if is_root() {
            self.add_owners();
        } else {
            say_left_out("foreign owners and capabilities", "needs root");
        }
        self.settle()
    }

    fn add_xattrs(&mut self) {
        let file = self.add_file("xattrs/file", b"with attributes");
        let folder = self.add_directory("xattrs/folder".as_ref());
        for full in [&file, &folder] {
            self.set_xattr(full, "user.text", b"a value");
            self.set_xattr(full, "user.binary", b"\0\xff\n\x80");
            self.set_xattr(full, "user.empty", b"");
            self.set_xattr(full, "user.long", &[b'v'; 2000]);
            self.set_xattr(full, "user.n\u{e4}me with space", b"odd name");
        }
        if is_root() {
            let link = self.add_symlink("xattrs/link", "file");
            self.set_xattr(&link, "trusted.of-the-link", b"not of the target");
        }
    }

    fn add_acls(&mut self) {
        let access = acl(&[
            (USER_OWNER, 7, NOBODY_NAMED),
            (USER, 4, 0),
            (USER, 6, 12345),
            (GROUP_OWNER, 4, NOBODY_NAMED),
            (GROUP, 5, 54321),
            (MASK, 7, NOBODY_NAMED),
            (OTHER, 0, NOBODY_NAMED),
        ]);
        let file = self.add_file("acls/file", b"for some people");
        let folder = self.add_directory("acls/folder".as_ref());
        self.set_xattr(&file, "system.posix_acl_access", &access);
        self.set_xattr(&folder, "system.posix_acl_access", &access);
        self.set_xattr(&folder, "system.posix_acl_default", &access);
    }

    fn add_owners(&mut self) {
        for (name, uid, gid) in [
            ("nobody we know", 12345, 54321),
            ("large", 4_000_000_000, 4_100_000_000),
        ] {
            let full = self.add_file(format!("owners/{name}"), name.as_bytes());
            done(&full, chown(&full, Some(uid), Some(gid)));
            // A change of owner clears these bits, on purpose.
            self.set_mode(&full, 0o6755);
        }
        let folder = self.add_directory("owners/folder".as_ref());
        done(&folder, chown(&folder, Some(1), Some(2)));
        let link = self.add_symlink("owners/link", "folder");
        done(&link, lchown(&link, Some(3), Some(4)));
        let unreadable = self.add_file("owners/unreadable", b"for nobody but root");
        self.set_mode(&unreadable, 0);
        let capable = self.add_file("owners/capable", b"#!/bin/true");
        self.set_mode(&capable, 0o755);
        self.set_xattr(&capable, "security.capability", &NET_RAW);
    }

    /// Files that stay out of dumps; as root, files that cannot be changed or only grow.
    #[must_use]
    pub fn inode_flags(mut self) -> Self {
        self.set_flag("flags/no dump", IFlags::NODUMP);
        if is_root() {
            self.set_flag("flags/immutable", IFlags::IMMUTABLE);
            self.set_flag("flags/append only", IFlags::APPEND);
        } else {
            say_left_out("immutable files", "needs root");
        }
        self.settle()
    }

    fn set_flag(&mut self, path: &str, flag: IFlags) {
        let full = self.add_file(path, path.as_bytes());
        let file = done(&full, File::open(&full));
        let set = rustix::fs::ioctl_getflags(&file)
            .and_then(|flags| rustix::fs::ioctl_setflags(&file, flags | flag));
        where_possible(path, set);
    }

    /// Times that every format holds: the first second, whole seconds, every nanosecond.
    #[must_use]
    pub fn times(self) -> Self {
        self.with_times(&[
            ("epoch", 0, 0),
            ("one nanosecond", 0, 1),
            ("whole second", 1_234_567_890, 0),
            ("last nanosecond", 1_234_567_890, 999_999_999),
            ("today", 1_800_000_000, 123_456_789),
        ])
    }

    /// Times before 1970 and after 2038. Borg moves them to the nearest one that it can say.
    #[must_use]
    pub fn extreme_times(self) -> Self {
        self.with_times(&[
            ("a nanosecond before 1970", -1, 999_999_999),
            ("1938", -1_000_000_000, 5),
            ("2038", 0x8000_0000, 0),
            ("2106", 0x1_0000_0000, 1),
            ("2200", 7_258_118_400, 42),
        ])
    }

    fn with_times(mut self, times: &[(&str, i64, i64)]) -> Self {
        for &(name, tv_sec, tv_nsec) in times {
            let full = self.add_file(format!("times/{name}"), name.as_bytes());
            set_mtime(&full, Timespec { tv_sec, tv_nsec });
            let folder = PathBuf::from(format!("times/folder {name}"));
            let full = self.add_directory(folder.as_os_str());
            self.directory_times
                .insert(full, Timespec { tv_sec, tv_nsec });
        }
        self.settle()
    }

    fn set_mode(&mut self, full: &Path, mode: u32) {
        done(
            full,
            fs::set_permissions(full, Permissions::from_mode(mode)),
        );
    }

    fn set_xattr(&mut self, full: &Path, name: &str, value: &[u8]) {
        where_possible(
            name,
            rustix::fs::lsetxattr(full, name, value, XattrFlags::empty()),
        );
    }
}

/// The kernel's form of an access control list: a version, then tag, permissions and number
/// of each entry.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for &(tag, permissions, number) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(number.to_le_bytes());
    }
    bytes
}
