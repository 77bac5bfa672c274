//! What those see who have a link: one file, or a place for files of theirs. Nothing else of the page
//! is theirs, and nothing tells a link that never was from one that is over.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use drop::{Declined, Refusal, Requests};
use maud::{Markup, html};

use super::links::{links_of, requests_of};
use super::{Place, streamed};
use crate::Page;
use crate::ask::Ask;
use crate::fault::Fault;
use crate::icon::icon;
use crate::layout::{Screen, exact_time};
use crate::screens::restore::attachment;

/// What is looked at runs nothing and reaches nothing, whatever stands in it.
const VIEW_POLICY: &str = "default-src 'none'; img-src 'self'; sandbox; frame-ancestors 'none'; \
    base-uri 'none'; form-action 'none'";

/// Signs of a token: 48 bytes in base64.
const TOKEN_LENGTH: usize = 64;

/// The token in an address, if it could be one and its turn has come. Nothing is asked of the store
/// before that.
pub(super) fn token_of<'a>(page: &Page, ask: &'a Ask, prefix: &str) -> Result<&'a str, Fault> {
    let token = ask.path.strip_prefix(prefix).unwrap_or_default();
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if token.len() != TOKEN_LENGTH || !token.bytes().all(is_sign) {
        return Err(Fault::NotFound);
    }
    match page.guests.take(token, ask.at()) {
        Ok(()) => Ok(token),
        Err(seconds) => Err(Fault::TooMany(seconds)),
    }
}

fn refused(refusal: &Refusal) -> (StatusCode, &'static str) {
    match refusal {
        Refusal::Unknown => (StatusCode::NOT_FOUND, "guest.unknown"),
        Refusal::Expired => (StatusCode::GONE, "guest.expired"),
        Refusal::Used => (StatusCode::GONE, "guest.used"),
        Refusal::PasswordNeeded => (StatusCode::FORBIDDEN, "guest.password-needed"),
        Refusal::WrongPassword => (StatusCode::FORBIDDEN, "guest.wrong-password"),
        Refusal::TooManyTries { .. } => (StatusCode::TOO_MANY_REQUESTS, "guest.too-many"),
        Refusal::Gone => (StatusCode::GONE, "guest.gone"),
        Refusal::Failed(_) => (StatusCode::SERVICE_UNAVAILABLE, "guest.failed"),
    }
}

pub(super) fn declined(declined: &Declined) -> Fault {
    Fault::Typed(match declined {
        Declined::Unknown => return Fault::NotFound,
        Declined::TooLate => "guest.too-late",
        Declined::TooLarge => "guest.too-large",
        Declined::BadName => "drop.wrong-name",
        Declined::Incomplete => "guest.incomplete",
        Declined::Failed(_) => "guest.failed",
    })
}

fn answer(ask: &Ask, status: StatusCode, middle: &Markup) -> Response {
    let title = ask.say.t("guest.title");
    Screen::new(ask, "", title)
        .alone()
        .answer_with(status, middle)
}

/// Says why there is nothing for this guest. When a wait is asked for, for how many seconds.
fn told(ask: &Ask, refusal: &Refusal) -> Response {
    let (status, key) = refused(refusal);
    let middle = html! {
        div.card.narrow { h1 { (ask.say.t("guest.nothing")) } p role="alert" { (ask.say.t(key)) } }
    };
    let mut response = answer(ask, status, &middle);
    if let Refusal::TooManyTries { wait } = refusal {
        let value = HeaderValue::from(wait.as_secs().max(1));
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

/// The folder that guests come to; where there is none, no link is known.
fn place(page: &Page) -> Result<Place, Fault> {
    Place::of(page).ok().flatten().ok_or(Fault::NotFound)
}

/// Shows what a link leads to. Looking does not use it up.
pub(crate) fn look(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    shown(page, ask, token_of(page, ask, "/s/")?, None)
}

fn shown(page: &Page, ask: &Ask, token: &str, wrong: Option<&Refusal>) -> Result<Response, Fault> {
    let say = ask.say;
    let place = place(page)?;
    let folder = place.open()?;
    let links = links_of(page, &place, &folder).ok_or(Fault::NotFound)?;
    let shown = match links.look(&folder, token, ask.at()) {
        Ok(shown) => shown,
        Err(refusal) => return Ok(told(ask, &refusal)),
    };
    page.guests.know(token);
    let wrong = wrong.map(refused);
    let status = wrong.map_or(StatusCode::OK, |(status, _)| status);
    let middle = html! {
        div.card.narrow {
            // Who does not know the password learns nothing of the file, not even its name.
            @if shown.needs_password { h1 { (say.t("guest.title")) } }
            @else { h1.path.named { (icon("file")) span { bdi { (shown.file_name) } } } }
            @if let Some((_, key)) = wrong { div.note.bad role="alert" { (say.t(key)) } }
            @if let Some(size) = shown.size { p { (say.size(size)) } }
            p.dim { (say.t("drop.ends")) " " (exact_time(ask, shown.expires)) "."
                @if shown.once { " " (say.t("guest.once")) } }
            form method="post" {
                @if shown.needs_password {
                    div.field {
                        label for="password" { (say.t("enter.password")) }
                        input #password type="password" name="password" required autocomplete="off";
                    }
                }
                @if shown.download {
                    button.main.large { (icon("download")) (say.t("restore.download")) }
                } @else {
                    button.main.large { (icon("file")) (say.t("guest.view")) }
                }
            }
        }
    };
    Ok(answer(ask, status, &middle))
}

/// Gives the file.
pub(crate) fn open(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let token = token_of(page, ask, "/s/")?;
    let place = place(page)?;
    let mut folder = place.open()?;
    let links = links_of(page, &place, &folder).ok_or(Fault::NotFound)?;
    let typed = ask.form.exact("password");
    let password = (!typed.is_empty()).then_some(typed);
    let known = match links.look(&folder, token, ask.at()) {
        Ok(known) => known,
        Err(refusal) => return Ok(told(ask, &refusal)),
    };
    match links.open(&mut folder, token, password, ask.at()) {
        Ok((version, body)) => {
            let file_name = version.path.file_name();
            page.audit
                .note(ask.at(), "link-used", version.path.as_str());
            let body = streamed(body)?;
            match drop::viewable(file_name).filter(|_| !known.download) {
                Some(kind) => Ok(view(kind, body)),
                None => Ok(attachment(file_name, body)),
            }
        }
        Err(refusal @ (Refusal::PasswordNeeded | Refusal::WrongPassword)) => {
            if !typed.is_empty() {
                page.audit.note(ask.at(), "link-refused", &known.file_name);
            }
            shown(page, ask, token, Some(&refusal))
        }
        Err(refusal) => Ok(told(ask, &refusal)),
    }
}

/// A file to be looked at, of a kind that runs nothing.
fn view(kind: &'static str, body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, "inline"),
        (header::CONTENT_SECURITY_POLICY, VIEW_POLICY),
    ];
    (headers, body).into_response()
}

/// The requests that guests come to.
pub(super) fn requests(page: &Page) -> Result<Requests, Fault> {
    let place = place(page)?;
    let folder = place.open()?;
    requests_of(&place, &folder).ok_or(Fault::NotFound)
}

/// Shows what somebody asks for.
pub(crate) fn ask_for_files(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let token = token_of(page, ask, "/r/")?;
    let asked = requests(page)?
        .look(token, ask.at())
        .map_err(|why| declined(&why))?;
    page.guests.know(token);
    let say = ask.say;
    let middle = html! {
        div.narrow {
            h1 { (say.t("guest.asked")) }
            p.lead { bdi { (asked.title) } }
            p.dim { (say.t("drop.ends")) " " (exact_time(ask, asked.deadline)) ". "
                (say.put("guest.room", &[("size", &say.size(asked.room))])) }
            form.drop method="post" enctype="multipart/form-data"
                data-room=(asked.room) data-large=(say.t("guest.too-large")) {
                p { label for="file" { (say.t("guest.choose")) } }
                p { input #file type="file" name="file" multiple required; }
                button.main { (say.t("drop.upload-button")) }
                div role="status" data-status="" {}
            }
            p.dim.small { (say.t("guest.quarantine")) }
        }
    };
    Ok(answer(ask, StatusCode::OK, &middle))
}

/// Thanks for files.
pub(super) fn thanks(ask: &Ask, count: u64) -> Response {
    let middle = html! {
        div.card.narrow {
            h1 { (ask.say.t("guest.thanks")) }
            p role="status" { (ask.say.count(count, "guest.received")) }
            p { a href=(ask.path) { (ask.say.t("guest.more")) } }
        }
    };
    answer(ask, StatusCode::OK, &middle)
}
