//! What of a drop folder is not as it was stored.

use jiff::Timestamp;
use store::Name;

use crate::Content;

/// What an examination has found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Damage {
    /// Contents of which no whole copy is kept.
    pub lost: Vec<LostContent>,
    /// Plain files that hold something else than their version, though nobody has changed them.
    pub plain: Vec<Name>,
    /// How many kept copies were looked at.
    pub copies: u64,
}

/// A content that versions have and of which no whole copy is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostContent {
    /// The file of the newest version that has it.
    pub path: Name,
    /// When that version came to be.
    pub at: Timestamp,
    /// What it is known by.
    pub content: Content,
    /// Whether there is no copy at all; else there is one of something else.
    pub is_missing: bool,
    /// A file that has it still, under its plain name at the store.
    pub plain: Option<Name>,
}

/// What was mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mended {
    /// Copies that plain files at the store still had.
    pub from_plain: u64,
    /// Damaged copies that were put out of the way.
    pub set_aside: u64,
    /// Plain files that were written anew.
    pub plain: u64,
}
