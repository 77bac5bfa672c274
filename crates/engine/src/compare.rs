//! Layers compared with each other: which files does one have that another lacks?
//!
//! The newest snapshot of each is listed, and nothing but the listing is read, so the answer comes
//! in minutes where a restore would take a day. Files are the same when their sizes and times
//! (to the second: not every format keeps more) are; that what is stored is what was read is
//! what a verification proves.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use jiff::Timestamp;
use serde::Serialize;
use tree::{EntryKind, TreePath};

use crate::event::{PathRecord, Stop};
use crate::layer::Access;
use crate::machine::Context;
use crate::{Error, config, layer};

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The snapshots that were compared, in the order of the layers that were asked for.
    pub layers: Vec<Compared>,
    /// How many files and links are the same in all of them.
    pub same: u64,
    /// Those that are not, in the order of paths.
    pub unequal: Vec<Unequal>,
}

/// The snapshot of one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Which layer.
    pub layer: String,
    /// Its newest snapshot.
    pub snapshot: String,
    /// When that was made.
    pub time: Timestamp,
}

/// A file or link that is not the same in all layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unequal {
    /// Which.
    #[serde(flatten)]
    pub path: PathRecord,
    /// The layers that have it in its newest form.
    pub newest_in: Vec<String>,
    /// The layers that have it in another form.
    pub other_in: Vec<String>,
    /// The layers that lack it.
    pub missing_in: Vec<String>,
}

/// What is compared of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Form {
    /// Seconds since 1970. Of links it is left out: not every format keeps it.
    modified: i64,
    size: u64,
    is_link: bool,
}

/// Compares the newest snapshots of layers.
///
/// Keeps the path of each file in memory, with about 50 bytes for each layer.
///
/// # Errors
///
/// When a layer cannot be opened or read, or has no snapshot; [`Error::Stopped`].
pub fn compare(
    layers: &[&config::Layer],
    context: Context<'_>,
    stop: &Stop,
) -> Result<Comparison, Error> {
    let mut compared = Vec::new();
    let mut forms: BTreeMap<TreePath, Vec<Option<Form>>> = BTreeMap::new();
    for (index, configured) in layers.iter().enumerate() {
        let of_layer = || Error::of_layer(&configured.name);
        let mut opened = (context.open)(configured, Access::Read).map_err(of_layer())?;
        let snapshots = opened.snapshots().map_err(of_layer())?;
        let snapshot = snapshots.last().cloned().ok_or_else(|| {
            of_layer()(layer::Error::NoSnapshot {
                name: "latest".to_owned(),
            })
        })?;
        let listed = opened.entries(&snapshot, &mut |found| {
            if stop.is_requested() {
                return ControlFlow::Break(());
            }
            let Ok(item) = found else {
                return ControlFlow::Continue(());
            };
            let entry = item.entry;
            let is_link = matches!(entry.kind, EntryKind::Symlink { .. });
            if entry.is_file() || is_link {
                let form = Form {
                    modified: if is_link { 0 } else { entry.mtime.seconds() },
                    size: if is_link { 0 } else { entry.size },
                    is_link,
                };
                let all = forms.entry(entry.path).or_default();
                all.resize(index, None);
                all.push(Some(form));
            }
            ControlFlow::Continue(())
        });
        listed.map_err(of_layer())?;
        if stop.is_requested() {
            return Err(Error::Stopped);
        }
        compared.push(Compared {
            layer: configured.name.clone(),
            snapshot: snapshot.name,
            time: snapshot.time,
        });
    }
    let mut same = 0;
    let mut unequal = Vec::new();
    for (path, mut all) in forms {
        all.resize(layers.len(), None);
        let newest = all.iter().max().copied().flatten();
        if all.iter().all(|form| *form == newest) {
            same += 1;
            continue;
        }
        let names = |wanted: &dyn Fn(&Option<Form>) -> bool| -> Vec<String> {
            let pairs = layers.iter().zip(&all);
            pairs
                .filter(|(_, form)| wanted(form))
                .map(|(layer, _)| layer.name.clone())
                .collect()
        };
        unequal.push(Unequal {
            path: PathRecord::from(&path),
            newest_in: names(&|form| form.is_some() && *form == newest),
            other_in: names(&|form| form.is_some() && *form != newest),
            missing_in: names(&Option::is_none),
        });
    }
    Ok(Comparison {
        layers: compared,
        same,
        unequal,
    })
}
