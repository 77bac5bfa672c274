//! Hash tables keyed by [`Id`].

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::Id;

/// A hash table keyed by ids, which are hashes already: their first bytes serve.
///
/// Only for ids that were computed or authenticated with the repository's secret key, or whose
/// number is bounded: whoever can choose ids could make them collide.
pub(crate) type IdMap<V> = HashMap<Id, V, BuildHasherDefault<IdHasher>>;

/// Takes the first eight bytes as they are.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    /// The length of an id says nothing.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
