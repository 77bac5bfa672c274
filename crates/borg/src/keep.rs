//! Which archives stay: the rules of `borg prune`.
//!
//! Archives are looked at from the newest to the oldest. A rule keeps the last archive of each of
//! its periods, until it has kept as many as it may; what an earlier rule keeps does not count.
//! Periods are those of the calendar in a time zone. A rule with a limit that it did not reach keeps
//! the oldest archive too, so that a long rule has a beginning.
//!
//! An unfinished backup never takes the place of a finished one: checkpoints are no part of this.
//! All of them go, but for one that is newer than every finished archive: the next backup needs
//! what it has stored.
//!
//! Source: `prune_split`, `prune_within` and `do_prune` in Borg 1.4's `archiver.py`.

use std::time::Duration;

use bstr::{BStr, ByteSlice};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp as Moment};

/// The time in which a rule keeps one archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// Every archive is one of its own.
    Each,
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour of the local clock.
    Hour,
    /// A day.
    Day,
    /// A week from Monday, numbered as ISO 8601 says.
    Week,
    /// A month.
    Month,
    /// A quarter of 13 ISO weeks; a 53rd week belongs to the last one.
    ThirteenWeeks,
    /// A quarter of the calendar.
    ThreeMonths,
    /// A year.
    Year,
}

/// Which archives stay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keep {
    /// Everything younger than this.
    pub within: Option<Duration>,
    /// For so many periods; `None`: without limit. They are applied in the order of [`Period`].
    pub periods: Vec<(Period, Option<u32>)>,
}

/// Why an archive stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is younger than [`Keep::within`].
    Within,
    /// A rule keeps it, as the one of this number from 1.
    Rule(Period, u32),
    /// The same, as the oldest archive of all.
    Oldest(Period, u32),
    /// An unfinished backup that is newer than every finished one.
    NewestCheckpoint,
}

/// Says for each archive, by name and time, why it stays, or `None` if it goes.
#[must_use]
pub fn keep(
    archives: &[(&[u8], Moment)],
    rules: &Keep,
    zone: &TimeZone,
    now: Moment,
) -> Vec<Option<Reason>> {
    let mut reasons = vec![None; archives.len()];
    let mut newest_first: Vec<(usize, Moment)> = Vec::with_capacity(archives.len());
    let mut order: Vec<usize> = (0..archives.len()).collect();
    order.sort_by_key(|&index| archives.get(index).map(|(_, time)| *time));
    order.reverse();
    for (rank, index) in order.into_iter().enumerate() {
        let Some(&(name, time)) = archives.get(index) else {
            continue;
        };
        if checkpoint_of(name).is_none() {
            newest_first.push((index, time));
        } else if rank == 0 {
            set(&mut reasons, index, Reason::NewestCheckpoint);
        }
    }
    if let Some(within) = rules.within {
        let within = SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX);
        let target = now.checked_sub(within).unwrap_or(Moment::MIN);
        for &(index, time) in &newest_first {
            if time > target {
                set(&mut reasons, index, Reason::Within);
            }
        }
    }
    let mut periods = rules.periods.clone();
    periods.sort_by_key(|(period, _)| *period);
    for (period, limit) in periods {
        split(&newest_first, period, limit, zone, &mut reasons);
    }
    reasons
}

fn set(reasons: &mut [Option<Reason>], index: usize, reason: Reason) {
    if let Some(place) = reasons.get_mut(index) {
        *place = Some(reason);
    }
}

fn split(
    newest_first: &[(usize, Moment)],
    period: Period,
    limit: Option<u32>,
    zone: &TimeZone,
    reasons: &mut [Option<Reason>],
) {
    let is_limited = limit.is_some();
    let limit = limit.unwrap_or(u32::MAX);
    let mut kept = 0;
    let mut last = None;
    let is_free = |reasons: &[Option<Reason>], index: usize| reasons.get(index) == Some(&None);
    for &(index, time) in newest_first {
        if kept >= limit {
            return;
        }
        let number = period.number(index, time, zone);
        if last.replace(number) != Some(number) && is_free(reasons, index) {
            kept += 1;
            set(reasons, index, Reason::Rule(period, kept));
        }
    }
    if let Some(&(oldest, _)) = newest_first.last()
        && is_limited
        && kept < limit
        && is_free(reasons, oldest)
    {
        set(reasons, oldest, Reason::Oldest(period, kept + 1));
    }
}

impl Period {
    /// Equal for two moments of one period, and for neighbours in the order of time only then.
    fn number(self, index: usize, time: Moment, zone: &TimeZone) -> (i64, i64) {
        let local = zone.to_datetime(time);
        let date = local.date();
        let day = (i64::from(date.year()), i64::from(date.day_of_year()));
        let in_day = |units_per_day: i64, unit: i64| (day.0, day.1 * units_per_day + unit);
        let (hour, minute) = (i64::from(local.hour()), i64::from(local.minute()));
        let week = date.iso_week_date();
        match self {
            Self::Each => (0, i64::try_from(index).unwrap_or(i64::MAX)),
            Self::Second => {
                let second = i64::from(local.second());
                in_day(86_400, (hour * 60 + minute) * 60 + second)
            }
            Self::Minute => in_day(1440, hour * 60 + minute),
            Self::Hour => in_day(24, hour),
            Self::Day => day,
            Self::Week => (i64::from(week.year()), i64::from(week.week())),
            Self::Month => (day.0, i64::from(date.month())),
            Self::ThirteenWeeks => {
                let quarter = (i64::from(week.week()) - 1) / 13;
                (i64::from(week.year()), quarter.min(3))
            }
            Self::ThreeMonths => (day.0, (i64::from(date.month()) - 1) / 3),
            Self::Year => (day.0, 0),
        }
    }
}

/// Whether a name is that of a checkpoint: then that of the archive it was to become.
#[must_use]
pub fn checkpoint_of(name: &[u8]) -> Option<&BStr> {
    let at = name.rfind(".checkpoint")?;
    let (base, rest) = name.split_at(at);
    let number = rest.strip_prefix(b".checkpoint").unwrap_or_default();
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    (number.is_empty() || number.strip_prefix(b".").is_some_and(is_number)).then(|| base.as_bstr())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(times: &[&str], rules: &Keep, zone: &str) -> Vec<usize> {
        let archives: Vec<(&[u8], Moment)> = times
            .iter()
            .map(|time| (b"a".as_slice(), time.parse().unwrap()))
            .collect();
        let zone = TimeZone::get(zone).unwrap();
        let now = "2026-12-01T12:00:00Z".parse().unwrap();
        let reasons = keep(&archives, rules, &zone, now);
        (0..times.len())
            .filter(|&index| reasons[index].is_some())
            .collect()
    }

    fn rule(period: Period, count: u32) -> Keep {
        Keep {
            within: None,
            periods: vec![(period, Some(count))],
        }
    }

    #[test]
    fn a_day_is_one_of_the_local_calendar() {
        let times = [
            "2026-11-28T22:30:00Z",
            "2026-11-28T23:30:00Z",
            "2026-11-29T22:30:00Z",
        ];
        // In Berlin the second and the third are of the same day.
        let rules = rule(Period::Day, 2);
        assert_eq!(kept(&times, &rules, "Europe/Berlin"), [0, 2]);
        assert_eq!(kept(&times, &rules, "UTC"), [1, 2]);
    }

    #[test]
    fn the_hour_that_comes_twice_when_summer_ends_is_one_hour() {
        let times = [
            "2026-10-24T23:30:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02:30:00Z",
        ];
        let rules = rule(Period::Hour, 3);
        assert_eq!(kept(&times, &rules, "Europe/Berlin"), [0, 2, 3]);
    }

    #[test]
    fn a_week_may_belong_to_another_year_than_its_days() {
        let times = [
            "2024-12-29T12:00:00Z",
            "2024-12-31T12:00:00Z",
            "2025-01-03T12:00:00Z",
        ];
        assert_eq!(kept(&times, &rule(Period::Week, 2), "UTC"), [0, 2]);
        assert_eq!(kept(&times, &rule(Period::ThirteenWeeks, 2), "UTC"), [0, 2]);
        assert_eq!(kept(&times, &rule(Period::Year, 2), "UTC"), [1, 2]);
    }

    #[test]
    fn what_one_rule_keeps_does_not_count_for_the_next() {
        let times = [
            "2026-11-27T12:00:00Z",
            "2026-11-28T12:00:00Z",
            "2026-11-29T12:00:00Z",
            "2026-11-30T12:00:00Z",
        ];
        let rules = Keep {
            within: Some(Duration::from_secs(24 * 3600 + 1)),
            periods: vec![(Period::Day, Some(2))],
        };
        assert_eq!(kept(&times, &rules, "UTC"), [1, 2, 3]);
    }

    #[test]
    fn the_oldest_stays_while_a_rule_is_not_full() {
        let times = [
            "2026-11-01T12:00:00Z",
            "2026-11-10T12:00:00Z",
            "2026-11-20T12:00:00Z",
        ];
        assert_eq!(kept(&times, &rule(Period::Month, 1), "UTC"), [2]);
        assert_eq!(kept(&times, &rule(Period::Month, 2), "UTC"), [0, 2]);
    }

    #[test]
    fn without_rules_nothing_stays_and_without_limits_everything_does() {
        let times = ["2026-11-01T12:00:00Z", "2026-11-10T12:00:00Z"];
        assert!(kept(&times, &Keep::default(), "UTC").is_empty());
        let rules = Keep {
            within: None,
            periods: vec![(Period::Each, None)],
        };
        assert_eq!(kept(&times, &rules, "UTC"), [0, 1]);
    }

    #[test]
    fn a_checkpoint_stays_only_as_the_newest_of_all() {
        let zone = TimeZone::UTC;
        let at = |text: &str| text.parse::<Moment>().unwrap();
        let rules = rule(Period::Each, 5);
        let mut archives: Vec<(&[u8], Moment)> = vec![
            (b"a.checkpoint", at("2026-11-01T00:00:00Z")),
            (b"b", at("2026-11-02T00:00:00Z")),
            (b"c.checkpoint.2", at("2026-11-03T00:00:00Z")),
        ];
        let reasons = keep(&archives, &rules, &zone, at("2026-12-01T00:00:00Z"));
        assert_eq!(reasons[0], None);
        assert_eq!(reasons[1], Some(Reason::Rule(Period::Each, 1)));
        assert_eq!(reasons[2], Some(Reason::NewestCheckpoint));
        archives.push((b"c", at("2026-11-03T00:00:01Z")));
        let reasons = keep(&archives, &rules, &zone, at("2026-12-01T00:00:00Z"));
        assert_eq!(reasons[2], None);
    }

    #[test]
    fn checkpoints_are_told_by_their_names() {
        for name in ["nas.checkpoint", "nas.checkpoint.12"] {
            assert_eq!(checkpoint_of(name.as_bytes()), Some("nas".into()), "{name}");
        }
        for name in [
            "nas",
            "nas.checkpoints",
            "nas.checkpoint.x",
            "nas.checkpoint.",
        ] {
            assert_eq!(checkpoint_of(name.as_bytes()), None, "{name}");
        }
    }
}
