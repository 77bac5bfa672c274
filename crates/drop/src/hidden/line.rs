//! The lines of the index: text that a person can read and search.
//!
//! Nine columns with a tab between them, the path last: time, action, version, version that it
//! follows, device, size in bytes, time of modification, kept copy, path. What a column has no use
//! for is `-`. docs/formats/drop.md shows an example.

use std::fmt::Write as _;

use jiff::Timestamp;
use store::Name;

use crate::{Content, Device, State, Version, VersionId};

/// Starts every object of the index.
pub(super) const MAGIC: &str = "ravelin drop index 1";

/// The kept copy of a content: its SHA-256, and which copy it is.
///
/// A copy that was given up for deletion is never used again, for nobody can know whether the
/// deletion is still under way: the same content gets a copy of the next generation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Kept {
    pub(super) hash: Box<str>,
    pub(super) generation: u32,
}

impl Kept {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (hash, generation) = match text.split_once('.') {
            Some((hash, generation)) => (hash, generation.parse().ok().filter(|&n| n > 1)?),
            None => (text, 1),
        };
        let is_hash = hash.len() == 64
            && hash
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        is_hash.then(|| Self {
            hash: hash.into(),
            generation,
        })
    }

    /// As the index and the object's name have it.
    pub(super) fn text(&self) -> String {
        if self.generation == 1 {
            self.hash.to_string()
        } else {
            format!("{}.{}", self.hash, self.generation)
        }
    }
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// A new version, following another or none.
    Change {
        version: Version,
        base: Option<VersionId>,
        /// Of a content.
        kept: Option<Kept>,
    },
    /// A version is no longer kept.
    Thin { path: Name, version: VersionId },
    /// A copy is to be deleted, and never to be used again.
    Purge { kept: Kept, at: Timestamp },
}

impl Line {
    pub(super) fn write(&self, at: Timestamp, device: &Device, text: &mut String) {
        let dash = || "-".to_owned();
        let columns = match self {
            Self::Change {
                version,
                base,
                kept,
            } => {
                let action = match (&version.state, version.lost) {
                    (State::Present(_), false) => "put",
                    (State::Present(_), true) => "put-lost",
                    (State::Deleted, false) => "delete",
                    (State::Deleted, true) => "delete-lost",
                };
                let content = version.content();
                [
                    version.at.to_string(),
                    action.to_owned(),
                    version.id.to_string(),
                    base.as_ref().map_or_else(dash, ToString::to_string),
                    version
                        .device
                        .as_ref()
                        .map_or_else(dash, ToString::to_string),
                    content.map_or_else(dash, |content| content.size.to_string()),
                    content.map_or_else(dash, |content| content.modified.to_string()),
                    kept.as_ref().map_or_else(dash, Kept::text),
                    version.path.to_string(),
                ]
            }
            Self::Thin { path, version } => [
                at.to_string(),
                "thin".to_owned(),
                version.to_string(),
                dash(),
                device.to_string(),
                dash(),
                dash(),
                dash(),
                path.to_string(),
            ],
            Self::Purge { kept, at } => [
                at.to_string(),
                "purge".to_owned(),
                dash(),
                dash(),
                device.to_string(),
                dash(),
                dash(),
                kept.text(),
                dash(),
            ],
        };
        // A text that cannot be written to has run out of memory, which ends the program.
        let _ = writeln!(text, "{}", columns.join("\t"));
    }

    /// Reads a line.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let columns: Vec<&str> = text.splitn(9, '\t').collect();
        let [at, action, id, base, device, size, modified, kept, path] = columns[..] else {
            return Err("it does not have nine columns");
        };
        let time = |text: &str| text.parse::<Timestamp>().map_err(|_| "a time is no time");
        let some = |text: &str| (text != "-").then(|| text.to_owned());
        let id = || VersionId::new(id).map_err(|_| "the version is no version");
        let path = || Name::new(path).map_err(|_| "the path is no path");
        let copy = || Kept::parse(kept).ok_or("the kept copy is no SHA-256");
        let lost = action.ends_with("-lost");
        match action {
            "put" | "put-lost" | "delete" | "delete-lost" => {
                let base = some(base)
                    .map(|base| VersionId::new(&base))
                    .transpose()
                    .map_err(|_| "the version before is no version")?;
                let (state, kept) = if action.starts_with("put") {
                    let kept = copy()?;
                    let content = Content {
                        size: size.parse().map_err(|_| "the size is no number")?,
                        modified: time(modified)?,
                        hash: kept.hash.clone(),
                    };
                    (State::Present(content), Some(kept))
                } else {
                    (State::Deleted, None)
                };
                let version = Version {
                    id: id()?,
                    path: path()?,
                    at: time(at)?,
                    device: some(device).map(|device| Device::new(&device)),
                    state,
                    lost,
                };
                Ok(Self::Change {
                    version,
                    base,
                    kept,
                })
            }
            "thin" => Ok(Self::Thin {
                path: path()?,
                version: id()?,
            }),
            "purge" => Ok(Self::Purge {
                kept: copy()?,
                at: time(at)?,
            }),
            _ => Err("the action is not known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let lines = [
            format!(
                "2026-11-25T22:46:24Z\tput\t7.1\t5.2\tAda's NAS\t0\t2026-11-25T22:40:00.5Z\t{HASH}\ta b/ü.txt"
            ),
            format!(
                "2026-11-25T22:46:24Z\tput-lost\t7.1\t-\t-\t12\t2026-11-25T22:40:00Z\t{HASH}.2\tx"
            ),
            "2026-11-25T22:46:24Z\tdelete\t7.2\t6.1\tlaptop\t-\t-\t-\told".to_owned(),
            "2026-11-25T22:46:24Z\tthin\t3.1\t-\tlaptop\t-\t-\t-\told".to_owned(),
            format!("2026-11-25T22:46:24Z\tpurge\t-\t-\tlaptop\t-\t-\t{HASH}.3\t-"),
        ];
        for line in lines {
            let mut written = String::new();
            let at = "2026-11-25T22:46:24Z".parse().unwrap();
            Line::parse(&line)
                .unwrap()
                .write(at, &Device::new("laptop"), &mut written);
            assert_eq!(written, format!("{line}\n"));
        }
    }

    #[test]
    fn what_is_no_line_is_refused_and_never_a_path_elsewhere() {
        for line in [
            String::new(),
            "put".to_owned(),
            format!("2026-11-25T22:46:24Z\tput\t7.1\t-\td\t1\t2026-11-25T22:40:00Z\t{HASH}\t../x"),
            format!("2026-11-25T22:46:24Z\tput\t7.1\t-\td\t1\t2026-11-25T22:40:00Z\t../{HASH}\tx"),
            format!("2026-11-25T22:46:24Z\tput\t7/1\t-\td\t1\t2026-11-25T22:40:00Z\t{HASH}\tx"),
            format!("2026-11-25T22:46:24Z\tput\t7.1\t-\td\t-1\t2026-11-25T22:40:00Z\t{HASH}\tx"),
            format!("yesterday\tput\t7.1\t-\td\t1\t2026-11-25T22:40:00Z\t{HASH}\tx"),
            format!("2026-11-25T22:46:24Z\tpurge\t-\t-\td\t-\t-\t{HASH}.1\t-"),
        ] {
            assert!(Line::parse(&line).is_err(), "{line:?}");
        }
    }
}
