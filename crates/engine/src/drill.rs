//! The drill: real files come back from a layer as they would on a new machine, and are compared.
//!
//! A layer is opened without any local cache and without anything that is remembered of it. Some
//! files of its newest snapshot are restored into a scratch folder: the newest and the oldest, the largest
//! and the smallest, some at random, and the sentinel, where one is written. Each is compared with the digest
//! that was recorded when it was backed up, and with the file on this machine where that did not
//! change since. That the sentinel is missing from a snapshot of a run that wrote it is a fault, too. Where
//! the stock program of the format is installed, it restores the same files
//! with the commands of the runbook, and they are compared again. The result is kept as evidence. A person
//! may type the passphrase for it: what a program fetches every day may be in nobody's memory any more.
//!
//! Nothing is written but into the scratch folder, which only its owner may read and which is
//! removed again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tree::{Entry, Fidelity, RestoreOptions, Time, TreePath};

use crate::config::Kind;
use crate::event::{Event, PathRecord, Verb, Watch, chain};
use crate::explain::{Explanation, explain_layer};
use crate::history::History;
use crate::layer::{Access, Layer};
use crate::machine::Context;
use crate::operation::Operation;
use crate::report::Outcome;
use crate::restore::{RestoreRequest, carry_out, restore_plan};
use crate::sample::{Samples, is_moment};
use crate::secret::Reference;
use crate::stock::{find_stock, recipe, run_borg};
use crate::{Error, Secret, Selection, Snapshot, config, create_private_folder};

/// Largest file that is restored: 64 MiB.
const SIZE_MAX: u64 = 64 << 20;

/// Files that are picked at random, besides those that are picked for what they are.
const RANDOM_COUNT: usize = 8;

/// What a drill of one or more layers showed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DrillReport {
    /// Identifies the operation.
    pub run: String,
    /// When it began.
    pub started: Timestamp,
    /// When it was over.
    pub finished: Timestamp,
    /// How it ended: [`Outcome::Failed`] also when something did not come back as it was.
    pub outcome: Outcome,
    /// What each layer showed.
    pub layers: Vec<LayerDrill>,
}

/// What one layer showed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerDrill {
    /// Which layer.
    pub layer: String,
    /// What it showed, or why nothing could be restored.
    #[serde(flatten)]
    pub result: DrillResult,
}

/// How the drill of one layer ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum DrillResult {
    /// Files came back, and were compared.
    Done(Drilled),
    /// None did.
    Failed {
        /// Why, and what can be done.
        failure: Explanation,
    },
}

impl DrillResult {
    /// Whether everything came back as it was.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Done(drilled) if drilled.passed())
    }
}

/// The evidence of one drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drilled {
    /// From which snapshot.
    pub snapshot: String,
    /// What came back.
    pub files: Vec<DrilledFile>,
    /// Bytes that came back.
    pub bytes: u64,
    /// How long the restore took, opening the layer included.
    pub took_ms: u64,
    /// What the stock program of the format says; `None` where it is not installed.
    pub second_opinion: Option<SecondOpinion>,
    /// Whether a person has typed the passphrase.
    #[serde(default)]
    pub typed: bool,
}

impl Drilled {
    /// Whether everything came back as it was: at least one file, and no doubt about any.
    #[must_use]
    pub fn passed(&self) -> bool {
        let opinion = self.second_opinion.as_ref();
        self.files.iter().all(DrilledFile::is_good)
            && self.files.iter().any(DrilledFile::is_compared)
            && opinion.is_none_or(|opinion| opinion.fault.is_none())
    }

    /// What is wrong, one sentence each.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self
            .files
            .iter()
            .filter(|file| !file.is_good())
            .map(|file| match &file.fault {
                Some(fault) => format!("{}: {fault}", file.path),
                None => format!("{} came back with other content", file.path),
            })
            .collect();
        if !self.files.iter().any(DrilledFile::is_compared) {
            faults.push("no file came back that could be compared with anything".to_owned());
        }
        if let Some(SecondOpinion {
            program,
            fault: Some(fault),
        }) = &self.second_opinion
        {
            faults.push(format!("{program} says otherwise: {fault}"));
        }
        faults
    }
}

/// One file that was to come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrilledFile {
    /// Which.
    #[serde(flatten)]
    pub path: PathRecord,
    /// Why it was picked: `newest`, `oldest`, `largest`, `smallest`, `random`,
    /// `sentinel`.
    pub picked: String,
    /// How many bytes came back.
    pub bytes: u64,
    /// The SHA-256 of what came back.
    pub sha256: String,
    /// Whether that is what was recorded when it was backed up; `None` when nothing was.
    pub as_recorded: Option<bool>,
    /// Whether that is what stands on this machine; `None` when it changed since.
    pub as_live: Option<bool>,
    /// Why it did not come back.
    pub fault: Option<String>,
}

impl DrilledFile {
    fn is_good(&self) -> bool {
        self.fault.is_none() && self.as_recorded != Some(false) && self.as_live != Some(false)
    }

    fn is_compared(&self) -> bool {
        self.fault.is_none() && (self.as_recorded.is_some() || self.as_live.is_some())
    }
}

/// What the stock program of the format says about the same files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondOpinion {
    /// Which program.
    pub program: String,
    /// What did not go as it should; `None` when it brought back the same.
    pub fault: Option<String>,
}

/// Drills layers, one after another.
///
/// # Errors
///
/// When the operation could not be recorded. What is wrong with a layer stands in the report.
pub fn drill(
    layers: &[&config::Layer],
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<DrillReport, Error> {
    drill_layers(layers, false, context, watch)
}

/// By this name the layer is told the passphrase that was typed; nobody else ever sees it.
const TYPED: &str = "a passphrase that was typed";

/// Drills a layer with a passphrase that a person has typed for it.
///
/// # Errors
///
/// When the passphrase does not open the layer: nothing is recorded then, for a slip of the finger is not
/// one of the layer. As [`drill`].
pub fn drill_typed(
    layer: &config::Layer,
    passphrase: &Secret,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<DrillReport, Error> {
    let variable = Arc::clone(&context.machine.variable);
    let typed = passphrase.clone();
    let machine = context
        .machine
        .with_variables(Arc::new(move |name: &str| match name {
            TYPED => Some(typed.expose().into()),
            name => variable(name),
        }));
    let open = |layer: &config::Layer, access: Access| crate::layer::open(layer, access, &machine);
    let context = Context {
        machine: &machine,
        open: &open,
        ..context
    };
    let mut layer = layer.clone();
    layer.passphrase = Some(Reference::Environment(TYPED.to_owned()));
    let opened = (context.open)(&layer, Access::Cold).and_then(|mut open| {
        let snapshots = open.snapshots()?;
        // What can be listed without it says nothing about it.
        match snapshots.last() {
            Some(newest) => open.details(newest).map(drop),
            None => Ok(()),
        }
    });
    opened.map_err(Error::of_layer(&layer.name))?;
    drill_layers(&[&layer], true, context, watch)
}

fn drill_layers(
    layers: &[&config::Layer],
    is_typed: bool,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<DrillReport, Error> {
    let machine = context.machine;
    let clock = || machine.now().timestamp();
    let started = clock();
    let operation = Operation::begin(
        Verb::Drill,
        layers.iter().copied(),
        started,
        None,
        machine,
        Some(watch),
    )?;
    let tell = |event| operation.tell(event);
    let mut reports = Vec::new();
    for layer in layers {
        if watch.stop.is_requested() {
            break;
        }
        let result = match drill_one(layer, context, watch) {
            // Cut short, it proves nothing either way.
            Ok(_) if watch.stop.is_requested() => break,
            Err(Error::Stopped) => break,
            Ok(mut drilled) => {
                drilled.typed = is_typed;
                tell(Event::Drilled {
                    layer: layer.name.clone(),
                    at: clock(),
                    faults: drilled.faults(),
                    evidence: drilled.clone(),
                });
                DrillResult::Done(drilled)
            }
            Err(error) => {
                let failure = match &error {
                    Error::Layer { source, .. } => explain_layer(source, &layer.name),
                    error => crate::explain(error),
                };
                tell(Event::LayerFailed {
                    layer: layer.name.clone(),
                    at: clock(),
                    failure: failure.clone(),
                });
                DrillResult::Failed { failure }
            }
        };
        reports.push(LayerDrill {
            layer: layer.name.clone(),
            result,
        });
    }
    let good = reports.iter().filter(|report| report.result.is_good());
    let outcome = Outcome::of_layers(good.count(), reports.len(), watch.stop.is_requested());
    let finished = clock();
    operation.finish(finished, outcome, None, 0);
    Ok(DrillReport {
        run: operation.run().to_owned(),
        started,
        finished,
        outcome,
        layers: reports,
    })
}

/// The scratch folder of a layer.
fn scratch(layer: &config::Layer, context: Context<'_>) -> PathBuf {
    let drills = context.machine.places.cache.join("drill");
    drills.join(&layer.name)
}

fn drill_one(
    layer: &config::Layer,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<Drilled, Error> {
    let scratch = scratch(layer, context);
    let failed = |source| Error::State {
        action: "use the scratch folder",
        path: scratch.clone(),
        source,
    };
    // A drill that was killed may have left something.
    remove(&scratch).map_err(failed)?;
    create_private_folder(&scratch).map_err(failed)?;
    let drilled = drill_into(&scratch, layer, context, watch);
    remove(&scratch).map_err(failed)?;
    drilled
}

fn drill_into(
    scratch: &Path,
    layer: &config::Layer,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<Drilled, Error> {
    let begin = Instant::now();
    let of_layer = || Error::of_layer(&layer.name);
    let open = |layer: &config::Layer, _: Access| (context.open)(layer, Access::Cold);
    let cold = Context {
        open: &open,
        ..context
    };
    let mut opened = (cold.open)(layer, Access::Cold).map_err(of_layer())?;
    let snapshots = opened.snapshots().map_err(of_layer())?;
    let snapshot = snapshots.last().cloned().ok_or_else(|| {
        of_layer()(crate::layer::Error::NoSnapshot {
            name: "latest".to_owned(),
        })
    })?;
    let picked = pick(&mut *opened, &snapshot, context).map_err(of_layer())?;
    drop(opened);
    let paths: Vec<TreePath> = picked.iter().map(|(_, entry)| entry.path.clone()).collect();
    let target = scratch.join("restored");
    let selection = Selection::in_place(paths.clone());
    let request = RestoreRequest {
        layer: layer.clone(),
        snapshot: snapshot.clone(),
        selection,
        target: target.clone(),
        options: RestoreOptions {
            fidelity: Fidelity::Harmless,
            ..RestoreOptions::default()
        },
    };
    let samples = Samples::read(context.config, context.machine);
    let is_right = || {
        let mut files = picked.iter();
        files.all(|(why, entry)| judge(why, entry, &target, &samples).is_good())
    };
    let planned = restore_plan(request, cold)?;
    let report = carry_out(planned, cold, watch, Some(&is_right))?;
    if report.outcome == Outcome::Stopped {
        return Err(Error::Stopped);
    }
    let took = begin.elapsed();
    let faults: BTreeMap<&str, &str> = report
        .problems
        .first
        .iter()
        .map(|problem| (problem.path.path.as_str(), problem.what.as_str()))
        .collect();
    let mut files: Vec<DrilledFile> = picked
        .iter()
        .map(|(why, entry)| {
            let mut file = judge(why, entry, &target, &samples);
            if let (Some(fault), Some(said)) =
                (&mut file.fault, faults.get(file.path.path.as_str()))
            {
                *fault = (*said).to_owned();
            }
            file
        })
        .collect();
    let second_opinion = if watch.stop.is_requested() {
        None
    } else {
        second_opinion(scratch, layer, &snapshot, &paths, &files, context)
    };
    files.extend(missing_sentinel(
        layer, &snapshot, &paths, &samples, context,
    ));
    Ok(Drilled {
        snapshot: snapshot.name,
        bytes: files.iter().map(|file| file.bytes).sum(),
        files,
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        second_opinion,
        typed: false,
    })
}

/// The sentinel, when the run that made the snapshot wrote one and it did not come.
fn missing_sentinel(
    layer: &config::Layer,
    snapshot: &Snapshot,
    picked: &[TreePath],
    samples: &Samples,
    context: Context<'_>,
) -> Option<DrilledFile> {
    let path = samples.sentinel()?;
    // A drop layer has a folder of its own.
    if matches!(layer.kind, Kind::Drop { .. }) || picked.contains(path) {
        return None;
    }
    // What other programs have made, or what is older than the evidence, promised none.
    let (began, ended) = made(layer, snapshot, context)?;
    samples.sentinel_within(began, ended).then(|| DrilledFile {
        path: PathRecord::from(path),
        picked: "sentinel".to_owned(),
        bytes: 0,
        sha256: String::new(),
        as_recorded: None,
        as_live: None,
        fault: Some(format!(
            "it is missing from {}, though that run wrote it",
            snapshot.name
        )),
    })
}

/// When the run began and ended that made a snapshot, as far as the history knows.
fn made(
    layer: &config::Layer,
    snapshot: &Snapshot,
    context: Context<'_>,
) -> Option<(Timestamp, Timestamp)> {
    let history = History::new(&context.machine.places.state);
    let mut operations = history.operations().ok()?;
    operations.find_map(|operation| {
        let Some(Event::Started { at: began, .. }) = operation.events.first() else {
            return None;
        };
        let done = operation
            .events_of(context.config)
            .find_map(|event| match event {
                Event::LayerDone {
                    layer: of,
                    snapshot: made,
                    at,
                    ..
                } if *of == layer.name && *made == snapshot.name => Some(*at),
                _ => None,
            });
        done.map(|ended| (*began, ended))
    })
}

/// Picks the files: in one pass, without keeping more than it picks.
fn pick(
    layer: &mut dyn Layer,
    snapshot: &Snapshot,
    context: Context<'_>,
) -> Result<Vec<(&'static str, Entry)>, crate::layer::Error> {
    let sentinel = context.config.sentinel.as_ref();
    let sentinel = sentinel.and_then(|file| TreePath::from_local(file).ok());
    let mut found_sentinel = None;
    let mut best: [Option<Entry>; 4] = [None, None, None, None];
    let mut random: Vec<Entry> = Vec::new();
    let mut seen: u64 = 0;
    let dice = || {
        let mut bytes = [0; 8];
        let _ = (context.machine.random)(&mut bytes);
        u64::from_le_bytes(bytes)
    };
    layer.entries(snapshot, &mut |found| {
        let Ok(item) = found else {
            return ControlFlow::Continue(());
        };
        let entry = item.entry;
        if !entry.is_file() || entry.hard_link.is_some() || entry.size > SIZE_MAX {
            return ControlFlow::Continue(());
        }
        if entry.size == 0 {
            return ControlFlow::Continue(());
        }
        if sentinel.as_ref() == Some(&entry.path) {
            found_sentinel = Some(entry);
            return ControlFlow::Continue(());
        }
        let better: [fn(&Entry, &Entry) -> bool; 4] = [
            |new, old| new.mtime.nanoseconds > old.mtime.nanoseconds,
            |new, old| new.mtime.nanoseconds < old.mtime.nanoseconds,
            |new, old| new.size > old.size,
            |new, old| new.size < old.size,
        ];
        for (slot, better) in best.iter_mut().zip(better) {
            if slot.as_ref().is_none_or(|old| better(&entry, old)) {
                *slot = Some(entry.clone());
            }
        }
        // Each file has the same chance, however many there are.
        seen += 1;
        if random.len() < RANDOM_COUNT {
            random.push(entry);
        } else {
            let slot = usize::try_from(dice() % seen).unwrap_or(usize::MAX);
            if let Some(slot) = random.get_mut(slot) {
                *slot = entry;
            }
        }
        ControlFlow::Continue(())
    })?;
    let names = ["newest", "oldest", "largest", "smallest"];
    let named = names
        .into_iter()
        .zip(best)
        .filter_map(|(name, entry)| Some((name, entry?)));
    let random = random.into_iter().map(|entry| ("random", entry));
    let sentinel = found_sentinel.map(|entry| ("sentinel", entry));
    let mut picked: Vec<(&'static str, Entry)> = Vec::new();
    for (why, entry) in sentinel.into_iter().chain(named).chain(random) {
        if picked.iter().all(|(_, known)| known.path != entry.path) {
            picked.push((why, entry));
        }
    }
    Ok(picked)
}

/// Compares one file that came back.
fn judge(why: &str, entry: &Entry, target: &Path, samples: &Samples) -> DrilledFile {
    let restored = target.join(entry.path.as_path());
    let mut file = DrilledFile {
        path: PathRecord::from(&entry.path),
        picked: why.to_owned(),
        bytes: 0,
        sha256: String::new(),
        as_recorded: None,
        as_live: None,
        fault: None,
    };
    match digest(&restored) {
        Ok((bytes, sha256)) => {
            file.bytes = bytes;
            file.as_recorded = samples.confirm(entry, &sha256);
            file.as_live = confirm_live(entry, &sha256);
            if bytes != entry.size {
                file.fault = Some(format!("{bytes} bytes came back of {}", entry.size));
            }
            file.sha256 = sha256;
        }
        Err(error) => file.fault = Some(format!("it did not come back: {error}")),
    }
    file
}

/// How many bytes a file has, and their SHA-256.
fn digest(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        let length = match file.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hex::encode(hasher.finalize()))),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(buffer.get(..length).unwrap_or_default());
        bytes += length as u64;
    }
}

/// Whether the file on this machine has this SHA-256; `None` if it is not what was backed up any
/// more.
fn confirm_live(entry: &Entry, sha256: &str) -> Option<bool> {
    let path = Path::new("/").join(entry.path.as_path());
    let modified = || {
        let found = path.symlink_metadata().ok()?;
        let nanoseconds = u32::try_from(found.mtime_nsec()).ok()?;
        let modified = Time::new(found.mtime(), nanoseconds);
        let same = found.is_file()
            && found.len() == entry.size
            && is_moment(entry.mtime, modified.nanoseconds);
        same.then_some(modified)
    };
    let before = modified()?;
    let (_, live) = digest(&path).ok()?;
    // Had it changed meanwhile, nothing would be proved.
    if modified()? != before {
        return None;
    }
    // Nor if it may have changed within the second in which it was backed up.
    (live == sha256 || before == entry.mtime).then_some(live == sha256)
}

/// Lets the stock program restore the same files with the commands of the runbook.
fn second_opinion(
    scratch: &Path,
    layer: &config::Layer,
    snapshot: &Snapshot,
    paths: &[TreePath],
    files: &[DrilledFile],
    context: Context<'_>,
) -> Option<SecondOpinion> {
    if !matches!(layer.kind, Kind::Borg { .. }) {
        return None;
    }
    let recipe = recipe(layer, &snapshot.name, paths)?;
    find_stock(recipe.program, context.machine)?;
    let opinion = |fault| {
        Some(SecondOpinion {
            program: recipe.program.to_owned(),
            fault,
        })
    };
    let folder = scratch.join("stock");
    let home = scratch.join("stock-home");
    let made = create_private_folder(&folder).and_then(|()| create_private_folder(&home));
    if let Err(error) = made {
        return opinion(Some(error.to_string()));
    }
    let passphrase = match &layer.passphrase {
        Some(reference) => match context.machine.keeper().fetch(reference) {
            Ok(passphrase) => Some(passphrase),
            Err(error) => return opinion(Some(chain(&error).join(": "))),
        },
        None => None,
    };
    let lines: Vec<String> = recipe.list.iter().chain(&recipe.restore).cloned().collect();
    let ran = run_borg(&lines, &folder, &home, passphrase.as_ref(), context.machine);
    if let Err(fault) = ran {
        return opinion(Some(fault));
    }
    for (path, ours) in paths.iter().zip(files) {
        match digest(&folder.join(path.as_path())) {
            Ok((_, theirs)) if theirs == ours.sha256 => {}
            Ok(_) => return opinion(Some(format!("{path} came back with other content"))),
            Err(error) => return opinion(Some(format!("{path}: {error}"))),
        }
    }
    opinion(None)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The last drill of each layer, newest first: the evidence.
///
/// # Errors
///
/// [`Error::State`] when the history cannot be read.
pub fn evidence(context: Context<'_>) -> Result<Vec<(String, Timestamp, Drilled)>, Error> {
    let history = History::new(&context.machine.places.state);
    let mut last: Vec<(String, Timestamp, Drilled)> = Vec::new();
    for operation in history.operations()? {
        for event in operation.events {
            if let Event::Drilled {
                layer,
                at,
                evidence,
                ..
            } = event
                && last.iter().all(|(known, ..)| *known != layer)
            {
                last.push((layer, at, evidence));
            }
        }
    }
    Ok(last)
}
