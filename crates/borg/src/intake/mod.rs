//! Takes in what is read of a file tree and makes an archive of it.
//!
//! ```text
//! take ─ cut ─ batch ─┬─ worker ─┬─ assembler ─ segments
//!                     └─ worker ─┘
//! ```
//!
//! The caller's thread cuts files into chunks. Workers, one for each core, hash, compress,
//! encrypt and frame them. One assembler restores the order, appends the objects to the
//! repository and the items to the archive. Each of them holds one batch at a time, so memory is
//! bounded whatever the tree looks like.
//!
//! Nothing that is appended counts before the repository commits, and the archive is entered in
//! the manifest just before that. So a crash at any moment leaves all earlier archives, and at
//! most one checkpoint of this one.

mod assemble;
mod batch;
mod item;
mod seal;
mod spares;
mod turn;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use bstr::BString;
use crossbeam_channel::{Sender, bounded};
use tree::{Block, Body, Ending, Entry, Step};

use crate::files_cache::{
    FileState, FilesCache, FilesMode, FreshFiles, PathHasher, Place, SeenFile,
};
use crate::item_stream::ItemStream;
use crate::{Archives, Chunk, Chunker, ChunkerParams, Error, Host, Item, ItemOptions};

use assemble::Assembler;
use batch::{Batch, FileMark, Mark, Plain};
use seal::Workshop;
use spares::Spares;
use turn::Turn;

pub use assemble::{NewArchive, Statistics};

/// Cuts files into chunks, on the caller's thread.
struct Cutter {
    chunker: Chunker,
    /// Files of up to this size are one chunk, whatever they hold.
    uncut_size: usize,
    /// Whether the mode hashes with BLAKE2b.
    has_lanes: bool,
    batch: Batch,
    /// Number of the batch.
    number: u64,
    /// The last file that was unchanged.
    last: Option<Place>,
    batches: Option<Sender<(u64, Batch)>>,
    shop: Arc<Workshop>,
}

impl Cutter {
    /// Takes the next step of the scan.
    fn take(&mut self, step: Step, known: &KnownFiles) -> Result<(), Error> {
        match step {
            Step::Entry { entry, body } => self.entry(entry, body, known)?,
            Step::Data(block) => self.data(&block),
            Step::Hole(length) => {
                let Self { chunker, batch, .. } = self;
                chunker.hole(length, &mut |chunk| batch.push(chunk.into()));
            }
            Step::End(ending) => self.end(&ending),
            // The engine reports it; the archive is without that object.
            Step::Problem(_) => {}
        }
        if self.batch.is_full(self.has_lanes) {
            self.hand_on()?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: Arc<Entry>, body: Body, known: &KnownFiles) -> Result<(), Error> {
        let has_content = entry.is_file() && entry.hard_link.is_none();
        if has_content && matches!(body, Body::None) {
            return self.unchanged(entry, known);
        }
        let Some(item) = Item::from_entry(&entry, known.item_options).map(Box::new) else {
            // A socket: Borg stores none.
            return Ok(());
        };
        if !has_content {
            self.batch.marks.push(Mark::Item(item));
            return Ok(());
        }
        let memory = Some(SeenFile {
            path: known.paths.hash(&entry),
            state: known.state(&entry),
            after: self.last,
        });
        self.batch.mark(FileMark::Begin { item, memory });
        if let Body::Whole(block) = body {
            self.whole(block);
            self.batch.mark(FileMark::Complete);
        }
        Ok(())
    }

    /// A file whose content is not needed.
    fn unchanged(&mut self, entry: Arc<Entry>, known: &KnownFiles) -> Result<(), Error> {
        let files = &known.files;
        let state = known.state(&entry);
        let expected = files.follow(self.last, &entry, &state);
        let found = expected.or_else(|| {
            let place = files.find(&known.paths.hash(&entry))?;
            let mode = known.mode.unwrap_or_default();
            files.is_unchanged(place, &state, mode).then_some(place)
        });
        let place = found.ok_or_else(|| Error::ContentMissing {
            path: entry.path.clone(),
        })?;
        files.mark_seen(place);
        self.last = Some(place);
        self.batch.known += files.chunks(place).len();
        self.batch.marks.push(Mark::Unchanged { entry, place });
        Ok(())
    }

    /// A small file: its chunks are parts of the block, not copies.
    fn whole(&mut self, block: Block) {
        if block.is_empty() {
            return;
        }
        if block.len() <= self.uncut_size {
            self.batch.push(Plain::Block(block));
            return;
        }
        for range in self.chunker.cuts(&block) {
            self.batch.push(Plain::Part(block.clone(), range));
        }
    }

    fn data(&mut self, block: &Block) {
        let Self {
            chunker,
            batch,
            shop,
            ..
        } = self;
        chunker.supply(|| shop.spares.take_plain());
        chunker.push(block, &mut |chunk| batch.push(chunk.into()));
    }

    fn end(&mut self, ending: &Ending) {
        let Self { chunker, batch, .. } = self;
        let mark = match ending {
            Ending::Complete | Ending::Changed(_) => {
                chunker.finish(&mut |chunk| batch.push(chunk.into()));
                match ending {
                    Ending::Complete => FileMark::Complete,
                    _ => FileMark::Changed,
                }
            }
            Ending::Failed(_) => {
                chunker.abandon();
                FileMark::Abandon
            }
        };
        batch.mark(mark);
    }

    /// Hands the batch to the workers; waits while they have enough to do.
    fn hand_on(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        let number = self.number;
        self.number += 1;
        match &self.batches {
            Some(batches) if batches.send((number, batch)).is_ok() => Ok(()),
            // The assembler has stopped; its reason comes out when it is joined.
            _ => Err(Error::Stopped),
        }
    }
}

/// What `wants` needs to know.
struct KnownFiles {
    paths: PathHasher,
    files: Arc<FilesCache>,
    item_options: ItemOptions,
    /// What is compared.
    mode: Option<FilesMode>,
    /// Whether what was known of files could not be used.
    is_damaged: bool,
}

impl KnownFiles {
    /// What tells whether the file has changed.
    fn state(&self, entry: &Entry) -> FileState {
        FileState::of(entry, self.mode.unwrap_or_default())
    }

    /// Whether the file has the content that is known, and all of that is in the repository.
    fn knows(&self, entry: &Entry) -> bool {
        let Some(mode) = self.mode else {
            return false;
        };
        let Some(place) = self.files.find(&self.paths.hash(entry)) else {
            return false;
        };
        let is_known = self.files.is_unchanged(place, &self.state(entry), mode);
        if is_known {
            self.files.expect(place, entry);
        }
        is_known
    }
}

/// An archive in the making. Dropped without [`Intake::commit`] it leaves the repository as it
/// was, but for a checkpoint.
pub struct Intake {
    known: KnownFiles,
    stored: Arc<Mutex<Statistics>>,
    cutter: Mutex<Cutter>,
    assembler: Option<JoinHandle<Result<Assembler, Error>>>,
    workers: Vec<JoinHandle<()>>,
    unreadable: Vec<BString>,
}

impl Intake {
    /// Begins an archive.
    ///
    /// # Errors
    ///
    /// [`Error::ArchiveExists`]; those of this machine's cache, which is made ready first.
    pub fn begin(archives: Archives, new: NewArchive, host: &Host) -> Result<Self, Error> {
        crate::archives::check_name(new.name.as_ref())?;
        if archives.manifest.archives.contains_key(&new.name) {
            return Err(Error::ArchiveExists { name: new.name });
        }
        let mut cache = archives.cache(host)?;
        let mut index = cache.take_chunks();
        let unreadable = cache.unreadable().map(<[BString]>::to_vec);
        if unreadable.is_some() {
            // An archive may use what is lost; a new one stores it again.
            for id in archives.missing(index.iter().map(|(id, _)| id))? {
                index.lose(id);
            }
        }
        let files = cache.load_files(&new.files, &index);
        let index = Arc::new(Mutex::new(index));
        let sealer = archives.sealer(new.compression.clone());
        let key = archives.key.clone();
        let known = KnownFiles {
            paths: PathHasher::new(&new.base, &key),
            files: Arc::clone(&files),
            item_options: new.item_options,
            mode: new.files.mode,
            is_damaged: cache.files_damaged(),
        };
        // Nothing waits in between: whoever has a batch to hand on holds it till it is taken.
        let (batch_sender, batches) = bounded::<(u64, Batch)>(0);
        let (sealed_sender, sealed) = bounded(0);
        let shop = Arc::new(Workshop {
            sealer: Arc::clone(&sealer),
            index: Arc::clone(&index),
            files,
            item_options: new.item_options,
            turn: Turn::default(),
            spares: Spares::default(),
        });
        let cores = thread::available_parallelism().map_or(2, usize::from);
        let workers = (0..cores)
            .map(|_| {
                let (shop, batches, sealed) =
                    (Arc::clone(&shop), batches.clone(), sealed_sender.clone());
                thread::spawn(move || seal::work(&shop, &batches, &sealed))
            })
            .collect();
        let params = new.chunker_params;
        let now = Instant::now();
        let stored = Arc::new(Mutex::new(Statistics::default()));
        let assembler = Assembler {
            compressor: sealer.compressor()?,
            items: ItemStream::new(key.chunk_seed()),
            statistics: Statistics::default(),
            shown: Arc::clone(&stored),
            fresh: FreshFiles::new(new.time),
            open: None,
            began: now,
            last_checkpoint: now,
            taken: 0,
            shop: Arc::clone(&shop),
            archives,
            new,
            sealer,
            index,
            cache,
        };
        let assembler = thread::spawn(move || assembler.run(&sealed));
        Ok(Self {
            cutter: Mutex::new(Cutter {
                chunker: Chunker::new(params, key.chunk_seed()),
                uncut_size: match params {
                    ChunkerParams::Buzhash { min_exponent, .. } => 1 << min_exponent,
                    ChunkerParams::Fixed { .. } => 0,
                },
                has_lanes: key.encryption().uses_blake2(),
                batch: Batch::default(),
                number: 0,
                last: None,
                batches: Some(batch_sender),
                shop: Arc::clone(&shop),
            }),
            known,
            stored,
            assembler: Some(assembler),
            workers,
            unreadable: unreadable.unwrap_or_default(),
        })
    }

    /// Archives that were found damaged at the beginning. They are looked through only when this
    /// machine's cache is lost or outdated, so this is no proof that the others are whole.
    #[must_use]
    pub fn unreadable(&self) -> &[BString] {
        &self.unreadable
    }

    /// Whether the content of this regular file is needed.
    pub fn wants(&self, entry: &Entry) -> bool {
        entry.hard_link.is_none() && !self.known.knows(entry)
    }

    /// Whether an earlier run has seen a file of this name, in whatever state.
    pub fn has_seen(&self, entry: &Entry) -> bool {
        let looks = self.known.mode.is_some_and(|mode| !mode.rechunk);
        let KnownFiles { files, paths, .. } = &self.known;
        looks && files.find(&paths.hash(entry)).is_some()
    }

    /// What has been stored so far. It is behind what was taken.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        *self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what was remembered of files was damaged: all of them are read.
    #[must_use]
    pub fn files_memory_damaged(&self) -> bool {
        self.known.is_damaged
    }

    /// Takes the next step of the scan; see [`tree::Step`] for their order.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when an earlier step cannot be stored: [`Self::commit`] says why.
    pub fn take(&self, step: Step) -> Result<(), Error> {
        let mut cutter = self.cutter.lock().unwrap_or_else(PoisonError::into_inner);
        cutter.take(step, &self.known)
    }

    /// Makes the archive stand: when this returns, it can be read.
    ///
    /// # Errors
    ///
    /// When it does not stand. All earlier archives do.
    pub fn commit(self) -> Result<(Archives, Statistics), Error> {
        self.end()?.commit()
    }

    /// Ends it before its time: what was taken stands as a checkpoint, which the next run needs not
    /// store again. Gives its name.
    ///
    /// # Errors
    ///
    /// As [`Self::commit`].
    pub fn leave_checkpoint(self) -> Result<BString, Error> {
        self.end()?.leave_checkpoint()
    }

    fn end(mut self) -> Result<Assembler, Error> {
        let last = {
            let mut cutter = self.cutter.lock().unwrap_or_else(PoisonError::into_inner);
            let last = match cutter.batch.is_empty() {
                true => Ok(()),
                false => cutter.hand_on(),
            };
            cutter.batches = None;
            last
        };
        let assembler = self.join()?;
        last?;
        Ok(assembler)
    }

    /// Waits for all threads. The batches must have ended.
    fn join(&mut self) -> Result<Assembler, Error> {
        for worker in self.workers.drain(..) {
            // A panic of a worker ends its results, and the assembler misses a batch.
            let _ = worker.join();
        }
        let assembler = self.assembler.take().ok_or(Error::Stopped)?;
        let assembler = assembler.join().map_err(|_| Error::Stopped)??;
        let handed_on = self.cutter.get_mut().map_or(0, |cutter| cutter.number);
        if assembler.taken == handed_on {
            Ok(assembler)
        } else {
            Err(Error::Stopped)
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        if let Ok(cutter) = self.cutter.get_mut() {
            cutter.batches = None;
        }
        // The repository and its locks are let go of before anybody goes on.
        let _ = self.join();
    }
}

impl From<Chunk> for Plain {
    fn from(chunk: Chunk) -> Self {
        match chunk {
            Chunk::Data(bytes) => Self::Owned(bytes),
            Chunk::Zeros(size) => Self::Zeros(size),
        }
    }
}
