//! Making an [`Entry`] of an object.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, readlinkat};
use rustix::io::Errno;

use super::names::Names;
use super::stat::Stat;
use super::xattrs::{self, Xattrs};
use crate::{Entry, EntryKind, Flags, Problem, ProblemKind, TreePath};

/// Reads all that there is to know about objects. One for each thread.
pub(crate) struct Examiner {
    names: Names,
    xattrs: Xattrs,
    reads_attributes: bool,
}

impl Examiner {
    /// `attributes`: whether extended attributes are read.
    pub(super) fn new(attributes: bool) -> Self {
        Self {
            names: Names::default(),
            xattrs: Xattrs::default(),
            reads_attributes: attributes,
        }
    }

    /// Makes an entry without the extended attributes.
    pub(super) fn entry(
        &mut self,
        path: TreePath,
        kind: EntryKind,
        flags: Flags,
        stat: &Stat,
    ) -> Entry {
        Entry {
            path,
            size: if kind == EntryKind::File {
                stat.size
            } else {
                0
            },
            kind,
            mode: stat.mode,
            owner: self.names.owner(stat.uid, stat.gid),
            mtime: stat.mtime,
            ctime: stat.ctime,
            atime: stat.atime,
            device: stat.device,
            inode: stat.inode,
            links: stat.links,
            hard_link: None,
            xattrs: BTreeMap::new(),
            acl_access: None,
            acl_default: None,
            flags,
        }
    }

    /// Adds the extended attributes of an open file or folder.
    pub(super) fn attributes_of(
        &mut self,
        handle: BorrowedFd<'_>,
        entry: &mut Entry,
    ) -> Result<(), Problem> {
        self.attributes(xattrs::Object::Open(handle), entry)
    }

    /// Adds the extended attributes of what cannot be opened.
    pub(super) fn attributes_at(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        entry: &mut Entry,
    ) -> Result<(), Problem> {
        self.attributes(xattrs::Object::Named(folder, name), entry)
    }

    fn attributes(&mut self, object: xattrs::Object<'_>, entry: &mut Entry) -> Result<(), Problem> {
        if !self.reads_attributes {
            return Ok(());
        }
        self.xattrs
            .read(object, entry, &mut self.names)
            .map_err(|error| Problem {
                path: entry.path.clone(),
                what: problem("read the extended attributes", error),
            })
    }

    /// Takes over what changed in the metadata of an open file.
    pub(crate) fn renew(
        &mut self,
        handle: BorrowedFd<'_>,
        stat: &Stat,
        entry: &mut Entry,
    ) -> Result<(), Problem> {
        let flags = stat.flags(Some(handle));
        let mut renewed = self.entry(entry.path.clone(), EntryKind::File, flags, stat);
        renewed.hard_link = entry.hard_link.take();
        *entry = renewed;
        self.attributes_of(handle, entry)
    }
}

/// What an object is, as an entry has it. The target of a symbolic link is read.
pub(super) fn kind(folder: impl AsFd, name: &CStr, stat: &Stat) -> Result<EntryKind, ProblemKind> {
    Ok(match stat.kind {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink {
            target: match readlinkat(folder, name, Vec::new()) {
                Ok(target) => target.into_bytes(),
                Err(Errno::INVAL) => return Err(ProblemKind::Replaced),
                Err(error) => return Err(problem("read the link", error)),
            },
        },
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        FileType::CharacterDevice => EntryKind::CharDevice(stat.special),
        FileType::BlockDevice => EntryKind::BlockDevice(stat.special),
        FileType::Unknown => return Err(ProblemKind::Replaced),
    })
}

/// Turns what the system says about something that was listed into a problem.
pub(crate) fn problem(action: &'static str, error: Errno) -> ProblemKind {
    match error {
        Errno::NOENT => ProblemKind::Vanished,
        error => ProblemKind::Io {
            action,
            source: io::Error::from(error),
        },
    }
}
