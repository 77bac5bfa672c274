//! A place of its own for the program: its home, its environment, nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use snapbox::cmd::{Command, cargo_bin};
use tempfile::TempDir;
use testkit::StockBorg;

/// A home directory in which the program is run with an otherwise empty environment.
pub(crate) struct Bench {
    folder: TempDir,
    /// Where Borg's own directories are, when they are shared with the stock program.
    borg_base: Option<PathBuf>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        Self {
            folder,
            borg_base: None,
        }
    }

    /// The same, on another disk.
    pub(crate) fn on(disk: &Path) -> Self {
        let folder = tempfile::tempdir_in(disk).unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        Self {
            folder,
            borg_base: None,
        }
    }

    /// The same, with the keys and caches of a stock Borg.
    pub(crate) fn sharing_with(stock: &StockBorg) -> Self {
        Self {
            borg_base: Some(stock.base_dir().to_owned()),
            ..Self::new()
        }
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

    /// Writes a file below the home directory that only its owner may read.
    pub(crate) fn private_file(&self, path: &str, content: &str) -> PathBuf {
        let path = self.file(path, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
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
            .envs(self.borg_base.iter().map(|base| ("BORG_BASE_DIR", base)))
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
