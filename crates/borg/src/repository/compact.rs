//! Frees the space of what does not count any more.
//!
//! Segments of which enough can be freed are read; what counts is copied to new segments, and
//! after a commit behind the copies the old segments are removed. A crash before that commit
//! leaves extra copies that do not count; a crash after it leaves extra segments. Neither loses
//! an object, and the next compaction clears both.
//!
//! What must not happen is that an object comes back that was deleted. Its DELETE may only go
//! when no older PUT of it is left in any segment, and that is what the shadow index knows. A
//! DELETE is kept as well when the shadow index does not know the object, and when its segment
//! is newer than the index on the disk: a power cut may undo the removal of an older segment
//! and not that of a newer one.
//!
//! Source: `compact_segments` in Borg 1.4's `repository.py`, for the rules.

use std::ops::Deref;

use jiff::Timestamp;

use super::entry::{COMMIT, Position, Tag};
use super::scan::{Entry, Found, SegmentReader};
use super::tail::COMMIT_SEGMENT_SIZE;
use super::transaction::{Transaction, Writing, size_of};
use super::{Repository, read, write};
use crate::{Error, Id};

/// What is worth compacting.
#[derive(Debug, Clone, Copy)]
pub struct Compaction {
    /// Segments of which a larger part than this can be freed are compacted. Borg's default is
    /// a tenth.
    pub threshold: f64,
    /// Remove all segments that only hold a commit, which old programs left in great numbers.
    pub cleanup_commits: bool,
}

impl Default for Compaction {
    fn default() -> Self {
        Self {
            threshold: 0.1,
            cleanup_commits: false,
        }
    }
}

/// One segment that a compaction would rewrite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SparseSegment {
    /// Its number.
    pub segment: u32,
    /// Bytes of its file.
    pub size: u64,
    /// Bytes that can be freed, as far as it is known.
    pub freeable: u64,
}

/// What a compaction has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// The transaction that it ended with.
    pub transaction: u32,
    /// Segments that were removed.
    pub segment_count: usize,
    /// Bytes of objects that were freed.
    pub freed: u64,
}

impl<R: Deref<Target = Repository>> Transaction<R> {
    /// The segments that [`Self::commit_and_compact`] would rewrite, were the transaction
    /// committed as it is now.
    ///
    /// # Errors
    ///
    /// [`Error::Doomed`], [`Error::Io`].
    pub fn sparse_segments(&self, threshold: f64) -> Result<Vec<SparseSegment>, Error> {
        self.write(|repository, writing| {
            writing.flush()?;
            sparse_segments(repository, writing, threshold)
        })
    }

    /// Commits, and frees the space of what does not count any more. In an append-only repository
    /// it only commits.
    ///
    /// # Errors
    ///
    /// Those of [`Self::commit`]; behind the commit, [`Error::Damaged`] when a segment cannot be
    /// read. What was committed counts then, and nothing that counts was removed.
    pub fn commit_and_compact(
        self,
        options: &Compaction,
        now: Timestamp,
    ) -> Result<Compacted, Error> {
        self.commit_and_compact_watched(options, now, &mut |_, _| {})
    }

    /// The same, told before each segment: how many are done, of how many.
    ///
    /// # Errors
    ///
    /// Those of [`Self::commit_and_compact`].
    pub fn commit_and_compact_watched(
        self,
        options: &Compaction,
        now: Timestamp,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Compacted, Error> {
        let repository = self.repository();
        let mut compacted = Compacted {
            transaction: self.commit_log()?,
            segment_count: 0,
            freed: 0,
        };
        if !repository.is_append_only() {
            self.write(|repository, writing| {
                let quota = writing.usage.quota;
                if options.cleanup_commits {
                    mark_commits(repository, writing)?;
                }
                let sparse = sparse_segments(repository, writing, options.threshold)?;
                if !writing.usage.freeable.is_empty() {
                    let mut compactor = Compactor {
                        repository,
                        writing,
                        unused: Vec::new(),
                        removed: 0,
                    };
                    let count = sparse.len();
                    for (done, segment) in sparse.into_iter().enumerate() {
                        progress(done, count);
                        compactor.compact(segment.segment)?;
                    }
                    progress(count, count);
                    compacted.transaction = compactor.complete(false)?;
                    compacted.segment_count = compactor.removed;
                    repository.segments.remove_empty_directories()?;
                }
                compacted.freed = quota.saturating_sub(writing.usage.quota);
                Ok(())
            })?;
        }
        self.finish(compacted.transaction, now)?;
        Ok(compacted)
    }
}

/// Counts all segments that only hold a commit as worth removing.
fn mark_commits(repository: &Repository, writing: &mut Writing) -> Result<(), Error> {
    for segment in repository.segments.list()? {
        if repository.segments.size(segment)? == COMMIT_SEGMENT_SIZE {
            writing.usage.live.insert(segment, 0);
            writing.usage.freeable.insert(segment, COMMIT.len() as u64);
        }
    }
    Ok(())
}

fn sparse_segments(
    repository: &Repository,
    writing: &mut Writing,
    threshold: f64,
) -> Result<Vec<SparseSegment>, Error> {
    let mut sparse = Vec::new();
    for (segment, freeable) in writing.usage.freeable.clone() {
        let size = repository.segments.size(segment)?;
        if size == 0 {
            // A crash came between the commit of a compaction and the writing of the books.
            writing.usage.freeable.remove(&segment);
            writing.usage.live.remove(&segment);
            continue;
        }
        #[expect(clippy::cast_precision_loss, reason = "a part of a whole, roughly")]
        let part = freeable as f64 / size as f64;
        if part > threshold {
            sparse.push(SparseSegment {
                segment,
                size,
                freeable,
            });
        }
    }
    Ok(sparse)
}

struct Compactor<'a> {
    repository: &'a Repository,
    writing: &'a mut Writing,
    /// Segments of which everything that counts has been copied.
    unused: Vec<u32>,
    removed: usize,
}

impl Compactor<'_> {
    /// Copies what counts out of a segment.
    fn compact(&mut self, segment: u32) -> Result<(), Error> {
        self.writing.usage.live.entry(segment).or_default();
        let mut reader = SegmentReader::open(&self.repository.segments, segment)?;
        loop {
            match reader.next()? {
                Found::Entry(entry) => match entry.tag {
                    Tag::Put => self.put(&entry)?,
                    Tag::Delete => self.delete(&entry)?,
                    Tag::Commit => {}
                },
                Found::Damage(damage) => return Err(damage.into()),
                Found::End => break,
            }
        }
        self.unused.push(segment);
        Ok(())
    }

    fn put(&mut self, entry: &Entry<'_>) -> Result<(), Error> {
        let Position { segment, .. } = entry.at;
        if self.repository.position_of(&entry.id) != Some(entry.at) {
            // It goes with its segment, and nothing has to shadow it any more. An empty list must
            // stay: it says that all PUTs are known to be gone.
            let shadow = &mut self.writing.usage.shadow;
            if let Some(segments) = shadow.get_mut(&entry.id)
                && let Some(index) = segments.iter().position(|&known| known == segment)
            {
                segments.remove(index);
            }
            let quota = &mut self.writing.usage.quota;
            *quota = quota.saturating_sub(u64::from(entry.size));
            return Ok(());
        }
        let at = self.append(entry.bytes(), &entry.id)?;
        let live = &mut self.writing.usage.live;
        *live.entry(at.segment).or_default() += 1;
        *live.entry(segment).or_default() -= 1;
        if let Some(loaded) = write(&self.repository.loaded).as_mut() {
            loaded.index.insert(&entry.id, [at.segment, at.offset]);
        }
        Ok(())
    }

    fn delete(&mut self, entry: &Entry<'_>) -> Result<(), Error> {
        if self.repository.position_of(&entry.id).is_some() {
            // A later PUT counts, so this says nothing any more.
            return Ok(());
        }
        let segment = entry.at.segment;
        let shadow = &mut self.writing.usage.shadow;
        let older_put_may_exist = shadow
            .get(&entry.id)
            .is_none_or(|segments| segments.iter().any(|&put| put < segment));
        let indexed = read(&self.repository.end).index_transaction;
        let is_settled = indexed.is_some_and(|indexed| segment <= indexed);
        if older_put_may_exist || !is_settled {
            let at = self.append(entry.bytes(), &entry.id)?;
            self.writing.usage.delete(at.segment);
        } else if shadow.get(&entry.id).is_some_and(Vec::is_empty) {
            shadow.remove(&entry.id);
        }
        Ok(())
    }

    /// Appends a copy. When the segment is full, what was copied so far is made to count, so that
    /// the space of the old segments is free before more is needed.
    fn append(&mut self, entry: &[u8], id: &Id) -> Result<Position, Error> {
        let in_new_segment = *id == Id::MANIFEST;
        if in_new_segment || self.writing.writer.is_full() {
            self.complete(true)?;
        }
        self.writing.writer.append(entry, in_new_segment)
    }

    /// Commits the copies, and removes the segments that they were copied from.
    fn complete(&mut self, is_intermediate: bool) -> Result<u32, Error> {
        self.repository.require_exclusive()?;
        let writer = &mut self.writing.writer;
        let transaction = if is_intermediate {
            writer.commit_here()?
        } else {
            writer.commit()?
        };
        self.repository.set_written(writer.written_up_to());
        write(&self.repository.end).transaction = Some(transaction);
        let usage = &mut self.writing.usage;
        usage.live.entry(transaction).or_default();
        usage.free(transaction, size_of(&COMMIT));
        for segment in self.unused.drain(..) {
            usage.live.remove(&segment);
            usage.freeable.remove(&segment);
            self.repository.segments.remove(segment)?;
            self.removed += 1;
        }
        Ok(transaction)
    }
}
