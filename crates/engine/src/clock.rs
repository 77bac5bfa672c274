//! The one place below the program where the clock is read.

use std::fs;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// Tells what time it is. Tests bring their own.
pub type Clock = Arc<dyn Fn() -> ZonedDateTime + Send + Sync>;

/// The system's clock, in the system's time zone.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the clock is read here and handed on as an argument"
)]
pub fn system() -> ZonedDateTime {
    Timestamp::now().to_zoned_datetime(zone())
}

/// The system's time zone: that of `TZ`, else that of `/etc/localtime`.
///
/// The file is read as it is. To look its name up, the whole database would be listed first, which
/// is a sixth of what a short call takes.
#[must_use]
pub fn zone() -> TimeZone {
    match std::env::var_os("TZ") {
        None => of_localtime().unwrap_or_else(TimeZone::system),
        Some(_) => TimeZone::system(),
    }
}

fn of_localtime() -> Option<TimeZone> {
    let file = fs::canonicalize("/etc/localtime").ok()?;
    let (_, name) = file.to_str()?.split_once("/zoneinfo/")?;
    TimeZone::tzif(name, &fs::read(&file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_is_that_of_the_system() {
        let now: Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();
        let (ours, theirs) = (zone(), TimeZone::system());
        assert_eq!(ours.to_offset(now), theirs.to_offset(now));
        if let Some(name) = ours.iana_name() {
            assert_eq!(Some(name), theirs.iana_name());
        }
    }
}
