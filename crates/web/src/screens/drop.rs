//! Drop folder: files at hand on every device, with their history, links for others, and requests
//! for files.

mod guest;
mod links;
mod then;
mod upload;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use drop::{Device, Folder, Version, VersionId};
use engine::config::{self, Kind};
use maud::{Markup, html};
use store::{Environment, Location, Name};

use crate::Page;
use crate::ask::{Ask, go, quoted};
use crate::fault::Fault;
use crate::icon::icon;
use crate::layout::{Screen, exact_time, ticked, time, token};
use crate::screens::restore::{Pieces, attachment, send};

pub(crate) use guest::{ask_for_files, look, open};
pub(crate) use links::{accept, close, links, reject, request, revoke, revoke_all, share};
pub(crate) use then::then;
pub(crate) use upload::{finish, forms, give, have, part};

/// Rows of a folder.
const ROWS: usize = 2000;

/// Rows of what was deleted.
const DELETED_ROWS: usize = 200;

/// The drop folder of the configuration.
pub(crate) struct Place {
    location: Location,
    environment: Environment,
    device: Device,
    state: std::path::PathBuf,
}

impl Place {
    /// The first layer of kind `drop`; `None` when there is none.
    pub(crate) fn of(page: &Page) -> Result<Option<Self>, Fault> {
        let config = page.config()?;
        let is_drop = |layer: &&config::Layer| matches!(layer.kind, Kind::Drop { .. });
        let Some(layer) = config.layers.iter().find(is_drop) else {
            return Ok(None);
        };
        let location = layer.store.parse::<Location>();
        let location = location.map_err(engine::Error::BadStore)?;
        let machine = &page.machine;
        Ok(Some(Self {
            location,
            environment: machine.store_environment(),
            device: Device::new(&machine.host),
            state: machine.places.state.join("drop"),
        }))
    }

    /// The same, where there has to be one.
    fn needed(page: &Page) -> Result<Self, Fault> {
        Self::of(page)?.ok_or(Fault::NotFound)
    }

    fn open(&self) -> Result<Folder, Fault> {
        let opened = Folder::open(
            &self.location,
            &self.environment,
            &self.device,
            Some(&self.state),
        );
        let mut folder = opened.map_err(fault_of)?.ok_or(Fault::NotFound)?;
        let now = (self.environment.clock)();
        let now = jiff::Timestamp::try_from(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        folder.refresh(now).map_err(fault_of)?;
        // It spares work the next time, and is no loss.
        let _ = folder.save();
        Ok(folder)
    }
}

/// What the drop folder says, in the words of the page.
pub(crate) fn fault_of(error: drop::Error) -> Fault {
    match &error {
        drop::Error::NoFile { .. } | drop::Error::NoVersion { .. } => Fault::NotFound,
        drop::Error::BadName { .. } | drop::Error::Reserved { .. } => {
            Fault::Typed("drop.wrong-name")
        }
        drop::Error::Unsupported { .. } => Fault::Typed("drop.unsupported"),
        _ => Fault::Explained(Box::new(engine::explain_drop(&error))),
    }
}

/// A path in the folder, as a request names it.
fn named(text: &str) -> Result<Name, Fault> {
    Name::new(text.trim_matches('/')).map_err(|_| Fault::Typed("drop.wrong-name"))
}

pub(crate) fn show(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    if page.is_new() {
        return Ok(go("/welcome"));
    }
    let say = ask.say;
    let title = say.t("nav.drop");
    let Some(place) = Place::of(page)? else {
        let middle = html! {
            h1 { (title) }
            p.lead { (say.t("drop.lead")) }
            div.card {
                p { (say.t("drop.none")) }
                p { (ticked(say.t("drop.none-next"))) }
                p { a.button.main href="/layers/add?kind=drop" { (icon("drop")) (say.t("drop.add")) } }
            }
        };
        return Ok(Screen::new(ask, "/drop", title).answer(&middle));
    };
    let mut folder = match place.open() {
        Err(Fault::NotFound) => {
            let middle = html! {
                h1 { (title) }
                p.lead { (say.t("drop.lead")) }
                div.card { p { (ticked(say.t("drop.not-created"))) }
                    form method="post" action="/drop/create" { (token(ask)) button.main { (say.t("drop.create")) } } }
            };
            return Ok(Screen::new(ask, "/drop", title).answer(&middle));
        }
        opened => opened?,
    };
    let inside = ask.query.get("in").trim_matches('/').to_owned();
    let files = folder.list();
    let (folders, here) = listed(&files, &inside);
    let deleted = folder.deleted().map_err(fault_of)?;
    let middle = html! {
        h1 { (title) }
        p.lead { (say.t("drop.lead")) " " (say.t("drop.no-backup")) }
        (upload::zone(ask, &inside))
        section.card aria-labelledby="files" {
            div.top {
                h2 #files { (say.t("drop.files")) }
                div.actions {
                    a.button href={ "/drop/then?in=" (quoted(&inside)) } { (icon("wait")) (say.t("drop.then-link")) }
                    a.button href="/drop/links" { (icon("link")) (say.t("drop.links")) }
                }
            }
            (crumbs(ask, &inside, &|inside| format!("/drop?in={}", quoted(inside))))
            @if folders.is_empty() && here.is_empty() { p.dim { (say.t("drop.empty")) } }
            ul.rows {
                @for name in folders.iter().take(ROWS) { li { div.path.named { (icon("folder"))
                    a href={ "/drop?in=" (quoted(&below(&inside, name))) } { bdi { (name) } } } } }
                @for version in here.iter().take(ROWS) { li { (row(ask, version)) } }
            }
            @if here.len().max(folders.len()) > ROWS { p.dim { (say.t("restore.has-more")) } }
        }
        @if !deleted.is_empty() { (deleted_card(ask, &deleted)) }
    };
    Ok(Screen::new(ask, "/drop", title).answer(&middle))
}

/// What was deleted, each with the way back.
fn deleted_card(ask: &Ask, deleted: &[Version]) -> Markup {
    let say = ask.say;
    html! {
        section.card aria-labelledby="deleted" {
            h2 #deleted { (say.t("drop.deleted")) }
            ul.rows { @for version in deleted.iter().take(DELETED_ROWS) {
                li.row {
                    div {
                        div.path.named { (icon("file")) span { bdi { (version.path) } } }
                        div.dim.small { (say.t("drop.was-deleted")) " " (time(ask, version.at))
                            @if let Some(device) = &version.device { " · " bdi { (device.as_str()) } } }
                    }
                    div.actions {
                        a.button.quiet href={ "/drop/history?path=" (quoted(version.path.as_str())) } {
                            (say.t("drop.history")) span.hidden { " " (version.path) } }
                        form method="post" action="/drop/restore" {
                            (token(ask))
                            input type="hidden" name="path" value=(version.path);
                            button { (icon("restore")) (say.t("drop.bring-back")) span.hidden { " " (version.path) } }
                        }
                    }
                }
            } }
            @if deleted.len() > DELETED_ROWS { p.dim { (say.t("restore.has-more")) } }
        }
    }
}

/// The folders and files directly in a folder.
fn listed<'a>(files: &'a [Version], inside: &str) -> (BTreeSet<String>, Vec<&'a Version>) {
    let mut folders = BTreeSet::new();
    let mut here = Vec::new();
    for version in files {
        let path = version.path.as_str();
        let rest = if inside.is_empty() {
            Some(path)
        } else {
            path.strip_prefix(inside)
                .and_then(|rest| rest.strip_prefix('/'))
        };
        match rest.map(|rest| (rest.split_once('/'), rest)) {
            Some((Some((folder, _)), _)) => {
                folders.insert(folder.to_owned());
            }
            Some((None, _)) => here.push(version),
            None => {}
        }
    }
    (folders, here)
}

fn below(inside: &str, name: &str) -> String {
    if inside.is_empty() {
        name.to_owned()
    } else {
        format!("{inside}/{name}")
    }
}

fn crumbs(ask: &Ask, inside: &str, address: &dyn Fn(&str) -> String) -> Markup {
    let parts: Vec<&str> = inside.split('/').filter(|part| !part.is_empty()).collect();
    html! {
        @if !parts.is_empty() {
            nav aria-label=(ask.say.t("restore.way")) {
                ol.crumbs {
                    li { a href=(address("")) { (ask.say.t("drop.top")) } }
                    @for (index, part) in parts.iter().enumerate() {
                        @let path = parts.get(..=index).unwrap_or_default().join("/");
                        li { @if index + 1 == parts.len() { span aria-current="page" { bdi { (part) } } }
                            @else { a href=(address(&path)) { bdi { (part) } } } }
                    }
                }
            }
        }
    }
}

fn row(ask: &Ask, version: &Version) -> Markup {
    let say = ask.say;
    let path = version.path.as_str();
    let size = version.content().map_or(0, |content| content.size);
    html! {
        div.row {
            div {
                div.path.named { (icon("file"))
                    a href={ "/drop/file?path=" (quoted(path)) } { bdi { (version.path.file_name()) } } }
                div.dim.small { (say.size(size)) " · " (time(ask, version.at))
                    @if let Some(device) = &version.device { " · " bdi { (device.as_str()) } } }
            }
            div.actions {
                a.button.quiet href={ "/drop/history?path=" (quoted(path)) } { (say.t("drop.history")) span.hidden { " " (path) } }
                a.button.quiet href={ "/drop/links?path=" (quoted(path)) } { (icon("link")) (say.t("drop.share")) span.hidden { " " (path) } }
                form method="post" action="/drop/delete" {
                    (token(ask))
                    input type="hidden" name="path" value=(path);
                    button.quiet { (say.t("drop.delete")) span.hidden { " " (path) } }
                }
            }
        }
    }
}

/// Makes an empty drop folder at the place that the configuration names.
pub(crate) fn create(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = Place::needed(page)?;
    let store = store::open(&place.location, &place.environment);
    let store = store.map_err(engine::Error::from)?;
    Folder::create(&*store, &place.environment).map_err(fault_of)?;
    page.audit.note(ask.at(), "drop-create", "");
    Ok(go("/drop"))
}

/// One file, or an old version of it, to be saved.
pub(crate) fn file(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = Place::needed(page)?;
    let path = named(ask.query.exact("path"))?;
    let mut folder = place.open()?;
    let typed = ask.query.get("version");
    let version = if typed.is_empty() {
        folder.present(&path).ok_or(Fault::NotFound)?
    } else {
        let id = VersionId::new(typed).map_err(|_| Fault::NotFound)?;
        folder.version(&path, &id).map_err(fault_of)?
    };
    let body = folder.read(&version).map_err(fault_of)?;
    page.audit.note(ask.at(), "download", path.as_str());
    Ok(attachment(path.file_name(), streamed(body)?))
}

/// A body that a thread of its own reads.
fn streamed(content: impl std::io::Read + Send + 'static) -> Result<Body, Fault> {
    let (pieces, body) = tokio::sync::mpsc::channel(4);
    let thread = std::thread::Builder::new().name("download".to_owned());
    let started = thread.spawn(move || send(content, &pieces));
    started.map_err(|_| Fault::Busy)?;
    Ok(Body::new(Pieces(body)))
}

/// All versions of one file.
pub(crate) fn history(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let say = ask.say;
    let place = Place::needed(page)?;
    let path = named(ask.query.exact("path"))?;
    let mut folder = place.open()?;
    let versions = folder.history(&path).map_err(fault_of)?;
    let title = path.as_str();
    let middle = html! {
        h1.path { bdi { (title) } }
        p.lead { (say.t("drop.history-lead")) }
        section.card {
            ul.rows { @for version in versions.iter().rev() {
                li.row {
                    div {
                        div { (exact_time(ask, version.at))
                            @match version.content() {
                                Some(content) => { ", " (say.size(content.size)) },
                                None => { ", " (say.t("drop.was-deleted")) },
                            } }
                        div.dim.small {
                            @if let Some(device) = &version.device { bdi { (device.as_str()) } }
                            @if version.lost { " · " (say.t("drop.lost")) }
                        }
                    }
                    @if version.content().is_some() {
                        div.actions {
                            a.button.quiet href={ "/drop/file?path=" (quoted(title)) "&version=" (quoted(version.id.as_str())) } {
                                (icon("download")) (say.t("restore.download")) }
                            form method="post" action="/drop/restore" {
                                (token(ask))
                                input type="hidden" name="path" value=(title);
                                input type="hidden" name="version" value=(version.id);
                                button { (icon("restore")) (say.t("drop.make-present")) }
                            }
                        }
                    }
                }
            } }
        }
        p { a href="/drop" { (say.t("drop.back")) } }
    };
    Ok(Screen::new(ask, "/drop", title).answer(&middle))
}

/// Makes an old version the present one, or the last one of a file that was deleted.
pub(crate) fn restore(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = Place::needed(page)?;
    let path = named(ask.form.exact("path"))?;
    let mut folder = place.open()?;
    let typed = ask.form.get("version");
    let version = if typed.is_empty() {
        folder.last_content(&path)
    } else {
        let id = VersionId::new(typed).map_err(|_| Fault::NotFound)?;
        folder.version(&path, &id)
    };
    let version = version.map_err(fault_of)?;
    folder.restore(&version, ask.at()).map_err(fault_of)?;
    page.audit.note(ask.at(), "drop-restore", path.as_str());
    Ok(go("/drop?told=brought-back"))
}

/// Deletes a file; its versions stay.
pub(crate) fn delete(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = Place::needed(page)?;
    let path = named(ask.form.exact("path"))?;
    let mut folder = place.open()?;
    folder.remove(&path, ask.at()).map_err(fault_of)?;
    page.audit.note(ask.at(), "drop-delete", path.as_str());
    Ok(go("/drop?told=deleted"))
}
