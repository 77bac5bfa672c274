//! Writes the content of files: whoever goes through an archive makes the files, and several threads
//! fetch what is in them, several pieces of one large file at the same time.
//!
//! Pieces travel in batches, so that the chunks of many small files are opened together. What is in
//! flight is bounded: a batch of [`ReadBatch`], two of them a thread, one more in the queue and one
//! that is being filled, and [`OPEN_FILES`] in all of these together.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use tree::{FileWriter, ProblemKind, RestoreError};

use crate::{Archives, ChunkReader, ChunkRef, Error, ReadBatch};

/// Threads that fetch content, at most.
const THREADS_MAX: usize = 16;

/// Files that are open at the same time, at most: far below what a process may.
const OPEN_FILES: usize = 640;

/// What ends the writing of all files. Damage of one of them does not.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Content cannot be read at all.
    #[error(transparent)]
    Read(#[from] Error),
    /// Nothing can be written.
    #[error(transparent)]
    Write(#[from] RestoreError),
}

/// A piece of a file, and where it belongs.
struct Piece<'a> {
    /// Whoever is done with the last piece finishes the file.
    file: Arc<FileWriter<'a>>,
    offset: u64,
    /// Nothing for a file without content.
    chunk: Option<ChunkRef>,
}

/// Takes files that are to get their content.
pub struct Unpacker<'a> {
    pieces: Vec<Piece<'a>>,
    size: ReadBatch,
    files: usize,
    files_max: usize,
    sender: Sender<Vec<Piece<'a>>>,
}

/// Lets `feed` hand files to an [`Unpacker`], and gives what it gives when all of them are written.
///
/// `advance` hears how many bytes were written, from any thread, and ends the writing by breaking.
/// A chunk that is missing or damaged fails its file alone, which its restore reports then.
///
/// # Errors
///
/// [`UnpackError`]. Nothing of an unfinished file stays.
pub fn unpack<'a, T>(
    archives: &Archives,
    advance: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
    feed: impl FnOnce(&mut Unpacker<'a>) -> T,
) -> (T, Result<(), UnpackError>) {
    let cores = thread::available_parallelism().map_or(2, usize::from);
    let threads = cores.min(THREADS_MAX);
    thread::scope(|scope| {
        let (sender, batches) = bounded::<Vec<Piece<'a>>>(1);
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let batches = batches.clone();
                scope.spawn(move || {
                    let worker = Worker {
                        reader: ChunkReader::new(archives)?,
                        behind: Vec::new(),
                        advance,
                    };
                    worker.run(&batches)
                })
            })
            .collect();
        drop(batches);
        let mut unpacker = Unpacker {
            pieces: Vec::new(),
            size: ReadBatch::default(),
            files: 0,
            files_max: OPEN_FILES / (2 * threads + 2),
            sender,
        };
        let fed = feed(&mut unpacker);
        // Workers that have stopped say why.
        let _ = unpacker.hand_on();
        drop(unpacker);
        let mut result = Ok(());
        for worker in workers {
            let stopped = || Err(Error::Stopped.into());
            let ended = worker.join().unwrap_or_else(|_| stopped());
            result = result.and(ended);
        }
        (fed, result)
    })
}

impl<'a> Unpacker<'a> {
    /// Takes a file and what its content is. Breaks when nobody writes any more.
    pub fn add(&mut self, file: FileWriter<'a>, chunks: &[ChunkRef]) -> ControlFlow<()> {
        let file = Arc::new(file);
        if chunks.is_empty() {
            self.push(&file, 0, None)?;
        }
        let mut offset = 0;
        for &chunk in chunks {
            self.push(&file, offset, Some(chunk))?;
            offset += u64::from(chunk.size);
        }
        self.files += 1;
        if self.files < self.files_max {
            return ControlFlow::Continue(());
        }
        self.hand_on()
    }

    fn push(
        &mut self,
        file: &Arc<FileWriter<'a>>,
        offset: u64,
        chunk: Option<ChunkRef>,
    ) -> ControlFlow<()> {
        let size = chunk.map_or(0, |chunk| chunk.size);
        if !self.size.takes(size) {
            self.hand_on()?;
            self.size.takes(size);
        }
        let file = Arc::clone(file);
        self.pieces.push(Piece {
            file,
            offset,
            chunk,
        });
        ControlFlow::Continue(())
    }

    fn hand_on(&mut self) -> ControlFlow<()> {
        self.size = ReadBatch::default();
        self.files = 0;
        match self.sender.send(std::mem::take(&mut self.pieces)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// Fetches and writes content.
struct Worker<'a, 's> {
    reader: ChunkReader<'s>,
    /// What the reader has read and not handed out yet.
    behind: Vec<Piece<'a>>,
    advance: &'s (dyn Fn(u64) -> ControlFlow<()> + Sync),
}

impl<'a> Worker<'a, '_> {
    fn run(mut self, batches: &Receiver<Vec<Piece<'a>>>) -> Result<(), UnpackError> {
        for batch in batches {
            if self.step(batch)?.is_break() {
                // Nothing of an unfinished file stays.
                return Ok(());
            }
        }
        self.step(Vec::new()).map(drop)
    }

    /// Starts on a batch, and writes what was started before.
    fn step(&mut self, batch: Vec<Piece<'a>>) -> Result<ControlFlow<()>, UnpackError> {
        let (next, without): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|piece| piece.chunk.is_some() && !piece.file.is_failed());
        let chunks: Vec<ChunkRef> = next.iter().filter_map(|piece| piece.chunk).collect();
        let behind = std::mem::replace(&mut self.behind, next);
        let mut bytes = 0;
        let mut written = Ok(());
        self.reader.read(&chunks, |index, plain| {
            let Some(Piece { file, offset, .. }) = behind.get(index) else {
                return;
            };
            match plain {
                Ok(plain) if written.is_ok() => {
                    written = file.write_at(*offset, plain);
                    bytes += plain.len() as u64;
                }
                Ok(_) => {}
                Err(error) => file.fail(unreadable(error)),
            }
        });
        written?;
        for piece in behind.into_iter().chain(without) {
            if let Some(file) = Arc::into_inner(piece.file) {
                file.finish()?;
            }
        }
        Ok((self.advance)(bytes))
    }
}

/// The problem of a file whose content cannot be had.
#[must_use]
pub fn unreadable(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ProblemKind {
    ProblemKind::Io {
        action: "read its content in the repository",
        source: io::Error::other(why),
    }
}
