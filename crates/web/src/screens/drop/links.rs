//! Links for others to single files, and requests for files of others.
//!
//! On Dropbox both are Dropbox's own. Elsewhere this page serves them, to whoever reaches it.

use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use axum::response::Response;
use drop::{Folder, Links, NewLink, Received, Requests};
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use store::{Dropbox, ErrorKind, Secret};

use super::{Place, fault_of, named};
use crate::Page;
use crate::ask::{Ask, go, quoted};
use crate::fault::Fault;
use crate::icon::icon;
use crate::layout::{Screen, time, token};

/// How long a link stands: days, and the key of a word.
const LIVES: [(&str, i64, &str); 4] = [
    ("1", 1, "drop.day"),
    ("7", 7, "drop.week"),
    ("30", 30, "drop.month"),
    ("365", 365, "drop.year"),
];

/// How much a request takes, in millions of bytes.
const QUOTAS: [(&str, u64); 4] = [
    ("100", 100),
    ("1000", 1000),
    ("10000", 10_000),
    ("100000", 100_000),
];

/// Where accepted files go.
const RECEIVED: &str = "Received";

/// The links of a folder; `None` where Dropbox serves them. One value for the life of the program:
/// it counts wrong passwords.
pub(super) fn links_of(page: &Page, place: &Place, folder: &Folder) -> Option<Arc<Links>> {
    if folder.dropbox().is_some() {
        return None;
    }
    let mut known = page.links.lock().unwrap_or_else(PoisonError::into_inner);
    let location = place.location.to_string();
    if let Some((of, links)) = &*known
        && *of == location
    {
        return Some(Arc::clone(links));
    }
    let links = Arc::new(Links::new(Arc::clone(folder.store()), &place.environment));
    *known = Some((location, Arc::clone(&links)));
    Some(links)
}

/// The requests of a folder; `None` where Dropbox serves them.
pub(super) fn requests_of(place: &Place, folder: &Folder) -> Option<Requests> {
    let is_ours = folder.dropbox().is_none();
    is_ours.then(|| Requests::new(Arc::clone(folder.store()), &place.environment))
}

/// A link, whoever serves it.
struct Link {
    id: String,
    address: String,
    path: String,
    ends: Option<Timestamp>,
    /// What else is to be said of it, as keys.
    notes: Vec<&'static str>,
}

/// A request, whoever serves it.
struct Wish {
    id: String,
    address: String,
    title: String,
    ends: Option<Timestamp>,
    quota: Option<u64>,
    came: u64,
    waiting: Vec<Received>,
}

/// All that stands.
#[derive(Default)]
struct Standing {
    links: Vec<Link>,
    wishes: Vec<Wish>,
}

impl Standing {
    fn of(page: &Page, ask: &Ask, place: &Place, folder: &Folder) -> Result<Self, Fault> {
        if let Some(dropbox) = folder.dropbox() {
            return Self::of_dropbox(dropbox).map_err(|error| fault_of(error.into()));
        }
        let mut standing = Self::default();
        let url = page.address.url();
        if let Some(links) = links_of(page, place, folder) {
            for link in links.list(ask.at()).map_err(fault_of)? {
                let notes = [
                    (link.has_password, "drop.has-password"),
                    (link.once && !link.used, "drop.once"),
                    (link.used, "drop.used"),
                    (!link.download, "drop.look-only"),
                ];
                standing.links.push(Link {
                    address: format!("{url}/s/{}", link.token),
                    path: link.path.to_string(),
                    ends: Some(link.expires),
                    notes: chosen(&notes),
                    id: link.id,
                });
            }
        }
        if let Some(requests) = requests_of(place, folder) {
            for request in requests.list().map_err(fault_of)? {
                standing.wishes.push(Wish {
                    address: format!("{url}/r/{}", request.token),
                    title: request.title,
                    ends: Some(request.deadline),
                    quota: Some(request.quota),
                    came: u64::try_from(request.received.len()).unwrap_or(u64::MAX),
                    waiting: request.received,
                    id: request.id,
                });
            }
        }
        Ok(standing)
    }

    fn of_dropbox(dropbox: &Dropbox) -> Result<Self, store::Error> {
        let time = |time: Option<SystemTime>| Timestamp::try_from(time?).ok();
        let links = dropbox.links()?.into_iter().map(|link| Link {
            id: link.url.clone(),
            address: link.url,
            path: link.name.map(|name| name.to_string()).unwrap_or_default(),
            ends: time(link.expires),
            notes: chosen(&[(link.has_password, "drop.has-password")]),
        });
        let requests = dropbox.file_requests()?.into_iter();
        let wishes = requests.filter(|request| request.open).map(|request| Wish {
            id: request.id,
            address: request.url,
            title: request.title,
            ends: time(request.deadline),
            quota: None,
            came: request.files,
            waiting: Vec::new(),
        });
        Ok(Self {
            links: links.collect(),
            wishes: wishes.collect(),
        })
    }
}

fn chosen(notes: &[(bool, &'static str)]) -> Vec<&'static str> {
    let chosen = notes.iter().filter(|(is, _)| *is);
    chosen.map(|(_, key)| *key).collect()
}

/// All links and requests that stand, and the forms for new ones.
pub(crate) fn links(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let say = ask.say;
    let place = Place::needed(page)?;
    let folder = place.open()?;
    let is_dropbox = folder.dropbox().is_some();
    let standing = Standing::of(page, ask, &place, &folder)?;
    let path = ask.query.exact("path");
    let new = ask.query.exact("new");
    let made = standing
        .links
        .iter()
        .find(|link| !new.is_empty() && link.id == new)
        .map(|link| (link.path.as_str(), link.address.as_str()));
    let title = say.t("drop.links");
    let middle = html! {
        h1 { (title) }
        p.lead {
            (say.t("drop.links-lead"))
            @if !is_dropbox && !page.address.is_secure() { " " (crate::layout::ticked(say.t("drop.links-here"))) }
        }
        @if let Some((path, address)) = made {
            section.card.note.good aria-labelledby="made" {
                h2 #made { (say.t("drop.made")) ": " bdi.path { (path) } }
                (copied(ask, address))
            }
        }
        @if !path.is_empty() { (share_form(ask, path, is_dropbox)) }
        section.card aria-labelledby="standing" {
            h2 #standing { (say.t("drop.standing")) }
            @if standing.links.is_empty() { p.dim { (say.t("drop.no-links")) } }
            ul.rows { @for link in &standing.links { li { (row(ask, link)) } } }
        }
        section.card aria-labelledby="requests" {
            h2 #requests { (say.t("drop.requests")) }
            @if standing.wishes.is_empty() { p.dim { (say.t("drop.no-requests")) } }
            ul.rows { @for wish in &standing.wishes { li { (wish_row(ask, wish)) } } }
            details open[standing.wishes.is_empty()] {
                summary { (say.t("drop.new-request")) }
                (request_form(ask, is_dropbox))
            }
        }
        @if !standing.links.is_empty() || !standing.wishes.is_empty() {
            section.card aria-labelledby="all" {
                h2 #all { (say.t("drop.revoke-all")) }
                p.dim { (say.t("drop.revoke-all-text")) }
                form method="post" action="/drop/revoke-all" {
                    (token(ask))
                    button.danger data-ask=(say.t("drop.revoke-all-ask")) { (say.t("drop.revoke-all")) }
                }
            }
        }
        p { a href="/drop" { (say.t("drop.back")) } }
    };
    Ok(Screen::new(ask, "/drop", title).answer(&middle))
}

/// An address, to be taken along.
fn copied(ask: &Ask, address: &str) -> Markup {
    let say = ask.say;
    html! {
        div.copied {
            code { (address) }
            // Only scripts can copy: without one there is no button.
            button type="button" hidden data-copy=(address) data-copied=(say.t("drop.copied")) {
                (icon("link")) span data-word="" { (say.t("drop.copy")) }
            }
        }
    }
}

fn row(ask: &Ask, link: &Link) -> Markup {
    let say = ask.say;
    html! {
        div.row {
            div {
                div.path.named { (icon("file")) span { bdi { (link.path) } } }
                div.dim.small {
                    @match link.ends {
                        Some(ends) => { (say.t("drop.ends")) " " (time(ask, ends)) },
                        None => (say.t("drop.no-end")),
                    }
                    @for note in &link.notes { " · " (say.t(note)) }
                }
            }
            form method="post" action="/drop/revoke" {
                (token(ask))
                input type="hidden" name="id" value=(link.id);
                button { (say.t("drop.revoke")) span.hidden { " " (link.path) } }
            }
        }
        (copied(ask, &link.address))
    }
}

fn wish_row(ask: &Ask, wish: &Wish) -> Markup {
    let say = ask.say;
    let is_over = wish.ends.is_some_and(|ends| ends <= ask.at());
    html! {
        div.row {
            div {
                div { strong { bdi { (wish.title) } } }
                div.dim.small {
                    @match wish.ends {
                        Some(_) if is_over => (say.t("drop.ended")),
                        Some(ends) => { (say.t("drop.ends")) " " (time(ask, ends)) },
                        None => (say.t("drop.no-end")),
                    }
                    @if let Some(quota) = wish.quota { " · " (say.put("drop.at-most", &[("size", &say.size(quota))])) }
                    " · " (say.count(wish.came, "drop.came"))
                }
            }
            form method="post" action="/drop/close" {
                (token(ask))
                input type="hidden" name="id" value=(wish.id);
                button { (say.t("drop.close")) span.hidden { " " (wish.title) } }
            }
        }
        @if !is_over { (copied(ask, &wish.address)) }
        @for file in &wish.waiting {
            div.row.waiting {
                div.path.named { (icon("file")) span { bdi { (file.file_name) } ", " (say.size(file.size)) } }
                div.actions {
                    @for (action, key) in [("/drop/accept", "drop.accept"), ("/drop/reject", "drop.reject")] {
                        form method="post" action=(action) {
                            (token(ask))
                            input type="hidden" name="id" value=(wish.id);
                            input type="hidden" name="object" value=(file.object);
                            button { (say.t(key)) span.hidden { " " (file.file_name) } }
                        }
                    }
                }
            }
        }
    }
}

fn lives(ask: &Ask, id: &str) -> Markup {
    html! {
        div.field {
            label for=(id) { (ask.say.t("drop.until")) }
            select id=(id) name="days" {
                @for (value, _, key) in LIVES {
                    option value=(value) selected[value == "7"] { (ask.say.t(key)) }
                }
            }
        }
    }
}

fn share_form(ask: &Ask, path: &str, is_dropbox: bool) -> Markup {
    let say = ask.say;
    let file_name = path.rsplit('/').next().unwrap_or_default();
    let choice = |name: &str, title: &str, text: &str| {
        html! {
            label.choice {
                input type="checkbox" name=(name) value="yes";
                span { strong { (say.t(title)) } span.dim { (say.t(text)) } }
            }
        }
    };
    html! {
        form.card method="post" action="/drop/share" {
            (token(ask))
            input type="hidden" name="path" value=(path);
            h2 { (say.t("drop.share")) ": " bdi.path { (path) } }
            (lives(ask, "link-days"))
            div.field {
                label for="link-password" { (say.t("drop.password")) }
                input #link-password type="password" name="password" autocomplete="new-password";
                p.dim { (say.t("drop.password-text")) }
            }
            @if !is_dropbox { (choice("once", "drop.once-title", "drop.once-text")) }
            @if is_dropbox || drop::viewable(file_name).is_some() {
                (choice("look", "drop.look-title", "drop.look-text"))
            }
            div.actions { button.main { (icon("link")) (say.t("drop.make-link")) } }
        }
    }
}

fn request_form(ask: &Ask, is_dropbox: bool) -> Markup {
    let say = ask.say;
    html! {
        form method="post" action="/drop/request" {
            (token(ask))
            div.field {
                label for="request-title" { (say.t("drop.request-title")) }
                input #request-title type="text" name="title" required maxlength="200";
                p.dim { (say.t(if is_dropbox { "drop.request-dropbox" } else { "drop.request-text" })) }
            }
            (lives(ask, "request-days"))
            @if !is_dropbox {
                div.field {
                    label for="request-quota" { (say.t("drop.quota")) }
                    select #request-quota name="quota" {
                        @for (value, millions) in QUOTAS {
                            option value=(value) selected[value == "1000"] { (say.size(millions * 1_000_000)) }
                        }
                    }
                }
            }
            div.actions { button { (say.t("drop.make-request")) } }
        }
    }
}

/// When what a form makes ends.
fn end(ask: &Ask) -> Result<Timestamp, Fault> {
    let chosen = ask.form.get("days");
    let life = LIVES.iter().find(|(value, _, _)| *value == chosen);
    let (_, days, _) = life.ok_or(Fault::Typed("drop.unsupported"))?;
    let hours = SignedDuration::from_hours(24 * days);
    ask.at()
        .checked_add(hours)
        .map_err(|_| Fault::Typed("drop.unsupported"))
}

fn system_time(time: Timestamp) -> SystemTime {
    SystemTime::try_from(time).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Why Dropbox makes no link and no request.
fn of_dropbox(error: store::Error) -> Fault {
    match error.kind {
        ErrorKind::AlreadyExists => Fault::Typed("drop.has-link"),
        // Ends, passwords and looking only are not part of every plan.
        ErrorKind::Denied | ErrorKind::Invalid => Fault::Typed("drop.plan"),
        _ => fault_of(error.into()),
    }
}

/// Makes a link.
pub(crate) fn share(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = Place::needed(page)?;
    let path = named(ask.form.exact("path"))?;
    let password = ask.form.exact("password");
    let password = (!password.is_empty()).then(|| Secret::new(password.to_owned()));
    let expires = end(ask)?;
    let download = !ask.form.has("look");
    let folder = place.open()?;
    let id = if let Some(dropbox) = folder.dropbox() {
        let until = Some(system_time(expires));
        let made = dropbox.share(&path, until, password.as_ref(), download);
        made.map_err(of_dropbox)?.url
    } else {
        let new = NewLink {
            expires,
            password,
            once: ask.form.has("once"),
            download,
        };
        let links = links_of(page, &place, &folder).ok_or(Fault::NotFound)?;
        let made = links.create(&folder, &path, &new, &place.device, ask.at());
        made.map_err(fault_of)?.id
    };
    page.audit.note(ask.at(), "share", path.as_str());
    Ok(go(&format!("/drop/links?told=shared&new={}", quoted(&id))))
}

pub(crate) fn revoke(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = Place::needed(page)?;
    let id = ask.form.get("id");
    let folder = place.open()?;
    if let Some(dropbox) = folder.dropbox() {
        dropbox.revoke(id).map_err(|error| fault_of(error.into()))?;
    } else if let Some(links) = links_of(page, &place, &folder) {
        links.revoke(id).map_err(fault_of)?;
    }
    page.audit.note(ask.at(), "revoke", id);
    Ok(go("/drop/links?told=revoked"))
}

/// Takes everything back: the links first, as they give something out.
pub(crate) fn revoke_all(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = Place::needed(page)?;
    let folder = place.open()?;
    if folder.dropbox().is_none()
        && let Some(links) = links_of(page, &place, &folder)
    {
        links.revoke_all().map_err(fault_of)?;
    }
    let standing = Standing::of(page, ask, &place, &folder)?;
    if let Some(dropbox) = folder.dropbox() {
        for link in &standing.links {
            dropbox
                .revoke(&link.id)
                .map_err(|error| fault_of(error.into()))?;
        }
    }
    for wish in &standing.wishes {
        close_one(&place, &folder, &wish.id)?;
    }
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
    let deadline = end(ask)?;
    let folder = place.open()?;
    if let Some(dropbox) = folder.dropbox() {
        let to = named(RECEIVED)?;
        let made = dropbox.request_files(title, &to, Some(system_time(deadline)));
        made.map_err(of_dropbox)?;
    } else {
        let chosen = ask.form.get("quota");
        let quota = QUOTAS.iter().find(|(value, _)| *value == chosen);
        let (_, millions) = quota.ok_or(Fault::Typed("drop.unsupported"))?;
        let requests = requests_of(&place, &folder).ok_or(Fault::NotFound)?;
        let made = requests.create(title, deadline, millions * 1_000_000, ask.at());
        made.map_err(fault_of)?;
    }
    page.audit.note(ask.at(), "request", title);
    Ok(go("/drop/links?told=requested"))
}

fn close_one(place: &Place, folder: &Folder, id: &str) -> Result<(), Fault> {
    let closed = match (folder.dropbox(), requests_of(place, folder)) {
        (Some(dropbox), _) => dropbox.close_request(id).map_err(drop::Error::from),
        (None, Some(requests)) => requests.close(id),
        (None, None) => Ok(()),
    };
    closed.map_err(fault_of)
}

pub(crate) fn close(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = Place::needed(page)?;
    let id = ask.form.get("id");
    close_one(&place, &place.open()?, id)?;
    page.audit.note(ask.at(), "close", id);
    Ok(go("/drop/links?told=closed"))
}

/// What a form names of what has come in.
fn received(ask: &Ask, requests: &Requests) -> Result<Received, Fault> {
    let (id, object) = (ask.form.get("id"), ask.form.exact("object"));
    let all = requests.list().map_err(fault_of)?;
    let request = all.into_iter().find(|request| request.id == id);
    let mut files = request.ok_or(Fault::NotFound)?.received.into_iter();
    let file = files.find(|file| file.object.as_str() == object);
    file.ok_or(Fault::NotFound)
}

/// Takes what has come in into the folder. It replaces nothing.
pub(crate) fn accept(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = Place::needed(page)?;
    let mut folder = place.open()?;
    let requests = requests_of(&place, &folder).ok_or(Fault::NotFound)?;
    let file = received(ask, &requests)?;
    let accepted = requests.accept(&mut folder, &file, &named(RECEIVED)?, ask.at());
    let path = accepted.map_err(fault_of)?;
    page.audit.note(ask.at(), "accept", path.as_str());
    Ok(go("/drop/links?told=accepted"))
}

pub(crate) fn reject(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = Place::needed(page)?;
    let folder = place.open()?;
    let requests = requests_of(&place, &folder).ok_or(Fault::NotFound)?;
    let file = received(ask, &requests)?;
    requests.reject(&file).map_err(fault_of)?;
    page.audit.note(ask.at(), "reject", &file.file_name);
    Ok(go("/drop/links?told=rejected"))
}
