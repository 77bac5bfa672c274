//! Links for others to single files, and requests for files of others.

use std::sync::{Arc, PoisonError};

use axum::response::Response;
use drop::{Links, NewLink, Requests};
use jiff::SignedDuration;
use maud::{Markup, html};
use store::Secret;

use super::{Place, fault_of, named};
use crate::Page;
use crate::ask::{Ask, go};
use crate::fault::Fault;
use crate::icon::icon;
use crate::layout::{Screen, time, token};

/// How long a link stands: days and key.
const LIVES: [(&str, i32, &str); 3] = [
    ("1", 1, "drop.day"),
    ("7", 7, "drop.week"),
    ("30", 30, "drop.month"),
];

/// Bytes that a request takes where nothing else is said: 1 GB.
const QUOTA: u64 = 1_000_000_000;

/// The links of a folder. One value for the life of the program: it counts wrong passwords.
pub(super) fn of(page: &Page, place: &Place) -> Result<Arc<Links>, Fault> {
    let mut known = page.links.lock().unwrap_or_else(PoisonError::into_inner);
    let location = place.location.to_string();
    if let Some((of, links)) = &*known
        && *of == location
    {
        return Ok(Arc::clone(links));
    }
    let folder = place.open()?;
    if folder.dropbox().is_some() {
        return Err(Fault::Typed("drop.dropbox"));
    }
    let links = Arc::new(Links::new(Arc::clone(folder.store()), &place.environment));
    *known = Some((location, Arc::clone(&links)));
    Ok(links)
}

/// The requests of a folder.
pub(super) fn requests_of(place: &Place) -> Result<Requests, Fault> {
    let folder = place.open()?;
    if folder.dropbox().is_some() {
        return Err(Fault::Typed("drop.dropbox"));
    }
    Ok(Requests::new(
        Arc::clone(folder.store()),
        &place.environment,
    ))
}

fn lives(ask: &Ask, name: &str, id: &str) -> Markup {
    html! {
        div.field {
            label for=(id) { (ask.say.t("drop.until")) }
            select id=(id) name=(name) {
                @for (value, _, key) in LIVES { option value=(value) selected[value == "7"] { (ask.say.t(key)) } }
            }
        }
    }
}

/// All links and requests that stand, and the forms for new ones.
pub(crate) fn links(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let say = ask.say;
    let place = Place::needed(page)?;
    let links = of(page, &place)?.list(ask.at()).map_err(fault_of)?;
    let requests = requests_of(&place)?.list().map_err(fault_of)?;
    let path = ask.query.exact("path");
    let url = page.address.url();
    let title = say.t("drop.links");
    let middle = html! {
        h1 { (title) }
        p.lead { (say.t("drop.links-lead")) @if !page.address.is_secure() { " " (say.t("drop.links-here")) } }
        @if !path.is_empty() {
            form.card method="post" action="/drop/share" {
                (token(ask))
                input type="hidden" name="path" value=(path);
                h2 { (say.t("drop.share")) ": " bdi.path { (path) } }
                (lives(ask, "days", "link-days"))
                div.field {
                    label for="link-password" { (say.t("drop.password")) }
                    input #link-password type="password" name="password" autocomplete="new-password";
                }
                label.choice { input type="checkbox" name="once" value="yes"; span { (say.t("drop.once")) } }
                div.actions { button.main { (icon("link")) (say.t("drop.make-link")) } }
            }
        }
        section.card aria-labelledby="standing" {
            h2 #standing { (say.t("drop.standing")) }
            @if links.is_empty() { p.dim { (say.t("drop.no-links")) } }
            ul.rows { @for link in &links {
                li.row {
                    div {
                        div.path { bdi { (link.path) } }
                        div.path.small { code { (url) "/s/" (link.token) } }
                        div.dim.small {
                            (say.t("drop.ends")) " " (time(ask, link.expires))
                            @if link.has_password { " · " (say.t("drop.has-password")) }
                            @if link.used { " · " (say.t("drop.used")) } @else if link.once { " · " (say.t("drop.once")) }
                        }
                    }
                    form method="post" action="/drop/revoke" {
                        (token(ask))
                        input type="hidden" name="id" value=(link.id);
                        button { (say.t("drop.revoke")) span.hidden { " " (link.path) } }
                    }
                }
            } }
            @if !links.is_empty() || !requests.is_empty() {
                form method="post" action="/drop/revoke-all" { (token(ask))
                    div.actions { button.danger data-ask=(say.t("drop.revoke-all-ask")) { (say.t("drop.revoke-all")) } } }
            }
        }
        section.card aria-labelledby="requests" {
            h2 #requests { (say.t("drop.requests")) }
            ul.rows { @for request in &requests {
                li {
                    div.row {
                        div {
                            div { strong { bdi { (request.title) } } }
                            div.path.small { code { (url) "/r/" (request.token) } }
                            div.dim.small { (say.t("drop.ends")) " " (time(ask, request.deadline)) " · "
                                (say.size(request.quota)) }
                        }
                        form method="post" action="/drop/close" {
                            (token(ask))
                            input type="hidden" name="id" value=(request.id);
                            button { (say.t("drop.close")) span.hidden { " " (request.title) } }
                        }
                    }
                    @for file in &request.received {
                        div.row {
                            span.path { bdi { (file.file_name) } ", " (say.size(file.size)) }
                            div.actions {
                                @for (action, key) in [("/drop/accept", "drop.accept"), ("/drop/reject", "drop.reject")] {
                                    form method="post" action=(action) {
                                        (token(ask))
                                        input type="hidden" name="id" value=(request.id);
                                        input type="hidden" name="object" value=(file.object);
                                        button { (say.t(key)) span.hidden { " " (file.file_name) } }
                                    }
                                }
                            }
                        }
                    }
                }
            } }
            form method="post" action="/drop/request" {
                (token(ask))
                div.field {
                    label for="request-title" { (say.t("drop.request-title")) }
                    input #request-title type="text" name="title" required maxlength="200";
                }
                (lives(ask, "days", "request-days"))
                div.actions { button { (say.t("drop.make-request")) } }
            }
        }
        p { a href="/drop" { (say.t("drop.back")) } }
    };
    Ok(Screen::new(ask, "/drop", title).answer(&middle))
}

/// When what a form makes ends.
fn end(ask: &Ask) -> Result<jiff::Timestamp, Fault> {
    let chosen = ask.form.get("days");
    let life = LIVES.iter().find(|(value, _, _)| *value == chosen);
    let (_, days, _) = life.ok_or(Fault::Typed("drop.unsupported"))?;
    let hours = SignedDuration::from_hours(24 * i64::from(*days));
    ask.at()
        .checked_add(hours)
        .map_err(|_| Fault::Typed("drop.unsupported"))
}

/// Makes a link.
pub(crate) fn share(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = Place::needed(page)?;
    let path = named(ask.form.exact("path"))?;
    let password = ask.form.exact("password");
    let new = NewLink {
        expires: end(ask)?,
        password: (!password.is_empty()).then(|| Secret::new(password.to_owned())),
        once: ask.form.has("once"),
        download: true,
    };
    let links = of(page, &place)?;
    let folder = place.open()?;
    let made = links.create(&folder, &path, &new, &place.device, ask.at());
    made.map_err(fault_of)?;
    page.audit.note(ask.at(), "share", path.as_str());
    Ok(go("/drop/links?told=shared"))
}

pub(crate) fn revoke(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = Place::needed(page)?;
    let id = ask.form.get("id");
    of(page, &place)?.revoke(id).map_err(fault_of)?;
    page.audit.note(ask.at(), "revoke", id);
    Ok(go("/drop/links?told=revoked"))
}

pub(crate) fn revoke_all(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = Place::needed(page)?;
    of(page, &place)?.revoke_all().map_err(fault_of)?;
    page.audit.note(ask.at(), "revoke-all", "");
    Ok(go("/drop/links?told=revoked"))
}

/// Asks others for files.
pub(crate) fn request(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = Place::needed(page)?;
    let title = ask.form.get("title");
    if title.is_empty() || title.len() > 800 {
        return Err(Fault::Typed("drop.wrong-title"));
    }
    let made = requests_of(&place)?.create(title, end(ask)?, QUOTA, ask.at());
    made.map_err(fault_of)?;
    page.audit.note(ask.at(), "request", title);
    Ok(go("/drop/links?told=requested"))
}

pub(crate) fn close(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = Place::needed(page)?;
    let id = ask.form.get("id");
    requests_of(&place)?.close(id).map_err(fault_of)?;
    page.audit.note(ask.at(), "close", id);
    Ok(go("/drop/links?told=revoked"))
}

/// What a form names of what has come in.
fn received(ask: &Ask, requests: &Requests) -> Result<drop::Received, Fault> {
    let (id, object) = (ask.form.get("id"), ask.form.exact("object"));
    let all = requests.list().map_err(fault_of)?;
    let request = all.into_iter().find(|request| request.id == id);
    let mut files = request.ok_or(Fault::NotFound)?.received.into_iter();
    let file = files.find(|file| file.object.as_str() == object);
    file.ok_or(Fault::NotFound)
}

/// Takes what has come in into the folder. What stands there under its name gets a new version.
pub(crate) fn accept(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = Place::needed(page)?;
    let requests = requests_of(&place)?;
    let file = received(ask, &requests)?;
    let mut folder = place.open()?;
    let path = named(&format!("Received/{}", file.file_name))?;
    let accepted = requests.accept(&mut folder, &file, &path, ask.at());
    accepted.map_err(fault_of)?;
    page.audit.note(ask.at(), "accept", path.as_str());
    Ok(go("/drop/links?told=accepted"))
}

pub(crate) fn reject(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = Place::needed(page)?;
    let requests = requests_of(&place)?;
    let file = received(ask, &requests)?;
    requests.reject(&file).map_err(fault_of)?;
    page.audit.note(ask.at(), "reject", &file.file_name);
    Ok(go("/drop/links?told=rejected"))
}
