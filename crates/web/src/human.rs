//! Numbers and times as people read them, in their language.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::say::{Language, Say};

impl Say {
    fn point(self) -> char {
        match self.language {
            Language::En => '.',
            Language::De => ',',
        }
    }

    /// A number with its thousands apart: `12,345`, `12.345`.
    pub(crate) fn number(self, number: u64) -> String {
        let separator = match self.language {
            Language::En => ',',
            Language::De => '.',
        };
        let digits = number.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(separator);
            }
            text.push(digit);
        }
        text
    }

    /// Bytes with three digits at most and a decimal unit: `5.3 GB`. Rounded down: what is shown is
    /// there at least.
    pub(crate) fn size(self, bytes: u64) -> String {
        const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
        let mut unit = 0;
        let mut divisor: u64 = 1;
        while bytes / divisor >= 1000 && unit + 1 < UNITS.len() {
            divisor *= 1000;
            unit += 1;
        }
        let name = UNITS.get(unit).copied().unwrap_or_default();
        let tenths = u128::from(bytes) * 10 / u128::from(divisor);
        if unit == 0 || tenths >= 100 {
            format!("{}\u{a0}{name}", tenths / 10)
        } else {
            format!("{}{}{}\u{a0}{name}", tenths / 10, self.point(), tenths % 10)
        }
    }

    /// How far a time is from now, roughly: `5 minutes ago`, `in 3 hours`.
    pub(crate) fn relative(self, at: Timestamp, now: Timestamp) -> String {
        let seconds = now.duration_since(at).as_secs();
        let (number, unit) = match seconds.unsigned_abs() {
            0..60 if seconds < 0 => return self.t("time.soon").to_owned(),
            0..60 => return self.t("time.now").to_owned(),
            seconds @ 60..3600 => (seconds / 60, "minutes"),
            seconds @ 3600..86_400 => (seconds / 3600, "hours"),
            seconds => (seconds / 86_400, "days"),
        };
        let key = if seconds > 0 {
            format!("time.{unit}-ago")
        } else {
            format!("time.in-{unit}")
        };
        self.count(number, &key)
    }

    /// How long something took: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
    pub(crate) fn duration(self, duration: SignedDuration) -> String {
        let seconds = duration.as_secs().max(0);
        match seconds {
            0..10 => format!(
                "{}{}{}\u{a0}s",
                seconds,
                self.point(),
                duration.subsec_millis().max(0) / 100
            ),
            10..60 => format!("{seconds}\u{a0}s"),
            60..3600 => format!("{}\u{a0}min {}\u{a0}s", seconds / 60, seconds % 60),
            _ => format!("{}\u{a0}h {}\u{a0}min", seconds / 3600, seconds % 3600 / 60),
        }
    }

    /// A time of the calendar: `Tue 24 Nov 2026, 07:30`.
    pub(crate) fn time(self, at: Timestamp, zone: &TimeZone) -> String {
        let at = at.to_zoned_datetime(zone.clone());
        format!("{}, {}", self.day(at.date()), at.strftime("%H:%M"))
    }

    /// A day of the calendar.
    pub(crate) fn day(self, day: jiff::civil::Date) -> String {
        match self.language {
            Language::En => day.strftime("%a %-d %b %Y").to_string(),
            Language::De => {
                const DAYS: [&str; 7] = ["Mo", "Di", "Mi", "Do", "Fr", "Sa", "So"];
                let index = usize::try_from(day.weekday().to_monday_zero_offset()).unwrap_or(0);
                let name = DAYS.get(index).copied().unwrap_or_default();
                format!("{name} {}", day.strftime("%-d.%-m.%Y"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_of_their_language() {
        let en = Say {
            language: Language::En,
        };
        let de = Say {
            language: Language::De,
        };
        assert_eq!(en.size(5_349_000_000), "5.3\u{a0}GB");
        assert_eq!(de.size(5_349_000_000), "5,3\u{a0}GB");
        assert_eq!(de.number(1_234_567), "1.234.567");
        let now: Timestamp = "2026-11-24T07:30:00Z".parse().unwrap();
        let hours = |hours| now + SignedDuration::from_hours(hours);
        assert_eq!(en.relative(hours(-1), now), "an hour ago");
        assert_eq!(en.relative(hours(-49), now), "2 days ago");
        assert_eq!(de.relative(hours(-49), now), "vor 2 Tagen");
        assert_eq!(de.relative(hours(5), now), "in 5 Stunden");
        assert_eq!(en.time(now, &TimeZone::UTC), "Tue 24 Nov 2026, 07:30");
        assert_eq!(de.time(now, &TimeZone::UTC), "Di 24.11.2026, 07:30");
    }
}
