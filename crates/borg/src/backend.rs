//! The repository below archives, wherever it is.
//!
//! Archives, intake and caches speak to this and never ask where the bytes go. What only a
//! repository of this machine can tell is behind [`Backend::local`].

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::{
    Buffer, Compacted, Compaction, Error, Id, Location, OpenOptions, Remote, RemoteChanges,
    Repository, RepositoryOptions, RepositoryState, Transaction,
};

/// An open repository. Clones are the same one.
#[derive(Debug, Clone)]
pub enum Backend {
    /// In a folder of this machine.
    Local(Arc<Repository>),
    /// Behind SSH.
    Remote(Arc<Remote>),
}

/// What has been written to a repository and does not count before it is committed. Dropped
/// without that, it is undone.
#[derive(Debug)]
pub enum Changes {
    /// In a folder of this machine.
    Local(Transaction<Arc<Repository>>),
    /// Behind SSH. Objects are on their way when a method returns; what went wrong with one is
    /// the error of a later method, of the commit at the latest.
    Remote(RemoteChanges),
}

impl Backend {
    /// Makes a new, empty repository, which is open then.
    ///
    /// # Errors
    ///
    /// As [`Repository::create`]; those of the connection.
    pub fn create(
        location: &Location,
        new: &RepositoryOptions,
        options: &OpenOptions,
    ) -> Result<Self, Error> {
        match location {
            Location::Local(path) => {
                Repository::create(path, new)?;
                Self::open(location, options)
            }
            Location::Ssh(ssh) => Ok(Self::Remote(Arc::new(Remote::create(ssh, new, options)?))),
        }
    }

    /// Opens a repository.
    ///
    /// # Errors
    ///
    /// As [`Repository::open`]; those of the connection.
    pub fn open(location: &Location, options: &OpenOptions) -> Result<Self, Error> {
        Ok(match location {
            Location::Local(path) => Self::Local(Arc::new(Repository::open(path, options)?)),
            Location::Ssh(ssh) => Self::Remote(Arc::new(Remote::open(ssh, options)?)),
        })
    }

    /// Removes the locks of a repository, whoever holds them. For a person who knows that nobody
    /// uses it.
    ///
    /// # Errors
    ///
    /// As [`Repository::break_lock`]; those of the connection.
    pub fn break_lock(location: &Location, options: &OpenOptions) -> Result<(), Error> {
        match location {
            Location::Local(path) => Repository::break_lock(path),
            Location::Ssh(ssh) => Remote::break_lock(ssh, options),
        }
    }

    /// Removes the repository with all that is in it. Clones of this one must be gone.
    ///
    /// # Errors
    ///
    /// As [`Repository::destroy`].
    pub fn destroy(self) -> Result<(), Error> {
        match self {
            Self::Local(repository) => match Arc::into_inner(repository) {
                Some(repository) => repository.destroy(),
                None => Err(Error::TransactionOpen),
            },
            Self::Remote(remote) => remote.destroy(),
        }
    }

    /// The repository itself, when it is on this machine.
    #[must_use]
    pub fn local(&self) -> Option<&Arc<Repository>> {
        match self {
            Self::Local(repository) => Some(repository),
            Self::Remote(_) => None,
        }
    }

    /// Where it is; shown as the stock program writes it.
    #[must_use]
    pub fn location(&self) -> Location {
        match self {
            Self::Local(repository) => Location::Local(repository.path().to_owned()),
            Self::Remote(remote) => Location::Ssh(remote.location().clone()),
        }
    }

    /// What it is known by.
    #[must_use]
    pub fn id(&self) -> Id {
        match self {
            Self::Local(repository) => repository.id(),
            Self::Remote(remote) => remote.id(),
        }
    }

    /// The key blob that is kept in the repository, if it is.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub fn load_key(&self) -> Result<Option<String>, Error> {
        match self {
            Self::Local(repository) => Ok(repository.load_key()),
            Self::Remote(remote) => remote.load_key(),
        }
    }

    /// Replaces the key blob that is kept in the repository.
    ///
    /// # Errors
    ///
    /// As [`Repository::save_key`].
    pub fn save_key(&self, blob: &str) -> Result<(), Error> {
        match self {
            Self::Local(repository) => repository.save_key(blob),
            Self::Remote(remote) => remote.save_key(blob),
        }
    }

    /// Reads an object.
    ///
    /// # Errors
    ///
    /// As [`Repository::get`].
    pub fn get(&self, id: &Id) -> Result<Vec<u8>, Error> {
        match self {
            Self::Local(repository) => repository.get(id),
            Self::Remote(remote) => remote.get(id),
        }
    }

    /// Reads an object behind what stands in `buffer`; see [`Repository::append`].
    ///
    /// # Errors
    ///
    /// As [`Repository::append`].
    pub fn append(
        &self,
        id: &Id,
        csize: Option<usize>,
        buffer: &mut Buffer,
    ) -> Result<Range<usize>, Error> {
        match self {
            Self::Local(repository) => repository.append(id, csize, buffer),
            Self::Remote(remote) => {
                let start = buffer.len();
                buffer.extend_from_slice(&remote.get(id)?);
                Ok(start..buffer.len())
            }
        }
    }

    /// Says which objects will be read, in this order, after those that were named before; with
    /// their stored sizes, where they are known. Over a connection they are asked for ahead.
    pub fn prefetch(&self, objects: impl IntoIterator<Item = (Id, Option<usize>)>) {
        if let Self::Remote(remote) = self {
            remote.prefetch(objects);
        }
    }

    /// All objects, in the order in which they are stored: reading them in that order is the
    /// fastest.
    ///
    /// # Errors
    ///
    /// As [`Repository::ids_by_position`].
    pub fn ids(&self) -> Result<Vec<Id>, Error> {
        match self {
            Self::Local(repository) => {
                let ids = repository.ids_by_position()?.into_iter();
                Ok(ids.map(|(_, id)| id).collect())
            }
            Self::Remote(remote) => remote.ids(),
        }
    }

    /// The first counter value that nobody has reserved; `None` when nobody ever has.
    ///
    /// # Errors
    ///
    /// As [`Repository::get_free_nonce`].
    pub fn get_free_nonce(&self) -> Result<Option<u64>, Error> {
        match self {
            Self::Local(repository) => repository.get_free_nonce(),
            Self::Remote(remote) => remote.get_free_nonce(),
        }
    }

    /// Reserves all counter values below `next_free`.
    ///
    /// # Errors
    ///
    /// As [`Repository::commit_nonce_reservation`].
    pub fn commit_nonce_reservation(
        &self,
        next_free: u64,
        expected: Option<u64>,
    ) -> Result<(), Error> {
        match self {
            Self::Local(repository) => repository.commit_nonce_reservation(next_free, expected),
            Self::Remote(remote) => remote.commit_nonce_reservation(next_free, expected),
        }
    }

    /// Checks the checksums of a part of the repository: see [`Repository::check_for`].
    ///
    /// # Errors
    ///
    /// As [`Repository::check_for`]; those of the connection.
    pub fn check_for(
        &self,
        limit: Duration,
        progress: impl FnMut(usize, usize),
    ) -> Result<RepositoryState, Error> {
        Ok(match self {
            Self::Local(repository) => {
                RepositoryState::Local(repository.check_for(limit, progress)?)
            }
            Self::Remote(remote) => {
                // Only what it says from now on is about this.
                drop(remote.take_said());
                let is_good = remote.check_for(limit)?;
                let said = remote.take_said();
                RepositoryState::Remote { is_good, said }
            }
        })
    }

    /// Begins to write.
    ///
    /// # Errors
    ///
    /// As [`Repository::begin`].
    pub fn begin(&self) -> Result<Changes, Error> {
        Ok(match self {
            Self::Local(repository) => Changes::Local(Arc::clone(repository).begin_owned()?),
            Self::Remote(remote) => Changes::Remote(remote.begin()?),
        })
    }
}

impl Changes {
    /// Stores an object that [`frame_put`](crate::frame_put) has made an entry of.
    ///
    /// # Errors
    ///
    /// As [`Transaction::put_framed`].
    pub fn put_framed(&self, entry: &[u8]) -> Result<(), Error> {
        match self {
            Self::Local(transaction) => transaction.put_framed(entry).map(drop),
            Self::Remote(changes) => changes.put_framed(entry),
        }
    }

    /// Removes an object.
    ///
    /// # Errors
    ///
    /// As [`Transaction::delete`].
    pub fn delete(&self, id: &Id) -> Result<(), Error> {
        match self {
            Self::Local(transaction) => transaction.delete(id),
            Self::Remote(changes) => changes.delete(id),
        }
    }

    /// Removes objects; gives how many of them were not there.
    ///
    /// # Errors
    ///
    /// As [`Self::delete`], but for those that are not there.
    pub(crate) fn delete_all(&self, ids: &[Id]) -> Result<u64, Error> {
        let transaction = match self {
            Self::Local(transaction) => transaction,
            Self::Remote(changes) => return changes.delete_all(ids),
        };
        let mut missing = 0;
        for id in ids {
            match transaction.delete(id) {
                Ok(()) => {}
                Err(Error::ObjectNotFound { .. }) => missing += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(missing)
    }

    /// Makes everything that was written count. Gives the number of the transaction, where it can
    /// be known.
    ///
    /// # Errors
    ///
    /// As [`Transaction::commit`].
    pub fn commit(self, now: Timestamp) -> Result<Option<u32>, Error> {
        match self {
            Self::Local(transaction) => transaction.commit(now).map(Some),
            Self::Remote(changes) => changes.commit(None).map(|()| None),
        }
    }

    /// Commits, and frees the space of what does not count any more. Gives what that was, where
    /// it can be known.
    ///
    /// # Errors
    ///
    /// As [`Transaction::commit_and_compact`].
    pub fn commit_and_compact(
        self,
        options: &Compaction,
        now: Timestamp,
    ) -> Result<Option<Compacted>, Error> {
        self.commit_and_compact_watched(options, now, &mut |_, _| {})
    }

    /// The same, told before each segment: how many are done, of how many. A server tells by itself
    /// what it wants to tell.
    ///
    /// # Errors
    ///
    /// As [`Transaction::commit_and_compact`].
    pub fn commit_and_compact_watched(
        self,
        options: &Compaction,
        now: Timestamp,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Option<Compacted>, Error> {
        match self {
            Self::Local(transaction) => transaction
                .commit_and_compact_watched(options, now, progress)
                .map(Some),
            Self::Remote(changes) => changes.commit(Some(options)).map(|()| None),
        }
    }
}
