//! A folder as it was at a time.

use std::sync::Arc;

use axum::response::Response;
use engine::Snapshot;
use engine::browse::list;
use maud::{Markup, html};
use tree::{EntryKind, TreePath};

use super::{address, key_of, layer_of, name_of, open, path_of, snapshot_of, timestamp};
use crate::Page;
use crate::ask::Ask;
use crate::fault::Fault;
use crate::icon::icon;
use crate::layout::{Screen, exact_time};

/// Snapshots that can be chosen from; older ones by their name in the address.
const CHOICES: usize = 400;
/// Rows of a folder.
const ROWS: usize = 5000;

pub(crate) fn browse(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let say = ask.say;
    let config = page.config()?;
    let layer = layer_of(&config, &ask.query)?;
    let path = path_of(ask.query.get("path"))?;
    let mut opened = open(page, layer)?;
    let typed = ask.query.exact("snapshot");
    let (snapshot, snapshots) = snapshot_of(page, layer, &mut *opened, typed)?;
    let listing = list(&mut *opened, &snapshot, &path);
    let listing = listing.map_err(engine::Error::of_layer(&layer.name))?;
    let items = listing.items.iter().filter(|item| item.entry.path != path);
    let items: Vec<_> = items.take(ROWS + 1).collect();
    let title = say.t("restore.browse");
    let middle = html! {
        h1 { (title) }
        form.card action="/restore/browse" {
            input type="hidden" name="layer" value=(layer.name);
            input type="hidden" name="path" value=(key_of(&path));
            div.row {
                div {
                    label for="snapshot" { bdi { (layer.name) } ", " (say.t("restore.as-of")) }
                    select #snapshot name="snapshot" { (choices(ask, &snapshots, &snapshot)) }
                }
                button { (say.t("restore.go")) }
            }
        }
        section.card {
            (crumbs(ask, &layer.name, &snapshot.name, &path))
            @if !path.is_root() && !items.is_empty() {
                p { a href=(address("pack", &layer.name, &snapshot.name, &path)) {
                    (icon("download")) (say.t("restore.folder-tar"))
                } }
            }
            @if listing.damage.is_some() { div.note.bad { (icon("bad")) " " (say.t("restore.damaged")) } }
            @if items.is_empty() { p.dim { (say.t("restore.empty")) } }
            @else {
                form action="/restore/plan" {
                    input type="hidden" name="layer" value=(layer.name);
                    input type="hidden" name="snapshot" value=(snapshot.name);
                    div.scroll tabindex="0" role="region" aria-label=(ask.shown(&path)) {
                        table {
                            thead { tr {
                                th { span.hidden { (say.t("restore.choose")) } }
                                th { (say.t("restore.name")) }
                                th.n { (say.t("restore.size")) }
                                th.when { (say.t("restore.changed")) }
                            } }
                            tbody { @for item in items.iter().take(ROWS) {
                                @let entry = &item.entry;
                                @let name = relative(&path, &entry.path);
                                @let is_folder = matches!(entry.kind, EntryKind::Directory);
                                tr {
                                    td { input type="checkbox" name="path" value=(key_of(&entry.path)) aria-label=(name); }
                                    td.path { div.named {
                                        (icon(if is_folder { "folder" } else { "file" }))
                                        @if is_folder {
                                            a href=(address("browse", &layer.name, &snapshot.name, &entry.path)) { bdi { (name) } }
                                        } @else {
                                            a href={ "/restore/versions?path=" (key_of(&entry.path)) } { bdi { (name) } }
                                        }
                                    } }
                                    td.n { @if entry.is_file() { (say.size(entry.size)) } }
                                    td.when.small { (exact_time(ask, timestamp(entry.mtime))) }
                                }
                            } }
                        }
                    }
                    @if items.len() > ROWS { p.dim { (say.t("restore.has-more")) } }
                    div.actions {
                        button.main { (icon("restore")) (say.t("restore.chosen")) }
                        button formaction="/restore/basket" { (say.t("basket.add")) }
                        button formaction="/restore/pack" { (icon("download")) (say.t("restore.chosen-tar")) }
                    }
                }
            }
        }
    };
    Ok(Screen::new(ask, "/restore", title).answer(&middle))
}

/// A path as it reads in the list of a folder that it is in.
fn relative(folder: &TreePath, path: &TreePath) -> String {
    let depth = folder.components().count();
    let rest = path.components().skip(depth);
    let rest = rest.fold(TreePath::root(), |path, name| path.join(name));
    rest.to_string()
}

/// The snapshots, newest first.
fn choices(ask: &Ask, snapshots: &[Snapshot], chosen: &Snapshot) -> Markup {
    let zone = ask.now.time_zone();
    let newest = snapshots.iter().rev().take(CHOICES);
    let is_old = !newest.clone().any(|snapshot| snapshot.name == chosen.name);
    let old = is_old.then_some(chosen);
    html! {
        @for snapshot in newest.chain(old) {
            option value=(snapshot.name) selected[snapshot.name == chosen.name] {
                (ask.say.time(snapshot.time, zone)) " · " (snapshot.name)
            }
        }
    }
}

/// The way from the top to a folder.
fn crumbs(ask: &Ask, layer: &str, snapshot: &str, path: &TreePath) -> Markup {
    let mut folders = vec![path.clone()];
    while let Some(parent) = folders.last().and_then(TreePath::parent) {
        folders.push(parent);
    }
    folders.reverse();
    html! {
        nav aria-label=(ask.say.t("restore.way")) {
            ol.crumbs {
                @for folder in folders.iter().filter(|folder| !folder.is_root() || path.is_root() || folders.len() > 1) {
                    li {
                        @let name = if folder.is_root() { ask.say.t("restore.top").to_owned() } else { name_of(folder) };
                        @if folder == path { span aria-current="page" { bdi { (name) } } }
                        @else { a href=(address("browse", layer, snapshot, folder)) { bdi { (name) } } }
                    }
                }
            }
        }
    }
}
