//! What ends a command: Borg's exit codes, message names and messages for everything that can go
//! wrong.
//!
//! Source for codes and names: “Message IDs” and “Return codes” in Borg 1.4's `docs/internals/frontends`
//! and `docs/usage/general`.

use std::io;
use std::path::Path;

use borg::{BadManifest, BadTam, Error, KeyError};

/// Why a command ends before its time.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The code with `BORG_EXIT_CODES=modern`; else it is 2, but for signals.
    pub(crate) code: u8,
    /// What programs know it by.
    pub(crate) msgid: &'static str,
    /// For people.
    pub(crate) message: String,
}

/// Exit codes of signals begin here.
pub(crate) const SIGNAL_BASE: u8 = 128;

impl Failure {
    pub(crate) fn new(code: u8, msgid: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            msgid,
            message: message.into(),
        }
    }

    /// Something else.
    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self::new(2, "Error", message)
    }

    /// The command line does not make sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(2, "Usage", message)
    }

    /// The options do not go together.
    pub(crate) fn command(message: impl Into<String>) -> Self {
        Self::new(
            4,
            "CommandError",
            format!("Command Error: {}", message.into()),
        )
    }

    /// A person said no.
    pub(crate) fn cancelled() -> Self {
        Self::new(3, "CancelledByUser", "Cancelled by user.")
    }

    /// A person, or the system, asked for an end.
    pub(crate) fn signal(number: u8) -> Self {
        let (msgid, what) = match number {
            2 => ("KeyboardInterrupt", "Keyboard interrupt"),
            15 => ("SIGTERM", "Received SIGTERM"),
            _ => ("SIGHUP", "Received SIGHUP."),
        };
        Self::new(SIGNAL_BASE.saturating_add(number), msgid, what)
    }

    pub(crate) fn no_archive(name: impl std::fmt::Display) -> Self {
        let message = format!("Archive {name} does not exist");
        Self::new(31, "Archive.DoesNotExist", message)
    }

    pub(crate) fn archive_exists(name: impl std::fmt::Display) -> Self {
        let message = format!("Archive {name} already exists");
        Self::new(30, "Archive.AlreadyExists", message)
    }

    /// The system refused something on a file.
    pub(crate) fn file(path: &Path, error: &io::Error) -> Self {
        Self::error(format!("{}: {error}", path.display()))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::error(error.to_string())
    }
}

/// An error and what it rests on, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    engine::event::chain(error).join(": ")
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let said = chain(&error);
        let new = |code, msgid, message: String| Self::new(code, msgid, message);
        match error {
            Error::AlreadyExists { path } => new(
                10,
                "Repository.AlreadyExists",
                format!("A repository already exists at {}.", path.display()),
            ),
            Error::BelowAnother { repository, .. } => new(
                10,
                "Repository.AlreadyExists",
                format!("A repository already exists at {}.", repository.display()),
            ),
            Error::Version { path, version } if version == "attic" => new(
                11,
                "Repository.AtticRepository",
                format!(
                    "Attic repository detected. It is not a Borg repository: {}",
                    path.display()
                ),
            ),
            Error::CheckNeeded { .. } | Error::CommitDamaged { .. } => {
                let message = format!("Inconsistency detected: {said}. Run `borg check`.");
                new(12, "Repository.CheckNeeded", message)
            }
            Error::DoesNotExist { path } => new(
                13,
                "Repository.DoesNotExist",
                format!("Repository {} does not exist.", path.display()),
            ),
            Error::NoSpace {
                required,
                available,
            } => new(
                14,
                "Repository.InsufficientFreeSpaceError",
                format!(
                    "Insufficient free space to complete transaction (required: {required}, available: {available})."
                ),
            ),
            Error::NotARepository { path } | Error::Version { path, .. } => new(
                15,
                "Repository.InvalidRepository",
                format!(
                    "{} is not a valid repository. Check repo config.",
                    path.display()
                ),
            ),
            Error::Config { path, what } => new(
                16,
                "Repository.InvalidRepositoryConfig",
                format!(
                    "{} does not have a valid configuration [{what}].",
                    path.display()
                ),
            ),
            Error::ObjectNotFound { id } if id == borg::Id::MANIFEST => {
                new(26, "NoManifestError", "Repository has no manifest.".into())
            }
            Error::ObjectNotFound { .. } => new(17, "Repository.ObjectNotFound", said),
            Error::ParentMissing { path } => new(
                18,
                "Repository.ParentPathDoesNotExist",
                format!(
                    "The parent path of the repo directory [{}] does not exist.",
                    path.display()
                ),
            ),
            Error::PathOccupied { path } => new(
                19,
                "Repository.PathAlreadyExists",
                format!("There is already something at {}.", path.display()),
            ),
            Error::QuotaExceeded { quota, used } => new(
                20,
                "Repository.StorageQuotaExceeded",
                format!(
                    "The storage quota ({quota}) has been exceeded ({used}). Try deleting some archives."
                ),
            ),
            Error::Locked { .. } => new(
                73,
                "LockTimeout",
                format!("Failed to create/acquire the lock ({said})."),
            ),
            Error::LockLost { .. } => new(75, "NotMyLock", said),
            Error::Manifest(BadManifest::Features { features }) => new(
                25,
                "MandatoryFeatureUnsupported",
                format!(
                    "Unsupported repository feature(s) {features}. A newer version of Borg is required to access this repository."
                ),
            ),
            Error::Manifest(BadManifest::Future) => new(27, "UnsupportedManifestError", said),
            Error::Manifest(BadManifest::Tam(BadTam::Missing)) => new(98, "TAMRequiredError", said),
            Error::Manifest(BadManifest::Tam(BadTam::Unsupported { .. })) => {
                new(99, "TAMUnsupportedSuiteError", said)
            }
            Error::Manifest(BadManifest::Tam(_)) => new(97, "ManifestTAMInvalid", said),
            Error::ArchiveTam {
                source: BadTam::Missing,
            } => new(96, "ArchiveTAMRequiredError", said),
            Error::ArchiveTam { .. } => new(95, "ArchiveTAMInvalid", said),
            Error::UnknownEncryption(_) => new(48, "UnsupportedPayloadError", said),
            Error::Key(key) => of_key(&key, said),
            Error::Paper { .. } => new(43, "NotABorgKeyFile", said),
            Error::NoArchive { name } => Self::no_archive(name),
            Error::ArchiveExists { name } => Self::archive_exists(name),
            Error::UnknownUnencrypted { .. } => {
                let message = format!("Cache initialization aborted: {said}");
                new(60, "Cache.CacheInitAbortedError", message)
            }
            Error::KeyTypeChanged { .. } => new(
                61,
                "Cache.EncryptionMethodMismatch",
                "Repository encryption method changed since last access, refusing to continue"
                    .into(),
            ),
            Error::Relocated { .. } => {
                let message = format!("Repository access aborted: {said}");
                new(62, "Cache.RepositoryAccessAborted", message)
            }
            Error::Replayed { .. } => new(64, "Cache.RepositoryReplay", said),
            Error::PathNotAllowed { path } => new(
                83,
                "PathNotAllowed",
                format!("Repository path not allowed: {path}"),
            ),
            Error::NoServer { .. } => new(81, "ConnectionClosedWithHint", said),
            Error::ConnectionLost { .. } => new(80, "ConnectionClosed", said),
            Error::Protocol { .. } => new(86, "UnexpectedRPCDataFormatFromServer", said),
            error if error.is_damage() => new(
                90,
                "IntegrityError",
                format!("Data integrity error: {said}"),
            ),
            _ => Self::error(said),
        }
    }
}

fn of_key(error: &KeyError, said: String) -> Failure {
    let (code, msgid) = match error {
        KeyError::WrongPassphrase => (52, "PassphraseWrong"),
        KeyError::NotFound { .. } => (42, "KeyfileNotFoundError"),
        KeyError::OtherRepository { .. } => (41, "KeyfileMismatchError"),
        KeyError::NoKey { .. } => (46, "UnencryptedRepo"),
        KeyError::Damaged { .. } | KeyError::Malformed(_) => (40, "KeyfileInvalidError"),
        _ => (2, "Error"),
    };
    let message = match error {
        KeyError::WrongPassphrase => "Passphrase supplied in BORG_PASSPHRASE, by BORG_PASSCOMMAND, or via BORG_PASSPHRASE_FD is incorrect.".into(),
        _ => said,
    };
    Failure::new(code, msgid, message)
}
