//! Sources that are what a program prints: a dump of a database.
//!
//! Each command is called once a run, before anything is read, and what it prints is put into a
//! private folder of the state home. That folder is read like any other source, so each layer gets
//! the same bytes, whatever its format, and a restore brings back a file. The folder is removed when
//! the run ends; one that a killed run left is removed by the next.
//!
//! Only what a command that succeeded printed gets its final name: half a dump is never taken for
//! one. Where a command fails, the report names the file that is not in the snapshot, and the rest
//! is backed up.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tree::{Problem, ProblemKind, TreePath};

use crate::config::{Config, Printed};
use crate::event::Stop;
use crate::{create_private_folder, program};

/// How a file is restored, beside it.
const HOW: &str = "how-to-restore.txt";

/// What the commands of all sources printed, until it is dropped.
pub(crate) struct Dumps {
    folders: Vec<PathBuf>,
    /// What went wrong, by the file that is missing.
    pub(crate) problems: Vec<Arc<Problem>>,
}

impl Drop for Dumps {
    fn drop(&mut self) {
        for folder in &self.folders {
            // The next run tries again.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

impl Dumps {
    /// Calls the commands of all sources, one after another.
    pub(crate) fn make(config: &Config, stop: &Stop) -> Self {
        let mut dumps = Self {
            folders: Vec::new(),
            problems: Vec::new(),
        };
        for source in &config.sources {
            let (Some(printed), Some(folder)) = (&source.printed, source.paths.first()) else {
                continue;
            };
            if stop.is_requested() {
                break;
            }
            dumps.folders.push(folder.clone());
            let file = folder.join(&printed.output);
            if let Err((action, source)) = make(printed, folder, stop)
                && let Ok(path) = TreePath::from_local(&file)
            {
                let what = ProblemKind::Io { action, source };
                dumps.problems.push(Arc::new(Problem { path, what }));
            }
        }
        dumps
    }
}

type Failure = (&'static str, io::Error);

fn make(printed: &Printed, folder: &Path, stop: &Stop) -> Result<(), Failure> {
    let written = |error| ("keep what the command prints", error);
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(written(error)),
        _ => {}
    }
    create_private_folder(folder).map_err(written)?;
    if let Some(restore) = &printed.restore {
        let text = format!(
            "{} is what this command printed:\n  {}\nIt is brought back by:\n  {restore}\n",
            printed.output,
            printed.command.join(" ")
        );
        fs::write(folder.join(HOW), text).map_err(written)?;
    }
    let part = folder.join(format!(".{}.part", printed.output));
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)
        .map_err(written)?;
    let mut words = printed.command.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command.args(words);
    let ended = program::run_into(&mut command, file, printed.patience, &|| {
        stop.is_requested()
    });
    let result = match ended {
        Ok(ended) if ended.status.success() => {
            fs::rename(&part, folder.join(&printed.output)).map_err(written)
        }
        Ok(ended) => Err(("run the command", io::Error::other(ended.complaint()))),
        Err(error) => Err(("run the command", error)),
    };
    if result.is_err() {
        // Else half a dump would be read as a file of that name.
        fs::remove_file(&part).map_err(written)?;
    }
    result
}
