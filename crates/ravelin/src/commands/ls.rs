//! `ravelin ls`

use engine::browse::Listing;
use jiff::tz::TimeZone;
use tree::{Entry, EntryKind};

use super::{Ended, Session, timestamp};
use crate::cli::Ls;
use crate::exit::Exit;
use crate::human;
use crate::json::EntryRecord;
use crate::table::{Align, table};

pub(crate) fn run(arguments: &Ls, session: &Session<'_>) -> Result<Exit, Ended> {
    session.with_layer(&arguments.of, |opened| {
        let snapshot = opened.snapshot(&arguments.snapshot, &session.zone)?;
        let path = opened.path(&[&snapshot], arguments.path.as_ref())?;
        let listed =
            engine::browse::list(&mut *opened.layer, &snapshot, &path, arguments.recursive);
        let Listing { items, damage } = opened.check(listed)?;
        if items.is_empty() && damage.is_none() && !path.is_root() {
            let snapshot = snapshot.name;
            return Err(engine::Error::NoEntry { path, snapshot }.into());
        }
        if session.output.json {
            let records: Vec<EntryRecord> = items
                .iter()
                .map(|item| EntryRecord::from(&item.entry))
                .collect();
            session.output.json(&records)?;
            return opened.check(damage.map_or(Ok(Exit::Good), Err));
        }
        let columns = [
            ("MODE", Align::Left),
            ("OWNER", Align::Left),
            ("SIZE", Align::Right),
            ("MODIFIED", Align::Left),
            ("PATH", Align::Left),
        ];
        let rows: Vec<Vec<String>> = items
            .iter()
            .map(|item| row(&item.entry, &session.zone))
            .collect();
        session.output.data(table(&columns, &rows).as_bytes())?;
        opened.check(damage.map_or(Ok(Exit::Good), Err))
    })
}

fn row(entry: &Entry, zone: &TimeZone) -> Vec<String> {
    let owner = entry
        .owner
        .user
        .as_deref()
        .map_or_else(|| entry.owner.uid.to_string(), escape);
    let size = if entry.is_file() {
        human::size(entry.size)
    } else {
        String::new()
    };
    vec![
        format!("{}{}", entry.kind, human::mode(entry.mode)),
        owner,
        size,
        human::minute(timestamp(entry.mtime), zone),
        shown_path(entry),
    ]
}

/// The path, with what a link leads to.
fn shown_path(entry: &Entry) -> String {
    match &entry.kind {
        EntryKind::Symlink { target } => {
            format!(
                "{} -> {}",
                entry.path,
                escape(&String::from_utf8_lossy(target))
            )
        }
        EntryKind::Directory => format!("{}/", entry.path),
        _ => entry.path.to_string(),
    }
}

fn escape(text: &str) -> String {
    text.escape_debug().to_string()
}
