//! What those see who have a link: one file, or a place for files of theirs. Nothing else of the page
//! is theirs, and nothing tells a link that never was from one that is over.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use drop::{Declined, Refusal};
use maud::{Markup, html};

use super::links::{of, requests_of};
use super::{Place, streamed};
use crate::Page;
use crate::ask::Ask;
use crate::fault::Fault;
use crate::icon::icon;
use crate::layout::{Screen, exact_time};
use crate::screens::restore::attachment;

/// What guests are shown.
pub(super) struct Guest;

/// What stands in the address behind a prefix.
pub(super) fn token_of<'a>(ask: &'a Ask, prefix: &str) -> &'a str {
    ask.path.strip_prefix(prefix).unwrap_or_default()
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

pub(super) fn declined(declined: &Declined) -> &'static str {
    match declined {
        Declined::Unknown => "guest.unknown",
        Declined::TooLate => "guest.too-late",
        Declined::TooLarge => "guest.too-large",
        Declined::BadName => "drop.wrong-name",
        Declined::Incomplete => "drop.incomplete",
        Declined::Failed(_) => "guest.failed",
    }
}

fn answer(ask: &Ask, status: StatusCode, middle: &Markup) -> Response {
    let title = ask.say.t("guest.title");
    Screen::new(ask, "", title)
        .for_guests()
        .answer_with(status, middle)
}

fn told(ask: &Ask, status: StatusCode, key: &str) -> Response {
    answer(
        ask,
        status,
        &html! { div.card.narrow { h1 { (ask.say.t("guest.title")) } p { (ask.say.t(key)) } } },
    )
}

/// The folder that guests come to; where there is none, no link is known.
fn place(page: &Page) -> Result<Place, Fault> {
    Place::of(page).ok().flatten().ok_or(Fault::NotFound)
}

/// Shows what a link leads to. Looking does not use it up.
pub(crate) fn look(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    Ok(shown(page, ask, None))
}

fn shown(page: &Arc<Page>, ask: &Ask, wrong: Option<(StatusCode, &'static str)>) -> Response {
    let say = ask.say;
    let looked = place(page).and_then(|place| Ok((of(page, &place)?, place.open()?)));
    let Ok((links, folder)) = looked else {
        return told(ask, StatusCode::NOT_FOUND, "guest.unknown");
    };
    let shown = match links.look(&folder, token_of(ask, "/s/"), ask.at()) {
        Ok(shown) => shown,
        Err(refusal) => {
            let (status, key) = refused(&refusal);
            return told(ask, status, key);
        }
    };
    let status = wrong.map_or(StatusCode::OK, |(status, _)| status);
    let middle = html! {
        div.card.narrow {
            h1.path { (icon("file")) " " bdi { (shown.file_name) } }
            @if let Some((_, key)) = wrong { div.note.bad role="alert" { (say.t(key)) } }
            @if let Some(size) = shown.size { p { (say.size(size)) } }
            p.dim { (say.t("drop.ends")) " " (exact_time(ask, shown.expires))
                @if shown.once { " · " (say.t("drop.once")) } }
            form method="post" {
                @if shown.needs_password {
                    div.field {
                        label for="password" { (say.t("enter.password")) }
                        input #password type="password" name="password" required autocomplete="off";
                    }
                }
                button.main.large { (icon("download")) (say.t("restore.download")) }
            }
        }
    };
    answer(ask, status, &middle)
}

/// Gives the file.
pub(crate) fn open(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let place = place(page)?;
    let links = of(page, &place)?;
    let mut folder = place.open()?;
    let password = ask.form.exact("password");
    let password = (!password.is_empty()).then_some(password);
    match links.open(&mut folder, token_of(ask, "/s/"), password, ask.at()) {
        Ok((version, body)) => {
            page.audit
                .note(ask.at(), "link-used", version.path.as_str());
            Ok(attachment(version.path.file_name(), streamed(body)?))
        }
        Err(refusal @ (Refusal::PasswordNeeded | Refusal::WrongPassword)) => {
            Ok(shown(page, ask, Some(refused(&refusal))))
        }
        Err(refusal) => {
            let (status, key) = refused(&refusal);
            Ok(told(ask, status, key))
        }
    }
}

/// Shows what somebody asks for.
pub(crate) fn ask_for_files(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let requests = place(page).and_then(|place| requests_of(&place));
    let Ok(requests) = requests else {
        return Ok(told(ask, StatusCode::NOT_FOUND, "guest.unknown"));
    };
    match requests.look(token_of(ask, "/r/"), ask.at()) {
        Ok(asked) => {
            let say = ask.say;
            let middle = html! {
                div.narrow {
                    h1 { (say.t("guest.asked")) }
                    p.dim { (say.t("drop.ends")) " " (exact_time(ask, asked.deadline)) " · "
                        (say.t("guest.room")) " " (say.size(asked.room)) }
                    (Guest::zone(ask, &asked.title))
                }
            };
            Ok(answer(ask, StatusCode::OK, &middle))
        }
        Err(why) => Ok(told(ask, StatusCode::NOT_FOUND, declined(&why))),
    }
}

/// Thanks for files.
pub(super) fn thanks(ask: &Ask, count: usize) -> Response {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    let middle = html! {
        div.card.narrow {
            h1 { (ask.say.t("guest.thanks")) }
            p role="status" { (ask.say.count(count, "guest.received")) }
        }
    };
    answer(ask, StatusCode::OK, &middle)
}
