//! Writes to a repository: all or nothing.
//!
//! Entries are appended to new segments, behind the last commit, where they do not count. The
//! commit makes them count at once. The order in [`Transaction::commit`] is what makes a crash
//! harmless: everything before the commit is durable before the commit is written, and index and
//! hints are replaced only after it is durable.
//!
//! Once something could not be written, the transaction is doomed: what is on the disk is not
//! known any more, and a retry could report success over a hole. Its segments are removed.

use std::fs::OpenOptions;
use std::io::Write;
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use super::auxiliary;
use super::entry::{
    COMMIT, ENTRY_SIZE_MAX, Header, OBJECT_SIZE_MAX, PUT_SIZE, Position, Tag, delete_entry,
    frame_put, id_of,
};
use super::replay::{self, read_header};
use super::tail::{LogEnd, Tail};
use super::usage::Usage;
use super::writer::Writer;
use super::{Access, Repository, config, lock, read, write};
use crate::{Error, Id, save_file};

/// A change to a repository that does not count before it is committed.
///
/// Dropped without that, it is undone. Threads may share it, but they write one after the other;
/// what they can do at once is [`frame_put`].
#[derive(Debug)]
pub struct Transaction<R: Deref<Target = Repository>> {
    /// By reference, or owned together with others: see [`Repository::begin_owned`].
    repository: R,
}

/// What a transaction that is open has of its own.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) writer: Writer,
    pub(super) usage: Usage,
    is_doomed: bool,
    /// The commit may be in its file already.
    is_committing: bool,
}

impl Writing {
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let flushed = self.writer.flush();
        self.is_doomed |= flushed.is_err();
        flushed
    }

    pub(super) fn written_up_to(&self) -> Position {
        self.writer.written_up_to()
    }
}

impl Repository {
    /// Begins to write. What an interrupted writer has left is removed.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`] unless the repository was opened with [`Access::Write`];
    /// [`Error::LockLost`] when a person has broken our lock; [`Error::TransactionOpen`];
    /// [`Error::CommitDamaged`] and [`Error::CheckNeeded`] when writing could make damage worse;
    /// [`Error::Io`].
    pub fn begin(&self) -> Result<Transaction<&Self>, Error> {
        Transaction::begin(self)
    }

    /// Like [`Self::begin`], for a transaction that keeps the repository open by itself.
    ///
    /// # Errors
    ///
    /// Those of [`Self::begin`].
    pub fn begin_owned(self: Arc<Self>) -> Result<Transaction<Arc<Self>>, Error> {
        Transaction::begin(self)
    }

    /// Makes ready to write. The caller has marked that a transaction is open.
    fn prepare(&self) -> Result<(), Error> {
        let end = read(&self.end).clone();
        if let Tail::CommitDamaged { segment, .. } = end.tail {
            return Err(Error::CommitDamaged { segment });
        }
        let usage = self.load_usage(&end)?;
        self.remove_leftovers(&end)?;
        let segment = match end.transaction {
            None => 0,
            Some(transaction) => transaction.checked_add(1).ok_or(Error::SegmentsUsedUp)?,
        };
        let writer = Writer::new(
            self.segments.clone(),
            segment,
            self.config().max_segment_size,
        );
        self.set_written(writer.written_up_to());
        *lock(&self.writing) = Some(Writing {
            writer,
            usage,
            is_doomed: false,
            is_committing: false,
        });
        Ok(())
    }

    pub(super) fn require_exclusive(&self) -> Result<(), Error> {
        match &self.lock {
            Some(lock) if self.access == Access::Write => {
                if lock.is_held() {
                    Ok(())
                } else {
                    Err(Error::LockLost {
                        path: self.path.clone(),
                    })
                }
            }
            _ => Err(self.read_only()),
        }
    }

    /// Takes the books, and makes sure that they fit the index.
    fn load_usage(&self, end: &LogEnd) -> Result<Usage, Error> {
        let mut loaded = write(&self.loaded);
        if let Some(loaded) = loaded.as_mut()
            && loaded.usage.is_none()
            && end.index_transaction == end.transaction
        {
            // An index that was read alone is good; only hints are missing.
            loaded.usage = end
                .transaction
                .and_then(|transaction| auxiliary::load_usage(&self.path, transaction));
        }
        let usage = match loaded.as_mut() {
            Some(loaded) if loaded.damages.is_empty() => loaded.usage.take(),
            _ => None,
        };
        if let Some(usage) = usage {
            return Ok(usage);
        }
        let mut replayed = replay::load(&self.path, &self.segments, end, true)?;
        if let Some(damage) = replayed.damages.first() {
            return Err(Error::CheckNeeded {
                what: damage.to_string(),
            });
        }
        let usage = replayed.usage.take().unwrap_or_default();
        *loaded = Some(replayed);
        Ok(usage)
    }

    /// Clears what programs have left that were killed.
    fn remove_leftovers(&self, end: &LogEnd) -> Result<(), Error> {
        for &segment in end.uncommitted.iter().rev() {
            self.segments.remove(segment)?;
        }
        {
            let mut end = write(&self.end);
            end.uncommitted.clear();
            end.tail = Tail::Clean;
        }
        config::erase_former(&self.path)?;
        if let Some(lock) = &self.lock {
            lock.remove_litter();
        }
        let entries = std::fs::read_dir(&self.path).map_err(Error::io("list", &self.path))?;
        for entry in entries {
            let name = entry.map_err(Error::io("list", &self.path))?.file_name();
            let is_leftover = name.to_str().is_some_and(|name| {
                save_file::is_leftover(name, "config") || save_file::is_leftover(name, "nonce")
            });
            if is_leftover {
                let path = self.path.join(name);
                std::fs::remove_file(&path).map_err(Error::io("remove", path))?;
            }
        }
        Ok(())
    }

    /// Undoes the open transaction.
    fn roll_back(&self) -> Result<(), Error> {
        let Some(writing) = lock(&self.writing).take() else {
            return Ok(());
        };
        self.written.store(u64::MAX, Ordering::Release);
        *write(&self.loaded) = None;
        let is_committing = writing.is_committing;
        // Waits for the thread that may be syncing a segment.
        drop(writing);
        let transaction = read(&self.end).transaction;
        let mut segments = self.segments.list()?;
        segments.retain(|&segment| Some(segment) > transaction);
        let mut segments = segments.into_iter().rev();
        if is_committing && let Some(commit) = segments.next() {
            // Were the other files gone and this one still there after a power cut, it would make
            // a hole valid.
            self.segments.remove(commit)?;
            let directory = self.segments.directory(commit);
            save_file::sync_directory(&directory).map_err(Error::io("sync", directory))?;
        }
        segments.try_for_each(|segment| self.segments.remove(segment))
    }
}

impl<R: Deref<Target = Repository>> Transaction<R> {
    fn begin(repository: R) -> Result<Self, Error> {
        repository.require_exclusive()?;
        if repository.in_transaction.swap(true, Ordering::AcqRel) {
            return Err(Error::TransactionOpen);
        }
        // From here on its end clears the mark.
        let transaction = Self { repository };
        transaction.repository.prepare()?;
        Ok(transaction)
    }

    /// Stores an object, in place of a former one of the same id.
    ///
    /// # Errors
    ///
    /// [`Error::ObjectTooLarge`], and those of [`Self::put_framed`].
    pub fn put(&self, id: &Id, data: &[u8]) -> Result<Position, Error> {
        if data.len() > OBJECT_SIZE_MAX {
            return Err(too_large(data.len()));
        }
        let mut entry = Vec::with_capacity(PUT_SIZE + data.len());
        entry.resize(PUT_SIZE, 0);
        entry.extend_from_slice(data);
        frame_put(&mut entry, id);
        self.put_framed(&entry)
    }

    /// Stores an object that [`frame_put`] has made an entry of.
    ///
    /// # Errors
    ///
    /// [`Error::NotFramed`] and [`Error::ObjectTooLarge`] for what is no entry.
    /// [`Error::QuotaExceeded`], [`Error::Damaged`] when a former object of that id cannot be
    /// replaced, [`Error::Io`]: the transaction cannot be committed then. [`Error::Doomed`] when
    /// that was so before.
    pub fn put_framed(&self, entry: &[u8]) -> Result<Position, Error> {
        if entry.len() > ENTRY_SIZE_MAX {
            return Err(too_large(entry.len() - PUT_SIZE));
        }
        let header = entry.first_chunk().copied().map(Header::parse);
        let (Some(Ok(header)), Some(id)) = (header, id_of(entry)) else {
            return Err(Error::NotFramed);
        };
        if header.tag != Tag::Put || header.size != entry.len() {
            return Err(Error::NotFramed);
        }
        self.write(|repository, writing| {
            if let Some(former) = repository.position_of(&id) {
                // The books need it, and without it compaction could bring the former object
                // back.
                writing.delete(repository, &id, former)?;
            }
            let at = writing.writer.append(entry, id == Id::MANIFEST)?;
            writing.usage.put(at.segment, size_of(entry));
            if let Some(loaded) = write(&repository.loaded).as_mut() {
                loaded.index.insert(&id, [at.segment, at.offset]);
            }
            let quota = repository.storage_quota;
            if quota > 0 && writing.usage.quota > quota {
                return Err(Error::QuotaExceeded {
                    quota,
                    used: writing.usage.quota,
                });
            }
            Ok(at)
        })
    }

    /// Removes an object.
    ///
    /// # Errors
    ///
    /// [`Error::ObjectNotFound`]; [`Error::Damaged`] when its entry cannot be read, and
    /// [`Error::Io`]: the transaction cannot be committed then. [`Error::Doomed`] when that was so
    /// before.
    pub fn delete(&self, id: &Id) -> Result<(), Error> {
        let former = self
            .repository
            .location(id)?
            .ok_or(Error::ObjectNotFound { id: *id })?;
        self.write(|repository, writing| {
            writing.delete(repository, id, former)?;
            if let Some(loaded) = write(&repository.loaded).as_mut() {
                loaded.index.remove(id);
            }
            Ok(())
        })
    }

    /// Bytes that all objects in the log take, as the quota counts them.
    #[must_use]
    pub fn quota_used(&self) -> u64 {
        let writing = lock(&self.repository.writing);
        writing.as_ref().map_or(0, |writing| writing.usage.quota)
    }

    /// Makes everything that was written count. Gives the number of the transaction; who
    /// remembers it can later tell whether this commit is still there.
    ///
    /// `now` is for the log of an append-only repository.
    ///
    /// # Errors
    ///
    /// [`Error::Doomed`] after an earlier error; [`Error::NoSpace`] when too little would be free
    /// to go on later; [`Error::LockLost`]; [`Error::Io`]. The transaction is undone then, unless
    /// the error came when the index was written: in that case it counts, and the next who opens
    /// the repository makes the index.
    pub fn commit(self, now: Timestamp) -> Result<u32, Error> {
        let transaction = self.commit_log()?;
        self.finish(transaction, now)?;
        Ok(transaction)
    }

    /// Writes the commit. After that the transaction counts, and what is appended is the next one.
    pub(super) fn commit_log(&self) -> Result<u32, Error> {
        let transaction = self.write(|repository, writing| {
            repository.require_exclusive()?;
            repository.require_free_space(&writing.usage)?;
            // What was appended last may still fail to be written: then there is no commit.
            writing.writer.finish()?;
            writing.is_committing = true;
            let transaction = writing.writer.commit()?;
            writing.is_committing = false;
            writing.usage.live.entry(transaction).or_default();
            writing.usage.free(transaction, size_of(&COMMIT));
            Ok(transaction)
        })?;
        let mut end = write(&self.repository.end);
        end.transaction = Some(transaction);
        end.tail = Tail::Clean;
        Ok(transaction)
    }

    /// Writes index and hints of a transaction that counts.
    pub(super) fn finish(self, transaction: u32, now: Timestamp) -> Result<(), Error> {
        let repository = self.repository();
        // From here on there is nothing left that could be undone.
        let writing = lock(&repository.writing).take();
        repository.written.store(u64::MAX, Ordering::Release);
        let usage = writing.map(|writing| writing.usage).unwrap_or_default();
        repository.save_auxiliary(transaction, usage, now)
    }

    pub(super) fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Undoes everything that was written, and frees its space.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]. What could not be removed does not count, and the next transaction removes
    /// it.
    pub fn roll_back(self) -> Result<(), Error> {
        self.repository.roll_back()
    }

    /// Does something that is not known to have been undone when it fails.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&Repository, &mut Writing) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut writing = lock(&self.repository.writing);
        let writing = writing.as_mut().filter(|writing| !writing.is_doomed);
        let writing = writing.ok_or(Error::Doomed)?;
        let result = work(&self.repository, writing);
        writing.is_doomed |= result.is_err();
        self.repository.set_written(writing.written_up_to());
        result
    }
}

impl<R: Deref<Target = Repository>> Drop for Transaction<R> {
    fn drop(&mut self) {
        // What cannot be removed is removed by the next transaction.
        let _ = self.repository.roll_back();
        self.repository
            .in_transaction
            .store(false, Ordering::Release);
    }
}

impl Writing {
    /// Appends a DELETE for the object whose entry is at `former`.
    fn delete(&mut self, repository: &Repository, id: &Id, former: Position) -> Result<(), Error> {
        if former >= self.writer.written_up_to() {
            self.writer.flush()?;
        }
        let header = read_header(&repository.segments, former)?;
        let size = u32::try_from(header.size).unwrap_or(u32::MAX);
        self.usage.supersede(id, former.segment, size);
        let at = self.writer.append(&delete_entry(id), *id == Id::MANIFEST)?;
        self.usage.delete(at.segment);
        Ok(())
    }
}

impl Repository {
    pub(super) fn position_of(&self, id: &Id) -> Option<Position> {
        let loaded = read(&self.loaded);
        let [segment, offset] = loaded.as_ref()?.index.get(id)?;
        Some(Position { segment, offset })
    }

    /// Writes index and hints of a transaction whose commit is durable, and keeps the books.
    fn save_auxiliary(&self, transaction: u32, usage: Usage, now: Timestamp) -> Result<(), Error> {
        if self.append_only {
            self.log_transaction(transaction, now)?;
        }
        let mut loaded = write(&self.loaded);
        if let Some(loaded) = loaded.as_mut() {
            let saved = auxiliary::save(
                &self.path,
                transaction,
                &mut loaded.index,
                &usage,
                self.file_mode,
            );
            loaded.usage = Some(usage);
            saved?;
            write(&self.end).index_transaction = Some(transaction);
        }
        Ok(())
    }

    /// Tells a person who wants to go back in an append-only repository what there is.
    fn log_transaction(&self, transaction: u32, now: Timestamp) -> Result<(), Error> {
        let path = self.path.join("transactions");
        let time = now.strftime("%Y-%m-%dT%H:%M:%S%.6f");
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(self.file_mode)
            .open(&path)
            .and_then(|mut log| {
                log.write_all(format!("transaction {transaction}, UTC time {time}\n").as_bytes())
            })
            .map_err(Error::io("write", path))
    }

    /// Makes sure that after the commit there is room to go on: to write the index, to delete
    /// archives, and to compact a segment.
    ///
    /// Source: `check_free_space` in Borg 1.4's `repository.py`.
    fn require_free_space(&self, usage: &Usage) -> Result<(), Error> {
        let index_size = read(&self.loaded)
            .as_ref()
            .map_or(0, |loaded| loaded.index.size() as u64);
        let config = self.config();
        let books = (usage.live.len() + usage.freeable.len()) as u64;
        let mut required = 4 * index_size + 10 * books + 4096 + config.additional_free_space;
        if !self.append_only {
            let full_segment = u64::from(config.max_segment_size) + ENTRY_SIZE_MAX as u64;
            required += if usage.freeable.len() < 10 {
                let mut copies = 0;
                for (&segment, &freeable) in &usage.freeable {
                    copies += self.segments.size(segment)?.saturating_sub(freeable);
                }
                copies.min(full_segment)
            } else {
                full_segment
            };
        }
        // Where the system does not say, nothing is known to be wrong.
        let Ok(disk) = rustix::fs::statvfs(&self.path) else {
            return Ok(());
        };
        let available = disk.f_bavail.saturating_mul(disk.f_frsize);
        if available < required {
            return Err(Error::NoSpace {
                required,
                available,
            });
        }
        Ok(())
    }
}

pub(super) fn size_of(entry: &[u8]) -> u32 {
    u32::try_from(entry.len()).unwrap_or(u32::MAX)
}

fn too_large(size: usize) -> Error {
    Error::ObjectTooLarge {
        size,
        size_max: OBJECT_SIZE_MAX,
    }
}
