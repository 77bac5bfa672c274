//! What goes wrong with one entry, inside the restore.

use rustix::io::Errno;

use super::error::{Refusal, Stop};
use crate::ProblemKind;

/// Why an entry could not be restored.
#[derive(Debug)]
pub(super) enum Trouble {
    /// No other entry would fare better.
    Stop(Stop),
    /// Others may.
    Entry(ProblemKind),
}

impl Trouble {
    /// Sorts what the system said to some action, a verb with its object.
    pub(super) fn at(action: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| match Stop::from_errno(errno) {
            Some(stop) => Self::Stop(stop),
            None => Self::Entry(ProblemKind::Io {
                action,
                source: errno.into(),
            }),
        }
    }
}

impl From<ProblemKind> for Trouble {
    fn from(what: ProblemKind) -> Self {
        Self::Entry(what)
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Entry(ProblemKind::Refused(refusal))
    }
}
