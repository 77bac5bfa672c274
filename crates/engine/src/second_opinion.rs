//! What the independent program of a format says of a layer, where it is installed.
//!
//! We check our own work; another program that was written by others knows nothing of our mistakes.
//! Stock `borg` checks the repository and all archives. Stock `duplicity` fetches every volume of the
//! newest chain, compares their checksums with the manifests, and decrypts them; that it finds no files
//! to compare with in an empty folder is expected.
//!
//! Both work with a memory of their own, which is deleted afterwards, as on a new machine: nothing that
//! our programs share with them is touched. Nothing is repaired. Stock `borg` locks a repository for as
//! long as it checks it, so it is done in the turn of backups: a backup that is due meanwhile waits, and
//! does not fail.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::config::{self, ArchiveEncryption, Kind};
use crate::event::{Event, Verb, Watch};
use crate::explain::{Explanation, explain_layer};
use crate::layer;
use crate::machine::Context;
use crate::operation::{Operation, go_through};
use crate::program::{self, Ended};
use crate::report::LayersReport;
use crate::stock::{NewMachine, borg_environment, duplicity_url, find_program, find_stock};
use crate::{Error, Machine, Secret, create_private_folder};

/// How long a check may take.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Most lines of a program's complaints that are kept.
const FINDINGS_MAX: usize = 20;

/// What the exit status of stock borg says: no error of the program, but of what it looked at.
const BORG_FOUND: i32 = 1;

/// The exit status of stock duplicity for a volume that is not what its manifest says.
const DUPLICITY_MISMATCH: i32 = 21;

/// What was said of one or more layers.
pub type OpinionReport = LayersReport<LayerOpinion>;

/// What was said of one layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerOpinion {
    /// Which layer.
    pub layer: String,
    /// The program; `None` where there is none for such a layer.
    pub program: Option<&'static str>,
    /// How it ended.
    #[serde(flatten)]
    pub result: OpinionResult,
}

/// How asking for an opinion ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum OpinionResult {
    /// The program looked at everything.
    Done {
        /// What it found, in its own words; empty when all is well.
        findings: Vec<String>,
        /// How long it took.
        took_ms: u64,
    },
    /// The program is not installed, or there is none.
    Absent,
    /// The program could not look at it.
    Failed {
        /// Why, and what can be done.
        failure: Explanation,
    },
}

impl OpinionResult {
    /// Whether all is well; `None` where nobody was asked.
    fn is_good(&self) -> Option<bool> {
        match self {
            Self::Done { findings, .. } => Some(findings.is_empty()),
            Self::Absent => None,
            Self::Failed { .. } => Some(false),
        }
    }
}

/// The program that can say something about a layer.
#[must_use]
pub fn program_for(layer: &config::Layer) -> Option<&'static str> {
    match &layer.kind {
        Kind::Borg { .. } if layer.is_runnable() => Some("borg"),
        Kind::Duplicity(_) => duplicity_url(layer).map(|_| "duplicity"),
        _ => None,
    }
}

/// Whether a program of that name is installed.
#[must_use]
pub(crate) fn is_found(layer: &config::Layer, machine: &Machine) -> bool {
    program_for(layer).is_some_and(|program| find_program(program, machine).is_some())
}

/// Whether it is the stock program, which is asked for that.
#[must_use]
pub(crate) fn is_to_be_had(layer: &config::Layer, machine: &Machine) -> bool {
    program_for(layer).is_some_and(|program| find_stock(program, machine).is_some())
}

/// Asks the programs for their opinion on layers, one after another.
///
/// # Errors
///
/// When the operation could not be recorded. What is wrong with a layer stands in the report.
pub fn second_opinion(
    layers: &[&config::Layer],
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<OpinionReport, Error> {
    let is_good = |report: &LayerOpinion| report.result.is_good();
    let verb = Verb::SecondOpinion;
    go_through(verb, layers, context, watch, is_good, |operation, layer| {
        let program = program_for(layer);
        let installed = program.filter(|_| is_to_be_had(layer, context.machine));
        let result = match installed {
            None => OpinionResult::Absent,
            Some(program) => ask(program, layer, operation, context, watch),
        };
        ControlFlow::Continue(LayerOpinion {
            layer: layer.name.clone(),
            program,
            result,
        })
    })
}

fn ask(
    program: &'static str,
    layer: &config::Layer,
    operation: &Operation<'_>,
    context: Context<'_>,
    watch: Watch<'_>,
) -> OpinionResult {
    let machine = context.machine;
    operation.tell(Event::Step {
        layer: layer.name.clone(),
        phase: format!("stock {program} checks"),
        done: 0,
        total: 0,
    });
    let scratch = machine
        .places
        .cache
        .join("second-opinion")
        .join(&layer.name);
    let begin = Instant::now();
    drop(NewMachine::left(&scratch.join("home"), machine));
    let found = clear(&scratch)
        .and_then(|()| create_private_folder(&scratch))
        .map_err(|source| layer::Error::Io {
            action: format!("make the folder {}", scratch.display()),
            source,
        })
        .and_then(|()| run(layer, &scratch, machine, watch));
    let _ = clear(&scratch);
    match found {
        Ok(findings) => {
            let took_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
            operation.tell(Event::SecondOpinion {
                layer: layer.name.clone(),
                program: program.to_owned(),
                at: machine.now().timestamp(),
                findings: findings.clone(),
                took_ms,
            });
            OpinionResult::Done { findings, took_ms }
        }
        Err(error) => {
            let failure = explain_layer(&error, &layer.name);
            operation.layer_failed(&layer.name, machine.now().timestamp(), &failure);
            OpinionResult::Failed { failure }
        }
    }
}

/// What the program finds.
fn run(
    layer: &config::Layer,
    scratch: &Path,
    machine: &Machine,
    watch: Watch<'_>,
) -> Result<Vec<String>, layer::Error> {
    let passphrase = match &layer.passphrase {
        Some(reference) => Some(machine.keeper().fetch(reference)?),
        None => None,
    };
    let new =
        NewMachine::open(&scratch.join("home"), machine).map_err(|source| layer::Error::Io {
            action: format!("make a folder in {}", scratch.display()),
            source,
        })?;
    let (mut command, input) = match &layer.kind {
        Kind::Duplicity(settings) => {
            let passphrase = passphrase.as_ref();
            (duplicity(layer, settings, passphrase, scratch, &new), "")
        }
        _ => {
            let passphrase = passphrase.as_ref().map_or("", Secret::expose);
            (borg(layer, scratch, machine), passphrase)
        }
    };
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args().take(1))
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let failed = |source| layer::Error::Io {
        action: format!("let `{}` check it", words.join(" ")),
        source,
    };
    let stop = || watch.stop.is_requested();
    let ended = program::run_until(&mut command, input.as_bytes(), PATIENCE, &stop);
    let ended = ended.map_err(failed)?;
    judge(&layer.kind, &ended).map_err(failed)
}

/// What the end of the program means: findings, or that it could not look.
fn judge(kind: &Kind, ended: &Ended) -> io::Result<Vec<String>> {
    let code = ended.status.code();
    let is_duplicity = matches!(kind, Kind::Duplicity(_));
    let said = |text: &[u8]| String::from_utf8_lossy(text).contains("Verify complete");
    match code {
        // In an empty folder every file differs.
        Some(0 | 1) if is_duplicity && (said(&ended.stdout) || said(&ended.stderr)) => {
            Ok(Vec::new())
        }
        Some(DUPLICITY_MISMATCH) if is_duplicity => Ok(findings(ended)),
        Some(0) if !is_duplicity => Ok(Vec::new()),
        Some(BORG_FOUND) if !is_duplicity => Ok(findings(ended)),
        _ => Err(io::Error::other(ended.complaint())),
    }
}

/// The last lines of what a program complained about, safe for a terminal; at least one.
fn findings(ended: &Ended) -> Vec<String> {
    let stderr = String::from_utf8_lossy(&ended.stderr);
    let lines = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let mut lines: Vec<String> = lines.map(|line| line.escape_debug().to_string()).collect();
    let surplus = lines.len().saturating_sub(FINDINGS_MAX);
    lines.drain(..surplus);
    if lines.is_empty() {
        lines.push(ended.complaint());
    }
    lines
}

fn borg(layer: &config::Layer, scratch: &Path, machine: &Machine) -> Command {
    let mut command = Command::new("borg");
    command.arg("check").arg(&layer.store).current_dir(scratch);
    borg_environment(&mut command, scratch, machine);
    command
}

fn duplicity(
    layer: &config::Layer,
    settings: &config::Duplicity,
    passphrase: Option<&Secret>,
    scratch: &Path,
    new: &NewMachine<'_>,
) -> Command {
    let empty = scratch.join("empty");
    let _ = create_private_folder(&empty);
    let mut command = Command::new("duplicity");
    command.arg("verify");
    if settings.encryption == ArchiveEncryption::None {
        command.arg("--no-encryption");
    }
    command
        .arg(duplicity_url(layer).unwrap_or_default())
        .arg(&empty)
        .current_dir(scratch);
    new.surround(&mut command, settings, passphrase);
    command
}

fn clear(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
