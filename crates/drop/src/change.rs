//! What is to happen to files, and what became of it.

use jiff::Timestamp;
use store::Name;

use crate::VersionId;

/// A change to one file, with what it was made upon.
pub struct Change<'a> {
    /// Which file.
    pub path: Name,
    /// The version that it replaces: `None` when there is no such file at present. The change is
    /// made only if that is so.
    pub base: Option<VersionId>,
    /// What it becomes.
    pub what: What<'a>,
}

/// What a file becomes.
pub enum What<'a> {
    /// A file with this content.
    Put {
        /// The bytes.
        content: &'a dyn store::Content,
        /// Their checksum, of the folder's [kind](crate::Folder::digest_kind), as hexadecimal
        /// digits.
        hash: Box<str>,
        /// When the file was modified.
        modified: Timestamp,
    },
    /// No file any more.
    Delete,
}

/// What became of a change.
#[derive(Debug)]
pub enum Outcome {
    /// It is made, or was so already: the file's present version, the new one.
    Done(VersionId),
    /// Another device was there first. Nothing of its work is touched.
    Conflict,
    /// The store does not take a file of this name.
    Refused(store::Error),
}

/// Something about one file that a person should know; the others went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which file, as text; bytes that are no text are shown as `\x..`.
    pub path: String,
    /// What is wrong, in a sentence without a full stop.
    pub what: String,
}

impl Problem {
    pub(crate) fn new(path: impl std::fmt::Display, what: impl Into<String>) -> Self {
        Self {
            path: path.to_string(),
            what: what.into(),
        }
    }
}
