//! Reading what a chain restores at one moment: objects in order, with their content.
//!
//! Each set is one sorted stream of members; all are walked side by side. Of the members about one
//! path the newest count: a snapshot ends the search, deltas are applied to it. Only volumes
//! that can hold what is wanted are fetched, several at a time, and each is checked against its hash
//! before anything of it counts. One that lies on this machine is decoded meanwhile: members before
//! what is wanted are passed over, and if the hash turns out wrong, they never were.
//!
//! Deltas are read before the file that they are applied to, which then passes by as it is needed.
//! Only where bytes have changed their order it has to be put aside.
//!
//! Memory is some 5 MiB a set of the chain; the literal bytes of deltas, files that were put aside,
//! and the volumes that are worked on, one a set and three more of the largest, lie in temporary
//! files.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering as AtomicOrdering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use tree::{Entry, TreePath};

use crate::archive::Archive;
use crate::blocks::{BlockReader, Blocks};
use crate::collection::{BackupSet, StoredFile};
use crate::error::Error;
use crate::librsync::{BadDelta, Source, Splice};
use crate::manifest::{Hash, Manifest};
use crate::member::{BadMember, MemberKind, MemberName, entry_of};
use crate::name::SetKind;
use crate::read_ahead::{BLOCKS_AHEAD, next_block};
use crate::spool::Spool;
use crate::tar::{BadTar, TarHeader, TarKind, TarReader};

/// How many volumes of the set that has most of them are fetched or decoded at a time; of others one.
const VOLUMES_AHEAD: usize = 4;

/// Largest file that deltas may make. They can repeat what is there at a few bytes a time.
const FILE_SIZE_MAX: u64 = 1 << 46;

/// One object that cannot be restored; its neighbours can.
#[derive(Debug, thiserror::Error)]
#[error("{name} in the {set} set cannot be restored")]
pub struct Problem {
    /// The object or member, safe to print.
    pub name: String,
    /// Which set says so.
    pub set: SetKind,
    /// Why.
    pub source: ProblemKind,
}

/// What can be wrong with one object.
#[derive(Debug, thiserror::Error)]
pub enum ProblemKind {
    /// The member is not one that duplicity writes.
    #[error(transparent)]
    Member(#[from] BadMember),
    /// The member does not stand where its path belongs: it was added or moved.
    #[error("the member is out of order")]
    Order,
    /// A delta without a file that it changes.
    #[error("a delta to a file that is not in the archive")]
    NoBase,
    /// A delta that does not fit.
    #[error("the delta cannot be applied")]
    Delta(#[from] BadDelta),
    /// A whole volume is missing, damaged or cannot be opened. What it says is not known: what is
    /// given for the paths in it may be an older state, which only the signatures can tell.
    #[error("nothing of the volume can be used")]
    Volume(#[source] Box<Error>),
}

/// What stands at one moment in the archive, object by object.
pub struct Snapshot {
    sets: Vec<SetStream>,
    scratch: PathBuf,
    /// The paths that are wanted, each with all below it.
    wanted: Vec<TreePath>,
    current: Current,
    problems: Vec<Problem>,
}

/// Where the content of the current object is.
enum Current {
    Nothing,
    /// Still in the stream of this set.
    Stream(usize),
    Spliced {
        base: Base,
        literals: Spool,
        pieces: std::vec::IntoIter<(Source, u64, u64)>,
        piece: (Source, u64, u64),
    },
}

/// The file that deltas are applied to.
enum Base {
    /// Still in the stream of this set, which has given so many bytes of it.
    Stream(usize, u64),
    Aside(Spool),
}

/// What comes next in a snapshot.
#[derive(Debug)]
pub enum Item {
    /// An object. The content of a regular file is read from the snapshot before the next item.
    ///
    /// The size of a file that came in blocks is that of the first one: the format does not say more.
    Object(Entry),
    /// Something that cannot be restored.
    Problem(Problem),
}

impl Archive {
    /// Opens the state that `sets` restore: `wanted` and all below it.
    ///
    /// `sets` are those of [`Collection::until`](crate::Collection::until).
    ///
    /// # Errors
    ///
    /// When a manifest cannot be read.
    pub fn snapshot(&self, sets: &[BackupSet], wanted: &TreePath) -> Result<Snapshot, Error> {
        self.snapshot_of(sets, std::slice::from_ref(wanted))
    }

    /// The same for several paths, each with all below it.
    ///
    /// # Errors
    ///
    /// When a manifest cannot be read.
    pub fn snapshot_of(&self, sets: &[BackupSet], wanted: &[TreePath]) -> Result<Snapshot, Error> {
        self.snapshot_without(sets, wanted, &|_, _| false)
    }

    /// The same, without some volumes: what lies in them, also in part, is not given.
    pub(crate) fn snapshot_without(
        &self,
        sets: &[BackupSet],
        wanted: &[TreePath],
        is_left_out: &dyn Fn(SetKind, u32) -> bool,
    ) -> Result<Snapshot, Error> {
        let largest = sets.iter().map(|set| set.volumes.len()).max();
        let mut spare = Some(VOLUMES_AHEAD);
        let streams: Result<_, Error> = sets
            .iter()
            .map(|set| {
                let manifest = self.manifest(set)?;
                let is_left_out = |number| is_left_out(set.kind, number);
                let is_largest = Some(set.volumes.len()) == largest;
                let ahead = spare.take_if(|_| is_largest).unwrap_or(1);
                SetStream::new(self, set, &manifest, wanted, ahead, &is_left_out)
            })
            .collect();
        Ok(Snapshot {
            sets: streams?,
            scratch: self.settings.scratch.clone(),
            wanted: wanted.to_vec(),
            current: Current::Nothing,
            problems: Vec::new(),
        })
    }
}

impl Snapshot {
    /// The next object; `None` at the end.
    ///
    /// A volume that cannot be used is a problem; the next ones are read.
    ///
    /// # Errors
    ///
    /// When a temporary file cannot be used, or a thread broke down.
    #[expect(
        clippy::should_implement_trait,
        reason = "content is read from the snapshot between two calls"
    )]
    pub fn next(&mut self) -> Result<Option<Item>, Error> {
        self.current = Current::Nothing;
        loop {
            for index in 0..self.sets.len() {
                self.advance(index);
            }
            self.problems
                .extend(self.sets.iter_mut().flat_map(|set| set.damage.drain(..)));
            if let Some(problem) = self.problems.pop() {
                return Ok(Some(Item::Problem(problem)));
            }
            let heads = self.sets.iter().filter_map(|set| set.head.as_ref());
            let Some(path) = heads.map(|head| &head.path).min().cloned() else {
                return Ok(None);
            };
            let is_behind = |wanted: &TreePath| path > *wanted && !path.starts_with(wanted);
            if self.wanted.iter().all(is_behind) {
                return Ok(None);
            }
            let item = match is_wanted(&self.wanted, &path) {
                true => self.object(&path),
                false => Ok(None),
            };
            // What is not needed of this path is passed over when the streams advance.
            for set in &mut self.sets {
                if set.head.as_ref().is_some_and(|head| head.path == path) {
                    set.done = set.head.take().map(|head| head.path);
                }
            }
            if let Some(item) = item? {
                return Ok(Some(item));
            }
        }
    }

    fn advance(&mut self, index: usize) {
        let Some(set) = self.sets.get_mut(index) else {
            return;
        };
        while set.head.is_none() {
            match set.next_object() {
                Found::Head => {}
                Found::End => break,
                Found::Problem(problem) => match set.input.verify() {
                    Ok(()) => self.problems.push(problem),
                    Err(error) => set.damaged(error),
                },
            }
        }
    }

    /// What the sets say about `path` together.
    fn object(&mut self, path: &TreePath) -> Result<Option<Item>, Error> {
        let is_here = |set: &SetStream| set.head.as_ref().is_some_and(|head| head.path == *path);
        // From the newest back to the first that does not build on an older one.
        let mut chain: Vec<usize> = Vec::new();
        for (index, set) in self.sets.iter().enumerate().rev() {
            if is_here(set) {
                chain.push(index);
                if set
                    .head
                    .as_ref()
                    .is_some_and(|head| head.kind != MemberKind::Diff)
                {
                    break;
                }
            }
        }
        chain.reverse();
        let (Some(&first), Some(&newest)) = (chain.first(), chain.last()) else {
            return Ok(None);
        };
        let problem = |sets: &[SetStream], index: usize, source: ProblemKind| {
            let set = sets.get(index).map_or(
                SetKind::Full {
                    time: crate::SetTime::from_seconds(0),
                },
                |set| set.kind,
            );
            Ok(Some(Item::Problem(Problem {
                name: path.to_string(),
                set,
                source,
            })))
        };
        let Some(head) = self.sets.get(newest).and_then(|set| set.head.as_ref()) else {
            return Ok(None);
        };
        if head.kind == MemberKind::Deleted {
            return Ok(None);
        }
        let mut entry = match entry_of(path.clone(), &head.header) {
            Ok(entry) => entry,
            Err(error) => return problem(&self.sets, newest, error.into()),
        };
        let base = self.sets.get(first).and_then(|set| set.head.as_ref());
        let base_is_file = base.is_some_and(|head| {
            head.kind == MemberKind::Snapshot && head.header.kind == TarKind::File
        });
        if chain.len() == 1 {
            if head.kind == MemberKind::Diff {
                return problem(&self.sets, newest, ProblemKind::NoBase);
            }
            if entry.is_file() {
                self.current = Current::Stream(newest);
            }
            return Ok(Some(Item::Object(entry)));
        }
        if !base_is_file {
            return problem(&self.sets, first, ProblemKind::NoBase);
        }
        match self.splice(&chain) {
            Ok(size) => entry.size = size,
            Err((index, error)) => return problem(&self.sets, index, error.into()),
        }
        Ok(Some(Item::Object(entry)))
    }

    /// Folds the deltas of a chain into one description of the file; an error comes with the set whose
    /// delta it is.
    fn splice(&mut self, chain: &[usize]) -> Result<u64, (usize, BadDelta)> {
        let Some((&first, deltas)) = chain.split_first() else {
            return Ok(0);
        };
        let mut literals = Spool::new(&self.scratch);
        let mut literals_size = 0;
        // How large a base of several blocks is shows when it is read.
        let base = self.sets.get(first);
        let base_size = base
            .filter(|set| set.going.is_none())
            .and_then(|set| set.head.as_ref())
            .map_or(FILE_SIZE_MAX, |head| head.header.size);
        let mut splice = Splice::new(base_size, FILE_SIZE_MAX);
        for &index in deltas {
            let Some(set) = self.sets.get_mut(index) else {
                continue;
            };
            let applied = splice.apply(Data(set), &mut literals, literals_size);
            literals_size = applied.map_err(|error| (index, error))?;
        }
        let pieces: Vec<_> = splice.pieces().collect();
        let base = match self.sets.get_mut(first) {
            Some(set) if !is_in_order(&pieces) => {
                let mut aside = Spool::new(&self.scratch);
                let copied = io::copy(&mut Data(set), &mut aside);
                copied.map_err(|error| (first, error.into()))?;
                Base::Aside(aside)
            }
            _ => Base::Stream(first, 0),
        };
        self.current = Current::Spliced {
            base,
            literals,
            pieces: pieces.into_iter(),
            piece: (Source::Base, 0, 0),
        };
        Ok(splice.size())
    }
}

/// Whether the bytes of the base are wanted in their order.
fn is_in_order(pieces: &[(Source, u64, u64)]) -> bool {
    let mut of_base = pieces.iter().filter(|(source, ..)| *source == Source::Base);
    let mut end = 0;
    of_base.all(|&(_, at, length)| std::mem::replace(&mut end, at + length) <= at)
}

/// The content of the object that came last.
impl Read for Snapshot {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { sets, current, .. } = self;
        match current {
            Current::Nothing => Ok(0),
            Current::Stream(index) => match sets.get_mut(*index) {
                Some(set) => Data(set).read(buffer),
                None => Ok(0),
            },
            Current::Spliced {
                base,
                literals,
                pieces,
                piece,
            } => {
                while piece.2 == 0 {
                    match pieces.next() {
                        Some(next) => *piece = next,
                        None => return Ok(0),
                    }
                }
                if buffer.is_empty() {
                    return Ok(0);
                }
                let (source, at, left) = *piece;
                let count = buffer
                    .len()
                    .min(usize::try_from(left).unwrap_or(usize::MAX));
                let part = buffer.get_mut(..count).unwrap_or_default();
                let count = match source {
                    Source::Base => base.read_at(sets, part, at)?,
                    Source::Literals => {
                        literals.read_exact_at(part, at)?;
                        count
                    }
                };
                *piece = (source, at + count as u64, left - count as u64);
                Ok(count)
            }
        }
    }
}

impl Base {
    /// Reads some bytes from `at`; it is an error if there are none.
    fn read_at(&mut self, sets: &mut [SetStream], part: &mut [u8], at: u64) -> io::Result<usize> {
        let range = |size| BadDelta::Range {
            start: at,
            length: part.len() as u64,
            size,
        };
        match self {
            Self::Aside(spool) if at + part.len() as u64 > spool.size() => {
                Err(io::Error::other(range(spool.size())))
            }
            Self::Aside(spool) => spool.read_exact_at(part, at).map(|()| part.len()),
            Self::Stream(index, position) => {
                let bad = range(*position);
                let Some(set) = sets.get_mut(*index) else {
                    return Ok(0);
                };
                let mut data = Data(set);
                let before = at - *position;
                let passed = io::copy(&mut data.by_ref().take(before), &mut io::sink())?;
                *position += passed;
                let count = if passed < before { 0 } else { data.read(part)? };
                if count == 0 {
                    return Err(io::Error::other(bad));
                }
                *position += count as u64;
                Ok(count)
            }
        }
    }
}

/// The member that a set's stream stands at.
struct Head {
    kind: MemberKind,
    path: TreePath,
    header: TarHeader,
}

enum Found {
    Head,
    End,
    Problem(Problem),
}

/// One set as a stream of objects.
struct SetStream {
    kind: SetKind,
    input: VolumeReader,
    /// The member reader of the current volume.
    tar: Option<TarReader<BlockReader<VolumeBytes>>>,
    head: Option<Head>,
    /// A member that was read to see whether a file goes on.
    peeked: Option<(Result<MemberName, BadMember>, TarHeader)>,
    /// The path that was dealt with last.
    done: Option<TreePath>,
    /// The same when the current volume began.
    done_before: Option<TreePath>,
    /// Blocks of `head` (or of `done`) may follow: its number and what it is.
    going: Option<(MemberKind, TreePath, u64)>,
    /// What could not be read, to be told at the next step.
    damage: Vec<Problem>,
    wanted: Vec<TreePath>,
}

impl SetStream {
    fn new(
        archive: &Archive,
        set: &BackupSet,
        manifest: &Manifest,
        wanted: &[TreePath],
        ahead: usize,
        is_left_out: &dyn Fn(u32) -> bool,
    ) -> Result<Self, Error> {
        let (mut files, mut damage) = (Vec::new(), Vec::new());
        let mut follows_gap = false;
        for volume in manifest.volumes_of(wanted) {
            if is_left_out(volume.number) {
                follows_gap = true;
                continue;
            }
            match set.volumes.get(&volume.number) {
                Some(file) => files.push(Volume {
                    file: file.clone(),
                    hash: volume.hash(),
                    follows_gap: std::mem::take(&mut follows_gap),
                }),
                None => damage.push(Problem {
                    name: format!("volume {}", volume.number),
                    set: set.kind,
                    source: ProblemKind::Volume(Box::new(Error::VolumeMissing {
                        number: volume.number,
                        set: set.kind,
                    })),
                }),
            }
        }
        Ok(Self {
            kind: set.kind,
            input: VolumeReader::new(archive, files, ahead),
            tar: None,
            head: None,
            peeked: None,
            done: None,
            done_before: None,
            going: None,
            damage,
            wanted: wanted.to_vec(),
        })
    }

    /// The next member of any volume that can be read.
    fn next_member(&mut self) -> Option<(Result<MemberName, BadMember>, TarHeader)> {
        if let Some(peeked) = self.peeked.take() {
            return Some(peeked);
        }
        loop {
            let tar = match &mut self.tar {
                Some(tar) => tar,
                None => {
                    self.done_before = self.done.clone();
                    match self.input.next_volume()? {
                        Ok(bytes) => self.tar.insert(TarReader::new(bytes)),
                        Err(error) => {
                            let error = self.true_fault(error);
                            self.damaged(error);
                            continue;
                        }
                    }
                }
            };
            match tar.next() {
                Ok(Some(header)) => {
                    let name = MemberName::parse(&header.name);
                    if self.is_passed_over(&name) {
                        return Some((name, header));
                    }
                    match self.input.verify() {
                        Ok(()) => return Some((name, header)),
                        Err(error) => self.damaged(error),
                    }
                }
                Ok(None) => match self.input.verify() {
                    Ok(()) => self.tar = None,
                    Err(error) => self.damaged(error),
                },
                Err(error) => {
                    let error = match error {
                        BadTar::Read(error) => error,
                        error => io::Error::new(io::ErrorKind::InvalidData, error),
                    };
                    let error = self.input.error(error);
                    let error = self.true_fault(error);
                    self.damaged(error);
                }
            }
        }
    }

    /// Whether nothing but its place depends on a member: it stands before what is wanted, and no
    /// wanted file could go on in it.
    fn is_passed_over(&self, name: &Result<MemberName, BadMember>) -> bool {
        let is_before = |path: &TreePath| {
            !is_wanted(&self.wanted, path) && self.wanted.iter().any(|wanted| path < wanted)
        };
        let going = self.going.as_ref();
        going.is_none_or(|(_, path, _)| is_before(path))
            && name.as_ref().is_ok_and(|name| is_before(&name.path))
    }

    /// Why a volume cannot be read: if it has not its hash, that is why.
    fn true_fault(&mut self, error: Error) -> Error {
        match self.input.verify() {
            Err(hash @ Error::Hash { .. }) => hash,
            _ => error,
        }
    }

    /// Notes that the current volume is of no use, and gives it up.
    fn damaged(&mut self, error: Error) {
        self.tar = None;
        self.going = None;
        if !self.input.is_verified {
            self.done.clone_from(&self.done_before);
        }
        let name = self.input.current.clone();
        self.damage.push(Problem {
            name,
            set: self.kind,
            source: ProblemKind::Volume(Box::new(error)),
        });
    }

    /// Goes to the next object, passing over what is left of the one before.
    fn next_object(&mut self) -> Found {
        loop {
            let Some((name, header)) = self.next_member() else {
                return Found::End;
            };
            let follows_gap = std::mem::take(&mut self.input.follows_gap);
            let set = self.kind;
            let problem = |name: String, source| Found::Problem(Problem { name, set, source });
            let name = match name {
                Ok(name) if name.kind != MemberKind::Signature => name,
                Ok(_) => return problem(printable(&header.name), BadMember::Prefix.into()),
                Err(error) => return problem(printable(&header.name), error.into()),
            };
            if let (Some((kind, path, block)), Some(number)) = (&mut self.going, name.block)
                && *kind == name.kind
                && *path == name.path
                && number == *block + 1
            {
                *block = number;
                continue;
            }
            self.going = None;
            let order = self
                .done
                .as_ref()
                .map_or(Ordering::Greater, |done| name.path.cmp(done));
            match (order, name.kind) {
                // A file that could not be read to its end is taken back so: its content failed.
                (Ordering::Equal, MemberKind::Deleted) => continue,
                (Ordering::Greater, _) => {}
                _ => return problem(name.path.to_string(), ProblemKind::Order),
            }
            if name.block.is_some_and(|block| block > 1) {
                // A volume that begins inside of a file that is not wanted, or that was left out.
                let is_rest =
                    follows_gap || self.done.is_none() || !is_wanted(&self.wanted, &name.path);
                self.going = name
                    .block
                    .map(|block| (name.kind, name.path.clone(), block));
                self.done = Some(name.path.clone());
                if is_rest {
                    continue;
                }
                return problem(name.path.to_string(), ProblemKind::Order);
            }
            let is_data = matches!(name.kind, MemberKind::Snapshot | MemberKind::Diff);
            if name.block.is_some() && !(is_data && header.kind == TarKind::File) {
                return problem(name.path.to_string(), BadMember::Type.into());
            }
            self.going = name
                .block
                .map(|block| (name.kind, name.path.clone(), block));
            self.head = Some(Head {
                kind: name.kind,
                path: name.path,
                header,
            });
            return Found::Head;
        }
    }

    /// Whether the next member goes on with the file that is being read; goes to it.
    fn continues(&mut self) -> Continued {
        let Some((kind, path, block)) = self.going.clone() else {
            return Continued::No;
        };
        let damage = self.damage.len();
        let member = self.next_member();
        if self.damage.len() > damage {
            self.peeked = member;
            return Continued::Damaged;
        }
        let Some((name, header)) = member else {
            return Continued::No;
        };
        if let Ok(name) = &name
            && name.path == path
        {
            if name.kind == kind && name.block == Some(block + 1) && header.kind == TarKind::File {
                self.going = Some((kind, path, block + 1));
                return Continued::Yes;
            }
            if name.kind == MemberKind::Deleted {
                self.going = None;
                return Continued::TakenBack;
            }
        }
        self.going = None;
        self.peeked = Some((name, header));
        Continued::No
    }
}

/// Whether a file goes on in the next member.
enum Continued {
    Yes,
    No,
    /// It could not be read to its end when it was backed up.
    TakenBack,
    /// The volume where it goes on cannot be used.
    Damaged,
}

/// The data of the object that a set's stream stands at, over all its blocks and volumes.
struct Data<'a>(&'a mut SetStream);

impl Read for Data<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let set = &mut *self.0;
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if set.peeked.is_none()
                && let Some(tar) = &mut set.tar
            {
                match tar.data().read(buffer) {
                    Ok(0) => {}
                    Ok(count) => return Ok(count),
                    Err(error) => {
                        let error = set.input.error(error);
                        let text = error.to_string();
                        set.damaged(error);
                        return Err(io::Error::other(text));
                    }
                }
            }
            match set.continues() {
                Continued::Yes => {}
                Continued::No => return Ok(0),
                Continued::TakenBack => {
                    return Err(io::Error::other(
                        "the file could not be read to its end when it was backed up",
                    ));
                }
                Continued::Damaged => {
                    return Err(io::Error::other(
                        "the file goes on in a volume that cannot be used",
                    ));
                }
            }
        }
    }
}

fn is_wanted(wanted: &[TreePath], path: &TreePath) -> bool {
    wanted.iter().any(|wanted| path.starts_with(wanted))
}

fn printable(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

/// What comes from the thread that decodes a volume. The last one is `End` or `Failed`.
enum Message {
    /// It could be opened.
    Open,
    Bytes(Vec<u8>),
    End,
    Failed(Error),
}

/// One volume that is to come.
struct Coming {
    object: String,
    follows_gap: bool,
    messages: Receiver<Message>,
    verdict: Receiver<Result<(), Error>>,
}

/// A volume that is wanted.
struct Volume {
    file: StoredFile,
    hash: Option<Hash>,
    /// Volumes before it were left out.
    follows_gap: bool,
}

/// A volume that a thread has to fetch and decode.
struct Task {
    file: StoredFile,
    hash: Option<Hash>,
    out: SyncSender<Message>,
    /// Whether the volume has its hash.
    verdict: SyncSender<Result<(), Error>>,
}

/// The volumes of one set, several of them fetched and opened ahead.
struct VolumeReader {
    coming: VecDeque<Coming>,
    current: String,
    /// Tells whether the current volume has its hash.
    verdict: Option<Receiver<Result<(), Error>>>,
    /// Whether it is known that it has.
    is_verified: bool,
    /// No member of the current volume was read, and volumes before it were left out.
    follows_gap: bool,
    /// The error that ended the current volume.
    failure: Arc<Mutex<Option<Error>>>,
    /// Tells the threads that nobody listens any more.
    closed: Arc<AtomicBool>,
}

impl VolumeReader {
    /// Volumes come in the order of `files`; `ahead` of them are worked on at a time.
    fn new(archive: &Archive, files: Vec<Volume>, ahead: usize) -> Self {
        let threads = files.len().min(ahead);
        let closed = Arc::new(AtomicBool::new(false));
        let (tasks, queue) = crossbeam_channel::unbounded();
        let mut coming = VecDeque::with_capacity(files.len());
        for volume in files {
            let (out, messages) = sync_channel(BLOCKS_AHEAD);
            let (verdict, judged) = sync_channel(1);
            coming.push_back(Coming {
                object: volume.file.object.clone(),
                follows_gap: volume.follows_gap,
                messages,
                verdict: judged,
            });
            let Volume { file, hash, .. } = volume;
            // The queue has no limit and is not closed yet.
            let _ = tasks.send(Task {
                file,
                hash,
                out,
                verdict,
            });
        }
        for _ in 0..threads {
            let (archive, closed) = (archive.clone(), closed.clone());
            let queue: crossbeam_channel::Receiver<Task> = queue.clone();
            thread::spawn(move || {
                for task in queue {
                    if closed.load(AtomicOrdering::Relaxed) {
                        return;
                    }
                    decode(&archive, task);
                }
            });
        }
        Self {
            coming,
            current: String::new(),
            verdict: None,
            is_verified: false,
            follows_gap: false,
            failure: Arc::default(),
            closed,
        }
    }

    /// The next volume, or why it cannot be used; `None` behind the last.
    fn next_volume(&mut self) -> Option<Result<BlockReader<VolumeBytes>, Error>> {
        let Coming {
            object,
            follows_gap,
            messages,
            verdict,
        } = self.coming.pop_front()?;
        self.current = object;
        self.verdict = Some(verdict);
        self.is_verified = false;
        self.follows_gap = follows_gap;
        match messages.recv() {
            Ok(Message::Open) => Some(Ok(BlockReader::new(VolumeBytes {
                messages,
                failure: self.failure.clone(),
            }))),
            Ok(Message::Failed(error)) => Some(Err(error)),
            Ok(Message::Bytes(_) | Message::End) | Err(_) => Some(Err(Error::Worker)),
        }
    }

    /// Waits until it is known whether the current volume has its hash.
    fn verify(&mut self) -> Result<(), Error> {
        if let Some(verdict) = self.verdict.take() {
            verdict.recv().unwrap_or(Err(Error::Worker))?;
            self.is_verified = true;
        }
        Ok(())
    }

    /// An error of the archive behind one of a read.
    fn error(&self, error: io::Error) -> Error {
        let failure = self
            .failure
            .lock()
            .ok()
            .and_then(|mut failure| failure.take());
        failure.unwrap_or_else(|| Error::Damaged {
            object: self.current.clone(),
            source: error,
        })
    }
}

impl Drop for VolumeReader {
    fn drop(&mut self) {
        self.closed.store(true, AtomicOrdering::Relaxed);
    }
}

/// The plain bytes of one volume.
struct VolumeBytes {
    messages: Receiver<Message>,
    failure: Arc<Mutex<Option<Error>>>,
}

impl Blocks for VolumeBytes {
    fn next_block(&mut self, _: Vec<u8>) -> io::Result<Option<io::Cursor<Vec<u8>>>> {
        match self.messages.recv() {
            Ok(Message::Bytes(bytes)) => Ok(Some(io::Cursor::new(bytes))),
            Ok(Message::End) => Ok(None),
            Ok(Message::Failed(error)) => {
                let text = error.to_string();
                if let Ok(mut failure) = self.failure.lock() {
                    *failure = Some(error);
                }
                Err(io::Error::other(text))
            }
            Ok(Message::Open) | Err(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Fetches and decodes one volume, as far as somebody listens.
fn decode(archive: &Archive, task: Task) {
    let Task {
        file,
        hash,
        out,
        verdict,
    } = task;
    // Nobody may be there any more to be told.
    let judge = |verified| drop(verdict.send(verified));
    match archive.local_file(&file) {
        Ok(Some(local)) => thread::scope(|scope| {
            scope.spawn(|| judge(archive.check_local(&file, &local, hash)));
            let spool = archive.local_spool(&local);
            stream(archive, &file, spool, &out);
        }),
        Ok(None) => {
            let spool = archive.fetch(&file, hash);
            if spool.is_ok() {
                judge(Ok(()));
            }
            stream(archive, &file, spool, &out);
        }
        Err(error) => drop(out.send(Message::Failed(error))),
    }
}

/// Decodes a volume, as far as somebody listens.
fn stream(
    archive: &Archive,
    file: &StoredFile,
    spool: Result<Spool, Error>,
    out: &SyncSender<Message>,
) {
    let mut plain = match spool.and_then(|spool| archive.unwrap(file, spool)) {
        Ok(plain) => plain,
        Err(error) => return drop(out.send(Message::Failed(error))),
    };
    let mut message = Message::Open;
    // A volume that was given up has no listener: the next one may.
    while out.send(message).is_ok() {
        message = match next_block(&mut plain) {
            Ok(block) if block.is_empty() => Message::End,
            Ok(block) => Message::Bytes(block),
            Err(source) => Message::Failed(Error::Damaged {
                object: file.object.clone(),
                source,
            }),
        };
        if matches!(message, Message::End | Message::Failed(_)) {
            return drop(out.send(message));
        }
    }
}
