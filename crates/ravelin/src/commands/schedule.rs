//! `ravelin schedule`

use std::{env, fs, io};

use engine::timer::{self, Installed, Job, Scheduler};
use serde::Serialize;

use super::{Ended, Session};
use crate::cli::{self, Install, Schedule, Units};
use crate::exit::Exit;
use crate::human;

pub(crate) fn run(which: &Schedule, session: &Session<'_>) -> Result<Exit, Ended> {
    match which {
        Schedule::Install(arguments) => install(arguments, session),
        Schedule::Remove => remove(session),
        Schedule::Status => status(session),
        Schedule::Units(arguments) => units(arguments),
    }
}

/// Writes what a package brings.
fn units(arguments: &Units) -> Result<Exit, Ended> {
    let unusable = || io::Error::new(io::ErrorKind::InvalidInput, "a unit cannot hold this path");
    let units = timer::units_of_package(&arguments.program).ok_or_else(unusable)?;
    for (path, text) in units {
        let path = arguments.to.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, text)?;
    }
    Ok(Exit::Good)
}

/// The job of this machine. What a hardened service may write comes from the configuration.
pub(super) fn job(
    minutes: u8,
    config: Option<&engine::Config>,
    session: &Session<'_>,
) -> Result<Job, Ended> {
    let program = env::current_exe()?;
    let file = std::path::absolute(&session.config_file)?;
    let Some(config) = config else {
        return Ok(Job::new(program, &file, minutes, session.machine));
    };
    let mut job = Job::of_config(program, config, minutes, session.machine);
    job.config = file;
    Ok(job)
}

fn install(arguments: &Install, session: &Session<'_>) -> Result<Exit, Ended> {
    // What cannot be read would fail every quarter of an hour.
    let config = session.config()?;
    let job = job(arguments.every, Some(&config), session)?;
    let by = arguments.by.map(|by| match by {
        cli::Scheduler::Systemd => Scheduler::Systemd,
        cli::Scheduler::Cron => Scheduler::Cron,
    });
    let planned = timer::plan(&job, by)?;
    if arguments.dry_run {
        for (path, text) in &planned.files {
            session
                .output
                .say(&format!("would write {}:\n\n{text}", path.display()));
        }
        return Ok(Exit::Good);
    }
    let installed = timer::install(&job, &planned)?;
    if session.output.json {
        return session.answer(&installed);
    }
    // What keeps it from being called has to be known, also to who wants no good news.
    let text = text(std::slice::from_ref(&installed), session);
    if installed.notes.is_empty() {
        session.output.tell(text.trim_end());
    } else {
        session.output.say(text.trim_end());
    }
    Ok(Exit::Good)
}

#[derive(Serialize)]
struct Removed {
    removed: Vec<Scheduler>,
}

fn remove(session: &Session<'_>) -> Result<Exit, Ended> {
    let removed = timer::remove(&job(15, None, session)?)?;
    if session.output.json {
        return session.answer(&Removed { removed });
    }
    if removed.is_empty() {
        session.output.tell("nothing was installed");
    }
    for by in removed {
        session.output.tell(&format!("removed from {}", by.name()));
    }
    Ok(Exit::Good)
}

#[derive(Serialize)]
struct StatusRecord<'a> {
    schedule: &'a [Installed],
    layers: Vec<NextRecord>,
}

#[derive(Serialize)]
struct NextRecord {
    layer: String,
    /// `null` for a layer that is backed up only when asked for.
    next_due: Option<jiff::Timestamp>,
    waiting: Option<engine::Waiting>,
}

fn status(session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    let status = session.with_context(&config, |context| Ok(engine::status(context)?))?;
    let installed = timer::installed(&job(15, Some(&config), session)?);
    if session.output.json {
        let layers = status.layers.into_iter().map(|layer| NextRecord {
            layer: layer.layer,
            next_due: layer.next_due,
            waiting: layer.waiting,
        });
        return session.answer(&StatusRecord {
            schedule: &installed,
            layers: layers.collect(),
        });
    }
    let mut text = text(&installed, session);
    for layer in &status.layers {
        let when = match (&layer.waiting, layer.next_due) {
            (Some(waiting), _) => format!("waits: {}", waiting.wait.reason(&session.zone)),
            (None, Some(due)) if due <= status.at => "due now".to_owned(),
            (None, Some(due)) => format!("due {}", human::minute(due, &session.zone)),
            (None, None) => "when asked for".to_owned(),
        };
        text.push_str(&format!("  {:<12}{when}\n", layer.layer));
    }
    session.output.data(text.as_bytes())?;
    Ok(Exit::Good)
}

/// What is installed, in words.
pub(super) fn text(installed: &[Installed], session: &Session<'_>) -> String {
    if installed.is_empty() {
        return "Nothing runs this on its own: ravelin schedule install\n".to_owned();
    }
    let mut text = String::new();
    for one in installed {
        let name = one.by.name();
        let state = match (one.enabled, one.next) {
            (true, Some(next)) => format!("next at {}", human::minute(next, &session.zone)),
            (true, None) => "installed".to_owned(),
            (false, _) => "installed, but not running".to_owned(),
        };
        text.push_str(&format!("Runs on its own by {name}: {state}\n"));
        for note in &one.notes {
            text.push_str(&format!("  {note}\n"));
        }
    }
    text
}
