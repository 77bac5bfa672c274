//! Errors on their way from one machine to the other.
//!
//! A server names the class of an error and its arguments; a client makes the same error of it
//! again. The names, and how many arguments each has, are those of Borg's own classes: stock
//! clients turn them into their messages and exit codes.
//!
//! Source: `handle_error` in Borg 1.4's `remote.py`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::request::BadArgument;
use crate::msgpack::{Reader, Writer};
use crate::{Error, Id, Malformed};

/// An error as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) class: String,
    pub(super) arguments: Vec<Vec<u8>>,
    /// One sentence.
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(class: &str, argument: impl Into<String>) -> Self {
        let argument = argument.into();
        Self {
            class: class.into(),
            message: argument.clone(),
            arguments: vec![argument.into()],
        }
    }

    /// What a client is told. `repository` is where the error came from.
    pub(super) fn of(error: &Error, repository: &Path) -> Self {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let here = || text(repository);
        let (class, arguments) = match error {
            Error::DoesNotExist { path } => ("DoesNotExist", vec![text(path)]),
            Error::NotARepository { path } => ("InvalidRepository", vec![text(path)]),
            Error::AlreadyExists { path } => ("AlreadyExists", vec![text(path)]),
            Error::BelowAnother { repository, .. } => ("AlreadyExists", vec![text(repository)]),
            Error::PathOccupied { path } => ("PathAlreadyExists", vec![text(path)]),
            Error::ParentMissing { path } => {
                let parent = path.parent().unwrap_or(path);
                ("ParentPathDoesNotExist", vec![text(parent)])
            }
            Error::Version { path, version } if version == "attic" => {
                ("AtticRepository", vec![text(path)])
            }
            Error::Version { path, .. } => ("InvalidRepository", vec![text(path)]),
            Error::Config { path, what } => {
                ("InvalidRepositoryConfig", vec![text(path), what.clone()])
            }
            Error::Locked { path, holder } => ("LockTimeout", vec![text(path), holder.clone()]),
            Error::LockLost { path } => ("NotMyLock", vec![text(path)]),
            Error::ObjectNotFound { id } => ("ObjectNotFound", vec![id.to_string(), here()]),
            Error::Damaged(_) | Error::ObjectTooLarge { .. } => {
                ("IntegrityError", vec![error.to_string()])
            }
            Error::CheckNeeded { what } => ("CheckNeeded", vec![here(), what.clone()]),
            Error::CommitDamaged { .. } => ("CheckNeeded", vec![here(), error.to_string()]),
            Error::QuotaExceeded { quota, used } => {
                ("StorageQuotaExceeded", vec![size(*quota), size(*used)])
            }
            Error::NoSpace {
                required,
                available,
            } => (
                "InsufficientFreeSpaceError",
                vec![size(*required), size(*available)],
            ),
            Error::PathNotAllowed { path } => ("PathNotAllowed", vec![path.clone()]),
            Error::Io { path, source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                ("PathPermissionDenied", vec![text(path)])
            }
            Error::Io { source, .. } => ("Error", vec![format!("{error}: {source}")]),
            _ => ("Error", vec![error.to_string()]),
        };
        Self {
            class: class.into(),
            arguments: arguments.into_iter().map(String::into_bytes).collect(),
            message: error.to_string(),
        }
    }

    /// Writes the answer to a call in the form of maps.
    pub(super) fn write(&self, number: u64, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.map(7);
        writer.raw("exception_args");
        writer.array(self.arguments.len());
        for argument in &self.arguments {
            writer.raw(argument);
        }
        writer.raw("exception_class");
        writer.raw(&self.class);
        for name in ["exception_full", "exception_short"] {
            writer.raw(name);
            writer.array(1);
            writer.raw(self.text());
        }
        // Whether a stock client shows the whole: only for what we did not expect.
        writer.raw("exception_trace");
        writer.boolean(false);
        writer.raw("i");
        writer.unsigned(number);
        writer.raw("sysinfo");
        writer.raw(concat!("ravelin ", env!("CARGO_PKG_VERSION"), "\n"));
    }

    /// Errors of Python's own show their class.
    fn text(&self) -> String {
        match self.class.as_str() {
            "ValueError" | "KeyError" | "TypeError" | "ZeroDivisionError" => {
                format!("{}: {}", self.class, self.message)
            }
            _ => self.message.clone(),
        }
    }

    /// Reads what is left of a failed answer, from the entries that are not the number.
    pub(super) fn read_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(value);
        match key {
            b"exception_class" => self.class = lossy(reader.raw()?),
            b"exception_args" => {
                for _ in 0..reader.array()? {
                    let encoded = reader.encoded()?;
                    let argument = Reader::new(encoded).raw().unwrap_or_default();
                    self.arguments.push(argument.to_vec());
                }
            }
            b"exception_short" => {
                let mut lines = Vec::new();
                for _ in 0..reader.array()? {
                    lines.push(lossy(reader.raw()?).trim().to_owned());
                }
                self.message = lines.join(" ");
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn empty() -> Self {
        Self {
            class: String::new(),
            arguments: Vec::new(),
            message: String::new(),
        }
    }

    /// The error that a client makes of it.
    pub(super) fn into_error(self, location: &str) -> Error {
        let path = || PathBuf::from(location);
        let argument = |index: usize| self.arguments.get(index).map(|text| lossy(text));
        match self.class.as_str() {
            "DoesNotExist" => Error::DoesNotExist { path: path() },
            "InvalidRepository" => Error::NotARepository { path: path() },
            "AlreadyExists" => Error::AlreadyExists { path: path() },
            "PathAlreadyExists" => Error::PathOccupied { path: path() },
            "ParentPathDoesNotExist" => Error::ParentMissing { path: path() },
            "AtticRepository" => Error::Version {
                path: path(),
                version: "attic".into(),
            },
            "InvalidRepositoryConfig" => Error::Config {
                path: path(),
                what: argument(1).unwrap_or_default(),
            },
            "LockTimeout" | "LockFailed" | "LockError" => Error::Locked {
                path: path(),
                holder: argument(1).unwrap_or_else(|| "another program".into()),
            },
            "NotMyLock" | "NotLocked" => Error::LockLost { path: path() },
            "ObjectNotFound" => match argument(0).and_then(|id| id.parse::<Id>().ok()) {
                Some(id) => Error::ObjectNotFound { id },
                None => self.into_remote(location),
            },
            "CheckNeeded" => Error::CheckNeeded {
                what: argument(1).unwrap_or_else(|| self.message.clone()),
            },
            "IntegrityError" => Error::DamagedThere {
                location: location.into(),
                message: self.message,
            },
            "PathNotAllowed" => Error::PathNotAllowed {
                path: argument(0).unwrap_or_else(|| location.into()),
            },
            _ => self.into_remote(location),
        }
    }

    fn into_remote(self, location: &str) -> Error {
        let message = match self.class.as_str() {
            "" | "Error" => self.message,
            _ if self.message.contains(&self.class) => self.message,
            _ => format!("{} ({})", self.message, self.class),
        };
        Error::Remote {
            location: location.into(),
            message,
        }
    }
}

impl From<BadArgument> for Failure {
    fn from(BadArgument(name): BadArgument) -> Self {
        Self::new("TypeError", format!("argument `{name}` cannot be used"))
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `1.50 GB`: as Borg shows sizes to people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "rounded for people")]
    let mut value = bytes as f64 / 1000.0;
    let mut unit = UNITS.iter();
    while value >= 999.995 && unit.len() > 1 {
        value /= 1000.0;
        unit.next();
    }
    format!("{value:.2} {}", unit.next().unwrap_or(&"EB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_as_borg_shows_them() {
        for (bytes, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (5_000_000_000, "5.00 GB"),
            (999_999, "1.00 MB"),
            (u64::MAX, "18.45 EB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }

    #[test]
    fn an_error_that_was_sent_is_the_same_error_again() {
        let here = Path::new("/r");
        let id = Id([7; 32]);
        for error in [
            Error::DoesNotExist { path: here.into() },
            Error::Locked {
                path: "/r".into(),
                holder: "nas:12".into(),
            },
            Error::ObjectNotFound { id },
            Error::PathNotAllowed { path: "/r".into() },
            Error::Config {
                path: here.into(),
                what: "`id` is missing".into(),
            },
        ] {
            let sent = Failure::of(&error, here);
            let mut bytes = Vec::new();
            sent.write(3, &mut bytes);
            let mut reader = Reader::new(&bytes);
            let mut received = Failure::empty();
            for _ in 0..reader.map().unwrap() {
                let key = reader.raw().unwrap();
                received.read_entry(key, reader.encoded().unwrap()).unwrap();
            }
            assert_eq!(received, sent);
            let again = received.into_error("/r");
            assert_eq!(again.to_string(), error.to_string());
            assert_eq!(
                std::mem::discriminant(&again),
                std::mem::discriminant(&error)
            );
        }
    }
}
