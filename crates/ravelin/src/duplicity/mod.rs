//! Duplicity's own command line: `ravelin duplicity …`, and this program called through a link
//! named `duplicity`.
//!
//! Here is parsing and printing; the archives are worked by the crate `duplicity`. What is spoken and
//! what differs: docs/duplicity-command-line.md.

mod action;
mod backup;
mod failure;
mod glob;
mod help;
mod list;
mod log;
mod options;
mod passphrase;
mod rehearsal;
mod remove;
mod restore;
mod selection;
mod session;
mod statistics;
mod status;
mod synthetic;
mod target;
mod times;
mod verify;

pub(crate) use log::Log;
pub(crate) use options::{Options, Select, parse as parse_options};
pub(crate) use times::Clock;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use engine::Machine;

use action::Action;
use failure::Failure;
use log::Level;
use session::Session;

/// What duplicity was asked for, when this program was called in its place.
pub(crate) fn arguments(typed: &[OsString]) -> Option<Vec<OsString>> {
    let (program, rest) = typed.split_first()?;
    if Path::new(program).file_name() == Some(OsStr::new("duplicity")) {
        return Some(rest.to_vec());
    }
    let (first, rest) = rest.split_first()?;
    (first == "duplicity").then(|| rest.to_vec())
}

/// Does what the command line says.
pub(crate) fn run(arguments: Vec<OsString>, machine: &Machine) -> ExitCode {
    let mut log = Log::new();
    let ended = perform(arguments, machine, &mut log);
    match ended {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            log.print(Level::Error, failure.code, &failure.extra, &failure.text);
            ExitCode::from(failure.code)
        }
    }
}

fn perform(arguments: Vec<OsString>, machine: &Machine, log: &mut Log) -> Result<u8, Failure> {
    let zone = engine::clock::zone();
    let clock = Clock {
        now: machine.now().timestamp().as_second(),
        zone,
    };
    let (options, words) = options::parse(arguments, &clock, log)?;
    if let Some(topic) = &options.help {
        help::print(topic);
        return Ok(0);
    }
    if options.version {
        // Desktop programs read the last word.
        help::say(&crate::borg::whose(format!("duplicity {}", help::VERSION)));
        return Ok(0);
    }
    let clock = Clock {
        now: options.now.unwrap_or(clock.now),
        ..clock
    };
    let action = Action::of(&words, &clock, log)?;
    let session = Session::new(options, action.url(), clock, machine, log)?;
    let status = match &action {
        Action::Backup { wanted, source, .. } => backup::run(&session, *wanted, source)?,
        Action::Restore { target, .. } => restore::run(&session, target)?,
        Action::Verify { folder, .. } => verify::run(&session, folder)?,
        Action::Status { .. } => status::run(&session)?,
        Action::List { .. } => list::run(&session)?,
        Action::Cleanup { .. } => remove::cleanup(&session)?,
        Action::SyntheticFull { .. } => synthetic::run(&session)?,
        Action::RemoveOlderThan { time, .. } => remove::older_than(&session, *time)?,
        Action::RemoveAllButFull { count, .. } => remove::all_but_full(&session, *count)?,
        Action::RemoveIncrements { count, .. } => remove::increments(&session, *count)?,
    };
    log.notice("Duplicity backup complete.");
    Ok(status)
}
