//! What the page itself remembers: nothing that a backup depends on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::say::Language;

/// The settings of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The language; `None`: what the browser asks for.
    #[serde(default)]
    pub(crate) language: Option<Language>,
}

fn file(state: &Path) -> PathBuf {
    state.join("page").join("settings.json")
}

impl Settings {
    /// Those that were written last; where they cannot be read, the usual ones.
    pub(crate) fn read(state: &Path) -> Self {
        let text = fs::read(file(state)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(crate) fn write(self, state: &Path) -> io::Result<()> {
        engine::create_private_folder(&state.join("page"))?;
        let text = serde_json::to_vec(&self).map_err(io::Error::other)?;
        engine::replace_private_file(&file(state), &text)
    }
}
