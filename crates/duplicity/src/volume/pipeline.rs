//! The threads between the intake and the store.
//!
//! ```text
//! intake ─ pieces ─ pool of compressors ─ in order: encrypt, hash ─ finished files ─ uploads
//! ```
//!
//! Every queue is bounded, so memory holds a few pieces for every compressor, and the disk one
//! file that is being filled, one that waits and one for every upload. What fails anywhere stops
//! the stages before it: their next step gives the error.
//!
//! A pipeline that is dropped before its end stops: uploads are broken off where they are, and when
//! the drop is done nothing more is written. Else what a run that was given up still writes could
//! come into the way of the next.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use store::{Name, Store, WriteMode};

use super::deflate::{Deflater, PIECE_SIZE, stored};
use super::encode::{Encoded, Encoder, Piece};
use crate::archive::{Archive, Protection};
use crate::error::Error;

/// Threads that compress pieces.
pub(crate) struct Pool {
    jobs: Sender<Job>,
    threads: usize,
}

struct Job {
    bytes: Vec<u8>,
    form: PieceForm,
    reply: Sender<Piece>,
}

/// What becomes of the bytes of a piece.
#[derive(Debug, Clone, Copy)]
enum PieceForm {
    /// They are compressed.
    Deflated,
    /// They go into a deflate stream as they are.
    Stored,
    /// Nothing.
    Plain,
}

impl Pool {
    /// Starts the threads; they end with the pool and its streams.
    pub(crate) fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        let (jobs, queue) = bounded::<Job>(threads);
        for _ in 0..threads {
            let queue = queue.clone();
            thread::spawn(move || compress(&queue));
        }
        Self { jobs, threads }
    }
}

fn compress(queue: &Receiver<Job>) {
    let mut deflater = Deflater::new();
    for job in queue {
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&job.bytes);
        let plain_size = job.bytes.len();
        let bytes = match job.form {
            PieceForm::Deflated => deflater.piece(&job.bytes),
            PieceForm::Stored => stored(&job.bytes),
            PieceForm::Plain => job.bytes,
        };
        // Whoever asked may be gone after an error elsewhere.
        let _ = job.reply.send(Piece {
            bytes,
            checksum,
            plain_size,
        });
    }
}

enum Ordered<T> {
    Piece(Receiver<Piece>),
    End(T),
}

/// How far the file is that is being encoded.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// Files that were finished before it.
    files: u64,
    stored: u64,
    /// Plain bytes that these were.
    plain: u64,
}

/// A sequence of files, filled one after the other. `T` says what each of them is.
pub(crate) struct Stream<T> {
    pending: Vec<u8>,
    jobs: Sender<Job>,
    form: PieceForm,
    ordered: Option<Sender<Ordered<T>>>,
    encoded: Arc<Mutex<Progress>>,
    /// Files that were ended.
    files: u64,
    /// Plain bytes of the current file.
    plain: u64,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl<T: Send + 'static> Stream<T> {
    /// Starts a stream whose finished files go to `sink`, protected as the settings say.
    pub(crate) fn new(
        pool: &Pool,
        archive: &Archive,
        is_local: bool,
        mut sink: impl FnMut(T, Encoded) -> Result<(), Error> + Send + 'static,
    ) -> Self {
        let (ordered, queue) = bounded::<Ordered<T>>(2 * pool.threads + 2);
        let encoded = Arc::new(Mutex::new(Progress::default()));
        let archive = archive.clone();
        let settings = &archive.settings;
        let form = match settings.protection {
            _ if is_local => PieceForm::Deflated,
            Protection::Gpg(_) => PieceForm::Plain,
            _ if settings.compress => PieceForm::Deflated,
            Protection::None => PieceForm::Plain,
            Protection::Passphrase(_) => PieceForm::Stored,
        };
        let progress = encoded.clone();
        let thread = thread::spawn(move || {
            let mut current: Option<Encoder> = None;
            for step in queue {
                let mut encoder = match current.take() {
                    Some(encoder) => encoder,
                    None if is_local => Encoder::gzip(&archive.settings.scratch)?,
                    None => Encoder::new(&archive)?,
                };
                match step {
                    Ordered::Piece(piece) => {
                        let piece = piece.recv().map_err(|_| Error::Worker)?;
                        let plain_size = piece.plain_size as u64;
                        encoder.push(piece)?;
                        let mut progress = lock(&progress);
                        progress.stored = encoder.size();
                        progress.plain += plain_size;
                        current = Some(encoder);
                    }
                    Ordered::End(what) => {
                        let files = lock(&progress).files;
                        *lock(&progress) = Progress {
                            files: files + 1,
                            ..Progress::default()
                        };
                        sink(what, encoder.finish()?)?;
                    }
                }
            }
            Ok(())
        });
        Self {
            pending: Vec::with_capacity(PIECE_SIZE),
            jobs: pool.jobs.clone(),
            form,
            ordered: Some(ordered),
            encoded,
            files: 0,
            plain: 0,
            thread: Some(thread),
        }
    }

    /// Appends to the current file.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        self.plain += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = PIECE_SIZE - self.pending.len();
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.pending.extend_from_slice(now);
            bytes = later;
            if self.pending.len() == PIECE_SIZE {
                self.dispatch()?;
            }
        }
        Ok(())
    }

    /// Plain bytes of the current file.
    pub(crate) fn plain_size(&self) -> u64 {
        self.plain
    }

    /// Stored bytes of the current file; what is still in the queues counts as if it did not
    /// compress, so that small volumes do not outgrow their size.
    pub(crate) fn stored_size(&self) -> u64 {
        let encoded = *lock(&self.encoded);
        if encoded.files < self.files {
            // Still at the file before.
            return self.plain;
        }
        encoded.stored + self.plain.saturating_sub(encoded.plain)
    }

    /// Ends the current file.
    pub(crate) fn end_file(&mut self, what: T) -> Result<(), Error> {
        self.dispatch()?;
        self.plain = 0;
        self.files += 1;
        self.send(Ordered::End(what))
    }

    /// Waits until all files are with the sink.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.join()
    }

    fn dispatch(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::replace(&mut self.pending, Vec::with_capacity(PIECE_SIZE));
        let (reply, answer) = bounded(1);
        self.jobs
            .send(Job {
                bytes,
                form: self.form,
                reply,
            })
            .map_err(|_| Error::Worker)?;
        self.send(Ordered::Piece(answer))
    }

    fn send(&mut self, step: Ordered<T>) -> Result<(), Error> {
        let sent = self
            .ordered
            .as_ref()
            .is_some_and(|ordered| ordered.send(step).is_ok());
        if sent {
            return Ok(());
        }
        // The thread has ended: it knows why.
        self.join()?;
        Err(Error::Worker)
    }

    fn join(&mut self) -> Result<(), Error> {
        self.ordered = None;
        match self.thread.take() {
            Some(thread) => thread.join().unwrap_or(Err(Error::Worker)),
            None => Ok(()),
        }
    }
}

impl<T> Drop for Stream<T> {
    fn drop(&mut self) {
        self.ordered = None;
        if let Some(thread) = self.thread.take() {
            // Nobody is left to tell.
            let _ = thread.join();
        }
    }
}

/// Tells the threads of a pipeline, when it is dropped, that nothing more is wanted.
pub(crate) struct Abort(Arc<AtomicBool>);

impl Abort {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }
}

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A finished file that can no longer be read when the pipeline is given up.
struct Wanted<'a> {
    file: &'a Encoded,
    aborted: &'a AtomicBool,
}

impl store::Content for Wanted<'_> {
    fn size(&self) -> u64 {
        self.file.spool.size()
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(WantedReader {
            inner: store::Content::open(&self.file.spool, offset)?,
            aborted: self.aborted,
        }))
    }
}

struct WantedReader<'a> {
    inner: Box<dyn Read + Send + 'a>,
    aborted: &'a AtomicBool,
}

impl Read for WantedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.aborted.load(Ordering::Relaxed) {
            return Err(io::Error::other("the backup was given up"));
        }
        self.inner.read(buffer)
    }
}

/// Threads that write finished files to the store.
pub(crate) struct Uploads {
    queue: Option<Sender<(Name, Encoded)>>,
    threads: Vec<JoinHandle<()>>,
    outcome: Arc<Mutex<Outcome>>,
    aborted: Arc<AtomicBool>,
}

#[derive(Default)]
struct Outcome {
    error: Option<Error>,
    bytes: u64,
}

/// Hands files to the upload threads.
#[derive(Clone)]
pub(crate) struct Uploader {
    /// `None` when the uploads have ended.
    queue: Option<Sender<(Name, Encoded)>>,
    outcome: Arc<Mutex<Outcome>>,
    aborted: Arc<AtomicBool>,
}

impl Uploads {
    pub(crate) fn new(store: &Arc<dyn Store>, threads: usize, abort: &Abort) -> Self {
        let aborted = abort.0.clone();
        let (queue, files) = bounded::<(Name, Encoded)>(0);
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let threads = (0..threads.max(1))
            .map(|_| {
                let (store, files, outcome) = (store.clone(), files.clone(), outcome.clone());
                let aborted = aborted.clone();
                thread::spawn(move || {
                    for (name, encoded) in files {
                        let file = Wanted {
                            file: &encoded,
                            aborted: &aborted,
                        };
                        let result = write(&*store, &name, &file);
                        let mut outcome = lock(&outcome);
                        match result {
                            Ok(()) => outcome.bytes += encoded.spool.size(),
                            Err(error) => {
                                outcome.error.get_or_insert(error);
                            }
                        }
                    }
                })
            })
            .collect();
        Self {
            queue: Some(queue),
            threads,
            outcome,
            aborted,
        }
    }

    pub(crate) fn uploader(&self) -> Uploader {
        Uploader {
            queue: self.queue.clone(),
            outcome: self.outcome.clone(),
            aborted: self.aborted.clone(),
        }
    }

    /// Waits until everything is stored and gives the number of bytes. All uploaders must be gone.
    pub(crate) fn finish(mut self) -> Result<u64, Error> {
        self.queue = None;
        for thread in std::mem::take(&mut self.threads) {
            thread.join().map_err(|_| Error::Worker)?;
        }
        let mut outcome = lock(&self.outcome);
        match outcome.error.take() {
            Some(error) => Err(error),
            None => Ok(outcome.bytes),
        }
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        self.queue = None;
        for thread in std::mem::take(&mut self.threads) {
            // Nobody is left to tell.
            let _ = thread.join();
        }
    }
}

impl Uploader {
    /// Waits for a free thread and hands the file over.
    pub(crate) fn send(&self, name: Name, encoded: Encoded) -> Result<(), Error> {
        if let Some(error) = lock(&self.outcome).error.take() {
            return Err(error);
        }
        if self.aborted.load(Ordering::Relaxed) {
            return Err(Error::Worker);
        }
        let queue = self.queue.as_ref().ok_or(Error::Worker)?;
        queue.send((name, encoded)).map_err(|_| Error::Worker)
    }
}

/// Writes a file and compares what the store says about it.
pub(crate) fn upload(store: &dyn Store, name: &Name, encoded: &Encoded) -> Result<(), Error> {
    write(store, name, &encoded.spool)
}

fn write(store: &dyn Store, name: &Name, content: &dyn store::Content) -> Result<(), Error> {
    let object = store.write(name, content, WriteMode::Replace)?;
    if object.size == content.size() {
        return Ok(());
    }
    let error = store::Error::new(store::ErrorKind::Corrupt, store::Operation::Write);
    Err(error.on(name).into())
}

fn lock<T>(guarded: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}
