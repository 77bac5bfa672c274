//! Looking for a name: one row a path, all its versions in all layers.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use engine::browse::{Searched, Version, search};
use engine::{Config, Explanation, Glob, config};
use jiff::Timestamp;
use maud::{Markup, html};
use tree::{EntryKind, TreePath};

use super::{address, key_of, open, path_of, timestamp};
use crate::Page;
use crate::ask::{Ask, quoted};
use crate::fault::Fault;
use crate::icon::icon;
use crate::layout::{Screen, explained, time, token};

/// Paths of one search.
const PATHS_MAX: usize = 100;
/// How long a search goes further back in time, unless more is asked for.
const PATIENCE: Duration = Duration::from_secs(10);
/// And then.
const PATIENCE_MORE: Duration = Duration::from_secs(600);

/// A version of a path, in one layer.
struct Held {
    layer: String,
    is_near: bool,
    version: Version,
}

impl Held {
    fn changed(&self) -> Timestamp {
        timestamp(self.version.entry.mtime)
    }
}

/// What a search over the layers came to.
#[derive(Default)]
struct Results {
    /// The versions of each path.
    paths: BTreeMap<TreePath, Vec<Held>>,
    /// The layers that could not be looked into.
    failures: Vec<(String, Explanation)>,
    has_more: bool,
    /// Layers of which not all snapshots were looked through.
    shortened: Vec<(String, usize, usize)>,
}

/// Looks into all layers, those on this machine first.
fn look(
    page: &Page,
    config: &Config,
    patience: Duration,
    matches: &dyn Fn(&TreePath) -> bool,
) -> Results {
    let mut results = Results::default();
    let mut layers: Vec<&config::Layer> = config.layers.iter().collect();
    layers.retain(|layer| layer.is_runnable());
    layers.sort_by_key(|layer| layer.local_store().is_none());
    for layer in layers {
        let since = Instant::now();
        let mut on_snapshot = |_| {
            if since.elapsed() < patience {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        let searched = open(page, layer).and_then(|mut opened| {
            let searched = search(&mut *opened, matches, PATHS_MAX, &mut on_snapshot);
            Ok(searched.map_err(engine::Error::of_layer(&layer.name))?)
        });
        match searched {
            Ok(searched) => results.add(layer, searched),
            Err(Fault::Explained(why)) => results.failures.push((layer.name.clone(), *why)),
            Err(_) => {}
        }
    }
    results
}

impl Results {
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
                version,
            }));
        }
        for held in self.paths.values_mut() {
            // The newest first; of two that are the same, the one that comes back fastest.
            held.sort_by_key(|one| (std::cmp::Reverse(one.changed()), !one.is_near));
        }
    }
}

/// The search, what it found, and the way to browse.
pub(crate) fn show(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    if page.is_new() {
        return Ok(crate::ask::go("/welcome"));
    }
    let say = ask.say;
    let config = page.config()?;
    let typed = ask.query.get("q");
    let is_patient = ask.query.has("further");
    let patience = if is_patient { PATIENCE_MORE } else { PATIENCE };
    let results = (!typed.is_empty()).then(|| {
        let glob = Glob::new(typed.as_bytes());
        look(page, &config, patience, &|path| glob.matches(path))
    });
    let title = say.t("nav.restore");
    let middle = html! {
        h1 { (title) }
        p.lead { (say.t("restore.lead")) }
        form.search.card role="search" action="/restore" {
            label.hidden for="q" { (say.t("restore.search-label")) }
            input #q type="search" name="q" value=(typed) placeholder=(say.t("restore.placeholder"))
                autofocus[results.is_none()] autocomplete="off" spellcheck="false";
            button.main.large { (icon("search")) (say.t("restore.search")) }
        }
        @if let Some(results) = &results { (found(ask, typed, results)) }
        (places(ask, &config))
        (super::act::undos(page, ask))
    };
    Ok(Screen::new(ask, "/restore", title).answer(&middle))
}

fn found(ask: &Ask, typed: &str, results: &Results) -> Markup {
    let say = ask.say;
    let count = u64::try_from(results.paths.len()).unwrap_or(u64::MAX);
    html! {
        section.card aria-labelledby="found" {
            h2 #found { (say.count(count, "restore.found")) }
            @if results.paths.is_empty() { p.dim { (say.t("restore.found-nothing")) } }
            ul.rows { @for (path, held) in &results.paths { li { (row(ask, path, held)) } } }
            @if results.has_more { p.dim { (say.t("restore.has-more")) } }
            @for (layer, looked, all) in &results.shortened {
                p.dim {
                    (say.put("restore.shortened", &[
                        ("layer", layer.as_str()), ("looked", &looked.to_string()), ("all", &all.to_string())
                    ])) " "
                    a href={ "/restore?further=1&q=" (quoted(typed)) } { (say.t("restore.further")) }
                }
            }
        }
        @for (layer, why) in &results.failures {
            div.note.bad { h2 { bdi { (layer) } } (explained(say, why)) }
        }
    }
}

/// A path with its newest version, and what can be done at once.
fn row(ask: &Ask, path: &TreePath, held: &[Held]) -> Markup {
    let say = ask.say;
    let Some(newest) = held.first() else {
        return html! {};
    };
    let entry = &newest.version.entry;
    let is_folder = matches!(entry.kind, EntryKind::Directory);
    let count = u64::try_from(distinct(held)).unwrap_or(u64::MAX);
    html! {
        div.row {
            div {
                div.named.path { (icon(if is_folder { "folder" } else { "file" }))
                    a href={ "/restore/versions?path=" (key_of(path)) } { bdi { (ask.shown(path)) } } }
                div.dim.small {
                    (say.t(here(path, newest))) " · "
                    @if entry.is_file() { (say.size(entry.size)) " · " }
                    (say.t("restore.changed")) " " (time(ask, newest.changed()))
                    @if !is_folder { " · " (say.count(count, "restore.versions")) }
                }
            }
            (put_back(ask, &newest.layer, &newest.version.last, path))
        }
    }
}

/// How many versions differ: the same in two layers is one.
fn distinct(held: &[Held]) -> usize {
    let mut known: Vec<(u64, Timestamp)> = held
        .iter()
        .map(|one| (one.version.entry.size, one.changed()))
        .collect();
    known.sort_unstable();
    known.dedup();
    known.len()
}

/// What stands at its place now.
fn here(path: &TreePath, newest: &Held) -> &'static str {
    let place = std::path::Path::new("/").join(path.as_path());
    match place.symlink_metadata() {
        Err(_) => "restore.deleted",
        Ok(found) => {
            let modified = found
                .modified()
                .ok()
                .and_then(|at| Timestamp::try_from(at).ok());
            let entry = &newest.version.entry;
            let is_same = !entry.is_file()
                || (found.len() == entry.size && modified == Some(newest.changed()));
            if is_same {
                "restore.there"
            } else {
                "restore.differs"
            }
        }
    }
}

/// The button that puts one path back to its place.
pub(super) fn put_back(ask: &Ask, layer: &str, snapshot: &str, path: &TreePath) -> Markup {
    html! {
        form method="post" action="/restore" {
            (token(ask))
            input type="hidden" name="layer" value=(layer);
            input type="hidden" name="snapshot" value=(snapshot);
            input type="hidden" name="path" value=(key_of(path));
            input type="hidden" name="where" value="back";
            button.main { (icon("restore")) (ask.say.t("restore.put-back"))
                span.hidden { " " (ask.shown(path)) } }
        }
    }
}

/// The time line of one path.
pub(crate) fn versions(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let say = ask.say;
    let config = page.config()?;
    let path = path_of(ask.query.get("path"))?;
    if path.is_root() {
        return Err(Fault::NotFound);
    }
    let patience = if ask.query.has("further") {
        PATIENCE_MORE
    } else {
        PATIENCE
    };
    let mut results = look(page, &config, patience, &|found| *found == path);
    let held = results.paths.remove(&path).unwrap_or_default();
    let title = ask.shown(&path);
    let middle = html! {
        h1.path { bdi { (title) } }
        p.lead { (say.t("restore.versions-lead")) }
        section.card {
            @if held.is_empty() { p.dim { (say.t("restore.found-nothing")) } }
            ul.rows { @for one in &held {
                @let entry = &one.version.entry;
                @let snapshot = one.version.last.as_str();
                li.row {
                    div {
                        div { strong { (say.t("restore.changed")) " " (time(ask, one.changed())) }
                            @if entry.is_file() { ", " (say.size(entry.size)) } }
                        div.dim.small.path {
                            bdi { (one.layer) } ": " bdi { (one.version.first) }
                            @if one.version.snapshots > 1 { " … " bdi { (snapshot) } }
                        }
                    }
                    div.actions {
                        (put_back(ask, &one.layer, snapshot, &path))
                        a.button href=(address("plan", &one.layer, snapshot, &path)) { (say.t("restore.other-ways")) }
                        @if entry.is_file() {
                            a.button.quiet href=(address("download", &one.layer, snapshot, &path)) {
                                (icon("download")) (say.t("restore.download"))
                            }
                        } @else if matches!(entry.kind, EntryKind::Directory) {
                            a.button.quiet href=(address("pack", &one.layer, snapshot, &path)) {
                                (icon("download")) (say.t("restore.download-tar"))
                            }
                        }
                    }
                }
            } }
            @for (layer, looked, all) in &results.shortened {
                p.dim {
                    (say.put("restore.shortened", &[
                        ("layer", layer.as_str()), ("looked", &looked.to_string()), ("all", &all.to_string())
                    ])) " "
                    a href={ "/restore/versions?further=1&path=" (key_of(&path)) } { (say.t("restore.further")) }
                }
            }
        }
        @for (layer, why) in &results.failures {
            div.note.bad { h2 { bdi { (layer) } } (explained(say, why)) }
        }
        p { a href="/restore" { (say.t("restore.again")) } }
    };
    Ok(Screen::new(ask, "/restore", &title).answer(&middle))
}

/// The layers, to browse by date.
fn places(ask: &Ask, config: &Config) -> Markup {
    let say = ask.say;
    html! {
        section.card aria-labelledby="browse" {
            h2 #browse { (say.t("restore.browse")) }
            p.dim { (say.t("restore.browse-text")) }
            div.actions {
                @for layer in config.layers.iter().filter(|layer| layer.is_runnable()) {
                    a.button href={ "/restore/browse?layer=" (quoted(&layer.name)) } {
                        (icon("folder")) bdi { (layer.name) }
                    }
                }
            }
        }
    }
}
