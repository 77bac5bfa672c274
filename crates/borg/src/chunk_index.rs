//! How often each chunk is used, and how large it is.
//!
//! The table has the layout of Borg's chunks cache (docs/formats/borg.md#caches): reference
//! count, plain size, stored size.

use std::collections::HashSet;
use std::fs::File;
use std::io;

use crate::hash_index::{HashIndex, VALUE_MAX};
use crate::integrity::Digests;
use crate::{ChunkRef, Error, Id};

/// Who has many chunks to look up [warms](ChunkIndex::warm) the index for so many at a time: they fit into
/// the processor's nearest cache.
pub(crate) const LOOKUPS: usize = 128;

/// Reference counts and sizes of all chunks that the archives of a repository use.
#[derive(Default)]
pub(crate) struct ChunkIndex {
    table: HashIndex<3>,
    /// Those of them that the repository has lost: used, but not there.
    lost: HashSet<Id>,
}

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

impl From<[u32; 3]> for ChunkEntry {
    fn from([references, size, csize]: [u32; 3]) -> Self {
        Self {
            references,
            size,
            csize,
        }
    }
}

impl From<HashIndex<3>> for ChunkIndex {
    fn from(table: HashIndex<3>) -> Self {
        Self {
            table,
            lost: HashSet::new(),
        }
    }
}

impl ChunkIndex {
    pub(crate) fn get(&self, id: &Id) -> Option<ChunkEntry> {
        self.table.get(id).map(ChunkEntry::from)
    }

    /// Prepares to look chunks up; see [`HashIndex::warm`].
    pub(crate) fn warm(&self, ids: &[Id]) {
        self.table.warm(ids);
    }

    /// Whether it is used, and there.
    pub(crate) fn contains(&self, id: &Id) -> bool {
        self.table.contains(id) && !self.lost.contains(id)
    }

    /// All chunks with what is known about them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, ChunkEntry)> {
        self.table.iter().map(|(id, value)| (id, value.into()))
    }

    /// Takes note that the repository has lost a chunk: the next use of it stores it again.
    pub(crate) fn lose(&mut self, id: Id) {
        self.lost.insert(id);
    }

    /// Counts one use more. An unknown or lost chunk becomes known; says whether it did, and has to be
    /// stored.
    ///
    /// # Errors
    ///
    /// [`Error::ChunkSize`] when the chunk is known with another size: two contents cannot have one id.
    pub(crate) fn add_reference(&mut self, id: &Id, size: usize) -> Result<bool, Error> {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        match self.count_use(id) {
            None => {
                self.table.insert(id, [1, size, 0]);
                Ok(true)
            }
            Some(known) if known.size != size => Err(Error::ChunkSize {
                id: *id,
                known: known.size,
                found: size,
            }),
            Some(_) => Ok(self.lost.remove(id)),
        }
    }

    /// Counts one use more of a chunk, if it is known.
    fn count_use(&mut self, id: &Id) -> Option<ChunkEntry> {
        let mut entry = None;
        self.table.update(id, |value| {
            let [references, ..] = value;
            *references = references.saturating_add(1).min(VALUE_MAX);
            entry = Some(ChunkEntry::from(*value));
        });
        entry
    }

    /// Counts one use more of a known chunk, and gives it as an item lists it.
    ///
    /// # Errors
    ///
    /// [`Error::ChunkUnknown`].
    pub(crate) fn use_known(&mut self, id: &Id) -> Result<ChunkRef, Error> {
        listed(id, self.count_use(id))
    }

    /// A known chunk as an item lists it.
    ///
    /// # Errors
    ///
    /// [`Error::ChunkUnknown`].
    pub(crate) fn reference(&self, id: &Id) -> Result<ChunkRef, Error> {
        listed(id, self.get(id))
    }

    /// Counts one use of a chunk whose sizes are known from an archive.
    #[cfg(test)]
    pub(crate) fn add(&mut self, id: &Id, size: u32, csize: u32) {
        self.add_many(id, size, csize, 1);
    }

    /// The same for several uses.
    pub(crate) fn add_many(&mut self, id: &Id, size: u32, csize: u32, count: u32) {
        let count = count.min(VALUE_MAX);
        let known = self
            .table
            .update(id, |[references, known_size, known_csize]| {
                *references = references.saturating_add(count).min(VALUE_MAX);
                // An archive that was made without a cache knows no stored sizes.
                if csize != 0 {
                    (*known_size, *known_csize) = (size, csize);
                }
            });
        if !known {
            self.table.insert(id, [count, size, csize]);
        }
    }

    /// Writes it; see [`HashIndex::save`].
    pub(crate) fn save(&mut self, file: &mut File, name: &str) -> io::Result<Digests> {
        self.table.save(file, name)
    }

    /// Sets how many bytes the chunk takes in the repository.
    pub(crate) fn set_csize(&mut self, id: &Id, csize: usize) {
        let csize = u32::try_from(csize).unwrap_or(u32::MAX);
        self.table.update(id, |[_, _, known]| *known = csize);
    }

    /// Counts one use less. Says whether that was the last: the chunk is forgotten then, and may
    /// be deleted.
    pub(crate) fn remove_reference(&mut self, id: &Id) -> bool {
        self.remove_references(id, 1)
    }

    /// The same for several uses.
    pub(crate) fn remove_references(&mut self, id: &Id, count: u32) -> bool {
        let mut is_last = false;
        self.table.update(id, |[references, ..]| {
            if *references < VALUE_MAX {
                *references = references.saturating_sub(count);
                is_last = *references == 0;
            }
        });
        if is_last {
            self.table.remove(id);
        }
        is_last
    }
}

fn listed(id: &Id, entry: Option<ChunkEntry>) -> Result<ChunkRef, Error> {
    let entry = entry.ok_or(Error::ChunkUnknown { id: *id })?;
    Ok(ChunkRef {
        id: *id,
        size: entry.size,
        csize: entry.csize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: Id = Id([7; 32]);

    #[test]
    fn the_last_use_ends_a_chunk() {
        let mut index = ChunkIndex::default();
        assert!(index.add_reference(&CHUNK, 10).unwrap());
        assert!(!index.add_reference(&CHUNK, 10).unwrap());
        assert_eq!(index.use_known(&CHUNK).unwrap().size, 10);
        assert!(!index.remove_reference(&CHUNK));
        assert!(!index.remove_reference(&CHUNK));
        assert!(index.remove_reference(&CHUNK));
        assert!(!index.contains(&CHUNK));
    }

    #[test]
    fn a_chunk_has_one_size() {
        let mut index = ChunkIndex::default();
        index.add_reference(&CHUNK, 10).unwrap();
        let result = index.add_reference(&CHUNK, 11);
        assert!(matches!(result, Err(Error::ChunkSize { .. })));
        let result = index.use_known(&Id([8; 32]));
        assert!(matches!(result, Err(Error::ChunkUnknown { .. })));
    }

    #[test]
    fn a_count_at_its_limit_stays_there() {
        let mut index = ChunkIndex::default();
        index.table.insert(&CHUNK, [VALUE_MAX, 10, 5]);
        index.add_reference(&CHUNK, 10).unwrap();
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
