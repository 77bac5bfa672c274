//! What a search over all layers and times comes to.
//!
//! The catalogue answers for the layers that are wholly in it, without opening them. The others are looked
//! through themselves, the newest snapshots first, and what the catalogue knows of them counts where they
//! cannot be reached.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use engine::browse::{Searched, search};
use engine::catalogue::Stand;
use engine::{Catalogue, Config, Explanation, Glob, config};
use jiff::Timestamp;
use tree::{EntryKind, TreePath};

use super::{open, timestamp};
use crate::Page;
use crate::fault::Fault;

/// Paths of one search.
const PATHS_MAX: usize = 100;
/// How long a search goes further back in time, unless more is asked for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// And then.
pub(super) const PATIENCE_MORE: Duration = Duration::from_secs(600);

/// A version of a path, in one layer.
pub(super) struct Held {
    pub(super) layer: String,
    pub(super) is_near: bool,
    pub(super) is_folder: bool,
    /// Bytes of a file's content.
    pub(super) size: Option<u64>,
    /// To the second, as all kinds of layers and the catalogue know it; of folders it is not always kept.
    pub(super) changed: Option<Timestamp>,
    /// The oldest snapshot that has it.
    pub(super) first: String,
    /// The newest one.
    pub(super) last: String,
    pub(super) snapshots: usize,
}

/// What is looked for.
pub(super) enum Wanted<'a> {
    /// A part of a name, or a pattern.
    Name(Glob),
    /// One path.
    Path(&'a TreePath),
}

impl Wanted<'_> {
    fn matches(&self, path: &TreePath) -> bool {
        match self {
            Self::Name(glob) => glob.matches(path),
            Self::Path(wanted) => *wanted == path,
        }
    }
}

/// What a search over the layers came to.
#[derive(Default)]
pub(super) struct Results {
    /// The versions of each path.
    pub(super) paths: BTreeMap<TreePath, Vec<Held>>,
    /// The layers that could not be looked into.
    pub(super) failures: Vec<(String, Explanation)>,
    pub(super) has_more: bool,
    /// Layers of which not all snapshots were looked through.
    pub(super) shortened: Vec<(String, usize, usize)>,
}

/// Asks the catalogue, and looks into the layers that are not wholly in it, those on this machine first.
pub(super) fn look(
    page: &Page,
    config: &Config,
    patience: Duration,
    wanted: &Wanted<'_>,
) -> Results {
    let mut results = Results::default();
    let mut layers: Vec<&config::Layer> = config.layers.iter().collect();
    layers.retain(|layer| layer.is_runnable());
    layers.sort_by_key(|layer| layer.local_store().is_none());
    // An index that cannot be asked is none.
    let (known, unread) = indexed(page, config, wanted).unwrap_or_default();
    let is_unread =
        |layer: &config::Layer| unread.as_ref().is_none_or(|all| all.contains(&layer.name));
    for layer in layers {
        if !is_unread(layer) {
            results.recall(layer, &known);
            continue;
        }
        let since = Instant::now();
        let mut on_snapshot = |_| {
            if since.elapsed() < patience {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        let searched = open(page, layer).and_then(|mut opened| {
            let matches = |path: &TreePath| wanted.matches(path);
            let searched = search(&mut *opened, &matches, PATHS_MAX, &mut on_snapshot);
            Ok(searched.map_err(engine::Error::of_layer(&layer.name))?)
        });
        match searched {
            Ok(searched) => results.add(layer, searched),
            Err(fault) => {
                results.recall(layer, &known);
                if let Fault::Explained(why) = fault {
                    results.failures.push((layer.name.clone(), *why));
                }
            }
        }
    }
    for held in results.paths.values_mut() {
        // The newest first; of two that are the same, the one that comes back fastest.
        held.sort_by_key(|one| (std::cmp::Reverse(one.changed), !one.is_near));
    }
    results
}

/// What was found in the catalogue, and the layers that it does not know wholly: all, when that is not
/// known.
type Indexed = (Vec<(TreePath, Vec<Stand>)>, Option<Vec<String>>);

fn indexed(page: &Page, config: &Config, wanted: &Wanted<'_>) -> Result<Indexed, engine::Error> {
    let machine = &page.machine;
    let mut catalogue = Catalogue::open(machine)?;
    let unread = catalogue.incomplete(config, machine)?;
    let unread = unread.iter().map(|layer| layer.name.clone()).collect();
    let known = match wanted {
        Wanted::Name(glob) => {
            // A layer may have fewer of them than the others.
            let search = catalogue.search(glob, Some(PATHS_MAX + 1), config, machine)?;
            let found = search.found.into_iter();
            found.map(|found| (found.path, found.versions)).collect()
        }
        Wanted::Path(path) => {
            let versions = catalogue.versions(path, config, machine)?;
            vec![((*path).clone(), versions)]
        }
    };
    Ok((known, Some(unread)))
}

impl Results {
    /// Takes what the catalogue knows of a layer.
    fn recall(&mut self, layer: &config::Layer, known: &[(TreePath, Vec<Stand>)]) {
        let mut paths = 0;
        for (path, versions) in known {
            let of_layer = versions.iter().filter_map(|version| {
                let mut layers = version.layers.iter();
                let stands = layers.find(|stands| stands.layer == layer.name)?;
                Some(Held {
                    layer: layer.name.clone(),
                    is_near: layer.local_store().is_some(),
                    is_folder: version.kind == 'd',
                    size: (version.kind == '-').then_some(version.size),
                    changed: version.modified,
                    first: stands.first.clone(),
                    last: stands.last.clone(),
                    snapshots: stands.snapshots,
                })
            });
            let of_layer: Vec<Held> = of_layer.collect();
            if of_layer.is_empty() {
                continue;
            }
            paths += 1;
            if paths > PATHS_MAX {
                self.has_more = true;
                return;
            }
            self.paths.entry(path.clone()).or_default().extend(of_layer);
        }
    }

    /// Takes what was found in a layer itself.
    fn add(&mut self, layer: &config::Layer, searched: Searched) {
        self.has_more |= searched.has_more;
        if searched.looked < searched.snapshots {
            let shortened = (layer.name.clone(), searched.looked, searched.snapshots);
            self.shortened.push(shortened);
        }
        for found in searched.found {
            let held = self.paths.entry(found.path).or_default();
            held.extend(found.versions.into_iter().map(|version| Held {
                layer: layer.name.clone(),
                is_near: layer.local_store().is_some(),
                is_folder: matches!(version.entry.kind, EntryKind::Directory),
                size: version.entry.is_file().then_some(version.entry.size),
                changed: Timestamp::from_second(timestamp(version.entry.mtime).as_second()).ok(),
                first: version.first,
                last: version.last,
                snapshots: version.snapshots,
            }));
        }
    }
}
