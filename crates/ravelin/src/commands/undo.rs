//! `ravelin undo`

use engine::RestoreReport;
use jiff::Timestamp;
use serde::Serialize;

use super::{Ended, Session, restore};
use crate::cli::Undo;
use crate::exit::Exit;
use crate::human;
use crate::listener::Listener;

/// A restore that can be undone, as docs/json.md promises it.
#[derive(Serialize)]
struct Record {
    undo: String,
    at: Timestamp,
    layer: String,
    target: String,
    files: u64,
    first: Option<String>,
}

impl From<&engine::Undo> for Record {
    fn from(undo: &engine::Undo) -> Self {
        Self {
            undo: undo.id.clone(),
            at: undo.at,
            layer: undo.layer.clone(),
            target: undo.target.display().to_string(),
            files: undo.files(),
            first: undo.first().map(|first| first.display().to_string()),
        }
    }
}

/// What an undo did, as docs/json.md promises it.
#[derive(Serialize)]
struct Done<'a> {
    #[serde(flatten)]
    report: &'a RestoreReport,
    removed: u64,
    left: u64,
    undo: Option<&'a str>,
}

pub(crate) fn run(arguments: &Undo, session: &Session<'_>) -> Result<Exit, Ended> {
    let known = engine::undos(session.machine)?;
    let Some(id) = &arguments.id else {
        return list(&known, session);
    };
    if !known.iter().any(|undo| undo.id == *id) {
        let id = id.escape_debug();
        session
            .output
            .say(&format!("error: there is no restore `{id}` to be undone"));
        session
            .output
            .say("  next: `ravelin undo` lists those of the last week");
        return Ok(Exit::Failed);
    }
    let config = session.config()?;
    session.with_context(&config, |context| {
        let listener = Listener::new(session.output);
        let done = engine::undo(id, context, listener.watch(session.stop));
        listener.finish()?;
        let done = done?;
        if session.output.json {
            session.output.json(&Done {
                report: &done.report,
                removed: done.removed,
                left: done.left,
                undo: done.undo.as_deref(),
            })?;
        } else {
            restore::tell(&done.report, session);
            let lines = [
                (done.removed, "taken away again"),
                (done.left, "left, because they were changed since"),
            ];
            for (count, what) in lines.into_iter().filter(|(count, _)| *count > 0) {
                let count = human::grouped(count);
                session.output.tell(&format!("  {count:>9}  {what}"));
            }
            if let Some(id) = &done.undo {
                session
                    .output
                    .tell(&format!("`ravelin undo {id}` takes that back"));
            }
        }
        Ok(match &done.report.failure {
            Some(failure) => Exit::of_code(failure.code),
            None => Exit::of_outcome(done.report.outcome),
        })
    })
}

fn list(known: &[engine::Undo], session: &Session<'_>) -> Result<Exit, Ended> {
    let records: Vec<Record> = known.iter().map(Record::from).collect();
    if session.output.json {
        return session.answer(&records);
    }
    let mut text = String::new();
    for record in &records {
        let first = record.first.as_deref().unwrap_or(&record.target);
        text.push_str(&format!(
            "{}  {}  {}: {}{}\n",
            record.undo,
            human::minute(record.at, &session.zone),
            record.layer,
            first.escape_debug(),
            match record.files {
                0 | 1 => String::new(),
                files => format!(" (+{})", files - 1),
            }
        ));
    }
    session.output.data(text.as_bytes())?;
    if records.is_empty() {
        session
            .output
            .say("no restore of the last week can be undone");
    }
    Ok(Exit::Good)
}
