//! Borg 1.4.5, the stock program.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};

use super::{Recipe, environment};
use crate::program::{output, run};
use crate::skip::missing;

const BORG: Recipe = Recipe {
    name: "borg-1.4.5",
    requirement: "borgbackup==1.4.5",
    packages: &[
        "gcc",
        "libc6-dev",
        "libacl1-dev",
        "liblz4-dev",
        "libssl-dev",
        "libxxhash-dev",
        "libzstd-dev",
        "pkg-config",
        "python3-dev",
        "python3-venv",
    ],
};

/// The same with what it takes to mount, which not every machine has.
const BORG_WITH_FUSE: Recipe = Recipe {
    name: "borg-fuse-1.4.5",
    requirement: "borgbackup[pyfuse3]==1.4.5",
    packages: &[
        "fuse3",
        "gcc",
        "libc6-dev",
        "libacl1-dev",
        "libfuse3-dev",
        "liblz4-dev",
        "libssl-dev",
        "libxxhash-dev",
        "libzstd-dev",
        "pkg-config",
        "python3-dev",
        "python3-venv",
    ],
};

/// Stock Borg 1.4.5 with keys, caches and security directory of its own.
///
/// Commands run with an environment that holds no `BORG_…` of the person's: the passphrase
/// is what [`with_passphrase`](Self::with_passphrase) says, a repository without encryption
/// that is new to this client is accepted, and any other question is answered by stopping
/// with an error. Times are UTC. A clone is the same client.
#[derive(Debug, Clone)]
pub struct StockBorg {
    home: PathBuf,
    base: Arc<tempfile::TempDir>,
    variables: Vec<(OsString, OsString)>,
}

/// A new client of stock Borg 1.4.5, installed on first use into `target/stock/`.
///
/// `let Some(borg) = testkit::stock_borg() else { return };`
///
/// Where it cannot be had the test is said to be skipped and nothing is given back.
///
/// # Panics
///
/// In CI, when it cannot be had. When the client's directory cannot be made.
#[must_use]
pub fn stock_borg() -> Option<StockBorg> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match INSTALLED.get_or_init(|| environment(&BORG)) {
        Ok(home) => Some(StockBorg::new(home.clone())),
        Err(why) => {
            missing("stock Borg 1.4.5", why);
            None
        }
    }
}

/// As [`stock_borg`], of a program that can mount.
///
/// # Panics
///
/// As [`stock_borg`].
#[must_use]
pub fn stock_borg_with_fuse() -> Option<StockBorg> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match INSTALLED.get_or_init(|| environment(&BORG_WITH_FUSE)) {
        Ok(home) => Some(StockBorg::new(home.clone())),
        Err(why) => {
            missing("stock Borg 1.4.5 with FUSE", why);
            None
        }
    }
}

impl StockBorg {
    fn new(home: PathBuf) -> Self {
        let base = tempfile::Builder::new()
            .prefix("borg-base-")
            .tempdir()
            .unwrap_or_else(|error| panic!("cannot make a directory for borg: {error}"));
        Self {
            home,
            base: Arc::new(base),
            variables: Vec::new(),
        }
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.home.join("bin/borg")
    }

    /// The Python that can import the program's modules: `borg.repository`, `borg.crypto.key`, …
    #[must_use]
    pub fn python(&self) -> PathBuf {
        self.home.join("bin/python")
    }

    /// What `BORG_BASE_DIR` says: below it are this client's `.config/borg` (keys, security)
    /// and `.cache/borg`. Removed with the last clone.
    #[must_use]
    pub fn base_dir(&self) -> &Path {
        self.base.path()
    }

    /// The same client, for repositories with this passphrase.
    #[must_use]
    pub fn with_passphrase(&self, passphrase: impl AsRef<OsStr>) -> Self {
        self.with_env("BORG_PASSPHRASE", passphrase)
    }

    /// The same client with one more environment variable.
    #[must_use]
    pub fn with_env(&self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let mut with = self.clone();
        with.variables
            .push((name.as_ref().into(), value.as_ref().into()));
        with
    }

    /// A command of the program, to be completed and run.
    #[must_use]
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(self.program());
        command.args(arguments);
        self.settle(&mut command);
        command
    }

    /// Runs a command that must end with exit code 0 and gives its standard output.
    ///
    /// # Panics
    ///
    /// When it ends otherwise, a warning's exit code included, with all that it said.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        run(&mut self.command(arguments))
    }

    /// As [`run`](Self::run), in a directory: archives hold paths as they are given, and
    /// `extract` writes into the current directory.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    pub fn run_in<A: AsRef<OsStr>>(
        &self,
        directory: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> String {
        run(self.command(arguments).current_dir(directory))
    }

    /// Runs a command and gives what came of it, success or not.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn output<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        output(&mut self.command(arguments))
    }

    /// Runs a Python script that may import the program's modules and gives what it prints.
    ///
    /// The arguments are `sys.argv[1:]`.
    ///
    /// # Panics
    ///
    /// When the script does not succeed.
    pub fn run_python<A: AsRef<OsStr>>(
        &self,
        script: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> String {
        let mut command = Command::new(self.python());
        command.args(["-c", script]).args(arguments);
        self.settle(&mut command);
        run(&mut command)
    }

    /// Gives a command this client's environment and nothing of the person's Borg.
    ///
    /// For our own program too, where it shares Borg's directories.
    pub fn settle(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BORG_") {
                command.env_remove(name);
            }
        }
        command
            .env("BORG_BASE_DIR", self.base_dir())
            .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
            .env("BORG_SELFTEST", "disabled")
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
    }
}
