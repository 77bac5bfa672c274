//! Paths as numbers: what a plan of a million entries remembers of each path.

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::TreePath;

/// A path as 64 bits, hashed with a key of this restore alone.
///
/// Nobody can make two paths collide on purpose; by chance it happens once in forty million
/// restores of a million entries, and then an entry is refused by name or restored once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PathKey(u64);

/// Makes [`PathKey`]s, each from that of the parent.
#[derive(Debug, Clone, Default)]
pub(super) struct PathKeys(RandomState);

impl PathKeys {
    pub(super) const ROOT: PathKey = PathKey(0);

    pub(super) fn child(&self, parent: PathKey, name: &[u8]) -> PathKey {
        let mut hasher = self.0.build_hasher();
        hasher.write_u64(parent.0);
        hasher.write(name);
        PathKey(hasher.finish())
    }

    pub(super) fn of(&self, path: &TreePath) -> PathKey {
        path.components()
            .fold(Self::ROOT, |parent, name| self.child(parent, name))
    }
}
