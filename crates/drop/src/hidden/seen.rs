//! What this device last saw of the plain files, so that it can tell a change by hand from a file
//! that another device has not brought up to date yet.
//!
//! It may be deleted at any time: then each plain file is read once more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Name, Object};

use crate::{Error, VersionId, local_file};

/// What was last seen, by path.
#[derive(Debug, Default)]
pub(super) struct Seen {
    file: Option<PathBuf>,
    files: BTreeMap<String, Sight>,
    changed: bool,
}

/// A plain file that was found to hold its present version.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Sight {
    /// What the store tells a state of the object by.
    pub(super) tag: String,
    /// The version that it held.
    pub(super) version: VersionId,
    /// Since when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) missing_since: Option<Timestamp>,
}

/// What tells a state of an object from another: its version, else its size and time.
pub(super) fn tag(object: &Object) -> String {
    match &object.version {
        Some(version) => version.clone(),
        None => {
            let time = object
                .modified
                .and_then(|time| Timestamp::try_from(time).ok());
            format!(
                "{}@{}",
                object.size,
                time.map_or_else(String::new, |time| time.to_string())
            )
        }
    }
}

impl Seen {
    /// Reads what was saved; what cannot be read counts as nothing.
    pub(super) fn load(folder: Option<&Path>, id: &str) -> Self {
        let file = folder.map(|folder| folder.join(format!("seen-{id}.json")));
        let saved = file.as_deref().and_then(local_file::read);
        let files = saved
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self {
            file,
            files,
            changed: false,
        }
    }

    pub(super) fn save(&mut self) -> Result<(), Error> {
        let (Some(file), true) = (&self.file, self.changed) else {
            return Ok(());
        };
        let bytes = serde_json::to_vec(&self.files).map_err(std::io::Error::other);
        bytes
            .and_then(|bytes| local_file::replace(file, &bytes))
            .map_err(Error::local("write", file))?;
        self.changed = false;
        Ok(())
    }

    pub(super) fn get(&self, path: &Name) -> Option<&Sight> {
        self.files.get(path.as_str())
    }

    pub(super) fn set(&mut self, path: &Name, sight: Sight) {
        if self.files.get(path.as_str()) != Some(&sight) {
            self.files.insert(path.as_str().to_owned(), sight);
            self.changed = true;
        }
    }

    pub(super) fn forget(&mut self, path: &Name) {
        self.changed |= self.files.remove(path.as_str()).is_some();
    }
}
