//! Durations and sizes as people write them.

use std::time::Duration;

/// Reads a duration: a number and a unit, `"30 days"`, `"90s"`, `"2 h"`.
///
/// Units are seconds, minutes, hours, days of 24 hours, and weeks; the first letter, the usual
/// short form or the whole word. `None` for anything else, and for more than a hundred years.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let seconds = match unit {
        "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 60 * 60,
        "d" | "day" | "days" => 24 * 60 * 60,
        "w" | "week" | "weeks" => 7 * 24 * 60 * 60,
        _ => return None,
    };
    let total = number.checked_mul(seconds)?;
    (total <= 100 * 366 * 24 * 60 * 60).then(|| Duration::from_secs(total))
}

/// Reads a size in bytes: a number and a unit, `"500 MiB"`, `"10 GB"`, `"10G"`.
///
/// `KiB`, `MiB`, `GiB`, `TiB` are powers of 1024; `kB`, `MB`, `GB`, `TB` and the letters alone are
/// powers of 1000; a bare number or `B` is bytes. `None` for anything else.
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    let (whole, rest) = number_and_unit(text)?;
    let (tenths, unit) = match rest.strip_prefix('.') {
        Some(rest) => fraction(rest)?,
        None => ((0, 1), rest),
    };
    let factor: u64 = match unit {
        "" | "B" | "bytes" if rest.starts_with('.') => return None,
        "" | "B" | "bytes" => 1,
        "k" | "K" | "kB" | "KB" => 1000,
        "M" | "MB" => 1000_u64.pow(2),
        "G" | "GB" => 1000_u64.pow(3),
        "T" | "TB" => 1000_u64.pow(4),
        "KiB" | "Ki" => 1 << 10,
        "MiB" | "Mi" => 1 << 20,
        "GiB" | "Gi" => 1 << 30,
        "TiB" | "Ti" => 1 << 40,
        _ => return None,
    };
    let (part, of) = tenths;
    let part = u64::try_from(u128::from(factor) * u128::from(part) / u128::from(of)).ok()?;
    whole.checked_mul(factor)?.checked_add(part)
}

/// What stands behind the point of a number, as a part of how many, and the unit behind it.
fn fraction(text: &str) -> Option<((u64, u64), &str)> {
    let (part, unit) = number_and_unit(text)?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    let of = 10_u64.checked_pow(u32::try_from(digits).ok()?)?;
    Some(((part, of), unit))
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let minutes = |count: u64| Some(Duration::from_secs(count * 60));
        assert_eq!(duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("15m"), minutes(15));
        assert_eq!(duration("2 hours"), minutes(120));
        assert_eq!(duration("1 day"), minutes(24 * 60));
        assert_eq!(duration(" 30 days "), minutes(30 * 24 * 60));
        for wrong in [
            "",
            "30",
            "days",
            "-1 day",
            "1.5 h",
            "1 month",
            "99999999999999999999 s",
        ] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(size("500 MiB"), Some(500 << 20));
        assert_eq!(size("10G"), Some(10_000_000_000));
        assert_eq!(size("0"), Some(0));
        assert_eq!(size("3 kB"), Some(3000));
        assert_eq!(size("1.5 G"), Some(1_500_000_000));
        assert_eq!(size("0.25MiB"), Some(1 << 18));
        for wrong in [
            "",
            "MiB",
            "10 XB",
            "1.5",
            "1. G",
            "1. 5 G",
            ".5 G",
            "1.5.5 G",
            "1.00000000000000000000005 G",
            "-1",
            "99999999 TiB",
        ] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
