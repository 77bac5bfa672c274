//! Duplicity 3.2.1, the stock program.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use super::{Recipe, environment};
use crate::program::{require, run};
use crate::skip::missing;

const DUPLICITY: Recipe = Recipe {
    name: "duplicity-3.2.1",
    // The rest of what it asks for are clients of clouds: a hundred packages that no test uses.
    requirement: "--no-deps duplicity==3.2.1 fasteners==0.20",
    packages: &[
        "gcc",
        "libc6-dev",
        "librsync-dev",
        "gettext",
        "python3-dev",
        "python3-venv",
    ],
};

/// Stock duplicity 3.2.1 with an archive directory and a GnuPG home of its own.
///
/// A clone is the same client.
#[derive(Debug, Clone)]
pub struct StockDuplicity {
    home: PathBuf,
    base: Arc<tempfile::TempDir>,
}

/// A new client of stock duplicity 3.2.1, installed on first use into `target/stock/`.
///
/// Where it, or `gpg`, cannot be had the test is said to be skipped and nothing is given back.
///
/// # Panics
///
/// In CI, when it cannot be had. When the client's directory cannot be made.
#[must_use]
pub fn stock_duplicity() -> Option<StockDuplicity> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    require("gpg")?;
    match INSTALLED.get_or_init(|| environment(&DUPLICITY)) {
        Ok(home) => Some(StockDuplicity::new(home.clone())),
        Err(why) => {
            missing("stock duplicity 3.2.1", why);
            None
        }
    }
}

impl StockDuplicity {
    fn new(home: PathBuf) -> Self {
        let base = tempfile::Builder::new()
            .prefix("duplicity-base-")
            .tempdir()
            .unwrap_or_else(|error| panic!("cannot make a directory for duplicity: {error}"));
        Self {
            home,
            base: Arc::new(base),
        }
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.home.join("bin/duplicity")
    }

    /// The Python that can import the program's modules.
    #[must_use]
    pub fn python(&self) -> PathBuf {
        self.home.join("bin/python")
    }

    /// Where the archive directory and the GnuPG home are. Removed with the last clone.
    #[must_use]
    pub fn base_dir(&self) -> &Path {
        self.base.path()
    }

    /// A command of the program with an action's arguments, to be completed and run.
    ///
    /// A passphrase is given with `command.env("PASSPHRASE", …)`.
    #[must_use]
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(self.program());
        command
            .args(arguments)
            .arg("--archive-dir")
            .arg(self.base_dir().join("archive"))
            .env("HOME", self.base_dir())
            .env("GNUPGHOME", self.base_dir())
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env_remove("PASSPHRASE");
        command
    }

    /// Runs an action that must succeed and gives its standard output.
    ///
    /// # Panics
    ///
    /// When it does not succeed, with all that it said.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        run(&mut self.command(arguments))
    }
}
