//! Numbers, times and names as Borg writes them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::fmt::Write as _;

use crate::human;

/// Seconds since 1970, with a fraction.
pub(crate) fn seconds_now() -> f64 {
    let now = engine::clock::system().timestamp();
    now.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64()
}

/// A name as text: what is no character is shown as one that stands for it.
pub(crate) fn path(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\u{fffd}', "?")
}

/// A size for people: `1.02 kB`, `13 B`; in powers of 1024 with `iec`.
pub(crate) fn size(bytes: u64, iec: bool) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a number for people")]
    let bytes = bytes as f64;
    sized(bytes, iec)
}

/// The same for a difference.
pub(crate) fn signed_size(bytes: i64, iec: bool) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a number for people")]
    let text = sized(bytes as f64, iec);
    if bytes > 0 { format!("+{text}") } else { text }
}

/// The same with one digit behind the point.
pub(crate) fn size_rounded(bytes: u64, iec: bool) -> String {
    let text = size(bytes, iec);
    match text.split_once(' ') {
        Some((number, unit)) => match number.parse::<f64>() {
            Ok(number) if text.contains('.') => format!("{number:.1} {unit}"),
            _ => text,
        },
        None => text,
    }
}

fn sized(mut number: f64, iec: bool) -> String {
    let (power, units): (f64, &[&str]) = match iec {
        true => (1024.0, &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]),
        false => (1000.0, &["", "k", "M", "G", "T", "P", "E"]),
    };
    let mut digits = 0;
    let mut unit = "";
    for (index, name) in units.iter().enumerate() {
        unit = name;
        if index + 1 == units.len() || ((number * 100.0).round() / 100.0).abs() < power {
            break;
        }
        number /= power;
        digits = 2;
    }
    format!("{number:.digits$} {unit}B")
}

/// A moment of the local clock.
pub(crate) fn local(moment: Timestamp) -> DateTime {
    engine::clock::zone().to_datetime(moment)
}

/// `Thu, 2026-11-26 05:27:27`.
pub(crate) fn time(moment: Timestamp) -> String {
    strftime(local(moment), "%a, %Y-%m-%d %H:%M:%S")
}

/// `2026-11-26T05:27:27.000000`, of the local clock.
pub(crate) fn iso(moment: Timestamp) -> String {
    let seconds = local(Timestamp::from_second(moment.as_second()).unwrap_or(moment));
    strftime(seconds, "%Y-%m-%dT%H:%M:%S.000000")
}

/// The same with the fraction.
pub(crate) fn iso_micros(moment: Timestamp) -> String {
    let local = local(moment);
    let micros = local.subsec_nanosecond() / 1000;
    strftime(local, &format!("%Y-%m-%dT%H:%M:%S.{micros:06}"))
}

/// Writes a time by a pattern of C's `strftime`; what is unknown in it stays as it is.
pub(crate) fn strftime(time: DateTime, pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let Some(directive) = rest.next() else {
            out.push('%');
            break;
        };
        // Lists of files have one or two times a line: the usual ones are written at once.
        let number = match directive {
            'Y' => write!(out, "{:04}", time.year()),
            'm' => write!(out, "{:02}", time.month()),
            'd' => write!(out, "{:02}", time.day()),
            'H' => write!(out, "{:02}", time.hour()),
            'M' => write!(out, "{:02}", time.minute()),
            'S' => write!(out, "{:02}", time.second()),
            'f' => write!(out, "{:06}", time.subsec_nanosecond() / 1000),
            'a' => {
                out.push_str(weekday(time));
                Ok(())
            }
            other => {
                out.push_str(&unusual(time, other));
                Ok(())
            }
        };
        // Writing to a text cannot fail.
        let _ = number;
    }
    out
}

fn weekday(time: DateTime) -> &'static str {
    use jiff::civil::Weekday;
    match time.weekday() {
        Weekday::Monday => "Mon",
        Weekday::Tuesday => "Tue",
        Weekday::Wednesday => "Wed",
        Weekday::Thursday => "Thu",
        Weekday::Friday => "Fri",
        Weekday::Saturday => "Sat",
        Weekday::Sunday => "Sun",
    }
}

fn unusual(time: DateTime, directive: char) -> String {
    let pattern = format!("%{directive}");
    let zoned = engine::clock::zone().to_zoned_datetime(time);
    match zoned {
        Ok(zoned) if directive == 's' => zoned.timestamp().as_second().to_string(),
        Ok(zoned) => jiff::fmt::strtime::format(&pattern, &zoned).unwrap_or(pattern),
        Err(_) => pattern,
    }
}

/// A time as a moment that a file has.
pub(crate) fn moment(time: tree::Time) -> Timestamp {
    Timestamp::from_nanosecond(time.nanoseconds.into()).unwrap_or_default()
}

/// `2 hours 3 minutes 4.56 seconds`.
pub(crate) fn duration(passed: SignedDuration) -> String {
    let total = passed.as_secs();
    let seconds = passed.as_secs_f64() % 60.0;
    let (minutes, hours, days) = (total / 60 % 60, total / 3600 % 24, total / 86400);
    let mut text = format!("{seconds:.2} seconds");
    for (number, unit) in [(minutes, "minutes"), (hours, "hours"), (days, "days")] {
        if number != 0 {
            text = format!("{number} {unit} {text}");
        }
    }
    text
}

/// Reads what `--timestamp` takes: a time in UTC, or a file whose time of change counts.
pub(crate) fn timestamp(text: &str) -> Result<Timestamp, String> {
    if let Ok(metadata) = std::fs::metadata(text) {
        use std::os::unix::fs::MetadataExt;
        return Timestamp::from_second(metadata.mtime()).map_err(|error| error.to_string());
    }
    let plain = text
        .strip_suffix('Z')
        .or_else(|| text.strip_suffix("+00:00"));
    let plain = plain.unwrap_or(text);
    for format in [
        "%Y-%m-%dT%H:%M:%S",
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%d %H:%M",
    ] {
        if let Ok(time) = DateTime::strptime(format, plain) {
            return utc(time);
        }
    }
    for format in ["%Y-%m-%d", "%Y-%j"] {
        if let Ok(date) = jiff::civil::Date::strptime(format, plain) {
            return utc(date.to_datetime(jiff::civil::Time::midnight()));
        }
    }
    Err(format!("invalid timestamp value: '{text}'"))
}

fn utc(time: DateTime) -> Result<Timestamp, String> {
    TimeZone::UTC
        .to_timestamp(time)
        .map_err(|error| error.to_string())
}

/// Kind and permissions as `ls -l` shows them.
pub(crate) fn mode(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o140_000 => 's',
        0o120_000 => 'l',
        0o100_000 => '-',
        0o060_000 => 'b',
        0o040_000 => 'd',
        0o020_000 => 'c',
        0o010_000 => 'p',
        _ => '?',
    };
    format!("{kind}{}", human::mode(mode))
}

/// The letter that stands for what was stored of this kind.
pub(crate) fn status_of_mode(mode: u32) -> char {
    match mode & 0o170_000 {
        0o100_000 => 'A',
        0o040_000 => 'd',
        0o060_000 => 'b',
        0o020_000 => 'c',
        0o120_000 => 's',
        0o010_000 => 'f',
        _ => '?',
    }
}

/// Words of a command line as one would type them.
pub(crate) fn quoted(words: &[bstr::BString]) -> String {
    let quote = |word: &bstr::BString| {
        let word = path(word);
        let is_plain = !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c));
        if is_plain {
            word
        } else {
            format!("'{}'", word.replace('\'', r#"'"'"'"#))
        }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_borg_does() {
        for (bytes, decimal, binary) in [
            (0, "0 B", "0 B"),
            (999, "999 B", "999 B"),
            (1000, "1.00 kB", "1000 B"),
            (2048, "2.05 kB", "2.00 KiB"),
            (1_500_000_000, "1.50 GB", "1.40 GiB"),
        ] {
            assert_eq!(size(bytes, false), decimal);
            assert_eq!(size(bytes, true), binary);
        }
        assert_eq!(signed_size(2048, false), "+2.05 kB");
        assert_eq!(signed_size(-2048, false), "-2.05 kB");
    }

    #[test]
    fn modes_are_written_as_ls_does() {
        assert_eq!(mode(0o100_644), "-rw-r--r--");
        assert_eq!(mode(0o104_755), "-rwsr-xr-x");
        assert_eq!(mode(0o041_777), "drwxrwxrwt");
        assert_eq!(mode(0o102_644), "-rw-r-Sr--");
    }

    #[test]
    fn times_are_read_in_all_documented_forms() {
        for text in [
            "2026-01-02T03:04:00",
            "2026-01-02T03:04:00Z",
            "2026-01-02T03:04:00+00:00",
            "2026-01-02 03:04:00",
            "2026-01-02T03:04",
            "2026-01-02 03:04",
        ] {
            assert_eq!(timestamp(text).unwrap().to_string(), "2026-01-02T03:04:00Z");
        }
        for text in ["2026-01-02", "2026-002"] {
            assert_eq!(timestamp(text).unwrap().to_string(), "2026-01-02T00:00:00Z");
        }
        assert!(timestamp("yesterday").is_err());
    }
}
