//! Reads a whole repository and says what is wrong with it. Nothing is changed.
//!
//! Every checksum of every entry is verified, by all processors at once; from what is whole the
//! index is made anew and compared with the one on the disk. Reading goes on behind damage, so
//! that each damaged place is named, and not just the first of a segment.

use std::time::{Duration, Instant};

use super::auxiliary;
use super::entry::{Damage, Position};
use super::replay::{Replay, Replayed};
use super::tail::Tail;
use super::usage::Usage;
use super::walk::{Event, walk, walk_unverified};
use super::{Repository, lock, read};
use crate::{Error, Id};

/// What a check has found.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// The transaction that was checked; `None` in a repository without any.
    pub transaction: Option<u32>,
    /// What follows it.
    pub tail: Option<Tail>,
    /// Segments that were read.
    pub segment_count: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// Entries whose checksums hold.
    pub entry_count: u64,
    /// Objects that count and are whole. Not known after a check of a part.
    pub object_count: usize,
    /// Damaged places, in the order of the log.
    pub damages: Vec<DamagedPlace>,
    /// Segments without any bytes: something has emptied them.
    pub empty_segments: Vec<u32>,
    /// The index on the disk is missing, damaged or of another transaction.
    pub index_missing: bool,
    /// Where the index on the disk differs from the log.
    pub index_differences: Vec<IndexDifference>,
    /// Where to go on, when the time was over before the end.
    pub checked_up_to: Option<u32>,
}

/// Damage, and how much of the segment it has made unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DamagedPlace {
    /// What and where.
    pub damage: Damage,
    /// Bytes in which no whole entry was found.
    pub skipped: u64,
}

/// An object that the index on the disk has elsewhere than the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexDifference {
    /// The object.
    pub id: Id,
    /// Where the index on the disk has it.
    pub indexed: Option<Position>,
    /// Where its last whole entry is.
    pub found: Option<Position>,
}

impl Checked {
    /// Whether everything is as it should be. An unfinished transaction is no damage.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.damages.is_empty()
            && self.empty_segments.is_empty()
            && self.index_differences.is_empty()
            && !matches!(self.tail, Some(Tail::CommitDamaged { .. }))
    }
}

impl Repository {
    /// Checks the whole repository. `progress` is told how many of how many segments were read.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when something cannot be read at all; [`Error::TransactionOpen`]. Damage is no
    /// error, but what is given back.
    pub fn check(&self, progress: impl FnMut(usize, usize)) -> Result<Checked, Error> {
        self.check_unread(&[], progress)
    }

    /// The same after these objects were read, and found whole, by this repository: nothing large
    /// is read twice.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub fn check_unread(
        &self,
        whole: &[Id],
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Checked, Error> {
        let places = match whole {
            [] => Vec::new(),
            _ => self.locations(whole)?,
        };
        let whole = whole.iter().copied().zip(places);
        let verified = whole.filter_map(|(id, at)| Some((id, at?))).collect();
        let list = self.segments_to_check()?;
        let mut checked = self.begin_check();
        let mut replay = Replay {
            segments: &self.segments,
            result: Replayed {
                usage: Some(Usage::default()),
                ..Replayed::default()
            },
        };
        walk_unverified(&self.segments, &list, &verified, |event| {
            checked.note(&event);
            if matches!(event, Event::End { .. }) {
                progress(checked.segment_count, list.len());
            }
            replay.receive(event)
        })?;
        checked.object_count = replay.result.index.len();
        let saved = checked
            .transaction
            .and_then(|transaction| auxiliary::load_index(&self.path, transaction));
        match saved {
            None => checked.index_missing = checked.transaction.is_some(),
            Some(saved) => checked.compare(&saved, &replay.result.index),
        }
        Ok(checked)
    }

    /// Checks for a limited time: only checksums, from where the last such check has stopped.
    /// The place is kept in the configuration.
    ///
    /// # Errors
    ///
    /// As [`Self::check`], and [`Error::ReadOnly`].
    pub fn check_for(
        &self,
        duration: Duration,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Checked, Error> {
        self.require_exclusive()?;
        let deadline = Instant::now().checked_add(duration);
        let after = self.config().last_segment_checked();
        let mut list = self.segments_to_check()?;
        list.retain(|&segment| Some(segment) > after);
        let mut checked = self.begin_check();
        for segment in &list {
            walk(&self.segments, &[*segment], |event| {
                checked.note(&event);
                Ok(())
            })?;
            progress(checked.segment_count, list.len());
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                checked.checked_up_to = Some(*segment);
                break;
            }
        }
        let mut config = lock(&self.config);
        let changed = config.with_last_segment_checked(&self.path, checked.checked_up_to)?;
        changed.save(&self.path, self.file_mode)?;
        *config = changed.into();
        Ok(checked)
    }

    fn begin_check(&self) -> Checked {
        let end = read(&self.end);
        Checked {
            transaction: end.transaction,
            tail: Some(end.tail.clone()),
            ..Checked::default()
        }
    }

    /// Those up to the last commit. Behind a commit that is damaged, or in a repository that has
    /// lost all of them, those behind as well: they are what a repair has to look at.
    fn segments_to_check(&self) -> Result<Vec<u32>, Error> {
        if lock(&self.writing).is_some() {
            return Err(Error::TransactionOpen);
        }
        let end = read(&self.end).clone();
        let mut list = self.segments.list()?;
        match end.tail {
            Tail::CommitDamaged { .. } => {}
            _ if end.transaction.is_none() && end.index_transaction.is_some() => {}
            _ => list.retain(|&segment| Some(segment) <= end.transaction),
        }
        Ok(list)
    }
}

impl Checked {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Entries(entries) => self.entry_count += entries.len() as u64,
            Event::Damage { damage, skipped } => self.damages.push(DamagedPlace {
                damage: *damage,
                skipped: *skipped,
            }),
            Event::End { segment, size } => {
                if *size == 0 {
                    self.empty_segments.push(*segment);
                }
                self.segment_count += 1;
                self.bytes += size;
            }
        }
    }

    fn compare(&mut self, saved: &auxiliary::Index, made: &auxiliary::Index) {
        let position = |[segment, offset]: [u32; 2]| Position { segment, offset };
        for (id, value) in saved.iter() {
            let found = made.get(&id);
            if found != Some(value) {
                self.index_differences.push(IndexDifference {
                    id,
                    indexed: Some(position(value)),
                    found: found.map(position),
                });
            }
        }
        for (id, value) in made.iter() {
            if !saved.contains(&id) {
                self.index_differences.push(IndexDifference {
                    id,
                    indexed: None,
                    found: Some(position(value)),
                });
            }
        }
        self.index_differences
            .sort_unstable_by_key(|it| (it.indexed, it.found));
    }
}
