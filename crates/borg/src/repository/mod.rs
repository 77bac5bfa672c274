//! A Borg 1.x repository on a local disk: everything below encryption.
//!
//! A repository is a log of entries in numbered segments. A PUT stores an object under its id, a
//! DELETE removes it, and a COMMIT makes everything before it valid. Nothing in the log is ever
//! changed; what does not count any more is left behind by compaction, which copies what does.
//!
//! Why a crash at any moment is harmless: entries without a commit behind them do not count and
//! are removed by the next writer; a commit is written only after all that it makes valid is
//! durable ([`writer`]); index and hints are made from the log when they do not fit it
//! ([`replay`]); small files are replaced whole. What the end of the log looks like after damage
//! rather than a crash is the subject of [`tail`].
//!
//! Format: docs/formats/borg.md.

mod auxiliary;
mod check;
mod compact;
mod config;
mod create;
mod entry;
mod log;
mod nonce;
mod read;
mod repair;
mod replay;
mod scan;
mod segments;
mod syncer;
mod tail;
mod transaction;
mod usage;
mod walk;
mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

pub use check::{Checked, DamagedPlace, IndexDifference};
pub use compact::{Compacted, Compaction, SparseSegment};
pub use config::{Config, parse_size};
pub use create::RepositoryOptions;
pub use entry::{Damage, DamageKind, OBJECT_SIZE_MAX, Position, Tag, frame_put};
pub use log::LogEntry;
pub use repair::Repaired;
pub use scan::PASSED_SIZE_MIN;
pub use tail::Tail;
pub use transaction::Transaction;

use crate::lock::Lock;
use crate::{Error, Host, Id};
use replay::Replayed;
use segments::Segments;
use tail::LogEnd;
use transaction::Writing;

/// So many bytes are read of an entry whose size is not known.
const ENTRY_SIZE_GUESS: usize = 16 * 1024;

/// What a repository is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To read, while others may read as well.
    Read,
    /// To read and write, alone.
    Write,
    /// To read without a lock: from a medium that cannot be written to, or when a person knows
    /// that nobody writes.
    NoLock,
}

/// How a repository is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// For what.
    pub access: Access,
    /// Who we are in locks.
    pub host: Host,
    /// How long to wait for others. Borg's default is a second.
    pub lock_wait: Duration,
    /// Free nothing, whatever the repository's configuration says.
    pub append_only: bool,
    /// In place of the quota that the configuration says. Bytes; 0 for none.
    pub storage_quota: Option<u64>,
    /// Permissions that new files do not get. Borg's default is 0o077.
    pub umask: u32,
}

impl OpenOptions {
    /// With Borg's defaults for the rest.
    #[must_use]
    pub fn new(access: Access, host: &Host) -> Self {
        Self {
            access,
            host: host.clone(),
            lock_wait: Duration::from_secs(1),
            append_only: false,
            storage_quota: None,
            umask: create::UMASK,
        }
    }
}

/// A repository that is open. The lock is held until it is dropped.
///
/// Any number of threads may read from it, also while one writes to it in a [`Transaction`]; they
/// see what that one has written.
#[derive(Debug)]
pub struct Repository {
    path: PathBuf,
    access: Access,
    append_only: bool,
    storage_quota: u64,
    file_mode: u32,
    config: Mutex<Arc<Config>>,
    segments: Arc<Segments>,
    end: RwLock<LogEnd>,
    /// Loaded when it is first needed.
    loaded: RwLock<Option<Replayed>>,
    writing: Mutex<Option<Writing>>,
    in_transaction: AtomicBool,
    /// The first position that is not in a file yet, segment in the upper half.
    written: AtomicU64,
    /// Last, so that it is released last.
    lock: Option<Lock>,
}

impl Repository {
    /// Opens the repository at a path.
    ///
    /// # Errors
    ///
    /// [`Error::DoesNotExist`], [`Error::NotARepository`], [`Error::Version`], [`Error::Config`]:
    /// it is not one that can be opened. [`Error::Locked`] when others use it until the end of the
    /// wait. [`Error::Io`].
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self, Error> {
        let path = std::path::absolute(path).map_err(Error::io("find", path))?;
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::DoesNotExist { path });
            }
            Err(error) => return Err(Error::io("look at", path)(error)),
            Ok(metadata) if !metadata.is_dir() => return Err(Error::NotARepository { path }),
            Ok(_) => {}
        }
        // No lock is made in a folder that is no repository; what the configuration says counts
        // only when it is read again under the lock.
        Config::load(&path)?;
        let lock_path = path.join("lock");
        let lock = match options.access {
            Access::Read => Some(Lock::shared(&lock_path, &options.host, options.lock_wait)?),
            Access::Write => Some(Lock::exclusive(
                &lock_path,
                &options.host,
                options.lock_wait,
            )?),
            Access::NoLock => None,
        };
        let config = Config::load(&path)?;
        let file_mode = 0o666 & !options.umask;
        let segments = Segments::new(&path, config.segments_per_dir, file_mode);
        let end = LogEnd::find(&path, &segments)?;
        let repository = Self {
            access: options.access,
            append_only: options.append_only || config.append_only,
            storage_quota: options.storage_quota.unwrap_or(config.storage_quota),
            file_mode,
            config: Mutex::new(Arc::new(config)),
            segments: Arc::new(segments),
            end: RwLock::new(end),
            loaded: RwLock::default(),
            writing: Mutex::default(),
            in_transaction: AtomicBool::new(false),
            written: AtomicU64::new(u64::MAX),
            lock,
            path,
        };
        repository.refuse_attic()?;
        Ok(repository)
    }

    /// Removes the locks of a repository, whoever holds them. For a person who knows that nobody
    /// uses it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn break_lock(path: &Path) -> Result<(), Error> {
        Lock::break_all(&path.join("lock"))
    }

    /// Makes the lock one of this process, after a fork from the one that opened the repository.
    ///
    /// # Errors
    ///
    /// Those of [`Lock::migrate`].
    pub fn migrate_lock(&mut self) -> Result<(), Error> {
        self.lock.as_mut().map_or(Ok(()), Lock::migrate)
    }

    /// Where it is, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is known by.
    #[must_use]
    pub fn id(&self) -> Id {
        self.config().id
    }

    /// What its configuration says.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&lock(&self.config))
    }

    /// Whether nothing is ever freed, because the configuration or who opened it says so.
    #[must_use]
    pub fn is_append_only(&self) -> bool {
        self.append_only
    }

    /// Bytes that the objects may take; 0 for no limit.
    #[must_use]
    pub fn storage_quota(&self) -> u64 {
        self.storage_quota
    }

    /// The transaction that was committed last: the number of the segment that ends with its
    /// commit. `None` before the first one.
    #[must_use]
    pub fn transaction(&self) -> Option<u32> {
        read(&self.end).transaction
    }

    /// What follows that commit.
    #[must_use]
    pub fn tail(&self) -> Tail {
        read(&self.end).tail.clone()
    }

    /// Sets a value of the configuration, or removes it with `None`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when the repository could not be opened with it; [`Error::Io`].
    pub fn set_config(&self, key: &str, value: Option<&str>) -> Result<(), Error> {
        let mut config = lock(&self.config);
        let changed = config.with(&self.path, key, value)?;
        changed.save(&self.path, self.file_mode)?;
        *config = Arc::new(changed);
        Ok(())
    }

    /// The key blob that is kept in the repository, if it is.
    #[must_use]
    pub fn load_key(&self) -> Option<String> {
        self.config().key().map(str::to_owned)
    }

    /// Replaces the key blob that is kept in the repository.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]. The former one is there then.
    pub fn save_key(&self, blob: &str) -> Result<(), Error> {
        self.set_config("key", Some(blob.trim_end()))
    }

    /// Removes the repository with all that is in it.
    ///
    /// # Errors
    ///
    /// [`Error::AppendOnly`], [`Error::ReadOnly`], [`Error::Io`].
    pub fn destroy(self) -> Result<(), Error> {
        if self.append_only {
            return Err(Error::AppendOnly {
                path: self.path.clone(),
            });
        }
        if self.access != Access::Write {
            return Err(self.read_only());
        }
        // Without it, it is no repository any more, however far the rest comes.
        let config = self.path.join("config");
        fs::remove_file(&config).map_err(Error::io("remove", config))?;
        let path = self.path.clone();
        drop(self);
        fs::remove_dir_all(&path).map_err(Error::io("remove", path))
    }

    /// The format of Borg's ancestor has the same folders, but another magic.
    fn refuse_attic(&self) -> Result<(), Error> {
        let Some(segment) = self.segments.latest()? else {
            return Ok(());
        };
        let mut magic = [0; entry::ATTIC_MAGIC.len()];
        let at = Position { segment, offset: 0 };
        self.segments.read_at(at, &mut magic)?;
        if &magic == entry::ATTIC_MAGIC {
            return Err(Error::Version {
                path: self.path.clone(),
                version: "attic".into(),
            });
        }
        Ok(())
    }

    fn read_only(&self) -> Error {
        Error::ReadOnly {
            path: self.path.clone(),
        }
    }

    /// Makes sure that the index is there.
    fn load(&self) -> Result<(), Error> {
        if read(&self.loaded).is_some() {
            return Ok(());
        }
        let mut loaded = write(&self.loaded);
        if loaded.is_none() {
            let end = read(&self.end).clone();
            *loaded = Some(replay::load(&self.path, &self.segments, &end, false)?);
        }
        Ok(())
    }

    fn set_written(&self, position: Position) {
        self.written.store(packed(position), Ordering::Release);
    }
}

fn packed(position: Position) -> u64 {
    u64::from(position.segment) << 32 | u64::from(position.offset)
}

// A thread that panicked holding one of the locks leaves what a crash would: nothing is
// committed that was not whole.

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
