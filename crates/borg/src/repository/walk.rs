//! Reads many segments at once and hands their entries over in the order of the log.
//!
//! Each thread reads every n-th segment and sends what it finds through a channel of its own,
//! which holds few batches: memory stays bounded however large the segments are, and the one who
//! receives empties the channels in turn.

use std::collections::HashMap;
use std::num::NonZero;
use std::thread;

use crossbeam_channel::{Receiver, bounded};

use super::entry::{Damage, Position};
use super::scan::{EntryInfo, Found, SegmentReader};
use super::segments::Segments;
use crate::{Error, Id};

/// Entries that travel together.
const BATCH_LENGTH: usize = 2048;
/// Batches that a thread may be ahead.
const BATCHES_AHEAD: usize = 4;

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

/// Entries that were verified already: objects, and where they are.
pub(super) type Verified = HashMap<Id, Position>;

/// Reads the given segments, verifies every checksum, and calls `receive` in the order given. An
/// error of `receive` ends it.
pub(super) fn walk(
    segments: &Segments,
    list: &[u32],
    receive: impl FnMut(Event) -> Result<(), Error>,
) -> Result<(), Error> {
    walk_unverified(segments, list, &Verified::new(), receive)
}

/// The same, and of what was verified already nothing large is read again.
pub(super) fn walk_unverified(
    segments: &Segments,
    list: &[u32],
    verified: &Verified,
    mut receive: impl FnMut(Event) -> Result<(), Error>,
) -> Result<(), Error> {
    let threads = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(list.len());
    if threads <= 1 {
        return list
            .iter()
            .try_for_each(|&segment| read(segments, segment, verified, &mut receive));
    }
    thread::scope(|scope| {
        let receivers: Vec<Receiver<Result<Event, Error>>> = (0..threads)
            .map(|thread| {
                let (sender, receiver) = bounded(BATCHES_AHEAD);
                scope.spawn(move || {
                    for &segment in list.iter().skip(thread).step_by(threads) {
                        let mut gone = false;
                        let result = read(segments, segment, verified, &mut |event| {
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
    verified: &Verified,
    receive: &mut impl FnMut(Event) -> Result<(), Error>,
) -> Result<(), Error> {
    let opened = if verified.is_empty() {
        SegmentReader::open(segments, segment)
    } else {
        SegmentReader::open_to_pass(segments, segment)
    };
    let mut reader = match opened {
        Ok(reader) => reader,
        Err(Error::Damaged(damage)) => {
            receive(Event::Damage { damage, skipped: 0 })?;
            return receive(Event::End { segment, size: 0 });
        }
        Err(error) => return Err(error),
    };
    let mut batch = Vec::new();
    loop {
        let passed = match verified.is_empty() {
            true => None,
            false => reader.pass(|id, at| verified.get(id) == Some(&at))?,
        };
        let found = match passed {
            Some(entry) => Ok(entry),
            None => match reader.next()? {
                Found::Entry(entry) => Ok(entry.info()),
                Found::Damage(damage) => Err(Some(damage)),
                Found::End => Err(None),
            },
        };
        let damage = match found {
            Ok(entry) => {
                batch.push(entry);
                if batch.len() >= BATCH_LENGTH {
                    receive(Event::Entries(std::mem::take(&mut batch)))?;
                }
                continue;
            }
            Err(damage) => damage,
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
