//! `ravelin find`

use std::os::unix::ffi::OsStrExt;

use engine::Glob;
use engine::browse::Found;
use engine::event::PathRecord;
use serde::Serialize;

use super::{Ended, Session, timestamp};
use crate::cli::Find;
use crate::exit::Exit;
use crate::human;
use crate::json::EntryRecord;

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
    session.with_layer(&arguments.of, |opened| {
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
