//! A layer opened without us: the commands of the stock programs, and those of nothing but `gpg` and `tar`,
//! as the runbook prints them and the drill runs them.
//!
//! What is wanted of a layer stands in one line, `paths_line`, which a person changes and the drill
//! replaces; all other lines are run as they are printed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tree::TreePath;

use crate::config::{self, ArchiveEncryption, Duplicity, Kind};
use crate::event::Watch;
use crate::{Machine, Secret, create_private_folder, program};

/// How long a step of a recipe may take for a drill.
const PATIENCE: Duration = Duration::from_secs(1800);

/// How long it may take to say its version.
const PATIENCE_VERSION: Duration = Duration::from_secs(60);

/// Puts an archive of duplicity together by hand, with what `archive` and `paths` say.
const BY_HAND: &str = include_str!("layer/duplicity/by-hand.sh");

/// How a layer is restored with the program that its format comes from: lines for `bash`. Files come back
/// below a folder `restored` in the folder where they are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The program.
    pub program: &'static str,
    /// Shows what there is.
    pub list: String,
    /// Brings everything back.
    pub everything: String,
    /// Brings back what stands in the array `paths`.
    pub some: String,
}

/// The commands for a snapshot of a layer.
///
/// `None` where no stock program restores the kind, for plain files are copied, or reaches the store.
#[must_use]
pub fn recipe(layer: &config::Layer, snapshot: &str) -> Option<Recipe> {
    match &layer.kind {
        Kind::Borg { .. } => {
            let store = word(layer.store.as_bytes());
            let archive = word(format!("{}::{snapshot}", layer.store).as_bytes());
            let extract = format!("mkdir -p restored && (cd restored && borg extract {archive}");
            Some(Recipe {
                program: "borg",
                list: format!("borg list {store}"),
                everything: format!("{extract})"),
                some: format!("{extract} \"${{paths[@]/#/pp:}}\")"),
            })
        }
        Kind::Duplicity(settings) => {
            let mut store = word(duplicity_url(layer)?.as_bytes());
            if settings.encryption == ArchiveEncryption::None {
                // Else it asks for a passphrase.
                store.insert_str(0, "--no-encryption ");
            }
            Some(Recipe {
                program: "duplicity",
                list: format!("duplicity collection-status {store}"),
                everything: format!("duplicity restore {store} restored"),
                some: [
                    "for path in \"${paths[@]}\"; do",
                    "    mkdir -p \"$(dirname \"restored/$path\")\"",
                    &format!(
                        "    duplicity restore --path-to-restore \"$path\" {store} \"restored/$path\""
                    ),
                    "done",
                ]
                .join("\n"),
            })
        }
        Kind::Drop { .. } => None,
    }
}

/// The line that says what is wanted: files or folders, without the first slash.
#[must_use]
pub(crate) fn paths_line(paths: &[TreePath]) -> String {
    let words: Vec<String> = paths.iter().map(|path| word(path.as_bytes())).collect();
    format!("paths=({})", words.join(" "))
}

/// The lines that put an archive of duplicity together without any program of backups: everything, or
/// these paths. Files come back below a folder `tree` in the folder where they are called. They ask for the
/// passphrase on their input.
#[must_use]
pub(crate) fn by_hand(layer: &config::Layer, paths: &[TreePath]) -> String {
    let folder = layer.local_store().unwrap_or_else(|| "/FOLDER".into());
    let archive = word(folder.as_os_str().as_encoded_bytes());
    let mut lines = format!("archive={archive}\n{}\n", paths_line(paths));
    if layer.passphrase.is_some() {
        lines.push_str("IFS= read -rsp 'Passphrase: ' PASSPHRASE\n");
    }
    lines + BY_HAND
}

/// The store as stock duplicity writes it; `None` where both write it in ways of their own.
pub(crate) fn duplicity_url(layer: &config::Layer) -> Option<String> {
    match layer.local_store() {
        Some(folder) => Some(format!("file://{}", folder.display())),
        None if layer.store.starts_with("sftp://") => Some(layer.store.clone()),
        None => None,
    }
}

/// A word for `bash`.
pub(crate) fn word(bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else {
        let escaped = bytes.iter().map(|byte| format!("\\x{byte:02x}"));
        return format!("$'{}'", escaped.collect::<String>());
    };
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "/._-:@,+=~%".contains(character);
    // A leading tilde would be somebody's home.
    if !text.is_empty() && !text.starts_with('~') && text.chars().all(plain) {
        text.to_owned()
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

/// Runs steps of a recipe in a folder, each in a `bash` of its own that gets the passphrase as its input
/// and the environment that `surround` makes.
///
/// # Errors
///
/// What the last step said that did not succeed.
pub(crate) fn run_steps(
    steps: &[String],
    folder: &Path,
    passphrase: Option<&Secret>,
    surround: &dyn Fn(&mut Command),
    watch: Watch<'_>,
) -> Result<(), String> {
    for step in steps {
        let mut command = Command::new("bash");
        command.args(["-e", "-c", step]).current_dir(folder);
        surround(&mut command);
        // Whoever reads it, borg or `read`, takes the end of the line away.
        let input = passphrase.map(|passphrase| Secret::new(format!("{}\n", passphrase.expose())));
        let input = input.as_ref().map_or("", Secret::expose).as_bytes();
        let stop = || watch.stop.is_requested();
        let ended = program::run_until(&mut command, input, PATIENCE, &stop)
            .map_err(|error| error.to_string())?;
        if !ended.status.success() {
            return Err(ended.complaint());
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

/// Where stock duplicity, or `gpg` alone, works as on a new machine: with a memory and a key ring of its
/// own. Its agent, which would go on in the background, ends when this is dropped.
pub(crate) struct NewMachine<'a> {
    home: PathBuf,
    machine: &'a Machine,
}

impl<'a> NewMachine<'a> {
    /// Makes one in a folder. One that somebody who was killed has left there is ended first.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made.
    pub(crate) fn open(home: &Path, machine: &'a Machine) -> io::Result<Self> {
        let new = Self::left(home, machine);
        new.end_agent();
        create_private_folder(home)?;
        create_private_folder(&home.join("tmp"))?;
        create_private_folder(&new.ring())?;
        // No passphrase outlives the program that it was given to.
        fs::write(
            new.ring().join("gpg-agent.conf"),
            "default-cache-ttl 0\nmax-cache-ttl 0\n",
        )?;
        Ok(new)
    }

    /// The one that somebody who was killed may have left in a folder.
    pub(crate) fn left(home: &Path, machine: &'a Machine) -> Self {
        Self {
            home: home.to_owned(),
            machine,
        }
    }

    fn ring(&self) -> PathBuf {
        self.home.join("ring")
    }

    fn end_agent(&self) {
        if !self.ring().is_dir() {
            return;
        }
        for order in [["--kill", "all"].as_slice(), &["--remove-socketdir"]] {
            let mut command = Command::new("gpgconf");
            command.args(order).env("GNUPGHOME", self.ring());
            if let Some(path) = (self.machine.variable)("PATH") {
                command.env("PATH", path);
            }
            let _ = program::run(&mut command, b"", PATIENCE_VERSION);
        }
    }

    /// Gives a command the environment. The keys of the person's own ring are there where the archive is
    /// encrypted to such.
    pub(crate) fn surround(
        &self,
        command: &mut Command,
        settings: &Duplicity,
        passphrase: Option<&Secret>,
    ) {
        command.env_clear();
        let variable = &self.machine.variable;
        for name in ["PATH", "SSH_AUTH_SOCK", "FTP_PASSWORD"] {
            if let Some(value) = variable(name) {
                command.env(name, value);
            }
        }
        let ring = match settings.encryption {
            ArchiveEncryption::Keys => variable("GNUPGHOME"),
            ArchiveEncryption::Passphrase | ArchiveEncryption::None => Some(self.ring().into()),
        };
        if let Some(ring) = ring {
            command.env("GNUPGHOME", ring);
        }
        // It takes the passphrase in no other way without a terminal. Who can look at the environment of this
        // user's processes can read where the passphrase came from, too.
        // Where a key is needed and there is none for it, an empty one: else it would ask for one.
        let empty = (settings.encryption == ArchiveEncryption::Keys).then_some("");
        if let Some(passphrase) = passphrase.map(Secret::expose).or(empty) {
            command.env("PASSPHRASE", passphrase);
        }
        command
            .env("HOME", &self.machine.places.home)
            .env("XDG_CACHE_HOME", self.home.join("cache"))
            .env("TMPDIR", self.home.join("tmp"))
            .env("PYTHONWARNINGS", "ignore")
            // What it says is read, and has to be said in English.
            .env("LC_ALL", "C.UTF-8");
    }
}

impl Drop for NewMachine<'_> {
    fn drop(&mut self) {
        self.end_agent();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Places, Stop, Surroundings};

    #[test]
    fn stock_duplicity_asks_nobody_for_the_passphrase_of_a_key() {
        let machine = Machine {
            places: Places {
                home: "/home".into(),
                config: "/config".into(),
                state: "/state".into(),
                cache: "/cache".into(),
                data: "/data".into(),
                credentials: None,
            },
            host: "host".to_owned(),
            user: "user".to_owned(),
            variable: Arc::new(|_: &str| None),
            clock: Arc::new(|| {
                jiff::Timestamp::UNIX_EPOCH.to_zoned_datetime(jiff::tz::TimeZone::UTC)
            }),
            surroundings: Surroundings::system(),
            random: crate::random::system,
            stop: Arc::new(Stop::default()),
        };
        let new = NewMachine::left(Path::new("/nonexistent"), &machine);
        let given = |encryption, passphrase: Option<&Secret>| {
            let settings = Duplicity {
                encryption,
                ..Duplicity::default()
            };
            let mut command = Command::new("duplicity");
            new.surround(&mut command, &settings, passphrase);
            let mut variables = command.get_envs();
            let found = variables.find(|(name, _)| *name == "PASSPHRASE");
            found.map(|(_, value)| value.unwrap_or_default().to_owned())
        };
        let secret = Secret::new("secret".to_owned());
        assert_eq!(given(ArchiveEncryption::Keys, None), Some("".into()));
        assert_eq!(
            given(ArchiveEncryption::Keys, Some(&secret)),
            Some("secret".into())
        );
        assert_eq!(given(ArchiveEncryption::None, None), None);
    }

    #[test]
    fn any_bytes_are_one_word_for_bash() {
        for bytes in [
            &b"plain/path"[..],
            b"it's $HOME `id`\n\\",
            b"~/x",
            b"",
            b"\xff\xfe 'x'",
        ] {
            let line = format!("printf %s {}", word(bytes));
            let mut bash = Command::new("bash");
            let ended = program::run(bash.args(["-c", &line]), b"", PATIENCE).unwrap();
            assert_eq!(ended.stdout, bytes, "{line}");
        }
    }
}
