//! Removes archives, and the chunks that no other archive uses.
//!
//! What the archives use is read completely before anything is changed: an archive that cannot be
//! read is refused, for without its list of chunks nobody knows which of them to keep. Then the
//! deletions, the new manifest and the commit are one transaction: a crash leaves all of the
//! archives or none. The cache is written after it; one that a crash has left behind names the
//! former manifest and is counted anew.

use std::collections::BTreeSet;

use bstr::{BString, ByteSlice};
use jiff::Timestamp as Moment;

use super::Archives;
use crate::cache::Cache;
use crate::chunk_index::ChunkIndex;
use crate::sealer::Sealer;
use crate::uses::{Use, Uses};
use crate::{
    Compacted, Compaction, Compression, ENTRY_HEADER_SIZE, Error, Host, Id, Operation,
    SparseSegment, frame_put,
};

/// What a deletion has done, or would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deleted {
    /// Archives that are gone.
    pub archives: u64,
    /// Chunks that nothing uses any more.
    pub chunks: u64,
    /// Plain bytes of these chunks.
    pub size: u64,
    /// Bytes that they take in the repository. They are free after a compaction.
    pub csize: u64,
    /// Plain bytes of all chunks that the archives used.
    pub total_size: u64,
    /// Stored bytes of them.
    pub total_csize: u64,
    /// Chunks that should have been there and were not.
    pub missing: u64,
}

/// What is left when archives are gone.
struct Released {
    deleted: Deleted,
    /// The chunks that nothing uses any more.
    unused: Vec<Id>,
    /// The others.
    index: ChunkIndex,
}

/// Takes `uses` out of `index`; `None` when there are more of them than it knows.
fn release(uses: &Uses<'_>, mut index: ChunkIndex) -> Option<Released> {
    let mut deleted = Deleted::default();
    let mut unused = Vec::new();
    for Use { chunk, count } in uses.iter() {
        let known = index.get(&chunk.id)?;
        if known.references < count {
            return None;
        }
        deleted.total_size += u64::from(known.size) * u64::from(count);
        deleted.total_csize += u64::from(known.csize) * u64::from(count);
        if index.remove_references(&chunk.id, count) {
            deleted.chunks += 1;
            deleted.size += u64::from(known.size);
            deleted.csize += u64::from(known.csize);
            unused.push(chunk.id);
        }
    }
    Some(Released {
        deleted,
        unused,
        index,
    })
}

impl Archives {
    /// What [`Self::delete_archives`] would do. Nothing is changed.
    ///
    /// # Errors
    ///
    /// As [`Self::delete_archives`].
    pub fn plan_delete(&self, names: &[BString], host: &Host) -> Result<Deleted, Error> {
        let mut cache = self.cache(host)?;
        let released = self.release(names, cache.take_chunks())?;
        Ok(released.deleted)
    }

    /// Deletes archives and the chunks that nothing else uses, all in one transaction.
    ///
    /// Their space is free after a compaction.
    ///
    /// # Errors
    ///
    /// [`Error::NoArchive`]; [`Error::Object`], [`Error::ObjectNotFound`] or [`Error::Items`] when
    /// an archive is damaged: it has to be repaired first. No archive is gone then.
    pub fn delete_archives(
        &mut self,
        names: &[BString],
        host: &Host,
        now: Moment,
    ) -> Result<Deleted, Error> {
        self.manifest.check_features(Operation::Delete)?;
        let mut cache = self.cache(host)?;
        let Released {
            mut deleted,
            unused,
            index,
        } = self.release(names, cache.take_chunks())?;
        let sealer = self.sealer(Compression::Lz4);
        deleted.missing = self.change(&mut cache, index, &sealer, now, |archives, _| {
            for name in names {
                archives.manifest.archives.remove(name.as_bstr());
            }
            archives.delete_all(unused)
        })?;
        Ok(deleted)
    }

    /// Takes archives out of the manifest without looking into them. What they used stays as
    /// orphans, until a repair removes it.
    ///
    /// For archives that are damaged so that [`Self::delete_archives`] refuses them.
    ///
    /// # Errors
    ///
    /// [`Error::NoArchive`] and those of writing. Nothing has changed then.
    pub fn forget_archives(&mut self, names: &[BString], now: Moment) -> Result<(), Error> {
        self.manifest.check_features(Operation::Delete)?;
        let former = self.manifest.clone();
        for name in names {
            if self.manifest.archives.remove(name.as_bstr()).is_none() {
                self.manifest = former;
                return Err(Error::NoArchive { name: name.clone() });
            }
        }
        let sealer = self.sealer(Compression::Lz4);
        if let Err(error) = self.commit(now, &sealer) {
            self.transaction = None;
            self.manifest = former;
            return Err(error);
        }
        self.remember()
    }

    /// Whether [`Self::compact`] frees nothing, because the repository here only allows to add. Of
    /// one elsewhere only its server knows.
    #[must_use]
    pub fn is_append_only(&self) -> bool {
        let local = self.repository.local();
        local.is_some_and(|local| local.is_append_only())
    }

    /// What [`Self::compact`] would rewrite, nothing in an append-only repository; `None` for one
    /// elsewhere, of which only its server knows. Nothing is changed.
    ///
    /// # Errors
    ///
    /// Those of [`crate::Repository::begin`].
    pub fn plan_compact(&self, options: &Compaction) -> Result<Option<Vec<SparseSegment>>, Error> {
        let Some(repository) = self.repository.local() else {
            return Ok(None);
        };
        if repository.is_append_only() {
            return Ok(Some(Vec::new()));
        }
        let transaction = repository.begin()?;
        let sparse = transaction.sparse_segments(options.threshold)?;
        transaction.roll_back()?;
        Ok(Some(sparse))
    }

    /// Frees the space of what was deleted. In an append-only repository nothing happens. Gives
    /// what was freed, where it can be known.
    ///
    /// # Errors
    ///
    /// Those of [`crate::Changes::commit_and_compact`].
    pub fn compact(
        &mut self,
        options: &Compaction,
        now: Moment,
    ) -> Result<Option<Compacted>, Error> {
        let changes = self.repository.begin()?;
        if self.repository.local().is_none() {
            // A stock server opens a transaction with the first write, and frees nothing outside
            // of one. The same object is written again: no counter is used for it.
            let manifest = self.repository.get(&Id::MANIFEST)?;
            let mut entry = vec![0; ENTRY_HEADER_SIZE];
            entry.extend_from_slice(&manifest);
            frame_put(&mut entry, &Id::MANIFEST);
            changes.put_framed(&entry)?;
        }
        changes.commit_and_compact(options, now)
    }

    /// Takes what the archives use out of `index`, and finds the chunks that nothing else uses.
    fn release(&self, names: &[BString], index: ChunkIndex) -> Result<Released, Error> {
        let mut archives = 0;
        let mut uses = Uses::new(self);
        let mut seen = BTreeSet::new();
        for name in names {
            let entry = self.manifest.archives.get(name.as_bstr());
            let entry = entry.ok_or_else(|| Error::NoArchive { name: name.clone() })?;
            if seen.insert(name) {
                uses.add(&entry.id)?;
                archives += 1;
            }
        }
        let released = match release(&uses, index) {
            Some(released) => Some(released),
            // The cache knows fewer uses than there are: it is wrong, and nothing is deleted by
            // what it says.
            None => release(&uses, self.count_chunks()?.index),
        };
        let mut released = released.ok_or(Error::Stopped)?;
        released.deleted.archives = archives;
        Ok(released)
    }

    /// Deletes objects, where it matters in the order in which they are stored. One that is lost
    /// already is no error; gives how many were.
    pub(crate) fn delete_all(&mut self, mut ids: Vec<Id>) -> Result<u64, Error> {
        if let Some(repository) = self.repository.local() {
            let positions = repository.locations(&ids)?;
            let mut stored: Vec<_> = positions.into_iter().zip(ids).collect();
            stored.sort_unstable_by_key(|(position, _)| *position);
            ids = stored.into_iter().map(|(_, id)| id).collect();
        }
        match ids.as_slice() {
            [] => Ok(0),
            ids => self.transaction()?.delete_all(ids),
        }
    }

    /// Makes a change to the archives and commits it; `index` has their references, and `make`
    /// keeps it right.
    ///
    /// When it fails before its commit, everything is as it was.
    pub(crate) fn change<T>(
        &mut self,
        cache: &mut Cache,
        mut index: ChunkIndex,
        sealer: &Sealer,
        now: Moment,
        make: impl FnOnce(&mut Self, &mut ChunkIndex) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let former = self.manifest.clone();
        let made = make(self, &mut index).and_then(|made| {
            self.commit(now, sealer)?;
            Ok(made)
        });
        match made {
            Ok(made) => {
                cache.save_chunks(&self.manifest_id, &self.memory(), &mut index)?;
                self.remember()?;
                Ok(made)
            }
            Err(error) => {
                self.transaction = None;
                self.manifest = former;
                Err(error)
            }
        }
    }
}
