//! A place of its own for the program: its home, its environment, nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use snapbox::cmd::{Command, cargo_bin};
use tempfile::TempDir;

/// A home directory in which the program is run with an otherwise empty environment.
pub(crate) struct Bench {
    folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        Self { folder }
    }

    /// The home directory.
    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Writes a file below the home directory.
    pub(crate) fn file(&self, path: &str, content: &str) -> PathBuf {
        let path = self.home().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The program with arguments, started in the home directory.
    pub(crate) fn ravelin<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        Command::new(cargo_bin!("ravelin"))
            .args(arguments)
            .env_clear()
            .env("HOME", self.home())
            .env("TZ", "UTC")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(self.home())
            .with_assert(assert(&self.home()))
    }
}

/// Comparison that writes `[HOME]` for the home directory, and `[HOME_IN_SNAPSHOTS]` where its
/// leading slash is missing.
fn assert(home: &Path) -> snapbox::Assert {
    let mut redactions = snapbox::Redactions::new();
    redactions.insert("[HOME]", home.to_owned()).unwrap();
    let in_snapshots = home
        .display()
        .to_string()
        .trim_start_matches('/')
        .to_owned();
    redactions
        .insert("[HOME_IN_SNAPSHOTS]", in_snapshots)
        .unwrap();
    snapbox::Assert::new()
        .action_env(snapbox::assert::DEFAULT_ACTION_ENV)
        .redact_with(redactions)
}
