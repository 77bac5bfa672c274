//! What is to be done: named, shortened, or told by the order of source and target.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::log::Log;
use super::times::Clock;

/// What kind of set a backup is to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Full,
    /// An increment, and an error where none can be made.
    Increment,
    /// An increment where one can be made, else a full set.
    Either,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Backup {
        wanted: Kind,
        source: PathBuf,
        url: String,
    },
    Restore {
        url: String,
        target: PathBuf,
    },
    Verify {
        url: String,
        folder: PathBuf,
    },
    Status {
        url: String,
    },
    List {
        url: String,
    },
    Cleanup {
        url: String,
    },
    /// Ours alone.
    SyntheticFull {
        url: String,
    },
    RemoveOlderThan {
        /// Seconds since 1970.
        time: i64,
        url: String,
    },
    RemoveAllButFull {
        count: usize,
        url: String,
    },
    RemoveIncrements {
        count: usize,
        url: String,
    },
}

/// Names of actions, the first of each the full one.
const NAMES: &[&[&str]] = &[
    &["backup", "bu"],
    &["full", "fb"],
    &["incremental", "incr", "inc", "ib"],
    &["restore", "rb"],
    &["verify", "vb"],
    &["collection-status", "st"],
    &["list-current-files", "ls"],
    &["cleanup", "cl"],
    &["synthetic-full", "sf"],
    &["remove-older-than", "ro"],
    &["remove-all-but-n-full", "ra"],
    &["remove-all-inc-of-but-n-full", "ri"],
];

impl Action {
    /// Reads the words of a command line that are no options.
    pub(crate) fn of(words: &[OsString], clock: &Clock, log: &Log) -> Result<Self, Failure> {
        let named = |word: &OsStr| {
            NAMES
                .iter()
                .find(|names| names.iter().any(|name| word == *name))
        };
        match words {
            [first, rest @ ..] if let Some(names) = named(first) => {
                Self::named(names.first().copied().unwrap_or_default(), rest, clock)
            }
            [source, target] if !is_url(source) && is_url(target) => {
                log.notice("No action is named: a path and then a URL mean `backup`.");
                Self::named("backup", words, clock)
            }
            [source, target] if is_url(source) && !is_url(target) => {
                log.notice("No action is named: a URL and then a path mean `restore`.");
                Self::named("restore", words, clock)
            }
            [] => Err(Failure::usage("No action is given.")),
            [first, ..] => {
                let known: Vec<&str> = NAMES
                    .iter()
                    .filter_map(|names| names.first())
                    .copied()
                    .collect();
                Err(Failure::usage(format!(
                    "'{}' is no action, and the words do not tell which is meant. Actions are: {}.",
                    first.to_string_lossy(),
                    known.join(", ")
                )))
            }
        }
    }

    fn named(name: &str, words: &[OsString], clock: &Clock) -> Result<Self, Failure> {
        let wrong = |expected: &str| {
            Err(Failure::usage(format!(
                "Wrong number of words behind '{name}': it takes {expected}, and got {}.",
                words.len()
            )))
        };
        match (name, words) {
            ("backup" | "full" | "incremental", [source, target]) => Ok(Self::Backup {
                wanted: match name {
                    "full" => Kind::Full,
                    "incremental" => Kind::Increment,
                    _ => Kind::Either,
                },
                source: existing(source)?,
                url: url(target)?,
            }),
            ("backup" | "full" | "incremental", _) => wrong("SOURCE_PATH TARGET_URL"),
            ("restore", [source, target]) => Ok(Self::Restore {
                url: url(source)?,
                target: path(target)?,
            }),
            ("verify", [source, folder]) => Ok(Self::Verify {
                url: url(source)?,
                folder: path(folder)?,
            }),
            ("restore" | "verify", _) => wrong("SOURCE_URL TARGET_PATH"),
            ("collection-status", [target]) => Ok(Self::Status { url: url(target)? }),
            ("list-current-files", [target]) => Ok(Self::List { url: url(target)? }),
            ("cleanup", [target]) => Ok(Self::Cleanup { url: url(target)? }),
            ("synthetic-full", [target]) => Ok(Self::SyntheticFull { url: url(target)? }),
            ("remove-older-than", [time, target]) => Ok(Self::RemoveOlderThan {
                time: clock
                    .time(&time.to_string_lossy())
                    .map_err(Failure::usage)?,
                url: url(target)?,
            }),
            ("remove-older-than", _) => wrong("TIME TARGET_URL"),
            ("remove-all-but-n-full", [count, target]) => Ok(Self::RemoveAllButFull {
                count: number(count)?,
                url: url(target)?,
            }),
            ("remove-all-inc-of-but-n-full", [count, target]) => Ok(Self::RemoveIncrements {
                count: number(count)?,
                url: url(target)?,
            }),
            ("remove-all-but-n-full" | "remove-all-inc-of-but-n-full", _) => {
                wrong("COUNT TARGET_URL")
            }
            _ => wrong("TARGET_URL"),
        }
    }

    /// Where the archive is.
    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Backup { url, .. }
            | Self::Restore { url, .. }
            | Self::Verify { url, .. }
            | Self::Status { url }
            | Self::List { url }
            | Self::Cleanup { url }
            | Self::SyntheticFull { url }
            | Self::RemoveOlderThan { url, .. }
            | Self::RemoveAllButFull { url, .. }
            | Self::RemoveIncrements { url, .. } => url,
        }
    }
}

/// Whether a word is a URL: a scheme, a colon and two slashes, or a form of ours that has none.
fn is_url(word: &OsStr) -> bool {
    let bytes = word.as_bytes();
    let Some(colon) = bytes.iter().position(|&byte| byte == b':') else {
        return false;
    };
    let (scheme, rest) = bytes.split_at(colon);
    let fits = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    fits && rest.starts_with(b"://")
}

fn url(word: &OsStr) -> Result<String, Failure> {
    let text = word.to_string_lossy();
    if !is_url(word) {
        return Err(Failure::usage(format!(
            "'{text}' should be a URL, as scheme://place; file:///absolute/path for a folder here."
        )));
    }
    match word.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Failure::usage(format!("The URL '{text}' is not UTF-8."))),
    }
}

fn path(word: &OsStr) -> Result<PathBuf, Failure> {
    if is_url(word) {
        let text = word.to_string_lossy();
        return Err(Failure::usage(format!(
            "'{text}' should be a path, not a URL."
        )));
    }
    if word.is_empty() {
        return Err(Failure::usage("A path cannot be empty."));
    }
    Ok(canonical(Path::new(word)))
}

fn existing(word: &OsStr) -> Result<PathBuf, Failure> {
    let path = path(word)?;
    if std::fs::metadata(&path).is_err() {
        return Err(Failure::usage(format!(
            "The source '{}' does not exist.",
            word.to_string_lossy()
        )));
    }
    Ok(path)
}

/// As duplicity writes a path down: as it was typed, without single dots, doubled slashes and one
/// at the end.
fn canonical(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    let parts: Vec<&[u8]> = bytes
        .split(|&byte| byte == b'/')
        .filter(|part| !matches!(*part, b"" | b"."))
        .collect();
    let mut out = if bytes.starts_with(b"/") {
        b"/".to_vec()
    } else {
        Vec::new()
    };
    out.extend(parts.join(&b'/'));
    if out.is_empty() {
        out.push(b'.');
    }
    PathBuf::from(OsStr::from_bytes(&out))
}

fn number(word: &OsStr) -> Result<usize, Failure> {
    let text = word.to_string_lossy();
    text.parse()
        .map_err(|_| Failure::usage(format!("'{text}' is not a number of full backups.")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn action(line: &str) -> Result<Action, Failure> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let clock = Clock {
            now: 1000,
            zone: TimeZone::UTC,
        };
        let mut log = Log::new();
        log.set_verbosity(0);
        Action::of(&words, &clock, &log)
    }

    #[test]
    fn an_action_is_named_shortened_or_told_by_the_order() {
        for line in ["backup / file:///x", "bu / file:///x", "/ file:///x"] {
            assert!(
                matches!(
                    action(line),
                    Ok(Action::Backup {
                        wanted: Kind::Either,
                        ..
                    })
                ),
                "{line}"
            );
        }
        assert!(matches!(
            action("inc // sftp://h/x"),
            Ok(Action::Backup { wanted: Kind::Increment, source, .. }) if source == Path::new("/")
        ));
        assert!(matches!(
            action("file:///x out"),
            Ok(Action::Restore { .. })
        ));
        assert!(matches!(
            action("ra 3 file:///x"),
            Ok(Action::RemoveAllButFull { count: 3, .. })
        ));
        assert!(matches!(
            action("ro 200s file:///x"),
            Ok(Action::RemoveOlderThan { time: 800, .. })
        ));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in [
            "/ /",
            "file:///x file:///y",
            "frobnicate file:///x",
            "full /nowhere/at/all file:///x",
            "full /",
            "restore / file:///x",
            "collection-status /x",
            "remove-all-but-n-full x file:///x",
        ] {
            assert_eq!(action(line).unwrap_err().code, 23, "{line}");
        }
    }

    #[test]
    fn a_path_is_kept_as_typed_but_for_dots_and_slashes() {
        for (typed, kept) in [
            ("./a//b/./", "a/b"),
            ("/", "/"),
            (".", "."),
            ("/a/../b/", "/a/../b"),
        ] {
            assert_eq!(canonical(Path::new(typed)), Path::new(kept));
        }
    }
}
