//! What a restore replaces and creates, remembered for a week, and the way back.
//!
//! Before anything is replaced, the files and symbolic links in the way are copied into a folder of the
//! state home that only its owner may read. The index is written after them: a folder without one is no
//! undo, and the restore begins only when it stands. When the restore is over, what it created is added
//! to the index; a crash before that leaves what was created where it is.
//!
//! The way back is a restore from that folder by the same plan and through the same handles, so what it
//! replaces is kept in turn; then what was created is taken away, as far as nobody has changed it since.
//!
//! Content, times and permissions are kept; extended attributes and ACLs are not.

mod kept;
mod made;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tree::{Conflict, RestoreOptions, TreePath};

use self::kept::{InTheWay, Kept, KeptLayer};
use self::made::Made;
use crate::event::Watch;
use crate::layer::{self, Layer};
use crate::machine::Context;
use crate::report::Outcome;
use crate::restore::{Changes, carry_out, restore_plan};
use crate::{
    Error, Machine, PlannedRestore, RestoreReport, RestoreRequest, Selection, Snapshot,
    create_private_folder, replace_private_file,
};

/// So long what was replaced is kept.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// More than this is not kept: 2 GiB, for it is copied first.
const BYTES_MAX: u64 = 2 << 30;

/// A restore that changes more objects than this cannot be undone.
const ENTRIES_MAX: usize = 200_000;

/// The index of what is kept.
const INDEX: &str = "index.json";

/// A restore that can be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// What to call it by.
    pub id: String,
    /// When the restore began.
    pub at: Timestamp,
    /// From which layer it was.
    pub layer: String,
    /// The folder that was restored into.
    pub target: PathBuf,
    /// What was replaced there; number N is in the file `N`.
    kept: Vec<Kept>,
    /// What was created there.
    made: Vec<Made>,
}

/// What came of a restore, and the way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undoable {
    /// What was done.
    pub report: RestoreReport,
    /// What [`undo`] is called with; `None` when nothing was changed, or too much to be kept.
    pub undo: Option<String>,
    /// How many files and links an undo has taken away.
    pub removed: u64,
    /// How many it has not, because they were changed since.
    pub left: u64,
}

impl Undo {
    /// How many files and links were replaced or created.
    #[must_use]
    pub fn files(&self) -> u64 {
        let made = self.made.iter().filter(|made| !made.is_folder);
        u64::try_from(self.kept.len() + made.count()).unwrap_or(u64::MAX)
    }

    /// The first of them.
    #[must_use]
    pub fn first(&self) -> Option<PathBuf> {
        let kept = self.kept.iter().map(Kept::path);
        let files = self.made.iter().filter(|made| !made.is_folder);
        let first = kept.chain(files.map(Made::path)).flatten().next()?;
        Some(self.target.join(first.as_path()))
    }
}

fn home(machine: &Machine) -> PathBuf {
    machine.places.state.join("undo")
}

/// Says of which file of ours something failed.
fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::State {
        action,
        path: path.clone(),
        source,
    }
}

/// Whether all that a restore would replace and create can be remembered.
///
/// # Errors
///
/// As [`PlannedRestore::each`].
pub fn can_be_undone(planned: &mut PlannedRestore) -> Result<bool, Error> {
    let changes = planned.changes(ENTRIES_MAX)?;
    let target = planned.target();
    Ok(changes.is_some_and(|changes| InTheWay::look(target, changes.replaced).1 <= BYTES_MAX))
}

/// Does what was planned, and remembers what it replaces and creates.
///
/// # Errors
///
/// As [`restore`](crate::restore()); also when what would be replaced cannot be kept. Nothing is done
/// then.
pub fn restore_undoably(
    mut planned: PlannedRestore,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<Undoable, Error> {
    let changes = planned.changes(ENTRIES_MAX)?;
    let (target, layer) = (planned.target().to_owned(), planned.layer().to_owned());
    let memory = match changes {
        Some(changes) => Memory::begin(changes, &target, &layer, context.machine)?,
        None => None,
    };
    let report = carry_out(planned, context, watch, None);
    let undo = memory.and_then(|memory| memory.end(report.is_ok()));
    Ok(Undoable {
        report: report?,
        undo,
        removed: 0,
        left: 0,
    })
}

/// Brings back what a restore has replaced, takes away what it has created, and keeps what that
/// replaces and takes away.
///
/// # Errors
///
/// [`Error::State`] when there is no such undo any more, or more would be replaced than can be kept; as
/// [`restore_undoably`].
pub fn undo(id: &str, context: Context<'_>, watch: Watch<'_>) -> Result<Undoable, Error> {
    let folder = home(context.machine).join(id);
    let missing = failed("find what was kept in", &folder);
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let found = if is_id { read(&folder) } else { None };
    let found = found.ok_or_else(|| missing(io::ErrorKind::NotFound.into()))?;
    let layers = &context.config.layers;
    let layer = layers.iter().find(|layer| layer.name == found.layer);
    let layer = layer.or(layers.first()).cloned();
    let layer = layer.ok_or_else(|| missing(io::ErrorKind::NotFound.into()))?;
    let snapshot = Snapshot {
        name: "undo".to_owned(),
        id: found.id.clone(),
        time: found.at,
    };
    let request = RestoreRequest {
        layer,
        snapshot: snapshot.clone(),
        selection: Selection::in_place(vec![TreePath::root()]),
        target: found.target.clone(),
        options: RestoreOptions {
            conflict: Conflict::Overwrite,
            ..RestoreOptions::default()
        },
    };
    let open = |_: &crate::config::Layer, _| -> Result<Box<dyn Layer>, layer::Error> {
        Ok(Box::new(KeptLayer {
            folder: folder.clone(),
            kept: found.kept.clone(),
            snapshot: snapshot.clone(),
        }))
    };
    let context = Context {
        open: &open,
        ..context
    };
    let mut planned = restore_plan(request, context)?;
    let goes = made::still(&found.target, &found.made);
    let too_much = || failed("keep what this would replace in", &found.target);
    let changes = planned.changes(ENTRIES_MAX)?;
    let mut changes = changes.ok_or_else(|| too_much()(io::ErrorKind::FileTooLarge.into()))?;
    let files = goes.iter().filter(|made| !made.is_folder);
    changes.replaced.extend(files.filter_map(Made::path));
    let is_empty = changes.replaced.is_empty() && changes.created.is_empty();
    let memory = Memory::begin(changes, &found.target, &found.layer, context.machine)?;
    if memory.is_none() && !is_empty {
        return Err(too_much()(io::ErrorKind::FileTooLarge.into()));
    }
    // No evidence that a layer can be restored.
    let report = carry_out(planned, context, watch, Some(&|| false));
    let is_good = |report: &RestoreReport| report.outcome == Outcome::Good;
    let removed = match &report {
        Ok(report) if is_good(report) => made::remove(&found.target, &goes),
        _ => 0,
    };
    let undo = memory.and_then(|memory| memory.end(report.is_ok()));
    let report = report?;
    let made = found.made.iter().filter(|made| !made.is_folder).count();
    if is_good(&report) {
        // What stays goes after its week.
        let _ = fs::remove_dir_all(&folder);
    }
    Ok(Undoable {
        left: u64::try_from(made)
            .unwrap_or(u64::MAX)
            .saturating_sub(removed),
        report,
        undo,
        removed,
    })
}

/// The restores that can be undone, newest first. What is older than a week is removed.
///
/// # Errors
///
/// [`Error::State`] when the state home cannot be read.
pub fn undos(machine: &Machine) -> Result<Vec<Undo>, Error> {
    let above = home(machine);
    let now = machine.now().timestamp();
    let folders = match fs::read_dir(&above) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        folders => folders.map_err(failed("read", &above))?,
    };
    let mut found = Vec::new();
    for folder in folders {
        let folder = folder.map_err(failed("read", &above))?;
        match read(&folder.path()) {
            Some(undo) if now.duration_since(undo.at) < KEPT_FOR => found.push(undo),
            Some(_) => {
                // What stays is removed the next time.
                let _ = fs::remove_dir_all(folder.path());
            }
            // One that is being written, or was broken off.
            None => {
                let modified = folder.metadata().and_then(|found| found.modified());
                let modified = modified.ok().and_then(|at| Timestamp::try_from(at).ok());
                if modified.is_some_and(|at| now.duration_since(at) > KEPT_FOR) {
                    let _ = fs::remove_dir_all(folder.path());
                }
            }
        }
    }
    found.sort_by_key(|one| std::cmp::Reverse(one.at));
    Ok(found)
}

fn read(folder: &Path) -> Option<Undo> {
    serde_json::from_slice(&fs::read(folder.join(INDEX)).ok()?).ok()
}

/// What is remembered of a restore while it goes on.
struct Memory {
    folder: PathBuf,
    undo: Undo,
    created: Vec<tree::Entry>,
}

impl Memory {
    /// Copies what would be replaced. `None` when nothing would be changed, or too much replaced.
    fn begin(
        changes: Changes,
        target: &Path,
        layer: &str,
        machine: &Machine,
    ) -> Result<Option<Self>, Error> {
        // Makes room.
        undos(machine)?;
        let replaced: BTreeSet<TreePath> = changes.replaced.into_iter().collect();
        let (in_the_way, bytes) = InTheWay::look(target, replaced.into_iter().collect());
        if in_the_way.is_empty() && changes.created.is_empty() || bytes > BYTES_MAX {
            return Ok(None);
        }
        let mut random = [0; 8];
        let above = home(machine);
        (machine.random)(&mut random).map_err(failed("name a folder in", &above))?;
        let id = format!("{:016x}", u64::from_be_bytes(random));
        let folder = above.join(&id);
        create_private_folder(&folder).map_err(failed("create", &folder))?;
        let memory = kept::copy_all(in_the_way, &folder).and_then(|kept| {
            let memory = Self {
                folder: folder.clone(),
                undo: Undo {
                    id,
                    at: machine.now().timestamp(),
                    layer: layer.to_owned(),
                    target: target.to_owned(),
                    kept,
                    made: Vec::new(),
                },
                created: changes.created,
            };
            memory.write()?;
            Ok(memory)
        });
        if memory.is_err() {
            // What stays is removed after a week.
            let _ = fs::remove_dir_all(&folder);
        }
        memory.map(Some)
    }

    fn write(&self) -> Result<(), Error> {
        let index = self.folder.join(INDEX);
        let text = serde_json::to_vec(&self.undo).map_err(io::Error::other);
        text.and_then(|text| replace_private_file(&index, &text))
            .map_err(failed("write", &index))
    }

    /// Adds what was created. What [`undo`] is called with, when there is something to be undone.
    fn end(mut self, has_begun: bool) -> Option<String> {
        if has_begun {
            self.undo.made = made::note(&self.undo.target, &self.created);
        }
        if self.undo.kept.is_empty() && self.undo.made.is_empty() || !has_begun {
            let _ = fs::remove_dir_all(&self.folder);
            return None;
        }
        // Else what was replaced comes back, and what was created stays: as after a crash.
        let _ = self.write();
        Some(self.undo.id)
    }
}
