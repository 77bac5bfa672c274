//! The content of archives: read, restored, verified.

use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::thread;

use borg::{Archives, Buffer, ChunkRef, Error as BorgError};
use crossbeam_channel::bounded;
use tree::{FileWriter, Placed, ProblemKind, RestoreError};

use super::{BorgLayer, Content, Error, to_entry};
use crate::Selection;
use crate::layer::{Depth, Layer, RestoreStep, Snapshot, Verification, VerifyStep};

/// Reads the content of one file, chunk by chunk.
pub(super) struct Reader<'a> {
    archives: &'a Archives,
    content: Content,
    next: usize,
    plain: Buffer,
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(archives: &'a Archives, content: Content) -> Self {
        Self {
            archives,
            content,
            next: 0,
            plain: Buffer::new(),
            position: 0,
        }
    }
}

impl io::Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.plain.len() {
            let Some(chunk) = self.content.chunks.get(self.next) else {
                return Ok(0);
            };
            if self.content.is_repaired {
                return Err(io::Error::other(REPAIRED));
            }
            self.plain = read_chunk(self.archives, chunk).map_err(io::Error::other)?;
            self.next += 1;
            self.position = 0;
        }
        let rest = self.plain.get(self.position..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), rest.get(..length)) {
            to.copy_from_slice(from);
        }
        self.position += length;
        Ok(length)
    }
}

/// Said of a file in which a repair has replaced what was lost.
const REPAIRED: &str = "a repair has put zeros in the place of what was lost";

fn read_chunk(archives: &Archives, chunk: &ChunkRef) -> Result<Buffer, BorgError> {
    let plain = archives.read(&chunk.id)?;
    let found = u32::try_from(plain.len()).unwrap_or(u32::MAX);
    if found == chunk.size {
        Ok(plain)
    } else {
        Err(BorgError::ChunkSize {
            id: chunk.id,
            known: chunk.size,
            found,
        })
    }
}

/// Files that wait for a thread that fetches their content.
const QUEUE_FILES: usize = 64;

/// Restores: one thread goes through the items, the others fetch the content of files.
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
    thread::scope(|scope| {
        let (sender, files) = bounded::<(FileWriter<'_>, Content)>(QUEUE_FILES);
        let workers: Vec<_> = (0..cores)
            .map(|_| {
                let (files, advance) = (files.clone(), &advance);
                scope.spawn(move || {
                    for (file, content) in files {
                        write_file(archives, file, &content, advance)?;
                    }
                    Ok(())
                })
            })
            .collect();
        drop(files);
        let mut admission = selection.admission();
        let mut number = 0;
        let mut failed = None;
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
                    if sender.send((file, content)).is_err() {
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
        drop(sender);
        let mut result = failed.map_or(Ok(()), Err);
        for worker in workers {
            let ended: Result<(), RestoreError> = match worker.join() {
                Ok(ended) => ended,
                Err(_) => return Err(Error::Panicked),
            };
            result = result.and(ended);
        }
        listed?;
        Ok(result?)
    })
}

/// Fetches the content of a file. Damage costs this file only.
fn write_file(
    archives: &Archives,
    file: FileWriter<'_>,
    content: &Content,
    advance: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
) -> Result<(), RestoreError> {
    let damaged = |error: Box<dyn std::error::Error + Send + Sync>| ProblemKind::Io {
        action: "read its content in the repository",
        source: io::Error::other(error),
    };
    if content.is_repaired {
        file.give_up(damaged(REPAIRED.into()));
        return Ok(());
    }
    let mut offset = 0;
    for chunk in &content.chunks {
        if file.is_failed() {
            break;
        }
        let plain = match read_chunk(archives, chunk) {
            Ok(plain) => plain,
            Err(error) => {
                file.give_up(damaged(Box::new(error)));
                return Ok(());
            }
        };
        file.write_at(offset, &plain)?;
        offset += plain.len() as u64;
        if advance(plain.len() as u64).is_break() {
            // Nothing of an unfinished file stays.
            return Ok(());
        }
    }
    file.finish()?;
    Ok(())
}

/// Reads back: every item of every archive, and for [`Depth::Data`] every chunk once.
pub(super) fn verify(
    layer: &mut BorgLayer,
    depth: Depth,
    on_step: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
) -> Result<Verification, Error> {
    let snapshots = layer.snapshots()?;
    let mut found = Verification::default();
    let mut seen = HashSet::new();
    for snapshot in &snapshots {
        let mut chunks = Vec::new();
        let listed = layer.items(snapshot, |item, _| {
            found.objects += 1;
            if item.chunks_healthy.is_some() {
                let text = format!("{}: {}: {REPAIRED}", snapshot.name, item.path);
                found.findings.push(text);
            }
            chunks.extend(item.chunks.into_iter().flatten());
            ControlFlow::Continue(())
        });
        if let Err(error) = listed {
            found.findings.push(finding(&snapshot.name, &error));
        }
        let total = chunks.len() as u64;
        for (done, chunk) in chunks.iter().enumerate() {
            if depth == Depth::Structure || !seen.insert(chunk.id) {
                continue;
            }
            match read_chunk(layer.archives()?, chunk) {
                Ok(plain) => found.read_bytes += plain.len() as u64,
                Err(error) => found.findings.push(finding(&snapshot.name, &error)),
            }
            let (phase, done) = ("reading content", done as u64);
            if on_step(VerifyStep { phase, done, total }).is_break() {
                found.stopped = true;
                return Ok(found);
            }
        }
        found.snapshots += 1;
        let step = VerifyStep {
            phase: "reading snapshots",
            done: found.snapshots,
            total: snapshots.len() as u64,
        };
        if on_step(step).is_break() {
            found.stopped = true;
            break;
        }
    }
    Ok(found)
}

fn finding(snapshot: &str, error: &dyn std::error::Error) -> String {
    format!("{snapshot}: {}", crate::event::chain(error).join(": "))
}
