//! One state of one file, and how it is named.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::Name;

/// The name of a version: unlike any other of its folder, and the same on every device.
///
/// In a folder with a history of our own it is the number of the change and the line in it:
/// `7.1`. On Dropbox it is Dropbox's `rev`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VersionId(Box<str>);

/// Why a text is no [`VersionId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a version is named by letters, digits, `.`, `-` and `_`")]
pub struct BadVersionId;

impl VersionId {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`BadVersionId`] when it is empty, longer than 128 bytes, or has other characters than
    /// letters, digits, `.`, `-` and `_`.
    pub fn new(text: &str) -> Result<Self, BadVersionId> {
        let fine = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if text.is_empty() || text.len() > 128 || !text.chars().all(fine) {
            return Err(BadVersionId);
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VersionId {
    type Err = BadVersionId;

    fn from_str(text: &str) -> Result<Self, BadVersionId> {
        Self::new(text)
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One state of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its name.
    pub id: VersionId,
    /// The file.
    pub path: Name,
    /// When it came to be, by the clock of the device that made it, or of the service.
    pub at: Timestamp,
    /// Which device made it; `None` where the service does not tell.
    pub device: Option<Device>,
    /// What it is.
    pub state: State,
    /// It lost a race: another device had changed the file first. It was never the present
    /// state, and is kept all the same.
    pub lost: bool,
}

/// What a version says of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The file had this content.
    Present(Content),
    /// The file was deleted.
    Deleted,
}

/// The content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Bytes.
    pub size: u64,
    /// When the file was last modified on the device that it came from, to the second or finer.
    pub modified: Timestamp,
    /// The checksum: SHA-256, on Dropbox its content hash. Hexadecimal digits.
    pub hash: Box<str>,
}

impl Version {
    /// The content, unless the file is deleted.
    #[must_use]
    pub fn content(&self) -> Option<&Content> {
        match &self.state {
            State::Present(content) => Some(content),
            State::Deleted => None,
        }
    }
}

/// The name of a device, as conflict copies and the index show it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Device(Box<str>);

impl Device {
    /// Makes a name of what a machine calls itself: characters that a file name or a line of the
    /// index cannot hold become `-`, and at most 40 characters stay.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let clean: String = text
            .trim()
            .chars()
            .map(|c| if is_plain(c) { c } else { '-' })
            .take(40)
            .collect();
        let clean = clean.trim_matches(['.', ' ']);
        Self(if clean.is_empty() { "device" } else { clean }.into())
    }

    /// Whoever changes the files at the store without this program.
    #[must_use]
    pub fn elsewhere() -> Self {
        Self("elsewhere".into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What every file system and every service takes in a name.
fn is_plain(c: char) -> bool {
    !c.is_control() && !"/\\:*?\"<>|()".contains(c)
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_a_name_that_fits_into_file_names() {
        for (said, named) in [
            ("laptop", "laptop"),
            (" Ada's NAS ", "Ada's NAS"),
            ("a/b\tc", "a-b-c"),
            ("..", "device"),
            ("", "device"),
        ] {
            assert_eq!(Device::new(said).as_str(), named);
        }
    }

    #[test]
    fn a_version_cannot_lead_elsewhere() {
        for text in ["", "a/b", "a b", "ü", "a\n"] {
            assert_eq!(VersionId::new(text), Err(BadVersionId), "{text:?}");
        }
        assert!(VersionId::new("7.1").is_ok());
        assert!(VersionId::new("0160c4a8").is_ok());
    }
}
