//! What JSON says about entries. The shapes are documented in docs/json.md and do not change.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::event::PathRecord;
use jiff::Timestamp;
use serde::Serialize;
use tree::{Entry, EntryKind};

/// One object of a snapshot.
#[derive(Debug, Serialize)]
pub(crate) struct EntryRecord {
    #[serde(flatten)]
    pub(crate) path: PathRecord,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    /// Permission bits as octal text: `0644`.
    pub(crate) mode: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    pub(crate) size: u64,
    pub(crate) modified: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hard_link: Option<String>,
}

impl From<&Entry> for EntryRecord {
    fn from(entry: &Entry) -> Self {
        let target = match &entry.kind {
            EntryKind::Symlink { target } => Some(target),
            _ => None,
        };
        Self {
            path: PathRecord::from(&entry.path),
            kind: match &entry.kind {
                EntryKind::File => "file",
                EntryKind::Directory => "directory",
                EntryKind::Symlink { .. } => "symlink",
                EntryKind::Fifo => "fifo",
                EntryKind::Socket => "socket",
                EntryKind::CharDevice(_) => "char-device",
                EntryKind::BlockDevice(_) => "block-device",
            },
            mode: format!("{:04o}", entry.mode),
            uid: entry.owner.uid,
            gid: entry.owner.gid,
            user: entry.owner.user.as_deref().map(str::to_owned),
            group: entry.owner.group.as_deref().map(str::to_owned),
            size: entry.size,
            modified: crate::commands::timestamp(entry.mtime),
            target: target.map(|target| String::from_utf8_lossy(target).into_owned()),
            target_base64: target
                .filter(|target| std::str::from_utf8(target).is_err())
                .map(|target| STANDARD.encode(target)),
            hard_link: entry
                .hard_link
                .as_ref()
                .map(|path| String::from_utf8_lossy(path.as_bytes()).into_owned()),
        }
    }
}
