//! Restores from an archive: one thread goes through the items and makes files, the others fetch
//! their content.

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use borg::{UnpackError, unreadable};
use tree::Placed;

use super::content::REPAIRED;
use super::{BorgLayer, Error, to_entry};
use crate::Selection;
use crate::layer::{RestoreStep, Snapshot};

/// Restores what is selected.
pub(super) fn restore(
    layer: &BorgLayer,
    snapshot: &Snapshot,
    selection: &Selection,
    restore: &tree::Restore,
    on_step: &(dyn Fn(RestoreStep) -> ControlFlow<()> + Sync),
) -> Result<(), Error> {
    let written = Mutex::new(RestoreStep { bytes: 0 });
    let advance = |bytes: u64| {
        let step = {
            let mut step = written.lock().unwrap_or_else(PoisonError::into_inner);
            step.bytes += bytes;
            *step
        };
        on_step(step)
    };
    let mut admission = selection.admission();
    let mut number = 0;
    let mut failed = None;
    let (listed, unpacked) = borg::unpack(layer.archives()?, &advance, |unpacker| {
        layer.items(snapshot, |item, content| {
            let entry = to_entry(&item, content).ok();
            let Some(entry) = entry.and_then(|entry| admission.admit(entry)) else {
                return ControlFlow::Continue(());
            };
            let placed = restore.place(number, entry);
            number += 1;
            match placed {
                Ok(Placed::Content(file)) => {
                    if content.is_some_and(|content| content.is_repaired) {
                        file.fail(unreadable(REPAIRED));
                    }
                    let chunks = content.map_or(&[][..], |content| &content.chunks);
                    if unpacker.add(file, chunks).is_break() {
                        return ControlFlow::Break(());
                    }
                }
                Ok(Placed::Done | Placed::Failed) => {}
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
            advance(0)
        })
    });
    let result = match failed {
        Some(error) => Err(error.into()),
        None => unpacked.map_err(|error| match error {
            UnpackError::Read(error) => Error::Borg(error),
            UnpackError::Write(error) => error.into(),
        }),
    };
    match listed {
        // The plan has named what is missing.
        Err(error) if !error.is_damage() => Err(error),
        _ => result,
    }
}
