//! `ravelin backup`

use engine::{Due, HookFault, LayerResult, Plan, Report, Wanted};
use serde::Serialize;

use super::{Ended, Session, guard, notify, prune};
use crate::cli::Backup;
use crate::exit::Exit;
use crate::human;
use crate::listener::Listener;

pub(crate) fn run(arguments: &Backup, session: &Session<'_>) -> Result<Exit, Ended> {
    let wanted = if arguments.layers.is_empty() {
        Wanted::All
    } else {
        Wanted::Named(arguments.layers.clone())
    };
    let config = session.config()?;
    session.with_context(&config, |context| {
        let plan = match engine::plan(context, &wanted) {
            Err(error @ engine::Error::NoSource { .. }) if !arguments.dry_run => {
                engine::record_failure(&error, &context.config.layers, context)?;
                return Err(error.into());
            }
            plan => plan?,
        };
        for layer in &plan.not_runnable {
            session.output.tell(&format!(
                "{layer}: cannot be run by this version yet, left out"
            ));
        }
        if arguments.dry_run || plan.layers.is_empty() {
            show(&plan, arguments.dry_run, session)?;
            return Ok(Exit::Good);
        }
        let listener = Listener::new(session.output);
        let due = engine::back_up(&plan, context, listener.watch(session.stop));
        listener.finish()?;
        let due = due?;
        let Some(report) = &due.backup else {
            // A hook put it off.
            for waiting in &due.waiting {
                let reason = waiting.wait.reason(&session.zone);
                session
                    .output
                    .say(&format!("{}: waiting, because {reason}", waiting.layer));
            }
            tell_hooks(&due.hooks, session);
            return Ok(Exit::Waiting);
        };
        if session.output.json {
            session.output.json(report)?;
        } else {
            tell(report, session);
            guard::tell(due.alarm(), session);
            prune::tell_all(&due.pruned, &due.not_pruned, session);
        }
        tell_hooks(&due.hooks, session);
        notify::tell(&due.undelivered, session);
        Ok(with_hooks(exit(report, &due), &due.hooks))
    })
}

/// Says which hooks for the end failed.
pub(super) fn tell_hooks(faults: &[HookFault], session: &Session<'_>) {
    for fault in faults {
        session.output.say(&format!(
            "warning: the hook `{}` failed: {}",
            fault.program, fault.reason
        ));
    }
}

/// Of a backup that is good but for its hooks, the exit code says that something was left undone.
pub(super) fn with_hooks(exit: Exit, faults: &[HookFault]) -> Exit {
    match exit {
        Exit::Good if !faults.is_empty() => Exit::Skipped,
        exit => exit,
    }
}

/// How the program ends after a backup: one that stands is not made a failure by old snapshots that
/// could not be removed, or an alarm.
pub(super) fn exit(report: &Report, due: &Due) -> Exit {
    match Exit::of_report(report) {
        Exit::Good if !due.not_pruned.is_empty() || due.alarm().is_some() => Exit::Partial,
        exit => exit,
    }
}

#[derive(Serialize)]
struct PlanRecord<'a> {
    snapshot: &'a str,
    paths: Vec<String>,
    commands: Vec<&'a str>,
    layers: Vec<&'a str>,
    waiting: Vec<HeldRecord<'a>>,
    not_due: Vec<NotDueRecord<'a>>,
}

#[derive(Serialize)]
struct HeldRecord<'a> {
    layer: &'a str,
    #[serde(flatten)]
    wait: &'a engine::Wait,
}

#[derive(Serialize)]
pub(super) struct NotDueRecord<'a> {
    layer: &'a str,
    /// `null` for a layer that is backed up only when asked for.
    next_due: Option<jiff::Timestamp>,
}

/// When the layers that are not due will be.
pub(super) fn not_due(layers: &[(String, Option<jiff::ZonedDateTime>)]) -> Vec<NotDueRecord<'_>> {
    let records = layers.iter().map(|(layer, due)| NotDueRecord {
        layer,
        next_due: due.as_ref().map(jiff::ZonedDateTime::timestamp),
    });
    records.collect()
}

/// Shows what would be done; that nothing is due only to those who want good news.
pub(super) fn show(plan: &Plan, dry_run: bool, session: &Session<'_>) -> Result<(), Ended> {
    let paths = || plan.paths.iter();
    if session.output.json {
        session.output.json(&PlanRecord {
            snapshot: &plan.snapshot,
            paths: paths().map(|path| path.display().to_string()).collect(),
            commands: plan
                .commands
                .iter()
                .map(|(_, command)| command.as_str())
                .collect(),
            layers: plan
                .layers
                .iter()
                .map(|layer| layer.name.as_str())
                .collect(),
            waiting: plan
                .held
                .iter()
                .map(|held| HeldRecord {
                    layer: &held.layer,
                    wait: &held.wait,
                })
                .collect(),
            not_due: not_due(&plan.waiting),
        })?;
        return Ok(());
    }
    let mut lines = Vec::new();
    for layer in &plan.layers {
        lines.push(format!(
            "{}: would get snapshot {}",
            layer.name, plan.snapshot
        ));
    }
    if !plan.layers.is_empty() {
        lines.extend(paths().map(|path| format!("  would read {}", path.display())));
        let commands = plan.commands.iter();
        lines.extend(commands.map(|(name, command)| format!("  would run `{command}` for {name}")));
    }
    for held in &plan.held {
        let reason = held.wait.reason(&session.zone);
        lines.push(format!("{}: would wait, because {reason}", held.layer));
    }
    for (layer, due) in &plan.waiting {
        let when = match due {
            Some(due) => format!("due {}", human::minute(due.timestamp(), &session.zone)),
            None => "only when asked for".to_owned(),
        };
        lines.push(format!("{layer}: {when}"));
    }
    for line in lines {
        if dry_run {
            session.output.say(&line);
        } else {
            session.output.tell(&line);
        }
    }
    Ok(())
}

/// Says in words what was done: what went wrong always, the rest to those who want good news.
pub(super) fn tell(report: &Report, session: &Session<'_>) {
    let took = human::duration(report.finished.duration_since(report.started));
    for layer in &report.layers {
        let name = &layer.layer;
        match &layer.result {
            LayerResult::Done {
                snapshot,
                statistics,
                damaged,
            } => {
                session.output.tell(&format!(
                    "{name}: backed up as {snapshot}\n  {}, {}, {} new, in {took}",
                    human::count(statistics.files, "file"),
                    human::size(statistics.bytes),
                    human::size(statistics.added_bytes),
                ));
                for snapshot in damaged {
                    session.output.say(&format!(
                        "{name}: the earlier snapshot {snapshot} is damaged\n  next: `ravelin repair {name} --dry-run` says what can be mended"
                    ));
                }
            }
            LayerResult::Failed { failure } => {
                session
                    .output
                    .explain(&format!("layer `{name}` was not backed up"), failure);
            }
            LayerResult::Stopped => {
                session
                    .output
                    .say(&format!("{name}: stopped, no snapshot was made"));
            }
        }
    }
    if report.problems.count > 0 {
        session.output.say(&format!(
            "{} could not be read and {} left out or may be incomplete:",
            human::count(report.problems.count, "object"),
            if report.problems.count == 1 {
                "is"
            } else {
                "are"
            },
        ));
        for problem in &report.problems.first {
            let path = &problem.path;
            session
                .output
                .say(&format!("  {path}: {}", problem.what.escape_debug()));
        }
        let named = u64::try_from(report.problems.first.len()).unwrap_or(u64::MAX);
        if report.problems.count > named {
            session.output.say(&format!(
                "  and {} more",
                human::grouped(report.problems.count - named)
            ));
        }
    }
}
