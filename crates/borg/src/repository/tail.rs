//! Where the log ends: its last valid commit, and what follows it.
//!
//! A commit is valid when it ends its segment and everything before it in the file is whole.
//! What follows the last one was left by a writer that was interrupted, and is removed by the
//! next one. Unless it is more than that: when the last commit itself is damaged, the whole
//! transaction before it looks like such a rest, and removing it would make the newest snapshot
//! vanish without a word. So a commit that was there is told from one that never was:
//!
//! - an index exists of a transaction only after its commit was durable;
//! - a commit stands in a file of its own, of 17 bytes, written at once. Other bytes in a file
//!   of that size are damage, but for zeros, which a power cut can leave;
//! - a longer segment whose entries are whole up to the last 9 bytes, which differ from a
//!   commit in a few bits, or one that is damaged before a commit at its end.
//!
//! What is lost with *every* trace of it (commit, index and all) cannot be told from what never
//! was. The caller can: it remembers which transaction it has committed last.

use super::auxiliary;
use super::entry::{COMMIT, Damage, HEADER_SIZE, MAGIC, PUT_SIZE, Position, Tag};
use super::scan::{Found, SegmentReader};
use super::segments::Segments;
use crate::Error;
use std::path::Path;

/// Bytes of a segment that holds a commit and nothing else.
pub(super) const COMMIT_SEGMENT_SIZE: u64 = MAGIC.len() as u64 + COMMIT.len() as u64;

/// More flipped bits than this in 9 bytes, and they are not taken for a commit.
const FLIPPED_BITS_MAX: u32 = 8;

/// What follows the last valid commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Clean,
    /// What a writer has left that was interrupted. It never counted, and the next transaction
    /// removes it.
    Unfinished {
        /// In how many files.
        segment_count: usize,
        /// Whether a manifest stands in it: only the commit was missing.
        has_manifest: bool,
    },
    /// A committed transaction whose commit is damaged or lost. No transaction can begin before
    /// it has been repaired.
    CommitDamaged {
        /// The segment that should hold the commit.
        segment: u32,
        /// Whether all the rest is whole. Then the transaction counts for readers, and
        /// [`super::Repository::repair_commit`] makes it valid again.
        restorable: bool,
    },
    /// Nothing follows, but the index is of a later transaction: segments were removed, by
    /// hand to go back to an earlier state, or by an accident.
    RolledBack {
        /// The transaction that the index is of.
        index_transaction: u32,
    },
}

/// The state of the log on the disk.
#[derive(Debug, Clone)]
pub(super) struct LogEnd {
    /// The transaction that readers see.
    pub(super) transaction: Option<u32>,
    /// The newest transaction that has an index.
    pub(super) index_transaction: Option<u32>,
    pub(super) tail: Tail,
    /// The segments that follow the last valid commit, in ascending order.
    pub(super) uncommitted: Vec<u32>,
}

impl LogEnd {
    pub(super) fn find(repository: &Path, segments: &Segments) -> Result<Self, Error> {
        let index_transaction = auxiliary::newest_transaction(repository)?;
        let (committed, uncommitted) = last_commit(segments)?;
        let tail = classify(segments, committed, index_transaction, &uncommitted)?;
        let transaction = match tail {
            Tail::CommitDamaged {
                segment,
                restorable: true,
            } => Some(segment),
            _ => committed,
        };
        Ok(Self {
            transaction,
            index_transaction,
            tail,
            uncommitted,
        })
    }
}

/// The last segment that ends with a valid commit, and those after it.
fn last_commit(segments: &Segments) -> Result<(Option<u32>, Vec<u32>), Error> {
    let mut uncommitted = Vec::new();
    for directory in segments.directories()?.into_iter().rev() {
        for segment in segments.list_directory(directory)?.into_iter().rev() {
            if is_committed(segments, segment)? {
                uncommitted.reverse();
                return Ok((Some(segment), uncommitted));
            }
            uncommitted.push(segment);
        }
    }
    uncommitted.reverse();
    Ok((None, uncommitted))
}

/// Whether a segment ends with a commit that is valid.
///
/// The last bytes alone do not say so: the content of a file that was backed up may have them.
pub(super) fn is_committed(segments: &Segments, segment: u32) -> Result<bool, Error> {
    if last_bytes(segments, segment)? != Some(COMMIT) {
        return Ok(false);
    }
    let mut reader = SegmentReader::open(segments, segment)?;
    let mut seen_commit = false;
    loop {
        match reader.next()? {
            Found::Entry(entry) if entry.tag == Tag::Commit => seen_commit = true,
            // Nothing but commits may follow the first one.
            Found::Entry(_) if seen_commit => return Ok(false),
            Found::Entry(_) => {}
            Found::Damage(_) => return Ok(false),
            Found::End => return Ok(seen_commit),
        }
    }
}

fn classify(
    segments: &Segments,
    committed: Option<u32>,
    index_transaction: Option<u32>,
    uncommitted: &[u32],
) -> Result<Tail, Error> {
    let damaged = |segment| {
        Ok(Tail::CommitDamaged {
            segment,
            restorable: is_restorable(segments, committed, uncommitted, segment)?,
        })
    };
    for &segment in uncommitted.iter().rev() {
        if Some(segment) == index_transaction || was_commit(segments, segment)? {
            return damaged(segment);
        }
    }
    let newer_index = index_transaction.filter(|_| index_transaction > committed);
    match (newer_index, uncommitted.is_empty()) {
        // Segments of it are there, only the commit is not.
        (Some(index_transaction), false) => damaged(index_transaction),
        // A repository that has lost all its commits is told apart by who loads the index.
        (Some(index_transaction), true) if committed.is_some() => {
            Ok(Tail::RolledBack { index_transaction })
        }
        (_, true) => Ok(Tail::Clean),
        (None, false) => {
            let mut has_manifest = false;
            for &segment in uncommitted {
                has_manifest |= begins_with_manifest(segments, segment)?;
            }
            Ok(Tail::Unfinished {
                segment_count: uncommitted.len(),
                has_manifest,
            })
        }
    }
}

/// Whether a segment that does not end with a valid commit once did.
fn was_commit(segments: &Segments, segment: u32) -> Result<bool, Error> {
    let size = segments.size(segment)?;
    if size == COMMIT_SEGMENT_SIZE {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        segments.read_at(Position { segment, offset: 0 }, &mut bytes)?;
        return Ok(bytes.iter().any(|&byte| byte != 0));
    }
    let Some(last) = last_bytes(segments, segment)? else {
        return Ok(false);
    };
    let flipped: u32 = last
        .iter()
        .zip(COMMIT)
        .map(|(found, expected)| (found ^ expected).count_ones())
        .sum();
    if flipped > FLIPPED_BITS_MAX {
        return Ok(false);
    }
    Ok(match first_damage(segments, segment)? {
        // Those bytes are the content of a whole entry.
        None => false,
        Some(_) if flipped == 0 => true,
        Some(damage) => is_at_end(damage, size),
    })
}

/// Whether all of a transaction is there and whole but for its commit.
fn is_restorable(
    segments: &Segments,
    committed: Option<u32>,
    uncommitted: &[u32],
    commit: u32,
) -> Result<bool, Error> {
    let first = committed.map_or(0, |segment| segment.saturating_add(1));
    let before: Vec<u32> = uncommitted
        .iter()
        .copied()
        .filter(|&segment| segment < commit)
        .collect();
    // The first segment of all has no certain number.
    let is_gapless = match before.first() {
        Some(&lowest) => {
            (lowest == first || committed.is_none())
                && before.len() as u64 == u64::from(commit - lowest)
        }
        None => committed.is_some() && commit == first,
    };
    if !is_gapless {
        return Ok(false);
    }
    for &segment in &before {
        if segments.size(segment)? == 0 || first_damage(segments, segment)?.is_some() {
            return Ok(false);
        }
    }
    let size = segments.size(commit)?;
    if size <= COMMIT_SEGMENT_SIZE {
        return Ok(true);
    }
    Ok(match first_damage(segments, commit)? {
        None => false,
        Some(damage) => is_at_end(damage, size),
    })
}

/// Whether the damage is where the commit of the segment is.
fn is_at_end(damage: Damage, size: u64) -> bool {
    u64::from(damage.at.offset) + HEADER_SIZE as u64 == size
}

fn first_damage(segments: &Segments, segment: u32) -> Result<Option<Damage>, Error> {
    let mut reader = SegmentReader::open(segments, segment)?;
    loop {
        match reader.next()? {
            Found::Entry(_) => {}
            Found::Damage(damage) => return Ok(Some(damage)),
            Found::End => return Ok(None),
        }
    }
}

fn last_bytes(segments: &Segments, segment: u32) -> Result<Option<[u8; HEADER_SIZE]>, Error> {
    let size = segments.size(segment)?;
    let offset = size.checked_sub(HEADER_SIZE as u64);
    let Some(offset) = offset.and_then(|offset| u32::try_from(offset).ok()) else {
        return Ok(None);
    };
    let mut last = [0; HEADER_SIZE];
    let count = segments.read_at(Position { segment, offset }, &mut last)?;
    Ok((count == HEADER_SIZE).then_some(last))
}

fn begins_with_manifest(segments: &Segments, segment: u32) -> Result<bool, Error> {
    let mut start = [0xff; MAGIC.len() + PUT_SIZE];
    segments.read_at(Position { segment, offset: 0 }, &mut start)?;
    let (_, entry) = start.split_at(MAGIC.len());
    let (header, id) = entry.split_at(HEADER_SIZE);
    Ok(header.last() == Some(&0) && id.iter().all(|&byte| byte == 0))
}
