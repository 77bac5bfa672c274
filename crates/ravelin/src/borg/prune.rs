//! `borg prune`

use std::time::Duration;

use borg::{Access, Keep, Period, Reason};
use bstr::BString;

use super::arguments::Arguments;
use super::delete::{archive_line, delete, print_stats};
use super::fail::Failure;
use super::pick::{Listed, Pick};
use super::session::Session;
use super::stats;

/// Options, the periods that they mean, and the words for them.
const RULES: &[(&str, Period, &str)] = &[
    ("secondly", Period::Second, "secondly"),
    ("minutely", Period::Minute, "minutely"),
    ("hourly", Period::Hour, "hourly"),
    ("daily", Period::Day, "daily"),
    ("weekly", Period::Week, "weekly"),
    ("monthly", Period::Month, "monthly"),
    ("13weekly", Period::ThirteenWeeks, "quarterly_13weekly"),
    ("3monthly", Period::ThreeMonths, "quarterly_3monthly"),
    ("yearly", Period::Year, "yearly"),
];

pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    stats::only_one_kind(arguments)?;
    let spot = session.repository(arguments)?;
    let rules = rules(arguments)?;
    let is_dry = arguments.has("dry_run");
    if is_dry {
        stats::none_when_dry(session, arguments);
    }
    let pick = Pick::of(session, arguments)?.with_checkpoints();
    let mut archives = session.open(&spot, Access::Write)?;
    if rules.within.is_none() && rules.periods.is_empty() {
        return Err(Failure::command(
            "At least one of the \"keep-within\", \"keep-last\", \"keep-secondly\", \"keep-minutely\", \"keep-hourly\", \"keep-daily\", \"keep-weekly\", \"keep-monthly\", \"keep-13weekly\", \"keep-3monthly\", or \"keep-yearly\" settings must be specified.",
        ));
    }
    let check = archives.manifest().check_features(borg::Operation::Delete);
    check.map_err(borg::Error::from)?;
    let mut all = pick.choose(&archives);
    all.reverse();
    let times: Vec<(&[u8], jiff::Timestamp)> = all
        .iter()
        .map(|(name, entry)| (name.as_slice(), entry.time.instant()))
        .collect();
    let reasons = borg::keep(&times, &rules, &engine::clock::zone(), session.now);
    let going: Vec<BString> = all
        .iter()
        .zip(&reasons)
        .filter(|(_, reason)| reason.is_none())
        .map(|((name, _), _)| name.clone())
        .collect();
    if arguments.has("list") {
        tell(session, &all, &reasons, going.len(), is_dry);
    }
    let progress = ("prune", "Pruning archives");
    if is_dry || going.is_empty() {
        let (msgid, what) = progress;
        session.log.percent(msgid, what, 0, going.len() as u64);
        return Ok(());
    }
    session.go_on()?;
    let deleted = delete(session, &mut archives, &going, progress)?;
    print_stats(session, arguments, &archives, &deleted)
}

fn rules(arguments: &Arguments) -> Result<Keep, Failure> {
    let within = arguments.read("keep_within", interval)?;
    let mut periods = Vec::new();
    for (name, period, _) in RULES {
        let number: i64 = arguments.number(name, 0)?;
        match number {
            0 => {}
            ..0 => periods.push((*period, None)),
            number => periods.push((*period, Some(u32::try_from(number).unwrap_or(u32::MAX)))),
        }
    }
    Ok(Keep { within, periods })
}

/// Reads `12H`, `7d`, `2w`, `3m` (of 31 days), `1y` (of 365), and smaller ones.
fn interval(text: &str) -> Result<Duration, String> {
    let bad = || {
        format!(
            "Unexpected interval number \"{text}\": expected an integer greater than 0 and one of H, d, w, m, y"
        )
    };
    let unit = text.chars().last().ok_or_else(bad)?;
    let hours: u64 = match unit {
        'H' => 1,
        'd' => 24,
        'w' => 24 * 7,
        'm' => 24 * 31,
        'y' => 24 * 365,
        _ => return Err(bad()),
    };
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| bad())?;
    if number == 0 {
        return Err(bad());
    }
    let seconds = number.checked_mul(hours * 3600).ok_or_else(bad)?;
    Ok(Duration::from_secs(seconds))
}

fn tell(session: &Session, all: &[Listed], reasons: &[Option<Reason>], going: usize, is_dry: bool) {
    let (mut number, mut within) = (0, 0);
    for ((name, entry), reason) in all.iter().zip(reasons) {
        let what = match reason {
            None if is_dry => "Would prune:".to_owned(),
            None => {
                number += 1;
                format!("Pruning archive ({number}/{going}):")
            }
            Some(Reason::NewestCheckpoint) => "Keeping checkpoint archive:".to_owned(),
            Some(Reason::Within) => {
                within += 1;
                format!("Keeping archive (rule: within #{within}):")
            }
            Some(Reason::Rule(period, number)) => {
                format!("Keeping archive (rule: {} #{number}):", word(*period))
            }
            Some(Reason::Oldest(period, number)) => {
                format!(
                    "Keeping archive (rule: {}[oldest] #{number}):",
                    word(*period)
                )
            }
        };
        let line = format!("{what:<44} {}", archive_line(name, entry));
        session.log.requested("borg.output.list", &line);
    }
}

fn word(period: Period) -> &'static str {
    let rule = RULES.iter().find(|(_, known, _)| *known == period);
    rule.map_or("each", |(_, _, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_with_their_units() {
        let days = |text: &str| interval(text).map(|interval| interval.as_secs() / 86400);
        for (text, expected) in [("24H", 1), ("7d", 7), ("2w", 14), ("1m", 31), ("1y", 365)] {
            assert_eq!(days(text), Ok(expected), "{text}");
        }
        for text in ["", "d", "0d", "-1d", "1", "1x", "1.5d"] {
            assert!(days(text).is_err(), "{text}");
        }
    }
}
