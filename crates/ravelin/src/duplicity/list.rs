//! `list-current-files`.

use duplicity::SetTime;
use tree::{EntryKind, TreePath};

use super::backup::shown;
use super::failure::Failure;
use super::log::{Level, info, quoted};
use super::passphrase::Asked;
use super::session::Session;

pub(crate) fn run(session: &Session<'_>) -> Result<u8, Failure> {
    let collection = session.collection(&session.closed_archive())?;
    let sets = session.wanted_sets(&collection)?;
    let archive = session.archive(Asked::List, &[])?;
    for listed in archive.objects(sets, &[TreePath::root()])? {
        session.check_stop()?;
        let entry = listed?.entry;
        let name = shown(&entry.path);
        let seconds = entry.mtime.seconds();
        let text = format!(
            "{} {}",
            session.clock.pretty(seconds),
            String::from_utf8_lossy(name)
        );
        let extra = format!(
            "{} {} {}",
            SetTime::from_seconds(seconds),
            quoted(name),
            kind(&entry.kind)
        );
        session.log.print(Level::Info, info::LISTED, &extra, &text);
    }
    Ok(0)
}

/// What an object is, in duplicity's word.
pub(crate) fn kind(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "reg",
        EntryKind::Directory => "dir",
        EntryKind::Symlink { .. } => "sym",
        EntryKind::Fifo => "fifo",
        EntryKind::Socket => "sock",
        EntryKind::CharDevice(_) => "chr",
        EntryKind::BlockDevice(_) => "blk",
    }
}
