//! Looking for a name: one row a path, all its versions in all layers.

use std::sync::Arc;

use axum::response::Response;
use engine::{Catalogue, Config, Glob, Outcome};
use jiff::Timestamp;
use maud::{Markup, html};
use tree::TreePath;

use super::search::{Held, PATIENCE, PATIENCE_MORE, Results, Wanted, look};
use super::{address, basket, key_of, path_of};
use crate::Page;
use crate::ask::{Ask, go, quoted};
use crate::fault::Fault;
use crate::icon::icon;
use crate::job::{Kind, Made};
use crate::layout::{Screen, explained, time, token};

/// Reads what the catalogue lacks from the layers.
pub(crate) fn catch_up(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let config = page.config()?;
    let job = page
        .jobs
        .begin(page, Kind::Catalogue, "", move |page, watch| {
            let mut catalogue = Catalogue::open(&page.machine)?;
            let unread = catalogue.incomplete(&config, &page.machine)?;
            let read = page.with(&config, |context| {
                catalogue.catch_up(&unread, context, watch)
            })?;
            let is_whole = read
                .iter()
                .all(|layer| layer.missing == 0 && layer.failure.is_none());
            let outcome = match (watch.stop.is_requested(), is_whole) {
                (true, _) => Outcome::Stopped,
                (false, true) => Outcome::Good,
                (false, false) => Outcome::Partial,
            };
            let failures = read
                .into_iter()
                .filter_map(|layer| Some((layer.layer, layer.failure?)));
            Ok(Made {
                failures: failures.collect(),
                ..Made::from(outcome)
            })
        })?;
    page.audit.note(ask.at(), "catalogue", "");
    Ok(go(&format!("/job?id={}", job.id)))
}

/// The search, what it found, and the way to browse.
pub(crate) fn show(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    if page.is_new() {
        return Ok(go("/welcome"));
    }
    let say = ask.say;
    let config = page.config()?;
    let typed = ask.query.get("q");
    let is_patient = ask.query.has("further");
    let patience = if is_patient { PATIENCE_MORE } else { PATIENCE };
    let results = (!typed.is_empty()).then(|| {
        let wanted = Wanted::Name(Glob::new(typed.as_bytes()));
        look(page, &config, patience, &wanted)
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
        (basket::way(page, ask))
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
            ul.rows { @for (path, held) in &results.paths { li { (row(ask, typed, path, held)) } } }
            @if results.has_more { p.dim { (say.t("restore.has-more")) } }
            (shortened(ask, results, &format!("/restore?further=1&q={}", quoted(typed))))
        }
        @for (layer, why) in &results.failures {
            div.note.bad { h2 { bdi { (layer) } } (explained(say, why)) }
        }
    }
}

/// The layers of which not all was looked through, and how more is found: now, or from now on.
fn shortened(ask: &Ask, results: &Results, further: &str) -> Markup {
    let say = ask.say;
    html! {
        @for (layer, looked, all) in &results.shortened {
            p.dim {
                (say.put("restore.shortened", &[
                    ("layer", layer.as_str()), ("looked", &looked.to_string()), ("all", &all.to_string())
                ])) " "
                a href=(further) { (say.t("restore.further")) }
            }
        }
        @if !results.shortened.is_empty() {
            form.row method="post" action="/restore/catalogue" {
                (token(ask))
                p.dim { (say.t("restore.catalogue-text")) }
                button { (say.t("restore.catalogue")) }
            }
        }
    }
}

/// A path with its newest version, and what can be done at once.
fn row(ask: &Ask, typed: &str, path: &TreePath, held: &[Held]) -> Markup {
    let say = ask.say;
    let Some(newest) = held.first() else {
        return html! {};
    };
    let is_folder = newest.is_folder;
    let from = format!("/restore?q={}", quoted(typed));
    let count = u64::try_from(distinct(held)).unwrap_or(u64::MAX);
    html! {
        div.row {
            div {
                div.named.path { (icon(if is_folder { "folder" } else { "file" }))
                    a href={ "/restore/versions?path=" (key_of(path)) } { bdi { (ask.shown(path)) } } }
                div.dim.small {
                    (say.t(here(path, newest)))
                    @if let Some(size) = newest.size { " · " (say.size(size)) }
                    @if let Some(changed) = newest.changed { " · " (say.t("restore.changed")) " " (time(ask, changed)) }
                    @if !is_folder { " · " (say.count(count, "restore.versions")) }
                }
            }
            div.actions {
                (put_back(ask, &newest.layer, &newest.last, path))
                (basket::button(ask, &newest.layer, &newest.last, path, &from))
            }
        }
    }
}

/// How many versions differ: the same in two layers is one.
fn distinct(held: &[Held]) -> usize {
    let mut known: Vec<_> = held.iter().map(|one| (one.size, one.changed)).collect();
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
                .and_then(|at| Timestamp::try_from(at).ok())
                .map(Timestamp::as_second);
            let changed = newest.changed.map(Timestamp::as_second);
            let is_same = newest
                .size
                .is_none_or(|size| found.len() == size && modified == changed);
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
    let mut results = look(page, &config, patience, &Wanted::Path(&path));
    let held = results.paths.remove(&path).unwrap_or_default();
    let from = format!("/restore/versions?path={}", key_of(&path));
    let title = ask.shown(&path);
    let middle = html! {
        h1.path { bdi { (title) } }
        p.lead { (say.t("restore.versions-lead")) }
        (basket::way(page, ask))
        section.card {
            @if held.is_empty() { p.dim { (say.t("restore.found-nothing")) } }
            ul.rows { @for one in &held {
                @let snapshot = one.last.as_str();
                li.row {
                    div {
                        div {
                            strong {
                                @match one.changed {
                                    Some(changed) => { (say.t("restore.changed")) " " (time(ask, changed)) },
                                    None => (say.t("restore.is-folder")),
                                }
                            }
                            @if let Some(size) = one.size { ", " (say.size(size)) }
                        }
                        div.dim.small.path {
                            bdi { (one.layer) } ": " bdi { (one.first) }
                            @if one.snapshots > 1 { " … " bdi { (snapshot) } }
                        }
                    }
                    div.actions {
                        (put_back(ask, &one.layer, snapshot, &path))
                        (basket::button(ask, &one.layer, snapshot, &path, &from))
                        a.button href=(address("plan", &one.layer, snapshot, &path)) { (say.t("restore.other-ways")) }
                        @if one.size.is_some() {
                            a.button.quiet href=(address("download", &one.layer, snapshot, &path)) {
                                (icon("download")) (say.t("restore.download"))
                            }
                        } @else if one.is_folder {
                            a.button.quiet href=(address("pack", &one.layer, snapshot, &path)) {
                                (icon("download")) (say.t("restore.download-tar"))
                            }
                        }
                    }
                }
            } }
            (shortened(ask, &results, &format!("/restore/versions?further=1&path={}", key_of(&path))))
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
