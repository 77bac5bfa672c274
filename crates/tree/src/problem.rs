//! What could not be read or restored: named, never swallowed.

use std::io;

use crate::{Refusal, TreePath};

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
    /// It is not restored, for a reason that was known when the plan was made.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing stood in its place when the plan was made, and something does now; that stays.
    #[error("something has appeared in its place")]
    Appeared,
    /// The folder that was restored was moved away, and another one stands in its place.
    #[error("was moved away while the restore went on")]
    Displaced,
    /// Less content came than was recorded. The file is not restored.
    #[error("{missing} bytes of its content are missing")]
    Incomplete {
        /// How many bytes did not come.
        missing: u64,
    },
    /// More content came than was recorded. The file is not restored.
    #[error("there is more content than the recorded size says")]
    Overlong,
    /// Its content was not delivered to the end. The file is not restored.
    #[error("its content was given up")]
    GivenUp,
    /// It is a further name of an object whose first name could not be restored.
    #[error("its first name, `{first}`, is not there")]
    FirstNameMissing {
        /// The first name.
        first: TreePath,
    },
}
