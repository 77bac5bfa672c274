//! Times as people say them: `last tuesday`, `3 days ago`, `2026-11-24 14:30`.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::{Span, Timestamp, ToSpan, ZonedDateTime};

use crate::schedule::WEEKDAYS;

/// What is meant by a time that has passed. A day means its end, a minute its last moment: what
/// happened within it is to be there. `None` when it is not understood.
///
/// Understood are `now`, `today`, `yesterday`, `tuesday` and `last tuesday` (the last one before today),
/// `3 hours ago`, `a week ago`, `last month`, a date, a date with a time of this machine's zone, and a time
/// with its zone (`2026-11-24T14:30:00Z`).
#[must_use]
pub fn when(typed: &str, now: &ZonedDateTime) -> Option<Timestamp> {
    let typed = typed.trim();
    let lower = typed.to_ascii_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    match words.as_slice() {
        ["now" | "latest" | "today"] => Some(now.timestamp()),
        ["yesterday"] => end_of_day(now.date().yesterday().ok()?, now),
        ["last", unit] if span(1, unit).is_some() => back(span(1, unit)?, now),
        [number, unit, "ago"] => {
            let number = match *number {
                "a" | "an" | "one" => 1,
                digits => digits.parse().ok()?,
            };
            back(span(number, unit)?, now)
        }
        [day] | ["last", day] if weekday(day).is_some() => {
            let last = now.date().nth_weekday(-1, weekday(day)?).ok()?;
            end_of_day(last, now)
        }
        _ => exact(typed, now),
    }
}

fn weekday(word: &str) -> Option<Weekday> {
    let mut known = WEEKDAYS.iter();
    let is_meant = |name: &str| name == word || (word.len() == 3 && name.starts_with(word));
    known.find_map(|&(name, day)| is_meant(name).then_some(day))
}

fn span(number: i32, unit: &str) -> Option<Span> {
    let number = (0..=100_000).contains(&number).then_some(number)?;
    Some(match unit.strip_suffix('s').unwrap_or(unit) {
        "minute" => number.minutes(),
        "hour" => number.hours(),
        "day" => number.days(),
        "week" => number.weeks(),
        "month" => number.months(),
        "year" => number.years(),
        _ => return None,
    })
}

fn back(span: Span, now: &ZonedDateTime) -> Option<Timestamp> {
    now.checked_sub(span).ok().map(|then| then.timestamp())
}

fn exact(typed: &str, now: &ZonedDateTime) -> Option<Timestamp> {
    if let Ok(timestamp) = typed.parse::<Timestamp>() {
        return Some(timestamp);
    }
    // A date with a time would be taken for its date.
    if typed.len() == "2026-11-24".len() {
        return end_of_day(typed.parse::<Date>().ok()?, now);
    }
    let time: DateTime = typed.parse().ok()?;
    let zoned = time.to_zoned_datetime(now.time_zone().clone()).ok()?;
    let is_to_the_minute = typed.matches(':').count() == 1;
    let rest = if is_to_the_minute { 59 } else { 0 };
    let last = zoned.checked_add(rest.seconds()).ok()?;
    Some(last.timestamp())
}

fn end_of_day(date: Date, now: &ZonedDateTime) -> Option<Timestamp> {
    let next = date.tomorrow().ok()?;
    let next = next.to_zoned_datetime(now.time_zone().clone()).ok()?;
    next.timestamp().checked_sub(1.nanoseconds()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_understood_as_people_say_them() {
        // A Thursday.
        let now: ZonedDateTime = "2026-11-26T15:00:00[Europe/Berlin]".parse().unwrap();
        let text = |typed: &str| {
            let zoned = when(typed, &now)?.to_zoned_datetime(now.time_zone().clone());
            Some(zoned.strftime("%a %Y-%m-%d %H:%M:%S").to_string())
        };
        for (typed, expected) in [
            ("now", "Thu 2026-11-26 15:00:00"),
            ("yesterday", "Wed 2026-11-25 23:59:59"),
            ("last Tuesday", "Tue 2026-11-24 23:59:59"),
            ("tue", "Tue 2026-11-24 23:59:59"),
            // Today is not the last one.
            ("thursday", "Thu 2026-11-19 23:59:59"),
            ("3 hours ago", "Thu 2026-11-26 12:00:00"),
            ("a week ago", "Thu 2026-11-19 15:00:00"),
            ("last month", "Mon 2026-10-26 15:00:00"),
            ("2 years ago", "Tue 2024-11-26 15:00:00"),
            ("2026-11-01", "Sun 2026-11-01 23:59:59"),
            ("2026-11-01 14:30", "Sun 2026-11-01 14:30:59"),
            ("2026-11-01T14:30:05", "Sun 2026-11-01 14:30:05"),
            ("2026-11-01T14:30:05Z", "Sun 2026-11-01 15:30:05"),
            // The clock was set back that night.
            ("2026-10-24", "Sat 2026-10-24 23:59:59"),
            ("2026-10-25", "Sun 2026-10-25 23:59:59"),
        ] {
            assert_eq!(text(typed).as_deref(), Some(expected), "{typed}");
        }
        for typed in [
            "",
            "soon",
            "last",
            "x days ago",
            "-1 days ago",
            "2026-13-01",
            "ago",
        ] {
            assert_eq!(text(typed), None, "{typed}");
        }
    }
}
