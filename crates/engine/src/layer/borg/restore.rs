//! Restores from an archive: one thread goes through the items and makes files, the others fetch
//! their content.
//!
//! Files travel in small batches, so that the chunks of many small ones are opened together. What
//! is in flight is bounded: [`JOB_FILES`] open files a batch, and as many batches as there are
//! threads, one more in the queue and one that is being filled.

use std::io;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::thread;

use borg::{ChunkReader, ChunkRef, read_batch_length};
use crossbeam_channel::{Sender, bounded};
use tree::{FileWriter, Placed, ProblemKind};

use super::content::REPAIRED;
use super::{BorgLayer, Content, Error, to_entry};
use crate::Selection;
use crate::layer::{RestoreStep, Snapshot};

/// Files in a batch at most.
const JOB_FILES: usize = 16;

/// Threads that fetch content, at most: what they have open stays far below what a process may.
const THREADS_MAX: usize = 16;

/// Bytes of content after which a batch is handed on.
const JOB_BYTES: u64 = 1 << 20;

/// A file that was made, and what belongs into it.
struct Job<'a> {
    file: FileWriter<'a>,
    content: Content,
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
        let (sender, jobs) = bounded::<Vec<Job<'_>>>(1);
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (jobs, advance) = (jobs.clone(), &advance);
                scope.spawn(move || -> Result<(), Error> {
                    let mut reader = ChunkReader::new(archives)?;
                    for batch in jobs {
                        Writing::new(batch, advance).run(&mut reader)?;
                    }
                    Ok(())
                })
            })
            .collect();
        drop(jobs);
        let mut admission = selection.admission();
        let mut number = 0;
        let mut failed = None;
        let mut batch = Batch::new(sender);
        let listed = layer.items(snapshot, |item, content| {
            let entry = to_entry(&item, content).ok();
            let Some(entry) = entry.and_then(|entry| admission.admit(entry)) else {
                return ControlFlow::Continue(());
            };
            let placed = restore.place(number, entry);
            number += 1;
            match placed {
                Ok(Placed::Content(file)) => {
                    let content = content.cloned().unwrap_or_default();
                    if batch.add(Job { file, content }).is_break() {
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

/// Files on their way to the workers.
struct Batch<'a> {
    jobs: Vec<Job<'a>>,
    bytes: u64,
    sender: Sender<Vec<Job<'a>>>,
}

impl<'a> Batch<'a> {
    fn new(sender: Sender<Vec<Job<'a>>>) -> Self {
        Self {
            jobs: Vec::new(),
            bytes: 0,
            sender,
        }
    }

    fn add(&mut self, job: Job<'a>) -> ControlFlow<()> {
        self.bytes += job.content.size;
        self.jobs.push(job);
        if self.jobs.len() < JOB_FILES && self.bytes < JOB_BYTES {
            return ControlFlow::Continue(());
        }
        self.hand_on()
    }

    /// Breaks when nobody takes files any more.
    fn hand_on(&mut self) -> ControlFlow<()> {
        self.bytes = 0;
        match self.sender.send(std::mem::take(&mut self.jobs)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// Where a chunk belongs.
#[derive(Clone, Copy)]
struct Piece {
    file: usize,
    offset: u64,
    chunk: ChunkRef,
}

/// A batch of files whose content is being written.
struct Writing<'a, 's> {
    /// Those that are not finished and not given up.
    files: Vec<Option<FileWriter<'a>>>,
    pieces: Vec<Piece>,
    advance: &'s (dyn Fn(u64) -> ControlFlow<()> + Sync),
}

impl<'a, 's> Writing<'a, 's> {
    fn new(batch: Vec<Job<'a>>, advance: &'s (dyn Fn(u64) -> ControlFlow<()> + Sync)) -> Self {
        let mut files = Vec::with_capacity(batch.len());
        let mut pieces = Vec::new();
        for Job { file, content } in batch {
            if content.is_repaired {
                file.give_up(damaged(REPAIRED));
                files.push(None);
                continue;
            }
            let mut offset = 0;
            for &chunk in &content.chunks {
                pieces.push(Piece {
                    file: files.len(),
                    offset,
                    chunk,
                });
                offset += u64::from(chunk.size);
            }
            files.push(Some(file));
        }
        Self {
            files,
            pieces,
            advance,
        }
    }

    /// Fetches and writes everything. Damage costs the file in question only.
    fn run(mut self, reader: &mut ChunkReader<'_>) -> Result<(), Error> {
        let pieces = std::mem::take(&mut self.pieces);
        let mut rest = pieces.as_slice();
        while !rest.is_empty() {
            let (group, behind) =
                rest.split_at(read_batch_length(rest.iter().map(|piece| piece.chunk.size)));
            rest = behind;
            if self.write(group, reader)?.is_break() {
                // Nothing of an unfinished file stays.
                return Ok(());
            }
            let open = rest.first().map_or(self.files.len(), |piece| piece.file);
            self.finish_before(open)?;
        }
        self.finish_before(self.files.len())
    }

    fn write(
        &mut self,
        group: &[Piece],
        reader: &mut ChunkReader<'_>,
    ) -> Result<ControlFlow<()>, Error> {
        let is_lost = |file: usize| {
            let file = self.files.get(file).and_then(Option::as_ref);
            file.is_none_or(FileWriter::is_failed)
        };
        let wanted: Vec<Piece> = group
            .iter()
            .filter(|piece| !is_lost(piece.file))
            .copied()
            .collect();
        let chunks: Vec<ChunkRef> = wanted.iter().map(|piece| piece.chunk).collect();
        let mut bytes = 0;
        for (piece, plain) in wanted.iter().zip(reader.read(&chunks)) {
            let Some(place) = self.files.get_mut(piece.file) else {
                continue;
            };
            match plain {
                Ok(plain) => {
                    if let Some(file) = place {
                        file.write_at(piece.offset, plain)?;
                        bytes += plain.len() as u64;
                    }
                }
                Err(error) => {
                    if let Some(file) = place.take() {
                        file.give_up(damaged(error));
                    }
                }
            }
        }
        Ok((self.advance)(bytes))
    }

    /// Finishes the files in front of this one.
    fn finish_before(&mut self, end: usize) -> Result<(), Error> {
        for file in self.files.iter_mut().take(end) {
            if let Some(file) = file.take() {
                file.finish()?;
            }
        }
        Ok(())
    }
}

fn damaged(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ProblemKind {
    ProblemKind::Io {
        action: "read its content in the repository",
        source: io::Error::other(why),
    }
}
