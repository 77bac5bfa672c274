//! `ravelin run`

use engine::drill::DrillReport;
use engine::notify::Undelivered;
use engine::upkeep::{NotPruned, PruneReport};
use engine::wait::Waiting;
use engine::{Due, HookFault, OpinionReport, Report, Rolled, VerifyReport, Wanted};
use serde::Serialize;

use super::{Ended, Session, backup, drill, guard, notify, prune, verify};
use crate::cli::Run;
use crate::exit::Exit;
use crate::human;
use crate::listener::Listener;

pub(crate) fn run(arguments: &Run, session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    session.with_context(&config, |context| {
        if arguments.dry_run {
            let plan = engine::plan(context, &Wanted::Due)?;
            backup::show(&plan, true, session)?;
            return Ok(Exit::Good);
        }
        let before = engine::wait::waiting(session.machine);
        let listener = Listener::new(session.output);
        let due = engine::run_due(context, listener.watch(session.stop));
        listener.finish()?;
        let due = match due {
            // On a schedule this is no failure: the other one does the work.
            Err(engine::Error::Busy { holder }) => {
                session
                    .output
                    .tell(&format!("waiting: another ravelin is at work: {holder}"));
                return Ok(Exit::Waiting);
            }
            due => due?,
        };
        if session.output.json {
            session.output.json(&DueRecord::new(&due))?;
        } else {
            tell(&due, &before, session);
        }
        Ok(backup::with_hooks(exit(&due), &due.hooks))
    })
}

#[derive(Serialize)]
struct DueRecord<'a> {
    backup: Option<&'a Report>,
    pruned: &'a [PruneReport],
    not_pruned: &'a [NotPruned],
    verify: &'a [VerifyReport],
    second_opinion: Option<&'a OpinionReport>,
    rolled: &'a [Rolled],
    drill: Option<&'a DrillReport>,
    waiting: &'a [Waiting],
    not_due: Vec<backup::NotDueRecord<'a>>,
    not_runnable: &'a [String],
    hooks: &'a [HookFault],
    undelivered: &'a [Undelivered],
}

impl<'a> DueRecord<'a> {
    fn new(due: &'a Due) -> Self {
        Self {
            backup: due.backup.as_ref(),
            pruned: &due.pruned,
            not_pruned: &due.not_pruned,
            verify: &due.verify,
            second_opinion: due.second_opinion.as_ref(),
            rolled: &due.rolled,
            drill: due.drill.as_ref(),
            waiting: &due.waiting,
            not_due: backup::not_due(&due.not_due),
            not_runnable: &due.not_runnable,
            hooks: &due.hooks,
            undelivered: &due.undelivered,
        }
    }
}

/// Says what was done. What is waited for is said when it is new, and to those who want good news:
/// a drive that is away for a week is worth one mail, not a thousand.
fn tell(due: &Due, before: &[Waiting], session: &Session<'_>) {
    for layer in &due.not_runnable {
        session.output.tell(&format!(
            "{layer}: cannot be run by this version yet, left out"
        ));
    }
    if let Some(report) = &due.backup {
        backup::tell(report, session);
    }
    guard::tell(due.alarm(), session);
    prune::tell_all(&due.pruned, &due.not_pruned, session);
    for report in &due.verify {
        verify::tell(report, session);
    }
    if let Some(report) = &due.second_opinion {
        verify::tell_opinions(report, session);
    }
    for part in &due.rolled {
        tell_part(part, session);
    }
    if let Some(report) = &due.drill {
        drill::tell(report, session);
    }
    backup::tell_hooks(&due.hooks, session);
    notify::tell(&due.undelivered, session);
    for waiting in &due.waiting {
        let reason = waiting.wait.reason(&session.zone);
        let line = format!("{}: waiting, because {reason}", waiting.layer);
        if before.contains(waiting) {
            session.output.tell(&line);
        } else {
            session.output.say(&line);
        }
    }
    for (layer, next) in &due.not_due {
        let when = match next {
            Some(next) => format!("due {}", human::minute(next.timestamp(), &session.zone)),
            None => "only when asked for".to_owned(),
        };
        session.output.tell(&format!("{layer}: {when}"));
    }
}

/// Says what was found in a part: damage always.
fn tell_part(part: &Rolled, session: &Session<'_>) {
    let name = &part.layer;
    if let Some(failure) = &part.failure {
        let what = format!("no part of layer `{name}` could be read back");
        session.output.explain(&what, failure);
    } else if part.findings.is_empty() {
        let end = if part.to_the_end {
            ", up to the end"
        } else {
            ""
        };
        session.output.tell(&format!(
            "{name}: a part read back, {}{end}",
            human::size(part.read_bytes)
        ));
    } else {
        session
            .output
            .say(&format!("error: layer `{name}` is damaged"));
        for finding in &part.findings {
            session.output.say(&format!("  {finding}"));
        }
        session.output.say(&format!(
            "  next: `ravelin repair --dry-run {name}` says which files are hurt"
        ));
    }
}

fn exit(due: &Due) -> Exit {
    let only_backup = due
        .backup
        .as_ref()
        .filter(|_| due.verify.is_empty() && due.rolled.is_empty() && due.drill.is_none())
        .filter(|_| due.second_opinion.is_none());
    match (due.outcome(), only_backup) {
        (Some(_), Some(report)) => backup::exit(report, due),
        (Some(outcome), None) => Exit::of_outcome(outcome),
        (None, _) if due.waiting.is_empty() => Exit::Good,
        (None, _) => Exit::Waiting,
    }
}
