//! The drill: real files come back from a layer as they would on a new machine, and are compared.
//!
//! A layer is opened without any local cache and without anything that is remembered of it. Some
//! files of its newest snapshot are restored into a scratch folder: the newest and the oldest, the largest
//! and the smallest, some at random, and the sentinel, where one is written. Each is compared with the digest
//! that was recorded when it was backed up, and with the file on this machine where that did not
//! change since. That the sentinel is missing from a snapshot of a run that wrote it is a fault, too. Where
//! the stock program of the format is installed, it restores the same files with the commands of the
//! runbook, and they are compared again; so does `gpg` with `tar` alone. Where that cannot be, the evidence
//! says why. It is kept. A person may type the passphrase for it: what a program fetches every day may be in
//! nobody's memory any more.
//!
//! Nothing is written but into the scratch folder, which only its owner may read and which is
//! removed again. No agent of GnuPG is left behind for an archive that a passphrase opens.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tree::{Entry, Fidelity, RestoreOptions, Time, TreePath};

use crate::config::{ArchiveEncryption, Kind};
use crate::event::{Event, PathRecord, Verb, Watch, chain};
use crate::explain::{Explanation, explain_layer};
use crate::history::History;
use crate::layer::{Access, Layer};
use crate::machine::Context;
use crate::operation::go_through;
use crate::report::{LayersReport, Outcome};
use crate::restore::{RestoreRequest, carry_out, restore_plan};
use crate::sample::{Samples, is_moment};
use crate::secret::Reference;
use crate::stock::{
    NewMachine, borg_environment, by_hand, find_program, find_stock, paths_line, recipe, run_steps,
};
use crate::{Error, Secret, Selection, Snapshot, config, create_private_folder};

/// Largest file that is restored: 64 MiB.
const SIZE_MAX: u64 = 64 << 20;

/// Largest chain of an archive that is put together by hand, where every byte of it is read: 4 GiB.
const BY_HAND_SIZE_MAX: u64 = 4 << 30;

/// Files that are picked at random, besides those that are picked for what they are.
const RANDOM_COUNT: usize = 8;

/// What a drill of one or more layers showed.
pub type DrillReport = LayersReport<LayerDrill>;

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
    /// What the stock program of the format says; `None` where there is none.
    pub second_opinion: Option<SecondOpinion>,
    /// What comes of nothing but `gpg` and `tar`; `None` where that is no way.
    #[serde(default)]
    pub by_hand: Option<SecondOpinion>,
    /// Whether a person has typed the passphrase.
    #[serde(default)]
    pub typed: bool,
}

impl Drilled {
    /// Whether everything came back as it was: at least one file, and no doubt about any.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.files.iter().all(DrilledFile::is_good)
            && self.files.iter().any(DrilledFile::is_compared)
            && self.opinions().all(|opinion| opinion.fault.is_none())
    }

    /// What other programs say.
    pub fn opinions(&self) -> impl Iterator<Item = &SecondOpinion> {
        self.second_opinion.iter().chain(&self.by_hand)
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
        for opinion in self.opinions() {
            if let Some(fault) = &opinion.fault {
                faults.push(format!("{} says otherwise: {fault}", opinion.program));
            }
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

impl SecondOpinion {
    /// Whether it brought back the same.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.unproved.is_none() && self.fault.is_none()
    }
}

impl DrilledFile {
    fn is_good(&self) -> bool {
        self.fault.is_none() && self.as_recorded != Some(false) && self.as_live != Some(false)
    }

    fn is_compared(&self) -> bool {
        self.fault.is_none() && (self.as_recorded.is_some() || self.as_live.is_some())
    }
}

/// What another program says about the same files, called as the runbook prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondOpinion {
    /// Which program, as in “… brought back the same”.
    pub program: String,
    /// Why it was not asked, or why what it brought back says nothing; `None` when it does.
    #[serde(default)]
    pub unproved: Option<String>,
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
    let clock = || context.machine.now().timestamp();
    let is_good = |report: &LayerDrill| Some(report.result.is_good());
    let verb = Verb::Drill;
    go_through(verb, layers, context, watch, is_good, |operation, layer| {
        let name = &layer.name;
        let result = match drill_one(layer, context, watch) {
            // Cut short, it proves nothing either way.
            Ok(_) if watch.stop.is_requested() => return ControlFlow::Break(()),
            Err(Error::Stopped) => return ControlFlow::Break(()),
            Ok(mut drilled) => {
                drilled.typed = is_typed;
                operation.tell(Event::Drilled {
                    layer: name.clone(),
                    at: clock(),
                    faults: drilled.faults(),
                    evidence: drilled.clone(),
                });
                DrillResult::Done(drilled)
            }
            Err(error) => {
                let failure = match &error {
                    Error::Layer { source, .. } => explain_layer(source, name),
                    error => crate::explain(error),
                };
                operation.layer_failed(name, clock(), &failure);
                DrillResult::Failed { failure }
            }
        };
        ControlFlow::Continue(LayerDrill {
            layer: name.clone(),
            result,
        })
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
    drop(NewMachine::left(&scratch.join("home"), context.machine));
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
    let others = Others {
        scratch,
        layer,
        snapshot: &snapshot,
        paths: &paths,
        files: &files,
        context: cold,
        watch,
    };
    let second_opinion = others.stock();
    let by_hand = others.by_hand();
    files.extend(missing_sentinel(
        layer, &snapshot, &paths, &samples, context,
    ));
    Ok(Drilled {
        snapshot: snapshot.name,
        bytes: files.iter().map(|file| file.bytes).sum(),
        files,
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        second_opinion,
        by_hand,
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

/// Other programs that are to bring back the same files.
#[derive(Clone, Copy)]
struct Others<'a> {
    scratch: &'a Path,
    layer: &'a config::Layer,
    snapshot: &'a Snapshot,
    paths: &'a [TreePath],
    files: &'a [DrilledFile],
    context: Context<'a>,
    watch: Watch<'a>,
}

impl Others<'_> {
    /// The stock program with the commands of the runbook.
    fn stock(self) -> Option<SecondOpinion> {
        let program = match &self.layer.kind {
            Kind::Borg { .. } => "borg",
            Kind::Duplicity(_) => "duplicity",
            Kind::Drop { .. } => return None,
        };
        let Some(recipe) = recipe(self.layer, &self.snapshot.name) else {
            let why = format!("it has no name for {}", self.layer.store);
            return Some(unproved(program, why));
        };
        if find_stock(program, self.context.machine).is_none() {
            return Some(unproved(program, "it is not installed".to_owned()));
        }
        if let Some(missing) = self.missing(&["bash"]) {
            return Some(unproved(program, missing));
        }
        // Stock duplicity takes no path that is not UTF-8.
        let is_taken = |path: &TreePath| {
            program != "duplicity" || std::str::from_utf8(path.as_bytes()).is_ok()
        };
        let picked = self.paths.iter().zip(self.files);
        let (paths, files): (Vec<TreePath>, Vec<DrilledFile>) = picked
            .filter(|(path, _)| is_taken(path))
            .map(|(path, file)| (path.clone(), file.clone()))
            .unzip();
        let others = Others {
            paths: &paths,
            files: &files,
            ..self
        };
        let some = format!("{}\n{}", paths_line(&paths), recipe.some);
        Some(others.compared(program, "restored", &[recipe.list, some]))
    }

    /// Nothing but `gpg` and `tar`, with the lines of the runbook.
    fn by_hand(self) -> Option<SecondOpinion> {
        let Kind::Duplicity(settings) = &self.layer.kind else {
            return None;
        };
        let opener = match settings.encryption {
            ArchiveEncryption::None => "gzip",
            ArchiveEncryption::Passphrase | ArchiveEncryption::Keys => "gpg",
        };
        let program = format!("{opener} with tar alone");
        let Some(folder) = self.layer.local_store() else {
            let why = "the files of the archive are not on this machine".to_owned();
            return Some(unproved(&program, why));
        };
        let chain = match newest_chain(&folder) {
            Ok(chain) => chain,
            Err(error) => return Some(unproved(&program, error.to_string())),
        };
        let mut programs = vec!["bash", "tar", opener];
        if chain.has_increments {
            programs.push("rdiff");
        }
        if let Some(missing) = self.missing(&programs) {
            return Some(unproved(&program, missing));
        }
        if chain.bytes > BY_HAND_SIZE_MAX {
            let why =
                "its newest chain is larger than 4 GiB, and all of it would be read".to_owned();
            return Some(unproved(&program, why));
        }
        let lines = by_hand(self.layer, self.paths);
        Some(self.compared(&program, "tree", &[lines]))
    }

    /// Why programs cannot be called.
    fn missing(self, programs: &[&str]) -> Option<String> {
        let mut programs = programs.iter();
        let missing =
            programs.find(|program| find_program(program, self.context.machine).is_none())?;
        Some(format!("{missing} is not installed"))
    }

    /// Runs the steps, and compares what came back below `tree` with what we brought.
    fn compared(self, program: &str, tree: &str, steps: &[String]) -> SecondOpinion {
        if self.watch.stop.is_requested() {
            return unproved(program, "the drill was stopped".to_owned());
        }
        if self.paths.is_empty() {
            return unproved(
                program,
                "there is no file that it could bring back".to_owned(),
            );
        }
        let fault = self.carried_out(tree, steps).err();
        if fault.is_some() && self.is_overtaken() {
            return unproved(program, "another backup was made meanwhile".to_owned());
        }
        SecondOpinion {
            program: program.to_owned(),
            unproved: None,
            fault,
        }
    }

    /// Whether a newer snapshot is there by now, where the newest is brought back, whichever that is.
    fn is_overtaken(self) -> bool {
        let Kind::Duplicity(_) = &self.layer.kind else {
            return false;
        };
        let opened = (self.context.open)(self.layer, Access::Cold);
        let newest = opened.and_then(|mut layer| Ok(layer.snapshots()?.pop()));
        newest.is_ok_and(|newest| newest.is_some_and(|newest| newest.time > self.snapshot.time))
    }

    fn carried_out(self, tree: &str, steps: &[String]) -> Result<(), String> {
        let folder = self.scratch.join("others").join(tree);
        let home = self.scratch.join("home");
        let passphrase = match &self.layer.passphrase {
            Some(reference) => {
                let fetched = self.context.machine.keeper().fetch(reference);
                Some(fetched.map_err(|error| chain(&error).join(": "))?)
            }
            None => None,
        };
        let passphrase = passphrase.as_ref();
        let new = create_private_folder(&folder)
            .and_then(|()| NewMachine::open(&home, self.context.machine))
            .map_err(|error| error.to_string())?;
        let surround = |command: &mut Command| match &self.layer.kind {
            Kind::Duplicity(settings) => new.surround(command, settings, passphrase),
            _ => borg_environment(command, &home, self.context.machine),
        };
        run_steps(steps, &folder, passphrase, &surround, self.watch)?;
        for (path, ours) in self.paths.iter().zip(self.files) {
            match digest(&folder.join(tree).join(path.as_path())) {
                Ok((_, theirs)) if theirs == ours.sha256 => {}
                Ok(_) => return Err(format!("{path} came back with other content")),
                Err(error) => return Err(format!("{path}: {error}")),
            }
        }
        Ok(())
    }
}

fn unproved(program: &str, why: String) -> SecondOpinion {
    SecondOpinion {
        program: program.to_owned(),
        unproved: Some(why),
        fault: None,
    }
}

/// The newest chain of an archive's files, as far as their names tell.
struct Chain {
    /// Of its volumes.
    bytes: u64,
    has_increments: bool,
}

fn newest_chain(folder: &Path) -> io::Result<Chain> {
    let mut volumes: Vec<(String, bool, u64)> = Vec::new();
    let mut newest = String::new();
    for found in fs::read_dir(folder)? {
        let found = found?;
        let name = found.file_name().to_string_lossy().into_owned();
        let mut parts = name.split('.');
        let (kind, time) = (parts.next(), parts.next().unwrap_or_default().to_owned());
        let is_full = kind == Some("duplicity-full");
        if is_full && name.contains(".manifest") && time > newest {
            newest.clone_from(&time);
        }
        if name.contains(".difftar") {
            volumes.push((time, is_full, found.metadata()?.len()));
        }
    }
    volumes.retain(|(time, ..)| *time >= newest);
    Ok(Chain {
        bytes: volumes.iter().map(|(_, _, bytes)| bytes).sum(),
        has_increments: volumes.iter().any(|(_, is_full, _)| !is_full),
    })
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
