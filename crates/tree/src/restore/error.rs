//! What ends a restore, and what refuses one entry.

use std::io;
use std::path::PathBuf;

use bstr::BStr;
use rustix::io::Errno;

use crate::{BadPath, TreePath};

/// What ends a whole restore.
///
/// Anything less is a [`Problem`](crate::Problem) of one entry, and the restore goes on.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The target, or the way to it, cannot be opened or made.
    #[error("cannot open the folder `{}` to restore into", path.display())]
    Target {
        /// The target.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The target is something else than a folder.
    #[error("`{}` is not a folder", path.display())]
    NotAFolder {
        /// The target.
        path: PathBuf,
    },
    /// The target is a symbolic link. Where it leads may not be what was meant: whoever means it
    /// names that place itself.
    #[error("`{}` is a symbolic link, name the folder that it leads to", path.display())]
    TargetIsLink {
        /// The target.
        path: PathBuf,
    },
    /// Another restore writes into the same target.
    #[error("another restore is writing into `{}`", path.display())]
    Busy {
        /// The target.
        path: PathBuf,
    },
    /// No space, no free inodes or no quota left. What was finished stays; run again, the
    /// restore does the rest.
    #[error("no space is left in `{}`", path.display())]
    Full {
        /// The target.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The target's file system takes no changes.
    #[error("`{}` is on a read-only file system", path.display())]
    ReadOnly {
        /// The target.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why an entry is not restored at all. Known when the plan is made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The archive has a name that no file can have or that leads elsewhere.
    #[error("the recorded name {:?} is unusable: {why}", BStr::new(recorded))]
    BadPath {
        /// The name as recorded, or its beginning.
        recorded: Box<[u8]>,
        /// What is wrong with it.
        why: BadPath,
    },
    /// A component is longer than any file system allows.
    #[error("a name of {bytes} bytes; no more than 255 are possible")]
    LongName {
        /// How long it is.
        bytes: usize,
    },
    /// Too many folders inside each other.
    #[error(
        "more than {} folders inside each other, or too long a path",
        super::DEPTH_MAX
    )]
    TooDeep,
    /// Only a folder can be the root of a tree.
    #[error("only a folder can take the place of the target itself")]
    NotAFolderAtRoot,
    /// What has to be a folder is something else, here or in the archive.
    #[error("`{parent}` is not a folder")]
    ParentNotAFolder {
        /// What has to be one.
        parent: TreePath,
    },
    /// The archive has a folder and something else under one name; the first was taken.
    #[error("the archive has both a folder and something else of this name")]
    TwoKinds,
    /// A folder with entries stands where something else goes, and is never deleted.
    #[error("a folder that is not empty stands in its place")]
    FolderInTheWay,
    /// Device nodes come back only with [`Fidelity::AsItWas`](super::Fidelity::AsItWas).
    #[error("device nodes are restored only on request")]
    Device,
    /// What an interrupted restore left behind, backed up.
    #[error("it is what an interrupted restore left behind")]
    Leftover,
    /// Hundreds of restored copies stand there already.
    #[error("no new name is free for it")]
    NoFreeName,
    /// The parent folder, here, could not be looked into.
    #[error("its folder cannot be opened: {}", io::Error::from_raw_os_error(*errno))]
    Unreadable {
        /// What the system said.
        errno: i32,
    },
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Unreadable {
            errno: errno.raw_os_error(),
        }
    }
}

/// What ends a restore at once, as something that can be repeated to every thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stop {
    errno: Errno,
}

impl Stop {
    /// Whether an error means that no other entry would fare better.
    pub(super) fn from_errno(errno: Errno) -> Option<Self> {
        matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::ROFS).then_some(Self { errno })
    }

    pub(super) fn error(self, target: PathBuf) -> RestoreError {
        let (path, source) = (target, self.errno.into());
        if self.errno == Errno::ROFS {
            RestoreError::ReadOnly { path, source }
        } else {
            RestoreError::Full { path, source }
        }
    }
}
