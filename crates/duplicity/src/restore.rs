//! Restoring into a file system: a plan from the signatures, then the deed from the volumes.
//!
//! What comes out of the volumes is compared with the signatures before it gets its name: a file
//! whose delta went wrong, or whose volume is damaged, is reported and not put in place of
//! anything. Signatures and volumes have one order, so both are walked side by side. Where the
//! signatures are lost, the volumes alone tell what there is.
//!
//! One thread walks; others write the files and make their signatures. They are some blocks behind
//! it at most, of each of a few files.

use std::collections::HashMap;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use sha1::Sha1;
use sha1::digest::Digest;
use tree::{
    Entry, FileWriter, Placed, ProblemKind, RestoreError, RestorePlan, RestoreReport, Restorer,
    TreePath,
};

use crate::archive::Archive;
use crate::collection::BackupSet;
use crate::error::{Error, chain};
use crate::librsync::SignatureWriter;
use crate::listing::Objects;
use crate::read_ahead::{BLOCK, BLOCKS_AHEAD};
use crate::snapshot::{Item, Problem, ProblemKind as SnapshotProblem, Snapshot};

/// Largest file, for writers that are placed before the size of their file is known.
const SIZE_MAX: u64 = i64::MAX.cast_unsigned();

/// How many files may wait to be written.
const FILES_AHEAD: usize = 16;

/// What is to be restored, and where it goes below the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// This path and all below it; the root is everything.
    pub path: TreePath,
    /// The path becomes the target itself, instead of standing below it as it was stored. A file
    /// stands in the target under its own name.
    pub as_target: bool,
    /// Paths that begin with the first become paths that begin with the second, the first rule
    /// that fits; applied before `as_target`.
    pub renames: Vec<(TreePath, TreePath)>,
}

impl Selection {
    /// Everything, as it was stored.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Where an object goes; `None` when the renamed path is longer than paths can be.
    fn destination(&self, path: &TreePath) -> TreePath {
        let mut path = path.clone();
        if let Some((from, to)) = self.renames.iter().find(|(from, _)| path.starts_with(from)) {
            path = behind(&path, from).fold(to.clone(), |path, name| path.join(name));
        }
        if self.as_target && path.starts_with(&self.path) {
            let below =
                behind(&path, &self.path).fold(TreePath::root(), |path, name| path.join(name));
            return below;
        }
        path
    }
}

/// The components of `path` below `ancestor`.
fn behind<'a>(path: &'a TreePath, ancestor: &TreePath) -> impl Iterator<Item = &'a [u8]> {
    path.components().skip(ancestor.components().count())
}

/// What came of a restore.
#[derive(Debug)]
pub struct Restored {
    /// What happened below the target.
    pub report: RestoreReport,
    /// What the archive could not give.
    pub problems: Vec<Problem>,
    /// Files that the signatures know and no volume holds.
    pub missing: Vec<TreePath>,
    /// What ended the restore before its time.
    pub stopped: Option<Error>,
}

impl Restored {
    /// Whether everything that the plan promised is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.report.is_complete()
            && self.problems.is_empty()
            && self.missing.is_empty()
            && self.stopped.is_none()
    }
}

impl Archive {
    /// What restoring would do. Volumes are read only where signatures are lost.
    ///
    /// # Errors
    ///
    /// When the signatures cannot be read.
    pub fn restore_plan(
        &self,
        sets: &[BackupSet],
        selection: &Selection,
        restorer: &Restorer,
    ) -> Result<RestorePlan, Error> {
        let mut planner = restorer.planner();
        for listed in self.objects(sets, std::slice::from_ref(&selection.path))? {
            planner.add(&placed_entry(listed?.entry, selection));
        }
        Ok(planner.finish())
    }

    /// Carries out a plan that was made of the same sets and selection.
    ///
    /// # Errors
    ///
    /// When nothing could be begun: a manifest or the signatures cannot be read, or the target
    /// cannot be used. Everything later is in what is given back.
    pub fn restore(
        &self,
        sets: &[BackupSet],
        selection: &Selection,
        restorer: Restorer,
        plan: RestorePlan,
    ) -> Result<Restored, Error> {
        let delivery = self.delivery(sets, std::slice::from_ref(&selection.path))?;
        let restore = restorer
            .start(plan)
            .map_err(|error| Error::Target(Box::new(error)))?;
        let delivered = delivery.run(
            &mut |entry| Some(placed_entry(entry, selection)),
            &restore,
            &|_| ControlFlow::Continue(()),
        );
        Ok(Restored {
            report: restore.finish(),
            problems: delivered.problems,
            missing: delivered.missing,
            stopped: delivered.stopped,
        })
    }

    /// Gets ready to hand out what `sets` restore at `wanted` and below.
    ///
    /// # Errors
    ///
    /// When a manifest or the signatures cannot be read.
    pub fn delivery(&self, sets: &[BackupSet], wanted: &[TreePath]) -> Result<Delivery, Error> {
        let objects = self.objects(sets, wanted)?;
        Ok(Delivery {
            snapshot: self.content_of(&objects, sets, wanted)?,
            objects,
            threads: self.settings.compressors.max(1),
            ahead: None,
            problems: Vec::new(),
            missing: Vec::new(),
            last_volume_problem: None,
            reasons: HashMap::new(),
        })
    }
}

impl Archive {
    /// The content of what `objects` lists. What the volumes list needs all of them.
    fn content_of(
        &self,
        objects: &Objects,
        sets: &[BackupSet],
        wanted: &[TreePath],
    ) -> Result<Snapshot, Error> {
        if objects.is_from_volumes() || wanted.iter().any(TreePath::is_root) {
            self.snapshot_of(sets, wanted)
        } else {
            self.snapshot_of(&self.sets_about(sets, wanted)?, wanted)
        }
    }
}

fn placed_entry(mut entry: Entry, selection: &Selection) -> Entry {
    let is_file_itself =
        selection.as_target && entry.path == selection.path && !entry.is_directory();
    let name = entry.path.name().map(<[u8]>::to_vec);
    entry.path = match name.filter(|_| is_file_itself) {
        Some(name) => TreePath::root().join(&name),
        None => selection.destination(&entry.path),
    };
    entry
}

/// Objects on their way into a [`tree::Restore`].
///
/// The signatures lead: each object that they know is placed, in their order, with the attributes
/// that they have. The volumes bring the content of files. So a volume that is lost costs the
/// content of the files in it and nothing else, and no older state comes back in its place.
pub struct Delivery {
    objects: Objects,
    snapshot: Snapshot,
    /// How many write.
    threads: usize,
    /// The object that the snapshot stands at, when it is ahead of the signatures, and how large
    /// it is said to be.
    ahead: Option<(TreePath, u64)>,
    problems: Vec<Problem>,
    missing: Vec<TreePath>,
    /// Why the last volume that could not be used could not.
    last_volume_problem: Option<Arc<str>>,
    /// Why single objects cannot be restored, by their printed path.
    reasons: HashMap<String, String>,
}

/// What came of a delivery.
#[derive(Debug, Default)]
pub struct Delivered {
    /// What the archive could not give. Files among it were given up with these reasons.
    pub problems: Vec<Problem>,
    /// Files that the signatures know and no volume holds. They were given up.
    pub missing: Vec<TreePath>,
    /// What ended it before its time: an error of the store, or [`Error::Target`].
    pub stopped: Option<Error>,
}

impl Delivery {
    /// Places every object that `admit` lets through, as it comes out of it, under its number; the
    /// first has number 0. `on_bytes` hears how many bytes of content were read since it was
    /// last called, and ends the delivery by breaking.
    pub fn run(
        mut self,
        admit: &mut dyn FnMut(Entry) -> Option<Entry>,
        restore: &tree::Restore,
        on_bytes: &dyn Fn(u64) -> ControlFlow<()>,
    ) -> Delivered {
        let failure = Mutex::new(None);
        let placed = thread::scope(|scope| {
            let (orders, queue) = bounded(FILES_AHEAD);
            for _ in 0..self.threads {
                let (queue, failure) = (queue.clone(), &failure);
                scope.spawn(move || write_files(&queue, failure));
            }
            drop(queue);
            self.place_all(admit, restore, on_bytes, &orders)
        });
        let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        let stopped = failure.map(stop).or(placed.err());
        self.problems.extend(self.objects.take_problems());
        Delivered {
            problems: self.problems,
            missing: self.missing,
            stopped,
        }
    }

    fn place_all<'a>(
        &mut self,
        admit: &mut dyn FnMut(Entry) -> Option<Entry>,
        restore: &'a tree::Restore,
        on_bytes: &dyn Fn(u64) -> ControlFlow<()>,
        orders: &Sender<Order<'a>>,
    ) -> Result<(), Error> {
        let mut number = 0;
        while let Some(listed) = self.objects.next().transpose()? {
            let path = listed.entry.path.clone();
            let Some(mut entry) = admit(listed.entry) else {
                continue;
            };
            let is_file = entry.is_file();
            if is_file {
                // The size in an archive of others is not exact.
                entry.size = SIZE_MAX;
            }
            let placed = restore.place(number, entry).map_err(stop)?;
            number += 1;
            if let Placed::Content(file) = placed {
                let proof = Proof {
                    fingerprint: listed.fingerprint,
                    block_length: listed.block_length,
                };
                if self.find(&path)? {
                    // Without anybody who writes there is nothing to be done.
                    if self.hand_over(file, proof, orders, on_bytes).is_break() {
                        return Ok(());
                    }
                } else {
                    file.give_up(self.unreadable(&path));
                    self.missing.push(path);
                }
            }
            if on_bytes(0).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Moves the snapshot on to `path`; `false` when it does not hold it.
    fn find(&mut self, path: &TreePath) -> Result<bool, Error> {
        loop {
            match &self.ahead {
                Some((ahead, _)) if ahead == path => return Ok(true),
                Some((ahead, _)) if ahead > path => return Ok(false),
                // What no signature knows was taken back, or its deletion was in a lost volume.
                _ => {}
            }
            match self.snapshot.next()? {
                None => return Ok(false),
                Some(Item::Object(entry)) => self.ahead = Some((entry.path, entry.size)),
                Some(Item::Problem(problem)) => self.note(problem),
            }
        }
    }

    fn note(&mut self, problem: Problem) {
        let reason = chain(&problem);
        if matches!(problem.source, SnapshotProblem::Volume(_)) {
            self.last_volume_problem = Some(reason.into());
        } else {
            self.reasons.insert(problem.name.clone(), reason);
        }
        self.problems.push(problem);
    }

    /// Why the content of a file did not come.
    fn unreadable(&mut self, path: &TreePath) -> ProblemKind {
        let reason = self.reasons.remove(&path.to_string());
        let reason = reason.or_else(|| self.last_volume_problem.as_deref().map(str::to_owned));
        let reason = reason.unwrap_or_else(|| "it is in no volume".to_owned());
        unread(io::Error::other(reason))
    }

    /// Has the file written that the snapshot stands at. A small one goes over at once, of others
    /// the rest follows.
    fn hand_over<'a>(
        &mut self,
        file: FileWriter<'a>,
        proof: Proof,
        orders: &Sender<Order<'a>>,
        on_bytes: &dyn Fn(u64) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut begun = vec![self.piece(on_bytes)?];
        if begun.iter().all(Piece::is_followed) {
            begun.push(self.piece(on_bytes)?);
        }
        let is_followed = begun.iter().all(Piece::is_followed);
        let (pieces, rest) = is_followed.then(|| bounded(BLOCKS_AHEAD)).unzip();
        let order = Order {
            file,
            proof,
            begun,
            rest,
        };
        let Ok(()) = orders.send(order) else {
            return ControlFlow::Break(());
        };
        while let Some(pieces) = &pieces {
            let piece = self.piece(on_bytes)?;
            let is_last = !piece.is_followed();
            // A file that cannot be written is told of where that shows.
            if pieces.send(piece).is_err() || is_last {
                break;
            }
        }
        ControlFlow::Continue(())
    }

    /// The next piece of the file that the snapshot stands at.
    fn piece(&mut self, on_bytes: &dyn Fn(u64) -> ControlFlow<()>) -> ControlFlow<(), Piece> {
        let size = self.ahead.as_ref().map_or(0, |(_, size)| *size);
        let capacity = usize::try_from(size).unwrap_or(BLOCK).min(BLOCK);
        let mut block = Vec::with_capacity(capacity);
        let mut read = self.snapshot.by_ref().take(BLOCK as u64);
        ControlFlow::Continue(match read.read_to_end(&mut block) {
            Ok(0) => Piece::End(self.last_volume_problem.clone()),
            Ok(count) => {
                on_bytes(count as u64)?;
                Piece::Bytes(block)
            }
            Err(error) => Piece::Failed(error),
        })
    }
}

/// A file that is to be written.
struct Order<'a> {
    file: FileWriter<'a>,
    proof: Proof,
    begun: Vec<Piece>,
    /// More of it, if that was not all.
    rest: Option<Receiver<Piece>>,
}

/// What comes of the content of a file. Without an end or a failure nothing of the file stays.
enum Piece {
    Bytes(Vec<u8>),
    /// It ended; why it may be another one than it should, if a reason is known.
    End(Option<Arc<str>>),
    Failed(io::Error),
}

impl Piece {
    fn is_followed(&self) -> bool {
        matches!(self, Self::Bytes(_))
    }
}

/// Writes files until none come. When the target cannot be used any more, those that are ordered
/// are still taken and fail at once: whoever reads waits for each to be taken.
fn write_files(orders: &Receiver<Order<'_>>, failure: &Mutex<Option<RestoreError>>) {
    for order in orders {
        if let Err(error) = write_file(order) {
            let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(error);
        }
    }
}

fn write_file(order: Order<'_>) -> Result<(), RestoreError> {
    let Order {
        file,
        proof,
        begun,
        rest,
    } = order;
    let mut check = Checker::new(&proof);
    let mut size = 0;
    for piece in begun.into_iter().chain(rest.into_iter().flatten()) {
        match piece {
            Piece::Bytes(bytes) => {
                check.push(&bytes);
                file.write_at(size, &bytes)?;
                size += bytes.len() as u64;
            }
            Piece::Failed(error) => {
                file.give_up(unread(error));
                return Ok(());
            }
            Piece::End(doubt) => {
                if check.ends_right() {
                    return file.finish_at(size).map(drop);
                }
                // Behind a lost volume this is an older state of the file.
                let reason = doubt.as_deref().unwrap_or(NOT_THE_SAME);
                file.give_up(unread(io::Error::other(reason)));
                return Ok(());
            }
        }
    }
    Ok(())
}

fn unread(source: io::Error) -> ProblemKind {
    ProblemKind::Io {
        action: "read its content in the archive",
        source,
    }
}

/// Said of content that is not the one whose signature was kept.
const NOT_THE_SAME: &str = "the content is not what was backed up";

/// What content can be checked against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proof {
    pub(crate) fingerprint: Option<[u8; 16]>,
    pub(crate) block_length: u32,
}

/// Makes the signature of content that comes, and compares.
pub(crate) struct Checker {
    fingerprint: Option<[u8; 16]>,
    writer: SignatureWriter,
    signature: Vec<u8>,
    digest: Sha1,
}

impl Checker {
    pub(crate) fn new(proof: &Proof) -> Self {
        let mut signature = Vec::new();
        Self {
            fingerprint: proof.fingerprint,
            writer: SignatureWriter::new(proof.block_length.max(1), &mut signature),
            signature,
            digest: Sha1::new(),
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.fingerprint.is_some() {
            self.writer.push(bytes, &mut self.signature);
            self.digest.update(&self.signature);
            self.signature.clear();
        }
    }

    pub(crate) fn ends_right(mut self) -> bool {
        let Some(kept) = self.fingerprint else {
            return true;
        };
        self.writer.finish(&mut self.signature);
        self.digest.update(&self.signature);
        let made: [u8; 20] = self.digest.finalize().into();
        made.first_chunk() == Some(&kept)
    }
}

/// The content of one file, checked: it ends early or with an error, never with something else.
pub struct FileContent {
    snapshot: Snapshot,
    check: Option<Checker>,
}

impl Archive {
    /// The content of the regular file at `path`; `None` when none stands there.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or what is needed of the archive is damaged. Reading fails
    /// where that shows only then.
    pub fn file(&self, sets: &[BackupSet], path: &TreePath) -> Result<Option<FileContent>, Error> {
        let wanted = std::slice::from_ref(path);
        let mut objects = self.objects(sets, wanted)?;
        let Some(listed) = objects.next().transpose()? else {
            return Ok(None);
        };
        if listed.entry.path != *path || !listed.entry.is_file() {
            return Ok(None);
        }
        let mut snapshot = self.content_of(&objects, sets, wanted)?;
        let mut reason = None;
        while let Some(item) = snapshot.next()? {
            match item {
                Item::Object(entry) if entry.path == *path => {
                    let proof = Proof {
                        fingerprint: listed.fingerprint,
                        block_length: listed.block_length,
                    };
                    let check = Some(Checker::new(&proof));
                    return Ok(Some(FileContent { snapshot, check }));
                }
                Item::Object(_) => {}
                Item::Problem(problem) => reason = Some(problem),
            }
        }
        let source = match reason {
            Some(problem) => io::Error::other(chain(&problem)),
            None => io::Error::other("it is in no volume"),
        };
        let object = path.to_string();
        Err(Error::Damaged { object, source })
    }
}

impl Read for FileContent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.snapshot.read(buffer)?;
        if buffer.is_empty() {
            return Ok(0);
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        if let Some(check) = &mut self.check {
            check.push(bytes);
        }
        if count == 0 && self.check.take().is_some_and(|check| !check.ends_right()) {
            return Err(io::Error::other(NOT_THE_SAME));
        }
        Ok(count)
    }
}

fn stop(error: RestoreError) -> Error {
    Error::Target(Box::new(error))
}
