//! Bringing files back as they were at a time, from whichever layer can.
//!
//! No index is asked: each layer knows its own snapshots. The history says which layer is healthy and
//! how fast it gave files back in its last drill; without one, what is on this machine comes first. A
//! layer that is out of reach, damaged or lacks the paths is passed over, with its reason, and the next
//! one is asked. Files that a layer turns out unable to give are asked of the next: what came back is
//! right already and is not written again.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tree::RestoreOptions;

use crate::browse::{OpenedLayer, locate};
use crate::config::{self, Kind};
use crate::event::{Event, Watch};
use crate::explain::{Explanation, explain};
use crate::history::History;
use crate::layer::{self, Access, Snapshot};
use crate::machine::Context;
use crate::restore::{PlannedRestore, RestoreReport, RestoreRequest, restore, restore_plan};
use crate::status::{LayerStatus, State, status};
use crate::{Error, Outcome, Selection};

/// By how much a layer may be behind another one before that is asked first.
const BEHIND_MAX: SignedDuration = SignedDuration::from_hours(24);

/// What is to come back.
#[derive(Debug, Clone)]
pub struct Recall {
    /// Which paths, as they were typed.
    pub paths: Vec<PathBuf>,
    /// The folder that relative ones are looked for from.
    pub here: PathBuf,
    /// As of when.
    pub at: Timestamp,
    /// From this layer only.
    pub layer: Option<String>,
    /// Into which folder; where it was, when there is none.
    pub target: Option<PathBuf>,
    /// How.
    pub options: RestoreOptions,
}

/// A layer that was asked and could not give what was wanted, or not all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Passed {
    /// Which layer.
    pub layer: String,
    /// Why.
    pub failure: Explanation,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recalled {
    /// One restore for each layer that gave something, in their order.
    pub restores: Vec<RestoreReport>,
    /// The layers that could not be used.
    pub passed: Vec<Passed>,
}

/// A plan, from the first layer that can.
pub struct PlannedRecall<'a> {
    /// The plan; `None` when no layer can.
    pub plan: Option<PlannedRestore>,
    /// The snapshot that it is from.
    pub snapshot: Option<Snapshot>,
    /// The layers that could not be used.
    pub passed: Vec<Passed>,
    rest: Vec<&'a config::Layer>,
}

/// Plans it. Nothing is changed.
///
/// # Errors
///
/// [`Error::NoLayer`] for a name that no layer has; [`Error::BadPath`] for what is no path;
/// [`Error::Restore`] when the target is none; [`Error::State`] when the history cannot be read.
pub fn recall_plan<'a>(recall: &Recall, context: Context<'a>) -> Result<PlannedRecall<'a>, Error> {
    let layers = match &recall.layer {
        Some(name) => vec![crate::find_layer(context.config, name)?],
        None => in_order(recall.at, context)?,
    };
    let mut planned = PlannedRecall {
        plan: None,
        snapshot: None,
        passed: Vec::new(),
        rest: layers,
    };
    planned.next(recall, None, context)?;
    Ok(planned)
}

/// Does it.
///
/// # Errors
///
/// Those of [`recall_plan`], and when a restore could not begin.
pub fn recall(
    mut planned: PlannedRecall<'_>,
    recall: &Recall,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<Recalled, Error> {
    let mut restores = Vec::new();
    while let Some(plan) = planned.plan.take() {
        let selection = plan.selection().clone();
        let report = restore(plan, context, watch)?;
        let is_over = report.outcome == Outcome::Stopped
            || (report.failure.is_none() && report.problems.count == 0);
        restores.push(report);
        if is_over {
            break;
        }
        planned.next(recall, Some(selection), context)?;
    }
    Ok(Recalled {
        restores,
        passed: planned.passed,
    })
}

impl PlannedRecall<'_> {
    /// Plans it from the next layer that can.
    fn next(
        &mut self,
        recall: &Recall,
        selection: Option<Selection>,
        context: Context<'_>,
    ) -> Result<(), Error> {
        while !self.rest.is_empty() {
            let layer = self.rest.remove(0);
            match plan_from(layer, recall, selection.clone(), context) {
                Ok((plan, snapshot)) => {
                    self.plan = Some(plan);
                    self.snapshot = Some(snapshot);
                    return Ok(());
                }
                // No other layer would help.
                Err(error @ (Error::BadPath { .. } | Error::Restore { .. })) => return Err(error),
                Err(error) => self.passed.push(Passed {
                    layer: layer.name.clone(),
                    failure: explain(&error),
                }),
            }
        }
        Ok(())
    }
}

fn plan_from(
    layer: &config::Layer,
    recall: &Recall,
    selection: Option<Selection>,
    context: Context<'_>,
) -> Result<(PlannedRestore, Snapshot), Error> {
    let of_layer = || Error::of_layer(&layer.name);
    let mut open = (context.open)(layer, Access::Read).map_err(of_layer())?;
    let snapshots = open.snapshots().map_err(of_layer())?;
    let snapshot = newest_until(&snapshots, layer, recall.at, &context.machine.host);
    let snapshot = snapshot.cloned().ok_or_else(|| {
        let zone = context.machine.now().time_zone().clone();
        let until = recall.at.to_zoned_datetime(zone).strftime("%Y-%m-%d %H:%M");
        let until = until.to_string();
        of_layer()(layer::Error::NoneSoOld { until })
    })?;
    let selection = match selection {
        Some(selection) => selection,
        None => {
            let mut opened = OpenedLayer {
                name: &layer.name,
                layer: &mut *open,
            };
            let typed = recall.paths.iter();
            let paths = typed.map(|typed| locate(&mut opened, &[&snapshot], typed, &recall.here));
            let paths = paths.collect::<Result<Vec<_>, _>>()?;
            match recall.target {
                Some(_) => Selection::together(paths),
                None => Selection::in_place(paths),
            }
        }
    };
    drop(open);
    let request = RestoreRequest {
        layer: layer.clone(),
        snapshot: snapshot.clone(),
        selection,
        target: recall.target.clone().unwrap_or_else(|| PathBuf::from("/")),
        options: recall.options.clone(),
    };
    Ok((restore_plan(request, context)?, snapshot))
}

/// The newest snapshot until a time. In a repository that machines share, those of this one count, if
/// it has any.
fn newest_until<'s>(
    snapshots: &'s [Snapshot],
    layer: &config::Layer,
    at: Timestamp,
    host: &str,
) -> Option<&'s Snapshot> {
    let prefix = format!("{host}-");
    let is_ours = |snapshot: &&Snapshot| {
        !matches!(layer.kind, Kind::Borg { .. }) || snapshot.name.starts_with(&prefix)
    };
    let has_ours = snapshots.iter().any(|snapshot| is_ours(&snapshot));
    let wanted = snapshots.iter().filter(|one| !has_ours || is_ours(one));
    let until = wanted.filter(|snapshot| snapshot.time <= at);
    until.max_by_key(|snapshot| snapshot.time)
}

/// The layers, the one that is asked first at the beginning.
fn in_order<'a>(at: Timestamp, context: Context<'a>) -> Result<Vec<&'a config::Layer>, Error> {
    let status = status(context)?;
    let known = last_until(at, context)?;
    let newest = known.iter().map(|(_, time)| *time).max();
    let mut layers: Vec<_> = context.config.layers.iter().collect();
    layers.retain(|layer| layer.is_runnable());
    layers.sort_by_key(|layer| {
        let found = status.layers.iter().find(|one| one.layer == layer.name);
        let last = known.iter().find(|(name, _)| *name == layer.name);
        let is_behind = match (newest, last) {
            (Some(newest), Some((_, last))) => newest.duration_since(*last) > BEHIND_MAX,
            // It has nothing of that time, as far as is known.
            (Some(_), None) => true,
            _ => false,
        };
        let is_sick = found.is_some_and(is_sick);
        (is_sick, is_behind, slowness(layer, found))
    });
    Ok(layers)
}

fn is_sick(layer: &LayerStatus) -> bool {
    matches!(layer.state, State::Damaged | State::DrillFailed)
}

/// Nanoseconds for a byte: as it was in the last drill, or a guess from where the layer is.
fn slowness(layer: &config::Layer, status: Option<&LayerStatus>) -> u128 {
    let drill = status.and_then(|status| status.drill.as_ref());
    match drill {
        // Of a small sample, most of the time is that of opening the layer.
        Some(drill) if drill.faults.is_empty() && drill.bytes > 0 => {
            u128::from(drill.took_ms) * 1_000_000 / u128::from(drill.bytes)
        }
        _ if layer.local_store().is_some() => 10,
        _ => 1000,
    }
}

/// When each layer last got a snapshot until a time, as far as the history knows.
fn last_until(at: Timestamp, context: Context<'_>) -> Result<Vec<(String, Timestamp)>, Error> {
    let history = History::new(&context.machine.places.state);
    let mut known: Vec<(String, Timestamp)> = Vec::new();
    for operation in history.operations()? {
        for event in operation.events_of(context.config) {
            if let Event::LayerDone {
                layer, at: done, ..
            } = event
                && *done <= at
                && known.iter().all(|(name, _)| name != layer)
            {
                known.push((layer.clone(), *done));
            }
        }
        if known.len() >= context.config.layers.len() {
            break;
        }
    }
    Ok(known)
}
