//! How often each chunk is used, and how large it is.
//!
//! The table has the layout of Borg's chunks cache (docs/formats/borg.md#caches): reference
//! count, plain size, stored size.

use crate::hash_index::{HashIndex, VALUE_MAX};
use crate::{Error, Id};

/// Reference counts and sizes of all chunks that the archives of a repository use.
#[derive(Default)]
pub(crate) struct ChunkIndex(pub(crate) HashIndex<3>);

/// What is known about one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkEntry {
    /// How often it is used. One that has reached the limit stays there for ever.
    pub(crate) references: u32,
    /// Plain bytes.
    pub(crate) size: u32,
    /// Stored bytes; 0 while that is not known.
    pub(crate) csize: u32,
}

impl ChunkIndex {
    pub(crate) fn get(&self, id: &Id) -> Option<ChunkEntry> {
        self.0.get(id).map(|[references, size, csize]| ChunkEntry {
            references,
            size,
            csize,
        })
    }

    pub(crate) fn contains(&self, id: &Id) -> bool {
        self.0.contains(id)
    }

    /// Counts one use more. With a `size`, an unknown chunk becomes known; says whether it did.
    ///
    /// # Errors
    ///
    /// [`Error::ChunkUnknown`] without a `size`; [`Error::ChunkSize`] when the chunk is known
    /// with another one: two contents cannot have one id.
    pub(crate) fn add_reference(&mut self, id: &Id, size: Option<usize>) -> Result<bool, Error> {
        let mut known_size = None;
        self.0.update(id, |[references, known, _]| {
            *references = references.saturating_add(1).min(VALUE_MAX);
            known_size = Some(*known);
        });
        let size = size.map(|size| u32::try_from(size).unwrap_or(u32::MAX));
        match (known_size, size) {
            (None, None) => Err(Error::ChunkUnknown { id: *id }),
            (None, Some(size)) => {
                self.0.insert(id, [1, size, 0]);
                Ok(true)
            }
            (Some(known), Some(size)) if known != size => Err(Error::ChunkSize {
                id: *id,
                known,
                found: size,
            }),
            (Some(_), _) => Ok(false),
        }
    }

    /// Counts one use of a chunk whose sizes are known from an archive.
    #[cfg(test)]
    pub(crate) fn add(&mut self, id: &Id, size: u32, csize: u32) {
        self.add_many(id, size, csize, 1);
    }

    /// The same for several uses.
    pub(crate) fn add_many(&mut self, id: &Id, size: u32, csize: u32, count: u32) {
        let count = count.min(VALUE_MAX);
        let known = self.0.update(id, |[references, known_size, known_csize]| {
            *references = references.saturating_add(count).min(VALUE_MAX);
            // An archive that was made without a cache knows no stored sizes.
            if csize != 0 {
                (*known_size, *known_csize) = (size, csize);
            }
        });
        if !known {
            self.0.insert(id, [count, size, csize]);
        }
    }

    /// Sets how many bytes the chunk takes in the repository.
    pub(crate) fn set_csize(&mut self, id: &Id, csize: usize) {
        let csize = u32::try_from(csize).unwrap_or(u32::MAX);
        self.0.update(id, |[_, _, known]| *known = csize);
    }

    /// Counts one use less. Says whether that was the last: the chunk is forgotten then, and may
    /// be deleted.
    pub(crate) fn remove_reference(&mut self, id: &Id) -> bool {
        self.remove_references(id, 1)
    }

    /// The same for several uses.
    pub(crate) fn remove_references(&mut self, id: &Id, count: u32) -> bool {
        let mut is_last = false;
        self.0.update(id, |[references, ..]| {
            if *references < VALUE_MAX {
                *references = references.saturating_sub(count);
                is_last = *references == 0;
            }
        });
        if is_last {
            self.0.remove(id);
        }
        is_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: Id = Id([7; 32]);

    #[test]
    fn the_last_use_ends_a_chunk() {
        let mut index = ChunkIndex::default();
        assert!(index.add_reference(&CHUNK, Some(10)).unwrap());
        assert!(!index.add_reference(&CHUNK, Some(10)).unwrap());
        assert!(!index.add_reference(&CHUNK, None).unwrap());
        assert!(!index.remove_reference(&CHUNK));
        assert!(!index.remove_reference(&CHUNK));
        assert!(index.remove_reference(&CHUNK));
        assert!(!index.contains(&CHUNK));
    }

    #[test]
    fn a_chunk_has_one_size() {
        let mut index = ChunkIndex::default();
        index.add_reference(&CHUNK, Some(10)).unwrap();
        let result = index.add_reference(&CHUNK, Some(11));
        assert!(matches!(result, Err(Error::ChunkSize { .. })));
        let result = index.add_reference(&Id([8; 32]), None);
        assert!(matches!(result, Err(Error::ChunkUnknown { .. })));
    }

    #[test]
    fn a_count_at_its_limit_stays_there() {
        let mut index = ChunkIndex::default();
        index.0.insert(&CHUNK, [VALUE_MAX, 10, 5]);
        index.add_reference(&CHUNK, Some(10)).unwrap();
        assert!(!index.remove_reference(&CHUNK));
        assert_eq!(index.get(&CHUNK).unwrap().references, VALUE_MAX);
    }

    #[test]
    fn a_stored_size_is_taken_from_the_archive_that_knows_it() {
        let mut index = ChunkIndex::default();
        index.add(&CHUNK, 10, 0);
        index.add(&CHUNK, 10, 7);
        index.add(&CHUNK, 10, 0);
        let entry = index.get(&CHUNK).unwrap();
        assert_eq!((entry.references, entry.csize), (3, 7));
    }
}
