//! What can go wrong with an archive as a whole.

use std::io;

use crate::manifest::BadManifest;
use crate::name::SetKind;
use crate::openpgp::OpenError;
use crate::openpgp::program::GpgError;
use crate::time::SetTime;

/// What can go wrong with an archive as a whole. What concerns one object is a
/// [`Problem`](crate::snapshot::Problem).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store said no.
    #[error("the store cannot do what is needed")]
    Store(#[from] store::Error),
    /// The archive directory or a temporary file could not be used.
    #[error("cannot {action}")]
    Io {
        /// What was tried, as a verb with its object.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the archive is not what its manifest says.
    #[error("{object} is damaged: its hash is not the one in the manifest")]
    Hash {
        /// Which file.
        object: String,
    },
    /// The content of a file of the archive cannot be read.
    #[error("{object} is damaged")]
    Damaged {
        /// Which file.
        object: String,
        /// What is wrong.
        source: io::Error,
    },
    /// The target of a restore cannot be written.
    #[error("cannot restore")]
    Target(#[source] Box<tree::RestoreError>),
    /// The manifest of a set cannot be understood.
    #[error("the manifest of the {set} set is damaged")]
    Manifest {
        /// Which set.
        set: SetKind,
        /// What is wrong with it.
        source: BadManifest,
    },
    /// A volume that the manifest names is not there.
    #[error("volume {number} of the {set} set is missing")]
    VolumeMissing {
        /// Which volume.
        number: u32,
        /// Of which set.
        set: SetKind,
    },
    /// A set was finished, and what says so is gone.
    #[error("the manifest of the {set} set is missing")]
    ManifestMissing {
        /// Which set.
        set: SetKind,
    },
    /// A set is there, and the one that it stands on is not.
    #[error("what the {set} set stands on is missing")]
    Orphan {
        /// Which set.
        set: SetKind,
    },
    /// An encrypted file cannot be opened.
    #[error("cannot open {object}")]
    Open {
        /// Which file.
        object: String,
        /// Why.
        source: OpenError,
    },
    /// A file of an archive that has to be encrypted is not.
    #[error("{object} is not encrypted, and this archive's files have to be")]
    NotEncrypted {
        /// Which file.
        object: String,
    },
    /// GnuPG cannot do what is needed.
    #[error("GnuPG cannot work on {object}")]
    Gpg {
        /// Which file.
        object: String,
        /// What it said.
        source: GpgError,
    },
    /// Files that are encrypted by S/MIME are not read.
    #[error("{object} is encrypted with S/MIME, which only gpgsm can open")]
    Smime {
        /// Which file.
        object: String,
    },
    /// The signatures of a set cannot be read, so no increment can be made on it.
    #[error("the signatures in {object} are damaged: {what}")]
    Signatures {
        /// Which file.
        object: String,
        /// What is wrong.
        what: String,
    },
    /// Nothing in the archive is as old as asked for.
    #[error("the archive holds nothing from {time} or before")]
    NoSet {
        /// What was asked for.
        time: SetTime,
    },
    /// The content of a file was announced and did not come, or came without being announced.
    #[error("the steps of the backup are out of order")]
    Order,
    /// A worker of the pipeline broke down.
    #[error("a worker thread ended without a result")]
    Worker,
    /// The file in the middle of which a set that was cut off goes on is another one by now. Nothing was
    /// written, and beginning the set again goes on before that file.
    #[error("{path} has changed since the backup of it was cut off")]
    Seam {
        /// Which file.
        path: String,
    },
    /// Somebody asked for an end before the work was done.
    #[error("it was ended before it was done")]
    Stopped,
    /// The archive directory is in use by another run.
    #[error("the archive directory is locked by another run")]
    Locked,
    /// The increment would be for another machine or folder.
    #[error("the archive is of {archive}, not of {here}")]
    OtherSource {
        /// What the last manifest says.
        archive: String,
        /// What is to be backed up now.
        here: String,
        /// Whether these are names of machines; else they are folders.
        is_host: bool,
    },
}

impl Error {
    /// Whether something that was stored is lost or is not what was written.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Hash { .. }
            | Self::Damaged { .. }
            | Self::Manifest { .. }
            | Self::VolumeMissing { .. }
            | Self::ManifestMissing { .. }
            | Self::Orphan { .. }
            | Self::Signatures { .. } => true,
            Self::Open { source, .. } => {
                matches!(source, OpenError::Malformed(_) | OpenError::Depth)
            }
            Self::Store(error) => Self::is_loss(error),
            _ => false,
        }
    }

    /// Whether the store says that it has lost something.
    pub(crate) fn is_loss(error: &store::Error) -> bool {
        matches!(
            error.kind,
            store::ErrorKind::Corrupt | store::ErrorKind::NotFound
        )
    }

    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match store::Error::unwrap_io(source) {
            Ok(error) => Self::Store(error),
            Err(source) => Self::Io { action, source },
        }
    }
}

/// An error with all its causes, in one line; what one has said already is not said again.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = error.source();
    }
    text
}
