//! What a device and the store last agreed upon. It may be deleted at any time: it is rebuilt from
//! the two sides, and where they differ in what no history knows, both are kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use store::Name;

use super::local::Stat;
use crate::{Error, VersionId, local_file};

/// What both sides had when they were last the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Base {
    pub(crate) version: VersionId,
    pub(crate) hash: Box<str>,
    pub(crate) stat: Stat,
    /// The file was old enough when it was read that a later edit shows in its times.
    pub(crate) settled: bool,
}

/// What was last agreed upon, by path.
#[derive(Debug, Default)]
pub(crate) struct StateFile {
    path: Option<PathBuf>,
    pub(crate) saved: Saved,
    changed: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// Which drop folder.
    #[serde(default)]
    pub(crate) folder: String,
    /// By path.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, Base>,
}

impl StateFile {
    /// Reads what was saved; what cannot be read counts as nothing.
    pub(crate) fn load(path: Option<&Path>, folder: &str) -> Self {
        let saved = path.and_then(local_file::read);
        let saved = saved.and_then(|bytes| serde_json::from_slice::<Saved>(&bytes).ok());
        let saved = saved.filter(|saved| saved.folder == folder);
        Self {
            path: path.map(Path::to_owned),
            saved: saved.unwrap_or_else(|| Saved {
                folder: folder.to_owned(),
                files: BTreeMap::new(),
            }),
            changed: false,
        }
    }

    pub(crate) fn get(&self, path: &Name) -> Option<&Base> {
        self.saved.files.get(path.as_str())
    }

    pub(crate) fn set(&mut self, path: &Name, base: Base) {
        if self.get(path) != Some(&base) {
            self.saved.files.insert(path.as_str().to_owned(), base);
            self.changed = true;
        }
    }

    pub(crate) fn forget(&mut self, path: &Name) {
        self.changed |= self.saved.files.remove(path.as_str()).is_some();
    }

    pub(crate) fn save(&mut self) -> Result<(), Error> {
        let (Some(path), true) = (&self.path, self.changed) else {
            return Ok(());
        };
        let bytes = serde_json::to_vec(&self.saved).map_err(std::io::Error::other);
        bytes
            .and_then(|bytes| local_file::replace(path, &bytes))
            .map_err(Error::local("write", path))?;
        self.changed = false;
        Ok(())
    }
}
