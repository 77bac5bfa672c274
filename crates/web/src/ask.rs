//! A request as a screen needs it, and the way from a request to an answer.
//!
//! Screens are plain functions: what they ask of the engine takes its time and its threads, so each
//! runs apart from those that serve connections. A screen that panics is an error page.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use jiff::{Timestamp, ZonedDateTime};
use percent_encoding::percent_decode;
use tree::TreePath;

use crate::Page;
use crate::fault::Fault;
use crate::layout;
use crate::say::Say;
use crate::session::Visitor;
use crate::settings::Settings;

/// Most bytes of a form.
const FORM_SIZE_MAX: usize = 256 * 1024;
/// How long a form may take to come.
const FORM_TIME: std::time::Duration = std::time::Duration::from_secs(30);

/// The name of the cookie of a session.
pub(crate) const COOKIE: &str = "ravelin-session";

/// Draws a screen, or does what a form asks for.
pub(crate) type Screen = fn(&Arc<Page>, &Ask) -> Result<Response, Fault>;

/// What a screen has to know of a request.
pub(crate) struct Ask {
    /// Behind the name of the machine.
    pub(crate) path: String,
    /// Behind the question mark.
    pub(crate) query: Pairs,
    /// What a form says.
    pub(crate) form: Pairs,
    /// Who is signed in.
    pub(crate) visitor: Option<Visitor>,
    /// The cookie of the session.
    pub(crate) cookie: Option<String>,
    /// What a program sends instead of it.
    pub(crate) bearer: Option<String>,
    /// The language.
    pub(crate) say: Say,
    /// When it came, where this machine is.
    pub(crate) now: ZonedDateTime,
    /// Whether a part of a page is wanted, by our own script.
    pub(crate) is_fragment: bool,
    /// The home of the person, which `~` stands for.
    home: String,
}

impl Ask {
    /// The time.
    pub(crate) fn at(&self) -> Timestamp {
        self.now.timestamp()
    }

    /// A path of a snapshot as people write it; control signs are shown as such.
    pub(crate) fn shown(&self, path: &TreePath) -> String {
        let text = format!("/{path}");
        match text.strip_prefix(&self.home) {
            Some("") => "~".to_owned(),
            Some(rest) if rest.starts_with('/') => format!("~{rest}"),
            _ => text,
        }
    }

    /// Whether a link to one file, or a request for files, is followed: whoever does so, sees nothing
    /// else of the page.
    pub(crate) fn is_guest(&self) -> bool {
        self.path.starts_with("/s/") || self.path.starts_with("/r/")
    }

    /// What makes a form one of this session.
    pub(crate) fn form_token(&self) -> &str {
        let visitor = self.visitor.as_ref();
        visitor.map_or("", |visitor| &visitor.form_token)
    }
}

/// Names with values, in the order in which they came; a name may come several times.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// Reads `a=1&b=2` as forms and addresses have it. What is not UTF-8 becomes `U+FFFD`.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let plain = |part: &[u8]| {
            let spaced: Vec<u8> = part
                .iter()
                .map(|&byte| if byte == b'+' { b' ' } else { byte })
                .collect();
            percent_decode(&spaced).decode_utf8_lossy().into_owned()
        };
        let parts = bytes
            .split(|&byte| byte == b'&')
            .filter(|part| !part.is_empty());
        Self(
            parts
                .map(|part| {
                    let mut sides = part.splitn(2, |&byte| byte == b'=');
                    let name = sides.next().unwrap_or_default();
                    (plain(name), plain(sides.next().unwrap_or_default()))
                })
                .collect(),
        )
    }

    /// The first value of a name, without the blanks around it; empty when there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default().trim()
    }

    /// The first value of a name as it came.
    pub(crate) fn exact(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// All values of a name.
    pub(crate) fn all<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        let of_name =
            move |(known, value): &'a (String, String)| (known == name).then_some(value.as_str());
        self.0.iter().filter_map(of_name)
    }

    /// Whether a name came with anything.
    pub(crate) fn has(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }
}

/// A screen to look at, for those who are signed in.
pub(crate) fn shown(screen: Screen) -> MethodRouter<Arc<Page>> {
    get(move |state, request| answer(state, request, screen, true))
}

/// A deed, for those who are signed in: the form must be one of their session.
pub(crate) fn done(screen: Screen) -> MethodRouter<Arc<Page>> {
    post(move |state, request| answer(state, request, screen, true))
}

/// A screen for everybody.
pub(crate) fn shown_to_all(screen: Screen) -> MethodRouter<Arc<Page>> {
    get(move |state, request| answer(state, request, screen, false))
}

/// A deed of somebody who is not signed in.
pub(crate) fn done_by_all(screen: Screen) -> MethodRouter<Arc<Page>> {
    post(move |state, request| answer(state, request, screen, false))
}

async fn answer(
    State(page): State<Arc<Page>>,
    request: Request,
    screen: Screen,
    needs_visitor: bool,
) -> Response {
    let (parts, body) = request.into_parts();
    let form = if parts.method == Method::POST {
        match read_form(&parts.headers, body).await {
            Ok(form) => form,
            Err(status) => return status.into_response(),
        }
    } else {
        Pairs::default()
    };
    let work = move || {
        let ask = ask(&page, &parts.uri, &parts.headers, form);
        let answer = if needs_visitor && ask.visitor.is_none() {
            Err(Fault::SignIn)
        } else if needs_visitor && parts.method == Method::POST && !is_ours(&ask) {
            Err(Fault::Stale)
        } else {
            screen(&page, &ask)
        };
        answer.unwrap_or_else(|fault| layout::fault(&page, &ask, &fault))
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(response) => response,
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "This is a mistake of the program. Nothing more is known here.\n",
        )
            .into_response(),
    }
}

/// Reads a form, and nothing else: what only scripts can send is no form of ours.
async fn read_form(headers: &HeaderMap, body: Body) -> Result<Pairs, StatusCode> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let bytes = axum::body::to_bytes(body, FORM_SIZE_MAX);
    let bytes = tokio::time::timeout(FORM_TIME, bytes).await;
    let bytes = bytes.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
    let bytes = bytes.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    Ok(Pairs::parse(&bytes))
}

/// What is known of a request before its screen is asked.
pub(crate) fn ask(page: &Page, uri: &axum::http::Uri, headers: &HeaderMap, form: Pairs) -> Ask {
    let now = page.now();
    let cookie = cookie(headers);
    let visitor = cookie
        .as_deref()
        .and_then(|cookie| page.sessions.visitor(cookie, now.timestamp()));
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let accepted = header("accept-language").unwrap_or_default();
    let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    Ask {
        bearer: bearer.map(|token| token.trim().to_owned()),
        path: uri.path().to_owned(),
        query: Pairs::parse(uri.query().unwrap_or_default().as_bytes()),
        form,
        visitor,
        cookie,
        say: Say::choose(
            Settings::read(&page.machine.places.state).language,
            accepted,
        ),
        now,
        is_fragment: header("hx-request") == Some("true"),
        home: page.machine.places.home.display().to_string(),
    }
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter();
    let cookies = lines.filter_map(|line| line.to_str().ok());
    let mut cookies = cookies.flat_map(|line| line.split(';'));
    cookies.find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE).then(|| value.to_owned())
    })
}

/// Whether a form is one that this session was shown.
pub(crate) fn is_ours(ask: &Ask) -> bool {
    is_token(ask, ask.form.exact("token"))
}

/// Whether somebody knows what only the pages of this session say.
pub(crate) fn is_token(ask: &Ask, typed: &str) -> bool {
    use subtle::ConstantTimeEq as _;
    let known = ask.form_token();
    !known.is_empty() && bool::from(known.as_bytes().ct_eq(typed.as_bytes()))
}

/// Sends the browser elsewhere after a deed, so that going back does not do it again.
pub(crate) fn go(place: &str) -> Response {
    (
        StatusCode::SEE_OTHER,
        [(header::LOCATION, place.to_owned())],
    )
        .into_response()
}

/// A value as a part of an address.
pub(crate) fn quoted(value: &str) -> String {
    percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_as_browsers_write_them() {
        let pairs = Pairs::parse(b"a=1+2&b=%C3%A4%26&a=3&c&=x&d=%ff%zz");
        assert_eq!(pairs.all("a").collect::<Vec<_>>(), ["1 2", "3"]);
        assert_eq!(pairs.get("b"), "ä&");
        assert!(!pairs.has("c"));
        assert_eq!(pairs.get("d"), "\u{fffd}%zz");
    }
}
