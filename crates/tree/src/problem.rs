//! What could not be read or restored: named, never swallowed.

use std::io;

use crate::TreePath;

/// One object that could not be handled. The run goes on, and its report names it.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {what}")]
pub struct Problem {
    /// Which object.
    pub path: TreePath,
    /// What happened.
    pub what: ProblemKind,
}

/// What can happen to one object.
#[derive(Debug, thiserror::Error)]
pub enum ProblemKind {
    /// It was listed and is gone.
    #[error("vanished before it could be read")]
    Vanished,
    /// It changed while it was read; what was read is kept.
    #[error("changed while it was read")]
    Changed,
    /// Between listing and opening it became another object.
    #[error("was replaced by another object while it was read")]
    Replaced,
    /// The system refused.
    #[error("cannot {action}")]
    Io {
        /// What was tried, as a verb with its object: `open`, `read`, `list the folder`.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}
