//! Everything that is due, done once: what the timer calls.
//!
//! What is due is decided from the last success while the turn is held, so two timers that fire
//! together do the work once: the second finds it done, or is told who is at it. Backups come
//! first. Reading layers back has a turn of its own, so that a verification that takes hours does
//! not keep the next backup from being made.

use std::collections::HashMap;

use jiff::{SignedDuration, ZonedDateTime};
use serde::Serialize;

use crate::drill::{DrillReport, drill};
use crate::event::{Watch, chain};
use crate::guard::Alarm;
use crate::history::History;
use crate::hook::{HookFault, Hooks};
use crate::layer::Depth;
use crate::machine::Context;
use crate::notify::Undelivered;
use crate::past::{LayerPast, Past};
use crate::plan::{Plan, Wanted, plan};
use crate::report::{Outcome, Report};
use crate::rolling::{self, Rolled};
use crate::run::{record_failure, run_and_look};
use crate::second_opinion::{OpinionReport, is_found, is_to_be_had, second_opinion};
use crate::source::Reading;
use crate::status::status;
use crate::still::Still;
use crate::turn::{Turn, Work};
use crate::upkeep::{NotPruned, PruneReport, prune_backed_up};
use crate::verify::{VerifyReport, verify};
use crate::wait::{self, Wait, Waiting, reason_to_wait};
use crate::{Error, Schedule, config, fleet, metrics, notify, sentinel};

/// How long a verification that could not be made is left alone.
const VERIFY_RETRY: SignedDuration = SignedDuration::from_hours(6);

/// What was due and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Due {
    /// The backup; `None` when no layer was due and ready.
    pub backup: Option<Report>,
    /// The layers of which old snapshots were removed after it.
    pub pruned: Vec<PruneReport>,
    /// Those of which they could not be removed.
    pub not_pruned: Vec<NotPruned>,
    /// The verifications, one for each depth that was due.
    pub verify: Vec<VerifyReport>,
    /// What the stock programs said; `None` when none was to be asked.
    pub second_opinion: Option<OpinionReport>,
    /// The parts of layers that were read back, where that is done by parts.
    pub rolled: Vec<Rolled>,
    /// The drill; `None` when none was due.
    pub drill: Option<DrillReport>,
    /// The layers that are due and wait.
    pub waiting: Vec<Waiting>,
    /// When the other layers are due; `None`: when asked for.
    pub not_due: Vec<(String, Option<ZonedDateTime>)>,
    /// The layers that this version cannot run.
    pub not_runnable: Vec<String>,
    /// The hooks for the end of the backup that did not do their work.
    pub hooks: Vec<HookFault>,
    /// The alarms that could not be delivered.
    pub undelivered: Vec<Undelivered>,
}

impl Due {
    /// The alarm that keeps old snapshots from being removed, as the backup has left it.
    #[must_use]
    pub fn alarm(&self) -> Option<&Alarm> {
        self.backup
            .as_ref()
            .and_then(|report| report.guard.as_ref())
    }

    /// How it ended: the worst of its parts. `None` when nothing was done.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let verified = self.verify.iter().map(|report| report.outcome);
        let backed_up = self.backup.iter().map(|report| report.outcome);
        let drilled = self.drill.iter().map(|report| report.outcome);
        let rolled = self.rolled.iter().map(|rolled| {
            let is_good = rolled.findings.is_empty() && rolled.failure.is_none();
            Outcome::of_layers(usize::from(is_good), 1, false)
        });
        let asked = self.second_opinion.iter().map(|report| report.outcome);
        let all = backed_up.chain(verified).chain(asked);
        let all = all.chain(rolled).chain(drilled);
        let all: Vec<Outcome> = all.collect();
        let has = |outcome| all.contains(&outcome);
        match all.first()? {
            _ if has(Outcome::Stopped) => Some(Outcome::Stopped),
            _ if all.iter().all(|&outcome| outcome == Outcome::Failed) => Some(Outcome::Failed),
            _ if has(Outcome::Failed) || has(Outcome::Partial) => Some(Outcome::Partial),
            _ if !self.not_pruned.is_empty() || self.alarm().is_some() => Some(Outcome::Partial),
            _ if has(Outcome::Skipped) => Some(Outcome::Skipped),
            _ => Some(Outcome::Good),
        }
    }
}

/// Does everything that is due.
///
/// # Errors
///
/// [`Error::Busy`] when another process backs up; those of [`plan()`] and [`run()`](crate::run()).
pub fn run_due(context: Context<'_>, watch: Watch<'_>) -> Result<Due, Error> {
    let turn = Turn::take(Work::Backup, context.machine)?;
    let plan = match plan(context, &Wanted::Due) {
        Err(error @ Error::NoSource { .. }) => {
            // Nobody watches a timer: who is told of failures is told of this one.
            record_failure(&error, &context.config.layers, context)?;
            let _ = notify::notify(context);
            return Err(error);
        }
        plan => plan?,
    };
    let held = plan
        .held
        .iter()
        .map(|held| (held.layer.clone(), held.wait.clone()));
    let mut held: Vec<(String, Wait)> = held.collect();
    let mut made = Made::default();
    if !plan.layers.is_empty() {
        made = make(&plan, context, watch)?;
        held.extend(made.put_off(&plan));
    }
    let waiting = wait::remember(held, context.machine)?;
    drop(turn);
    let ReadBack {
        verify,
        second_opinion,
        rolled,
        drill,
    } = if watch.stop.is_requested() {
        ReadBack::default()
    } else {
        verify_due(context, watch)?
    };
    let Plan {
        waiting: not_due,
        not_runnable,
        ..
    } = plan;
    let mut due = Due {
        backup: made.report,
        pruned: made.pruned,
        not_pruned: made.not_pruned,
        verify,
        second_opinion,
        rolled,
        drill,
        waiting,
        not_due,
        not_runnable,
        hooks: made.faults,
        undelivered: Vec::new(),
    };
    due.undelivered = tell(&due, made.ping.as_deref(), context);
    Ok(due)
}

/// A backup with its hooks.
#[derive(Default)]
struct Made {
    /// `None` when a hook put it off.
    report: Option<Report>,
    wait: Option<Wait>,
    pruned: Vec<PruneReport>,
    not_pruned: Vec<NotPruned>,
    faults: Vec<HookFault>,
    /// Pairs the pings of its begin and its end.
    ping: Option<String>,
}

impl Made {
    /// The layers that a hook lets wait.
    fn put_off(&self, plan: &Plan) -> Vec<(String, Wait)> {
        let wait = self.wait.iter();
        wait.flat_map(|wait| {
            plan.layers
                .iter()
                .map(|layer| (layer.name.clone(), wait.clone()))
        })
        .collect()
    }
}

/// Makes a backup between its hooks. One that a hook forbids is a failure of its layers, and so is one whose
/// sources cannot be read as they are to be.
fn make(plan: &Plan, context: Context<'_>, watch: Watch<'_>) -> Result<Made, Error> {
    let hooks = Hooks::new(&plan.layers, context);
    let mut made = Made::default();
    let fails = |error| -> Result<Made, Error> {
        hooks.after(Some(Outcome::Failed));
        record_failure(&error, &plan.layers, context)?;
        let _ = notify::notify(context);
        Err(error)
    };
    match hooks.before(watch) {
        Ok(None) => {}
        Ok(Some(wait)) => {
            made.wait = Some(wait);
            made.faults = hooks.after(None);
            return Ok(made);
        }
        Err(Error::Stopped) => {
            hooks.after(Some(Outcome::Stopped));
            return Err(Error::Stopped);
        }
        Err(error) => return fails(error),
    }
    // Before the snapshots, which are to hold it.
    sentinel::write(context.config, context.machine);
    let still = match Still::make(context.config, context.machine) {
        Ok(still) => still,
        Err(error) => return fails(error),
    };
    let mut plan = plan.clone();
    plan.reading = match Reading::with(context.config, Some(&still)) {
        Ok(reading) => reading,
        Err(source) => {
            // Hooks for the end may take the file system away.
            drop(still);
            let typed = "a path of a source".to_owned();
            return fails(Error::BadPath { typed, source });
        }
    };
    made.ping = notify::run_begins(context);
    let ran = run_and_look(&plan, context, watch, || still.end());
    let outcome = ran
        .as_ref()
        .map_or(Outcome::Failed, |(report, _)| report.outcome);
    if let Ok((report, tidy)) = &ran {
        // Hooks for the end may take the store away.
        (made.pruned, made.not_pruned) = prune_backed_up(report, tidy, context, watch);
    }
    made.faults = hooks.after(Some(outcome));
    let (report, _) = ran?;
    made.report = Some(report);
    Ok(made)
}

/// Does a backup that was asked for, and tells about it.
///
/// # Errors
///
/// [`Error::Busy`] when another process backs up; those of [`run()`](crate::run()).
pub fn back_up(plan: &Plan, context: Context<'_>, watch: Watch<'_>) -> Result<Due, Error> {
    let turn = Turn::take(Work::Backup, context.machine)?;
    let made = make(plan, context, watch)?;
    drop(turn);
    let now = context.machine.now().timestamp();
    let waiting = made.put_off(plan).into_iter().map(|(layer, wait)| Waiting {
        layer,
        since: now,
        wait,
    });
    let mut due = Due {
        waiting: waiting.collect(),
        backup: made.report,
        pruned: made.pruned,
        not_pruned: made.not_pruned,
        verify: Vec::new(),
        second_opinion: None,
        rolled: Vec::new(),
        drill: None,
        not_due: Vec::new(),
        not_runnable: Vec::new(),
        hooks: made.faults,
        undelivered: Vec::new(),
    };
    due.undelivered = tell(&due, made.ping.as_deref(), context);
    Ok(due)
}

/// Tells people, and Prometheus. What fails here is told to who looks, and fails nothing.
fn tell(due: &Due, ping: Option<&str>, context: Context<'_>) -> Vec<Undelivered> {
    let failed = |receiver: &str, reason: String| Undelivered {
        receiver: receiver.to_owned(),
        reason,
        at: context.machine.now().timestamp(),
    };
    let mut undelivered = match notify::run_ended(due, ping, context) {
        Ok(notified) => notified.undelivered,
        Err(error) => vec![failed("everybody", chain(&error).join(": "))],
    };
    if let Some(file) = &context.config.metrics {
        let written = status(context)
            .map_err(|error| chain(&error).join(": "))
            .and_then(|status| metrics::write(&status, file).map_err(|error| error.to_string()));
        undelivered.extend(written.err().map(|reason| failed("Prometheus", reason)));
    }
    if let Some(fleet) = &context.config.fleet {
        let published = status(context)
            .and_then(|status| fleet::publish(fleet, &status, context.machine))
            .map_err(|error| chain(&error).join(": "));
        undelivered.extend(published.err().map(|reason| failed("the fleet", reason)));
    }
    undelivered
}

/// What was read back.
#[derive(Default)]
struct ReadBack {
    verify: Vec<VerifyReport>,
    second_opinion: Option<OpinionReport>,
    rolled: Vec<Rolled>,
    drill: Option<DrillReport>,
}

/// Reads back and drills the layers that are due for it, unless another process is at it.
fn verify_due(context: Context<'_>, watch: Watch<'_>) -> Result<ReadBack, Error> {
    let _turn = match Turn::take(Work::Verify, context.machine) {
        Ok(turn) => turn,
        Err(Error::Busy { .. }) => return Ok(ReadBack::default()),
        Err(error) => return Err(error),
    };
    let now = context.machine.now();
    let history = History::new(&context.machine.places.state);
    let schedule = context.config.verify.second_opinion;
    let usual = |layer: &config::Layer| layer.local_store().map(|_| Schedule::EveryDays(30));
    let opinions: HashMap<&str, Schedule> = context
        .config
        .layers
        .iter()
        .filter(|layer| is_found(layer, context.machine))
        .filter_map(|layer| Some((layer.name.as_str(), schedule.or_else(|| usual(layer))?)))
        .collect();
    let has_opinion = |layer: &config::Layer| opinions.contains_key(layer.name.as_str());
    let past = Past::read_with(&history, context.config, now.timestamp(), &has_opinion)?;
    let ready = |is_due: &dyn Fn(&LayerPast) -> bool| -> Vec<&config::Layer> {
        let layers = context.config.layers.iter();
        let layers = layers.filter(|layer| layer.is_runnable()).filter(|layer| {
            let past = past.of(&layer.name);
            is_due(&past) && reason_to_wait(layer, &past, context.config, context.machine).is_none()
        });
        layers.collect()
    };
    let mut reports = Vec::new();
    for depth in [Depth::Data, Depth::Structure] {
        let layers = ready(&|past| depth_due(context.config.verify, past, &now) == Some(depth));
        if !layers.is_empty() && !watch.stop.is_requested() {
            reports.push(verify(&layers, depth, context, watch)?);
        }
    }
    let rolled = match context.config.verify.rolling {
        Some(period) => {
            let layers = ready(&|past| past.succeeded.is_some());
            rolling::roll(&layers, period, context, watch)
        }
        None => Vec::new(),
    };
    let layers = ready(&|past| is_drill_due(context.config.verify, past, &now));
    let drilled = if layers.is_empty() || watch.stop.is_requested() {
        None
    } else {
        Some(drill(&layers, context, watch)?)
    };
    let mut layers = ready(&|past| past.succeeded.is_some());
    layers.retain(|layer| {
        let schedule = opinions.get(layer.name.as_str());
        schedule.is_some_and(|schedule| is_opinion_due(*schedule, &past.of(&layer.name), &now))
            && is_to_be_had(layer, context.machine)
    });
    let second_opinion = if layers.is_empty() || watch.stop.is_requested() {
        None
    } else {
        match Turn::take(Work::Backup, context.machine) {
            Ok(_turn) => Some(second_opinion(&layers, context, watch)?),
            // A backup goes first; the next run asks.
            Err(Error::Busy { .. }) => None,
            Err(error) => return Err(error),
        }
    };
    Ok(ReadBack {
        verify: reports,
        second_opinion,
        rolled,
        drill: drilled,
    })
}

/// Whether the stock program is to be asked about a layer now; the first time a period after its first
/// snapshot.
fn is_opinion_due(schedule: Schedule, past: &LayerPast, now: &ZonedDateTime) -> bool {
    let rests = past
        .no_second_opinion
        .is_some_and(|at| now.timestamp().duration_since(at).abs() < VERIFY_RETRY);
    let last = past.second_opinion.or(past.first_succeeded);
    let last = last.map(|at| at.to_zoned_datetime(now.time_zone().clone()));
    !rests && schedule.is_due(last.as_ref(), now)
}

/// Whether a layer is to be drilled now: the first time soon after its first snapshot, for nothing
/// is known of a layer from which nothing ever came back.
fn is_drill_due(schedules: config::Verify, past: &LayerPast, now: &ZonedDateTime) -> bool {
    let rests = past
        .undrilled
        .is_some_and(|at| now.timestamp().duration_since(at).abs() < VERIFY_RETRY);
    let last = past
        .drilled
        .map(|at| at.to_zoned_datetime(now.time_zone().clone()));
    past.succeeded.is_some() && !rests && schedules.drill.is_due(last.as_ref(), now)
}

/// How deep a layer is to be read back now, if it is.
///
/// Counted from the last time, and for a layer that was never read back from its first snapshot.
fn depth_due(schedules: config::Verify, past: &LayerPast, now: &ZonedDateTime) -> Option<Depth> {
    let first = past.first_succeeded?;
    let rests = past
        .unverified
        .is_some_and(|at| now.timestamp().duration_since(at).abs() < VERIFY_RETRY);
    if rests {
        return None;
    }
    let is_due = |schedule: Schedule, last: Option<jiff::Timestamp>| {
        let last = last.unwrap_or(first);
        let last = last.to_zoned_datetime(now.time_zone().clone());
        schedule.is_due(Some(&last), now)
    };
    if is_due(schedules.data, past.data) {
        Some(Depth::Data)
    } else if is_due(schedules.structure, past.structure) {
        Some(Depth::Structure)
    } else {
        None
    }
}
