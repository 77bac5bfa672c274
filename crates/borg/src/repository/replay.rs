//! Makes index and books from the log.
//!
//! The log is the truth; index and hints only save reading it. After a crash between a commit
//! and the writing of the index, the entries since the index's transaction are applied to it. An
//! index that is missing, damaged or newer than the log is made from the beginning.
//!
//! Damage is passed over, so that everything else can still be read. It is kept in mind, and
//! nothing is written on such ground: see [`Replayed::damages`].

use std::path::Path;

use super::auxiliary::{self, Index};
use super::entry::{Damage, DamageKind, Header, Position, Tag};
use super::scan::EntryInfo;
use super::segments::Segments;
use super::tail::LogEnd;
use super::usage::Usage;
use super::walk::{Event, walk};
use crate::Error;

/// Index and books of a transaction.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) index: Index,
    /// `None` when only the index was asked for.
    pub(super) usage: Option<Usage>,
    /// What was met that could not be read.
    pub(super) damages: Vec<Damage>,
}

/// Loads the index of the transaction at the end of the log, from its file or from the log.
pub(super) fn load(
    repository: &Path,
    segments: &Segments,
    end: &LogEnd,
    with_usage: bool,
) -> Result<Replayed, Error> {
    let (transaction, index_transaction) = match (end.transaction, end.index_transaction) {
        (None, None) => {
            return Ok(Replayed {
                usage: with_usage.then(Usage::default),
                ..Replayed::default()
            });
        }
        (None, Some(_)) => {
            return Err(Error::CheckNeeded {
                what: "an index, but no commit in any segment".into(),
            });
        }
        (Some(transaction), index_transaction) => (transaction, index_transaction),
    };
    let saved = index_transaction
        .filter(|&saved| saved <= transaction)
        .and_then(|saved| {
            let index = auxiliary::load_index(repository, saved)?;
            let usage = match with_usage {
                true => Some(auxiliary::load_usage(repository, saved)?),
                false => None,
            };
            Some((saved, index, usage))
        });
    let saved = match saved {
        Some((saved, index, usage)) if saved == transaction => {
            return Ok(Replayed {
                index,
                usage,
                damages: Vec::new(),
            });
        }
        older => older,
    };
    let mut list = segments.list()?;
    // What is older than a compaction names segments that are gone, and objects whose DELETE went
    // with them: a replay on top would bring those back.
    let saved = saved.filter(|(_, index, usage)| {
        let mut indexed = index.iter().map(|(_, [segment, _])| segment);
        let mut counted = usage.iter().flat_map(|usage| usage.live.keys().copied());
        let is_there = |segment: u32| list.binary_search(&segment).is_ok();
        indexed.all(is_there) && counted.all(is_there)
    });
    let (after, index, usage) = match saved {
        Some((saved, index, usage)) => (Some(saved), index, usage),
        None => (None, Index::new(), with_usage.then(Usage::default)),
    };
    let mut replay = Replay {
        segments,
        result: Replayed {
            index,
            usage,
            damages: Vec::new(),
        },
    };
    list.retain(|&segment| Some(segment) > after && segment <= transaction);
    // A commit that is read as if it were whole is no damage to the objects.
    if is_damaged_commit(end, transaction) {
        list.retain(|&segment| segment != transaction);
    }
    walk(segments, &list, |event| replay.receive(event))?;
    Ok(replay.result)
}

fn is_damaged_commit(end: &LogEnd, transaction: u32) -> bool {
    matches!(end.tail, super::Tail::CommitDamaged { segment, .. } if segment == transaction)
}

/// Applies the log to an index, entry by entry.
pub(super) struct Replay<'a> {
    pub(super) segments: &'a Segments,
    pub(super) result: Replayed,
}

impl Replay<'_> {
    pub(super) fn receive(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Entries(entries) => entries.iter().try_for_each(|entry| self.apply(entry))?,
            Event::Damage { damage, .. } => self.result.damages.push(damage),
            Event::End { segment, size } => self.end(segment, size),
        }
        Ok(())
    }

    fn apply(&mut self, entry: &EntryInfo) -> Result<(), Error> {
        let Position { segment, offset } = entry.at;
        match entry.tag {
            Tag::Put => {
                let former = self.result.index.insert(&entry.id, [segment, offset]);
                if let Some(usage) = &mut self.result.usage {
                    // Old programs wrote a PUT over a PUT without a DELETE between.
                    if let Some([former, _]) = former {
                        usage.supersede(&entry.id, former, entry.size);
                    }
                    usage.put(segment, entry.size);
                }
            }
            Tag::Delete => {
                let former = self.result.index.remove(&entry.id);
                if let (Some([segment, offset]), Some(usage)) = (former, &mut self.result.usage) {
                    let former = Position { segment, offset };
                    match read_header(self.segments, former) {
                        Ok(header) => {
                            let size = u32::try_from(header.size).unwrap_or(u32::MAX);
                            usage.supersede(&entry.id, segment, size);
                        }
                        // An older index may know segments that were compacted meanwhile.
                        Err(Error::Damaged(Damage {
                            kind: DamageKind::Missing | DamageKind::Truncated,
                            ..
                        })) => {}
                        Err(Error::Damaged(damage)) => self.result.damages.push(damage),
                        Err(error) => return Err(error),
                    }
                }
            }
            Tag::Commit => {}
        }
        Ok(())
    }

    fn end(&mut self, segment: u32, size: u64) {
        if let Some(usage) = &mut self.result.usage
            && *usage.live.entry(segment).or_default() == 0
        {
            usage.freeable.insert(segment, size);
        }
    }
}

/// Reads the header of the entry at a position.
pub(super) fn read_header(segments: &Segments, at: Position) -> Result<Header, Error> {
    let mut header = [0; super::entry::HEADER_SIZE];
    let damaged = |kind| Error::Damaged(Damage { at, kind });
    if segments.read_at(at, &mut header)? < header.len() {
        return Err(damaged(DamageKind::Truncated));
    }
    Header::parse(header).map_err(damaged)
}
