//! Times as Borg writes them into archives and manifests: in UTC, without saying so.

use std::fmt;

use jiff::Timestamp as Instant;
use jiff::civil::{Date, Time};
use jiff::tz::Offset;

use crate::msgpack::{Malformed, Reader};

/// A moment in Borg's text form, `2026-11-24T08:21:08.597898`, UTC.
///
/// The text is kept as it was read, because ids of archives depend on it: programs of old left
/// the fraction out when it was zero.
#[derive(Clone, PartialEq, Eq)]
pub struct Timestamp {
    text: Box<str>,
    instant: Instant,
}

/// Why a text is no [`Timestamp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a time such as `2026-11-24T08:21:08.597898`")]
pub struct BadTimestamp;

impl Timestamp {
    /// The text form of `instant`, always with microseconds; what is below them is dropped.
    #[must_use]
    pub fn new(instant: Instant) -> Self {
        let microseconds = instant.as_microsecond();
        // Only drops digits, so it stays in range.
        let instant = Instant::from_microsecond(microseconds).unwrap_or(instant);
        let civil = Offset::UTC.to_datetime(instant);
        let text = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}",
            civil.year(),
            civil.month(),
            civil.day(),
            civil.hour(),
            civil.minute(),
            civil.second(),
            civil.subsec_nanosecond() / 1000,
        );
        Self {
            text: text.into(),
            instant,
        }
    }

    /// Reads the text form, with or without a fraction of up to six digits.
    ///
    /// # Errors
    ///
    /// [`BadTimestamp`] for any other form, or a day that never was.
    pub fn parse(text: &str) -> Result<Self, BadTimestamp> {
        let instant = parse(text).ok_or(BadTimestamp)?;
        Ok(Self {
            text: text.into(),
            instant,
        })
    }

    /// The moment.
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.instant
    }

    /// The text form. In the usual form, texts are ordered as the moments are.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let start = reader.clone();
        std::str::from_utf8(reader.raw()?)
            .ok()
            .and_then(|text| Self::parse(text).ok())
            .ok_or_else(|| start.unexpected("a time"))
    }
}

fn parse(text: &str) -> Option<Instant> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if (1..=6).contains(&fraction.len()) => (whole, fraction),
        Some(_) => return None,
        None => (text, "0"),
    };
    let (date, time) = whole.split_once('T')?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let [fraction] = numbers(&format!("{fraction:0<6}"), '.', [6])?;
    let small = |number: u32| i8::try_from(number).ok();
    let date = Date::new(i16::try_from(year).ok()?, small(month)?, small(day)?).ok()?;
    let nanoseconds = i32::try_from(fraction * 1000).ok()?;
    let time = Time::new(small(hour)?, small(minute)?, small(second)?, nanoseconds).ok()?;
    Offset::UTC.to_timestamp(date.to_datetime(time)).ok()
}

/// Numbers of fixed lengths, digits only, with a separator between them.
fn numbers<const N: usize>(text: &str, separator: char, lengths: [usize; N]) -> Option<[u32; N]> {
    let mut numbers = [0; N];
    let mut words = text.split(separator);
    for (number, length) in numbers.iter_mut().zip(lengths) {
        let word = words.next()?;
        let digits = word.len() == length && word.bytes().all(|byte| byte.is_ascii_digit());
        *number = word.parse().ok().filter(|_| digits)?;
    }
    words.next().is_none().then_some(numbers)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_are_always_written() {
        for (nanoseconds, text) in [
            (0, "1970-01-01T00:00:00.000000"),
            (-1000, "1969-12-31T23:59:59.999999"),
            (1_795_508_468_597_898_999, "2026-11-24T08:21:08.597898"),
        ] {
            let time = Timestamp::new(Instant::from_nanosecond(nanoseconds).unwrap());
            assert_eq!(time.as_str(), text);
            assert_eq!(Timestamp::parse(text), Ok(time));
        }
    }

    #[test]
    fn what_was_read_is_kept_as_it_was_written() {
        let time = Timestamp::parse("2015-03-01T12:00:00").unwrap();
        assert_eq!(time.as_str(), "2015-03-01T12:00:00");
        assert_eq!(time.instant().to_string(), "2015-03-01T12:00:00Z");
        let time = Timestamp::parse("2015-03-01T12:00:00.5").unwrap();
        assert_eq!(time.instant().to_string(), "2015-03-01T12:00:00.5Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2015-03-01",
            "2015-03-01 12:00:00",
            "2015-02-29T12:00:00",
            "2015-03-01T24:00:00",
            "2015-03-01T12:00:60",
            "2015-03-01T12:00:00Z",
            "2015-03-01T12:00:00.",
            "2015-03-01T12:00:00.1234567",
            "2015-03-01T12:00:00+00:00",
            "+015-03-01T12:00:00",
            "2015-03-01T12:00:00.\u{0661}",
        ] {
            assert_eq!(Timestamp::parse(text), Err(BadTimestamp), "{text}");
        }
    }
}
