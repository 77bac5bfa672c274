//! The seam between the strategy and the formats: what a kind of layer must be able to do.
//!
//! The engine knows nothing of archives, chains or revisions. Each kind of layer has one adapter
//! that speaks [`Layer`]; the tests have one more that keeps everything in memory.

mod borg;
mod drop;
mod duplicity;
mod place;

pub use ::borg::{Exported, Mounted, TarFilter, TarForm, unmount};

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tree::{Entry, Restore, RestoreError, Step, TreePath};

use crate::event::ProblemRecord;
use crate::keys::Keys;
use crate::upkeep::{Repair, Upkeep};
use crate::{Machine, Selection, config, secret};

/// One open layer.
pub trait Layer: Send {
    /// The snapshots that can be restored, oldest first.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn snapshots(&mut self) -> Result<Vec<Snapshot>, Error>;

    /// What a snapshot says about itself.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or the snapshot is damaged.
    fn details(&mut self, snapshot: &Snapshot) -> Result<Details, Error>;

    /// Hands everything that stands in a snapshot to `receive`, in the order in which it was
    /// stored. Ends early when `receive` breaks.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or the snapshot is damaged. What came is good; with
    /// [`Error::is_damage`] it is all that can still be read, from behind the damage, too.
    fn entries(
        &mut self,
        snapshot: &Snapshot,
        receive: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), Error>;

    /// The content of a regular file in a snapshot.
    ///
    /// A further name of a file gives the content of that file.
    ///
    /// # Errors
    ///
    /// [`Error::NoFile`] when no regular file stands there. Reading fails when the content is
    /// damaged; it never ends early without an error.
    fn content<'a>(
        &'a mut self,
        snapshot: &Snapshot,
        path: &TreePath,
    ) -> Result<Box<dyn Read + 'a>, Error>;

    /// Restores the entries that are selected.
    ///
    /// Each entry that the [`admission`](Selection::admission) lets through, as it comes out of
    /// it, is placed under its number; the first has number 0, and unusable records have none. A
    /// further name of a file may have become its
    /// first: its content is wanted then. What is damaged is given up, with its reason, and the
    /// rest is restored. `on_step` hears how far it came, from any thread, and ends the restore
    /// early by breaking.
    ///
    /// # Errors
    ///
    /// When the snapshot cannot be read, and what [`Restore::place`] says. What
    /// [`entries`](Self::entries) calls damage is no error here: the plan has named it.
    fn restore(
        &mut self,
        snapshot: &Snapshot,
        selection: &Selection,
        restore: &Restore,
        on_step: &(dyn Fn(RestoreStep) -> ControlFlow<()> + Sync),
    ) -> Result<(), Error>;

    /// Begins a snapshot. Nothing of it can be seen until [`Intake::commit`].
    ///
    /// `on_step` hears of work that has to come first, where that is long, and ends it by breaking.
    ///
    /// # Errors
    ///
    /// When the store cannot be written, another program holds its lock, or it was ended.
    fn begin<'a>(
        &'a mut self,
        new: &NewSnapshot,
        on_step: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Box<dyn Intake + 'a>, Error>;

    /// Reads the layer back and checks it.
    ///
    /// `on_step` hears how far it came, and ends the check early by breaking.
    ///
    /// # Errors
    ///
    /// When the check itself cannot be made. What it finds is no error but a
    /// [`Verification::findings`].
    fn verify(
        &mut self,
        depth: Depth,
        on_step: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Verification, Error>;

    /// Reads a part of the store back for about so long, from where the last such verification has
    /// stopped, and checks its checksums.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a kind that cannot; when the check itself cannot be made.
    fn verify_for(
        &mut self,
        _limit: Duration,
        _on_step: &mut dyn FnMut(VerifyStep),
    ) -> Result<PartVerified, Error> {
        Err(Error::Unsupported {
            what: "be verified in parts",
        })
    }

    /// What keeps the layer in order over the years, if its kind can do that here.
    fn upkeep(&mut self) -> Option<&mut dyn Upkeep> {
        None
    }

    /// Writes the entries of a snapshot that are selected as a tar file.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a kind that cannot; when the snapshot is damaged or the output
    /// cannot be written: what was written is no whole tar file then.
    fn export_tar(
        &mut self,
        _snapshot: &Snapshot,
        _form: TarForm,
        _selection: &Selection,
        _output: &mut dyn io::Write,
    ) -> Result<Exported, Error> {
        Err(Error::Unsupported {
            what: "export tar files",
        })
    }

    /// Makes a snapshot of a tar file. Nothing of it can be seen before it is whole.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a kind that cannot; when the input is no whole tar file.
    fn import_tar(
        &mut self,
        _new: &NewSnapshot,
        _input: &mut dyn Read,
    ) -> Result<(Statistics, LeftOut), Error> {
        Err(Error::Unsupported {
            what: "import tar files",
        })
    }

    /// Shows snapshots as a file system.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a kind that cannot; when the system does not let it be mounted.
    fn mount(
        self: Box<Self>,
        _shown: &Shown,
        _mount_point: &Path,
        _allow_other: bool,
    ) -> Result<Mounted, Error> {
        Err(Error::Unsupported { what: "be mounted" })
    }
}

/// Members of a tar file that a snapshot has no form for, by path, and why.
pub type LeftOut = Vec<(bstr::BString, String)>;

/// Which snapshots a file system shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// One: its files are at the mount point.
    One(Snapshot),
    /// All: a folder for each.
    All,
    /// All as one tree, in which each file is a folder with its versions.
    Versions,
}

/// Takes in one snapshot, step by step.
///
/// It is shared with the threads that read ahead, which ask [`wants`](Intake::wants); one thread
/// at a time calls [`take`](Intake::take), in scan order. Dropped without a commit it leaves the
/// layer as it was.
pub trait Intake: Send + Sync {
    /// Whether the content of this regular file is needed, or known to stand in the layer.
    ///
    /// The answer holds for the whole intake: asked again about the same entry, it is the same.
    fn wants(&self, entry: &Entry) -> bool;

    /// Takes the next step. The content of a file that it did not want does not come.
    ///
    /// # Errors
    ///
    /// When the layer cannot go on; it gets no further steps and is asked for its
    /// [`failure`](Self::failure).
    fn take(&self, step: Step) -> Result<(), Error>;

    /// What the snapshot will be called, where the format knows no names and gives its own.
    fn snapshot(&self) -> Option<String> {
        None
    }

    /// Earlier snapshots that were found damaged at the beginning, by their names. Nobody looked
    /// for them: that others are not among them says nothing.
    fn damaged(&self) -> Vec<String> {
        Vec::new()
    }

    /// Why [`take`](Self::take) failed, when the reason lies deeper than the step at which it
    /// showed: writers that work ahead fail behind the back of who hands them steps.
    fn failure(self: Box<Self>, shown: Error) -> Error {
        shown
    }

    /// Makes the snapshot stand: when this returns, it can be restored.
    ///
    /// # Errors
    ///
    /// When it does not stand. All earlier snapshots do.
    fn commit(self: Box<Self>, now: Timestamp) -> Result<Committed, Error>;
}

/// What an opened layer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Looking and restoring. Takes no lock that would keep others from writing for long.
    Read,
    /// Like [`Access::Read`], with nothing but what a new machine would have: no cache, and no
    /// memory of the layer.
    Cold,
    /// Adding snapshots too.
    Write,
    /// Like [`Access::Write`], for a layer that is not there yet: it is created. One that is
    /// there is an error.
    Create,
}

/// Opens a layer of this machine's configuration, or creates it.
///
/// # Errors
///
/// When this version cannot run the layer, its passphrase cannot be had, or its store says no.
pub fn open(
    layer: &config::Layer,
    access: Access,
    machine: &Machine,
) -> Result<Box<dyn Layer>, Error> {
    if access == Access::Cold {
        let cold = machine
            .places
            .cache
            .join("drill")
            .join(&layer.name)
            .join("cold");
        return open(layer, Access::Read, &machine.without_caches(&cold));
    }
    if !layer.is_runnable() && matches!(layer.kind, config::Kind::Borg { .. }) {
        return Err(Error::StoreNotRunnable {
            store: layer.store.clone(),
        });
    }
    match &layer.kind {
        config::Kind::Borg {
            encryption,
            compression,
            lock_wait,
        } => borg::open(layer, *encryption, compression, *lock_wait, access, machine),
        config::Kind::Duplicity(settings) => duplicity::open(layer, settings, access, machine),
        config::Kind::Drop {
            folder: Some(folder),
            ..
        } => drop::open(layer, folder, access, machine),
        config::Kind::Drop { folder: None, .. } => Err(Error::NoFolder),
    }
}

/// Who keeps others from a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locked {
    /// Nobody.
    No,
    /// This program, as `host:process`.
    By(String),
    /// This one did, and its lock was broken.
    Broken(String),
}

/// Looks who keeps others from writing to a layer, and with `force` breaks the lock. That of a
/// program that died on this machine goes by itself.
///
/// Layers that only this machine writes to have locks that end with their process: there is
/// nothing to break.
///
/// # Errors
///
/// When it cannot be opened for another reason.
pub fn unlock(layer: &config::Layer, force: bool, machine: &Machine) -> Result<Locked, Error> {
    match &layer.kind {
        config::Kind::Borg { encryption, .. } => borg::unlock(layer, *encryption, force, machine),
        _ => Ok(Locked::No),
    }
}

/// Opens a layer to examine and mend it, in whatever state it is. With `trusted`, it was moved or
/// set back to an older state on purpose.
///
/// # Errors
///
/// When it cannot be opened even so, or layers of its kind cannot be mended.
pub fn open_damaged(
    layer: &config::Layer,
    write: bool,
    trusted: bool,
    machine: &Machine,
) -> Result<Box<dyn Repair>, Error> {
    match &layer.kind {
        config::Kind::Borg {
            encryption,
            lock_wait,
            ..
        } if layer.is_runnable() => {
            borg::open_damaged(layer, *encryption, *lock_wait, write, trusted, machine)
        }
        config::Kind::Drop {
            folder: Some(folder),
            ..
        } => drop::open_damaged(layer, folder, write, machine),
        config::Kind::Duplicity(settings) if layer.is_runnable() => {
            duplicity::open_damaged(layer, settings, machine)
        }
        _ => Err(Error::Unsupported {
            what: "be repaired",
        }),
    }
}

/// The key of a layer.
///
/// # Errors
///
/// When its passphrase cannot be had, or layers of its kind have no key of their own.
pub fn keys(layer: &config::Layer, machine: &Machine) -> Result<Box<dyn Keys>, Error> {
    match &layer.kind {
        config::Kind::Borg {
            encryption,
            lock_wait,
            ..
        } if layer.is_runnable() => borg::keys(layer, *encryption, *lock_wait, machine),
        _ => Err(Error::Unsupported {
            what: "have a key of their own: the passphrase alone opens them, so keep copies of that",
        }),
    }
}

/// A snapshot to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Its name; no other of the layer may have it.
    pub name: String,
    /// When the run began.
    pub time: Timestamp,
    /// The machine.
    pub host: String,
    /// Who runs the program.
    pub user: String,
    /// The configuration file, for kinds that are not fed with it; `None` where it must not leave
    /// this machine.
    pub configuration: Option<String>,
}

/// One point in time that a layer can restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// What it is called; unlike any other of its layer.
    pub name: String,
    /// What the format calls it.
    pub id: String,
    /// When it was made.
    pub time: Timestamp,
}

/// What a snapshot says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Details {
    /// The machine that it was made on.
    pub host: String,
    /// Who made it.
    pub user: String,
    /// When it was finished, as far as that is kept.
    pub finished: Option<Timestamp>,
    /// Regular files.
    pub files: u64,
    /// Bytes of content.
    pub bytes: u64,
}

/// One object in a snapshot, or a record that cannot be used.
pub type Found = Result<Item, Unusable>;

/// A record of which no object can be made: its path leads elsewhere, or it is of no known kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The path as recorded.
    pub recorded: Vec<u8>,
    /// What is wrong with it.
    pub what: String,
}

/// One object in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The object. A further name of a file has the size of its content.
    pub entry: Entry,
    /// Equal for two files of one layer whose content is the same, and as good as never for
    /// others. `None` for anything without content of its own.
    pub content: Option<Fingerprint>,
}

/// Stands for the content of a file inside one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

/// A snapshot that stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// What it took.
    pub statistics: Statistics,
    /// What of it could not be handled, besides what could not be read of the sources.
    pub problems: Vec<ProblemRecord>,
    /// What it is called, where that is known only now.
    pub snapshot: Option<String>,
}

impl From<Statistics> for Committed {
    fn from(statistics: Statistics) -> Self {
        Self {
            statistics,
            ..Self::default()
        }
    }
}

/// What a new snapshot took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Statistics {
    /// Regular files in the snapshot.
    pub files: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// Bytes that were added to the store: new content after compression and encryption.
    pub added_bytes: u64,
}

/// How deep a verification goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Depth {
    /// Everything that is needed to restore is there.
    Structure,
    /// Every byte was read back and is what was written.
    Data,
}

/// How far a verification, a repair or what comes before a backup has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyStep {
    /// What is being done, as a phrase.
    pub phase: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// How much there is to do; 0 when that is not known.
    pub total: u64,
}

/// How far a restore came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreStep {
    /// Bytes of content that were written.
    pub bytes: u64,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Verification {
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Stored objects that were looked at.
    pub objects: u64,
    /// Bytes that were read back.
    pub read_bytes: u64,
    /// What is wrong, one sentence each; empty when all is well.
    pub findings: Vec<String>,
    /// Whether it was ended before it had seen everything.
    pub stopped: bool,
}

/// What a verification of a part found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PartVerified {
    /// Files of the store that were read; `None` where only a server knows.
    pub files: Option<u64>,
    /// Bytes that were read back; `None` where only a server knows.
    pub read_bytes: Option<u64>,
    /// Whether it came to the end, so that the next one begins anew; `None` where only a server
    /// knows.
    pub to_the_end: Option<bool>,
    /// What is wrong, one sentence each; empty when all is well.
    pub findings: Vec<String>,
}

/// Why a layer cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The layer is worked by the verbs for drop folders alone.
    #[error("the layer names no `folder` of this machine to be kept in step with its store")]
    NoFolder,
    /// This version cannot reach this store yet.
    #[error(
        "the store `{store}` cannot be reached yet: only folders of this machine and places behind SSH can"
    )]
    StoreNotRunnable {
        /// The store, as configured.
        store: String,
    },
    /// The configuration says that the layer keeps a secret, and it does not.
    #[error("the repository is not encrypted, although the configuration says `{configured}`")]
    NotEncrypted {
        /// The mode of the configuration.
        configured: String,
    },
    /// Layers of this kind cannot do this.
    #[error("layers of this kind cannot {what}")]
    Unsupported {
        /// What was asked for, as a verb with its object.
        what: &'static str,
    },
    /// Other snapshots stand on it.
    #[error("snapshot `{name}` cannot be removed alone: {why}")]
    Needed {
        /// Which snapshot.
        name: String,
        /// What needs it.
        why: &'static str,
    },
    /// Nothing stands at the store.
    #[error("there is no layer at {store} yet")]
    NotCreated {
        /// The store, as configured.
        store: String,
    },
    /// The passphrase cannot be had.
    #[error("the passphrase cannot be fetched")]
    Secret(#[from] secret::Error),
    /// No snapshot answers to this name.
    #[error("there is no snapshot `{name}`")]
    NoSnapshot {
        /// What was asked for.
        name: String,
    },
    /// No snapshot is that old.
    #[error("no snapshot is from {until} or before")]
    NoneSoOld {
        /// The time that was asked for, on this machine's calendar.
        until: String,
    },
    /// No regular file of this path is in the snapshot.
    #[error("no file {path} stands in snapshot `{snapshot}`")]
    NoFile {
        /// Which path.
        path: TreePath,
        /// Which snapshot.
        snapshot: String,
    },
    /// The repository says no.
    #[error(transparent)]
    Borg(#[from] ::borg::Error),
    /// The archive says no.
    #[error(transparent)]
    Duplicity(Box<::duplicity::Error>),
    /// The drop folder says no.
    #[error(transparent)]
    Drop(Box<::drop::Error>),
    /// The store says no.
    #[error("the store cannot be used")]
    Store(#[source] Box<store::Error>),
    /// The store is written in no form that is known.
    #[error("the store is none that is known")]
    Location(#[from] store::BadLocation),
    /// What ended a restore.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The system refused something.
    #[error("cannot {action}")]
    Io {
        /// What was tried, as a verb with its object.
        action: String,
        /// What the system says.
        source: io::Error,
    },
    /// The code of the layer broke an assumption of its own. A bug, in this layer only.
    #[error("the code of this layer panicked")]
    Panicked,
}

impl Error {
    /// Whether something that was stored is lost or is not what was written; other things in the
    /// same layer may be well.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Borg(error) => error.is_damage(),
            Self::Duplicity(error) => error.is_damage(),
            Self::Drop(error) => {
                use ::drop::Error as E;
                matches!(**error, E::Index { .. } | E::Missing { .. })
            }
            _ => false,
        }
    }
}

impl From<::duplicity::Error> for Error {
    fn from(error: ::duplicity::Error) -> Self {
        Self::Duplicity(Box::new(error))
    }
}

impl From<::drop::Error> for Error {
    fn from(error: ::drop::Error) -> Self {
        Self::Drop(Box::new(error))
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(Box::new(error))
    }
}
