//! The last stage: sealed chunks go to the repository, items to the archive, in scan order.
//!
//! Order of a commit: chunks, item stream, archive object, manifest, commit of the repository,
//! then what this machine remembers. A crash before the repository's commit leaves nothing but
//! entries that do not count; a crash after it leaves a whole archive and an older memory, which
//! a newer repository satisfies.
//!
//! A *checkpoint* does the same for what has been read so far, under another name, so that an
//! interrupted backup need not send everything again. It leaves the chunk references of the cache
//! alone: the workers are ahead, and may have counted chunks that are not stored yet. The next
//! run counts anew from the archives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bstr::BString;
use crossbeam_channel::Receiver;
use jiff::{SignedDuration, Timestamp as Moment};

use super::batch::FileMark;
use super::seal::{SealedBatch, SealedChunk, SealedMark, Workshop};
use crate::archive::sizes;
use crate::cache::Cache;
use crate::chunk_index::ChunkIndex;
use crate::files_cache::{FilesMemory, FreshFiles, SeenFile};
use crate::item_stream::ItemStream;
use crate::sealer::Sealer;
use crate::{
    Archive, ArchiveEntry, Archives, ChunkRef, ChunkerParams, Compressor, Error, Item, ItemOptions,
    Timestamp, Totals,
};

/// An archive that is to be made.
#[derive(Debug, Clone)]
pub struct NewArchive {
    /// Its name; no other archive may have it.
    pub name: BString,
    /// A remark for people.
    pub comment: BString,
    /// When the backup began.
    pub time: Moment,
    /// The machine.
    pub hostname: BString,
    /// Who runs the program.
    pub username: BString,
    /// What was typed. Secrets must not stand in it.
    pub cmdline: Vec<BString>,
    /// In which folder.
    pub cwd: Option<BString>,
    /// The folder that stored paths are relative to, with a slash behind it: `/` for all but
    /// relative sources. Files are remembered by their whole paths.
    pub base: Vec<u8>,
    /// What is stored of each object.
    pub item_options: ItemOptions,
    /// How files are known again.
    pub files: FilesMemory,
    /// How files are cut.
    pub chunker_params: ChunkerParams,
    /// How chunks are compressed.
    pub compression: crate::Compression,
    /// How often a checkpoint is made, if at all.
    pub checkpoint_interval: Option<Duration>,
}

impl NewArchive {
    /// An archive of files below `/`, with Borg's defaults for the rest and without checkpoints.
    #[must_use]
    pub fn new(name: impl Into<BString>, time: Moment) -> Self {
        Self {
            name: name.into(),
            comment: BString::default(),
            time,
            hostname: BString::default(),
            username: BString::default(),
            cmdline: Vec::new(),
            cwd: None,
            base: b"/".to_vec(),
            item_options: ItemOptions::default(),
            files: FilesMemory::default(),
            chunker_params: ChunkerParams::DEFAULT,
            compression: crate::Compression::default(),
            checkpoint_interval: None,
        }
    }
}

/// What a new archive holds, and what it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Of its files, as Borg counts them.
    pub totals: Totals,
    /// Bytes of chunks that the repository did not have before, as they are stored.
    pub unique_csize: u64,
}

/// Writes one archive.
pub(super) struct Assembler {
    pub(super) archives: Archives,
    pub(super) new: NewArchive,
    pub(super) sealer: Arc<Sealer>,
    pub(super) index: Arc<Mutex<ChunkIndex>>,
    pub(super) cache: Cache,
    /// For the chunks of the item stream.
    pub(super) compressor: Compressor,
    /// Where the memory of written objects goes.
    pub(super) shop: Arc<Workshop>,
    pub(super) items: ItemStream,
    pub(super) statistics: Statistics,
    /// The same for others to look at.
    pub(super) shown: Arc<Mutex<Statistics>>,
    pub(super) fresh: FreshFiles,
    pub(super) open: Option<OpenFile>,
    /// When reading began.
    pub(super) began: Instant,
    pub(super) last_checkpoint: Instant,
    /// Batches so far.
    pub(super) taken: u64,
}

/// A file whose content is coming in.
pub(super) struct OpenFile {
    item: Box<Item>,
    memory: Option<SeenFile>,
    chunks: Vec<ChunkRef>,
    /// Stored bytes of those chunks that were new.
    unique_csize: u64,
    /// How many of the chunks stand in part items already.
    in_parts: usize,
    /// How many part items there are.
    parts: u64,
}

impl Assembler {
    /// Takes everything in until the workers have finished.
    pub(super) fn run(
        mut self,
        sealed: &Receiver<Result<SealedBatch, Error>>,
    ) -> Result<Self, Error> {
        let mut early = BTreeMap::new();
        for batch in sealed {
            let batch = batch?;
            early.insert(batch.number, batch);
            while let Some(batch) = early.remove(&self.taken) {
                self.take(batch)?;
                self.taken += 1;
            }
            *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = self.statistics;
            if self
                .new
                .checkpoint_interval
                .is_some_and(|interval| self.last_checkpoint.elapsed() >= interval)
            {
                self.checkpoint()?;
                self.last_checkpoint = Instant::now();
            }
        }
        Ok(self)
    }

    fn take(&mut self, batch: SealedBatch) -> Result<(), Error> {
        let mut chunks = batch.chunks.into_iter();
        let mut items = &batch.items[..];
        for mark in batch.marks {
            match mark {
                SealedMark::Items { length, totals } => {
                    let (next, others) = items.split_at_checked(length).unwrap_or((items, &[]));
                    items = others;
                    self.statistics.totals.add(&totals);
                    self.add(|items| items.extend_from_slice(next))?;
                }
                SealedMark::File(FileMark::Begin { item, memory }) => {
                    self.open = Some(OpenFile {
                        item,
                        memory,
                        chunks: Vec::new(),
                        unique_csize: 0,
                        in_parts: 0,
                        parts: 0,
                    });
                }
                SealedMark::File(FileMark::Chunks(count)) => {
                    for chunk in chunks.by_ref().take(count) {
                        self.chunk(chunk)?;
                    }
                }
                SealedMark::File(FileMark::Complete) => self.close(true)?,
                SealedMark::File(FileMark::Changed) => self.close(false)?,
                SealedMark::File(FileMark::Abandon) => self.abandon()?,
            }
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: SealedChunk) -> Result<(), Error> {
        let SealedChunk { id, object } = chunk;
        let mut unique_csize = 0;
        if let Some(mut object) = object {
            let csize = object.stored().len();
            self.archives.put(object.entry_mut())?;
            lock(&self.index).set_csize(&id, csize);
            unique_csize = csize as u64;
            self.shop.spares.put(object);
        }
        let chunk = lock(&self.index).reference(&id)?;
        if let Some(open) = &mut self.open {
            open.chunks.push(chunk);
            open.unique_csize += unique_csize;
        }
        Ok(())
    }

    /// Adds the open file to the archive.
    fn close(&mut self, settled: bool) -> Result<(), Error> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        if open.parts > 0 {
            // The parts together are the whole file, and it refers to their chunks once more.
            self.part(&mut open)?;
            let mut index = lock(&self.index);
            for chunk in &open.chunks {
                index.use_known(&chunk.id)?;
            }
            let totals = &mut self.statistics.totals;
            totals.add_parts(&open.chunks, open.parts);
        }
        self.statistics.totals.add_file(&open.chunks);
        self.statistics.unique_csize += open.unique_csize;
        if let (true, Some(seen)) = (settled, open.memory) {
            let ids = open.chunks.iter().map(|chunk| chunk.id);
            self.fresh.remember(seen, ids);
        }
        open.item.size = Some(sizes(&open.chunks).0);
        open.item.chunks = Some(open.chunks);
        self.add(|items| open.item.write(items))
    }

    /// Forgets the open file: its chunks are used once less, and those that were stored for it
    /// alone go again.
    fn abandon(&mut self) -> Result<(), Error> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        // Those that stand in part items of a checkpoint are kept by them.
        for chunk in open.chunks.iter().skip(open.in_parts) {
            if lock(&self.index).remove_reference(&chunk.id) {
                self.archives.delete(&chunk.id)?;
            }
        }
        Ok(())
    }

    /// Adds items to the archive.
    fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        let Self {
            items,
            archives,
            sealer,
            index,
            compressor,
            ..
        } = self;
        items.add(write, &mut |plains| {
            archives.store_many(plains, sealer, compressor, &mut lock(index))
        })
    }

    /// Adds the chunks that stand in no part item yet as one.
    fn part(&mut self, open: &mut OpenFile) -> Result<(), Error> {
        let chunks = open.chunks.get(open.in_parts..).unwrap_or_default();
        if chunks.is_empty() {
            return Ok(());
        }
        open.parts += 1;
        open.in_parts = open.chunks.len();
        let mut part = (*open.item).clone();
        part.path
            .extend_from_slice(format!(".borg_part_{}", open.parts).as_bytes());
        part.part = Some(open.parts);
        part.size = Some(sizes(chunks).0);
        part.chunks = Some(chunks.to_vec());
        self.add(|items| part.write(items))
    }

    /// Makes what has been read so far stand, as an archive of its own until the next commit.
    fn checkpoint(&mut self) -> Result<(), Error> {
        if let Some(mut open) = self.open.take() {
            self.part(&mut open)?;
            self.open = Some(open);
        }
        let name = self.checkpoint_name();
        let entry = self.enter(name.clone())?;
        self.archives.commit(self.now(), &self.sealer)?;
        self.save_files()?;
        self.archives.remember()?;
        self.archives.manifest.archives.remove(&name);
        if lock(&self.index).remove_reference(&entry.id) {
            self.archives.delete(&entry.id)?;
        }
        Ok(())
    }

    /// A name that no archive has: that of an earlier, interrupted run may still be there.
    fn checkpoint_name(&self) -> BString {
        let first = format!("{}.checkpoint", self.new.name);
        (1..)
            .map(|number| match number {
                1 => BString::from(first.as_str()),
                _ => BString::from(format!("{first}.{number}")),
            })
            .find(|name| !self.archives.manifest.archives.contains_key(name))
            .unwrap_or_default()
    }

    /// Stores the archive object and enters it in the manifest.
    fn enter(&mut self, name: BString) -> Result<ArchiveEntry, Error> {
        let Self {
            items,
            archives,
            sealer,
            index,
            compressor,
            ..
        } = self;
        let ids = items.flush(&mut |plains| {
            archives.store_many(plains, sealer, compressor, &mut lock(index))
        })?;
        let time = Timestamp::new(self.new.time);
        let archive = Archive {
            comment: Some(self.new.comment.clone()),
            items: ids.to_vec(),
            cmdline: self.new.cmdline.clone(),
            cwd: self.new.cwd.clone(),
            hostname: Some(self.new.hostname.clone()),
            username: Some(self.new.username.clone()),
            time_end: Some(Timestamp::new(now(self.new.time, self.began))),
            chunker_params: Some(self.new.chunker_params),
            totals: Some(self.statistics.totals),
            ..Archive::new(name.clone(), time.clone())
        };
        let packed = archive.pack(sealer.key(), &crate::archives::salt()?);
        let id = archives.store(&packed, sealer, compressor, &mut lock(index))?;
        let entry = ArchiveEntry { id, time };
        archives.manifest.archives.insert(name, entry.clone());
        Ok(entry)
    }

    /// Makes what was taken stand as a checkpoint, and ends.
    pub(super) fn leave_checkpoint(mut self) -> Result<BString, Error> {
        if let Some(mut open) = self.open.take() {
            self.part(&mut open)?;
        }
        let name = self.checkpoint_name();
        self.enter(name.clone())?;
        self.archives.commit(self.now(), &self.sealer)?;
        self.save_files()?;
        self.archives.remember()?;
        Ok(name)
    }

    /// Remembers the files that were read; unless nothing is to be remembered.
    fn save_files(&mut self) -> Result<(), Error> {
        match self.new.files.mode {
            Some(_) => self.cache.save_files(&self.fresh),
            None => Ok(()),
        }
    }

    /// Makes the archive stand.
    pub(super) fn commit(mut self) -> Result<(Archives, Statistics), Error> {
        self.enter(self.new.name.clone())?;
        self.archives.commit(self.now(), &self.sealer)?;
        let memory = self.archives.memory();
        {
            let manifest = &self.archives.manifest_id;
            let index = &mut lock(&self.index);
            match self.new.files.mode {
                Some(_) => self.cache.save(manifest, &memory, index, &self.fresh)?,
                None => self.cache.save_chunks(manifest, &memory, index)?,
            }
        }
        self.archives.remember()?;
        Ok((self.archives, self.statistics))
    }

    fn now(&self) -> Moment {
        now(self.new.time, self.began)
    }
}

/// The time now: the beginning and what has passed since, whatever was done to the clock.
fn now(time: Moment, began: Instant) -> Moment {
    SignedDuration::try_from(began.elapsed())
        .ok()
        .and_then(|passed| time.checked_add(passed).ok())
        .unwrap_or(time)
}

fn lock(index: &Mutex<ChunkIndex>) -> std::sync::MutexGuard<'_, ChunkIndex> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}
