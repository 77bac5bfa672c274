//! A small proof that a restore works: one real file comes back into a scratch place and is
//! compared, byte by byte, with the one that was backed up.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;
use tree::{Entry, Fidelity, RestoreOptions, TreePath};

use crate::event::{PathRecord, Watch};
use crate::layer::Access;
use crate::machine::Context;
use crate::restore::{RestoreRequest, carry_out, restore_plan};
use crate::{Error, Selection, Snapshot, config, create_private_folder};

/// The file that proves the restore has at most 16 MiB: it is meant to be quick.
const SIZE_MAX: u64 = 16 << 20;

/// What the proof showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// From which layer the file came.
    pub layer: String,
    /// From which snapshot.
    pub snapshot: String,
    /// Which file.
    #[serde(flatten)]
    pub path: PathRecord,
    /// How many bytes were compared.
    pub bytes: u64,
    /// Whether every byte was the same.
    pub same: bool,
}

/// Restores the largest file that is small enough, and still as it was, and compares it.
///
/// `None` when the snapshot has no such file. The scratch place is below the cache home, readable
/// by its owner only, and removed again.
///
/// # Errors
///
/// Those of a restore; [`Error::State`] when the scratch place cannot be made, and
/// [`Error::Proof`] when the file did not come back.
pub fn prove(
    layer: &config::Layer,
    snapshot: &Snapshot,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<Option<Proof>, Error> {
    let Some(file) = choose(layer, snapshot, context)? else {
        return Ok(None);
    };
    let parent = context.machine.places.cache.join("proof");
    let scratch = parent.join(&snapshot.name);
    let failed = |source| Error::State {
        action: "use the scratch folder",
        path: scratch.clone(),
        source,
    };
    create_private_folder(&parent).map_err(failed)?;
    remove(&scratch).map_err(failed)?;
    let proof = restore_and_compare(layer, snapshot, &file, &scratch, context, watch);
    remove(&scratch).map_err(failed)?;
    proof.map(Some)
}

fn restore_and_compare(
    layer: &config::Layer,
    snapshot: &Snapshot,
    file: &Entry,
    scratch: &Path,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<Proof, Error> {
    let request = RestoreRequest {
        layer: layer.clone(),
        snapshot: snapshot.clone(),
        selection: Selection::together(vec![file.path.clone()]),
        target: scratch.to_owned(),
        options: RestoreOptions {
            fidelity: Fidelity::Harmless,
            ..RestoreOptions::default()
        },
    };
    let planned = restore_plan(request, context)?;
    let lost = |source| Error::Proof {
        path: file.path.clone(),
        source,
    };
    let name = file.path.name().unwrap_or_default();
    let restored = scratch.join(TreePath::root().join(name).as_path());
    let compare = || same_content(&local(&file.path), &restored);
    let is_same = || compare().unwrap_or(false);
    let report = carry_out(planned, context, watch, Some(&is_same))?;
    let same = compare().map_err(lost)?;
    Ok(Proof {
        layer: layer.name.clone(),
        snapshot: report.snapshot,
        path: PathRecord::from(&file.path),
        bytes: file.size,
        same,
    })
}

/// The largest regular file that is small enough and has not changed since. The configuration, which is
/// in every snapshot, proves less to a person than a file of theirs.
fn choose(
    layer: &config::Layer,
    snapshot: &Snapshot,
    context: Context<'_>,
) -> Result<Option<Entry>, Error> {
    let of_layer = || Error::of_layer(&layer.name);
    let mut open = (context.open)(layer, Access::Read).map_err(of_layer())?;
    let file = &context.config.file;
    let configuration = file.canonicalize().ok();
    let configuration = configuration.and_then(|file| TreePath::from_local(&file).ok());
    let rank = |entry: &Entry| (Some(&entry.path) != configuration.as_ref(), entry.size);
    let mut best: Option<Entry> = None;
    let listed = open.entries(snapshot, &mut |found| {
        if let Ok(item) = found {
            let entry = item.entry;
            let size = entry.size;
            let is_better = best.as_ref().is_none_or(|best| rank(&entry) > rank(best));
            if entry.is_file()
                && entry.hard_link.is_none()
                && size <= SIZE_MAX
                && is_better
                && is_unchanged(&entry)
            {
                best = Some(entry);
            }
        }
        ControlFlow::Continue(())
    });
    listed.map_err(of_layer())?;
    Ok(best)
}

/// Whether the file of this machine is the one that was backed up.
fn is_unchanged(entry: &Entry) -> bool {
    fs::symlink_metadata(local(&entry.path)).is_ok_and(|found| {
        let modified = tree::Time::new(
            found.mtime(),
            u32::try_from(found.mtime_nsec()).unwrap_or(0),
        );
        found.is_file() && found.len() == entry.size && modified == entry.mtime
    })
}

/// Where a path of a snapshot stands on this machine.
fn local(path: &TreePath) -> std::path::PathBuf {
    Path::new("/").join(path.as_path())
}

fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let length = read_full(&mut one, &mut left)?;
        let other_length = read_full(&mut other, &mut right)?;
        if left.get(..length) != right.get(..other_length) {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Removes what an earlier proof may have left.
fn remove(scratch: &Path) -> io::Result<()> {
    match fs::remove_dir_all(scratch) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
