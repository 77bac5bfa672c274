//! A layer opened without us: the commands of the stock program, as the runbook shows them and the
//! drill runs them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tree::TreePath;

use crate::config::{self, Kind};
use crate::{Machine, Secret, program};

/// How long a stock program may take for a drill.
const PATIENCE: Duration = Duration::from_secs(1800);

/// How long it may take to say its version.
const PATIENCE_VERSION: Duration = Duration::from_secs(60);

/// How a layer is restored with the program that its format comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The program.
    pub program: &'static str,
    /// Lines for a shell that show what there is.
    pub list: Vec<String>,
    /// Lines for a shell that bring files back into the folder where they are called.
    pub restore: Vec<String>,
}

/// The commands for a snapshot of a layer: everything in it, or these paths.
///
/// `None` where no stock program restores the kind: plain files are copied.
#[must_use]
pub fn recipe(layer: &config::Layer, snapshot: &str, paths: &[TreePath]) -> Option<Recipe> {
    let store = word(layer.store.as_bytes());
    match &layer.kind {
        Kind::Borg { .. } => {
            let mut archive = layer.store.clone();
            archive.push_str("::");
            archive.push_str(snapshot);
            let mut restore = format!("borg extract {}", word(archive.as_bytes()));
            for path in paths {
                let mut pattern = b"pp:".to_vec();
                pattern.extend_from_slice(path.as_bytes());
                restore.push(' ');
                restore.push_str(&word(&pattern));
            }
            Some(Recipe {
                program: "borg",
                list: vec![format!("borg list {store}")],
                restore: vec![restore],
            })
        }
        Kind::Duplicity { .. } => {
            let url = word(duplicity_url(layer)?.as_bytes());
            let restore = match paths {
                [] => vec![format!("duplicity restore {url} restored")],
                paths => paths
                    .iter()
                    .enumerate()
                    .map(|(number, path)| {
                        let path = word(path.as_bytes());
                        format!(
                            "duplicity restore --path-to-restore {path} {url} restored-{number}"
                        )
                    })
                    .collect(),
            };
            Some(Recipe {
                program: "duplicity",
                list: vec![format!("duplicity collection-status {url}")],
                restore,
            })
        }
        Kind::Drop { .. } => None,
    }
}

/// The store as stock duplicity writes it; `None` where both write it in ways of their own.
pub(crate) fn duplicity_url(layer: &config::Layer) -> Option<String> {
    match layer.local_store() {
        Some(folder) => Some(format!("file://{}", folder.display())),
        None if layer.store.starts_with("sftp://") => Some(layer.store.clone()),
        None => None,
    }
}

/// A word for a shell.
pub(crate) fn word(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "/._-:@,+=~%".contains(character);
    // A leading tilde would be somebody's home.
    if !text.is_empty() && !text.starts_with('~') && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Where a program stands, looked up as a shell would. Whose it is, is not looked at.
pub(crate) fn find_program(name: &str, machine: &Machine) -> Option<PathBuf> {
    let path = (machine.variable)("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// Where the stock program stands. This program under that name is none, for it would agree with itself:
/// be it a link, a copy, another version or behind a script, it is asked.
pub(crate) fn find_stock(name: &str, machine: &Machine) -> Option<PathBuf> {
    find_program(name, machine).filter(|found| !is_ours(found, machine))
}

/// With this variable, `--version` of `ravelin borg` and `ravelin duplicity` says whose they are; stock
/// programs know nothing of it.
pub const WHO: &str = "RAVELIN_WHO";

fn is_ours(program: &Path, machine: &Machine) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").env(WHO, "1");
    for name in ["PATH", "HOME"] {
        if let Some(value) = (machine.variable)(name) {
            command.env(name, value);
        }
    }
    // One that does not answer is told so when it is to work.
    program::run(&mut command, b"", PATIENCE_VERSION)
        .is_ok_and(|ended| ended.stdout.starts_with(b"ravelin "))
}

/// Runs the lines of a borg recipe in a folder, as on a new machine: without caches and without
/// anything that is remembered of the repository. The key of a `keyfile` mode is there.
pub(crate) fn run_borg(
    lines: &[String],
    folder: &Path,
    home: &Path,
    passphrase: Option<&Secret>,
    machine: &Machine,
) -> Result<(), String> {
    for line in lines {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(folder);
        borg_environment(&mut command, home, machine);
        let input = passphrase.map_or("", Secret::expose).as_bytes();
        let ended = program::run(&mut command, input, PATIENCE)
            .map_err(|error| format!("`{line}`: {error}"))?;
        if !ended.status.success() {
            return Err(format!("`{line}`: {}", ended.complaint()));
        }
    }
    Ok(())
}

/// Lets stock borg work as on a new machine, with a memory in `home` and the passphrase as its input.
pub(crate) fn borg_environment(command: &mut Command, home: &Path, machine: &Machine) {
    let real = borg::Home::from_environment(&machine.places.home, |name| (machine.variable)(name));
    command.env_clear();
    for name in [
        "PATH",
        "LANG",
        "LC_ALL",
        "SSH_AUTH_SOCK",
        "BORG_RSH",
        "BORG_REMOTE_PATH",
    ] {
        if let Some(value) = (machine.variable)(name) {
            command.env(name, value);
        }
    }
    let variables: [(&str, OsString); 8] = [
        ("HOME", machine.places.home.clone().into_os_string()),
        ("BORG_BASE_DIR", home.as_os_str().to_owned()),
        ("BORG_KEYS_DIR", real.keys.clone().into_os_string()),
        // The passphrase comes on a pipe: the environment of a process can be looked at.
        ("BORG_PASSPHRASE_FD", "0".into()),
        ("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes".into()),
        ("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes".into()),
        ("BORG_EXIT_CODES", "modern".into()),
        ("PYTHONWARNINGS", "ignore".into()),
    ];
    command.envs(variables);
}
