//! Which versions stay: "every save for a day, daily for a month, weekly for a year".

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

use crate::Error;

/// A rule of thinning: for each age, how close to each other versions may stand.
///
/// Written `all 1 day, daily 1 month, weekly 1 year`. Older versions than the last span are not
/// kept. The present version of a file always stays; the last one before a deletion ages from the
/// deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// In the order of age.
    spans: Vec<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    step: Step,
    /// Up to this age.
    until: SignedDuration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    All,
    Hourly,
    Daily,
    Weekly,
    Monthly,
}

const STEPS: [(&str, Step); 5] = [
    ("all", Step::All),
    ("hourly", Step::Hourly),
    ("daily", Step::Daily),
    ("weekly", Step::Weekly),
    ("monthly", Step::Monthly),
];

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

const UNITS: [(&str, i64); 5] = [
    ("hour", HOUR),
    ("day", DAY),
    ("week", 7 * DAY),
    ("month", 30 * DAY),
    ("year", 365 * DAY),
];

impl Step {
    /// Seconds; `None` keeps all.
    fn seconds(self) -> Option<i64> {
        match self {
            Self::All => None,
            Self::Hourly => Some(HOUR),
            Self::Daily => Some(DAY),
            Self::Weekly => Some(7 * DAY),
            Self::Monthly => Some(30 * DAY),
        }
    }
}

impl Default for Rule {
    /// Every save for a day, daily for a month, weekly for a year.
    fn default() -> Self {
        let days = |days| SignedDuration::from_secs(days * DAY);
        let span = |step, until| Span { step, until };
        Self {
            spans: vec![
                span(Step::All, days(1)),
                span(Step::Daily, days(30)),
                span(Step::Weekly, days(365)),
            ],
        }
    }
}

impl Rule {
    /// Of versions made at these times, oldest first, which stay: `true` for those.
    ///
    /// In each hour, day or week (counted from 1970 in UTC) the last one stays, so that thinning
    /// again takes nothing more. What is younger than `now`, or from the future, stays.
    #[must_use]
    pub fn keep(&self, times: &[Timestamp], now: Timestamp) -> Vec<bool> {
        let mut keep = vec![false; times.len()];
        let mut last: Option<(Step, i64)> = None;
        for (index, time) in times.iter().enumerate().rev() {
            let age = now.duration_since(*time);
            let Some(span) = self.spans.iter().find(|span| age <= span.until) else {
                continue;
            };
            let stays = match span.step.seconds() {
                None => true,
                Some(seconds) => {
                    let slot = (span.step, time.as_second().div_euclid(seconds));
                    let new = last != Some(slot);
                    last = Some(slot);
                    new
                }
            };
            if let Some(kept) = keep.get_mut(index) {
                *kept = stays;
            }
        }
        keep
    }
}

impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::BadRule {
            text: text.to_owned(),
        };
        let mut spans: Vec<Span> = Vec::new();
        for part in text.split(',') {
            let words: Vec<&str> = part.split_whitespace().collect();
            let [step, count, unit] = words[..] else {
                return Err(bad());
            };
            let step = STEPS.iter().find(|(name, _)| *name == step);
            let unit = unit.strip_suffix('s').unwrap_or(unit);
            let unit = UNITS.iter().find(|(name, _)| *name == unit);
            let count: u32 = count.parse().map_err(|_| bad())?;
            let ((_, step), (_, seconds)) = step.zip(unit).ok_or_else(bad)?;
            let until = SignedDuration::from_secs(i64::from(count) * seconds);
            if spans.last().is_some_and(|span| span.until >= until) || count == 0 {
                return Err(bad());
            }
            spans.push(Span { step: *step, until });
        }
        Ok(Self { spans })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, span) in self.spans.iter().enumerate() {
            let step = STEPS.iter().find(|(_, step)| *step == span.step);
            let seconds = span.until.as_secs();
            let unit = UNITS.iter().rev().find(|(_, unit)| seconds % unit == 0);
            let comma = if index > 0 { ", " } else { "" };
            if let Some(((step, _), (unit, size))) = step.zip(unit) {
                let count = seconds / size;
                let plural = if count == 1 { "" } else { "s" };
                write!(f, "{comma}{step} {count} {unit}{plural}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 / DAY * DAY + hours * HOUR).unwrap()
    }

    #[test]
    fn every_save_of_a_day_one_a_day_then_one_a_week_and_then_none() {
        let rule = Rule::default();
        let now = at(0);
        let times: Vec<Timestamp> = (0..24 * 400).rev().map(|hours| at(-hours)).collect();
        let keep = rule.keep(&times, now);
        let kept: Vec<Timestamp> = times
            .iter()
            .zip(&keep)
            .filter(|(_, keep)| **keep)
            .map(|(time, _)| *time)
            .collect();
        let of_age = |from: i64, to: i64| {
            let age = |time: &&Timestamp| now.duration_since(**time).as_secs();
            kept.iter()
                .filter(|time| (from * DAY..to * DAY).contains(&age(time)))
                .count()
        };
        assert_eq!(of_age(0, 1), 24);
        assert_eq!(of_age(2, 29), 27);
        assert!((47..=49).contains(&of_age(31, 365)), "{}", of_age(31, 365));
        assert_eq!(of_age(366, 500), 0);
        // Thinning what was thinned takes nothing more.
        assert!(rule.keep(&kept, now).iter().all(|keep| *keep));
    }

    #[test]
    fn a_rule_is_written_as_it_is_read() {
        for text in [
            "all 1 day, daily 1 month, weekly 1 year",
            "all 6 hours, hourly 2 days, daily 2 weeks, monthly 10 years",
        ] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        assert_eq!(
            Rule::default().to_string(),
            "all 1 day, daily 1 month, weekly 1 year"
        );
        for text in [
            "",
            "all",
            "all 0 days",
            "often 1 day",
            "all 1 month, daily 1 day",
        ] {
            assert!(text.parse::<Rule>().is_err(), "{text}");
        }
    }
}
