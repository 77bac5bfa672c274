//! Repairs what a check has found: after it, all that is whole can be read by everybody.
//!
//! First the log, by [`crate::Repository::repair`]. Then, in one transaction:
//!
//! - objects whose content is wrong are deleted, after they were read once more;
//! - pieces of files that were found elsewhere are stored again;
//! - in files, missing chunks are replaced by zeros of the same length, and what they were is
//!   written down; where such a chunk is there again, it is put back;
//! - lists of files are written anew without what is lost of them, and the former ones go;
//! - archives of which nothing is left, or that were forged, go;
//! - what nothing uses goes, unless parts of archives are lost: what they used may be needed
//!   again when a lost segment comes back.
//!
//! Archives that are whole are not touched and keep their ids. One that is not authenticated is
//! never written anew, for that would make it look authentic: it stays as it is, and goes only if
//! it is damaged.
//!
//! A crash before the commit leaves everything as it was, and the repair can be done again.

use std::collections::HashSet;

use bstr::BString;
use jiff::Timestamp as Moment;

use super::{CheckReport, Checker, Hurt, ManifestState, RepositoryState, counter_after_all};
use crate::archives::{ItemsAroundDamage, salt};
use crate::chunk_index::ChunkIndex;
use crate::counters_store::COUNTER_LEAP;
use crate::item_stream::ItemStream;
use crate::sealer::Sealer;
use crate::uses::Uses;
use crate::{
    Archive, ArchiveEntry, Archives, Backend, ChunkRef, Compression, Compressor, Error, Host, Id,
    Item, Object, Repaired, Tam, frame_put,
};

/// What a repair has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Below the encryption, on this machine.
    pub repository: Repaired,
    /// What is known of used counters was made anew.
    pub counters_replaced: bool,
    /// The server has repaired what is below the encryption.
    pub repaired_there: bool,
    /// Whether the manifest was made anew.
    pub manifest_rebuilt: bool,
    /// Objects with wrong content that were deleted.
    pub deleted_objects: u64,
    /// Pieces of files that were lost and came back from elsewhere.
    pub restored_pieces: u64,
    /// Archives that were written anew without what is lost of them.
    pub mended_archives: u64,
    /// Archives of which nothing is left, or that were forged.
    pub removed_archives: u64,
    /// Files in which zeros stand for what is missing.
    pub zeroed_files: u64,
    /// Files that have all their content again.
    pub healed_files: u64,
    /// Objects that nothing used, and that were deleted.
    pub deleted_orphans: u64,
}

impl Checker {
    /// Repairs what [`Self::check`] has found.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`] unless it was opened for writing, [`Error::AppendOnly`], and those of
    /// writing. What was committed before stays as it was then.
    pub fn repair(
        &mut self,
        found: &CheckReport,
        host: &Host,
        now: Moment,
    ) -> Result<RepairReport, Error> {
        self.repair_with(found, &mut std::iter::empty(), host, now)
    }

    /// The same with the content of pieces that were lost ([`Self::lost`]) and were found elsewhere.
    /// What is no such piece is stored and deleted again as something that nothing uses.
    ///
    /// # Errors
    ///
    /// As [`Self::repair`].
    pub fn repair_with(
        &mut self,
        found: &CheckReport,
        pieces: &mut dyn Iterator<Item = Vec<u8>>,
        host: &Host,
        now: Moment,
    ) -> Result<RepairReport, Error> {
        let mut report = RepairReport::default();
        match (&found.repository, &self.archives.repository) {
            (RepositoryState::Local(checked), Backend::Local(repository)) => {
                let index_goes = checked.index_missing && !repository.is_append_only();
                if !checked.is_good() || index_goes {
                    report.repository = repository.repair(checked)?;
                }
            }
            (RepositoryState::Remote { is_good: false, .. }, Backend::Remote(remote)) => {
                remote.check(true)?;
                report.repaired_there = true;
            }
            _ => {}
        }
        if found.counters_garbled {
            self.leap_over_counters()?;
            report.counters_replaced = true;
        }
        let is_manifest_lost = self.manifest != ManifestState::Good;
        let nothing_to_do = !is_manifest_lost
            && found.hurt.is_empty()
            && found.bad_objects.is_empty()
            && (found.orphans.is_empty() || !found.orphans_are_certain);
        if nothing_to_do {
            self.settle(host)?;
            return Ok(report);
        }
        let mut cache = self.archives.cache_to_fill(host)?;
        let former = self.archives.manifest.clone();
        let made = self.make(found, pieces, now, &mut report);
        let mut index = match made {
            Ok(index) => index,
            Err(error) => {
                self.archives.transaction = None;
                self.archives.manifest = former;
                return Err(error);
            }
        };
        report.manifest_rebuilt = is_manifest_lost;
        self.manifest = ManifestState::Good;
        let archives = &self.archives;
        cache.save_chunks(&archives.manifest_id, &archives.memory(), &mut index)?;
        drop(cache);
        self.settle(host)?;
        Ok(report)
    }

    /// Writes which counters are free when nobody knows it any more.
    ///
    /// Objects that are gone may have used others than those that are there, so the counters go on
    /// far behind anything that can ever have been written.
    fn leap_over_counters(&self) -> Result<(), Error> {
        let archives = &self.archives;
        let Some(repository) = archives.repository.local() else {
            return Ok(());
        };
        let ids = archives.repository.ids()?;
        let floor = counter_after_all(&archives.repository, &archives.key, &ids)?;
        let next_free = floor.checked_add(COUNTER_LEAP);
        repository.replace_garbled_nonce(next_free.ok_or(Error::CountersUsedUp)?)
    }

    fn make(
        &mut self,
        found: &CheckReport,
        pieces: &mut dyn Iterator<Item = Vec<u8>>,
        now: Moment,
        report: &mut RepairReport,
    ) -> Result<ChunkIndex, Error> {
        let mut there: HashSet<Id> = self.archives.repository.ids()?.into_iter().collect();
        for id in &found.bad_objects {
            // What was read wrong by accident is not deleted.
            if there.contains(id) && self.archives.read(id).is_err() {
                self.archives.delete(id)?;
                there.remove(id);
                report.deleted_objects += 1;
            }
        }
        let sealer = self.archives.sealer(Compression::Lz4);
        let removes_unauthenticated = self.removes_unauthenticated;
        let mut mender = Mender {
            compressor: sealer.compressor()?,
            sealer: &sealer,
            archives: &mut self.archives,
            there,
            replaced: Vec::new(),
            report,
        };
        for plain in pieces {
            mender.ensure(&plain)?;
            mender.report.restored_pieces += 1;
        }
        for hurt in &found.hurt {
            match hurt.hurt {
                Hurt::Lost { .. } | Hurt::Forged => {
                    mender.archives.manifest.archives.remove(&hurt.name);
                    mender.report.removed_archives += 1;
                }
                Hurt::NotAuthenticated if removes_unauthenticated => {
                    mender.archives.manifest.archives.remove(&hurt.name);
                    mender.report.removed_archives += 1;
                }
                Hurt::NotAuthenticated => mender.keep_if_whole(&hurt.name),
                Hurt::Parts { .. } => {
                    let entry = mender.archives.manifest.archives.get(&hurt.name).cloned();
                    if let Some(entry) = entry {
                        let mended = mender.mend(&entry)?;
                        let archives = &mut mender.archives.manifest.archives;
                        archives.insert(hurt.name.clone(), mended);
                        mender.report.mended_archives += 1;
                    }
                }
            }
        }
        let Mender {
            there, replaced, ..
        } = mender;
        let index = self.archives.count_chunks()?.whole()?;
        if found.orphans_are_certain {
            // What zeros stand for is not there, or it would have been put back.
            let mut useless: Vec<Id> = there.into_iter().collect();
            useless.retain(|id| *id != Id::MANIFEST && !index.contains(id));
            report.deleted_orphans = useless.len() as u64;
            self.archives.delete_all(useless)?;
        } else {
            // All that could be read of these lists stands in those that took their place.
            let mut useless: Vec<Id> = replaced;
            useless.retain(|id| there.contains(id) && !index.contains(id));
            useless.sort_unstable_by_key(|id| id.0);
            useless.dedup();
            self.archives.delete_all(useless)?;
        }
        self.archives.commit(now, &sealer)?;
        Ok(index)
    }
}

struct Mender<'a> {
    archives: &'a mut Archives,
    sealer: &'a Sealer,
    compressor: Compressor,
    /// The objects that there are.
    there: HashSet<Id>,
    /// Archive objects and lists of files that were written anew.
    replaced: Vec<Id>,
    report: &'a mut RepairReport,
}

impl Mender<'_> {
    /// Leaves an archive alone that is not authenticated, unless it is damaged as well: nobody may
    /// write it anew, and as it is nobody can tell what it uses.
    fn keep_if_whole(&mut self, name: &BString) {
        let entry = self.archives.manifest.archives.get(name);
        if entry.is_some_and(|entry| Uses::new(self.archives).add(&entry.id).is_err()) {
            self.archives.manifest.archives.remove(name);
            self.report.removed_archives += 1;
        }
    }

    /// Writes an archive anew, with all that is left of it.
    fn mend(&mut self, entry: &ArchiveEntry) -> Result<ArchiveEntry, Error> {
        let plain = self.archives.read(&entry.id)?;
        let key = self.archives.key.clone();
        let (mut archive, tam) =
            Archive::open(&key, &plain, false).map_err(|source| Error::ArchiveTam { source })?;
        let mut stream = ItemStream::new(key.chunk_seed());
        let mut items = ItemsAroundDamage::new(&archive);
        while let Some(found) = items.next(self.archives)? {
            let Ok(mut item) = found else {
                continue;
            };
            self.mend_item(&mut item)?;
            stream.add(|out| item.write(out), &mut |plains| self.ensure_all(plains))?;
        }
        let ids = stream.flush(&mut |plains| self.ensure_all(plains))?;
        self.replaced.push(entry.id);
        self.replaced.append(&mut archive.items);
        archive.items = ids.to_vec();
        let salt = match tam {
            Tam::Verified { salt } => salt,
            Tam::Absent => salt()?,
        };
        let id = self.ensure(&archive.pack(&key, &salt))?.id;
        let time = entry.time.clone();
        Ok(ArchiveEntry { id, time })
    }

    fn mend_item(&mut self, item: &mut Item) -> Result<(), Error> {
        let Some(chunks) = item.chunks.take() else {
            return Ok(());
        };
        let counts = item.part.is_none();
        let healthy = match item.chunks_healthy.take() {
            // A list of another length cannot be what it was.
            Some(healthy) if healthy.len() == chunks.len() => healthy,
            _ => chunks.clone(),
        };
        let was_hurt = healthy != chunks;
        let mut mended = Vec::with_capacity(chunks.len());
        for (chunk, healthy) in chunks.iter().zip(&healthy) {
            mended.push(if self.there.contains(&healthy.id) {
                *healthy
            } else if self.there.contains(&chunk.id) {
                *chunk
            } else {
                self.zeros(chunk.size)?
            });
        }
        let is_healthy = mended == healthy;
        if !is_healthy {
            self.report.zeroed_files += u64::from(counts && mended != chunks);
            item.chunks_healthy = Some(healthy);
        } else if was_hurt && counts {
            self.report.healed_files += 1;
        }
        item.chunks = Some(mended);
        Ok(())
    }

    fn zeros(&mut self, size: u32) -> Result<ChunkRef, Error> {
        // Chunks are at most 8 MiB, but what an item says is no promise.
        if size as usize > crate::OBJECT_SIZE_MAX {
            let size_max = crate::OBJECT_SIZE_MAX;
            return Err(Error::ObjectTooLarge {
                size: size as usize,
                size_max,
            });
        }
        self.ensure(&vec![0; size as usize])
    }

    /// Stores chunks that are not there; gives their ids.
    fn ensure_all(&mut self, plains: &[&[u8]]) -> Result<Vec<Id>, Error> {
        let stored = plains.iter().map(|plain| self.ensure(plain));
        stored.map(|chunk| Ok(chunk?.id)).collect()
    }

    /// Stores a chunk unless it is there.
    fn ensure(&mut self, plain: &[u8]) -> Result<ChunkRef, Error> {
        let id = self.archives.key.id_hash(plain);
        let size = crate::uses::size_of(plain.len());
        if self.there.contains(&id) {
            let csize = crate::uses::size_of(self.archives.repository.get(&id)?.len());
            return Ok(ChunkRef { id, size, csize });
        }
        let mut objects = [Object::new()];
        let mut csize = 0;
        for object in &mut objects {
            self.sealer.pack(plain, &mut self.compressor, object)?;
        }
        self.sealer.seal_many(&mut objects)?;
        for object in &mut objects {
            csize = crate::uses::size_of(object.stored().len());
            frame_put(object.entry_mut(), &id);
            self.archives.put(object.entry_mut())?;
        }
        self.there.insert(id);
        Ok(ChunkRef { id, size, csize })
    }
}
