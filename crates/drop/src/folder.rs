//! A drop folder: plain files with their history.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use store::{
    Content as _, DigestKind, Environment, Hasher, Location, Name, Spool, SpoolError, Store,
};

use crate::hidden::{self, Hidden};
use crate::keeping::{Keeping, Waiter};
use crate::revisions::Revisions;
use crate::{
    Change, Damage, Device, Error, Mended, Outcome, Problem, Rule, Version, VersionId, What,
};

/// What of a file is held in memory on its way to the store: 4 MiB.
const MEMORY_MAX: usize = 4 << 20;

/// How often one file's change is made anew when other devices change it at the same time.
const ATTEMPTS: u32 = 20;

/// So many files of one name, told apart by numbers, are kept beside each other at most.
const BESIDE_MAX: u32 = 10_000;

/// A folder of plain files at a store, with every version of each.
pub struct Folder {
    pub(crate) keeping: Box<dyn Keeping>,
    spool: PathBuf,
}

/// Versions that a rule does not keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThinPlan {
    /// Which, by path and then oldest first.
    pub versions: Vec<Version>,
    /// How many bytes these versions have; copies that other versions need, too, stay.
    pub bytes: u64,
}

/// What was thinned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Thinned {
    /// Versions that are no longer kept.
    pub versions: u64,
    /// Bytes that were deleted at the store.
    pub bytes: u64,
}

impl Folder {
    /// Opens the drop folder at a location; `None` when none has been created there.
    ///
    /// On Dropbox its own revisions are the history, and there is nothing to create. `state` is a folder of this machine where
    /// this device remembers what spares it work; it may be deleted at any time.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the index is damaged or too new.
    pub fn open(
        location: &Location,
        environment: &Environment,
        device: &Device,
        state: Option<&Path>,
    ) -> Result<Option<Self>, Error> {
        if let Location::Dropbox { account, path } = location {
            let revisions = Revisions::open(account.as_deref(), path, environment)?;
            return Ok(Some(Self {
                keeping: Box::new(revisions),
                spool: spool_folder(environment),
            }));
        }
        let store = store::open(location, environment)?;
        // B2 settles afterwards who was first: for a moment the loser's bytes can be read.
        let exclusive = store.capabilities().create && !matches!(location, Location::B2 { .. });
        Self::with(store, environment, device, state, exclusive)
    }

    /// Opens a drop folder with a history of our own on a store.
    ///
    /// # Errors
    ///
    /// As [`Folder::open`].
    pub fn on(
        store: Arc<dyn Store>,
        environment: &Environment,
        device: &Device,
        state: Option<&Path>,
    ) -> Result<Option<Self>, Error> {
        let exclusive = store.capabilities().create;
        Self::with(store, environment, device, state, exclusive)
    }

    fn with(
        store: Arc<dyn Store>,
        environment: &Environment,
        device: &Device,
        state: Option<&Path>,
        exclusive: bool,
    ) -> Result<Option<Self>, Error> {
        let hidden = Hidden::open(store, environment, device.clone(), state, exclusive)?;
        Ok(hidden.map(|hidden| Self {
            keeping: Box::new(hidden),
            spool: spool_folder(environment),
        }))
    }

    /// Creates a drop folder. Files that stand at the store become its first files at the next
    /// [`adopt`](Self::adopt).
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](store::ErrorKind::AlreadyExists) when there is one.
    pub fn create(store: &dyn Store, environment: &Environment) -> Result<(), Error> {
        Hidden::create(store, environment)
    }

    /// Which folder this is, from whatever device.
    #[must_use]
    pub fn id(&self) -> &str {
        self.keeping.id()
    }

    /// How contents are told apart: SHA-256, or Dropbox's content hash.
    #[must_use]
    pub fn digest_kind(&self) -> DigestKind {
        self.keeping.digest_kind()
    }

    /// Learns what other devices have changed.
    ///
    /// # Errors
    ///
    /// When the store cannot be read; [`Error::OtherFolder`] when the folder is not there any more.
    pub fn refresh(&mut self, now: Timestamp) -> Result<(), Error> {
        self.keeping.refresh(now)
    }

    /// Takes in what somebody changed at the store by hand, and mends plain files that are behind.
    /// Gives the files that were changed by hand. Files for which `ignored` says so are left out.
    ///
    /// # Errors
    ///
    /// When the store says no. What was taken in stays.
    pub fn adopt(
        &mut self,
        now: Timestamp,
        ignored: &dyn Fn(&Name) -> bool,
    ) -> Result<Vec<Name>, Error> {
        self.keeping.adopt(now, ignored)
    }

    /// The files, in the order of their paths.
    #[must_use]
    pub fn list(&self) -> Vec<Version> {
        self.keeping.present()
    }

    /// One file's present version.
    #[must_use]
    pub fn present(&self, path: &Name) -> Option<Version> {
        self.keeping.live(path)
    }

    /// Puts a file there, or a new version of it.
    ///
    /// The bytes are read once and held aside, in memory or in a file without a name: what is
    /// stored is what was hashed, whoever writes to the original meanwhile.
    ///
    /// # Errors
    ///
    /// When the content cannot be read or the store says no.
    pub fn put(
        &mut self,
        path: &Name,
        content: impl Read,
        modified: Timestamp,
        now: Timestamp,
    ) -> Result<VersionId, Error> {
        hidden::check(path)?;
        let (spool, hash) = self.hold(content).map_err(|error| not_held(error, path))?;
        for _ in 0..ATTEMPTS {
            let change = Change {
                path: path.clone(),
                base: self.present(path).map(|version| version.id),
                what: What::Put {
                    content: &spool,
                    hash: hash.clone(),
                    modified,
                },
            };
            if let Some(id) = self.make(change, now)? {
                return Ok(id);
            }
        }
        Err(Error::Conflict { name: path.clone() })
    }

    /// Puts a file into a folder under this name, or, where one stands, beside it: `a (2).txt`.
    /// Gives where it is. A file that another device puts there meanwhile is not replaced either.
    ///
    /// # Errors
    ///
    /// When the content cannot be read or the store says no.
    pub(crate) fn put_beside(
        &mut self,
        to: &Name,
        file_name: &str,
        content: impl Read,
        now: Timestamp,
    ) -> Result<Name, Error> {
        let (stem, ending) = match file_name.rsplit_once('.') {
            Some((stem, ending)) if !stem.is_empty() => (stem, format!(".{ending}")),
            _ => (file_name, String::new()),
        };
        let mut path = hidden::name(&format!("{to}/{file_name}"))?;
        hidden::check(&path)?;
        let (spool, hash) = self.hold(content).map_err(|error| not_held(error, &path))?;
        for number in 2..BESIDE_MAX {
            if self.present(&path).is_none() {
                let change = Change {
                    path: path.clone(),
                    base: None,
                    what: What::Put {
                        content: &spool,
                        hash: hash.clone(),
                        modified: now,
                    },
                };
                if self.make(change, now)?.is_some() {
                    return Ok(path);
                }
            }
            path = hidden::name(&format!("{to}/{stem} ({number}){ending}"))?;
        }
        Err(Error::Conflict { name: path })
    }

    /// Deletes a file. Its versions stay.
    ///
    /// # Errors
    ///
    /// [`Error::NoFile`] when there is none.
    pub fn remove(&mut self, path: &Name, now: Timestamp) -> Result<VersionId, Error> {
        for _ in 0..ATTEMPTS {
            let present = self.present(path);
            let base = present.ok_or_else(|| Error::NoFile { name: path.clone() })?;
            let change = Change {
                path: path.clone(),
                base: Some(base.id),
                what: What::Delete,
            };
            if let Some(id) = self.make(change, now)? {
                return Ok(id);
            }
        }
        Err(Error::Conflict { name: path.clone() })
    }

    fn make(&mut self, change: Change<'_>, now: Timestamp) -> Result<Option<VersionId>, Error> {
        match self.commit(&[change], now)?.pop() {
            Some(Outcome::Done(id)) => Ok(Some(id)),
            Some(Outcome::Refused(error)) => Err(error.into()),
            Some(Outcome::Conflict) | None => {
                self.refresh(now)?;
                Ok(None)
            }
        }
    }

    /// Makes changes, each only if its file is still what the change was made upon.
    ///
    /// # Errors
    ///
    /// When the store says no. Each change is then made wholly or not at all; a refresh tells.
    pub fn commit(
        &mut self,
        changes: &[Change<'_>],
        now: Timestamp,
    ) -> Result<Vec<Outcome>, Error> {
        self.keeping.commit(changes, now)
    }

    /// All versions of a file, oldest first, those that lost a race included.
    ///
    /// # Errors
    ///
    /// [`Error::NoFile`] when it never had one.
    pub fn history(&mut self, path: &Name) -> Result<Vec<Version>, Error> {
        let versions = self.keeping.history(path)?;
        if versions.is_empty() {
            return Err(Error::NoFile { name: path.clone() });
        }
        Ok(versions)
    }

    /// One version of a file.
    ///
    /// # Errors
    ///
    /// [`Error::NoVersion`] when there is none of that name.
    pub fn version(&mut self, path: &Name, id: &VersionId) -> Result<Version, Error> {
        let found = self.history(path)?.into_iter().find(|is| is.id == *id);
        found.ok_or_else(|| Error::NoVersion {
            name: path.clone(),
            version: id.clone(),
        })
    }

    /// Begins to read a version. The body fails at its end when the bytes are not those that were
    /// stored.
    ///
    /// # Errors
    ///
    /// [`Error::NoVersion`] when it is a deletion or no longer kept.
    pub fn read(&mut self, version: &Version) -> Result<impl Read + Send + use<>, Error> {
        let content = version.content().ok_or_else(|| Error::NoVersion {
            name: version.path.clone(),
            version: version.id.clone(),
        })?;
        let reading = self.keeping.read(version)?;
        Ok(Checked {
            body: reading.body,
            hasher: Some(Hasher::new(self.digest_kind())),
            expected: content.hash.clone(),
            name: version.path.clone(),
        })
    }

    /// The deletion of each deleted file, by path.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn deleted(&mut self) -> Result<Vec<Version>, Error> {
        self.keeping.deleted()
    }

    /// The files as they were at a time.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn as_of(&mut self, time: Timestamp) -> Result<Vec<Version>, Error> {
        self.keeping.as_of(time)
    }

    /// When something changed, in no order; a moment may come several times. On Dropbox, only when
    /// the present files came to be.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn moments(&mut self) -> Result<Vec<Timestamp>, Error> {
        self.keeping.moments()
    }

    /// Makes an old version the present one. That is a new version: nothing is taken away.
    ///
    /// # Errors
    ///
    /// [`Error::NoVersion`] when it is a deletion or no longer kept.
    pub fn restore(&mut self, version: &Version, now: Timestamp) -> Result<VersionId, Error> {
        for _ in 0..ATTEMPTS {
            match self.keeping.restore(version, now)? {
                Outcome::Done(id) => return Ok(id),
                Outcome::Refused(error) => return Err(error.into()),
                Outcome::Conflict => self.refresh(now)?,
            }
        }
        Err(Error::Conflict {
            name: version.path.clone(),
        })
    }

    /// The last content of a deleted file, to be restored.
    ///
    /// # Errors
    ///
    /// [`Error::NoFile`] when no content of it is kept.
    pub fn last_content(&mut self, path: &Name) -> Result<Version, Error> {
        let versions = self.history(path)?;
        let last = versions
            .into_iter()
            .rev()
            .find(|version| version.content().is_some() && !version.lost);
        last.ok_or_else(|| Error::NoFile { name: path.clone() })
    }

    /// Which versions a rule does not keep.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] on Dropbox, which thins its revisions by itself.
    pub fn thin_plan(&mut self, rule: &Rule, now: Timestamp) -> Result<ThinPlan, Error> {
        self.keeping.thin_plan(rule, now)
    }

    /// Lets versions go and deletes the copies that nothing needs any more, those of interrupted
    /// changes included.
    ///
    /// # Errors
    ///
    /// When the store says no. Doing it again does the rest.
    pub fn thin(&mut self, plan: &ThinPlan, now: Timestamp) -> Result<Thinned, Error> {
        self.keeping.thin(plan, now)
    }

    /// Reads every kept copy back and compares it with its checksum. Gives what is wrong.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn verify(&mut self) -> Result<Vec<Problem>, Error> {
        self.keeping.verify()
    }

    /// Looks for damage: copies that are missing or of another size, and with `data` copies and plain files
    /// that hold something else. `on_step` hears how many copies were read of how many.
    ///
    /// # Errors
    ///
    /// When the store cannot be read; [`Error::Stopped`]; [`Error::Unsupported`] on Dropbox.
    pub fn examine(
        &mut self,
        data: bool,
        on_step: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Damage, Error> {
        self.keeping.examine(data, on_step)
    }

    /// Says whether these bytes are a content, and if so puts its lost copies back, if `keep` says so.
    /// A content that cannot be read to its end is another one.
    ///
    /// # Errors
    ///
    /// When there is no room for it, or the store says no.
    pub fn offer(&mut self, hash: &str, content: impl Read, keep: bool) -> Result<bool, Error> {
        if !keep {
            let digest = hidden::digest(content, self.digest_kind());
            return Ok(digest.is_ok_and(|(is, _)| *is == *hash));
        }
        let (spool, is) = match self.hold(content) {
            Err(SpoolError::Stream(_)) => return Ok(false),
            Err(SpoolError::Hold { folder, source }) => {
                return Err(Error::cannot_hold(folder, source));
            }
            Ok(held) => held,
        };
        if *is != *hash {
            return Ok(false);
        }
        self.keeping.put_back(hash, &spool)?;
        Ok(true)
    }

    /// Mends what [`examine`](Self::examine) found, but for the contents that were put back since: copies
    /// come from plain files that still have the content, plain files from copies that are whole. A damaged
    /// copy that is nowhere else is set aside.
    ///
    /// # Errors
    ///
    /// When the store says no. What was whole is whole then, and it can be done again.
    pub fn mend(
        &mut self,
        damage: &Damage,
        put_back: &BTreeSet<Box<str>>,
        now: Timestamp,
    ) -> Result<Mended, Error> {
        self.keeping.mend(damage, put_back, now)
    }

    /// What went wrong with single files since the last call.
    pub fn take_problems(&mut self) -> Vec<Problem> {
        self.keeping.take_problems()
    }

    /// Writes down what spares this device work the next time.
    ///
    /// # Errors
    ///
    /// When the state folder cannot be written.
    pub fn save(&mut self) -> Result<(), Error> {
        self.keeping.save()
    }

    /// Where the bytes are.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        self.keeping.store()
    }

    /// The Dropbox, where its own revisions, links and requests are used.
    #[must_use]
    pub fn dropbox(&self) -> Option<&store::Dropbox> {
        self.keeping.dropbox()
    }

    /// What waits until the service tells that something was changed since the last
    /// [refresh](Self::refresh), in whatever thread; `None` where the service cannot tell.
    #[must_use]
    pub fn waiter(&self) -> Option<Waiter> {
        self.keeping.waiter()
    }

    /// Reads a content once: what is held aside, and its checksum.
    pub(crate) fn hold(&self, content: impl Read) -> Result<(Spool, Box<str>), SpoolError> {
        let spool = Spool::collect(content, MEMORY_MAX, &self.spool)?;
        let digest = |spool: &Spool| hidden::digest(spool.open(0)?, self.digest_kind());
        let (hash, _) = digest(&spool).map_err(|source| SpoolError::Hold {
            folder: self.spool.clone(),
            source,
        })?;
        Ok((spool, hash))
    }
}

/// Why a content that was to stand under this name is not held aside.
pub(crate) fn not_held(error: SpoolError, name: &Name) -> Error {
    match error {
        SpoolError::Stream(error) => {
            Error::Store(store::Error::from_io(error, store::Operation::Read, name))
        }
        SpoolError::Hold { folder, source } => Error::cannot_hold(folder, source),
    }
}

/// Where contents are held that are too large for memory.
pub(crate) fn spool_folder(environment: &Environment) -> PathBuf {
    let folder = environment.state.clone();
    let folder = folder.filter(|folder| std::fs::create_dir_all(folder).is_ok());
    folder.unwrap_or_else(std::env::temp_dir)
}

/// Compares with the checksum at the end.
struct Checked {
    body: Box<dyn Read + Send>,
    hasher: Option<Hasher>,
    expected: Box<str>,
    name: Name,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.body.read(buffer)?;
        if count > 0 {
            if let (Some(hasher), Some(bytes)) = (&mut self.hasher, buffer.get(..count)) {
                hasher.update(bytes);
            }
        } else if let Some(hasher) = self.hasher.take()
            && *hasher.finish().to_hex() != *self.expected
        {
            let error = store::Error::new(store::ErrorKind::Corrupt, store::Operation::Read)
                .on(&self.name)
                .because("the kept copy is not what was stored");
            return Err(error.into());
        }
        Ok(count)
    }
}
