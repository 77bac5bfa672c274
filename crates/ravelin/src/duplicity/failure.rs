//! Why a command of duplicity's ends, with the exit status and the log code that scripts and
//! desktop programs know.
//!
//! Source: duplicity's manual, and the codes in its `log.py`, which promises not to change them.

use std::io;

use duplicity::Error;
use store::{ErrorKind, Operation};

use super::log::quoted;

/// Numbers that are exit status and log code at once.
pub(crate) mod code {
    /// Anything that has no number of its own; differences that `verify` found.
    pub(crate) const GENERIC: u8 = 1;
    /// The chain is another machine's.
    pub(crate) const HOST: u8 = 3;
    /// Ctrl-C.
    pub(crate) const INTERRUPTED: u8 = 4;
    /// The target of a restore is not empty.
    pub(crate) const TARGET_EXISTS: u8 = 11;
    /// A pattern that matches nothing in the source.
    pub(crate) const FILE_PREFIX: u8 = 14;
    /// A pattern that is none.
    pub(crate) const GLOB: u8 = 15;
    /// The last rule includes.
    pub(crate) const REDUNDANT_INCLUSION: u8 = 16;
    /// An increment was demanded and there is nothing to stand on.
    pub(crate) const INC_WITHOUT_SIGNATURES: u8 = 17;
    /// The path is not in the archive.
    pub(crate) const PATH_NOT_FOUND: u8 = 19;
    /// A volume is not what its manifest says.
    pub(crate) const HASH: u8 = 21;
    /// A volume is not signed as demanded.
    pub(crate) const UNSIGNED: u8 = 22;
    /// The command line, or another run holds the lock.
    pub(crate) const USER: u8 = 23;
    /// What a Python program calls an exception; its class is the extra word.
    pub(crate) const EXCEPTION: u8 = 30;
    /// GnuPG, or a passphrase.
    pub(crate) const GPG: u8 = 31;
    /// Nobody has built it.
    pub(crate) const NOT_IMPLEMENTED: u8 = 33;
    /// The chain is another folder's.
    pub(crate) const SOURCE_PATH: u8 = 42;
    pub(crate) const STORE: u8 = 50;
    pub(crate) const STORE_DENIED: u8 = 51;
    pub(crate) const STORE_NOT_FOUND: u8 = 52;
    pub(crate) const STORE_FULL: u8 = 53;
    /// What arrived is not what was sent.
    pub(crate) const STORE_VALIDATION: u8 = 56;
    /// Only filters that say what holds anyway.
    pub(crate) const REDUNDANT_FILTER: u8 = 70;
    /// A filter with nothing behind it.
    pub(crate) const TRAILING_FILTER: u8 = 71;
    pub(crate) const ABSOLUTE_FILES_FROM: u8 = 72;
    pub(crate) const EMPTY_FILES_FROM: u8 = 73;
}

/// Why the command ends.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// What stands behind the code in the log.
    pub(crate) extra: String,
    pub(crate) text: String,
    /// Beginning again goes on: see [`duplicity::Error::Seam`].
    pub(crate) is_passing: bool,
}

impl Failure {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Self {
        Self {
            code,
            extra: String::new(),
            text: text.into(),
            is_passing: false,
        }
    }

    pub(crate) fn with(mut self, extra: impl Into<String>) -> Self {
        self.extra = extra.into();
        self
    }

    /// A command line that cannot be understood.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.push_str("\nSee `duplicity --help`.");
        Self::new(code::USER, text).with("CommandLineError")
    }

    /// Something that has no number: the extra word is the class that Python would name, because
    /// desktop programs look at it.
    pub(crate) fn exception(class: &str, text: impl Into<String>) -> Self {
        Self::new(code::EXCEPTION, text).with(class)
    }

    /// The system said no.
    pub(crate) fn system(what: &str, error: &io::Error) -> Self {
        let number = error.raw_os_error();
        let number = number.map_or_else(String::new, |number| format!("[Errno {number}] "));
        Self::exception("OSError", format!("{what}: {number}{error}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = duplicity::chain(&error);
        match error {
            Error::Store(error) => of_store(&error, text),
            Error::Hash { .. } => Self::new(code::HASH, text),
            Error::Damaged { .. } | Error::Manifest { .. } | Error::Signatures { .. } => {
                Self::exception("ValueError", text)
            }
            Error::Io { action, source } => Self::system(&format!("cannot {action}"), &source),
            Error::Open { source, .. } => of_open(&source, text),
            Error::Gpg { source, .. } => match source {
                duplicity::GpgError::NotSigned { .. } => Self::new(code::UNSIGNED, text),
                _ => Self::new(code::GPG, format!("GPG Failed, see log below:\n{text}")),
            },
            Error::Seam { .. } => Self {
                is_passing: true,
                ..Self::new(code::GENERIC, text)
            },
            Error::Stopped => Self::new(code::INTERRUPTED, text),
            Error::Locked => Self::new(
                code::USER,
                "Another run of duplicity with this archive directory and name is at work. \
                 If that is wrong, the lock is gone with the program that held it: run again.",
            ),
            Error::OtherSource {
                archive,
                here,
                is_host: true,
            } => {
                let extra = format!("{} {}", quoted(here.as_bytes()), quoted(archive.as_bytes()));
                Self::new(code::HOST, hint(&text)).with(extra)
            }
            Error::OtherSource {
                archive,
                here,
                is_host: false,
            } => {
                let extra = format!("{} {}", quoted(here.as_bytes()), quoted(archive.as_bytes()));
                Self::new(code::SOURCE_PATH, hint(&text)).with(extra)
            }
            Error::Smime { .. } => Self::new(code::NOT_IMPLEMENTED, text),
            Error::Target(error) => of_target(&error, text),
            _ => Self::new(code::GENERIC, text),
        }
    }
}

fn hint(text: &str) -> String {
    format!(
        "{text}.\nIf the archive was moved and this is meant, use --allow-source-mismatch; \
         else choose another target URL or another --archive-dir."
    )
}

fn of_open(error: &duplicity::OpenError, text: String) -> Failure {
    match error {
        // Desktop programs ask for the passphrase again when they read these words.
        duplicity::OpenError::Passphrase(_) => Failure::new(
            code::GPG,
            format!("GnuPG decryption failed: Bad session key\n{text}"),
        ),
        duplicity::OpenError::NoPassphrase => Failure::exception("EOFError", text),
        duplicity::OpenError::KeyNeeded => {
            Failure::new(code::GPG, format!("GnuPG: No secret key\n{text}"))
        }
        _ => Failure::exception("ValueError", text),
    }
}

fn of_target(error: &tree::RestoreError, text: String) -> Failure {
    match error {
        tree::RestoreError::Full { source, .. } | tree::RestoreError::Target { source, .. } => {
            Failure::system(&text, source)
        }
        _ => Failure::exception("OSError", text),
    }
}

fn of_store(error: &store::Error, text: String) -> Failure {
    let number = match error.kind {
        ErrorKind::NotFound => code::STORE_NOT_FOUND,
        ErrorKind::Denied | ErrorKind::SignIn => code::STORE_DENIED,
        ErrorKind::Full => code::STORE_FULL,
        ErrorKind::Corrupt => code::STORE_VALIDATION,
        _ => code::STORE,
    };
    let operation = match error.operation {
        Operation::Write => "put",
        Operation::Read => "get",
        Operation::List => "list",
        Operation::Delete => "delete",
        _ => "query",
    };
    let object = error.object.as_deref().unwrap_or_default();
    let extra = if object.is_empty() {
        operation.to_owned()
    } else {
        format!("{operation} {}", quoted(object.as_bytes()))
    };
    Failure::new(number, text).with(extra)
}

/// The reason why a volume could not be used, when that is why an object is a problem.
pub(crate) fn of_problem(problem: &duplicity::snapshot::Problem) -> Failure {
    let text = duplicity::chain(problem);
    match &problem.source {
        duplicity::snapshot::ProblemKind::Volume(error) => match &**error {
            Error::Hash { .. } => Failure::new(code::HASH, text),
            Error::Open { source, .. } => of_open(source, text),
            Error::Gpg {
                source: duplicity::GpgError::NotSigned { .. },
                ..
            } => Failure::new(code::UNSIGNED, text),
            Error::Gpg { .. } => {
                Failure::new(code::GPG, format!("GPG Failed, see log below:\n{text}"))
            }
            Error::Store(error) => of_store(error, text),
            Error::Damaged { .. } => Failure::exception("ValueError", text),
            _ => Failure::new(code::GENERIC, text),
        },
        _ => Failure::new(code::GENERIC, text),
    }
}
