//! What was done to each layer, in the order of time: the history as people look at it.

use jiff::Timestamp;
use serde::Serialize;

use crate::Error;
use crate::event::{Event, Verb};
use crate::explain::Code;
use crate::history::{History, Operation};

/// How many operations are looked at in search of what is asked for: a year of hourly runs. Whoever
/// looks for more has the files of the history itself.
const LOOKED_AT_MAX: usize = 10_000;

/// One thing that was done to one layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moment {
    /// When it was over; when it began, for one that never was.
    pub at: Timestamp,
    /// What was done.
    pub verb: Verb,
    /// To which layer.
    pub layer: String,
    /// How it ended.
    pub ended: Ended,
    /// How long it took since the operation began, in milliseconds.
    pub took_ms: Option<u64>,
    /// Of a backup: regular files in the snapshot. Of a drill or a restore: what came back.
    pub files: Option<u64>,
    /// Their content, in bytes.
    pub bytes: Option<u64>,
    /// Of a backup: what the store grew by, in bytes.
    pub added_bytes: Option<u64>,
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Ended {
    /// As it should.
    Good,
    /// It could not be done.
    Failed {
        /// Why: a code of docs/errors.md.
        code: Code,
    },
    /// It was done, and found something wrong.
    Damaged {
        /// How much.
        findings: u64,
    },
    /// It was never over: stopped, killed, or still under way.
    Unfinished,
}

/// The last `most` moments of one layer, or of all, oldest first.
///
/// # Errors
///
/// [`Error::State`] when the history is there but cannot be read.
pub fn timeline(
    history: &History,
    is_wanted: impl Fn(&Moment) -> bool,
    most: usize,
) -> Result<Vec<Moment>, Error> {
    let mut newest_first = Vec::new();
    for operation in history.operations()?.take(LOOKED_AT_MAX) {
        let found = moments(&operation).into_iter().rev();
        newest_first.extend(found.filter(&is_wanted));
        if newest_first.len() >= most {
            break;
        }
    }
    newest_first.truncate(most);
    newest_first.reverse();
    Ok(newest_first)
}

/// What an operation did, in order.
fn moments(operation: &Operation) -> Vec<Moment> {
    let Some(Event::Started {
        verb,
        at: began,
        layers,
        ..
    }) = operation.events.first()
    else {
        return Vec::new();
    };
    let mut missing = layers.clone();
    let mut found = Vec::new();
    let mut add = |layer: &String, at: Timestamp, ended: Ended| {
        missing.retain(|name| name != layer);
        let took = at.duration_since(*began).as_millis();
        found.push(Moment {
            at,
            verb: *verb,
            layer: layer.clone(),
            ended,
            took_ms: u64::try_from(took).ok(),
            files: None,
            bytes: None,
            added_bytes: None,
        });
        found.len() - 1
    };
    let faults = |faults: &[String]| match u64::try_from(faults.len()).unwrap_or(u64::MAX) {
        0 => Ended::Good,
        findings => Ended::Damaged { findings },
    };
    let mut sizes: Vec<(usize, Option<u64>, u64, Option<u64>)> = Vec::new();
    for event in &operation.events {
        match event {
            Event::LayerDone {
                layer,
                at,
                statistics,
                ..
            } => {
                let index = add(layer, *at, Ended::Good);
                let added = Some(statistics.added_bytes);
                sizes.push((index, Some(statistics.files), statistics.bytes, added));
            }
            Event::LayerFailed { layer, at, failure } => {
                add(layer, *at, Ended::Failed { code: failure.code });
            }
            Event::Verified {
                layer,
                at,
                findings,
                ..
            }
            | Event::SecondOpinion {
                layer,
                at,
                findings,
                ..
            } => {
                add(layer, *at, faults(findings));
            }
            Event::Drilled {
                layer,
                at,
                faults: found,
                evidence,
            } => {
                let index = add(layer, *at, faults(found));
                let files = u64::try_from(evidence.files.len()).ok();
                sizes.push((index, files, evidence.bytes, None));
            }
            Event::Restored {
                layer, at, bytes, ..
            } => {
                let index = add(layer, *at, Ended::Good);
                sizes.push((index, None, *bytes, None));
            }
            Event::Pruned { layer, at, .. } => {
                add(layer, *at, Ended::Good);
            }
            _ => {}
        }
    }
    for (index, files, bytes, added_bytes) in sizes {
        if let Some(moment) = found.get_mut(index) {
            moment.files = files;
            moment.bytes = Some(bytes);
            moment.added_bytes = added_bytes;
        }
    }
    let is_over = matches!(operation.events.last(), Some(Event::Finished { .. }));
    if !is_over {
        found.extend(missing.into_iter().map(|layer| Moment {
            at: *began,
            verb: *verb,
            layer,
            ended: Ended::Unfinished,
            took_ms: None,
            files: None,
            bytes: None,
            added_bytes: None,
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{Depth, Statistics};
    use crate::report::Outcome;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn operation(second: i64, verb: Verb, mut events: Vec<Event>) -> Operation {
        events.insert(
            0,
            Event::Started {
                run: "r".to_owned(),
                verb,
                at: at(second),
                host: "nas".to_owned(),
                layers: vec!["disk".to_owned(), "far".to_owned()],
                stores: Vec::new(),
                expected: None,
            },
        );
        Operation { events }
    }

    #[test]
    fn each_layer_has_its_own_end() {
        let done = Event::LayerDone {
            layer: "disk".to_owned(),
            snapshot: "s".to_owned(),
            at: at(104),
            statistics: Statistics {
                files: 3,
                bytes: 50,
                added_bytes: 7,
            },
        };
        let killed = moments(&operation(100, Verb::Backup, vec![done.clone()]));
        assert_eq!(killed.len(), 2);
        assert_eq!(killed[0].took_ms, Some(4000));
        assert_eq!(
            (killed[0].bytes, killed[0].added_bytes),
            (Some(50), Some(7))
        );
        assert_eq!(
            (killed[1].layer.as_str(), killed[1].ended),
            ("far", Ended::Unfinished)
        );
        let finished = Event::Finished {
            at: at(110),
            outcome: Outcome::Good,
            totals: None,
            problems: 0,
        };
        assert_eq!(
            moments(&operation(100, Verb::Backup, vec![done, finished])).len(),
            1
        );
    }

    #[test]
    fn damage_is_not_called_good() {
        let verified = Event::Verified {
            layer: "disk".to_owned(),
            depth: Depth::Data,
            at: at(101),
            findings: vec!["a chunk is missing".to_owned()],
        };
        let found = moments(&operation(100, Verb::Verify, vec![verified]));
        assert_eq!(found[0].ended, Ended::Damaged { findings: 1 });
    }
}
