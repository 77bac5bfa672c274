//! Reads a tree ahead of those who take it in, and hands it on in scan order.
//!
//! ```text
//! walk ─ tasks ─┬─ reader ─┬─ order ─ sink
//!               └─ reader ─┘
//! ```
//!
//! One thread walks and gathers names into tasks. A few readers examine the objects of a task and
//! read the small files. The caller's thread puts the tasks back in order, finds out which names
//! belong to one object, reads what the readers left to it (large files, and files with several
//! names, of which only the first is read) and calls the sink.
//!
//! # Memory
//!
//! At most [`Options::memory`] bytes of content are held by blocks that were handed on and not
//! let go of yet, by whoever: the hand-over waits until enough of them are dropped. In front of
//! it, each of [`TASKS_IN_FLIGHT`] tasks holds at most [`TASK_BYTES_MAX`] and [`TASK_LENGTH`]
//! entries. A sink may hold back half of [`Options::memory`] before it lets go of anything.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, bounded};
use rustix::fs::{AtFlags, FileType, SeekFrom, StatxFlags, fstat, seek, statx};
use rustix::io::Errno;

use crate::scan::{Found, Name, Object, People, Source, Walk, examine, open};
use crate::step::BlockBytes;
use crate::{BadPath, Block, Body, Ending, Entry, Problem, ProblemKind, Step, Time, TreePath};

/// How a tree is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Threads that read small files: one is best for a spinning disk, more for anything else.
    pub readers: usize,
    /// Bytes of content in blocks that were handed on; 8 MiB at least.
    pub memory: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            readers: 2,
            memory: 32 << 20,
        }
    }
}

/// Files up to this size are read ahead; larger ones stream in blocks of [`BLOCK_SIZE`].
const SMALL_FILE_MAX: u64 = 512 << 10;

/// Bytes of a block of a large file.
const BLOCK_SIZE: usize = 1 << 20;

/// Most names in a task.
const TASK_LENGTH: usize = 128;

/// Most bytes that are read ahead for one task.
const TASK_BYTES_MAX: u64 = 2 << 20;

/// Most tasks between the walk and the sink.
const TASKS_IN_FLIGHT: usize = 8;

/// Least [`Options::memory`].
const MEMORY_MIN: usize = 8 << 20;

/// Reads everything in `source`.
///
/// `wants` is asked once about each regular file, after its metadata is known and from any
/// thread: files that nobody wants come without content. A further name of a file that came
/// before has [`Entry::hard_link`] set when it is asked about.
///
/// `sink` gets each step, in scan order, on the calling thread; by breaking it ends the reading.
///
/// # Errors
///
/// [`BadPath`] of a root with a `..` in it. What cannot be read is a [`Step::Problem`].
pub fn read_ahead(
    source: &Source,
    options: Options,
    wants: impl Fn(&Entry) -> bool + Sync,
    sink: impl FnMut(Step) -> ControlFlow<()>,
) -> Result<(), BadPath> {
    let people = People::default();
    let walk = Walk::new(source, &people)?;
    let reader = Reader {
        source,
        people: &people,
        wants: &wants,
    };
    thread::scope(|scope| {
        let (give_back, permits) = bounded(TASKS_IN_FLIGHT);
        for _ in 0..TASKS_IN_FLIGHT {
            let _ = give_back.send(());
        }
        let (task_sender, tasks) = bounded(TASKS_IN_FLIGHT);
        let (result_sender, results) = bounded(TASKS_IN_FLIGHT);
        scope.spawn(move || gather(walk, &permits, |task| task_sender.send(task).is_ok()));
        for _ in 0..options.readers.max(1) {
            let (tasks, result_sender, reader) = (tasks.clone(), result_sender.clone(), &reader);
            scope.spawn(move || {
                for (number, task) in tasks {
                    if result_sender
                        .send((number, reader.read_task(task)))
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
        // Only the threads hold these now, so that the results end when they do.
        drop((tasks, result_sender));
        let mut hand = Hand {
            reader: &reader,
            budget: Arc::new(Budget::new(options.memory.max(MEMORY_MIN))),
            links: HashMap::new(),
            sink,
        };
        let mut early = BTreeMap::new();
        let mut next = 0u64;
        for (number, task) in results {
            early.insert(number, task);
            while let Some(task) = early.remove(&next) {
                next += 1;
                for found in task {
                    if hand.on(found).is_break() {
                        return;
                    }
                }
                let _ = give_back.send(());
            }
        }
    });
    Ok(())
}

/// Puts what the walk finds into tasks. Waits for a permit before each.
fn gather(walk: Walk<'_>, permits: &Receiver<()>, mut send: impl FnMut((u64, Vec<Found>)) -> bool) {
    let mut number = 0;
    let mut task = Vec::new();
    for found in walk {
        task.push(found);
        if task.len() == TASK_LENGTH {
            if permits.recv().is_err() || !send((number, std::mem::take(&mut task))) {
                return;
            }
            number += 1;
        }
    }
    if !task.is_empty() && permits.recv().is_ok() {
        send((number, task));
    }
}

/// What the readers share.
struct Reader<'a, W> {
    source: &'a Source,
    people: &'a People,
    wants: &'a W,
}

/// What a reader made of a name.
enum Examined {
    /// The object, with as much of its content as the reader was to read.
    Entry(Arc<Entry>, Content),
    Problem(Problem),
}

enum Content {
    /// None, or nobody wants it.
    None,
    /// All of a small file.
    Whole(Vec<u8>),
    /// A small file that changed each time it was read.
    Unsettled(Vec<u8>),
    /// Too large to be read ahead: the hand-over reads it here.
    Large(Arc<OwnedFd>, Name),
    /// The object has several names: the hand-over knows whether it came before.
    Linked(Arc<OwnedFd>, Name),
}

impl<W: Fn(&Entry) -> bool + Sync> Reader<'_, W> {
    fn read_task(&self, task: Vec<Found>) -> Vec<Examined> {
        let mut budget = TASK_BYTES_MAX;
        task.into_iter()
            .filter_map(|found| match found {
                Found::Folder(entry) => Some(Examined::Entry(Arc::new(entry), Content::None)),
                Found::Problem(problem) => Some(Examined::Problem(problem)),
                Found::Name { folder, name, path } => {
                    match self.read_name(&folder, &name, path.clone(), &mut budget) {
                        Ok(Looked::Done(entry, content)) => Some(Examined::Entry(entry, content)),
                        Ok(Looked::Large(entry)) => {
                            Some(Examined::Entry(entry, Content::Large(folder, name)))
                        }
                        Ok(Looked::Linked(entry)) => {
                            Some(Examined::Entry(entry, Content::Linked(folder, name)))
                        }
                        Ok(Looked::Omitted) => None,
                        Err(what) => Some(Examined::Problem(Problem { path, what })),
                    }
                }
            })
            .collect()
    }

    fn read_name(
        &self,
        folder: &OwnedFd,
        name: &Name,
        path: TreePath,
        budget: &mut u64,
    ) -> Result<Looked, ProblemKind> {
        let mut tries = 0;
        loop {
            tries += 1;
            let object = examine(
                folder.as_fd(),
                &name.name,
                path.clone(),
                name.can_be_opened(),
                self.people,
            )?;
            let Object { entry, handle } = object;
            let entry = Arc::new(entry);
            if self.source.by_metadata(&entry).is_some() {
                return Ok(Looked::Omitted);
            }
            if entry.links > 1 && !entry.is_directory() {
                return Ok(Looked::Linked(entry));
            }
            let Some(handle) = handle.filter(|_| entry.is_file()) else {
                return Ok(Looked::Done(entry, Content::None));
            };
            // Asked about once: after that it is wanted.
            if tries == 1 && !(self.wants)(&entry) {
                return Ok(Looked::Done(entry, Content::None));
            }
            if entry.size > SMALL_FILE_MAX.min(*budget) {
                return Ok(Looked::Large(entry));
            }
            let mut content = Vec::new();
            let file = File::from(handle);
            read_at_most(&file, entry.size, &mut content).map_err(|source| ProblemKind::Io {
                action: "read",
                source,
            })?;
            let settled = is_as_before(&file, &entry, content.len() as u64);
            if settled || tries > 1 {
                *budget -= entry.size.min(*budget);
                return Ok(Looked::Done(
                    entry,
                    match settled {
                        true => Content::Whole(content),
                        false => Content::Unsettled(content),
                    },
                ));
            }
        }
    }
}

/// What reading a name came to.
enum Looked {
    Done(Arc<Entry>, Content),
    Large(Arc<Entry>),
    Linked(Arc<Entry>),
    Omitted,
}

/// Reads a file up to the size that it had when it was opened.
fn read_at_most(file: &File, size: u64, content: &mut Vec<u8>) -> io::Result<()> {
    content.reserve_exact(usize::try_from(size).unwrap_or_default());
    file.take(size).read_to_end(content).map(drop)
}

/// Whether the file is still in the state that was examined, and all of it was read.
fn is_as_before(file: &File, entry: &Entry, read: u64) -> bool {
    let wanted = StatxFlags::SIZE | StatxFlags::MTIME | StatxFlags::CTIME;
    let Ok(stat) = statx(file, c"", AtFlags::EMPTY_PATH, wanted) else {
        return false;
    };
    let time = |time: rustix::fs::StatxTimestamp| Time::new(time.tv_sec, time.tv_nsec);
    read == entry.size
        && stat.stx_size == entry.size
        && time(stat.stx_mtime) == entry.mtime
        && time(stat.stx_ctime) == entry.ctime
}

/// The last stage, on the caller's thread.
struct Hand<'a, W, S> {
    reader: &'a Reader<'a, W>,
    budget: Arc<Budget>,
    /// Objects with several names of which one came, and how many are still to come.
    links: HashMap<(u64, u64), (Arc<TreePath>, u64)>,
    sink: S,
}

impl<W, S> Hand<'_, W, S>
where
    W: Fn(&Entry) -> bool + Sync,
    S: FnMut(Step) -> ControlFlow<()>,
{
    fn on(&mut self, found: Examined) -> ControlFlow<()> {
        match found {
            Examined::Problem(problem) => (self.sink)(Step::Problem(Arc::new(problem))),
            Examined::Entry(entry, content) => match content {
                Content::None => self.entry(entry, Body::None),
                Content::Whole(bytes) => {
                    let block = self.block(bytes);
                    self.entry(entry, Body::Whole(block))
                }
                Content::Unsettled(bytes) => {
                    let problem = changed(&entry.path);
                    self.entry(entry, Body::Blocks)?;
                    let block = self.block(bytes);
                    (self.sink)(Step::Data(block))?;
                    (self.sink)(Step::End(Ending::Changed(problem)))
                }
                Content::Large(folder, name) => self.read(entry, &folder, &name),
                Content::Linked(folder, name) => self.linked(entry, &folder, &name),
            },
        }
    }

    fn entry(&mut self, entry: Arc<Entry>, body: Body) -> ControlFlow<()> {
        (self.sink)(Step::Entry { entry, body })
    }

    /// One of several names of an object.
    fn linked(&mut self, mut entry: Arc<Entry>, folder: &OwnedFd, name: &Name) -> ControlFlow<()> {
        let object = (entry.device, entry.inode);
        if let Some((first, left)) = self.links.get_mut(&object) {
            Arc::make_mut(&mut entry).hard_link = Some(Arc::clone(first));
            *left -= 1;
            if *left == 0 {
                self.links.remove(&object);
            }
        }
        let is_first = entry.hard_link.is_none();
        let path = entry.path.clone();
        let links = entry.links;
        let mut is_stored = true;
        if entry.is_file() && (self.reader.wants)(&entry) {
            is_stored = self.read_counted(entry, folder, name)?;
        } else {
            self.entry(entry, Body::None)?;
        }
        // A name that could not be read is none to link to: the next one is the first then.
        if is_first && is_stored {
            self.links.insert(object, (Arc::new(path), links - 1));
        }
        ControlFlow::Continue(())
    }

    fn read(&mut self, entry: Arc<Entry>, folder: &OwnedFd, name: &Name) -> ControlFlow<()> {
        self.read_counted(entry, folder, name).map_continue(drop)
    }

    /// Reads a file here. Says whether it was handed on from beginning to end.
    fn read_counted(
        &mut self,
        entry: Arc<Entry>,
        folder: &OwnedFd,
        name: &Name,
    ) -> ControlFlow<(), bool> {
        let path = entry.path.clone();
        let file = match open_again(&entry, folder, name) {
            Ok(file) => file,
            Err(what) => {
                (self.sink)(Step::Problem(Arc::new(Problem { path, what })))?;
                return ControlFlow::Continue(false);
            }
        };
        let state = Arc::clone(&entry);
        self.entry(entry, Body::Blocks)?;
        let ending = match self.stream(&file, state.size)? {
            Ok(read) if is_as_before(&file, &state, read) => Ending::Complete,
            Ok(_) => Ending::Changed(changed(&path)),
            Err(source) => Ending::Failed(Arc::new(Problem {
                path,
                what: ProblemKind::Io {
                    action: "read",
                    source,
                },
            })),
        };
        let is_stored = !matches!(ending, Ending::Failed(_));
        (self.sink)(Step::End(ending))?;
        ControlFlow::Continue(is_stored)
    }

    /// Hands on the content of a file up to `size`, holes as such. Gives how far it came.
    fn stream(&mut self, file: &File, size: u64) -> ControlFlow<(), io::Result<u64>> {
        let mut at = 0;
        while at < size {
            let stretch = match next_stretch(file, at, size) {
                Ok(stretch) => stretch,
                Err(error) => return ControlFlow::Continue(Err(error.into())),
            };
            let (data_end, hole) = match stretch {
                Stretch::Hole(end) => (at, end - at),
                Stretch::Data(end) => (end, 0),
            };
            if hole > 0 {
                (self.sink)(Step::Hole(hole))?;
                at += hole;
                continue;
            }
            while at < data_end {
                let want =
                    usize::try_from(data_end - at).map_or(BLOCK_SIZE, |left| left.min(BLOCK_SIZE));
                let mut bytes = Vec::new();
                if let Err(error) = read_at_most(file, want as u64, &mut bytes) {
                    return ControlFlow::Continue(Err(error));
                }
                let read = bytes.len();
                if read == 0 {
                    // It has become shorter.
                    return ControlFlow::Continue(Ok(at));
                }
                at += read as u64;
                let block = self.block(bytes);
                (self.sink)(Step::Data(block))?;
            }
        }
        ControlFlow::Continue(Ok(at))
    }

    fn block(&self, bytes: Vec<u8>) -> Block {
        Block(Arc::new(BlockBytes::counted(bytes, &self.budget)))
    }
}

fn changed(path: &TreePath) -> Arc<Problem> {
    Arc::new(Problem {
        path: path.clone(),
        what: ProblemKind::Changed,
    })
}

/// Opens a file that was examined before, if it still is that file.
fn open_again(entry: &Entry, folder: &OwnedFd, name: &Name) -> Result<File, ProblemKind> {
    let handle = open(folder.as_fd(), &name.name)?.ok_or(ProblemKind::Replaced)?;
    let stat = fstat(&handle).map_err(|error| ProblemKind::Io {
        action: "examine",
        source: error.into(),
    })?;
    let is_same = stat.st_dev == entry.device
        && stat.st_ino == entry.inode
        && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !is_same {
        return Err(ProblemKind::Replaced);
    }
    Ok(handle.into())
}

/// A part of a file that is all data or all hole, up to an offset.
enum Stretch {
    Data(u64),
    Hole(u64),
}

/// What stands at `at`, below `size`; the file is positioned there if it is data.
fn next_stretch(file: &File, at: u64, size: u64) -> Result<Stretch, Errno> {
    let data = match seek(file, SeekFrom::Data(at)) {
        Ok(data) => data.min(size),
        // Nothing but hole up to the end, or the file has become shorter: reading tells.
        Err(Errno::NXIO) => size,
        // The file system knows no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => {
            seek(file, SeekFrom::Start(at))?;
            return Ok(Stretch::Data(size));
        }
        Err(error) => return Err(error),
    };
    if data > at {
        return Ok(Stretch::Hole(data));
    }
    let hole = match seek(file, SeekFrom::Hole(at)) {
        Ok(hole) => hole.min(size),
        Err(Errno::NXIO) => size,
        Err(error) => return Err(error),
    };
    seek(file, SeekFrom::Start(at))?;
    Ok(Stretch::Data(hole.max(at + 1)))
}

/// Bytes that may be held by blocks at a time.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: Mutex<usize>,
    freed: Condvar,
}

impl Budget {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            used: Mutex::new(0),
            freed: Condvar::new(),
        }
    }

    /// Waits until there is room for a block of so many bytes. One is always let through when
    /// nothing else is held.
    pub(crate) fn take(&self, bytes: usize) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while *used > 0 && *used + bytes > self.limit {
            used = self
                .freed
                .wait(used)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *used += bytes;
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used -= bytes;
        self.freed.notify_one();
    }
}
