//! The repository below archives, wherever it is.
//!
//! Archives, intake and caches speak to this and never ask where the bytes go. What only a
//! repository of this machine can tell is behind [`Backend::local`].

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    Buffer, Compacted, Compaction, Error, Id, OpenOptions, Repository, RepositoryOptions,
    Transaction,
};

/// An open repository. Clones are the same one.
#[derive(Debug, Clone)]
pub enum Backend {
    /// In a folder of this machine.
    Local(Arc<Repository>),
}

/// What has been written to a repository and does not count before it is committed. Dropped
/// without that, it is undone.
#[derive(Debug)]
pub enum Changes {
    /// In a folder of this machine.
    Local(Transaction<Arc<Repository>>),
}

impl Backend {
    /// Makes a new, empty repository.
    pub(crate) fn create(path: &Path, options: &RepositoryOptions) -> Result<(), Error> {
        Repository::create(path, options)
    }

    /// Opens a repository.
    pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Self, Error> {
        Ok(Self::Local(Arc::new(Repository::open(path, options)?)))
    }

    /// The repository itself, when it is on this machine.
    #[must_use]
    pub fn local(&self) -> Option<&Arc<Repository>> {
        let Self::Local(repository) = self;
        Some(repository)
    }

    /// Where it is, as the stock program writes it.
    #[must_use]
    pub fn location(&self) -> String {
        let Self::Local(repository) = self;
        repository.path().to_string_lossy().into_owned()
    }

    /// What it is known by.
    #[must_use]
    pub fn id(&self) -> Id {
        let Self::Local(repository) = self;
        repository.id()
    }

    /// The key blob that is kept in the repository, if it is.
    ///
    /// # Errors
    ///
    /// Those of the way there.
    pub fn load_key(&self) -> Result<Option<String>, Error> {
        let Self::Local(repository) = self;
        Ok(repository.load_key())
    }

    /// Replaces the key blob that is kept in the repository.
    ///
    /// # Errors
    ///
    /// As [`Repository::save_key`].
    pub fn save_key(&self, blob: &str) -> Result<(), Error> {
        let Self::Local(repository) = self;
        repository.save_key(blob)
    }

    /// Reads an object.
    ///
    /// # Errors
    ///
    /// As [`Repository::get`].
    pub fn get(&self, id: &Id) -> Result<Vec<u8>, Error> {
        let Self::Local(repository) = self;
        repository.get(id)
    }

    /// Reads an object into memory that can be used again.
    ///
    /// # Errors
    ///
    /// As [`Repository::get_into`].
    pub fn get_into<'b>(
        &self,
        id: &Id,
        csize: Option<usize>,
        buffer: &'b mut Buffer,
    ) -> Result<&'b [u8], Error> {
        let Self::Local(repository) = self;
        repository.get_into(id, csize, buffer)
    }

    /// All objects, in the order in which they are stored: reading them in that order is the
    /// fastest.
    ///
    /// # Errors
    ///
    /// As [`Repository::ids_by_position`].
    pub fn ids(&self) -> Result<Vec<Id>, Error> {
        let Self::Local(repository) = self;
        let ids = repository.ids_by_position()?.into_iter();
        Ok(ids.map(|(_, id)| id).collect())
    }

    /// The first counter value that nobody has reserved; `None` when nobody ever has.
    ///
    /// # Errors
    ///
    /// As [`Repository::get_free_nonce`].
    pub fn get_free_nonce(&self) -> Result<Option<u64>, Error> {
        let Self::Local(repository) = self;
        repository.get_free_nonce()
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
        let Self::Local(repository) = self;
        repository.commit_nonce_reservation(next_free, expected)
    }

    /// Begins to write.
    ///
    /// # Errors
    ///
    /// As [`Repository::begin`].
    pub fn begin(&self) -> Result<Changes, Error> {
        let Self::Local(repository) = self;
        Ok(Changes::Local(Arc::clone(repository).begin_owned()?))
    }
}

impl Changes {
    /// Stores an object that [`frame_put`](crate::frame_put) has made an entry of.
    ///
    /// # Errors
    ///
    /// As [`Transaction::put_framed`].
    pub fn put_framed(&self, entry: &[u8]) -> Result<(), Error> {
        let Self::Local(transaction) = self;
        transaction.put_framed(entry).map(drop)
    }

    /// Removes an object.
    ///
    /// # Errors
    ///
    /// As [`Transaction::delete`].
    pub fn delete(&self, id: &Id) -> Result<(), Error> {
        let Self::Local(transaction) = self;
        transaction.delete(id)
    }

    /// Makes everything that was written count. Gives the number of the transaction, where it can
    /// be known.
    ///
    /// # Errors
    ///
    /// As [`Transaction::commit`].
    pub fn commit(self, now: Timestamp) -> Result<Option<u32>, Error> {
        let Self::Local(transaction) = self;
        transaction.commit(now).map(Some)
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
        let Self::Local(transaction) = self;
        transaction.commit_and_compact(options, now).map(Some)
    }
}
