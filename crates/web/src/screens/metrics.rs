//! The numbers for Prometheus, for a program that sends the token of the configuration.
//!
//! Without a token in the configuration there is no such address: who may look at the page is decided by
//! signing in, and a program cannot.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use crate::Page;
use crate::ask::Ask;
use crate::fault::Fault;

/// The text format of Prometheus, as it wants it named.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) fn show(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    if page.is_new() {
        return Err(Fault::NotFound);
    }
    let config = page.config()?;
    let Some(reference) = &config.metrics_token else {
        return Err(Fault::NotFound);
    };
    // A token that cannot be fetched is none that anybody could send. To who sends none it is not even fetched.
    let is_known = ask.bearer.as_ref().is_some_and(|sent| {
        let token = page.machine.keeper().fetch(reference);
        token.is_ok_and(|token| token.expose().as_bytes().ct_eq(sent.as_bytes()).into())
    });
    if !is_known {
        let wanted = [(header::WWW_AUTHENTICATE, "Bearer")];
        let text = "The token of `[metrics]` is wanted.\n";
        return Ok((StatusCode::UNAUTHORIZED, wanted, text).into_response());
    }
    let text = engine::metrics::text(&page.status(&config)?);
    Ok(([(header::CONTENT_TYPE, FORMAT)], text).into_response())
}
