//! When work is due: decided from the last success, so that missed work is made up exactly once.

use std::fmt;

use jiff::civil::{Time, Weekday};
use jiff::{RoundMode, Span, Unit, ZonedDateTime, ZonedDateTimeRound};

/// How often something is to be done.
///
/// A schedule divides the calendar into periods. Work is due when the period that holds `now`
/// has begun after the last success, so a machine that slept for a week makes up one run, not
/// seven, and a clock that jumps back makes nothing due twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// Only when asked for.
    Manual,
    /// Each hour of the clock.
    Hourly,
    /// Each day from a time of day on.
    Daily(Time),
    /// Each week from a time of a weekday on.
    Weekly(Weekday, Time),
    /// Each month from a time of its first day on.
    Monthly(Time),
    /// So many hours after the last success; at least one.
    EveryHours(u16),
    /// So many days of 24 hours after the last success; at least one.
    EveryDays(u16),
}

impl Schedule {
    /// Reads a schedule: `manual`, `hourly`, `daily`, `daily 02:00`, `weekly`,
    /// `weekly sunday 02:00`, `monthly`, `monthly 03:30`, `every 4 hours`, `every 3 days`.
    ///
    /// `never` is another word for `manual`. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        Some(match words.as_slice() {
            ["manual" | "never"] => Self::Manual,
            ["hourly"] => Self::Hourly,
            ["daily"] => Self::Daily(Time::midnight()),
            ["daily", at] => Self::Daily(time_of_day(at)?),
            ["weekly"] => Self::Weekly(Weekday::Monday, Time::midnight()),
            ["weekly", day] => Self::Weekly(weekday(day)?, Time::midnight()),
            ["weekly", day, at] => Self::Weekly(weekday(day)?, time_of_day(at)?),
            ["monthly"] => Self::Monthly(Time::midnight()),
            ["monthly", at] => Self::Monthly(time_of_day(at)?),
            ["every", count, "hour" | "hours"] => Self::EveryHours(positive(count)?),
            ["every", count, "day" | "days"] => Self::EveryDays(positive(count)?),
            _ => return None,
        })
    }

    /// When the work is due after the last success; `None` when it is due only when asked for.
    ///
    /// The moment may lie in the past: then the work is due now. Work that never succeeded is due
    /// at once. Falls back to `now` where the calendar ends (the year 9999).
    #[must_use]
    pub fn next_due(
        self,
        last_success: Option<&ZonedDateTime>,
        now: &ZonedDateTime,
    ) -> Option<ZonedDateTime> {
        if self == Self::Manual {
            return None;
        }
        let Some(last) = last_success else {
            return Some(now.clone());
        };
        // A last success in the future means that the clock was set back: count from now.
        let last = if last > now { now } else { last };
        Some(self.after(last).unwrap_or_else(|_| now.clone()))
    }

    /// Whether the work is due `now`.
    #[must_use]
    pub fn is_due(self, last_success: Option<&ZonedDateTime>, now: &ZonedDateTime) -> bool {
        self.next_due(last_success, now)
            .is_some_and(|due| due <= *now)
    }

    /// The first beginning of a period after `moment`.
    fn after(self, moment: &ZonedDateTime) -> Result<ZonedDateTime, jiff::Error> {
        let today = moment.date();
        let (first, step, at) = match self {
            Self::Manual => return Ok(moment.clone()),
            Self::Hourly => {
                let floor = ZonedDateTimeRound::new()
                    .smallest(Unit::Hour)
                    .mode(RoundMode::Floor);
                return moment.round(floor)?.checked_add(Span::new().hours(1));
            }
            Self::EveryHours(count) => {
                return moment.checked_add(Span::new().hours(i64::from(count)));
            }
            Self::EveryDays(count) => {
                return moment.checked_add(Span::new().hours(24 * i64::from(count)));
            }
            Self::Daily(at) => (today, Span::new().days(1), at),
            Self::Weekly(day, at) => {
                let back = Span::new().days(i64::from(today.weekday().since(day)));
                (today.checked_sub(back)?, Span::new().days(7), at)
            }
            Self::Monthly(at) => (today.first_of_month(), Span::new().months(1), at),
        };
        // Steps are taken on the calendar, so that a day on which the clocks change does not
        // shift the time of the days after it.
        let mut date = first;
        loop {
            let begin = date
                .to_datetime(at)
                .to_zoned_datetime(moment.time_zone().clone())?;
            if begin > *moment {
                return Ok(begin);
            }
            date = date.checked_add(step)?;
        }
    }
}

/// As it is written in a configuration.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |time: &Time| {
            if *time == Time::midnight() {
                String::new()
            } else {
                format!(" {:02}:{:02}", time.hour(), time.minute())
            }
        };
        match self {
            Self::Manual => f.write_str("manual"),
            Self::Hourly => f.write_str("hourly"),
            Self::Daily(time) => write!(f, "daily{}", at(time)),
            Self::Weekly(Weekday::Monday, time) if *time == Time::midnight() => {
                f.write_str("weekly")
            }
            Self::Weekly(day, time) => write!(f, "weekly {}{}", weekday_word(*day), at(time)),
            Self::Monthly(time) => write!(f, "monthly{}", at(time)),
            Self::EveryHours(1) => f.write_str("every 1 hour"),
            Self::EveryHours(count) => write!(f, "every {count} hours"),
            Self::EveryDays(1) => f.write_str("every 1 day"),
            Self::EveryDays(count) => write!(f, "every {count} days"),
        }
    }
}

fn positive(text: &str) -> Option<u16> {
    text.parse().ok().filter(|&count| count > 0)
}

fn time_of_day(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    if minute.len() != 2 {
        return None;
    }
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

/// The days as they are written, in order.
pub(crate) const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

fn weekday(text: &str) -> Option<Weekday> {
    let text = text.to_lowercase();
    WEEKDAYS
        .iter()
        .find(|(word, _)| *word == text || word.get(..3) == Some(&text))
        .map(|&(_, day)| day)
}

fn weekday_word(day: Weekday) -> &'static str {
    WEEKDAYS
        .iter()
        .find(|&&(_, other)| other == day)
        .map_or("", |&(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> ZonedDateTime {
        text.parse().unwrap()
    }

    fn next(schedule: &str, last: &str, now: &str) -> String {
        Schedule::parse(schedule)
            .unwrap()
            .next_due(Some(&at(last)), &at(now))
            .unwrap()
            .datetime()
            .to_string()
    }

    #[test]
    fn what_is_written_is_what_is_shown() {
        for text in [
            "manual",
            "hourly",
            "daily",
            "daily 02:00",
            "weekly",
            "weekly sunday",
            "weekly sunday 23:59",
            "monthly",
            "monthly 03:30",
            "every 4 hours",
            "every 1 day",
        ] {
            assert_eq!(Schedule::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            Schedule::parse("weekly SUN"),
            Schedule::parse("weekly sunday")
        );
        for wrong in [
            "",
            "sometimes",
            "daily 25:00",
            "daily 2:0",
            "every 0 days",
            "weekly moonday",
        ] {
            assert_eq!(Schedule::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn due_is_the_next_period_after_the_last_success() {
        let now = "2026-11-24T12:00[Europe/Berlin]";
        let last = "2026-11-24T07:31[Europe/Berlin]";
        for (schedule, due) in [
            ("hourly", "2026-11-24T08:00:00"),
            ("daily", "2026-11-25T00:00:00"),
            ("daily 09:00", "2026-11-24T09:00:00"),
            ("daily 02:00", "2026-11-25T02:00:00"),
            ("weekly", "2026-11-30T00:00:00"),
            ("weekly tuesday 09:00", "2026-11-24T09:00:00"),
            ("weekly sunday 02:00", "2026-11-29T02:00:00"),
            ("monthly", "2026-12-01T00:00:00"),
            ("every 4 hours", "2026-11-24T11:31:00"),
            ("every 3 days", "2026-11-27T07:31:00"),
        ] {
            assert_eq!(next(schedule, last, now), due, "{schedule}");
        }
    }

    #[test]
    fn missed_work_is_made_up_once() {
        let daily = Schedule::parse("daily 02:00").unwrap();
        let after_a_week = at("2026-11-24T12:00[Europe/Berlin]");
        assert!(daily.is_due(Some(&at("2026-11-17T02:05[Europe/Berlin]")), &after_a_week));
        assert!(!daily.is_due(Some(&after_a_week), &after_a_week));
        assert!(daily.is_due(None, &after_a_week));
        assert!(!Schedule::Manual.is_due(None, &after_a_week));
    }

    #[test]
    fn a_clock_set_back_and_a_skipped_hour_do_no_harm() {
        let daily = Schedule::parse("daily 02:30").unwrap();
        let now = at("2026-11-24T12:00[Europe/Berlin]");
        assert!(!daily.is_due(Some(&at("2027-01-01T00:00[Europe/Berlin]")), &now));
        // On 2026-03-29 the clocks go from 02:00 to 03:00 in Berlin.
        assert_eq!(
            next(
                "daily 02:30",
                "2026-03-28T12:00[Europe/Berlin]",
                "2026-03-29T12:00[Europe/Berlin]"
            ),
            "2026-03-29T03:30:00"
        );
    }
}
