//! `ravelin drop sync`

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use ::drop::{Did, Error, Folder, Problem, Selection, Step, SyncReport};
use store::Location;

use super::{Ended, Place, Session, problem_records, tell_problems, typed};
use crate::cli::drop::Sync;
use crate::exit::Exit;
use crate::human;

/// So often both sides are looked at where nothing tells of changes.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// After a change, so long is waited for more of them.
const QUIET: Duration = Duration::from_secs(1);

fn word(did: Did) -> &'static str {
    match did {
        Did::Uploaded => "uploaded",
        Did::Downloaded => "downloaded",
        Did::DeletedHere => "deleted-here",
        Did::DeletedThere => "deleted-there",
        Did::KeptBoth => "kept-both",
    }
}

pub(super) fn run(place: &Place, arguments: &Sync, session: &Session<'_>) -> Result<Exit, Ended> {
    let path = arguments.folder.clone().or_else(|| place.folder.clone());
    let path = path.ok_or(Error::Unsupported {
        what: "name the folder of this machine, or set `folder` of the layer in the configuration",
    })?;
    let path = std::path::absolute(path)?;
    let only = arguments.only.iter().map(|path| typed(path));
    let only = only.collect::<Result<Vec<_>, _>>()?;
    let begin = || -> Result<::drop::Sync, Ended> {
        let mut sync = ::drop::Sync::new(
            &path,
            place.device.clone(),
            Some(&place.state),
            Arc::clone(&place.environment.random),
        )?;
        sync.selection = Selection::only(only.clone());
        sync.allow_empty = arguments.allow_empty;
        Ok(sync)
    };
    let Some(mut folder) = open(place, arguments.watch, session)? else {
        return Ok(if session.stop.is_requested() {
            Exit::Interrupted
        } else {
            Exit::Waiting
        });
    };
    if arguments.dry_run {
        let plan = begin()?.plan(&mut folder, Place::now(session))?;
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
    // The watch is set before the first look, so that nothing falls between.
    let mut watch = None;
    let mut following = None;
    if arguments.watch {
        following = begin()?.follow(&folder)?;
        if following.is_none() {
            session.output.tell("another run follows it already");
            return Ok(Exit::Good);
        }
        watch = Some(::drop::Watch::new(&path)?);
    }
    let mut told = None;
    let mut known: Vec<Problem> = Vec::new();
    loop {
        // The rules may have changed.
        let sync = begin()?;
        let result = sync.run(&mut folder, Place::now(session), &mut |step| {
            tell(step, session);
            if session.stop.is_requested() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let Some(watch) = &mut watch else {
            return end(&result?, session);
        };
        match result {
            Ok(mut report) => {
                // What was said stays said: it would come with every look.
                let problems = report.problems.clone();
                report.problems.retain(|problem| !known.contains(problem));
                known = problems;
                end(&report, session)?;
            }
            // The network comes back, or the other run ends.
            Err(error @ (Error::Busy { .. } | Error::Store(_)))
                if error.is_passing() || matches!(error, Error::Busy { .. }) =>
            {
                session.output.say(&format!("waiting: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
        if wait(watch, &folder, &mut told, session)? {
            // Held until here.
            drop(following);
            return Ok(Exit::Interrupted);
        }
    }
}

/// Opens the drop folder. One that is to be followed is waited for while the network is away; `None`
/// when its drive is, or when the waiting was stopped.
fn open(place: &Place, watch: bool, session: &Session<'_>) -> Result<Option<Folder>, Ended> {
    if let Location::Disk(path) = &place.location
        && watch
        && !path.exists()
    {
        let path = path.display();
        session.output.tell(&format!(
            "waiting, because {path} is not there: is its drive connected?"
        ));
        return Ok(None);
    }
    loop {
        match place.open() {
            Err(Ended::Drop(error)) if watch && error.is_passing() => {
                session.output.tell(&format!("waiting: {error}"));
            }
            opened => return opened.map(Some),
        }
        let mut waited = Duration::ZERO;
        while waited < LOOK_EVERY {
            if session.stop.is_requested() {
                return Ok(None);
            }
            std::thread::sleep(QUIET);
            waited += QUIET;
        }
    }
}

/// Waits for a change on either side, or for the time to look. Whether to stop.
///
/// `told` is where the service's answer comes, if it can tell: one question at a time is open, in a
/// thread of its own that ends with its answer.
fn wait(
    watch: &mut ::drop::Watch,
    folder: &::drop::Folder,
    told: &mut Option<Receiver<bool>>,
    session: &Session<'_>,
) -> Result<bool, Ended> {
    if told.is_none()
        && let Some(waiter) = folder.waiter()
    {
        let (send, receive) = channel();
        std::thread::spawn(move || {
            // Who does not listen any more does not need the answer.
            let _ = send.send(waiter(LOOK_EVERY).unwrap_or(false));
        });
        *told = Some(receive);
    }
    let mut waited = Duration::ZERO;
    while waited < LOOK_EVERY && !session.stop.is_requested() {
        if watch.wait(QUIET)? {
            // More may come: an editor that saves writes several times.
            while !session.stop.is_requested() && watch.wait(QUIET)? {}
            break;
        }
        waited += QUIET;
        match told.as_ref().map(Receiver::try_recv) {
            Some(Ok(changed)) => {
                *told = None;
                if changed {
                    break;
                }
            }
            Some(Err(TryRecvError::Disconnected)) => *told = None,
            Some(Err(TryRecvError::Empty)) | None => {}
        }
    }
    Ok(session.stop.is_requested())
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

fn end(report: &SyncReport, session: &Session<'_>) -> Result<Exit, Ended> {
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
