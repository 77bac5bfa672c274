//! A place of its own for the program: its home, its environment, nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use snapbox::cmd::{Command, cargo_bin};
use tempfile::TempDir;
use testkit::{StockBorg, run};

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

    /// Writes a configuration of one Borg layer, with `more` keys of that layer.
    pub(crate) fn configure(&self, more: &str) {
        self.private_file(
            ".config/ravelin/ravelin.toml",
            &format!(
                "[[source]]\npaths = [\"~/source\"]\n\n[layer.disk]\nkind = \"borg\"\n\
                 store = \"~/repository\"\nencryption = \"repokey-blake2\"\n\
                 passphrase = {{ file = \"~/passphrase\" }}\n{more}"
            ),
        );
    }

    /// The names of the snapshots, oldest first; `what` has just happened.
    pub(crate) fn snapshots(&self, what: &str) -> Vec<String> {
        let output = self.ravelin(["snapshots", "--json"]).output().unwrap();
        assert!(output.status.success(), "{what}: {output:?}");
        let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let list = listed["snapshots"].as_array().unwrap();
        list.iter()
            .map(|snapshot| snapshot["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Runs a command that must succeed; `what` has just happened.
    pub(crate) fn succeeds<const N: usize>(&self, arguments: [&str; N], what: &str) {
        let output = self.ravelin(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{what}: then {arguments:?}: {output:?}"
        );
    }
}

/// A copy of a folder with all that is in it, attributes included.
pub(crate) fn copy(from: &Path, to: &Path) {
    drop(run(std::process::Command::new("cp")
        .arg("-a")
        .args([from, to])));
}

/// Flips a bit in the middle of the largest file of a folder.
pub(crate) fn flip_a_bit(folder: &Path) {
    let mut files = files_below(folder);
    files.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    let mut bytes = fs::read(&files[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&files[0], bytes).unwrap();
}

/// All files below a folder; none where there is no folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(files_below(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files
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
