//! `ravelin find`

use std::os::unix::ffi::OsStrExt;

use engine::browse::Found;
use engine::catalogue::{Located, Search, Stand, StandsIn};
use engine::event::PathRecord;
use engine::layer::Access;
use engine::{Catalogue, Glob};
use jiff::Timestamp;
use serde::Serialize;

use super::{Ended, Session, timestamp};
use crate::cli::Find;
use crate::exit::Exit;
use crate::human;
use crate::json::EntryRecord;

/// Paths that a person is shown at once.
const PATHS_SHOWN: usize = 1000;

#[derive(Serialize)]
struct FoundRecord {
    #[serde(flatten)]
    path: PathRecord,
    versions: Vec<VersionRecord>,
}

#[derive(Serialize)]
struct VersionRecord {
    first: String,
    last: String,
    snapshots: usize,
    entry: EntryRecord,
}

impl From<&Found> for FoundRecord {
    fn from(found: &Found) -> Self {
        let versions = found.versions.iter().map(|version| VersionRecord {
            first: version.first.clone(),
            last: version.last.clone(),
            snapshots: version.snapshots,
            entry: EntryRecord::from(&version.entry),
        });
        Self {
            path: PathRecord::from(&found.path),
            versions: versions.collect(),
        }
    }
}

pub(crate) fn run(arguments: &Find, session: &Session<'_>) -> Result<Exit, Ended> {
    match &arguments.layer {
        Some(layer) => in_layer(layer, arguments, session),
        None => everywhere(arguments, session),
    }
}

#[derive(Serialize)]
struct LocatedRecord {
    #[serde(flatten)]
    path: PathRecord,
    versions: Vec<StandRecord>,
}

#[derive(Serialize)]
struct StandRecord {
    #[serde(rename = "type")]
    kind: char,
    size: u64,
    modified: Option<Timestamp>,
    layers: Vec<StandsInRecord>,
}

#[derive(Serialize)]
struct StandsInRecord {
    layer: String,
    first: String,
    last: String,
    snapshots: usize,
}

impl From<&Located> for LocatedRecord {
    fn from(located: &Located) -> Self {
        let versions = located.versions.iter().map(|version| StandRecord {
            kind: version.kind,
            size: version.size,
            modified: version.modified,
            layers: version.layers.iter().map(StandsInRecord::from).collect(),
        });
        Self {
            path: PathRecord::from(&located.path),
            versions: versions.collect(),
        }
    }
}

impl From<&StandsIn> for StandsInRecord {
    fn from(stands: &StandsIn) -> Self {
        Self {
            layer: stands.layer.clone(),
            first: stands.first.clone(),
            last: stands.last.clone(),
            snapshots: stands.snapshots,
        }
    }
}

/// Asks the catalogue. What it lacks is read from the layers first, once.
fn everywhere(arguments: &Find, session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    let machine = session.machine;
    let mut catalogue = Catalogue::open(machine)?;
    let incomplete = catalogue.incomplete(&config, machine)?;
    if !incomplete.is_empty() {
        let caught_up = super::catalogue::catch_up(&mut catalogue, &incomplete, &config, session)?;
        super::catalogue::tell(&caught_up, session);
        if session.stop.is_requested() {
            return Ok(Exit::Interrupted);
        }
    }
    let pattern = Glob::new(arguments.pattern.as_bytes());
    let limit = match arguments.limit {
        Some(limit) => Some(limit).filter(|&limit| limit > 0),
        None => (!session.output.json).then_some(PATHS_SHOWN),
    };
    let Search { found, has_more } = catalogue.search(&pattern, limit, &config, machine)?;
    let exit = if found.is_empty() {
        Exit::Failed
    } else {
        Exit::Good
    };
    if session.output.json {
        let records: Vec<LocatedRecord> = found.iter().map(LocatedRecord::from).collect();
        session.output.json(&records)?;
        return Ok(exit);
    }
    let mut text = String::new();
    for located in &found {
        text.push_str(&format!("{}\n", located.path));
        for version in &located.versions {
            text.push_str(&line(version, config.layers.len() > 1, session));
        }
    }
    session.output.data(text.as_bytes())?;
    if has_more {
        session.output.say(&format!(
            "there are more than {}: be more exact, or see all with `--limit 0`",
            human::count(found.len() as u64, "path")
        ));
    }
    if found.is_empty() {
        let looked_for = arguments.pattern.to_string_lossy();
        let looked_for = looked_for.escape_debug();
        session
            .output
            .say(&format!("no snapshot of any layer holds `{looked_for}`"));
    }
    Ok(exit)
}

/// A version: when it was changed, its size, and where it is.
fn line(version: &Stand, names_layers: bool, session: &Session<'_>) -> String {
    let size = match version.kind {
        '-' => human::size(version.size),
        kind => kind.to_string(),
    };
    let modified = match version.modified {
        Some(modified) => human::minute(modified, &session.zone),
        None => " ".repeat("2026-11-24 07:30".len()),
    };
    let places = version.layers.iter().map(|stands| {
        let layer = match names_layers {
            true => format!("{}: ", stands.layer),
            false => String::new(),
        };
        let range = match stands.snapshots {
            1 => stands.first.clone(),
            _ => format!("{} … {}", stands.first, stands.last),
        };
        format!("{layer}{}", range.escape_debug())
    });
    let places: Vec<String> = places.collect();
    format!("  {modified}  {size:>7}  {}\n", places.join(", "))
}

/// Reads the snapshots of one layer.
fn in_layer(layer: &str, arguments: &Find, session: &Session<'_>) -> Result<Exit, Ended> {
    session.with_open(Some(layer), Access::Read, |opened| {
        let pattern = Glob::new(arguments.pattern.as_bytes());
        let found = engine::browse::find(&mut *opened.layer, &pattern);
        let found = opened.check(found)?;
        if session.output.json {
            let records: Vec<FoundRecord> = found.iter().map(FoundRecord::from).collect();
            session.output.json(&records)?;
            return Ok(if found.is_empty() {
                Exit::Failed
            } else {
                Exit::Good
            });
        }
        let mut text = String::new();
        for found in &found {
            text.push_str(&format!("{}\n", found.path));
            for version in &found.versions {
                let size = if version.entry.is_file() {
                    human::size(version.entry.size)
                } else {
                    version.entry.kind.to_string()
                };
                let modified = human::minute(timestamp(version.entry.mtime), &session.zone);
                let range = if version.snapshots == 1 {
                    version.first.clone()
                } else {
                    format!("{} … {}", version.first, version.last)
                };
                text.push_str(&format!(
                    "  {modified}  {size:>7}  {}\n",
                    range.escape_debug()
                ));
            }
        }
        session.output.data(text.as_bytes())?;
        if found.is_empty() {
            let looked_for = arguments.pattern.to_string_lossy();
            let text = format!(
                "no snapshot of layer `{}` holds `{}`",
                opened.name,
                looked_for.escape_debug()
            );
            session.output.say(&text);
            return Ok(Exit::Failed);
        }
        Ok(Exit::Good)
    })
}
