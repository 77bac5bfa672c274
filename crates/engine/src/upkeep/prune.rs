//! Applies the `keep` rules of a layer: what they do not keep goes, and its space is freed.
//!
//! Only snapshots that this machine made for this layer are looked at, which their names tell:
//! what others keep in the same repository is theirs. The newest finished snapshot always stays,
//! and so does one whose time is still to come, for then a clock was wrong and no rule can be
//! relied on.

use borg::{Period, Reason, checkpoint_of};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use serde::Serialize;

use super::{Deleted, Upkeep};
use crate::config::{self, Keep};
use crate::event::{Event, Verb, Watch};
use crate::layer::{self, Access, Layer, Snapshot};
use crate::machine::Context;
use crate::operation::Operation;
use crate::report::{LayerResult, Outcome, Report};
use crate::{Code, Error, Explanation, Machine, catalogue, explain, guard};

/// What is said of kinds that cannot be pruned.
const UNSUPPORTED: layer::Error = layer::Error::Unsupported {
    what: "be pruned by this program",
};

/// Which snapshots of a layer stay and which go.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PrunePlan {
    /// Which layer.
    pub layer: String,
    /// Whether the layer has rules; without them everything stays.
    pub has_rules: bool,
    /// The snapshots that the rules are about, oldest first.
    pub snapshots: Vec<PlannedSnapshot>,
    /// How many others there are: made by another machine or program, and left alone.
    pub left_alone: u64,
    /// What removing would free.
    pub deleted: Deleted,
}

/// One snapshot of a [`PrunePlan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedSnapshot {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub time: Timestamp,
    /// Why it stays: `daily 3` is the third that the rule `daily` keeps. `None`: it goes.
    pub kept_by: Option<String>,
}

impl PrunePlan {
    /// The names of those that go.
    #[must_use]
    pub fn doomed(&self) -> Vec<String> {
        let doomed = self.snapshots.iter().filter(|one| one.kept_by.is_none());
        doomed.map(|one| one.name.clone()).collect()
    }
}

/// What pruning a layer has done.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PruneReport {
    /// Which layer.
    pub layer: String,
    /// The snapshots that were removed.
    pub removed: Vec<String>,
    /// How many stay of those that the rules are about.
    pub kept: u64,
    /// Bytes of the store that were freed; `None` where only a server knows.
    pub freed_bytes: Option<u64>,
}

/// A layer whose old snapshots could not be removed after a backup.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NotPruned {
    /// Which layer.
    pub layer: String,
    /// Why, and what can be done.
    pub failure: Explanation,
}

/// Whether a layer that is open has nothing that is to be pruned. One that cannot say may have something.
pub(crate) fn is_tidy(
    open: &mut dyn Layer,
    layer: &config::Layer,
    machine: &Machine,
    now: &ZonedDateTime,
) -> bool {
    let plan = open
        .upkeep()
        .map(|upkeep| plan(upkeep, layer, machine, now));
    matches!(plan, Some(Ok(plan)) if plan.doomed().is_empty())
}

/// Prunes the layers that were backed up and are not `tidy`; also those without rules, in which an
/// interrupted run may have left something.
pub(crate) fn prune_backed_up(
    report: &Report,
    tidy: &[String],
    context: Context<'_>,
    watch: Watch<'_>,
) -> (Vec<PruneReport>, Vec<NotPruned>) {
    let (mut pruned, mut not_pruned) = (Vec::new(), Vec::new());
    // It is on record; who watches the backup is told in the end.
    let quiet = Watch {
        sink: &|_| {},
        stop: watch.stop,
    };
    for done in &report.layers {
        let Some(layer) = context.config.layer(&done.layer) else {
            continue;
        };
        let is_done = matches!(done.result, LayerResult::Done { .. });
        let is_tidy = tidy.contains(&layer.name);
        if !is_done || is_tidy || !layer.is_prunable() || watch.stop.is_requested() {
            continue;
        }
        match prune(layer, context, quiet) {
            Ok(report) if report.removed.is_empty() => {}
            Ok(report) => pruned.push(report),
            // Where nothing can be removed, nothing is left to be removed.
            Err(Error::Layer {
                source: layer::Error::Unsupported { .. },
                ..
            }) if layer.keep == Keep::default() => {}
            Err(error) => {
                let failure = explain(&error);
                // Another program is at work; the next backup makes up for it.
                if failure.code != Code::RepositoryLocked {
                    let layer = layer.name.clone();
                    not_pruned.push(NotPruned { layer, failure });
                }
            }
        }
    }
    (pruned, not_pruned)
}

/// Says what the rules of a layer would remove.
///
/// # Errors
///
/// When the layer cannot be opened or read.
pub fn prune_plan(layer: &config::Layer, context: Context<'_>) -> Result<PrunePlan, Error> {
    let planned = (context.open)(layer, Access::Read).and_then(|mut open| {
        let upkeep = open.upkeep().ok_or(UNSUPPORTED)?;
        let mut plan = plan(upkeep, layer, context.machine, &context.machine.now())?;
        let doomed = plan.doomed();
        if !doomed.is_empty() {
            plan.deleted = upkeep.delete_plan(&doomed)?;
        }
        Ok(plan)
    });
    planned.map_err(Error::of_layer(&layer.name))
}

/// Removes what the rules of a layer do not keep, and frees its space.
///
/// The plan is made anew under the lock: what was shown may have changed meanwhile.
///
/// # Errors
///
/// [`Error::Guarded`] when there is something to remove and an alarm stands; when the layer cannot be
/// opened, read or written.
pub fn prune(
    layer: &config::Layer,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<PruneReport, Error> {
    let machine = context.machine;
    let clock = || (machine.clock)().timestamp();
    let now = machine.now();
    let failed = || Error::of_layer(&layer.name);
    let look = |access| {
        let mut open = (context.open)(layer, access)?;
        let upkeep = open.upkeep().ok_or(UNSUPPORTED)?;
        let plan = plan(upkeep, layer, machine, &now)?;
        Ok((open, plan))
    };
    // Most often there is nothing to do, and then nobody is kept from writing.
    let (mut open, mut plan) = look(Access::Read).map_err(failed())?;
    if !plan.doomed().is_empty() {
        drop(open);
        (open, plan) = look(Access::Write).map_err(failed())?;
    }
    let removed = plan.doomed();
    let mut report = PruneReport {
        layer: layer.name.clone(),
        kept: (plan.snapshots.len() - removed.len()) as u64,
        ..PruneReport::default()
    };
    if removed.is_empty() {
        return Ok(report);
    }
    guard::check(machine)?;
    let started = now.timestamp();
    let operation = Operation::begin(Verb::Prune, [layer], started, None, machine, Some(watch))?;
    let freed = remove(&mut *open, &removed, started);
    let outcome = match &freed {
        Ok(freed_bytes) => {
            operation.tell(Event::Pruned {
                layer: layer.name.clone(),
                at: clock(),
                removed: removed.clone(),
                freed_bytes: *freed_bytes,
            });
            Outcome::Good
        }
        Err(error) => {
            let failure = crate::explain_layer(error, &layer.name);
            operation.layer_failed(&layer.name, clock(), &failure);
            Outcome::Failed
        }
    };
    operation.finish(clock(), outcome, None, 0);
    catalogue::forget(&layer.name, &removed, machine);
    report.freed_bytes = freed.map_err(failed())?;
    report.removed = removed;
    Ok(report)
}

fn remove(
    open: &mut dyn Layer,
    names: &[String],
    now: Timestamp,
) -> Result<Option<u64>, layer::Error> {
    let upkeep = open.upkeep().ok_or(UNSUPPORTED)?;
    upkeep.delete(names, now)?;
    Ok(upkeep.compact(now)?.map(|done| done.freed_bytes))
}

fn plan(
    upkeep: &mut dyn Upkeep,
    layer: &config::Layer,
    machine: &Machine,
    now: &ZonedDateTime,
) -> Result<PrunePlan, layer::Error> {
    let all = upkeep.all_snapshots()?;
    if let Some(chains) = upkeep.chains()? {
        return Ok(PrunePlan {
            layer: layer.name.clone(),
            has_rules: !layer.keep.is_everything(),
            snapshots: decide_chains(all, &chains, &layer.keep, now.time_zone(), now.timestamp()),
            left_alone: 0,
            deleted: Deleted::default(),
        });
    }
    let count = all.len();
    let ours: Vec<Snapshot> = all
        .into_iter()
        .filter(|snapshot| is_ours(&snapshot.name, &machine.host))
        .collect();
    let left_alone = (count - ours.len()) as u64;
    Ok(PrunePlan {
        layer: layer.name.clone(),
        has_rules: !layer.keep.is_everything(),
        snapshots: decide(ours, &layer.keep, now.time_zone(), now.timestamp()),
        left_alone,
        deleted: Deleted::default(),
    })
}

/// Whether a name is one that this machine gives: `HOST-2026-11-24T07:30:00`, perhaps with a
/// number when there were two in a second, perhaps unfinished.
fn is_ours(name: &str, host: &str) -> bool {
    let finished = checkpoint_of(name.as_bytes()).map_or(name.as_bytes(), |name| name.as_ref());
    let Some(rest) = finished
        .strip_prefix(host.as_bytes())
        .and_then(|rest| rest.strip_prefix(b"-"))
    else {
        return false;
    };
    const FORM: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let (time, number) = rest.split_at(rest.len().min(FORM.len()));
    let is_time = time.len() == FORM.len()
        && time.iter().zip(FORM).all(|(found, form)| match form {
            b'd' => found.is_ascii_digit(),
            form => found == form,
        });
    let digits = number.strip_prefix(b".").unwrap_or_default();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_time && (number.is_empty() || is_number)
}

/// Applies the rules to snapshots, oldest first.
fn decide(
    snapshots: Vec<Snapshot>,
    keep: &Keep,
    zone: &TimeZone,
    now: Timestamp,
) -> Vec<PlannedSnapshot> {
    let is_finished = |snapshot: &Snapshot| checkpoint_of(snapshot.name.as_bytes()).is_none();
    let past: Vec<(&[u8], Timestamp)> = snapshots
        .iter()
        .filter(|snapshot| snapshot.time <= now)
        .map(|snapshot| (snapshot.name.as_bytes(), snapshot.time))
        .collect();
    let newest = snapshots
        .iter()
        .rfind(|snapshot| is_finished(snapshot) && snapshot.time <= now)
        .map(|snapshot| snapshot.name.clone());
    let rules = borg::Keep {
        within: keep.within,
        periods: [
            (Period::Each, keep.last),
            (Period::Hour, keep.hourly),
            (Period::Day, keep.daily),
            (Period::Week, keep.weekly),
            (Period::Month, keep.monthly),
            (Period::Year, keep.yearly),
        ]
        .into_iter()
        .filter_map(|(period, count)| Some((period, Some(count?))))
        .collect(),
    };
    let mut reasons = borg::keep(&past, &rules, zone, now).into_iter();
    let has_rules = !keep.is_everything();
    snapshots
        .into_iter()
        .map(|snapshot| {
            let kept_by = if snapshot.time > now {
                Some("its time is still to come".to_owned())
            } else {
                let reason = reasons.next().flatten();
                match reason {
                    _ if !has_rules && is_finished(&snapshot) => Some("no rule".to_owned()),
                    Some(reason) => Some(word(reason)),
                    None if newest.as_ref() == Some(&snapshot.name) => Some("newest".to_owned()),
                    None => None,
                }
            };
            PlannedSnapshot {
                name: snapshot.name,
                time: snapshot.time,
                kept_by,
            }
        })
        .collect()
}

/// Applies the rules to snapshots that stand on each other, oldest first: a chain stays when a rule
/// keeps any snapshot of it, and when it is one of the `full` newest.
fn decide_chains(
    snapshots: Vec<Snapshot>,
    chains: &[Vec<String>],
    keep: &Keep,
    zone: &TimeZone,
    now: Timestamp,
) -> Vec<PlannedSnapshot> {
    let others = Keep {
        full: None,
        ..keep.clone()
    };
    let by_time_alone = !others.is_everything();
    let mut planned = decide(snapshots, &others, zone, now);
    if keep.full.is_some() && !by_time_alone {
        // No other rule has a say.
        for one in planned.iter_mut().filter(|one| one.time <= now) {
            one.kept_by = None;
        }
    }
    let newest_first = (1_u32..).zip(chains.iter().rev());
    for (number, chain) in newest_first {
        let of_chain = |one: &&mut PlannedSnapshot| chain.contains(&one.name);
        let is_kept = planned
            .iter()
            .any(|one| one.kept_by.is_some() && chain.contains(&one.name));
        let reason = match keep.full {
            _ if number == 1 => "the chain that grows".to_owned(),
            Some(count) if number <= count => format!("full {number}"),
            _ if is_kept => "a kept one needs it".to_owned(),
            _ => continue,
        };
        for one in planned.iter_mut().filter(of_chain) {
            one.kept_by.get_or_insert_with(|| reason.clone());
        }
    }
    planned
}

fn word(reason: Reason) -> String {
    let rule = |period: Period| match period {
        Period::Each => "last",
        Period::Second => "secondly",
        Period::Minute => "minutely",
        Period::Hour => "hourly",
        Period::Day => "daily",
        Period::Week => "weekly",
        Period::Month => "monthly",
        Period::ThirteenWeeks => "13weekly",
        Period::ThreeMonths => "3monthly",
        Period::Year => "yearly",
    };
    match reason {
        Reason::Within => "within".into(),
        Reason::Rule(period, number) => format!("{} {number}", rule(period)),
        Reason::Oldest(period, number) => format!("{} {number}, oldest", rule(period)),
        Reason::NewestCheckpoint => "unfinished, and newest".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(name: &str, time: &str) -> Snapshot {
        Snapshot {
            name: name.into(),
            id: name.into(),
            time: time.parse().unwrap(),
        }
    }

    fn doomed(snapshots: Vec<Snapshot>, keep: &Keep) -> Vec<String> {
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let planned = decide(snapshots, keep, &TimeZone::UTC, now);
        let gone = planned.into_iter().filter(|one| one.kept_by.is_none());
        gone.map(|one| one.name).collect()
    }

    #[test]
    fn only_what_this_machine_made_is_looked_at() {
        for name in [
            "nas-2026-11-24T07:30:00",
            "nas-2026-11-24T07:30:00.2",
            "nas-2026-11-24T07:30:00.checkpoint",
            "nas-2026-11-24T07:30:00.2.checkpoint.1",
        ] {
            assert!(is_ours(name, "nas"), "{name}");
        }
        for name in [
            "nas",
            "nas-2026-11-24",
            "nas-2026-11-24T07:30:00-photos",
            "nas2-2026-11-24T07:30:00",
            "other-2026-11-24T07:30:00",
            "nas-2026-11-24T07:30:00.",
        ] {
            assert!(!is_ours(name, "nas"), "{name}");
        }
    }

    #[test]
    fn the_newest_stays_even_if_no_rule_keeps_it() {
        let keep = Keep {
            within: Some(std::time::Duration::from_secs(3600)),
            ..Keep::default()
        };
        let snapshots = vec![
            snapshot("a", "2026-11-20T00:00:00Z"),
            snapshot("b", "2026-11-21T00:00:00Z"),
        ];
        assert_eq!(doomed(snapshots, &keep), ["a"]);
    }

    #[test]
    fn a_snapshot_from_the_future_pushes_nothing_out() {
        let keep = Keep {
            last: Some(1),
            ..Keep::default()
        };
        let snapshots = vec![
            snapshot("a", "2026-11-20T00:00:00Z"),
            snapshot("b", "2026-11-21T00:00:00Z"),
            snapshot("c", "2036-11-21T00:00:00Z"),
        ];
        assert_eq!(doomed(snapshots, &keep), ["a"]);
    }

    fn doomed_of_chains(keep: &Keep) -> Vec<String> {
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let days = ["01", "02", "08", "09", "15", "16", "22", "23"];
        let snapshots = days
            .iter()
            .map(|day| snapshot(day, &format!("2026-11-{day}T00:00:00Z")))
            .collect();
        let chains: Vec<Vec<String>> = days
            .chunks(2)
            .map(|pair| pair.iter().map(|&day| day.to_owned()).collect())
            .collect();
        let planned = decide_chains(snapshots, &chains, keep, &TimeZone::UTC, now);
        let gone = planned.into_iter().filter(|one| one.kept_by.is_none());
        gone.map(|one| one.name).collect()
    }

    #[test]
    fn of_chains_the_newest_fulls_stay_with_their_increments() {
        let full = |count| Keep {
            full: Some(count),
            ..Keep::default()
        };
        assert_eq!(doomed_of_chains(&full(3)), ["01", "02"]);
        assert_eq!(doomed_of_chains(&full(1)).len(), 6);
        // The chain that grows stays whatever the rule says.
        assert_eq!(doomed_of_chains(&full(0)).len(), 6);
        assert!(doomed_of_chains(&full(9)).is_empty());
        assert!(doomed_of_chains(&Keep::default()).is_empty());
    }

    #[test]
    fn a_chain_stays_as_long_as_a_rule_keeps_any_snapshot_of_it() {
        let day = std::time::Duration::from_secs(24 * 3600);
        let within = Keep {
            within: Some(day * 9),
            ..Keep::default()
        };
        assert_eq!(doomed_of_chains(&within), ["01", "02", "08", "09"]);
        let last = Keep {
            last: Some(3),
            ..Keep::default()
        };
        assert_eq!(doomed_of_chains(&last), ["01", "02", "08", "09"]);
        let both = Keep {
            full: Some(3),
            ..within
        };
        assert_eq!(doomed_of_chains(&both), ["01", "02"]);
    }

    #[test]
    fn without_rules_only_unfinished_ones_go() {
        let snapshots = vec![
            snapshot("a.checkpoint", "2026-11-20T00:00:00Z"),
            snapshot("b", "2026-11-21T00:00:00Z"),
        ];
        assert_eq!(doomed(snapshots, &Keep::default()), ["a.checkpoint"]);
    }
}
