//! `ravelin restore`

use std::path::{self, PathBuf};

use engine::event::ProblemRecord;
use engine::recall::{Passed, Recall, recall_plan};
use engine::{
    ActionCount, Outcome, PlannedEntry, PlannedRestore, RestoreReport, RestoreRequest, Selection,
};
use serde::Serialize;
use tree::{Conflict, Fidelity, RestoreOptions};

use super::{Ended, Session};
use crate::cli::{self, Restore};
use crate::exit::Exit;
use crate::human;
use crate::listener::Listener;

pub(crate) fn run(arguments: &Restore, session: &Session<'_>) -> Result<Exit, Ended> {
    if let Some(at) = &arguments.at {
        return as_of(at, arguments, session);
    }
    let typed_snapshot = arguments.snapshot.to_string_lossy();
    let (snapshot, paths) = session.with_layer(&arguments.of, |opened| {
        let snapshot = opened.snapshot(&typed_snapshot, &session.zone)?;
        let typed = arguments.paths.iter();
        let paths: Result<Vec<_>, _> = typed
            .map(|typed| opened.path(&[&snapshot], Some(typed)))
            .collect();
        Ok((snapshot, paths?))
    })?;
    let config = session.config()?;
    let layer = engine::choose_layer(&config, arguments.of.layer.as_deref())?;
    let (selection, target) = match &arguments.to {
        Some(to) => (Selection::together(paths), path::absolute(to)?),
        None => (Selection::in_place(paths), PathBuf::from("/")),
    };
    let request = RestoreRequest {
        layer: layer.clone(),
        snapshot: snapshot.clone(),
        selection,
        target,
        options: options(arguments),
    };
    session.with_context(&config, |context| {
        let mut planned = engine::restore_plan(request, context)?;
        if arguments.dry_run {
            show(&mut planned, &snapshot.name, session)?;
            return Ok(if planned.refusals().is_empty() {
                Exit::Good
            } else {
                Exit::Skipped
            });
        }
        let listener = Listener::new(session.output);
        let watch = listener.watch(session.stop);
        let done = if arguments.undoable {
            engine::restore_undoably(planned, context, watch).map(|done| (done.report, done.undo))
        } else {
            engine::restore(planned, context, watch).map(|report| (report, None))
        };
        listener.finish()?;
        let (report, undo) = done?;
        if session.output.json {
            session.output.json(&Done {
                report: &report,
                undo: undo.as_deref(),
            })?;
        } else {
            tell(&report, session);
            match &undo {
                Some(id) => session
                    .output
                    .say(&format!("`ravelin undo {id}` takes it back, for a week")),
                None if arguments.undoable => session
                    .output
                    .say("nothing was changed, or more than can be kept: this cannot be undone"),
                None => {}
            }
        }
        Ok(match &report.failure {
            Some(failure) => Exit::of_code(failure.code),
            None => Exit::of_outcome(report.outcome),
        })
    })
}

/// What docs/json.md promises.
#[derive(Serialize)]
struct Done<'a> {
    #[serde(flatten)]
    report: &'a RestoreReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    undo: Option<&'a str>,
}

/// As it was at a time, from whichever layer can.
fn as_of(at: &str, arguments: &Restore, session: &Session<'_>) -> Result<Exit, Ended> {
    let output = session.output;
    let Some(at) = engine::when(at, &session.machine.now()) else {
        let at = at.escape_debug();
        output.say(&format!("error: `{at}` is no time that is understood"));
        output.say(
            "  next: say `yesterday`, `last tuesday`, `3 days ago`, `2026-11-24` or `2026-11-24 14:30`",
        );
        return Ok(Exit::Usage);
    };
    let first = PathBuf::from(&arguments.snapshot);
    let recall = Recall {
        paths: std::iter::once(first)
            .chain(arguments.paths.iter().cloned())
            .collect(),
        here: std::env::current_dir()?,
        at,
        layer: arguments.of.layer.clone(),
        target: arguments.to.as_ref().map(path::absolute).transpose()?,
        options: options(arguments),
    };
    let config = session.config()?;
    session.with_context(&config, |context| {
        let mut planned = recall_plan(&recall, context)?;
        if arguments.dry_run
            && let (Some(plan), Some(snapshot)) = (&mut planned.plan, &planned.snapshot)
        {
            show(plan, &snapshot.name, session)?;
            pass_over(&planned.passed, session);
            return Ok(if plan.refusals().is_empty() {
                Exit::Good
            } else {
                Exit::Skipped
            });
        }
        let listener = Listener::new(output);
        let recalled =
            engine::recall::recall(planned, &recall, context, listener.watch(session.stop));
        listener.finish()?;
        let recalled = recalled?;
        if output.json {
            output.json(&recalled)?;
        } else {
            pass_over(&recalled.passed, session);
            for (number, report) in recalled.restores.iter().enumerate() {
                if number > 0 {
                    output.say(&format!("the rest from layer `{}`:", report.layer));
                }
                tell(report, session);
            }
        }
        // What came first may have been made good by what came last.
        Ok(match (recalled.restores.last(), recalled.passed.first()) {
            (Some(report), _) => match &report.failure {
                Some(failure) => Exit::of_code(failure.code),
                None => Exit::of_outcome(report.outcome),
            },
            (None, Some(passed)) => Exit::of_code(passed.failure.code),
            (None, None) => Exit::Failed,
        })
    })
}

/// Says which layers could not be used, and why.
fn pass_over(passed: &[Passed], session: &Session<'_>) {
    for passed in passed {
        let headline = format!("layer `{}` could not be used", passed.layer);
        session.output.explain(&headline, &passed.failure);
    }
}

fn options(arguments: &Restore) -> RestoreOptions {
    RestoreOptions {
        conflict: match arguments.conflict {
            cli::Conflict::KeepBoth => Conflict::KeepBoth,
            cli::Conflict::Overwrite => Conflict::Overwrite,
            cli::Conflict::Skip => Conflict::Skip,
            cli::Conflict::OnlyIfDifferent => Conflict::OnlyIfDifferent,
        },
        fidelity: if arguments.as_it_was {
            Fidelity::AsItWas
        } else {
            Fidelity::Usual
        },
        ..RestoreOptions::default()
    }
}

#[derive(Serialize)]
struct PlanRecord<'a> {
    snapshot: &'a str,
    target: String,
    bytes_to_write: u64,
    actions: Vec<ActionCount>,
    refusals: &'a [ProblemRecord],
    entries: Vec<PlannedEntry>,
}

fn show(planned: &mut PlannedRestore, snapshot: &str, session: &Session<'_>) -> Result<(), Ended> {
    if session.output.json {
        let mut entries = Vec::new();
        planned.each(|entry| entries.push(entry))?;
        session.output.json(&PlanRecord {
            snapshot,
            target: planned.target().display().to_string(),
            bytes_to_write: planned.bytes_to_write(),
            actions: planned.actions(),
            refusals: planned.refusals(),
            entries,
        })?;
        return Ok(());
    }
    let mut lines = String::new();
    planned.each(|entry| {
        let place = if entry.path == entry.destination {
            String::new()
        } else {
            format!(" as {}", entry.destination)
        };
        lines.push_str(&format!("{:13} {}{place}\n", entry.action, entry.path));
    })?;
    session.output.data(lines.as_bytes())?;
    session.output.say(&format!(
        "from {} into {}, {} to write:",
        snapshot.escape_debug(),
        planned.target().display(),
        human::size(planned.bytes_to_write())
    ));
    for count in planned.actions() {
        session.output.say(&format!(
            "  {:>9}  {}",
            human::grouped(count.entries),
            words(count.action)
        ));
    }
    for refusal in planned.refusals() {
        session.output.say(&problem(refusal));
    }
    Ok(())
}

/// What an action means, as the end of “so many …”.
fn words(action: &str) -> &str {
    match action {
        "create" => "created",
        "replace" => "replaced",
        "keep-both" => "restored beside what stands there",
        "mend" => "with the right content, attributes mended",
        "already-right" => "as they should be already",
        "skip" => "left alone",
        "superseded" => "that the snapshot has once more under the same path",
        "refuse" => "that cannot be restored",
        other => other,
    }
}

fn problem(problem: &ProblemRecord) -> String {
    format!("  {}: {}", problem.path, problem.what.escape_debug())
}

pub(super) fn tell(report: &RestoreReport, session: &Session<'_>) {
    let took = human::duration(report.finished.duration_since(report.started));
    let bytes = report.actions.iter().map(|count| count.bytes).sum();
    let entries = report.actions.iter().map(|count| count.entries).sum();
    session.output.tell(&format!(
        "{} from {} into {}: {} written, in {took}",
        human::count(entries, "object"),
        report.snapshot.escape_debug(),
        report.target,
        human::size(bytes),
    ));
    for count in &report.actions {
        session.output.tell(&format!(
            "  {:>9}  {}",
            human::grouped(count.entries),
            words(count.action)
        ));
    }
    if report.outcome == Outcome::Stopped {
        session
            .output
            .say("stopped: the same command again restores the rest");
    }
    for renamed in &report.renamed {
        session.output.tell(&format!(
            "  {} stands there; restored as {}",
            renamed.from, renamed.to
        ));
    }
    let left_out = &report.left_out;
    for (count, what) in [
        (left_out.owners, "without its owner: that takes root"),
        (
            left_out.set_ids,
            "without set-uid or set-gid: see --as-it-was",
        ),
        (
            left_out.xattrs,
            "without some extended attributes: see --as-it-was",
        ),
        (left_out.acls, "without its ACL"),
        (left_out.flags, "without its inode flags: see --as-it-was"),
    ] {
        if count > 0 {
            session
                .output
                .tell(&format!("  {:>9}  {what}", human::grouped(count)));
        }
    }
    if report.problems.count > 0 {
        let count = human::count(report.problems.count, "object");
        session
            .output
            .say(&format!("{count} could not be restored, or not entirely:"));
        for record in &report.problems.first {
            session.output.say(&problem(record));
        }
    }
    if let Some(failure) = &report.failure {
        session
            .output
            .explain("the restore ended before its time", failure);
    }
}
