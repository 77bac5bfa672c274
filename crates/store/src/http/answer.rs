//! What a server answered: read within bounds, refusals kept short.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ureq::http::HeaderMap;
use ureq::http::response::Parts;

use super::Request;
use super::script::Said;
use crate::{Bandwidth, Error, ErrorKind, Operation};

/// Longest answer that is read into memory: a page of a listing is far below.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;

/// An answer whose body has not been read yet.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HeaderMap,
    body: Box<dyn Read + Send>,
    operation: Operation,
    object: String,
}

impl Answer {
    pub(super) fn new(
        parts: Parts,
        body: ureq::Body,
        request: &Request<'_>,
        bandwidth: &Arc<Bandwidth>,
    ) -> Self {
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: Box::new(bandwidth.down(body.into_with_config().limit(u64::MAX).reader())),
            operation: request.operation,
            object: request.object.clone(),
        }
    }

    /// One that comes from no network.
    pub(super) fn said(said: Said, request: &Request<'_>) -> Self {
        Self {
            status: said.status,
            headers: said.headers,
            body: Box::new(std::io::Cursor::new(said.body)),
            operation: request.operation,
            object: request.object.clone(),
        }
    }

    /// A header's value, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The length that was announced.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// The range that was sent: its first byte, and the size of the whole object.
    pub(crate) fn content_range(&self) -> Option<(Option<u64>, u64)> {
        let (range, total) = self
            .header("content-range")?
            .strip_prefix("bytes ")?
            .split_once('/')?;
        let start = range
            .split_once('-')
            .and_then(|(start, _)| start.parse().ok());
        Some((start, total.parse().ok()?))
    }

    pub(crate) fn last_modified(&self) -> Option<SystemTime> {
        parse_http_date(self.header("last-modified")?)
    }

    pub(super) fn redirect(&self) -> Option<String> {
        let follows = matches!(self.status, 301 | 302 | 307 | 308);
        self.header("location")
            .filter(|_| follows)
            .map(str::to_owned)
    }

    /// The body as it comes.
    pub(crate) fn into_body(self) -> Box<dyn Read + Send> {
        self.body
    }

    /// The whole body, at most 16 MiB.
    pub(crate) fn bytes(self) -> Result<Vec<u8>, Error> {
        let error = |kind| Error::new(kind, self.operation).on(&self.object);
        let mut bytes = Vec::new();
        self.body
            .take(ANSWER_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|cause| {
                let cause = Error::from_io(cause, self.operation, &self.object);
                if cause.is_passing() {
                    cause
                } else {
                    error(ErrorKind::Unavailable).because(cause)
                }
            })?;
        if bytes.len() as u64 > ANSWER_MAX {
            return Err(error(ErrorKind::Invalid).because("the answer is too long"));
        }
        Ok(bytes)
    }

    /// The body as JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(self) -> Result<T, Error> {
        let invalid = Error::new(ErrorKind::Invalid, self.operation).on(&self.object);
        serde_json::from_slice(&self.bytes()?).map_err(|error| invalid.because(error))
    }

    pub(super) fn into_refusal(self, max: u64, now: SystemTime) -> Refusal {
        let retry_after = self
            .header("retry-after")
            .and_then(|value| parse_retry_after(value, now));
        let mut bytes = Vec::new();
        // A refusal whose text is cut is a refusal all the same.
        let _ = self.body.take(max).read_to_end(&mut bytes);
        Refusal {
            status: self.status,
            retry_after,
            headers: self.headers,
            authorization: None,
            received: now,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
}

/// An answer that says no.
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    headers: HeaderMap,
    /// What the refused request proved itself with: whoever renews looks whether that is still
    /// what is used. Never shown.
    pub(super) authorization: Option<String>,
    /// When it came, by our clock.
    pub(crate) received: SystemTime,
    /// The body, cut at 64 KiB.
    pub(crate) text: String,
}

impl Refusal {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether the refused request carried this `authorization`.
    pub(crate) fn used(&self, authorization: &str) -> bool {
        self.authorization.as_deref() == Some(authorization)
    }

    /// The body as JSON; `Null` when it is none.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// What the status means where the service has no words of its own.
    pub(crate) fn usual_kind(&self) -> ErrorKind {
        match self.status {
            401 => ErrorKind::SignIn,
            403 => ErrorKind::Denied,
            404 | 410 => ErrorKind::NotFound,
            409 | 412 => ErrorKind::AlreadyExists,
            413 | 507 => ErrorKind::Full,
            408 | 423 | 500 | 502..=504 => ErrorKind::Unavailable,
            429 => ErrorKind::Busy,
            _ => ErrorKind::Invalid,
        }
    }
}

/// Status and a short, harmless extract: this ends up in messages.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status)?;
        let text: String = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        if !text.is_empty() {
            let short: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
            write!(f, ", {short}")?;
        }
        Ok(())
    }
}

/// Seconds, or a date.
fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    Some(
        parse_http_date(value)?
            .duration_since(now)
            .unwrap_or_default(),
    )
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the form that HTTP requires of those who send dates.
///
/// Source: RFC 9110, section 5.6.7.
pub(crate) fn parse_http_date(text: &str) -> Option<SystemTime> {
    let (_, rest) = text.trim().split_once(", ")?;
    let mut words = rest.split([' ', ':']);
    let mut number = || words.next();
    let day: i8 = number()?.parse().ok()?;
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = number()?;
    let month = i8::try_from(months.iter().position(|name| *name == month)? + 1).ok()?;
    let year: i16 = number()?.parse().ok()?;
    let (hour, minute, second) = (
        number()?.parse().ok()?,
        number()?.parse().ok()?,
        number()?.parse().ok()?,
    );
    let date = jiff::civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let timestamp = jiff::tz::TimeZone::UTC.to_timestamp(date).ok()?;
    timestamp.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(
            now.duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_secs(),
            784_111_777
        );
        assert_eq!(
            parse_retry_after("120", now),
            Some(Duration::from_secs(120))
        );
        assert_eq!(
            parse_retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now),
            Some(Duration::from_secs(60))
        );
        assert_eq!(
            parse_retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now),
            Some(Duration::ZERO)
        );
        assert_eq!(parse_retry_after("soon", now), None);
        assert_eq!(parse_retry_after("-1", now), None);
    }
}
