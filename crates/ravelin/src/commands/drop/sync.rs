//! `ravelin drop sync`

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use ::drop::{Did, Error, Folder, Selection, Step, SyncReport};

use super::{Ended, Place, Session, problem_records, tell_problems, typed};
use crate::cli::drop::Sync;
use crate::exit::Exit;
use crate::human;

fn word(did: Did) -> &'static str {
    match did {
        Did::Uploaded => "uploaded",
        Did::Downloaded => "downloaded",
        Did::DeletedHere => "deleted-here",
        Did::DeletedThere => "deleted-there",
        Did::KeptBoth => "kept-both",
    }
}

/// What the person wants of the folder of this machine, and where that is.
pub(super) fn begin(place: &Place, arguments: &Sync) -> Result<(PathBuf, ::drop::Sync), Ended> {
    let path = arguments.folder.clone().or_else(|| place.folder.clone());
    let path = path.ok_or(Error::Unsupported {
        what: "name the folder of this machine, or set `folder` of the layer in the configuration",
    })?;
    let path = std::path::absolute(path)?;
    let only = arguments.only.iter().map(|path| typed(path));
    let only = only.collect::<Result<Vec<_>, _>>()?;
    let mut sync = ::drop::Sync::new(
        &path,
        place.device.clone(),
        Some(&place.state),
        Arc::clone(&place.environment.random),
    )?;
    sync.selection = Selection::only(only);
    sync.allow_empty = arguments.allow_empty;
    Ok((path, sync))
}

/// Makes both sides the same once.
pub(super) fn run(place: &Place, arguments: &Sync, session: &Session<'_>) -> Result<Exit, Ended> {
    let (_, sync) = begin(place, arguments)?;
    let mut folder = place.open()?;
    if arguments.dry_run {
        let plan = sync.plan(&mut folder, Place::now(session))?;
        for (path, did) in plan {
            if session.output.json {
                let record = serde_json::json!({"path": path.as_str(), "did": word(did)});
                session.output.json(&record)?;
            } else {
                session
                    .output
                    .say(&format!("would be {}: {path}", word(did)));
            }
        }
        return Ok(Exit::Good);
    }
    let report = once(&sync, &mut folder, session)?;
    end(&report, session)
}

/// Makes both sides the same, until the person stops it.
pub(super) fn once(
    sync: &::drop::Sync,
    folder: &mut Folder,
    session: &Session<'_>,
) -> Result<SyncReport, Error> {
    sync.run(folder, Place::now(session), &mut |step| {
        tell(step, session);
        if session.stop.is_requested() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
}

fn tell(step: &Step, session: &Session<'_>) {
    if session.output.json {
        let record = serde_json::json!({
            "event": "step",
            "path": step.path.as_str(),
            "did": word(step.did),
            "bytes": step.bytes,
        });
        // A reader that is gone does not stop the synchronisation.
        let _ = session.output.json(&record);
    } else if step.did == Did::KeptBoth {
        // Always said: a person has to look at it.
        session.output.say(&format!(
            "both sides had changed it; this device's is {}",
            step.path
        ));
    } else {
        session
            .output
            .tell(&format!("{}: {}", word(step.did), step.path));
    }
}

/// Says how it went.
pub(super) fn end(report: &SyncReport, session: &Session<'_>) -> Result<Exit, Ended> {
    if session.output.json {
        session.output.json(&serde_json::json!({
            "steps": report.steps.len(),
            "adopted": report.adopted.iter().map(store::Name::as_str).collect::<Vec<_>>(),
            "in_motion": report.in_motion.iter().map(store::Name::as_str).collect::<Vec<_>>(),
            "problems": problem_records(&report.problems),
            "complete": report.complete,
        }))?;
    }
    for path in &report.in_motion {
        session.output.say(&format!(
            "{path} is being written to; the next run takes it"
        ));
    }
    let exit = tell_problems(&report.problems, session);
    if report.complete {
        let count = human::count(report.steps.len() as u64, "change");
        session
            .output
            .tell(&format!("both sides are the same; {count}"));
    }
    Ok(if exit == Exit::Good && !report.in_motion.is_empty() {
        Exit::Skipped
    } else {
        exit
    })
}
