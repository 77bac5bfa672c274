//! Restores from an archive: one thread goes through the items and makes files, the others fetch
//! their content, several pieces of one large file at the same time.
//!
//! Pieces travel in batches, so that the chunks of many small files are opened together. What is in
//! flight is bounded: a batch of [`borg::ReadBatch`], two of them a thread, one more in the queue
//! and one that is being filled, and [`OPEN_FILES`] in all of these together.

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use borg::{ChunkReader, ChunkRef, ReadBatch};
use crossbeam_channel::{Receiver, Sender, bounded};
use tree::{FileWriter, Placed, ProblemKind};

use super::content::REPAIRED;
use super::{BorgLayer, Content, Error, to_entry};
use crate::Selection;
use crate::layer::{RestoreStep, Snapshot};

/// Threads that fetch content, at most.
const THREADS_MAX: usize = 16;

/// Files that are open at the same time, at most: far below what a process may.
const OPEN_FILES: usize = 640;

/// A piece of a file, and where it belongs.
struct Piece<'a> {
    /// Whoever is done with the last piece finishes the file.
    file: Arc<FileWriter<'a>>,
    offset: u64,
    /// Nothing for a file without content.
    chunk: Option<ChunkRef>,
}

/// Restores what is selected.
pub(super) fn restore(
    layer: &BorgLayer,
    snapshot: &Snapshot,
    selection: &Selection,
    restore: &tree::Restore,
    on_step: &(dyn Fn(RestoreStep) -> ControlFlow<()> + Sync),
) -> Result<(), Error> {
    let archives = layer.archives()?;
    let written = Mutex::new(RestoreStep { bytes: 0 });
    let advance = |bytes: u64| {
        let step = {
            let mut step = written.lock().unwrap_or_else(PoisonError::into_inner);
            step.bytes += bytes;
            *step
        };
        on_step(step)
    };
    let cores = thread::available_parallelism().map_or(2, usize::from);
    let threads = cores.min(THREADS_MAX);
    thread::scope(|scope| {
        let (sender, batches) = bounded::<Vec<Piece<'_>>>(1);
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (batches, advance) = (batches.clone(), &advance);
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
        let mut admission = selection.admission();
        let mut number = 0;
        let mut failed = None;
        let files_max = OPEN_FILES / (2 * threads + 2);
        let mut batch = Batch::new(sender, files_max);
        let listed = layer.items(snapshot, |item, content| {
            let entry = to_entry(&item, content).ok();
            let Some(entry) = entry.and_then(|entry| admission.admit(entry)) else {
                return ControlFlow::Continue(());
            };
            let placed = restore.place(number, entry);
            number += 1;
            match placed {
                Ok(Placed::Content(file)) => {
                    if batch.add(file, content).is_break() {
                        return ControlFlow::Break(());
                    }
                }
                Ok(Placed::Done | Placed::Failed) => {}
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
            advance(0)
        });
        // Workers that have stopped say why.
        let _ = batch.hand_on();
        drop(batch);
        let mut result = failed.map_or(Ok(()), |error| Err(error.into()));
        for worker in workers {
            let ended = worker.join().unwrap_or(Err(Error::Panicked));
            result = result.and(ended);
        }
        match listed {
            // The plan has named what is missing.
            Err(error) if !error.is_damage() => Err(error),
            _ => result,
        }
    })
}

/// Pieces on their way to the workers.
struct Batch<'a> {
    pieces: Vec<Piece<'a>>,
    size: ReadBatch,
    files: usize,
    files_max: usize,
    sender: Sender<Vec<Piece<'a>>>,
}

impl<'a> Batch<'a> {
    fn new(sender: Sender<Vec<Piece<'a>>>, files_max: usize) -> Self {
        Self {
            pieces: Vec::new(),
            size: ReadBatch::default(),
            files: 0,
            files_max,
            sender,
        }
    }

    fn add(&mut self, file: FileWriter<'a>, content: Option<&Content>) -> ControlFlow<()> {
        if content.is_some_and(|content| content.is_repaired) {
            file.fail(damaged(REPAIRED));
        }
        let file = Arc::new(file);
        let chunks = content.map_or(&[][..], |content| &content.chunks);
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

    /// Breaks when nobody takes pieces any more.
    fn hand_on(&mut self) -> ControlFlow<()> {
        self.size = ReadBatch::default();
        self.files = 0;
        match self.sender.send(std::mem::take(&mut self.pieces)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// Fetches and writes content. Damage costs the file in question only.
struct Worker<'a, 's> {
    reader: ChunkReader<'s>,
    /// What the reader has read and not handed out yet.
    behind: Vec<Piece<'a>>,
    advance: &'s (dyn Fn(u64) -> ControlFlow<()> + Sync),
}

impl<'a> Worker<'a, '_> {
    fn run(mut self, batches: &Receiver<Vec<Piece<'a>>>) -> Result<(), Error> {
        for batch in batches {
            if self.step(batch)?.is_break() {
                // Nothing of an unfinished file stays.
                return Ok(());
            }
        }
        self.step(Vec::new()).map(drop)
    }

    /// Starts on a batch, and writes what was started before.
    fn step(&mut self, batch: Vec<Piece<'a>>) -> Result<ControlFlow<()>, Error> {
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
                Err(error) => file.fail(damaged(error)),
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

fn damaged(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ProblemKind {
    ProblemKind::Io {
        action: "read its content in the repository",
        source: io::Error::other(why),
    }
}
