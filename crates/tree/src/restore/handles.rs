//! The folders in use, kept open.

use std::sync::Arc;

use rustix::io::Errno;

use super::beneath::{Folder, PIECE_SIZE_MAX};
use super::key::{PathKey, PathKeys};
use crate::TreePath;

/// Most folders kept open: archives go folder by folder, so few are in use at a time, and a
/// restore has to do with 64 open files.
const OPEN_MAX: usize = 16;

/// The folders below a root that were used last, open.
#[derive(Debug)]
pub(super) struct Handles {
    pub(super) root: Arc<Folder>,
    keys: PathKeys,
    /// The one used last stands at the end.
    recent: Vec<(PathKey, Arc<Folder>)>,
}

/// A path down to some component, with its key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prefix<'a> {
    pub(super) key: PathKey,
    /// The bytes of the whole path.
    path: &'a [u8],
    /// Where its last component starts.
    start: usize,
    /// Where its last component ends.
    end: usize,
}

impl<'a> Prefix<'a> {
    /// The last component.
    pub(super) fn name(&self) -> &'a [u8] {
        self.path.get(self.start..self.end).unwrap_or_default()
    }

    /// The path as far as this component.
    pub(super) fn to_path(self) -> TreePath {
        // Components of a tree path make a tree path.
        TreePath::new(self.path.get(..self.end).unwrap_or_default()).unwrap_or_default()
    }
}

/// The paths from the first component of `path` down to all of it.
pub(super) fn prefixes<'a>(keys: &PathKeys, path: &'a TreePath) -> Vec<Prefix<'a>> {
    let bytes = path.as_bytes();
    let mut prefixes = Vec::new();
    let (mut key, mut start) = (PathKeys::ROOT, 0);
    for name in path.components() {
        let end = start + name.len();
        key = keys.child(key, name);
        prefixes.push(Prefix {
            key,
            path: bytes,
            start,
            end,
        });
        start = end + 1;
    }
    prefixes
}

impl Handles {
    pub(super) fn new(root: Arc<Folder>, keys: PathKeys) -> Self {
        Self {
            root,
            keys,
            recent: Vec::with_capacity(OPEN_MAX),
        }
    }

    /// A folder that is open already.
    pub(super) fn get(&mut self, key: PathKey) -> Option<Arc<Folder>> {
        if key == PathKeys::ROOT {
            return Some(Arc::clone(&self.root));
        }
        let at = self.recent.iter().rposition(|&(known, _)| known == key)?;
        let end = self.recent.len();
        self.recent.get_mut(at..end)?.rotate_left(1);
        self.recent.last().map(|(_, folder)| Arc::clone(folder))
    }

    pub(super) fn insert(&mut self, key: PathKey, folder: Arc<Folder>) {
        self.forget(key);
        if self.recent.len() >= OPEN_MAX {
            self.recent.remove(0);
        }
        self.recent.push((key, folder));
    }

    /// Lets go of a folder that turned out not to be what it was.
    pub(super) fn forget(&mut self, key: PathKey) {
        self.recent.retain(|&(known, _)| known != key);
    }

    /// Opens a folder, from the nearest open one above it.
    pub(super) fn open(&mut self, path: &TreePath) -> Result<Arc<Folder>, Errno> {
        match self.get(self.keys.of(path)) {
            Some(folder) => Ok(folder),
            None => self.open_way(&prefixes(&self.keys, path)),
        }
    }

    /// Opens the folder that the last of the prefixes leads to.
    ///
    /// A path that is too long for the kernel is opened in pieces, and the folders between them
    /// stay open too: whoever finishes folders from the bottom up needs them next.
    pub(super) fn open_way(&mut self, prefixes: &[Prefix<'_>]) -> Result<Arc<Folder>, Errno> {
        let (mut folder, mut depth) = self.nearest(prefixes);
        while let Some(first) = prefixes.get(depth) {
            let fits = |prefix: &&Prefix<'_>| prefix.end - first.start <= PIECE_SIZE_MAX;
            // One component always fits.
            let count = prefixes.iter().skip(depth).take_while(fits).count().max(1);
            depth += count;
            let Some(last) = prefixes.get(depth - 1) else {
                break;
            };
            let piece = last.path.get(first.start..last.end).unwrap_or_default();
            folder = Arc::new(folder.open_below(piece)?);
            self.insert(last.key, Arc::clone(&folder));
        }
        Ok(folder)
    }

    /// The deepest open folder on the way, and how many of the prefixes lead to it.
    pub(super) fn nearest(&mut self, prefixes: &[Prefix<'_>]) -> (Arc<Folder>, usize) {
        for (index, prefix) in prefixes.iter().enumerate().rev() {
            if let Some(folder) = self.get(prefix.key) {
                return (folder, index + 1);
            }
        }
        (Arc::clone(&self.root), 0)
    }
}
