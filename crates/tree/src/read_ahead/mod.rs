//! Reads a tree ahead of those who take it in, and hands it on in scan order.
//!
//! ```text
//!            ┌─ thread: look at a batch, read it ─┐
//! the walk ──┤                                    ├── the line ── sink, on the caller's thread
//!            └─ thread: look at a batch, read it ─┘
//! ```
//!
//! A few threads take turns at the walk: each fetches a batch of names, gives the walk to the next,
//! looks at the objects, reads the content that is wanted, and puts the steps into the line, where
//! they come back into order. Large files are read by the same threads, block by block.
//!
//! # Memory
//!
//! The content that has been read and not been let go of yet, by whoever, takes at most
//! [`Options::memory`] bytes, and buffers for reuse four blocks of 1 MiB besides. A thread that
//! needs more waits. It cannot wait for ever: a quarter of the memory is for what is read ahead of
//! its turn, the rest is left to the batch that is handed on at the moment, whose steps go to the
//! sink before its thread waits. So the sink, and those it gives blocks to, may keep
//! [`Options::memory`] · ¾ − 1 MiB for as long as they like. If they keep more until something new
//! comes, nothing new comes.
//!
//! Of entries, at most [`PLACES_PER_THREAD`] batches a thread are in the line, each of some 128
//! entries. The names in the folders on the way down are in memory, too, and one path for each
//! object with names still to come.
//!
//! # Objects with several names
//!
//! The first name in scan order is the one that counts. So a batch with such objects deals with
//! them when all batches before it have. Those who wait for that have no permission themselves, and
//! the one that has it waits for nothing but memory, which it gets at the latest when its turn
//! comes: that cannot come to a standstill either.

mod content;
mod line;
mod memory;
mod output;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

pub(crate) use memory::Share;

use crate::scan::{Described, Limits, Links, Looker, Seen, Source, Walk};
use crate::{BadPath, Body, Entry, Problem, Step};
use content::{BLOCK_SIZE, Outcome, Stopped};
use line::{Line, Number};
use memory::Memory;
use output::Output;

/// How a tree is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Threads that read, 1 to 64: one is best for a spinning disk, a few for anything else.
    pub readers: usize,
    /// Bytes of content that may be in memory at a time; 8 MiB at least. Whoever takes the content
    /// in must not keep more than three quarters of it, less 1 MiB.
    pub memory: usize,
    /// A new change time (ctime) alone does not make a file one that changed while it was read:
    /// for file systems whose change times move by themselves, as some behind a network do.
    pub ignore_ctime: bool,
    /// Extended attributes and access control lists are read. Without them a file that nobody wants
    /// is not opened: its entry says what its name leads to.
    pub attributes: bool,
}

/// As many threads as there are processors, but 2 to 4; 8 MiB; everything is read.
impl Default for Options {
    fn default() -> Self {
        Self {
            readers: thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 4)),
            memory: 8 << 20,
            ignore_ctime: false,
            attributes: true,
        }
    }
}

/// Most threads.
const THREADS_MAX: usize = 64;

/// Batches in the line for each thread.
const PLACES_PER_THREAD: usize = 4;

/// Reads everything in `source`.
///
/// `wants` is asked once about each regular file, after its metadata is known, from any thread and
/// in any order: files that nobody wants come without content. About a further name of a file that
/// came before it is asked, too, with [`Entry::hard_link`] set.
///
/// `sink` gets each step, in scan order, on the calling thread; by breaking it ends the reading.
///
/// What is handed on belongs to one state of a file, or says that it does not:
///
/// - A file is read up to the size that it had when it was opened.
/// - A small one, up to 1 MiB, that changes while it is read is read once more, and its entry says
///   how it was then. If it changes again, it comes as [`Body::Blocks`] with
///   [`Ending::Changed`](crate::Ending::Changed). One that cannot be read to its end is a
///   [`Step::Problem`] and nothing else.
/// - Of a large one, the ending tells.
/// - One that is gone, or that may not be read though it is wanted, is a [`Step::Problem`].
///
/// The order, and what is a problem, are those of [`scan`](crate::scan).
///
/// # Errors
///
/// [`BadPath`] of a root with a `..` in it.
pub fn read_ahead(
    source: &Source,
    options: Options,
    wants: impl Fn(&Entry) -> bool + Sync,
    mut sink: impl FnMut(Step) -> ControlFlow<()>,
) -> Result<(), BadPath> {
    let threads = options.readers.clamp(1, THREADS_MAX);
    let memory = Memory::new(options.memory, BLOCK_SIZE);
    let line = Line::new(threads * PLACES_PER_THREAD, Arc::clone(&memory));
    let limits = Limits::of_this_process(threads);
    let walk = Mutex::new(Walk::new(source, limits)?);
    let links = Mutex::new(Links::default());
    thread::scope(|scope| {
        // Whatever happens here, the threads come to an end before the scope does.
        let _stop = StopWhenDropped(&line);
        for _ in 0..threads {
            scope.spawn(|| {
                let _stop = StopOnPanic(&line);
                let reader = Reader {
                    line: &line,
                    memory: &memory,
                    links: &links,
                    wants: &wants,
                    ignore_ctime: options.ignore_ctime,
                    looker: Looker::new(source, limits, options.attributes),
                };
                reader.work(&walk);
            });
        }
        let mut steps = Vec::new();
        while line.next(&mut steps) {
            for step in steps.drain(..) {
                if sink(step).is_break() {
                    return;
                }
            }
        }
    });
    Ok(())
}

/// Ends the reading, also when the sink panics.
struct StopWhenDropped<'a>(&'a Line);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Ends the reading when a thread panics; the scope hands the panic on.
struct StopOnPanic<'a>(&'a Line);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}

/// One of the threads.
struct Reader<'a, W> {
    line: &'a Line,
    memory: &'a Arc<Memory>,
    links: &'a Mutex<Links>,
    wants: &'a W,
    ignore_ctime: bool,
    looker: Looker<'a>,
}

impl<W: Fn(&Entry) -> bool> Reader<'_, W> {
    /// Fetches batch after batch and reads it.
    fn work(mut self, walk: &Mutex<Walk<'_>>) {
        let mut steps = Vec::new();
        loop {
            let mut walk = walk.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(number) = self.line.enter() else {
                return;
            };
            let Some(batch) = walk.next_batch() else {
                self.line.end();
                return;
            };
            drop(walk);
            let seen = self.looker.look(batch);
            if self.read_batch(number, seen, &mut steps).is_err() {
                return;
            }
            self.line.finish(number);
        }
    }

    fn read_batch(
        &mut self,
        number: Number,
        batch: Vec<Seen>,
        steps: &mut Vec<Step>,
    ) -> Result<(), Stopped> {
        let mut output = Output::new(self.line, self.memory, number, steps);
        let mut linked = batch.iter().filter(|seen| seen.is_linked()).count();
        let mut is_permitted = false;
        if linked == 0 {
            self.line.pass_links(number);
        }
        for seen in batch {
            if self.line.is_stopped() {
                return Err(Stopped);
            }
            if !seen.is_linked() {
                self.read_object(seen, &mut output)?;
                continue;
            }
            if !is_permitted {
                output.wait_for_links()?;
                is_permitted = true;
            }
            self.read_linked(seen, &mut output)?;
            linked -= 1;
            if linked == 0 {
                self.line.pass_links(number);
            }
        }
        output.flush();
        Ok(())
    }

    fn read_object(&mut self, seen: Seen, output: &mut Output<'_>) -> Result<Outcome, Stopped> {
        match self.looker.describe(seen) {
            Ok(described) => self.read(described, output),
            Err(problem) => {
                output.problem(problem);
                Ok(Outcome::Failed)
            }
        }
    }

    /// Reads an object that may have come under another name.
    fn read_linked(&mut self, seen: Seen, output: &mut Output<'_>) -> Result<(), Stopped> {
        let mut described = match self.looker.describe(seen) {
            Ok(described) => described,
            Err(problem) => {
                output.problem(problem);
                return Ok(());
            }
        };
        let links = || self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let stat = described.stat;
        described.entry.hard_link = links().first_name(&stat);
        let first = described
            .entry
            .hard_link
            .is_none()
            .then(|| (described.entry.path.clone(), described.entry.links));
        let outcome = self.read(described, output)?;
        if let Some((path, count)) = first
            && outcome == Outcome::Read
        {
            links().note(path, count, &stat);
        }
        Ok(())
    }

    /// Puts an object into the steps, with its content if that is wanted.
    fn read(&mut self, described: Described, output: &mut Output<'_>) -> Result<Outcome, Stopped> {
        let Described {
            mut entry,
            file,
            problem: unread,
            ..
        } = described;
        match file {
            Some(file) if (self.wants)(&entry) => match self.looker.open(file, &mut entry) {
                Ok(open) => {
                    let examiner = &mut self.looker.examiner;
                    content::read(entry, open, unread, self.ignore_ctime, examiner, output)
                }
                Err(what) => {
                    let path = entry.path;
                    output.problem(Problem { path, what });
                    Ok(Outcome::Failed)
                }
            },
            _ => {
                output.entry(entry, Body::None, unread);
                Ok(Outcome::Read)
            }
        }
    }
}
