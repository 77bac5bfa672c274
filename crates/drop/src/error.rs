//! What can go wrong with a drop folder as a whole.

use std::io;
use std::path::{Path, PathBuf};

use store::Name;

use crate::VersionId;

/// Why something could not be done.
///
/// What concerns one file of many is no error but a [`Problem`](crate::Problem).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store says no.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A name that cannot be used.
    #[error("`{}` cannot be the name of a file in the drop folder", name.escape_debug())]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: store::BadName,
    },
    /// The name of our own hidden folder.
    #[error("`{name}` belongs to the history of the drop folder")]
    Reserved {
        /// The name.
        name: Name,
    },
    /// There is no such file.
    #[error("there is no file `{name}` in the drop folder")]
    NoFile {
        /// Which.
        name: Name,
    },
    /// The file has no such version, or it was thinned out.
    #[error("`{name}` has no version {version}")]
    NoVersion {
        /// Which file.
        name: Name,
        /// Which version.
        version: VersionId,
    },
    /// Another device changed the file meanwhile.
    #[error("`{name}` was changed by another device meanwhile")]
    Conflict {
        /// Which file.
        name: Name,
    },
    /// A part of the index is not what was written.
    #[error("the index of the drop folder is damaged: {object}, line {line}: {what}")]
    Index {
        /// Which object of the store.
        object: Name,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A kept copy is not there any more.
    #[error("the kept copy of `{name}` {version} is missing")]
    Missing {
        /// Which file.
        name: Name,
        /// Which version.
        version: VersionId,
    },
    /// The index was written by a newer version of this program.
    #[error("the drop folder was written by a newer version of this program ({object})")]
    Newer {
        /// Which object of the store.
        object: Name,
    },
    /// Where a known folder was, there is another or none.
    #[error("the store does not hold the drop folder that this device knows")]
    OtherFolder,
    /// A link that nobody serves is none.
    #[error("no web page is known that serves the links of this drop folder")]
    NoPage,
    /// The local folder is gone or empty, though it had files.
    #[error("{} is gone or empty, though {files} files were there", path.display())]
    FolderGone {
        /// Which folder.
        path: PathBuf,
        /// How many files there were.
        files: usize,
    },
    /// Another run is synchronising the same folder.
    #[error("another run is synchronising {}", path.display())]
    Busy {
        /// Which folder.
        path: PathBuf,
    },
    /// The store cannot do that.
    #[error("{what}")]
    Unsupported {
        /// What, and what can be done instead.
        what: &'static str,
    },
    /// A rule of thinning that cannot be read.
    #[error("`{text}` is not a rule of thinning: write `all 1 day, daily 1 month, weekly 1 year`")]
    BadRule {
        /// The text.
        text: String,
    },
    /// A pattern of what is ignored.
    #[error("line {line} of {file} is not a pattern")]
    BadPattern {
        /// In which file.
        file: String,
        /// On which line, from 1.
        line: usize,
        /// Why not.
        source: tree::BadPattern,
    },
    /// This machine refused something.
    #[error("cannot {action} {}", path.display())]
    Local {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It was stopped before its end.
    #[error("stopped before the end")]
    Stopped,
}

impl Error {
    /// Says what was tried on which file of this machine.
    pub(crate) fn local(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Local {
            action,
            path,
            source,
        }
    }

    /// Says that a copy of a content could not be held aside, in which folder of this machine.
    pub(crate) fn cannot_hold(folder: PathBuf, source: io::Error) -> Self {
        Self::Local {
            action: "hold a copy in",
            path: folder,
            source,
        }
    }

    /// Whether the same may succeed later without anybody's doing.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_passing())
    }
}
