//! One error for all stores: callers act on its kind, people read the chain.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::{BadName, Name};

/// What went wrong, in which operation, on which object.
#[derive(Debug)]
pub struct Error {
    /// What callers act on.
    pub kind: ErrorKind,
    /// What was tried.
    pub operation: Operation,
    /// The object or folder it was tried on, if it was one.
    pub object: Option<String>,
    /// The least time to wait before another try, where the service named one.
    pub retry_after: Option<Duration>,
    /// Retrying has been tried for as long as allowed: a wrapper above must not start over.
    pub gave_up: bool,
    /// An earlier try of the same request broke off, and may have been carried out.
    pub doubtful: bool,
    /// What the system or the service said.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of failure that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// There is no such object.
    NotFound,
    /// An object of that name is there, and was not touched.
    AlreadyExists,
    /// The credentials are good, but do not allow this.
    Denied,
    /// The credentials are missing, wrong, expired or revoked: a person has to act.
    SignIn,
    /// The disk, the quota or the account's cap is full.
    Full,
    /// The service asks us to slow down. Passing.
    Busy,
    /// No connection, a time-out, or a fault of the service. Passing.
    Unavailable,
    /// The object was replaced while it was read: what was read so far must not be kept.
    Changed,
    /// What arrived is not what was sent: checksum or length differ.
    Corrupt,
    /// The service refuses our signature because the clocks differ.
    ClockSkew,
    /// This store cannot do that.
    Unsupported,
    /// The request, the location or the answer makes no sense.
    Invalid,
    /// The store's disk or this machine reported an input/output error.
    Io,
}

/// What a store was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Open the store: understand its location, connect, sign in.
    Open,
    /// List objects.
    List,
    /// Look at one object.
    Stat,
    /// Read an object.
    Read,
    /// Write an object.
    Write,
    /// Delete an object.
    Delete,
    /// Rename an object.
    Rename,
    /// Copy an object within the store.
    Copy,
    /// Ask for the free space.
    Space,
    /// Sign a person in.
    SignIn,
}

impl Error {
    /// An error without a further cause.
    #[must_use]
    pub fn new(kind: ErrorKind, operation: Operation) -> Self {
        Self {
            kind,
            operation,
            object: None,
            retry_after: None,
            gave_up: false,
            doubtful: false,
            source: None,
        }
    }

    /// Names the object.
    #[must_use]
    pub fn on(mut self, object: &(impl fmt::Display + ?Sized)) -> Self {
        self.object = Some(object.to_string());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// An error of this machine's or this disk's file system, its kind read from the code.
    #[must_use]
    pub fn from_io(
        error: io::Error,
        operation: Operation,
        object: &(impl fmt::Display + ?Sized),
    ) -> Self {
        match Self::unwrap_io(error) {
            Ok(inner) => inner,
            Err(error) => Self::new(kind_of(&error), operation)
                .on(object)
                .because(error),
        }
    }

    /// Takes our own error out of an [`io::Error`] that carried it through a reader.
    ///
    /// # Errors
    ///
    /// The same [`io::Error`] when there is none of ours in it.
    pub fn unwrap_io(error: io::Error) -> Result<Self, io::Error> {
        error.downcast::<Self>()
    }

    /// Whether the same call may succeed later without anybody's doing.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self.kind, ErrorKind::Busy | ErrorKind::Unavailable)
    }

    pub(crate) fn bad_name(name: &str, operation: Operation, why: BadName) -> Self {
        Self::new(ErrorKind::Invalid, operation)
            .on(&name.escape_debug())
            .because(why)
    }

    pub(crate) fn unsupported(operation: Operation, name: &Name, why: &'static str) -> Self {
        Self::new(ErrorKind::Unsupported, operation)
            .on(name)
            .because(why)
    }
}

/// Carries the error through a [`Read`](io::Read); [`Error::unwrap_io`] gets it back.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.operation)?;
        if let Some(object) = &self.object {
            write!(f, " `{object}`")?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "it does not exist",
            Self::AlreadyExists => "it exists already",
            Self::Denied => "permission denied",
            Self::SignIn => "the credentials were not accepted",
            Self::Full => "the store is full",
            Self::Busy => "the service asks for fewer requests",
            Self::Unavailable => "the store cannot be reached",
            Self::Changed => "it was replaced while it was read",
            Self::Corrupt => "the bytes were damaged on the way",
            Self::ClockSkew => "the clock of this machine is wrong",
            Self::Unsupported => "this store cannot do that",
            Self::Invalid => "the request is not valid",
            Self::Io => "input/output error",
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open the store",
            Self::List => "list",
            Self::Stat => "look at",
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Rename => "rename",
            Self::Copy => "copy",
            Self::Space => "ask for the free space",
            Self::SignIn => "sign in",
        })
    }
}

fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorKind::Full
        }
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::TimedOut
        | io::ErrorKind::StaleNetworkFileHandle => ErrorKind::Unavailable,
        _ => ErrorKind::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_the_thing_and_not_its_source() {
        let error = Error::new(ErrorKind::Full, Operation::Write)
            .on("data/1")
            .because("quota of 5 GB");
        assert_eq!(
            error.to_string(),
            "cannot write `data/1`: the store is full"
        );
        assert_eq!(
            std::error::Error::source(&error).unwrap().to_string(),
            "quota of 5 GB"
        );
    }

    #[test]
    fn an_error_survives_the_way_through_a_reader() {
        let error = io::Error::from(Error::new(ErrorKind::Changed, Operation::Read).on("x"));
        assert_eq!(Error::unwrap_io(error).unwrap().kind, ErrorKind::Changed);
        assert!(Error::unwrap_io(io::Error::other("else")).is_err());
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        for (code, kind) in [
            (28, ErrorKind::Full),
            (122, ErrorKind::Full),
            (5, ErrorKind::Io),
            (30, ErrorKind::Denied),
        ] {
            let error = Error::from_io(io::Error::from_raw_os_error(code), Operation::Write, "x");
            assert_eq!(error.kind, kind, "{code}");
        }
    }
}
