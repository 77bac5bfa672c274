//! Reads many segments at once and hands their entries over in the order of the log.
//!
//! Each thread reads every n-th segment and sends what it finds through a channel of its own,
//! which holds few batches: memory stays bounded however large the segments are, and the one who
//! receives empties the channels in turn.

use std::num::NonZero;
use std::thread;

use crossbeam_channel::{Receiver, bounded};

use super::entry::{Damage, Position, Tag};
use super::scan::{Found, SegmentReader};
use super::segments::Segments;
use crate::{Error, Id};

/// Entries that travel together.
const BATCH_LENGTH: usize = 2048;
/// Batches that a thread may be ahead.
const BATCHES_AHEAD: usize = 4;

/// An entry without its data.
#[derive(Debug, Clone, Copy)]
pub(super) struct EntryInfo {
    pub(super) at: Position,
    pub(super) tag: Tag,
    pub(super) id: Id,
    /// Header included.
    pub(super) size: u32,
}

/// What is met on the way, in the order of the log.
#[derive(Debug)]
pub(super) enum Event {
    Entries(Vec<EntryInfo>),
    /// Reading goes on behind it.
    Damage {
        damage: Damage,
        /// Bytes of the segment in which no whole entry was found.
        skipped: u64,
    },
    /// All of a segment has been handed over.
    End {
        segment: u32,
        /// Bytes of its file.
        size: u64,
    },
}

/// Reads the given segments, verifies every checksum, and calls `receive` in the order given. An
/// error of `receive` ends it.
pub(super) fn walk(
    segments: &Segments,
    list: &[u32],
    mut receive: impl FnMut(Event) -> Result<(), Error>,
) -> Result<(), Error> {
    let threads = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(list.len());
    if threads <= 1 {
        return list
            .iter()
            .try_for_each(|&segment| read(segments, segment, &mut receive));
    }
    thread::scope(|scope| {
        let receivers: Vec<Receiver<Result<Event, Error>>> = (0..threads)
            .map(|thread| {
                let (sender, receiver) = bounded(BATCHES_AHEAD);
                scope.spawn(move || {
                    for &segment in list.iter().skip(thread).step_by(threads) {
                        let mut gone = false;
                        let result = read(segments, segment, &mut |event| {
                            gone = sender.send(Ok(event)).is_err();
                            // Any error: nobody will see it.
                            if gone { Err(Error::Doomed) } else { Ok(()) }
                        });
                        if let Err(error) = result {
                            let _ = sender.send(Err(error));
                            return;
                        }
                    }
                });
                receiver
            })
            .collect();
        for (receiver, _) in receivers.iter().cycle().zip(list) {
            loop {
                // A thread that ends early has sent its error before.
                let event = receiver.recv().unwrap_or(Err(Error::Doomed))?;
                let is_end = matches!(event, Event::End { .. });
                receive(event)?;
                if is_end {
                    break;
                }
            }
        }
        Ok(())
    })
}

fn read(
    segments: &Segments,
    segment: u32,
    receive: &mut impl FnMut(Event) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut reader = match SegmentReader::open(segments, segment) {
        Ok(reader) => reader,
        Err(Error::Damaged(damage)) => {
            receive(Event::Damage { damage, skipped: 0 })?;
            return receive(Event::End { segment, size: 0 });
        }
        Err(error) => return Err(error),
    };
    let mut batch = Vec::new();
    loop {
        let damage = match reader.next()? {
            Found::Entry(entry) => {
                batch.push(EntryInfo {
                    at: entry.at,
                    tag: entry.tag,
                    id: entry.id,
                    size: entry.size,
                });
                if batch.len() >= BATCH_LENGTH {
                    receive(Event::Entries(std::mem::take(&mut batch)))?;
                }
                continue;
            }
            Found::Damage(damage) => Some(damage),
            Found::End => None,
        };
        if !batch.is_empty() {
            receive(Event::Entries(std::mem::take(&mut batch)))?;
        }
        let Some(damage) = damage else {
            let size = segments.size(segment)?;
            return receive(Event::End { segment, size });
        };
        let skipped = reader.resynchronise()?;
        receive(Event::Damage { damage, skipped })?;
    }
}
