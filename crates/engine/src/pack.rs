//! A part of a snapshot as one tar file, for who wants to take it along.
//!
//! Layers that can write one as they read do so. What comes from others is restored into a scratch
//! folder first, which only its owner may read, and which is removed again, whatever happens; one
//! that a killed program left is removed by the next.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tree::{Fidelity, RestoreOptions};

use crate::event::Watch;
use crate::layer::{self, Access, TarForm};
use crate::machine::Context;
use crate::report::Outcome;
use crate::restore::{carry_out, restore_plan};
use crate::{Error, RestoreRequest, Selection, Snapshot, config, create_private_folder};

/// Writes what is selected of a snapshot as a tar file.
///
/// # Errors
///
/// When something of it cannot be read or restored, or the output cannot be written: what was
/// written is no whole tar file then.
pub fn pack(
    layer: &config::Layer,
    snapshot: &Snapshot,
    selection: &Selection,
    output: &mut dyn Write,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<(), Error> {
    let of_layer = || Error::of_layer(&layer.name);
    let mut opened = (context.open)(layer, Access::Read).map_err(of_layer())?;
    match opened.export_tar(snapshot, TarForm::Gnu, selection, output) {
        Err(layer::Error::Unsupported { .. }) => {}
        exported => {
            let exported = exported.map_err(of_layer())?;
            return match exported.left_out.first() {
                None => Ok(()),
                Some((path, why)) => Err(Error::State {
                    action: "pack all that was asked for:",
                    path: PathBuf::from(path.to_string()),
                    source: io::Error::other(why.clone()),
                }),
            };
        }
    }
    drop(opened);
    let scratch = Scratch::new(context).map_err(|(path, source)| Error::State {
        action: "use the scratch folder",
        path,
        source,
    })?;
    let target = scratch.path.join("all");
    let failed = |source| Error::State {
        action: "pack what was restored into",
        path: target.clone(),
        source,
    };
    let request = RestoreRequest {
        layer: layer.clone(),
        snapshot: snapshot.clone(),
        selection: selection.clone(),
        target: target.clone(),
        options: RestoreOptions {
            fidelity: Fidelity::Harmless,
            ..RestoreOptions::default()
        },
    };
    let report = carry_out(restore_plan(request, context)?, context, watch, None)?;
    if report.outcome != Outcome::Good {
        let first = report.problems.first.first();
        let why = first.map_or_else(
            || "not everything could be restored".to_owned(),
            |problem| format!("{}: {}", problem.path, problem.what),
        );
        return Err(failed(io::Error::other(why)));
    }
    let mut tar = tar::Builder::new(output);
    tar.follow_symlinks(false);
    tar.append_dir_all("", &target)
        .and_then(|()| tar.finish())
        .map_err(failed)
}

/// A folder that is removed with this value.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(context: Context<'_>) -> Result<Self, (PathBuf, io::Error)> {
        let above = context.machine.places.cache.join("pack");
        let now = SystemTime::try_from(context.machine.now().timestamp());
        let now = now.unwrap_or(SystemTime::UNIX_EPOCH);
        let mut random = [0; 8];
        let name = |random: [u8; 8]| format!("{:016x}", u64::from_be_bytes(random));
        let made = create_private_folder(&above)
            .and_then(|()| remove_old(&above, now))
            .and_then(|()| (context.machine.random)(&mut random));
        let path = above.join(name(random));
        match made.and_then(|()| create_private_folder(&path)) {
            Ok(()) => Ok(Self { path }),
            Err(error) => Err((path, error)),
        }
    }
}

/// Removes what a killed program has left: nobody packs for a day.
fn remove_old(above: &Path, now: SystemTime) -> io::Result<()> {
    for left in fs::read_dir(above)? {
        let left = left?;
        let modified = left.metadata()?.modified()?;
        let age = now.duration_since(modified).unwrap_or_default();
        if age.as_secs() > 24 * 60 * 60 {
            fs::remove_dir_all(left.path())?;
        }
    }
    Ok(())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is removed by the next one.
        let _ = fs::remove_dir_all(&self.path);
    }
}
