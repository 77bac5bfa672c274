//! `collection-status`: what the archive holds, as people and as desktop programs read it.

use std::path::Path;

use duplicity::{BackupSet, Chain, Change, Collection, SetKind};
use serde_json::json;

use super::failure::Failure;
use super::log::{Level, info};
use super::passphrase::Asked;
use super::session::Session;

pub(crate) fn run(session: &Session<'_>) -> Result<u8, Failure> {
    let collection = session.collection(&session.closed_archive())?;
    if let Some(index) = session.options.changes_in_set {
        return changes(session, &collection, index);
    }
    if let Some(path) = &session.options.file_changed {
        return file_changed(session, &collection, path);
    }
    let extra = format!("\n{}", data_lines(session, &collection).join("\n"));
    let text = text(session, &collection);
    session
        .log
        .print(Level::Status, info::COLLECTION, &extra, &text);
    Ok(0)
}

/// The chain that increments are added to, if one can be.
fn primary(collection: &Collection) -> Option<&Chain> {
    collection.active().filter(|chain| chain.has_signatures())
}

fn others(collection: &Collection) -> Vec<&Chain> {
    let primary = primary(collection).map(Chain::start);
    let mut chains: Vec<&Chain> = collection
        .chains
        .iter()
        .filter(|chain| Some(chain.start()) != primary)
        .collect();
    chains.sort_by_key(|chain| chain.start());
    chains
}

fn data_lines(session: &Session<'_>, collection: &Collection) -> Vec<String> {
    let mut lines = vec![
        format!("backend {}", session.store_kind),
        format!("archive-dir {}", session.archive_dir.display()),
    ];
    let of_chain = |chain: &Chain| -> Vec<String> {
        let line = |set: &BackupSet| {
            let kind = if set.kind.is_full() { "full" } else { "inc" };
            let enc = if set.is_encrypted() { "enc" } else { "noenc" };
            format!(" {kind} {} {} {enc}", set.end(), set.volumes.len())
        };
        chain.sets.iter().map(line).collect()
    };
    for (index, chain) in others(collection).into_iter().enumerate() {
        lines.push(format!("chain-no-sig {index}"));
        lines.extend(of_chain(chain));
    }
    if let Some(chain) = primary(collection) {
        lines.push("chain-complete".to_owned());
        lines.extend(of_chain(chain));
    }
    lines.push(format!("orphaned-sets-num {}", collection.orphans.len()));
    lines.push(format!(
        "incomplete-sets-num {}",
        collection.incomplete.len()
    ));
    lines
}

const RULE: &str = "-------------------------";

fn text(session: &Session<'_>, collection: &Collection) -> String {
    let others = others(collection);
    let mut lines = vec![
        "Collection Status".to_owned(),
        "-----------------".to_owned(),
        format!("Connecting with backend: {}", session.store_kind),
        format!("Archive dir: {}", session.archive_dir.display()),
        String::new(),
        format!("Found {} secondary backup chain(s).", others.len()),
    ];
    for (index, chain) in others.iter().enumerate() {
        lines.push(format!(
            "Secondary chain {} of {}:",
            index + 1,
            others.len()
        ));
        lines.push(chain_text(session, chain));
        lines.push(String::new());
    }
    match primary(collection) {
        Some(chain) => {
            lines.push(String::new());
            lines.push("Found primary backup chain with matching signature chain:".to_owned());
            lines.push(chain_text(session, chain));
        }
        None => lines.push("No backup chains with active signatures found".to_owned()),
    }
    let (orphans, incomplete) = (collection.orphans.len(), collection.incomplete.len());
    if orphans + incomplete > 0 {
        lines.push(format!(
            "Also found {orphans} backup set(s) not part of any chain,"
        ));
        lines.push(format!("and {incomplete} incomplete backup set(s)."));
        lines.push(
            "These may be deleted by running duplicity with the \"cleanup\" command.".to_owned(),
        );
    } else {
        lines.push("No orphaned or incomplete backup sets found.".to_owned());
    }
    lines.join("\n")
}

fn chain_text(session: &Session<'_>, chain: &Chain) -> String {
    let volumes: usize = chain.sets.iter().map(|set| set.volumes.len()).sum();
    let row =
        |kind: &str, time: &str, count: &str| format!("{kind:>20}   {time:>30}   {count:>15}");
    let mut lines = vec![
        RULE.to_owned(),
        format!("Chain start time: {}", session.pretty(chain.start())),
        format!("Chain end time: {}", session.pretty(chain.end())),
        format!("Number of contained backup sets: {}", chain.sets.len()),
        format!("Total number of contained volumes: {volumes}"),
        row("Type of backup set:", "Time:", "Num volumes:"),
    ];
    lines.extend(chain.sets.iter().map(|set| {
        let time = session.pretty(set.end());
        row(kind(set), &time, &set.volumes.len().to_string())
    }));
    lines.push(RULE.to_owned());
    lines.join("\n")
}

fn kind(set: &BackupSet) -> &'static str {
    match set.kind {
        SetKind::Full { .. } => "Full",
        SetKind::Incremental { .. } => "Incremental",
    }
}

fn word(change: Change) -> &'static str {
    match change {
        Change::New => "new",
        Change::Changed => "changed",
        Change::Deleted => "deleted",
    }
}

/// All sets that belong to chains, the oldest first.
fn sets(collection: &Collection) -> Vec<&BackupSet> {
    let sets = collection.chains.iter().flat_map(|chain| &chain.sets);
    let mut sets: Vec<&BackupSet> = sets.collect();
    sets.sort_by_key(|set| set.end());
    sets
}

/// `--show-changes-in-set`: 0 is the newest set, 1 the one before; -1 the newest, too.
fn changes(session: &Session<'_>, collection: &Collection, index: i64) -> Result<u8, Failure> {
    let sets = sets(collection);
    let back = usize::try_from(index.max(0)).unwrap_or(usize::MAX);
    let set = sets.iter().rev().nth(back).copied().ok_or_else(|| {
        Failure::exception(
            "IndexError",
            format!(
                "There is no backup set {index}: the archive has {}.",
                sets.len()
            ),
        )
    })?;
    let archive = session.archive(Asked::List, &[])?;
    let manifest = archive.manifest(set)?;
    let files = manifest.files.unwrap_or_default();
    let name = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let text = if session.options.jsonstat {
        let files: Vec<_> = files
            .iter()
            .map(|file| json!([word(file.change), name(&file.path)]))
            .collect();
        let set = json!({
            "type": kind(set),
            "end": set.end().to_string(),
            "files_changed": files,
        });
        format!("{set:#}")
    } else {
        let width = files.iter().map(|file| file.path.len()).max();
        let width = width.unwrap_or(0).max(5);
        let row = |file: &str, change: &str| format!("{file:<width$}  {change:>20}");
        let mut lines = vec![
            RULE.to_owned(),
            format!(" Backup set time: {}", session.pretty(set.end())),
            format!("Total number of changes: {}", files.len()),
            row("File:", "Type of file change:"),
        ];
        lines.extend(
            files
                .iter()
                .map(|file| row(&name(&file.path), word(file.change))),
        );
        lines.push(RULE.to_owned());
        lines.join("\n")
    };
    session
        .log
        .print(Level::Status, info::COLLECTION, "", &text);
    Ok(0)
}

/// `--file-changed`: the sets in which a file was new, changed or deleted.
fn file_changed(
    session: &Session<'_>,
    collection: &Collection,
    path: &[u8],
) -> Result<u8, Failure> {
    let archive = session.archive(Asked::List, &[])?;
    let shown = String::from_utf8_lossy(path);
    let mut rows = Vec::new();
    for set in sets(collection) {
        let manifest = archive.manifest(set)?;
        let files = manifest.files.unwrap_or_default();
        if let Some(file) = files.iter().find(|file| file.path == path) {
            rows.push((set, file.change));
        }
    }
    let row =
        |kind: &str, time: &str, change: &str| format!("{kind:>20}   {time:>30}  {change:>20}");
    let mut lines = vec![
        RULE.to_owned(),
        format!("File: {}", Path::new(&*shown).display()),
        format!("Total number of backup: {}", rows.len()),
        row("Type of backup set:", "Time:", "Type of file change:"),
    ];
    for (set, change) in rows {
        let change = match change {
            Change::New => "New",
            Change::Changed => "Changed",
            Change::Deleted => "Deleted",
        };
        lines.push(row(kind(set), &session.pretty(set.end()), change));
    }
    lines.push(RULE.to_owned());
    session
        .log
        .print(Level::Status, info::COLLECTION, "", &lines.join("\n"));
    Ok(0)
}
