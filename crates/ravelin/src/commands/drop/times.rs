//! Times as a person types them: on the calendar, or so long ago or from now.

use ::drop::Error;
use jiff::civil::DateTime;
use jiff::{Span, Timestamp};

use super::{Ended, Session};

/// Which way a span leads.
#[derive(Clone, Copy)]
pub(super) enum Way {
    Ago,
    FromNow,
}

pub(super) fn parse(text: &str, way: Way, session: &Session<'_>) -> Result<Timestamp, Ended> {
    let now = session.machine.now();
    let span = || {
        let span: Span = text.parse().ok()?;
        let then = match way {
            Way::Ago => now.checked_sub(span),
            Way::FromNow => now.checked_add(span),
        };
        Some(then.ok()?.timestamp())
    };
    let calendar = || {
        let time: DateTime = text.parse().ok()?;
        Some(
            time.to_zoned_datetime(session.zone.clone())
                .ok()?
                .timestamp(),
        )
    };
    let stamp = || text.parse::<Timestamp>().ok();
    stamp().or_else(calendar).or_else(span).ok_or_else(|| {
        Ended::Drop(Error::Unsupported {
            what: "that is no time: write `2026-11-25 22:40`, `2026-11-25`, or `2 days`",
        })
    })
}
