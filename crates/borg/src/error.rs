//! What can go wrong with a Borg repository.

use std::io;
use std::path::PathBuf;

use bstr::BString;
use tree::TreePath;

use crate::repository::Damage;
use crate::{BadManifest, BadObject, BadPaper, BadTam, Id, KeyError, Malformed, UnknownEncryption};

/// What can go wrong with a Borg repository.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing at the path.
    #[error("there is no repository at {path}", path = path.display())]
    DoesNotExist {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A repository stands there already.
    #[error("a repository exists at {path}", path = path.display())]
    AlreadyExists {
        /// Where it was to be created.
        path: PathBuf,
    },
    /// Something other than an empty directory stands where a repository was to be created.
    #[error("there is something else at {path}", path = path.display())]
    PathOccupied {
        /// Where it was to be created.
        path: PathBuf,
    },
    /// The path lies inside another repository, where Borg would mistake it for a part of that.
    #[error("{path} lies inside the repository {repository}", path = path.display(), repository = repository.display())]
    BelowAnother {
        /// Where it was to be created.
        path: PathBuf,
        /// The repository above it.
        repository: PathBuf,
    },
    /// The directory in which a repository was to be created is not there.
    #[error("the folder that is to hold {path} does not exist", path = path.display())]
    ParentMissing {
        /// Where it was to be created.
        path: PathBuf,
    },
    /// Something is there, but it is no repository.
    #[error("{path} is not a Borg repository", path = path.display())]
    NotARepository {
        /// What was opened.
        path: PathBuf,
    },
    /// A repository of Borg's ancestor, or another version than 1.
    #[error("{path} has repository version {version}, only version 1 is known", path = path.display())]
    Version {
        /// What was opened.
        path: PathBuf,
        /// What its configuration says; `attic` for the ancestor's format.
        version: String,
    },
    /// The repository's configuration lacks something or says what makes no sense.
    #[error("the configuration of {path} is not valid: {what}", path = path.display())]
    Config {
        /// Which repository.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Another program uses the repository, and did so until the end of the wait.
    #[error("{path} is locked by {holder}", path = path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
        /// Who holds it, as `host:pid`, as far as it is known.
        holder: String,
    },
    /// Our lock was taken away while we were at work, so others may be at work as well.
    #[error("the lock of {path} was broken", path = path.display())]
    LockLost {
        /// Which repository.
        path: PathBuf,
    },
    /// The transaction needs an exclusive lock, and the repository was not opened for writing.
    #[error("{path} was opened for reading only", path = path.display())]
    ReadOnly {
        /// Which repository.
        path: PathBuf,
    },
    /// Only one transaction at a time.
    #[error("another transaction is open")]
    TransactionOpen,
    /// An earlier error of this transaction makes a commit impossible.
    #[error("the transaction has failed before and cannot be committed")]
    Doomed,
    /// No such object.
    #[error("the repository has no object {id}")]
    ObjectNotFound {
        /// What was asked for.
        id: Id,
    },
    /// An object is larger than Borg can read.
    #[error("an object of {size} bytes is too large: {size_max} at most")]
    ObjectTooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        size_max: usize,
    },
    /// An entry was not framed, or was changed afterwards.
    #[error("an entry does not have the header of its content")]
    NotFramed,
    /// A stored entry is damaged.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The repository is damaged so that writing to it could make it worse.
    #[error("the repository is damaged ({what}): check it before anything is written to it")]
    CheckNeeded {
        /// What was found.
        what: String,
    },
    /// A complete transaction has lost its end: the mark that makes it valid is damaged.
    #[error(
        "the commit mark of transaction {segment} is damaged: repair it before anything is written"
    )]
    CommitDamaged {
        /// Which segment holds, or should hold, the mark.
        segment: u32,
    },
    /// The repository may not grow any more.
    #[error("the storage quota of {quota} bytes is exceeded ({used} bytes)")]
    QuotaExceeded {
        /// The limit.
        quota: u64,
        /// What this transaction would have made of it.
        used: u64,
    },
    /// The disk is too full to commit and still be able to free space later.
    #[error("not enough free space for a commit: {required} bytes needed, {available} bytes free")]
    NoSpace {
        /// Bytes that should be free.
        required: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// The repository only allows to add.
    #[error("{path} is append-only", path = path.display())]
    AppendOnly {
        /// Which repository.
        path: PathBuf,
    },
    /// The repository has used up its segment numbers.
    #[error("the repository has used up its segment numbers")]
    SegmentsUsedUp,
    /// The file that says which counter values are free is garbled.
    #[error("{path} does not hold a counter value", path = path.display())]
    NonceGarbled {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else has reserved counter values meanwhile.
    #[error("the free counter value is not the expected one")]
    NonceConflict,
    /// The system refused something.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// A verb: `open`, `read`, `sync`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no memory for something that takes much of it.
    #[error("not enough memory")]
    Memory {
        /// What the system said.
        source: io::Error,
    },
    /// The source of random numbers failed.
    #[error("no random numbers are to be had")]
    Random {
        /// What the system said.
        source: io::Error,
    },
    /// All counter values of the key have been used.
    #[error("the key has used up its counter values: a new repository is needed")]
    CountersUsedUp,
    /// The repository's mode is not known.
    #[error(transparent)]
    UnknownEncryption(#[from] UnknownEncryption),
    /// The key cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What was typed from paper is not the key.
    #[error("the key on paper was not typed as it stands there")]
    Paper {
        /// Which line to look at again.
        source: BadPaper,
    },
    /// The manifest cannot be trusted, or is not one.
    #[error(transparent)]
    Manifest(#[from] BadManifest),
    /// A stored object is not what it should be.
    #[error("object {id} is damaged")]
    Object {
        /// Which object.
        id: Id,
        /// What is wrong with it.
        source: BadObject,
    },
    /// The items of an archive are not well formed.
    #[error("the items of the archive are damaged")]
    Items {
        /// What is wrong with them.
        source: Malformed,
    },
    /// An archive object cannot be trusted, or is not one.
    #[error("the archive is damaged")]
    ArchiveTam {
        /// What is wrong with it.
        source: BadTam,
    },
    /// No archive has this name.
    #[error("there is no archive `{name}`")]
    NoArchive {
        /// Which name.
        name: BString,
    },
    /// An archive of this name exists.
    #[error("there is an archive `{name}` already")]
    ArchiveExists {
        /// Which name.
        name: BString,
    },
    /// No archive can be called so.
    #[error("`{name}` is no name for an archive: it must not be empty or hold `/` or `::`", name = name.escape_ascii())]
    ArchiveName {
        /// What it was to be called.
        name: BString,
    },
    /// A chunk is used that neither the cache nor an archive knows.
    #[error("chunk {id} is not known")]
    ChunkUnknown {
        /// Which chunk.
        id: Id,
    },
    /// Two contents have one id: one of them was not what the id says.
    #[error("chunk {id} has {found} bytes, but {known} bytes are known")]
    ChunkSize {
        /// Which chunk.
        id: Id,
        /// The size that is known.
        known: u32,
        /// The size of what came.
        found: u32,
    },
    /// A file was said to be known, and its content did not come; but it is not known.
    #[error("the content of {path} was not read")]
    ContentMissing {
        /// Which file.
        path: TreePath,
    },
    /// The archive was given up because of an earlier error.
    #[error("the archive was given up")]
    Stopped,
    /// What this machine remembers of the repository cannot be read or written.
    #[error("cannot read or write {path}", path = path.display())]
    LocalState {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The repository is not encrypted and was never seen by this machine.
    #[error("{location} is not encrypted and not known to this machine")]
    UnknownUnencrypted {
        /// Where it is.
        location: String,
    },
    /// The repository was last seen at another place.
    #[error("the repository at {location} was at {previous} before")]
    Relocated {
        /// Where it was.
        previous: String,
        /// Where it is.
        location: String,
    },
    /// The repository's key is of another type than it was.
    #[error("the repository at {location} has another type of key than before: it was replaced")]
    KeyTypeChanged {
        /// Where it is.
        location: String,
    },
    /// The repository shows an older state than this machine has seen.
    #[error(
        "the repository shows its state of {found}, but {remembered} was seen: it was rolled back"
    )]
    Replayed {
        /// Time of the newest manifest that was seen.
        remembered: String,
        /// Time of the manifest that is there.
        found: String,
    },
    /// The server does not let us reach that repository.
    #[error("the server does not give access to {path}")]
    PathNotAllowed {
        /// What was asked for.
        path: String,
    },
    /// The program that leads to another machine cannot be run.
    #[error("cannot run `{program}` to reach {location}")]
    Start {
        /// Which program: `ssh`, or what stands in its place.
        program: String,
        /// Which repository.
        location: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server has never answered: `ssh` did not get there, or no Borg runs there.
    #[error("no Borg server answers at {location}{said}", said = said_of(said))]
    NoServer {
        /// Which repository.
        location: String,
        /// What was said on the way there, line by line.
        said: String,
    },
    /// The connection to the server was lost. What was not committed is undone there.
    #[error("the connection to {location} was lost{said}", said = said_of(said))]
    ConnectionLost {
        /// Which repository.
        location: String,
        /// What was said last, line by line.
        said: String,
    },
    /// The server reports what has no name here.
    #[error("the server of {location} reports: {message}")]
    Remote {
        /// Which repository.
        location: String,
        /// In its words.
        message: String,
    },
    /// The server reports that something stored there is not what was written.
    #[error("the server of {location} reports damage: {message}")]
    DamagedThere {
        /// Which repository.
        location: String,
        /// In its words.
        message: String,
    },
    /// The server says what makes no sense.
    #[error("the server of {location} does not keep to the protocol: {what}")]
    Protocol {
        /// Which repository.
        location: String,
        /// What was received.
        what: String,
    },
    /// A tar file cannot be read or written, or is none.
    #[error("cannot read or write the tar file")]
    Tar {
        /// What is wrong.
        source: io::Error,
    },
    /// A file system cannot be mounted.
    #[error("cannot mount at {path}", path = path.display())]
    Mount {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// So many archives cannot be shown as one tree.
    #[error("more than 65536 archives cannot be shown as one tree")]
    TooManyArchives,
    /// As a server: the client's connection broke, or it sends what is no call.
    #[error("the connection to the client is broken")]
    Connection {
        /// What the system said.
        source: io::Error,
    },
}

fn said_of(said: &str) -> String {
    match said.trim() {
        "" => String::new(),
        said => format!(": {}", said.replace('\n', " | ")),
    }
}

impl Error {
    /// For `map_err`: says what was tried on which file.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

impl Error {
    /// Whether something that was stored is lost or is not what was written; other objects of the
    /// repository may be well.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::ObjectNotFound { .. }
                | Self::Damaged(_)
                | Self::DamagedThere { .. }
                | Self::Object { .. }
                | Self::Items { .. }
                | Self::ArchiveTam { .. }
                | Self::ChunkSize { .. }
        )
    }
}
