//! Times as a person types them for duplicity.
//!
//! `now`, seconds since 1970, intervals back from now (`3D12h`), `20260131T235959Z`, W3C date-times
//! with or without a zone, and dates with the year first or last. Source: duplicity's manual, TIME
//! FORMATS.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// What the people's clock says, and where they live.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// Seconds since 1970.
    pub(crate) now: i64,
    pub(crate) zone: TimeZone,
}

impl Clock {
    /// The moment that a text means, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// With a text that says what can be written.
    pub(crate) fn time(&self, text: &str) -> Result<i64, String> {
        if text == "now" {
            return Ok(self.now);
        }
        let found = whole_seconds(text)
            .or_else(|| compact(text))
            .or_else(|| self.w3c(text))
            .or_else(|| Some(self.now.saturating_sub(interval(text)?)))
            .or_else(|| self.midnight(text));
        found.ok_or_else(|| {
            format!(
                "Bad time string \"{text}\"\n\
                 Times are written as `now`, as seconds since 1970, as an interval back from now \
                 (3D64s; s, m, h, D, W, M and Y), as 20020426T042201Z, as \
                 2002-04-26T04:22:01-07:00 (without the zone: local time), or as a date: \
                 2002-04-26, 2002/4/26, 4/26/2002."
            )
        })
    }

    /// How long before now a text means, in seconds.
    ///
    /// # Errors
    ///
    /// As [`time`](Self::time).
    pub(crate) fn age(&self, text: &str) -> Result<i64, String> {
        Ok(self.now.saturating_sub(self.time(text)?))
    }

    fn w3c(&self, text: &str) -> Option<i64> {
        if !text.contains('T') {
            return None;
        }
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Some(moment.as_second());
        }
        self.local(text.parse::<DateTime>().ok()?)
    }

    fn midnight(&self, text: &str) -> Option<i64> {
        let date = if let Some(digits) = text.strip_suffix('Z') {
            if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let part = |from: usize, to: usize| digits.get(from..to)?.parse().ok();
            let small = |from: usize| i8::try_from(part(from, from + 2)?).ok();
            Date::new(part(0, 4)?, small(4)?, small(6)?).ok()?
        } else {
            let parts: Vec<&str> = text.split(['-', '/']).collect();
            let &[first, second, third] = parts.as_slice() else {
                return None;
            };
            let (year, month, day) = if first.len() == 4 {
                (first, second, third)
            } else {
                (third, first, second)
            };
            let number = |text: &str, digits: std::ops::RangeInclusive<usize>| -> Option<i16> {
                let fits =
                    digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
                fits.then(|| text.parse().ok()).flatten()
            };
            let small = |text: &str| i8::try_from(number(text, 1..=2)?).ok();
            Date::new(number(year, 4..=4)?, small(month)?, small(day)?).ok()?
        };
        self.local(date.at(0, 0, 0, 0))
    }

    fn local(&self, time: DateTime) -> Option<i64> {
        Some(self.zone.to_timestamp(time).ok()?.as_second())
    }

    /// A moment as `asctime` prints it: `Thu Nov 26 05:38:10 2026`.
    pub(crate) fn pretty(&self, seconds: i64) -> String {
        let moment = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        let local = self.zone.to_datetime(moment);
        local.strftime("%a %b %e %H:%M:%S %Y").to_string()
    }
}

fn whole_seconds(text: &str) -> Option<i64> {
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

fn compact(text: &str) -> Option<i64> {
    (text.len() == 16)
        .then(|| duplicity::SetTime::parse(text))
        .flatten()
        .map(duplicity::SetTime::seconds)
}

/// `1Y2M3W4D5h6m7s`: a month has 30 days, a year 365.
fn interval(text: &str) -> Option<i64> {
    let mut total: i64 = 0;
    let mut digits = String::new();
    for character in text.chars() {
        if character.is_ascii_digit() {
            digits.push(character);
            continue;
        }
        const DAY: i64 = 86_400;
        let unit = match character {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'D' => DAY,
            'W' => 7 * DAY,
            'M' => 30 * DAY,
            'Y' => 365 * DAY,
            _ => return None,
        };
        let count: i64 = std::mem::take(&mut digits).parse().ok()?;
        total = total.checked_add(count.checked_mul(unit)?)?;
    }
    (digits.is_empty() && !text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock {
            now: 1_000_000_000,
            zone: TimeZone::fixed(jiff::tz::offset(2)),
        }
    }

    #[test]
    fn every_form_of_the_manual_is_read() {
        for (text, seconds) in [
            ("now", 1_000_000_000),
            ("35000", 35_000),
            ("3D64s", 1_000_000_000 - 3 * 86_400 - 64),
            ("1Y2M3W4D5h6m7s", 1_000_000_000 - 38_898_367),
            ("20010909T014640Z", 1_000_000_000),
            ("2001-09-09T03:46:40+02:00", 1_000_000_000),
            ("2001-09-09T01:46:40Z", 1_000_000_000),
            ("2001-09-09T03:46:40", 1_000_000_000),
            ("2001-9-9", 999_986_400),
            ("2001/09/09", 999_986_400),
            ("9/9/2001", 999_986_400),
            ("09-09-2001", 999_986_400),
            ("20010909Z", 999_986_400),
        ] {
            assert_eq!(clock().time(text), Ok(seconds), "{text}");
        }
        assert_eq!(clock().age("2h30m"), Ok(9000));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "3",
            "-1",
            "3x",
            "D",
            "2001-13-01",
            "tomorrow",
            "1/2/3",
            "5D3",
        ] {
            let is_number = whole_seconds(text).is_some();
            assert_eq!(clock().time(text).is_ok(), is_number, "{text}");
        }
    }

    #[test]
    fn a_moment_is_printed_as_the_c_library_does() {
        assert_eq!(clock().pretty(1_000_000_000), "Sun Sep  9 03:46:40 2001");
    }
}
