//! A backup: one read of the sources, a snapshot in every layer of the plan.
//!
//! Layers fail alone: one that cannot be opened, that fails while it takes in or that cannot
//! commit is reported with its reason, and the others finish. One that holds them up for too long is left
//! behind: when they have committed, it gets the rest from another reading.

use std::collections::HashMap;
use std::thread;

use tree::{Entry, Step};

use crate::catalogue::{self, Catalogue};
use crate::convoy::{self, Appetite, Crossing, Passenger};
use crate::dump::Dumps;
use crate::event::{Event, PathRecord, ProblemRecord, Verb, Watch};
use crate::explain::{explain, explain_layer};
use crate::layer::{self, Access, Layer, NewSnapshot, Snapshot};
use crate::machine::Context;
use crate::operation::Operation;
use crate::report::{LayerReport, LayerResult, Outcome, Problems, Report};
use crate::sample::{self, Samples};
use crate::{Error, Plan, config, guard, sentinel, upkeep};

/// Does what the plan says.
///
/// The history keeps the events that `watch` hears.
///
/// # Errors
///
/// When the run could not begin. What goes wrong with a layer or a file stands in the report.
pub fn run(plan: &Plan, context: Context<'_>, watch: Watch<'_>) -> Result<Report, Error> {
    sentinel::write(context.config, context.machine);
    run_and_look(plan, context, watch, Vec::new).map(|(report, _)| report)
}

/// The same, with the sentinel that is there; says also which layers have nothing that is to be
/// [pruned](upkeep::prune). `end` is called when nothing is read any more, and gives what went wrong then.
pub(crate) fn run_and_look(
    plan: &Plan,
    context: Context<'_>,
    watch: Watch<'_>,
    end: impl FnOnce() -> Vec<ProblemRecord>,
) -> Result<(Report, Vec<String>), Error> {
    let mut samples = Samples::read(context.config, context.machine);
    let mut watcher = guard::Watcher::new(context.config, context.machine);
    let mut feed = catalogue::Feed::new(context.machine);
    let mut is_whole = true;
    let dumps = Dumps::make(context.config, watch.stop);
    let mut known = Known::default();
    let mut is_first = true;
    let attributes = plan
        .layers
        .iter()
        .any(|layer| layer.kind.keeps_attributes());
    let mut report = run_with(
        plan,
        context,
        watch,
        &mut known,
        end,
        &mut |appetite, take| {
            if !std::mem::take(&mut is_first) {
                // For a layer that was left behind: everybody else knows already.
                let wants = |entry: &Entry| appetite.wants(entry);
                let _ = plan.reading.read(attributes, &wants, take);
                return;
            }
            let mut take = |step| {
                let goes_on = take(step);
                is_whole &= goes_on;
                goes_on
            };
            let missing = dumps.problems.iter().cloned().map(Step::Problem);
            if !missing.into_iter().all(&mut take) {
                return;
            }
            let wants = |entry: &Entry| appetite.wants(entry);
            let mut tell_all = |step| {
                let place = sample::place_of(&step);
                samples.see(&step, place);
                watcher.see(&step, place);
                feed.see(&step);
                take(step)
            };
            // The plan was made from these very paths.
            let _ = plan.reading.read(attributes, &wants, &mut tell_all);
        },
    )?;
    drop(dumps);
    samples.write(context.machine);
    let is_done = |layer: &LayerReport| matches!(layer.result, LayerResult::Done { .. });
    report.guard = if is_whole && report.layers.iter().any(is_done) {
        watcher.conclude(context.machine)
    } else {
        guard::alarm(context.machine)
    };
    // It is an index: what it could not take in is read from the layers when it is asked.
    let feed = feed.finish().then_some(feed);
    let tidy = std::mem::take(&mut known.tidy);
    let _ = add_to_catalogue(feed.as_ref(), known, &report, plan, (context, watch));
    Ok((report, tidy))
}

/// What became known of layers.
#[derive(Default)]
pub(crate) struct Known {
    /// The snapshots that each had before it got another one.
    before: HashMap<String, Vec<Snapshot>>,
    /// Those that were left behind: what they hold was read later.
    behind: Vec<String>,
    /// Those that have nothing that is to be pruned.
    tidy: Vec<String>,
}

/// Tells the catalogue what stands in the layers now.
fn add_to_catalogue(
    feed: Option<&catalogue::Feed>,
    mut known: Known,
    report: &Report,
    plan: &Plan,
    (context, watch): (Context<'_>, Watch<'_>),
) -> Result<(), Error> {
    let machine = context.machine;
    let mut catalogue = Catalogue::open(machine)?;
    let (mut fed, mut not_fed) = (Vec::new(), Vec::new());
    for (layer, report) in plan.layers.iter().zip(&report.layers) {
        // One that could not be opened has said nothing.
        let Some(mut snapshots) = known.before.remove(&layer.name) else {
            continue;
        };
        let made = match &report.result {
            LayerResult::Done { snapshot, .. } => Some(Snapshot {
                name: snapshot.clone(),
                id: String::new(),
                time: plan.now.timestamp(),
            }),
            _ => None,
        };
        // A drop folder holds other things than what was read.
        let is_fed = feed.is_some()
            && !matches!(layer.kind, config::Kind::Drop { .. })
            && !known.behind.contains(&layer.name);
        match made {
            Some(made) if is_fed => fed.push((layer, made)),
            Some(made) => {
                snapshots.retain(|one| one.name != made.name);
                snapshots.push(made);
                not_fed.push(layer);
            }
            None => {}
        }
        catalogue.know(layer, &snapshots, machine)?;
    }
    if let Some(feed) = feed.filter(|_| !fed.is_empty()) {
        catalogue.take_in(feed, &fed, machine)?;
    }
    // Other places are read when somebody searches.
    not_fed.retain(|layer| layer.local_store().is_some());
    if !not_fed.is_empty() {
        let quiet = Watch {
            sink: &|_| {},
            stop: watch.stop,
        };
        catalogue.catch_up(&not_fed, context, quiet)?;
    }
    Ok(())
}

/// Keeps in the history that a backup could not even be planned, so that the status tells.
///
/// # Errors
///
/// When the history cannot be written.
pub fn record_failure(
    error: &Error,
    layers: &[config::Layer],
    context: Context<'_>,
) -> Result<(), Error> {
    let machine = context.machine;
    let now = (machine.clock)().timestamp();
    let operation = Operation::begin(Verb::Backup, layers, now, None, machine, None)?;
    for layer in layers {
        operation.tell(Event::LayerFailed {
            layer: layer.name.clone(),
            at: now,
            failure: explain(error),
        });
    }
    operation.finish(now, Outcome::Failed, None, 0);
    Ok(())
}

/// The same with another way to read.
pub(crate) fn run_with(
    plan: &Plan,
    context: Context<'_>,
    watch: Watch<'_>,
    known: &mut Known,
    end: impl FnOnce() -> Vec<ProblemRecord>,
    read: &mut impl FnMut(&Appetite<'_, '_>, &mut dyn FnMut(Step) -> bool),
) -> Result<Report, Error> {
    let machine = context.machine;
    let started = plan.now.timestamp();
    let operation = Operation::begin(
        Verb::Backup,
        &plan.layers,
        started,
        plan.expected,
        machine,
        Some(watch),
    )?;
    let sink = |event| operation.tell(event);
    let watch = Watch {
        sink: &sink,
        stop: watch.stop,
    };
    let mut report = feed(plan, context, watch, operation.run(), known, read);
    for problem in end() {
        operation.tell(Event::Problem(problem.clone()));
        report.problems.add(problem);
    }
    report.outcome = Report::outcome_of(&report.layers, &report.problems);
    operation.finish(
        report.finished,
        report.outcome,
        Some(report.totals),
        report.problems.count,
    );
    Ok(report)
}

fn feed(
    plan: &Plan,
    context: Context<'_>,
    watch: Watch<'_>,
    run: &str,
    known: &mut Known,
    read: &mut impl FnMut(&Appetite<'_, '_>, &mut dyn FnMut(Step) -> bool),
) -> Report {
    let clock = || context.machine.now();
    let started = clock().timestamp();
    let mut results: Vec<Option<LayerResult>> = vec![None; plan.layers.len()];
    let mut names = vec![String::new(); plan.layers.len()];
    let mut damaged = vec![Vec::new(); plan.layers.len()];
    let fail = |index: usize, error: &layer::Error| {
        let layer = plan
            .layers
            .get(index)
            .map_or("", |layer| layer.name.as_str());
        let failure = explain_layer(error, layer);
        watch.tell(Event::LayerFailed {
            layer: layer.to_owned(),
            at: clock().timestamp(),
            failure: failure.clone(),
        });
        Some(LayerResult::Failed { failure })
    };

    let mut layers: Vec<(usize, Box<dyn Layer>)> = Vec::new();
    // Each derives a key and reads an index; but no two must ask a person for a passphrase at once.
    let open = |layer: &config::Layer| (context.open)(layer, Access::Write);
    let opened = match plan.layers.iter().all(config::Layer::opens_unasked) {
        true => side_by_side(plan.layers.iter(), open),
        false => plan.layers.iter().map(open).collect(),
    };
    for (index, opened) in opened.into_iter().enumerate() {
        match opened {
            Ok(layer) => layers.push((index, layer)),
            Err(error) => results[index] = fail(index, &error),
        }
    }
    let configuration = context.config.text_for_layers();
    let mut passengers = Vec::new();
    let indices: Vec<usize> = layers.iter().map(|(index, _)| *index).collect();
    // Each may have much to read first of what this machine remembers of it.
    let begun = side_by_side(layers.iter_mut(), |(index, layer)| {
        let (name, taken) = free_name(&mut **layer, &plan.snapshot)?;
        let new = NewSnapshot {
            name,
            time: plan.now.timestamp(),
            host: context.machine.host.clone(),
            user: context.machine.user.clone(),
            configuration: configuration.clone(),
        };
        let layer_name = &plan.layers[*index].name;
        let begun = layer.begin(&new, &mut |step| watch.step(layer_name, step));
        Ok((new.name, taken, begun))
    });
    for (index, begun) in indices.into_iter().zip(begun) {
        let begun = begun.and_then(|(name, taken, begun)| {
            names[index] = name;
            known.before.insert(plan.layers[index].name.clone(), taken);
            begun
        });
        match begun {
            Err(_) if watch.stop.is_requested() => results[index] = Some(LayerResult::Stopped),
            Ok(intake) => {
                if let Some(own) = intake.snapshot() {
                    names[index] = own;
                }
                damaged[index] = intake.damaged();
                watch.tell(Event::LayerStarted {
                    layer: plan.layers[index].name.clone(),
                    snapshot: names[index].clone(),
                });
                passengers.push(Passenger { index, intake });
            }
            Err(error) => results[index] = fail(index, &error),
        }
    }

    let rules = convoy::Rules {
        patience: plan.patience,
        since: moment(started),
    };
    let done = |index: usize, result: &Result<layer::Committed, layer::Error>| {
        if let (Ok(committed), Some(layer)) = (result, plan.layers.get(index)) {
            for problem in &committed.problems {
                watch.tell(Event::Problem(problem.clone()));
            }
            let own = committed.snapshot.as_ref().or(names.get(index));
            watch.tell(Event::LayerDone {
                layer: layer.name.clone(),
                snapshot: own.cloned().unwrap_or_default(),
                at: clock().timestamp(),
                statistics: committed.statistics,
            });
        }
    };
    let (problems, totals) = thread::scope(|scope| {
        let mut crossing = if passengers.is_empty() {
            Crossing::of_nobody()
        } else {
            convoy::cross(scope, passengers, rules, watch, read)
        };
        for straggler in &crossing.behind {
            let name = &plan.layers[straggler.index()].name;
            known.behind.push(name.clone());
            watch.tell(Event::LeftBehind {
                layer: name.clone(),
                at: clock().timestamp(),
                path: PathRecord::from(&straggler.fell_back.after),
            });
        }
        let mut behind = std::mem::take(&mut crossing.behind).into_iter();
        let totals = crossing.totals;
        let mut problems = std::mem::take(&mut crossing.problems);
        // Those that kept up first; then each that was left behind, alone.
        let mut crossing = Some(crossing);
        while let Some(crossed) = crossing.take() {
            let mut ready = Vec::new();
            for (index, result) in crossed.passengers {
                match result {
                    Ok(_) if crossed.stopped => results[index] = Some(LayerResult::Stopped),
                    Ok(intake) => ready.push((index, intake)),
                    Err(error) => results[index] = fail(index, &error),
                }
            }
            for problem in crossed.problems.first {
                if !problems.first.contains(&problem) {
                    problems.add(problem);
                }
            }
            if !ready.is_empty() {
                watch.tell(Event::Committing { totals });
            }
            for (index, result) in convoy::commit(ready, clock().timestamp(), &done) {
                results[index] = match result {
                    Ok(committed) => {
                        committed
                            .problems
                            .into_iter()
                            .for_each(|problem| problems.add(problem));
                        Some(LayerResult::Done {
                            snapshot: committed.snapshot.unwrap_or_else(|| names[index].clone()),
                            statistics: committed.statistics,
                            damaged: std::mem::take(&mut damaged[index]),
                        })
                    }
                    Err(error) => fail(index, &error),
                };
            }
            // What is stopped stays as it was.
            if !watch.stop.is_requested() {
                let next = behind.next();
                crossing = next.map(|straggler| convoy::cross_from(scope, straggler, watch, read));
            }
        }
        (problems, totals)
    });
    // They are open now: to look later, each would have to be opened again.
    let now = clock();
    for (index, open) in &mut layers {
        let layer = &plan.layers[*index];
        let is_done = matches!(results[*index], Some(LayerResult::Done { .. }));
        if is_done && upkeep::is_tidy(&mut **open, layer, context.machine, &now) {
            known.tidy.push(layer.name.clone());
        }
    }

    let layers = plan
        .layers
        .iter()
        .zip(results)
        .map(|(layer, result)| LayerReport {
            layer: layer.name.clone(),
            result: result.unwrap_or(LayerResult::Stopped),
        });
    finish(
        layers.collect(),
        problems,
        totals,
        plan,
        clock().timestamp(),
        run,
    )
}

/// Does something with each of several, all at the same time; gives the results in their order.
fn side_by_side<T: Send, R: Send>(
    all: impl Iterator<Item = T>,
    work: impl Fn(T) -> Result<R, layer::Error> + Sync,
) -> Vec<Result<R, layer::Error>> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = all.map(|one| scope.spawn(move || work(one))).collect();
        let threads = threads.into_iter();
        threads
            .map(|thread| thread.join().unwrap_or(Err(layer::Error::Panicked)))
            .collect()
    })
}

/// A moment as files have it.
fn moment(at: jiff::Timestamp) -> tree::Time {
    let nanoseconds = u32::try_from(at.subsec_nanosecond()).unwrap_or(0);
    tree::Time::new(at.as_second(), nanoseconds)
}

fn finish(
    layers: Vec<LayerReport>,
    problems: Problems,
    totals: crate::event::Totals,
    plan: &Plan,
    finished: jiff::Timestamp,
    run: &str,
) -> Report {
    let outcome: Outcome = Report::outcome_of(&layers, &problems);
    Report {
        run: run.to_owned(),
        started: plan.now.timestamp(),
        finished,
        outcome,
        totals,
        layers,
        problems,
        guard: None,
    }
}

/// The name of the plan, or with `.2`, `.3` … when a snapshot of the layer has it already: two
/// runs in one second, or a clock that was set back. And the snapshots that have theirs.
fn free_name(layer: &mut dyn Layer, wanted: &str) -> Result<(String, Vec<Snapshot>), layer::Error> {
    let taken = layer.snapshots()?;
    let is_free = |name: &String| taken.iter().all(|snapshot| snapshot.name != *name);
    let numbered = (2..=taken.len() + 2).map(|number| format!("{wanted}.{number}"));
    let free = std::iter::once(wanted.to_owned())
        .chain(numbered)
        .find(is_free);
    Ok((free.unwrap_or_else(|| wanted.to_owned()), taken))
}
