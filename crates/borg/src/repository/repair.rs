//! Makes a damaged repository usable again, with all that is whole in it.
//!
//! First the index is removed: it knows places that will change, and after a crash it must not
//! be taken for good. Then each damaged segment is replaced, whole, by one with its whole
//! entries. Then the end of the log gets its commit. At last the index is made from the log.
//! After a crash anywhere, the log is read as it is then, and the repair can be done again.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufWriter, Write};

use super::check::Checked;
use super::entry::{COMMIT, MAGIC, Position, Tag};
use super::replay;
use super::scan::{Found, SegmentReader};
use super::tail::{COMMIT_SEGMENT_SIZE, LogEnd, Tail};
use super::{Repository, auxiliary, lock, read, write};
use crate::{Error, Id, save_file};

/// What a repair has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Segments that were replaced by what is whole in them.
    pub recovered_segments: Vec<u32>,
    /// The segment that got its commit back, or a new one.
    pub commit_written: Option<u32>,
    /// Segments of a damaged transaction that could not be kept.
    pub removed_segments: Vec<u32>,
    /// Objects that the repository has now.
    pub object_count: usize,
}

impl Repository {
    /// Makes the newest transaction valid again when only its commit is damaged. Nothing is lost.
    ///
    /// # Errors
    ///
    /// [`Error::CommitDamaged`] when more than the commit is damaged: see [`Self::repair`].
    /// [`Error::ReadOnly`], [`Error::AppendOnly`], [`Error::Io`].
    pub fn repair_commit(&self) -> Result<(), Error> {
        self.require_repairable()?;
        let tail = read(&self.end).tail.clone();
        match tail {
            Tail::CommitDamaged {
                segment,
                restorable: false,
            } => Err(Error::CommitDamaged { segment }),
            Tail::CommitDamaged { segment, .. } => {
                self.write_commit(segment)?;
                self.look_again()
            }
            _ => Ok(()),
        }
    }

    /// Repairs what a check has found.
    ///
    /// Whole entries are kept, damaged ones are gone afterwards; which files that hurts is found
    /// by looking at the archives. Of a transaction whose commit is damaged, all that is whole is
    /// kept, unless its manifest is not: then the transaction before counts again.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::AppendOnly`], [`Error::TransactionOpen`], [`Error::Io`].
    pub fn repair(&self, found: &Checked) -> Result<Repaired, Error> {
        self.require_repairable()?;
        let mut repaired = Repaired::default();
        auxiliary::remove_others(&self.path, None)?;
        save_file::sync_directory(&self.path).map_err(Error::io("sync", &self.path))?;
        *write(&self.loaded) = None;
        let end = read(&self.end).clone();
        let damaged_commit = match end.tail {
            Tail::CommitDamaged { segment, .. } => Some(segment),
            _ => None,
        };
        let damaged: BTreeSet<u32> = found
            .damages
            .iter()
            .map(|place| place.damage.at.segment)
            .collect();
        for segment in damaged {
            let is_commit = Some(segment) == damaged_commit
                && self.segments.size(segment)? <= COMMIT_SEGMENT_SIZE;
            if !is_commit && self.segments.size(segment)? > 0 {
                self.recover(segment)?;
                repaired.recovered_segments.push(segment);
            }
        }
        if let Some(commit) = damaged_commit {
            let has_manifest = self.has_manifest(&end, commit)?;
            if has_manifest || end.transaction == Some(commit) {
                self.write_commit(commit)?;
                repaired.commit_written = Some(commit);
            } else {
                for &segment in end.uncommitted.iter().rev() {
                    self.segments.remove(segment)?;
                    repaired.removed_segments.push(segment);
                }
            }
        }
        self.look_again()?;
        if read(&self.end).transaction.is_none()
            && let Some(latest) = self.segments.latest()?
        {
            // All commits are gone. What is there is all that there is.
            let commit = latest.checked_add(1).ok_or(Error::SegmentsUsedUp)?;
            self.write_commit(commit)?;
            repaired.commit_written = Some(commit);
            self.look_again()?;
        }
        for segment in self.segments.list()? {
            // Nothing can be had from an empty one, and other programs stumble over it.
            if self.segments.size(segment)? == 0 {
                self.segments.remove(segment)?;
                self.look_again()?;
            }
        }
        let end = read(&self.end).clone();
        let mut replayed = replay::load(&self.path, &self.segments, &end, true)?;
        if let (Some(transaction), Some(usage)) = (end.transaction, &replayed.usage) {
            auxiliary::save(
                &self.path,
                transaction,
                &mut replayed.index,
                usage,
                self.file_mode,
            )?;
            write(&self.end).index_transaction = Some(transaction);
        }
        repaired.object_count = replayed.index.len();
        *write(&self.loaded) = Some(replayed);
        Ok(repaired)
    }

    fn require_repairable(&self) -> Result<(), Error> {
        self.require_exclusive()?;
        if self.append_only {
            return Err(Error::AppendOnly {
                path: self.path.clone(),
            });
        }
        if lock(&self.writing).is_some() {
            return Err(Error::TransactionOpen);
        }
        Ok(())
    }

    /// Replaces a segment by one with its whole entries.
    fn recover(&self, segment: u32) -> Result<(), Error> {
        let path = self.segments.path(segment);
        let mut reader = SegmentReader::open(&self.segments, segment)?;
        let aside = path.with_extension("recovered");
        // A killed repair may have left one.
        let _ = fs::remove_file(&aside);
        let file =
            save_file::create_new(&aside, self.file_mode).map_err(Error::io("create", &aside))?;
        let mut recovered = BufWriter::with_capacity(1 << 20, file);
        let written = Error::io("write", &aside);
        let result = (|| {
            recovered.write_all(MAGIC)?;
            loop {
                match reader.next() {
                    Ok(Found::Entry(entry)) => recovered.write_all(entry.bytes())?,
                    Ok(Found::Damage(_)) => {
                        if let Err(error) = reader.resynchronise() {
                            return Ok(Err(error));
                        }
                    }
                    Ok(Found::End) => break,
                    Err(error) => return Ok(Err(error)),
                }
            }
            recovered.flush()?;
            recovered.get_ref().sync_data()?;
            fs::rename(&aside, &path)?;
            save_file::sync_directory(&self.segments.directory(segment))?;
            Ok(Ok(()))
        })();
        self.segments.forget(segment);
        result.map_err(written)?
    }

    /// Writes a commit where one should be: at the end of a segment that has other entries, or
    /// as all that is in it.
    fn write_commit(&self, segment: u32) -> Result<(), Error> {
        let path = self.segments.path(segment);
        let mut content = MAGIC.to_vec();
        if self.segments.size(segment)? > COMMIT_SEGMENT_SIZE {
            // A segment of 500 MiB; it happens once in a lifetime.
            self.recover(segment)?;
            content = fs::read(&path).map_err(Error::io("read", &path))?;
        }
        content.extend_from_slice(&COMMIT);
        self.segments.forget(segment);
        self.segments.make_directory(segment)?;
        save_file::write_with_mode(&path, &content, self.file_mode)
            .map_err(Error::io("write", path))
    }

    /// Whether a whole manifest stands in the transaction with the damaged commit.
    fn has_manifest(&self, end: &LogEnd, commit: u32) -> Result<bool, Error> {
        for &segment in end.uncommitted.iter().filter(|&&segment| segment <= commit) {
            let start = Position { segment, offset: 0 };
            if self.segments.read_at(start, &mut [0])? == 0 {
                continue;
            }
            let mut reader = SegmentReader::open(&self.segments, segment)?;
            // A manifest is the first of its segment.
            if let Found::Entry(entry) = reader.next()?
                && entry.tag == Tag::Put
                && entry.id == Id::MANIFEST
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Finds the end of the log anew.
    fn look_again(&self) -> Result<(), Error> {
        *write(&self.loaded) = None;
        let end = LogEnd::find(&self.path, &self.segments)?;
        *write(&self.end) = end;
        Ok(())
    }
}
