//! Rolling verification: a part of each store is read back at each scheduled run, at most once a day, so
//! that within the configured time everything was read, and no single run takes hours.
//!
//! How long a part takes follows from how long the last whole round took; in the first round, of which
//! nothing is known, a part takes ten minutes for each day that has passed. A part is read in short slices,
//! so that it can be stopped between two: the store remembers how far it was read.
//!
//! What is remembered here may be lost: the first round begins anew then, from where the store was read up
//! to. Damage is recorded as by any verification.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::event::Watch;
use crate::explain::{Explanation, explain};
use crate::machine::Context;
use crate::past::is_credible;
use crate::verify::verify_for;
use crate::{Code, Error, Machine, config, layer, replace_private_file};

/// A part is read again no sooner than this.
const REST: SignedDuration = SignedDuration::from_hours(20);

/// How long is read for a day that has passed, while nothing is known of the store.
const FIRST_ROUND_A_DAY: Duration = Duration::from_secs(600);

/// Shortest and longest time that a part takes: what was missed for months is not made up at once.
const PART_MIN: Duration = Duration::from_secs(10);
const PART_MAX: Duration = Duration::from_secs(4 * 3600);

/// How long is read before the next look whether to stop.
const SLICE: Duration = Duration::from_secs(20);

/// A part of a layer that was read back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rolled {
    /// Which layer.
    pub layer: String,
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Whether it came to the end of the store: everything was read since the round began.
    pub to_the_end: bool,
    /// What is wrong, one sentence each; empty when all is well.
    pub findings: Vec<String>,
    /// Why it could not be read, when it could not.
    pub failure: Option<Explanation>,
}

/// How far the rounds of one layer are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Round {
    /// When the last part was read.
    last: Option<Timestamp>,
    /// How long the parts of this round took.
    spent_ms: u64,
    /// How long the last whole round took.
    whole_ms: Option<u64>,
    /// When that came to its end.
    ended: Option<Timestamp>,
}

impl Round {
    /// How long to read now, to be through in `period`; `None` when not now.
    fn part(&self, period: Duration, now: Timestamp) -> Option<Duration> {
        let day = Duration::from_secs(24 * 3600);
        let last = self.last.filter(|&last| is_credible(last, now));
        let passed = last.map_or(day, |last| now.duration_since(last).unsigned_abs());
        if last.is_some() && passed < REST.unsigned_abs() {
            return None;
        }
        let part = match self.whole_ms {
            // A quarter more than its share, since stores grow.
            Some(whole) => {
                let share = passed.as_secs_f64() / period.as_secs_f64().max(1.0);
                Duration::from_millis(whole).mul_f64(1.25 * share.min(1.0))
            }
            None => FIRST_ROUND_A_DAY.mul_f64(passed.as_secs_f64() / day.as_secs_f64()),
        };
        Some(part.clamp(PART_MIN, PART_MAX))
    }

    /// Notes that so much time went into reading, and whether the end was reached.
    fn add(&mut self, took: Duration, to_the_end: bool, now: Timestamp) {
        self.spent_ms = self
            .spent_ms
            .saturating_add(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        self.last = Some(now);
        if to_the_end {
            self.whole_ms = Some(self.spent_ms);
            self.spent_ms = 0;
            self.ended = Some(now);
        }
    }
}

fn file(machine: &Machine) -> PathBuf {
    machine.places.state.join("rolling.json")
}

fn read(machine: &Machine) -> BTreeMap<String, Round> {
    let read = fs::read(file(machine)).ok();
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// When everything in a layer was last read back by parts.
pub(crate) fn ended(layer: &str, machine: &Machine) -> Option<Timestamp> {
    read(machine).get(layer).and_then(|round| round.ended)
}

/// Reads the parts that are due of these layers.
pub(crate) fn roll(
    layers: &[&config::Layer],
    period: Duration,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Vec<Rolled> {
    let machine = context.machine;
    let mut rounds = read(machine);
    let mut rolled = Vec::new();
    for layer in layers {
        let now = machine.now().timestamp();
        let round = rounds.entry(layer.name.clone()).or_default();
        let Some(part) = round.part(period, now) else {
            continue;
        };
        let Some(done) = read_part(layer, part, round, context, watch) else {
            continue;
        };
        rolled.push(done);
        // Lost, a part is read once more.
        let text = serde_json::to_vec(&rounds).unwrap_or_default();
        let _ = replace_private_file(&file(machine), &text);
    }
    rolled
}

/// Reads a part in slices; `None` where there is nothing to tell.
fn read_part(
    layer: &config::Layer,
    part: Duration,
    round: &mut Round,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Option<Rolled> {
    let mut rolled = Rolled {
        layer: layer.name.clone(),
        read_bytes: 0,
        to_the_end: false,
        findings: Vec::new(),
        failure: None,
    };
    let mut left = part;
    while left > Duration::ZERO && !watch.stop.is_requested() {
        let slice = left.min(SLICE);
        match verify_for(layer, slice, context, watch) {
            Ok(report) => {
                let found = report.found;
                rolled.read_bytes += found.read_bytes.unwrap_or(0);
                rolled.findings.extend(found.findings);
                rolled.to_the_end = found.to_the_end == Some(true);
                round.add(slice, rolled.to_the_end, context.machine.now().timestamp());
                // At a server it is one check, for as long as it takes.
                if rolled.to_the_end || found.to_the_end.is_none() || !rolled.findings.is_empty() {
                    break;
                }
            }
            Err(Error::Layer {
                source: layer::Error::Unsupported { .. },
                ..
            }) => return None,
            Err(error) => {
                let failure = explain(&error);
                // Another program is at work: the next run makes up for it.
                if failure.code == Code::RepositoryLocked {
                    break;
                }
                rolled.failure = Some(failure);
                break;
            }
        }
        left = left.saturating_sub(slice);
    }
    Some(rolled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;
    const MONTH: Duration = Duration::from_secs(28 * 24 * 3600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn with_a_part_a_day_everything_is_read_in_time() {
        // It takes ten hours to read, which nobody knows.
        let whole = Duration::from_secs(36_000);
        let mut round = Round::default();
        let mut read = Duration::ZERO;
        let mut ends = Vec::new();
        for day in 1..365 {
            let now = at(1_700_000_000 + day * DAY);
            let part = round.part(MONTH, now).unwrap();
            let took = part.min(whole - read);
            read += took;
            let to_the_end = read >= whole;
            round.add(took, to_the_end, now);
            if to_the_end {
                read = Duration::ZERO;
                ends.push(day);
            }
        }
        assert!(ends.len() >= 8, "{ends:?}");
        for pair in ends.windows(2) {
            let days = pair[1] - pair[0];
            assert!((15..=28).contains(&days), "{ends:?}");
        }
    }

    #[test]
    fn a_part_is_read_once_a_day_and_never_for_ever() {
        let mut round = Round::default();
        assert_eq!(round.part(MONTH, at(0)), Some(FIRST_ROUND_A_DAY));
        round.add(Duration::from_secs(600), false, at(1_700_000_000));
        assert_eq!(round.part(MONTH, at(1_700_000_000 + 3600)), None);
        let year_later = at(1_700_000_000 + 365 * DAY);
        assert_eq!(round.part(MONTH, year_later), Some(PART_MAX));
        round.add(Duration::from_millis(1), true, year_later);
        let next = at(year_later.as_second() + DAY);
        assert!(round.part(MONTH, next).unwrap() >= PART_MIN);
        // A clock that was wrong keeps nothing from being read.
        let before = at(1_600_000_000);
        assert!(round.part(MONTH, before).is_some());
    }
}
