//! `ravelin ls`

use std::io::{self, BufWriter, StdoutLock, Write};
use std::ops::ControlFlow;

use jiff::tz::TimeZone;
use tree::{Entry, EntryKind};

use super::{Ended, Session, timestamp};
use crate::cli::Ls;
use crate::exit::Exit;
use crate::human;
use crate::json::EntryRecord;
use crate::table::{Align, Table};

const COLUMNS: [(&str, Align); 5] = [
    ("MODE", Align::Left),
    ("OWNER", Align::Left),
    ("SIZE", Align::Right),
    ("MODIFIED", Align::Left),
    ("PATH", Align::Left),
];

/// How many rows are set at once: what is above a person's terminal need not line up.
const PAGE: usize = 1000;

pub(crate) fn run(arguments: &Ls, session: &Session<'_>) -> Result<Exit, Ended> {
    session.with_layer(&arguments.of, |opened| {
        let snapshot = opened.snapshot(&arguments.snapshot, &session.zone)?;
        let path = opened.path(&[&snapshot], arguments.path.as_ref())?;
        let mut shown = Shown::new(session);
        let mut is_there = false;
        let mut show = |entry: &Entry| {
            is_there = true;
            shown.entry(entry)
        };
        let damage = if arguments.recursive {
            let mut written = Ok(());
            let walked = engine::browse::walk(&mut *opened.layer, &snapshot, &path, &mut |item| {
                written = show(&item.entry);
                match written {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            });
            written?;
            match walked {
                Ok(damage) => damage,
                Err(error) => {
                    // What was found so far is shown, whatever ended it.
                    shown.end()?;
                    return opened.check(Err(error));
                }
            }
        } else {
            let listed = engine::browse::list(&mut *opened.layer, &snapshot, &path);
            let listing = opened.check(listed)?;
            listing
                .items
                .iter()
                .try_for_each(|item| show(&item.entry))?;
            listing.damage
        };
        if !is_there && damage.is_none() && !path.is_root() {
            let snapshot = snapshot.name;
            return Err(engine::Error::NoEntry { path, snapshot }.into());
        }
        shown.end()?;
        opened.check(damage.map_or(Ok(Exit::Good), Err))
    })
}
/// Where entries are shown as they come, so that a listing of any length takes no memory.
struct Shown<'a, W: Write> {
    writer: W,
    form: Form<'a>,
}

enum Form<'a> {
    /// An array, and what stands before its next element.
    Json { before: &'static str },
    /// A table, and the rows of the page that is filled.
    Table {
        table: Table<'static>,
        rows: Vec<Vec<String>>,
        zone: &'a TimeZone,
    },
}

impl<'a> Shown<'a, BufWriter<StdoutLock<'static>>> {
    fn new(session: &'a Session<'_>) -> Self {
        let form = match session.output.json {
            true => Form::Json { before: "[" },
            false => Form::Table {
                table: Table::new(&COLUMNS),
                rows: Vec::new(),
                zone: &session.zone,
            },
        };
        Self {
            writer: session.output.writer(),
            form,
        }
    }
}

impl<W: Write> Shown<'_, W> {
    fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        match &mut self.form {
            Form::Json { before } => {
                self.writer.write_all(before.as_bytes())?;
                *before = ",";
                serde_json::to_writer(&mut self.writer, &EntryRecord::from(entry))?;
                Ok(())
            }
            Form::Table { table, rows, zone } => {
                rows.push(row(entry, zone));
                if rows.len() < PAGE {
                    return Ok(());
                }
                let page = table.page(rows);
                rows.clear();
                self.writer.write_all(page.as_bytes())
            }
        }
    }

    fn end(mut self) -> io::Result<()> {
        let last = match &mut self.form {
            Form::Json { before: "[" } => "[]\n".to_owned(),
            Form::Json { .. } => "]\n".to_owned(),
            Form::Table { table, rows, .. } => table.page(rows),
        };
        self.writer.write_all(last.as_bytes())?;
        self.writer.flush()
    }
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
