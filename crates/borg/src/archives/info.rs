//! How much archives and the repository hold, and how much of that is stored once.

use std::collections::HashMap;

use bstr::BStr;

use super::Archives;
use crate::cache::Cache;
use crate::chunk_index::ChunkIndex;
use crate::item::ItemReader;
use crate::uses::{Use, Uses};
use crate::{Archive, Error, Host, Id, Totals};

/// How often each chunk is used, and how large it is.
pub struct Chunks(ChunkIndex);

/// What is known about one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkUse {
    /// How often the archives use it.
    pub references: u32,
    /// Plain bytes.
    pub size: u32,
    /// Bytes that it takes in the repository.
    pub csize: u32,
}

impl Chunks {
    /// What is known about a chunk, if an archive uses it.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<ChunkUse> {
        let entry = self.0.get(id)?;
        Some(ChunkUse {
            references: entry.references,
            size: entry.size,
            csize: entry.csize,
        })
    }
}

/// An archive with its statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveInfo {
    /// What it says about itself.
    pub archive: Archive,
    /// What its object is stored under.
    pub id: Id,
    /// Sums over its files.
    pub totals: Totals,
    /// Stored bytes of the content that no other archive has: what deleting it would free, but for
    /// its metadata.
    pub unique_csize: u64,
    /// Plain bytes of the archive object.
    pub object_size: u64,
}

/// Sums over all archives of a repository, as its chunks are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RepositoryInfo {
    /// How many chunks there would be without deduplication.
    pub total_chunks: u64,
    /// Plain bytes of the files of all archives.
    pub total_size: u64,
    /// Bytes that they would take without deduplication.
    pub total_csize: u64,
    /// How many different chunks there are.
    pub unique_chunks: u64,
    /// Plain bytes of these.
    pub unique_size: u64,
    /// Stored bytes of these.
    pub unique_csize: u64,
}

impl Archives {
    /// How often each chunk is used: by this machine's cache, counted anew if that is outdated.
    ///
    /// # Errors
    ///
    /// Those of the cache and of counting.
    pub fn chunks(&self, host: &Host) -> Result<Chunks, Error> {
        let id = self.repository.id();
        let mut cache = Cache::open(&self.home, &id, &self.manifest_id, host, self.lock_wait)?;
        if cache.is_in_sync() {
            return Ok(Chunks(cache.take_chunks()));
        }
        let mut index = self.count_chunks()?.whole()?;
        cache.save_chunks(&self.manifest_id, &self.memory(), &mut index)?;
        Ok(Chunks(index))
    }

    /// An archive with its statistics.
    ///
    /// # Errors
    ///
    /// [`Error::NoArchive`]; what cannot be read of its metadata.
    pub fn archive_info(&self, name: &BStr, host: &Host) -> Result<ArchiveInfo, Error> {
        self.archive_info_with(name, &self.chunks(host)?)
    }

    /// The same, for several archives one after the other.
    ///
    /// # Errors
    ///
    /// As [`Self::archive_info`].
    pub fn archive_info_with(&self, name: &BStr, chunks: &Chunks) -> Result<ArchiveInfo, Error> {
        let entry = self.manifest.archives.get(name);
        let entry = entry.ok_or_else(|| Error::NoArchive { name: name.into() })?;
        let index = &chunks.0;
        let mut uses = Uses::new(self);
        let archive = uses.add(&entry.id)?.archive;
        // A chunk may come in several stretches.
        let mut own: HashMap<Id, u32> = HashMap::new();
        for Use { chunk, count } in uses.content() {
            let known = own.entry(chunk.id).or_default();
            *known = known.saturating_add(count);
        }
        let unique_csize = own
            .iter()
            .filter_map(|(id, count)| index.get(id).filter(|known| known.references == *count))
            .map(|known| u64::from(known.csize))
            .sum();
        let totals = match archive.totals {
            Some(totals) => totals,
            None => self.count_files(&archive)?,
        };
        Ok(ArchiveInfo {
            archive,
            id: entry.id,
            totals,
            unique_csize,
            object_size: index.get(&entry.id).map_or(0, |known| known.size.into()),
        })
    }

    /// Sums over all archives.
    ///
    /// # Errors
    ///
    /// Those of this machine's cache, of counting references when it is not up to date, and of
    /// reading what archives say about themselves.
    pub fn repository_info(&self, host: &Host) -> Result<RepositoryInfo, Error> {
        self.repository_info_with(&self.chunks(host)?)
    }

    /// The same, where the chunks are known.
    ///
    /// # Errors
    ///
    /// As [`Self::repository_info`].
    pub fn repository_info_with(&self, chunks: &Chunks) -> Result<RepositoryInfo, Error> {
        let mut info = RepositoryInfo::default();
        for (_, chunk) in chunks.0.iter() {
            info.total_chunks += u64::from(chunk.references);
            info.unique_chunks += 1;
            info.unique_size += u64::from(chunk.size);
            info.unique_csize += u64::from(chunk.csize);
        }
        for (name, _) in self.list() {
            let archive = self.archive(name)?;
            let totals = match archive.totals {
                Some(totals) => totals,
                None => self.count_files(&archive)?,
            };
            info.total_size += totals.size;
            info.total_csize += totals.csize;
        }
        Ok(info)
    }

    /// Sums over the files of an archive that is too old to know them.
    fn count_files(&self, archive: &Archive) -> Result<Totals, Error> {
        let damaged = |source| Error::Items { source };
        let mut totals = Totals::default();
        let mut reader = ItemReader::new();
        for id in &archive.items {
            reader.push(&self.read(id)?);
            while let Some(item) = reader.next_item().map_err(damaged)? {
                let Some(chunks) = &item.chunks else {
                    continue;
                };
                match item.part {
                    Some(_) => totals.add_parts(chunks, 1),
                    None => totals.add_file(chunks),
                }
            }
        }
        reader.finish().map_err(damaged)?;
        Ok(totals)
    }
}
