//! Reading what a chain restores at one moment: objects in order, with their content.
//!
//! Each set is one sorted stream of members; all are walked side by side. Of the members about one
//! path the newest count: a snapshot ends the search, deltas are applied to it. Only volumes
//! that can hold what is wanted are fetched, each is checked against its hash before a byte of it
//! is looked at, and the next one is fetched meanwhile.
//!
//! Memory is some 3 MiB a set of the chain; content that deltas are applied to, the literal bytes
//! of those deltas, and two volumes a set lie in temporary files.

use std::cmp::Ordering;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use tree::{Entry, TreePath};

use crate::archive::Archive;
use crate::collection::{BackupSet, StoredFile};
use crate::error::Error;
use crate::librsync::{BadDelta, Source, Splice};
use crate::manifest::{Hash, Manifest};
use crate::member::{BadMember, MemberKind, MemberName, entry_of};
use crate::name::SetKind;
use crate::spool::Spool;
use crate::tar::{BadTar, TarHeader, TarKind, TarReader};

/// Plain bytes are handed from the decoding thread in blocks of this size.
const BLOCK: usize = 128 << 10;

/// How many blocks may wait.
const BLOCKS_AHEAD: usize = 4;

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
    /// The path that is wanted, with all below it.
    wanted: TreePath,
    current: Current,
    problems: Vec<Problem>,
}

/// Where the content of the current object is.
enum Current {
    Nothing,
    /// Still in the stream of this set.
    Stream(usize),
    Spliced {
        base: Spool,
        literals: Spool,
        pieces: std::vec::IntoIter<(Source, u64, u64)>,
        piece: (Source, u64, u64),
    },
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
    /// When a manifest cannot be read, or a volume that is needed is missing.
    pub fn snapshot(&self, sets: &[BackupSet], wanted: &TreePath) -> Result<Snapshot, Error> {
        let streams: Result<_, Error> = sets
            .iter()
            .map(|set| {
                let manifest = self.manifest(set)?;
                SetStream::new(self, set, &manifest, wanted)
            })
            .collect();
        Ok(Snapshot {
            sets: streams?,
            scratch: self.settings.scratch.clone(),
            wanted: wanted.clone(),
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
            if path > self.wanted && !path.starts_with(&self.wanted) {
                return Ok(None);
            }
            let item = self.object(&path);
            // What is not needed of this path is passed over when the streams advance.
            for set in &mut self.sets {
                if set.head.as_ref().is_some_and(|head| head.path == path) {
                    set.done = set.head.take().map(|head| head.path);
                }
            }
            match item? {
                Some(Item::Object(entry)) if !entry.path.starts_with(&self.wanted) => {}
                Some(item) => return Ok(Some(item)),
                None => {}
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
                Found::Problem(problem) => self.problems.push(problem),
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
        let mut base = Spool::new(&self.scratch);
        let mut literals = Spool::new(&self.scratch);
        let mut literals_size = 0;
        let mut splice: Option<Splice> = None;
        for &index in chain {
            let Some(set) = self.sets.get_mut(index) else {
                continue;
            };
            match &mut splice {
                None => {
                    let copied = io::copy(&mut Data(set), &mut base);
                    copied.map_err(|error| (index, error.into()))?;
                    splice = Some(Splice::new(base.size(), FILE_SIZE_MAX));
                }
                Some(splice) => {
                    let applied = splice.apply(Data(set), &mut literals, literals_size);
                    literals_size = match applied {
                        Ok(size) => size,
                        Err(error) => {
                            return Err((index, error));
                        }
                    };
                }
            }
        }
        let splice = splice.unwrap_or(Splice::new(0, 0));
        let pieces: Vec<_> = splice.pieces().collect();
        self.current = Current::Spliced {
            base,
            literals,
            pieces: pieces.into_iter(),
            piece: (Source::Base, 0, 0),
        };
        Ok(splice.size())
    }
}

/// The content of the object that came last.
impl Read for Snapshot {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.current {
            Current::Nothing => Ok(0),
            Current::Stream(index) => match self.sets.get_mut(*index) {
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
                let (source, at, left) = *piece;
                let count = buffer
                    .len()
                    .min(usize::try_from(left).unwrap_or(usize::MAX));
                let part = buffer.get_mut(..count).unwrap_or_default();
                match source {
                    Source::Base => base.read_exact_at(part, at)?,
                    Source::Literals => literals.read_exact_at(part, at)?,
                }
                *piece = (source, at + count as u64, left - count as u64);
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
    tar: Option<TarReader<VolumeBytes>>,
    head: Option<Head>,
    /// A member that was read to see whether a file goes on.
    peeked: Option<(Result<MemberName, BadMember>, TarHeader)>,
    /// The path that was dealt with last.
    done: Option<TreePath>,
    /// Blocks of `head` (or of `done`) may follow: its number and what it is.
    going: Option<(MemberKind, TreePath, u64)>,
    /// What could not be read, to be told at the next step.
    damage: Vec<Problem>,
}

impl SetStream {
    fn new(
        archive: &Archive,
        set: &BackupSet,
        manifest: &Manifest,
        wanted: &TreePath,
    ) -> Result<Self, Error> {
        let (mut files, mut damage) = (Vec::new(), Vec::new());
        for volume in manifest.volumes_of(wanted) {
            match set.volumes.get(&volume.number) {
                Some(file) => files.push((file.clone(), volume.hash())),
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
            input: VolumeReader::new(archive, files),
            tar: None,
            head: None,
            peeked: None,
            done: None,
            going: None,
            damage,
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
                None => match self.input.next_volume()? {
                    Ok(bytes) => self.tar.insert(TarReader::new(bytes)),
                    Err(error) => {
                        self.damaged(error);
                        continue;
                    }
                },
            };
            match tar.next() {
                Ok(Some(header)) => return Some((MemberName::parse(&header.name), header)),
                Ok(None) => self.tar = None,
                Err(error) => {
                    let error = match error {
                        BadTar::Read(error) => error,
                        error => io::Error::new(io::ErrorKind::InvalidData, error),
                    };
                    let error = self.input.error(error);
                    self.damaged(error);
                }
            }
        }
    }

    /// Notes that the current volume is of no use, and gives it up.
    fn damaged(&mut self, error: Error) {
        self.tar = None;
        self.going = None;
        self.input.skip_volume();
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
                let is_first = self.done.is_none();
                self.going = name
                    .block
                    .map(|block| (name.kind, name.path.clone(), block));
                self.done = Some(name.path.clone());
                if is_first {
                    // The volume begins inside of a file that is not wanted.
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

fn printable(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

/// What comes from the decoding thread.
enum Message {
    Volume(String),
    Bytes(Vec<u8>),
    EndOfVolume,
    Failed(String, Error),
}

/// The volumes of one set, fetched and decoded ahead.
struct VolumeReader {
    messages: std::sync::Arc<std::sync::Mutex<Receiver<Message>>>,
    current: String,
    inside: bool,
    /// The error that ended the current volume.
    failure: std::sync::Arc<std::sync::Mutex<Option<Error>>>,
}

impl VolumeReader {
    fn new(archive: &Archive, files: Vec<(StoredFile, Option<Hash>)>) -> Self {
        let (fetched, volumes) = sync_channel(0);
        let (decoded, messages) = sync_channel(BLOCKS_AHEAD);
        if !files.is_empty() {
            let fetcher = archive.clone();
            // Both threads end when nobody takes what they have.
            thread::spawn(move || {
                for (file, hash) in files {
                    let spool = fetcher.fetch(&file, hash);
                    if fetched.send((file, spool)).is_err() {
                        return;
                    }
                }
            });
            let decoder = archive.clone();
            thread::spawn(move || {
                for (file, spool) in volumes {
                    if !decode(&decoder, &file, spool, &decoded) {
                        return;
                    }
                }
            });
        }
        Self {
            messages: std::sync::Arc::new(std::sync::Mutex::new(messages)),
            current: String::new(),
            inside: false,
            failure: std::sync::Arc::default(),
        }
    }

    /// The next volume, or why it cannot be used; `None` behind the last.
    fn next_volume(&mut self) -> Option<Result<VolumeBytes, Error>> {
        loop {
            let message = self.messages.lock().ok()?.recv();
            match message.ok()? {
                Message::Volume(object) => {
                    self.current = object;
                    self.inside = true;
                    return Some(Ok(VolumeBytes {
                        messages: self.messages.clone(),
                        failure: self.failure.clone(),
                        block: io::Cursor::default(),
                        ended: false,
                    }));
                }
                Message::Failed(object, error) => {
                    if !self.inside {
                        self.current = object;
                    }
                    self.inside = false;
                    return Some(Err(error));
                }
                // What is left of a volume that was given up.
                Message::Bytes(_) => {}
                Message::EndOfVolume => self.inside = false,
            }
        }
    }

    /// Gives up the current volume.
    fn skip_volume(&mut self) {
        // The decoder goes on; its blocks are passed over when the next volume is asked for.
        self.inside = false;
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

/// The plain bytes of one volume.
struct VolumeBytes {
    messages: std::sync::Arc<std::sync::Mutex<Receiver<Message>>>,
    failure: std::sync::Arc<std::sync::Mutex<Option<Error>>>,
    block: io::Cursor<Vec<u8>>,
    ended: bool,
}

impl Read for VolumeBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.block.read(buffer)?;
            if count > 0 || buffer.is_empty() || self.ended {
                return Ok(count);
            }
            let messages = self.messages.lock().map_err(|_| io::ErrorKind::Other)?;
            match messages.recv() {
                Ok(Message::Bytes(bytes)) => self.block = io::Cursor::new(bytes),
                Ok(Message::EndOfVolume) => self.ended = true,
                Ok(Message::Failed(_, error)) => {
                    self.ended = true;
                    let text = error.to_string();
                    if let Ok(mut failure) = self.failure.lock() {
                        *failure = Some(error);
                    }
                    return Err(io::Error::other(text));
                }
                Ok(Message::Volume(_)) | Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}

/// Decodes one volume; `false` when nobody listens any more.
fn decode(
    archive: &Archive,
    file: &StoredFile,
    spool: Result<Spool, Error>,
    out: &SyncSender<Message>,
) -> bool {
    let failed = |error| {
        out.send(Message::Failed(file.object.clone(), error))
            .is_ok()
    };
    let mut plain = match spool.and_then(|spool| archive.unwrap(file, spool)) {
        Ok(plain) => plain,
        Err(error) => return failed(error),
    };
    if out.send(Message::Volume(file.object.clone())).is_err() {
        return false;
    }
    loop {
        let mut block = Vec::with_capacity(BLOCK);
        match plain.by_ref().take(BLOCK as u64).read_to_end(&mut block) {
            Ok(0) => return out.send(Message::EndOfVolume).is_ok(),
            Ok(_) => {
                if out.send(Message::Bytes(block)).is_err() {
                    return false;
                }
            }
            Err(source) => {
                return failed(Error::Damaged {
                    object: file.object.clone(),
                    source,
                });
            }
        }
    }
}
