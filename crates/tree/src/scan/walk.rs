//! One ordered walk through the sources, by handles of folders.
//!
//! Names are never joined to paths that the system resolves: each object is reached from the
//! handle of its folder. So nobody can lead the walk out of the tree by exchanging a folder for a
//! link, and neither the depth nor the length of paths matters.
//!
//! Few handles are open at a time: in a deep tree those of the outer folders are closed, and
//! opened again through `..` on the way back, if that leads to the same folder.

use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

use super::folder::{self, Name};
use super::object::{Object, People, examine, problem};
use super::source::Source;
use crate::{BadPath, Entry, Problem, ProblemKind, TreePath};

/// So many folders of the way down are kept open.
const OPEN_FOLDERS_MAX: usize = 20;

/// What the walk comes to, in scan order.
pub(crate) enum Found {
    /// A folder, examined.
    Folder(Entry),
    /// Anything else, yet to be examined.
    Name {
        folder: Arc<OwnedFd>,
        name: Name,
        path: TreePath,
    },
    /// Something that cannot be read.
    Problem(Problem),
}

/// The walk.
pub(crate) struct Walk<'a> {
    source: &'a Source,
    people: &'a People,
    /// Roots that have not been reached, last first.
    roots: Vec<TreePath>,
    /// Roots that have not been seen. Where one lies in another, the walk enters it whatever file
    /// system it is on, and its own turn is skipped.
    unseen: HashSet<TreePath>,
    stack: Vec<Frame>,
    /// What has been found and not been given yet, last first.
    ready: Vec<Found>,
}

/// A folder on the way down.
struct Frame {
    path: TreePath,
    /// `None` while it is closed.
    handle: Option<Arc<OwnedFd>>,
    device: u64,
    inode: u64,
    /// The file system that the walk stays on.
    root_device: u64,
    names: std::vec::IntoIter<Name>,
}

impl<'a> Walk<'a> {
    /// Begins a walk.
    ///
    /// # Errors
    ///
    /// [`BadPath`] of a root that has a `..` in it.
    pub(crate) fn new(source: &'a Source, people: &'a People) -> Result<Self, BadPath> {
        let mut roots = source
            .roots
            .iter()
            .map(|root| TreePath::from_local(root))
            .collect::<Result<Vec<_>, _>>()?;
        roots.sort_unstable_by(|a, b| b.cmp(a));
        roots.dedup();
        Ok(Self {
            source,
            people,
            unseen: roots.iter().cloned().collect(),
            roots,
            stack: Vec::new(),
            ready: Vec::new(),
        })
    }

    /// Enters the next root, unless the walk has been there because an earlier root holds it.
    fn enter_root(&mut self, root: &TreePath) {
        if !self.unseen.remove(root) {
            return;
        }
        if self.source.by_rule(root).is_some() {
            return;
        }
        let result = open_parent(root).and_then(|(parent, name)| {
            let object = examine(parent.as_fd(), &name.name, root.clone(), true, self.people)?;
            Ok((parent, name, object))
        });
        match result {
            Ok((_, _, object)) if object.entry.is_directory() => {
                let device = object.entry.device;
                self.enter(object, device);
            }
            Ok((parent, name, _)) => self.ready.push(Found::Name {
                folder: Arc::new(parent),
                name,
                path: root.clone(),
            }),
            Err(what) => self.fail(root.clone(), what),
        }
    }

    /// Goes down into a folder that has been examined.
    fn enter(&mut self, object: Object, root_device: u64) {
        let Object { entry, handle } = object;
        let path = entry.path.clone();
        if self.source.by_metadata(&entry).is_some() {
            return;
        }
        let Some(handle) = handle else {
            self.fail(path, ProblemKind::Replaced);
            return;
        };
        if self.source.one_file_system && entry.device != root_device {
            // The mount point stays, what is mounted there does not.
            self.ready.push(Found::Folder(entry));
            return;
        }
        let (names, failed) = folder::list(&handle);
        let marked = self.source.by_names(names.iter().map(Name::as_bytes), || {
            folder::is_cache(&handle)
        });
        if marked.is_some() {
            return;
        }
        if let Some(error) = failed {
            self.fail(path.clone(), problem("list the folder", error));
        }
        // The outer folders are closed, but never the one that is about to be left for a moment.
        if let Some(outer) = self.stack.len().checked_sub(OPEN_FOLDERS_MAX)
            && let Some(frame) = self.stack.get_mut(outer)
        {
            frame.handle = None;
        }
        self.stack.push(Frame {
            path,
            handle: Some(Arc::new(handle)),
            device: entry.device,
            inode: entry.inode,
            root_device,
            names: names.into_iter(),
        });
        self.ready.push(Found::Folder(entry));
    }

    /// Takes the next name of the innermost folder.
    fn step(&mut self) {
        let Some(frame) = self.stack.last_mut() else {
            return;
        };
        let Some(name) = frame.names.next() else {
            self.leave();
            return;
        };
        let Some(folder) = frame.handle.clone() else {
            return;
        };
        let path = frame.path.join(name.as_bytes());
        let root_device = frame.root_device;
        if self.source.by_rule(&path).is_some() {
            return;
        }
        let is_root = self.unseen.remove(&path);
        let may_be_folder = matches!(name.file_type, FileType::Directory | FileType::Unknown);
        if !may_be_folder {
            self.ready.push(Found::Name { folder, name, path });
            return;
        }
        match examine(
            folder.as_fd(),
            &name.name,
            path.clone(),
            name.can_be_opened(),
            self.people,
        ) {
            Ok(object) if object.entry.is_directory() => {
                let device = if is_root {
                    object.entry.device
                } else {
                    root_device
                };
                self.enter(object, device);
            }
            Ok(_) => self.ready.push(Found::Name { folder, name, path }),
            Err(what) => self.fail(path, what),
        }
    }

    /// Goes back up, and opens the outer folder again if it was closed.
    fn leave(&mut self) {
        let Some(left) = self.stack.pop() else {
            return;
        };
        let Some(outer) = self.stack.last_mut() else {
            return;
        };
        if outer.handle.is_some() {
            return;
        }
        let again = left.handle.and_then(|left| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let handle = openat(&*left, c"..", flags, Mode::empty()).ok()?;
            let stat = fstat(&handle).ok()?;
            (stat.st_dev == outer.device && stat.st_ino == outer.inode).then_some(handle)
        });
        match again {
            Some(handle) => outer.handle = Some(Arc::new(handle)),
            None => {
                // It was moved or removed while the walk was further down: the rest of it cannot
                // be reached by a way that is known to be right.
                let path = outer.path.clone();
                outer.names = Vec::new().into_iter();
                self.fail(path, ProblemKind::Replaced);
            }
        }
    }

    fn fail(&mut self, path: TreePath, what: ProblemKind) {
        self.ready.push(Found::Problem(Problem { path, what }));
    }
}

impl Iterator for Walk<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(found) = self.ready.pop() {
                return Some(found);
            }
            if !self.stack.is_empty() {
                self.step();
                continue;
            }
            let root = self.roots.pop()?;
            self.enter_root(&root);
        }
    }
}

/// The folder that holds a root, and the root's name in it.
pub(super) fn open_parent(root: &TreePath) -> Result<(OwnedFd, Name), ProblemKind> {
    let name = root.name().unwrap_or(b".");
    let parent = root.parent().unwrap_or_default();
    let parent = Path::new("/").join(parent.as_path());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = openat(CWD, parent.as_os_str().as_bytes(), flags, Mode::empty())
        .map_err(|error| problem("open the folder above", error))?;
    let name = CString::new(name).map_err(|_| ProblemKind::Vanished)?;
    Ok((
        handle,
        Name {
            name,
            file_type: FileType::Unknown,
        },
    ))
}
