//! What stands before every screen: is this request from our own page, and in which frame may the
//! answer be shown?
//!
//! Order matters: the name first (DNS rebinding), then where a change comes from (cross-site
//! posts), and only then, in [`crate::ask`], who it is.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::Page;

/// Only what we serve ourselves, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Lets a request through, or refuses it.
pub(crate) async fn guard(State(page): State<Arc<Page>>, request: Request, next: Next) -> Response {
    let mut response = match check(&page, &request) {
        Ok(()) => next.run(request).await,
        Err(status) => refusal(status),
    };
    let headers = response.headers_mut();
    // A screen may set a policy that is narrower.
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(POLICY));
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // With `no-referrer`, browsers would leave the origin out of our own forms.
        (header::REFERRER_POLICY, "same-origin"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn refusal(status: StatusCode) -> Response {
    let text = match status {
        StatusCode::MISDIRECTED_REQUEST => "This is not an address of this page.\n",
        _ => "This did not come from this page.\n",
    };
    (status, text).into_response()
}

fn check(page: &Page, request: &Request) -> Result<(), StatusCode> {
    let origin = origin(page, request).ok_or(StatusCode::MISDIRECTED_REQUEST)?;
    match *request.method() {
        Method::GET | Method::HEAD => Ok(()),
        _ if is_from(&origin, request.headers()) => Ok(()),
        _ => Err(StatusCode::FORBIDDEN),
    }
}

/// The one origin under which the request came; `None` when it is not for us.
fn origin(page: &Page, request: &Request) -> Option<String> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    // Two names: proxies and browsers would not agree which one counts.
    if hosts.next().is_some() {
        return None;
    }
    // A target with a name of its own goes before the header.
    if let Some(authority) = request.uri().authority()
        && !authority.as_str().eq_ignore_ascii_case(host)
    {
        return None;
    }
    page.address.origin(host)
}

/// Whether a change was asked for by a page of ours. Browsers say so in one of two ways at least;
/// who is no browser has no session to abuse.
fn is_from(origin: &str, headers: &HeaderMap) -> bool {
    let value = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let sites = value("sec-fetch-site");
    if sites.is_some_and(|site| site != b"same-origin") {
        return false;
    }
    match (value("origin"), value("referer")) {
        (Some(from), _) => from == origin.as_bytes(),
        (None, Some(from)) => from
            .strip_prefix(origin.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&b'/')),
        (None, None) => sites.is_some(),
    }
}
