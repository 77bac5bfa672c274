//! Reading the content of one file into steps.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, SeekFrom, fadvise, seek};
use rustix::io::{Errno, pread, retry_on_intr};

use super::output::Output;
use crate::scan::{Examiner, OpenFile, Stat, problem};
use crate::{Block, Body, Ending, Entry, Problem, ProblemKind, Step, TreePath};

/// Bytes of a block: 1 MiB. Files up to this size are small: they come whole.
pub(super) const BLOCK_SIZE: usize = 1 << 20;

/// Times that a small file is read in the hope that it does not change meanwhile.
const TRIES: usize = 2;

/// What one file came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its entry is in the stream with its content, which perhaps changed.
    Read,
    /// It could not be read. The problem is in the stream, the file is not, or has failed there.
    Failed,
}

/// Reading was stopped from outside.
#[derive(Debug)]
pub(super) struct Stopped;

/// Reads a file and puts its entry, its content and its problems to the steps.
///
/// It is read up to the size that it had when it was opened, or when it was last found changed.
pub(super) fn read(
    mut entry: Entry,
    file: OpenFile,
    mut unread: Option<Problem>,
    ignore_ctime: bool,
    examiner: &mut Examiner,
    output: &mut Output<'_>,
) -> Result<Outcome, Stopped> {
    let OpenFile { handle, mut stat } = file;
    for tries_left in (0..TRIES).rev() {
        let Some(size) = small(&stat) else {
            return stream(entry, handle, stat, unread, ignore_ctime, output);
        };
        let mut share = output.take(size)?;
        let mut bytes = Vec::with_capacity(size);
        let result = fill(&handle, 0, size, &mut bytes).and_then(|()| Stat::of(&handle));
        let now = match result {
            Ok(now) => now,
            Err(error) => {
                output.problem(unreadable(&entry.path, error));
                return Ok(Outcome::Failed);
            }
        };
        share.cut(bytes.len());
        if now.is_same_state(&stat, ignore_ctime) && bytes.len() == size {
            let body = Body::Whole(Block::sharing(bytes, share));
            output.entry(entry, body, unread);
            return Ok(Outcome::Read);
        }
        if tries_left == 0 {
            let changed = changed(&entry.path);
            output.entry(entry, Body::Blocks, None);
            if !bytes.is_empty() {
                output.push(Step::Data(Block::sharing(bytes, share)));
            }
            output.push(Step::End(Ending::Changed(Arc::new(changed))));
            output.problems(unread);
            return Ok(Outcome::Read);
        }
        stat = now;
        unread = examiner.renew(handle.as_fd(), &stat, &mut entry).err();
    }
    Ok(Outcome::Failed)
}

/// The size of a file that is read as a whole.
fn small(stat: &Stat) -> Option<usize> {
    usize::try_from(stat.size())
        .ok()
        .filter(|&size| size <= BLOCK_SIZE)
}

/// Reads a large file block by block.
fn stream(
    entry: Entry,
    handle: OwnedFd,
    stat: Stat,
    unread: Option<Problem>,
    ignore_ctime: bool,
    output: &mut Output<'_>,
) -> Result<Outcome, Stopped> {
    let path = entry.path.clone();
    output.entry(entry, Body::Blocks, None);
    // Not every file system takes advice; it is none the worse for it.
    let _ = fadvise(&handle, 0, None, Advice::Sequential);
    let mut reader = Blocks {
        handle: &handle,
        size: stat.size(),
        is_sparse: stat.is_sparse(),
        at: 0,
    };
    let ending = loop {
        match reader.next() {
            Ok(ControlFlow::Continue(Extent::Hole(bytes))) => output.push(Step::Hole(bytes)),
            Ok(ControlFlow::Continue(Extent::Data(bytes))) => {
                let mut share = output.take(bytes)?;
                let mut buffer = output.buffer(bytes);
                match fill(&handle, reader.at, bytes, &mut buffer) {
                    Ok(()) if buffer.is_empty() => break Ending::Complete,
                    Ok(()) => {
                        reader.at += buffer.len() as u64;
                        // Who takes content in counts what there is of it.
                        share.cut(buffer.len());
                        output.push(Step::Data(Block::sharing(buffer, share)));
                        output.flush();
                    }
                    Err(error) => break failed(&path, error),
                }
            }
            Ok(ControlFlow::Break(())) => break Ending::Complete,
            Err(error) => break failed(&path, error),
        }
    };
    let ending = match ending {
        Ending::Complete => match Stat::of(&handle) {
            Ok(now) if now.is_same_state(&stat, ignore_ctime) && reader.at == stat.size() => {
                Ending::Complete
            }
            Ok(_) => Ending::Changed(Arc::new(changed(&path))),
            Err(error) => failed(&path, error),
        },
        other => other,
    };
    let outcome = match ending {
        Ending::Failed(_) => Outcome::Failed,
        Ending::Complete | Ending::Changed(_) => Outcome::Read,
    };
    output.push(Step::End(ending));
    output.problems(unread);
    Ok(outcome)
}

/// A large file, extent by extent.
struct Blocks<'a> {
    handle: &'a OwnedFd,
    size: u64,
    is_sparse: bool,
    /// How far it has been read.
    at: u64,
}

enum Extent {
    /// So many bytes, a block at most, are to be read next.
    Data(usize),
    /// So many bytes were skipped, because they are a hole.
    Hole(u64),
}

impl Blocks<'_> {
    /// What comes next; breaks at the end.
    fn next(&mut self) -> Result<ControlFlow<(), Extent>, Errno> {
        if self.at >= self.size {
            return Ok(ControlFlow::Break(()));
        }
        let mut end = self.size;
        if self.is_sparse {
            let data = match seek(self.handle, SeekFrom::Data(self.at)) {
                Ok(data) => data.clamp(self.at, self.size),
                // Nothing but hole up to the end, or the file has become shorter.
                Err(Errno::NXIO) => self.size.min(Stat::of(self.handle)?.size()).max(self.at),
                // The file system knows no holes.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                    self.is_sparse = false;
                    self.at
                }
                Err(error) => return Err(error),
            };
            if data > self.at {
                let hole = data - self.at;
                self.at = data;
                return Ok(ControlFlow::Continue(Extent::Hole(hole)));
            }
            if self.is_sparse {
                end = match seek(self.handle, SeekFrom::Hole(self.at)) {
                    Ok(end) if end > self.at => end.min(self.size),
                    _ => self.size,
                };
            }
        }
        let left = end - self.at;
        let bytes = usize::try_from(left).map_or(BLOCK_SIZE, |left| left.min(BLOCK_SIZE));
        Ok(ControlFlow::Continue(Extent::Data(bytes)))
    }
}

/// Reads so many bytes from an offset on, or less where the file ends before.
fn fill(handle: &OwnedFd, from: u64, bytes: usize, buffer: &mut Vec<u8>) -> Result<(), Errno> {
    while buffer.len() < bytes {
        let at = from + buffer.len() as u64;
        if retry_on_intr(|| pread(handle, spare_capacity(buffer), at))? == 0 {
            break;
        }
    }
    // The buffer may have room for more than was asked for.
    buffer.truncate(bytes);
    Ok(())
}

fn changed(path: &TreePath) -> Problem {
    Problem {
        path: path.clone(),
        what: ProblemKind::Changed,
    }
}

fn unreadable(path: &TreePath, error: Errno) -> Problem {
    Problem {
        path: path.clone(),
        what: problem("read", error),
    }
}

fn failed(path: &TreePath, error: Errno) -> Ending {
    Ending::Failed(Arc::new(unreadable(path, error)))
}
