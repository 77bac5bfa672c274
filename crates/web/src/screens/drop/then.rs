//! The drop folder as it was at a time: to look at, to save from, and to bring single files back.

use std::sync::Arc;

use axum::response::Response;
use drop::{Folder, Version};
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::{Place, ROWS, below, crumbs, fault_of, listed};
use crate::Page;
use crate::ask::{Ask, quoted};
use crate::fault::Fault;
use crate::icon::icon;
use crate::layout::{Screen, exact_time, token};

/// How a browser writes a time.
const MINUTE: &str = "%Y-%m-%dT%H:%M";

/// The time that is asked for; a minute counts to its end.
fn time_of(ask: &Ask) -> Result<Timestamp, Fault> {
    let typed = ask.query.get("at");
    if typed.is_empty() {
        return Ok(ask.at());
    }
    let at = typed.parse::<DateTime>().ok();
    let at = at.and_then(|at| at.to_zoned_datetime(ask.now.time_zone().clone()).ok());
    let at = at.ok_or(Fault::Typed("drop.wrong-time"))?.timestamp();
    Ok(at
        .saturating_add(SignedDuration::from_secs(59))
        .unwrap_or(at))
}

pub(crate) fn then(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let say = ask.say;
    let place = Place::needed(page)?;
    let at = time_of(ask)?;
    let minute = at.to_zoned_datetime(ask.now.time_zone().clone());
    let minute = minute.strftime(MINUTE).to_string();
    let inside = ask.query.get("in").trim_matches('/').to_owned();
    let mut folder = place.open()?;
    let mut files = folder.as_of(at).map_err(fault_of)?;
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let (folders, here) = listed(&files, &inside);
    let address = |inside: &str| format!("/drop/then?at={}&in={}", quoted(&minute), quoted(inside));
    let title = say.t("drop.then");
    let middle = html! {
        h1 { (title) }
        p.lead { (say.t("drop.then-lead")) }
        form.card action="/drop/then" {
            input type="hidden" name="in" value=(inside);
            div.row {
                div {
                    label for="at" { (say.t("drop.then-at")) }
                    input #at type="datetime-local" name="at" value=(minute) required;
                }
                button { (say.t("restore.go")) }
            }
        }
        section.card aria-labelledby="files" {
            h2 #files { (say.t("drop.files")) ", " (exact_time(ask, at)) }
            (crumbs(ask, &inside, &address))
            @if folders.is_empty() && here.is_empty() { p.dim { (say.t("restore.empty")) } }
            ul.rows {
                @for name in folders.iter().take(ROWS) { li { div.path.named { (icon("folder"))
                    a href=(address(&below(&inside, name))) { bdi { (name) } } } } }
                @for version in here.iter().take(ROWS) { li { (row(ask, &folder, version)) } }
            }
            @if here.len().max(folders.len()) > ROWS { p.dim { (say.t("restore.has-more")) } }
        }
        p { a href="/drop" { (say.t("drop.back")) } }
    };
    Ok(Screen::new(ask, "/drop", title).answer(&middle))
}

/// A file as it was, and what has become of it.
fn row(ask: &Ask, folder: &Folder, version: &Version) -> Markup {
    let say = ask.say;
    let path = version.path.as_str();
    let size = version.content().map_or(0, |content| content.size);
    let since = match folder.present(&version.path) {
        None => "drop.then-deleted",
        Some(now) if now.id == version.id => "drop.then-same",
        Some(_) => "drop.then-changed",
    };
    html! {
        div.row {
            div {
                div.path.named { (icon("file"))
                    a href={ "/drop/history?path=" (quoted(path)) } { bdi { (version.path.file_name()) } } }
                div.dim.small { (say.size(size)) " · " (exact_time(ask, version.at)) " · " (say.t(since)) }
            }
            div.actions {
                a.button.quiet href={ "/drop/file?path=" (quoted(path)) "&version=" (quoted(version.id.as_str())) } {
                    (icon("download")) (say.t("restore.download")) span.hidden { " " (path) } }
                @if since != "drop.then-same" {
                    form method="post" action="/drop/restore" {
                        (token(ask))
                        input type="hidden" name="path" value=(path);
                        input type="hidden" name="version" value=(version.id);
                        button { (icon("restore")) (say.t("drop.make-present")) span.hidden { " " (path) } }
                    }
                }
            }
        }
    }
}
