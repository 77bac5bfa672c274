//! What a restore replaces, kept for a week, and the way back.
//!
//! Before anything is replaced, the files and symbolic links in the way are copied into a folder of the
//! state home that only its owner may read. The index is written last: a folder without one is no
//! undo, and the restore begins only when it stands. The way back is a restore from that folder by the
//! same plan and through the same handles, so what it replaces is kept in turn.
//!
//! Content, times and permissions are kept; extended attributes and ACLs are not.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tree::{Conflict, Entry, EntryKind, Placed, ProblemKind, RestoreOptions, Time, TreePath};

use crate::event::Watch;
use crate::layer::{
    self, Depth, Details, Found, Intake, Item, Layer, NewSnapshot, RestoreStep, Verification,
    VerifyStep,
};
use crate::machine::Context;
use crate::report::Outcome;
use crate::restore::{carry_out, restore_plan};
use crate::{
    Error, Machine, PlannedRestore, RestoreReport, RestoreRequest, Selection, Snapshot,
    create_private_folder, replace_private_file,
};

/// So long what was replaced is kept.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// More than this is not kept: 2 GiB, for it is copied first.
const BYTES_MAX: u64 = 2 << 30;

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
}

/// One file or link that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Its path below the target, in base64: names need not be text.
    path: String,
    mode: u32,
    owner: (u32, u32),
    /// Nanoseconds since 1970.
    modified: i64,
    size: u64,
    /// Where a link points, in base64.
    link: Option<String>,
}

/// What came of a restore, and the way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undoable {
    /// What was done.
    pub report: RestoreReport,
    /// What [`undo`] is called with; `None` when nothing was replaced, or too much to be kept.
    pub undo: Option<String>,
}

impl Undo {
    /// How many files and links were replaced.
    #[must_use]
    pub fn files(&self) -> u64 {
        u64::try_from(self.kept.len()).unwrap_or(u64::MAX)
    }

    /// The first of them, as text.
    #[must_use]
    pub fn first(&self) -> Option<PathBuf> {
        Some(self.target.join(self.kept.first()?.path()?.as_path()))
    }
}

impl Kept {
    fn path(&self) -> Option<TreePath> {
        TreePath::new(STANDARD.decode(&self.path).ok()?).ok()
    }

    fn entry(&self) -> Option<Entry> {
        let kind = match &self.link {
            None => EntryKind::File,
            Some(target) => EntryKind::Symlink {
                target: STANDARD.decode(target).ok()?,
            },
        };
        let time = Time {
            nanoseconds: self.modified,
        };
        let mut entry = Entry::new(self.path()?, kind, self.mode, self.owner, time);
        entry.size = self.size;
        Some(entry)
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

/// Does what was planned, and keeps what it replaces.
///
/// # Errors
///
/// As [`restore`](crate::restore); also when what would be replaced cannot be kept. Nothing is done
/// then.
pub fn restore_undoably(
    mut planned: PlannedRestore,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<Undoable, Error> {
    let undo = keep(&mut planned, context)?;
    let report = carry_out(planned, context, watch, None)?;
    Ok(Undoable { report, undo })
}

/// Brings back what a restore has replaced, and keeps what that replaces.
///
/// # Errors
///
/// [`Error::State`] when there is no such undo any more; as [`restore_undoably`].
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
    let undo = keep(&mut planned, context)?;
    // No evidence that a layer can be restored.
    let report = carry_out(planned, context, watch, Some(&|| false))?;
    if report.outcome == Outcome::Good {
        // What stays goes after its week.
        let _ = fs::remove_dir_all(&folder);
    }
    Ok(Undoable { report, undo })
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
    found.sort_by(|one, other| other.at.cmp(&one.at));
    Ok(found)
}

fn read(folder: &Path) -> Option<Undo> {
    serde_json::from_slice(&fs::read(folder.join(INDEX)).ok()?).ok()
}

/// Copies what would be replaced.
fn keep(planned: &mut PlannedRestore, context: Context<'_>) -> Result<Option<String>, Error> {
    let machine = context.machine;
    // Makes room.
    undos(machine)?;
    let target = planned.target().to_owned();
    let mut found = Vec::new();
    let mut bytes = 0;
    for path in planned.replaced()? {
        let place = target.join(path.as_path());
        if let Ok(metadata) = fs::symlink_metadata(&place) {
            bytes += metadata.len();
            found.push((path, place, metadata));
        }
    }
    if found.is_empty() || bytes > BYTES_MAX {
        return Ok(None);
    }
    let mut random = [0; 8];
    let above = home(machine);
    (machine.random)(&mut random).map_err(failed("name a folder in", &above))?;
    let id = format!("{:016x}", u64::from_be_bytes(random));
    let folder = above.join(&id);
    create_private_folder(&folder).map_err(failed("create", &folder))?;
    let kept = copy_all(found, &folder).map_err(|error| {
        let _ = fs::remove_dir_all(&folder);
        error
    })?;
    let undo = Undo {
        id: id.clone(),
        at: machine.now().timestamp(),
        layer: planned.layer().to_owned(),
        target,
        kept,
    };
    let index = folder.join(INDEX);
    let text = serde_json::to_vec(&undo).map_err(io::Error::other);
    text.and_then(|text| replace_private_file(&index, &text))
        .map_err(failed("write", &index))?;
    Ok(Some(id))
}

fn copy_all(
    found: Vec<(TreePath, PathBuf, fs::Metadata)>,
    folder: &Path,
) -> Result<Vec<Kept>, Error> {
    let mut kept = Vec::new();
    for (path, place, metadata) in found {
        let kind = metadata.file_type();
        let mut size = metadata.len();
        let link = if kind.is_symlink() {
            let target = fs::read_link(&place).map_err(failed("keep", &place))?;
            Some(STANDARD.encode(target.into_os_string().into_vec()))
        } else if kind.is_file() {
            let copy = folder.join(kept.len().to_string());
            size = copy_one(&place, &copy).map_err(failed("keep", &place))?;
            None
        } else {
            // Pipes and devices have nothing in them.
            continue;
        };
        let nanoseconds = metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec());
        kept.push(Kept {
            path: STANDARD.encode(path.as_bytes()),
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            modified: nanoseconds,
            size,
            link,
        });
    }
    Ok(kept)
}

/// Copies a file, durably; gives its size.
fn copy_one(from: &Path, to: &Path) -> io::Result<u64> {
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits();
    let mut source = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(no_link).unwrap_or(0))
        .open(from)?;
    let mut copy = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    let size = io::copy(&mut source, &mut copy)?;
    copy.sync_all()?;
    Ok(size)
}

/// What is kept, as a layer with one snapshot.
struct KeptLayer {
    folder: PathBuf,
    kept: Vec<Kept>,
    snapshot: Snapshot,
}

/// Why nothing else can be asked of it.
const ONLY: layer::Error = layer::Error::Unsupported {
    what: "do more than bring back what was replaced",
};

impl KeptLayer {
    fn items(&self) -> impl Iterator<Item = (usize, Entry)> + '_ {
        let kept = self.kept.iter().enumerate();
        kept.filter_map(|(number, kept)| Some((number, kept.entry()?)))
    }
}

impl Layer for KeptLayer {
    fn snapshots(&mut self) -> Result<Vec<Snapshot>, layer::Error> {
        Ok(vec![self.snapshot.clone()])
    }

    fn details(&mut self, _: &Snapshot) -> Result<Details, layer::Error> {
        Err(ONLY)
    }

    fn entries(
        &mut self,
        _: &Snapshot,
        receive: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), layer::Error> {
        for (_, entry) in self.items() {
            let item = Item {
                entry,
                content: None,
            };
            if receive(Ok(item)).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn content<'a>(
        &'a mut self,
        _: &Snapshot,
        _: &TreePath,
    ) -> Result<Box<dyn Read + 'a>, layer::Error> {
        Err(ONLY)
    }

    fn restore(
        &mut self,
        _: &Snapshot,
        selection: &Selection,
        restore: &tree::Restore,
        on_step: &(dyn Fn(RestoreStep) -> ControlFlow<()> + Sync),
    ) -> Result<(), layer::Error> {
        let mut admission = selection.admission();
        let mut step = RestoreStep { bytes: 0 };
        let admitted = self
            .items()
            .filter_map(|(copy, entry)| Some((copy, admission.admit(entry)?)));
        for (number, (copy, entry)) in admitted.enumerate() {
            if on_step(step).is_break() {
                break;
            }
            let Placed::Content(file) = restore.place(number, entry)? else {
                continue;
            };
            let unreadable = |source| ProblemKind::Io {
                action: "read what was kept of it",
                source,
            };
            match File::open(self.folder.join(copy.to_string())) {
                Err(error) => file.fail(unreadable(error)),
                Ok(mut content) => {
                    let mut buffer = vec![0; 256 << 10];
                    let mut offset = 0;
                    loop {
                        match content.read(&mut buffer) {
                            Ok(0) => break,
                            Ok(count) => {
                                let bytes = buffer.get(..count).unwrap_or_default();
                                file.write_at(offset, bytes)?;
                                offset += bytes.len() as u64;
                                step.bytes += bytes.len() as u64;
                            }
                            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                            Err(error) => {
                                file.fail(unreadable(error));
                                break;
                            }
                        }
                    }
                }
            }
            file.finish()?;
        }
        Ok(())
    }

    fn begin<'a>(&'a mut self, _: &NewSnapshot) -> Result<Box<dyn Intake + 'a>, layer::Error> {
        Err(ONLY)
    }

    fn verify(
        &mut self,
        _: Depth,
        _: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Verification, layer::Error> {
        Err(ONLY)
    }
}
