//! `ravelin drop`

mod files;
mod follow;
mod links;
mod sync;
mod times;

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ::drop::{Device, Error, Folder, Problem, Version};
use engine::config;
use jiff::Timestamp;
use serde::Serialize;
use store::{Environment, ErrorKind, Location, Name};

use super::{Ended, Session};
use crate::cli::drop::{Drop, Verb};
use crate::exit::Exit;

/// The drop folder that a person means.
struct Place {
    location: Location,
    /// As the person wrote it.
    written: String,
    /// The folder of this machine that the configuration names.
    folder: Option<PathBuf>,
    /// Whether the configuration wants it followed as it changes.
    watch: bool,
    environment: Environment,
    device: Device,
    state: PathBuf,
}

pub(crate) fn run(arguments: &Drop, session: &Session<'_>) -> Result<Exit, Ended> {
    if let Verb::Sync(sync) = &arguments.verb
        && sync.watch
    {
        return follow::run(arguments, sync, session);
    }
    let place = place(arguments, session)?;
    match &arguments.verb {
        Verb::Init => files::init(&place, session),
        Verb::Put { files, to } => files::put(&place, files, to.as_deref(), session),
        Verb::Get { path, version, to } => {
            files::get(&place, path, version.as_deref(), to.as_deref(), session)
        }
        Verb::Ls { path } => files::ls(&place, path.as_deref(), session),
        Verb::History { path } => files::history(&place, path, session),
        Verb::Restore { path, version } => {
            files::restore(&place, path, version.as_deref(), session)
        }
        Verb::Rm { paths } => files::rm(&place, paths, session),
        Verb::Deleted { restore } => files::deleted(&place, restore, session),
        Verb::AsOf { time, to } => files::as_of(&place, time, to.as_deref(), session),
        Verb::Thin { rule, dry_run } => files::thin(&place, rule, *dry_run, session),
        Verb::Verify => files::verify(&place, session),
        Verb::Share(share) => links::share(&place, share, session),
        Verb::Links {
            revoke,
            revoke_all,
            served,
        } => links::links(&place, revoke.as_deref(), *revoke_all, served, session),
        Verb::Request(request) => links::request(&place, request, session),
        Verb::Sync(sync) => sync::run(&place, sync, session),
    }
}

fn place(arguments: &Drop, session: &Session<'_>) -> Result<Place, Ended> {
    let machine = session.machine;
    let (written, folder, watch) = match &arguments.store {
        Some(store) => (store.clone(), None, false),
        None => {
            let config = session.config()?;
            let of_kind = |layer: &&config::Layer| matches!(layer.kind, config::Kind::Drop { .. });
            let layer = match &arguments.layer {
                Some(name) => Some(engine::choose_layer(&config, Some(name))?),
                None => config.layers.iter().find(of_kind),
            };
            let layer = layer.filter(of_kind).ok_or(Error::Unsupported {
                what: "the configuration has no such layer of kind `drop`: add one, or name a store with `--store`",
            })?;
            let config::Kind::Drop { folder, watch } = &layer.kind else {
                return Err(Ended::Drop(Error::Unsupported {
                    what: "the layer is not of kind `drop`",
                }));
            };
            (layer.store.clone(), folder.clone(), *watch)
        }
    };
    let expanded = machine.places.expand(&written);
    let absolute = if written.contains(':') {
        written.clone()
    } else {
        std::path::absolute(&expanded)?.display().to_string()
    };
    let location = absolute.parse::<Location>().map_err(|error| {
        let kind = store::Error::new(ErrorKind::Invalid, store::Operation::Open);
        Error::Store(kind.on(&written).because(error))
    })?;
    Ok(Place {
        location,
        written,
        folder,
        watch,
        environment: session.machine.store_environment(),
        device: Device::new(&machine.host),
        state: machine.places.state.join("drop"),
    })
}

impl Place {
    fn now(session: &Session<'_>) -> Timestamp {
        session.machine.now().timestamp()
    }

    fn open(&self) -> Result<Folder, Ended> {
        let opened = Folder::open(
            &self.location,
            &self.environment,
            &self.device,
            Some(&self.state),
        )?;
        let missing = || {
            let error = store::Error::new(ErrorKind::NotFound, store::Operation::Open);
            Error::Store(
                error
                    .on(&self.written)
                    .because("no drop folder is there yet"),
            )
        };
        Ok(opened.ok_or_else(missing)?)
    }
}

/// A path there, as a person types it: slashes at its ends do not matter.
fn typed(path: &str) -> Result<Name, Ended> {
    let text = path.trim_matches('/');
    Name::new(text).map_err(|source| {
        Ended::Drop(Error::BadName {
            name: path.to_owned(),
            source,
        })
    })
}

/// One version, as `--json` prints it.
#[derive(Serialize)]
struct VersionRecord {
    path: String,
    version: String,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    /// Another device was faster; it was never the present one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    lost: bool,
}

impl From<&Version> for VersionRecord {
    fn from(version: &Version) -> Self {
        let content = version.content();
        Self {
            path: version.path.to_string(),
            version: version.id.to_string(),
            at: version.at,
            device: version.device.as_ref().map(ToString::to_string),
            deleted: content.is_none(),
            size: content.map(|content| content.size),
            modified: content.map(|content| content.modified),
            hash: content.map(|content| content.hash.to_string()),
            lost: version.lost,
        }
    }
}

#[derive(Serialize)]
struct ProblemRecord<'a> {
    path: &'a str,
    what: &'a str,
}

fn problem_records(problems: &[Problem]) -> Vec<ProblemRecord<'_>> {
    problems
        .iter()
        .map(|problem| ProblemRecord {
            path: &problem.path,
            what: &problem.what,
        })
        .collect()
}

/// Says the problems; a run with problems ends with the code for files that were left out.
fn tell_problems(problems: &[Problem], session: &Session<'_>) -> Exit {
    for problem in problems {
        let text = format!("problem: {}: {}", problem.path, problem.what);
        session.output.say(&text);
    }
    if problems.is_empty() {
        Exit::Good
    } else {
        Exit::Skipped
    }
}

/// When a file was modified.
fn modified(path: &Path) -> io::Result<Timestamp> {
    let time = std::fs::metadata(path)?.modified()?;
    Ok(Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// A time of the calendar for the system; what it cannot tell is the beginning of 1970.
fn system_time(time: Timestamp) -> SystemTime {
    SystemTime::try_from(time).unwrap_or(SystemTime::UNIX_EPOCH)
}
