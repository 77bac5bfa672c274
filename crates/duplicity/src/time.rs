//! Times as duplicity knows them: whole seconds in UTC.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The moment of a backup set, to the second. Two sets belong together when these are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetTime {
    /// Seconds since 1970-01-01 00:00 UTC, within what [`Timestamp`] holds.
    seconds: i64,
}

impl SetTime {
    /// The second in which `now` lies; moments before 1970 or after the year 9999 are clamped.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self::from_seconds(now.as_second())
    }

    /// Clamps what a file name cannot say.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Self {
        Self {
            seconds: seconds.clamp(0, Timestamp::MAX.as_second()),
        }
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// The next second.
    #[must_use]
    pub fn next(self) -> Self {
        Self::from_seconds(self.seconds + 1)
    }

    /// The same as a moment of the calendar.
    #[must_use]
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_second(self.seconds).unwrap_or(Timestamp::MAX)
    }

    /// Reads `20260131T235959Z`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_suffix('Z')?;
        let (date, time) = digits.split_once('T')?;
        if date.len() != 8 || time.len() != 6 {
            return None;
        }
        let number = |text: &str, from: usize, to: usize| -> Option<i16> {
            let part = text.get(from..to)?;
            part.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then_some(())?;
            part.parse().ok()
        };
        let small = |text: &str, from: usize| i8::try_from(number(text, from, from + 2)?).ok();
        let civil = DateTime::new(
            number(date, 0, 4)?,
            small(date, 4)?,
            small(date, 6)?,
            small(time, 0)?,
            small(time, 2)?,
            small(time, 4)?,
            0,
        )
        .ok()?;
        Self::from_timestamp(TimeZone::UTC.to_timestamp(civil).ok()?)
    }

    /// Reads the long form of old file names, `2002-08-17T16:17:01-07:00`, in which any character
    /// may stand for `:`.
    #[must_use]
    pub(crate) fn parse_long(text: &str) -> Option<Self> {
        let mut bytes = text.as_bytes().to_vec();
        if !text.is_ascii() {
            return None;
        }
        for at in [13, 16, 22] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = b':';
            }
        }
        let text = String::from_utf8(bytes).ok()?;
        Self::from_timestamp(text.parse().ok()?)
    }

    /// Reads seconds as base 36 in lower case, as short file names have them.
    #[must_use]
    pub(crate) fn parse_base36(text: &str) -> Option<Self> {
        let seconds = base36(text)?;
        (seconds <= Timestamp::MAX.as_second()).then_some(Self { seconds })
    }

    fn from_timestamp(timestamp: Timestamp) -> Option<Self> {
        let seconds = timestamp.as_second();
        (seconds >= 0).then_some(Self { seconds })
    }
}

/// A number in base 36, digits before lower-case letters.
pub(crate) fn base36(text: &str) -> Option<i64> {
    let plain = text
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z'));
    (plain && !text.is_empty()).then_some(())?;
    i64::from_str_radix(text, 36).ok()
}

/// `20260131T235959Z`, as file names have it.
impl fmt::Display for SetTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let civil = TimeZone::UTC.to_datetime(self.timestamp());
        write!(
            f,
            "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
            civil.year(),
            civil.month(),
            civil.day(),
            civil.hour(),
            civil.minute(),
            civil.second()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back_as_it_was_written() {
        for seconds in [0, 1, 951_782_400, 1_790_000_000, 253_402_200_000] {
            let time = SetTime::from_seconds(seconds);
            assert_eq!(SetTime::parse(&time.to_string()), Some(time));
        }
        assert_eq!(SetTime::from_seconds(0).to_string(), "19700101T000000Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "20260131T235959",
            "20261301T000000Z",
            "2026013 T235959Z",
            "+0260131T235959Z",
            "20260131T2359599Z",
        ] {
            assert_eq!(SetTime::parse(text), None, "{text}");
        }
    }

    #[test]
    fn old_forms_are_read() {
        let expected = SetTime::from_seconds(1_029_626_221);
        assert_eq!(
            SetTime::parse_long("2002-08-17T16:17:01-07:00"),
            Some(expected)
        );
        assert_eq!(
            SetTime::parse_long("2002-08-17T16_17_01-07_00"),
            Some(expected)
        );
        assert_eq!(
            SetTime::parse_base36("h10zd1"),
            Some(SetTime::from_seconds(1_029_650_437))
        );
        assert_eq!(SetTime::parse_base36("H1"), None);
        assert_eq!(SetTime::parse_base36("zzzzzzzzzzzzzz"), None);
    }
}
