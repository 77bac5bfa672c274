//! Coming in: by a link that the terminal printed, or by a password from other machines.

use std::sync::Arc;

use axum::http::header::{self, HeaderValue};
use axum::response::Response;
use jiff::SignedDuration;
use maud::{Markup, html};

use crate::ask::{Ask, COOKIE, go};
use crate::fault::Fault;
use crate::icon::icon;
use crate::layout::{Screen, ticked};
use crate::session::Denied;
use crate::{Page, password};

/// Shows the way in. A link is not used up by looking at it: whoever previews links would.
pub(crate) fn show(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    if ask.visitor.is_some() {
        return Ok(go("/"));
    }
    let link = ask.query.exact("link");
    if link.is_empty() {
        return Ok(needed(page, ask));
    }
    let say = ask.say;
    let middle = html! {
        div.card.narrow {
            h1 { (say.t("enter.title")) }
            p { (say.t("enter.text")) }
            form method="post" action="/sign-in" data-submit="" {
                input type="hidden" name="link" value=(link);
                button.main.large { (say.t("enter.button")) }
            }
        }
    };
    Ok(Screen::new(ask, "", say.t("enter.title")).answer(&middle))
}

/// What those see who are not signed in.
pub(crate) fn needed(page: &Page, ask: &Ask) -> Response {
    answer(page, ask, None)
}

fn answer(page: &Page, ask: &Ask, wrong: Option<Markup>) -> Response {
    let say = ask.say;
    let has_password = password::is_set(&page.machine.places.state);
    let middle = html! {
        div.card.narrow {
            h1 { (say.t("enter.needed")) }
            @if let Some(wrong) = wrong { div.note.bad role="alert" { (icon("bad")) " " (wrong) } }
            p { (ticked(say.t("enter.needed-text"))) }
            form method="post" action="/sign-in/link" {
                button { (say.t("enter.new-link")) }
            }
            @if has_password {
                form method="post" action="/sign-in" {
                    h2 { (say.t("enter.by-password")) }
                    div.field {
                        label for="password" { (say.t("enter.password")) }
                        input #password type="password" name="password" required autocomplete="current-password";
                    }
                    button.main { (say.t("enter.button")) }
                }
            }
        }
    };
    Screen::new(ask, "", say.t("enter.needed")).answer_with(Fault::SignIn.status(), &middle)
}

/// Lets in who has the link or knows the password.
pub(crate) fn enter(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let (now, random) = (ask.at(), page.machine.random);
    let link = ask.form.exact("link");
    let entered = if link.is_empty() {
        let typed = ask.form.exact("password");
        let state = &page.machine.places.state;
        page.sessions
            .sign_in_by_password(now, random, || password::is_right(typed, state))
    } else {
        page.sessions.sign_in(link, now, random)
    };
    match entered {
        Ok(cookie) => {
            let cookie = cookie.map_err(|source| engine::Error::State {
                action: "get random numbers for",
                path: page.machine.places.state.clone(),
                source,
            })?;
            page.audit.note(now, "sign-in", "");
            Ok(with_cookie(page, go("/"), &cookie))
        }
        Err(Denied::Wrong) => {
            page.audit.note(now, "sign-in-refused", "");
            let text = ask.say.t("enter.wrong");
            Ok(answer(page, ask, Some(html! { (text) })))
        }
        Err(Denied::TooMany(wait)) => Err(too_many(wait)),
    }
}

fn too_many(wait: SignedDuration) -> Fault {
    Fault::TooMany(wait.as_secs().max(1))
}

/// Lets the terminal print a new link. Who sees the terminal may come in.
pub(crate) fn new_link(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    if page.sessions.just_invited(ask.at()) {
        return Err(too_many(SignedDuration::from_secs(10)));
    }
    if let Ok(link) = page.invite() {
        (page.tell)(&link);
    }
    Ok(go("/sign-in"))
}

/// Sets the cookie of a session: no script reads it, and no other site's page sends it.
fn with_cookie(page: &Page, mut response: Response, cookie: &str) -> Response {
    let secure = if page.address.is_secure() {
        "; Secure"
    } else {
        ""
    };
    let line = format!("{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Strict{secure}");
    if let Ok(value) = HeaderValue::from_str(&line) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}
