//! Whether the files are protected, as far as the history knows.
//!
//! Read from the history alone, without opening a layer: it is quick, works without a passphrase
//! and while a drive is away. What it says is what was seen at the time that stands beside it.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp, ZonedDateTime};
use serde::{Deserialize, Serialize};

use crate::event::{Event, Totals, Verb};
use crate::explain::Explanation;
use crate::guard::{self, Alarm};
use crate::history::{History, Operation, Outlines};
use crate::layer::{Depth, Statistics};
use crate::machine::Context;
use crate::past::is_credible;
use crate::plan::next_due;
use crate::wait::{Waiting, waiting};
use crate::{Error, config, rolling};

/// How well protected the sources are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// When this was found out.
    pub at: Timestamp,
    /// Layers that are in [`State::Good`].
    pub good: usize,
    /// What is known of each layer, in the order of the configuration.
    pub layers: Vec<LayerStatus>,
    /// What the last complete reading of the sources found.
    pub totals: Option<Totals>,
    /// An operation that began and never ended: it was killed, or is still under way.
    pub unfinished: Option<Timestamp>,
    /// Why nothing old is removed until a person says go on, when an alarm stands.
    pub guard: Option<Alarm>,
}

/// What is known of one layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerStatus {
    /// Which layer.
    pub layer: String,
    /// Its format.
    pub kind: &'static str,
    /// Where its bytes are kept.
    pub store: String,
    /// How it stands.
    pub state: State,
    /// Its newest snapshot.
    pub last: Option<Done>,
    /// Why it failed, if it did after its newest snapshot.
    pub failure: Option<Explanation>,
    /// When that was.
    pub failed_at: Option<Timestamp>,
    /// When it is due next; `None` when only on demand.
    pub next_due: Option<Timestamp>,
    /// Whether it has snapshots in a folder of this machine that is not there now: its drive is away,
    /// or they are gone.
    pub absent: bool,
    /// For what the last scheduled run left it waiting.
    pub waiting: Option<Waiting>,
    /// When it was last read back, and what was found.
    pub verified: Option<Verified>,
    /// What the stock program of its format said last, where it was asked.
    pub second_opinion: Option<SecondOpinion>,
    /// When every byte was read back by parts for the last time, where that is done.
    pub rolled_at: Option<Timestamp>,
    /// When files last came back from it.
    pub restored_at: Option<Timestamp>,
    /// Its last drill.
    pub drill: Option<Drill>,
    /// When a person last typed its passphrase for a drill.
    pub typed_at: Option<Timestamp>,
    /// Whether that is longer ago than the configuration wants.
    pub is_typing_due: bool,
}

/// A drill of the past.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drill {
    /// When.
    pub at: Timestamp,
    /// What was wrong; empty when everything came back as it was.
    pub faults: Vec<String>,
    /// How many files came back.
    pub files: usize,
    /// How many bytes.
    pub bytes: u64,
    /// How long that took.
    pub took_ms: u64,
    /// The stock program that agreed, where one was asked.
    pub second_opinion: Option<String>,
}

/// What a stock program said in the past.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SecondOpinion {
    /// When.
    pub at: Timestamp,
    /// The program.
    pub program: String,
    /// What it found; empty when all was well.
    pub findings: Vec<String>,
    /// How long it took.
    pub took_ms: u64,
}

/// How a layer stands, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It got its snapshot when it was due.
    Good,
    /// It has snapshots, but the next is overdue by more than a whole period and a day.
    Late,
    /// Its last drill did not bring all files back as they were, or could not be made.
    DrillFailed,
    /// Its last run failed.
    Failed,
    /// When it was last read back, damage was found.
    Damaged,
    /// It never got a snapshot.
    Never,
    /// It never will: this version cannot run it.
    NotRunnable,
}

/// A snapshot of the past.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Done {
    /// Its name.
    pub snapshot: String,
    /// When it was committed.
    pub at: Timestamp,
    /// What it took.
    pub statistics: Statistics,
    /// Objects of the sources that could not be read, and are not in it.
    pub problems: u64,
}

/// A verification of the past.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verified {
    /// When it was finished.
    pub at: Timestamp,
    /// How deep it went.
    pub depth: Depth,
    /// What was wrong; empty when nothing was.
    pub findings: Vec<String>,
}

/// Reads the history and says how things stand.
///
/// # Errors
///
/// [`Error::State`] when the history cannot be read.
pub fn status(context: Context<'_>) -> Result<Status, Error> {
    status_again(context, &mut Outlines::default())
}

/// The same for whoever asks again and again: what was read before stays in memory.
///
/// # Errors
///
/// As [`status`].
pub fn status_again(context: Context<'_>, memory: &mut Outlines) -> Result<Status, Error> {
    let now = (context.machine.clock)();
    let history = History::new(&context.machine.places.state);
    let mut known: HashMap<String, Known> = HashMap::new();
    let mut totals = None;
    let mut unfinished = None;
    for (index, operation) in history.outlines(memory)?.iter().enumerate() {
        if index == 0 {
            unfinished = unfinished_since(operation);
        }
        take_in(
            operation,
            context.config,
            &mut known,
            &mut totals,
            now.timestamp(),
        );
    }
    let waiting = waiting(context.machine);
    let layers: Vec<LayerStatus> = context
        .config
        .layers
        .iter()
        .map(|layer| {
            let known = known.remove(&layer.name).unwrap_or_default();
            let waits = waiting.iter().find(|waiting| waiting.layer == layer.name);
            let status = of_layer(layer, known, waits.cloned(), &now);
            let is_long_ago = |period| {
                let typed = status.typed_at.map(|at| now.timestamp().duration_since(at));
                typed.is_none_or(|ago| ago.unsigned_abs() > period)
            };
            LayerStatus {
                rolled_at: rolling::ended(&layer.name, context.machine),
                is_typing_due: layer.passphrase.is_some()
                    && status.last.is_some()
                    && context.config.verify.passphrase.is_some_and(is_long_ago),
                ..status
            }
        })
        .collect();
    Ok(Status {
        at: now.timestamp(),
        good: layers
            .iter()
            .filter(|layer| layer.state == State::Good)
            .count(),
        layers,
        totals,
        unfinished,
        guard: guard::alarm(context.machine),
    })
}

/// What the history knows of a layer: of each the newest.
#[derive(Debug, Default)]
struct Known {
    last: Option<Done>,
    failure: Option<(Timestamp, Explanation)>,
    verified: Option<Verified>,
    /// Whether a verification of all data was among what was taken in.
    data_was_verified: bool,
    restored_at: Option<Timestamp>,
    drill: Option<Drill>,
    second_opinion: Option<SecondOpinion>,
    typed_at: Option<Timestamp>,
}

impl Known {
    /// Takes in an older verification. What a deeper one has found stays until one as deep finds
    /// nothing.
    fn add_verified(&mut self, older: Verified) {
        let is_data = older.depth == Depth::Data;
        match &self.verified {
            None => self.verified = Some(older),
            Some(newer)
                if newer.findings.is_empty()
                    && !self.data_was_verified
                    && older.depth == Depth::Data
                    && !older.findings.is_empty() =>
            {
                self.verified = Some(older);
            }
            Some(_) => {}
        }
        self.data_was_verified |= is_data;
    }
}

/// Takes in one operation. They come newest first, so what is known already stays.
fn take_in(
    operation: &Operation,
    config: &config::Config,
    known: &mut HashMap<String, Known>,
    totals: &mut Option<Totals>,
    now: Timestamp,
) {
    let is_backup = matches!(
        operation.events.first(),
        Some(Event::Started {
            verb: Verb::Backup,
            ..
        })
    );
    let is_drill = matches!(
        operation.events.first(),
        Some(Event::Started {
            verb: Verb::Drill,
            ..
        })
    );
    let problems = operation.events.iter().rev().find_map(|event| match event {
        Event::Finished { problems, .. } => Some(*problems),
        _ => None,
    });
    let problems = problems.unwrap_or(0);
    for event in operation.events_of(config) {
        match event {
            Event::LayerDone {
                layer,
                snapshot,
                at,
                statistics,
            } if is_credible(*at, now) => {
                of(known, layer).last.get_or_insert_with(|| Done {
                    snapshot: snapshot.clone(),
                    at: *at,
                    statistics: *statistics,
                    problems,
                });
            }
            Event::LayerFailed { layer, at, failure } if is_backup => {
                let known = of(known, layer);
                if known.last.is_none() {
                    let failed = || (*at, failure.clone());
                    known.failure.get_or_insert_with(failed);
                }
            }
            Event::Verified {
                layer,
                depth,
                at,
                findings,
            } => {
                of(known, layer).add_verified(Verified {
                    at: *at,
                    depth: *depth,
                    findings: findings.clone(),
                });
            }
            Event::SecondOpinion {
                layer,
                program,
                at,
                findings,
                took_ms,
            } => {
                let said = || SecondOpinion {
                    at: *at,
                    program: program.clone(),
                    findings: findings.clone(),
                    took_ms: *took_ms,
                };
                of(known, layer).second_opinion.get_or_insert_with(said);
            }
            Event::Restored { layer, at, .. } => {
                of(known, layer).restored_at.get_or_insert(*at);
            }
            Event::Drilled {
                layer,
                at,
                faults,
                evidence,
            } => {
                if evidence.typed {
                    of(known, layer).typed_at.get_or_insert(*at);
                }
                of(known, layer).drill.get_or_insert_with(|| Drill {
                    at: *at,
                    faults: faults.clone(),
                    files: evidence.files.len(),
                    bytes: evidence.bytes,
                    took_ms: evidence.took_ms,
                    second_opinion: evidence
                        .second_opinion
                        .as_ref()
                        .filter(|opinion| opinion.agrees())
                        .map(|opinion| opinion.program.clone()),
                });
            }
            // One that could not even begin is the newest word on restores.
            Event::LayerFailed { layer, at, failure } if is_drill => {
                of(known, layer).drill.get_or_insert_with(|| Drill {
                    at: *at,
                    faults: vec![failure.because.join(": ")],
                    files: 0,
                    bytes: 0,
                    took_ms: 0,
                    second_opinion: None,
                });
            }
            Event::Committing { totals: found } => {
                totals.get_or_insert(*found);
            }
            _ => {}
        }
    }
}

fn of<'a>(known: &'a mut HashMap<String, Known>, layer: &str) -> &'a mut Known {
    known.entry(layer.to_owned()).or_default()
}

fn unfinished_since(operation: &Operation) -> Option<Timestamp> {
    let is_over = |event: &Event| matches!(event, Event::Finished { .. });
    match operation.events.first() {
        Some(Event::Started { at, .. }) if !operation.events.iter().any(is_over) => Some(*at),
        _ => None,
    }
}

fn of_layer(
    layer: &config::Layer,
    known: Known,
    waiting: Option<Waiting>,
    now: &ZonedDateTime,
) -> LayerStatus {
    let last_at = known.last.as_ref().map(|last| last.at);
    let due = next_due(layer.schedule, last_at, now);
    let verified = known.verified.iter().map(|verified| &verified.findings);
    let said = known.second_opinion.iter().map(|said| &said.findings);
    let is_damaged = verified.chain(said).any(|findings| !findings.is_empty());
    let failed_drill = known
        .drill
        .as_ref()
        .is_some_and(|drill| !drill.faults.is_empty());
    // One that began later and failed, on the lock of one that was under way, is over before it.
    let failure = known
        .failure
        .filter(|(at, _)| last_at.is_none_or(|last| *at > last));
    let state = match (&last_at, &due) {
        _ if !layer.is_runnable() => State::NotRunnable,
        _ if is_damaged => State::Damaged,
        _ if failure.is_some() => State::Failed,
        (None, _) => State::Never,
        _ if failed_drill => State::DrillFailed,
        (Some(last), Some(due)) if is_late(*last, due, now) => State::Late,
        _ => State::Good,
    };
    let (failed_at, failure) = failure.unzip();
    LayerStatus {
        layer: layer.name.clone(),
        kind: layer.kind.name(),
        store: layer.store.clone(),
        state,
        absent: known.last.is_some() && layer.local_store().is_some_and(|store| !store.exists()),
        last: known.last,
        failure,
        failed_at,
        waiting: waiting.filter(|_| due.as_ref().is_some_and(|due| due <= now)),
        next_due: due.map(|due| due.timestamp()),
        verified: known.verified,
        second_opinion: known.second_opinion,
        rolled_at: None,
        restored_at: known.restored_at,
        drill: known.drill,
        typed_at: known.typed_at,
        is_typing_due: false,
    }
}

/// Whether work is overdue by more than its period and a day: a laptop that slept over the
/// weekend is not late with its hourly backup.
fn is_late(last: Timestamp, due: &ZonedDateTime, now: &ZonedDateTime) -> bool {
    let period = due.timestamp().duration_since(last);
    let overdue = now.timestamp().duration_since(due.timestamp());
    overdue > period.max(SignedDuration::ZERO) + SignedDuration::from_hours(24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_is_more_than_a_period_and_a_day() {
        let at = |text: &str| text.parse::<ZonedDateTime>().unwrap();
        let last = at("2026-11-20T02:10[UTC]").timestamp();
        let due = at("2026-11-21T02:00[UTC]");
        assert!(!is_late(last, &due, &at("2026-11-22T12:00[UTC]")));
        assert!(is_late(last, &due, &at("2026-11-23T03:00[UTC]")));
    }
}
