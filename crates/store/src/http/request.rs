//! A request: can be sent any number of times.

use std::io;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::LocalError;
use crate::{Content, Error, ErrorKind, Operation};

/// All but the unreserved characters of RFC 3986, as Amazon's signatures want it.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The same, with `/` left alone.
const STRICT_PATH: &AsciiSet = &STRICT.remove(b'/');

/// Percent-encodes all but unreserved characters.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, STRICT).to_string()
}

/// Percent-encodes all but unreserved characters and slashes.
pub(crate) fn encode_path(text: &str) -> String {
    utf8_percent_encode(text, STRICT_PATH).to_string()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Put,
    Post,
    Patch,
    Delete,
    Propfind,
    Mkcol,
    Move,
    Copy,
}

impl Method {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Propfind => "PROPFIND",
            Self::Mkcol => "MKCOL",
            Self::Move => "MOVE",
            Self::Copy => "COPY",
        }
    }

    pub(crate) fn wants_length(self) -> bool {
        matches!(self, Self::Put | Self::Post | Self::Patch)
    }
}

#[derive(Clone)]
pub(crate) enum Body<'a> {
    None,
    Bytes(Vec<u8>),
    Content(&'a dyn Content),
}

#[derive(Clone)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    /// Without query, percent-encoded.
    pub(crate) url: String,
    /// Not yet encoded.
    pub(crate) query: Vec<(String, String)>,
    /// Names in lower case.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body<'a>,
    /// What it is counted as.
    pub(crate) class: &'static str,
    /// What is being done, for errors.
    pub(crate) operation: Operation,
    /// On which object, for errors.
    pub(crate) object: String,
    /// Statuses that are answers rather than refusals, besides all of 2xx.
    pub(crate) accepted: &'static [u16],
}

impl<'a> Request<'a> {
    pub(crate) fn new(
        method: Method,
        url: impl Into<String>,
        class: &'static str,
        operation: Operation,
        object: &(impl std::fmt::Display + ?Sized),
    ) -> Self {
        Self {
            method,
            url: url.into(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::None,
            class,
            operation,
            object: object.to_string(),
            accepted: &[],
        }
    }

    pub(crate) fn query(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sets a header that a former try may have set.
    pub(crate) fn set_header(&mut self, name: &'static str, value: String) {
        self.headers.retain(|(existing, _)| *existing != name);
        self.headers.push((name, value));
    }

    pub(crate) fn header_value(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(existing, _)| *existing == name)?;
        Some(value)
    }

    pub(crate) fn content(mut self, content: &'a dyn Content) -> Self {
        self.body = Body::Content(content);
        self
    }

    pub(crate) fn bytes(mut self, bytes: Vec<u8>) -> Self {
        self.body = Body::Bytes(bytes);
        self
    }

    pub(crate) fn json(self, value: &serde_json::Value) -> Self {
        self.header("content-type", "application/json")
            .bytes(value.to_string().into_bytes())
    }

    pub(crate) fn accept(mut self, statuses: &'static [u16]) -> Self {
        self.accepted = statuses;
        self
    }

    pub(super) fn accepts(&self, status: u16) -> bool {
        (200..300).contains(&status) || self.accepted.contains(&status)
    }

    /// The query as it is sent and signed: encoded, sorted by name.
    pub(crate) fn query_string(&self) -> String {
        let mut pairs: Vec<String> = self
            .query
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        pairs.sort();
        pairs.join("&")
    }

    pub(crate) fn uri(&self) -> String {
        if self.query.is_empty() {
            self.url.clone()
        } else {
            format!("{}?{}", self.url, self.query_string())
        }
    }

    /// Goes to `target` if that is the same scheme, host and port.
    pub(super) fn redirect(&mut self, target: &str) -> Result<(), Error> {
        let (target, _) = target.split_once('?').unwrap_or((target, ""));
        let target = if target.starts_with('/') && !target.starts_with("//") {
            format!("{}{target}", origin(&self.url))
        } else {
            target.to_owned()
        };
        if origin(&target) != origin(&self.url) {
            let why = format!(
                "the server redirects to another place: {}",
                origin(&target).escape_debug()
            );
            return Err(self.error(ErrorKind::Invalid).because(why));
        }
        self.url = target;
        Ok(())
    }

    pub(crate) fn error(&self, kind: ErrorKind) -> Error {
        let error = Error::new(kind, self.operation);
        if self.object.is_empty() {
            error
        } else {
            error.on(&self.object)
        }
    }

    /// An error of what was to be sent.
    pub(super) fn local(&self, error: io::Error) -> Error {
        match Error::unwrap_io(error) {
            Ok(error) => error,
            Err(error) => self.error(ErrorKind::Io).because(error),
        }
    }

    /// An error of the connection, or of what was to go through it.
    pub(super) fn broken(&self, error: ureq::Error) -> Error {
        let error = match error {
            ureq::Error::Io(error) => match Error::unwrap_io(error) {
                Ok(error) => return error,
                Err(error) => match error.downcast::<LocalError>() {
                    Ok(LocalError(local)) => return self.error(ErrorKind::Io).because(local),
                    Err(error) => ureq::Error::Io(error),
                },
            },
            other => other,
        };
        let lasting = match &error {
            ureq::Error::Http(_) | ureq::Error::BadUri(_) | ureq::Error::InvalidProxyUrl => true,
            ureq::Error::Rustls(error) => is_certificate(&error.to_string()),
            ureq::Error::Io(error) => is_certificate(&error.to_string()),
            _ => false,
        };
        let kind = if lasting {
            ErrorKind::Invalid
        } else {
            ErrorKind::Unavailable
        };
        // The text of the library may hold the address with its query.
        let text = match &error {
            ureq::Error::BadUri(_) => "the address is not valid".to_owned(),
            other => other.to_string(),
        };
        self.error(kind)
            .because(format!("{}: {text}", origin(&self.url)))
    }
}

/// A certificate that is not trusted does not become so by waiting. The library tells this by
/// type only inside of an opaque error.
fn is_certificate(text: &str) -> bool {
    text.contains("invalid peer certificate")
}

/// Scheme, host and port.
pub(crate) fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let rest = url.get(start..).unwrap_or_default();
    let end = rest
        .find(['/', '?', '#'])
        .map_or(url.len(), |at| start + at);
    url.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request<'static> {
        Request::new(
            Method::Get,
            "https://a.example:1/x",
            "test",
            Operation::Read,
            "x",
        )
    }

    #[test]
    fn a_redirect_stays_at_home() {
        for good in ["https://a.example:1/y", "/y?z=1"] {
            let mut request = request();
            request.redirect(good).unwrap();
            assert_eq!(request.url, "https://a.example:1/y");
        }
        for bad in [
            "http://a.example:1/y",
            "https://a.example/y",
            "https://b.example:1/",
            "//b/",
            "https://a.example:1@b/",
            "x",
        ] {
            assert!(request().redirect(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn queries_are_encoded_and_sorted() {
        let request = request()
            .query("b", "x y/ü")
            .query("a-b", "")
            .query("a", "1");
        assert_eq!(request.query_string(), "a-b=&a=1&b=x%20y%2F%C3%BC");
    }
}
