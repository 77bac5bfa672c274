//! The two programs, and how each is told to do a step.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ravelin_testkit::StockBorg;
use ravelin_testkit::corpus::Set;

const PASSPHRASE: &str = "of the measurements";

/// An encryption mode and a compression, by Borg's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mode {
    pub(crate) encryption: &'static str,
    pub(crate) compression: &'static str,
}

impl Mode {
    pub(crate) fn all() -> Vec<Self> {
        [
            ("repokey-blake2", "lz4"),
            ("repokey", "lz4"),
            ("repokey-blake2", "zstd,3"),
            ("none", "lz4"),
        ]
        .map(|(encryption, compression)| Self {
            encryption,
            compression,
        })
        .to_vec()
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::all()
            .into_iter()
            .find(|mode| mode.to_string() == name)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.encryption, self.compression)
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A backup into an empty repository.
    First,
    /// A backup of the same data again: nothing changed.
    Second,
    /// Everything restored into an empty directory.
    Restore,
    /// Everything read back and checked.
    Verify,
}

impl Step {
    pub(crate) const ALL: [Self; 4] = [Self::First, Self::Second, Self::Restore, Self::Verify];

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.to_string() == name)
    }

    /// Whether the steps after it cannot do without.
    pub(crate) fn is_needed(self) -> bool {
        self == Self::First
    }

    /// Whether it reads the data set rather than the repository.
    pub(crate) fn reads_data(self) -> bool {
        matches!(self, Self::First | Self::Second)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first",
            Self::Second => "second",
            Self::Restore => "restore",
            Self::Verify => "verify",
        })
    }
}

/// What a program works on.
pub(crate) struct Job<'a> {
    pub(crate) set: Set,
    pub(crate) data: &'a Path,
    /// Everything that the run writes.
    pub(crate) place: &'a Path,
    pub(crate) mode: &'a Mode,
}

impl Job<'_> {
    pub(crate) fn repository(&self) -> PathBuf {
        self.place.join("repository")
    }

    pub(crate) fn restored(&self) -> PathBuf {
        self.place.join("restored")
    }

    /// Keys, caches, configuration.
    fn home(&self) -> PathBuf {
        self.place.join("home")
    }
}

/// One of the two programs.
pub(crate) enum Contender {
    Borg(StockBorg),
    Ours(PathBuf),
}

impl Contender {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Borg(_) => "borg",
            Self::Ours(_) => "ravelin",
        }
    }

    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Ours(_))
    }

    /// Makes the empty repository.
    pub(crate) fn prepare(&self, job: &Job<'_>) -> io::Result<()> {
        fs::create_dir_all(job.home())?;
        let mut command = match self {
            Self::Borg(borg) => {
                let encryption = format!("--encryption={}", job.mode.encryption);
                let mut command = borg.command(["init", &encryption]);
                command.arg(job.repository());
                command
            }
            Self::Ours(program) => {
                fs::write(config_file(job), config(job))?;
                let passphrase = job.home().join("passphrase");
                fs::write(&passphrase, PASSPHRASE)?;
                fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600))?;
                ours(program, job, ["init"])
            }
        };
        self.settle(&mut command, job);
        let answer = command.output()?;
        if answer.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&answer.stderr);
        Err(io::Error::other(format!(
            "{} init: {}: {said}",
            self.name(),
            answer.status
        )))
    }

    /// Where the data set is after a restore: stock Borg brings back the whole path, ours what was
    /// asked for.
    pub(crate) fn restored(&self, job: &Job<'_>) -> PathBuf {
        let path = match self {
            Self::Borg(_) => job.data.strip_prefix("/").unwrap_or(job.data),
            Self::Ours(_) => job.data.file_name().map_or(job.data, Path::new),
        };
        job.restored().join(path)
    }

    /// The command of a step, complete but for where its output goes.
    pub(crate) fn command(&self, step: Step, job: &Job<'_>) -> io::Result<Command> {
        let mut command = match self {
            Self::Borg(borg) => borg_command(borg, step, job),
            Self::Ours(program) => our_command(program, step, job),
        };
        if step == Step::Restore {
            fs::create_dir_all(job.restored())?;
        }
        self.settle(&mut command, job);
        Ok(command)
    }

    fn settle(&self, command: &mut Command, job: &Job<'_>) {
        command
            .env("BORG_BASE_DIR", job.home())
            .env("BORG_PASSPHRASE", PASSPHRASE);
    }
}

fn borg_command(borg: &StockBorg, step: Step, job: &Job<'_>) -> Command {
    let archive = |name: &str| -> OsString {
        let mut location = job.repository().into_os_string();
        location.push("::");
        location.push(name);
        location
    };
    match step {
        Step::First | Step::Second => {
            let mut command = borg.command(["create", "--compression", job.mode.compression]);
            command.arg(archive(&step.to_string())).arg(job.data);
            command
        }
        Step::Restore => {
            let mut command = borg.command(["extract"]);
            command.arg(archive("first")).current_dir(job.restored());
            command
        }
        Step::Verify => {
            let mut command = borg.command(["check", "--verify-data"]);
            command.arg(job.repository());
            command
        }
    }
}

fn our_command(program: &Path, step: Step, job: &Job<'_>) -> Command {
    match step {
        Step::First | Step::Second => ours(program, job, ["backup"]),
        Step::Restore => {
            let mut command = ours(program, job, ["restore", "latest"]);
            command
                .arg(job.data)
                .arg("--to")
                .arg(job.restored())
                .arg("--as-it-was");
            command
        }
        Step::Verify => ours(program, job, ["verify", "--data"]),
    }
}

/// Our program with directories of its own.
fn ours<const N: usize>(program: &Path, job: &Job<'_>, arguments: [&str; N]) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(config_file(job))
        .args(arguments)
        .env("HOME", job.home())
        .env("XDG_CONFIG_HOME", job.home().join("config"))
        .env("XDG_STATE_HOME", job.home().join("state"))
        .env("XDG_CACHE_HOME", job.home().join("cache"))
        .env("XDG_DATA_HOME", job.home().join("data"));
    command
}

fn config_file(job: &Job<'_>) -> PathBuf {
    job.home().join("ravelin.toml")
}

/// One source, one layer. Paths of measurements need no quoting beyond TOML's plain strings.
fn config(job: &Job<'_>) -> String {
    format!(
        "[[source]]\npaths = [{:?}]\nexclude-caches = false\n\n\
         [layer.bench]\nkind = \"borg\"\nstore = {:?}\nschedule = \"manual\"\n\
         encryption = {:?}\ncompression = {:?}\npassphrase = {{ file = {:?} }}\n",
        job.data.display().to_string(),
        job.repository().display().to_string(),
        job.mode.encryption,
        job.mode.compression,
        job.home().join("passphrase").display().to_string(),
    )
}
