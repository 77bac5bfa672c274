//! `ravelin diff`

use engine::Snapshot;
use engine::browse::{Change, ChangeKind};
use engine::event::PathRecord;
use serde::Serialize;
use tree::TreePath;

use super::{Ended, Opened, Session};
use crate::cli::Diff;
use crate::exit::Exit;
use crate::human;

#[derive(Serialize)]
struct ChangeRecord {
    #[serde(flatten)]
    path: PathRecord,
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Vec<&'static str>>,
}

impl From<&Change> for ChangeRecord {
    fn from(change: &Change) -> Self {
        let (word, size_before, size_after, metadata) = match &change.kind {
            ChangeKind::Added { size } => ("added", None, Some(*size), None),
            ChangeKind::Removed { size } => ("removed", Some(*size), None, None),
            ChangeKind::Content {
                before,
                after,
                metadata,
            } => {
                let metadata = (!metadata.is_empty()).then(|| metadata.clone());
                ("content", Some(*before), Some(*after), metadata)
            }
            ChangeKind::Metadata(list) => ("metadata", None, None, Some(list.clone())),
        };
        Self {
            path: PathRecord::from(&change.path),
            change: word,
            size_before,
            size_after,
            metadata,
        }
    }
}

pub(crate) fn run(arguments: &Diff, session: &Session<'_>) -> Result<Exit, Ended> {
    session.with_layer(&arguments.of, |opened| {
        let from = opened.snapshot(&arguments.from, &session.zone)?;
        let to = opened.snapshot(&arguments.to, &session.zone)?;
        let below = opened.path(&[&to, &from], arguments.path.as_ref())?;
        let changes = engine::browse::diff(&mut *opened.layer, &from, &to, &below);
        let changes = opened.check(changes)?;
        if changes.is_empty() && !below.is_root() && !stands_in(opened, [&from, &to], &below)? {
            let snapshot = to.name;
            return Err(engine::Error::NoEntry {
                path: below,
                snapshot,
            }
            .into());
        }
        if session.output.json {
            let records: Vec<ChangeRecord> = changes.iter().map(ChangeRecord::from).collect();
            return session.answer(&records);
        }
        let mut text = String::new();
        for change in &changes {
            text.push_str(&line(change));
        }
        session.output.data(text.as_bytes())?;
        let count = u64::try_from(changes.len()).unwrap_or(u64::MAX);
        session.output.tell(&human::count(count, "difference"));
        Ok(Exit::Good)
    })
}

/// Whether anything stands at the path in one of the snapshots.
fn stands_in(
    opened: &mut Opened,
    snapshots: [&Snapshot; 2],
    path: &TreePath,
) -> Result<bool, Ended> {
    for snapshot in snapshots {
        let listed = engine::browse::list(&mut *opened.layer, snapshot, path);
        if !opened.check(listed)?.items.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One change on a line: `+`, `-`, `~` for content, `·` for what is known about it.
fn line(change: &Change) -> String {
    let path = &change.path;
    match &change.kind {
        ChangeKind::Added { size } => format!("+ {:>8}  {path}\n", human::size(*size)),
        ChangeKind::Removed { size } => format!("- {:>8}  {path}\n", human::size(*size)),
        ChangeKind::Content {
            after, metadata, ..
        } => {
            // A new content has a new time: that is no news.
            let list: Vec<&str> = metadata
                .iter()
                .copied()
                .filter(|it| *it != "modified")
                .collect();
            let also = match list.is_empty() {
                true => String::new(),
                false => format!(" ({})", list.join(", ")),
            };
            format!("~ {:>8}  {path}{also}\n", human::size(*after))
        }
        ChangeKind::Metadata(list) => format!("· {:>8}  {path} ({})\n", "", list.join(", ")),
    }
}
